"""The event log of a boot: what was measured into which register, added up as the registers were.

Forms and names are those of dstack (``cc-eventlog``, ``dstack-attest``), versions 0.3 to 0.6.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from cvm_notebook.attest.evidence.fields import (
    MOST_TEXT_BYTES,
    MalformedEvidence,
    from_hex,
    from_json,
)
from cvm_notebook.attest.evidence.quote_layout import REGISTER_BYTES
from cvm_notebook.text import clean_text

RUNTIME_EVENT: Final = 0x08000001
RTMR3: Final = 3
READY: Final = "system-ready"
ACPI_DATA: Final = b"ACPI DATA"
USED: Final = frozenset(
    {
        "app-id",
        "compose-hash",
        "gpu-attestation",
        "gpu-policy-hash",
        "instance-id",
        "key-provider",
        "os-image-hash",
        READY,
    }
)
"""Names that a check reads: each counts once, before `READY`. (``mr-kms`` may come twice.)"""
_MOST_EVENTS: Final = 10_000


class BootEvent(NamedTuple):
    """One measured event.

    Attributes
    ----------
    digest
        As the log says, in 48 bytes; None where the log is stripped of it.
    """

    register: int
    kind: int
    name: str
    payload: bytes
    digest: bytes | None
    version: int | None = None

    @property
    def is_runtime(self) -> bool:
        """Whether the guest's software measured it: its digest is computed, never believed."""
        return self.register == RTMR3

    @property
    def measured(self) -> bytes:
        """The digest by which the register was extended.

        Of an event of the firmware that is the digest in the log. Of a runtime event it is the hash
        of its name and payload: in the form of version 2 where the event says so or has that
        digest, else of version 1.

        Raises
        ------
        MalformedEvidence
            It has no digest, or another than its name and payload. Or it is in RTMR3 and no runtime
            event: believed as it stands, it would hide the name of what was measured.
        """
        if self.register != RTMR3:
            if self.digest is None:
                raise MalformedEvidence(self._place, "has no digest")
            return self.digest
        if self.kind != RUNTIME_EVENT:
            raise MalformedEvidence(self._place, "is not a runtime event, and RTMR3 has no others")
        first, second = runtime_digest(self.name, self.payload), None
        if self.version == 2 or self.digest not in (None, first):  # noqa: PLR2004
            second = runtime_digest(self.name, self.payload, version=2)
        found = second if second is not None and self.digest in (None, second) else first
        if self.digest not in (None, found):
            raise MalformedEvidence(self._place, "has another digest than its name and payload")
        return found

    @property
    def _place(self) -> str:
        return f"event {clean_text(self.name, 40) or hex(self.kind)!r} of RTMR{self.register}"


def runtime_digest(name: str, payload: bytes, version: int = 1) -> bytes:
    """Return the digest of a runtime event: SHA-384, of version 1 or 2."""
    if version == 1:
        whole = b":".join((RUNTIME_EVENT.to_bytes(4, "little"), name.encode(), payload))
    else:  # RFC 8785: keys in order, no spaces
        fields = {"name": name, "payload": payload.hex(), "type": RUNTIME_EVENT}
        whole = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.sha384(whole).digest()


def replayed(digests: Iterable[bytes]) -> bytes:
    """Return what a register holds after it was extended by these."""
    register = bytes(REGISTER_BYTES)
    for digest in digests:
        register = hashlib.sha384(register + digest).digest()
    return register


# machines of one size with one image have the same
_firmware = lru_cache(maxsize=512)(replayed)


class BootLog:
    """The events of a boot, in the order in which they were measured."""

    def __init__(self, events: Iterable[BootEvent] = ()) -> None:
        self._events = tuple(events)
        self._registers: tuple[list[BootEvent], ...] = ([], [], [], [])
        for event in self._events:
            self._registers[event.register].append(event)

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[BootEvent]:
        return iter(self._events)

    def of(self, register: int) -> Sequence[BootEvent]:
        """Return the events of one register."""
        return self._registers[register]

    @property
    def is_stripped(self) -> bool:
        """Whether of the firmware's events it has only the ACPI digests, or none."""
        firmware = [event for event in self._events if event.register != RTMR3]
        return not firmware or (
            len(firmware) == 3  # noqa: PLR2004 - loader, rsdp, tables
            and all(event.register == 0 and event.payload == ACPI_DATA for event in firmware)
        )

    def replay(self, registers: Sequence[bytes]) -> "tuple[BootLog, str]":
        """Compare with a quote's registers; return the part that was quoted, and what does not fit.

        A log may be newer than its quote: where RTMR3 differs, the beginnings of the log that end
        at or after `READY` are tried, too.

        Raises
        ------
        MalformedEvidence
            An event cannot be added up.
        """
        stripped = self.is_stripped
        wrong = [
            f"RTMR{number}"
            for number in range(3)
            if not stripped
            and _firmware(tuple(event.measured for event in self.of(number))) != registers[number]
        ]
        runtime = self.of(RTMR3)
        quoted = _quoted(runtime, registers[RTMR3])
        if quoted is None:
            wrong.append("RTMR3")
        if quoted in {None, len(runtime)}:
            return self, ", ".join(wrong)
        firmware = [event for event in self._events if event.register != RTMR3]
        return BootLog([*firmware, *runtime[:quoted]]), ", ".join(wrong)

    @cached_property
    def payloads(self) -> Mapping[str, bytes]:
        """The payloads of runtime events before `READY`, by name; of a name twice, the first."""
        found: dict[str, bytes] = {}
        for event in self._before_ready():
            found.setdefault(event.name, event.payload)
        return found

    @property
    def defect(self) -> str:
        """The reason to ignore its names: an unfinished boot, or a name twice; else empty."""
        if self._ready is None:
            return f"the boot did not end: there is no {READY!r}"
        names = [event.name for event in self._before_ready()]
        twice = sorted(name for name in USED if names.count(name) > 1)
        return f"{', '.join(twice)}: measured twice before {READY!r}" if twice else ""

    @property
    def of_the_app(self) -> int:
        """The number of events after the boot, which an app can forge."""
        return 0 if self._ready is None else len(self.of(RTMR3)) - self._ready - 1

    @cached_property
    def _ready(self) -> int | None:
        """The index of the event in RTMR3 that ends the boot."""
        return next((n for n, event in enumerate(self.of(RTMR3)) if event.name == READY), None)

    def _before_ready(self) -> Sequence[BootEvent]:
        return self.of(RTMR3)[: self._ready]


