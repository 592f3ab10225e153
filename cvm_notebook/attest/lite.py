"""Registers of a "lite" image (dstack 0.6 and later), recomputed from what the image publishes.

``vm_config.tdx_measurement`` carries the image's ``measurement.tdx.cbor`` and the checksum file
that names it. From these, the memory of the machine and the three ACPI digests of its log follow
MRTD and RTMR0 to RTMR2. That is consistent for anybody's image: whose is trusted, the policy says.

Rules: ``dstack-mr/src/tdx.rs`` and ``tdvf.rs`` of dstack at 312dc605. The ACPI digests are taken
from the log, as upstream takes them: nobody can judge a host's tables.
"""

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cvm_notebook.attest.evidence.event_log import ACPI_DATA, BootLog, replayed
from cvm_notebook.attest.evidence.fields import (
    MalformedEvidence,
    from_base64,
    json_object,
)
from cvm_notebook.attest.evidence.quote_layout import REGISTER_BYTES

MEASUREMENT: Final = "measurement.tdx.cbor"
_FIELD: Final = "vm_config.tdx_measurement"
_VERSION: Final = 3
_PAGE: Final = 0x1000
_HIGH_MEMORY: Final = 0xB0000000  # from here on the kernel is patched alike
_TWO_GIB: Final = 0x80000000
_MOST_MEMORY: Final = 1 << 48
_FOUR_GIB: Final = 0x100000000
_ACPI_NAMES: Final = ("acpi-loader", "acpi-rsdp", "acpi-tables")
_CHECKSUM: Final = re.compile(r"([0-9a-f]{64})\s+\*?(\S+)")
_DEEPEST: Final = 8
_MOST_ITEMS: Final = 64


def sha384(data: bytes) -> bytes:
    """Hash as registers are extended."""
    return hashlib.sha384(data).digest()


def _variable(guid: str, name: str) -> bytes:
    """Return the digest of an EFI variable that is not set."""
    size = len(name).to_bytes(8, "little") + bytes(8)
    return sha384(bytes.fromhex(guid) + size + name.encode("utf-16le"))


_EFI, _DB = "61dfe48bca93d211aa0d00e098032b8c", "cbb219d73a3d9645a3bcdad00e67656f"
SEPARATOR: Final = sha384(bytes(4))
RTMR0_FIXED: Final[Mapping[int, bytes]] = {
    # the configuration volume and Boot0000 of OVMF before 202505
    1: bytes.fromhex(
        "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6"
        "412af21c097d473155875ffd561d6790"
    ),
    2: _variable(_EFI, "SecureBoot"),
    3: _variable(_EFI, "PK"),
    4: _variable(_EFI, "KEK"),
    5: _variable(_DB, "db"),
    6: _variable(_DB, "dbx"),
    7: SEPARATOR,
    11: sha384(bytes(2)),  # BootOrder
    12: bytes.fromhex(
        "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28e"
        "acf7047ae6e967c58fd2a98bfa74c298"
    ),
}
"""Of the 13 events of RTMR0 those that are alike on every machine, by their place.

The others tell of its memory (0) and its ACPI tables (8 to 10), which the host makes.
"""
RTMR0_EVENTS: Final = 13
_RTMR1_AFTER_KERNEL: Final = (
    sha384(b"Calling EFI Application from Boot Option"),
    SEPARATOR,
    sha384(b"Exit Boot Services Invocation"),
    sha384(b"Exit Boot Services Returned with Success"),
)


@dataclass(frozen=True)
class LiteImage:
    """An image by its own words: what its registers are, and the hash that names it.

    Attributes
    ----------
    mr_tds
        MRTD, by either order in which QEMU adds and measures the firmware's pages.
    """

    os_image_hash: str
    mr_tds: tuple[bytes, bytes]
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes


