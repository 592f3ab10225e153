"""What was asked of a fleet, the newest first, and what of it can be retried."""

from typing import Any, Final

from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.retry import may_be_retried, unresolved
from cvm_notebook.text import clean_text

_SHOWN: Final = 100
_NAME_CHARS: Final = 80
_TEXT_CHARS: Final = 300


def activity_of(operations: OperationService, settled: dict[str, str]) -> dict[str, Any]:
    """Return the last hundred entries of the ledger, and how many need a look.

    Parameters
    ----------
    settled
        What was found out about operations since they ended, by id.
    """
    records = operations.records()
    open_ = {record.id: record for record in unresolved(records) if record.id not in settled}
    shown = [operations.get(one.id) for one in records[-_SHOWN:] if one.id in open_]
    again = {one.id for one in shown if one is not None and may_be_retried(operations, one)}
    lines = [
        _line(record, settled.get(record.id), retry=record.id in again)
        for record in reversed(records[-_SHOWN:])
    ]
    return {"lines": lines, "failed": len(open_), "more": max(0, len(records) - _SHOWN)}


def _line(record: OperationRecord, settled: str | None, *, retry: bool) -> dict[str, Any]:
    words = as_text(record, named=False).partition(": ")[2]
    return {
        "id": record.id,
        "at": int(record.asked_at.timestamp() * 1000),
        "verb": record.verb,
        "name": clean_text(record.name, _NAME_CHARS),
        "cvm": record.made_id or record.cvm_id,
        "state": record.state if settled is None else "reached",
        "words": clean_text(settled or words, _TEXT_CHARS),
        "took": _took(record),
        "by": _by(record),
        "key": clean_text(record.who or "", _NAME_CHARS),
        "retry": retry,
    }


def _took(record: OperationRecord) -> float | None:
    """Return the seconds it took; None while it goes on, and where it was not seen to begin."""
    if record.ended is None or record.recovered:
        return None
    return round(record.elapsed(record.ended), 1)


def _by(record: OperationRecord) -> str:
    if record.recovered:
        return "another client"
    return "auto-stop" if record.reason else "you"
