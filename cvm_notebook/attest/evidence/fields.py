"""Fields of evidence: hex, base64 and JSON from untrusted hands, within bounds."""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

MOST_QUOTE_BYTES: Final = 64 << 10
MOST_TEXT_BYTES: Final = 1 << 20
"""The largest event log, and the largest app compose."""


class MalformedEvidence(ValueError):  # noqa: N818 - it says what happened
    """Evidence that cannot be read. A check catches it and fails; it never reaches the user.

    Attributes
    ----------
    field
        The part that is malformed: ``quote``, ``event_log[3].digest``.
    problem
        What is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


def from_hex(field: str, digits: object, *, most: int = MOST_TEXT_BYTES) -> bytes:
    """Decode hex, with or without ``0x``, in upper or lower case."""
    if not isinstance(digits, str):
        raise MalformedEvidence(field, f"is {type(digits).__name__}, not hex")
    bare = digits.strip().removeprefix("0x")
    if len(bare) > 2 * most:
        raise MalformedEvidence(field, f"has more than {most:,} bytes")
    try:
        found = bytes.fromhex(bare)
    except ValueError:
        found = b""
    if 2 * len(found) != len(bare):  # it skips blanks, too
        raise MalformedEvidence(field, "is not hexadecimal")
    return found


def bare_digits(text: str | None) -> str | None:
    """Return an id or a hash in one spelling: digits alone, in lower case; None for none."""
    if not text:
        return None
    digits = text.strip().lower().removeprefix("sha256:").removeprefix("0x")
    return digits.replace("-", "") or None


def from_base64(field: str, text: object) -> bytes:
    """Decode base64."""
    if not isinstance(text, str) or len(text) > MOST_TEXT_BYTES:
        raise MalformedEvidence(field, "is not a base64 text of a sane length")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedEvidence(field, "is not base64") from None


def from_json(field: str, text: str | bytes) -> Any:
    """Decode JSON of at most 1 MiB."""
    if len(text) > MOST_TEXT_BYTES:
        raise MalformedEvidence(field, f"has more than {MOST_TEXT_BYTES >> 20} MiB")
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise MalformedEvidence(field, "is not JSON") from None


def json_object(field: str, value: object) -> Mapping[str, Any]:
    """Return a JSON object, decoded already or as text."""
    found = from_json(field, value) if isinstance(value, str | bytes) else value
    if not isinstance(found, Mapping):
        raise MalformedEvidence(field, "is not a JSON object")
    return found


def fields_of(text: str | bytes | None) -> Mapping[str, Any]:
    """Decode a JSON object; empty where the text is none."""
    try:
        return json_object("it", text)
    except MalformedEvidence:
        return {}


@lru_cache(maxsize=64)
def docker_compose_in(app_compose: str | bytes | None) -> str | None:
    """Return the Docker Compose file in an app compose; None where it shows none."""
    text = fields_of(app_compose).get("docker_compose_file")
    return text if isinstance(text, str) else None
