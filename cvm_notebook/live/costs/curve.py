"""The cost curve: charges of a fleet over a window of time, by app; the numbers of a chart."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from cvm_notebook.api.money import exact
from cvm_notebook.api.status import status_of
from cvm_notebook.live.costs.intervals import HourlyPrice, StatusInterval, status_intervals
from cvm_notebook.live.costs.spent import by_cvm, charged_cvms, filled, lifetime
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row, name_of_app

_NOTHING: Final = Decimal(0)
_LEAST: Final = 1e-9  # of a step: less is a rounding error


@dataclass(frozen=True, slots=True)
class AppCosts:
    """The charges of the CVMs of one app in a window.

    Attributes
    ----------
    app_id, name
        None, and the empty text, for all apps that have no area of their own.
    cvms, apps
        How many CVMs and apps it stands for.
    rates
        The mean US dollars an hour in each step of the window.
    amount
        US dollars in the window, exact.
    charged
        US dollars an hour now, exact.
    """

    app_id: str | None
    name: str
    cvms: int
    apps: int
    rates: tuple[float, ...]
    amount: Decimal
    charged: Decimal


@dataclass(frozen=True, slots=True)
class CostCurve:
    """The charges of a fleet in a window, cut into steps of one length.

    Attributes
    ----------
    start, end, step
        The window, and how long a step is.
    apps
        Those that cost most in the window, then all others as one.
    amount, charged
        Of all of them: US dollars in the window, and an hour now.
    observed
        Of each step, the share of the CVMs' time that was seen; what is not was taken to be as
        what is next to it, from the CVM's creation on.
    since
        When the fleet was first looked at.
    unpriced
        CVMs whose price the service does not tell; they count as nothing.
    stopped, stopped_charged
        How many CVMs are stopped and charged for their disk, and what that is an hour.
    """

    start: datetime
    end: datetime
    step: timedelta
    apps: tuple[AppCosts, ...]
    amount: Decimal
    charged: Decimal
    observed: tuple[float, ...]
    since: datetime
    unpriced: int
    stopped: int
    stopped_charged: Decimal


class _Steps:
    """A sum over the steps of a window, to which times at a rate are added."""

    def __init__(self, number: int) -> None:
        self._parts = [0.0] * (number + 1)
        self._turns = [0.0] * (number + 2)
        self._number = number

    def add(self, first: float, last: float, rate: float) -> None:
        """Add a rate from one place to another; both in steps from the begin of the window."""
        begin, end = int(first), int(last)
        if begin == end:
            self._parts[begin] += rate * (last - first)
            return
        self._parts[begin] += rate * (begin + 1 - first)
        self._turns[begin + 1] += rate
        self._turns[end] -= rate
        self._parts[end] += rate * (last - end)

    def means(self) -> list[float]:
        """Return the mean rate of each step."""
        whole, found = 0.0, []
        for part, turn in zip(self._parts, self._turns, strict=False):
            whole += turn
            found.append(max(0.0, whole + part))
        return found[: self._number]


class _AppSum:
    """The running sum of one app.

    Attributes
    ----------
    times
        From where to where it was charged, in steps, and at which rate.
    """

    def __init__(self) -> None:
        self.amount = self.charged = _NOTHING
        self.cvms = 0
        self.names: list[str] = []
        self.times: list[tuple[float, float, float]] = []

    @property
    def name(self) -> str:
        """The name of the app."""
        return name_of_app(self.names)


@exact
def cost_curve(log: Log, window: timedelta, steps: int, *, apps: int = 5) -> CostCurve:
    """Work out what each app was charged in the time up to when the log was taken.

    Parameters
    ----------
    steps
        Into how many the window is cut.
    apps
        The most apps that have numbers of their own: those that cost most in the window.

    Examples
    --------
    >>> curve = cost_curve(fleet.store.log(), timedelta(days=1), 96)
    >>> curve.amount == sum(app.amount for app in curve.apps)
    True
    """
    end = log.now.taken_at
    start = end - window
    known = {**{c.row.id: c.row for c in log.changes}, **{row.id: row for row in log.now.rows}}
    sums: dict[str, _AppSum] = {}
    seen, existing, unpriced = _Steps(steps), _Steps(steps), 0
    for cvm_id, intervals in _intervals(log, start, end):
        row = known[cvm_id]
        one = sums.setdefault(row.app_id or cvm_id, _AppSum())
        one.cvms += 1
        one.names.append(row.name or cvm_id)
        unpriced += any(interval.charged is None for interval in intervals)
        for interval in intervals:
            first, last = ((at - start) / window * steps for at in (interval.start, interval.end))
            existing.add(first, last, 1.0)
            seen.add(first, last, float(interval.observed))
            one.amount += interval.amount or _NOTHING
            one.times.append((first, last, float(interval.charged or _NOTHING)))
    for row in log.now.rows:
        one = sums.setdefault(row.app_id or row.id, _AppSum())
        one.charged += HourlyPrice.of(row.cvm).charged(status_of(row.status)) or _NOTHING
    stopped = _stopped(log.now.rows)
    shares = zip(seen.means(), existing.means(), strict=True)
    return CostCurve(
        start=start,
        end=end,
        step=window / steps,
        apps=_ranked(sums, apps, steps),
        amount=sum((one.amount for one in sums.values()), _NOTHING),
        charged=sum((one.charged for one in sums.values()), _NOTHING),
        observed=tuple(min(1.0, some / all_) if all_ > _LEAST else 1.0 for some, all_ in shares),
        since=log.listed_at or log.since,
        unpriced=unpriced,
        stopped=len(stopped),
        stopped_charged=sum(stopped, _NOTHING),
    )


def _intervals(
    log: Log, start: datetime, end: datetime
) -> Iterator[tuple[str, list[StatusInterval]]]:
    """Yield what each CVM was in a window; those that were not there have nothing."""
    logged = status_intervals(log)
    by_id = by_cvm(logged)
    for cvm in charged_cvms(log, logged):
        own = by_id.get(cvm.cvm_id, [])
        intervals = list(filled(cvm, own, *lifetime(cvm, own, start, end)))
        if intervals:
            yield cvm.cvm_id, intervals


def _stopped(rows: Iterable[Row]) -> list[Decimal]:
    """Return what is charged an hour for each CVM that is stopped, where that is anything."""
    stopped = [HourlyPrice.of(row.cvm) for row in rows if status_of(row.status) == "stopped"]
    return [rate for price in stopped if (rate := price.charged("stopped"))]


def _ranked(sums: dict[str, _AppSum], most: int, steps: int) -> tuple[AppCosts, ...]:
    """Return the apps that cost most, and the others as one."""
    order = sorted(sums.items(), key=lambda item: (-item[1].amount, item[1].name))
    found = [_as_one(key, one.name, [one], steps) for key, one in order[:most]]
    rest = [one for _, one in order[most:]]
    return (*found, _as_one(None, "", rest, steps)) if rest else tuple(found)


def _as_one(app_id: str | None, name: str, apps: list[_AppSum], steps: int) -> AppCosts:
    rates = _Steps(steps)
    for app in apps:
        for first, last, rate in app.times:
            rates.add(first, last, rate)
    return AppCosts(
        app_id=app_id,
        name=name,
        cvms=sum(app.cvms for app in apps),
        apps=len(apps),
        rates=tuple(rates.means()),
        amount=sum((app.amount for app in apps), _NOTHING),
        charged=sum((app.charged for app in apps), _NOTHING),
    )
