"""Deadline: the one moment by which a call has ended, whatever it is made of."""

import math
import time
from typing import Final


class Deadline:
    """A moment on the monotonic clock, handed down through everything that a call waits for.

    A call makes one, and its attempts, the waits between them, its further requests and the reading
    back of a lost answer all get that same object: together they take no longer than it allows.

    Parameters
    ----------
    seconds
        How long from now; infinity for no limit.

    Examples
    --------
    >>> Deadline(60).within(5).remaining() <= 5
    True
    """

    __slots__ = ("_ends", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        self._ends = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; 0.0 when it is over."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._ends

    def within(self, seconds: float) -> "Deadline":
        """Return a deadline for a part: this many seconds from now, but never after this one."""
        part = Deadline(seconds)
        return part if part._ends < self._ends else self

    def __repr__(self) -> str:
        left = "no limit" if math.isinf(self._ends) else f"{self.remaining():.3g} s left"
        return f"<Deadline: {left}>"
