"""The state machine of a live fleet: an event and the time in, actions out; no I/O, no clock."""

import random
from collections.abc import Callable
from enum import Enum, auto
from itertools import chain
from typing import Any

from cvm_notebook.live.clock import Backoff
from cvm_notebook.live.reflector.events import (
    AbortAll,
    Action,
    ChangedElsewhere,
    CloseReason,
    Crashed,
    Dropped,
    Event,
    Failure,
    FailureKind,
    FetchList,
    Follow,
    Interest,
    ListFailed,
    ListFetched,
    MarkFailed,
    PageFetched,
    ReflectorSettings,
    Refresh,
    Resumed,
    RowsChanged,
    SetHealth,
    StatusesFailed,
    StatusesFetched,
    StreamClosed,
    StreamOpened,
    Tick,
    Touched,
    Woke,
)
from cvm_notebook.live.reflector.polling import Polling
from cvm_notebook.live.reflector.relist import Relist
from cvm_notebook.live.reflector.stream_slots import StreamSlots

_NEVER = float("-inf")
_FOR_EVER = float("inf")
_SWEEP_TAKES = 5.0  # seconds of slack: a healthy fleet answers once a sweep, and no more often
_START_AGAIN = "refresh() starts it again."


class Mode(Enum):
    """The mode of the state machine."""

    PARKED = auto()  # no interest: not one request
    ACTIVE = auto()
    LOCKED = auto()  # the key is refused: not one request until there is another
    BROKEN = auto()  # the thread fell over twice


