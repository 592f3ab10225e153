"""The root of a LocalCloud's evidence, in a file that only its owner can read.

Who verifies evidence takes the root from this file, and never from the server that is verified: a
server could show the root of whoever has forged its evidence.
"""

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cvm_notebook.local.core.settings import read_running, write_private

NAME: Final = "root.pem"
VARIABLE: Final = "CVM_NOTEBOOK_LOCAL_ROOT"
"""Names the file of the LocalCloud that ``PHALA_CLOUD_API_PREFIX`` names."""

_own: dict[tuple[str, int | None], Path] = {}


def write_root(path: Path, pem: str) -> None:
    """Write the root for its owner alone."""
    write_private(path, pem)


def remember_root(url: str, path: Path) -> None:
    """Say where the root of a LocalCloud of this process is."""
    _own[_place(url)] = path


def root_of(url: str) -> Path | None:
    """Return the file with the root of the LocalCloud at an address, or None where none is known.

    Looked for among the LocalClouds of this process, in ``CVM_NOTEBOOK_LOCAL_ROOT`` (as
    ``cvm-notebook demo`` sets it beside ``PHALA_CLOUD_API_PREFIX``), and in what each
    ``cvm-notebook cloud`` leaves while it runs. A file that others can read or write is none.
    """
    wanted = _place(url)
    named = (os.environ.get("PHALA_CLOUD_API_PREFIX"), os.environ.get(VARIABLE))
    kept = [(facts.get("url"), facts.get("root")) for facts in read_running()]
    there = list(_own.items())
    there += [(_place(at), Path(path)) for at, path in (named, *kept) if at and path]
    return next((path for place, path in there if place == wanted and _is_private(path)), None)


def _place(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url, None
    return "127.0.0.1" if host == "localhost" else host, port


def _is_private(path: Path) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    # Windows has no such modes; there the folder belongs to the user's profile.
    return os.name != "posix" or (not facts.st_mode & 0o077 and facts.st_uid == os.getuid())
