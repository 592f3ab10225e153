"""The ledger, the instances of a rolling change, and the revisions of an app as frames."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.frames.schema import DURATION, FLAG, INSTANT, INTEGER, TEXT, Field, Table, fixed
from cvm_notebook.live.operations.preconditions import VERBS
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.plans.revisions import RevisionChange
from cvm_notebook.live.plans.rollout_row import ROLLOUT_STATES, RolloutRow

STATES: Final = (
    "planned",
    "asked",
    "sent",
    "accepted",
    "reached",
    "failed",
    "unknown",
    "cancelled",
)


def _ended(record: OperationRecord) -> timedelta | None:
    """Return how long it took, by the monotonic clock."""
    if record.ended is None:
        return None
    return timedelta(seconds=record.elapsed(record.ended))


OPERATIONS: Final[Table[OperationRecord]] = Table(
    "operations/3",
    (Field("operation_id", TEXT, lambda o: o.id, "the entry in the ledger"),),
    (
        Field("asked_at", INSTANT, lambda o: o.asked_at, "when it was asked for"),
        Field("sent_at", INSTANT, lambda o: o.sent_at, "when it was sent"),
        Field("accepted_at", INSTANT, lambda o: o.accepted_at, "when the service took it"),
        Field("reached_at", INSTANT, lambda o: o.reached_at, "when its target was seen reached"),
        Field("cvm_id", TEXT, lambda o: o.cvm_id, "the CVM it was asked of"),
        Field("name", TEXT, lambda o: o.name, "that CVM's name"),
        Field("verb", fixed((*VERBS, "other")), lambda o: o.verb, "what was asked"),
        Field("target", TEXT, lambda o: o.target, "the status it leads to"),
        Field(
            "state",
            fixed(STATES),
            lambda o: o.state,
            "how far it has come, as of an Operation",
        ),
        Field("attempts", INTEGER, lambda o: o.attempts, "calls that were sent"),
        Field("http_status", INTEGER, lambda o: o.http_status, "of the last answer"),
        Field("error_code", TEXT, lambda o: o.error_code, "the service's code, as ERR-03-007"),
        Field("hint", TEXT, lambda o: o.hint, "what to do"),
        Field("request_id", TEXT, lambda o: o.request_id, "what to name to support"),
        Field(
            "correlation_id", TEXT, lambda o: o.correlation_id, "its id in the service's records"
        ),
        Field("who", TEXT, lambda o: o.who, "whose key it was sent with"),
        Field("elapsed", DURATION, _ended, "from asking to the end; missing until then"),
        Field("error", TEXT, lambda o: o.error, "what went wrong, in words"),
        Field("note", TEXT, lambda o: o.note or None, "what else is known"),
        Field("reason", TEXT, lambda o: o.reason or None, "why, where a rule asked for it"),
        Field("made_id", TEXT, lambda o: o.made_id, "the CVM that it made"),
        Field("done", FLAG, lambda o: o.done, "whether nothing more will be done about it"),
        Field("recovered", FLAG, lambda o: o.recovered, "found under way, and not asked for here"),
    ),
)


@OPERATIONS.documents
def operations_frame(records: Iterable[OperationRecord]) -> pd.DataFrame:
    """List what was asked for, one operation a row, in the order in which it was asked."""
    return OPERATIONS.frame(checks.members("records", records, OperationRecord))


ROLLOUT: Final[Table[RolloutRow]] = Table(
    "rollout/1",
    (Field("cvm_id", TEXT, lambda r: r.cvm_id, "the instance"),),
    (
        Field("name", TEXT, lambda r: r.name, "its name"),
        Field("state", fixed(ROLLOUT_STATES), lambda r: r.state, "what has become of it so far"),
        Field("changes", TEXT, lambda r: r.changes or None, "which fields are otherwise"),
        Field("hash_before", TEXT, lambda r: r.hash_before, "its compose hash before"),
        Field("hash_after", TEXT, lambda r: r.hash_after, "and afterwards, where that is known"),
        Field("revision_before", TEXT, lambda r: r.revision_before, "what it is taken back to"),
        Field("verdict", TEXT, lambda r: r.verdict, "the word of its verdict, under a policy"),
        Field("operation_id", TEXT, lambda r: r.operation_id, "its entry in the ledger"),
        Field("attempts", INTEGER, lambda r: r.attempts, "calls that were sent"),
        Field("reason", TEXT, lambda r: r.reason or None, "what else is known"),
    ),
)
REVISIONS: Final[Table[RevisionChange]] = Table(
    "revisions/1",
    (Field("revision_id", TEXT, lambda r: r.revision_id, "what a rollback goes back to"),),
    (
        Field("created_at", INSTANT, lambda r: r.created, "when it was made"),
        Field("name", TEXT, lambda r: r.name, "the CVM that it was made of"),
        Field("vm_uuid", TEXT, lambda r: r.vm_uuid, "that CVM's uuid"),
        Field("operation", TEXT, lambda r: r.operation, "what made it, in the service's word"),
        Field(
            "changes",
            TEXT,
            lambda r: None if r.changes is None else ", ".join(r.changes),
            "what differs from the revision before of the same CVM; missing where it was not read",
        ),
        Field("lines_added", INTEGER, lambda r: _lines(r, "+"), "of the compose file"),
        Field("lines_removed", INTEGER, lambda r: _lines(r, "-"), "of the compose file"),
        Field("by", TEXT, lambda r: r.by, "who asked for it"),
        Field("compose_hash", TEXT, lambda r: r.compose_hash, "of the app compose it holds"),
        Field("trace_id", TEXT, lambda r: r.trace_id, "the operation in the service's records"),
    ),
)


def _lines(revision: RevisionChange, sign: str) -> int | None:
    """Return how many lines were added or removed; None where the contents were not read."""
    if revision.changes is None:
        return None
    head = sign * 3
    return sum(line.startswith(sign) and not line.startswith(head) for line in revision.diff)


@ROLLOUT.documents
def rollout_frame(rows: Iterable[RolloutRow]) -> pd.DataFrame:
    """List the instances of a rolling change, one a row; `Rollout.rows` gives them."""
    return ROLLOUT.frame(checks.members("rows", rows, RolloutRow))


@REVISIONS.documents
def revisions_frame(changes: Iterable[RevisionChange]) -> pd.DataFrame:
    """List the revisions of an app, the newest first; `App.revisions` reads them."""
    return REVISIONS.frame(checks.members("changes", changes, RevisionChange))
