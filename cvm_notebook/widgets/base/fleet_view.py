"""FleetView: a live view of a fleet, with clicks and logs; the base of the table and the card."""

import contextlib
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.secret import Secret
from cvm_notebook.connection import sign_in, typed_key
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.reflector.interest import InterestHandle
from cvm_notebook.live.store.figures import Measured
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Health, Snapshot
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.clicks import UNDO_S, ClickHandler
from cvm_notebook.widgets.base.log_tail import LogTail
from cvm_notebook.widgets.base.mimebundle import in_marimo
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import LiveView, Message, ms


def health_of(snapshot: Snapshot) -> Message:
    """Return how up to date a fleet is, as views draw it.

    Of one that is offline also the seconds since it is, until it is tried again (None while it is
    being tried), and since a CVM was last read: a view counts them on by itself.
    """
    health, cause = snapshot.health, clean_text(snapshot.health.cause or "", 300)
    message: Message = {"state": health.state, "text": clean_text(health, 300), "cause": cause}
    if health.state == "offline":
        now, due = snapshot.monotonic, health.next_try
        message["lasts"] = max(0, round((snapshot.taken_at - health.since).total_seconds()))
        message["next"] = None if due is None else round(max(0.0, due - now), 1)
        message["age"] = min((round(row.age(now), 1) for row in snapshot), default=None)
    return message


def refresh(fleet: FleetEngine, say: Callable[[Message], object]) -> None:
    """Retry the connection at once, on a viewer's click on Retry now."""
    try:
        fleet.refresh()
    except CvmError as error:
        say({"kind": "notice", "text": clean_text(error, 400)})


class KeptFleet:
    """The fleet of a view, kept until one of them is closed; a call returns it while it is there.

    marimo makes the views of a cell anew each time that runs, and closes none of them: there a
    fleet lives as long as somebody else keeps it.
    """

    def __init__(self, fleet: FleetEngine) -> None:
        self._there = weakref.ref(fleet)
        self._kept = None if in_marimo() else fleet
        self._hook = fleet.store.attach(_nothing, health=weakly(self._turned))
        self._turned(fleet.store.snapshot().health)

    def __call__(self) -> FleetEngine | None:
        """Return the fleet, or None when it is gone."""
        return self._there()

    def let_go(self) -> None:
        """Keep it no longer: the view is closed."""
        self._hook.close()
        self._kept = None

    def _turned(self, health: Health) -> None:
        if health.state == "closed":
            self._kept = None


def _nothing(_batch: ChangeBatch) -> None:
    """Take no changes of the store."""


class FleetView(LiveView):
    """A view that keeps a fleet live while somebody looks, and ends with it.

    Parameters
    ----------
    fleet
        What is shown; kept until it is closed, or the view is.
    name
        Of its threads.
    undo
        Seconds in which a stop or a deletion that was clicked can be undone.
    """

    _logs_of: str | None = None  # the CVM whose logs are shown

    def __init__(
        self, fleet: FleetEngine, name: str, *, undo: float | None = None, **traits: Any
    ) -> None:
        self._fleet = KeptFleet(fleet)
        self._interest: InterestHandle | None = None
        self._clicks = ClickHandler(fleet, self._say, undo=UNDO_S if undo is None else undo)
        workers = self._crew(name)
        self._logs = LogTail(weakly(self._client), workers, self._say, weakly(self._mark))
        self._subscription = fleet.store.attach(
            weakly(self._changed),
            health=weakly(self._health_changed),
            figures=weakly(self._figures_changed),
        )
        self._unsubscribe = fleet.operator.attach(weakly(self._operated))
        super().__init__(**traits)
        weakref.finalize(fleet, weakly(self._fleet_ended)).atexit = False

    # --- for a subclass ---------------------------------------------------------------------------

    def _changed(self, batch: ChangeBatch) -> None:
        """Take changes of the store; called on any thread."""

    def _figures_changed(self, batch: Measured) -> None:
        """Take whose figures are new; called on any thread."""

    def _operated(self, record: OperationRecord) -> None:
        """Handle a new record of an operation; called on any thread."""

    def _meant(self, message: Mapping[str, Any]) -> list[str]:
        """Return the ids of the CVMs that a message is about."""
        raise NotImplementedError

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        fleet = self._fleet()  # a strong reference while it is read
        if fleet is not None:
            self._logs.flush()
            super().flush()

    def pulse(self) -> None:
        """Say that the kernel is there, and what changes with the time; see `View`."""
        fleet = self._fleet()
        if fleet is not None:
            super().pulse()

    def _live_fleet(self) -> FleetEngine:
        """Return the fleet; it is held weakly, and may be gone."""
        fleet = self._fleet()
        if fleet is None:
            raise ReferenceError("the fleet is gone")
        return fleet

    def _vitals(self) -> Message:
        snapshot = self._live_fleet().store.snapshot()
        return {"at": ms(snapshot.taken_at), "health": health_of(snapshot)}

    def _viewed(self) -> None:
        fleet = self._fleet()
        if self._interest is None and fleet is not None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                self._interest = fleet.interest()

    def _unviewed(self) -> None:
        interest, self._interest = self._interest, None
        if interest is not None:
            interest.close()
        self._logs.stop()

    def _release(self) -> None:
        self._subscription.close()
        self._unsubscribe()
        self._fleet.let_go()

    # --- messages of a view -----------------------------------------------------------------------

    def _on_refresh(self, _message: Mapping[str, Any]) -> None:
        refresh(self._live_fleet(), self._say)

    def _on_act(self, message: Mapping[str, Any]) -> None:
        self._clicks.receive({**message, "ids": self._meant(message)})

    _on_confirmed = _on_cancelled = _on_undo = _on_now = _on_act

    def _on_secret(self, message: Mapping[str, Any]) -> None:
        value = message.get("value")
        if isinstance(value, Secret):
            self._workers.do(partial(self._sign_in, value))

    def _on_log(self, message: Mapping[str, Any]) -> None:
        if self._logs_of is not None:
            self._logs.receive(message, self._logs_of)

    # --- on a worker ------------------------------------------------------------------------------

    def _sign_in(self, key: Secret) -> None:
        """Let the fleet go on with another key, once the service knows it."""
        fleet = self._fleet()
        if fleet is None:
            return
        before, wrong = fleet.client, ""
        try:
            found = typed_key(key, before.base_url)
            client, _ = sign_in(found, read_only=before.read_only)
            fleet.resume(client)
        except CvmError as error:
            wrong = clean_text(error, 400)
        self._say({"kind": "signing", "wrong": wrong})

    # --- from other threads -----------------------------------------------------------------------

    def _client(self) -> Client | None:
        fleet = self._fleet()
        return fleet.client if fleet is not None else None

    def _health_changed(self, health: Health) -> None:
        ui_thread.post(self.pulse, self)
        if health.state == "closed":  # nothing can be asked of it: the buttons are to say so
            self._mark()

    def _fleet_ended(self) -> None:
        # when the kernel ends, the UI thread has ended before: the views keep what they knew
        ui_thread.post(self.close)
