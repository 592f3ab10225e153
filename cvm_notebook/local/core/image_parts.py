"""The measured parts of an OS image: their digests, and the document that lists them.

No such image exists: the digests are those of its parts' names. From 0.6 on an image carries a
document of its digests (``measurement.tdx.cbor``) and a checksum file with the document's hash; the
image's own hash is that of the checksum file (dstack's "lite" attestation).
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Final

DOCUMENT_NAME: Final = "measurement.tdx.cbor"
OVMF: Final = "pre202505"
# Base page; page of the TD HOB from there; three ranges of pages: what dstack's firmware accepts.
TD_HOB: Final = bytes.fromhex("80100904000609020b021010")
_VERSION: Final = 3
_SHORT: Final = 24  # of CBOR: below it a length stands in the first byte
_BYTE: Final = 0x100
_INTEGER, _BYTES, _TEXT, _MAP = 0, 2, 3, 5


@dataclass(frozen=True, slots=True)
class ImageParts:
    """SHA-384 digests of what an image consists of; the firmware's is the MRTD it leads to."""

    firmware: bytes
    kernel: bytes
    cmdline: bytes
    initrd: bytes


@functools.cache
def parts_of(name: str, version: str) -> ImageParts:
    """Return the digests of an image: its development twin differs in the command line alone."""
    family = name.replace("-dev", "")
    return ImageParts(
        _digest("firmware", version),
        _digest("kernel", family),
        _digest("command line", name),
        _digest("initrd", family),
    )


@functools.cache
def document(parts: ImageParts) -> bytes:
    """Return the image's document: CBOR, as dstack's image builder writes it."""
    one = _digest("firmware in one pass", parts.firmware.hex())
    return _cbor(
        {
            "version": _VERSION,
            "image": {
                "cmdline_sha384": parts.cmdline,
                "kernel_authenticode": parts.kernel,
                "initrd_sha384": parts.initrd,
            },
            "tdvf": {
                "ovmf": OVMF,
                "mrtd": {"single_pass": one, "two_pass": parts.firmware},
                "td_hob": TD_HOB,
            },
        }
    )


@functools.cache
def checksum_file(parts: ImageParts) -> bytes:
    """Return the checksum file that names the document; its SHA-256 is the hash of the image."""
    return f"{hashlib.sha256(document(parts)).hexdigest()}  {DOCUMENT_NAME}\n".encode()


def _digest(part: str, of: str) -> bytes:
    return hashlib.sha384(f"LocalCloud, no real image: {part} of {of}".encode()).digest()


def _cbor(value: Any) -> bytes:
    match value:
        case int():
            return _head(_INTEGER, value)
        case bytes():
            return _head(_BYTES, len(value)) + value
        case str():
            return _head(_TEXT, len(value.encode())) + value.encode()
        case _:
            items = b"".join(_cbor(key) + _cbor(one) for key, one in value.items())
            return _head(_MAP, len(value)) + items


def _head(kind: int, count: int) -> bytes:
    if count < _SHORT:
        return bytes([kind << 5 | count])
    assert count < _BYTE  # noqa: S101 - nothing here is longer
    return bytes([kind << 5 | _SHORT, count])
