"""The nine checks in their order: what one has not proven, the next never shows as passed."""

from dataclasses import dataclass
from datetime import datetime

from cvm_notebook.attest.checks.application import check_app, check_key_provider
from cvm_notebook.attest.checks.check import Check, skipped
from cvm_notebook.attest.checks.endpoint import check_endpoint
from cvm_notebook.attest.checks.gpu import check_gpu
from cvm_notebook.attest.checks.hardware import (
    NOT_GENUINE,
    Judged,
    check_debug,
    check_hardware,
    check_tcb,
)
from cvm_notebook.attest.checks.software import LOG_FAILED, check_image, check_log
from cvm_notebook.attest.evidence.event_log import BootLog
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import CHECK_NAMES, CheckName, Policy
from cvm_notebook.attest.quotes import QuoteClaims


@dataclass(frozen=True, slots=True)
class Judgement:
    """The nine checks, in order.

    Attributes
    ----------
    claims
        What the quote's signatures vouch for; None where they do not, or were not checked.
    """

    checks: tuple[Check, ...]
    claims: QuoteClaims | None


def judge(evidence: Evidence, policy: Policy, at: datetime) -> Judgement:
    """Judge evidence by a policy at an instant: pure, and offline. It never raises for evidence.

    Parameters
    ----------
    policy
        With its root: `Policy.under`.
    at
        The instant of the judgement, aware.
    """
    hardware, judged = check_hardware(evidence, policy, at)
    if hardware.outcome == "fail":
        rest = [skipped(name, NOT_GENUINE) for name in CHECK_NAMES[1:]]
        return Judgement((hardware, *rest), None)
    found = {"hardware": hardware, **_of_quote(evidence, policy, at, judged)}
    log, part = check_log(evidence)
    found |= {"log": log, **_of_log(evidence, policy, part, log)}
    claims = judged if isinstance(judged, QuoteClaims) else None
    return Judgement(tuple(found[name] for name in CHECK_NAMES), claims)


def _of_quote(
    evidence: Evidence, policy: Policy, at: datetime, judged: Judged
) -> dict[CheckName, Check]:
    return {
        "tcb": check_tcb(judged, policy, at),
        "debug": check_debug(evidence, judged),
        "endpoint": check_endpoint(evidence, policy),
    }


def _of_log(
    evidence: Evidence, policy: Policy, log: BootLog | None, check: Check
) -> dict[CheckName, Check]:
    if log is None:
        reason = LOG_FAILED if check.outcome == "fail" else "not judged: there is no event log"
        names: tuple[CheckName, ...] = ("image", "app", "key_provider", "gpu")
        return {name: skipped(name, reason, check.todo) for name in names}
    return {
        "image": check_image(evidence, policy, log),
        "app": check_app(evidence, policy, log),
        "key_provider": check_key_provider(policy, log),
        "gpu": check_gpu(evidence, policy, log),
    }
