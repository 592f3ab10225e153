"""Operation: one request that changes a CVM, from the intent to its result; a future."""

import math
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from cvm_notebook.api.checks import one_of, wait_seconds
from cvm_notebook.api.errors.tree import ApiError, CvmError, WatchTimeout
from cvm_notebook.api.models.actions import CvmAction
from cvm_notebook.api.resources.intent import Intent
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.completion import Completion, Flag
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.record import (
    UNSENT,
    OperationRecord,
    State,
    as_html,
    as_text,
)
from cvm_notebook.live.store.records import Row

T = TypeVar("T")

_FOREVER: Final = 3600.0


class _RecordField(Generic[T]):
    """A descriptor: reads a field of the operation's newest record."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, operation: "Operation", owner: type | None = None) -> T:
        value: T = getattr(operation.record, self._name)
        return value


@dataclass(slots=True)
class TrackingState:
    """The mutable state of tracking an operation; only its `OperationService` touches it.

    Attributes
    ----------
    begun
        The CVM was seen on its way to the target.
    since
        When the waiting began that has a deadline.
    due, count, reading
        When to look next, how often it was looked, and whether it is being looked now.
    proof
        Only a reading of our own, begun after the service accepted, may end it.
    answered
        The last reading of what became of it succeeded.
    parked
        The key was refused: nothing is read until there is another one.
    followed
        The CVMs that a reflector follows for its sake.
    """

    begun: bool = False
    since: float = 0.0
    due: float = float("inf")
    count: int = 0
    reading: bool = False
    proof: bool = False
    answered: bool = False
    parked: bool = False
    followed: set[str] = field(default_factory=set)


OnChange: TypeAlias = Callable[["Operation"], None]
"""Called with the operation after each change."""


class Operation:
    """A request that changes a CVM, with the interface of a future. Safe to use from any thread.

    Its attributes are those of `OperationRecord`; ``error`` is the exception itself.

    Examples
    --------
    >>> op = fleet["web-1"].stop()
    >>> op.wait(60).state
    'reached'
    >>> op.result().status  # what the service answered
    'stopping'
    """

    id = _RecordField[str]()
    verb = _RecordField[Verb]()
    cvm_id = _RecordField[str | None]()
    name = _RecordField[str]()
    target = _RecordField[str]()
    state = _RecordField[State]()
    note = _RecordField[str]()
    status = _RecordField[str | None]()
    progress = _RecordField[str | None]()
    attempts = _RecordField[int]()
    asked_at = _RecordField[datetime]()
    sent_at = _RecordField[datetime | None]()
    accepted_at = _RecordField[datetime | None]()
    reached_at = _RecordField[datetime | None]()
    ended_at = _RecordField[datetime | None]()
    http_status = _RecordField[int | None]()
    error_code = _RecordField[str | None]()
    hint = _RecordField[str | None]()
    request_id = _RecordField[str | None]()
    correlation_id = _RecordField[str | None]()
    made_id = _RecordField[str | None]()

    def __init__(
        self,
        record: OperationRecord,
        *,
        clock: Clock,
        row: Row | None = None,
        params: Mapping[str, Any] | None = None,
        on_change: "OnChange",
    ) -> None:
        self.record = record
        self._on_change = on_change
        self.row = row
        self.params = dict(params or {})
        self.tracking = TrackingState()
        self.intent: Intent | None = None
        self.error: CvmError | None = None
        self.answer: CvmAction | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._ended = threading.Event()
        self._completion = Completion[Operation]()
        if record.done:  # in an earlier kernel
            self._answered.set()
            self._ended.set()

    # --- waiting -----------------------------------------------------------------------------

    def wait(
        self, timeout: float | None = None, *, until: Literal["accepted", "done"] = "done"
    ) -> "Operation":
        """Wait until it is done, and return it; Ctrl-C ends the waiting, and nothing else.

        Parameters
        ----------
        timeout
            Seconds to wait at most; as long as it takes when None.
        until
            ``"accepted"`` waits for the service's answer only.

        Raises
        ------
        WatchTimeout
            It is not done yet. It is still in progress: wait again, or look at its state.
        """
        one_of("until", until, ("accepted", "done"))  # "reached" would be taken for "accepted"
        event = self._ended if until == "done" else self._answered
        allowed = wait_seconds("timeout", timeout)
        if allowed == math.inf:
            while not self._clock.wait(event, _FOREVER):
                pass
        elif not self._clock.wait(event, allowed):
            raise WatchTimeout(
                f"{self._what()} is not {until} after {allowed:g} s: {as_text(self.record)}",
                hint="Still in progress: wait again.",
                target=self.target,
            )
        return self

    def result(self, timeout: float | None = None) -> CvmAction | None:
        """Wait until it is done; return what the service answered, or raise what went wrong.

        Returns
        -------
        CvmAction or None
            None where the service answers nothing (delete), or nothing had to be sent.

        Raises
        ------
        CvmError
            It failed, was cancelled, or nobody can tell what became of it.
        WatchTimeout
            It is not done yet.
        """
        self.wait(timeout)
        return self._outcome()

    def __await__(self) -> Generator[Any, None, CvmAction | None]:
        yield from self._completion.reached()
        return self._outcome()

    @property
    def done(self) -> Flag:
        """Whether it is over; see `OperationRecord`."""
        return Flag(self.record.done)

    def cancelled(self) -> bool:
        """Return whether it was cancelled before it was sent."""
        return self.state == "cancelled"

    def exception(self, timeout: float | None = 0.0) -> CvmError | None:
        """Return what `result` would raise, or None when it reached its target."""
        self.wait(timeout)
        try:
            self._outcome()
        except CvmError as error:
            return error
        return None

    def add_done_callback(self, callback: "Callable[[Operation], object]") -> None:
        """Call it with the operation once that is done, on a worker; it may take its time."""
        self._completion.add(callback, self)

    def remove_done_callback(self, callback: "Callable[[Operation], object]") -> int:
        """Do not call it; return how often it would have been called."""
        return self._completion.remove(callback)

    def cancel(self) -> bool:
        """Cancel it, if it has not been sent; return whether that was in time."""
        return self.move(
            only=UNSENT,
            state="cancelled",
            done=True,
            note="taken back before it was sent",
        )

    def _outcome(self) -> CvmAction | None:
        if self.state == "reached":
            return self.answer
        if self.error is not None:
            raise self.error
        raise CvmError(f"{self._what()}: {as_text(self.record)}", hint=self.hint)

    # --- moving on: for `Operations` -----------------------------------------------------------

    def move(
        self,
        *,
        only: frozenset[State] | None = None,
        error: CvmError | None = None,
        answer: CvmAction | None = None,
        **changes: Any,
    ) -> bool:
        """Go on to another state; False when it is done already, or in none of `only`."""
        with self._lock:
            old = self.record
            if old.done or (only is not None and old.state not in only):
                return False
            from_error = {} if error is None else _error_fields(error)
            self.record = replace(old, **{**from_error, **changes, **self._times(old, changes)})
            if error is not None:
                self.error = error
                error.with_traceback(None)
            self.answer = answer or self.answer
            done = self.record.done
        self._on_change(self)  # first the ledger is written, then waiters are woken
        if done or self.record.state == "accepted":
            self._answered.set()
        if done:
            self._ended.set()
            self._completion.set(self)
        return True

    def _times(self, old: OperationRecord, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the times that a change of state sets."""
        now, wall = self._clock.monotonic(), self._clock.now()
        state = changes.get("state")
        times: dict[str, Any] = {}
        if state == "sent":
            times |= {"sent": now, "sent_at": wall}
        if state in {"accepted", "reached"} and old.accepted is None and old.sent is not None:
            times |= {"accepted": now, "accepted_at": wall}
        if state == "reached":
            times["reached_at"] = wall
        if changes.get("done"):
            times |= {"ended": now, "ended_at": wall}
        return times

    # --- shown -----------------------------------------------------------------------------------

    def _what(self) -> str:
        return f"{self.verb} of '{self.name}'"

    def __repr__(self) -> str:
        return f"<Operation {self.id}: {as_text(self.record)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        now = self._clock.monotonic()
        asked = f"asked {self.asked_at:%Y-%m-%d %H:%M:%S} UTC"
        return {
            "text/plain": f"{as_text(self.record)} ({asked})",
            "text/html": as_html(self.record, now),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("An Operation is not pickled: it has callbacks. Its `record` can be.")


def _error_fields(error: CvmError) -> dict[str, Any]:
    """Return the fields of a record that an error sets."""
    fields: dict[str, Any] = {"error": str(error), "hint": error.hint}
    if isinstance(error, ApiError):
        fields |= {
            "http_status": error.status,
            "error_code": error.error_code,
            "request_id": error.request_id,
        }
    return fields
