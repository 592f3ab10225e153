"""Asking once more for what failed, or got no answer: what of the ledger may be, and what is known.

Nothing is sent here. What got no answer is read back first, and asked again only where that shows
that nothing of it was done; whoever asks then makes a new plan, which judges the CVM as it is now.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.intent import SettleResult
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord, State
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.observation import Observation

ReadBack: TypeAlias = Literal["nothing was done", "done", "not known"]
_WRONG: Final[frozenset[State]] = frozenset({"failed", "unknown"})


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


def may_be_asked_again(operations: OperationService, record: OperationRecord) -> bool:
    """Return whether an unresolved entry says all that it takes to ask once more.

    What makes another CVM is not asked again, for it may have made one; nor what has parameters of
    its own, as a restart by force.
    """
    operation = operations.get(record.id)
    known = operation is not None and operation.record == record
    plain = operation is not None and not any(operation.params.values())
    spec = SPECS[record.verb]
    if operations.read_only or not known or not plain or spec.creates or not spec.label:
        return False
    return record.cvm_id is not None and operations.store.get(record.cvm_id) is not None


def read_back(operations: OperationService, operation: Operation) -> tuple[ReadBack, str]:
    """Read what became of an operation that got no answer; waits for the service.

    Returns
    -------
    tuple of str
        What that shows, and what there is to say beside that.
    """
    intent = operation.intent
    if operation.state == "failed":
        return "nothing was done", ""
    if intent is None:
        return "not known", "it is not kept what was sent"
    if intent.spec.judged_by == "history" and (intent.known is None or intent.claimant is None):
        return "not known", "it is not known what the CVM's history was before"
    intent.transport = operations.client.transport  # there may be another key by now
    asked = operations.clock.monotonic()
    try:
        found: SettleResult = intent.read_back()
    except CvmError as error:
        return "not known", str(error)
    if found.cvm is not None:  # whoever asks again judges it as it is now
        now = operations.clock.monotonic()
        operations.store.patch([Observation.of_cvm(found.cvm, received=now, asked=asked)])
    if found.begun or found.gone:
        return "done", "" if found.begun else "its CVM is gone"
    return "nothing was done", ""
