"""Quotes of trust domains: versions 4 and 5, signed as a quoting enclave signs them.

Layout: Intel's "TDX DCAP Quoting Library API", revision 0.9, appendix A; all numbers little endian.
"""

import functools
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cvm_notebook.local.attestation.pki import Authority, Machine, pem, sign_raw

QE_SVN: Final = 4
QE_SIGNER: Final = hashlib.sha256(b"LocalCloud's quoting enclave (not Intel)").digest()
MODULE_VERSION: Final = 1
VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor of the quoting enclave as verifiers want it: there is no other."""
REPORT_BYTES: Final = 584
HEADER_BYTES: Final = 48
TD15: Final = 3
_DEBUG: Final = 1
_SEPT_VE_DISABLE: Final = 1 << 28
_XFAM: Final = bytes.fromhex("e702060000000000")
_KEY_TYPE, _TEE_TYPE = 2, 0x81
_QE_CERTIFICATION, _PEM_CHAIN = 6, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The TD report: registers of a trust domain, and 64 bytes of its own choice."""

    mr_td: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    mr_config_id: bytes
    report_data: bytes
    debug: bool = False

    @property
    def aggregated(self) -> bytes:
        """One hash of all registers; its owner has set none."""
        registers = (self.mr_td, *self.rtmrs, self.mr_config_id, bytes(48 + 48))
        return hashlib.sha256(b"".join(registers)).digest()


class Quoter:
    """Signs reports on machines."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def quote(self, report: Report, machine: Machine, svn: int, version: int = 4) -> bytes:
        """Quote a report on a machine that runs a security version.

        Parameters
        ----------
        version
            4, with a report of TD 1.0; or 5, with one of TD 1.5.
        """
        header = struct.pack("<HHIHH", version, _KEY_TYPE, _TEE_TYPE, 0, 0) + VENDOR + bytes(20)
        body = _packed(report, svn, td15=version == 5)  # noqa: PLR2004 - the quote's version
        kind = struct.pack("<HI", TD15, len(body)) if version == 5 else b""  # noqa: PLR2004
        key, vouched = self._enclave(machine, svn)
        signed = header + kind + body
        proof = sign_raw(key, signed) + vouched
        return signed + struct.pack("<I", len(proof)) + proof

    @functools.cache  # noqa: B019 - as long-lived as its process
    def _enclave(self, machine: Machine, svn: int) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
        """Return a machine's attestation key, and what vouches for it in each of its quotes."""
        key = self._authority.key(f"attestation {machine.name}")
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        extra = bytes(32)
        report = struct.pack(
            "<16s32x16s64x32s96xHH60x32s32x",
            bytes([svn]) * 16,
            b"\x11",
            QE_SIGNER,
            2,
            QE_SVN,
            hashlib.sha256(point + extra).digest(),
        )
        pck = self._authority.pck(machine, svn)
        chain = pem(pck, self._authority.platform, self._authority.root).encode()
        inner = (
            report
            + sign_raw(self._authority.pck_key(machine), report)
            + struct.pack("<H", len(extra))
            + extra
            + struct.pack("<HI", _PEM_CHAIN, len(chain))
            + chain
        )
        return key, point + struct.pack("<HI", _QE_CERTIFICATION, len(inner)) + inner


def _packed(report: Report, svn: int, *, td15: bool) -> bytes:
    tcb = bytes([svn, MODULE_VERSION, svn]).ljust(16, b"\0")
    attributes = _SEPT_VE_DISABLE | (_DEBUG if report.debug else 0)
    module = hashlib.sha384(b"LocalCloud's TDX module (not Intel)").digest()
    body = b"".join(
        (
            tcb,
            module,
            bytes(48 + 8),
            attributes.to_bytes(8, "little"),
            _XFAM,
            report.mr_td,
            report.mr_config_id,
            bytes(48 + 48),
            *report.rtmrs,
            report.report_data.ljust(64, b"\0"),
        )
    )
    assert len(body) == REPORT_BYTES  # noqa: S101 - registers have 48 bytes
    return body + tcb + bytes(48) if td15 else body
