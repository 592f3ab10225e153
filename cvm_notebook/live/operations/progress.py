"""Progress of an operation, judged from its CVM's state: pure."""

from dataclasses import dataclass
from typing import Final, Literal

from cvm_notebook.api.status import Phase
from cvm_notebook.api.verbs import SPECS, Verb
from cvm_notebook.live.store.observation import Reading

_DOWN: Final[frozenset[Phase]] = frozenset({"stopping", "shutting_down", "stopped"})


@dataclass(frozen=True, slots=True)
class OperationProgress:
    """The progress of an accepted operation."""

    kind: Literal["going", "reached", "failed"]
    why: str = ""


_GOING: Final = OperationProgress("going")


def target_of(verb: Verb) -> str:
    """Return the status a verb leads to."""
    return SPECS[verb].goal


def is_under_way(verb: Verb, seen: Reading) -> bool:
    """Tell whether the CVM is on its way to the verb's target."""
    return seen.phase in SPECS[verb].under_way


def has_begun(verb: Verb, seen: Reading) -> bool:
    """Tell whether the CVM's status shows that this was done, or is being done."""
    if is_under_way(verb, seen):
        return True
    # What runs may not have been restarted yet; every other goal is as good as its way.
    return not SPECS[verb].is_counted and seen.phase == SPECS[verb].goal and not seen.in_progress


def progress_of(verb: Verb, seen: Reading, *, begun: bool) -> OperationProgress:
    """Judge an accepted operation by what its CVM does: pure.

    Parameters
    ----------
    begun
        Whether the CVM was seen on its way to the target since.
    """
    phase, goal = seen.phase, SPECS[verb].goal
    at_rest = phase == goal or (begun and phase in SPECS[verb].rests)
    if at_rest and not seen.in_progress and (begun or SPECS[verb].judged_by != "history"):
        return OperationProgress("reached")
    if at_rest or phase in SPECS[verb].under_way or verb == "delete":
        return _GOING
    if phase in {"gone", "deleting"}:
        return OperationProgress("failed", f"'{seen.name}' was deleted meanwhile")
    if goal == "running":
        return _turn_of_boot(seen, begun=begun)
    if begun and phase in {"starting", "running"}:
        return OperationProgress("failed", f"'{seen.name}' was started again meanwhile")
    return _GOING


def _turn_of_boot(seen: Reading, *, begun: bool) -> OperationProgress:
    if seen.phase == "failed":
        why = seen.boot_error or f"its status is {seen.status}"
        return OperationProgress("failed", f"'{seen.name}' did not come up: {why}")
    if begun and seen.phase in _DOWN:
        return OperationProgress(
            "failed", f"'{seen.name}' was stopped meanwhile: it is {seen.doing}"
        )
    return _GOING
