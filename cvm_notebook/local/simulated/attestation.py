"""Compose the attestation of a CVM: the right shape, sums that add up, and no hardware behind it.

Every document says so: in ``notice``, in the first event of its log, and in its certificates.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cvm_notebook.local.core import keys
from cvm_notebook.local.core.catalogue import IMAGES
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.engine.compose import canonical, measured

NOTICE: Final = (
    "Made by LocalCloud on this machine. No trusted hardware has measured or signed any of it."
)
_ORGANIZATION: Final = "LocalCloud (not hardware)"
_CA_NAME: Final = "LocalCloud CA, proves nothing"
_RUNTIME_EVENT: Final = 0x08000001
_RTMR3: Final = 3
_ZEROS: Final = bytes(48)
_VALID: Final = timedelta(days=365)


def app_compose(compose_file: dict[str, Any]) -> str:
    """Format a compose file as it is hashed: sorted keys, no spaces, no escapes."""
    return canonical(measured(compose_file))


def tcb_info(cvm: Cvm, instance_id: str) -> dict[str, Any]:
    """Give the measurements; RTMR3 is what its event log adds up to. Needs the compose file."""
    log = _events(cvm, instance_id)
    return {
        "mrtd": _measured("mrtd", cvm.image),
        "rootfs_hash": IMAGES[cvm.image].os_image_hash,
        "rtmr0": _measured("rtmr0", f"{cvm.vcpu}/{cvm.memory}/{cvm.gpus}"),
        "rtmr1": _measured("rtmr1", cvm.image),
        "rtmr2": _measured("rtmr2", cvm.image),
        "rtmr3": extend(event["digest"] for event in log).hex(),
        "event_log": log,
        "app_compose": app_compose(cvm.compose_file),
    }


def extend(digests: Any) -> bytes:
    """Add digests (hex) up as a runtime measurement register does."""
    register = _ZEROS
    for digest in digests:
        register = hashlib.sha384(register + bytes.fromhex(digest)).digest()
    return register


def mr_config_id(compose_hash: str) -> str:
    """Give the 48 bytes that bind a CVM to its compose hash, in their first version."""
    return (b"\x01" + bytes.fromhex(compose_hash)).ljust(48, b"\0").hex()


def certificates(secret: bytes, cvm: Cvm) -> list[dict[str, Any]]:
    """Describe a CVM's certificate and that of its issuer."""
    return list(_certificates(secret, cvm.vm_uuid, cvm.app_id, cvm.created_at))


def _events(cvm: Cvm, instance_id: str) -> list[dict[str, Any]]:
    provider = {"name": "kms", "id": hashlib.sha256(b"LocalCloud").hexdigest()}
    return [
        _event("local-cloud", NOTICE.encode()),
        _event("system-preparing", b""),
        _event("app-id", bytes.fromhex(cvm.app_id)),
        _event("compose-hash", bytes.fromhex(cvm.compose_hash)),
        _event("instance-id", bytes.fromhex(instance_id)),
        _event("boot-mr-done", b""),
        _event("os-image-hash", bytes.fromhex(IMAGES[cvm.image].os_image_hash)),
        _event("key-provider", json.dumps(provider).encode()),
        _event("storage-fs", cvm.storage_fs.encode()),
        _event("system-ready", b""),
    ]


def _event(name: str, payload: bytes) -> dict[str, Any]:
    measured = b":".join((_RUNTIME_EVENT.to_bytes(4, "little"), name.encode(), payload))
    return {
        "imr": _RTMR3,
        "event_type": _RUNTIME_EVENT,
        "digest": hashlib.sha384(measured).hexdigest(),
        "event": name,
        "event_payload": payload.hex(),
    }


def _measured(register: str, what: str) -> str:
    return hashlib.sha384(f"LocalCloud:{register}:{what}".encode()).hexdigest()


@lru_cache(maxsize=1024)
def _certificates(
    secret: bytes, vm_uuid: str, app_id: str, created_at: float
) -> tuple[dict[str, Any], ...]:
    chain = _chain(secret, vm_uuid, app_id, created_at)
    return tuple(_described(place, one, app_id) for place, one in enumerate(chain))


def _chain(
    secret: bytes, vm_uuid: str, app_id: str, created_at: float
) -> tuple[x509.Certificate, x509.Certificate]:
    ca = keys.ca_key(secret)
    issuer = _name(_CA_NAME)
    root = _sign(
        ca,
        _builder(issuer, issuer, ca, 1, 0.0).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ),
    )
    own = keys.cvm_key(secret, vm_uuid)
    subject = _name(f"{app_id[:16]}.localcloud.invalid")
    serial = uuid.UUID(vm_uuid).int >> 1 or 1
    names = x509.SubjectAlternativeName([x509.DNSName(f"{app_id}.localcloud.invalid")])
    leaf = _sign(
        ca,
        _builder(subject, issuer, own, serial, created_at)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True),
    )
    return leaf, root


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


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
        ]
    )


def _described(place: int, certificate: x509.Certificate, app_id: str) -> dict[str, Any]:
    is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
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
        "is_ca": is_ca,
        "position_in_chain": place,
        "quote": None,
        "app_id": None if is_ca else app_id,
        "cert_usage": "ca" if is_ca else "app",
    }


def _party(name: x509.Name) -> dict[str, str | None]:
    common: Sequence[x509.NameAttribute[Any]]
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {
        "common_name": str(common[0].value),
        "organization": _ORGANIZATION,
        "country": None,
    }


def _sans(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)
