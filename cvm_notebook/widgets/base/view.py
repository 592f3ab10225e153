"""LiveView: a widget whose front ends are kept up to date from Python; the protocol of all widgets.

Its other half is `view_model.js`. A front end gets a ``snapshot``, then ``patch`` messages, counted
in ``n`` so that a gap shows, and a ``pulse`` every few seconds. It says ``hello`` when it is shown
or has lost something, ``ack`` to what it got, ``alive`` every few seconds, and ``bye``.
"""

import json
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias

import anywidget
import traitlets

from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.workers import Workers
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.mimebundle import display_in_jupyter, in_marimo, with_widget
from cvm_notebook.widgets.base.sealing import seal
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread

# A busy kernel handles no message until its cell ends; a closed browser tab sends none.
LEASE_S: Final = 600.0
_UNACKNOWLEDGED: Final = 5  # messages without an answer; then one a second
_SLOW_S: Final = 1.0
_CLOSE_S: Final = 0.0  # a worker that waits for the service is a daemon: its result is dropped

Message: TypeAlias = dict[str, Any]


def ms(moment: datetime) -> int:
    """Return a moment as scripts count it: milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


class LiveView(ClosesWhole, anywidget.AnyWidget):
    """A widget of which Python holds the state, and every front end a copy.

    A subclass returns from `_state` what is shown, in sections that are sent when they have
    changed, and calls `_mark` after a change. A message of kind ``x`` goes to its method ``_on_x``,
    if it has the token of this widget: a view of another time may look, and not act. All of it runs
    on the UI thread, but for `_mark`, `_say` and `failed`, which any thread may call.

    Parameters
    ----------
    boot
        The first snapshot rides in the opening of the comm: a busy kernel can answer nothing.
    traits
        Of the widget.

    Attributes
    ----------
    hosts
        Views that show this one within them, and carry its messages.
    reaches_pages
        Whether pages receive its messages directly, and not through its hosts alone.
    """

    _boot = traitlets.Bytes(b"").tag(sync=True)
    _handlers: ClassVar[Mapping[str, str]] = {"part": "_on_part"}
    _WORKERS: ClassVar[int] = 1
    _FAULT: ClassVar[str] = " in this view."
    # what is subscribed to may call before it is made
    hosts: "weakref.WeakSet[LiveView] | tuple[()]" = ()
    _sent: Message | None = None
    _n = _acknowledged_n = 0
    _sent_at = _leased_until = 0.0
    _begun = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name[4:]: name for name in vars(cls) if name.startswith("_on_")}
        cls._handlers = {**cls._handlers, **own}

    def __init__(self, *, boot: bool = True, **traits: Any) -> None:
        self._hosted: weakref.WeakValueDictionary[str, LiveView] = weakref.WeakValueDictionary()
        self.hosts = weakref.WeakSet()
        # in marimo only a running cell can make a widget that its pages receive
        self.reaches_pages = "marimo" not in sys.modules or in_marimo()
        self._token = secrets.token_hex(8)  # a message from a copy of the notebook has another
        self._ending = threading.RLock()
        if boot:
            traits["_boot"] = json.dumps(self._changes()).encode()
        super().__init__(**traits)
        self.on_msg(weakly(self._received))
        ui_thread.post(self._lease, self)  # it is about to be displayed

    # --- for a subclass ---------------------------------------------------------------------------

    def _state(self) -> Message:
        """Return everything that is shown, in sections."""
        return {}

    def _vitals(self) -> Message:
        """Return what changes with the time alone; it goes with every message of the state."""
        return {}

    def _changes(self) -> Message | None:
        """Return what front ends do not have: a snapshot, a patch, or None."""
        before, now = self._sent, self._state()
        self._sent = now
        if before is None:
            return self._numbered("snapshot", set=now, **self._vitals())
        changed = {name: part for name, part in now.items() if before.get(name) != part}
        return self._numbered("patch", set=changed, **self._vitals()) if changed else None

    def _numbered(self, kind: str, **content: object) -> Message:
        """Return the next message of the state; only a snapshot tells the token."""
        self._n += 1
        token = {"token": self._token} if kind == "snapshot" else {}
        return {"kind": kind, "n": self._n, **token, **content}

    def _forget(self) -> None:
        """Send a snapshot next time."""
        self._sent = None

    def _welcome(self) -> None:
        """Answer a front end that has the state already."""
        self.pulse()

    def _viewed(self) -> None:
        """Handle that the view has a viewer; called at each sign of life."""

    def _unviewed(self) -> None:
        """Handle that the view has no viewer any more: cause no traffic."""

    def _keeps_boot(self) -> bool:
        """Return whether the first snapshot may stay in a saved notebook once it was drawn."""
        return True

    def _buffers(self) -> list[bytes]:
        """Return what goes with a message of the state."""
        return []

    def _release(self) -> None:
        """End what the widget has begun, before it is closed."""

    def _static(self) -> dict[str, str]:
        """Return what is shown without a kernel, by its media type."""
        return {"text/plain": repr(self)}

    def _crew(self, name: str) -> Workers:
        """Return threads for what waits for the service; they are to be closed with the widget."""
        self._workers = Workers(SystemClock(), self._WORKERS, name, weakly(self.failed))
        return self._workers

    def _host(self, view: "LiveView") -> str:
        """Let another view be shown within this one, also where no front end knows it by itself.

        Returns
        -------
        str
            Its id.
        """
        self._hosted[view.model_id] = view
        return str(view.model_id)

    def _on_part(self, message: Mapping[str, Any]) -> None:
        """Pass on a message to a view that is shown within this one."""
        view = self._hosted.get(str(message.get("of")))
        inner = message.get("message")
        if view is None:
            return
        if isinstance(inner, Mapping):
            view._take(inner)  # noqa: SLF001 - of its own kind
        elif not isinstance(view.hosts, weakref.WeakSet):
            return  # it is being made
        elif message.get("do") == "open":
            view.hosts.add(self)
            self._say({"kind": "part", "of": view.model_id, "open": view.code()})
        else:
            view.hosts.discard(self)

    def code(self) -> Message:
        """Return the script and the style of its views."""
        return {"esm": str(self._esm), "css": str(getattr(self, "_css", ""))}

    def _mark(self) -> None:
        """Have what has changed sent soon."""
        ui_thread.mark(self)

    def _say(self, message: Message) -> None:
        """Send a message of the widget's own."""
        publish(self, message)

    # --- for everybody ----------------------------------------------------------------------------

    def open(self) -> None:
        """Open the comm; what pages send is handled by the subshell they send it to."""
        super().open()
        # ipykernel 7.4 would hand it to the subshell, or the busy main shell, that the last message
        # to pages was an answer to; one that has ended loses it.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = None  # noqa: SLF001 - looked for by the kernel, with getattr

    @property
    def seen(self) -> bool:
        """Whether it has a viewer, as far as is known."""
        return time.monotonic() < self._leased_until

    def close(self) -> None:
        """End it; what shows it lets go of it, and what was sent goes on."""
        if self.comm is None:  # also one that refused its arguments
            return
        with self._ending:  # what it shows may end on any thread
            ui_thread.leave(self)
            self._begun = True  # or later changes would wait for that for ever
            self._leased_until = 0.0
            self._release()
            self._unviewed()
            if "_workers" in vars(self):
                self._workers.close(_CLOSE_S)
            super().close()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        if not self._begun:
            self._mark()  # it is being made; its first snapshot is as good as sent
            return
        if not self.seen:
            self._forget()  # a returning viewer gets a snapshot
            return
        now = time.monotonic()
        if self._n - self._acknowledged_n > _UNACKNOWLEDGED and now - self._sent_at < _SLOW_S:
            self._mark()
            return
        message = self._changes()
        if message is not None:
            self._sent_at = now
            publish(self, message, self._buffers() or None)

    def pulse(self) -> None:
        """Say that the kernel is there; see `View`."""
        if not self.seen:
            self._end_lease()
            return
        publish(self, {"kind": "pulse", "n": self._n, **self._vitals()})

    def failed(self, error: BaseException) -> None:
        """Show that something here went wrong; see `View`."""
        text = f"{type(error).__name__}{self._FAULT}"
        self._say({"kind": "notice", "text": text, "fault": True})

    def _lease(self) -> bool:
        """Note a sign of life; return whether it is the first after a silence."""
        with self._ending:
            if self.comm is None:
                return False
            first, self._begun = not self.seen, True
            self._leased_until = time.monotonic() + LEASE_S
            ui_thread.join(self)
            self._viewed()
            return first

    def _end_lease(self) -> None:
        self._leased_until = 0.0
        ui_thread.leave(self)
        self._unviewed()

    # --- what a front end says --------------------------------------------------------------------

    def _received(self, _widget: object, content: object, _buffers: object) -> None:
        ui_thread.post(partial(self._take, seal(content)), self)

    def _take(self, message: Mapping[str, Any]) -> None:
        kind, n = message.get("kind"), message.get("n")
        if kind == "bye":
            self._end_lease()
            return
        if kind in ("hello", "ack", "alive"):
            self._acknowledged_n = n if isinstance(n, int) else -1
        if self._lease() or (kind == "hello" and n != self._n):
            self._forget()
            self._mark()
        elif kind == "hello":
            self._welcome()
        if self._boot and not self._keeps_boot():
            self._boot = b""  # it was drawn, or it will be asked for
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        if handler is not None and message.get("token") == self._token:
            getattr(self, handler)(message)

    # --- shown ------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        return with_widget(self._static(), lambda: self)

    def _ipython_display_(self) -> None:
        display_in_jupyter(self._repr_mimebundle_())
