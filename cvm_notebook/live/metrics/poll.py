"""MetricsPoll: asks guests for their figures while somebody wants them, on a few short threads."""

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Self

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.guest import CvmStats
from cvm_notebook.api.resources.base import Endpoints
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.api.status import status_of
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.metrics.schedule import PollSchedule, PollSettings, PollTarget
from cvm_notebook.live.reflector.events import Failure, FailureKind
from cvm_notebook.live.reflector.interest import InterestHandle
from cvm_notebook.live.reflector.lister import OneMoreTry
from cvm_notebook.live.store.figures import Sample
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text

_HELD: Final = 60.0  # seconds without requests after the key was refused
_SOON: Final = 1.0  # seconds until it is looked whether the rows are true again
_WHY: Final = 200
_PRIVATE: Final = "the CVM shows its figures to nobody: public_sysinfo is off"
_SILENT: Final = "no metrics: system info is private for this app"


class MeasureHandle:
    """As long as it is open, and somebody holds it, the figures of some CVMs are measured."""

    def __init__(
        self, cvm_ids: Iterable[str] | None, changed: Callable[["MeasureHandle"], None]
    ) -> None:
        self._changed = changed
        self.cvm_ids = None if cvm_ids is None else frozenset(cvm_ids)
        self.open = True

    def see(self, cvm_ids: Iterable[str] | None) -> None:
        """Want those of other CVMs from now on; None for all that run."""
        self.cvm_ids = None if cvm_ids is None else frozenset(cvm_ids)
        self._changed(self)

    def close(self) -> None:
        """Want them no more; twice does no harm."""
        self.open = False
        self._changed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MetricsPoll:
    """Asks running CVMs for their figures, and puts these into a store. Safe from any thread.

    It sends nothing while nobody wants figures, and nothing to a CVM that keeps them private. It
    has connections of its own, so that ending it ends no call of the client.

    Parameters
    ----------
    client
        Whose key and address it uses.
    store
        Whose running rows are asked, and where the figures go.
    interest
        Keeps the rows true while it asks.
    clock, settings
        When and how often.
    on_crash
        Called with an error that a thread of it ended with: a bug.
    """

    def __init__(
        self,
        client: Endpoints,
        store: FleetStore,
        interest: Callable[[], InterestHandle],
        *,
        clock: Clock | None = None,
        settings: PollSettings = PollSettings(),  # noqa: B008 - frozen
        on_crash: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._store = store
        self._interest = interest
        self._clock = clock or SystemClock()
        self._settings = settings
        self._schedule = PollSchedule(settings)
        # one more than requests under way: one thread keeps the time
        self._workers = Workers(self._clock, settings.at_once + 1, "cvm-metrics", on_crash)
        self._transport = client.apart(OneMoreTry(attempts=2))
        self._lock = threading.Lock()
        self._handles: weakref.WeakSet[MeasureHandle] = weakref.WeakSet()
        self._until = float("-inf")  # until then all that run are measured, without a handle
        self._holding: InterestHandle | None = None
        self._turns = 0  # counted at each beginning: of several that are due the last one counts
        self._samples: list[Sample] = []
        self._private: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._wakeup = threading.Event()
        self._closed = False
        self._pid = os.getpid()

    # --- what others ask -------------------------------------------------------------------

    def measure(self, cvm_ids: Iterable[str] | None = None) -> MeasureHandle:
        """Measure some CVMs, or all that run, until the handle is closed or nobody holds it."""
        self._check()
        handle = MeasureHandle(cvm_ids, weakly(self._changed))
        with self._lock:
            self._handles.add(handle)
        self._begin()
        return handle

    def measure_for(self, seconds: float) -> None:
        """Measure all that run for so long from now."""
        self._check()
        with self._lock:
            self._until = max(self._until, self._clock.monotonic() + seconds)
        self._begin()

    def ready(self, timeout: float, cvm_ids: Iterable[str] | None = None) -> bool:
        """Wait until each of these that runs was asked lately; return whether all were in time."""
        wanted = None if cvm_ids is None else frozenset(cvm_ids)
        ends = self._clock.monotonic() + timeout
        while True:
            wakeup = self._wakeup  # taken before the look, so that none is missed
            if all(map(self._was_asked, self._running(wanted))):
                return True
            left = ends - self._clock.monotonic()
            if left <= 0 or self._closed:
                return False
            self._clock.wait(wakeup, left)

    def use(self, client: Endpoints) -> None:
        """Ask with another client from now on; what is under way is broken off, and asked again."""
        with self._lock:
            old, self._transport = self._transport, client.apart(OneMoreTry(attempts=2))
            self._schedule.resume()
        old.abort()
        self._begin()

    def close(self, timeout: float = 2.0) -> None:
        """End it: what is asked at the moment is broken off, and its threads end."""
        if os.getpid() != self._pid:
            return  # the threads are the parent's
        self._closed = True
        self._transport.abort()
        self._workers.close(timeout)
        self._release()
        self._notify()

    def _was_asked(self, row: Row) -> bool:
        known = self._store.figures.latest.get(row.id)
        if known is None or known.state != "known":
            return known is not None
        return known.is_fresh(self._clock.monotonic())

    def _check(self) -> None:
        if self._closed or os.getpid() != self._pid:
            raise CvmError("this fleet is closed", hint="Make a new one: Fleet(client).")

    def _changed(self, handle: MeasureHandle) -> None:
        with self._lock:
            if not handle.open:
                self._handles.discard(handle)
        self._begin()

    # --- its turns -------------------------------------------------------------------------

    def _begin(self) -> None:
        """Have a turn soon."""
        with self._lock:
            self._turns += 1
            turn = self._turns
        self._workers.do(partial(weakly(self._turn), turn))

    def _turn(self, turn: int) -> None:
        """Run one round of the poll and schedule the next; end when there is no handle any more."""
        with self._lock:
            wanted = self._wanted_ids()
            if turn != self._turns or self._closed:
                return
        self._flush()
        if wanted is not None and not wanted:
            self._release(turn)
            return
        self._hold(turn)
        pause = self._ask_some(wanted) if self._may_ask() else _SOON
        self._workers.later(pause, partial(weakly(self._turn), turn))

    def _ask_some(self, wanted: frozenset[str] | None) -> float:
        """Request the metrics that are due; return the seconds until the next are."""
        now = self._clock.monotonic()
        targets = {row.id: _target(row) for row in self._running(wanted)}
        with self._lock:
            asked = self._schedule.next(now, targets.values())
            pause = self._schedule.pause(now)
        if asked.private:
            self._store.measure((), private=dict.fromkeys(asked.private, _PRIVATE))
            self._notify()
        for cvm_id in asked.ask:
            self._workers.do(partial(self._ask, targets[cvm_id]))
        return pause

    def _wanted_ids(self) -> frozenset[str] | None:
        """Return whose figures are wanted; None for all that run. Under the lock."""
        if self._clock.monotonic() < self._until:
            return None
        handles = [one for one in self._handles if one.open]
        if any(one.cvm_ids is None for one in handles):
            return None
        return frozenset().union(*(one.cvm_ids or () for one in handles))

    def _running(self, wanted: frozenset[str] | None = None) -> list[Row]:
        rows = (
            self._store.snapshot().rows
            if wanted is None
            else [row for row in map(self._store.get, wanted) if row is not None]
        )
        return [row for row in rows if status_of(row.status) == "running"]

    def _may_ask(self) -> bool:
        """Whether requests make sense: not while the fleet is offline, or the key refused."""
        return self._store.health.state in ("live", "catching up")

    def _hold(self, turn: int) -> None:
        if self._holding is not None:
            return
        try:
            holding = self._interest()
        except CvmError:  # it is closed meanwhile
            return
        with self._lock:
            if self._holding is None and turn == self._turns and not self._closed:
                self._holding = holding
                return
        holding.close()  # a later turn decides: it may have released already

    def _release(self, turn: int | None = None) -> None:
        with self._lock:
            if turn is not None and turn != self._turns:
                return  # a handle was opened meanwhile
            holding, self._holding = self._holding, None
        if holding is not None:
            holding.close()

    # --- one question ----------------------------------------------------------------------

    def _ask(self, target: PollTarget) -> None:
        wait = self._settings.give_up_after
        path = f"/cvms/{path_segment(target.cvm_id)}/stats"
        request = Request(RetryKind.READ, "GET", path, timeout=Timeout(min(5.0, wait), wait, wait))
        transport = self._transport
        try:
            stats = transport.call(request, lambda reply: decode(reply.body, CvmStats, path))
        except Exception as error:  # noqa: BLE001 - a thread's top: reported as data
            if transport is self._transport and not self._closed:
                self._missed(target, Failure.of(error))
        else:
            if transport is self._transport:  # else it is asked again
                self._answered(target, stats)
        with self._lock:
            last = not self._schedule.under_way
        if last:
            self._flush()

    def _answered(self, target: PollTarget, stats: CvmStats) -> None:
        now, info = self._clock.monotonic(), stats.sysinfo
        private = info is None and stats.is_public is False
        with self._lock:
            if info is not None or private:
                self._schedule.answered(now, target, private=private)
            else:
                self._schedule.failed(now, target.cvm_id)
            if info is not None:
                at = self._clock.now()
                self._samples.append(Sample.of(target.cvm_id, info, at=at, received=now))
            elif private:
                self._private[target.cvm_id] = _PRIVATE
            else:
                self._failed[target.cvm_id] = clean_text(stats.error or _SILENT, _WHY)

    def _missed(self, target: PollTarget, failure: Failure) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._schedule.failed(now, target.cvm_id)
            self._failed[target.cvm_id] = clean_text(failure.cause, _WHY)
            if failure.kind in (FailureKind.SLOW_DOWN, FailureKind.KEY):
                self._schedule.hold(now + max(failure.retry_after, _HELD))

    def _flush(self) -> None:
        """Put what has come into the store: at once, what came together."""
        with self._lock:
            samples, self._samples = self._samples, []
            private, self._private = self._private, {}
            failed, self._failed = self._failed, {}
        if samples or private or failed:
            self._store.measure(samples, private=private, failed=failed)
            self._notify()

    def _notify(self) -> None:
        wakeup, self._wakeup = self._wakeup, threading.Event()
        wakeup.set()


def _target(row: Row) -> PollTarget:
    """Return what of a row decides whether it is asked."""
    return PollTarget(row.id, row.cvm.public_sysinfo, row.cvm.updated_at)
