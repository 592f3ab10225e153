"""CvmCard: one CVM, live: what it is, what it does, what can be done to it, its logs and proofs."""

import contextlib
import json
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import anywidget
import ipywidgets
import traitlets

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.preconditions import Verb, precheck
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.store.observation import Seen
from cvm_notebook.live.store.records import Gap, Health, Row
from cvm_notebook.live.store.store import Batch
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.clicks import Acts
from cvm_notebook.widgets.base.closing import ClosesWhole, close_widgets
from cvm_notebook.widgets.base.log_tail import LogTail
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread
from cvm_notebook.widgets.base.view import Presence
from cvm_notebook.widgets.card.details import DETAILS, fetch
from cvm_notebook.widgets.card.sections import (
    clock_of,
    events_of,
    face_of,
    face_of_gone,
    latest,
    operation_of,
)

VERBS: Final[Mapping[Verb, str]] = {
    "start": "Start",
    "stop": "Stop",
    "shutdown": "Shut down",
    "restart": "Restart",
    "replicate": "Replicate",
    "delete": "Delete",
}
_NO_FIGURES: Final[dict[str, Any]] = {"meters": [], "error": None}
STATS_EVERY_S: Final = 10.0
_WORKERS: Final = 4  # a log that is followed takes one
_TWICE_S: Final = 1.0  # the same button within so long is one click
_CLOSE_S: Final = 0.0  # a worker that waits for the service is a daemon, and nobody hears it

_cards: "weakref.WeakKeyDictionary[FleetEngine, dict[str, CvmCard]]" = weakref.WeakKeyDictionary()
_cards_lock = threading.Lock()


def card_of(fleet: FleetEngine, cvm_id: str) -> "CvmCard":
    """Return the card of a CVM, the same one each time."""
    with _cards_lock:
        cards = _cards.setdefault(fleet, {})
        card = cards.get(cvm_id)
        if card is None or card.comm is None:  # closed
            card = cards[cvm_id] = CvmCard(fleet, cvm_id)
        return card


def close_cards(fleet: FleetEngine) -> None:
    """Close all cards of a fleet."""
    with _cards_lock:
        cards = _cards.pop(fleet, {})
    close_widgets(cards.values())


