"""The reflector: one thread that keeps a FleetStore true, for as long as somebody looks."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Self

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.base import Endpoints
from cvm_notebook.live.clock import Clock, SleepDetector, SystemClock
from cvm_notebook.live.reflector.event_queue import EventQueue
from cvm_notebook.live.reflector.events import (
    AbortAll,
    Action,
    ChangedElsewhere,
    CloseStream,
    Crashed,
    Dropped,
    Event,
    FetchList,
    FetchStatuses,
    Follow,
    Interest,
    ListFailed,
    ListFetched,
    MarkFailed,
    OpenStream,
    PageFetched,
    ReflectorSettings,
    Refresh,
    Resumed,
    SetHealth,
    StatusesFailed,
    StreamClosed,
    Tick,
    Touched,
    Woke,
)
from cvm_notebook.live.reflector.health import BROKEN, HealthLog, prevented
from cvm_notebook.live.reflector.interest import InterestHandle, Interests
from cvm_notebook.live.reflector.lister import FleetApi, Lister, Source
from cvm_notebook.live.reflector.machine import Machine, Mode
from cvm_notebook.live.reflector.stream_reader import FLUSH, StreamPool
from cvm_notebook.live.reflector.thread import ended, note, serve, tell_others
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Health
from cvm_notebook.live.store.store import FleetStore, Hook

__all__ = ["InterestHandle", "Reflector", "ReflectorSettings"]

_log = logging.getLogger(__name__)
_LONGEST_WAIT: Final = 1.0  # until it is noticed that a machine slept, or the fleet was dropped
_SHORTEST_WAIT: Final = 0.01
_HEALTHY: Final = 120.0


class Reflector:
    """Keeps a store true. Safe to use from any thread; it starts when somebody is interested.

    It lists all pages, asks for statuses by node, and opens at most four streams for CVMs in
    transition or followed. While nobody is interested it sends nothing, and its thread ends. It has
    connections of its own, so that ending it ends no call of the client.

    Parameters
    ----------
    client
        Whose key and address it uses.
    store
        What it keeps true.
    clock, settings
        When and how often.
    """

    def __init__(
        self,
        client: Endpoints,
        store: FleetStore,
        *,
        clock: Clock | None = None,
        settings: ReflectorSettings = ReflectorSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._source = source = Source(client)
        self._store = store
        self._clock = clock or SystemClock()
        self._settings = settings
        self._machine = Machine(settings)
        self._gatherer = Lister(store, self._clock)
        self._lock = threading.RLock()
        self._inbox = EventQueue()
        self._verdict = threading.Event()  # the first list is in, or cannot come
        self._interests = Interests()
        self._thread: threading.Thread | None = None
        post = weakly(self._post)
        # All that its threads reference: never the reflector itself, nor a subscriber.
        self._lines = StreamPool(
            lambda: FleetApi(source.client, settings, lambda: post(PageFetched())),
            weakly(store.patch),
            post,
            self._clock,
        )
        self._hook: Hook | None = None
        self._sleep, self._waited = SleepDetector(), 0.0
        self._dropped: tuple[str, ...] | None = None  # set once: what is to be unfollowed
        self._held: bool | None = None  # the last interest event of the machine
        self._health = HealthLog(store, self._clock, _log)
        self._closed = False
        self._touched_at = float("-inf")
        self._crashed_at: float | None = None
        self._pid = os.getpid()

    # --- what others ask -------------------------------------------------------------------

    def touch(self) -> None:
        """Show interest, for `idle_after` seconds. It costs next to nothing: do it at each look."""
        # not in a fork: the parent's thread may have held the detector's lock
        if self._thread is not None and os.getpid() == self._pid and self._slept(_LONGEST_WAIT):
            self._post(Woke())  # the caller may be faster than the thread
        now = self._clock.monotonic()
        if self._thread is None or now - self._touched_at > min(1.0, self._settings.idle_after / 2):
            self._touched_at = now
            self._post(Touched(), start=True)

    def interest(self) -> InterestHandle:
        """Show interest until the handle is closed, or nobody holds it any more."""
        self._check()
        handle = InterestHandle(self._release)
        self._interests.add(handle)
        self._post(Touched(), start=True)
        return handle

    def _release(self, handle: InterestHandle) -> None:
        self._interests.discard(handle)
        self._inbox.wakeup.set()

    def refresh(self) -> None:
        """Ask for a new list soon; wishes that come together are one."""
        self._post(Refresh(), start=True)

    def relist(self) -> None:
        """Ask for a new list soon, as others of this address do that run."""
        self.refresh()
        tell_others(self, ChangedElsewhere())

    def announce(self, cvm_id: str) -> None:
        """Have others of this address that run ask for a CVM's status soon: it is being changed."""
        tell_others(self, ChangedElsewhere(cvm_id))

    def changed_elsewhere(self, event: ChangedElsewhere, other: "Reflector") -> None:
        """Look soon at what another one says that it changes, if it has the same address."""
        if self._source.address == other._source.address:  # noqa: SLF001 - of its own kind
            self._post(event)

    def follow(self, cvm_id: str) -> None:
        """Follow a CVM by a stream, or by frequent polling where there is none.

        Whoever follows also unfollows; it is followed until all have.
        """
        self._check()
        self._interests.follow(cvm_id)
        self._post(Follow(cvm_id), start=True)
        self.touch()

    def unfollow(self, cvm_id: str) -> None:
        """Take one `follow` back."""
        if self._interests.unfollow(cvm_id):
            self._post(Follow(cvm_id, on=False))

    def drop(self, followed: Sequence[str] = ()) -> None:
        """Stop keeping the fleet alive for a viewer that is gone; other interest counts on.

        It takes no lock: it may be called while objects are collected, in the middle of anything.

        Parameters
        ----------
        followed
            The follows to take back.
        """
        self._dropped = tuple(followed)

    def ready(self, timeout: float = 30.0) -> None:
        """Wait until the store has had the whole list once.

        Raises
        ------
        CvmError
            What prevented it: at once when the key is refused, else when the time is up.
        """
        with self.interest():
            end = self._clock.monotonic() + timeout
            while True:
                verdict = self._verdict  # taken before the look, so that no change is missed
                self._check()
                if self._machine.listed:
                    return
                self.check()
                left = end - self._clock.monotonic()
                if left <= 0:
                    raise prevented(self._machine.failure, timeout)
                self._clock.wait(verdict, left)

    def check(self) -> None:
        """Return if changes can be expected.

        Raises
        ------
        CvmError
            The key is refused, the fleet is closed, or its thread has ended with an error.
        """
        self._check()
        # set in the store, too: a waiter that is woken here must not read an older health there
        shown = self._store.health.state in BROKEN
        if shown and self._machine.mode in (Mode.LOCKED, Mode.BROKEN):
            raise prevented(self._machine.failure, 0.0)

    def resume(self, client: Endpoints | None = None) -> None:
        """Go on after the key was refused: with another client, or the same one."""
        self._check()
        if client is not None:
            self._source.client = client
        self._post(Resumed(), start=True)

    def close(self, timeout: float = 2.0) -> None:
        """End everything: requests under way are broken off, streams closed, threads joined.

        A thread that is still looking a name up or connecting is left behind: it ends by itself,
        brings nothing to the store, and holds nothing up, not even the end of the interpreter.
        """
        if os.getpid() != self._pid:
            return  # the threads are the parent's
        with self._lock:
            first, self._closed = not self._closed, True
            thread = self._thread
        if first:
            self._health.show(SetHealth("closed"))
        self._lines.end()
        self._inbox.wakeup.set()
        self._tell_waiters()
        end = time.monotonic() + timeout  # of this machine: no test waits for it to be moved
        for ending in [thread, *self._lines.threads()]:
            if ending is not None and ending is not threading.current_thread():
                ending.join(max(0.0, end - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Reflector: {self._store.health}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "A live fleet is not pickled: it has threads and connections. Pickle a snapshot or a "
            "frame of it, and make a new one in each process."
        )

    # --- the thread ------------------------------------------------------------------------

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise CvmError(
                "this fleet was made before the process forked, and its thread is the parent's",
                hint="Make a new Client and a new Fleet in the child.",
            )
        if self._closed:
            raise CvmError("this fleet is closed", hint="Make a new one: Fleet(client).")

    def _post(self, event: Event, *, start: bool = False) -> None:
        if start:
            self._check()
        elif os.getpid() != self._pid:
            return  # and no look at a lock that a thread of the parent may hold for ever
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if self._closed or not (alive or start or isinstance(event, Follow)):
                return
            self._inbox.put(event)
            if start and not alive:
                self._thread = serve(self, self._inbox.wakeup, self._clock, self._lines)

    def turn(self) -> float | None:
        """Do what is to be done now; return the seconds to wait, or None when there is no more.

        For its thread. It falls over once without harm, and twice with a word about it.
        """
        try:
            wait = self._turn()
        except BaseException as error:  # noqa: BLE001 - the thread's top: shown in health
            return 0.0 if self.survives(error) else None
        self._waited = wait or 0.0
        return wait

    def _turn(self) -> float | None:
        if self._hook is None:
            self._begin()
        if self._closed:
            self._end()
            return None
        self._inbox.wakeup.clear()
        if self._slept(self._waited):
            self._take(Woke())
        self._notice_interest()
        while (event := self._inbox.take()) is not None:
            self._take(event)
        self._take(Tick())
        self._lines.flush()
        return None if self._may_end() else self._wait_until()

    def _begin(self) -> None:
        self._sleep, self._waited, self._held = SleepDetector(), 0.0, None
        self._hook = self._store.attach(partial(note, self._inbox, weakref.ref(self._store)))
        self._inbox.all(self._store.snapshot().rows)

    def _slept(self, waited: float) -> bool:
        """Return whether this machine slept; nothing was observed from then on."""
        since = self._sleep.woke(self._clock.monotonic(), self._clock.now(), waited)
        if since is not None and self._store.health.state == "live":
            self._store.set_health(Health("catching up", since, "this machine slept"))
        return since is not None

    def _notice_interest(self) -> None:
        if self._dropped is not None:
            followed, self._dropped = self._dropped, None
            for cvm_id in followed:
                self.unfollow(cvm_id)
            self._take(Dropped())
        held = bool(self._interests)
        if held != self._held:
            self._held = held
            self._take(Interest(held))

    def _wait_until(self) -> float:
        now = self._clock.monotonic()
        if self._lines.hold_back:
            return FLUSH
        return min(max(self._machine.due(now) - now, _SHORTEST_WAIT), _LONGEST_WAIT)

    def _may_end(self) -> bool:
        """End the thread when it is idle, unless there is new interest."""
        with self._lock:
            parked = self._machine.mode is Mode.PARKED
            if self._machine.mode is Mode.ACTIVE or self._inbox or (parked and self._interests):
                return False
            self._end()
            return True

    def _end(self) -> None:
        with self._lock:
            self._thread = None
            self._unhook()
        ended(self)

    def _unhook(self) -> None:
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.close()

    def _tell_waiters(self) -> None:
        verdict, self._verdict = self._verdict, threading.Event()
        verdict.set()

    def survives(self, error: BaseException) -> bool:
        """Break everything off and begin anew; False when it fell over a short while ago, too."""
        now = self._clock.monotonic()
        again = self._crashed_at is not None and now - self._crashed_at < _HEALTHY
        self._crashed_at = now
        cause = f"the background thread fell over ({type(error).__name__}: {error})"
        _log.error("%s%s", cause, "" if again else "; it was started again", exc_info=error)
        self._unhook()
        self._take(Crashed(cause, final=again))
        if again:
            self._tell_waiters()
        if again or self._closed:
            self._end()
        return not again and not self._closed

    def _take(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self._lines.ended(event.cvm_id)
        for action in self._machine.next(event, self._clock.monotonic()):
            self._act(action)
        if isinstance(event, ListFetched | ListFailed | StatusesFailed):
            self._tell_waiters()

    # --- what is to be done ----------------------------------------------------------------

    def _act(self, action: Action) -> None:
        match action:
            case FetchList():
                self._lines.call("list", self._gatherer.list, ListFailed)
            case FetchStatuses():
                ask = partial(self._gatherer.ask, action)
                self._lines.call("ask", ask, partial(StatusesFailed, action))
            case OpenStream(cvm_id):
                self._lines.open(cvm_id)
            case CloseStream(cvm_id):
                self._lines.close(cvm_id)
            case AbortAll():
                self._cut()
            case MarkFailed():
                self._mark(action)
            case SetHealth():
                self._health.show(action)

    def _cut(self) -> None:
        self._lines.cut()
        self._gatherer.restart()

    def _mark(self, mark: MarkFailed) -> None:
        self._store.patch(
            [
                Observation.of_error(mark.why, id=c, vm_uuid=c, received=mark.asked, source="batch")
                for c in mark.cvms
            ]
        )
