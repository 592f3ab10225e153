"""The envelopes of an error answer, read into one shape and cleaned for people."""

import re
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cvm_notebook.api.errors.codes import CODES
from cvm_notebook.api.secret import sealed
from cvm_notebook.text import as_sentence, clean_text

_MESSAGE_CHARS: Final = 600
_HINT_CHARS: Final = 400
_LABEL_CHARS: Final = 120
_URL_CHARS: Final = 500
_ITEMS: Final = 20
_BODY_BYTES: Final = 1 << 20


class Link(NamedTuple):
    """A link the service offers; always https."""

    url: str
    label: str


class Detail(NamedTuple):
    """One field the service remarks on; a value that grants access is a Secret."""

    field: str
    value: Any
    message: str


class ErrorEnvelope(NamedTuple):
    """The body of an error answer, cleaned."""

    message: str = ""
    error_code: str | None = None
    suggestions: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    details: tuple[Detail, ...] = ()
    request_id: str | None = None


def read_error(body: bytes, content_type: str) -> ErrorEnvelope:
    """Read any of the service's envelopes; what is none of them is named, not shown."""
    if not body.strip():
        return ErrorEnvelope()
    try:
        data = msgspec.json.decode(body) if len(body) <= _BODY_BYTES else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        kind = clean_text(content_type.partition(";")[0], 60) or "an unnamed type"
        if "json" in kind:
            return ErrorEnvelope(
                message="The service answered with JSON that is not an error of its API"
            )
        return ErrorEnvelope(message=f"The service answered with {kind} instead of JSON")
    if isinstance(data.get("detail"), dict):  # the same envelopes, one level down
        data = {**data, **data["detail"]}
    code = data.get("error_code")
    return ErrorEnvelope(
        message=_message(data),
        error_code=clean_text(code, 40) if isinstance(code, str) and code else None,
        suggestions=tuple(filter(None, (clean_text(s, _HINT_CHARS) for s in _strings(data)))),
        links=tuple(_links(data.get("links"))),
        details=tuple(_details(data)),
        request_id=_text_or_none(data.get("request_id"), 80),
    )


def _message(data: dict[str, Any]) -> str:
    """Return the sentence of whichever envelope this is."""
    detail = data.get("detail")
    if isinstance(detail, list):
        wrong = [f"{d.field}: {d.message}" if d.field else d.message for d in _fields(detail)]
        return clean_text("The request is not valid. " + "; ".join(wrong[:5]))
    # In this order: structured, plain, and the two members of an OAuth device answer.
    for key in ("message", "detail", "error_description", "error"):
        if isinstance(data.get(key), str) and data[key].strip():
            return clean_text(data[key])
    return ""


def _strings(data: dict[str, Any]) -> list[str]:
    found = data.get("suggestions")
    return [s for s in found[:_ITEMS] if isinstance(s, str)] if isinstance(found, list) else []


def _details(data: dict[str, Any]) -> Iterator[Detail]:
    """Yield the remarks on fields, from whichever envelope holds them."""
    listed = data.get("details")
    if isinstance(listed, dict):
        listed = [{"field": name, "value": value} for name, value in listed.items()]
    for item in _dicts(listed):
        field = clean_text(item.get("field") or "", _LABEL_CHARS)
        yield Detail(
            field,
            sealed(item.get("value"), field),
            clean_text(item.get("message") or "", _HINT_CHARS),
        )
    yield from _fields(data.get("detail"))
    # A 465 of an older shape has these beside the message.
    for name in _LEGACY_465:
        if name in data:
            yield Detail(name, sealed(data[name], name), "")


_LEGACY_465: Final = (
    *("compose_hash", "app_id", "device_id", "kms_info"),
    *("commit_token", "commit_url", "api_commit_url", "onchain_status"),
)


