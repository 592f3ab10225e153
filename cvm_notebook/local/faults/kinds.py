"""The kinds of faults: the effect, the argument, and the requests each applies to by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of a fault."""

    LATENCY = "latency"
    LATE = "late"
    HANG = "hang"
    REFUSE = "refuse"
    RESET = "reset"
    RESET_AFTER = "reset_after"
    TRUNCATE = "truncate"
    DRIP = "drip"
    STATUS = "status"
    CONTENT_TYPE = "content_type"
    HTML = "html"
    REDIRECT = "redirect"
    SILENT = "silent"
    DROP = "drop"
    CUT = "cut"
    HALF = "half"
    FLOOD = "flood"
    SLOW_NODE = "slow_node"
    GZIP_BOMB = "gzip_bomb"
    HUGE = "huge"
    GARBAGE = "garbage"
    CLOSE_DELIMITED = "close_delimited"
    REWRITE = "rewrite"
    RAW = "raw"
    DEBUG = "debug"
    TCB_OUTDATED = "tcb_outdated"
    TCB_REVOKED = "tcb_revoked"
    PCK_REVOKED = "pck_revoked"
    COLLATERAL_EXPIRED = "collateral_expired"
    OTHER_ROOT = "other_root"
    REPLAYED_QUOTE = "replayed_quote"
    OTHER_COMPOSE = "other_compose"
    OTHER_IMAGE = "other_image"
    DEV_IMAGE = "dev_image"
    LOG_SHORTENED = "log_shortened"
    EVENT_AFTER_READY = "event_after_ready"
    DUPLICATE_EVENT = "duplicate_event"
    GPU_MISSING = "gpu_missing"
    NO_COLLATERAL = "no_collateral"
    ENV_KEY_FORGED = "env_key_forged"


@dataclass(frozen=True)
class Rule:
    """The row of a kind: its effect, its ``arg``, and the requests it applies to by default."""

    does: str
    arg: tuple[type, ...] = ()
    default: object = None
    required: bool = False
    route: str = "*"
    times: int | None = 1


_NUMBER = (int, float)


def _of_evidence(does: str) -> Rule:
    """Return the rule of a fault that alters evidence: it holds until it is cleared."""
    return Rule(does, route="evidence", times=None)


