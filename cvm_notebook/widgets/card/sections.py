"""State of a card: pure functions from a row of the store to plain data for the view."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from cvm_notebook.api.models.base import seconds_of, shown
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import BOOT_STEPS, info_of, phase_of, status_of
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Change, Row
from cvm_notebook.text import clean_text, usd
from cvm_notebook.widgets.base.view import ms

_BOOTS: Final = frozenset({"provisioning", "starting", "restarting", "updating"})
_CHARS: Final = 300
_COST: Final = "cost"
_ENDPOINTS: Final = 20
_EVENTS: Final = 50


def card_state(row: Row, changes: Sequence[Change] = ()) -> dict[str, Any]:
    """Return what is shown of a CVM, but for what changes with the time alone.

    Parameters
    ----------
    changes
        Of this CVM, the oldest first: they show how far a boot came that failed.
    """
    cvm, seen = row.cvm, Reading.of_row(row)
    status = status_of(row.status)
    raw = _text(row.status, 60)
    return {
        "gone": None,
        "name": seen.name,
        "id": _text(row.id),
        "status": status,
        "word": _word(row),
        "raw": None if raw == status else raw,
        "busy": seen.busy,
        "doing": seen.doing if seen.busy and seen.doing not in (raw, status) else None,
        "running": seen.phase == "running",
        "steps": _steps(row, seen, changes),
        "errors": _errors(row),
        "facts": _facts(row, cvm),
        "endpoints": _endpoints(cvm),
    }


def gone_state(
    name: str, cvm_id: str, last: Row | None, changes: Sequence[Change]
) -> dict[str, Any]:
    """Return what is shown of a CVM that was deleted: what was known of it last.

    ``gone`` says when that was noticed, in milliseconds, and whether it was done here.
    """
    end = next((one for one in reversed(changes) if one.after is None), None)
    at, by_you = (None, False) if end is None else (ms(end.at), end.operation_id is not None)
    known: dict[str, Any] = {"facts": [], "endpoints": []}
    if last is not None:
        known["facts"] = [one for one in _facts(last, last.cvm) if one[0] != _COST]
    gone = {
        "gone": {"at": at, "by_you": by_you},
        "name": name,
        "id": _text(cvm_id),
        "status": "gone",
    }
    rest = {
        "word": "deleted",
        "raw": None,
        "busy": False,
        "doing": None,
        "running": False,
        "steps": None,
    }
    return {**known, **gone, **rest, "errors": []}


def clock_of(row: Row | None, now: float) -> dict[str, Any]:
    """Return what the time alone changes: how old the fact is, and how long the CVM is up."""
    if row is None:
        return {"age": None, "uptime": None, "source": None}
    up = seconds_of(row.uptime) if phase_of(row.status) == "running" else None
    age = row.age(now)
    return {
        "age": round(age, 1),
        # as it was when the row was last observed
        "uptime": None if up is None else up + int(age),
        "source": row.source,
    }


def events_of(changes: Iterable[Change]) -> list[list[Any]]:
    """Return what happened to one CVM, the newest first: when, what, its status, whether by us."""
    events = []
    for change in changes:
        text = _event(change)
        if text:
            after = change.after
            status = status_of(after.status) if after is not None else "gone"
            by_you = change.operation_id is not None
            events.append([ms(change.at), text, status, by_you])
    return events[: -_EVENTS - 1 : -1]


def operation_of(record: OperationRecord) -> dict[str, Any]:
    """Return the state of an operation, as the line under its button."""
    return {
        "id": record.id,
        "state": record.state,
        "done": record.done,
        "text": clean_text(as_text(record, named=False), _CHARS),
        "steps": [
            True,
            record.sent_at is not None,
            record.accepted_at is not None,
            record.reached_at is not None,
        ],
        "at": ms(record.ended_at or record.reached_at or record.accepted_at or record.asked_at),
    }


def _steps(row: Row, seen: Reading, changes: Sequence[Change]) -> dict[str, Any] | None:
    """Return how far it has booted, in the service's words; None where it does not boot.

    Of a boot that failed without a word of where, no step is shown: none is known to be done.
    """
    word = _text(row.boot_progress, 80)
    failed = bool(row.boot_error)
    if not (failed or (seen.busy and seen.phase in _BOOTS)):
        return None
    if failed and word in (None, "done"):
        word = _failed_step(row, changes)
        if word is None:
            return None
    words = list(BOOT_STEPS)
    at = words.index(word) if word in words else len(words) if word == "done" else None
    if word and at is None:  # a step that was not known when this was written
        words, at = [word], 0
    return {"words": words, "at": at, "failed": failed}


_NAMED_BY: Final = (  # what an error says of the step that it is of
    ("container", "starting containers"),
    ("pre-launch", "pre-launch"),
    ("init-script", "init-script"),
    ("app key", "requesting app keys"),
    ("mount", "mounting data disk"),
    ("data disk", "initializing data disk"),
    ("docker", "setting up docker"),
    ("gateway", "setting up dstack-gateway"),
)


def _failed_step(row: Row, changes: Sequence[Change]) -> str | None:
    """Return at which step a boot failed: as its error says, or else the last one that was seen."""
    error = (row.boot_error or "").lower()
    for sign, step in _NAMED_BY:
        if sign in error:
            return step
    for change in reversed(changes):
        before = change.before
        if before is None or phase_of(before.status) not in _BOOTS:
            if change.after is not None and change.after.boot_error:
                continue
            return None
        if before.boot_progress and before.boot_progress != "done":
            return _text(before.boot_progress, 80)
    return None


def _errors(row: Row) -> list[str]:
    errors = [_failed(row.boot_error, _CHARS)] if row.boot_error else []
    return errors + ([f"Could not refresh: {clean_text(row.error, _CHARS)}"] if row.error else [])


def _failed(why: str, most: int) -> str:
    """Say once that a boot failed, and why."""
    text = clean_text(why, most)
    is_prefixed = text.lower().startswith("failed to ")
    return text[:1].upper() + text[1:] if is_prefixed else f"Failed to start: {text}"


def _facts(row: Row, cvm: Cvm) -> list[list[Any]]:
    """Return label, value, and how it is drawn; what is not known is left out."""
    node, os, rate = cvm.node_info, cvm.os, cvm.hourly_rate
    place = [node.region, node.name] if node else []
    total = rate.total_usd if rate else None
    now = usd(charged_usd(row))
    runs = info_of(row.status).computing_charged
    other = f" ({usd(total)} when it runs)" if not runs and total is not None else ""
    made = cvm.created
    facts: list[tuple[str, object, str]] = [
        ("size", _size(cvm), "text"),
        ("region · node", " · ".join(_text(one, 60) or "" for one in place if one), "text"),
        (_COST, f"{now} USD/h{other}" if now is not None else None, "text"),
        ("OS", _text(os.name, 80) if os else None, "text"),
        ("created", ms(made) if made else None, "when"),
        ("app", _text(cvm.app_id), "code"),
        ("compose hash", _text(cvm.compose_hash), "code"),
        ("id", _text(row.id), "code"),
    ]
    return [[label, value, kind] for label, value, kind in facts if value]


def _size(cvm: Cvm) -> str | None:
    has = cvm.resource
    if has is None:
        return None
    parts = [
        _text(has.instance_type, 60),
        f"{has.vcpu} vCPU" if has.vcpu else None,
        f"{has.memory_in_gb:g} GB" if has.memory_in_gb else None,
        f"{has.disk_in_gb} GB disk" if has.disk_in_gb else None,
        f"{has.gpus} GPU" if has.gpus else None,
    ]
    return " · ".join(one for one in parts if one)


def _endpoints(cvm: Cvm) -> list[str]:
    urls = [e.app or e.instance for e in (cvm.endpoints or ())[:_ENDPOINTS]]
    return [text for url in urls if url and (text := _text(shown(url))) is not None]


def _event(change: Change) -> str | None:
    """Say what a change means to a person; None where it means nothing."""
    before, after = change.before, change.after
    if before is None or after is None:
        began = f"first seen {_word(after)}" if after is not None else None
        return began or "deleted"
    return next(_differences(before, after), None)


def _differences(before: Row, after: Row) -> Iterator[str]:
    """Yield what is new of a CVM, the weightiest first."""
    if after.boot_error and after.boot_error != before.boot_error:
        failed = _failed(after.boot_error, 200)
        yield failed[:1].lower() + failed[1:]
    if before.status != after.status:
        yield f"{_word(before)} → {_word(after)}"
    if before.cvm.compose_hash != after.cvm.compose_hash:
        yield f"compose hash is now {_text(after.cvm.compose_hash, 80)}"
    if after.boot_progress and before.boot_progress != after.boot_progress:
        yield f"boot: {clean_text(after.boot_progress, 80)}"
    if after.trust and (before.trust is None or before.trust.word != after.trust.word):
        yield f"trust: {after.trust.word}"
    if after.error and before.error != after.error:
        yield f"could not refresh: {clean_text(after.error, 200)}"


def _word(row: Row) -> str:
    """Return a CVM's status in our words; one that is new in the service's."""
    phase = phase_of(row.status)
    return _text(row.status, 60) or "unknown" if phase == "unknown" else phase.replace("_", " ")


def _text(value: str | None, most: int = _CHARS) -> str | None:
    return clean_text(value, most) or None if value else None
