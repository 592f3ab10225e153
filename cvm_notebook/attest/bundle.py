"""Bundles: a verdict with all that led to it, in one JSON file that can be judged again offline.

Each part has its SHA-256 beside it, so that an altered part can be named. That is for mistakes: who
means to alter a bundle alters the hash, too. What such a bundle says is judged again all the same.
"""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.checks.judge import judge
from cvm_notebook.attest.collateral import as_sent
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence, from_hex
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.quotes import is_installed
from cvm_notebook.attest.verdict import Verdict
from cvm_notebook.files import write_file
from cvm_notebook.text import clean_text

FORMAT: Final = "cvm-notebook attestation bundle/1"
_LARGEST: Final = 32 << 20
_PARTS: Final = (
    "quote",
    "collateral",
    "event_log",
    "app_compose",
    "vm_config",
    "gpu_info",
    "served_key",
    "nonce",
    "error",
    "policy",
    "subject",
    "at",
    "checks",
)
_REMEDY: Final = "Give a file that verdict.bundle(path) wrote."


def write_bundle(verdict: Verdict, path: str | os.PathLike[str]) -> None:
    """Write a verdict and all that led to it."""
    parts = _parts(verdict)
    document = {"format": FORMAT, "parts": parts, "sha256": _digests(parts)}
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    write_file(checks.path("path", path), text + b"\n")


def verify_bundle(
    path: str | os.PathLike[str], *, policy: Policy | None = None, at: datetime | None = None
) -> Verdict:
    """Judge a bundle again, offline: at its own instant, by its own policy and root.

    Parameters
    ----------
    path
        What ``verdict.bundle(path)`` wrote.
    policy
        Another policy to judge it by; a root that it does not name is the bundle's.
    at
        Another instant.

    Returns
    -------
    Verdict
        Its ``altered`` names the parts that are not as they were written; such a bundle has failed.
        ``checks`` among them says that they were judged otherwise when it was written.

    Raises
    ------
    InvalidInput
        The file cannot be read, or is no bundle.

    Examples
    --------
    >>> verdict.bundle("agent-alpha.json")
    >>> cvm.verify_bundle("agent-alpha.json").word == verdict.word
    True
    """
    parts, digests = _read(path)
    altered = [name for name in _PARTS if _digest(parts.get(name)) != digests.get(name)]
    altered += sorted(clean_text(name, 40) for name in parts.keys() - set(_PARTS))
    kept = _policy(parts.get("policy"))
    by = kept if policy is None else policy.under(kept.root_pem)
    instant = _instant(parts.get("at")) if at is None else at
    evidence = _evidence(parts)
    found = judge(evidence, by, instant)
    again = policy is None and at is None and is_installed()
    if again and not altered and _outcomes(_checks(found.checks)) != _outcomes(parts.get("checks")):
        altered.append("checks")
    subject = _mapping("subject", parts.get("subject"))
    cvm_id = subject.get("cvm_id")
    return Verdict(
        name=clean_text(subject.get("name") or "unnamed", 120),
        cvm_id=clean_text(cvm_id, 120) if cvm_id else None,
        checks=found.checks,
        at=instant,
        policy=by,
        evidence=evidence,
        claims=found.claims,
        altered=tuple(altered),
    )


def _parts(verdict: Verdict) -> dict[str, Any]:
    evidence = verdict.evidence
    collateral = evidence.collateral
    log = evidence.event_log
    return {
        "quote": _hex(evidence.quote),
        "collateral": None if collateral is None else as_sent(collateral),
        "event_log": msgspec.to_builtins(log) if not isinstance(log, str) else log,
        "app_compose": evidence.app_compose,
        "vm_config": evidence.vm_config,
        "gpu_info": evidence.gpu_info,
        "served_key": _hex(evidence.served_key),
        "nonce": _hex(evidence.nonce),
        "error": evidence.error,
        "policy": verdict.policy.as_dict(),
        "subject": {"name": verdict.name, "cvm_id": verdict.cvm_id},
        "at": verdict.at.astimezone(UTC).isoformat(),
        "checks": _checks(verdict.checks),
    }


def _checks(checks: Any) -> list[dict[str, str]]:
    return [
        {"name": c.name, "outcome": c.outcome, "reason": c.reason, "todo": c.todo} for c in checks
    ]


def _outcomes(entries: object) -> list[tuple[object, object]]:
    """Return what counts of kept checks: words of reasons may change from release to release."""
    rows = entries if isinstance(entries, list) else []
    return [(row.get("name"), row.get("outcome")) for row in rows if isinstance(row, dict)]


def _hex(value: bytes | str | None) -> str | None:
    return value.hex() if isinstance(value, bytes) else value


def _digests(parts: Mapping[str, Any]) -> dict[str, str]:
    return {name: _digest(parts.get(name)) for name in _PARTS}


def _digest(part: object) -> str:
    return hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()


# --- reading -----------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    where = checks.path("path", path)
    shown = clean_text(path, 120)
    try:
        with where.open("rb") as file:
            content = file.read(_LARGEST + 1)
        document = msgspec.json.decode(content) if len(content) <= _LARGEST else None
    except OSError as error:
        raise InvalidInput("path", f"{shown} cannot be read ({error.strerror})", _REMEDY) from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidInput("path", f"{shown} is not a bundle that is read here", _REMEDY)
    return _mapping("parts", document.get("parts")), _mapping("sha256", document.get("sha256"))


def _policy(fields: object) -> Policy:
    try:
        return Policy.from_dict(_mapping("policy", fields))
    except (InvalidInput, TypeError) as error:
        why = clean_text(error, 160)
        problem = f"the policy of the bundle was altered, and is none any more: {why}"
        raise InvalidInput("path", problem, _REMEDY) from None


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("path", f"the bundle has no {name}", _REMEDY)
    return value


def _instant(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput("path", "the bundle has no instant", _REMEDY)
    return found.astimezone(UTC)


def _evidence(parts: Mapping[str, Any]) -> Evidence:
    config, collateral = parts.get("vm_config"), parts.get("collateral")
    return Evidence(
        quote=_text(parts.get("quote")),
        app_compose=_text(parts.get("app_compose")),
        gpu_info=_text(parts.get("gpu_info")),
        event_log=parts.get("event_log"),
        vm_config=config if isinstance(config, dict | str) else None,
        collateral=collateral if isinstance(collateral, dict) else None,
        served_key=_bytes(parts.get("served_key")),
        nonce=_bytes(parts.get("nonce")),
        error=_text(parts.get("error")) or "",
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _bytes(value: object) -> bytes | None:
    """Return bytes; what is no hex is none, and the check that needs it fails."""
    try:
        return None if value is None else from_hex("part", value)
    except MalformedEvidence:
        return None
