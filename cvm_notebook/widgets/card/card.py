"""CvmCard: the live card of one CVM: status, cost, actions, logs, metrics, and what is proven."""

import contextlib
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import ipywidgets

from cvm_notebook.api import checks
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.guest import Operation as HistoryEntry
from cvm_notebook.api.status import status_words
from cvm_notebook.live.costs.spent import midnight
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.metrics.poll import MeasureHandle
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb, precheck
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.figures import Measured
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Gap, Row
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import BUTTONS, module, style
from cvm_notebook.widgets.base.closing import close_widgets, is_open
from cvm_notebook.widgets.base.fleet_view import FleetView
from cvm_notebook.widgets.base.mimebundle import in_marimo
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import Message, ms
from cvm_notebook.widgets.card import autostop
from cvm_notebook.widgets.card.activity import history_corrections, history_lines, ledger_lines
from cvm_notebook.widgets.card.details import DETAILS, boot_line, fetch
from cvm_notebook.widgets.card.metrics import history, idle_for, stats_state
from cvm_notebook.widgets.card.money import money_state, spent_today_usd
from cvm_notebook.widgets.card.revisions import Revisions
from cvm_notebook.widgets.card.sections import (
    card_state,
    clock_of,
    events_of,
    gone_state,
    operation_of,
)
from cvm_notebook.widgets.card.trust import Verification
from cvm_notebook.widgets.form.change import ChangeForm

if TYPE_CHECKING:
    from cvm_notebook.attest.policy.policy import Policy

_NO_FIGURES: Final[dict[str, Any]] = {"meters": [], "error": None, "state": "unknown", "at": None}
_SHOWN: Final = 50  # operations of the ledger and of the service
_TWICE_S: Final = 1.0  # the same button within so long is one click

_cards: "weakref.WeakKeyDictionary[FleetEngine, dict[str, CvmCard]]" = weakref.WeakKeyDictionary()
_cards_lock = threading.Lock()


def card_of(fleet: FleetEngine, cvm_id: str) -> "CvmCard":
    """Return the card of a CVM, the same one each time."""
    with _cards_lock:
        cards = _cards.setdefault(fleet, {})
        card = cards.get(cvm_id)
        known = card is not None and is_open(card) and (card.reaches_pages or not in_marimo())
        if card is None or not known:
            if card is not None:
                card.close()
            card = cards[cvm_id] = CvmCard(fleet, cvm_id)
        return card


def close_cards(fleet: FleetEngine) -> None:
    """Close all cards of a fleet."""
    with _cards_lock:
        cards = _cards.pop(fleet, {})
    close_widgets(cards.values())


