"""Pages of a list, fetched side by side and handed out in order."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from cvm_notebook.api.models.actions import Page

S = TypeVar("S")
T = TypeVar("T")

PAGE_SIZE: Final = 100  # the most the service allows
MOST_PAGES: Final = 10_000
_AT_ONCE: Final = 8


def pages_of(page: Page[Any]) -> int:
    """Return the number of the last page, as the service says or its total means."""
    by_total = -(-(page.total or 0) // PAGE_SIZE)
    return min(max(page.pages or 0, by_total), MOST_PAGES)


def window_for(wait: float, busy: float, most: int) -> int:
    """Return the number of pages to keep in flight so that the reader of pages never waits.

    Parameters
    ----------
    wait, busy
        Seconds the first page took to arrive and to be decoded.
    most
        The largest answer.
    """
    return max(2, min(most, math.ceil(wait / max(busy, 1e-4)) + 1))


def side_by_side(items: Sequence[S], read: Callable[[S], T]) -> Iterator[T]:
    """Yield what is read of each item, in their order, eight at a time.

    An exception of `read` is raised where what it read would have come.
    """
    return iter(PageFetcher(lambda at: (read(items[at]), False), 0, len(items) - 1, _AT_ONCE))


class PageFetcher(Generic[T]):
    """Fetch pages 2, 3, … by at most `window` daemon threads; iterate for the results in order.

    The window halves whenever the service says to slow down. Leaving the iteration ends the threads
    after the page that each is at. An exception of `fetch` is raised where its page would have
    come.
    """

    def __init__(
        self, fetch: Callable[[int], tuple[T, bool]], first: int, last: int, window: int
    ) -> None:
        self._fetch = fetch
        self._next = first
        self._wanted = first
        self._last = last
        self._window = window
        self._done: dict[int, T | BaseException] = {}
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[T]:
        threads = min(self._window, self._last - self._next + 1)
        for number in range(threads):
            threading.Thread(
                target=self._work, args=(number,), name=f"cvm-page-{number}", daemon=True
            ).start()
        try:
            while self._wanted <= self._last:
                yield self._take()
        finally:
            with self._changed:
                self._last = 0
                self._changed.notify_all()

    def _take(self) -> T:
        with self._changed:
            while self._wanted not in self._done:
                self._changed.wait()
            result = self._done.pop(self._wanted)
            self._wanted += 1
            self._changed.notify_all()
        if isinstance(result, BaseException):
            raise result
        return result

    def _work(self, number: int) -> None:
        while (page := self._claim(number)) is not None:
            result: T | BaseException
            slowed = False
            try:
                result, slowed = self._fetch(page)
            except Exception as error:  # noqa: BLE001 - a thread's top: raised where it is read
                result = error
            with self._changed:
                self._done[page] = result
                if slowed:
                    self._window = max(1, self._window // 2)
                self._changed.notify_all()

    def _claim(self, number: int) -> int | None:
        """Return the next page to fetch, once the window lets it; None when there is none."""
        with self._changed:
            while self._next <= self._last:
                if number < self._window and self._next < self._wanted + self._window:
                    self._next += 1
                    return self._next - 1
                self._changed.wait()
            return None
