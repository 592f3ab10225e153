"""Describe faults as data, and choose which of them a request meets.

How a chosen fault is acted out on the connection stands in `faults.connection`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cvm_notebook.local.core.settings import API_PREFIX
from cvm_notebook.local.faults.kinds import DELAYS, EVIDENCE, ROUTES, RULES, Kind

_NUMBERS = (0, 1_000_000)
_STATUSES = (200, 999)


# "get" is one CVM by its name, never the list that lives beside it.
_NOT_A_CVM = frozenset({"/cvms/paginated"})


class Fault(BaseModel):
    """One fault, as a file or a test says it.

    Parameters
    ----------
    kind
        What happens.
    route
        Which requests: a name of ``ROUTES``, or ``"METHOD /path"`` below the API's prefix (or of
        a log, ``GET /logs/**``), where ``*`` is one segment (or any method), ``**`` is any rest,
        and ``?name=value`` must be asked.
    times
        How many requests it meets; None is all of them until it is cleared.
    skip
        How many matching requests pass before it begins.
    arg
        What the kind needs; see ``RULES``.
    retry_after
        For ``status``: the Retry-After header as it is, or ``"date:+5"`` for the HTTP date in 5 s.
    code
        For ``redirect``: the status.
    node
        For ``slow_node``: the node's id or name.
    cvm
        For faults of evidence: the CVM whose evidence it is, by its name or any of its ids. By
        default that of all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    route: str
    times: int | None = Field(ge=1)
    skip: int = Field(default=0, ge=0)
    arg: Any = None
    retry_after: str | int | float | None = None
    code: int = Field(default=302, ge=300, le=399)
    node: int | str | None = None
    cvm: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_kind(cls, data: Any) -> Any:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        if not isinstance(kind, str) or kind not in RULES:
            return data
        rule = RULES[Kind(kind)]
        return {"route": rule.route, "times": rule.times, "arg": rule.default, **data}

    @model_validator(mode="after")
    def _arg_fits(self) -> Self:
        rule = RULES[self.kind]
        if self.arg is None:
            if rule.required or rule.default is not None:
                raise ValueError(f"{self.kind} needs an arg: it {rule.does}")
        elif isinstance(self.arg, bool) or not isinstance(self.arg, rule.arg):
            raise ValueError(f"arg {self.arg!r} does not fit {self.kind}: it {rule.does}")
        low, high = _STATUSES if self.kind is Kind.STATUS else _NUMBERS
        if isinstance(self.arg, int | float) and not low <= self.arg <= high:
            raise ValueError(f"arg {self.arg!r} does not fit {self.kind}: give {low} to {high}")
        if self.kind is Kind.SLOW_NODE and self.node is None:
            raise ValueError("slow_node needs a node: its id or its name")
        if self.cvm is not None and self.kind not in EVIDENCE:
            raise ValueError(f"cvm does not fit {self.kind}: it is for faults of evidence")
        _patterns(self.route)
        return self


class FaultError(ValueError):
    """A fault, or a file of faults, that can't be understood."""


@dataclass(frozen=True)
class _Pattern:
    method: str
    path: re.Pattern[str]
    query: tuple[tuple[str, str], ...]

    def matches(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        return (
            self.method in ("*", method)
            and self.path.fullmatch(path) is not None
            and all(query.get(name) == value for name, value in self.query)
        )


def _pattern(text: str) -> _Pattern:
    method, _, rest = text.partition(" ")
    path, _, query = rest.strip().removeprefix(API_PREFIX).partition("?")
    if not method.replace("*", "A").isupper() or not path.startswith(("/", "*")):
        names = ", ".join(ROUTES)
        raise ValueError(f"route {text!r} is neither one of {names} nor 'METHOD /path'")
    pieces = (re.escape(piece) for piece in path.split("**"))
    regex = ".*".join(piece.replace(r"\*", "[^/]+") for piece in pieces)
    return _Pattern(method, re.compile(regex), tuple(parse_qsl(query, keep_blank_values=True)))


def _patterns(route: str) -> tuple[_Pattern, ...]:
    name, _, query = route.partition("?")
    texts = ROUTES.get(name)
    if texts is None:
        return (_pattern(route),)
    return tuple(_pattern(f"{text}?{query}" if query else text) for text in texts)


@dataclass(frozen=True)
class Asked:
    """The part of a request by which a fault is matched; ``path`` is below the API's prefix."""

    method: str
    path: str
    query: Mapping[str, str]


class _Armed:
    """A fault and how often it has met a request."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._patterns = _patterns(fault.route)
        self._matched = 0

    @property
    def spent(self) -> bool:
        times = self.fault.times
        return times is not None and self._matched >= self.fault.skip + times

    def meets(self, asked: Asked) -> bool:
        if self.spent or not self._names(asked):
            return False
        self._matched += 1
        return self._matched > self.fault.skip

    def _names(self, asked: Asked) -> bool:
        route = self.fault.route.partition("?")[0]
        if route == "get" and asked.path in _NOT_A_CVM:
            return False
        if route in ("stream", "state") and ("target" in asked.query) is (route == "state"):
            return False
        return any(p.matches(asked.method, asked.path, asked.query) for p in self._patterns)


PASSING = DELAYS | EVIDENCE
"""What a request meets on its way to the application; any other fault ends it."""


class FaultBook:
    """The faults in force. Each server process counts for itself."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed = [_Armed(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Put one more fault in force."""
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Forget all faults."""
        self._armed.clear()

    def in_force(self) -> list[Fault]:
        """Give the faults that can still meet a request."""
        return [armed.fault for armed in self._armed if not armed.spent]

    def take(self, asked: Asked) -> list[Fault]:
        """Choose what this request meets: delays and faults of evidence, and the first other."""
        taken: list[Fault] = []
        ended = False
        for armed in self._armed:
            goes_on = armed.fault.kind in PASSING
            if (goes_on or not ended) and armed.meets(asked):
                taken.append(armed.fault)
                ended = ended or not goes_on
        self._armed = [armed for armed in self._armed if not armed.spent]
        return taken


def parse_fault(data: object) -> Fault:
    """Read one fault.

    Raises
    ------
    FaultError
        The fault can't be understood; its text says which part.
    """
    try:
        return Fault.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise FaultError(f"{where}: {text}" if where else text) from None


def load_faults(source: str | Path | Iterable[object]) -> list[Fault]:
    """Read faults from a JSON or YAML file, or from a list of mappings."""
    if isinstance(source, str | Path):
        source = _read(Path(source))
    return [parse_fault(item) for item in source]


def _read(path: Path) -> list[object]:
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FaultError(f"{path}: {error}") from None
    except RecursionError:
        raise FaultError(f"{path}: it is nested too deep") from None
    if not isinstance(data, list):
        raise FaultError(f"{path}: a list of faults is expected, not {type(data).__name__}")
    return data
