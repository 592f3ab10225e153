"""Activity of CVMs: entries of our ledger and of the service's history, merged."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from cvm_notebook.api.models.guest import Operation as HistoryEntry
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.record import OperationRecord, State, as_text
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.retry import may_be_retried, unresolved
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.view import ms

_NAME_CHARS: Final = 80
_TEXT_CHARS: Final = 300
_STATES: Final[Mapping[str, State]] = {
    "completed": "reached",
    "failed": "failed",
    "cancelled": "cancelled",
    "in_progress": "accepted",
}
_APART: Final = timedelta(seconds=30)  # of our clock, and of the service's


def ledger_lines(
    records: Sequence[OperationRecord], operations: OperationService, settled: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return entries of the ledger as views draw them, the newest first.

    Parameters
    ----------
    records
        The oldest first.
    settled
        What was found out about operations since they ended, by id.
    """
    open_ = {one.id for one in open_records(records, settled)}
    found = [operations.get(one.id) for one in records if one.id in open_]
    again = {one.id for one in found if one is not None and may_be_retried(operations, one)}
    return [_line(one, settled.get(one.id), retry=one.id in again) for one in reversed(records)]


def open_records(
    records: Iterable[OperationRecord], settled: Collection[str]
) -> list[OperationRecord]:
    """Return what went wrong and was the last thing asked of its CVM, unless it was settled."""
    return [one for one in unresolved(records) if one.id not in settled]


def history_lines(
    entries: Iterable[HistoryEntry], records: Sequence[OperationRecord]
) -> list[dict[str, Any]]:
    """Return what the service recorded of one CVM, without what our ledger tells, too."""
    left = list(records)
    lines = []
    for entry in entries:
        match = next((one for one in left if _is_of(entry, one)), None)
        if match is None:
            lines.append(_entry_line(entry))
        else:
            left.remove(match)
    return lines


def history_corrections(
    entries: Sequence[HistoryEntry], records: Iterable[OperationRecord]
) -> dict[str, dict[str, str]]:
    """Return corrections of other clients' operations from the service's history, by id.

    Such a one was found under way: of its verb and of who asked for it our ledger has but a guess.
    """
    found = {}
    for record in records:
        entry = next((one for one in entries if record.recovered and _is_of(one, record)), None)
        if entry is not None:
            line = _entry_line(entry)
            found[record.id] = {"verb": line["verb"], "by": line["by"]}
    return found


def _is_of(entry: HistoryEntry, record: OperationRecord) -> bool:
    """Return whether an entry of the service's is what an operation of this kernel came to."""
    if entry.correlation_id and record.correlation_id:
        return entry.correlation_id == record.correlation_id
    began, sent = entry.started, record.sent_at
    called = {record.verb, *SPECS[record.verb].history}
    if entry.operation_type not in called or began is None or sent is None:
        return False
    return record.accepted is not None and abs(began - sent) <= _APART


def _line(record: OperationRecord, settled: str | None, *, retry: bool) -> dict[str, Any]:
    words = as_text(record, named=False).partition(": ")[2]
    return {
        "id": record.id,
        "at": ms(record.asked_at),
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


def _entry_line(entry: HistoryEntry) -> dict[str, Any]:
    began, took, status = entry.started, entry.duration_ms, entry.status or ""
    state = _STATES.get(status, "accepted")
    word = {"reached": "done", "accepted": status.replace("_", " ")}.get(state, state)
    words = ". ".join(one for one in (word, entry.error_message or "") if one)
    return {
        "id": clean_text(entry.correlation_id or "", _NAME_CHARS),
        "at": None if began is None else ms(began),
        "verb": clean_text(entry.operation_type or "", _NAME_CHARS).replace("_", " "),
        "name": "",
        "cvm": None,
        "state": state,
        "words": clean_text(words, _TEXT_CHARS),
        "took": None if took is None else max(0, took) / 1000,
        "by": clean_text(entry.triggered_by_username or "", _NAME_CHARS),
        "key": "",
        "retry": False,
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
