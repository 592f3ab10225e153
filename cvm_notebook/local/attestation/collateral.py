"""Collateral: TCB levels, the quoting enclave's identity, revocation lists.

Its dates are those of the machine's own clock, and not of the one that the owner of LocalCloud can
move: who verifies a quote looks at a clock of their own. Within a day it is the same, bit for bit.
Documents: Intel's "API for Provisioning Certification Service", version 4.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cvm_notebook.local.attestation.pki import PCE_SVN, Authority, Machine, pem, sign_raw
from cvm_notebook.local.attestation.quotes import MODULE_VERSION, QE_SIGNER, QE_SVN

SVN: Final[dict[str, int]] = {
    "UpToDate": 9,
    "SWHardeningNeeded": 8,
    "ConfigurationNeeded": 7,
    "OutOfDate": 6,
    "Revoked": 5,
}
"""A machine's status follows from the security version that it runs, as on hardware."""
ADVISORIES: Final[dict[str, list[str]]] = {
    status: [f"LOCAL-SA-{svn:05}"] for status, svn in SVN.items() if status != "UpToDate"
}
DAYS: Final = 30
_ROOT_DAYS: Final = 365
_NUMBER: Final = 20
_AGES: Final = {9: 90, 8: 180, 7: 180, 6: 365, 5: 730}
"""Days for which a level has been known, by its security version."""


def issued_on(now: float) -> datetime:
    """Return the date of what is issued now: midnight of the day before, UTC."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1)


def collateral(
    authority: Authority, fmspc: bytes, begins: datetime, revoked: Iterable[int] = ()
) -> dict[str, str]:
    """Sign what is needed beside a quote, in the nine fields of Phala's service.

    Parameters
    ----------
    begins
        When it was issued; it is good for 30 days.
    revoked
        Serial numbers of PCK certificates.
    """
    ends = begins + timedelta(days=DAYS)
    made = {
        "pck_crl_issuer_chain": pem(authority.platform, authority.root),
        "root_ca_crl": authority.crl(begins, begins + timedelta(days=_ROOT_DAYS)).hex(),
        "pck_crl": authority.crl(begins, ends, sorted(revoked)).hex(),
    }
    dates = {"issueDate": _date(begins), "nextUpdate": _date(ends)}
    common = dates | {"tcbEvaluationDataNumber": _NUMBER}
    documents = {"tcb_info": _tcb_info(fmspc, begins, common), "qe_identity": _qe(begins, common)}
    for name, document in documents.items():
        text = json.dumps(document, separators=(",", ":"))
        made[name] = text
        made[f"{name}_signature"] = sign_raw(authority.key("signing"), text.encode()).hex()
        made[f"{name}_issuer_chain"] = pem(authority.signing, authority.root)
    return made


def serials(authority: Authority, machines: Iterable[Machine]) -> list[int]:
    """Return the serial numbers of machines' PCK certificates, whatever version they run."""
    return [
        authority.pck(machine, svn).serial_number for machine in machines for svn in SVN.values()
    ]


def _tcb_info(fmspc: bytes, begins: datetime, common: dict[str, Any]) -> dict[str, Any]:
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    known = {"tcb": {"isvsvn": 1}, "tcbDate": _date(begins), "tcbStatus": "UpToDate"}
    return {
        "id": "TDX",
        "version": 3,
        **common,
        "fmspc": fmspc.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tdxModule": module,
        "tdxModuleIdentities": [
            {"id": f"TDX_{MODULE_VERSION:02X}", **module, "tcbLevels": [known]}
        ],
        "tcbLevels": [_level(status, svn, begins) for status, svn in SVN.items()],
    }


def _level(status: str, svn: int, begins: datetime) -> dict[str, Any]:
    # Component 1 of TDX is the module's version, which has levels of its own.
    level: dict[str, Any] = {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn}] * 16,
            "pcesvn": PCE_SVN,
            "tdxtcbcomponents": [{"svn": svn if place in {0, 2} else 0} for place in range(16)],
        },
        "tcbDate": _date(begins - timedelta(days=_AGES[svn])),
        "tcbStatus": status,
    }
    return level | ({"advisoryIDs": ADVISORIES[status]} if status in ADVISORIES else {})


def _qe(begins: datetime, common: dict[str, Any]) -> dict[str, Any]:
    known = {"tcb": {"isvsvn": QE_SVN}, "tcbDate": _date(begins), "tcbStatus": "UpToDate"}
    return {
        "id": "TD_QE",
        "version": 2,
        **common,
        "miscselect": "00" * 4,
        "miscselectMask": "FF" * 4,
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [known],
    }


def _date(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
