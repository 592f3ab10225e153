"""Timetable: days of the week and a time of day, as in ``Mon-Fri 20:00``; when it is that next."""

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

_WHOLE: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES: Final = {name[:length]: day for day, name in enumerate(_WHOLE) for length in (3, None)}
_DAYS: Final = tuple(name[:3].title() for name in _WHOLE)
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\Z", re.ASCII)
_EVERY_DAY: Final = frozenset(range(7))
_DAY: Final = timedelta(days=1)
_REMEDY: Final = (
    'Write days and a time of 24 hours, such as "Mon-Fri 20:00", "Sat,Sun 09:30" or "daily 20:00"; '
    'a time zone may follow: "Mon-Fri 20:00 Europe/Berlin".'
)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Some days of the week, and a time of day.

    Attributes
    ----------
    days
        0 is Monday.
    zone
        The name of the time zone; None for this machine's.
    """

    days: frozenset[int]
    at: time
    zone: str | None = None

    @classmethod
    def read(cls, field: str, value: object) -> "Timetable":
        """Read ``Mon-Fri 20:00``.

        Parameters
        ----------
        field
            What the argument is called, for the error.
        value
            Days, as ``Mon-Fri``, ``Sat,Sun``, ``Fri-Mon`` or ``daily``, which may be left out; a
            time of 24 hours; a time zone's name, or this machine's local time is meant.

        Raises
        ------
        InvalidInput
            It is none; the message says which part.
        """
        words = value.split() if isinstance(value, str) else []
        clocks = [place for place, word in enumerate(words) if ":" in word]
        if len(clocks) != 1 or clocks[0] > 1 or len(words) - clocks[0] > 2:  # noqa: PLR2004 - time, zone
            raise InvalidInput(field, f"{_shown(value)} is not a schedule", _REMEDY)
        place = clocks[0]
        clock = _CLOCK.match(words[place])
        if clock is None:
            raise InvalidInput(field, f"{_shown(words[place])} is not a time of day", _REMEDY)
        days = _days(field, words[0]) if place else _EVERY_DAY
        zone = words[place + 1] if len(words) > place + 1 else None
        if zone is not None:
            _check_zone(field, zone)
        return cls(days, time(int(clock[1]), int(clock[2])), zone)

    def after(self, moment: datetime) -> datetime:
        """Return when it is that next, later than a moment; in UTC.

        A time that clocks skip as they are set forward is the moment of that; of one that they show
        twice the first counts.
        """
        today = self._local(moment).date()
        for ahead in range(-1, 9):
            day = today + timedelta(days=ahead)
            if day.weekday() in self.days and (at := self._on(day)) > moment:
                return at
        raise AssertionError("a week has every day")  # pragma: no cover

    def last(self, moment: datetime) -> datetime:
        """Return when it was that last, at a moment or before; in UTC."""
        today = self._local(moment).date()
        for ago in range(-1, 9):
            day = today - timedelta(days=ago)
            if day.weekday() in self.days and (at := self._on(day)) <= moment:
                return at
        raise AssertionError("a week has every day")  # pragma: no cover

    def shown(self, moment: datetime) -> str:
        """Return a moment as its clock shows it."""
        return f"{self._local(moment):%a %H:%M %Z}"

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(None if self.zone is None else ZoneInfo(self.zone))

    def _on(self, day: date) -> datetime:
        zone = None if self.zone is None else ZoneInfo(self.zone)
        wanted = datetime.combine(day, self.at)
        at = wanted.replace(tzinfo=zone).astimezone(UTC)
        if self._clock(at) == wanted:
            return at
        # skipped: an hour before or after it, as the zone is named or this machine's
        begin = at - _DAY
        shows = lambda second: self._clock(begin + timedelta(seconds=second))  # noqa: E731
        return begin + timedelta(seconds=bisect_left(range(2 * 86_400), wanted, key=shows))

    def _clock(self, moment: datetime) -> datetime:
        """Return what the clock shows at a moment, without its zone."""
        return self._local(moment).replace(tzinfo=None, fold=0)

    def __str__(self) -> str:
        zone = "" if self.zone is None else f" {self.zone}"
        return f"{_days_text(self.days)} {self.at:%H:%M}{zone}"


def _days(field: str, text: str) -> frozenset[int]:
    if text.lower() == "daily":
        return _EVERY_DAY
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = (_day(field, one) for one in (first, last if dash else first))
        found.update((begin + ahead) % 7 for ahead in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(field: str, name: str) -> int:
    day = _NAMES.get(name.lower())
    if day is None:
        raise InvalidInput(field, f"{_shown(name)} is not a day of the week", _REMEDY)
    return day


def _check_zone(field: str, zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        problem = f"{_shown(zone)} is not a time zone that this machine knows"
        raise InvalidInput(field, problem, "Such as Europe/Berlin, or UTC.") from None


def _days_text(days: frozenset[int]) -> str:
    """Return days as they are read: runs with a dash, from Monday on."""
    if days == _EVERY_DAY:
        return "daily"
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(
        _DAYS[run[0]] if len(run) == 1 else f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}" for run in runs
    )


def _shown(value: object) -> str:
    return repr(clean_text(value, 60))
