"""Do what a key management service does: derive, hand out and sign keys, all from one root secret.

LocalCloud holds the private halves, so it can read the environment variables that are sent to it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from Crypto.Hash import keccak
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# The order of secp256k1 (SEC 2, section 2.4.1).
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_SIGNED_PREFIX: Final = b"dstack-env-encrypt-pubkey:"
_PUBLIC: Final = 32
_NONCE: Final = 12
_TAG: Final = 16
_LONGEST_SHORT_STRING: Final = 55


MAX_ENVS: Final = 1024
_MAX_NAME: Final = 255  # bytes, as are the next two
_MAX_VALUE: Final = 128 * 1024
_MAX_ENV: Final = 1024 * 1024
_ENV_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class EnvError(ValueError):
    """Environment variables that were not encrypted for this app, or are something else."""


class EnvLimitError(EnvError):
    """Environment variables with which a guest would not boot."""


def keccak256(data: bytes) -> bytes:
    """Hash as Ethereum does (not SHA3-256: the padding differs)."""
    return keccak.new(digest_bits=256, data=data).digest()


def env_public_key(secret: bytes, app_id: str) -> str:
    """Give the X25519 public key, as hex, that an app's environment is encrypted for."""
    return _env_key(secret, app_id).public_key().public_bytes_raw().hex()


def decrypt_env(secret: bytes, app_id: str, encrypted: str) -> dict[str, str]:
    """Read encrypted environment variables.

    Raises
    ------
    EnvError
        They are not hex, not for this app, or not a list of names and values.
    """
    try:
        data = bytes.fromhex(encrypted)
    except ValueError:
        raise EnvError("encrypted_env is not hexadecimal") from None
    if len(data) < _PUBLIC + _NONCE + _TAG:
        raise EnvError("encrypted_env is too short to be encrypted variables")
    ephemeral = X25519PublicKey.from_public_bytes(data[:_PUBLIC])
    nonce, sealed = data[_PUBLIC : _PUBLIC + _NONCE], data[_PUBLIC + _NONCE :]
    try:
        shared = _env_key(secret, app_id).exchange(ephemeral)
        plain = AESGCM(shared).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError):
        raise EnvError(f"encrypted_env is not encrypted for app {app_id}") from None
    return _variables(plain)


def guest_env(variables: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """Return what of its variables a guest keeps: it drops those that its app doesn't allow.

    Raises
    ------
    EnvLimitError
        A guest would not boot with them; no value is named.
    """
    if len(variables) > MAX_ENVS:
        raise EnvLimitError(f"there are {len(variables)} variables, a guest takes {MAX_ENVS}")
    names = set(allowed)
    kept = {name: value for name, value in variables.items() if name in names}
    for name, value in kept.items():
        if len(name.encode()) > _MAX_NAME:
            raise EnvLimitError(f"the name {name[:40]}... has more than {_MAX_NAME} bytes")
        if len(value.encode()) > _MAX_VALUE:
            raise EnvLimitError(f"the value of {name} has more than {_MAX_VALUE} bytes")
        if not _ENV_NAME.fullmatch(name):
            raise EnvLimitError(f"{name[:40]!r} is not the name of a variable")
    if sum(len(part.encode()) for pair in kept.items() for part in pair) > _MAX_ENV:
        raise EnvLimitError(f"names and values have more than {_MAX_ENV} bytes")
    return kept


def _variables(plain: bytes) -> dict[str, str]:
    try:
        found = {item["key"]: item["value"] for item in json.loads(plain)["env"]}
        for text in (*found, *found.values()):
            text.encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EnvError('encrypted_env does not hold {"env": [{"key", "value"}]}') from None
    return found


def env_signature(secret: bytes, app_id: str, timestamp: int | None = None) -> str:
    """Sign an app's public key, as hex of r, s and the recovery id.

    With a timestamp the signature says when it was made, so that an old one can be refused.
    """
    moment = b"" if timestamp is None else timestamp.to_bytes(8, "big")
    public = bytes.fromhex(env_public_key(secret, app_id))
    digest = keccak256(_SIGNED_PREFIX + bytes.fromhex(app_id) + moment + public)
    return _sign_recoverable(_signer(secret), digest).hex()


def signer_public_key(secret: bytes) -> str:
    """Give the compressed secp256k1 key, as hex, that signs the public keys of apps."""
    point = _signer(secret).public_key()
    return point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()


def ca_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Give the P-256 key that signs the certificates of CVMs."""
    return ec.derive_private_key(_scalar(secret, b"ca"), ec.SECP256R1())


def ca_public_key(secret: bytes) -> str:
    """Give the public half of the key that signs certificates, as hex of its DER form."""
    public = ca_key(secret).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()


def cvm_key(secret: bytes, vm_uuid: str) -> ec.EllipticCurvePrivateKey:
    """Give the P-256 key of one CVM's own certificate."""
    return ec.derive_private_key(_scalar(secret, b"cvm:" + vm_uuid.encode()), ec.SECP256R1())


def app_address(deployer: str, nonce: int) -> str:
    """Give the address (40 hex) a contract gets when this deployer creates it with this nonce."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    items = _rlp_string(bytes.fromhex(deployer)) + _rlp_string(number)
    return keccak256(bytes([0xC0 + len(items)]) + items)[12:].hex()


def deployer_address(secret: bytes, workspace_id: int) -> str:
    """Give the address (40 hex) that creates the apps of a workspace."""
    return _derive(secret, f"deployer:{workspace_id}".encode())[:20].hex()


def _rlp_string(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:  # noqa: PLR2004  # RLP: such a byte stands for itself
        return data
    assert len(data) <= _LONGEST_SHORT_STRING  # noqa: S101  # an address or a small number
    return bytes([0x80 + len(data)]) + data


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, b"cvm-notebook local kms/" + purpose).derive(secret)


def _scalar(secret: bytes, purpose: bytes) -> int:
    # Both curves used here have orders just below 2**256, so 1 + (x mod (order - 1)) is as good
    # as even for keys that protect nothing.
    return 1 + int.from_bytes(_derive(secret, purpose)) % (_ORDER - 1)


def _env_key(secret: bytes, app_id: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derive(secret, b"env:" + app_id.encode()))


def _signer(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_scalar(secret, b"signer"), ec.SECP256K1())


def _sign_recoverable(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    # Deterministic, so that every worker gives the same.
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
    der = key.sign(digest, algorithm)
    r, s = utils.decode_dss_signature(der)
    s = min(s, _ORDER - s)  # Ethereum takes only the lower of the two
    # The recovery id says which point R was; as the owner of the key we can compute it:
    # s = (z + r d) / k, so k = (z + r d) / s, and R = k G.
    secret = key.private_numbers().private_value
    k = (int.from_bytes(digest) + r * secret) * pow(s, -1, _ORDER) % _ORDER
    point = ec.derive_private_key(k, ec.SECP256K1()).public_key().public_numbers()
    recovery = (point.y & 1) | (2 if point.x >= _ORDER else 0)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery])