class Machine:
    """The state machine: decides what a live fleet requests from the service.

    Attributes
    ----------
    mode
        What it is about.
    listed
        Whether a whole list has been read since it was made.
    """

    def __init__(
        self,
        settings: ReflectorSettings,
        *,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.mode = Mode.PARKED
        self.listed = False
        self._settings = settings
        self._idle_after = settings.idle_after
        self._lists = Relist(settings, Backoff(rand=rand))
        self._polls = Polling(settings)
        self._slots = StreamSlots(settings)
        self._last_answer_at = _NEVER
        self._followed: dict[str, None] = {}
        self._busy: dict[str, None] = {}
        self._held = False
        self._park_at = _NEVER
        self._catching_up = False
        self._slow = Backoff(rand=rand)
        self._slowed: Failure | None = None  # the service asked to slow down
        self._hold_until = _NEVER
        self._key: Failure | None = None
        self._fault: str | None = None
        self._shown: SetHealth | None = None
        self._on: dict[type, Callable[[Any, float], list[Action]]] = {
            Interest: self._on_interest,
            Dropped: self._on_dropped,
            Touched: self._on_touched,
            Refresh: self._on_refresh,
            ChangedElsewhere: self._on_changed_elsewhere,
            Follow: self._on_follow,
            RowsChanged: self._on_rows,
            PageFetched: self._on_page,
            ListFetched: self._on_listed,
            ListFailed: self._on_list_failed,
            StatusesFetched: self._on_answered,
            StatusesFailed: self._on_ask_failed,
            StreamOpened: self._on_opened,
            StreamClosed: self._on_ended,
            Woke: self._on_woke,
            Resumed: self._on_resumed,
            Crashed: self._on_crashed,
            Tick: self._on_tick,
        }

    def next(self, event: Event, now: float) -> list[Action]:
        """Take an event, and return what is to be done, in this order."""
        actions = self._on[type(event)](event, now)
        if self.mode is Mode.ACTIVE:
            actions += self._plan(now)
        show = self._health(now)
        if show != self._shown:
            self._shown = show
            actions.append(show)
        return actions

    @property
    def failure(self) -> Failure | None:
        """The failure of the list, as far as it is known."""
        if self.mode is Mode.BROKEN:
            return Failure(FailureKind.FAILED, self._fault or "", _START_AGAIN)
        return self._key or self._lists.failure

    @property
    def streams(self) -> tuple[str, ...]:
        """The CVMs that have a place for a stream."""
        return self._slots.ids

    def due(self, now: float) -> float:
        """Return the time at which a Tick is due, if nothing happens before."""
        times = [_FOR_EVER if self._held else self._park_at]
        if self.mode is not Mode.ACTIVE:
            return _FOR_EVER
        if self._knows:
            times += [self._slots.due(now), self._polls.due(now)]
        if self._lists.due is not None:
            times.append(self._lists.due)
        if self._hold_until > now:
            times.append(self._hold_until)
        late = self._late_at()
        return min([*times, late] if late > now else times)

    # --- what happens ----------------------------------------------------------------------

    def _on_interest(self, event: Interest, now: float) -> list[Action]:
        self._held = event.held
        self._park_at = now + self._idle_after
        if event.held:
            self._wake(now)
        return []

    def _on_dropped(self, _event: Dropped, now: float) -> list[Action]:
        self._idle_after, self._park_at = 0.0, now
        return []

    def _on_touched(self, _event: Touched, now: float) -> list[Action]:
        self._park_at = now + self._idle_after
        self._wake(now)
        return []

    def _wake(self, now: float) -> None:
        if self.mode is Mode.PARKED:
            self.mode = Mode.ACTIVE
            self._catching_up = True
            self._lists.ask(now)

    def _on_refresh(self, _event: Refresh, now: float) -> list[Action]:
        if self.mode is Mode.BROKEN:
            self.mode, self._fault = Mode.PARKED, None
        self._park_at = now + self._idle_after
        self._wake(now)
        self._lists.ask(now, by_user=True)
        return []

    def _on_changed_elsewhere(self, event: ChangedElsewhere, now: float) -> list[Action]:
        if event.cvm_id is None:
            self._lists.ask(now)
        else:
            self._polls.urge(event.cvm_id)
        return []

    def _on_follow(self, event: Follow, _now: float) -> list[Action]:
        if event.on:
            self._followed[event.cvm_id] = None
            self._slots.changed(event.cvm_id)
        else:
            self._followed.pop(event.cvm_id, None)
            if not self._polls.knows(event.cvm_id):
                self._slots.forget(event.cvm_id)
        return []

    def _on_rows(self, event: RowsChanged, _now: float) -> list[Action]:
        for row in event.now:
            if not row.busy:
                self._busy.pop(row.id, None)
            elif row.id not in self._busy:
                self._busy[row.id] = None
        for cvm_id in event.gone:
            self._busy.pop(cvm_id, None)
            if cvm_id not in self._followed:  # else it would be asked for a stream once more
                self._slots.forget(cvm_id)
        for row in self._polls.rows(event.now, event.gone):
            self._slots.changed(row.id)
        return []

    def _on_page(self, _event: PageFetched, now: float) -> list[Action]:
        self._lists.page_received(now)
        self._last_answer_at = now
        return []

    def _on_listed(self, event: ListFetched, now: float) -> list[Action]:
        self._slow.succeeded(now)
        self._last_answer_at = now
        self._lists.done(now, event.rows, whole=event.whole)
        self.listed, self._catching_up, self._fault = True, False, None
        return []

    def _on_list_failed(self, event: ListFailed, now: float) -> list[Action]:
        if event.failure.kind in (FailureKind.KEY, FailureKind.DENIED):
            return self._lock(event.failure)
        self._lists.failed(now, event.failure)
        self._slow_down(event.failure, now)
        return []

    def _on_answered(self, event: StatusesFetched, now: float) -> list[Action]:
        self._slow.succeeded(now)
        self._last_answer_at = now
        doubtful = self._polls.answered(now, event.ask, event.silent)
        if not doubtful:
            return []
        self._lists.ask(now)
        return [MarkFailed(doubtful, "the service says nothing of its status", now)]

    def _on_ask_failed(self, event: StatusesFailed, now: float) -> list[Action]:
        failure = event.failure
        if failure.kind in (FailureKind.KEY, FailureKind.DENIED):
            return self._lock(failure)
        was_well, mark = self._polls.failed(now, event.ask, failure)
        if failure.kind is FailureKind.SLOW_DOWN:
            self._slow_down(failure, now)  # and no list because of it
            return []
        if failure.kind is FailureKind.FAILED and was_well:
            self._lists.ask(now)  # is it this node, or everything?
        return [mark]

    def _on_opened(self, event: StreamOpened, now: float) -> list[Action]:
        self._slots.opened(now, event.cvm_id)
        return []

    def _on_ended(self, event: StreamClosed, now: float) -> list[Action]:
        failure = event.failure
        if failure is not None and failure.kind is FailureKind.KEY:
            return self._lock(failure)
        self._slots.ended(now, event)
        if failure is not None and failure.kind is FailureKind.DENIED:
            return [MarkFailed((event.cvm_id,), failure.cause, now)]
        if event.how is CloseReason.GONE or (
            failure is not None and failure.kind is FailureKind.MISSING
        ):
            self._lists.ask(now)  # it goes when the list has it no more
            return [
                MarkFailed((event.cvm_id,), "the service says that it is gone, or not yours", now)
            ]
        return []

    def _on_woke(self, _event: Woke, now: float) -> list[Action]:
        if self.mode is not Mode.ACTIVE:
            return []
        self._catching_up = True
        return self._cut(now)

    def _on_resumed(self, _event: Resumed, now: float) -> list[Action]:
        self._key, self.mode = None, Mode.ACTIVE
        self._park_at = now + self._idle_after
        self._catching_up = True
        return self._cut(now)

    def _on_crashed(self, event: Crashed, now: float) -> list[Action]:
        self._fault = event.cause
        self._catching_up = True
        if event.final:
            self.mode = Mode.BROKEN
        return self._cut(now)

    def _on_tick(self, _event: Tick, _now: float) -> list[Action]:
        return []

    # --- what follows ----------------------------------------------------------------------

    def _lock(self, failure: Failure) -> list[Action]:
        if self.mode is not Mode.ACTIVE:
            return []
        self.mode, self._key = Mode.LOCKED, failure
        self._polls.cut()
        self._slots.cut()
        return [AbortAll()]

    def _cut(self, now: float) -> list[Action]:
        self._lists.cut(now)
        self._polls.cut()
        self._slots.cut()
        return [AbortAll()]

    def _slow_down(self, failure: Failure, now: float) -> None:
        if failure.kind is not FailureKind.SLOW_DOWN:
            return
        wait = self._slow.failed(now) if now >= self._hold_until else 0.0  # a burst counts once
        self._slowed = failure
        self._hold_until = max(self._hold_until, now + max(failure.retry_after, wait))
        self._lists.hold(self._hold_until)
        self._polls.hold(self._hold_until)

    @property
    def _knows(self) -> bool:
        """Whether there is a list to go by: else nothing but that is asked for."""
        return self.listed and not self._catching_up and self._lists.failure is None

    def _unwanted(self, now: float) -> bool:
        return not self._held and now >= self._park_at

    def _plan(self, now: float) -> list[Action]:
        if self._unwanted(now):
            self.mode = Mode.PARKED
            return self._cut(now)
        actions: list[Action] = []
        if self._lists.begin(now):
            actions.append(FetchList())
        if self._knows:
            busy = self._busy
            streams = self._slots.next(now, self._followed, busy)
            hot = (c for c in chain(self._followed, busy) if not self._slots.covered(c))
            actions += [*self._polls.next(now, hot), *streams]
        return actions

    def _health(self, now: float) -> SetHealth:
        if self.mode is Mode.BROKEN:
            return SetHealth("offline", self._fault, _START_AGAIN)
        if self._key is not None:
            return SetHealth(
                "needs a key", self._key.cause, "Give another key with resume(client)."
            )
        if self.mode is Mode.PARKED:
            return SetHealth("paused", "nobody is looking; what is shown may be old")
        return self._health_of_lists(now)

    def _health_of_lists(self, now: float) -> SetHealth:
        failure = self._lists.failure
        if failure is not None and failure.kind is not FailureKind.SLOW_DOWN:
            return SetHealth("offline", failure.cause, failure.next_step, self._lists.due)
        if self._slowed is not None and now < self._hold_until:
            return SetHealth("catching up", self._slowed.cause, self._slowed.next_step)
        if self._catching_up or not self.listed or failure is not None:
            return SetHealth("catching up", self._fault)
        if now >= self._late_at():
            return SetHealth("catching up", f"no answer for {self._settings.late_after:.0f} s")
        return SetHealth("live", self._slots.problem)

    def _late_at(self) -> float:
        """Return the time from which answers are overdue and the fleet is not called live.

        A node that is slow while others answer does not count: its rows say so.
        """
        waits = self._polls.waits_since, self._lists.waits_since
        owed = min((since for since in waits if since is not None), default=_FOR_EVER)
        limit = self._settings.late_after
        return max(owed + limit, self._last_answer_at + limit + _SWEEP_TAKES)
