"""Cells of a frame as Python's own values, without importing pandas or numpy."""

from datetime import UTC, datetime
from typing import Any, Final

_MISSING: Final = frozenset({"NAType", "NaTType"})  # pandas.NA, pandas.NaT


def plain(value: Any) -> Any:
    """Return a scalar of numpy or pandas as Python's own: None for what is missing.

    Anything else is returned as it is. A time of numpy has no zone, and is UTC.
    """
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, datetime) and hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)  # of nanoseconds, for which Python has no place
    item = getattr(value, "item", None)
    if not callable(item) or getattr(value, "shape", None) != ():
        return value
    if type(value).__name__ not in ("datetime64", "timedelta64"):
        return item()
    # in microseconds: finer ones are passed on as a bare number
    native = value.astype(f"{type(value).__name__}[us]").item()
    return native.replace(tzinfo=UTC) if isinstance(native, datetime) else native


def own(value: object) -> object:
    """Return a text or a number of another library as Python's own.

    Raises
    ------
    TypeError
        It is neither.
    """
    found = str(value) if isinstance(value, str) else plain(value)
    if found is value:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return found