def _dicts(listed: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of what should be a list of objects, up to a bound."""
    for item in listed[:_ITEMS] if isinstance(listed, list) else ():
        if isinstance(item, dict):
            yield item


def _fields(listed: object) -> Iterator[Detail]:
    """Yield a 422's list. Its ``input`` is left out: it echoes what was sent, secrets too."""
    for item in _dicts(listed):
        loc = item.get("loc")
        parts = [str(p) for p in loc] if isinstance(loc, list) else []
        if parts[:1] in (["body"], ["query"], ["path"], ["header"]) and len(parts) > 1:
            del parts[0]
        field = clean_text(".".join(parts), _LABEL_CHARS)
        yield Detail(field, None, clean_text(item.get("msg") or "is not valid", _HINT_CHARS))


def _links(listed: object) -> Iterator[Link]:
    """Yield the https links; anything else is dropped."""
    for item in _dicts(listed):
        url = item.get("url")
        if isinstance(url, str) and _is_https(url):
            yield Link(url, clean_text(item.get("label") or "", _LABEL_CHARS))


def _is_https(url: str) -> bool:
    if len(url) > _URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc


def _text_or_none(value: object, limit: int) -> str | None:
    return (clean_text(value, limit) or None) if isinstance(value, str) else None


SERVER: Final = 500

# --- our own words -----------------------------------------------------------------------------

_STATUS_WORDS: Final[dict[int, tuple[str, str]]] = {
    400: ("The request was not accepted", "Check the arguments."),
    401: (
        "The API key was not accepted",
        "Check the key; `cvm-notebook doctor` says where it came from without showing it.",
    ),
    403: ("This key may not do that", "Use a key of the workspace that owns it."),
    404: (
        "There is no such thing here",
        "It may be gone or in another workspace; client.list_cvms() shows what this key sees.",
    ),
    407: ("A proxy asks for a sign-in", "Check HTTPS_PROXY and the proxy's user and password."),
    409: (
        "The CVM is busy with another operation",
        "Wait for it (client.watch_cvm_state) and ask again.",
    ),
    422: ("The request is not valid", "Correct the fields named."),
    429: ("Too many requests", "Wait a moment, then ask again."),
    465: (CODES["ERR-01-005"].sentence, CODES["ERR-01-005"].next_step),
    466: (CODES["ERR-01-006"].sentence, CODES["ERR-01-006"].next_step),
    467: (CODES["ERR-01-007"].sentence, CODES["ERR-01-007"].next_step),
    468: (CODES["ERR-01-008"].sentence, CODES["ERR-01-008"].next_step),
}
_SERVER_WORDS: Final = (
    "The service failed",
    "Try again; if it stays, give the request id to Phala's support.",
)
_OTHER_WORDS: Final = ("The service refused", "Check the arguments.")


def _words(status: int) -> tuple[str, str]:
    return _STATUS_WORDS.get(status, _SERVER_WORDS if status >= SERVER else _OTHER_WORDS)


def own_words(status: int, code: str | None) -> str:
    """Return our sentence for a code or a status, for when the service gives none."""
    known = CODES.get(code) if code else None
    return known.sentence if known else _words(status)[0]


def next_step(
    status: int, code: str | None, suggestions: tuple[str, ...], retry_after: float | None
) -> str:
    """Return the next step: the service's own where it has one."""
    if suggestions:
        return clean_text(" ".join(map(as_sentence, suggestions[:3])), _HINT_CHARS)
    if code in CODES:
        return CODES[code].next_step
    if status in (429, 503) and retry_after is not None:
        return f"Wait {retry_after:.0f} s, then ask again."
    return _words(status)[1]


def without_query(path: str | None) -> str | None:
    """Drop the query, which may hold a token, and bound the rest."""
    return clean_text(path.partition("?")[0], 200) if path is not None else None


def parse_retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """Return a Retry-After header in seconds: never negative, None when it cannot be read.

    Parameters
    ----------
    value
        A number of seconds, or an HTTP date.
    now
        Seconds since 1970; the clock's when None.
    """
    text = (value or "").strip()
    if not text or len(text) > _LABEL_CHARS:
        return None
    if re.fullmatch(r"[+-]?\d+(\.\d*)?", text, re.ASCII):
        return min(max(0.0, float(text)), _FOR_EVER)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, rarely needed

    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        return None
    return min(max(0.0, at - (time.time() if now is None else now)), _FOR_EVER)


_FOR_EVER: Final = 10.0 * 365 * 86400  # keeps infinity and its arithmetic out
