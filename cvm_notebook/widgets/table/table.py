"""FleetTable: the live table of a fleet, one widget model however many CVMs there are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import traitlets

from cvm_notebook.api import checks
from cvm_notebook.api.auth.address import console_of
from cvm_notebook.api.models.cvm import first_https
from cvm_notebook.live.columns import FIGURES
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.figures import Measured
from cvm_notebook.live.store.observers import Callbacks
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import Message
from cvm_notebook.widgets.card.card import card_of
from cvm_notebook.widgets.table.finder import Finder
from cvm_notebook.widgets.table.measuring import Measuring
from cvm_notebook.widgets.table.patches import PatchFeed
from cvm_notebook.widgets.table.presentation import COLUMNS, USUAL, columns_of, moved, specs
from cvm_notebook.widgets.table.spending import MONTH_COLUMN
from cvm_notebook.widgets.table.table_parts import GROUPINGS, TableParts

_MOST_SEEN: Final = 100
_KEPT_ROWS: Final = 500  # so many are kept for a notebook that is opened without a kernel
_FOLLOWED: Final = 16  # CVMs: a few get a stream, the others are asked for more often
_LONGEST_PICK: Final = 40


class FleetTable(TableParts):
    """The live table; `Fleet` shows itself by it.

    It keeps its fleet until one of them is closed.

    Parameters
    ----------
    fleet
        What is shown.

    Attributes
    ----------
    query
        Words or a condition by which the rows are filtered, in every view; may be set.
    by
        ``"cvm"``: a row for each; ``"app"``: under a row for their app, with its counts, its price
        and a warning where its CVMs run different versions. May be set.
    height
        Of the rows, in pixels; may be set.
    """

    _esm = module(
        "base/confirm",
        "base/log_find",
        "base/logs",
        "base/offline",
        "base/secret",
        "base/sign_in",
        "table/table_store",
        "table/table_groups",
        "table/table_filter",
        "table/table_summary",
        "table/table_menu",
        "table/table_facets",
        "table/table_views",
        "table/table_toasts",
        "table/table_columns",
        "table/table_empty",
        "table/table_grid",
        "table/table",
    )
    _css = style(
        *("base/confirm", "base/logs", "base/offline", "base/secret", "base/sign_in"),
        "table/table",
    )
    _FAULT = " in the table. The fleet itself goes on."
    _WORKERS = 2  # a log, and which logs there are
    height = traitlets.Int(420).tag(sync=True)

    def __init__(self, fleet: FleetEngine) -> None:
        self._measuring = Measuring()
        self._selected: tuple[str, ...] = ()
        self._when_selected = Callbacks[[]]()
        self._when_opened = Callbacks[[str]]()
        self._followed: frozenset[str] = frozenset()
        self._finder = Finder(self._numbers)
        self._console = console_of(fleet.client.base_url)
        uuids = self._console is not None
        feed = PatchFeed(columns_of(USUAL), fleet.store.figures, uuids=uuids)
        super().__init__(fleet, "cvm-table", feed)

    # --- for Python -------------------------------------------------------------------------------

    @property
    def selected(self) -> tuple[str, ...]:
        """The ids of the CVMs that are selected, by hand or from Python."""
        return self._selected

    @selected.setter
    def selected(self, ids: Sequence[str]) -> None:
        self._selected = tuple(dict.fromkeys(ids))
        ui_thread.post(self._show_selection, self)
        self._when_selected()

    def on_select(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back after each change of the selection, on the UI thread or the caller's.

        Returns
        -------
        callable
            Removes the callback.
        """
        return self._when_selected.add(callback)

    def on_open(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Show a CVM elsewhere when its row is opened, by a double click or by Enter.

        Parameters
        ----------
        callback
            Called with the CVM's id, on the UI thread. Without one, the table shows the
            CVM's card under its rows.

        Returns
        -------
        callable
            Removes the callback.
        """
        return self._when_opened.add(callback)

    def set(
        self,
        *,
        columns: Iterable[str] | None = None,
        height: int | None = None,
        undo: float | None = None,
        by: str | None = None,
    ) -> None:
        """Change what is given, all of it or nothing; see `Fleet.table`."""
        self.apply(self.checked(columns=columns, height=height, undo=undo, by=by))

    def apply(self, given: Mapping[str, Any]) -> None:
        """Change what is given, as `checked` returns it."""
        self.by, self.height = given.get("by", self.by), given.get("height", self.height)
        self._clicks.undo = given.get("undo", self._clicks.undo)
        if "columns" in given:
            self._feed.show(given["columns"])
            self._mark()
            ui_thread.post(self._figures_wanted, self)

    @staticmethod
    def checked(**given: Any) -> dict[str, Any]:
        """Return what a table can be set to, without what is None.

        Raises
        ------
        InvalidInput
            One of them is wrong; the message names it.
        """
        ways: dict[str, Callable[[Any], object]] = {
            "columns": columns_of,
            "height": lambda height: checks.integer("height", height, unit="pixels"),
            "undo": lambda undo: checks.seconds("undo", undo),
            "by": lambda by: checks.one_of("by", by, GROUPINGS),
        }
        return {name: ways[name](value) for name, value in given.items() if value is not None}

    # --- for the UI thread ------------------------------------------------------------------------

    def pulse(self) -> None:
        """Say that the kernel is there, and how old the rows are; see `View`."""
        super().pulse()
        if self.query and self.seen:
            self._mark()  # what is searched for may depend on the time

    def _changes(self) -> Message | None:
        fleet = self._live_fleet()
        message = self._feed.message(fleet.store.snapshot)
        whole = message is not None and message["kind"] == "snapshot"
        if whole:
            self._finder.anew()  # a view that begins anew gets what is found
        found = self._finder.changed_result(self.query, fleet.store.snapshot)
        if message is None:
            return None if found is None else {"kind": "found", **found}
        if found is not None:
            message["found"] = found
        return self._numbered(**message, **(self._about(fleet) if whole else {}))

    def _forget(self) -> None:
        self._feed.lose()

    def _viewed(self) -> None:
        super()._viewed()
        if self._measuring.handle is None:
            self._measure()

    def _unviewed(self) -> None:
        super()._unviewed()
        self._measuring.end()

    def _figures_wanted(self) -> None:
        if self.seen:
            self._measure()

    def _measure(self) -> None:
        shown = not FIGURES.isdisjoint(column.name for column in self._feed.columns)
        # a row whose figures are unknown is in no result, and so would never be in sight
        every = not FIGURES.isdisjoint({self._sorted_by, *self._finder.columns(self.query)})
        self._measuring.of(self._fleet(), self._seen_ids, shown=shown or every, every=every)

    def _vitals(self) -> Message:
        snapshot = self._live_fleet().store.snapshot()
        ages, reading = self._feed.ages(snapshot), not snapshot.complete
        rows = [row for i in self._seen_ids if (row := self._live_fleet().known(i)) is not None]
        boots = self._feed.boots(rows, snapshot)
        return {"ages": ages, "reading": reading, **boots, **super()._vitals()}

    def _about(self, fleet: FleetEngine) -> Message:
        """Return what a view needs beside the rows, to begin."""
        return {
            "columns": specs(self._feed.columns),
            "more": [[column.name, column.label] for column in COLUMNS.values()],
            "selected": self._numbers(self._selected),
            "followed": self._numbers(sorted(self._followed)),
            "read_only": fleet.operator.read_only,
            "console": self._console,
            "local": fleet.client.base_url.startswith("http://"),  # which only this machine may be
            **self._parts_now(),
            **self._vitals(),
        }

    def _welcome(self) -> None:
        self._say({"kind": "toasts", "items": self._toasts.specs()})
        self._show_selection()
        self._search()

    def _keeps_boot(self) -> bool:
        """Return whether the fleet is small enough for its rows to stay in a saved notebook."""
        fleet = self._fleet()
        return fleet is None or len(fleet.store.snapshot()) <= _KEPT_ROWS

    def _numbers(self, ids: Sequence[str]) -> list[int]:
        return [k for one in ids if (k := self._feed.number(one)) is not None]

    def _show_selection(self, pick: str = "") -> None:
        """Send the selection to all views; `pick` shows one of them that its own was taken."""
        self._say({"kind": "selected", "ks": self._numbers(self._selected), "pick": pick})

    # --- from other threads -----------------------------------------------------------------------

    def _changed(self, batch: ChangeBatch) -> None:
        self._feed.changed(batch)
        self._mark()

    def _figures_changed(self, batch: Measured) -> None:
        self._feed.measured(batch)
        self._mark()

    def _operated(self, record: OperationRecord) -> None:
        self._feed.operated(record)
        self._mark()

    # --- messages of a view -----------------------------------------------------------------------

    def _meant(self, message: Mapping[str, Any]) -> list[str]:
        return self._feed.ids(_list(message.get("ks")))

    def _on_select(self, message: Mapping[str, Any]) -> None:
        self._selected = tuple(self._meant(message))
        self._show_selection(str(message.get("pick", ""))[:_LONGEST_PICK])
        self._when_selected()

    def _on_seen(self, message: Mapping[str, Any]) -> None:
        self._seen_ids = tuple(self._meant(message)[:_MOST_SEEN])
        before, self._sorted_by = self._sorted_by, str(message.get("sort"))
        self._measure()
        if before != self._sorted_by == MONTH_COLUMN:
            self.pulse()  # which brings what is not sent yet

    def _on_open(self, message: Mapping[str, Any]) -> None:
        for cvm_id in self._meant(message)[:1]:
            self._open(cvm_id, str(message.get("view", ""))[:_LONGEST_PICK])

    def _on_endpoint(self, message: Mapping[str, Any]) -> None:
        """Tell where one CVM is reached, which its row does not where no column shows it."""
        for cvm_id in self._meant(message)[:1]:
            row = self._live_fleet().known(cvm_id)
            url = None if row is None else first_https(row.cvm.endpoints)
            self._say({"kind": "endpoint", "k": self._feed.number(cvm_id), "url": url})

    def _on_columns(self, _message: Mapping[str, Any]) -> None:
        self.set(columns=USUAL)

    def _on_column(self, message: Mapping[str, Any]) -> None:
        """Show, hide or move one column; of the list of all a page may know an older state."""
        name, step = str(message.get("name")), message.get("step")
        names = [column.name for column in self._feed.columns]
        if name in names and step in (-1, 1):
            names = moved(names, name, step)
        elif name in names and message.get("on") is False:
            names.remove(name)
        elif name in COLUMNS and message.get("on") is True:
            names.append(name)
        if columns_of(names) != self._feed.columns:  # or every row would be sent again for nothing
            self.set(columns=names)

    def _on_follow(self, message: Mapping[str, Any]) -> None:
        self._follow(self._meant(message), on=message.get("on") is True)

    def _on_logs(self, message: Mapping[str, Any]) -> None:
        for cvm_id in self._meant(message)[:1]:
            self._show_logs(cvm_id)

    def _follow(self, ids: list[str], *, on: bool) -> None:
        fleet = self._fleet()
        if fleet is None:
            return
        ids = [one for one in ids if (one in self._followed) is not on]
        ids = ids[: _FOLLOWED - len(self._followed)] if on else ids
        self._followed = self._followed | set(ids) if on else self._followed - set(ids)
        fleet.keep_fresh(ids, on=on)
        self._say({"kind": "followed", "ks": self._numbers(sorted(self._followed))})

    def _show_logs(self, cvm_id: str) -> None:
        """Let the view show the logs of another CVM."""
        fleet = self._fleet()
        row = fleet.known(cvm_id) if fleet is not None else None
        if row is not None:
            self._logs.stop()
            self._logs_of = cvm_id
            self._say({"kind": "logs", "of": clean_text(row.name or row.id, 80)})

    def _open(self, cvm_id: str, view: str) -> None:
        """Show one CVM: by the registered callback, or as a card in the view that asks."""
        fleet = self._fleet()
        row = fleet.known(cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            self._say({"kind": "notice", "text": "Not shown: it is no longer in the fleet."})
            return
        self._when_opened(cvm_id)
        card = None if self._when_opened else self._host(card_of(fleet, cvm_id))
        name = clean_text(row.name or row.id, 80)
        self._say({"kind": "opened", "view": view, "id": cvm_id, "of": name, "card": card})

    @traitlets.observe("by")
    def _by_changed(self, _change: object) -> None:
        self._feed.by_app(on=self.by == "app")
        self._mark()

    @traitlets.observe("query")
    def _query_changed(self, _change: object) -> None:
        ui_thread.post(self._search, self)
        ui_thread.post(self._figures_wanted, self)

    def _search(self) -> None:
        fleet = self._fleet()
        self._finder.anew()
        found = (
            self._finder.changed_result(self.query, fleet.store.snapshot)
            if fleet is not None
            else None
        )
        if found is not None:
            self._say({"kind": "found", **found})

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        fleet = self._fleet()
        return f"<FleetTable of {fleet!r}>" if fleet is not None else "<FleetTable: closed>"

    def _static(self) -> dict[str, str]:
        fleet = self._fleet()
        return super()._static() if fleet is None else show(fleet.store.snapshot())


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
