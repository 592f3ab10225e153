"""The fields of a TDX quote, by name, as the service shows them."""

import struct
from typing import Any, Final

from cvm_notebook.local.attestation.quotes import HEADER_BYTES, REPORT_BYTES, VENDOR

MOST_BYTES: Final = 64 * 1024
_V4, _V5 = 4, 5
_TDX: Final = 0x81
_FIELDS: Final = (
    ("tee_tcb_svn", 16),
    ("mrseam", 48),
    ("mrsignerseam", 48),
    ("seamattributes", 8),
    ("tdattributes", 8),
    ("xfam", 8),
    ("mrtd", 48),
    ("mrconfig", 48),
    ("mrowner", 48),
    ("mrownerconfig", 48),
    ("rtmr0", 48),
    ("rtmr1", 48),
    ("rtmr2", 48),
    ("rtmr3", 48),
    ("reportdata", 64),
)


def fields_of(quote: bytes) -> dict[str, Any]:
    """Read header and report of a quote; its signatures are not looked at.

    Raises
    ------
    ValueError
        It is not a TDX quote of version 4 or 5.
    """
    if not HEADER_BYTES + REPORT_BYTES < len(quote) <= MOST_BYTES:
        raise ValueError(f"{len(quote)} bytes are no quote")
    version, key_type, tee_type = struct.unpack_from("<HHI", quote)
    if version not in {_V4, _V5} or tee_type != _TDX or quote[12:28] != VENDOR:
        raise ValueError("it is not a TDX quote of version 4 or 5")
    at = HEADER_BYTES + (6 if version == _V5 else 0)
    body = {}
    for name, length in _FIELDS:
        body[name] = quote[at : at + length].hex()
        at += length
    header = {
        "version": version,
        "ak_type": key_type,
        "tee_type": tee_type,
        "qe_vendor": VENDOR.hex(),
        "user_data": quote[28:HEADER_BYTES].hex(),
    }
    # Nobody has verified anything: who wants to know verifies the quote.
    return {"header": header, "cert_data": None, "body": body, "verified": False}
