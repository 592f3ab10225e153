"""Checks 1 to 3: the quote's signatures, the TCB of its machine, and the attributes of the CVM."""

from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cvm_notebook.attest import quotes
from cvm_notebook.attest.checks.check import Check, failed, passed, skipped
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence
from cvm_notebook.attest.evidence.quote_layout import TdReport
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.policy.roots import root_der
from cvm_notebook.attest.quotes import QuoteClaims, QuoteRefused
from cvm_notebook.text import clean_text

Judged: TypeAlias = QuoteClaims | QuoteRefused | None
NOT_GENUINE: Final = "not judged: what is not genuine proves nothing"
UNCHECKED: Final = "not judged: the signatures of the quote were not checked"
NO_HARDWARE: Final = "a development root: this is no hardware"
_OUT_OF_DATE: Final = frozenset({"OutOfDate", "OutOfDateConfigurationNeeded"})


def check_hardware(evidence: Evidence, policy: Policy, at: datetime) -> tuple[Check, Judged]:
    """Verify the quote under the policy's root; return also what the signatures vouch for."""
    if evidence.error and not evidence.quote:
        return failed("hardware", f"there is no evidence: {clean_text(evidence.error, 200)}"), None
    try:
        quote, report = evidence.quote_bytes, evidence.report
    except MalformedEvidence as error:
        return failed("hardware", str(error)), None
    if not quotes.is_installed():
        reason = "dcap-qvl is not installed, and nothing else checks signatures here"
        return skipped("hardware", reason, f"Run {quotes.INSTALL}"), None
    if evidence.collateral is None:
        fmspc = report.platform[0] if report.platform else "unknown"
        why = f": {evidence.collateral_error}" if evidence.collateral_error else ""
        reason = f"there is no collateral for its machine (FMSPC {fmspc}){why}"
        todo = 'Name a PCCS: pccs="https://...", or give evidence that has "collateral".'
        return skipped("hardware", reason, todo), None
    if problem := collateral_problem(evidence):
        return failed("hardware", problem), None
    root = None if policy.root_pem is None else root_der(policy.root_pem)
    judged = quotes.verify_quote(quote, dict(evidence.collateral), at, root)
    return _judge_tcb(judged, report, policy), judged


def collateral_problem(evidence: Evidence) -> str:
    """Return which member of the collateral is missing or no text; empty where all are there."""
    collateral = evidence.collateral or {}
    for name in quotes.COLLATERAL_FIELDS:
        if not isinstance(collateral.get(name), str) or not collateral[name]:
            return f"the collateral has no {name}"
        if len(collateral[name]) > _MOST_COLLATERAL:
            return f"{name} of the collateral has more than {_MOST_COLLATERAL >> 20} MiB"
    return ""


_MOST_COLLATERAL: Final = 4 << 20  # a CRL may be long


def _judge_tcb(judged: QuoteClaims | QuoteRefused, report: TdReport, policy: Policy) -> Check:
    if isinstance(judged, QuoteRefused) and not judged.genuine:
        return failed("hardware", judged.reason)
    if isinstance(judged, QuoteClaims):
        shown = (report.mr_td.hex(), report.report_data.hex())
        if not judged.is_tdx or (judged.mr_td, judged.report_data) != shown:
            return failed("hardware", "what was signed is another quote")
    fmspc = f", FMSPC {report.platform[0]}" if report.platform else ""
    if policy.root_pem is not None:
        return passed("hardware", f"under {NO_HARDWARE}{fmspc}")
    return passed(
        "hardware", f"signed by a machine that Intel certified and has not revoked{fmspc}"
    )


def check_tcb(judged: Judged, policy: Policy, at: datetime) -> Check:
    """Judge the TCB level of the machine by the policy."""
    if judged is None:
        return skipped("tcb", UNCHECKED)
    if isinstance(judged, QuoteRefused):
        if judged.revoked:
            return failed("tcb", judged.reason)
        return skipped("tcb", "not judged, as the attributes of the CVM are refused")
    return _by_policy(judged, policy, at)


def _by_policy(judged: QuoteClaims, policy: Policy, at: datetime) -> Check:
    until = judged.until.date()
    summary = f"{judged.status}, by data number {judged.evaluation_number} that is good to {until}"
    if policy.min_evaluation is not None and judged.evaluation_number < policy.min_evaluation:
        why = f"data number {judged.evaluation_number} is below {policy.min_evaluation}"
        return failed("tcb", f"{summary}: {why}")
    refused = sorted(set(policy.advisories_refused) & set(judged.advisories))
    if refused:
        return failed("tcb", f"{summary}: open to {', '.join(refused)}")
    advisories = f"; advisories: {', '.join(judged.advisories)}" if judged.advisories else ""
    if judged.status in policy.tcb:
        return passed("tcb", summary + advisories)
    ends = _grace_ends(judged, policy.grace_period)
    if ends is not None and at <= ends:
        return passed("tcb", f"{summary}, within its grace to {ends.date()}{advisories}")
    allowed = ", ".join(sorted(policy.tcb))
    return failed("tcb", f"{summary}, and the policy allows {allowed or 'none'}{advisories}")


def _grace_ends(judged: QuoteClaims, grace: timedelta) -> datetime | None:
    """Return until when a machine may be out of date; None where no grace is given for it."""
    if not grace or judged.status not in _OUT_OF_DATE:
        return None
    try:
        return judged.tcb_date + grace
    except OverflowError:
        return datetime.max.replace(tzinfo=judged.tcb_date.tzinfo)


def check_debug(evidence: Evidence, judged: Judged) -> Check:
    """Judge the attributes of the CVM: whether its host can read or move it by design."""
    if judged is None:
        return skipped("debug", UNCHECKED)
    problem = evidence.report.attribute_problem
    if problem is None and isinstance(judged, QuoteRefused) and judged.attributes:
        problem = judged.reason
    if problem is not None:
        return failed("debug", problem)
    return passed("debug", "no debugging, no migration, no service TD")
