"""Watch one CVM until it has a status: by a stream that reconnects, else by polling."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from cvm_notebook.api.errors.tree import (
    CvmError,
    DecodeError,
    NotFoundError,
    RateLimited,
    ServerError,
    TargetUnreachable,
    TransportError,
    UnsafeRedirect,
    WatchTimeout,
)
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import ByteStream
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.sse import EventReader
from cvm_notebook.api.http.state_stream import StateEvent, StateEventKind, state_events
from cvm_notebook.api.http.transport import Request, Transport, query
from cvm_notebook.api.models.actions import CvmState, decode_state, state_of
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.api.status import phase_of, same_status
from cvm_notebook.text import counted

_LONGEST_WITHOUT_LIMIT = 3600.0
_GRACE = 2.0  # the service ends a stream itself; so long after that it is ended here
_LONGEST_RETRY = 60.0

OnEvent = Callable[[CvmState], object]


@dataclass(frozen=True, slots=True)
class Watch:
    """The validated arguments of a watch.

    Attributes
    ----------
    cvm
        The identifier.
    target
        The status, as the caller spells it.
    interval, timeout
        Seconds: between two states, and until one attempt ends.
    max_retries
        Further attempts after the first; None for as many as an hour holds.
    retry_delay
        Seconds between two attempts.
    """

    cvm: str
    target: str
    interval: int = 5
    timeout: int = 300
    max_retries: int | None = None
    retry_delay: float = 5.0
    on_event: OnEvent | None = None

    @property
    def deadline(self) -> float:
        """Seconds after which the watch ends, whatever the service sends."""
        if self.max_retries is None:
            return _LONGEST_WITHOUT_LIMIT
        return (self.max_retries + 1) * self.longest_attempt + self.max_retries * self.retry_delay

    @property
    def longest_attempt(self) -> float:
        """Seconds after which one attempt ends, whatever the service sends."""
        return self.timeout + _GRACE


@dataclass(slots=True)
class _Attempt:
    """One attempt to follow the stream: its events, and how it ended."""

    deadline: Deadline
    last: CvmState | None = None
    error: CvmError | None = None
    pause: float | None = None  # asked for by the service
    events: int = 0
    reader: EventReader = field(default_factory=EventReader)


def watch(transport: Transport, spec: Watch) -> CvmState:
    """Wait until the CVM has the status.

    Returns
    -------
    CvmState
        The state in which the target was seen, its status spelled as asked.

    Raises
    ------
    TargetUnreachable
        The CVM failed, or is gone, and the target cannot come any more.
    WatchTimeout
        The attempts, or the time, are used up.
    ApiError
        The service refuses the watch: no such CVM, a key without the right.
    """
    deadline = Deadline(spec.deadline)
    attempts, last, last_id = 0, None, ""
    while True:
        attempts += 1
        seen = _Attempt(deadline.within(spec.longest_attempt), last)
        reached = _attempt(transport, spec, seen, last_id)
        if reached is not None:
            return reached
        last, last_id = seen.last or last, seen.reader.last_id or last_id
        pause = _pause(spec, seen)
        if _used_up(spec, attempts) or pause >= deadline.remaining() or transport.pause(pause):
            raise _timed_out(spec, attempts, last, seen.error)


def _used_up(spec: Watch, attempts: int) -> bool:
    return spec.max_retries is not None and attempts > spec.max_retries


def _pause(spec: Watch, seen: _Attempt) -> float:
    """Return the seconds before reconnecting; almost none after a stream that has delivered."""
    asked = seen.pause if seen.pause is not None else seen.reader.retry
    if asked is not None:
        return min(max(asked, 0.0), _LONGEST_RETRY)
    if seen.events and isinstance(seen.error, TransportError):
        return min(spec.retry_delay, 0.1 * random.random())  # noqa: S311 - jitter, not a secret
    return spec.retry_delay * (1 - 0.1 * random.random())  # noqa: S311


def _attempt(transport: Transport, spec: Watch, seen: _Attempt, last_id: str) -> CvmState | None:
    """Open one stream and read it to its end; None when the target was not seen."""
    try:
        try:
            return _read(_open(transport, spec, seen, last_id), spec, seen)
        except (RateLimited, DecodeError):
            # The user's streams are taken, by other tabs too, or something on the way lets none
            # through: poll, and leave the streams to the others.
            return _poll(transport, spec, seen)
    except (TransportError, ServerError) as error:
        if isinstance(error, UnsafeRedirect):
            raise
        seen.error = _too_long(spec) if seen.deadline.expired else error
        seen.pause = error.retry_after if isinstance(error, ServerError) else None
        return None
    except NotFoundError:
        if phase_of(spec.target) == "gone":
            return CvmState(status=spec.target)
        raise


def _open(transport: Transport, spec: Watch, seen: _Attempt, last_id: str) -> ByteStream:
    asked = query(target=spec.target, interval=spec.interval, timeout=spec.timeout)
    return transport.open(
        f"/cvms/{path_segment(spec.cvm)}/state{asked}",
        stall=2 * spec.interval + 5,
        headers={"Last-Event-ID": last_id} if last_id else {},
        deadline=seen.deadline,
    )


def _read(stream: ByteStream, spec: Watch, seen: _Attempt) -> CvmState | None:
    try:
        for event in state_events(seen.reader, stream):
            seen.events += 1
            reached = _EVENTS[event.kind](event, spec, seen)
            if reached is not None:
                return reached
            if seen.deadline.expired:  # many events may have come in one piece
                seen.error = _too_long(spec)
                break
    finally:
        stream.close()
    if seen.last is not None and _is(seen.last, spec.target):
        return _spelled(seen.last, spec.target)
    if seen.error is None:
        seen.error = TransportError("the stream ended before the target was reached")
    return None


# --- events ------------------------------------------------------------------------------------


def _on_state(event: StateEvent, spec: Watch, seen: _Attempt) -> CvmState | None:
    state = event.state
    assert state is not None  # noqa: S101 - it is of this kind
    seen.last = state
    _notify(spec, state)
    _check_can_come(state, spec)
    if _is(state, spec.target) and (state.status or "").lower() != spec.target.lower():
        return _spelled(state, spec.target)  # by another word: the service does not say so
    return None


def _on_complete(event: StateEvent, spec: Watch, seen: _Attempt) -> CvmState | None:
    """Return the last state seen with what the end of the stream adds to it."""
    before = seen.last.raw if seen.last is not None else {}
    return _spelled(state_of({**before, **event.data}, "the end of the stream"), spec.target)


def _on_timeout(_event: StateEvent, spec: Watch, seen: _Attempt) -> CvmState | None:
    seen.error = WatchTimeout(
        f"the service ended the stream after {spec.timeout} s", target=spec.target
    )
    return None


def _on_gone(event: StateEvent, spec: Watch, seen: _Attempt) -> CvmState | None:
    if phase_of(spec.target) == "gone":
        return state_of({**event.data, "status": spec.target}, "the end of the stream")
    raise _unreachable(spec, seen.last, "it was deleted")


def _on_refused(event: StateEvent, _spec: Watch, seen: _Attempt) -> CvmState | None:
    seen.error = CvmError(f"the service reported: {event.text[:200] or 'no reason given'}")
    return None


def _ignored(_event: StateEvent, _spec: Watch, _seen: _Attempt) -> CvmState | None:
    return None


_EVENTS: dict[StateEventKind, Callable[[StateEvent, Watch, _Attempt], CvmState | None]] = {
    StateEventKind.STATE: _on_state,
    StateEventKind.COMPLETE: _on_complete,
    StateEventKind.TIMEOUT: _on_timeout,
    StateEventKind.GONE: _on_gone,
    StateEventKind.REFUSED: _on_refused,
    StateEventKind.OTHER: _ignored,
}


# --- polling, where a stream was refused ---------------------------------------------------------


def _poll(transport: Transport, spec: Watch, seen: _Attempt) -> CvmState | None:
    path = f"/cvms/{path_segment(spec.cvm)}/state"
    while not seen.deadline.expired:
        reply = transport.send(Request(RetryKind.READ, "GET", path), deadline=seen.deadline)
        state = decode_state(reply.body, f"GET {path}")
        changed = seen.last is None or state != seen.last
        seen.last = state
        if changed:
            _notify(spec, state)
        if _is(state, spec.target):
            return _spelled(state, spec.target)
        _check_can_come(state, spec)
        if transport.pause(min(spec.interval, seen.deadline.remaining())):
            break
    seen.error = CvmError("no stream could be had, and polling did not see the target")
    return None


# --- states --------------------------------------------------------------------------------------


def _notify(spec: Watch, state: CvmState) -> None:
    if spec.on_event is not None:
        spec.on_event(state)


def _is(state: CvmState, target: str) -> bool:
    return same_status(state.status, target)


def _spelled(state: CvmState, target: str) -> CvmState:
    return msgspec.structs.replace(state, status=target)


def _check_can_come(state: CvmState, spec: Watch) -> None:
    if _is(state, spec.target):
        return
    phase = phase_of(state.status)
    if phase == "gone":
        raise _unreachable(spec, state, "it was deleted")
    if phase == "failed" and not state.raw.get("in_progress"):
        why = f": {state.boot_error}" if state.boot_error else ""
        raise _unreachable(spec, state, f"its status is {(state.status or '').lower()}{why}")


def _unreachable(spec: Watch, state: CvmState | None, why: str) -> TargetUnreachable:
    return TargetUnreachable(
        f"{spec.cvm!r} cannot become {spec.target!r}: {why}",
        hint="Look at its logs and its boot error; start it again, or delete it.",
        state=state,
        target=spec.target,
    )


def _too_long(spec: Watch) -> WatchTimeout:
    return WatchTimeout(
        f"the attempt went on for {spec.longest_attempt:.3g} s and was ended here",
        target=spec.target,
    )


def _timed_out(
    spec: Watch, attempts: int, last: CvmState | None, error: CvmError | None
) -> WatchTimeout:
    seen = f"its last status was {last.status!r}" if last is not None else "no state was seen"
    why = f"; the last attempt: {error.message}" if error is not None else ""
    return WatchTimeout(
        f"{spec.cvm!r} did not become {spec.target!r} in {counted(attempts, 'attempt')}: "
        f"{seen}{why}",
        hint="It may still come: watch again, with a larger timeout or max_retries.",
        state=last,
        target=spec.target,
    )
