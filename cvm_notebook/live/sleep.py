"""Noticing that the machine was asleep: pure, told the times by whoever asks."""

from datetime import datetime

_LONG = 30.0


class SleepDetector:
    """Compares two clocks, and each with what it should show.

    On most systems the monotonic clock stands still while a machine sleeps and the wall clock is
    ahead afterwards; where it does not, a wait of seconds took minutes.
    """

    def __init__(self) -> None:
        self._last: tuple[float, datetime] | None = None

    def woke(self, now: float, wall: datetime, waited: float) -> bool:
        """Return whether it slept since it was last asked; `waited` is what should have passed."""
        last, self._last = self._last, (now, wall)
        if last is None:
            return False
        passed = now - last[0]
        ahead = (wall - last[1]).total_seconds() - passed
        return ahead > _LONG or passed > waited + _LONG
