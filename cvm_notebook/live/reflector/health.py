"""Health of the reflector: written to the store and the log, raised by waits."""

import logging
from typing import Final

from cvm_notebook.api.errors.tree import CvmError, DeadlineExceeded
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.reflector.events import Failure, SetHealth
from cvm_notebook.live.store.records import Health
from cvm_notebook.live.store.store import FleetStore

BROKEN: Final = ("offline", "needs a key")
"""How up to date a store is that will not be so by itself, or not soon."""


class HealthLog:
    """Shows health in a store; the log has one line when it breaks, and one when it heals."""

    def __init__(self, store: FleetStore, clock: Clock, log: logging.Logger) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._broken = False
        self._closed = False

    def show(self, show: SetHealth) -> None:
        """Show it; nothing comes after ``closed``."""
        if self._closed:
            return
        self._closed = show.state == "closed"
        before = self._store.health
        since = before.since if before.state == show.state else self._clock.now()
        shown = Health(show.state, since, show.cause, show.next_step, show.next_try)
        self._store.set_health(shown)
        if show.state in BROKEN and not self._broken:
            self._broken = True
            # a refused key raises in calls, and makes a table ask for another key
            level = logging.INFO if show.state == "needs a key" else logging.WARNING
            self._log.log(level, "live updates stopped: %s", self._store.health)
        elif show.state == "live" and self._broken:
            self._broken = False
            self._log.info("live updates go on")


def prevented(failure: Failure | None, timeout: float) -> BaseException:
    """Return the error that a wait for the first list ends with."""
    if failure is not None and failure.error is not None:
        return failure.error.with_traceback(None)
    if failure is not None:
        return CvmError(failure.cause, hint=failure.next_step)
    return DeadlineExceeded(
        f"the fleet was not listed within {timeout:g} s",
        hint="Give it more time, or look at its health.",
    )
