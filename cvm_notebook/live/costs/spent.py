"""What each CVM has cost in a window of time, and how much of that was observed."""

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


class Standing(NamedTuple):
    """One CVM as it is now, or as it was when it went."""

    cvm_id: str
    name: str | None
    status: str
    price: HourlyPrice
    created: datetime | None
    gone: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one CVM has cost in a window, and how that is known."""

    standing: Standing
    window: str
    start: datetime
    end: datetime
    running: timedelta
    stopped: timedelta
    observed: timedelta
    amount: Decimal | None

    @property
    def lived(self) -> timedelta:
        """How much of the window there was such a CVM."""
        return self.end - self.start

    @property
    def coverage(self) -> float | None:
        """The share of that which was observed; None where there was none."""
        return self.observed / self.lived if self.lived else None

    @property
    def basis(self) -> str:
        """How the amount is known."""
        if self.observed >= self.lived:
            return "observed"
        return "extrapolated" if self.observed else "assumed"


def costs_of(log: Log, window: str | timedelta, now: datetime) -> list[Cost]:
    """Return what each CVM of a log has cost in the time up to `now`; under `EXACT`."""
    lived = status_intervals(log)
    return costs_between(standings_of(log, lived), lived, window, now)


def midnight(at: datetime) -> datetime:
    """Return when the day of a moment began, in UTC: by that "today" is counted everywhere."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def costs_since(log: Log, begin: datetime) -> list[Cost]:
    """Return what each CVM of a log has cost since a moment; under `EXACT`."""
    now = log.now.taken_at
    return costs_of(log, max(now - begin, _SHORTEST), now)


def costs_between(
    standings: Iterable[Standing],
    lived: Sequence[StatusInterval],
    window: str | timedelta,
    now: datetime,
) -> list[Cost]:
    """Return what CVMs have cost in the time up to `now`; under `EXACT`."""
    length, label = length_of("window", window)
    of = by_cvm(lived)
    since = earlier("now", now, length)
    return [_cost(s, of.get(s.cvm_id, []), label, since, now) for s in standings]


def by_cvm(lived: Iterable[StatusInterval]) -> dict[str, list[StatusInterval]]:
    """Return the spells of each CVM."""
    of: dict[str, list[StatusInterval]] = {}
    for spell in lived:
        of.setdefault(spell.cvm_id, []).append(spell)
    return of


def standing_of(row: Row) -> Standing:
    """Return a CVM as it is now."""
    return Standing(
        row.id, row.name, status_of(row.status), HourlyPrice.of(row.cvm), row.cvm.created
    )


def standings_of(log: Log, lived: Iterable[StatusInterval]) -> list[Standing]:
    """Return the CVMs of the present, and those that went as far as they are remembered."""
    found = {row.id: standing_of(row) for row in log.now.rows}
    made = {c.row.id: c.row.cvm.created for c in log.changes if c.row.id not in found}
    for spell in lived:
        if spell.cvm_id in made:
            found[spell.cvm_id] = Standing(
                *(spell.cvm_id, spell.name, "gone", spell.price, made[spell.cvm_id], spell.end)
            )
    return list(found.values())


def _cost(
    standing: Standing, lived: Sequence[StatusInterval], label: str, start: datetime, end: datetime
) -> Cost:
    """Add up what a CVM was charged from start to end."""
    begin, finish = lifetime(standing, lived, start, end)
    running = stopped = observed = _ZERO
    amount: Decimal | None = Decimal(0)
    for spell in filled(standing, lived, begin, finish):
        time = spell.end - spell.start
        if info_of(spell.status).computing_charged:
            running += time
        elif info_of(spell.status).disk_charged:
            stopped += time
        observed += time if spell.observed else _ZERO
        charged = spell.charged
        amount = None if amount is None or charged is None else amount + cost_of(charged, time)
    return Cost(standing, label, begin, finish, running, stopped, observed, amount)


def lifetime(
    standing: Standing, lived: Sequence[StatusInterval], start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """Return from when to when there was a CVM, within a window."""
    begin = standing.created or start
    if lived:  # a clock of the service that goes before ours makes no CVM younger than we know it
        begin = min(begin, lived[0].start)
    begin = min(max(begin, start), end)
    return begin, max(begin, min(end, standing.gone or end))


def filled(
    standing: Standing, lived: Sequence[StatusInterval], begin: datetime, finish: datetime
) -> Iterator[StatusInterval]:
    """Yield spells that fill a time: what came before, or comes after, is as what is next to it."""
    whole = list(lived) or [_as_now(standing, finish)]
    first, last = whole[0], whole[-1]
    if begin < first.start:
        whole.insert(0, replace(first, start=begin, end=first.start, observed=False))
    if last.end < finish:
        whole.append(replace(last, start=last.end, end=finish, observed=False))
    for spell in whole:
        if max(spell.start, begin) < min(spell.end, finish):
            yield spell.between(begin, finish)


def _as_now(standing: Standing, at: datetime) -> StatusInterval:
    """Return a spell without length, from which to guess the time before it."""
    return StatusInterval(
        cvm_id=standing.cvm_id,
        name=standing.name,
        app_id=None,
        region=None,
        status=standing.status,
        price=standing.price,
        start=at,
        end=at,
    )
