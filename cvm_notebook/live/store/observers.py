"""Calling what users passed in: in order, and never on a thread that keeps the fleet up to date."""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_LIMIT: Final = 10_000  # of what waits for one observer


def weakly(method: Callable[P, object]) -> Callable[P, None]:
    """Return a function that calls a bound method for as long as its object lives."""
    ref = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        living = ref()
        if living is not None:
            living(*args, **kwargs)

    return call


class Mailbox(Generic[T]):
    """Calls one observer with what it is given, in order, on a thread of its own.

    The thread runs while something waits. Whatever the observer does there, `put` returns at once.

    Parameters
    ----------
    call
        The observer. Whatever it raises is told to `on_fault` the first time.
    size
        How much one item counts towards the limit.
    shorten
        Makes one queue that is over the limit into a shorter one.
    """

    def __init__(
        self,
        call: Callable[[T], object],
        *,
        on_fault: Callable[[BaseException], object],
        shorten: Callable[[Iterable[T]], Iterable[T]],
        size: Callable[[T], int] = lambda _: 1,
        limit: int = _LIMIT,
    ) -> None:
        self._call = call
        self._on_fault = on_fault
        self._shorten = shorten
        self._size = size
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: deque[T] = deque()
        self._total = 0
        self._thread: threading.Thread | None = None
        self._failed = False
        self._closed = False

    def put(self, item: T) -> None:
        """Have the observer called with it, after all that was put before."""
        with self._lock:
            if self._closed:
                return
            self._waiting.append(item)
            self._total += self._size(item)
            if self._total > self._limit and len(self._waiting) > 1:
                self._waiting = deque(self._shorten(self._waiting))
                self._total = sum(map(self._size, self._waiting))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cvm-observer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Call it no more, not even with what waits."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def finish(self, ends: float) -> None:
        """Let it be called with what waits, until that time of `time.monotonic`; then close."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, ends - time.monotonic()))
        self.close()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                item = self._waiting.popleft()
                self._total -= self._size(item)
            try:
                self._call(item)
            except BaseException as error:  # noqa: BLE001 - the thread's top, in code not ours
                if not self._failed:
                    self._failed = True
                    self._on_fault(error)
            del item
