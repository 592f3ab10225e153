"""The clock that everything live is told the time by, and how a machine that slept is noticed."""

import threading
import time
from datetime import UTC, datetime
from typing import Final, Protocol

_LONG: Final = 30.0  # seconds that pass unnoticed only while a machine sleeps


class Clock(Protocol):
    """What tells the time, and waits; tests move it."""

    def monotonic(self) -> float:
        """Return seconds that only grow; for ages, timers and the order of receipts."""

    def now(self) -> datetime:
        """Return the wall time, in UTC; for what people read."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most so long; return whether it was set."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return datetime.now(UTC)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most so long; return whether it was set."""
        return event.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))


class SleepDetector:
    """Compares two clocks, and each with what it should show. Safe to use from any thread.

    On most systems the monotonic clock stands still while a machine sleeps and the wall clock is
    ahead afterwards; where it does not, a wait of seconds took minutes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, datetime] | None = None

    def woke(self, now: float, wall: datetime, waited: float) -> datetime | None:
        """Return when it fell asleep, if it slept since it was last asked.

        Parameters
        ----------
        now, wall
            What the two clocks show.
        waited
            The seconds that should have passed, at most.
        """
        with self._lock:
            last, self._last = self._last, (now, wall)
        if last is None:
            return None
        passed = now - last[0]
        ahead = (wall - last[1]).total_seconds() - passed
        return last[1] if ahead > _LONG or passed > waited + _LONG else None
