"""The table's columns: what the fleet frame has and a change of a row tells, and the charge."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.live.columns import FIELDS, Context, Field, Kind, charged_usd, closest
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text, without_zeros

Cell: TypeAlias = str | int | float | bool | None
ColumnKind: TypeAlias = Literal["text", "status", "number", "usd", "code", "link", "when", "age"]

_CELL_CHARS: Final = 200
# what changes without a change of the row, or is shown by another column
_NOT_SHOWN: Final = frozenset(
    {"replicas", "health", "observed_at", "source", "uptime_s", "revision", "status_raw", "error"}
)
_CODES: Final = frozenset(
    {"cvm_id", "app_id", "vm_uuid", "instance_id", "correlation_id", "compose_hash"}
    | {"os_image_hash", "docker_compose_hash"}
)
_LABELS: Final = {
    "instance_type": "type",
    "charged_usd_h": "USD/h",
    "rate_usd_h": "USD/h running",
    "url": "endpoint",
    "age_s": "seen",
    "memory_gb": "memory GB",
    "disk_gb": "disk GB",
    "cvm_id": "id",
}
_WIDTHS: Final = {"name": 140, "status": 170, "url": 110, "node": 65, "age_s": 62, "gpus": 60}
USUAL: Final = (
    *("name", "status", "instance_type", "region", "node", "charged_usd_h", "url", "age_s"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it is called, how it is drawn, and how a cell is read."""

    name: str
    label: str
    kind: ColumnKind
    width: int
    read: Callable[[Row, Context], Cell]

    def spec(self) -> dict[str, Any]:
        """Return it as the view draws it."""
        return {"name": self.name, "label": self.label, "kind": self.kind, "width": self.width}


def _kind(field: Field) -> ColumnKind:
    if field.name in {"status", "age_s"}:
        return "status" if field.name == "status" else "age"
    if field.name == "url" or field.name in _CODES:
        return "link" if field.name == "url" else "code"
    if field.name.endswith("usd_h"):
        return "usd"
    kinds: dict[Kind, ColumnKind] = {Kind.NUMBER: "number", Kind.MOMENT: "when"}
    return kinds.get(field.kind, "text")


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return without_zeros(value)
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    return clean_text(value, _CELL_CHARS)


def _column(field: Field) -> Column:
    read = field.read

    def cell(row: Row, context: Context) -> Cell:
        return _cell(read(row, context))

    kind = _kind(field)
    wide = {"code": 130, "when": 150, "number": 80, "usd": 75}.get(kind, 95)
    return Column(
        field.name,
        _LABELS.get(field.name, field.name.replace("_", " ")),
        kind,
        _WIDTHS.get(field.name, wide),
        (lambda _row, _context: None) if kind == "age" else cell,
    )


# The frame has the prices and the status; which price that makes at the moment is for views.
_CHARGED: Final = Field("charged_usd_h", Kind.NUMBER, lambda row, _: charged_usd(row))
COLUMNS: Final = {
    field.name: _column(field)
    for field in (*FIELDS.values(), _CHARGED)
    if field.name not in _NOT_SHOWN
}


def columns_of(names: Iterable[str]) -> tuple[Column, ...]:
    """Return columns by name; the name and the status stand first, whether named or not.

    Raises
    ------
    InvalidInput
        There is no such column; the message has the nearest names.
    """
    wanted = list(dict.fromkeys(["name", "status", *names]))
    for name in wanted:
        if name not in COLUMNS:
            shown = clean_text(name, 60)
            remedy = closest(name, COLUMNS) or f"One of {', '.join(COLUMNS)}."
            raise InvalidInput("columns", f"there is no column {shown!r} to show", remedy)
    return tuple(COLUMNS[name] for name in wanted)


def specs(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return columns as the view draws them."""
    return [column.spec() for column in columns]
