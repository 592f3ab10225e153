"""The ledger as a frame: everything that was asked for, and what became of it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import pandas as pd

from cvm_notebook.api.resources import validation as checks
from cvm_notebook.frames.schema import DURATION, FLAG, INSTANT, INTEGER, TEXT, Field, Table, fixed
from cvm_notebook.live.operations.preconditions import VERBS
from cvm_notebook.live.operations.record import OperationRecord

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
    "operations/2",
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
        Field("made_id", TEXT, lambda o: o.made_id, "the CVM that it made"),
        Field("done", FLAG, lambda o: o.done, "whether nothing more will be done about it"),
        Field("recovered", FLAG, lambda o: o.recovered, "found under way, and not asked for here"),
    ),
)


@OPERATIONS.documents
def operations_frame(records: Iterable[OperationRecord]) -> pd.DataFrame:
    """List what was asked for, one operation a row, in the order in which it was asked."""
    return OPERATIONS.frame(checks.members("records", records, OperationRecord))
