"""The thread of a reflector: it holds it weakly, so that one that is dropped stops asking."""

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.reflector.event_queue import EventQueue
from cvm_notebook.live.reflector.events import ChangedElsewhere
from cvm_notebook.live.reflector.stream_reader import StreamPool
from cvm_notebook.live.store.records import Gap
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.store.subscriptions import ChangeBatch

if TYPE_CHECKING:
    from cvm_notebook.live.reflector.reflector import Reflector

_AT_EXIT: Final = 1.0


def serve(
    served: "Reflector", wakeup: threading.Event, clock: Clock, lines: StreamPool
) -> threading.Thread:
    """Start a thread that serves it for as long as there is something to do and it is held."""
    thread = threading.Thread(
        target=_run,
        args=(weakref.ref(served), wakeup, clock, lines),
        name="cvm-reflector",
        daemon=True,
    )
    with _lock:
        _running.add(served)
    thread.start()
    return thread


def ended(served: "Reflector") -> None:
    """Note that its thread ends."""
    with _lock:
        _running.discard(served)


def tell_others(served: "Reflector", event: ChangedElsewhere) -> None:
    """Tell the others whose threads run what this one's operations change."""
    for other in _served():
        if other is not served:
            other.changed_elsewhere(event, served)


def _served() -> "list[Reflector]":
    with _lock:
        return list(_running)


def _run(
    ref: "weakref.ref[Reflector]", wakeup: threading.Event, clock: Clock, lines: StreamPool
) -> None:
    while (served := ref()) is not None:
        wait = served.turn()
        del served
        if wait is None:
            return
        try:
            clock.wait(wakeup, wait)
        except BaseException as error:  # noqa: BLE001 - the thread's top: shown in health
            served = ref()
            if served is not None and not served.survives(error):
                return
            del served
    lines.end()


def note(queue: EventQueue, store: "weakref.ref[FleetStore]", batch: ChangeBatch) -> None:
    """Put a batch of the store's changes into the queue."""
    if not isinstance(batch, Gap):
        queue.changed(batch)
    elif (living := store()) is not None:
        queue.all(living.snapshot().rows)


_lock = threading.Lock()
_running: weakref.WeakSet["Reflector"] = weakref.WeakSet()


def _close_all() -> None:
    """Give streams back, and let no thread be in the middle of something, when Python ends."""
    for served in _served():
        served.close(_AT_EXIT)


def _after_fork() -> None:
    """Begin anew: a thread of the parent may hold the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


at_exit(Stage.STREAMS, _close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
