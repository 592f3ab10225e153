"""Deadline (stand-in until the branch with the real one is merged)."""

import time


class Deadline:
    """A moment by which a call ends."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left."""
        return max(0.0, self.ends - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it is over."""
        return self.remaining() <= 0
