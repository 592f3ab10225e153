"""Sums of money: to the last digit, whatever decimal context the caller has set."""

from collections.abc import Callable, Iterable
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import reduce, wraps
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# A price has 36 digits at most. Rounding and traps are set here, else they were the caller's.
EXACT: Final = Context(
    prec=60, rounding="ROUND_HALF_EVEN", traps=[DivisionByZero, InvalidOperation, Overflow]
)


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function in our own decimal context; a decorator for whatever calculates money."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return run


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    """Return the sum of the amounts that are known."""
    known = (amount for amount in amounts if amount is not None)
    with localcontext(EXACT):  # the amounts may be worked out while they are asked for
        return reduce(EXACT.add, known, Decimal(0))
