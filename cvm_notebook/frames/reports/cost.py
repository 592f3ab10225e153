"""What the fleet has cost in a window of time, what of it was seen, and what a month will cost."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final, NamedTuple

import pandas as pd

from cvm_notebook.api.money import EXACT
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.status import STATUSES, info_of, status_of
from cvm_notebook.api.times import length_of, moment_of
from cvm_notebook.frames.reports.timeline import (
    HourlyPrice,
    StatusInterval,
    cost_of,
    hours,
    status_intervals,
)
from cvm_notebook.frames.schema import INSTANT, MONEY, REAL, TEXT, Field, Money, Table, fixed
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row, Snapshot

BASES: Final = ("observed", "extrapolated", "assumed")
MONTH: Final = timedelta(hours=730)
_ZERO: Final = timedelta()


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


COST: Final[Table[Cost]] = Table(
    "cost/1",
    (
        Field("cvm_id", TEXT, lambda c: c.standing.cvm_id, "the CVM"),
        Field("window", TEXT, lambda c: c.window, "the window asked for"),
    ),
    (
        Field("window_start", INSTANT, lambda c: c.start, "its begin, or when the CVM was made"),
        Field("window_end", INSTANT, lambda c: c.end, "its end, or when the CVM went"),
        Field("running_h", MONEY, lambda c: hours(c.running), "hours charged with computing"),
        Field("stopped_h", MONEY, lambda c: hours(c.stopped), "hours charged for the disk alone"),
        Field(
            "rate_usd_h", MONEY, lambda c: c.standing.price.total, "US dollars an hour of running"
        ),
        Field(
            "amount_usd",
            MONEY,
            lambda c: c.amount,
            "US dollars in all; missing where a price is not known",
        ),
        Field(
            "basis",
            fixed(BASES),
            lambda c: c.basis,
            "observed: all of it was seen; extrapolated: a part, and the rest was taken to be as "
            "what is next to it; assumed: nothing, and it was taken to be as now",
        ),
        Field(
            "coverage", REAL, lambda c: c.coverage, "the share of the time that was really observed"
        ),
        Field("name", TEXT, lambda c: c.standing.name, "its name"),
    ),
)


@COST.documents
def cost_frame(
    source: Log | Snapshot,
    window: str | timedelta = "24h",
    now: str | date | None = None,
    *,
    money: Money = "float",
) -> pd.DataFrame:
    """Work out what each CVM has cost in the time up to now, to the last digit.

    Computing is charged while a CVM starts, runs, restarts and stops (and in a status that is not
    known); the disk as long as there is one. Amounts are the rates of the service times the time,
    and no bill.

    Parameters
    ----------
    source
        The log of a live store, in which CVMs that went have a cost too; or a snapshot, of which
        nothing is observed and every CVM is taken to have been all the time as it is.
    window
        How far back: ``"24h"``, ``"7d"``, ``"90m"``, or a timedelta.
    now
        The end of the window; when `source` was taken, if None. Without a time zone it is this
        machine's local time.
    money
        ``"float"``: amounts are ``float64``; ``"decimal"``: exact, ``decimal128(18, 6)[pyarrow]``.

    Examples
    --------
    >>> cost_frame(fleet.store.log(), "1h")["amount_usd"].sum() >= 0
    True
    """
    if isinstance(source, Snapshot):
        standings, lived = [_standing(row) for row in source.rows], list[StatusInterval]()
        taken = source.taken_at
    else:
        checks.instance("source", source, Log, "Give fleet.store.log(), or a Snapshot.")
        lived = status_intervals(source)
        standings = _standings(source, lived)
        taken = source.now.taken_at
    at = taken if now is None else moment_of("now", now)
    return frame_of(standings, lived, window, at, money)


def frame_of(
    standings: Iterable[Standing],
    lived: Sequence[StatusInterval],
    window: str | timedelta,
    now: datetime,
    money: Money = "float",
) -> pd.DataFrame:
    """Build the frame of CVMs and of what was seen of them."""
    length, label = length_of("window", window)
    of: dict[str, list[StatusInterval]] = {}
    for spell in lived:
        of.setdefault(spell.cvm_id, []).append(spell)
    with localcontext(EXACT):
        costs = [_cost(s, of.get(s.cvm_id, []), label, now - length, now) for s in standings]
        return COST.frame(costs, money=money, as_of=now.isoformat())


def _standing(row: Row) -> Standing:
    return Standing(
        row.id, row.name, status_of(row.status), HourlyPrice.of(row.cvm), row.cvm.created
    )


def _standings(log: Log, lived: Iterable[StatusInterval]) -> list[Standing]:
    """Return the CVMs of the present, and those that went as far as they are remembered."""
    found = {row.id: _standing(row) for row in log.now.rows}
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
    begin = standing.created or start
    if lived:  # a clock of the service that goes before ours makes no CVM younger than we know it
        begin = min(begin, lived[0].start)
    begin = min(max(begin, start), end)
    finish = max(begin, min(end, standing.gone or end))
    running = stopped = observed = _ZERO
    amount: Decimal | None = Decimal(0)
    for spell in _filled(standing, lived, begin, finish):
        time = spell.end - spell.start
        if info_of(spell.status).computing_charged:
            running += time
        elif info_of(spell.status).disk_charged:
            stopped += time
        observed += time if spell.observed else _ZERO
        charged = spell.charged
        amount = None if amount is None or charged is None else amount + cost_of(charged, time)
    return Cost(standing, label, begin, finish, running, stopped, observed, amount)


def _filled(
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


# --- a month ------------------------------------------------------------------------------------


def _assumption(standing: Standing) -> str:
    month = f"{MONTH / timedelta(hours=1):g} h"
    if not info_of(standing.status).disk_charged:
        return "gone, and costs nothing"
    state = standing.status.replace("_", " ")
    pays = "computing and disk" if info_of(standing.status).computing_charged else "disk only"
    return f"as now ({state}: {pays}) for a month of {month}"


def _month(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else cost_of(rate, MONTH)


PROJECTION: Final[Table[Standing]] = Table(
    "projection/1",
    (Field("cvm_id", TEXT, lambda s: s.cvm_id, "the CVM"),),
    (
        Field("name", TEXT, lambda s: s.name, "its name"),
        Field("status", fixed(STATUSES), lambda s: s.status, "its status now"),
        Field(
            "charged_usd_h",
            MONEY,
            lambda s: s.price.charged(s.status),
            "US dollars an hour that it is charged now",
        ),
        Field(
            "monthly_usd",
            MONEY,
            lambda s: _month(s.price.charged(s.status)),
            "US dollars a month, if the assumption holds",
        ),
        Field(
            "monthly_running_usd",
            MONEY,
            lambda s: _month(s.price.total),
            "US dollars a month, if it ran all the time",
        ),
        Field(
            "monthly_stopped_usd",
            MONEY,
            lambda s: _month(s.price.disk),
            "US dollars a month, if it were stopped all the time",
        ),
        Field("assumption", TEXT, _assumption, "what monthly_usd takes for granted"),
    ),
)


@PROJECTION.documents
def projection_frame(snapshot: Snapshot, *, money: Money = "float") -> pd.DataFrame:
    """Say what each CVM will cost a month as it is now; `money` as of `cost_frame`."""
    checks.instance("snapshot", snapshot, Snapshot, "Give fleet.snapshot().")
    with localcontext(EXACT):
        return PROJECTION.frame(map(_standing, snapshot.rows), money=money)
