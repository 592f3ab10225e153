"""AutoStop: a rule that shuts CVMs down when they are idle, or at a time, while its kernel runs."""

import html
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import UNSENT
from cvm_notebook.live.rules.occasions import Occasions
from cvm_notebook.live.rules.timetable import Timetable
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text, counted, html_table, span_words

ONLY_WHILE: Final = "acts only while this kernel runs"
_KEPT: Final = 1_000  # entries of a log, and operations
_NAME_CHARS: Final = 80

Chooser: TypeAlias = Callable[[Snapshot], tuple[Row, ...]]
Happening: TypeAlias = Literal["made", "asked", "taken back", "not asked", "missed", "ended"]


@dataclass(frozen=True, slots=True)
class AutoStopTerms:
    """The terms of a rule: its condition, and the CVMs it applies to.

    Attributes
    ----------
    where
        What it is about, in words.
    chosen
        The CVMs of a snapshot that it is about.
    idle, below
        It acts on those that were under this share of their CPU for so long; None for never.
    timetable
        It acts on all of them then; None for never.
    undo
        Seconds from asking to sending, in which the operation can be cancelled.
    """

    where: str
    chosen: Chooser
    idle: timedelta | None
    below: float
    timetable: Timetable | None
    undo: float

    def __str__(self) -> str:
        when = []
        if self.idle is not None:
            length = span_words(self.idle.total_seconds())
            when.append(f"after {length} under {self.below:.0%} of CPU")
        if self.timetable is not None:
            when.append(f"on schedule ({self.timetable})")
        return f"shuts down {self.where} {' or '.join(when)}"


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """One entry of a rule's log: an action, or why there was none."""

    at: datetime
    what: Happening
    why: str
    cvm_id: str | None = None
    name: str | None = None
    operation_id: str | None = None

    def __str__(self) -> str:
        who = f" {clean_text(self.name or self.cvm_id, _NAME_CHARS)}" if self.cvm_id else ""
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC  {self.what}{who}: {self.why}"


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """Counts of a rule's last look: CVMs that run, and of them those with private figures."""

    running: int = 0
    private: int = 0


