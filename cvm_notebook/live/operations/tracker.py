"""The tracker: follows what was sent to its end, by changes of the store, else by reading.

A look is due at each operation that is under way: soon at first, then less often. Where a
reflector keeps the store fresh a look costs nothing; many that are due are read in one request.
"""

from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import Final

from cvm_notebook.api.errors.tree import AuthError, CvmError, NotFoundError, ServerError
from cvm_notebook.api.models.actions import CvmAction
from cvm_notebook.api.resources.cvms import BATCH_SIZE
from cvm_notebook.api.resources.intent import SettleResult, as_action
from cvm_notebook.api.status import info_of
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.context import OperationContext
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.progress import has_begun, is_under_way, progress_of
from cvm_notebook.live.operations.record import State
from cvm_notebook.live.store.observation import Observation, Reading
from cvm_notebook.live.store.records import Change, Gap
from cvm_notebook.live.store.subscriptions import ChangeBatch

_FOLLOWED: Final[frozenset[State]] = frozenset({"accepted", "unknown"})
_AT_ONCE: Final = 0.05  # looks that are due within so many seconds are one round
_LOOKS_A_SECOND: Final = 200  # CVMs looked at, of all operations together
_SINGLY: Final = 3  # up to so many are read one by one
_GATEWAYS: Final = frozenset({502, 504})  # what they say is not the service's word
_LOOK_AGAIN: Final = "Look at the CVM, then decide whether to ask again."


