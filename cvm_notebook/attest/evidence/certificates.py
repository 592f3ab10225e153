"""Quotes in certificates: the extensions that dstack writes (``ra-tls``), and RA-TLS binding.

Up to 0.5.8 a certificate has the quote (``.1.1``) and the event log (``.1.2``), each an OCTET
STRING; from 0.5.9 on one "versioned attestation" (``.1.8``), in which the quote is found by its
header and its own length.
"""

import hashlib
import struct
from typing import Final, NamedTuple

from cvm_notebook.attest.evidence.fields import (
    MOST_QUOTE_BYTES,
    MOST_TEXT_BYTES,
    MalformedEvidence,
)
from cvm_notebook.attest.evidence.quote_layout import QE_VENDOR, TDX, parse_quote

_ARC: Final = "1.3.6.1.4.1.62397.1"
_QUOTE, _EVENT_LOG, _ATTESTATION = f"{_ARC}.1", f"{_ARC}.2", f"{_ARC}.8"
_RA_TLS: Final = b"ratls-cert:"
_LONG_FORM: Final = 0x80


class CertifiedQuote(NamedTuple):
    """The quote in a certificate's extension, with what surrounds it.

    Attributes
    ----------
    event_log
        JSON; empty where the certificate has none that is read here.
    public_key
        DER (SubjectPublicKeyInfo) of the key that it certifies.
    """

    quote: bytes
    event_log: bytes
    public_key: bytes


def read_certificate(certificate: bytes) -> CertifiedQuote:
    """Read the quote in a certificate, DER or PEM.

    Raises
    ------
    MalformedEvidence
        It is no certificate, or has no quote.
    """
    from cryptography import x509  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    if len(certificate) > MOST_TEXT_BYTES:
        raise MalformedEvidence("certificate", "has more than 1 MiB")
    try:
        pem = certificate.lstrip().startswith(b"-----")
        load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
        found = load(certificate)
        extensions = {one.oid.dotted_string: one.value.public_bytes() for one in found.extensions}
        key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, x509.DuplicateExtension):
        raise MalformedEvidence("certificate", "cannot be read") from None
    if _QUOTE in extensions:
        log = extensions.get(_EVENT_LOG, b"")
        return CertifiedQuote(_octets(extensions[_QUOTE]), _octets(log) if log else b"", key)
    if _ATTESTATION in extensions:
        return CertifiedQuote(find_quote(_octets(extensions[_ATTESTATION])), b"", key)
    raise MalformedEvidence("certificate", "carries no quote")


def find_quote(attestation: bytes) -> bytes:
    """Find the quote in a versioned attestation, by its header.

    Raises
    ------
    MalformedEvidence
        There is none.
    """
    if len(attestation) > MOST_TEXT_BYTES:
        raise MalformedEvidence("attestation", "has more than 1 MiB")
    for version in (4, 5):
        head = struct.pack("<HHIHH", version, 2, TDX, 0, 0)
        at = attestation.find(QE_VENDOR)
        while at >= 0:
            begin = at - len(head)
            if begin >= 0 and attestation[begin : begin + 8] == head[:8]:
                rest = attestation[begin : begin + MOST_QUOTE_BYTES]
                return rest[: parse_quote(rest).size]
            at = attestation.find(QE_VENDOR, at + 1)
    raise MalformedEvidence("attestation", "holds no TDX quote")


def ra_tls_report_data(public_key: bytes) -> bytes:
    """Return the report data that binds a TLS key: SHA-512 of ``ratls-cert:`` and its DER."""
    return hashlib.sha512(_RA_TLS + public_key).digest()


def _octets(der: bytes) -> bytes:
    """Return the content of an OCTET STRING; anything else is returned unchanged."""
    if len(der) < 2 or der[0] != 4:  # noqa: PLR2004 - its tag
        return der
    length, at = der[1], 2
    if length & _LONG_FORM:
        at += length & 0x7F
        length = int.from_bytes(der[2:at])
    return der[at:] if at + length == len(der) else der
