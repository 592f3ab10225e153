"""Toasts: notifications of a table's operations at its lower right, a few at a time."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from cvm_notebook.api.verbs import SPECS, Verb
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.clicks import cvms_named, undone_text

_MOST: Final = 4
_NAMED: Final = 5
_STAYS_S: Final = 8.0  # of what went well
_REASON_CHARS: Final = 240
OfOperation: TypeAlias = Callable[[Operation], bool | None]
ToastKind: TypeAlias = Literal["waiting", "going", "done", "unknown", "failed"]
_GOES_FIRST: Final[tuple[ToastKind, ...]] = ("done", "going", "unknown", "failed", "waiting")


@dataclass(slots=True)
class Toast:
    """The notification of one click: one verb on one or more CVMs.

    Attributes
    ----------
    due
        The monotonic time until which it can be undone.
    ended
        When it was first seen to have ended well.
    """

    verb: Verb
    operations: tuple[Operation, ...]
    due: float
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    ended: float | None = None

    @property
    def records(self) -> list[OperationRecord]:
        """The current records of the operations."""
        return [operation.record for operation in self.operations]

    @property
    def kind(self) -> ToastKind:
        """The kind of the notification."""
        records = self.records
        states = {record.state for record in records}
        if "failed" in states:
            return "failed"
        if "unknown" in states:
            return "unknown" if all(one.done for one in records) else "going"
        if all(record.done for record in records):
            return "done"
        return "waiting" if "asked" in states and self.due > time.monotonic() else "going"

    def text(self) -> str:
        """Return it as a sentence."""
        spec, records, kind = SPECS[self.verb], self.records, self.kind
        names = [record.name for record in records]
        if kind in {"waiting", "going"}:
            doubtful = any(record.state == "unknown" for record in records)
            known = "no answer yet, looking what became of it"
            doing = f"{spec.doing} {cvms_named(names)}"
            return f"{doing}: {known}" if doubtful else doing
        if kind == "done":
            return self._ended_well(records)
        bad = self._bad()
        few = len(bad) < len(records)
        of = f"{len(bad)} of {cvms_named(names)}" if few else cvms_named([one.name for one in bad])
        if kind == "unknown":
            return f"{spec.noun} of {of}: no answer came. Nobody can tell what became of it"
        return f"{spec.noun} of {of} failed: {_reason(bad[0])}"

    def _bad(self) -> list[Operation]:
        return [one for one in self.operations if one.state in {"failed", "unknown"}]

    def details(self) -> str:
        """Return all that is known of why it went wrong."""
        return "\n".join(clean_text(as_text(one.record), 600) for one in self._bad()[:_NAMED])

    def _ended_well(self, records: Sequence[OperationRecord]) -> str:
        back = [record.name for record in records if record.state == "cancelled"]
        if back:
            return undone_text(self.verb, back, len(records) - len(back))
        if len(records) == 1 and not records[0].attempts and records[0].note:
            return clean_text(records[0].note, _REASON_CHARS)
        return f"{SPECS[self.verb].done} {cvms_named([record.name for record in records])}"

    def spec(self, now: float, may_be_retried: OfOperation) -> dict[str, Any]:
        """Return it as the views draw it; `left` are the seconds of a countdown."""
        kind = self.kind
        waiting = kind == "waiting"
        left = self.due - now if waiting else self.left(now) if kind == "done" else None
        return {
            "id": self.id,
            "kind": kind,
            "text": self.text(),
            "details": self.details(),
            "left": None if left is None else round(max(left, 0.0), 1),
            "ops": [one.id for one in self.operations] if waiting else [],
            "retry": kind in {"failed", "unknown"} and any(map(may_be_retried, self.operations)),
        }

    def left(self, now: float) -> float:
        """Return the seconds for which the success is still shown."""
        self.ended = now if self.ended is None else self.ended
        return self.ended + _STAYS_S - now


def _reason(operation: Operation) -> str:
    error = operation.error
    reason = error.message if error is not None else operation.note
    return clean_text(reason or "the service does not say why", _REASON_CHARS).rstrip(".")


class Toasts:
    """The toasts of one table, the newest last. Only the UI thread calls it.

    Parameters
    ----------
    changed
        Called where there is something new to show.
    may_be_retried
        Tells of what went wrong whether it can be asked for once more.
    """

    def __init__(self, changed: Callable[[], object], may_be_retried: OfOperation) -> None:
        self._changed, self._may_be_retried = changed, may_be_retried
        self._toasts: tuple[Toast, ...] = ()
        self._sent: list[dict[str, Any]] = []

    def sent(self, verb: Verb, operations: Sequence[Operation], left: float) -> None:
        """Show what a click has asked for."""
        toasts = [*self._toasts, Toast(verb, tuple(operations), time.monotonic() + left)]
        while len(toasts) > _MOST:
            toasts.remove(min(toasts, key=lambda one: _GOES_FIRST.index(one.kind)))
        self._toasts = tuple(toasts)
        self._changed()

    def dismiss(self, toast_id: object) -> None:
        """Tell no more of one."""
        self._toasts = tuple(one for one in self._toasts if one.id != toast_id)
        self._changed()

    def resolve(self, operations: Sequence[Operation]) -> None:
        """Tell no more of operations that were retried, or turned out to be done."""
        for one in self._toasts:
            one.operations = tuple(op for op in one.operations if op not in operations)
        self._toasts = tuple(one for one in self._toasts if one.operations)
        self._changed()

    def get(self, toast_id: object) -> Toast | None:
        """Return the toast of that id, if it is there still."""
        return next((one for one in self._toasts if one.id == toast_id), None)

    def specs(self) -> list[dict[str, Any]]:
        """Return them as the views draw them."""
        now = time.monotonic()
        over = [one for one in self._toasts if one.kind == "done" and one.left(now) <= 0]
        self._toasts = tuple(one for one in self._toasts if one not in over)
        return [one.spec(now, self._may_be_retried) for one in self._toasts]

    def changed_specs(self) -> list[dict[str, Any]] | None:
        """Return them where they differ from the last time; the seconds do not count."""
        specs = self.specs()
        bare = [{**one, "left": one["left"] is not None} for one in specs]
        if bare == self._sent:
            return None
        self._sent = bare
        return specs
