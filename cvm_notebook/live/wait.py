"""Waiting until CVMs of a fleet have a status, by changes of the store and of operations."""

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final, Self

from cvm_notebook.api.checks import boolean, function, status_word, wait_seconds
from cvm_notebook.api.errors.tree import TargetUnreachable, WatchTimeout
from cvm_notebook.api.status import info_of, phase_of, same_status, status_words
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.live.progress import Bar, progress_bar
from cvm_notebook.live.store.index import Index
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text, counted

_FOLLOWED: Final = 16
_FIRST_LIST: Final = 60.0
_LOOK_AGAIN: Final = 60.0  # seconds, even without a change
_FIRST_LOOK: Final = 0.5
_NAMED: Final = 5


class Waiting:
    """Waits until CVMs have a status; in a thread, or on an event loop.

    Operations that were asked for here are waited for before a status is judged: a CVM whose
    restart is under way does not count as running although it still says so.

    Raises
    ------
    InvalidInput
        There is no such status, or the timeout is not a number of seconds.
    """

    def __init__(
        self,
        engine: FleetEngine,
        identifiers: Sequence[str],
        *,
        status: str,
        timeout: float | None,
        progress: bool = True,
        on_change: Callable[[Row], object] | None = None,
    ) -> None:
        self.status = status_word("status", status)
        self._timeout = wait_seconds("timeout", timeout)
        self._engine = engine
        self._identifiers = identifiers
        self._progress = boolean("progress", progress)
        self._on_change = function("on_change", on_change)
        self.ids: list[str] | None = None  # None before the first list
        self._missing: list[str] = []
        self._asked: dict[str, Operation] = {}  # the last operation of each CVM that was seen
        self._reported: dict[str, tuple[str | None, str | None]] = {}
        self._bar: Bar | None = None
        self._shown = 0
        self._stack = ExitStack()
        self._wake: Callable[[], object] = lambda: None
        self._began = engine.now()

    # --- in a thread, and on a loop ----------------------------------------------------------

    def run(self) -> list[str]:
        """Return the ids of the CVMs once all have the status.

        Raises
        ------
        WatchTimeout, TargetUnreachable, CvmError
            See `Fleet.wait`.
        """
        wakeup = threading.Event()
        self._wake = wakeup.set
        with self:
            while (pause := self._look()) > 0:
                wakeup.wait(pause)
                wakeup.clear()
        return self._result()

    async def arun(self) -> list[str]:
        """Do the same without blocking the event loop; it may be cancelled."""
        wakeup, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(wakeup.set)

        self._wake = wake
        with self:
            while (pause := self._look()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wakeup.wait(), pause)
                wakeup.clear()
        return self._result()

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # Ctrl-C may come in between
            stack.enter_context(self._engine.interest())
            stack.enter_context(self._engine.store.attach(self._on_event, health=self._on_event))
            stack.callback(self._engine.operator.attach(self._on_event))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _on_event(self, _event: object) -> None:
        self._wake()

    # --- looking -------------------------------------------------------------------------------

    def _look(self) -> float:
        """Look at all CVMs; return the seconds to wait for a change, or 0 when it is over."""
        left = self._began + self._timeout - self._engine.now()
        if self.ids is None and not self._resolve(left):
            return _FIRST_LOOK
        ids = self.ids or []
        self._missing = [cvm_id for cvm_id in ids if not self._has_it(cvm_id)]
        if self._bar is not None:
            done = len(ids) - len(self._missing)
            self._bar.update(done - self._shown)
            self._shown = done
        self._notify(ids)
        if not self._missing or left <= 0 or all(map(self._why_lost, self._missing)):
            return 0.0
        self._engine.check()
        # a reading that shows the same as before is no change, and may still be the proof
        ended = any(one.done for cvm_id, one in self._asked.items() if cvm_id in self._missing)
        return min(left, _FIRST_LOOK if ended else _LOOK_AGAIN)

    def _resolve(self, left: float) -> bool:
        """Find out which CVMs are meant, once the fleet is listed; return whether it is."""
        self._engine.check()
        if not self._engine.store.snapshot().complete:
            listed_by = self._began + min(self._timeout, _FIRST_LIST)
            if left <= 0 or self._engine.now() >= listed_by:
                self._engine.snapshot(wait=0.0)  # says why there is no list
            return False
        snapshot = self._engine.store.snapshot()
        named = [self._id_of(snapshot, one) for one in self._identifiers]
        self.ids = ids = list(dict.fromkeys(named)) or [row.id for row in snapshot]
        # the reflector follows by itself what is in transition: only a few need more
        for cvm_id in ids if len(ids) <= _FOLLOWED else ():
            self._engine.keep_fresh([cvm_id], on=True)
            self._stack.callback(self._engine.keep_fresh, [cvm_id], on=False)
        label = f"{len(ids)} CVMs {self.status}"
        shown = self._progress and len(ids) > 1
        self._bar = self._stack.enter_context(progress_bar(label, len(ids), shown=shown))
        return True

    def _id_of(self, snapshot: Snapshot, identifier: str) -> str:
        """Return the id of a CVM; one that is gone already is known by the log."""
        if phase_of(self.status) == "gone" and identifier not in snapshot:
            changes = self._engine.store.log().changes
            gone = [change.row for change in changes if change.after is None]
            for row in Index(gone).matches(identifier)[-1:]:
                return row.id
        return snapshot.find(identifier).id

    def _has_it(self, cvm_id: str) -> bool:
        row = self._engine.known(cvm_id)
        if row is None:
            return phase_of(self.status) == "gone"
        return not self._is_asked(cvm_id) and same_status(row.status, self.status)

    def _is_asked(self, cvm_id: str) -> bool:
        """Whether something that was asked for must be over before its status is judged."""
        alive = [one for one in self._engine.operator.alive(cvm_id) if _changes(one, cvm_id)]
        for operation in alive:
            self._asked[cvm_id] = operation
        return bool(alive) and not info_of(self.status).moving

    def _why_lost(self, cvm_id: str) -> str | None:
        """Say why a CVM can no longer come to have the status by itself; None while it can."""
        row = self._engine.known(cvm_id)
        if row is None:
            return "it is gone"
        asked = self._asked.get(cvm_id)
        if row.in_progress or info_of(row.status).moving or (asked and not asked.done):
            return None
        if phase_of(row.status) == "failed":
            return "it has failed"
        # it is at rest: what was asked for does not come any more
        if asked is not None and asked.state in {"failed", "cancelled"}:
            ended = asked.record.ended
            if ended is not None and row.seen.moment >= ended:
                return as_text(asked.record, named=False)
        return None

    def _notify(self, ids: list[str]) -> None:
        """Call ``on_change`` for rows that changed since the last call, in the waiting thread."""
        if self._on_change is None:
            return
        for row in filter(None, map(self._engine.known, ids)):
            now = (row.status, row.boot_progress)
            if self._reported.get(row.id) != now:
                self._reported[row.id] = now
                self._on_change(row)

    # --- the end -------------------------------------------------------------------------------

    def _result(self) -> list[str]:
        missing, ids = self._missing, self.ids or []
        if not missing:
            return ids
        lost = all(map(self._why_lost, missing))
        kind, when = (TargetUnreachable, "") if lost else (WatchTimeout, self._in_time())
        health = self._engine.health
        why = "" if lost or health.state == "live" else f". The fleet is {health}"
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise kind(
            f"{len(missing)} of {counted(len(ids), 'CVM')} did not become {self.status}{when}: "
            + ", ".join(map(self._as_it_is, missing[:_NAMED]))
            + more
            + why,
            hint="Look at the events of one of them, or wait again.",
            target=self.status,
        )

    def _in_time(self) -> str:
        return "" if self._timeout == math.inf else f" in {self._timeout:g} s"

    def _as_it_is(self, cvm_id: str) -> str:
        """Say what a CVM is, by name, and what is being done to it."""
        row = self._engine.known(cvm_id)
        if row is None:
            return f"{cvm_id} (gone)"
        asked = self._asked.get(cvm_id)
        doing = f"; {as_text(asked.record, named=False)}" if asked is not None else ""
        return (
            f"{clean_text(row.name or cvm_id, 80)} "
            f"({clean_text(status_words(row.status), 40)}{doing})"
        )


def _changes(operation: Operation, cvm_id: str) -> bool:
    """Whether an operation changes this CVM's status; a replication, only of the CVM it made."""
    return operation.verb != "replicate" or operation.made_id == cvm_id
