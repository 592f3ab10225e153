"""The one thread between live state and front ends: it takes clicks, and sends what changed."""

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from cvm_notebook.live.at_exit import Stage, at_exit

_log = logging.getLogger(__name__)
Task: TypeAlias = Callable[[], object]

FLUSH_EVERY: Final = 0.1  # seconds: at most ten messages a second and view
PULSE_EVERY: Final = 5.0
_MOST_TASKS: Final = 1_000
_LINGER: Final = 2.0


class View(Protocol):
    """A widget that the UI thread keeps up to date."""

    def flush(self) -> object:
        """Send what has changed since the last time. Runs on the UI thread; no I/O."""

    def pulse(self) -> object:
        """Say that the kernel is there, every few seconds. Runs on the UI thread."""

    def failed(self, error: BaseException) -> object:
        """Show that something here went wrong, in a line."""


class UiThread:
    """One daemon thread for all views of this process. Safe to use from any thread.

    It comes when there is something to do and goes when nothing is shown any more. Views are held
    weakly: one that was dropped is not served.
    """

    def __init__(self) -> None:
        self._work = threading.Condition()
        self._tasks: deque[tuple[Task, weakref.ref[Any] | None]] = deque()
        self._marked: weakref.WeakSet[Any] = weakref.WeakSet()
        self._views: weakref.WeakSet[Any] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._next_pulse = 0.0

    def post(self, task: Task, view: View | None = None) -> bool:
        """Queue a task; False when the queue is full and the task is dropped.

        Parameters
        ----------
        task
            Quick, and without I/O.
        view
            Shows what went wrong if the task raises.
        """
        with self._work:
            if self._closed or len(self._tasks) >= _MOST_TASKS:
                return False
            self._tasks.append((task, None if view is None else weakref.ref(view)))
            self._wake()
        return True

    def mark(self, view: View) -> None:
        """Schedule a flush of a view within a tenth of a second; calls until then are merged."""
        with self._work:
            if view not in self._marked:
                self._marked.add(view)
                self._wake()

    def join(self, view: View) -> None:
        """Pulse a view from now on."""
        with self._work:
            self._views.add(view)
            self._wake()

    def leave(self, view: View) -> None:
        """Serve a view no more."""
        with self._work:
            self._views.discard(view)
            self._marked.discard(view)

    def close(self) -> None:
        """End the thread, within two seconds."""
        with self._work:
            self._closed = True
            self._work.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    def _wake(self) -> None:
        if self._closed:
            return
        if self._thread is None or not self._thread.is_alive():  # not alive: after a fork
            # its views are daemons of the notebook: it must not keep the interpreter
            self._thread = threading.Thread(target=self._run, name="cvm-widgets", daemon=True)
            self._thread.start()
        self._work.notify_all()

    def _run(self) -> None:
        flushed = 0.0
        while self._wait(flushed + FLUSH_EVERY):
            tasks, marked, pulsed = self._due(flushed)
            for task, ref in tasks:
                self._guarded(task, ref() if ref is not None else None)
            if marked:
                flushed = time.monotonic()
            for view in marked:
                self._guarded(view.flush, view)
            for view in pulsed:
                self._guarded(view.pulse, view)
            del marked, pulsed  # or the thread would hold views while it waits

    def _wait(self, flush_at: float) -> bool:
        """Wait until something is due; False when the thread is to end."""
        with self._work:
            idle_since = time.monotonic()
            while not self._closed:
                now = time.monotonic()
                if self._tasks or (self._marked and now >= flush_at):
                    return True
                if self._views and now >= self._next_pulse:
                    return True
                if not self._views and not self._marked and now - idle_since >= _LINGER:
                    break
                ends = [idle_since + _LINGER] if not self._views else [self._next_pulse]
                ends += [flush_at] if self._marked else []
                self._work.wait(max(0.001, min(ends) - now))
            self._thread = None
            return False

    def _due(
        self, flushed: float
    ) -> tuple[list[tuple[Task, weakref.ref[Any] | None]], list[Any], list[Any]]:
        now = time.monotonic()
        with self._work:
            tasks = list(self._tasks)
            self._tasks.clear()
            marked: list[Any] = []
            if self._marked and now >= flushed + FLUSH_EVERY:
                marked = list(self._marked)
                self._marked.clear()
            pulsed: list[Any] = []
            if self._views and now >= self._next_pulse:
                self._next_pulse = now + PULSE_EVERY
                pulsed = list(self._views)
        return tasks, marked, pulsed

    def _guarded(self, task: Task, view: Any) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001 - the thread's top: one view's error stays its own
            _log.warning("a view failed", exc_info=error)
            if view is not None:
                try:
                    view.failed(error)
                except Exception:  # noqa: BLE001 - not even that can be shown
                    _log.warning("and it cannot show that", exc_info=True)


ui_thread: Final = UiThread()
at_exit(Stage.VIEWS, ui_thread.close)


def publish(widget: Any, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
    """Send a message to a widget's front ends from any thread; the only place that does.

    It goes by the views that show the widget within them, too.

    Where nobody listens (a closed widget, no kernel) it goes nowhere. What is lost on the way is
    found by the view, which counts. ipykernel 7.0.0 has no parent message in threads of others,
    and cannot send from them (ipykernel#1450).
    """
    try:
        widget.send(content, buffers)
    except LookupError as error:
        _log.debug("a message to a view was lost", exc_info=error)
    for host in tuple(widget.hosts):
        publish(host, {"kind": "part", "of": widget.model_id, "message": content}, buffers)
