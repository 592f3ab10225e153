"""FleetTable: the live table of a fleet, one widget model however many CVMs there are."""

import json
import secrets
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anywidget
import traitlets

from cvm_notebook.api.client import Client
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.records import Health
from cvm_notebook.live.store.store import Batch
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.clicks import ClickHandler
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.log_tail import LogTail
from cvm_notebook.widgets.base.mimebundle import with_widget
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread
from cvm_notebook.widgets.base.view import Presence
from cvm_notebook.widgets.card.card import card_of
from cvm_notebook.widgets.table.finder import Finder
from cvm_notebook.widgets.table.patches import Feed
from cvm_notebook.widgets.table.presentation import COLUMNS, USUAL, columns_of, specs

_KEPT_ROWS: Final = 500  # so many are kept for a notebook that is opened without a kernel
_UNHEARD: Final = 5  # messages without an answer; then one a second
_SLOW_S: Final = 1.0
_READERS: Final = 2  # of a log, and of which logs there are
_CLOSES_S: Final = 0.5
_FOLLOWED: Final = 16  # CVMs: a few get a stream, the others are asked for more often
_LONGEST_PICK: Final = 40


class FleetTable(ClosesWhole, anywidget.AnyWidget):
    """The live table; `Fleet` shows itself by it.

    It holds its fleet weakly: keep the fleet.

    Parameters
    ----------
    fleet
        What is shown.

    Attributes
    ----------
    query
        Words or a condition by which the rows are filtered, in every view; may be set.
    height
        Of the rows, in pixels; may be set.
    """

    _esm = module(
        "base/confirm", "base/logs", "table/table_store", "table/table_grid", "table/table"
    )
    _css = style("base/confirm", "base/logs", "table/table")
    height = traitlets.Int(420).tag(sync=True)
    # what is searched for: every view shows the same rows, and says by what they are chosen
    query = traitlets.Unicode("").tag(sync=True)
    # The first snapshot: it rides in the opening of the comm, for a busy kernel can answer nothing.
    # Of a large fleet it is emptied once it is drawn.
    _boot = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, fleet: FleetEngine) -> None:
        self._fleet = weakref.ref(fleet)
        self._token = secrets.token_hex(8)  # a click from a copy of the notebook has another
        self._feed = Feed(columns_of(USUAL))
        self._acts = ClickHandler(fleet, self._say)
        self._presence = Presence(fleet)
        self._selected: tuple[str, ...] = ()
        self._on_select: tuple[Callable[[], object], ...] = ()
        self._on_open: tuple[Callable[[str], object], ...] = ()
        self._followed: frozenset[str] = frozenset()
        self._finder = Finder(self._numbers)
        self._heard_n, self._sent_at = 0, 0.0
        me = weakref.ref(self)
        self._workers = Workers(SystemClock(), _READERS, "cvm-table", partial(_crashed, me))
        self._logs = LogTail(partial(_client, me), self._workers, self._say, partial(_mark, me))
        self._logs_of: str | None = None
        store = fleet.store
        self._subscription = store.attach(partial(_changed, me), health=partial(_health, me))
        self._unsubscribe = fleet.operator.attach(partial(_operated, me))
        boot = json.dumps(self._whole()).encode()
        super().__init__(_boot=boot)
        self.on_msg(self._received)
        weakref.finalize(fleet, _end, me).atexit = False
        ui_thread.join(self)
        ui_thread.post(self._presence.heard, self)

    # --- for Python -------------------------------------------------------------------------------

    @property
    def selected(self) -> tuple[str, ...]:
        """The ids of the CVMs that are selected, by hand or from Python."""
        return self._selected

    @selected.setter
    def selected(self, ids: Sequence[str]) -> None:
        self._selected = tuple(dict.fromkeys(ids))
        ui_thread.post(self._show_selection, self)
        self._tell_selection()

    def on_select(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back after each change of the selection, on the UI thread or the caller's.

        Returns
        -------
        callable
            Takes it back.
        """
        self._on_select = (*self._on_select, callback)
        return partial(self._forget, callback)

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
            Takes it back.
        """
        self._on_open = (*self._on_open, callback)
        return partial(self._forget, callback)

    def _forget(self, callback: object) -> None:
        self._on_select = tuple(one for one in self._on_select if one is not callback)
        self._on_open = tuple(one for one in self._on_open if one is not callback)

    @property
    def seen(self) -> bool:
        """Whether somebody looks at it, as far as is known."""
        return self._presence.seen

    def set(
        self,
        *,
        columns: Sequence[str] | None = None,
        height: int | None = None,
        undo: float | None = None,
    ) -> None:
        """Change what is given; see `Fleet.table`."""
        if columns is not None:
            self._feed.show(columns_of(columns))
            ui_thread.mark(self)
        if height is not None:
            self.height = height
        if undo is not None:
            self._acts.undo = undo

    def close(self) -> None:
        """End it; what shows it lets go of it."""
        ui_thread.leave(self)
        self._subscription.close()
        self._unsubscribe()
        self._logs.stop()
        self._workers.close(_CLOSES_S)
        self._presence.gone()
        super().close()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        self._logs.flush()
        if not self._presence.seen:
            self._feed.lose()  # whoever comes back asks anew
            return
        behind = self._feed.n - self._heard_n
        if behind > _UNHEARD and time.monotonic() - self._sent_at < _SLOW_S:
            ui_thread.mark(self)
            return
        message = self._next()
        if message is not None:
            self._sent_at = time.monotonic()
            publish(self, message)

    def pulse(self) -> None:
        """Say that the kernel is there, and how old the rows are; see `View`."""
        fleet = self._fleet()
        if fleet is None or not self._presence.check():
            return
        snapshot = fleet.store.snapshot()
        pulse = {"kind": "pulse", "n": self._feed.n, "ages": self._feed.ages(snapshot)}
        publish(self, {**pulse, **_told(snapshot.health)})
        if self.query:
            ui_thread.mark(self)  # what is searched for may depend on the time

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        text = f"{type(error).__name__} in the table. The fleet itself goes on."
        publish(self, {"kind": "notice", "text": text, "fault": True})

    def _next(self) -> dict[str, Any] | None:
        fleet = self._fleet()
        if fleet is None:
            return None
        message = self._feed.message(fleet.store.snapshot)
        if message is not None and message["kind"] == "snapshot":
            self._finder.anew()  # whoever begins anew is told what is found
        found = self._finder.news(self.query, fleet.store.snapshot)
        if message is None:
            return None if found is None else {"kind": "found", **found}
        if message["kind"] == "snapshot":
            message |= self._about(fleet)
        if found is not None:
            message["found"] = found
        return message

    def _whole(self) -> dict[str, Any]:
        """Return the first snapshot."""
        message = self._next()
        return message if message is not None else {}

    def _about(self, fleet: FleetEngine) -> dict[str, Any]:
        """Return what a view needs beside the rows, to begin."""
        snapshot = fleet.store.snapshot()
        return {
            "token": self._token,
            "at": int(snapshot.taken_at.timestamp() * 1000),
            "columns": specs(self._feed.columns),
            "more": [[column.name, column.label] for column in COLUMNS.values()],
            "selected": self._numbers(self._selected),
            "followed": self._numbers(sorted(self._followed)),
            "ages": self._feed.ages(snapshot),
            "reading": not snapshot.complete,
            "read_only": fleet.operator.read_only,
            **_told(snapshot.health),
        }

    def _numbers(self, ids: Sequence[str]) -> list[int]:
        return [k for one in ids if (k := self._feed.number(one)) is not None]

    def _say(self, message: dict[str, Any]) -> None:
        publish(self, message)

    def _tell_selection(self) -> None:
        for callback in self._on_select:
            callback()

    def _show_selection(self, pick: str = "") -> None:
        """Tell all views; `pick` tells one of them that it was heard, and what it said before."""
        said = {"kind": "selected", "ks": self._numbers(self._selected), "pick": pick}
        publish(self, said)

    # --- what the view says -----------------------------------------------------------------------

    def _received(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict):
            ui_thread.post(partial(self._take, content), self)

    def _take(self, content: Mapping[str, Any]) -> None:
        kind = content.get("kind")
        if kind == "bye":
            self._presence.gone()
            self._logs.stop()
            return
        n = content.get("n")
        if kind != "log":  # which counts its own messages
            self._heard_n = n if isinstance(n, int) else -1
        first = self._presence.heard()
        if first or (kind == "hello" and n != self._feed.n):
            self._feed.lose()
            ui_thread.mark(self)
        elif kind == "hello":
            self._show_selection()
            self._search()
        if self._boot and self._large():
            self._boot = b""  # it was drawn, or it will be asked for
        if content.get("token") == self._token:  # a view of another time may look, and not act
            self._obey(str(kind), content)

    def _obey(self, kind: str, content: Mapping[str, Any]) -> None:
        ids = self._feed.ids(_list(content.get("ks")))
        if kind in {"act", "confirmed", "cancelled", "undo"}:
            self._acts.receive({**content, "ids": ids})
        elif kind == "select":
            self._selected = tuple(ids)
            self._show_selection(str(content.get("pick", ""))[:_LONGEST_PICK])
            self._tell_selection()
        elif kind == "open" and ids:
            self._open(ids[0], str(content.get("view", ""))[:_LONGEST_PICK])
        elif kind == "columns":
            self.set(columns=[name for name in _list(content.get("names")) if name in COLUMNS])
        elif kind == "follow":
            self._follow(ids, on=content.get("on") is True)
        elif kind == "logs" and ids:
            self._show_logs(ids[0])
        elif kind == "log" and self._logs_of is not None:
            self._logs.receive(content, self._logs_of)

    def _large(self) -> bool:
        fleet = self._fleet()
        return fleet is not None and len(fleet.store.snapshot()) > _KEPT_ROWS

    def _follow(self, ids: list[str], *, on: bool) -> None:
        fleet = self._fleet()
        if fleet is None:
            return
        ids = [one for one in ids if (one in self._followed) is not on]
        ids = ids[: _FOLLOWED - len(self._followed)] if on else ids
        self._followed = self._followed | set(ids) if on else self._followed - set(ids)
        fleet.keep_fresh(ids, on=on)
        publish(self, {"kind": "followed", "ks": self._numbers(sorted(self._followed))})

    def _show_logs(self, cvm_id: str) -> None:
        """Let the view show the logs of another CVM."""
        fleet = self._fleet()
        row = fleet.known(cvm_id) if fleet is not None else None
        if row is not None:
            self._logs.stop()
            self._logs_of = cvm_id
            publish(self, {"kind": "logs", "of": clean_text(row.name or row.id, 80)})

    def _open(self, cvm_id: str, view: str) -> None:
        """Show one CVM: elsewhere where somebody does, or its card in the view that asks."""
        fleet = self._fleet()
        row = fleet.known(cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            self._say({"kind": "notice", "text": "Not shown: it is no longer in the fleet."})
            return
        for callback in self._on_open:
            callback(cvm_id)
        card = None if self._on_open else card_of(fleet, cvm_id).model_id
        name = clean_text(row.name or row.id, 80)
        self._say({"kind": "opened", "view": view, "id": cvm_id, "of": name, "card": card})

    @traitlets.observe("query")
    def _query_changed(self, _change: object) -> None:
        ui_thread.post(self._search, self)

    def _search(self) -> None:
        fleet = self._fleet()
        self._finder.anew()
        found = self._finder.news(self.query, fleet.store.snapshot) if fleet is not None else None
        if found is not None:
            publish(self, {"kind": "found", **found})

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        fleet = self._fleet()
        return f"<FleetTable of {fleet!r}>" if fleet is not None else "<FleetTable: closed>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        fleet = self._fleet()
        static = {"text/plain": repr(self)} if fleet is None else show(fleet.store.snapshot())
        return with_widget(static, lambda: self)


def _told(health: Health) -> dict[str, Any]:
    return {"health": {"state": health.state, "text": clean_text(str(health), 300)}}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _changed(me: "weakref.ref[FleetTable]", batch: Batch) -> None:
    table = me()
    if table is not None:
        table._feed.changed(batch)  # noqa: SLF001 - its own half; weak, or the store would keep it
        ui_thread.mark(table)


def _health(me: "weakref.ref[FleetTable]", _health: Health) -> None:
    table = me()
    if table is not None:
        ui_thread.post(table.pulse, table)


def _client(me: "weakref.ref[FleetTable]") -> Client | None:
    table = me()
    fleet = table._fleet() if table is not None else None  # noqa: SLF001 - its own half
    return fleet.client if fleet is not None else None


def _mark(me: "weakref.ref[FleetTable]") -> None:
    table = me()
    if table is not None:
        ui_thread.mark(table)


def _crashed(me: "weakref.ref[FleetTable]", error: BaseException) -> None:
    table = me()
    if table is not None:
        table.failed(error)


def _operated(me: "weakref.ref[FleetTable]", record: OperationRecord) -> None:
    table = me()
    if table is not None:
        table._feed.operated(record)  # noqa: SLF001 - its own half; weak, or the ledger would keep it
        ui_thread.mark(table)


def _end(me: "weakref.ref[FleetTable]") -> None:
    table = me()
    if table is not None:
        # when the kernel ends, the UI thread has ended before: the views keep what they knew
        ui_thread.post(table.close)
