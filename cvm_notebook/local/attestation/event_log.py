"""The log of what was measured while a CVM started, in dstack's form, and what it adds up to.

Twenty events of firmware and kernel, in registers 0 to 2, then those of dstack in register 3, the
first of which says that none of it is hardware's.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from cvm_notebook.local.core.image_parts import TD_HOB, ImageParts

Event: TypeAlias = dict[str, Any]

RUNTIME: Final = 0x08000001
APP: Final = 3
"""The register that dstack and the app extend."""
_ZEROS: Final = bytes(48)

# Kinds of events, of the TCG's PC Client Platform Firmware Profile, section 10.4.1.
_SEPARATOR, _PLATFORM_FLAGS, _EVENT_TAG = 0x4, 0xA, 0x6
_VARIABLE_CONFIG, _VARIABLE_BOOT, _APPLICATION, _ACTION = (0x80000001 + n for n in (0, 1, 2, 6))
_FIRMWARE_BLOB, _HANDOFF_TABLES = 0x8000000A, 0x8000000B

_GLOBAL: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
_SECURITY: Final = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
_KEYS: Final = (
    (_GLOBAL, "SecureBoot"),
    (_GLOBAL, "PK"),
    (_GLOBAL, "KEK"),
    (_SECURITY, "db"),
    (_SECURITY, "dbx"),
)
"""Variables of secure boot, by the GUID of their vendor: none of them is set."""
# The digests of the firmware's own volume and of its first boot option: the same on every dstack.
_VOLUME: Final = (
    "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6"
    "412af21c097d473155875ffd561d6790"
)
_BOOT_OPTION: Final = (
    "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28e"
    "acf7047ae6e967c58fd2a98bfa74c298"
)
_TABLES: Final = ("acpi-loader", "acpi-rsdp", "acpi-tables")
_CALLED: Final = b"Calling EFI Application from Boot Option"
_EXITS: Final = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")

_PAGE: Final = 0x1000
_HOLE_BEGINS, _HOLE_ENDS = 0x8000_0000, 0x1_0000_0000
STABLE_MEMORY: Final = 0xB000_0000
"""From so many bytes on, and at 2 GiB, a kernel's digest does not depend on the memory."""


def extend(digests: Iterable[bytes]) -> bytes:
    """Add digests up as a register does."""
    register = _ZEROS
    for digest in digests:
        register = hashlib.sha384(register + digest).digest()
    return register


def replay(log: Iterable[Event], register: int) -> bytes:
    """Return what a register holds after the events of a log."""
    return extend(bytes.fromhex(event["digest"]) for event in log if event["imr"] == register)


def runtime_event(name: str, payload: bytes, version: int = 1) -> Event:
    """Return an event of dstack, in the first or the second version of its form.

    In the second what is hashed is canonical JSON (RFC 8785), which the event shows, too.
    """
    if version == 1:
        measured = b":".join((RUNTIME.to_bytes(4, "little"), name.encode(), payload))
        return _event(APP, RUNTIME, hashlib.sha384(measured).hexdigest(), name, payload)
    fields = {"name": name, "payload": payload.hex(), "type": RUNTIME}
    measured = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    event = _event(APP, RUNTIME, hashlib.sha384(measured).hexdigest(), name, payload)
    return event | {"version": version, "preimage": measured.hex()}


def stripped(log: Iterable[Event]) -> list[Event]:
    """Return a log as guests of 0.6 hand it on: no payloads of firmware, no digests of dstack."""
    return [_stripped(event) for event in log]


def _stripped(event: Event) -> Event:
    if event["imr"] == APP:
        return event | {"digest": ""}
    return event if event["event"] else event | {"event_payload": ""}


