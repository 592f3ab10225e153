"""EventQueue: events in order, and the latest state of each row; both bounded."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterable

from cvm_notebook.live.reflector.events import Event, RowsChanged, WatchTarget
from cvm_notebook.live.store.records import Change, Row


class EventQueue:
    """Events for one thread, from any. An event that waits already is there once, as the newest.

    So of on, off and on again, the last word stays the last.

    Attributes
    ----------
    wakeup
        Set when something came.
    """

    def __init__(self) -> None:
        self.wakeup = threading.Event()
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._rows: dict[str, WatchTarget | None] = {}

    def __bool__(self) -> bool:
        return bool(self._events or self._rows)

    def put(self, event: Event) -> None:
        """Put an event in."""
        with self._lock:
            with contextlib.suppress(ValueError):
                self._events.remove(event)
            self._events.append(event)
        self.wakeup.set()

    def changed(self, changes: Iterable[Change]) -> None:
        """Add changes of rows; only the latest state of each is kept."""
        with self._lock:
            for change in changes:
                self._rows[change.row.id] = WatchTarget.of(change.after) if change.after else None
        self.wakeup.set()

    def all(self, rows: Iterable[Row]) -> None:
        """Replace the rows that wait by all current rows."""
        with self._lock:
            self._rows = {row.id: WatchTarget.of(row) for row in rows}
        self.wakeup.set()

    def take(self) -> Event | None:
        """Remove and return the next event; changes of rows come first."""
        with self._lock:
            if self._rows:
                rows, self._rows = self._rows, {}
                now = tuple(row for row in rows.values() if row is not None)
                return RowsChanged(now, tuple(i for i, row in rows.items() if row is None))
            return self._events.popleft() if self._events else None
