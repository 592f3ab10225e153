"""Let writers of a SQLite file take turns in the order they came.

SQLite itself has waiting writers look again now and then: who looks at the right moment is next,
and others wait for seconds.
"""

import os
import threading
from collections import deque
from pathlib import Path
from types import TracebackType

if os.name == "posix":
    import fcntl

_QUEUE, _TURN = 0, 1  # bytes of the file that are locked


class Turns:
    """A lock that is given in the order it was asked for; a context manager.

    Threads of this process queue up in memory. Processes take turns by two locks on a file: who has
    the turn has left the queue, where another process can take the next place meanwhile.

    Parameters
    ----------
    path
        The file, made when it is first needed; None when no other process can be waiting.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False
        self._file: int | None = None

    def __enter__(self) -> None:
        """Wait for the turn."""
        with self._guard:
            place = threading.Lock()
            place.acquire()
            if self._taken:
                self._waiting.append(place)
            else:
                self._taken = True
                place.release()
        place.acquire()
        try:
            self._lock_file()
        except BaseException:
            self._next()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the turn to who has waited longest."""
        try:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _TURN)
        finally:
            self._next()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock_file(self) -> None:
        if self._path is None or os.name != "posix":
            return  # between processes SQLite alone decides
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return  # then SQLite cannot write either, and says why
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _QUEUE)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _TURN)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _QUEUE)

    def _next(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
