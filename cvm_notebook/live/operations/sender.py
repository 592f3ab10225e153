"""The sender: checks the CVM's state, sends a request at most once, classifies the result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final, Literal, TypeAlias

from cvm_notebook.api.errors.tree import (
    ConflictError,
    CvmError,
    NotFoundError,
    ReadOnly,
    ResourceConflict,
)
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.models.cvm import BatchStopped
from cvm_notebook.api.resources.intent import may_have_begun
from cvm_notebook.api.verbs import SPECS, Admission
from cvm_notebook.live.operations.context import OperationContext
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import (
    Precheck,
    Refused,
    RowChanged,
    Verb,
    precheck,
    what_changed,
)
from cvm_notebook.live.operations.progress import has_begun
from cvm_notebook.live.operations.record import UNSENT
from cvm_notebook.live.operations.tracker import OperationTracker
from cvm_notebook.live.store.observation import Observation, Reading
from cvm_notebook.live.store.records import Gap, Row
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.store.subscriptions import ChangeBatch

CallEnd: TypeAlias = Literal["refused", "gone", "busy", "unknown"]


def params_of(given: Mapping[str, Any] | Provision | None) -> Mapping[str, Any]:
    """Return the parameters of a call beside the CVM; for a commit, those of its provision."""
    if isinstance(given, Provision):
        return {"app_id": given.app_id, "compose_hash": given.compose_hash}
    return dict(given or {})


def end_of(error: CvmError) -> CallEnd:
    """Judge how a call ended that raised.

    ``refused`` did nothing, ``gone`` has no CVM, ``busy`` met another operation; after ``unknown``
    the service may have acted.
    """
    if isinstance(error, NotFoundError):
        return "gone"
    if isinstance(error, ConflictError) and not isinstance(error, ResourceConflict):
        return "busy"
    return "unknown" if may_have_begun(error) else "refused"


class StatusTransitions:
    """Remembers the newest change of status of each CVM; the store tells it of all changes.

    A row gets a new revision with every minute of uptime. Whoever saw an older one still saw the
    truth, unless the status has changed since.
    """

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._newest: dict[str, tuple[int, Reading]] = {}

    def changed(self, batch: ChangeBatch) -> None:
        """Hear of the store's changes."""
        for change in () if isinstance(batch, Gap) else batch:
            if change.after is None:
                self._newest.pop(change.row.id, None)
            elif change.before is not None:
                before, after = Reading.of_row(change.before), Reading.of_row(change.after)
                if (before.phase, before.in_progress) != (after.phase, after.in_progress):
                    self._newest[change.row.id] = change.revision, before

    def since(self, row: Row | None, revision: int | None) -> CvmError | None:
        """Return how a CVM has turned since a revision that was shown, or None."""
        if row is None or revision is None:
            return None
        at, before = self._newest.get(row.id, (0, None))
        if before is None or at <= revision:
            return None
        now = self._store.get(row.id)
        is_now = f", and is {Reading.of_row(now).doing} now" if now is not None else ""
        return RowChanged(
            f"'{before.name}' was {before.doing} when it was shown{is_now}",
            hint="Look at it as it is now, then ask again.",
        )


_SHOW_AGAIN: Final = "Look at it as it is now, then ask again."


