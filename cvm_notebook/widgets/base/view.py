"""Whether anybody looks: a view is served while its front end gives signs of life."""

import contextlib
import time
import weakref
from typing import Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.reflector.interest import InterestHandle

# A busy kernel hears nothing until its cell ends; a closed browser tab says no farewell.
LEASE_S: Final = 600.0


class Presence:
    """Keeps a fleet live while a view is looked at. Only the UI thread calls it.

    Parameters
    ----------
    fleet
        What is kept live; held weakly.
    """

    def __init__(self, fleet: FleetEngine) -> None:
        self._fleet = weakref.ref(fleet)
        self._handle: InterestHandle | None = None
        self._until = 0.0

    @property
    def seen(self) -> bool:
        """Whether somebody looks, as far as is known."""
        return time.monotonic() < self._until

    def heard(self) -> bool:
        """Note a sign of life; return whether it is the first after a silence."""
        first = not self.seen
        self._until = time.monotonic() + LEASE_S
        fleet = self._fleet()
        if self._handle is None and fleet is not None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                self._handle = fleet.interest()
        return first

    def gone(self) -> None:
        """Note that nobody looks any more."""
        self._until = 0.0
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def check(self) -> bool:
        """Return whether somebody looks; end the interest when nobody did for long."""
        if not self.seen:
            self.gone()
        return self.seen
