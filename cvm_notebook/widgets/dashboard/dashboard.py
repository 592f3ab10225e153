"""Dashboard: the table with the card of one CVM beside it, costs, activity and the form, in one."""

import contextlib
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

import ipywidgets

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.figures import Measured
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Health, Snapshot
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.clicks import ClickHandler
from cvm_notebook.widgets.base.fleet_view import health_of, refresh
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import LiveView, Message, ms
from cvm_notebook.widgets.card.card import CvmCard, card_of, close_cards
from cvm_notebook.widgets.dashboard.activity import activity_of
from cvm_notebook.widgets.dashboard.attention import Concern, concerns, stop_plan, unmeasured
from cvm_notebook.widgets.dashboard.costs import WINDOWS, costs_message
from cvm_notebook.widgets.form.form import ProvisionForm
from cvm_notebook.widgets.table.table import FleetTable

_LOOK_EVERY_S: Final = 60.0  # what idles, and what was charged, changes with the time alone, too
_AT_MOST_EVERY_S: Final = 4.0  # a fleet that changes all the time is not judged at each change
_DRAW_EVERY_S: Final = 15.0
_SHARE: Final = 100  # and for a hundredth of the time at most, however large it is
_CREDIT_S: Final = 600.0
_VIEWS: Final = 20
_ID_CHARS: Final = 80