class Sender:
    """Checks and sends operations; each method runs on a worker, but `refusal`."""

    def __init__(self, context: OperationContext, tracker: OperationTracker) -> None:
        self._context = context
        self._follower = tracker
        self._admission = Lock()
        self._admitted_until = float("-inf")

    # --- before ----------------------------------------------------------------------------------

    def refusal(
        self, verb: Verb, shown: Row | None, params: Mapping[str, Any]
    ) -> tuple[Precheck | None, CvmError | None]:
        """Judge an intent by what is known, without asking anybody.

        Returns
        -------
        tuple
            The check, and the error that says why not; both None for what has no CVM yet.
        """
        if self._context.client.read_only:
            return None, ReadOnly(
                f"{verb} was not sent: this client is read-only",
                hint="Make a client with read_only=False to change things.",
            )
        if shown is None or _is_empty(verb, params):
            return None, None
        now = self._context.store.get(shown.id)
        if now is None and not self._context.store.snapshot().complete:
            now = shown  # the store has no list yet
        changed = what_changed(shown, now)
        if changed is not None and (now is not None or verb != "delete"):
            return None, RowChanged(changed, hint=_SHOW_AGAIN)
        seen = Reading(name=shown.name or shown.id, status="deleted")
        return _judged(verb, seen if now is None else Reading.of_row(now))

    def send(self, operation: Operation) -> None:
        """Send one operation, unless it was cancelled or is not possible any more."""
        if operation.state != "asked" or not self._may(operation):
            return
        if self._prepare([operation]) and self._begin(operation):
            self._call(operation)

    def send_together(self, operations: Sequence[Operation]) -> None:
        """Stop many with one request; those that are in the middle of something one by one."""
        ready = [one for one in operations if one.state == "asked" and self._may(one)]
        calm = [one for one in ready if one.row is not None and not Reading.of_row(one.row).busy]
        if calm and self._prepare(calm):
            self._stop_together([one for one in calm if self._begin(one)])
        for operation in ready:
            if operation not in calm:
                self.send(operation)

    def _may(self, operation: Operation) -> bool:
        """Judge it once more, by a reading where what is known is too old; settle what may not."""
        check, error = self.refusal(operation.verb, operation.row, operation.params)
        if error is None and _is_empty(operation.verb, operation.params):
            note = f"nothing was sent: '{operation.name}' {SPECS[operation.verb].already}"
            operation.move(only=UNSENT, state="reached", done=True, note=note)
            return False
        if error is None and check is not None and self._needs_reading(operation, check):
            check, error = self._judge_anew(operation)
        if error is not None:
            operation.move(only=UNSENT, state="failed", done=True, error=error)
        elif check is not None and check.admission is Admission.ALREADY:
            note = f"nothing was sent: {check.reason}"
            operation.move(only=UNSENT, state="reached", done=True, note=note)
        elif check is not None and check.admission is Admission.JOIN:
            operation.tracking.begun = True
            self._follower.accepted(operation, None, f"nothing was sent: {check.reason}")
        else:
            return True
        return False

    def _needs_reading(self, operation: Operation, check: Precheck) -> bool:
        row = self._context.store.get(operation.cvm_id or "") or operation.row
        spec = SPECS[operation.verb]
        # before what cannot be undone, or is done twice if it is sent twice, an old row is read
        careful = spec.is_counted or spec.confirm == "always"
        if row is None or (check.sends and not careful):
            return False
        return row.age(self._context.clock.monotonic()) > self._context.settings.fresh

    def _judge_anew(self, operation: Operation) -> tuple[Precheck | None, CvmError | None]:
        cvm_id, asked = operation.cvm_id or "", self._context.clock.monotonic()
        try:
            cvm = self._context.client.get_cvm_info(cvm_id)
        except NotFoundError:
            self._context.refresh()
            return _judged(operation.verb, Reading(name=operation.name, status="deleted"))
        except CvmError as error:
            return None, Refused(
                f"nothing was sent, since '{operation.name}' cannot be read: {error.message}",
                hint=error.hint,
            )
        now = self._context.clock.monotonic()
        self._context.store.patch([Observation.of_cvm(cvm, received=now, asked=asked)])
        shown = operation.row
        if shown is not None:
            changed = what_changed(shown, Row.of_cvm(cvm, shown.seen))
            if changed is not None:
                return None, RowChanged(changed, hint=_SHOW_AGAIN)
        return _judged(operation.verb, Reading.of_cvm(cvm))

    def _prepare(self, operations: Sequence[Operation]) -> bool:
        """Read and write down what is needed to tell later what became of them.

        False when that was not possible: then nothing is sent, and they say why.
        """
        try:
            if any(SPECS[one.verb].computes for one in operations):
                self._check_workspace()
            for operation in operations:
                intent = self._context.client.intent(
                    operation.verb, operation.cvm_id, **operation.params
                )
                if operation.row is not None:
                    intent.app_id = intent.app_id or operation.row.app_id
                    intent.vm_uuid = operation.row.vm_uuid
                intent.prepare()
                operation.intent = intent
            self._context.database.will_send(operations)
        except CvmError as error:
            gone = isinstance(error, NotFoundError)
            if gone:
                self._context.refresh()
            for operation in operations:
                operation.move(only=UNSENT, state="failed", done=True, error=error)
            return False
        return True

    def _check_workspace(self) -> None:
        """Refuse what a suspended workspace may not; one that was in order is not asked soon again.

        Raises
        ------
        WorkspaceSuspended
            It is suspended.
        """
        clock = self._context.clock
        with self._admission:
            if clock.monotonic() >= self._admitted_until:
                self._context.client.check_workspace()
                self._admitted_until = clock.monotonic() + self._context.settings.admitted

    @staticmethod
    def _begin(operation: Operation) -> bool:
        """Mark the operation as sent; False when it was cancelled meanwhile."""
        if operation.move(only=UNSENT, state="sent", attempts=1):
            return True
        if operation.intent is not None:
            operation.intent.withdraw()
        return False

    # --- the call --------------------------------------------------------------------------------

    def _call(self, operation: Operation) -> None:
        assert operation.intent is not None  # noqa: S101 - it was prepared
        if operation.cvm_id is not None:
            self._context.store.attribute(operation.cvm_id, operation.id)
        try:
            answer = operation.intent.send()
        except CvmError as error:
            self._ended_badly(operation, error, operation.intent.attempts)
        else:
            update = operation.intent.accepted
            if update is not None:
                operation.move(correlation_id=update.correlation_id)
            if operation.intent.is_instant:
                attempts = operation.intent.attempts
                operation.move(state="reached", done=True, attempts=attempts)
                self._context.refresh()
                return
            self._follower.accepted(operation, answer)

    def _ended_badly(self, operation: Operation, error: CvmError, attempts: int) -> None:
        end = end_of(error)
        if end == "unknown":
            note = "it may have been carried out: reading what became of it"
            if operation.move(state="unknown", error=error, note=note, attempts=attempts):
                self._follower.doubt(operation)
        elif end == "gone" and operation.verb == "delete":
            self._context.refresh()
            note = f"'{operation.name}' was gone already"
            operation.move(state="reached", done=True, note=note, attempts=attempts)
        elif end == "busy" and operation.cvm_id is not None:
            operation.move(attempts=attempts)
            self._met_another(operation, error)
        else:
            if end == "gone":
                self._context.refresh()
            operation.move(state="failed", done=True, error=error, attempts=attempts)

    def _met_another(self, operation: Operation, error: CvmError) -> None:
        """Another operation was in the way: join it if it is the same, else say whose it is."""
        cvm_id, client = operation.cvm_id or "", self._context.client
        try:
            cvm = client.get_cvm_info(cvm_id)
            newest = client.list_operations(cvm_id, limit=1)
        except CvmError:
            operation.move(state="failed", done=True, error=error)
            return
        now = self._context.clock.monotonic()
        self._context.store.patch([Observation.of_cvm(cvm, received=now)])
        seen = Reading.of_cvm(cvm)
        by = newest[0].triggered_by_username if newest else None
        note = f"it is {seen.doing} already{f', asked for by {by}' if by else ''}"
        if SPECS[operation.verb].may_be_joined and has_begun(operation.verb, seen):
            operation.tracking.begun = True
            self._follower.accepted(operation, None, f"joined another's: {note}")
        else:
            hint = "Wait until that has finished, or stop it."
            operation.move(state="failed", done=True, error=error, note=note, hint=hint)

    def _stop_together(self, operations: Sequence[Operation]) -> None:
        if not operations:
            return
        for operation in operations:
            self._context.store.attribute(operation.cvm_id or "", operation.id)
        sent: Counter[str] = Counter()
        try:
            done = self._context.client.batch_stop_cvms(
                [one.cvm_id or "" for one in operations], on_sent=lambda: sent.update(["requests"])
            )
        except CvmError as error:
            for operation in operations:
                self._ended_badly(operation, error, sent.total())
            return
        for operation in operations:
            operation.move(attempts=sent.total())
        self._sort_stopped(operations, done)

    def _sort_stopped(self, operations: Sequence[Operation], done: BatchStopped) -> None:
        """Tell those that were stopped from those that were not; the answer counts only."""
        failed = {one.cvm_id: one.error for one in done.errors}
        rest = []
        for operation in operations:
            if operation.cvm_id in failed:
                error = CvmError(f"'{operation.name}': {failed[operation.cvm_id] or 'refused'}")
                operation.move(state="failed", done=True, error=error)
            else:
                rest.append(operation)
        for operation in rest:
            if done.skipped and not self._is_stopping(operation):
                self._stop_skipped(operation)
            else:
                self._follower.accepted(operation, None)

    def _stop_skipped(self, operation: Operation) -> None:
        """Stop by itself what the service says that a batch has skipped."""
        before = operation.attempts
        self._call(operation)
        if operation.intent is not None:
            operation.move(attempts=before + operation.intent.attempts)

    def _is_stopping(self, operation: Operation) -> bool:
        try:
            cvm = self._context.client.get_cvm_info(operation.cvm_id)
        except CvmError:
            return True  # not known: the tracker will find out
        return has_begun("stop", Reading.of_cvm(cvm))


def _is_empty(verb: Verb, params: Mapping[str, Any]) -> bool:
    """Return whether it is a change of nothing: all is as asked for already."""
    return SPECS[verb].changes_record and not params


def _judged(verb: Verb, seen: Reading) -> tuple[Precheck, CvmError | None]:
    check = precheck(verb, seen)
    return check, None if check.allowed else Refused(check.reason)
