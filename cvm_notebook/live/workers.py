"""Threads for short tasks: a few workers that come when there is work, and one that minds the time.

They are daemons, and no pool of `concurrent.futures`: that one is joined when the interpreter ends,
and would hold it up for as long as a request takes. `_join_all` waits for them for a moment.
"""

import heapq
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live.clock import Clock

Task: TypeAlias = Callable[[], None]
_LINGER: Final = 1.0  # real seconds a worker without work stays; what is dropped ends as soon
_ENDS_IN: Final = 2.0  # real seconds that the end of the interpreter waits for threads
_all: "weakref.WeakSet[Workers]" = weakref.WeakSet()


class Workers:
    """Runs tasks soon, or later; tasks must not raise.

    Parameters
    ----------
    limit
        The most threads that run tasks.
    on_crash
        Called with what a task raised all the same: a bug.
    """

    def __init__(
        self, clock: Clock, limit: int, name: str, on_crash: Callable[[BaseException], None]
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._name = name
        self._on_crash = on_crash
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._ready: deque[Task] = deque()
        self._later: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._alarm = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._timer: threading.Thread | None = None
        self._idle = 0
        self._closed = False
        self._no_threads = False
        _all.add(self)

    def widen(self, limit: int) -> None:
        """Allow that many threads, if that is more than now."""
        with self._lock:
            self._limit = max(self._limit, limit)

    def do(self, task: Task) -> None:
        """Run a task soon."""
        with self._lock:
            if self._closed:
                return
            self._ready.append(task)
            if len(self._ready) <= self._idle:
                self._work.notify()
            elif len(self._threads) < self._limit:
                thread = self._thread(self._run, f"{self._name}-worker")
                if self._starts(thread):
                    self._threads.add(thread)

    def help(self) -> bool:
        """Do one task in the calling thread, where no thread can be started any more.

        Returns
        -------
        bool
            Whether there was one.
        """
        with self._lock:
            if not self._ready or self._threads or not self._no_threads:
                return False
            task = self._ready.popleft()
        task()
        return True

    def later(self, seconds: float, task: Task) -> None:
        """Run a task after so many seconds."""
        with self._lock:
            if self._closed:
                return
            due = self._clock.monotonic() + seconds
            heapq.heappush(self._later, (due, next(self._numbers), task))
            if self._timer is None:
                timer = self._thread(self._mind_the_time, f"{self._name}-timer")
                self._timer = timer if self._starts(timer) else None
            self._alarm.set()

    def close(self, timeout: float) -> None:
        """Drop what waits, and wait for what runs, at most so long."""
        with self._lock:
            self._closed = True
            self._ready.clear()
            self._later.clear()
            self._work.notify_all()
            self._alarm.set()
            threads = [*self._threads, *([self._timer] if self._timer else [])]
        ends = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends - time.monotonic()))

    def _starts(self, thread: threading.Thread) -> bool:
        """Start a thread; False at the end of the interpreter, when none can be started."""
        try:
            thread.start()
        except RuntimeError:
            self._no_threads = True
            return False
        return True

    @staticmethod
    def _thread(run: Callable[[], None], name: str) -> threading.Thread:
        return threading.Thread(target=run, name=name, daemon=True)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - the thread's top: reported, and it goes on
                self._on_crash(error)
            task = None

    def _next(self) -> Task | None:
        with self._lock:
            while not self._ready:
                self._idle += 1
                woken = not self._closed and self._work.wait(_LINGER)
                self._idle -= 1
                if self._closed or not (woken or self._ready):
                    self._threads.discard(threading.current_thread())
                    return None
            return self._ready.popleft()

    def _mind_the_time(self) -> None:
        while True:
            with self._lock:
                now = self._clock.monotonic()
                due = []
                while self._later and self._later[0][0] <= now:
                    due.append(heapq.heappop(self._later)[2])
                if not due and (self._closed or not self._later):
                    self._timer = None
                    return
                pause = self._later[0][0] - now if self._later else 0.0
                self._alarm.clear()
            for task in due:
                self.do(task)
            if not due:
                self._clock.wait(self._alarm, pause)


def _join_all() -> None:
    """End workers with the interpreter, and wait a moment for every thread of the package.

    A daemon that is in the C++ of pyarrow or matplotlib when the interpreter ends, be it a worker
    or one that calls an observer, takes the whole process with it ("terminate called without an
    active exception").
    """
    ends = time.monotonic() + _ENDS_IN
    for workers in list(_all):
        workers.close(0.0)
    for thread in threading.enumerate():
        if thread.name.startswith("cvm-") and thread is not threading.current_thread():
            thread.join(max(0.0, ends - time.monotonic()))


at_exit(Stage.THREADS, _join_all)
