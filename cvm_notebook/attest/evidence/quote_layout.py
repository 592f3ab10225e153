"""Layout of a TDX quote: header, TD report and the certificates of its platform.

Versions 4 and 5 of Intel's "TDX DCAP Quoting Library API", appendix A.3; all numbers little endian.
Nothing here is verified: `cvm_notebook.attest.quotes` does that, over the same bytes.
"""

import hashlib
import re
import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from cvm_notebook.attest.evidence.fields import MOST_QUOTE_BYTES, MalformedEvidence

TDX: Final = 0x81
SGX: Final = 0
REGISTER_BYTES: Final = 48
QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")  # Intel's quoting enclave
_HEADER: Final = 48
_TD10: Final = 584
_TD15: Final = _TD10 + 16 + REGISTER_BYTES
_QE_REPORT: Final = 384 + 64  # with its signature
_PCK_CHAIN: Final = 5
_QE_CERTIFICATION: Final = 6
_TD_BODIES: Final = {2: _TD10, 3: _TD15, 4: _TD15}  # type of the body, and how long it is at least
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
_FMSPC: Final = bytes.fromhex("060a2a864886f84d010d01040406")  # its OID, then OCTET STRING (6)
_DEBUG, _SEPT_VE_DISABLE, _MIGRATABLE = 1, 1 << 28, 1 << 29


@dataclass(frozen=True)
class TdReport:
    """The TD report of a quote: the TDX module's measurements; registers are 48 bytes.

    Attributes
    ----------
    signed
        The header and the body: what the quote's signature covers, and what identifies a quote.
        (Its bytes do not: padding, line ends and a signature's other half may differ.)
    certificates
        The PEM chain of the platform, as far as it could be found.
    size
        Bytes of the quote without padding.
    """

    version: int
    signed: bytes
    mr_signer_seam: bytes
    td_attributes: int
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    mr_service_td: bytes
    certificates: bytes
    size: int

    @property
    def mr_aggregated(self) -> str:
        """SHA-256 over MRTD, the registers and, where any is set, the configuration fields."""
        configured = self.mr_config_id + self.mr_owner + self.mr_owner_config
        whole = self.mr_td + b"".join(self.rtmrs) + (configured if any(configured) else b"")
        return hashlib.sha256(whole).hexdigest()

    @property
    def attribute_problem(self) -> str | None:
        """The attribute that opens the trust domain to its host; None where there is none."""
        if self.td_attributes & _DEBUG:
            return "debugging is enabled: the host can read and change its memory"
        if self.td_attributes & _MIGRATABLE:
            return "it can be migrated, and so copied elsewhere"
        if not self.td_attributes & _SEPT_VE_DISABLE:
            return "SEPT_VE_DISABLE is not set: the host can interrupt its memory accesses"
        if any(self.mr_signer_seam):
            return "its TDX module is not signed by Intel (mr_signer_seam is not zero)"
        if any(self.mr_service_td):
            return "a service TD is bound to it (mr_service_td is not zero)"
        return None

    @cached_property
    def platform(self) -> tuple[str, str] | None:
        """FMSPC (upper-case hex) and CA (``platform`` or ``processor``) of its PCK certificate."""
        return _platform_of(self.certificates)


def parse_quote(quote: bytes) -> TdReport:
    """Read a TDX quote.

    Raises
    ------
    MalformedEvidence
        It is no TDX quote of version 4 or 5, or shorter than it says.
    """
    if not quote:
        raise MalformedEvidence("quote", "is missing")
    if len(quote) > MOST_QUOTE_BYTES:
        raise MalformedEvidence("quote", f"has more than {MOST_QUOTE_BYTES >> 10} KiB")
    if len(quote) < _HEADER:
        raise MalformedEvidence("quote", f"has {len(quote)} bytes, fewer than its header")
    version, key_type, tee = struct.unpack_from("<HHI", quote)
    if tee == SGX and version in (3, 4, 5):
        raise MalformedEvidence("quote", "is one of an SGX enclave, and not of a CVM")
    if version not in (4, 5) or tee != TDX:
        problem = f"has version {version} and TEE type {tee:#x}: not TDX, and not read here"
        raise MalformedEvidence("quote", problem)
    if key_type != 2:  # noqa: PLR2004 - ECDSA with P-256
        raise MalformedEvidence(
            "quote", f"has an attestation key of type {key_type}, not ECDSA P-256"
        )
    start, length = _body(quote, version)
    end = start + length
    signature = _length_at(quote, end, "signature data")
    return _report(quote, version, start, end, end + 4 + signature)


