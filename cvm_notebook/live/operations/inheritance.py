"""Resuming operations that earlier kernels left in the ledger, or that are under way.

A kernel may be killed at any moment. What it had sent is read back and followed to its end; what
it had not sent yet is cancelled, and nothing is sent again.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.guest import Operation as HistoryEntry
from cvm_notebook.api.status import TABLE, Phase
from cvm_notebook.api.verbs import SPECS, Verb
from cvm_notebook.live.operations.context import OperationContext, OperationFactory
from cvm_notebook.live.operations.database import LedgerEntry
from cvm_notebook.live.operations.ledger import intent_key
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.tracker import OperationTracker
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row

# Verbs that the table of statuses has another word for.
_CALLED: Final[Mapping[Verb, str]] = {"commit": "create", "update": "other"}
# What a CVM found in the middle of something was asked to do.
_RECOVERED: Final[Mapping[Phase, Verb]] = {
    phase: verb
    for verb in SPECS
    for phase, info in TABLE.items()
    if info.moving and info.operation == _CALLED.get(verb, verb)
}
_VERB_OF: Final[Mapping[str, Verb]] = {
    word: verb for verb, spec in SPECS.items() for word in spec.history
}
_READ: Final = 50  # failed CVMs whose history is read


def take_over(
    context: OperationContext, entries: OperationFactory, tracker: OperationTracker
) -> None:
    """Go on with what kernels have left that have ended."""
    left, unseen = context.database.inherit()
    for entry in left:
        _go_on(entry, context, entries, tracker)
    for entry in unseen:
        context.ledger.inherit(entries.inherited(entry), entry.intent, context.clock.monotonic())


def _go_on(
    entry: LedgerEntry,
    context: OperationContext,
    entries: OperationFactory,
    tracker: OperationTracker,
) -> None:
    operation = entries.inherited(entry)
    now = context.clock.monotonic()
    if operation.state == "asked":
        context.ledger.keep(operation)
        note = f"{operation.note}, and ended before it was sent"
        operation.move(state="cancelled", done=True, note=note)
        return
    context.ledger.inherit(operation, entry.intent, now)
    operation.tracking.since = now
    if operation.state == "unknown":
        tracker.doubt(operation)
    else:
        tracker.follow(operation)


def recover(
    rows: Iterable[Row],
    context: OperationContext,
    entries: OperationFactory,
    tracker: OperationTracker,
) -> tuple[Operation, ...]:
    """Find what the service is still doing, or has failed to do, and is not known here."""
    found = []
    failed = 0
    for row in rows:
        seen = Reading.of_row(row)
        verb = _RECOVERED.get(seen.phase)
        if seen.phase == "failed" and failed < _READ:
            failed += 1
            found += _failed(row, seen, context, entries)
        elif verb is not None and not context.ledger.alive(row.id):
            make = partial(entries.recovered, verb, row)
            key = intent_key(verb, row.id, {})
            operation, is_new = context.ledger.add(key, context.clock.monotonic(), make)
            if is_new:
                operation.tracking.begun = True
                operation.tracking.since = context.clock.monotonic()
                tracker.follow(operation)
                found.append(operation)
    return tuple(found)


def _failed(
    row: Row, seen: Reading, context: OperationContext, entries: OperationFactory
) -> list[Operation]:
    """Return the operation that ended in the failure of a CVM, if it is not known here."""
    newest = _newest_of(row, context)
    if newest is None:
        return []
    known = {record.correlation_id for record in context.ledger.records()}
    verb = _VERB_OF.get(newest.operation_type or "")
    if verb is None or newest.correlation_id in known:
        return []
    key = intent_key(verb, row.id, {"correlation_id": newest.correlation_id})
    make = partial(entries.recovered, verb, row, newest.correlation_id)
    operation, is_new = context.ledger.add(key, context.clock.monotonic(), make)
    if not is_new:
        return []
    why = seen.boot_error or newest.error_message or f"its status is {row.status}"
    note = f"'{seen.name}' did not come up: {why}"
    operation.move(state="failed", done=True, note=note, error=CvmError(note))
    return [operation]


def _newest_of(row: Row, context: OperationContext) -> HistoryEntry | None:
    try:
        newest = context.client.list_operations(row.id, limit=1)
    except CvmError:
        return None  # the verb is not known; the CVM itself is in the fleet
    return newest[0] if newest else None
