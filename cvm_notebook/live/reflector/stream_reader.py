"""Reader threads: one for each call, and one for each stream of server-sent events."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.http.exchange import ByteStream
from cvm_notebook.api.http.sse import EventReader
from cvm_notebook.api.http.state_stream import StateEvent, StateEventKind, state_events
from cvm_notebook.api.models.actions import CvmState
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.reflector.events import (
    CloseReason,
    Event,
    Failure,
    StreamClosed,
    StreamOpened,
    Tick,
)
from cvm_notebook.live.reflector.lister import FleetApi
from cvm_notebook.live.store.observation import Observation

_LONGEST_RETRY = 30.0
_BURST, _PER_SECOND = 20.0, 10.0
FLUSH = 1 / _PER_SECOND


class Throttle:
    """A token bucket: lets bursts through, at most ten a second in the long run. Pure."""

    def __init__(self, burst: float = _BURST, per_second: float = _PER_SECOND) -> None:
        self._burst = self._left = burst
        self._per_second = per_second
        self._at = 0.0

    def passes(self, now: float) -> bool:
        """Return whether one more may pass."""
        gained = (now - self._at) * self._per_second
        self._left, self._at = min(self._burst, self._left + gained), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Sink:
    """The receiver of a stream reader's results."""

    facts: Callable[[tuple[Observation, ...]], object]
    event: Callable[[Event], None]


class StreamReader:
    """Reads one stream to its end, in a thread of its own."""

    def __init__(self, wire: FleetApi, cvm_id: str, sink: Sink, clock: Clock) -> None:
        self.cvm_id = cvm_id
        self._wire = wire
        self._sink = sink
        self._clock = clock
        self._throttle = Throttle()
        self._lock = threading.Lock()
        self._stream: ByteStream | None = None
        self._closed = False
        self._held_back: Observation | None = None
        self._passed_at = 0.0
        self._events = EventReader()
        self.thread = threading.Thread(target=self._run, name=f"cvm-stream-{cvm_id}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def close(self) -> None:
        """End it; a read that blocks ends at once."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def flush(self, *, at_end: bool = False) -> None:
        """Deliver what the rate limit held back, at most ten times a second."""
        now = self._clock.monotonic()
        with self._lock:
            fact = self._held_back
            if fact is None or not (at_end or now - self._passed_at >= FLUSH):
                return
            self._held_back, self._passed_at = None, now
        self._sink.facts((fact,))

    @property
    def holds_back(self) -> bool:
        """Whether the rate limit holds something back."""
        return self._held_back is not None

    def _run(self) -> None:
        how, failure = CloseReason.FAILED, None
        try:
            how = self._read()
        except BaseException as error:  # noqa: BLE001 - a thread's top: reported as data
            failure = Failure.of(error)
        finally:
            self.flush(at_end=True)
            if self._closed:
                how, failure = CloseReason.CLOSED, None
            retry = min(self._events.retry or 0.0, _LONGEST_RETRY)
            self._sink.event(StreamClosed(self.cvm_id, how, failure, retry))

    def _read(self) -> CloseReason:
        stream = self._wire.stream(self.cvm_id)
        with self._lock:
            self._stream = stream
            closed = self._closed
        if closed:
            stream.close()
        try:
            for number, event in enumerate(state_events(self._events, stream)):
                if number == 0:
                    self._sink.event(StreamOpened(self.cvm_id))
                if (end := self._take(event)) is not None:
                    return end
        finally:
            stream.close()
        return CloseReason.ENDED

    def _take(self, event: StateEvent) -> CloseReason | None:
        match event.kind:
            case StateEventKind.STATE:
                return self._state(event.state, self._clock.monotonic())
            case StateEventKind.COMPLETE:
                deleted = str(event.data.get("status")).lower() == "deleted"
                return CloseReason.GONE if deleted else CloseReason.ENDED
            case StateEventKind.TIMEOUT:
                return CloseReason.ENDED
            case StateEventKind.GONE:
                return CloseReason.GONE
            case StateEventKind.REFUSED:
                why = event.text[:200] or "no reason given"
                raise CvmError(f"the service ended the stream: {why}")
        return None

    def _state(self, state: CvmState | None, received: float) -> CloseReason | None:
        if state is None or not state.status:
            return None
        if state.status.lower() == "deleted":
            return CloseReason.GONE
        fact = Observation.of_state(state, received=received, id=self.cvm_id)
        passes = self._throttle.passes(received)
        with self._lock:
            first = self._held_back is None
            self._held_back = None if passes else fact
            self._passed_at = received if passes else self._passed_at
        if passes:
            self._sink.facts((fact,))
        elif first:
            self._sink.event(Tick())  # the reflector's thread flushes it
        return None


class StreamPool:
    """The calls and streams of one reflector that are under way.

    They share one `FleetApi`. After a `cut` what they bring is dropped, and others begin with a new
    one.
    """

    def __init__(
        self,
        connect: Callable[[], FleetApi],
        facts: Callable[[tuple[Observation, ...]], object],
        emit: Callable[[Event], None],
        clock: Clock,
    ) -> None:
        self._connect = connect
        self._facts = facts
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._wire: FleetApi | None = None
        self._readers: dict[str, StreamReader] = {}
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._ended = False

    def call(
        self, name: str, work: Callable[[FleetApi], Event], failed: Callable[[Failure], Event]
    ) -> None:
        """Begin a call; its result, or its failure, comes as an event."""
        wire = self._connected()

        def run() -> None:
            try:
                event = work(wire)
            except BaseException as error:  # noqa: BLE001 - a thread's top: reported as data
                event = failed(Failure.of(error))
            if not wire.ended:
                self._emit(event)

        thread = threading.Thread(target=run, name=f"cvm-{name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def open(self, cvm_id: str) -> None:
        """Begin a stream."""
        wire = self._connected()

        def emit(event: Event) -> None:
            if not wire.ended:
                self._emit(event)

        def facts(read: tuple[Observation, ...]) -> None:
            # Read late from a buffer, it would look newer than the list that is asked for next.
            if not wire.ended:
                self._facts(read)

        reader = StreamReader(wire, cvm_id, Sink(facts, emit), self._clock)
        with self._lock:
            self._readers[cvm_id] = reader
            self._threads.add(reader.thread)
        reader.start()

    def close(self, cvm_id: str) -> None:
        """Close a stream; an event follows when it has ended."""
        reader = self._readers.get(cvm_id)
        if reader is not None:
            reader.close()

    def ended(self, cvm_id: str) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._readers.pop(cvm_id, None)

    def flush(self) -> None:
        """Bring on what floods held back."""
        for reader in self._all():
            reader.flush()

    @property
    def hold_back(self) -> bool:
        """Whether the rate limit holds something back."""
        return any(reader.holds_back for reader in self._all())

    def cut(self) -> None:
        """Break off everything."""
        with self._lock:
            wire, self._wire = self._wire, None
            readers, self._readers = self._readers, {}
        if wire is not None:
            wire.cut()
        for reader in readers.values():
            reader.close()

    def end(self) -> None:
        """Break off everything, for good."""
        self._ended = True
        self.cut()

    def threads(self) -> list[threading.Thread]:
        """Return the threads that may still run."""
        return list(self._threads)

    def _all(self) -> list[StreamReader]:
        with self._lock:
            return list(self._readers.values())

    def _connected(self) -> FleetApi:
        with self._lock:
            if self._wire is None:
                self._wire = self._connect()
            if self._ended:
                self._wire.cut()
            return self._wire
