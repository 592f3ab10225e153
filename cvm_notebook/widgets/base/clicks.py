"""ClickHandler: each click is judged, confirmed where it destroys, sent once, and answered."""

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.verbs import SPECS, Verb, check_verb
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.confirm import Confirmation

UNDO_S: Final = 5.0  # seconds in which a stop or a deletion that was clicked can be taken back
_CLICKS: Final = 1_000
_CLICK_CHARS: Final = 1_000
_OPEN: Final = 20  # questions at a time
_ANSWER_WITHIN: Final = 600.0
_REASONS: Final = 3
Say = Callable[[dict[str, Any]], object]


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
        Seconds in which a stop or a deletion can be taken back.
    """

    def __init__(self, fleet: FleetEngine, say: Say, *, undo: float = UNDO_S) -> None:
        self._fleet = weakref.ref(fleet)
        self._say = say
        self.undo = undo
        self._recent = RecentClicks()
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

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

    def take_back(self, operations: list[str]) -> None:
        """Cancel operations that wait to be sent."""
        fleet = self._fleet()
        if fleet is None:
            return
        found = [op for one in operations if (op := fleet.operator.get(one)) is not None]
        back = sum(op.cancel() for op in found)
        late = len(found) - back
        text = f"Taken back: {back}." + (f" {late} had been sent already." if late else "")
        self._say({"kind": "undone", "ops": operations, "text": text})

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Take a message of the view's; False when it is about something else, or malformed."""
        kind, click = message.get("kind"), message.get("click")
        if kind == "undo":
            self.take_back(_strings(message.get("ops")))
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
        first = clean_text(sent[0].name, 80) if len(sent) == 1 else f"{len(sent)} CVMs"
        self._say({
            "kind": "asked",
            "click": click,
            "ops": [one.id for one in sent],
            "undo": delay if waiting else 0,
            "text": f"{plan.verb} {first}",
        })  # fmt: skip

    def _notice(self, click: str, text: str) -> None:
        self._say({"kind": "notice", "click": click, "text": text})


def _strings(value: object) -> list[str]:
    """Return the strings of a list that came from a front end."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
