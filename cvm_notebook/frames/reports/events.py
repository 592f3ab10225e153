"""The events frame: each change of the live store as one row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.status import SOURCES, STATUSES, status_of
from cvm_notebook.frames.convert import word
from cvm_notebook.frames.reading import RowChunk
from cvm_notebook.frames.reports.diff import COMPARED, WHOLE
from cvm_notebook.frames.schema import (
    INSTANT,
    INTEGER,
    REAL,
    TEXT,
    Field,
    Table,
    fixed,
)
from cvm_notebook.live.columns import FRAMED, Context
from cvm_notebook.live.store.records import Change, Health, Row, Snapshot

KINDS: Final = (
    "added",
    "changed",
    "removed",
    "status",
    "progress",
    "fault",
    "healed",
    "operation",
)


class FieldChange(NamedTuple):
    """One field that a change changed."""

    field: str
    kind: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """A change, the field it is shown by, and the other fields it changed."""

    change: Change
    shown: FieldChange
    also: tuple[str, ...] = ()


def _doing(row: Row) -> str | None:
    """Name what is being done to a CVM."""
    if row.operation is not None and row.operation.type is not None:
        return row.operation.type
    return "under way" if row.in_progress else None


# what is shown of a change that changed several fields: the first of these, then the record's
_OF_ROW: Final[tuple[tuple[str, str, Callable[[Row], str | None]], ...]] = (
    ("status", "status", lambda r: r.status),
    ("boot_error", "fault", lambda r: r.boot_error),
    ("error", "fault", lambda r: r.error),
    ("operation", "operation", _doing),
    ("boot_progress", "progress", lambda r: r.boot_progress),
    ("shutdown_progress", "progress", lambda r: r.shutdown_progress),
    ("uptime", "progress", lambda r: r.uptime),
    ("verified", "changed", lambda r: r.trust.word if r.trust else None),
)
_NOT_OF_RECORD: Final = frozenset(
    {
        *("status", "status_raw", "in_progress", "operation", "operation_since"),
        *("correlation_id", "error", "updated_at"),
    }
)
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)
_AT_ANY_TIME: Final = Context(  # no column compared tells of it
    Snapshot(0, (), _NO_TIME, 0.0, Health("paused", _NO_TIME))
)
_OF_RECORD: Final = (*(c for c in COMPARED if c not in _NOT_OF_RECORD), "updated_at")


def _status(row: Row | None) -> str | None:
    return None if row is None else status_of(row.status)


def _correlation(change: Change) -> str | None:
    """Return the service's id of the operation that is under way, or has just ended."""
    for row in (change.after, change.before):
        if row is not None and row.operation is not None and row.operation.correlation_id:
            return row.operation.correlation_id
    return None


EVENTS: Final[Table[Event]] = Table(
    "events/1",
    (Field("seq", INTEGER, lambda e: e.change.seq, "counts every change, without gaps"),),
    (
        Field(
            "at",
            INSTANT,
            lambda e: e.change.made_at or e.change.at,
            "when the store took it in",
        ),
        Field(
            "received_at",
            INSTANT,
            lambda e: e.change.at,
            "when the answer that reported it came in",
        ),
        Field("cvm_id", TEXT, lambda e: e.change.row.id, "the CVM"),
        Field("name", TEXT, lambda e: e.change.row.name, "its name then"),
        Field("kind", fixed(KINDS), lambda e: e.shown.kind, "what kind of change it was"),
        Field(
            "field", TEXT, lambda e: e.shown.field, "what changed; of several the most telling one"
        ),
        Field("before", TEXT, lambda e: e.shown.before, "that field before"),
        Field("after", TEXT, lambda e: e.shown.after, "that field after"),
        Field(
            "status_from", fixed(STATUSES), lambda e: _status(e.change.before), "its status before"
        ),
        Field("status_to", fixed(STATUSES), lambda e: _status(e.change.after), "its status after"),
        Field("source", fixed(SOURCES), lambda e: e.change.source, "which call reported it"),
        Field(
            "correlation_id",
            TEXT,
            lambda e: _correlation(e.change),
            "the service's id of the operation under way",
        ),
        Field(
            "operation_id",
            TEXT,
            lambda e: e.change.operation_id,
            "the entry in our ledger that brought it about",
        ),
        Field("lag_ms", REAL, lambda e: e.change.lag_ms, "milliseconds from receipt to the store"),
        Field("revision", INTEGER, lambda e: e.change.revision, "the store's revision"),
        Field("also", TEXT, lambda e: ", ".join(e.also) or None, "the other fields that changed"),
    ),
)


@EVENTS.documents
def events_frame(changes: Iterable[Change]) -> pd.DataFrame:
    """List what happened to the fleet, one change a row, in the order in which it happened.

    Of a CVM's record only the columns of `fleet_frame` are compared: nothing secret is shown.
    """
    return EVENTS.frame(_events(checks.members("changes", changes, Change)))


def _events(changes: Sequence[Change]) -> list[Event]:
    new_records = [
        (c.seq, c.before, c.after)
        for c in changes
        if c.before is not None and c.after is not None and c.before.cvm is not c.after.cvm
    ]
    of_record = _record_fields(new_records)
    return [_event(change, of_record.get(change.seq, [])) for change in changes]


def _event(change: Change, of_record: list[FieldChange]) -> Event:
    old, new = change.before, change.after
    if old is None or new is None:
        kind = "added" if old is None else "removed"
        return Event(
            change,
            FieldChange(WHOLE, kind, old.status if old else None, new.status if new else None),
        )
    fields = [
        FieldChange(field, _healed(kind, after), before, after)
        for field, kind, read in _OF_ROW
        if (before := read(old)) != (after := read(new))
    ] + of_record
    if not fields:  # something that no column shows
        return Event(change, FieldChange("record", "changed", None, None))
    return Event(change, fields[0], tuple(one.field for one in fields[1:]))


def _healed(kind: str, after: str | None) -> str:
    return "healed" if kind == "fault" and after is None else kind


def _record_fields(pairs: Sequence[tuple[int, Row, Row]]) -> dict[int, list[FieldChange]]:
    """Return the columns in which records differ, by the change's number; column by column."""
    found: dict[int, list[FieldChange]] = {}
    old = RowChunk.of_rows([before for _, before, _ in pairs], _AT_ANY_TIME)
    new = RowChunk.of_rows([after for _, _, after in pairs], _AT_ANY_TIME)
    for name in _OF_RECORD:
        column = FRAMED[name]
        was, is_ = old.values(column), new.values(column)
        for (seq, _, _), before, after in zip(pairs, was, is_, strict=True):
            if before != after:
                one = FieldChange(name, "changed", word(before), word(after))
                found.setdefault(seq, []).append(one)
    return found
