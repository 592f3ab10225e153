"""RolloutRow: the progress of a rolling change for one instance of an app."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from cvm_notebook.live.operations.record import State

RolloutState: TypeAlias = State | Literal["planned", "kept", "refused", "gone"]
ROLLOUT_STATES: Final = (
    *("planned", "kept", "asked", "sent", "accepted", "reached"),
    *("failed", "refused", "unknown", "cancelled", "gone"),
)
FINISHED: Final[frozenset[RolloutState]] = frozenset({"kept", "reached", "gone"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """One instance of an app in a rolling change.

    Attributes
    ----------
    state
        As of an operation; or ``planned`` (nothing was sent yet), ``kept`` (it is as wanted:
        nothing was sent), ``refused`` (not possible: nothing was sent), ``gone``. Of an instance
        whose verdict was not good ``failed``, although its operation has reached its end.
    changes
        Which fields are otherwise.
    hash_before, hash_after
        Its compose hash; None where it is not known.
    revision_before
        The revision that it had before anything was sent to it.
    verdict
        The word of its verdict, where a policy was given.
    reason
        What is known beyond the state, in words.
    """

    cvm_id: str
    name: str
    state: RolloutState = "planned"
    changes: str = ""
    hash_before: str | None = None
    hash_after: str | None = None
    revision_before: str | None = None
    verdict: str | None = None
    reason: str = ""
    operation_id: str | None = None
    attempts: int = 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do for it."""
        return self.state in FINISHED

    @property
    def touched(self) -> bool:
        """Whether something was sent to it, so far as is known."""
        return self.attempts > 0
