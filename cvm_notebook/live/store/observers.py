"""Calling what users passed in: in order, and never on a thread that keeps the fleet up to date."""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_LIMIT: Final = 10_000  # of what waits for one observer


def weakly(method: Callable[P, T]) -> Callable[P, T | None]:
    """Return a function that calls a bound method while its object lives, and then does nothing.

    What subscribes by it is not kept alive by what it subscribes to.
    """
    weak = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        living = weak()
        return None if living is None else living(*args, **kwargs)

    return call


class Callbacks(Generic[P]):
    """Functions that are called in their order, each until it is taken back.

    Calling it calls them, with the same arguments and on the same thread.
    """

    def __init__(self) -> None:
        self._calls: tuple[Callable[P, object], ...] = ()

    def add(self, call: Callable[P, object]) -> Callable[[], None]:
        """Call it from now on, until what is returned is called."""
        self._calls = (*self._calls, call)
        return partial(self._drop, call)

    def _drop(self, call: Callable[P, object]) -> None:
        self._calls = tuple(one for one in self._calls if one is not call)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all of them."""
        for call in self._calls:
            call(*args, **kwargs)

    def __bool__(self) -> bool:
        """Return whether there is one."""
        return bool(self._calls)


class Mailbox(Generic[T]):
    """Calls one observer with what it is given, in order, on a thread of its own.

    The thread runs while something waits. Whatever the observer does there, `put` returns at once.

    Parameters
    ----------
    call
        The observer. Whatever it raises is reported to `on_fault` the first time.
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
            except BaseException as error:  # noqa: BLE001 - the thread's top, in a user's code
                if not self._failed:
                    self._failed = True
                    self._on_fault(error)
            del item