class OperationTracker:
    """Follows operations from the service's answer, or its absence, to their end."""

    def __init__(self, context: OperationContext) -> None:
        self._context = context
        self._lock = Lock()
        self._round_at: float | None = None

    # --- what happens to an operation ----------------------------------------------------------

    def accepted(self, operation: Operation, answer: CvmAction | None, note: str = "") -> None:
        """Take the service's answer, and follow the CVM to the target."""
        own = answer.id if answer and SPECS[operation.verb].creates else None
        made_id = own if isinstance(own, str) else None
        attempts = operation.intent.attempts if operation.intent is not None else 0
        now = self._context.clock.monotonic()
        if answer is not None and made_id is not None:
            self._context.ledger.watch(operation, made_id)
            # before it is accepted: a waiter for that may look the CVM up
            made = Observation.of_created(answer, made_id, received=now)
            self._context.store.patch([made])
        status = answer.status if answer else operation.status
        operation.tracking.since = now  # what is seen from now on counts
        if not operation.move(
            state="accepted",
            answer=answer,
            status=status,
            made_id=made_id,
            note=note,
            attempts=attempts or operation.attempts,
        ):
            return
        if answer is not None:
            self._context.store.patch(
                [
                    Observation.of_action(
                        answer,
                        received=now,
                        id=made_id or operation.cvm_id,
                        operation_id=operation.id,
                    )
                ]
            )
        self.follow(operation)
        if answer is not None and answer.status is not None:
            self.see(operation, Reading(name=operation.name, status=answer.status), proof=True)

    def follow(self, operation: Operation) -> None:
        """Begin to look after an operation that is under way since `tracking.since`."""
        operation.tracking.count = 0
        self._hold(operation, _subject(operation))
        spec = SPECS[operation.verb]
        if spec.creates or spec.goal == "gone":
            self._context.refresh()
        self._look_in(operation, 0.0 if spec.goal == "gone" else self._pause(operation))

    def doubt(self, operation: Operation) -> None:
        """Begin to find out what became of an operation that got no answer."""
        operation.tracking.since = self._context.clock.monotonic()
        operation.tracking.count = 0
        self._hold(operation, operation.cvm_id)
        self._look_in(operation, self._pause(operation))

    def release(self, operation: Operation) -> None:
        """Let go of what an operation held that is done."""
        with self._lock:
            followed, operation.tracking.followed = operation.tracking.followed, set()
        for cvm_id in followed:
            if self._context.hooks is not None:
                self._context.hooks.unfollow(cvm_id)
        asked_of = operation.cvm_id
        if asked_of is not None and not self._context.ledger.alive(asked_of):
            self._context.store.attribute(asked_of, None)

    def _hold(self, operation: Operation, cvm_id: str | None) -> None:
        """Have the reflector follow a CVM for as long as the operation goes on."""
        hooks = self._context.hooks
        if hooks is None or cvm_id is None or cvm_id in operation.tracking.followed:
            return
        with self._lock:
            operation.tracking.followed.add(cvm_id)
        try:
            hooks.follow(cvm_id)
            hooks.announce(cvm_id)
        except CvmError:  # the reflector has ended, or has no key: the looks do without
            with self._lock:
                operation.tracking.followed.discard(cvm_id)
        if operation.done:  # it has ended meanwhile, on another thread
            self.release(operation)

    # --- what is seen ----------------------------------------------------------------------------

    def changed(self, batch: ChangeBatch) -> None:
        """Hear of the store's changes."""
        if isinstance(batch, Gap):
            for operation in self._context.ledger.alive():
                self._see_row(operation)
            return
        for change in batch:
            for operation in self._context.ledger.alive(change.row.id):
                self.see(operation, _seen_in(change), proof=False)

    def see(self, operation: Operation, seen: Reading, *, proof: bool) -> None:
        """Judge an operation by what its CVM does.

        Parameters
        ----------
        proof
            It was asked after the service had accepted; else it may be older than that.
        """
        record = operation.record
        if record.done or record.state not in _FOLLOWED:
            return  # an unknown one may be done, and cannot be accepted any more
        # before it is on its way, what is under way is another one
        reported = seen.correlation_id if is_under_way(operation.verb, seen) else None
        now = (seen.status, seen.boot_progress, reported or record.correlation_id)
        if now != (record.status, record.progress, record.correlation_id):
            operation.move(status=now[0], progress=now[1], correlation_id=now[2])
        operation.tracking.begun |= is_under_way(operation.verb, seen)
        if record.state == "unknown":
            # A status cannot show whose CVM, or whose restart, it is.
            spec = SPECS[operation.verb]
            if spec.judged_by == "status" and has_begun(operation.verb, seen):
                self.accepted(operation, None, f"no answer came, but it is {seen.doing}")
                self.see(operation, seen, proof=proof)
            return
        progress = progress_of(operation.verb, seen, begun=operation.tracking.begun)
        if progress.kind == "going":
            return
        if not proof and (
            progress.kind == "failed" or SPECS[operation.verb].judged_by == "history"
        ):
            # What was on its way already when it was accepted tells nothing about it.
            operation.tracking.proof = True
            self._look_in(operation, 0.0)
        elif progress.kind == "reached":
            operation.move(state="reached", done=True)
        else:
            error = CvmError(progress.why, hint="Its console and its logs may say why.")
            operation.move(
                state="failed", done=True, error=error, hint=error.hint, note=progress.why
            )

    def _see_row(self, operation: Operation) -> None:
        row = self._context.store.get(_subject(operation) or "")
        if row is not None:
            self.see(operation, Reading.of_row(row), proof=False)

    def _see_again(self, operation: Operation) -> None:
        """See the row that is kept fresh: it may have changed for good before it was followed."""
        row = self._context.store.get(_subject(operation) or "")
        if row is not None and row.seen.moment >= operation.tracking.since:
            self.see(operation, Reading.of_row(row), proof=True)

    # --- looks -----------------------------------------------------------------------------------

    def _pause(self, operation: Operation) -> float:
        settings = self._context.settings
        pause: float = settings.look * 2.0 ** min(operation.tracking.count, 16)
        crowded = self._context.ledger.crowd / _LOOKS_A_SECOND
        return max(min(settings.slowest, pause), crowded)

    def _look_in(self, operation: Operation, seconds: float) -> None:
        now = self._context.clock.monotonic()
        operation.tracking.due = now + seconds
        self._round_in(max(seconds, 0.0), now)

    def _round_in(self, seconds: float, now: float) -> None:
        with self._lock:
            if self._round_at is not None and self._round_at <= now + seconds + _AT_ONCE:
                return  # one comes soon enough
            self._round_at = now + seconds
        self._context.workers.later(seconds, self._round)

    def _round(self) -> None:
        """Look at whatever is due, and arrange for the next round."""
        now = self._context.clock.monotonic()
        with self._lock:
            self._round_at = None
        due: list[Operation] = []
        later: list[Operation] = []
        for operation in self._context.ledger.alive():
            if operation.state in _FOLLOWED and not operation.tracking.reading:
                (due if operation.tracking.due <= now + _AT_ONCE else later).append(operation)
        for operation in due:
            operation.tracking.reading = True
            operation.tracking.due = float("inf")
        if later:
            self._round_in(max(_AT_ONCE, min(one.tracking.due for one in later) - now), now)
        self._look_at(due)

    def _look_at(self, due: Sequence[Operation]) -> None:
        do = self._context.workers.do
        unread = [one for one in due if not self._is_seen(one)]
        many = [one for one in unread if _may_be_read_with_others(one)]
        if len(many) <= _SINGLY:
            many = []
        for first in range(0, len(many), BATCH_SIZE):
            do(partial(self._read_many, many[first : first + BATCH_SIZE]))
        for operation in unread:
            if operation not in many:
                do(partial(self._read, operation))

    def _is_seen(self, operation: Operation) -> bool:
        """Look at an operation without reading its state, where that is enough."""
        if operation.tracking.parked:
            self._looked(operation)  # the time is up
        elif operation.state == "unknown":
            self._context.workers.do(partial(self._reconcile, operation))
        elif self._is_fresh(operation):
            self._see_again(operation)
            self._looked(operation)
        else:
            return False
        return True

    def _is_fresh(self, operation: Operation) -> bool:
        """Whether the reflector keeps the CVM's row fresh enough to need no reading."""
        row = self._context.store.get(_subject(operation) or "")
        if row is None or self._context.hooks is None or operation.tracking.proof:
            return False
        if row.source == "action":
            return False  # the answer's status is all there is yet
        if SPECS[operation.verb].goal == "gone":
            return False  # a row that is there says nothing of one that has just gone
        if SPECS[operation.verb].changes_record:
            return False  # its record is read when it is at rest again
        if SPECS[operation.verb].judged_by == "history" and not operation.tracking.begun:
            return False  # it may be over already, which only the history shows
        return row.age(self._context.clock.monotonic()) <= self._context.settings.trust

    def _read(self, operation: Operation) -> None:
        """Read one CVM's state."""
        cvm_id, asked = _subject(operation), self._context.clock.monotonic()
        if cvm_id is None:
            self._looked(operation)
            return
        try:
            if SPECS[operation.verb].judged_by == "history" and not operation.tracking.begun:
                # It may be over already: then only the history shows that it was.
                found = self._read_back(operation)
                operation.tracking.begun |= found is not None and found.begun
            state = self._context.client.get_cvm_state(cvm_id)
            if SPECS[operation.verb].changes_record and not info_of(state.status).moving:
                self._read_record(cvm_id)
        except NotFoundError:
            self._gone(operation, cvm_id)
            return
        except CvmError as error:
            self._unreadable(operation, error)
            return
        now = self._context.clock.monotonic()
        fact = Observation.of_state(state, received=now, source="get", id=cvm_id, asked=asked)
        self._context.store.patch([fact])
        self.see(operation, Reading.of_state(state, operation.name), proof=True)
        self._looked(operation)

    def _read_record(self, cvm_id: str) -> None:
        """Read the full record of a CVM into the store, so that it shows the update."""
        asked = self._context.clock.monotonic()
        found = self._context.client.get_cvm_info(cvm_id)
        now = self._context.clock.monotonic()
        self._context.store.patch([Observation.of_cvm(found, received=now, asked=asked)])

    def _read_many(self, operations: Sequence[Operation]) -> None:
        """Read the states of many in one request."""
        asked = self._context.clock.monotonic()
        rows = [one.row for one in operations if one.row is not None]
        try:
            found = self._context.client.get_cvm_status_batch(r.vm_uuid for r in rows if r.vm_uuid)
        except CvmError as error:
            for operation in operations:
                self._unreadable(operation, error)
            return
        now = self._context.clock.monotonic()
        self._context.store.patch(
            Observation.of_status(status, received=now, vm_uuid=uuid, asked=asked)
            for uuid, status in found.items()
        )
        for operation, row in zip(operations, rows, strict=True):
            status = found.get(row.vm_uuid or "")
            if status is None:
                self._context.workers.do(partial(self._read, operation))
                continue
            self.see(operation, Reading.of_status(status, operation.name), proof=True)
            self._looked(operation)

    def _gone(self, operation: Operation, cvm_id: str) -> None:
        if SPECS[operation.verb].goal == "gone":
            self._context.store.remove([cvm_id], received=self._context.clock.monotonic())
        else:
            self._context.refresh()
        self.see(operation, Reading(name=operation.name, status="deleted"), proof=True)
        self._looked(operation)

    def _unreadable(self, operation: Operation, error: CvmError) -> None:
        operation.tracking.reading = False
        if isinstance(error, AuthError):
            self._park(operation, error)
            return
        operation.move(note=f"its CVM cannot be read at the moment: {error.message}")
        self._looked(operation)

    def _park(self, operation: Operation, error: CvmError) -> None:
        """Read nothing more until there is another key, or the time is up."""
        settings, tracking = self._context.settings, operation.tracking
        tracking.parked, tracking.reading = True, False
        operation.move(note=f"the key was refused: {error.message}", hint=error.hint)
        self._look_in(operation, tracking.since + settings.reach - self._context.clock.monotonic())

    def resume(self) -> None:
        """Go on with what waits for a key: there is another one."""
        now = self._context.clock.monotonic()
        for operation in self._context.ledger.alive():
            if operation.tracking.parked:
                operation.tracking.parked = False
                operation.tracking.since = now
                operation.move(note="")
                self._look_in(operation, 0.0)

    def _looked(self, operation: Operation) -> None:
        """Arrange for the next look, unless it is over or has taken too long."""
        tracking, settings = operation.tracking, self._context.settings
        tracking.reading = tracking.proof = False
        record = operation.record
        if record.done:
            return
        tracking.count += 1
        waited = self._context.clock.monotonic() - tracking.since
        if record.state == "unknown" and waited >= settings.settle and not tracking.parked:
            self._unsettled(operation)
        elif waited >= settings.reach:
            why = f"it was accepted, but is not {record.target} after {waited:.0f} s"
            self._give_up(operation, why, "It may still come: look at the CVM.")
        else:
            self._look_in(operation, self._pause(operation))

    # --- what got no answer ----------------------------------------------------------------------

    def _reconcile(self, operation: Operation) -> None:
        """Read what became of it; never send it again."""
        try:
            found = self._read_back(operation)
        except CvmError as error:
            operation.tracking.answered = False
            self._unreadable(operation, error)
            return
        operation.tracking.answered = True
        if found is not None:
            self._take(operation, found)
        self._looked(operation)

    def _read_back(self, operation: Operation) -> SettleResult | None:
        """Read what became of it; None where nothing was sent for it here."""
        intent = operation.intent
        if intent is None:
            return None
        intent.transport = self._context.client.transport  # there may be another key by now
        return intent.read_back()

    def _take(self, operation: Operation, found: SettleResult) -> None:
        if found.cvm is not None:
            now = self._context.clock.monotonic()
            self._context.store.patch([Observation.of_cvm(found.cvm, received=now)])
        if found.gone and operation.verb != "delete":
            self._gone(operation, operation.cvm_id or "")
            self._fail(operation, f"'{operation.name}' is gone")
        elif found.begun:
            operation.tracking.begun = True
            operation.move(correlation_id=found.correlation_id)
            answer = None if found.cvm is None else as_action(found.cvm)
            self.accepted(operation, answer, "no answer came, but it was carried out")
            if found.gone:
                self._gone(operation, operation.cvm_id or "")

    def _unsettled(self, operation: Operation) -> None:
        """Nothing of it is to be seen: say what that means."""
        error = operation.error
        refused = isinstance(error, ServerError) and error.status not in _GATEWAYS
        if refused and operation.tracking.answered:
            self._fail(operation, "the service failed, and nothing of it is to be seen")
            return
        why = "no answer came, and nothing of it is to be seen"
        self._give_up(operation, why, _LOOK_AGAIN)

    @staticmethod
    def _fail(operation: Operation, why: str) -> None:
        operation.move(state="failed", done=True, note=why, error=operation.error or CvmError(why))

    @staticmethod
    def _give_up(operation: Operation, why: str, hint: str | None) -> None:
        error = operation.error or CvmError(why, hint=hint)
        operation.move(state="unknown", done=True, note=why, hint=hint, error=error)


def _subject(operation: Operation) -> str | None:
    """Return the CVM whose state shows the operation's progress."""
    made = SPECS[operation.verb].creates
    return operation.made_id or (None if made else operation.cvm_id)


def _may_be_read_with_others(operation: Operation) -> bool:
    if operation.row is None or not operation.row.vm_uuid:
        return False
    spec = SPECS[operation.verb]
    if spec.changes_record:
        return False
    if spec.judged_by == "status":
        return spec.goal != "gone"  # what is gone is in no batch
    return spec.judged_by == "history" and operation.tracking.begun


def _seen_in(change: Change) -> Reading:
    if change.after is None:
        return Reading(name=change.row.name or change.row.id, status="deleted")
    return Reading.of_row(change.after)
