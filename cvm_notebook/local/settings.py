"""Settings of one LocalCloud server, and how they travel to its worker processes.

``Settings`` is immutable. ``Settings.export()`` puts it into the environment of this process,
from where ``Settings.from_environment()`` reads it in each uvicorn worker: command lines can be
read by other users of the machine, environments can't, and two of the fields are secret.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from cvm_notebook.local.catalogue import TIERS

ENVIRONMENT_NAME = "CVM_NOTEBOOK_LOCAL_SETTINGS"
"""The environment variable that carries the settings as JSON."""

_FASTEST = 1_000_000
_MOST_DAYS = 36_500
_MOST_DOLLARS = 1_000_000_000

SCRATCH_NAME = "CVM_NOTEBOOK_LOCAL_SCRATCH"
"""The environment variable that names the folder which ends with its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is told when it starts; the same in each of its workers.

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
        Faults that hold from the start (see ``faults.py``).
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


def _is_amount(text: str) -> bool:
    try:
        return abs(Decimal(text)) <= _MOST_DOLLARS
    except InvalidOperation:
        return False
