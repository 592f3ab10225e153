"""The certificates of guests: issued by LocalCloud's KMS, each with the quote that vouches for it.

Extensions: dstack's ``ra-tls``, below 1.3.6.1.4.1.62397.1.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cvm_notebook.local.attestation.attester import Evidence
from cvm_notebook.local.core import keys

_ORGANIZATION: Final = "LocalCloud (not hardware)"
_CA_NAME: Final = "LocalCloud CA, proves nothing"
_VALID: Final = timedelta(days=365)
_ARC: Final = "1.3.6.1.4.1.62397.1"
_QUOTE, _LOG, _APP = 1, 2, 3
_BOUND: Final = b"ratls-cert:"
_OCTETS, _LONG = 4, 0x80

Attest = Callable[[bytes], Evidence]
"""Returns the evidence of a guest with these 64 bytes in its quote."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A guest's certificate, that of its issuer, and the evidence in the former."""

    leaf: x509.Certificate
    issuer: x509.Certificate
    evidence: Evidence

    @property
    def pem(self) -> str:
        """Both, the guest's first."""
        both = (self.leaf, self.issuer)
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in both)

    def described(self) -> list[dict[str, Any]]:
        """Describe them as the service does."""
        app_id = self.evidence.guest.app_id
        leaf = _described(0, self.leaf) | {
            "quote": self.evidence.quote.hex(),
            "app_id": app_id,
            "cert_usage": "app",
        }
        issuer = {"quote": None, "app_id": None, "cert_usage": "ca"}
        return [leaf, _described(1, self.issuer) | issuer]


def chain(secret: bytes, holder: str, begins: float, attest: Attest) -> Chain:
    """Certify the key of a guest, whose quote is made for this key.

    Parameters
    ----------
    holder
        What the key is derived for.
    begins
        From when on it is valid, in seconds since 1970.
    """
    own, (ca, root) = keys.cvm_key(secret, holder), _issuer(secret)
    evidence = attest(report_data(own))
    app_id = evidence.guest.app_id
    serial = int.from_bytes(hashlib.sha256(holder.encode()).digest()[:16]) >> 1 or 1
    subject = _name(f"{app_id[:16]}.localcloud.invalid")
    leaf = _builder(subject, root.subject, own, serial, begins)
    names = x509.SubjectAlternativeName([x509.DNSName(f"{app_id}.localcloud.invalid")])
    leaf = leaf.add_extension(names, critical=False).add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    log = json.dumps(evidence.handed_on, separators=(",", ":")).encode()
    shown = ((_QUOTE, evidence.quote), (_LOG, log), (_APP, bytes.fromhex(app_id)))
    for number, value in shown:
        kind = x509.ObjectIdentifier(f"{_ARC}.{number}")
        leaf = leaf.add_extension(x509.UnrecognizedExtension(kind, _octets(value)), critical=False)
    return Chain(_sign(ca, leaf), root, evidence)


@functools.lru_cache(maxsize=8)
def _issuer(secret: bytes) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return the key of the KMS that signs certificates, and its own certificate."""
    ca, name = keys.ca_key(secret), _name(_CA_NAME)
    limits = x509.BasicConstraints(ca=True, path_length=0)
    made = _builder(name, name, ca, 1, 0.0).add_extension(limits, critical=True)
    return ca, _sign(ca, made)


def report_data(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the 64 bytes by which a quote vouches for a key."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha512(_BOUND + public).digest()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    begins: float,
) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(int(begins), UTC)
    valid = _VALID if begins else 100 * _VALID
    return x509.CertificateBuilder(issuer, subject, key.public_key(), serial, begin, begin + valid)


def _sign(key: ec.EllipticCurvePrivateKey, builder: x509.CertificateBuilder) -> x509.Certificate:
    # Deterministic, so that every worker shows the same fingerprint.
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def _octets(value: bytes) -> bytes:
    """Encode an OCTET STRING."""
    if len(value) < _LONG:
        return bytes([_OCTETS, len(value)]) + value
    size = (len(value).bit_length() + 7) // 8
    return bytes([_OCTETS, _LONG | size]) + len(value).to_bytes(size) + value


def _name(common: str) -> x509.Name:
    parts = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, _ORGANIZATION))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _described(place: int, certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": _party(certificate.subject) | {"state": None, "locality": None},
        "issuer": _party(certificate.issuer),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "version": certificate.version.name,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "signature_algorithm": "ecdsa-with-SHA256",
        "sans": _sans(certificate),
        "is_ca": place > 0,
        "position_in_chain": place,
    }


def _party(name: x509.Name) -> dict[str, str | None]:
    common: Sequence[x509.NameAttribute[Any]]
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {"common_name": str(common[0].value), "organization": _ORGANIZATION, "country": None}


def _sans(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)
