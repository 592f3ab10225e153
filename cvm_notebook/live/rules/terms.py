"""Parsing of a rule's terms, as users give them: its condition, and its CVMs."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.times import length_of
from cvm_notebook.live.query import search, where
from cvm_notebook.live.rules.autostop import AutoStopTerms, Chooser
from cvm_notebook.live.rules.timetable import Timetable
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.text import clean_text

_NAMED = 5
_CHARS = 200
_REMEDY = "Give a search, such as \"name like 'dev-%'\"; all that run are: status = running."


def read_terms(
    where: str | Mapping[str, object] | Iterable[Ref],
    snapshot: Snapshot,
    *,
    idle: str | timedelta | None,
    schedule: str | None,
    below: float | str,
    undo: float | str | timedelta = 0.0,
) -> AutoStopTerms:
    """Read the terms of a rule; see `Fleet.autostop`.

    Raises
    ------
    InvalidInput
        One of them cannot be understood, or the rule would never act.
    """
    if idle is None and schedule is None:
        problem = "neither it nor schedule is given, so the rule would never act"
        raise InvalidInput("idle", problem, 'As idle="1h", or schedule="Mon-Fri 20:00".')
    description, chosen = _chooser(where, snapshot)
    return AutoStopTerms(
        where=description,
        chosen=chosen,
        idle=None if idle is None else length_of("idle", idle)[0],
        below=checks.share("below", below),
        timetable=None if schedule is None else Timetable.read("schedule", schedule),
        undo=_undo(undo),
    )


def _undo(delay: float | str | timedelta) -> float:
    if isinstance(delay, str | timedelta):
        return length_of("undo", delay)[0].total_seconds()
    return checks.seconds("undo", delay)


def _chooser(
    selector: str | Mapping[str, object] | Iterable[Ref], snapshot: Snapshot
) -> tuple[str, Chooser]:
    """Return the description of a rule's CVMs, and the function that finds them in a snapshot."""
    if isinstance(selector, str):
        query = search(checks.text("where", selector))
        return f"({clean_text(selector, _CHARS)})", query.rows
    if isinstance(selector, Mapping):
        conditions = dict(selector)
        if not conditions:
            raise InvalidInput("where", "it is empty", _REMEDY)
        for name in conditions:
            checks.text("where", name)
        where(snapshot, **conditions)  # refuses what cannot be asked
        text = ", ".join(f"{name}={value!r}" for name, value in conditions.items())
        return f"({clean_text(text, _CHARS)})", lambda now: where(now, **conditions)
    rows = [snapshot.find(ref) for ref in checks.several("where", selector)]
    if not rows:
        raise InvalidInput("where", "it is empty", _REMEDY)
    chosen = {row.id for row in rows}
    names = [row.name or row.id for row in rows[:_NAMED]]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    text = clean_text(", ".join(names) + more, _CHARS)
    return text, lambda now: tuple(row for row in now.rows if row.id in chosen)
