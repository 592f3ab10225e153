"""Triggers of a rule: once for each stretch of idleness, and for each scheduled time; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cvm_notebook.live.rules.timetable import Timetable

LATE: Final = timedelta(minutes=5)
"""How late a live fleet may come, as after a machine slept."""


@dataclass(slots=True)
class Occasions:
    """The triggers that one rule has acted on already.

    Attributes
    ----------
    idle
        Seconds of idleness after which it acts; None for never.
    looked_at
        Scheduled times up to then are done with.
    late
        What was scheduled longer ago is missed, and not made up for.
    acted
        The CVMs that it has acted on in the stretch of idleness that goes on.
    """

    idle: float | None
    timetable: Timetable | None
    looked_at: datetime
    late: timedelta = LATE
    acted: set[str] = field(default_factory=set)

    def idle_now(self, lengths: Mapping[str, float | None], running: Iterable[str]) -> list[str]:
        """Return the CVMs that it is to act on now, and count them as acted on.

        Parameters
        ----------
        lengths
            For how many seconds each CVM has been idle, as far as that is known; of those that
            were acted on, too.
        running
            Those that run: whoever was stopped begins anew.
        """
        self.acted &= set(running)
        if self.idle is None:
            return []
        due = []
        for cvm_id, length in lengths.items():
            if length is None:
                continue  # not known: the stretch may go on
            if length < self.idle:
                self.acted.discard(cvm_id)
            elif cvm_id not in self.acted:
                self.acted.add(cvm_id)
                due.append(cvm_id)
        return due

    def scheduled(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """Return the scheduled time that it is to act for now, and one that was missed; once."""
        if self.timetable is None:
            return None, None
        if self.looked_at - now > self.late:
            self.looked_at = now  # by a clock that was ahead, and was set back
        last = self.timetable.last(now)
        if last <= self.looked_at:
            return None, None
        self.looked_at = now
        return (last, None) if now - last <= self.late else (None, last)