class CvmCard(ClosesWhole, anywidget.AnyWidget):
    """The live card of one CVM; `CvmHandle` shows itself by it.

    It holds its fleet weakly: keep the fleet.

    Parameters
    ----------
    fleet, cvm_id
        What is shown.
    undo
        Seconds in which a stop or a deletion that was clicked can be taken back.
    """

    _esm = module("base/confirm", "base/logs", "card/card")
    _css = style("base/confirm", "base/logs", "card/card")
    # The first snapshot: it rides in the opening of the comm, for a busy kernel can answer nothing.
    _boot = traitlets.Bytes(b"").tag(sync=True)
    buttons = traitlets.Tuple().tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(self, fleet: FleetEngine, cvm_id: str, *, undo: float | None = None) -> None:
        self._fleet = weakref.ref(fleet)
        self.cvm_id = cvm_id
        self._token = secrets.token_hex(8)  # a click from a copy of the notebook has another
        self._name = cvm_id
        self._acts = Acts(fleet, self._say) if undo is None else Acts(fleet, self._say, undo=undo)
        self._presence = Presence(fleet)
        self._following = False
        self._ending = threading.RLock()
        self._n = self._revision = 0
        self._told: dict[str, Any] = {}
        self._clicked: dict[str, float] = {}
        self._stats = _NO_FIGURES
        self._measured = float("-inf")
        self._operations = latest(fleet.operator.records(), cvm_id)
        me = weakref.ref(self)
        self._workers = Workers(SystemClock(), _WORKERS, "cvm-card", partial(_crashed, me))
        self._logs = LogTail(partial(_client, me), self._workers, self._say, partial(_mark, me))
        self._subscription = fleet.store.attach(partial(_changed, me), health=partial(_health, me))
        self._unsubscribe = fleet.operator.attach(partial(_operated, me))
        boot = json.dumps(self._whole(fleet)).encode()
        self._verbs = _buttons(me)
        self._judge(fleet.known(cvm_id), fleet)
        super().__init__(_boot=boot, buttons=tuple(self._verbs.values()))
        self.on_msg(self._received)
        weakref.finalize(fleet, _end, me).atexit = False
        ui_thread.join(self)
        ui_thread.post(self._heard, self)

    def close(self) -> None:
        """End it; what shows it lets go of it."""
        with self._ending:  # its fleet may end on any thread
            if self.comm is None:
                return
            ui_thread.leave(self)
            self._subscription.close()
            self._unsubscribe()
            self._gone()
            self._workers.close(_CLOSE_S)
            super().close()

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        return self._verbs.values()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        fleet = self._fleet()
        if fleet is None or not self._presence.seen:
            self._told = {}  # whoever comes back asks anew
            return
        self._judge(fleet.known(self.cvm_id), fleet)
        if not self._told:
            publish(self, self._whole(fleet))
        else:
            now = self._state(fleet)
            news = {key: value for key, value in now.items() if self._told.get(key) != value}
            if news:
                self._told = now
                self._n += 1
                publish(self, {"kind": "patch", "n": self._n, "set": news, **self._clock(fleet)})
        self._logs.flush()

    def pulse(self) -> None:
        """Say that the kernel is there, and how old the fact is; see `View`."""
        fleet = self._fleet()
        if fleet is None:
            return
        if not self._presence.check():
            self._gone()
            return
        publish(self, {"kind": "pulse", "n": self._n, **self._clock(fleet)})
        row = fleet.known(self.cvm_id)
        runs = row is not None and Seen.of_row(row).phase == "running"
        if runs and time.monotonic() - self._measured >= STATS_EVERY_S:
            self._measured = time.monotonic()
            self._workers.do(partial(self._fetch, "stats"))

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        text = f"{type(error).__name__} in the card. The fleet itself goes on."
        publish(self, {"kind": "notice", "text": text, "fault": True})

    # --- what is shown ----------------------------------------------------------------------------

    def _whole(self, fleet: FleetEngine) -> dict[str, Any]:
        self._told = self._state(fleet)
        self._n += 1
        return {
            "kind": "snapshot",
            "n": self._n,
            "token": self._token,
            "set": self._told,
            **self._clock(fleet),
        }

    def _state(self, fleet: FleetEngine) -> dict[str, Any]:
        log = fleet.store.log()
        row = fleet.known(self.cvm_id)
        self._revision = log.now.revision
        if row is not None:
            self._name = Seen.of_row(row).name
        face = face_of(row) if row is not None else face_of_gone(self._name, self.cvm_id)
        mine = [change for change in log.changes if change.row.id == self.cvm_id]
        return {
            **face,
            "events": events_of(mine),
            "ops": {verb: operation_of(one) for verb, one in self._operations.items()},
            "stats": self._stats if face["running"] else _NO_FIGURES,
            "read_only": fleet.operator.read_only,
        }

    def _clock(self, fleet: FleetEngine) -> dict[str, Any]:
        snapshot = fleet.store.snapshot()
        health = snapshot.health
        return {
            "at": int(snapshot.taken_at.timestamp() * 1000),
            "health": {"state": health.state, "text": clean_text(health, 300)},
            **clock_of(fleet.known(self.cvm_id), snapshot.monotonic),
        }

    def _judge(self, row: Row | None, fleet: FleetEngine) -> None:
        """Let the buttons say what is allowed, and why not."""
        for verb, button in self._verbs.items():
            if row is None:
                allowed, why = False, "it is no longer in the fleet"
            elif fleet.operator.read_only:
                allowed, why = False, "this client is read-only"
            else:
                check = precheck(verb, Seen.of_row(row))
                allowed, why = check.sends, check.reason or check.effect
            tooltip = why if allowed else f"Not now: {why}"
            if (button.disabled, button.tooltip) != (not allowed, tooltip):
                with button.hold_sync():
                    button.disabled, button.tooltip = not allowed, tooltip

    def _say(self, message: dict[str, Any]) -> None:
        publish(self, message)

    # --- what the view says -----------------------------------------------------------------------

    def _received(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict):
            ui_thread.post(partial(self._take, content), self)

    def _take(self, content: Mapping[str, Any]) -> None:
        kind = content.get("kind")
        if kind == "bye":
            self._gone()
            return
        if self._heard() or kind == "hello":
            self._told = {}
            ui_thread.mark(self)
            ui_thread.post(self.pulse, self)  # the first figures, too
        if content.get("token") != self._token:
            return  # a view of another time may look, and not act
        what = content.get("what")
        if kind == "fetch" and isinstance(what, str) and what in DETAILS:
            self._workers.do(partial(self._fetch, what))
        elif not self._logs.receive(content, self.cvm_id):
            self._acts.receive({**content, "ids": [self.cvm_id]})

    def _heard(self) -> bool:
        """Note a sign of life; follow the CVM as long as there are any."""
        first = self._presence.heard()
        fleet = self._fleet()
        if not self._following and fleet is not None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                fleet.keep_fresh([self.cvm_id], on=True)
                self._following = True
        return first

    def _gone(self) -> None:
        """Cause no traffic any more: nobody looks."""
        self._presence.gone()
        self._logs.stop()
        fleet = self._fleet()
        if self._following and fleet is not None:
            fleet.keep_fresh([self.cvm_id], on=False)
        self._following = False

    def _act(self, verb: Verb) -> None:
        now = time.monotonic()
        if now - self._clicked.get(verb, float("-inf")) < _TWICE_S:
            return
        self._clicked[verb] = now
        click = secrets.token_hex(8)
        self._acts.act(verb, [self.cvm_id], click=click, revision=self._revision)

    # --- on a worker ------------------------------------------------------------------------------

    def _fetch(self, what: str) -> None:
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            self._say({"kind": "details", "what": what, "error": "It is no longer in the fleet."})
            return
        told = fetch(what, fleet.client, row)
        if what == "stats":
            self._stats = {"meters": told.get("meters", []), "error": told.get("error")}
            ui_thread.mark(self)
        else:
            self._say(told)

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        status = clean_text(row.status, 60) if row is not None and row.status else "gone"
        return f"<CvmCard of {self._name!r}: {status if fleet is not None else 'closed'}>"


