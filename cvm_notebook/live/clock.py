"""The clock that everything live is told the time by, so that tests can move it."""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time, and waits."""

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
