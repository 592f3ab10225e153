"""Public SSH keys, one a line as in ``authorized_keys``, and their fingerprints."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cvm_notebook.api.errors.tree import InvalidInput

_REMEDY: Final = "Give the line of a .pub file, such as ~/.ssh/id_ed25519.pub."
_LONGEST: Final = 20_000  # characters; an RSA key of 16,384 bits has less than 3,000
_LENGTH: Final = 4  # bytes before the type in a key's blob (RFC 4253, section 6.6)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: its type, its fingerprint as ``ssh-keygen -l`` shows it, and its comment."""

    key_type: str
    fingerprint: str
    comment: str


def read_public_key(line: str) -> PublicKey | None:
    """Return what a line of ``authorized_keys`` holds; None where it is no key.

    Options before the type (``from="10.0.0.1" ssh-ed25519 ...``) are skipped.
    """
    words = line[:_LONGEST].split()
    for at, kind in enumerate(words[:-1]):
        try:
            blob = base64.b64decode(words[at + 1], validate=True)
        except (binascii.Error, ValueError):
            continue
        named = len(kind).to_bytes(_LENGTH, "big") + kind.encode("utf-8", "replace")
        if blob.startswith(named) and len(blob) > len(named):
            digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
            return PublicKey(kind, f"SHA256:{digest}", " ".join(words[at + 2 :]))
    return None


def check_public_key(field: str, value: object) -> str:
    """Return a public key that can be sent; a private one is refused without being shown.

    Raises
    ------
    InvalidInput
        It is no public key of OpenSSH.
    """
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {type(value).__name__}, not a text", _REMEDY)
    text = value.strip()
    if "PRIVATE KEY" in text:
        raise InvalidInput(
            field,
            "it is a private key, which was not sent and must never be",
            _REMEDY + " Whoever may have seen this notebook's file has the key: replace it.",
        )
    if len(text) > _LONGEST or len(text.splitlines()) != 1 or read_public_key(text) is None:
        raise InvalidInput(field, "it is not a public key of OpenSSH", _REMEDY)
    return text