def recompute(vm_config: Mapping[str, Any], log: BootLog) -> LiteImage | None:
    """Recompute the registers of a lite image; None where its configuration does not allow it.

    It is of another kind then, or its memory is less than 2.75 GiB and not 2 GiB: the digest of the
    kernel depends on that.

    Raises
    ------
    MalformedEvidence
        What is there is not whole, or not of a form that is known.
    """
    memory = vm_config.get("memory_size")
    if vm_config.get("tdx_measurement") is None:
        return None
    if not isinstance(memory, int):
        raise MalformedEvidence("vm_config.memory_size", "is not a number of bytes")
    if not (memory == _TWO_GIB or _HIGH_MEMORY <= memory < _MOST_MEMORY):
        return None
    document = json_object(_FIELD, vm_config["tdx_measurement"])
    checksums = from_base64(f"{_FIELD}.checksum_file", document.get("checksum_file"))
    material = from_base64(f"{_FIELD}.measurement", document.get("measurement"))
    if _listed(checksums) != hashlib.sha256(material).hexdigest():
        raise MalformedEvidence(f"{_FIELD}.checksum_file", f"has not the hash of {MEASUREMENT}")
    image, tdvf = _read(material)
    if tdvf.get("ovmf") != "pre202505":
        raise MalformedEvidence(f"{_FIELD}.tdvf.ovmf", "is of a firmware that is not known here")
    passes = _member(tdvf, "mrtd", dict)
    first = dict(RTMR0_FIXED) | {0: _td_hob(_member(tdvf, "td_hob", bytes), memory)}
    first |= dict(zip((8, 9, 10), _acpi(log), strict=True))
    return LiteImage(
        os_image_hash=hashlib.sha256(checksums).hexdigest(),
        mr_tds=(_digest(passes, "single_pass"), _digest(passes, "two_pass")),
        rtmr0=replayed(first[place] for place in range(RTMR0_EVENTS)),
        rtmr1=replayed((_digest(image, "kernel_authenticode"), *_RTMR1_AFTER_KERNEL)),
        rtmr2=replayed((_digest(image, "cmdline_sha384"), _digest(image, "initrd_sha384"))),
    )


def _listed(checksums: bytes) -> str | None:
    """Return the hash that a checksum file has for the measurement."""
    lines = map(_CHECKSUM.fullmatch, checksums.decode("ascii", "replace").splitlines())
    found = [line[1] for line in lines if line is not None and line[2] == MEASUREMENT]
    return found[0] if len(found) == 1 else None


