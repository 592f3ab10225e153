"""Dashboard: the table, the CVM that is selected, the form, the costs and the ledger, in one."""

import io
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Final

import ipywidgets

from cvm_notebook._lazy import LOADING
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.static_view import show
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.view import LiveView, Message, weakly
from cvm_notebook.widgets.card.card import CvmCard, card_of, close_cards
from cvm_notebook.widgets.form.form import ProvisionForm
from cvm_notebook.widgets.panel import Panel
from cvm_notebook.widgets.table.table import FleetTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_DRAW_EVERY_S: Final = 15.0
_LEDGER: Final = 100


class Dashboard(LiveView):
    """A fleet at a glance, in a notebook or as an app. It keeps its fleet.

    Parameters
    ----------
    fleet
        What is shown.
    owns_fleet
        The fleet was made for this dashboard alone, and ends with it.
    """

    _esm = module("base/tabs", "dashboard")
    _css = style("base/tabs", "dashboard")
    _FAULT: ClassVar[str] = " in the dashboard. The fleet goes on."

    def __init__(self, fleet: FleetEngine, table: FleetTable, *, owns_fleet: bool = False) -> None:
        self.fleet, self._owns_fleet = fleet, owns_fleet
        self.table = table
        self.form = ProvisionForm(fleet.client, fleet=fleet)
        self._statuses, self._costs = Panel("CVMs by region and status"), Panel("Cost over time")
        self._ledger = Panel("What was asked for")
        self._drawn, self._drawn_at = -1, 0.0
        self._card: CvmCard | None = None
        self._crew("cvm-dashboard")
        self._choose()
        super().__init__()
        self._unsubscribe = fleet.operator.attach(weakly(self._changed))
        self._unselect = self.table.on_select(weakly(self._choose))
        self._unopen = self.table.on_open(weakly(self._open))
        self._mark()

    def close(self) -> None:
        """End it, and the fleet if that was made for it."""
        if self.comm is None:
            return
        super().close()
        if self._owns_fleet:
            self.fleet.close()
            self.table.close()
            close_cards(self.fleet)

    def _release(self) -> None:
        self._unsubscribe()
        self._unselect()
        self._unopen()

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        return (self.form, self._statuses, self._costs, self._ledger)

    # --- for the UI thread -----------------------------------------------------------------------

    def flush(self) -> None:
        """Show the ledger, and the CVM that is selected; see `View`."""
        records = self.fleet.operator.records()[-_LEDGER:][::-1]
        self._ledger.show(
            note="" if records else "Nothing was asked for yet.",
            head=("asked", "what", "state", "took", "attempts") if records else (),
            rows=[self._line(record) for record in records],
        )
        super().flush()
        self.pulse()

    def pulse(self) -> None:
        """Draw the pictures again when there is something new; see `View`."""
        super().pulse()
        if self.form.model.client is not self.fleet.client:  # a key was given meanwhile
            self.form.model.use(self.fleet.client)
        due = time.monotonic() - self._drawn_at >= _DRAW_EVERY_S
        if self.seen and due and self._drawn != self.fleet.store.revision:
            self._drawn_at, self._drawn = time.monotonic(), self.fleet.store.revision
            self._workers.do(self._draw)

    def _state(self) -> Message:
        parts = {
            "table": self.table,
            "form": self.form,
            "statuses": self._statuses,
            "costs": self._costs,
            "ledger": self._ledger,
        }
        card = self._card
        return {
            "parts": {name: part.model_id for name, part in parts.items()},
            "card": None if card is None else self._host(card),
        }

    def _changed(self, _record: OperationRecord) -> None:
        self._mark()

    def _choose(self) -> None:
        """Show the card of the CVM that was selected last, on whatever thread it was."""
        chosen = self.table.selected[-1] if self.table.selected else None
        self._card = None if chosen is None else card_of(self.fleet, chosen)
        self._mark()

    def _open(self, cvm_id: str) -> None:
        """Select a CVM, and bring its card to the front."""
        if self.table.selected[-1:] != (cvm_id,):
            self.table.selected = (cvm_id,)
        self._choose()
        self._say({"kind": "front"})

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

    def _static(self) -> dict[str, str]:
        return show(self.fleet.store.snapshot())


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
