"""What a CVM's attestation shows, and what of it was checked here: its quote never is.

The log is added up as the register was, and the compose file is hashed as it was. While nobody
verifies the signatures of the quote, that proves nothing of the hardware.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from cvm_notebook.api.models.base import instant
from cvm_notebook.api.models.guest import CvmAttestation, EventLog, TcbInfo
from cvm_notebook.text import clean_text

Check: TypeAlias = Literal["fetched", "hash_matched", "quote_verified", "failed"]

_RTMR3: Final = 3  # the register that a CVM extends while it boots
_RUNTIME_EVENT: Final = 0x08000001
_REGISTER_BYTES: Final = 48
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An attestation, read and judged.

    Attributes
    ----------
    checked
        ``hash_matched``: the compose hash in the log is that of the compose file, and the log adds
        up to RTMR3. ``fetched``: not checked, because too little is shown, or the log is in a form
        that is not read here, such as one that is stripped of its digests. ``failed``: nothing is
        shown, or what is contradicts itself or what was expected. Never ``quote_verified``: the
        quote is not verified here, so nothing of this is proof of hardware.
    why
        What does not fit or could not be checked, in words; empty when the hash matched.
    compose_hash_live
        As it was measured.
    compose_hash_expected
        What that was compared with.
    tcb
        The measurements, as the service hands them on.
    cert_not_after
        When the first of its certificates ends.
    """

    checked: Check
    why: str = ""
    compose_hash_live: str | None = None
    compose_hash_expected: str | None = None
    os_image_hash: str | None = None
    tcb: TcbInfo = TcbInfo()  # noqa: RUF009 - frozen
    event_count: int | None = None
    cert_not_after: datetime | None = None
    quote_present: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What an attestation shows of the compose file, beside what was expected of it."""

    tcb: TcbInfo
    measured: tuple[EventLog, ...]
    rtmr3: str | None
    live: str | None
    shown: str | None
    expected: str | None
    docker: str | None


def judge_attestation(
    said: CvmAttestation, *, compose_hash: str | None = None, docker_compose_hash: str | None = None
) -> Evidence:
    """Read an attestation and check what can be checked here: pure.

    Parameters
    ----------
    compose_hash, docker_compose_hash
        SHA-256, in hex, of the app compose and of the Docker Compose file in it that should have
        been measured. Without them the log is held against the file that the attestation shows.
    """
    tcb = said.tcb_info or TcbInfo()
    measured = tuple(one for one in tcb.event_log if one.imr == _RTMR3)
    # the first of a name: an app that runs may add events of any name
    payloads = {one.event: _bare(one.event_payload) for one in reversed(measured)}
    text = tcb.app_compose
    facts = _Shown(
        tcb=tcb,
        measured=measured,
        rtmr3=_bare(tcb.rtmr3),
        live=payloads.get("compose-hash") or None,
        shown=None if text is None else hashlib.sha256(text.encode()).hexdigest(),
        expected=_bare(compose_hash),
        docker=_bare(docker_compose_hash),
    )
    error = f"the service says: {clean_text(said.error, 200)}" if said.error else ""
    misfit, gap = error or next(_misfits(facts), ""), next(_gaps(facts), "")
    quotes = [one.quote for one in said.app_certificates]
    ends = [end for one in said.app_certificates if (end := instant(one.not_after)) is not None]
    return Evidence(
        checked="failed" if misfit else "fetched" if gap else "hash_matched",
        why=misfit or gap,
        compose_hash_live=facts.live,
        compose_hash_expected=facts.expected or facts.shown,
        os_image_hash=payloads.get("os-image-hash") or None,
        tcb=tcb,
        event_count=None if said.tcb_info is None else len(tcb.event_log),
        cert_not_after=min(ends, default=None),
        quote_present=any(quotes) if quotes else None,
    )


def _bare(digits: str | None) -> str | None:
    return digits.strip().lower().removeprefix("sha256:").removeprefix("0x") if digits else None


def _misfits(facts: _Shown) -> Iterator[str]:
    """Yield what does not fit."""
    if facts.live is None:
        return
    total = _added_up(facts.measured)
    if None not in (total, facts.rtmr3) and total != facts.rtmr3:
        yield "its log does not add up to RTMR3"
    if facts.shown not in (None, facts.live):
        yield "the compose file that it shows is not the one that was measured"
    if facts.expected not in (None, facts.live):
        yield "another compose file was measured than the expected one"
    if None not in (facts.docker, facts.shown) and _docker_compose_hash(facts.tcb) != facts.docker:
        yield "another Docker Compose file was measured than the expected one"


def _gaps(facts: _Shown) -> Iterator[str]:
    """Yield what is not shown, and would be needed."""
    if facts.live is None:
        yield "it shows no log with a compose hash"
    elif not all(_digest(event) for event in facts.measured):
        yield "its log is stripped: it has events without a digest"
    elif not all(map(_says_what_it_measured, facts.measured)):
        yield "its log has events whose digests are not of the form that can be recomputed here"
    if facts.rtmr3 is None:
        yield "it shows no RTMR3 that its log could add up to"
    if facts.shown is None and (facts.expected is None or facts.docker is not None):
        yield "it shows no compose file that could be hashed"


def _says_what_it_measured(event: EventLog) -> bool:
    """Return whether an event's digest is that of its name and payload in version 1.

    Guests of later versions measure the same in another form, so a digest that is not this one
    is no sign of a forgery.
    """
    payload = _bare(event.event_payload) or ""
    if not _HEX.fullmatch(payload):
        return False
    if event.event_type != _RUNTIME_EVENT:
        return True
    kind, name = _RUNTIME_EVENT.to_bytes(4, "little"), (event.event or "").encode()
    whole = b":".join((kind, name, bytes.fromhex(payload)))
    return hashlib.sha384(whole).digest() == _digest(event)


def _digest(event: EventLog) -> bytes | None:
    """Return an event's digest as the register takes it; None where none is shown."""
    digits = _bare(event.digest) or ""
    if not digits or not _HEX.fullmatch(digits) or len(digits) > 2 * _REGISTER_BYTES:
        return None
    return bytes.fromhex(digits).ljust(_REGISTER_BYTES, b"\0")


def _added_up(events: Iterable[EventLog]) -> str | None:
    """Return what a register holds after these events; None where a digest is missing."""
    register = bytes(_REGISTER_BYTES)
    for event in events:
        digest = _digest(event)
        if digest is None:
            return None
        register = hashlib.sha384(register + digest).digest()
    return register.hex()


def _docker_compose_hash(tcb: TcbInfo) -> str | None:
    """Return the hash of the Docker Compose file in the app compose that is shown."""
    try:
        compose = msgspec.json.decode(tcb.app_compose or "")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    text = compose.get("docker_compose_file") if isinstance(compose, dict) else None
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else None