RULES: Mapping[Kind, Rule] = {
    Kind.LATENCY: Rule("waits arg seconds, then answers as always", _NUMBER, 0.2),
    Kind.LATE: Rule("does what was asked, then waits arg seconds before it answers", _NUMBER, 1.0),
    Kind.HANG: Rule("reads the request and never answers; nothing is done"),
    Kind.REFUSE: Rule(
        "closes the connection before any answer, nothing done; with arg, new connections are "
        "refused for arg seconds (with one worker)",
        _NUMBER,
    ),
    Kind.RESET: Rule("resets the connection before anything is done"),
    Kind.RESET_AFTER: Rule("does what was asked, then resets the connection without an answer"),
    Kind.TRUNCATE: Rule("announces the whole length, sends half of the body and closes"),
    Kind.DRIP: Rule("sends one byte every arg seconds, for ever", _NUMBER, 0.2),
    Kind.STATUS: Rule("answers status arg, nothing done", (int,), 503),
    Kind.CONTENT_TYPE: Rule("answers as always, but calls the body arg", (str,), "text/plain"),
    Kind.HTML: Rule("answers 200 with a log-in page, nothing done"),
    Kind.REDIRECT: Rule("redirects to the URL arg with status code", (str,), required=True),
    Kind.SILENT: Rule("opens an event stream and never sends an event", route="stream"),
    Kind.DROP: Rule("ends the stream in good order after arg events", (int,), 1, route="stream"),
    Kind.CUT: Rule("resets the stream after arg events", (int,), 1, route="stream"),
    Kind.HALF: Rule(
        "sends arg events and half of one more, then ends the stream", (int,), 1, route="stream"
    ),
    Kind.FLOOD: Rule("sends arg state events a second, for ever", (int,), 10_000, route="stream"),
    Kind.SLOW_NODE: Rule(
        "a batch status that asks for a CVM of node waits arg seconds",
        _NUMBER,
        31.0,
        route="batch",
        times=None,
    ),
    Kind.GZIP_BOMB: Rule("answers gzip that unpacks to arg MiB", (int,), 1024),
    Kind.HUGE: Rule("answers a body of arg MiB", (int,), 1024),
    Kind.GARBAGE: Rule("answers 200 and JSON that isn't", (str,), '{"items": [{"id": "cvm_'),
    Kind.CLOSE_DELIMITED: Rule("answers without a length; the body ends with the connection"),
    Kind.REWRITE: Rule("puts the values of arg at its JSON pointers", (dict,), required=True),
    Kind.RAW: Rule(
        "sends arg as it is, a character a byte: a text, or a list sent piece by piece in which "
        "null holds the connection open",
        (str, list),
        required=True,
    ),
    Kind.DEBUG: _of_evidence("the quote is of a domain that its host can debug"),
    Kind.TCB_OUTDATED: _of_evidence("the quote is of a machine whose microcode is out of date"),
    Kind.TCB_REVOKED: _of_evidence("the quote is of a machine whose security version is revoked"),
    Kind.PCK_REVOKED: _of_evidence("the collateral revokes the machine's certificate"),
    Kind.COLLATERAL_EXPIRED: _of_evidence("the collateral is two months old: it has expired"),
    Kind.OTHER_ROOT: _of_evidence("quote and collateral are signed under another root"),
    Kind.REPLAYED_QUOTE: _of_evidence(
        "the quote is one that was made for another nonce or key than the one asked for"
    ),
    Kind.OTHER_COMPOSE: _of_evidence("another compose file was started than the one that is shown"),
    Kind.OTHER_IMAGE: _of_evidence("an image was started whose measurements nobody knows"),
    Kind.DEV_IMAGE: _of_evidence("the development image of the same version was started"),
    Kind.LOG_SHORTENED: _of_evidence("an event that was measured is missing in the log"),
    Kind.EVENT_AFTER_READY: _of_evidence(
        "another compose file was started, and the app adds the hash of the one that is shown "
        "after system-ready"
    ),
    Kind.DUPLICATE_EVENT: _of_evidence(
        "another compose file was started, and the hash of the one that is shown is measured, too"
    ),
    Kind.GPU_MISSING: _of_evidence("nothing was measured of the GPUs"),
    Kind.NO_COLLATERAL: _of_evidence("there is no collateral: 404"),
    Kind.ENV_KEY_FORGED: Rule(
        "puts another public key in the place of the one that environment variables are encrypted "
        "for; its signature stays",
        route="env_key",
        times=None,
    ),
}

EVIDENCE = frozenset(kind for kind, rule in RULES.items() if rule.route == "evidence")
"""What alters evidence where it is made; several can hold at once."""

DELAYS = frozenset({Kind.LATENCY, Kind.SLOW_NODE})

ROUTES: Mapping[str, tuple[str, ...]] = {
    "list": ("GET /cvms/paginated", "GET /cvms"),
    "get": ("GET /cvms/*",),
    "state": ("GET /cvms/*/state",),
    "stream": ("GET /cvms/*/state",),
    "batch": ("POST /status/batch",),
    "action": tuple(f"POST /cvms/*/{verb}" for verb in ("start", "stop", "shutdown", "restart")),
    "delete": ("DELETE /cvms/*",),
    "replicate": ("POST /cvms/*/replicas",),
    "provision": ("POST /cvms/provision",),
    "commit": ("POST /cvms",),
    "update": ("PATCH /cvms/**",),
    "evidence": (
        "GET /cvms/*/attestation",
        "GET /apps/*/attestations",
        "* /attestations/**",
        "GET /gateway/**",
    ),
    "env_key": ("GET /kms/*/pubkey/*", "POST /cvms/provision", "GET /cvms/*"),
    "read": ("GET **",),
    "write": ("POST **", "PATCH **", "PUT **", "DELETE **"),
    "*": ("* **",),
}
