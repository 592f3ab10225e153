"""What a card says of money: the cost now, since midnight, and what stopping would save."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cvm_notebook.api.models.base import money
from cvm_notebook.api.money import exact
from cvm_notebook.api.status import charged, info_of
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.store.records import Change, Row

MONTH_H: Final = 730
_SECONDS: Final = Decimal(3_600)
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
def spent_usd(
    changes: Sequence[Change], row: Row | None, since: datetime, now: datetime
) -> Decimal | None:
    """Return what a CVM has cost since a moment, by its prices and statuses; no bill.

    What was before the first change that is known is taken to be as that says, from when the CVM
    was made; it agrees with `cost_frame`.

    Parameters
    ----------
    changes
        Of this CVM alone, the oldest first.
    row
        As it is now; None when it is gone.

    Returns
    -------
    Decimal or None
        US dollars; None where a price is not known.
    """
    state = (changes[0].before or changes[0].after) if changes else row
    if state is None:
        return _NOTHING
    made = state.cvm.created
    if made is not None and changes and changes[0].before is None:
        made = min(made, changes[0].at)  # the service's clock may go before ours
    at, spent = max(since, made) if made is not None else since, _NOTHING
    steps: list[tuple[datetime, Row | None]] = [(one.at, one.after) for one in changes]
    for end, after in [*steps, (now, row)]:
        until = min(end, now)
        if state is not None and until > at:
            rate = charged_usd(state)
            if rate is None:
                return None
            spent += rate * _seconds(until - at) / _SECONDS
        at, state = max(at, until), after
    return spent


def _seconds(time: timedelta) -> Decimal:
    return Decimal(time // timedelta(microseconds=1)) / 1_000_000


def midnight(now: datetime) -> datetime:
    """Return when the day began, by this machine's clock."""
    return now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
