"""The signature on the key that encrypts an app's environment variables.

The key service signs, with secp256k1, the Keccak-256 of ``dstack-env-encrypt-pubkey:``, the app id,
since some versions the time (eight bytes, seconds), and the public key.
"""

import re
import time
from typing import Final, NamedTuple

from cvm_notebook.api.compose.keccak import keccak256

_DOMAIN: Final = b"dstack-env-encrypt-pubkey:"
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_OLDEST: Final = 3600.0  # seconds; clocks of notebooks differ
_APP_ID, _KEY, _SIGNATURE, _SIGNER = 20, 32, 65, 33  # bytes


class EnvKeyAnswer(NamedTuple):
    """A key service's answer: a public key, its signature, and the newer signature with a time."""

    public_key: str | None
    signature: str | None
    signature_v1: str | None = None
    timestamp: int | None = None


def check_env_key(
    answer: EnvKeyAnswer,
    app_id: str,
    signer: str | None,
    expected: str | None = None,
    now: float | None = None,
) -> str:
    """Return why a key is not to be trusted; empty where its key service has signed it.

    Parameters
    ----------
    signer
        The compressed secp256k1 key of the key service, hex.
    expected
        The key that was named elsewhere; None where none was.
    now
        Seconds since 1970, for a signature that says when it was made.
    """
    key, signed_by = _bytes(answer.public_key, _KEY), _bytes(signer, _SIGNER)
    app = _bytes(app_id.removeprefix("app_"), _APP_ID)
    if key is None or app is None:
        return "the key service gives no key for this app"
    if expected is not None and _bytes(expected, _KEY) != key:
        return "the service names another key than its key service"
    if signed_by is None:
        return "the key service has no public key that its signature could be checked with"
    moment, digits = b"", answer.signature
    if answer.signature_v1 is not None and answer.timestamp is not None:
        if abs((time.time() if now is None else now) - answer.timestamp) > _OLDEST:
            return "its signature was made at another time than now; check this machine's clock"
        moment, digits = max(0, answer.timestamp).to_bytes(8, "big"), answer.signature_v1
    signature = _bytes(digits, _SIGNATURE)
    signed = signature is not None and _is_signed(
        keccak256(_DOMAIN + app + moment + key), signature, signed_by
    )
    return "" if signed else "the key service has not signed it"


def _bytes(digits: str | None, length: int) -> bytes | None:
    found = _HEX.fullmatch(digits.strip()) if digits else None
    return bytes.fromhex(found[1]) if found and len(found[1]) == 2 * length else None


def _is_signed(digest: bytes, signature: bytes, signer: bytes) -> bool:
    # Dear to import, and needed here only.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415

    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), signer)
        key.verify(
            utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        )
    except (InvalidSignature, ValueError):
        return False
    return True
