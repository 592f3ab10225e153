"""The state stream of one CVM: its events, decoded for `watch_cvm_state` and for the live fleet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from cvm_notebook.api.errors.tree import DecodeError
from cvm_notebook.api.http.sse import EventReader, SseEvent
from cvm_notebook.api.models.actions import CvmState, state_of
from cvm_notebook.api.models.decode import decode

_WHERE: Final = "a state of the stream"
_GONE_WORDS: Final = ("deleted", "not found", "no longer exists")


class StateEventKind(Enum):
    """The kind of an event of the stream."""

    STATE = auto()
    COMPLETE = auto()  # the target was seen; the stream ends
    TIMEOUT = auto()  # the stream's own time is over
    GONE = auto()  # the CVM was deleted
    REFUSED = auto()  # the service gives the stream up
    OTHER = auto()  # unknown, or not to be read: the next one will do


@dataclass(frozen=True, slots=True)
class StateEvent:
    """One event of the stream.

    Attributes
    ----------
    data
        Its JSON object; empty where it has none.
    state
        The state that it brings, of `STATE` alone.
    """

    kind: StateEventKind
    data: dict[str, Any]
    state: CvmState | None = None

    @property
    def text(self) -> str:
        """The service's message about the end of the stream; "" for none."""
        return str(self.data.get("message") or self.data.get("error") or "")


def state_events(reader: EventReader, chunks: Iterable[bytes]) -> Iterator[StateEvent]:
    """Yield what each event of a stream says; raises as `EventReader.events` does."""
    return map(_read, reader.events(chunks))


def _read(event: SseEvent) -> StateEvent:
    data = _data(event)
    kind = _KINDS.get(event.event, StateEventKind.OTHER)
    if kind is StateEventKind.STATE:
        return _state(data)
    found = StateEvent(kind, data)
    if kind is StateEventKind.REFUSED and any(word in found.text.lower() for word in _GONE_WORDS):
        return StateEvent(StateEventKind.GONE, data)
    return found


_KINDS: Final = {
    "state": StateEventKind.STATE,
    "complete": StateEventKind.COMPLETE,
    "timeout": StateEventKind.TIMEOUT,
    "error": StateEventKind.REFUSED,
}


def _data(event: SseEvent) -> dict[str, Any]:
    try:
        return decode(event.data, dict[str, Any], _WHERE)
    except DecodeError:
        return {}


def _state(data: dict[str, Any]) -> StateEvent:
    try:
        state = state_of(data, _WHERE) if data.get("status") else None
    except DecodeError:
        state = None
    kind = StateEventKind.OTHER if state is None else StateEventKind.STATE
    return StateEvent(kind, data, state)
