"""The service's words for a CVM's state, sorted into the fixed words that people search by."""

import re
from collections.abc import Iterable
from typing import Final

from cvm_notebook.api.cvm import Endpoint
from cvm_notebook.live.rows import Row
from cvm_notebook.live.seen import phase_of

STATUSES: Final = (
    "provisioning",
    "starting",
    "running",
    "restarting",
    "stopping",
    "stopped",
    "shutting_down",
    "failed",
    "deleting",
    "gone",
    "unknown",
)
OPERATIONS: Final = (
    "start",
    "stop",
    "shutdown",
    "restart",
    "delete",
    "replicate",
    "create",
    "other",
)
HEALTHS: Final = ("ok", "stale", "error", "unknown")
STALE_AFTER_S: Final = 180.0  # three resyncs at their usual pace

_BY_STATUS: Final = {
    "provisioning": "create",
    "starting": "start",
    "restarting": "restart",
    "stopping": "stop",
    "shutting_down": "shutdown",
    "deleting": "delete",
}
_BY_TYPE: Final = {operation: operation for operation in OPERATIONS} | {
    "power_on": "start",
    "power_off": "stop",
    "force_restart": "restart",
    "graceful_shutdown": "shutdown",
    **dict.fromkeys(("compose_update", "env_update", "resize", "image_update"), "other"),
}
_AMOUNT: Final = re.compile(r"(\d{1,9})\s*([a-z]+)\s*")
# the units of Rust's humantime, in which the service tells uptimes
_SECONDS: Final = {
    **dict.fromkeys(("y", "year", "years"), 31_557_600),
    **dict.fromkeys(("month", "months"), 2_630_016),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("ms", "us", "ns"), 0),
}
_LONGEST: Final = 100


def status_of(word: str | None) -> str:
    """Sort the service's word for a status; no word, or a new one, is ``unknown``."""
    text = (word or "").strip().lower()
    if text in STATUSES:
        return text
    phase = "unknown" if text == "in_progress" else phase_of(text)
    return "restarting" if phase == "updating" else phase  # an update ends in a restart


def operation_of(row: Row) -> str | None:
    """Name what is being done to a CVM: as the service says, or else as its status tells."""
    doing, word = row.operation, (row.status or "").strip().lower()
    said = doing and doing.type and _BY_TYPE.get(doing.type.strip().lower())
    if said or word == "updating":
        return said or "other"
    return _BY_STATUS.get(status_of(word)) or ("other" if row.in_progress else None)


def health_of(row: Row, now: float) -> str:
    """Judge a row: an error stays one, however old; what is old is stale."""
    status = status_of(row.status)
    if row.boot_error or status == "failed":
        return "error"
    if status == "unknown":
        return status
    return "stale" if row.error or row.age(now) > STALE_AFTER_S else "ok"


def seconds_of(said: str | None) -> int | None:
    """Read ``1day 2h 3m 4s``; None for what is no time, such as ``never``."""
    text = (said or "").strip().lower()[:_LONGEST]
    total, at = 0, 0
    while found := _AMOUNT.match(text, at):
        seconds = _SECONDS.get(found[2])
        if seconds is None:
            return None
        total, at = total + int(found[1]) * seconds, found.end()
    return total if text and at == len(text) else None


def first_https(endpoints: Iterable[Endpoint] | None) -> str | None:
    """Return the first https address, the app's before the instance's, fit to be shown."""
    for endpoint in endpoints or ():
        for url in (endpoint.app, endpoint.instance):
            if url is not None and url.startswith("https://"):
                return shown(url)
    return None


def shown(url: str | None) -> str | None:
    """Cut from an address what may carry a token: its query, its fragment, a user's name."""
    if url is None or not any(mark in url for mark in "?#@"):
        return url
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
