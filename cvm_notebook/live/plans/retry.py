"""Retry of operations that failed or got no answer, once it is known that nothing was done.

Nothing is sent here. Whoever offers a retry asks `may_be_retried`, and `check_retry` when it is
wanted; then it makes a new plan, which judges the CVMs as they are now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.intent import may_have_begun
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord, State
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.text import clean_text

ReadBack: TypeAlias = Literal["nothing was done", "done", "not known"]
_NAME_CHARS: Final = 80
_WHY_CHARS: Final = 300
_WRONG: Final[frozenset[State]] = frozenset({"failed", "unknown"})


@dataclass(frozen=True, slots=True)
class RetryCheck:
    """The result of reading back operations that went wrong.

    Attributes
    ----------
    again
        Of these nothing was done: they may be asked for once more.
    done
        What there is to say of those that were carried out after all, by id.
    messages
        Why the others are not asked for again, a clause each.
    """

    again: tuple[Operation, ...]
    done: dict[str, str]
    messages: tuple[str, ...]

    def is_settled(self, operation: Operation) -> bool:
        """Return whether it is known by now what became of it."""
        return operation in self.again or operation.id in self.done


def unresolved(records: Iterable[OperationRecord]) -> tuple[OperationRecord, ...]:
    """Return what failed or got no answer, and was the last thing asked of its CVM.

    Parameters
    ----------
    records
        Of a ledger, the oldest first.
    """
    last: dict[str, OperationRecord] = {}
    for record in records:
        last[record.cvm_id or record.id] = record
    return tuple(one for one in last.values() if one.done and one.state in _WRONG)


def may_be_retried(operations: OperationService, operation: Operation) -> bool:
    """Return whether it went wrong, and has all the data for a retry.

    What makes another CVM is retried only where it was refused, for it may have made one; what has
    parameters of its own, as a restart by force, is not.
    """
    record, spec = operation.record, SPECS[operation.verb]
    wrong = record.done and record.state in _WRONG
    plain = bool(spec.label) and not any(operation.params.values())
    if operations.read_only or not wrong or not plain or record.cvm_id is None:
        return False
    if spec.creates and not _was_refused(operation):
        return False
    return operations.store.get(record.cvm_id) is not None


def check_retry(operations: OperationService, wrong: Sequence[Operation]) -> RetryCheck:
    """Read back operations that went wrong, before they are asked for again; waits."""
    again: list[Operation] = []
    done: dict[str, str] = {}
    messages: list[str] = []
    for operation in wrong:
        found, why = read_back(operations, operation)
        what = f"{operation.verb} {clean_text(operation.name, _NAME_CHARS)}"
        if found == "nothing was done":
            again.append(operation)
        elif found == "done":
            done[operation.id] = f"done: {why}" if why else "done, as read back"
            messages.append(why or f"{what} was carried out")
        else:
            why = clean_text(why, _WHY_CHARS)
            messages.append(f"nobody can tell whether {what} was carried out ({why})")
    return RetryCheck(tuple(again), done, tuple(messages))


def read_back(operations: OperationService, operation: Operation) -> tuple[ReadBack, str]:
    """Read what became of an operation that went wrong; waits for the service where it must.

    Returns
    -------
    tuple of str
        What that shows, and what there is to say beside that.
    """
    intent = operation.intent
    if operation.state == "failed" and (_was_refused(operation) or _came_to_its_end(operation)):
        return "nothing was done", ""
    if intent is None:
        return "not known", "it is not kept what was sent"
    if intent.spec.judged_by == "history" and (intent.known is None or intent.claimant is None):
        return "not known", "it is not known what the CVM's history was before"
    intent.transport = operations.client.transport  # there may be another key by now
    asked = operations.clock.monotonic()
    try:
        found = intent.read_back()
    except CvmError as error:
        return "not known", str(error)
    if found.cvm is not None:  # the retry is judged by its current state
        now = operations.clock.monotonic()
        operations.store.patch([Observation.of_cvm(found.cvm, received=now, asked=asked)])
    if found.begun or found.gone:
        return "done", "" if found.begun else "its CVM is gone"
    return "nothing was done", ""


def _was_refused(operation: Operation) -> bool:
    """Return whether it failed before anything of it was begun."""
    error = operation.error
    refused = error is not None and not may_have_begun(error)
    return operation.state == "failed" and operation.record.accepted is None and refused


def _came_to_its_end(operation: Operation) -> bool:
    """Return whether it was begun, and was seen to fail: another one is another one."""
    return operation.record.accepted is not None or operation.record.recovered
