"""Spending: costs of the fleet for the table, computed in the background from its history."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_UP, Decimal, localcontext
from itertools import islice
from typing import Any, Final, TypeAlias

from cvm_notebook.api.money import EXACT
from cvm_notebook.live.costs.curve import cost_curve
from cvm_notebook.live.costs.spent import costs_since, midnight
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.text import without_zeros

MONTH_COLUMN: Final = "month_usd"
_BARS: Final = 24  # of an hour each
_HOUR: Final = timedelta(hours=1)
_AT_A_TIME: Final = 400  # rows in one message: the costs of a large fleet are sent in parts
_CENT, _DOLLAR = Decimal("0.01"), Decimal(1)
_WHOLE: Final = 100  # from so much on, whole dollars are shown
Spent: TypeAlias = tuple[str | None, bool]


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of a fleet up to a moment, from the numbers of `Fleet.cost`.

    Attributes
    ----------
    month
        By id: US dollars since the first of the month in UTC, as they are shown (None where a
        price is not known); and whether all of that was observed, and not estimated.
    today
        US dollars of all of them since midnight in UTC; and whether all of that was observed.
    bars
        US dollars of all of them in each of the last 24 hours, the oldest first.
    seen
        How many of these hours, the newest, lie in the history that is kept.
    """

    month: Mapping[str, Spent]
    today: Spent
    bars: tuple[float, ...]
    seen: int

    def spec(self) -> dict[str, Any]:
        """Return the totals of the fleet as a message."""
        today, observed = self.today
        return {"today": today, "observed": observed, "bars": list(self.bars), "seen": self.seen}


def spending_of(log: Log) -> Spending:
    """Work out what a fleet has cost, from its log; not for the UI thread."""
    at = log.now.taken_at
    day = midnight(at)
    with localcontext(EXACT):
        month, today = costs_since(log, day.replace(day=1)), costs_since(log, day)
        total = sum((one.amount or Decimal(0) for one in today), Decimal(0))
    present = {row.id for row in log.now.rows}
    hours = cost_curve(log, _BARS * _HOUR, _BARS, apps=0).apps
    return Spending(
        {
            one.cvm.cvm_id: (_shown(one.amount), one.basis == "observed")
            for one in month
            if one.cvm.cvm_id in present
        },
        (without_zeros(_in_cents(total)), all(one.basis == "observed" for one in today)),
        tuple(round(usd, 4) for usd in hours[0].rates) if hours else (0.0,) * _BARS,
        min(_BARS, max(0, int((at - log.since) / _HOUR))),
    )


def _in_cents(amount: Decimal) -> Decimal:
    """Return an amount in cents; what is less than one is not nothing."""
    if 0 < amount < _CENT:
        return amount.quantize(_CENT / 10, ROUND_UP)
    return amount.quantize(_CENT)


def _shown(amount: Decimal | None) -> str | None:
    """Return an amount rounded as it is shown, so that it changes only with its text."""
    if amount is None:
        return None
    return str(amount.quantize(_DOLLAR) if amount >= _WHOLE else _in_cents(amount))


class SpendingFeed:
    """Sends the cost of each row to views: visible rows first, the others in turn.

    Only the UI thread calls it. The amounts of ten thousand rows would be a large message, each
    minute; so it rides with the pulses, some rows at a time, and only where it has changed.
    """

    def __init__(self) -> None:
        self.spending: Spending | None = None
        self._due: dict[str, None] = {}

    def learn(self, spending: Spending) -> None:
        """Take newer amounts."""
        before = {} if self.spending is None else self.spending.month
        self.spending = spending
        changed = (i for i, spent in spending.month.items() if before.get(i) != spent)
        self._due |= dict.fromkeys(changed)

    def anew(self) -> None:
        """Tell of all rows again: a view begins."""
        self._due = dict.fromkeys(self.spending.month) if self.spending is not None else {}

    def take(self, first: Iterable[str], *, every: bool = False) -> dict[str, Spent]:
        """Return the next costs to send, and remove them from the queue.

        Parameters
        ----------
        every
            Whether all are sent at once, as an order by them needs.
        """
        if self.spending is None or not self._due:
            return {}
        most = len(self._due) if every else _AT_A_TIME
        wanted = dict.fromkeys(i for i in first if i in self._due) | self._due
        now = list(islice(wanted, most))
        for i in now:
            del self._due[i]
        month = self.spending.month
        return {i: month[i] for i in now if i in month}
