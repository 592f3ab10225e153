"""Outcome: the result of a plan, row by row; partial failure is a result."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.record import OperationRecord, State
from cvm_notebook.text import clean_text

OutcomeState: TypeAlias = State | Literal["planned", "refused", "skipped"]
_NAMED = 3  # failures that a repr names


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """The result of one row of a plan.

    Attributes
    ----------
    state
        As of an operation; or ``planned`` (not sent yet), ``refused`` (not possible, nothing was
        sent), ``skipped`` (nothing needed to be done).
    reason
        Why, where there is something to say.
    elapsed
        Seconds since it was asked for, or until its end.
    """

    cvm_id: str
    name: str
    verb: Verb
    state: OutcomeState
    reason: str = ""
    hint: str | None = None
    operation_id: str | None = None
    attempts: int = 0
    http_status: int | None = None
    error_code: str | None = None
    elapsed: float | None = None

    @classmethod
    def of_record(cls, cvm_id: str, record: OperationRecord, now: float) -> "OutcomeRow":
        """Tell of a row that has an operation."""
        refused = record.state == "failed" and record.attempts == 0
        skipped = record.state == "reached" and record.sent is None and record.accepted is None
        state: OutcomeState = "refused" if refused else "skipped" if skipped else record.state
        return cls(
            cvm_id=cvm_id,
            name=record.name,
            verb=record.verb,
            state=state,
            reason=record.error or record.note,
            hint=record.hint,
            operation_id=record.id,
            attempts=record.attempts,
            http_status=record.http_status,
            error_code=record.error_code,
            elapsed=record.elapsed(now),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every row of a plan, in its order, with what became of it so far.

    Attributes
    ----------
    interrupted
        It was stopped by Ctrl-C; `Plan.resume` sends the rest.
    """

    rows: tuple[OutcomeRow, ...]
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[OutcomeRow]:
        return iter(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by state."""
        return dict(Counter(row.state for row in self.rows))

    @property
    def failed(self) -> tuple[OutcomeRow, ...]:
        """The rows that did not come to what was asked: failed, refused or unknown."""
        return tuple(row for row in self.rows if row.state in {"failed", "refused", "unknown"})

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and nothing is left to be sent."""
        left = {"planned", "cancelled"}
        return not self.failed and not any(row.state in left for row in self.rows)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items()) or "no CVMs"
        stopped = ", interrupted" if self.interrupted else ""
        failures = "".join(
            f"\n  {clean_text(row.name, 80)}: {row.state}: {clean_text(row.reason, 200)}"
            for row in self.failed[:_NAMED]
        )
        more = len(self.failed) - _NAMED
        rest = f"\n  and {more} more" if more > 0 else ""
        return f"<Outcome: {counts}{stopped}>{failures}{rest}"
