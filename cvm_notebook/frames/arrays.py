"""Conversion of plain lists to pandas arrays of one fixed dtype each, whatever the values are."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

import numpy as np
import pandas as pd

from cvm_notebook.api.models.base import money as parse_money

try:
    import pyarrow as pa
except ImportError:  # an extra: without it text is kept as Python strings, money as Decimals
    pa = None

MONEY_DIGITS: Final = 18
MONEY_PLACES: Final = 6
_MICRO: Final = Decimal(1).scaleb(-MONEY_PLACES)
_MONEY_LIMIT: Final = Decimal(1).scaleb(MONEY_DIGITS - MONEY_PLACES) - 1  # rounding up still fits
_EXACT: Final = Context(prec=38, rounding=ROUND_HALF_EVEN)  # not what the user's context says
_INTEGER: Final = pd.Int64Dtype()
_REAL: Final = pd.Float64Dtype()
_FLAG: Final = pd.BooleanDtype()
_FIRST_MOMENT: Final = pd.Timestamp(datetime.min.replace(tzinfo=UTC))
_LAST_MOMENT: Final = pd.Timestamp(datetime.max.replace(tzinfo=UTC))
_INT64: Final = range(-(2**63), 2**63)


def text(values: Sequence[str | None]) -> Any:
    """Build a ``string`` array; half of a surrogate pair becomes U+FFFD."""
    if pa is None:
        return pd.array(values, dtype="string")
    try:
        data = pa.array(values, pa.large_string())
    except UnicodeEncodeError:  # Arrow holds UTF-8, which has no lone surrogates
        valid = [
            v and v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for v in values
        ]
        data = pa.array(valid, pa.large_string())
    return pd.arrays.ArrowStringArray(data)


def integer(values: Sequence[int | None]) -> Any:
    """Build an ``Int64`` array; what 64 bits cannot hold is missing."""
    try:
        return _nullable(values, "int64", _INTEGER)
    except OverflowError:
        return _nullable([v if v in _INT64 else None for v in values], "int64", _INTEGER)


def count(values: Sequence[str | None]) -> Any:
    """Build an ``Int64`` array of how often each value occurs; missing for None."""
    times = Counter(values)
    return integer([None if v is None else times[v] for v in values])


def real(values: Sequence[float | None]) -> Any:
    """Build a ``Float64`` array."""
    return _nullable(values, "float64", _REAL)


def flag(values: Sequence[bool | None]) -> Any:
    """Build a ``boolean`` array."""
    return _nullable(values, "bool", _FLAG)


def moment(values: Sequence[str | None]) -> Any:
    """Build a ``datetime64[us, UTC]`` index of ISO 8601 text; what is no date is NaT."""
    # pandas reads "now" and "today" as this moment: only what begins with a digit is a date
    dates = [v if v is not None and "0" <= v < ":" else "" for v in values]
    found = pd.to_datetime(dates, utc=True, format="ISO8601", errors="coerce", cache=False)
    found = found.as_unit("us")
    # beyond the years 1 to 9999 a Timestamp cannot even be printed
    if found.min() < _FIRST_MOMENT or found.max() > _LAST_MOMENT:
        return found.where((found >= _FIRST_MOMENT) & (found <= _LAST_MOMENT))
    return found


def instant(values: Sequence[datetime | None]) -> Any:
    """Build a ``datetime64[us, UTC]`` index of aware datetimes."""
    listed: list[Any] = list(values)
    return pd.to_datetime(listed, utc=True).as_unit("us")


def duration(values: Sequence[timedelta | None]) -> Any:
    """Build a ``timedelta64[us]`` index."""
    return pd.to_timedelta(list(values)).as_unit("us")


def exact_money(values: Sequence[str | float | Decimal | None]) -> Any:
    """Build an array of exact amounts of six places; what is no amount is missing.

    The dtype is ``decimal128(18, 6)[pyarrow]``, or object with Decimals where pyarrow is missing.
    """
    if pa is not None:
        return pd.arrays.ArrowExtensionArray(_decimals(values))
    amounts: np.ndarray[tuple[int], np.dtype[np.object_]] = np.empty(len(values), dtype=object)
    amounts[:] = [_amount(v) for v in values]
    return amounts


def money(values: Sequence[str | float | Decimal | None]) -> Any:
    """Build a ``float64`` array of amounts of six places; what is no amount is NaN."""
    distinct = list(dict.fromkeys(values))  # a fleet has few prices
    if pa is not None:
        # by way of text: Arrow's own cast of decimals misses the nearest float
        floats = _decimals(distinct).cast(pa.string()).cast(pa.float64()).to_pylist()
    else:
        floats = [_amount(value) for value in distinct]
    found = {v: np.nan if f is None else float(f) for v, f in zip(distinct, floats, strict=True)}
    return np.array([found[value] for value in values], dtype="float64")


def category(
    categories: tuple[str, ...], parse: Callable[[str | None], str | None] | None = None
) -> Callable[[Sequence[str | None]], Any]:
    """Return what builds categoricals; any other text is ``unknown``, the last category.

    `parse` brings other text into the categories first.
    """
    dtype = pd.CategoricalDtype(list(categories))
    places: dict[str | None, int] = {
        None: -1,
        **{name: code for code, name in enumerate(categories)},
    }
    other = len(categories) - 1

    def build(values: Sequence[str | None]) -> Any:
        codes = {v: places.get(parse(v) if parse else v, other) for v in set(values)}
        found = np.array([codes[v] for v in values], dtype="int8")
        return pd.Categorical.from_codes(found, dtype=dtype, validate=False)

    return build


def _nullable(values: Sequence[object], arrow: str, dtype: Any) -> Any:
    if pa is None:
        return pd.array(values, dtype=dtype)
    # a third of the time that pd.array takes over a list with None in it
    return dtype.__from_arrow__(pa.array(values, arrow))


def _decimals(values: Sequence[str | float | Decimal | None]) -> Any:
    kind = pa.decimal128(MONEY_DIGITS, MONEY_PLACES)
    try:
        return pa.array(values, pa.string()).cast(kind)
    except (pa.ArrowException, UnicodeEncodeError):  # one value that Arrow refuses: look at each
        return pa.array([_amount(v) for v in values], kind)


def _amount(value: object) -> Decimal | None:
    # what we have worked out has more digits than a price that is believed
    if isinstance(value, Decimal) and value.is_finite():
        amount: Decimal | None = value
    else:
        amount = parse_money(value)
    if amount is None or amount.copy_abs() >= _MONEY_LIMIT:
        return None
    return amount.quantize(_MICRO, context=_EXACT)
