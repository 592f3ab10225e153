"""Costs in a card: the rate, the cost since midnight, and what stopping would save."""

from decimal import Decimal
from typing import Any, Final

from cvm_notebook.api.models.base import money
from cvm_notebook.api.money import exact
from cvm_notebook.api.status import charged, info_of
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.costs.spent import costs_since, midnight
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row

MONTH_H: Final = 730
_NOTHING: Final = Decimal(0)


def money_state(row: Row | None) -> dict[str, Any]:
    """Return the cost of an hour and of a month as it is now, and what stopping would save.

    Returns
    -------
    dict
        US dollars: ``hour``, ``month``, ``saves`` an hour. None where the service does not say, or
        there is nothing to save.
    """
    now = None if row is None else charged_usd(row)
    if row is None or now is None:
        return {"hour": None, "month": None, "saves": None}
    rest = _stopped_usd(row) if info_of(row.status).computing_charged else None
    return {
        "hour": float(now),
        "month": float(now * MONTH_H),
        "saves": float(now - rest) if rest is not None and rest < now else None,
    }


def _stopped_usd(row: Row) -> Decimal | None:
    """Return what a CVM costs an hour while it is stopped; None where the service does not say."""
    rate = row.cvm.hourly_rate
    if rate is None:
        return None
    return charged("stopped", money(rate.total), money(rate.disk), _NOTHING)


@exact
def spent_today_usd(log: Log) -> Decimal | None:
    """Return what one CVM has cost since midnight in UTC, as `Fleet.cost` has it; no bill.

    Parameters
    ----------
    log
        Of that CVM alone.

    Returns
    -------
    Decimal or None
        US dollars; None where a price is not known.
    """
    amounts = [one.amount for one in costs_since(log, midnight(log.now.taken_at))]
    known = [amount for amount in amounts if amount is not None]
    return sum(known, _NOTHING) if len(known) == len(amounts) else None
