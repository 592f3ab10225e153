"""The clock of everything live, and how a machine that slept is noticed."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol


@dataclass(slots=True)
class Backoff:
    """Waits that double from failure to failure, spread at random, until all has long been well.

    Attributes
    ----------
    first, cap
        Seconds: the first wait before it is spread, and the longest wait.
    healthy
        Seconds without a failure after which it begins anew.
    """

    first: float = 0.8
    cap: float = 30.0
    healthy: float = 120.0
    rand: Callable[[], float] = field(default=random.random, repr=False)
    failures: int = 0
    _well_since: float | None = None

    def failed(self, now: float) -> float:
        """Count a failure, and return the seconds to wait."""
        if self._well_since is not None and now - self._well_since >= self.healthy:
            self.failures = 0
        self._well_since = None
        step = self.first * 2.0 ** min(self.failures, 32)
        self.failures += 1
        if step >= self.cap:
            return self.cap * (1 - 0.5 * self.rand())  # spread downwards: the cap is a promise
        return min(self.cap, step * (1 + self.rand()))

    def succeeded(self, now: float) -> None:
        """Count a success: two minutes without a failure begin here."""
        if self._well_since is None:
            self._well_since = now

    def longest(self, now: float) -> float:
        """Count a failure that another try will not cure; return a wait near the cap."""
        self.failed(now)
        return self.cap * (1 - 0.5 * self.rand())


_LONG: Final = 30.0  # seconds that pass unnoticed only while a machine sleeps


class Clock(Protocol):
    """The clock: tells the time, and waits; tests move it."""

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
