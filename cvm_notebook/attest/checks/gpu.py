"""Check 9: the GPUs, by the event that the measured OS added when it had attested them at boot."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from cvm_notebook.attest.checks.check import Check, failed, passed, skipped
from cvm_notebook.attest.evidence.event_log import BootLog
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence, json_object
from cvm_notebook.attest.policy.policy import Policy


def check_gpu(evidence: Evidence, policy: Policy, log: BootLog) -> Check:
    """Judge the GPUs by the event that the measured OS added when it had attested them at boot."""
    payload = log.payloads.get("gpu-attestation")
    if payload is None:
        return _without_gpus(policy, log)
    try:
        claims = json_object("gpu-attestation", payload)
        problem = _gpu_problem(claims, evidence, log)
    except MalformedEvidence as error:
        return failed("gpu", str(error))
    if problem:
        return failed("gpu", problem)
    summary = f"{claims['devices']} attested at boot, confidential computing on"
    if policy.gpus is None:
        return Check("gpu", "info", f"{summary}; none were asked for")
    if claims["devices"] != policy.gpus:
        return failed("gpu", f"{summary}, and {policy.gpus} were asked for")
    return passed("gpu", f"{summary}; that says nothing of now, nor where they are")


def _without_gpus(policy: Policy, log: BootLog) -> Check:
    if policy.gpus is None:
        return skipped("gpu", "no GPU was asked for", "Say how many: Policy(gpus=8).")
    if "gpu-policy-hash" in log.payloads:
        return failed("gpu", f"{policy.gpus} were asked for, and none was attested at boot")
    reason = "its image is of a release that does not measure GPUs"
    return skipped("gpu", reason, "Use an image of a release after 0.5.11.")


def _gpu_problem(claims: Mapping[str, Any], evidence: Evidence, log: BootLog) -> str:
    devices = claims.get("devices")
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        return "gpu-attestation names no number of devices"
    if claims.get("cc_mode") != "on" or claims.get("devtools") is not False:
        return "its GPUs are open: confidential computing is not on, or their developer tools are"
    if evidence.gpu_info is not None:
        shown = hashlib.sha256(evidence.gpu_info.encode("utf-8", "replace")).hexdigest()
        if shown != claims.get("evidence_sha256"):
            return "gpu_info is not what was measured"
    policy = _gpu_policy(evidence)
    hashed = log.payloads.get("gpu-policy-hash")
    if policy is not None and hashed is not None and hashlib.sha256(policy).digest() != hashed:
        return "gpu-policy-hash is not that of the app compose's GPU policy"
    return ""


def _gpu_policy(evidence: Evidence) -> bytes | None:
    """Return the app's GPU policy in canonical JSON; None where the app compose is not shown.

    RFC 8785, as far as texts, flags and whole numbers go; another number gives None.
    """
    try:
        app_compose = msgspec.json.decode(evidence.compose or b"")
    except (ValueError, RecursionError):
        return None
    requirements = app_compose.get("requirements") if isinstance(app_compose, dict) else None
    policy = requirements.get("gpu_policy") if isinstance(requirements, dict) else None
    return None if _has_fractions(policy) else msgspec.json.encode(policy or {}, order="sorted")


def _has_fractions(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_fractions, value.values()))
    return any(map(_has_fractions, value)) if isinstance(value, list) else isinstance(value, float)
