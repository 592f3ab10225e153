"""Auto-stop in a card: the rules that apply to its CVM, and the one that it can toggle."""

import contextlib
from dataclasses import replace
from typing import Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.rules.autostop import ONLY_WHILE, AutoStop
from cvm_notebook.live.rules.terms import read_terms
from cvm_notebook.live.store.figures import IDLE_BELOW
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text

IDLE: Final = "1h"
_UNDO_S: Final = 60.0
_CHARS: Final = 300


def autostop_state(fleet: FleetEngine, row: Row | None) -> list[dict[str, Any]]:
    """Return the rules that may shut a CVM down: their ids, terms, and whether about it alone."""
    if row is None:
        return []
    snapshot = fleet.store.snapshot()
    return [
        {
            "id": rule.id,
            "text": clean_text(f"{rule.terms}; {ONLY_WHILE}", _CHARS),
            "own": _about(rule, snapshot) == (row.id,),
        }
        for rule in covering(fleet, row, snapshot)
    ]


def covering(fleet: FleetEngine, row: Row, snapshot: Snapshot) -> list[AutoStop]:
    """Return the active rules that are about a CVM."""
    alone = replace(snapshot, rows=(row,), index=None)
    return [one for one in fleet.rulebook.rules() if one.active and row.id in _about(one, alone)]


def begin(fleet: FleetEngine, row: Row) -> None:
    """Begin a rule that shuts one CVM down after an hour of idleness; one is enough.

    Raises
    ------
    CvmError
        The client is read-only, or the fleet is closed.
    """
    snapshot = fleet.store.snapshot()
    if not covering(fleet, row, snapshot):
        terms = read_terms(
            [row.id], snapshot, idle=IDLE, schedule=None, below=IDLE_BELOW, undo=_UNDO_S
        )
        fleet.rulebook.add(terms)


def end(fleet: FleetEngine, row: Row, rule_id: str) -> None:
    """End a rule that is about this CVM alone; others are ended where they were begun."""
    snapshot = fleet.store.snapshot()
    for rule in fleet.rulebook.rules():
        if rule.id == rule_id and _about(rule, snapshot) == (row.id,):
            rule.cancel()


def _about(rule: AutoStop, snapshot: Snapshot) -> tuple[str, ...]:
    with contextlib.suppress(CvmError):  # a search that can no longer be asked finds nothing
        return tuple(row.id for row in rule.terms.chosen(snapshot))
    return ()