def _read(material: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    measurement, rest = _cbor(material)
    if rest or not isinstance(measurement, dict) or measurement.get("version") != _VERSION:
        raise MalformedEvidence(_FIELD, f"is not a measurement of version {_VERSION}")
    return _member(measurement, "image", dict), _member(measurement, "tdvf", dict)


def _member(mapping: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = mapping.get(name)
    if not isinstance(value, kind):
        raise MalformedEvidence(f"{_FIELD}.{name}", "is missing, or of another type")
    return value


def _digest(mapping: dict[str, Any], name: str) -> bytes:
    value: bytes = _member(mapping, name, bytes)
    if len(value) != REGISTER_BYTES:
        raise MalformedEvidence(f"{_FIELD}.{name}", f"has {len(value)} bytes, not 48")
    return value


def _acpi(log: BootLog) -> list[bytes]:
    """Return the digests of loader, RSDP and tables: three events, one of each name."""
    found = [event for event in log.of(0) if event.kind == 10 and event.payload == ACPI_DATA]  # noqa: PLR2004
    named = {event.name: event.measured for event in found}
    if len(found) != len(_ACPI_NAMES) or named.keys() != set(_ACPI_NAMES):
        raise MalformedEvidence("event_log", f"has not one event each of {', '.join(_ACPI_NAMES)}")
    return [named[name] for name in _ACPI_NAMES]


# --- the memory map, as passed to the firmware -------------------------------------------------


def _td_hob(witness: bytes, memory: int) -> bytes:
    """Return the digest of the hand-off block that tells the firmware of its memory.

    `witness` is a list of numbers: where the firmware begins, where this block lies, and the ranges
    that are accepted before boot; all in pages.
    """
    numbers = _varints(witness)
    if len(numbers) < 3 or len(numbers) != 3 + 2 * numbers[2]:  # noqa: PLR2004
        raise MalformedEvidence(f"{_FIELD}.td_hob", "is not a list of ranges")
    base, place = numbers[0], numbers[1]
    pairs = zip(numbers[3::2], numbers[4::2], strict=True)
    accepted = [((base + at) * _PAGE, (base + at + count) * _PAGE) for at, count in pairs]
    resources = b"".join(
        struct.pack("<HHI16sB3xIQQ", 3, 48, 0, b"", kind, 7, start, length)
        for kind, start, length in _resources(accepted, memory)
    )
    end = (base + place) * _PAGE + 56 + len(resources) + 8
    if end >= 2**64:
        raise MalformedEvidence(f"{_FIELD}.td_hob", "lies outside of memory")
    head = struct.pack("<HHIII4QQ", 1, 56, 0, 9, 0, 0, 0, 0, 0, end)
    return sha384(head + resources)


def _resources(accepted: list[tuple[int, int]], memory: int) -> list[tuple[int, int, int]]:
    """Return kind (0 accepted, 7 not yet), start and length of each range of memory."""
    ranges: list[tuple[int, int, int]] = []
    at = 0
    for start, end in sorted(accepted):
        if start < at or end < start or end > memory:
            raise MalformedEvidence(f"{_FIELD}.td_hob", "has ranges that overlap or lie outside")
        if start > at:
            ranges.append((7, at, start - at))
        if end > start:
            ranges.append((0, start, end - start))
        at = max(at, end)
    if at == memory:
        raise MalformedEvidence(f"{_FIELD}.td_hob", "leaves no memory")
    if memory < _HIGH_MEMORY:
        return [*ranges, (7, at, memory - at)]
    if at < _TWO_GIB:
        ranges.append((7, at, _TWO_GIB - at))
    return [*ranges, (7, _FOUR_GIB, memory - _TWO_GIB)]


def _varints(data: bytes) -> list[int]:
    """Read numbers of seven bits a byte, the lowest first."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last of its number
            numbers.append(value)
            value, shift = 0, 0
        elif shift >= 63:  # noqa: PLR2004
            raise MalformedEvidence(f"{_FIELD}.td_hob", "has a number that is too large")
    if shift:
        raise MalformedEvidence(f"{_FIELD}.td_hob", "ends within a number")
    return numbers


# --- CBOR (RFC 8949): the little of it that a measurement is written in ------------------------


def _cbor(data: bytes, depth: int = 0) -> tuple[Any, bytes]:
    """Read one item of definite length: number, bytes, text, array or map with text keys."""
    if not data or depth > _DEEPEST:
        raise MalformedEvidence(_FIELD, "is not CBOR that is read here")
    kind, size, rest = data[0] >> 5, *_argument(data)
    if kind == 0:
        return size, rest
    if kind in {2, 3}:
        if size > len(rest):
            raise MalformedEvidence(_FIELD, "ends within a text")
        part = rest[:size]
        return (part if kind == 2 else part.decode("utf-8", "replace")), rest[size:]  # noqa: PLR2004
    if kind not in {4, 5} or size > _MOST_ITEMS:
        raise MalformedEvidence(_FIELD, "is not CBOR that is read here")
    return _several(size, rest, depth, is_map=kind == 5)  # noqa: PLR2004


def _several(size: int, rest: bytes, depth: int, *, is_map: bool) -> tuple[Any, bytes]:
    items = []
    for _ in range(2 * size if is_map else size):
        item, rest = _cbor(rest, depth + 1)
        items.append(item)
    if not is_map:
        return items, rest
    keys = items[::2]
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise MalformedEvidence(_FIELD, "has keys that are no texts, or twice the same")
    return dict(zip(keys, items[1::2], strict=True)), rest


def _argument(data: bytes) -> tuple[int, bytes]:
    low = data[0] & 0x1F
    if low < 24:  # noqa: PLR2004
        return low, data[1:]
    length = {24: 1, 25: 2, 26: 4, 27: 8}.get(low)
    if length is None or len(data) < 1 + length:
        raise MalformedEvidence(_FIELD, "is not CBOR that is read here")
    return int.from_bytes(data[1 : 1 + length]), data[1 + length :]