def _body(quote: bytes, version: int) -> tuple[int, int]:
    """Return where the TD report begins, and its length."""
    if version == 4:  # noqa: PLR2004
        return _HEADER, _TD10
    try:
        kind, length = struct.unpack_from("<HI", quote, _HEADER)
    except struct.error:
        raise MalformedEvidence("quote", "ends within its header") from None
    if kind not in _TD_BODIES or length < _TD_BODIES[kind]:
        raise MalformedEvidence(
            "quote", f"has a body of type {kind} and {length} bytes, not a TD's"
        )
    return _HEADER + 6, length


def _length_at(quote: bytes, place: int, what: str) -> int:
    if place + 4 > len(quote):
        raise MalformedEvidence("quote", f"ends before its {what}")
    (length,) = struct.unpack_from("<I", quote, place)
    if place + 4 + length > len(quote):
        raise MalformedEvidence("quote", f"ends within its {what}")
    return int(length)


def _report(quote: bytes, version: int, start: int, end: int, size: int) -> TdReport:
    body = quote[start:end]
    registers = [body[at : at + REGISTER_BYTES] for at in range(328, 520, REGISTER_BYTES)]
    return TdReport(
        version=version,
        signed=quote[:end],
        mr_signer_seam=body[64:112],
        td_attributes=int.from_bytes(body[120:128], "little"),
        mr_td=body[136:184],
        mr_config_id=body[184:232],
        mr_owner=body[232:280],
        mr_owner_config=body[280:328],
        rtmrs=(registers[0], registers[1], registers[2], registers[3]),
        report_data=body[520:584],
        mr_service_td=body[600:648],
        certificates=_chain(quote[end + 4 : size]),
        size=size,
    )


def _chain(signature: bytes) -> bytes:
    """Return the PEM chain in a quote's signature data; nothing where it is in no known form."""
    try:
        kind, length = struct.unpack_from("<HI", signature, 128)
        if kind == _PCK_CHAIN:
            return signature[134 : 134 + length]
        if kind != _QE_CERTIFICATION:
            return b""
        inner = signature[134 : 134 + length]
        (extra,) = struct.unpack_from("<H", inner, _QE_REPORT)
        at = _QE_REPORT + 2 + extra
        kind, length = struct.unpack_from("<HI", inner, at)
        return inner[at + 6 : at + 6 + length] if kind == _PCK_CHAIN else b""
    except struct.error:
        return b""


@lru_cache(maxsize=256)
def _platform_of(certificates: bytes) -> tuple[str, str] | None:
    """Read FMSPC and CA out of the first certificate of a chain; it says where collateral is."""
    found = _PEM.search(certificates)
    if found is None:
        return None
    from cryptography import x509  # noqa: PLC0415 - slow to import, needed here only

    try:
        pck = x509.load_pem_x509_certificate(found[0])
        issuer = pck.issuer.rfc4514_string()
        oid = x509.ObjectIdentifier(_SGX_EXTENSION)
        extension = pck.extensions.get_extension_for_oid(oid).value.public_bytes()
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    at = extension.find(_FMSPC)
    if at < 0:
        return None
    fmspc = extension[at + len(_FMSPC) : at + len(_FMSPC) + 6].hex().upper()
    return fmspc, "processor" if "Processor" in issuer else "platform"
