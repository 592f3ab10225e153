"""ClickHandler: each click is judged, confirmed where it destroys, sent once, and answered."""

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.verbs import SPECS, Verb, check_verb
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.plans.retry import RetryCheck, check_retry, may_be_retried, unresolved
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.confirm import Confirmation
from cvm_notebook.widgets.base.ui_thread import ui_thread

UNDO_S: Final = 5.0  # seconds in which a stop or a deletion that was clicked can be undone
_CLICKS: Final = 1_000
_CLICK_CHARS: Final = 1_000
_OPEN: Final = 20  # questions at a time
_ANSWER_WITHIN: Final = 600.0
_REASONS: Final = 3  # that are listed one by one
Say = Callable[[dict[str, Any]], object]
OnSent = Callable[[Verb, Sequence[Operation], float], object]
OnRetried = Callable[[Sequence[Operation]], object]


def cvms_named(names: Sequence[str]) -> str:
    """Return the name of one CVM, or how many there are."""
    return clean_text(names[0], 80) if len(names) == 1 else f"{len(names)} CVMs"


@dataclass(frozen=True, slots=True)
class _Asked:
    confirmation: Confirmation
    plan: Plan
    revision: int
    until: float


class RecentClicks:
    """The ids of the last clicks of a view: one that comes twice counts once."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def is_new(self, click: object) -> bool:
        """Return whether it is the id of a click that has not come before; note it."""
        if not isinstance(click, str) or not 0 < len(click) <= _CLICK_CHARS or click in self._ids:
            return False
        self._ids[click] = None
        while len(self._ids) > _CLICKS:
            self._ids.popitem(last=False)
        return True


class ClickHandler:
    """Handler of the clicks of one view. Runs on the UI thread; nothing here waits.

    Parameters
    ----------
    fleet
        Held weakly: a view must not keep a fleet that everybody else has dropped.
    say
        Sends a message to the view.
    undo
        Seconds in which a stop or a deletion can be undone.

    Attributes
    ----------
    on_sent
        Called with what a click has asked for, and the seconds until it is sent; it then
        shows what becomes of it, also when it is undone.
    on_retried
        Called with operations that went wrong and are settled by a retry.
    settled
        What was read of operations that turned out to be done, by id.
    """

    on_sent: OnSent | None = None
    on_retried: OnRetried | None = None

    def __init__(self, fleet: FleetEngine, say: Say, *, undo: float = UNDO_S) -> None:
        self._fleet = weakref.ref(fleet)
        self._say = say
        self.undo = undo
        self._recent = RecentClicks()
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._reading: set[str] = set()  # operations that are read back
        self.settled: dict[str, str] = {}

    def act(self, verb: str, ids: list[str], *, click: str, revision: int) -> None:
        """Take a click: do it, ask first, or say why not.

        Parameters
        ----------
        ids, revision
            The CVMs as they were shown, and the store's revision that was.
        click
            Tells this click from others: one that comes twice counts once.
        """
        fleet = self._fleet()
        if fleet is None or not self._recent.is_new(click):
            return
        try:
            plan, missing = self._plan(fleet, check_verb(verb), ids)
        except CvmError as error:
            self._notice(click, str(error))
            return
        why = [row.reason for row in plan.rows() if not row.sends and row.reason] + missing
        if not ids:
            self._notice(click, "Nothing was sent: what was clicked is no longer in the fleet.")
            return
        if not plan.sends:
            self._notice(click, "; ".join(clean_text(one, 200) for one in why[:_REASONS]))
            return
        question = Confirmation.of(plan, fleet.store.snapshot())
        if question is None:
            self._send(fleet, plan, click, revision)
            return
        while len(self._asked) >= _OPEN:
            self._asked.popitem(last=False)
        until = time.monotonic() + _ANSWER_WITHIN
        self._asked[click] = _Asked(question, plan, revision, until)
        self._say(question.spec(click))

    def confirmed(self, click: str, typed: str, ticked: int) -> None:
        """Take the answer to a question: right, it is sent; wrong, the question stays open."""
        fleet, asked = self._fleet(), self._asked.get(click)
        if fleet is None:
            return
        if asked is None or time.monotonic() > asked.until:
            self._asked.pop(click, None)
            self._notice(click, "Nothing was sent: that question is too old. Ask once more.")
            return
        refusal = asked.confirmation.refusal(typed, ticked)
        if refusal is not None:
            self._say({"kind": "refused", "click": click, "text": refusal})
            return
        del self._asked[click]
        self._send(fleet, asked.plan, click, asked.revision)

    def cancelled(self, click: str) -> None:
        """Forget a question."""
        self._asked.pop(click, None)

    def undo_operations(self, operations: list[str]) -> None:
        """Cancel operations that wait to be sent."""
        fleet = self._fleet()
        if fleet is None:
            return
        found = [op for one in operations if (op := fleet.operator.get(one)) is not None]
        back = [op.name for op in found if op.cancel()]
        if self.on_sent is None:
            late = len(found) - len(back)
            text = undone_text(found[0].verb, back, late) if found else ""
            self._say({"kind": "undone", "ops": operations, "text": text})

    def send_now(self, operations: list[str]) -> None:
        """Send what waits in the time in which it can be undone."""
        fleet = self._fleet()
        if fleet is None:
            return
        for one in operations:
            operation = fleet.operator.get(one)
            if operation is not None and operation.state == "asked":
                fleet.operator.send_now(operation)

    def may_be_retried(self, operation: Operation) -> bool:
        """Return whether a retry of it is to be offered."""
        fleet = self._fleet()
        return fleet is not None and may_be_retried(fleet.operator, operation)

    def retry(self, operations: Sequence[Operation], *, click: str, workers: Workers) -> None:
        """Ask once more for what went wrong of these: each is read back before, on a worker."""
        fleet = self._fleet()
        if fleet is None or any(one.id in self._reading for one in operations):
            return
        last = {record.id for record in unresolved(fleet.operator.records())}
        wrong = [one for one in operations if one.id in last and self.may_be_retried(one)]
        if not wrong:
            text = "Not retried: something else was asked of this CVM since."
            self._notice(click, text)
            return
        self._reading.update(one.id for one in wrong)
        workers.do(partial(self._check_retry, wrong, click))

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Take a message of the view's; False when it is about something else, or malformed."""
        kind, click = message.get("kind"), message.get("click")
        if kind in {"undo", "now"}:
            act = self.undo_operations if kind == "undo" else self.send_now
            act(_strings(message.get("ops")))
            return True
        if not isinstance(click, str) or not click or len(click) > _CLICK_CHARS:
            return False
        if kind == "act":
            revision = message.get("revision")
            self.act(
                str(message.get("verb")),
                _strings(message.get("ids")),
                click=click,
                revision=revision if isinstance(revision, int) else 0,
            )
        elif kind == "confirmed":
            ticked = message.get("ticked")
            typed = str(message.get("typed", ""))
            self.confirmed(click, typed, ticked if isinstance(ticked, int) else 0)
        elif kind == "cancelled":
            self.cancelled(click)
        else:
            return False
        return True

    def _check_retry(self, wrong: Sequence[Operation], click: str) -> None:
        """Read back what went wrong, on a worker; go on on the UI thread."""
        fleet = self._fleet()
        if fleet is not None:
            check = check_retry(fleet.operator, wrong)
            ui_thread.post(partial(self._ask_again, wrong, check, click))

    def _ask_again(self, wrong: Sequence[Operation], check: RetryCheck, click: str) -> None:
        fleet = self._fleet()
        self._reading.difference_update(one.id for one in wrong)
        self.settled |= check.done
        if fleet is not None and check.again:
            ids, revision = [one.cvm_id or "" for one in check.again], fleet.store.revision
            self.act(check.again[0].verb, ids, click=click, revision=revision)
        if check.messages:
            more = len(check.messages) - _REASONS
            why = "; ".join(check.messages[:_REASONS]) + (f"; and {more} more" if more > 0 else "")
            self._notice("" if check.again else click, f"Not sent again: {why}.")
        if self.on_retried is not None:
            self.on_retried([one for one in wrong if check.is_settled(one)])

    def _plan(self, fleet: FleetEngine, verb: Verb, ids: list[str]) -> tuple[Plan, list[str]]:
        rows, missing = [], []
        for cvm_id in dict.fromkeys(ids):
            row = fleet.known(cvm_id)
            if row is not None:
                rows.append(row)
            else:
                missing.append(f"{clean_text(cvm_id, 80)} is no longer in the fleet")
        return Plan(rows, verb, operations=fleet.operator), missing

    def _send(self, fleet: FleetEngine, plan: Plan, click: str, revision: int) -> None:
        delay = self.undo if SPECS[plan.verb].undoable else 0.0
        sent = []
        try:
            for planned in plan.rows():
                row = fleet.known(planned.cvm_id)
                if planned.sends and row is not None:
                    # of what others have changed since it was shown, it is asked once more
                    submit = fleet.operator.submit
                    sent.append(submit(plan.verb, row, delay=delay, expected_revision=revision))
        except CvmError as error:
            self._notice(click, str(error))
        waiting = [one.id for one in sent if one.state == "asked"]
        left = delay if waiting else 0
        self._say({
            "kind": "asked",
            "click": click,
            "ops": [one.id for one in sent],
            "undo": left,
            "text": f"{SPECS[plan.verb].doing} {cvms_named([one.name for one in sent])}",
        })  # fmt: skip
        if self.on_sent is not None and sent:
            self.on_sent(plan.verb, sent, left)

    def _notice(self, click: str, text: str) -> None:
        self._say({"kind": "notice", "click": click, "text": text})


def undone_text(verb: Verb, back: Sequence[str], late: int) -> str:
    """Return the sentence about an undo: the CVMs it was in time for, and how many it was not."""
    spec, sentences = SPECS[verb], []
    if back:
        sentences.append(f"Undone: {cvms_named(back)} {spec.unchanged[len(back) > 1]}.")
    if late:
        sentences.append(f"{late} {'was' if late == 1 else 'were'} already {spec.doing.lower()}.")
    return " ".join(sentences)


def _strings(value: object) -> list[str]:
    """Return the strings of a list that came from a front end."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