class AutoStop:
    """A rule of a live fleet that shuts CVMs down. It acts only while this kernel runs.

    What it asks for stands in the ledger with its reason, and can be cancelled there for some
    seconds before it is sent. It asks once for each stretch of idleness, and once for each
    scheduled time. Safe to use from any thread.

    Attributes
    ----------
    terms
        When it acts, and on whom.

    Examples
    --------
    >>> rule = fleet.autostop(where="name like 'batch-%'", idle="1h", undo=120)
    >>> rule.active, rule.operations
    (True, ())
    >>> rule.cancel()
    """

    def __init__(
        self,
        rule_id: str,
        terms: AutoStopTerms,
        now: Callable[[], datetime],
        occasions: Occasions,
        *,
        kept_by: object = None,
    ) -> None:
        self.id = rule_id
        self.terms = terms
        self.occasions = occasions
        self.standing = RuleStanding()
        self._now = now
        self._kept_by = kept_by  # keeps the fleet alive while only the rule is referenced
        self._lock = threading.Lock()
        self._log: deque[RuleEvent] = deque(maxlen=_KEPT)
        self._asked: deque[tuple[Operation, bool]] = deque(maxlen=_KEPT)
        self._ended = False
        self.note("made", f"{terms}; {ONLY_WHILE}")

    @property
    def active(self) -> bool:
        """Whether it acts still."""
        return not self._ended

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations that the rule has submitted, the oldest first."""
        with self._lock:
            return tuple(operation for operation, _ in self._asked)

    def log(self) -> tuple[RuleEvent, ...]:
        """Return the log of its actions, and of those not taken, with reasons; the oldest first."""
        with self._lock:
            return tuple(self._log)

    @property
    def next_at(self) -> datetime | None:
        """The next time of its schedule, in UTC; None without one, or when it has ended."""
        table = self.terms.timetable
        return None if table is None or self._ended else table.after(self._now())

    def cancel(self) -> None:
        """End it: nothing more is asked for, and what was not sent yet is cancelled."""
        self.end("it was cancelled")

    # --- for its RuleBook ------------------------------------------------------------------

    def end(self, why: str) -> None:
        """End it, for a reason; twice does no harm."""
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            for operation in self.operations:
                self._cancel(operation, f"{self.id} ended: {why}")
            self.note("ended", why)

    def note(
        self, what: Happening, why: str, row: Row | None = None, op: str | None = None
    ) -> None:
        """Write an entry of the log."""
        cvm_id, name = (None, None) if row is None else (row.id, row.name)
        with self._lock:
            self._log.append(RuleEvent(self._now(), what, why, cvm_id, name, op))

    def asked(self, operation: Operation, row: Row, why: str, *, for_idleness: bool) -> None:
        """Take an operation that was asked for in its name."""
        with self._lock:
            self._asked.append((operation, for_idleness))
            ended = self._ended
        self.note("asked", why, row, operation.id)
        if ended:  # meanwhile, on another thread
            self._cancel(operation, f"{self.id} ended")

    def reconsider(self, busy: Callable[[str], bool]) -> None:
        """Take back what was asked for because of idleness that is over, if it is not sent yet."""
        with self._lock:
            waiting = [op for op, for_idleness in self._asked if for_idleness and not op.done]
        for operation in waiting:
            if operation.state in UNSENT and busy(operation.cvm_id or ""):
                self._cancel(operation, "it is busy again")

    def _cancel(self, operation: Operation, why: str) -> None:
        if operation.move(only=UNSENT, state="cancelled", done=True, note=why):
            self.note("taken back", why, operation.row, operation.id)

    # --- shown -----------------------------------------------------------------------------

    def _state(self) -> str:
        if self._ended:
            return "ended"
        due, table = self.next_at, self.terms.timetable
        at = "" if due is None or table is None else f"; next at {table.shown(due)}"
        return f"{ONLY_WHILE}{at}"

    def _about(self) -> str:
        counts = self.standing
        private = f", {counts.private} with private figures" if counts.private else ""
        return f"{counts.running} running{private}"

    def __repr__(self) -> str:
        count = len(self.operations)
        return f"<AutoStop {self.id}: {self.terms}; {self._state()}; {count} asked for>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        facts = [
            ("what", str(self.terms)),
            ("state", self._state()),
            ("now", self._about()),
            ("to take it back", f"{self.terms.undo:g} s"),
            *((f"{event.at:%Y-%m-%d %H:%M:%S} UTC", _entry(event)) for event in self.log()[-5:]),
        ]
        facts = [(label, clean_text(value, 300)) for label, value in facts]
        rows = "".join(
            f'<tr><th scope="row">{html.escape(label)}</th><td>{html.escape(value)}</td></tr>'
            for label, value in facts
        )
        title = f"Auto-stop {self.id}"
        lines = [title, *(f"  {label}: {value}" for label, value in facts)]
        caption = f"<caption>{html.escape(title)}</caption>"
        return {
            "text/plain": "\n".join(lines),
            "text/html": f"<table>{caption}<tbody>{rows}</tbody></table>",
        }


def _entry(event: RuleEvent) -> str:
    return str(event).partition("  ")[2]


class Rules(tuple[AutoStop, ...]):
    """The rules of a fleet; displayed as a table."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head = ("rule", "what", "state", "asked for")
        rows = [(one.id, str(one.terms), one._state(), str(len(one.operations))) for one in self]  # noqa: SLF001 - their own list
        title = f"{counted(len(self), 'rule')}: each {ONLY_WHILE}"
        plain = "\n".join([title, *(f"  {one!r}" for one in self)])
        return {"text/plain": plain, "text/html": html_table(title, head, rows)}
