"""The profiles of the official command line: ~/.phala-cloud/credentials.json, read with care."""

import codecs
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

from cvm_notebook.api.errors.tree import CredentialsError, DecodeError
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text, quoted, trimmed

FOLDER_VARIABLE: Final = "PHALA_CLOUD_DIR"
_FILE: Final = "credentials.json"
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: its name, its key, and the address the key belongs to (None: the default).

    Attributes
    ----------
    root_of_trust
        The PEM file of a development root that evidence is judged under; relative to the folder of
        the profiles. None is Intel's root.
    """

    name: str
    token: Secret
    api_prefix: str | None
    workspace: str | None
    root_of_trust: Path | None = None


def credentials_path(env: Mapping[str, str], home: Path | None = None) -> Path:
    """Return where the profiles are kept, whether or not the file exists.

    Raises
    ------
    CredentialsError
        No folder is named, and this process has no home folder.
    """
    folder = env.get(FOLDER_VARIABLE, "").strip()
    if folder:
        return Path(folder) / _FILE
    try:
        return (home or Path.home()) / ".phala-cloud" / _FILE
    except RuntimeError:  # no HOME, and no entry of the user
        raise CredentialsError(
            "The profiles of the phala command line cannot be found: no home folder is known.",
            hint=f"Set HOME, or {FOLDER_VARIABLE} to their folder.",
        ) from None


@overload
def read_profile(path: Path, name: str) -> Profile: ...
@overload
def read_profile(path: Path, name: None) -> Profile | None: ...
def read_profile(path: Path, name: str | None) -> Profile | None:
    """Return a profile; for no name the current one, or None when there is none.

    Raises
    ------
    CredentialsError
        Others could read or replace the file, it is not of the known form, or it has no such
        profile.
    """
    content = _read(path)
    profiles = content.get("profiles")
    if not isinstance(profiles, dict):
        profiles = {}
    wanted = name if name is not None else _current(content, profiles)
    if wanted is None:
        return None
    wanted = wanted if wanted in profiles else trimmed(wanted)
    chosen = profiles.get(wanted)
    if not isinstance(chosen, dict):
        listed = ", ".join(clean_text(known, 40) for known in profiles) or "none"
        raise CredentialsError(
            f"{path} has no profile {quoted(wanted, 40)}; it has: {listed}.",
            hint=f"Run `phala login --profile {clean_text(wanted, 40)}`, or name another.",
        )
    token = chosen.get("token")
    if not isinstance(token, str) or not token.strip():
        raise CredentialsError(
            f"The profile {quoted(wanted, 40)} of {path} has no key.",
            hint="Run `phala login`.",
        )
    root = _text(chosen, "root_of_trust")
    return Profile(
        wanted,
        Secret(token),
        _text(chosen, "api_prefix"),
        _workspace(chosen),
        None if root is None else _beside(path, root),
    )


def _beside(path: Path, named: str) -> Path:
    """Return a file that a profile names: its whole path, or where it lies beside the profiles."""
    try:
        return path.parent / Path(named).expanduser()
    except RuntimeError:
        raise CredentialsError(
            f"{path} names the file {quoted(named, 80)}, and no home folder is known for its ~.",
            hint="Write its whole path.",
        ) from None


def profile_names(path: Path) -> tuple[str, ...]:
    """Return the names of the profiles there are; none where there is no file.

    Raises
    ------
    CredentialsError
        As `read_profile`.
    """
    if not os.path.lexists(path):
        return ()
    profiles = _read(path).get("profiles")
    return tuple(profiles) if isinstance(profiles, dict) else ()


def _current(content: dict[str, Any], profiles: dict[str, Any]) -> str | None:
    """Return the current profile's name; the only one, where the file names none."""
    current = content.get("current_profile")
    if isinstance(current, str) and current:
        return current
    return next(iter(profiles)) if len(profiles) == 1 else None


def _text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _workspace(profile: dict[str, Any]) -> str | None:
    workspace = profile.get("workspace")
    if not isinstance(workspace, dict):
        return None
    return _text(workspace, "slug") or _text(workspace, "name")


def _read(path: Path) -> dict[str, Any]:
    """Read the file, once it is known that nobody else could have read or written it."""
    try:
        _check_place(path)
        with path.open("rb") as file:  # the mode of what is open, not of what stood there before
            _check_mode(os.fstat(file.fileno()), path)
            content = file.read(_LARGEST + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        why = getattr(error, "strerror", None) or type(error).__name__
        raise CredentialsError(
            f"{path} cannot be read ({why}).",
            hint="Run `phala login`, or set PHALA_CLOUD_API_KEY.",
        ) from None
    if len(content) > _LARGEST:
        raise CredentialsError(f"{path} is too large to be a file of profiles.")
    try:
        return decode(content.removeprefix(codecs.BOM_UTF8), dict[str, Any], str(path))
    except DecodeError as error:
        # Its own hint is about the service, which has no part in this.
        raise CredentialsError(error.message, hint="Run `phala login` to write it anew.") from None


def _check_place(path: Path) -> None:
    """Refuse a link that leads elsewhere, and a folder in which others could replace the file."""
    folder = path.parent.resolve()
    real = path.resolve()
    if real.parent != folder:
        raise CredentialsError(
            f"{path} is a link to {real}, outside of its folder.",
            hint=f"Put the file itself there: cp --remove-destination {real} {path}",
        )
    if not stat.S_ISREG(real.stat().st_mode):
        raise CredentialsError(f"{path} is not a file.", hint="Run `phala login`.")
    if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
        raise CredentialsError(
            f"Anyone on this machine can replace {path}: its folder is open to all.",
            hint=f"Run: chmod o-w {folder}",
        )


def _check_mode(status: os.stat_result, path: Path) -> None:
    if os.name != "posix":
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CredentialsError(
            f"Others on this machine may read the keys in {path} "
            f"(mode {stat.S_IMODE(status.st_mode):o}).",
            hint=f"Run: chmod 600 {path}",
        )
    if status.st_uid != os.geteuid():
        raise CredentialsError(
            f"{path} belongs to another user.", hint="Use a file of your own: run `phala login`."
        )
