"""Where LocalCloud keeps things on this machine: database, keys, and who is running."""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from platformdirs import user_data_path


def data_folder() -> Path:
    """Return the folder for what is kept, made for the user alone."""
    folder = user_data_path("cvm-notebook", appauthor=False) / "local"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def default_database() -> str:
    """Return the URL of the database that is used when none is named."""
    return f"sqlite:///{data_folder() / 'local.sqlite'}"


def kept_key(database: str) -> str:
    """Return the API key that belongs to a kept database; made on first use, mode 0600."""
    folder = data_folder() / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / hashlib.sha256(database.encode()).hexdigest()[:24]
    with contextlib.suppress(FileExistsError):
        write_private(path, f"phak_{secrets.token_urlsafe(32)}", exclusive=True)
    return path.read_text(encoding="ascii")


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


def running_file() -> Path:
    """Return the file that says which server runs in the foreground."""
    return data_folder() / "running.json"


def read_running() -> dict[str, Any] | None:
    """Return what that file says; None when there is none, or when others could have written it."""
    path = running_file()
    try:
        # Windows has no such modes; there the folder belongs to the user's profile.
        if os.name == "posix" and path.stat().st_mode & 0o077:
            return None
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def forget_running(pid: int) -> None:
    """Remove that file, if it is about the process ``pid``."""
    facts = read_running()
    if facts is not None and facts.get("pid") == pid:
        running_file().unlink(missing_ok=True)
