"""Draining: sending what waits to be sent before a fleet, or the interpreter, ends."""

import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord, State
from cvm_notebook.live.progress import progress_bar

UNANSWERED: Final[frozenset[State]] = frozenset({"asked", "sent"})
_AT_EXIT: Final = 60.0  # seconds for what waits to be sent
_ANSWERS: Final = 0.5  # seconds for the answers to what was sent, at the end of the interpreter
_LOOK: Final = 0.2  # seconds after which it is looked even without a change
_NAMED: Final = 5


class DrainableOperations(Protocol):
    """The operations of one fleet."""

    process: int

    @property
    def clock(self) -> Clock:
        """The clock."""

    def unsent(self) -> tuple[Operation, ...]:
        """Return those that are asked for and have no answer."""

    def send_now(self, operation: Operation) -> None:
        """Send one without its delay."""

    def attach(self, hook: Callable[[OperationRecord], None]) -> Callable[[], None]:
        """Call back after each change; what is returned ends that."""

    def help(self) -> bool:
        """Do one piece of work in this thread; return whether there was one."""

    def cancel_unsent(self, note: str) -> tuple[Operation, ...]:
        """Cancel what was not sent."""


_open: "weakref.WeakSet[DrainableOperations]" = weakref.WeakSet()


def drain(
    operations: DrainableOperations, timeout: float, *, progress: bool, answers: float | None = None
) -> tuple[Operation, ...]:
    """Send what waits, and wait until it is answered; return what is not by then.

    Parameters
    ----------
    timeout
        Seconds.
    answers
        Seconds to wait at most for answers alone; as long as for the rest when not given.
    """
    for operation in operations.unsent():
        if operation.state == "asked":
            operations.send_now(operation)
    wakeup = threading.Event()
    end = operations.attach(lambda _: wakeup.set())
    try:
        _wait(operations, timeout, wakeup, progress=progress, answers=answers)
    finally:
        end()
    return operations.unsent()


def _wait(
    operations: DrainableOperations,
    timeout: float,
    wakeup: threading.Event,
    *,
    progress: bool,
    answers: float | None,
) -> None:
    clock = operations.clock
    ends = clock.monotonic() + timeout
    all_sent: float | None = None
    left = operations.unsent()
    total = len(left)
    shown = 0
    waits = any(one.state == "asked" for one in left)
    with progress_bar("sending", total, shown=progress and waits, delay=1.0) as bar:
        while left and clock.monotonic() < ends:
            if all_sent is None and not any(one.state == "asked" for one in left):
                all_sent = clock.monotonic()
                if answers is not None:
                    ends = min(ends, all_sent + answers)
            # at the end of the interpreter there may be no thread left to do it
            if not operations.help():
                clock.wait(wakeup, min(_LOOK, max(0.0, ends - clock.monotonic())))
                wakeup.clear()
            left = operations.unsent()
            bar.update(max(0, total - len(left) - shown))
            shown = max(shown, total - len(left))


def cancelled_text(operations: Sequence[Operation]) -> str:
    """Say which operations were not sent."""
    number = len(operations)
    named = ", ".join(f"{one.verb} {one.name}" for one in operations[:_NAMED])
    more = f" and {number - _NAMED} more" if number > _NAMED else ""
    was = "operation was" if number == 1 else "operations were"
    return f"{number} {was} cancelled before being sent: {named}{more}"


# --- the end of the interpreter -------------------------------------------------------------------


def drain_at_exit(operations: DrainableOperations) -> None:
    """Drain operations at the end of the interpreter, unless they are closed by then."""
    _open.add(operations)


def closed(operations: DrainableOperations) -> None:
    """Take `drain_at_exit` back."""
    _open.discard(operations)


def _drain_all() -> None:
    """Send what waits at the clean end of a script; after an error, say what was not sent."""
    here = [one for one in list(_open) if one.process == os.getpid()]
    for operations in here:
        try:
            if not _is_failing():
                drain(operations, _AT_EXIT, progress=True, answers=_ANSWERS)
        except KeyboardInterrupt:
            pass
        cancelled = operations.cancel_unsent("the program ended before it was sent")
        if cancelled:
            print(f"cvm-notebook: {cancelled_text(cancelled)}", file=sys.stderr)  # noqa: T201 - the last word


def _is_failing() -> bool:
    """Whether a script ends by an error; in a console an old error says nothing."""
    interactive = hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules
    return not interactive and getattr(sys, "last_value", None) is not None


at_exit(Stage.SEND, _drain_all)
