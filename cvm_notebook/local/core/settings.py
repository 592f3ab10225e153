"""Settings of one LocalCloud server, and how they travel to its worker processes.

``Settings`` is immutable. ``Settings.export()`` puts it into the environment of this process,
from where ``Settings.from_environment()`` reads it in each uvicorn worker: command lines can be
read by other users of the machine, environments can't, and two of the fields are secret.
"""

import contextlib
import hashlib
import ipaddress
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from platformdirs import user_data_path

from cvm_notebook.local.core.catalogue import TIERS

ENVIRONMENT_NAME = "CVM_NOTEBOOK_LOCAL_SETTINGS"
"""The environment variable that carries the settings as JSON."""

API_PREFIX: Final = "/api/v1"

_FASTEST = 1_000_000
_MOST_DAYS = 36_500
_LAST_PORT = 65_535
_MOST_SHOWN = 40
_MOST_DOLLARS = 1_000_000_000

SCRATCH_NAME = "CVM_NOTEBOOK_LOCAL_SCRATCH"
"""The environment variable that names the folder which ends with its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server; the same in each of its workers.

    Parameters
    ----------
    database
        SQLAlchemy URL, ``sqlite:///file`` or ``postgresql+psycopg://...``. In the path of a file
        ``%``, ``?`` and ``#`` are written as ``%25``, ``%3F`` and ``%23``.
    api_key
        The API key of the default workspace.
    control_token
        What ``/_local/...`` wants in ``X-Local-Token``.
    speed
        Divides the durations of transitions and the sampling interval of streams.
    seed
        ``"empty"`` or ``"demo"``, used once, when the database is new.
    faults
        Faults that hold from the start (see ``faults``).
    workers
        How many processes serve.
    tier, balance
        Of the default workspace; balance in dollars.
    provision_days
        How long a provision can be committed.
    rate_limit
        Requests per user and minute, or None for no limit.
    streams_per_user
        How many state streams one user may hold at once.
    allowed_hosts
        Further names that clients may reach the server under, as through a proxy.
    request_seconds
        How long a client may take to send the head of a request, and then its body.
    """

    database: str
    api_key: str = field(repr=False)
    control_token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 20.0
    seed: str = "empty"
    faults: tuple[dict[str, Any], ...] = ()
    workers: int = 1
    tier: str = "ENTERPRISE"
    balance: str = "10000"
    provision_days: float = 14.0
    rate_limit: int | None = None
    streams_per_user: int = 5
    allowed_hosts: tuple[str, ...] = ()
    request_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what could not be served."""
        self._check_types()
        if not 0 < self.speed <= _FASTEST:
            raise ValueError(f"speed is {self.speed}; give a number above 0, to {_FASTEST}")
        if self.database.split("://", 1)[-1] in {"", "/", "/:memory:"}:
            raise ValueError("database lies in memory; give a file, as in sqlite:///cvms.sqlite")
        if self.seed not in {"empty", "demo"}:
            raise ValueError(f'seed is {self.seed!r}; give "empty" or "demo"')
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; give 1 or more")
        if self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}; give one of {', '.join(TIERS)}")
        if not _is_amount(self.balance):
            raise ValueError(f"balance is {self.balance!r}; give dollars, as in '10000'")
        self._check_limits()

    def _check_types(self) -> None:
        """Take a number of any library as Python's own, and text as text."""
        for name in ("speed", "provision_days", "request_seconds"):
            object.__setattr__(self, name, _number(name, getattr(self, name), Real))
        for name in ("port", "workers", "rate_limit", "streams_per_user"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name), Integral))
        if not 0 <= self.port <= _LAST_PORT:
            raise ValueError(f"port is {self.port}; give 0 (any that is free) to {_LAST_PORT}")
        for name in ("database", "seed", "tier", "balance"):
            value = getattr(self, name)
            if isinstance(value, Decimal | int | float) and name == "balance":
                object.__setattr__(self, name, str(value))
            elif not isinstance(value, str):
                raise ValueError(f"{name} is {_shown(value)}; give a text")

    def _check_limits(self) -> None:
        if not 0 < self.provision_days <= _MOST_DAYS:
            raise ValueError(f"provision_days is {self.provision_days}; give 1 to {_MOST_DAYS}")
        for name in ("rate_limit", "streams_per_user"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more")

    def export(self, environment: dict[str, str] | None = None) -> None:
        """Put these settings into an environment, by default that of this process."""
        target = os.environ if environment is None else environment
        target[ENVIRONMENT_NAME] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read what ``export`` has written; KeyError when there is nothing."""
        values = json.loads((environment or os.environ)[ENVIRONMENT_NAME])
        for name in ("faults", "allowed_hosts"):
            values[name] = tuple(values[name])
        return cls(**values)


def sqlite_url(path: str | os.PathLike[str]) -> str:
    """Return the URL of a SQLite file, whatever characters its path has; `db` reads it back."""
    text = os.fspath(path)
    for character in "%?#":  # the first of them is what the others are written with
        text = text.replace(character, f"%{ord(character):02X}")
    return f"sqlite:///{text}"


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address means this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _number(name: str, value: Any, kind: type) -> float:
    try:
        if not isinstance(value, bool):
            if kind is Integral and isinstance(value, Integral):
                return int(value)
            if kind is Real and isinstance(value, Real):
                return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None
    whole = "whole " if kind is Integral else ""
    raise ValueError(f"{name} is {_shown(value)}; give a {whole}number")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _is_amount(text: str) -> bool:
    try:
        return abs(Decimal(text)) <= _MOST_DOLLARS
    except InvalidOperation:
        return False


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


def write_running(facts: Mapping[str, Any], root: str) -> list[Path]:
    """Say of a server in the foreground where it is; it removes the files when it ends.

    Each server has files of its own, so that the end of one hides no other: its facts, and the
    root of its evidence, which they name.
    """
    folder = data_folder() / "running"
    path = folder / f"{time.time_ns():020}-{os.getpid()}.json"
    root_path = path.with_suffix(".root.pem")
    with _keeping(folder):
        _make(folder)
        for other in folder.glob("*.json"):
            if _is_over(other, facts["url"]):
                other.unlink(missing_ok=True)
                other.with_suffix(".root.pem").unlink(missing_ok=True)
        write_private(root_path, root)
        write_private(path, json.dumps({**facts, "root": str(root_path)}))
    return [path, root_path]


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
