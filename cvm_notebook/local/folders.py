"""Where LocalCloud keeps things on this machine: database, keys, and who is running.

What is asked for is only a path: nothing is made before something is to be kept in it.
"""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from platformdirs import user_data_path

from cvm_notebook.local.settings import sqlite_url

_REFUSED_WITHIN: Final = 0.5  # seconds; this machine answers at once


class LocalCloudError(RuntimeError):
    """LocalCloud could not be started, has nowhere to keep its data, or has ended."""


def data_folder() -> Path:
    """Return the folder for what is kept, whether or not it exists.

    Raises
    ------
    LocalCloudError
        There is no home folder, nor another that was named.
    """
    try:
        folder = user_data_path("cvm-notebook", appauthor=False)
    except RuntimeError:  # of platformdirs, where no home folder is known
        folder = Path()
    if not folder.is_absolute():
        raise LocalCloudError(
            "LocalCloud has no folder for its data, for no home folder is known. "
            "Set HOME or XDG_DATA_HOME to the whole path of a folder that you can write to."
        )
    return folder / "local"


def default_database() -> str:
    """Return the URL of the database that is used when none is named; its folder is made."""
    folder = data_folder()
    with _keeping(folder):
        _make(folder)
    return sqlite_url(folder / "local.sqlite")


def kept_key(database: str) -> str:
    """Return the API key that belongs to a kept database; made on first use, mode 0600.

    Raises
    ------
    LocalCloudError
        There is no such key, and it cannot be kept.
    """
    folder = data_folder() / "keys"
    path = folder / hashlib.sha256(database.encode()).hexdigest()[:24]
    with _keeping(folder):
        if not path.exists():
            _make(folder)
            with contextlib.suppress(FileExistsError):
                write_private(path, f"phak_{secrets.token_urlsafe(32)}", exclusive=True)
        return path.read_text(encoding="ascii")


def _make(folder: Path) -> None:
    """Make a folder for the user alone."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    """Say of what cannot be kept where that was, and what to do."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise LocalCloudError(
            f"LocalCloud cannot keep its data in {folder}: {why}. "
            "Set XDG_DATA_HOME to the whole path of a folder that you can write to."
        ) from None


def write_private(path: Path, text: str, *, exclusive: bool = False) -> None:
    """Write a file that only its owner can read; it is whole or not there."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if exclusive:
            os.link(draft, path)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# --- who is running -----------------------------------------------------------------------------


def write_running(facts: Mapping[str, Any]) -> Path:
    """Say of a server in the foreground where it is; it removes the file when it ends.

    Each server has a file of its own, so that the end of one hides no other.
    """
    folder = data_folder() / "running"
    path = folder / f"{time.time_ns():020}-{os.getpid()}.json"
    with _keeping(folder):
        _make(folder)
        for other in folder.glob("*.json"):
            if _is_over(other, facts["url"]):
                other.unlink(missing_ok=True)
        write_private(path, json.dumps(facts))
    return path


def _is_over(path: Path, url: str) -> bool:
    """Return whether the server of a file is gone: another has its address, or nobody listens."""
    there = (_read_private(path) or {}).get("url")
    if there == url or not isinstance(there, str):
        return True
    parts = urlsplit(there)
    try:
        socket.create_connection((parts.hostname, parts.port or 80), _REFUSED_WITHIN).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def read_running() -> list[dict[str, Any]]:
    """Return what those files say, the newest first, without any that others could have written."""
    try:
        paths = sorted((data_folder() / "running").glob("*.json"), reverse=True)
    except (LocalCloudError, OSError):
        return []
    return [facts for path in paths if (facts := _read_private(path)) is not None]


def _read_private(path: Path) -> dict[str, Any] | None:
    try:
        # Windows has no such modes; there the folder belongs to the user's profile.
        if os.name == "posix" and path.stat().st_mode & 0o077:
            return None
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
