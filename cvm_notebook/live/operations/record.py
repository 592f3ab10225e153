"""An operation in words and in html: escaped, without script, honest about what is not known."""

import html
from typing import TYPE_CHECKING, Final

from cvm_notebook.api.errors.envelope import clean_text

if TYPE_CHECKING:
    from cvm_notebook.live.operations.operation import OperationRecord

_STEPS: Final = ("asked", "sent", "accepted", "reached")
_MARKS: Final = {"reached": "✓", "failed": "✗", "unknown": "?", "cancelled": "-"}
_STATE_WORDS: Final = {
    "asked": "asked, not sent yet",
    "sent": "sent, no answer yet",
    "accepted": "accepted",
    "reached": "done",
    "failed": "failed",
    "unknown": "unknown",
    "cancelled": "cancelled",
}
_TEXT_CHARS: Final = 400


def as_text(record: "OperationRecord", *, named: bool = True) -> str:
    """Return one line: ``stop web-1: accepted, stopping``; without the name where that is shown."""
    state = _STATE_WORDS[record.state]
    if record.state == "asked" and record.delay:
        state = f"asked, sent after {record.delay:g} s unless it is cancelled"
    name = f" {clean_text(record.name, 80)}" if named else ""
    said = f"{record.verb}{name}: {state}"
    now = [record.status, record.progress] if record.state in {"accepted", "unknown"} else []
    seen = ", ".join(clean_text(word, 80) for word in now if word)
    return ". ".join(part for part in (f"{said}, {seen}" if seen else said, *_why(record)) if part)


def as_html(record: "OperationRecord", now: float) -> str:
    """Return one line of html with the steps it has gone through."""
    text = html.escape(as_text(record))
    seconds = f"{record.elapsed(now):.1f} s"
    asked = f"asked {record.asked_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f'<div class="cvm-operation"><span aria-hidden="true">{_steps(record)}</span> {text} '
        f'<small title="{html.escape(record.id)}">{asked}, {seconds}</small></div>'
    )


def _steps(record: "OperationRecord") -> str:
    """Return a dot for each step: full when it was taken."""
    taken = {
        "asked": True,
        "sent": record.sent_at is not None,
        "accepted": record.accepted_at is not None,
        "reached": record.reached_at is not None,
    }
    dots = "".join("●" if taken[step] else "○" for step in _STEPS)
    return dots + _MARKS.get(record.state, "")


def _why(record: "OperationRecord") -> list[str]:
    """Return what else a reader needs: note, error and hint, each once."""
    parts: list[str] = []
    for said in (record.note, record.error, record.hint):
        words = clean_text(said or "", _TEXT_CHARS).rstrip(".")
        if words and not any(words in part for part in parts):
            parts = [part for part in parts if part not in words] + [words]
    return parts
