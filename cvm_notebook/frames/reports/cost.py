"""Cost frames: what each CVM has cost in a window of time, and what a month will cost."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.money import EXACT
from cvm_notebook.api.status import STATUSES, info_of
from cvm_notebook.api.times import moment_of
from cvm_notebook.frames.schema import INSTANT, MONEY, REAL, TEXT, Field, Money, Table, fixed
from cvm_notebook.live.costs.intervals import StatusInterval, cost_of, hours, status_intervals
from cvm_notebook.live.costs.spent import (
    BASES,
    ChargedCvm,
    Cost,
    charged_cvm,
    charged_cvms,
    costs_between,
)
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Snapshot

MONTH: Final = timedelta(hours=730)

COST: Final[Table[Cost]] = Table(
    "cost/1",
    (
        Field("cvm_id", TEXT, lambda c: c.cvm.cvm_id, "the CVM"),
        Field("window", TEXT, lambda c: c.window, "the window asked for"),
    ),
    (
        Field("window_start", INSTANT, lambda c: c.start, "its begin, or when the CVM was made"),
        Field("window_end", INSTANT, lambda c: c.end, "its end, or when the CVM went"),
        Field("running_h", MONEY, lambda c: hours(c.running), "hours charged with computing"),
        Field("stopped_h", MONEY, lambda c: hours(c.stopped), "hours charged for the disk alone"),
        Field("rate_usd_h", MONEY, lambda c: c.cvm.price.total, "US dollars an hour of running"),
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
        Field("name", TEXT, lambda c: c.cvm.name, "its name"),
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
        cvms, intervals = [charged_cvm(row) for row in source.rows], list[StatusInterval]()
        taken = source.taken_at
    else:
        checks.instance("source", source, Log, "Give fleet.store.log(), or a Snapshot.")
        intervals = status_intervals(source)
        cvms = charged_cvms(source, intervals)
        taken = source.now.taken_at
    at = taken if now is None else moment_of("now", now)
    return frame_of(cvms, intervals, window, at, money)


def frame_of(
    cvms: Iterable[ChargedCvm],
    intervals: Sequence[StatusInterval],
    window: str | timedelta,
    now: datetime,
    money: Money = "float",
) -> pd.DataFrame:
    """Build the frame of CVMs and of what was seen of them."""
    with localcontext(EXACT):
        costs = costs_between(cvms, intervals, window, now)
        return COST.frame(costs, money=money, as_of=now.isoformat())


# --- a month ------------------------------------------------------------------------------------


def _assumption(cvm: ChargedCvm) -> str:
    month = f"{MONTH / timedelta(hours=1):g} h"
    if not info_of(cvm.status).disk_charged:
        return "gone, and costs nothing"
    state = cvm.status.replace("_", " ")
    pays = "computing and disk" if info_of(cvm.status).computing_charged else "disk only"
    return f"as now ({state}: {pays}) for a month of {month}"


def _month(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else cost_of(rate, MONTH)


PROJECTION: Final[Table[ChargedCvm]] = Table(
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
        return PROJECTION.frame(map(charged_cvm, snapshot.rows), money=money)
