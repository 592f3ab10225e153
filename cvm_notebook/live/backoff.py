"""Back-off: how long to wait after a failure; pure, told the time by whoever asks."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


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
