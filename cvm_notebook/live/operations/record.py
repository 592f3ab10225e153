"""OperationRecord: an operation at a moment, and how it is shown as text and as html."""

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.text import clean_text

State: TypeAlias = Literal["asked", "sent", "accepted", "reached", "failed", "unknown", "cancelled"]
UNSENT: Final[frozenset[State]] = frozenset({"asked"})
ENDED: Final[frozenset[State]] = frozenset({"reached", "failed", "cancelled"})
_STEPS: Final = ("asked", "sent", "accepted", "reached")
_MARKS: Final = {"reached": "✓", "failed": "✗", "unknown": "?", "cancelled": "-"}
_STATE_WORDS: Final = {
    "asked": "queued",
    "sent": "waiting for an answer",
    "accepted": "accepted",
    "reached": "done",
    "failed": "failed",
    "unknown": "unknown",
    "cancelled": "cancelled",
}
_TEXT_CHARS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRecord:
    """One entry of the ledger at a moment; frozen.

    Attributes
    ----------
    id, verb, params
        What was asked; params without secrets.
    cvm_id, name
        Of which CVM. A commit or a replication learns the id of the CVM it made as ``made_id``.
    target
        The status it leads to.
    state
        ``asked`` (not sent yet), ``sent``, ``accepted``, then ``reached`` or ``failed``;
        ``unknown`` when it was sent and nobody can tell what became of it; ``cancelled``.
    done
        Nothing more will be done about it. An unknown one is done when reading has shown nothing
        in the time allowed.
    note
        What is known beyond the state, in a sentence.
    status, progress
        The CVM's status, and how far it has booted, when last seen.
    attempts
        Calls that were sent; 0 where none was needed or possible.
    delay
        Seconds from asking to sending, in which it can be cancelled.
    asked_at, sent_at, accepted_at, reached_at, ended_at
        Wall times in UTC. ``elapsed`` is by the monotonic clock.
    who
        Where the key came from, in words.
    recovered
        It was found under way, and not asked for here.
    reason
        Why it was asked for, where a rule asked.
    """

    id: str
    verb: Verb
    cvm_id: str | None
    name: str
    target: str
    state: State = "asked"
    done: bool = False
    note: str = ""
    status: str | None = None
    progress: str | None = None
    attempts: int = 0
    delay: float = 0.0
    asked_at: datetime
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    reached_at: datetime | None = None
    ended_at: datetime | None = None
    asked: float
    sent: float | None = None
    accepted: float | None = None
    ended: float | None = None
    http_status: int | None = None
    error_code: str | None = None
    error: str | None = None
    hint: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    made_id: str | None = None
    who: str | None = None
    recovered: bool = False
    reason: str = ""

    def elapsed(self, now: float) -> float:
        """Return the seconds from asking to the end, or until now."""
        return max(0.0, (now if self.ended is None else self.ended) - self.asked)


def as_text(record: OperationRecord, *, named: bool = True) -> str:
    """Return one line: ``stop web-1: accepted, stopping``; without the name where that is shown."""
    state = _STATE_WORDS[record.state]
    if record.state == "asked" and record.delay:
        state = f"asked, sent after {record.delay:g} s unless it is cancelled"
    name = f" {clean_text(record.name, 80)}" if named else ""
    text = f"{record.verb}{name}: {state}"
    now = [record.status, record.progress] if record.state in {"accepted", "unknown"} else []
    seen = ", ".join(clean_text(word, 80) for word in now if word)
    return ". ".join(part for part in (f"{text}, {seen}" if seen else text, *_why(record)) if part)


def as_html(record: OperationRecord, now: float) -> str:
    """Return one line of html with the steps it has gone through."""
    text = html.escape(as_text(record))
    seconds = f"{record.elapsed(now):.1f} s"
    asked = f"asked {record.asked_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f'<div class="cvm-operation"><span aria-hidden="true">{_steps(record)}</span> {text} '
        f'<small title="{html.escape(record.id)}">{asked}, {seconds}</small></div>'
    )


def _steps(record: OperationRecord) -> str:
    """Return a dot for each step: full when it was taken."""
    taken = {
        "asked": True,
        "sent": record.sent_at is not None,
        "accepted": record.accepted_at is not None,
        "reached": record.reached_at is not None,
    }
    dots = "".join("●" if taken[step] else "○" for step in _STEPS)
    return dots + _MARKS.get(record.state, "")


def _why(record: OperationRecord) -> list[str]:
    """Return what else a reader needs: note, error and hint, each once."""
    parts: list[str] = []
    for text in (record.reason, record.note, record.error, record.hint):
        sentence = clean_text(text or "", _TEXT_CHARS).rstrip(".")
        if sentence and not any(sentence in part for part in parts):
            parts = [part for part in parts if part not in sentence] + [sentence]
    return parts