def _quoted(runtime: Sequence[BootEvent], register: bytes) -> int | None:
    """Return how many runtime events the quote's RTMR3 counts: all, or up to one after `READY`."""
    value, counts, ready = bytes(REGISTER_BYTES), [], False
    found = 0 if not runtime and value == register else None
    for number, event in enumerate(runtime, 1):
        value = hashlib.sha384(value + event.measured).digest()
        ready = ready or (event.is_runtime and event.name == READY)
        if value == register and (ready or number == len(runtime)):
            counts.append(number)
    return counts[-1] if counts else found


def parse_log(events: object) -> BootLog:
    """Read an event log: a list, or the JSON of one.

    Raises
    ------
    MalformedEvidence
        It is neither, or one of its events is no event.
    """
    if isinstance(events, str | bytes):
        events = _decoded(events)
    if events is None:
        return BootLog()
    if not isinstance(events, list | tuple):
        raise MalformedEvidence("event_log", "is not a list of events")
    if len(events) > _MOST_EVENTS:
        raise MalformedEvidence("event_log", f"has more than {_MOST_EVENTS:,} events")
    log = BootLog(_event(number, one) for number, one in enumerate(events))
    if sum(len(event.payload) + len(event.name) for event in log) > MOST_TEXT_BYTES:
        raise MalformedEvidence("event_log", f"has more than {MOST_TEXT_BYTES >> 20} MiB")
    return log


class _Sent(msgspec.Struct, gc=False):
    """An event as most are sent."""

    imr: Annotated[int, msgspec.Meta(ge=0, le=RTMR3)]
    event_type: int
    digest: str | None = None
    event: str | None = None
    event_payload: str | None = None
    version: int | None = None


_SENT: Final = msgspec.json.Decoder(list[_Sent])


def _decoded(text: str | bytes) -> object:
    """Decode a log, in the quick way where it is as most are; the other finds what is wrong."""
    if len(text) <= MOST_TEXT_BYTES:
        try:
            return _SENT.decode(text)
        except (ValueError, RecursionError):
            pass
    return from_json("event_log", text)


def _event(number: int, one: object) -> BootEvent:
    if type(one) is _Sent:
        texts = (one.event or "", one.event_payload or "", one.digest or "")
        if max(map(len, texts)) < _REMEMBERED:
            try:
                return _remembered(one.imr, one.event_type, *texts, one.version)
            except MalformedEvidence:
                pass
    fields = msgspec.structs.asdict(one) if isinstance(one, msgspec.Struct) else one
    if not isinstance(fields, dict):
        raise MalformedEvidence(f"event_log[{number}]", "is not an event")
    try:
        return _read_event(fields)
    except MalformedEvidence as error:
        raise MalformedEvidence(f"event_log[{number}].{error.field}", error.problem) from None


def _read_event(fields: Mapping[str, Any]) -> BootEvent:
    register, kind = fields.get("imr"), fields.get("event_type")
    if not isinstance(register, int) or isinstance(register, bool) or not 0 <= register <= RTMR3:
        raise MalformedEvidence("imr", "is not a register from 0 to 3")
    if not isinstance(kind, int) or isinstance(kind, bool):
        raise MalformedEvidence("event_type", "is not a number")
    name, payload, digest = fields.get("event"), fields.get("event_payload"), fields.get("digest")
    version = fields.get("version")
    texts = (name or "", payload or "", digest or "")
    whole = (register, kind, *texts, version if isinstance(version, int) else None)
    if all(isinstance(text, str) and len(text) < _REMEMBERED for text in texts):
        return _remembered(*whole)
    return _made(*whole)


_REMEMBERED: Final = 256  # characters


def _made(  # noqa: PLR0917 - remembered by position
    register: int, kind: int, name: object, payload: object, digest: object, version: int | None
) -> BootEvent:
    if not isinstance(name, str):
        raise MalformedEvidence("event", "is not a text")
    if not name.isascii() and not _is_unicode(name):
        raise MalformedEvidence("event", "holds a lone surrogate")
    measured = from_hex("digest", digest, most=REGISTER_BYTES)
    return BootEvent(
        register=register,
        kind=kind,
        name=name,
        payload=from_hex("event_payload", payload),
        digest=measured.ljust(REGISTER_BYTES, b"\0") if measured else None,
        version=version,
    )


# CVMs of one image have the same firmware and boot, and so most of their events
_remembered = lru_cache(maxsize=4096)(_made)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
