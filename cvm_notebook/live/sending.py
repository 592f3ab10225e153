"""Send what was asked for, once: look at the CVM, make the call, and sort how it ended."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass
from typing import Final

from cvm_notebook.api.errors import CvmError, NotFoundError, ReadOnly
from cvm_notebook.api.models import BatchStopped, CvmAction
from cvm_notebook.live.calls import Job, LostError, call, end_of, run_job
from cvm_notebook.live.desk import Desk
from cvm_notebook.live.facts import Fact
from cvm_notebook.live.following import Follower
from cvm_notebook.live.operation import UNSENT, Operation
from cvm_notebook.live.preconditions import (
    Answer,
    Refused,
    RowChanged,
    Verb,
    Verdict,
    judge,
    what_changed,
)
from cvm_notebook.live.reconcile import has_begun, known_before
from cvm_notebook.live.rows import Row
from cvm_notebook.live.seen import Seen

# Before these an old row is read again: they cannot be undone, or cost.
_CAREFUL: Final[frozenset[Verb]] = frozenset({"delete", "restart", "replicate"})
_LOOKS_THE_SAME: Final[frozenset[Verb]] = frozenset({"restart", "replicate"})
_SHOW_AGAIN: Final = "Look at it as it is now, then ask again."


@dataclass(frozen=True, slots=True)
class Via:
    """Somebody else who makes the calls, in threads, processes or machines of their own."""

    executor: Executor
    profile: str | None = None


class Sender:
    """Checks and sends operations; each method runs on a worker, but `refusal`."""

    def __init__(self, desk: Desk, follower: Follower) -> None:
        self._desk = desk
        self._follower = follower

    # --- before ----------------------------------------------------------------------------------

    def refusal(self, verb: Verb, shown: Row | None) -> tuple[Verdict | None, CvmError | None]:
        """Judge a wish by what is known, without asking anybody.

        Returns
        -------
        tuple
            The verdict, and the error that says why not; both None for what has no CVM yet.
        """
        if self._desk.client.read_only:
            return None, ReadOnly(
                f"{verb} was not sent: this client is read-only",
                hint="Make a client with read_only=False to change things.",
            )
        if shown is None:
            return None, None
        now = self._desk.store.get(shown.id)
        if now is None and not self._desk.store.snapshot().complete:
            now = shown  # the store has not heard of any CVM yet
        changed = what_changed(shown, now)
        if changed is not None and (now is not None or verb != "delete"):
            return None, RowChanged(changed, hint=_SHOW_AGAIN)
        seen = Seen(name=shown.name or shown.id, status="deleted")
        return _judged(verb, seen if now is None else Seen.of_row(now))

    def send(self, operation: Operation, via: Via | None = None) -> None:
        """Send one operation, unless it was taken back or is not possible any more."""
        if operation.state != "asked" or not self._may(operation):
            return
        if operation.verb in _LOOKS_THE_SAME and not self._note_what_is(operation):
            return
        if operation.move(only=UNSENT, state="sent", attempts=1):
            self._call(operation, via)

    def send_together(self, operations: Sequence[Operation]) -> None:
        """Stop many with one request; those that are in the middle of something one by one."""
        ready = [one for one in operations if one.state == "asked" and self._may(one)]
        calm = [one for one in ready if one.row is not None and not Seen.of_row(one.row).busy]
        together = [
            one for one in calm if one.cvm_id and one.move(only=UNSENT, state="sent", attempts=1)
        ]
        if together:
            self._stop_together(together)
        for operation in ready:
            if operation not in calm and operation.move(only=UNSENT, state="sent", attempts=1):
                self._call(operation, None)

    def _may(self, operation: Operation) -> bool:
        """Judge it once more, by a reading where what is known is too old; settle what may not."""
        verdict, error = self.refusal(operation.verb, operation.row)
        if error is None and verdict is not None and self._needs_reading(operation, verdict):
            verdict, error = self._judge_anew(operation)
        if error is not None:
            operation.move(only=UNSENT, state="failed", done=True, error=error)
        elif verdict is not None and verdict.answer is Answer.NOTHING:
            note = f"nothing was sent: {verdict.reason}"
            operation.move(only=UNSENT, state="reached", done=True, note=note)
        elif verdict is not None and verdict.answer is Answer.JOIN:
            operation.looks.begun = True
            self._follower.accepted(operation, None, f"nothing was sent: {verdict.reason}")
        else:
            return True
        return False

    def _needs_reading(self, operation: Operation, verdict: Verdict) -> bool:
        row = self._desk.store.get(operation.cvm_id or "") or operation.row
        if row is None or (verdict.sends and operation.verb not in _CAREFUL):
            return False
        return row.age(self._desk.clock.monotonic()) > self._desk.settings.fresh

    def _judge_anew(self, operation: Operation) -> tuple[Verdict | None, CvmError | None]:
        cvm_id, asked = operation.cvm_id or "", self._desk.clock.monotonic()
        try:
            cvm = self._desk.client.get_cvm_info(cvm_id)
        except NotFoundError:
            self._refresh()
            return _judged(operation.verb, Seen(name=operation.name, status="deleted"))
        except CvmError as error:
            return None, Refused(
                f"nothing was sent, since '{operation.name}' cannot be read: {error.message}",
                hint=error.hint,
            )
        now = self._desk.clock.monotonic()
        self._desk.store.patch([Fact.of_cvm(cvm, received=now, asked=asked)])
        shown = operation.row
        if shown is not None:
            changed = what_changed(shown, Row.of_cvm(cvm, shown.seen))
            if changed is not None:
                return None, RowChanged(changed, hint=_SHOW_AGAIN)
        return _judged(operation.verb, Seen.of_cvm(cvm))

    def _note_what_is(self, operation: Operation) -> bool:
        """Read what would look like the operation's own doing; False when it cannot be read."""
        app_id = operation.row.app_id if operation.row is not None else None
        try:
            operation.looks.known = known_before(
                self._desk.client, operation.verb, operation.cvm_id or "", app_id
            )
        except CvmError as error:
            operation.move(only=UNSENT, state="failed", done=True, error=error)
            return False
        return True

    # --- the call --------------------------------------------------------------------------------

    def _call(self, operation: Operation, via: Via | None) -> None:
        if operation.cvm_id is not None:
            self._desk.store.attribute(operation.cvm_id, operation.id)
        try:
            answer = self._answer(operation, via)
        except CvmError as error:
            self._ended_badly(operation, error)
        else:
            self._follower.accepted(operation, answer)

    def _answer(self, operation: Operation, via: Via | None) -> CvmAction | None:
        verb, cvm_id, params = operation.verb, operation.cvm_id, operation.params
        if via is None:
            return call(self._desk.client, verb, cvm_id, params)
        job = Job(
            operation_id=operation.id,
            base_url=self._desk.client.base_url,
            profile=via.profile,
            verb=verb,
            cvm_id=cvm_id,
            params=params,
            known=operation.looks.known or frozenset(),
        )
        try:
            return via.executor.submit(run_job, job).result()
        except CvmError:
            raise
        except (Exception, CancelledError) as error:
            raise LostError(
                f"{verb} of '{operation.name}' was lost by the executor: {error!r}",
                hint="It may have been sent; it is read back.",
            ) from error

    def _ended_badly(self, operation: Operation, error: CvmError) -> None:
        end = end_of(error)
        if end == "unknown":
            note = "it may have been carried out: reading what became of it"
            if operation.move(state="unknown", error=error, note=note):
                self._follower.doubt(operation)
        elif end == "gone" and operation.verb == "delete":
            self._refresh()
            operation.move(state="reached", done=True, note=f"'{operation.name}' was gone already")
        elif end == "busy" and operation.cvm_id is not None:
            self._met_another(operation, error)
        else:
            if end == "gone":
                self._refresh()
            operation.move(state="failed", done=True, error=error)

    def _met_another(self, operation: Operation, error: CvmError) -> None:
        """Another operation was in the way: join it if it is the same, else say whose it is."""
        cvm_id, client = operation.cvm_id or "", self._desk.client
        try:
            cvm = client.get_cvm_info(cvm_id)
            newest = client.list_operations(cvm_id, limit=1)
        except CvmError:
            operation.move(state="failed", done=True, error=error)
            return
        now = self._desk.clock.monotonic()
        self._desk.store.patch([Fact.of_cvm(cvm, received=now)])
        seen = Seen.of_cvm(cvm)
        by = newest[0].triggered_by_username if newest else None
        words = f"it is {seen.doing} already{f', asked for by {by}' if by else ''}"
        if has_begun(operation.verb, seen):
            operation.looks.begun = True
            self._follower.accepted(operation, None, f"joined another's: {words}")
        else:
            hint = "Wait until that has finished, or stop it."
            operation.move(state="failed", done=True, error=error, note=words, hint=hint)

    def _stop_together(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            self._desk.store.attribute(operation.cvm_id or "", operation.id)
        try:
            done = self._desk.client.batch_stop_cvms([one.cvm_id or "" for one in operations])
        except CvmError as error:
            for operation in operations:
                self._ended_badly(operation, error)
            return
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
                self._call(operation, None)  # the service says that it has skipped it
            else:
                self._follower.accepted(operation, None)

    def _is_stopping(self, operation: Operation) -> bool:
        try:
            cvm = self._desk.client.get_cvm_info(operation.cvm_id)
        except CvmError:
            return True  # cannot be told: its looks will
        return has_begun("stop", Seen.of_cvm(cvm))

    def _refresh(self) -> None:
        if self._desk.hooks is not None:
            self._desk.hooks.refresh()


def _judged(verb: Verb, seen: Seen) -> tuple[Verdict, CvmError | None]:
    verdict = judge(verb, seen)
    return verdict, None if verdict.allowed else Refused(verdict.reason)
