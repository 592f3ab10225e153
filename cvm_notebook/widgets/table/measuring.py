"""Measuring: requests metrics of the CVMs in a table while it is visible and shows them."""

import contextlib
from typing import Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.status import phase_of
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.metrics.poll import MeasureHandle

ALL_MEASURED: Final = 60  # running CVMs: two questions a second


class Measuring:
    """The measuring of one table. Only the UI thread calls it."""

    def __init__(self) -> None:
        self.handle: MeasureHandle | None = None

    def of(
        self, fleet: FleetEngine | None, seen: tuple[str, ...], *, shown: bool, every: bool
    ) -> None:
        """Request metrics of CVMs: of all in a small fleet, else of the visible rows.

        Parameters
        ----------
        seen
            The ids of the CVMs in sight.
        shown
            Whether metrics are used at all; nothing is measured where they are not.
        every
            Whether those of every CVM are, as a filter by them needs.
        """
        if fleet is None or not shown:
            self.end()
            return
        snapshot = fleet.store.snapshot()
        running = sum(phase_of(row.status) == "running" for row in snapshot)
        wanted = None if every or running <= ALL_MEASURED else seen
        if self.handle is None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                self.handle = fleet.measure(wanted)
        elif self.handle.cvm_ids != (None if wanted is None else frozenset(wanted)):
            self.handle.see(wanted)

    def end(self) -> None:
        """Measure no more."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.close()
