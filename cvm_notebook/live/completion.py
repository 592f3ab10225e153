"""Completion of an operation: done callbacks, and futures of event loops."""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 64  # callbacks that run at a time, of all operations together


class Flag(int):
    """True or False, which may also be called: asyncio asks its futures ``done()``."""

    def __call__(self) -> bool:
        """Return it as a bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


class Completion(Generic[T]):
    """Done callbacks, called once something has ended. Safe to use from any thread.

    Callbacks of users run on workers. Those that asyncio adds run on the loop that waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._callbacks: list[Callable[[T], object]] = []
        self._wakers: dict[object, Callable[[], object]] = {}  # by what each is known by

    def add(self, callback: Callable[[T], object], subject: T) -> None:
        """Have it called with the subject, now if that is done already."""
        if str(getattr(callback, "__module__", None)).startswith("asyncio."):
            self._wake(callback, _on_loop(partial(callback, subject)))  # as of asyncio.wait
            return
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
                return
        _pool.put(callback, subject)

    def remove(self, callback: Callable[[T], object]) -> int:
        """Have it called no more; return how often it would have been."""
        with self._lock:
            kept = [one for one in self._callbacks if one != callback]
            removed, self._callbacks = len(self._callbacks) - len(kept), kept
            return removed + (self._wakers.pop(callback, None) is not None)

    def reached(self) -> Generator[Any, None, None]:
        """Wait on the loop that runs here: the body of an ``__await__``."""
        woken = asyncio.Event()
        self._wake(woken, _on_loop(woken.set))
        try:
            yield from woken.wait().__await__()
        finally:
            with self._lock:
                self._wakers.pop(woken, None)

    def set(self, subject: T) -> None:
        """Complete it: wake all that wait, and call each callback once."""
        with self._lock:
            self._over = True
            wakers, self._wakers = self._wakers, {}
            callbacks, self._callbacks = self._callbacks, []
        for waker in wakers.values():
            waker()
        for callback in callbacks:
            _pool.put(callback, subject)

    def _wake(self, key: object, waker: Callable[[], object]) -> None:
        with self._lock:
            if not self._over:
                self._wakers[key] = waker
                return
        waker()


def _on_loop(call: Callable[[], object]) -> Callable[[], None]:
    """Return a function for any thread that has the loop that runs here make a call."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(call)

    return ask


class _Pool:
    """Runs callbacks of users, a bounded number at a time; one that blocks holds up no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._running = 0

    def put(self, callback: Callable[[Any], object], argument: object) -> None:
        """Call it soon."""
        with self._lock:
            self._waiting.append((callback, argument))
            if self._running >= _AT_ONCE:
                return
            self._running += 1
            threading.Thread(target=self._run, name="cvm-callback", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                callback, argument = self._waiting.popleft()
            try:
                callback(argument)
            except BaseException as error:  # noqa: BLE001 - the thread's top, in a user's code
                _log.warning("a callback of %r failed: %r", argument, error)
            del callback, argument


_pool = _Pool()


def _after_fork() -> None:
    global _pool  # noqa: PLW0603 - the threads of the old one are the parent's
    _pool = _Pool()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
