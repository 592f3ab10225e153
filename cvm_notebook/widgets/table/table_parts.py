"""TableParts: the surroundings of a table's rows: money, facets, saved views, toasts."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, cast

import traitlets

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.text import clean_text, without_zeros
from cvm_notebook.widgets.base.fleet_view import FleetView
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import Message
from cvm_notebook.widgets.table.facets import FACETS, facet_of
from cvm_notebook.widgets.table.patches import PatchFeed
from cvm_notebook.widgets.table.spending import (
    MONTH_COLUMN,
    Spending,
    SpendingFeed,
    spending_of,
)
from cvm_notebook.widgets.table.toasts import Toasts
from cvm_notebook.widgets.table.views import DEFAULT, SavedView, ViewBook

GROUPINGS: Final = ("cvm", "app")
_CREDIT_S: Final = 600.0
_SPENDING_S: Final = 60.0
_SHARE: Final = 100  # it is worked out for at most one hundredth of the time
_NAME_CHARS: Final = 200


class TableParts(FleetView):
    """The half of `FleetTable` that is not about its rows.

    Parameters
    ----------
    feed
        Tells the columns that are shown, and the numbers by which views know CVMs.
    """

    # what is searched for: every view shows the same rows, and says by what they are chosen
    query = traitlets.Unicode("").tag(sync=True)
    by = traitlets.Enum(GROUPINGS, "cvm").tag(sync=True)

    def __init__(self, fleet: FleetEngine, name: str, feed: PatchFeed) -> None:
        self._feed = feed
        self._seen_ids: tuple[str, ...] = ()
        self._sorted_by = ""  # in the view that was looked at last
        self._toasts = Toasts(weakly(self._mark), weakly(self._may_be_retried))
        self._spending = SpendingFeed()
        self._spending_due = 0.0
        self._spending_changes: Message = {}
        self._credit: str | None = None
        self._credit_due = 0.0
        self._view = DEFAULT
        self._view_names: tuple[str, ...] = (DEFAULT,)
        self._look, self._look_turn = SavedView().look(), 0
        super().__init__(fleet, name)
        self._clicks.on_sent = self._toasts.sent
        self._clicks.on_retried = self._toasts.resolve

    def set(self, *, columns: Sequence[str] | None = None) -> None:
        """Change what is given."""
        raise NotImplementedError

    def show_view(self, name: str) -> None:
        """Look as a saved view does; see `Fleet.view`."""
        view = ViewBook().get(name)
        self.query = view.query
        self.by = view.by
        self._arrange(name, view)

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        super().flush()
        self._send_toasts()

    def pulse(self) -> None:
        """Say that the kernel is there, and what changes with the time; see `View`."""
        now = time.monotonic()
        fleet = self._fleet() if self.seen and now >= self._spending_due else None
        if fleet is not None and self._wants_spending(fleet.store.snapshot()):
            self._spending_due = now + _SPENDING_S
            self._workers.do(self._work_out)
        super().pulse()
        self._send_toasts()

    def _viewed(self) -> None:
        super()._viewed()
        now = time.monotonic()
        if now >= self._credit_due:
            self._credit_due = now + _CREDIT_S
            self._workers.do(self._read_credit)
            self._workers.do(self._list_views)

    def _vitals(self) -> Message:
        changes, self._spending_changes = self._spending_changes, {}
        spending = {"spending": changes} if changes else {}
        return {"credit": self._credit, **spending, **self._spent(), **super()._vitals()}

    def _spent(self) -> Message:
        """Return what some rows have cost, of which that has changed."""
        if not self._shows_spending():
            return {}
        changed = self._spending.take(self._seen_ids, every=self._sorted_by == MONTH_COLUMN)
        pairs = [
            (k, spent) for i, spent in changed.items() if (k := self._feed.number(i)) is not None
        ]
        if not pairs:
            return {}
        ks, spent = zip(*pairs, strict=True)
        usd, observed = zip(*spent, strict=True)
        return {"spent": {"ks": ks, "usd": usd, "observed": observed}}

    def _wants_spending(self, snapshot: Snapshot) -> bool:
        """Return whether there is a fleet to work it out for; one that is closed gets it once."""
        ended = snapshot.health.state == "closed" and self._spending.spending is not None
        return snapshot.complete and not ended

    def _shows_spending(self) -> bool:
        return any(column.name == MONTH_COLUMN for column in self._feed.columns)

    def _parts_now(self) -> Message:
        """Return the state of these parts for a new view."""
        self._spending.anew()
        spending = self._spending.spending
        self._spending_changes = {} if spending is None else spending.spec()
        return {
            "toasts": self._toasts.specs(),
            "views": self._view_names,
            "view": self._view,
            "look": {"turn": self._look_turn, **self._look},
        }

    def _may_be_retried(self, operation: Operation) -> bool:
        return self._clicks.may_be_retried(operation)

    def _send_toasts(self) -> None:
        specs = self._toasts.changed_specs() if self.seen and self._fleet() is not None else None
        if specs is not None:
            self._say({"kind": "toasts", "items": specs})

    # --- messages of a view -----------------------------------------------------------------------

    def _on_facet(self, message: Mapping[str, Any]) -> None:
        name = message.get("name")
        if name in FACETS:
            values = facet_of(self._live_fleet().store.snapshot(), name)
            self._say({"kind": "facet", "name": name, "values": values})

    def _on_dismiss(self, message: Mapping[str, Any]) -> None:
        self._toasts.dismiss(message.get("id"))

    def _on_retry(self, message: Mapping[str, Any]) -> None:
        toast, click = self._toasts.get(message.get("id")), message.get("click")
        if toast is not None and isinstance(click, str):
            self._clicks.retry(toast.operations, click=click, workers=self._workers)

    def _on_view(self, message: Mapping[str, Any]) -> None:
        do, name = message.get("do"), str(message.get("name", ""))[:_NAME_CHARS]
        if do == "load":
            task = partial(self._load_view, name, str(message.get("view", ""))[:_NAME_CHARS])
        elif do == "save":
            columns = tuple(column.name for column in self._feed.columns)
            by = cast("Literal['cvm', 'app']", self.by)
            view = SavedView.of(self.query, columns, by, message.get("look"))
            task = partial(self._save_view, name, view)
        elif do == "delete":
            task = partial(self._delete_view, name)
        else:
            return
        self._workers.do(partial(self._with_views, task))

    def _arrange(self, name: str, view: SavedView) -> None:
        """Show the columns of a view, and let views sort and lay them out."""
        self._view, self._look = clean_text(name, _NAME_CHARS), view.look()
        self._look_turn += 1
        self.set(columns=view.columns)

    def _learn(self, spending: Spending, took: float) -> None:
        self._spending.learn(spending)
        self._spending_due = max(self._spending_due, time.monotonic() + took * _SHARE)
        self._spending_changes = spending.spec()
        self.pulse()

    # --- on a worker ------------------------------------------------------------------------------

    def _read_credit(self) -> None:
        """Read what the workspace has left; a key that may not see it sees none."""
        client = self._client()
        with contextlib.suppress(CvmError):
            found = None if client is None else client.get_current_user().credits
            balance = None if found is None else found.balance
            self._credit = None if balance is None else without_zeros(balance)

    def _work_out(self) -> None:
        fleet = self._fleet()
        if fleet is None:
            return
        log, began = fleet.store.log(), time.monotonic()
        del fleet  # this may take a while: who drops it meanwhile is not to wait for us
        spending = spending_of(log)
        ui_thread.post(partial(self._learn, spending, time.monotonic() - began), self)

    def _list_views(self) -> None:
        with contextlib.suppress(CvmError):  # raised again when a view is opened
            self._name_views()

    def _name_views(self) -> None:
        self._view_names = (DEFAULT, *ViewBook().names())
        self._say({"kind": "views", "names": self._view_names, "view": self._view})

    def _with_views(self, task: partial[None]) -> None:
        try:
            task()
            self._name_views()
        except CvmError as error:
            self._say({"kind": "notice", "text": clean_text(error, 600)})

    def _load_view(self, name: str, asker: str) -> None:
        view = ViewBook().get(name)
        ui_thread.post(partial(self._show, name, view, asker), self)

    def _show(self, name: str, view: SavedView, asker: str) -> None:
        """Look as a view does; the front end that asked sets what is a trait."""
        self._arrange(name, view)
        self._say({"kind": "look", "view": asker, "query": view.query, "by": view.by})
        self._say({"kind": "views", "names": self._view_names, "view": self._view})

    def _save_view(self, name: str, view: SavedView) -> None:
        self._view = ViewBook().save(name, view)

    def _delete_view(self, name: str) -> None:
        ViewBook().delete(name)
        if self._view == name:
            self._view = DEFAULT
