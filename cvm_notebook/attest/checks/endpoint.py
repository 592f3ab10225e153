"""Check 8: whether the quote was made for this question, or holds the key of this endpoint."""

from typing import Final

from cvm_notebook.attest.checks.check import Check, failed, passed, skipped
from cvm_notebook.attest.evidence.certificates import ra_tls_report_data
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import Policy

_TODO: Final = (
    "Add the sidecar to the app and name it: Policy(quote_url=...); or serve RA-TLS: "
    "Policy(endpoint=...)."
)
_REPORT_DATA_BYTES: Final = 64


def check_endpoint(evidence: Evidence, policy: Policy) -> Check:
    """Compare the report data in the quote with what was asked for."""
    if not policy.is_bound:
        reason = "the quote is of the boot: it is not fresh, and no endpoint holds its key"
        return skipped("endpoint", reason, _TODO)
    found = evidence.report.report_data
    if policy.endpoint is None:
        return _of_nonce(evidence, policy, found)
    if evidence.served_key is None:
        reason = f"no certificate with a quote was had from {policy.endpoint}: {evidence.error}"
        return failed("endpoint", reason.removesuffix(": "))
    if found != ra_tls_report_data(evidence.served_key):
        return failed("endpoint", "the key that the endpoint serves is not the quote's")
    return passed("endpoint", f"the key that {policy.endpoint} serves is the quote's")


def _of_nonce(evidence: Evidence, policy: Policy, found: bytes) -> Check:
    nonce = policy.nonce if isinstance(policy.nonce, bytes) else evidence.nonce
    if nonce is None:
        reason = f"no quote was had from {policy.quote_url}: {evidence.error}"
        return failed("endpoint", reason.removesuffix(": "))
    if found != nonce.ljust(_REPORT_DATA_BYTES, b"\0"):
        return failed("endpoint", "the quote is not for this nonce: it was made before")
    return passed("endpoint", "the quote was made for this nonce")
