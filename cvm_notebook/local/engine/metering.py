"""Metered usage: the costs of an app's CVMs, by hour and by kind.

It is cut out of the same spans that are charged (``billing``): the records of a whole app add up to
what its CVMs have cost, to the millionth of a dollar. Nothing is kept by the hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.usage import MeteredSpan
from cvm_notebook.local.engine import billing

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time range, in seconds since 1970."""

    begins_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Record:
    """The cost of one CVM in one hour, or a part of it, for computing or for its disk.

    ``cost`` is in millionths of a dollar.
    """

    cvm_id: int
    category: str
    begins_at: float
    ends_at: float
    cost: int

    @property
    def hour(self) -> float:
        """The begin of its hour."""
        return self.begins_at // _HOUR * _HOUR


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The cost of a span for one kind, spread evenly."""

    cvm_id: int
    category: str
    begins_at: float
    ends_at: float
    cost: int

    def hours(self, wanted: Period) -> range:
        """Return the hours since 1970 in which a record of it begins, within a period."""
        begin, end = self.begins_at, max(self.ends_at, self.begins_at + 1e-6)
        if begin >= wanted.ends_at:
            return range(0)
        first = ceil(wanted.begins_at / _HOUR) if begin < wanted.begins_at else int(begin // _HOUR)
        return range(first, ceil(min(end, wanted.ends_at) / _HOUR))

    def record(self, hour: int) -> Record:
        begin = max(self.begins_at, hour * _HOUR)
        end = min(self.ends_at, (hour + 1) * _HOUR)
        cost = self._cost_until(end) - self._cost_until(begin)
        if self.begins_at == self.ends_at:
            cost = self.cost
        return Record(self.cvm_id, self.category, begin, end, cost)

    def _cost_until(self, moment: float) -> int:
        seconds = self.ends_at - self.begins_at
        return int(self.cost * ((moment - self.begins_at) / seconds)) if seconds else 0


def records(
    session: Session,
    workspace_id: int,
    app_id: str,
    wanted: Period,
    now: float,
    *,
    skip: int = 0,
    most: int,
) -> list[Record]:
    """Return what an app has cost in a period, up to the last full minute, span by span.

    A record belongs to the period in which it begins. Those that are skipped are not made.
    """
    found: list[Record] = []
    for stretch in _stretches(session, workspace_id, app_id, now):
        hours = stretch.hours(wanted)
        found += map(stretch.record, islice(hours[skip:], most - len(found)))
        skip = max(0, skip - len(hours))
        if len(found) == most:
            break
    return found


def _stretches(session: Session, workspace_id: int, app_id: str, now: float) -> Iterator[_Stretch]:
    own = (MeteredSpan.workspace_id == workspace_id, MeteredSpan.app_id == app_id)
    for span in session.scalars(select(MeteredSpan).where(*own).order_by(MeteredSpan.id)):
        yield from _parts(span)
    live = (Cvm.workspace_id == workspace_id, Cvm.app_id == app_id, Cvm.deleted_at.is_(None))
    for cvm in session.scalars(select(Cvm).where(*live).order_by(Cvm.id)):
        yield from _parts(billing.metered(cvm, now // 60 * 60))


def _parts(span: MeteredSpan) -> Iterator[_Stretch]:
    if span.compute:
        ends_at = span.active_until
        yield _Stretch(span.cvm_id, "compute", span.begins_at, ends_at, span.compute)
    if span.storage:
        yield _Stretch(span.cvm_id, "storage", span.begins_at, span.ends_at, span.storage)
