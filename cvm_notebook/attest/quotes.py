"""Verification of a quote's signatures by dcap-qvl, which nothing else imports.

It judges a quote and its collateral at an instant under a root of trust, and makes no connection.
Our own policy is applied to what it vouches for, so that each rule has a line and words of its own.
"""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from types import ModuleType

INSTALL: Final = "pip install 'cvm-notebook[attest]'"
COLLATERAL_FIELDS: Final = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
)
"""The members of collateral; the documents are the text that was signed, to the byte."""

# dcap-qvl says these only after all signatures were checked, so what it refuses by them is genuine.
# The whole text is compared: forged collateral can put any words into a parser's error.
_ATTRIBUTES: Final = frozenset(
    {
        "Debug mode is enabled",
        "Invalid MR service TD",
        "Reserved bits in TD attributes are set",
        "SEPT_VE_DISABLE is not enabled",
        "SERVTD_EXT is enabled",
        "TD migration is enabled",
        "TD profiling is enabled",
    }
)
_REVOKED: Final = "TCB status is invalid: Revoked"
_PREFIX: Final = "Verification failed: "
_MESSAGES: Final = {
    "Failed to parse root CA CRL": "the collateral's root CRL is not one of this root of trust",
    "TCBInfo expired": "the collateral has expired (TCB info)",
    "QEIdentity expired": "the collateral has expired (QE identity)",
    "TCBInfo issue date is in the future": "the collateral is of a later time (TCB info)",
    "QEIdentity issue date is in the future": "the collateral is of a later time (QE identity)",
}


@dataclass(frozen=True)
class QuoteClaims:
    """The claims that the signatures of a quote vouch for, of whatever TCB status.

    Attributes
    ----------
    tcb_date
        The date of the machine's TCB level.
    evaluation_number
        The lower one of TCB info and QE identity.
    until
        When the first document or certificate of the collateral ends.
    """

    status: str
    advisories: tuple[str, ...]
    tcb_date: datetime
    evaluation_number: int
    until: datetime
    fmspc: str
    is_tdx: bool
    mr_td: str
    report_data: str


@dataclass(frozen=True)
class QuoteRefused:
    """A quote that was refused, with the reason.

    Attributes
    ----------
    attributes
        All signatures were good: it was refused for the attributes of the CVM, such as debugging.
    revoked
        All signatures were good: it was refused for the TCB level of its machine, which is revoked.
    """

    reason: str
    attributes: bool = False
    revoked: bool = False

    @property
    def genuine(self) -> bool:
        """Whether all signatures were good."""
        return self.attributes or self.revoked


def is_installed() -> bool:
    """Return whether dcap-qvl is there; without it nothing is known of the hardware."""
    return "dcap_qvl" in sys.modules or importlib.util.find_spec("dcap_qvl") is not None


def verify_quote(
    quote: bytes, collateral: Mapping[str, str], at: datetime, root: bytes | None
) -> QuoteClaims | QuoteRefused:
    """Verify all signatures of a quote and of its collateral. Never raises for what they hold.

    Parameters
    ----------
    collateral
        The nine members of `COLLATERAL_FIELDS`.
    at
        The instant of the judgement.
    root
        DER of the root certificate; None is Intel's.
    """
    import dcap_qvl  # noqa: PLC0415 - an extra, and only loaded where a quote is verified

    seconds = int(at.timestamp())
    parts = tuple(collateral.get(name) for name in COLLATERAL_FIELDS)
    try:
        parsed = _parsed(parts)
        policy = dcap_qvl.QuotePolicy.claims_only(seconds)
        report = _verifier(root).verify_with_policy(quote, parsed, seconds, policy)
        return _claims(_CLAIMS.decode(report.to_json()))
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        return _refusal(dcap_qvl, str(error), (quote, parts, seconds, root))


@lru_cache(maxsize=8)
def _verifier(root: bytes | None) -> Any:
    import dcap_qvl  # noqa: PLC0415 - as above

    return dcap_qvl.QuoteVerifier(root)


@lru_cache(maxsize=8)  # all machines of a kind have the same
def _parsed(parts: tuple[str | None, ...]) -> Any:
    import dcap_qvl  # noqa: PLC0415 - as above

    text = msgspec.json.encode(dict(zip(COLLATERAL_FIELDS, parts, strict=True))).decode()
    return dcap_qvl.QuoteCollateralV3.from_json(text)


class _Tcb(msgspec.Struct, gc=False):
    status: str
    advisory_ids: tuple[str, ...]
    eval_data_number: int


class _Pck(msgspec.Struct, gc=False):
    fmspc: tuple[int, ...]


class _Platform(msgspec.Struct, gc=False):
    tcb_date_tag: int
    pck: _Pck


class _Enclave(msgspec.Struct, gc=False):
    tcb_eval_data_number: int


class _RawClaims(msgspec.Struct, gc=False):
    """The part of dcap-qvl's claims that is read here."""

    tee_type: int
    tcb: _Tcb
    platform: _Platform
    qe: _Enclave
    earliest_expiration_date: int
    qe_iden_earliest_expiration_date: int
    report: dict[str, dict[str, Any]]


_CLAIMS: Final = msgspec.json.Decoder(_RawClaims)


def _claims(raw: _RawClaims) -> QuoteClaims:
    report = next(iter(raw.report.values()))
    report = report.get("base", report)  # TD 1.5 has 1.0 in it
    ends = (raw.earliest_expiration_date, raw.qe_iden_earliest_expiration_date)
    return QuoteClaims(
        status=raw.tcb.status,
        advisories=raw.tcb.advisory_ids,
        tcb_date=datetime.fromtimestamp(raw.platform.tcb_date_tag, UTC),
        evaluation_number=min(raw.tcb.eval_data_number, raw.qe.tcb_eval_data_number),
        until=datetime.fromtimestamp(min(ends), UTC),
        fmspc=bytes(raw.platform.pck.fmspc).hex().upper(),
        is_tdx=raw.tee_type == 0x81,  # noqa: PLR2004 - TDX
        mr_td=report.get("mr_td", ""),
        report_data=report.get("report_data", ""),
    )


def _refusal(
    dcap_qvl: "ModuleType",
    message: str,
    asked: tuple[bytes, tuple[str | None, ...], int, bytes | None],
) -> QuoteRefused:
    reason = message.removeprefix(_PREFIX)
    if reason in _ATTRIBUTES:
        return QuoteRefused(reason, attributes=True)
    if reason == _REVOKED:
        return QuoteRefused("the TCB level of its machine was revoked", revoked=True)
    return QuoteRefused(_translated(reason) + _cause(dcap_qvl, *asked))


def _translated(reason: str) -> str:
    plain = clean_text(reason, 200)
    return next((message for start, message in _MESSAGES.items() if plain.startswith(start)), plain)


def _cause(
    dcap_qvl: "ModuleType",
    quote: bytes,
    parts: tuple[str | None, ...],
    seconds: int,
    root: bytes | None,
) -> str:
    """Return the cause of a refusal, which only the call without a policy tells."""
    if root is None:
        again = dcap_qvl.verify
        arguments: tuple[Any, ...] = ()
    else:
        again, arguments = dcap_qvl.verify_with_root_ca, (root,)
    try:
        again(quote, _parsed(parts), *arguments, seconds)
    except (ValueError, TypeError, OverflowError) as error:
        _, found, cause = str(error).partition("Caused by:")
        return f" ({clean_text(cause, 120)})" if found else ""
    return ""
