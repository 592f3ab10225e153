"""The cost of each CVM in a window of time, and how much of that was observed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from cvm_notebook.api.status import info_of, status_of
from cvm_notebook.api.times import earlier, length_of
from cvm_notebook.live.costs.intervals import (
    HourlyPrice,
    StatusInterval,
    cost_of,
    status_intervals,
)
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row

BASES: Final = ("observed", "extrapolated", "assumed")
_ZERO: Final = timedelta()
_SHORTEST: Final = timedelta(seconds=1)


class ChargedCvm(NamedTuple):
    """A CVM with its price, as it is now, or as it was when it went."""

    cvm_id: str
    name: str | None
    status: str
    price: HourlyPrice
    created: datetime | None
    gone: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one CVM in a window, and how that is known."""

    cvm: ChargedCvm
    window: str
    start: datetime
    end: datetime
    running: timedelta
    stopped: timedelta
    observed: timedelta
    amount: Decimal | None

    @property
    def duration(self) -> timedelta:
        """The time in the window in which the CVM existed."""
        return self.end - self.start

    @property
    def coverage(self) -> float | None:
        """The share of that which was observed; None where there was none."""
        return self.observed / self.duration if self.duration else None

    @property
    def basis(self) -> str:
        """The basis of the amount."""
        if self.observed >= self.duration:
            return "observed"
        return "extrapolated" if self.observed else "assumed"


def costs_of(log: Log, window: str | timedelta, now: datetime) -> list[Cost]:
    """Return what each CVM of a log has cost in the time up to `now`; under `EXACT`."""
    intervals = status_intervals(log)
    return costs_between(charged_cvms(log, intervals), intervals, window, now)


def midnight(at: datetime) -> datetime:
    """Return when the day of a moment began, in UTC: by that "today" is counted everywhere."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def costs_since(log: Log, begin: datetime) -> list[Cost]:
    """Return what each CVM of a log has cost since a moment; under `EXACT`."""
    now = log.now.taken_at
    return costs_of(log, max(now - begin, _SHORTEST), now)


def costs_between(
    cvms: Iterable[ChargedCvm],
    intervals: Sequence[StatusInterval],
    window: str | timedelta,
    now: datetime,
) -> list[Cost]:
    """Return what CVMs have cost in the time up to `now`; under `EXACT`."""
    length, label = length_of("window", window)
    of = by_cvm(intervals)
    since = earlier("now", now, length)
    return [_cost(s, of.get(s.cvm_id, []), label, since, now) for s in cvms]


def by_cvm(intervals: Iterable[StatusInterval]) -> dict[str, list[StatusInterval]]:
    """Return the intervals of each CVM."""
    of: dict[str, list[StatusInterval]] = {}
    for interval in intervals:
        of.setdefault(interval.cvm_id, []).append(interval)
    return of


def charged_cvm(row: Row) -> ChargedCvm:
    """Return a CVM as it is now."""
    return ChargedCvm(
        row.id, row.name, status_of(row.status), HourlyPrice.of(row.cvm), row.cvm.created
    )


def charged_cvms(log: Log, intervals: Iterable[StatusInterval]) -> list[ChargedCvm]:
    """Return the CVMs of the present, and those that went as far as they are remembered."""
    found = {row.id: charged_cvm(row) for row in log.now.rows}
    made = {c.row.id: c.row.cvm.created for c in log.changes if c.row.id not in found}
    for interval in intervals:
        if interval.cvm_id in made:
            found[interval.cvm_id] = ChargedCvm(
                cvm_id=interval.cvm_id,
                name=interval.name,
                status="gone",
                price=interval.price,
                created=made[interval.cvm_id],
                gone=interval.end,
            )
    return list(found.values())


def _cost(
    cvm: ChargedCvm, intervals: Sequence[StatusInterval], label: str, start: datetime, end: datetime
) -> Cost:
    """Add up what a CVM was charged from start to end."""
    begin, finish = lifetime(cvm, intervals, start, end)
    running = stopped = observed = _ZERO
    amount: Decimal | None = Decimal(0)
    for interval in filled(cvm, intervals, begin, finish):
        time = interval.end - interval.start
        if info_of(interval.status).computing_charged:
            running += time
        elif info_of(interval.status).disk_charged:
            stopped += time
        observed += time if interval.observed else _ZERO
        charged = interval.charged
        amount = None if amount is None or charged is None else amount + cost_of(charged, time)
    return Cost(cvm, label, begin, finish, running, stopped, observed, amount)


def lifetime(
    cvm: ChargedCvm, intervals: Sequence[StatusInterval], start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """Return from when to when there was a CVM, within a window."""
    begin = cvm.created or start
    if intervals:  # a clock of the service ahead of this one makes no CVM younger than observed
        begin = min(begin, intervals[0].start)
    begin = min(max(begin, start), end)
    return begin, max(begin, min(end, cvm.gone or end))


def filled(
    cvm: ChargedCvm, intervals: Sequence[StatusInterval], begin: datetime, finish: datetime
) -> Iterator[StatusInterval]:
    """Yield intervals that fill a time; a gap at its begin or end is as what is next to it."""
    whole = list(intervals) or [_as_now(cvm, finish)]
    first, last = whole[0], whole[-1]
    if begin < first.start:
        whole.insert(0, replace(first, start=begin, end=first.start, observed=False))
    if last.end < finish:
        whole.append(replace(last, start=last.end, end=finish, observed=False))
    for interval in whole:
        if max(interval.start, begin) < min(interval.end, finish):
            yield interval.between(begin, finish)


def _as_now(cvm: ChargedCvm, at: datetime) -> StatusInterval:
    """Return a interval without length, from which to guess the time before it."""
    return StatusInterval(
        cvm_id=cvm.cvm_id,
        name=cvm.name,
        app_id=None,
        region=None,
        status=cvm.status,
        price=cvm.price,
        start=at,
        end=at,
    )
