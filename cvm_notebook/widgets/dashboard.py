"""Dashboard: the table, the CVM that is selected, the form, the costs and the ledger, in one."""

import io
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import ipywidgets

from cvm_notebook._lazy import LOADING
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.static_view import show
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.mimebundle import with_widget
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import weakly
from cvm_notebook.widgets.card.card import card_of, close_cards
from cvm_notebook.widgets.form.form import ProvisionForm
from cvm_notebook.widgets.panel import Panel
from cvm_notebook.widgets.table.table import FleetTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_DRAW_EVERY_S: Final = 15.0
_LEDGER: Final = 100
_TABS: Final = ("CVM", "New CVM", "Costs and status", "Ledger")
_NOTHING_CHOSEN: Final = "Select a CVM in the table to see it here."


class Dashboard(ClosesWhole, ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    """A fleet at a glance, in a notebook or as an app. It keeps its fleet.

    Parameters
    ----------
    fleet
        What is shown.
    owns_fleet
        The fleet was made for this dashboard alone, and ends with it.
    """

    def __init__(self, fleet: FleetEngine, table: FleetTable, *, owns_fleet: bool = False) -> None:
        self.fleet, self._owns_fleet = fleet, owns_fleet
        self.table = table
        self.form = ProvisionForm(fleet.client, fleet=fleet)
        self._nobody = Panel("CVM")
        self._chosen = ipywidgets.VBox([self._nobody])
        self._statuses, self._costs = Panel("CVMs by region and status"), Panel("Cost over time")
        self._ledger = Panel("What was asked for")
        self._plots = ipywidgets.HBox(
            [self._statuses, self._costs], layout={"flex_flow": "row wrap", "grid_gap": "8px"}
        )
        self._workers = Workers(SystemClock(), 1, "cvm-dashboard", weakly(self.failed))
        self._drawn, self._drawn_at = -1, 0.0
        self._chosen_id: str | None = None
        pages = [self._chosen, self.form, self._plots, self._ledger]
        self._tabs = ipywidgets.Tab(pages, titles=_TABS)
        super().__init__([self.table, self._tabs], layout={"grid_gap": "8px"})
        self._nobody.show(note=_NOTHING_CHOSEN)
        self._unsubscribe = fleet.operator.attach(weakly(self._changed))
        self._unselect = self.table.on_select(weakly(self._changed))
        self._unopen = self.table.on_open(weakly(self._open))
        ui_thread.join(self)
        ui_thread.mark(self)

    def close(self) -> None:
        """End it, and the fleet if that was made for it."""
        if self.comm is None:
            return
        ui_thread.leave(self)
        self._unsubscribe()
        self._unselect()
        self._unopen()
        self._workers.close(0.5)
        super().close()
        if self._owns_fleet:
            self.fleet.close()
            self.table.close()
            close_cards(self.fleet)

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        panels = (self._nobody, self._statuses, self._costs, self._ledger)
        return (self._tabs, self._chosen, self._plots, self.form, *panels)

    @property
    def seen(self) -> bool:
        """Whether somebody looks at it, as far as is known."""
        return self.table.seen

    # --- for the UI thread -----------------------------------------------------------------------

    def flush(self) -> None:
        """Show the ledger, and the CVM that is selected; see `View`."""
        if self.comm is None:
            return
        records = self.fleet.operator.records()[-_LEDGER:][::-1]
        self._ledger.show(
            note="" if records else "Nothing was asked for yet.",
            head=("asked", "what", "state", "took", "attempts") if records else (),
            rows=[self._line(record) for record in records],
        )
        self._show_chosen()
        self.pulse()

    def pulse(self) -> None:
        """Draw the pictures again when there is something new; see `View`."""
        due = time.monotonic() - self._drawn_at >= _DRAW_EVERY_S
        if self.seen and due and self._drawn != self.fleet.store.revision:
            self._drawn_at, self._drawn = time.monotonic(), self.fleet.store.revision
            self._workers.do(self._draw)

    def _changed(self, _record: OperationRecord | None = None) -> None:
        ui_thread.mark(self)

    def _show_chosen(self) -> None:
        chosen = self.table.selected[-1] if self.table.selected else None
        if chosen != self._chosen_id:
            self._chosen_id = chosen
            shown = self._nobody if chosen is None else card_of(self.fleet, chosen)
            self._chosen.children = (shown,)

    def _open(self, cvm_id: str) -> None:
        """Select a CVM, and bring its card to the front."""
        if self.table.selected[-1:] != (cvm_id,):
            self.table.selected = (cvm_id,)
        self._show_chosen()
        self._tabs.selected_index = _TABS.index("CVM")

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        self._ledger.show(note=f"{type(error).__name__} in the dashboard. The fleet goes on.")

    def _line(self, record: OperationRecord) -> tuple[str, ...]:
        return (
            f"{record.asked_at.astimezone():%H:%M:%S}",
            f"{record.verb} {record.name}",
            as_text(record, named=False).partition(": ")[2],
            f"{record.elapsed(self.fleet.now()):.1f} s",
            str(record.attempts),
        )

    # --- on its worker ---------------------------------------------------------------------------

    def _draw(self) -> None:
        from cvm_notebook.frames import fleet_frame, timeline_frame  # noqa: PLC0415 - slow to load
        from cvm_notebook.frames.plots import plot_cost, plot_fleet  # noqa: PLC0415 - as they are

        snapshot = self.fleet.store.snapshot()
        frame, timeline = fleet_frame(snapshot), timeline_frame(self.fleet.store.log())
        as_of = f"as of {snapshot.taken_at.astimezone():%H:%M:%S}"
        _picture(
            self._statuses, as_of, f"{len(snapshot)} CVMs", lambda ax: plot_fleet(frame, ax=ax)
        )
        _picture(self._costs, as_of, "cost an hour by app", lambda ax: plot_cost(timeline, ax=ax))

    def __repr__(self) -> str:
        return f"<Dashboard of {self.fleet!r}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return with_widget(show(self.fleet.store.snapshot()), lambda: self)


def _picture(panel: Panel, as_of: str, alt: str, draw: Callable[["Axes"], object]) -> None:
    """Draw on a figure that no window and no other thread knows."""
    try:
        with LOADING:
            from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        panel.show(note="Pictures are drawn with matplotlib: pip install matplotlib")
        return
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    draw(figure.subplots())
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    panel.show(note=as_of, picture=png.getvalue(), alt=clean_text(f"{panel.title}: {alt}, {as_of}"))


_open: Final[list["weakref.ref[Dashboard]"]] = []


def dashboard_of(fleet: FleetEngine, table: FleetTable, *, owns_fleet: bool) -> Dashboard:
    """Make a dashboard; those before it that nobody looks at any more are closed."""
    for ref in list(_open):
        before = ref()
        if before is None or not before.seen:
            _open.remove(ref)
            if before is not None:
                before.close()
    made = Dashboard(fleet, table, owns_fleet=owns_fleet)
    _open.append(weakref.ref(made))
    return made
