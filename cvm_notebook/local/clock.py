"""Time as the server sees it: seconds since 1970 as float, and their ISO spelling.

The time of a request is ``caller.now``: the machine's clock plus the offset that
``/_local/advance`` keeps in the database (so that tests move time instead of sleeping, and all
workers agree). Durations of streams and leases use the machine's clocks and never this one.
"""

import time
from datetime import UTC, datetime


def machine_now() -> float:
    """Return the machine's own time, without the test offset."""
    return time.time()


def iso(at: float) -> str:
    """Spell a moment as the API does: UTC, microseconds, ``+00:00``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def iso_or_none(at: float | None) -> str | None:
    """Spell a moment, or keep None."""
    return None if at is None else iso(at)


def human(seconds: float) -> str:
    """Spell a duration as humantime does: ``2h 3m 4s``."""
    whole = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
