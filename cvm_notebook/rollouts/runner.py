"""RolloutRunner: goes through the instances of an app, a few at a time, and stops when one fails.

What is true is read before each step: which instances run, and what each of them has. So nothing
has to be remembered to go on after an interruption, and what was done is not done again.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import info_of, phase_of
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import error_text, read_whole
from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.plans.revisions import AppHistory
from cvm_notebook.live.plans.rollout_row import RolloutRow, RolloutState
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Health, Row
from cvm_notebook.rollouts.proof import wait_for_verdict
from cvm_notebook.rollouts.targets import Target

if TYPE_CHECKING:
    from cvm_notebook.attest.policy.policy import Policy

_FOREVER: Final = 3600.0
_LOOK: Final = 0.5  # seconds until what is in the middle of something is read again, at first
_SLOWEST: Final = 5.0
_AT_REST_S: Final = 900.0  # an instance that is in the middle of something is waited for so long
_TRIES: Final = 3  # an operation that was asked for before, and has not brought it about, is passed
_running: "weakref.WeakSet[RolloutRunner]" = weakref.WeakSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutTerms:
    """Options of a rolling change; see `App.update`."""

    app_id: str
    max_unavailable: int = 1
    policy: "Policy | None" = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """An instance to which something is about to be sent, as it was just read.

    Attributes
    ----------
    starts
        It is as wanted, and only has to be started.
    """

    row: Row
    cvm: Cvm
    seen: UpdatePreview
    starts: bool = False


class RolloutRunner:
    """One going through the instances, on a thread of its own.

    Parameters
    ----------
    rows
        Of each CVM where it stands; kept up to date.
    dangers
        What was confirmed of each CVM.
    changed
        The CVMs that have taken the change; kept up to date. What of it cannot be read back, such
        as the values of variables, is not sent again.

    Attributes
    ----------
    why
        Why it has stopped before its end; empty where it has not.
    over, updated
        Set when it has ended; set at each change.
    """

    def __init__(
        self,
        engine: FleetEngine,
        target: Target,
        terms: RolloutTerms,
        *,
        rows: dict[str, RolloutRow],
        dangers: Mapping[str, tuple[str, ...]],
        changed: set[str],
    ) -> None:
        self.rows = rows
        self.why = ""
        self.over = threading.Event()
        self.updated = threading.Event()
        self._engine = engine
        self._target = target
        self._terms = terms
        self._dangers = dangers
        self._client = engine.client.alike()
        self._wakeup = threading.Event()
        self._halted = False
        self._operations: dict[str, Operation] = {}
        self._changed = changed
        self._started: set[str] = set()
        self._tries: dict[str, int] = {}
        self._counted: set[str] | None = None  # those that were not stopped on purpose
        self._history = AppHistory(())
        self._waiting_since: float | None = None
        self._pause = _LOOK
        self._thread = threading.Thread(target=self._run, name="cvm-rollout", daemon=True)

    # --- its life --------------------------------------------------------------------------------

    def is_of(self, engine: FleetEngine, app_id: str) -> bool:
        """Return whether it changes that app."""
        return self._engine is engine and self._terms.app_id == app_id

    def start(self) -> None:
        """Begin."""
        _running.add(self)
        self._thread.start()

    def halt(self, why: str, timeout: float = 0.0) -> None:
        """Send nothing new, and end; what was sent goes on at the service."""
        self.why = self.why or why
        self._halted = True
        self._wakeup.set()
        self._client.abort()
        if timeout > 0 and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        """Go through it; the top of the thread."""
        try:
            with self._watching():
                while not self._halted and not self.why and self._step():
                    pass
        except CvmError as error:
            self.why = self.why or f"it could not be gone on with: {error_text(error)}"
        finally:
            if self._halted:
                self._cancel_operations()
            self._note_operations()
            _running.discard(self)
            with suppress(CvmError):
                self._client.close()
            self.over.set()
            self.updated.set()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Subscribe to operations, and to the fleet's end, within the block."""
        operator, store = self._engine.operator, self._engine.store
        end = operator.attach(self._on_record)
        hook = store.attach(lambda _: None, health=self._on_health)
        try:
            with self._engine.interest():
                yield
        finally:
            hook.close()
            end()

    def _on_record(self, record: OperationRecord) -> None:
        operation = self._operations.get(record.cvm_id or "")
        if operation is not None and operation.id == record.id:
            self._update_row(record.cvm_id or "", record)
        if record.done:
            self._wakeup.set()

    def _on_health(self, health: Health) -> None:
        if health.state == "closed":
            self.halt("the fleet was closed")

    def _cancel_operations(self) -> None:
        for operation in self._operations.values():
            operation.cancel()

    # --- where it stands -------------------------------------------------------------------------

    def _set(self, cvm_id: str, **changes: object) -> None:
        self.rows[cvm_id] = replace(self.rows[cvm_id], **changes)  # type: ignore[arg-type]
        self.updated.set()

    def _update_row(self, cvm_id: str, record: OperationRecord) -> None:
        """Update a row from an operation's record; the end is judged by `_settle`."""
        self._set(
            cvm_id,
            state="accepted" if record.state == "reached" else _state_of(record),
            reason=record.error or record.note,
            operation_id=record.id,
            attempts=record.attempts,
        )

    def _note_operations(self) -> None:
        for cvm_id, operation in self._operations.items():
            if not self.rows[cvm_id].finished and self.rows[cvm_id].state != "failed":
                self._update_row(cvm_id, operation.record)

    def _stop(self, cvm_id: str, state: RolloutState, reason: str) -> None:
        """Note that an instance has failed: nothing new is begun."""
        self._set(cvm_id, state=state, reason=reason)
        self.why = self.why or f"{self.rows[cvm_id].name}: {reason}"

    # --- step by step ----------------------------------------------------------------------------

    def _step(self) -> bool:
        """Do the next few instances; False when there is nothing left to do."""
        there = {cvm.id: cvm for cvm in self._client.get_app_cvms(self._terms.app_id) if cvm.id}
        for cvm_id, row in self.rows.items():
            if cvm_id not in there and not row.finished:
                self._set(cvm_id, state="gone", reason="it was deleted meanwhile")
        if all(row.finished for row in self.rows.values()):
            return False
        if self._waits_for(there):
            return True
        if self._counted is None:
            self._counted = {i for i, cvm in there.items() if phase_of(cvm.status) != "stopped"}
        terms = self._terms
        self._history = AppHistory.read(self._client, terms.app_id, self._history.contents)
        batch = self._batch(there)
        if batch and not self.why and not self._halted:
            self._do(batch)
        return True

    def _waits_for(self, there: Mapping[str, Cvm]) -> bool:
        """Wait a moment while an instance is in progress, whoever began it."""
        alive = self._engine.operator.alive
        busy = [
            cvm
            for cvm_id, cvm in there.items()
            if cvm.in_progress or info_of(cvm.status).moving or alive(cvm_id)
        ]
        now = self._engine.now()
        if not busy:
            self._waiting_since, self._pause = None, _LOOK
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since >= _AT_REST_S:
            named = ", ".join(f"{cvm.name} is still {cvm.status}" for cvm in busy)
            self.why = f"{named} after {_AT_REST_S:g} s"
            return True
        self._sleep(self._pause)
        self._pause = min(self._pause * 2, _SLOWEST)
        return True

    def _batch(self, there: Mapping[str, Cvm]) -> list[_Ready]:
        """Return the instances that may be changed now, those that do not run first."""
        counted = {i for i in self._counted or () if i in there}
        up = {i for i in counted if phase_of(there[i].status) == "running"}
        room = self._terms.max_unavailable - len(counted - up)
        left = [row.cvm_id for row in self.rows.values() if not row.finished]
        order = sorted(left, key=lambda i: (i not in counted) * 2 + (i in up))
        batch: list[_Ready] = []
        moved = False
        for cvm_id in order:
            if self.why or self._halted or len(batch) == self._terms.max_unavailable:
                break
            if cvm_id in up and room <= 0:
                if not batch and not moved:
                    self._no_room(there[i] for i in sorted(counted - up))
                break
            ready = self._ready(cvm_id)
            moved = moved or ready is None
            if ready is not None:
                room -= cvm_id in up
                batch.append(ready)
        return batch

    def _no_room(self, down: Iterable[Cvm]) -> None:
        named = ", ".join(f"{cvm.name} is {cvm.status}" for cvm in down)
        most = self._terms.max_unavailable
        self.why = f"{named}, and max_unavailable={most} leaves no room for another"

    def _ready(self, cvm_id: str) -> _Ready | None:
        """Read an instance once more; None where nothing is to be sent to it now."""
        asked = self._engine.now()
        cvm = read_whole(self._client, cvm_id)
        found = Observation.of_cvm(cvm, received=self._engine.now(), asked=asked)
        self._engine.store.patch([found])
        row = self._engine.known(cvm_id)
        if row is None or cvm.in_progress or info_of(cvm.status).moving:
            return None  # the next step sees to it
        seen = self._target.preview(self._client, cvm, self._history)
        if not seen.differs or cvm_id in self._changed:
            return self._kept(_Ready(row, cvm, seen, starts=True))
        new = [one for one in seen.dangers if one not in self._dangers.get(cvm_id, ())]
        if new:
            self._stop(cvm_id, "refused", f"since it was planned: {'; '.join(new)}. Plan it anew")
            return None
        changes = ", ".join(one.field for one in seen.fields)
        before = self.rows[cvm_id].revision_before or self._history.newest_of(cvm.vm_uuid)
        self._set(
            cvm_id,
            changes=changes,
            hash_before=seen.hash_before,
            hash_after=seen.hash_after,
            revision_before=before,
        )
        return _Ready(row, cvm, seen)

    def _kept(self, one: _Ready) -> _Ready | None:
        """Take an instance for done that is as wanted and runs; what has failed is started once.

        A CVM that had failed when it was changed stays so until then.
        """
        cvm_id = one.row.id
        touched = self.rows[cvm_id].touched
        if phase_of(one.cvm.status) == "failed":
            if cvm_id not in self._started:
                return one
            why = one.row.boot_error or "see its console and its logs"
            self._stop(cvm_id, "failed", f"it is as wanted, and did not come up: {why}")
        elif self._is_proven(cvm_id, one.cvm):
            reason = "" if touched else "it is as wanted already: nothing was sent"
            self._set(cvm_id, state="reached" if touched else "kept", reason=reason)
        return None

    # --- sending ---------------------------------------------------------------------------------

    def _do(self, batch: list[_Ready]) -> None:
        """Change some instances at once, and see them to their end."""
        asked = self._engine.now()
        sent: list[tuple[_Ready, Operation]] = []
        for one in batch:
            if self._halted or self.why:
                break
            operation = self._submit(one)
            if operation is not None:
                sent.append((one, operation))
        self._await([operation for _, operation in sent])
        for one, operation in sent:
            self._settle(one, operation, asked)

    def _submit(self, one: _Ready) -> Operation | None:
        operator, cvm_id = self._engine.operator, one.row.id
        try:
            if one.starts:
                self._started.add(cvm_id)
                operation = operator.submit("start", one.row)
            else:
                operation = self._target.submit(operator, self._client, one.row, one.cvm, one.seen)
        except CvmError as error:
            self._stop(cvm_id, "refused", error_text(error))
            return None
        self._operations[cvm_id] = operation
        self._update_row(cvm_id, operation.record)
        return operation

    def _await(self, operations: list[Operation]) -> None:
        """Wait until all operations are over, or it is halted."""
        while not self._halted:
            self._wakeup.clear()
            if all(one.record.done for one in operations):
                return
            if not self._halted:
                self._engine.operator.clock.wait(self._wakeup, _FOREVER)

    def _settle(self, one: _Ready, operation: Operation, since: float) -> None:
        """Judge an instance by its operation, and by its verdict where one is asked for."""
        record, cvm_id = operation.record, one.row.id
        self._update_row(cvm_id, record)
        if self._halted and not record.done:
            return
        if record.accepted_at is not None and record.asked >= since:
            self._changed.add(cvm_id)
        was_down = phase_of(one.cvm.status) == "failed" and not one.starts
        if was_down and cvm_id in self._changed and record.done:
            self._set(cvm_id, state="planned")  # the next step starts it, where it needs that
        elif record.state != "reached":
            reason = record.error or record.note or f"its operation is {record.state}"
            self._stop(cvm_id, _state_of(record), reason)
        elif record.asked < since:
            self._joined(cvm_id)
        elif self._is_proven(cvm_id, self._client.get_cvm_info(cvm_id)):
            self._set(cvm_id, state="reached", reason="")

    def _joined(self, cvm_id: str) -> None:
        """Leave it to the next step what an operation of before has brought about."""
        self._tries[cvm_id] = self._tries.get(cvm_id, 0) + 1
        if self._tries[cvm_id] >= _TRIES:
            self._stop(cvm_id, "failed", "what was asked for before did not make it as wanted")
        else:
            self._set(cvm_id, state="planned")

    def _is_proven(self, cvm_id: str, cvm: Cvm) -> bool:
        """Tell whether an instance that runs has a good verdict; what is stopped needs none."""
        policy = self._terms.policy
        if policy is None or phase_of(cvm.status) != "running":
            return True
        expected = self.rows[cvm_id].hash_after or cvm.compose_hash
        word, problem = wait_for_verdict(
            self._engine, self._client, cvm_id, policy, expected, sleep=self._sleep
        )
        self._set(cvm_id, verdict=word)
        if problem:
            self._stop(cvm_id, "failed", problem)
        return not problem

    def _sleep(self, seconds: float) -> bool:
        """Wait for a change, at most so long; False when it was halted."""
        self._wakeup.clear()
        if not self._halted:
            self._engine.operator.clock.wait(self._wakeup, seconds)
        return not self._halted


def _state_of(record: OperationRecord) -> RolloutState:
    unsent = record.state == "failed" and record.attempts == 0
    return "refused" if unsent else record.state


def is_under_way(engine: FleetEngine, app_id: str) -> bool:
    """Return whether an app of a fleet is being changed."""
    return any(one.is_of(engine, app_id) and not one.over.is_set() for one in list(_running))


def _halt_all() -> None:
    """Begin nothing new at the end of the interpreter."""
    for runner in list(_running):
        runner.halt("the program ended")


at_exit(Stage.HALT, _halt_all)
