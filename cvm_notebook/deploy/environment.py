"""EnvTable: environment variables of a new CVM; names are shown, values are not."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Self

from cvm_notebook.api.compose.env_file import parse_env_file
from cvm_notebook.api.compose.hashing import (
    Env,
    check_env,
    check_env_name,
    check_env_value,
    env_pairs,
)
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret


class EnvTable:
    """Names and secret values of environment variables. Safe to use from any thread.

    A value that was used is dropped, and its name stays: it must be given again before it can be
    used again.

    Parameters
    ----------
    env
        Names and values.
    """

    def __init__(self, env: Env | None = None) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, Secret | None] = {}
        self._used: frozenset[str] = frozenset()
        self.problem: str | None = None
        if env is not None:
            for name, value in env_pairs(env):
                self.put(name, value)

    @classmethod
    def of(cls, checked: Mapping[str, Secret | None]) -> Self:
        """Return a table of variables that are checked already; None is a value to be given."""
        table = cls()
        table._values = dict(checked)
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they were given."""
        with self._lock:
            return tuple(self._values)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names without a value: not given yet, or used and dropped."""
        with self._lock:
            return tuple(name for name, value in self._values.items() if value is None)

    @property
    def used(self) -> tuple[str, ...]:
        """Those of `missing` whose value was used and dropped."""
        return tuple(name for name in self.missing if name in self._used)

    def values(self) -> dict[str, Secret]:
        """Return the variables that have a value."""
        with self._lock:
            return {name: value for name, value in self._values.items() if value is not None}

    def put(self, name: str, value: str | Secret) -> None:
        """Add a variable, or replace its value.

        Raises
        ------
        InvalidInput
            It is not a name of a variable, or no value of one; the value is not named.
        """
        check_env_name(name)
        check_env_value(name, value)
        secret = value if isinstance(value, Secret) else Secret(value)
        self._add({name: secret})

    def _add(self, more: Mapping[str, Secret]) -> None:
        with self._lock:
            values = {**self._values, **more}
            check_env(values)
            self._values = values

    def remove(self, name: str) -> None:
        """Take a variable out."""
        with self._lock:
            self._values.pop(name, None)

    def forget(self) -> None:
        """Drop the values; the names stay."""
        with self._lock:
            given = (name for name, value in self._values.items() if value is not None)
            self._used = self._used.union(given)
            self._values = dict.fromkeys(self._values)

    def want(self, names: Iterable[str]) -> None:
        """Have these names. Values that were given stay; other names without a value go."""
        with self._lock:
            given = {name: value for name, value in self._values.items() if value is not None}
            self._values = {**{name: given.get(name) for name in names}, **given}
            self.problem = None

    def reset(self, names: Iterable[str]) -> None:
        """Have these names, and no value."""
        with self._lock:
            self._values = dict.fromkeys(names)
            self._used = frozenset()
            self.problem = None

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Apply a view's message, already sealed; False when it is about something else."""
        kind = message.get("kind")
        if kind not in {"env", "env_file", "env_remove"}:
            return False
        self.problem = None
        try:
            if kind == "env_remove":
                self.remove(str(message.get("name")))
            elif kind == "env":
                self.put(str(message.get("name", "")).strip(), _secret(message.get("value")))
            else:
                self._read(_secret(message.get("text")))
        except InvalidInput as error:
            self.problem = str(error)
        return True

    def payload(self) -> dict[str, Any]:
        """Return the state for a view: names, which have a value, and why others have none."""
        with self._lock:
            rows = [[name, value is not None] for name, value in self._values.items()]
        without = "used" if self.used else "needed"
        return {"rows": rows, "problem": self.problem, "without": without}

    def _read(self, text: Secret) -> None:
        self._add(parse_env_file(text.reveal()))

    def __repr__(self) -> str:
        return f"<EnvTable: {', '.join(self.names) or 'empty'}>"


def _secret(value: object) -> Secret:
    if not isinstance(value, Secret):
        raise InvalidInput("env", "no value came with it, or one that is too long")
    return value
