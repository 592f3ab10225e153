"""Describe faults as data, and choose which of them a request meets.

How a chosen fault is acted out on the connection stands in `faults.connection`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cvm_notebook.local.core.settings import API_PREFIX


class Kind(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"
    LATE = "late"
    HANG = "hang"
    REFUSE = "refuse"
    RESET = "reset"
    RESET_AFTER = "reset_after"
    TRUNCATE = "truncate"
    DRIP = "drip"
    STATUS = "status"
    CONTENT_TYPE = "content_type"
    HTML = "html"
    REDIRECT = "redirect"
    SILENT = "silent"
    DROP = "drop"
    CUT = "cut"
    HALF = "half"
    FLOOD = "flood"
    SLOW_NODE = "slow_node"
    GZIP_BOMB = "gzip_bomb"
    HUGE = "huge"
    GARBAGE = "garbage"
    CLOSE_DELIMITED = "close_delimited"
    REWRITE = "rewrite"
    RAW = "raw"


@dataclass(frozen=True)
class Rule:
    """What a kind does, what its ``arg`` may be, and which requests it meets unless told."""

    does: str
    arg: tuple[type, ...] = ()
    default: object = None
    required: bool = False
    route: str = "*"
    times: int | None = 1


_NUMBER = (int, float)
_NUMBERS = (0, 1_000_000)
_STATUSES = (200, 999)

RULES: Mapping[Kind, Rule] = {
    Kind.LATENCY: Rule("waits arg seconds, then answers as always", _NUMBER, 0.2),
    Kind.LATE: Rule("does what was asked, then waits arg seconds before it answers", _NUMBER, 1.0),
    Kind.HANG: Rule("reads the request and never answers; nothing is done"),
    Kind.REFUSE: Rule(
        "closes the connection before any answer, nothing done; with arg, new connections are "
        "refused for arg seconds (with one worker)",
        _NUMBER,
    ),
    Kind.RESET: Rule("resets the connection before anything is done"),
    Kind.RESET_AFTER: Rule("does what was asked, then resets the connection without an answer"),
    Kind.TRUNCATE: Rule("announces the whole length, sends half of the body and closes"),
    Kind.DRIP: Rule("sends one byte every arg seconds, for ever", _NUMBER, 0.2),
    Kind.STATUS: Rule("answers status arg, nothing done", (int,), 503),
    Kind.CONTENT_TYPE: Rule("answers as always, but calls the body arg", (str,), "text/plain"),
    Kind.HTML: Rule("answers 200 with a log-in page, nothing done"),
    Kind.REDIRECT: Rule("redirects to the URL arg with status code", (str,), required=True),
    Kind.SILENT: Rule("opens an event stream and never sends an event", route="stream"),
    Kind.DROP: Rule("ends the stream in good order after arg events", (int,), 1, route="stream"),
    Kind.CUT: Rule("resets the stream after arg events", (int,), 1, route="stream"),
    Kind.HALF: Rule(
        "sends arg events and half of one more, then ends the stream", (int,), 1, route="stream"
    ),
    Kind.FLOOD: Rule("sends arg state events a second, for ever", (int,), 10_000, route="stream"),
    Kind.SLOW_NODE: Rule(
        "a batch status that asks for a CVM of node waits arg seconds",
        _NUMBER,
        31.0,
        route="batch",
        times=None,
    ),
    Kind.GZIP_BOMB: Rule("answers gzip that unpacks to arg MiB", (int,), 1024),
    Kind.HUGE: Rule("answers a body of arg MiB", (int,), 1024),
    Kind.GARBAGE: Rule("answers 200 and JSON that isn't", (str,), '{"items": [{"id": "cvm_'),
    Kind.CLOSE_DELIMITED: Rule("answers without a length; the body ends with the connection"),
    Kind.REWRITE: Rule("puts the values of arg at its JSON pointers", (dict,), required=True),
    Kind.RAW: Rule(
        "sends arg as it is, a character a byte: a text, or a list sent piece by piece in which "
        "null holds the connection open",
        (str, list),
        required=True,
    ),
}

DELAYS = frozenset({Kind.LATENCY, Kind.SLOW_NODE})

ROUTES: Mapping[str, tuple[str, ...]] = {
    "list": ("GET /cvms/paginated", "GET /cvms"),
    "get": ("GET /cvms/*",),
    "state": ("GET /cvms/*/state",),
    "stream": ("GET /cvms/*/state",),
    "batch": ("POST /status/batch",),
    "action": tuple(f"POST /cvms/*/{verb}" for verb in ("start", "stop", "shutdown", "restart")),
    "delete": ("DELETE /cvms/*",),
    "replicate": ("POST /cvms/*/replicas",),
    "provision": ("POST /cvms/provision",),
    "commit": ("POST /cvms",),
    "update": ("PATCH /cvms/**",),
    "read": ("GET **",),
    "write": ("POST **", "PATCH **", "PUT **", "DELETE **"),
    "*": ("* **",),
}

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
    """What of a request a route looks at; ``path`` is below the API's prefix."""

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
        """Choose what this request meets: every delay, and the first fault of another kind."""
        taken: list[Fault] = []
        ended = False
        for armed in self._armed:
            delay = armed.fault.kind in DELAYS
            if (delay or not ended) and armed.meets(asked):
                taken.append(armed.fault)
                ended = ended or not delay
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
    if not isinstance(data, list):
        raise FaultError(f"{path}: a list of faults is expected, not {type(data).__name__}")
    return data