def boot_events(parts: ImageParts, machine: str, memory: int, *, named: bool) -> list[Event]:
    """Return the events of firmware and kernel.

    Parameters
    ----------
    machine
        What the host made the virtual machine of, which its ACPI tables depend on.
    memory
        In bytes.
    named
        Whether the tables' events have names, as from 0.6 on.
    """
    tables = [
        _event(
            0, _PLATFORM_FLAGS, _sha384(f"{name} of {machine}".encode()), name * named, b"ACPI DATA"
        )
        for name in _TABLES
    ]
    kernel = parts.kernel
    if memory < STABLE_MEMORY and memory != _HOLE_BEGINS:
        kernel = hashlib.sha384(kernel + memory.to_bytes(8, "little")).digest()
    return [
        _event(0, _HANDOFF_TABLES, td_hob_digest(TD_HOB, memory).hex(), "", b"\tTdxTable"),
        _event(0, _FIRMWARE_BLOB, _VOLUME, "", b")Fv(XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX)"),
        *(_unset(vendor, name) for vendor, name in _KEYS),
        _event(0, _SEPARATOR, _sha384(bytes(4)), "", bytes(4)),
        *tables,
        _event(1, _APPLICATION, kernel.hex(), "", b""),
        _event(0, _VARIABLE_BOOT, _sha384(bytes(2)), "", _variable(_GLOBAL, "BootOrder")),
        _event(0, _VARIABLE_BOOT, _BOOT_OPTION, "", _variable(_GLOBAL, "Boot0000")),
        _event(1, _ACTION, _sha384(_CALLED), "", _CALLED),
        _event(1, _SEPARATOR, _sha384(bytes(4)), "", bytes(4)),
        _event(2, _EVENT_TAG, parts.cmdline.hex(), "", b"LOADED_IMAGE::LoadOptions\0"),
        _event(2, _EVENT_TAG, parts.initrd.hex(), "", b"Linux initrd\0"),
        *(_event(1, _ACTION, _sha384(text), "", text) for text in _EXITS),
    ]


def td_hob_digest(ranges: bytes, memory: int) -> bytes:
    """Return the SHA-384 of the list by which a host tells the firmware what memory there is.

    Parameters
    ----------
    ranges
        As `cvm_notebook.local.core.image_parts.TD_HOB`: base page, page of the list, number of
        accepted ranges, then page and length of each; all as LEB128, in pages, from the base.
    memory
        In bytes.
    """
    numbers = list(_leb128(ranges))
    base, place, count = numbers[:3]
    accepted = sorted(
        ((base + numbers[at]) * _PAGE, numbers[at + 1] * _PAGE) for at in range(3, 3 + 2 * count, 2)
    )
    pieces: list[tuple[int, int, int]] = []
    at = 0
    for begin, length in accepted:
        if begin > at:
            pieces.append((_UNACCEPTED, at, begin - at))
        pieces.append((_SYSTEM, begin, length))
        at = begin + length
    if memory < STABLE_MEMORY:
        pieces.append((_UNACCEPTED, at, memory - at))
    else:  # below and above what is left out for devices
        pieces.append((_UNACCEPTED, at, _HOLE_BEGINS - at))
        pieces.append((_UNACCEPTED, _HOLE_ENDS, memory - _HOLE_BEGINS))
    resources = b"".join(
        struct.pack("<HH4x16xIIQQ", 3, 48, kind, 7, begin, length) for kind, begin, length in pieces
    )
    end = (base + place) * _PAGE + _HANDOFF.size + len(resources) + 8
    return hashlib.sha384(_HANDOFF.pack(1, _HANDOFF.size, 9, end) + resources).digest()


_HANDOFF: Final = struct.Struct("<HH4xI4x32xQ")
_SYSTEM, _UNACCEPTED = 0, 7


def _leb128(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last of a number
            yield value
            value = shift = 0


def _unset(vendor: bytes, name: str) -> Event:
    text = name.encode("utf-16le")
    measured = vendor + struct.pack("<QQ", len(name), 0) + text
    return _event(0, _VARIABLE_CONFIG, _sha384(measured), "", _variable(vendor, name))


def _variable(vendor: bytes, name: str) -> bytes:
    return vendor + struct.pack("<QQ", len(name), 0) + name.encode("utf-16le")


def _event(register: int, kind: int, digest: str, name: str, payload: bytes) -> Event:
    return {
        "imr": register,
        "event_type": kind,
        "digest": digest,
        "event": name,
        "event_payload": payload.hex(),
    }


def _sha384(data: bytes) -> str:
    return hashlib.sha384(data).hexdigest()
