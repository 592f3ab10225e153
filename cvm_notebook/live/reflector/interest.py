"""Reference counting of a live fleet: without an interest handle it makes no request."""

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Self


class InterestHandle:
    """As long as it is open, and somebody holds it, a fleet is kept up to date."""

    def __init__(self, release: Callable[["InterestHandle"], None]) -> None:
        self._release = release

    def close(self) -> None:
        """Say that the interest is over; twice does no harm."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Interests:
    """The handles that are open, and the CVMs that are followed. Safe to use from any thread.

    A handle that nobody holds any more counts as closed: a view that was dropped keeps nothing
    going.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: weakref.WeakSet[InterestHandle] = weakref.WeakSet()
        self._follows: Counter[str] = Counter()

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._handles or self._follows)

    def add(self, handle: InterestHandle) -> None:
        """Count a handle as open."""
        with self._lock:
            self._handles.add(handle)

    def discard(self, handle: InterestHandle) -> None:
        """Count a handle as closed."""
        with self._lock:
            self._handles.discard(handle)

    def follow(self, cvm_id: str) -> None:
        """Count one more who follows a CVM."""
        with self._lock:
            self._follows[cvm_id] += 1

    def unfollow(self, cvm_id: str) -> bool:
        """Count one less; return whether that was the last."""
        with self._lock:
            if self._follows[cvm_id] > 1:
                self._follows[cvm_id] -= 1
                return False
            return bool(self._follows.pop(cvm_id, 0))