class Dashboard(LiveView):
    """A fleet at a glance, in a notebook or as an app. It keeps its fleet.

    Parameters
    ----------
    fleet
        What is shown.
    owns_fleet
        The fleet was made for this dashboard alone, and ends with it.
    """

    _esm = module(
        "base/activity",
        "base/confirm",
        "base/offline",
        "base/tabs",
        "dashboard/attention",
        "dashboard/costs",
        "dashboard/split",
        "dashboard/dashboard",
    )
    _css = style(
        *("base/activity", "base/confirm", "base/offline", "base/tabs"), "dashboard/dashboard"
    )
    _FAULT: ClassVar[str] = ". Your CVMs are not affected."
    _WORKERS = 2  # one may wait for the service

    def __init__(self, fleet: FleetEngine, table: FleetTable, *, owns_fleet: bool = False) -> None:
        self.fleet, self._owns_fleet = fleet, owns_fleet
        self.table = table
        self.form = ProvisionForm(fleet.client, fleet=fleet)
        self._card: CvmCard | None = None
        self._selected: tuple[str, ...] = ()
        self._clicks = ClickHandler(fleet, self._say)
        self._clicks.on_retried = weakly(self._operated)
        self._activity: Message = {}
        self._activity_is_stale = True
        self._pages: dict[str, str] = {}  # which each view shows
        self._credit: Decimal | None = None
        self._credit_at = -_CREDIT_S
        self._concerns: tuple[Concern, ...] = ()
        self._unmeasured = 0
        self._looked_at = self._drawn_at = -_LOOK_EVERY_S
        self._look_takes = self._drawing_takes = 0.0
        self._is_stale = True
        self._window, self._drawn = "24h", -1
        self._costs: Message | None = None
        self._crew("cvm-dashboard")
        self._choose()
        super().__init__()
        self._unsubscribe = fleet.operator.attach(weakly(self._operated))
        self._subscription = fleet.store.attach(
            weakly(self._changed),
            health=weakly(self._health_changed),
            figures=weakly(self._changed),
        )
        self._unselect = self.table.on_select(weakly(self._choose))
        opened = weakly(self._open)
        self._unopen = [self.table.on_open(opened), self.form.on_open(opened)]
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
        self._subscription.close()
        self._unselect()
        for unopen in self._unopen:
            unopen()

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        return (self.form,)

    # --- for the UI thread -----------------------------------------------------------------------

    def pulse(self) -> None:
        """Look again at what may have changed; see `View`."""
        super().pulse()
        if self.form.model.client is not self.fleet.client:  # a key was given meanwhile
            self.form.model.use(self.fleet.client)
        if not self.seen:
            return
        if self._is_due():
            self._mark()
        least = max(_DRAW_EVERY_S, _SHARE * self._drawing_takes)
        since = time.monotonic() - self._drawn_at
        if "costs" in self._pages.values() and since >= least:
            changed = self._drawn != self.fleet.store.revision
            if changed or since >= _LOOK_EVERY_S:
                self._draw()

    def _vitals(self) -> Message:
        snapshot = self.fleet.store.snapshot()
        return {"at": ms(snapshot.taken_at), "health": health_of(snapshot)}

    def _viewed(self) -> None:
        now = time.monotonic()
        if now - self._credit_at >= _CREDIT_S:
            self._credit_at = now
            self._workers.do(self._read_credit)

    def _unviewed(self) -> None:
        self._pages.clear()

    def _state(self) -> Message:
        card, due = self._card, self._is_due()
        if due:
            self._is_stale = False  # first: what changes from now on is looked at next time
        snapshot = self.fleet.store.snapshot()
        if due:
            self._look(snapshot)
        if self._activity_is_stale:
            self._activity_is_stale = False
            self._activity = activity_of(self.fleet.operator, self._clicks.settled)
        return {
            "parts": {"table": self.table.model_id, "form": self.form.model_id},
            "card": None if card is None else self._host(card),
            "attention": {
                "concerns": [one.spec() for one in self._concerns],
                "complete": snapshot.complete,
                "cvms": len(snapshot),
                "unmeasured": self._unmeasured,
                "acts": not self.fleet.operator.read_only,
            },
            "activity": self._activity,
            "costs": self._costs,
        }

    def _look(self, snapshot: Snapshot) -> None:
        """Work out what needs attention."""
        began = time.monotonic()
        self._concerns = concerns(snapshot, self._credit)
        self._unmeasured = unmeasured(snapshot)
        self._activity_is_stale = True  # what can be retried may have gone
        now = time.monotonic()
        self._look_takes = now - began
        # what is not read yet is judged at once when it is
        self._looked_at = now if snapshot.complete else -_LOOK_EVERY_S

    def _is_due(self) -> bool:
        """Return whether it is time to look at what needs attention."""
        least = max(_AT_MOST_EVERY_S, _SHARE * self._look_takes)
        return time.monotonic() - self._looked_at >= (least if self._is_stale else _LOOK_EVERY_S)

    def _choose(self) -> None:
        """Show the card of the CVM that was selected last, on whatever thread it was.

        Several that are selected at once are not to be looked at one by one.
        """
        before, now = self._selected, self.table.selected
        self._selected = now
        if len(set(now) - set(before)) <= 1:
            self._card = card_of(self.fleet, now[-1]) if now else None
        self._mark()

    def _open(self, cvm_id: str) -> None:
        """Select a CVM, and bring its card to the front."""
        if self.table.selected[-1:] != (cvm_id,):
            self.table.selected = (cvm_id,)
        self._choose()
        self._say({"kind": "front"})

    # --- messages of a view -----------------------------------------------------------------------

    def _on_page(self, message: Mapping[str, Any]) -> None:
        """Note the page that a view shows: only visible pages are computed."""
        view, name = (str(message.get(key, ""))[:_ID_CHARS] for key in ("view", "name"))
        self._pages.pop(view, None)
        if name:
            self._pages[view] = name
            while len(self._pages) > _VIEWS:
                del self._pages[next(iter(self._pages))]
        if name == "costs":
            self._draw()

    def _on_costs(self, message: Mapping[str, Any]) -> None:
        window = message.get("window")
        if isinstance(window, str) and window in WINDOWS:
            self._window = window
            self._draw()

    def _on_show(self, message: Mapping[str, Any]) -> None:
        """Filter the table by what needs attention."""
        for concern in self._concerns:
            if concern.key == message.get("key") and concern.query:
                self.table.query = concern.query
                if concern.key == "drift":
                    self.table.by = "app"

    def _on_refresh(self, _message: Mapping[str, Any]) -> None:
        refresh(self.fleet, self._say)

    def _on_overview(self, _message: Mapping[str, Any]) -> None:
        """Show what needs attention in the place of the card."""
        self._card = None
        self._mark()

    def _on_plan(self, message: Mapping[str, Any]) -> None:
        snapshot, view = self.fleet.store.snapshot(), str(message.get("view", ""))[:_ID_CHARS]
        revision = snapshot.revision
        self._say({"kind": "plan", "view": view, "revision": revision, **stop_plan(snapshot)})

    def _on_open(self, message: Mapping[str, Any]) -> None:
        cvm_id = str(message.get("id", ""))[:_ID_CHARS]
        if cvm_id and self.fleet.known(cvm_id) is not None:
            self._open(cvm_id)
        else:
            self._say({"kind": "notice", "text": "This CVM is no longer in the fleet."})

    def _on_act(self, message: Mapping[str, Any]) -> None:
        self._clicks.receive(message)

    _on_confirmed = _on_cancelled = _on_undo = _on_act

    def _on_retry(self, message: Mapping[str, Any]) -> None:
        """Ask once more for what failed or got no answer."""
        operation = self.fleet.operator.get(str(message.get("id", "")))
        if operation is not None:
            click = str(message.get("click", ""))
            self._clicks.retry([operation], click=click, workers=self._workers)

    # --- on a worker ------------------------------------------------------------------------------

    def _read_credit(self) -> None:
        """Read what the workspace has left; a key that may not see it sees none."""
        with contextlib.suppress(CvmError):
            found = self.fleet.client.get_current_user().credits
            ends = found is not None and not found.is_post_paid
            self._credit = found.balance if found is not None and ends else None
            self._looked_at = -_LOOK_EVERY_S  # at once
            self._mark()

    def _draw(self) -> None:
        self._drawn_at, self._drawn = time.monotonic(), self.fleet.store.revision
        self._workers.do(self._work_out_costs)

    def _work_out_costs(self) -> None:
        began = time.monotonic()
        self._costs = costs_message(self.fleet.store.log(), self._window)
        self._drawing_takes = time.monotonic() - began
        self._mark()

    # --- from other threads -----------------------------------------------------------------------

    def _changed(self, _batch: "ChangeBatch | Measured | None" = None) -> None:
        """Note that what needs attention may be another."""
        self._is_stale = True
        if self._is_due():
            self._mark()

    def _health_changed(self, _health: Health) -> None:
        ui_thread.post(self.pulse, self)

    def _operated(self, _what: OperationRecord | Sequence[Operation]) -> None:
        self._activity_is_stale = True
        self._mark()

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Dashboard of {self.fleet!r}>"

    def _static(self) -> dict[str, str]:
        return show(self.fleet.store.snapshot())


_open: Final[list["weakref.ref[Dashboard]"]] = []


def dashboard_of(fleet: FleetEngine, table: FleetTable, *, owns_fleet: bool) -> Dashboard:
    """Make a dashboard; earlier ones without a viewer are closed."""
    for ref in list(_open):
        before = ref()
        if before is None or not before.seen:
            _open.remove(ref)
            if before is not None:
                before.close()
    made = Dashboard(fleet, table, owns_fleet=owns_fleet)
    _open.append(weakref.ref(made))
    return made
