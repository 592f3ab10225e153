"""What failed or got no answer may be asked again: never twice, and only where nothing was done."""

from dataclasses import replace

import pytest

from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.plans.retry import may_be_asked_again, read_back, unresolved


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


def test_what_makes_a_cvm_or_has_parameters_is_not_asked_again(bench):
    (row,) = bench.make()
    asked = {
        "stop": bench.operations.submit("stop", row, delay=60),
        "replicate": bench.operations.submit("replicate", row, delay=60),
        "forced": bench.operations.submit("restart", row, params={"force": True}, delay=60),
    }
    may = {name: may_be_asked_again(bench.operations, op.record) for name, op in asked.items()}
    assert may == {"stop": True, "replicate": False, "forced": False}
    bench.delete(row.id)
    bench.list()
    assert not may_be_asked_again(bench.operations, asked["stop"].record)
    for op in asked.values():
        op.cancel()


def lost(bench, verb, row):
    """Ask for something of which the request is lost on the way, until nobody looks any more."""
    bench.break_it("hang", route="action")
    operations = bench.new_operations(
        bench.new_client(timeout=0.5), settings=OperationSettings(settle=1.0)
    )
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
