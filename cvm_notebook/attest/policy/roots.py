"""Roots of trust: Intel's, or a development root that is read from this machine's disk."""

import importlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cvm_notebook.api import checks
from cvm_notebook.api.auth.address import is_loopback
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

INTEL: Final = "intel"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_LARGEST: Final = 64 << 10
_REMEDY: Final = 'Give "intel", or the PEM of one certificate: its path, or itself.'


def read_root(field: str, value: object) -> str:
    """Return ``"intel"``, or the PEM of a development root.

    Raises
    ------
    InvalidInput
        It is no certificate, or its file cannot be read.
    """
    if isinstance(value, str) and value == INTEL:
        return INTEL
    content = _content(field, value)
    pem = _pem_of(content)
    if pem is None:
        raise InvalidInput(field, "it is not one certificate", _REMEDY)
    return pem


def root_of(client: "Client") -> str | None:
    """Return the development root under which a client's CVMs are judged; None is Intel's.

    It is the one that the client's profile names. Else, for an address on this machine, the one
    that a LocalCloud there has left on disk, for its owner alone. It never comes from the network:
    a server could show the root of whoever has forged its evidence.

    Raises
    ------
    InvalidInput
        That file cannot be read, or holds no certificate.
    """
    path = client.root_of_trust or _of_local_cloud(client.base_url)
    return None if path is None else read_root("root_of_trust", path)


def _of_local_cloud(base_url: str) -> Path | None:
    """Return the file with the root of the LocalCloud at an address, where one is known."""
    if not is_loopback(urlsplit(base_url).hostname or ""):
        return None
    try:  # an extra, not always there
        root_file = importlib.import_module("cvm_notebook.local.root_file")
    except ImportError:
        return None
    found: Path | None = root_file.root_of(base_url)
    return found


@lru_cache(maxsize=8)
def root_der(pem: str) -> bytes:
    """Return a root as a verifier takes it."""
    from cryptography import x509  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def _content(field: str, value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str) and _BEGIN in value:
        return value.encode()
    if not isinstance(value, str | os.PathLike):
        raise InvalidInput(field, f"it is {type(value).__name__}", _REMEDY)
    path = checks.path(field, value)
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidInput(
            field, f"{clean_text(path, 120)} cannot be read ({why})", _REMEDY
        ) from None


def _pem_of(content: bytes) -> str | None:
    """Return the one certificate there, as PEM in one spelling."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    if len(content) > _LARGEST:
        return None
    try:
        if _BEGIN.encode() in content:
            found = x509.load_pem_x509_certificates(content)
        else:
            found = [x509.load_der_x509_certificate(content)]
        return found[0].public_bytes(Encoding.PEM).decode() if len(found) == 1 else None
    except ValueError:
        return None
