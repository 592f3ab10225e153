"""Time as the server sees it: seconds since 1970 as float, and their ISO spelling.

The time of a request is ``caller.now``: ``machine_now()`` plus the offset that ``/_local/advance``
keeps in the database (so that tests move time instead of sleeping, and all workers agree). Neither
goes back when the machine's clock is set back: what ran yesterday has not begun since.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_STEP_SECONDS: Final = 1.0


class SteadyClock:
    """The machine's clock, which goes on where it was when it is set back.

    Parameters
    ----------
    wall
        Seconds since 1970, as the machine's clock shows them.
    elapsed
        Seconds that never go back.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._guard = threading.Lock()
        self._shift = 0.0
        self._last, self._last_at = wall(), elapsed()

    def now(self) -> float:
        """Return the time."""
        with self._guard:
            return self._look()

    def begin_at_least(self, moment: float) -> None:
        """Go on from this moment, if it lies ahead: it was reported before."""
        with self._guard:
            self._shift += max(0.0, moment - self._look())
            self._look()

    def _look(self) -> float:
        shown, at = self._wall() + self._shift, self._elapsed()
        expected = self._last + at - self._last_at
        if shown < expected - _STEP_SECONDS:
            self._shift += expected - shown
            shown = expected
        self._last, self._last_at = max(shown, self._last), at
        return self._last


_CLOCK: Final = SteadyClock()


def machine_now() -> float:
    """Return the machine's own time, without the test offset; it never goes back."""
    return _CLOCK.now()


def begin_at_least(moment: float) -> None:
    """Let the time of this process go on from this moment, if it lies ahead."""
    _CLOCK.begin_at_least(moment)


def iso(at: float) -> str:
    """Format a moment as the API does: UTC, microseconds, ``+00:00``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def iso_or_none(at: float | None) -> str | None:
    """Format a moment, or keep None."""
    return None if at is None else iso(at)


def human(seconds: float) -> str:
    """Format a duration as humantime does: ``2h 3m 4s``."""
    whole = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
