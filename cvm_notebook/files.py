"""Atomic writing of a file that a user names; links, mode and owner are kept."""

import contextlib
import errno
import os
import re
import stat
import uuid
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o600
_MOST_LINKS: Final = 40  # as the kernel's own limit
# An open file under another name: to resolve it would name the file behind it, or none at all.
_OPEN_FILE: Final = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/[^/]+(/task/\d+)?/fd/\d+")
# The folder takes no new file, or the file is a mount point: neither keeps us from writing into it.
_NO_REPLACING: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


def write_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file whole or not at all, wherever that is possible.

    A symbolic link stays and what it points to is written. A file that is there keeps its mode and
    its owner. Written in place are devices, pipes, files with several names (hard links), and files
    in folders that take no new file.

    Parameters
    ----------
    path
        The file, there or not.
    content
        All that it is to hold.
    private
        Nobody but its owner may read it (mode 0600), whatever mode it had.

    Raises
    ------
    OSError
        It cannot be written. A regular file is then as it was, unless it was written in place.
    """
    target = target_of(path)
    try:
        there = target.stat()
    except FileNotFoundError:
        _replace(target, content, None, private=private)
        return
    regular = stat.S_ISREG(there.st_mode) and there.st_nlink == 1
    if not regular or _OPEN_FILE.fullmatch(str(target)):
        _write_in_place(target, content, private=private)
        return
    if not os.access(target, os.W_OK):  # replacing it would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    try:
        _replace(target, content, there, private=private)
    except OSError as error:
        if error.errno not in _NO_REPLACING:
            raise
        _write_in_place(target, content, private=private)


def target_of(path: Path) -> Path:
    """Return the file that is written for `path`: the end of its symbolic links.

    Raises
    ------
    OSError
        The links go round in a circle.
    """
    target = path
    for _ in range(_MOST_LINKS):
        if _OPEN_FILE.fullmatch(str(target)) or not target.is_symlink():
            return target
        target = target.parent / target.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _write_in_place(target: Path, content: bytes, *, private: bool) -> None:
    if private and target.is_file():  # a device or a pipe has no readers of its own
        target.chmod(_PRIVATE)
    with target.open("wb") as file:
        file.write(content)


def _replace(
    target: Path, content: bytes, there: os.stat_result | None, *, private: bool = False
) -> None:
    """Write beside the file, then take its place, with the mode and the owner it had."""
    draft = target.with_name(f".{uuid.uuid4().hex}.part")
    # The mode of a secret file must not be wider for a moment; a new file has the usual mode.
    mode = _PRIVATE if private or there is not None else 0o666
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if there is not None:
                _take_over(file.fileno(), there, private=private)
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _take_over(descriptor: int, there: os.stat_result, *, private: bool) -> None:
    """Give the draft the owner and the mode of the file; PermissionError where that cannot be."""
    if os.name != "posix":
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (there.st_uid, there.st_gid):
        os.fchown(descriptor, there.st_uid, there.st_gid)
    with contextlib.suppress(PermissionError):  # setgid of a group this user is not in
        os.fchmod(descriptor, _PRIVATE if private else stat.S_IMODE(there.st_mode))
