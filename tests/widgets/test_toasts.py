"""Toasts: what a click came to is shown until it has ended, and nothing is sent twice by them."""

import time
from datetime import UTC, datetime

import pytest
from helpers import until

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.widgets.base.clicks import undone_text
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.table.toasts import Toast, Toasts

CVMS = ("web-1", "web-2")


def operation(verb="stop", name="web-1", cvm_id="cvm_1", **fields):
    record = OperationRecord(
        id=f"{verb}-{name}-{time.monotonic_ns()}",
        verb=verb,
        cvm_id=cvm_id,
        name=name,
        target="stopped",
        asked_at=datetime(2026, 6, 1, tzinfo=UTC),
        asked=0.0,
        **fields,
    )
    return Operation(record, clock=SystemClock(), on_change=lambda _: None)


def toast(*operations, verb="stop", left=0.0):
    return Toast(verb, operations, time.monotonic() + left)


def test_each_state_of_one_has_its_words():
    asked = operation(delay=5.0)
    one = toast(asked, left=60)
    assert (one.kind, one.text()) == ("waiting", "Stopping web-1")
    asked.move(state="sent", attempts=1)
    assert (one.kind, one.text()) == ("going", "Stopping web-1")
    asked.move(state="reached", done=True)
    assert (one.kind, one.text()) == ("done", "Stopped web-1")
    refused = toast(operation(state="sent"))
    refused.operations[0].move(state="failed", done=True, error=CvmError("no room", hint="Wait."))
    assert (refused.kind, refused.text()) == ("failed", "Stop of web-1 failed: no room")
    assert "Wait" in refused.details()


def test_several_are_counted():
    many = [operation(name=f"web-{n}", state="accepted") for n in range(3)]
    one = toast(*many)
    assert one.text() == "Stopping 3 CVMs"
    many[0].move(state="failed", done=True, error=CvmError("no room"))
    assert one.text() == "Stop of 1 of 3 CVMs failed: no room"
    taken = toast(*(operation(name=f"web-{n}", state="cancelled", done=True) for n in range(3)))
    assert (taken.kind, taken.text()) == ("done", "Undone: 3 CVMs keep running.")


def test_what_was_taken_back_in_time_and_too_late_is_shown():
    assert undone_text("stop", ["a", "b", "c"], 1) == (
        "Undone: 3 CVMs keep running. 1 was already stopping."
    )
    assert undone_text("delete", ["a"], 2) == "Undone: a is kept. 2 were already deleting."
    assert undone_text("stop", [], 1) == "1 was already stopping."


def test_what_went_wrong_is_offered_again_where_that_may_be():
    refused = operation(state="failed", done=True)
    one, now = toast(refused, operation(state="reached", done=True)), time.monotonic()
    assert one.spec(now, lambda op: op is refused)["retry"]
    assert not one.spec(now, lambda _: False)["retry"]
    assert not toast(operation(state="accepted")).spec(now, lambda _: True)["retry"]


def test_what_is_settled_by_a_retry_is_shown_no_more():
    toasts = Toasts(lambda: None, lambda _: True)
    first, second = (operation(name=n, state="unknown", done=True) for n in ("web-1", "web-2"))
    toasts.sent("stop", [first, second], 0.0)
    toasts.resolve([first])
    (left,) = toasts.specs()
    assert left["text"].startswith("Stop of web-2: no answer came.")
    toasts.resolve([second])
    assert toasts.specs() == []


def test_they_are_few_and_what_went_well_goes_first():
    toasts = Toasts(lambda: None, lambda _: True)
    states = [("failed", True), ("reached", True), ("accepted", False), ("unknown", True)]
    for state, done in states:
        toasts.sent("stop", [operation(state=state, done=done)], 0.0)
    toasts.sent("stop", [operation()], 60.0)
    kinds = [one["kind"] for one in toasts.specs()]
    assert kinds == ["failed", "going", "unknown", "waiting"]
    for _ in range(4):
        toasts.sent("stop", [operation()], 60.0)
    assert [one["kind"] for one in toasts.specs()] == ["waiting"] * 4


# --- in a table -----------------------------------------------------------------------------------


class Front:
    def __init__(self, wire, fleet, **settings):
        self.wire, self.fleet, self.table = wire, fleet, fleet.table(**settings)

    def say(self, kind, **content):
        message = {"kind": kind, "token": self.table._token, "n": 1, **content}
        self.wire.say(self.table, message)

    def act(self, verb, name, click):
        k = self.table._feed.number(self.fleet[name].id)
        self.say("act", verb=verb, ks=[k], click=click, revision=self.fleet.store.revision)

    def until(self, right):
        """Return the first toast that was ever sent and is so."""
        for after in range(60):
            for one in self.wire.wait(self.table, "toasts", after=after)["items"]:
                if right(one):
                    return one
        pytest.fail("there is no such toast")


