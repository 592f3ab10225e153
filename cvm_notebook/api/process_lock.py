"""ProcessLock: a file locked while a process lives, by which others see that it has died."""

import os
import weakref
from pathlib import Path

from filelock import FileLock, Timeout

_of_parents: list[FileLock] = []
"""What a fork has copied, and is the parent's to release."""


class ProcessLock:
    """The lock of one holder; the system gives it back when the process ends, however that ends.

    Parameters
    ----------
    path
        A file of the holder's own, in a folder that those who ask can write to.

    Raises
    ------
    OSError
        It cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        lock = FileLock(path)
        lock.acquire(blocking=False)
        self._release = weakref.finalize(self, _released, lock, Path(path), os.getpid())

    def release(self) -> None:
        """Show others that the holder lives no more."""
        self._release()


def _released(lock: FileLock, path: Path, holder: int) -> None:
    if os.getpid() != holder:
        _of_parents.append(lock)  # to let go of it would unlock it
        return
    lock.release()
    path.unlink(missing_ok=True)


def has_died(path: Path) -> bool:
    """Whether the holder of a lock lives no more; the file goes with it."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    _released(lock, path, os.getpid())
    return True