class CvmCard(FleetView):
    """The live card of one CVM; `CvmHandle` shows itself by it.

    It keeps its fleet until one of them is closed.

    Parameters
    ----------
    fleet, cvm_id
        What is shown.
    undo
        Seconds in which a stop or a deletion that was clicked can be undone.
    """

    _esm = module(
        *("base/activity", "base/confirm", "base/diff", "base/log_find", "base/logs", "base/tabs"),
        *(
            "card/terms",
            "card/overview",
            "card/metrics",
            "card/revisions",
            "card/trust",
            "card/card",
        ),
    )
    _css = style(
        *("base/activity", "base/confirm", "base/diff", "base/logs", "base/tabs"), "card/card"
    )
    _FAULT = " in the card. The fleet itself goes on."
    _WORKERS = 4  # a log that is followed takes one

    def __init__(self, fleet: FleetEngine, cvm_id: str, *, undo: float | None = None) -> None:
        self.cvm_id = self._logs_of = cvm_id
        self._name = cvm_id
        self._following = False
        self._revision = 0
        self._clicked: dict[str, float] = {}
        self._measuring: MeasureHandle | None = None
        self._last: Row | None = None  # of one that is gone, what was known last
        self._spent: tuple[datetime, float | None] | None = None
        self._boot_line: str | None = None
        self._boot_asked = False
        records = [one for one in fleet.operator.records() if self._is_of_this_cvm(one)][-_SHOWN:]
        self._records = {one.id: one for one in records}
        self._history: tuple[HistoryEntry, ...] = ()  # the service's, once the tab was opened
        self._verification = Verification(cvm_id, weakref.ref(fleet), weakly(self._mark))
        self._revisions = Revisions(cvm_id, weakref.ref(fleet), weakly(self._mark))
        self._form: ChangeForm | None = None
        super().__init__(fleet, "cvm-card", undo=undo)
        self._clicks.on_retried = weakly(self._settled)

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        return () if self._form is None else (self._form,)

    @property
    def policy(self) -> "Policy | None":
        """The policy of "Verify now"; None for `cvm.Policy()`.

        That one names no app: what the service says should run proves nothing of what does.
        """
        return self._verification.policy

    @policy.setter
    def policy(self, policy: "Policy | None") -> None:
        from cvm_notebook.attest.policy.policy import Policy  # noqa: PLC0415 - it loads slowly

        if policy is not None:
            checks.instance("policy", policy, Policy, "Give a cvm.Policy, or None.")
        self._verification.policy = policy
        self._mark()

    # --- for the UI thread ------------------------------------------------------------------------

    def pulse(self) -> None:
        """Say that the kernel is there, and what the time alone changes; see `View`."""
        super().pulse()
        fleet = self._fleet()
        if fleet is None or not self.seen:
            return
        day = midnight(fleet.store.snapshot().taken_at)
        if fleet.rulebook.rules() or (self._spent is not None and self._spent[0] < day):
            self._mark()  # a rule may have ended; a day has

    # --- what is shown ----------------------------------------------------------------------------

    def _state(self) -> Message:
        fleet = self._live_fleet()
        log = fleet.store.log()
        row = fleet.known(self.cvm_id)
        cvm_log = log.of(self.cvm_id)
        self._revision = log.now.revision
        self._last = row or self._last or (cvm_log.changes[-1].before if cvm_log.changes else None)
        if self._last is not None:
            self._name = Reading.of_row(self._last).name
        now = log.now.monotonic
        state = (
            card_state(row, cvm_log.changes)
            if row is not None
            else gone_state(self._name, self.cvm_id, self._last, cvm_log.changes)
        )
        self._count(cvm_log)
        store, runs = fleet.store, state["running"]
        return {
            **state,
            "events": events_of(cvm_log.changes),
            "ops": {verb: operation_of(one) for verb, one in self._latest().items()},
            "activity": self._activity(fleet),
            "stats": stats_state(store, self.cvm_id, now) if runs else _NO_FIGURES,
            "money": money_state(row),
            "idle": idle_for(store.figures.latest.get(self.cvm_id), now) if runs else None,
            "boot": {"line": self._boot_line} if row is not None and row.boot_error else None,
            "gpus": bool(row is not None and row.cvm.resource and row.cvm.resource.gpus),
            "rules": autostop.autostop_state(fleet, row),
            "read_only": fleet.operator.read_only,
            "verbs": {verb: _judged(fleet, row, verb) for verb in BUTTONS},
            **self._verification.state(row),
            "revisions": self._revisions.state(row),
        }

    def _is_of_this_cvm(self, record: OperationRecord) -> bool:
        return self.cvm_id in {record.cvm_id, record.made_id}

    def _latest(self) -> dict[str, OperationRecord]:
        """Return the newest operation of each verb."""
        return {one.verb: one for one in self._records.values() if one.cvm_id == self.cvm_id}

    def _activity(self, fleet: FleetEngine) -> Message:
        """Return what was asked of it, here and elsewhere, the newest first."""
        records, entries = tuple(self._records.values()), self._history
        known = history_corrections(entries, records)
        ledger = ledger_lines(records, fleet.operator, self._clicks.settled)
        lines = [{**line, **known.get(line["id"], {})} for line in ledger]
        lines += history_lines(entries, records)
        lines.sort(key=lambda line: line["at"] or 0, reverse=True)
        return {"lines": lines[:_SHOWN], "more": 0}

    def _count(self, cvm_log: Log) -> None:
        """Compute its cost today, up to now."""
        spent = spent_today_usd(cvm_log) if cvm_log.changes or cvm_log.now.rows else None
        self._spent = cvm_log.now.taken_at, None if spent is None else float(spent)

    def _vitals(self) -> Message:
        fleet = self._live_fleet()
        snapshot = fleet.store.snapshot()
        clock = clock_of(fleet.known(self.cvm_id), snapshot.monotonic)
        counted: Message = {}
        if self._spent is not None:
            counted = {"today": self._spent[1], "today_at": ms(self._spent[0])}
        return {**super()._vitals(), **clock, **counted}

    # --- following it while it has a viewer -------------------------------------------------------

    def _viewed(self) -> None:
        super()._viewed()
        fleet = self._fleet()
        if not self._following and fleet is not None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                fleet.keep_fresh([self.cvm_id], on=True)
                self._following = True
        if self._measuring is None and fleet is not None:
            with contextlib.suppress(CvmError):
                self._measuring = fleet.measure([self.cvm_id])
        self._look_at_boot()

    def _unviewed(self) -> None:
        super()._unviewed()
        fleet = self._fleet()
        if self._following and fleet is not None:
            fleet.keep_fresh([self.cvm_id], on=False)
        self._following = False
        measuring, self._measuring = self._measuring, None
        if measuring is not None:
            measuring.close()

    def _changed(self, batch: ChangeBatch) -> None:
        if isinstance(batch, Gap) or any(change.row.id == self.cvm_id for change in batch):
            self._mark()
            ui_thread.post(self._look_at_boot, self)

    def _figures_changed(self, batch: Measured) -> None:
        if self.cvm_id in batch.cvm_ids:
            self._mark()

    def _operated(self, record: OperationRecord) -> None:
        if self._is_of_this_cvm(record):
            records = {**self._records, record.id: record}
            self._records = dict(list(records.items())[-_SHOWN:])
            self._revisions.operated(record, self._workers)
            self._mark()

    # --- messages of a view -----------------------------------------------------------------------

    def _on_act(self, message: Mapping[str, Any]) -> None:
        """Take a click; the same button twice within a second is one click."""
        verb, now = str(message.get("verb")), time.monotonic()
        if message.get("kind") == "act":
            if now - self._clicked.get(verb, float("-inf")) < _TWICE_S:
                return
            self._clicked[verb] = now
        super()._on_act({**message, "revision": self._revision})

    def _on_undo(self, message: Mapping[str, Any]) -> None:
        """Take a click back; the same button may be pressed again at once."""
        self._clicked.clear()
        super()._on_undo(message)

    def _meant(self, _message: Mapping[str, Any]) -> list[str]:
        return [self.cvm_id]

    def _on_retry(self, message: Mapping[str, Any]) -> None:
        """Ask once more for what failed or got no answer."""
        operation = self._live_fleet().operator.get(str(message.get("id", "")))
        if operation is not None:
            click = str(message.get("click", ""))
            self._clicks.retry([operation], click=click, workers=self._workers)

    def _settled(self, _operations: Sequence[Operation]) -> None:
        self._mark()

    def _on_fetch(self, message: Mapping[str, Any]) -> None:
        what = message.get("what")
        if isinstance(what, str) and (what in DETAILS or what == "operations"):
            self._workers.do(partial(self._fetch, what))

    def _on_verify(self, _message: Mapping[str, Any]) -> None:
        self._verification.ask(self._workers)

    def _on_revisions(self, message: Mapping[str, Any]) -> None:
        self._revisions.take(message, self._workers)

    def _on_change(self, message: Mapping[str, Any]) -> None:
        """Show the form that changes it: the same one until it is closed, with what was typed."""
        fleet = self._fleet()
        if fleet is None or fleet.known(self.cvm_id) is None:
            self._say({"kind": "notice", "text": "It is no longer in the fleet.", "fault": True})
            return
        if self._form is None or not is_open(self._form):
            self._form = ChangeForm(fleet, self.cvm_id)
        self._say({"kind": "change", "view": message.get("view"), "form": self._host(self._form)})

    def _on_metrics(self, _message: Mapping[str, Any]) -> None:
        """Send what is kept of how busy it was: asked for by a view that shows it."""
        fleet = self._fleet()
        if fleet is not None:
            self._say({"kind": "metrics", **history(fleet.store, self.cvm_id)})

    def _on_autostop(self, message: Mapping[str, Any]) -> None:
        """Begin the rule for this CVM, or end it."""
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            return
        try:
            if message.get("do") == "begin":
                autostop.begin(fleet, row)
            else:
                autostop.end(fleet, row, str(message.get("rule")))
        except CvmError as error:
            self._say({"kind": "notice", "text": clean_text(error, 400), "fault": True})
        self._mark()

    def _look_at_boot(self) -> None:
        """Have the line of the log read that says why it failed to start: once for each failure."""
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        failed = row is not None and bool(row.boot_error)
        if not failed:
            self._boot_line, self._boot_asked = None, False
        elif self.seen and not self._boot_asked:
            self._boot_asked = True
            self._workers.do(partial(self._fetch, "boot"))

    # --- on a worker ------------------------------------------------------------------------------

    def _fetch(self, what: str) -> None:
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            self._say({"kind": "details", "what": what, "error": "It is no longer in the fleet."})
            return
        if what == "boot":
            self._boot_line = boot_line(fleet.client, row)
        elif what == "operations":
            self._say(self._read_history(fleet.client, row))
        else:
            self._say(fetch(what, fleet.client, row))
            return
        self._mark()

    def _read_history(self, client: Client, row: Row) -> Message:
        message: Message = {"kind": "details", "what": "operations"}
        try:
            self._history = tuple(client.list_operations(row.id, limit=_SHOWN))
        except CvmError as error:
            message["error"] = clean_text(error, 600)
        return message

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        fleet = self._fleet()
        row = fleet.known(self.cvm_id) if fleet is not None else None
        status = clean_text(status_words(row.status), 60) if row is not None else "gone"
        return f"<CvmCard of {self._name!r}: {status if fleet is not None else 'closed'}>"


def _judged(fleet: FleetEngine, row: Row | None, verb: Verb) -> tuple[bool, str]:
    """Return the state of a button: enabled or not, and its effect or the reason."""
    if row is None:
        return False, "it is no longer in the fleet"
    if fleet.health.state == "closed":
        return False, "this fleet is closed: re-run the cell that makes it"
    if fleet.operator.read_only:
        return False, "this client is read-only"
    check = precheck(verb, Reading.of_row(row))
    return check.sends, check.reason or check.effect
