"""Costs in the dashboard: numbers by app, over three windows."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from cvm_notebook.api.money import total
from cvm_notebook.live.costs.curve import AppCosts, CostCurve, cost_curve
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.text import clean_text, without_zeros

_NAME_CHARS: Final = 40
_DIGIT: Final = Decimal("0.000001")
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class CostWindow:
    """A window of the cost chart: its length, and its number of steps."""

    length: timedelta
    steps: int


WINDOWS: Final = {
    "24h": CostWindow(timedelta(hours=24), 96),
    "7d": CostWindow(timedelta(days=7), 84),
    "30d": CostWindow(timedelta(days=30), 90),
}


def costs_message(log: Log, window: str) -> dict[str, Any]:
    """Return what a view draws, amounts as text and rates an hour as numbers.

    Parameters
    ----------
    window
        One of `WINDOWS`.
    """
    which = WINDOWS[window]
    curve = cost_curve(log, which.length, which.steps)
    apps = [_app(app) for app in curve.apps]
    return {
        "window": window,
        "start": _ms(curve.start.timestamp()),
        "end": _ms(curve.end.timestamp()),
        "step": _ms(curve.step.total_seconds()),
        "since": _ms(curve.since.timestamp()),
        "apps": apps,
        # of the amounts as they are shown, or they would not add up
        "amount": without_zeros(total(Decimal(app["amount"]) for app in apps)),
        "charged": without_zeros(curve.charged),
        "observed": [round(share, 3) for share in curve.observed],
        "share": _share(curve),
        "unpriced": curve.unpriced,
        "stopped": curve.stopped,
        "stopped_charged": without_zeros(curve.stopped_charged),
    }


def _app(app: AppCosts) -> dict[str, Any]:
    others = f"{app.apps:,} other {'app' if app.apps == 1 else 'apps'}"
    return {
        "name": clean_text(app.name, _NAME_CHARS) if app.app_id else others,
        "other": app.app_id is None,
        "cvms": app.cvms,
        "rates": [round(rate, _DIGITS) for rate in app.rates],
        "amount": _usd(app.amount),
        "charged": without_zeros(app.charged),
    }


def _share(curve: CostCurve) -> float:
    """Return which share of the window was observed, each step counted the same."""
    return round(sum(curve.observed) / len(curve.observed), _DIGITS)


def _usd(amount: Decimal) -> str:
    return without_zeros(amount.quantize(_DIGIT))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
