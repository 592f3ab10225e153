"""The certificates behind quotes, laid out as Intel's for DCAP, under a root of LocalCloud's own.

Every key is derived from LocalCloud's secret and every signature is deterministic, so all workers
make the same, bit for bit. The names say that none of it is Intel's. Layout: Intel's "PCK
Certificate and CRL Profile Specification", revision 1.5.
"""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PCE_SVN: Final = 11
_SGX: Final = "1.2.840.113741.1.13.1"
_SGX_DER: Final = bytes.fromhex("2a864886f84d010d01")
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, section 2.4.2)."""
_BEGINS: Final = datetime(2024, 1, 1, tzinfo=UTC)
_ENDS: Final = datetime(2049, 12, 31, tzinfo=UTC)
_LONG: Final = 0x80
_INTEGER, _OCTETS, _OID, _ENUMERATED, _BOOLEAN, _SEQUENCE = 2, 4, 6, 10, 1, 0x30


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that signs quotes, as its PCK certificate describes it."""

    name: str
    fmspc: bytes
    ppid: bytes


class Authority:
    """The root, what it has certified, and what it has revoked."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.root = self._certified("root", "Development Root CA", path_length=1)
        self.platform = self._certified("platform", "PCK Platform CA", self.root, path_length=0)
        self.signing = self._certified("signing", "TCB Signing", self.root)

    def key(self, label: str) -> ec.EllipticCurvePrivateKey:
        """Derive a key of P-256."""
        purpose = f"cvm-notebook local attestation/{label}".encode()
        # 128 bits more than needed: the remainder is as good as even.
        drawn = HKDF(hashes.SHA256(), 48, None, purpose).derive(self._secret)
        return ec.derive_private_key(1 + int.from_bytes(drawn) % (_ORDER - 1), ec.SECP256R1())

    @functools.cache  # noqa: B019 - an authority lives as long as its process
    def pck_key(self, machine: Machine) -> ec.EllipticCurvePrivateKey:
        """Give the key that vouches for a machine's quoting enclave."""
        return self.key(f"pck {machine.name}")

    @functools.cache  # noqa: B019
    def pck(self, machine: Machine, svn: int) -> x509.Certificate:
        """Certify a machine's PCK key for the security version that it runs."""
        made = self._builder(
            "PCK Certificate",
            self.pck_key(machine),
            self.platform,
            _number(f"{machine.name}/{svn}"),
        )
        sgx = x509.UnrecognizedExtension(x509.ObjectIdentifier(_SGX), _sgx(machine, svn))
        made = _constrained(made, None).add_extension(sgx, critical=False)
        return _signed(made, self.key("platform"))

    def crl(self, begins: datetime, ends: datetime, revoked: Iterable[int] | None = None) -> bytes:
        """Sign the list of what is revoked: of the platform CA's, or without one of the root's."""
        by, label = (self.root, "root") if revoked is None else (self.platform, "platform")
        named = [x509.RevokedCertificateBuilder(one, begins).build() for one in revoked or ()]
        made = x509.CertificateRevocationListBuilder(by.subject, begins, ends, [], named)
        made = made.add_extension(x509.CRLNumber(int(begins.timestamp())), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key(label).public_key())
        made = made.add_extension(issuer, critical=False)
        signed = made.sign(self.key(label), hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.DER)

    def _certified(
        self,
        label: str,
        name: str,
        by: x509.Certificate | None = None,
        path_length: int | None = None,
    ) -> x509.Certificate:
        made = self._builder(name, self.key(label), by, _number(label))
        return _signed(_constrained(made, path_length), self.key("root"))

    def _builder(
        self, name: str, key: ec.EllipticCurvePrivateKey, by: x509.Certificate | None, serial: int
    ) -> x509.CertificateBuilder:
        subject = _name(name)
        issuer = by.subject if by is not None else subject
        signer = by.public_key() if by is not None else key.public_key()
        assert isinstance(signer, ec.EllipticCurvePublicKey)  # noqa: S101 - all keys here are
        made = x509.CertificateBuilder(issuer, subject, key.public_key(), serial, _BEGINS, _ENDS)
        return made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def pem(*chain: x509.Certificate) -> str:
    """Write certificates one below the other."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Sign as DCAP does: r and s, 32 bytes each."""
    signature = key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return b"".join(number.to_bytes(32) for number in utils.decode_dss_signature(signature))


def _number(label: str) -> int:
    """Return a serial number: positive, at most 20 bytes, the same each time."""
    return int.from_bytes(hashlib.sha256(f"serial of {label}".encode()).digest()[:16]) >> 1 or 1


def _name(common: str) -> x509.Name:
    # A verifier tells the two kinds of PCK CAs by the word "Platform" in the name.
    parts = (
        (NameOID.COMMON_NAME, f"LocalCloud {common} (not Intel)"),
        (NameOID.ORGANIZATION_NAME, "LocalCloud (not hardware)"),
    )
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _constrained(made: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    is_ca = path_length is not None
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    limits = x509.BasicConstraints(ca=is_ca, path_length=path_length)
    return made.add_extension(usage, critical=True).add_extension(limits, critical=True)


def _signed(made: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return made.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def _sgx(machine: Machine, svn: int) -> bytes:
    """Encode what a machine is: PPID, security versions, FMSPC, and three flags as clouds have."""
    components = [(bytes([2, place]), _der(_INTEGER, bytes([svn]))) for place in range(1, 17)]
    versions = [
        *components,
        (b"\x02\x11", _der(_INTEGER, bytes([PCE_SVN]))),
        (b"\x02\x12", _der(_OCTETS, bytes([svn]) * 16)),
    ]
    instance = hashlib.sha256(f"instance of {machine.name}".encode()).digest()[:16]
    flags = [(bytes([7, place]), _der(_BOOLEAN, b"\xff")) for place in (1, 2, 3)]
    return _fields(
        [
            (b"\x01", _der(_OCTETS, machine.ppid)),
            (b"\x02", _fields(versions)),
            (b"\x03", _der(_OCTETS, bytes(2))),
            (b"\x04", _der(_OCTETS, machine.fmspc)),
            (b"\x05", _der(_ENUMERATED, b"\x01")),
            (b"\x06", _der(_OCTETS, instance)),
            (b"\x07", _fields(flags)),
        ]
    )


def _fields(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Encode a sequence of pairs: a number below Intel's arc, and a value."""
    pairs = (_der(_SEQUENCE, _der(_OID, _SGX_DER + number), value) for number, value in fields)
    return _der(_SEQUENCE, *pairs)


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < _LONG:
        return bytes([tag, len(body)]) + body
    return bytes([tag, 0x82]) + len(body).to_bytes(2) + body
