"""Consistency of what a CVM shows: whether it agrees with itself. That proves no hardware.

The log is added up as the register was, and the app compose hashed as it was. Verification of the
quote is `cvm_notebook.attest.verify`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from cvm_notebook.api.models.base import instant
from cvm_notebook.api.models.guest import CvmAttestation, TcbInfo
from cvm_notebook.attest.evidence.event_log import RTMR3, BootLog, parse_log, replayed
from cvm_notebook.attest.evidence.fields import MalformedEvidence, bare_digits, docker_compose_in
from cvm_notebook.text import clean_text

Agreement: TypeAlias = Literal["fetched", "hash_matched", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """An attestation, read and compared with itself and with what was expected.

    Attributes
    ----------
    checked
        ``hash_matched``: the compose hash in the log is that of the compose file, and the log adds
        up to RTMR3. ``fetched``: not checked, because too little is shown, or the log is in a form
        that is not read here. ``failed``: nothing is shown, or what is contradicts itself or what
        was expected. Nothing of this is proof of hardware: signatures are not looked at.
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

    checked: Agreement
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
    """The compose hashes of an attestation, beside those that were expected."""

    tcb: TcbInfo
    total: str | None
    gap: str
    rtmr3: str | None
    live: str | None
    shown: str | None
    expected: str | None
    docker: str | None


def judge_attestation(
    attestation: CvmAttestation,
    *,
    compose_hash: str | None = None,
    docker_compose_hash: str | None = None,
) -> Consistency:
    """Read an attestation and compare it with itself: pure.

    Parameters
    ----------
    compose_hash, docker_compose_hash
        SHA-256, in hex, of the app compose and of the Docker Compose file in it that should have
        been measured. Without them the log is held against the file that the attestation shows.
    """
    tcb = attestation.tcb_info or TcbInfo()
    try:
        log, malformed = parse_log(tcb.event_log), ""
    except MalformedEvidence as error:
        log, malformed = BootLog(), str(error)
    total, gap = _added_up(log)
    text = tcb.app_compose
    facts = _Shown(
        tcb=tcb,
        total=total,
        gap=gap,
        rtmr3=bare_digits(tcb.rtmr3),
        live=log.payloads.get("compose-hash", b"").hex() or None,
        shown=None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
        expected=bare_digits(compose_hash),
        docker=bare_digits(docker_compose_hash),
    )
    refusal, certificates = attestation.error, attestation.app_certificates
    problem = f"the service says: {clean_text(refusal, 200)}" if refusal else malformed
    misfit, gap = problem or next(_misfits(facts), ""), next(_gaps(facts), "")
    quotes = [one.quote for one in certificates]
    ends = [end for one in certificates if (end := instant(one.not_after)) is not None]
    return Consistency(
        checked="failed" if misfit else "fetched" if gap else "hash_matched",
        why=misfit or gap,
        compose_hash_live=facts.live,
        compose_hash_expected=facts.expected or facts.shown,
        os_image_hash=log.payloads.get("os-image-hash", b"").hex() or None,
        tcb=tcb,
        event_count=None if attestation.tcb_info is None else len(tcb.event_log),
        cert_not_after=min(ends, default=None),
        quote_present=any(quotes) if quotes else None,
    )


def _added_up(log: BootLog) -> tuple[str | None, str]:
    """Return the value of RTMR3 after this log, or why it cannot be computed."""
    try:
        return replayed(event.measured for event in log.of(RTMR3)).hex(), ""
    except MalformedEvidence as error:
        return None, f"its log is in a form that is not read here: {error}"


def _misfits(facts: _Shown) -> Iterator[str]:
    """Yield what does not fit."""
    if facts.live is None:
        return
    if None not in (facts.total, facts.rtmr3) and facts.total != facts.rtmr3:
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
    if facts.gap:
        yield facts.gap
    if facts.rtmr3 is None:
        yield "it shows no RTMR3 that its log could add up to"
    if facts.shown is None and (facts.expected is None or facts.docker is not None):
        yield "it shows no compose file that could be hashed"


def _docker_compose_hash(tcb: TcbInfo) -> str | None:
    text = docker_compose_in(tcb.app_compose)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
