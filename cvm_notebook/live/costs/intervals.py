"""Status intervals: times in which a CVM had one status and one price, observed or not."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from cvm_notebook.api.models.base import money
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import charged, status_of
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row

_NOTHING: Final = Decimal(0)
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1) // _MICROSECOND


def hours(time: timedelta) -> Decimal:
    """Return a time in hours; under `EXACT`."""
    return Decimal(time // _MICROSECOND) / _HOUR


def cost_of(rate: Decimal, time: timedelta) -> Decimal:
    """Return what a time costs at a rate an hour; under `EXACT`."""
    return rate * (time // _MICROSECOND) / _HOUR


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """The price of a CVM an hour in US dollars; None where the service does not say."""

    total: Decimal | None
    disk: Decimal | None

    @classmethod
    def of(cls, cvm: Cvm) -> "HourlyPrice":
        """Read it from a record."""
        rate = cvm.hourly_rate
        return cls(None, None) if rate is None else _price(rate.total, rate.disk)

    def charged(self, status: str) -> Decimal | None:
        """Return what is charged in a status."""
        return charged(status, self.total, self.disk, _NOTHING)


@lru_cache(maxsize=1024)  # a fleet has few prices, each of them thousands of times
def _price(total: str | float | None, disk: str | float | None) -> HourlyPrice:
    return HourlyPrice(money(total), money(disk))


@dataclass(frozen=True, slots=True)
class StatusInterval:
    """A CVM had one status and one price for a while; `observed` when it was looked at."""

    cvm_id: str
    name: str | None
    app_id: str | None
    region: str | None
    status: str
    price: HourlyPrice
    start: datetime
    end: datetime
    observed: bool = True

    def between(self, start: datetime, end: datetime) -> "StatusInterval":
        """Return the part of it between two moments."""
        first, last = max(self.start, start), min(self.end, end)
        if (first, last) == (self.start, self.end):
            return self
        return replace(self, start=first, end=last)

    @property
    def charged(self) -> Decimal | None:
        """The charge an hour."""
        return self.price.charged(self.status)

    @property
    def amount(self) -> Decimal | None:
        """The charge in all; under `EXACT`."""
        return None if self.charged is None else cost_of(self.charged, self.end - self.start)


def status_intervals(log: Log) -> list[StatusInterval]:
    """Return the intervals of all CVMs, CVM by CVM, each in the order of time."""
    gaps = list(_gaps(log))
    starts = [start for start, _ in gaps]
    return [piece for interval in _whole_intervals(log) for piece in _split(interval, gaps, starts)]


def _whole_intervals(log: Log) -> Iterator[StatusInterval]:
    ended: dict[str, list[StatusInterval]] = {}
    going: dict[str, StatusInterval] = {}
    for change in log.changes:
        key = change.row.id
        last = going.pop(key, None)
        if last is None and change.before is not None:
            last = _begin(change.before, log.since)
        new = change.after and _begin(change.after, change.at)
        if last and new and _same(last, new):
            new = replace(new, start=last.start)
        elif last:
            ended.setdefault(key, []).append(replace(last, end=max(last.start, change.at)))
        if new:
            going[key] = new
    for row in log.now.rows:
        interval = going.get(row.id) or _begin(row, log.since)
        end = max(interval.start, log.now.taken_at)
        ended.setdefault(row.id, []).append(replace(interval, end=end))
    for found in ended.values():
        yield from found


def _begin(row: Row, at: datetime) -> StatusInterval:
    node = row.cvm.node_info
    return StatusInterval(
        cvm_id=row.id,
        name=row.name,
        app_id=row.app_id,
        region=None if node is None else node.region,
        status=status_of(row.status),
        price=HourlyPrice.of(row.cvm),
        start=at,
        end=at,
    )


def _same(last: StatusInterval, new: StatusInterval) -> bool:
    return (last.status, last.price, last.name) == (new.status, new.price, new.name)


def _gaps(log: Log) -> Iterator[tuple[datetime, datetime]]:
    """Yield the times in which the fleet was not live, in order.

    The moment between the first list and the health that comes of it is none.
    """
    listed = log.listed_at or log.now.taken_at
    begin: datetime | None = None if log.healths else log.since
    for health in log.healths:
        if health.state == "live":
            if begin is not None and listed < begin < health.since:
                yield begin, health.since
            begin = None
        elif begin is None or begin <= listed:
            begin = health.since
    if begin is not None and begin < log.now.taken_at:
        yield begin, log.now.taken_at


def _split(
    interval: StatusInterval, gaps: Sequence[tuple[datetime, datetime]], starts: Sequence[datetime]
) -> Iterator[StatusInterval]:
    """Cut a interval where the gaps begin and end; what has no length is left out."""
    at = interval.start
    first = max(0, bisect_left(starts, interval.start) - 1)
    for begin, end in gaps[first:]:
        if begin >= interval.end:
            break
        if end <= at:
            continue
        if at < begin:
            yield interval.between(at, begin)
        yield replace(interval, start=max(at, begin), end=min(end, interval.end), observed=False)
        at = min(end, interval.end)
    if at < interval.end:
        yield interval.between(at, interval.end)
