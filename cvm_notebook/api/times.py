"""Times that users say: a naive one is this machine's local time, in every call of the package.

Times of the service, and of files that were written by us, are read by `values.instant`: there a
time without a zone is UTC.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.api.scalars import plain
from cvm_notebook.text import clean_text

_REMEDY: Final = "Give '14:05', '2026-11-23T14:05Z', a datetime or a Timestamp."
_CLOCKS: Final = {1: "%H:%M", 2: "%H:%M:%S"}  # by the number of colons
_DAY: Final = timedelta(days=1)
_CENTURY: Final = timedelta(days=36525)


def moment_of(field: str, value: object, *, now: datetime | None = None) -> datetime:
    """Return a moment in UTC.

    Parameters
    ----------
    field
        What the argument is called, for the error.
    value
        A datetime or pandas Timestamp; a date, which begins at midnight; ISO 8601 text. What has no
        time zone is this machine's local time; of an hour that a clock set back shows twice, text
        means the first, and a datetime says by ``fold``. numpy's times are UTC.
    now
        Where the past is asked for, the present: the future is refused, and ``"14:05"`` is the last
        time that this machine's clock showed it.

    Raises
    ------
    InvalidInput
        It is not a time, one that the local clock skipped, or one to come.
    """
    parsed = plain(value)
    if isinstance(parsed, str):
        shown = None if now is None else _last_shown(field, parsed.strip(), now)
        if shown is not None:
            return shown
        try:
            parsed = datetime.fromisoformat(parsed.strip())
        except ValueError:
            raise _no_time(field, value) from None
    elif isinstance(parsed, date) and not isinstance(parsed, datetime):
        parsed = datetime.combine(parsed, time())
    if not isinstance(parsed, datetime):
        raise _no_time(field, value)
    moment = in_utc(field, parsed)
    if now is not None and moment > now:
        problem = f"{clean_text(value, 40)} is in the future"
        raise InvalidInput(field, problem, "Only what was can be looked at.")
    return moment


def in_utc(field: str, at: datetime) -> datetime:
    """Return a datetime in UTC; without a zone it is this machine's local time.

    Raises
    ------
    InvalidInput
        The local clock skipped it, or it is out of the range of time.
    """
    try:
        if at.tzinfo is not None:
            return at.astimezone(UTC)
        moment = at.astimezone(UTC)
        shown = moment.astimezone().replace(tzinfo=None)
    except (OverflowError, OSError, ValueError):
        raise _no_time(field, at) from None
    if shown != at:
        problem = f"this machine's clock skipped {at:%Y-%m-%d %H:%M:%S}: it was set forward"
        raise InvalidInput(field, problem, "Give another time, or one with a time zone.")
    return moment


def earlier(field: str, at: datetime, length: timedelta) -> datetime:
    """Return the moment that lies so much before another.

    Raises
    ------
    InvalidInput
        It is out of the range of time.
    """
    try:
        return at - length
    except OverflowError:
        raise _no_time(field, at) from None


def length_of(field: str, value: str | timedelta) -> tuple[timedelta, str]:
    """Parse a duration, such as ``"24h"`` or ``"1d 12h"``; return it with its label.

    Raises
    ------
    InvalidInput
        It is none, it is not more than nothing, or more than a century.
    """
    scalar, seconds, label = plain(value), 0.0, ""
    if isinstance(scalar, timedelta):
        seconds, label = scalar.total_seconds(), f"{scalar / timedelta(hours=1):g}h"
    elif isinstance(scalar, str):
        seconds, label = seconds_of(scalar) or 0, " ".join(scalar.split())
    if not 0 < seconds <= _CENTURY.total_seconds():
        shown = clean_text(repr(value), 40)
        remedy = 'Give "24h", "7d", "90m" or a timedelta.'
        raise InvalidInput(field, f"{shown} is not a length of time", remedy)
    return timedelta(seconds=seconds), label


def _last_shown(field: str, text: str, now: datetime) -> datetime | None:
    """Return when this machine's clock last showed a time of day; None if it is none."""
    form = _CLOCKS.get(text.count(":"))
    if form is None:
        return None
    try:
        clock = datetime.strptime(text, form).time()  # noqa: DTZ007 - only its time of day counts
    except ValueError:
        return None
    today = now.astimezone().date()
    for day in (today, today - _DAY):
        for fold in (1, 0):  # the second of two, where the clock was set back
            at = datetime.combine(day, clock).replace(fold=fold)
            if at.astimezone(UTC) <= now:
                return in_utc(field, at)
    return None


def _no_time(field: str, value: object) -> InvalidInput:
    return InvalidInput(field, f"{clean_text(repr(value), 40)} is not a time", _REMEDY)