def of(fleet, verb):
    return [record for record in fleet.operator.records() if record.verb == verb]


def test_a_stop_is_shown_until_it_has_stopped_and_need_not_wait(wire, fleet):
    front = Front(wire, fleet, undo=300)
    front.act("stop", "web-1", "c-1")
    waiting = front.until(lambda one: one["kind"] == "waiting")
    assert waiting["text"] == "Stopping web-1"
    assert 290 < waiting["left"] <= 300
    front.say("hello", n=0)  # of a page that is loaded again
    assert wire.wait(front.table, "snapshot")["toasts"][0]["ops"] == waiting["ops"]
    front.say("now", ops=waiting["ops"])
    assert front.until(lambda one: one["kind"] == "done")["text"] == "Stopped web-1"
    (record,) = of(fleet, "stop")
    assert record.attempts == 1


def test_a_stop_that_is_taken_back_says_what_goes_on(wire, fleet):
    front = Front(wire, fleet, undo=300)
    front.act("stop", "web-1", "c-1")
    waiting = front.until(lambda one: one["kind"] == "waiting")
    front.say("undo", ops=waiting["ops"])
    done = front.until(lambda one: one["kind"] == "done")
    assert done["text"] == "Undone: web-1 keeps running."
    front.say("dismiss", id=done["id"])
    until(lambda: wire.sent(front.table, "toasts")[-1]["items"] == [])
    assert of(fleet, "stop")[0].attempts == 0


def test_what_failed_stays_and_is_asked_for_again_once(wire, fleet, cloud):
    front = Front(wire, fleet, undo=0)
    route = f"POST /cvms/{fleet['web-1'].id}/stop"
    cloud.inject({"kind": "status", "arg": 422, "route": route, "times": 1})
    front.act("stop", "web-1", "c-1")
    failed = front.until(lambda one: one["kind"] == "failed")
    assert failed["text"].startswith("Stop of web-1 failed: ")
    assert (failed["retry"], failed["left"]) == (True, None)
    for n in range(3):  # a hand that trembles
        front.say("retry", id=failed["id"], click=f"r-{n}")
    assert front.until(lambda one: one["kind"] == "done")["text"] == "Stopped web-1"
    assert [record.state for record in of(fleet, "stop")] == ["failed", "reached"]


def lost(front, client, name):
    """A stop that was sent and got no answer, and is looked for no more."""
    op = front.fleet.operator.submit("stop", front.fleet[name].row, delay=600)
    op.intent = client.intent("stop", op.cvm_id)
    op.move(state="sent")
    op.move(state="unknown", done=True)
    ui_thread.post(lambda: front.table._toasts.sent("stop", [op], 0.0))
    return front.until(lambda one: one["kind"] == "unknown")


def test_what_got_no_answer_is_read_first_and_not_sent_where_it_was_carried_out(
    wire, fleet, client
):
    front = Front(wire, fleet, undo=0)
    unknown = lost(front, client, "web-1")
    client.stop_cvm("web-1")
    client.watch_cvm_state("web-1", target="stopped")
    front.say("retry", id=unknown["id"], click="r-1")
    message = wire.wait(front.table, "notice")["text"]
    assert message == "Not sent again: stop web-1 was carried out."
    until(lambda: wire.sent(front.table, "toasts")[-1]["items"] == [])
    assert len(of(fleet, "stop")) == 1


def test_what_got_no_answer_and_cannot_be_read_is_not_sent(wire, fleet, client, cloud):
    front = Front(wire, fleet, undo=0)
    unknown = lost(front, client, "web-1")
    route = f"GET /cvms/{fleet['web-1'].id}"
    cloud.inject({"kind": "status", "arg": 403, "route": route, "times": 1})
    front.say("retry", id=unknown["id"], click="r-1")
    message = wire.wait(front.table, "notice")["text"]
    assert message.startswith(
        "Not sent again: nobody can tell whether stop web-1 was carried out ("
    )
    assert len(of(fleet, "stop")) == 1
    front.say("retry", id=unknown["id"], click="r-2")
    assert front.until(lambda one: one["kind"] == "done")["text"] == "Stopped web-1"
    assert len(of(fleet, "stop")) == 2
