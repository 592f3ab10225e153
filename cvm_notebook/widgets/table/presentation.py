"""Presentation of the fleet's columns in the table: heading, kind, width, and cells."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isnan
from typing import Any, Final, Literal, TypeAlias, cast

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.status import phase_of
from cvm_notebook.live import columns
from cvm_notebook.live.columns import TABLED, Context, closest
from cvm_notebook.live.store.figures import FULL, Point
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text, without_zeros
from cvm_notebook.widgets.base.view import ms

Cell: TypeAlias = str | int | float | bool | None
ColumnKind: TypeAlias = Literal[
    "text",
    "status",
    "trust",
    "number",
    "usd",
    "spent",
    "code",
    "link",
    "when",
    "age",
    "span",
    "since",
    "share",
]

_SPELLED: Final = {"id": "ID", "vcpu": "vCPU", "os": "OS", "gpus": "GPUs"}
_CELL_CHARS: Final = 200
USUAL: Final = (
    *("name", "status", "instance_type", "region"),
    *("cpu", "mem", "charged_usd_h", "month_usd", "uptime_s", "verified"),
)


HINTS: Final = {
    "instance_type": "Its instance type: vCPUs, memory and GPUs",
    "region": "Where the machine is that it runs on",
    "cpu": "CPU in use, of all its vCPUs; the bars are the last 15 minutes",
    "mem": "Memory in use",
    "idle_for": "For how long its CPU was under 10 %",
    "charged_usd_h": "Charged an hour as it is now: of a stopped CVM, its disk alone",
    "month_usd": "Cost since the first of the month (UTC); ≈ is estimated",
    "uptime_s": "Time since it booted",
    "verified": "What its last verification came to; to verify it, open it, tab Trust",
    "rate_usd_h": "The price of an hour if it runs",
    "app_id": "CVMs of one app run the same compose file, and share its keys",
    "compose_hash": "The fingerprint of what it runs: the same file, the same hash",
}
"""What a heading says beside its word."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of the table: its heading, its drawing, and the reader of its cells."""

    name: str
    label: str
    kind: ColumnKind
    width: int
    read: Callable[[Row, Context], Cell]

    def spec(self) -> dict[str, Any]:
        """Return it as the view draws it."""
        spec = {"name": self.name, "label": self.label, "kind": self.kind, "width": self.width}
        return spec | ({"hint": HINTS[self.name]} if self.name in HINTS else {})


def _style(column: columns.Column) -> ColumnKind:
    if column.style:
        return cast("ColumnKind", column.style)
    if column.kind is columns.Kind.MONEY:
        return "usd"
    if column.kind.is_number:
        return "number"
    return "when" if column.kind.is_time else "text"


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return without_zeros(value)
    if isinstance(value, datetime):
        return ms(value)
    return clean_text(value, _CELL_CHARS)


def _in_one_unit(seconds: float | Decimal) -> int:
    """Return seconds without what is not shown, so that a cell changes when its text does."""
    unit = next((unit for unit in (86_400, 3_600, 60) if seconds >= unit), 1)
    return int(seconds // unit) * unit


def _in_percent(share: float | Decimal) -> int:
    return round(100 * share)


def _as_it_is(value: object) -> object:
    return value


_SHORT: Final[dict[str, Callable[[Any], object]]] = {"span": _in_one_unit, "share": _in_percent}


def since(row: Row, context: Context) -> int | None:
    """Return when a CVM booted, in ms: it stays, while an uptime would have to be sent anew."""
    uptime = columns.UPTIME.value(row, context)
    if uptime is None or phase_of(row.status) != "running":
        return None
    return int((context.taken_at.timestamp() - row.age(context.now) - uptime) * 1000)


def _heading(words: str) -> str:
    return _SPELLED.get(words) or words[:1].upper() + words[1:]


def _column(column: columns.Column) -> TableColumn:
    kind = _style(column)
    read = since if kind == "since" else column.value
    shorten = _SHORT.get(kind, _as_it_is)

    def cell(row: Row, context: Context) -> Cell:
        found = read(row, context)
        return _cell(found if found is None else shorten(found))

    return TableColumn(
        column.name,
        _heading(column.label or column.name.replace("_", " ")),
        kind,
        column.width,
        (lambda _row, _context: None) if kind == "age" else cell,
    )


_SPENT: Final = TableColumn("month_usd", "Month", "spent", 78, lambda _row, _context: None)
"""What it has cost this month: worked out beside the rows, see `spending`."""
COLUMNS: Final = {name: _column(column) for name, column in TABLED.items()} | {_SPENT.name: _SPENT}
_FIRST: Final = ("name", "status")


def columns_of(names: Iterable[str]) -> tuple[TableColumn, ...]:
    """Return columns by name; the name and the status stand first, whether named or not.

    Raises
    ------
    InvalidInput
        There is no such column; the message has the nearest names. Or it is no list of names.
    """
    listed = checks.several("columns", names, "column names")
    wanted = list(dict.fromkeys([*_FIRST, *(checks.text("columns", name) for name in listed)]))
    for name in wanted:
        if name not in COLUMNS:
            shown = clean_text(name, 60)
            remedy = closest(name, COLUMNS) or f"One of {', '.join(COLUMNS)}."
            raise InvalidInput("columns", f"there is no column {shown!r} to show", remedy)
    return tuple(COLUMNS[name] for name in wanted)


def moved(names: Sequence[str], name: str, step: int) -> list[str]:
    """Return the names with one of them a step further right or left; the first ones stay."""
    if name in _FIRST:
        return list(names)
    rest = [one for one in names if one != name]
    rest.insert(max(len(_FIRST), names.index(name) + step), name)
    return rest


_BARS: Final = "▁▂▃▄▅▆▇█"
_SLOTS: Final = 15
_SLOT_S: Final = FULL / _SLOTS


def spark(samples: Sequence[Point], now: float) -> str:
    """Return the sparkline of the last 15 minutes of CPU; a gap is where nothing was measured."""
    bars = [" "] * _SLOTS
    for sample in samples:
        slot = _SLOTS - 1 - int((now - sample.received) // _SLOT_S)
        if 0 <= slot < _SLOTS and not isnan(sample.cpu):
            share = min(max(sample.cpu, 0.0), 1.0)
            bars[slot] = _BARS[round(share * (len(_BARS) - 1))]
    return "".join(bars)


def specs(shown: Sequence[TableColumn]) -> list[dict[str, Any]]:
    """Return columns as the view draws them."""
    return [column.spec() for column in shown]