def _buttons(me: "weakref.ref[CvmCard]") -> dict[Verb, ipywidgets.Button]:
    layout = ipywidgets.Layout(width="auto")  # shared: a constant number of models
    plain = ipywidgets.ButtonStyle()
    buttons = {}
    for verb, label in VERBS.items():
        button = ipywidgets.Button(description=label, layout=layout, style=plain)
        button.add_class(f"cvm-verb-{verb}")
        if verb == "delete":
            button.add_class("cvm-danger")
        button.on_click(partial(_pressed, me, verb))
        buttons[verb] = button
    return buttons


def _pressed(me: "weakref.ref[CvmCard]", verb: Verb, _button: object) -> None:
    card = me()
    if card is not None:
        ui_thread.post(partial(card._act, verb), card)  # noqa: SLF001 - its own half


def _mark(me: "weakref.ref[CvmCard]") -> None:
    card = me()
    if card is not None:
        ui_thread.mark(card)


def _client(me: "weakref.ref[CvmCard]") -> Client | None:
    card = me()
    fleet = card._fleet() if card is not None else None  # noqa: SLF001 - its own half
    return fleet.client if fleet is not None else None


def _crashed(me: "weakref.ref[CvmCard]", error: BaseException) -> None:
    card = me()
    if card is not None:
        ui_thread.post(partial(card.failed, error), card)


def _changed(me: "weakref.ref[CvmCard]", batch: Batch) -> None:
    card = me()
    if card is not None and (
        isinstance(batch, Gap) or any(change.row.id == card.cvm_id for change in batch)
    ):
        ui_thread.mark(card)


def _health(me: "weakref.ref[CvmCard]", _health: Health) -> None:
    card = me()
    if card is not None:
        ui_thread.post(card.pulse, card)


def _operated(me: "weakref.ref[CvmCard]", record: OperationRecord) -> None:
    card = me()
    if card is not None and record.cvm_id == card.cvm_id:
        card._operations = {**card._operations, record.verb: record}  # noqa: SLF001 - its own half
        ui_thread.mark(card)


def _end(me: "weakref.ref[CvmCard]") -> None:
    card = me()
    if card is not None:
        # when the kernel ends, the UI thread has ended before: the views stay as they are
        ui_thread.post(card.close)
