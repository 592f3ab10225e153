"""What failed or got no answer may be asked again: never twice, and only where nothing was done."""

from dataclasses import replace

import pytest

from cvm_notebook.api.errors.tree import CvmError, ServerError
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.plans.retry import check_retry, may_be_retried, read_back, unresolved


def ended(record, number, **changes):
    return replace(record, id=f"op_{number}", **{"done": True, **changes})


def test_only_the_last_thing_that_was_asked_of_a_cvm_is_unresolved(bench):
    (row,) = bench.make()
    one = bench.operations.submit("stop", row, delay=60).record
    failed = ended(one, 1, state="failed")
    elsewhere = ended(one, 2, state="unknown", cvm_id="cvm_other")
    made = ended(one, 3, state="failed", cvm_id=None)
    assert unresolved([failed, elsewhere, made]) == (failed, elsewhere, made)
    assert unresolved([failed, ended(one, 4, state="reached")]) == ()
    assert unresolved([failed, ended(one, 4, state="cancelled")]) == ()
    assert unresolved([ended(one, 5, state="unknown", done=False)]) == ()


REFUSED = CvmError("no room")
LOST = ServerError(504, "a gateway failed")


@pytest.mark.parametrize(
    ("verb", "fields", "error", "again"),
    [
        ("stop", {"state": "failed", "done": True}, REFUSED, True),
        ("replicate", {"state": "failed", "done": True}, REFUSED, True),
        ("replicate", {"state": "failed", "done": True}, LOST, False),  # it may have made one
        ("replicate", {"state": "failed", "done": True, "accepted": 1.0}, REFUSED, False),
        ("replicate", {"state": "unknown", "done": True}, LOST, False),
        ("update", {"state": "failed", "done": True}, REFUSED, False),  # of what?
        ("stop", {"state": "unknown", "done": True}, LOST, True),  # once it is read back
        ("restart", {"state": "unknown", "done": True}, LOST, True),
        ("stop", {"state": "unknown"}, LOST, False),  # it is being read
        ("stop", {"state": "accepted"}, None, False),
        ("stop", {"state": "reached", "done": True}, None, False),
    ],
)
def test_what_may_have_made_a_cvm_is_not_retried(bench, verb, fields, error, again):
    (row,) = bench.make()
    asked = bench.operations.submit("stop", row, delay=60)
    record = replace(asked.record, id="op_1", verb=verb, **fields)
    wrong = Operation(record, clock=bench.operations.clock, on_change=lambda _: None)
    wrong.error = error
    assert may_be_retried(bench.operations, wrong) is again
    wrong.params = {"force": True}
    assert not may_be_retried(bench.operations, wrong)
    asked.cancel()


def test_what_is_gone_is_not_retried(bench):
    (row,) = bench.make()
    bench.break_it("status", arg=422, route="action")
    wrong = bench.operations.submit("stop", row).wait(30)
    assert may_be_retried(bench.operations, wrong)
    bench.cloud.clear_faults()
    bench.delete(row.id)
    bench.list()
    assert not may_be_retried(bench.operations, wrong)


def lost(bench, verb, row):
    """Ask for something of which the request is lost on the way, until nobody looks any more."""
    bench.break_it("reset", route="action")
    operations = bench.new_operations(settings=OperationSettings(settle=1.0))
    op = operations.submit(verb, row).wait(30)
    assert (op.state, op.done) == ("unknown", True)
    bench.cloud.clear_faults()
    return operations, op


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_what_got_no_answer_is_read_back_and_not_sent(bench, verb):
    (row,) = bench.make()
    operations, op = lost(bench, verb, row)
    bench.cloud.clear_requests()
    assert read_back(operations, op) == ("nothing was done", "")
    assert bench.sent("POST", f"/{verb}") == 0


def test_what_was_done_after_all_is_seen_and_what_cannot_be_read_is_not_known(bench):
    (row,) = bench.make()
    operations, op = lost(bench, "stop", row)
    bench.break_it("status", arg=500, route="get", times=None)
    verdict, why = read_back(operations, op)
    assert verdict == "not known"
    assert why
    bench.cloud.clear_faults()
    bench.client.stop_cvm(row.id)
    bench.client.watch_cvm_state(row.id, target="stopped")
    assert read_back(operations, op) == ("done", "")
    assert bench.store.get(row.id).status == "stopped", "what was read is known"
    bench.delete(row.id)
    assert read_back(operations, op) == ("done", "its CVM is gone")


def test_of_a_restart_whose_history_was_not_read_nobody_can_tell(bench):
    (row,) = bench.make()
    operations, op = lost(bench, "restart", row)
    op.intent.known = None
    assert read_back(operations, op)[0] == "not known"
    op.intent = None
    assert read_back(operations, op) == ("not known", "it is not kept what was sent")


def test_of_several_those_are_asked_again_of_which_nothing_was_done(bench):
    first, second, third = bench.make(3)
    bench.break_it("status", arg=422, route=f"POST /cvms/{first.id}/stop")
    refused = bench.operations.submit("stop", first).wait(30)
    bench.cloud.clear_faults()
    operations, stopped = lost(bench, "stop", second)
    bench.client.stop_cvm(second.id)
    bench.client.watch_cvm_state(second.id, target="stopped")
    _, unread = lost(bench, "stop", third)
    bench.break_it("status", arg=500, route=f"GET /cvms/{third.id}", times=None)
    bench.cloud.clear_requests()
    check = check_retry(operations, [refused, stopped, unread])
    assert bench.sent("POST", "/stop") == 0
    assert check.again == (refused,)
    assert check.done == {stopped.id: "done, as read back"}
    assert check.messages[0] == f"stop {second.name} was carried out"
    assert check.messages[1].startswith(
        f"nobody can tell whether stop {third.name} was carried out ("
    )
    assert [check.is_settled(one) for one in (refused, stopped, unread)] == [True, True, False]
