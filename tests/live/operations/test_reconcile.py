"""What was sent and not answered is read back, never sent again, and ends in the truth."""

from functools import partial

import pytest
from helpers import COMPOSE, HANGS, LONG_PATIENCE, commit, until

from cvm_notebook.api.errors.tree import (
    ConflictError,
    CvmError,
    DecodeError,
    InvalidInput,
    NotFoundError,
    RateLimited,
    ResourceConflict,
    ServerError,
    TransportError,
    UnsafeRedirect,
)
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.operations.ledger import Ledger, intent_key
from cvm_notebook.live.operations.progress import has_begun, progress_of
from cvm_notebook.live.operations.sender import end_of
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.store import FleetStore

# The client's own looks fail too, so that what became of it is left to the ledger.
BLIND = {"kind": "status", "arg": 503, "times": 4}


def seen(status, **more):
    return Reading(name="web-1", status=status, **more)


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (NotFoundError(404, "no"), "gone"),
        (ConflictError(409, "busy"), "busy"),
        (ResourceConflict(409, "other hash", error_code="ERR-03-007"), "refused"),
        (RateLimited(429, "slow down"), "refused"),
        (TransportError("reset", sent=True), "unknown"),
        (TransportError("refused", sent=False), "refused"),
        (UnsafeRedirect("elsewhere"), "refused"),
        (ServerError(503, "later"), "unknown"),
        (DecodeError("no JSON"), "unknown"),
        (InvalidInput("force", "no"), "refused"),
    ],
)
def test_only_what_may_have_been_carried_out_is_unknown(error, end):
    assert end_of(error) == end


@pytest.mark.parametrize(
    ("verb", "status", "begun", "kind"),
    [
        ("start", "starting", True, "going"),
        ("start", "running", False, "reached"),
        ("start", "error", True, "failed"),
        ("start", "stopped", True, "failed"),
        ("start", "stopped", False, "going"),
        ("stop", "stopped", False, "reached"),
        ("stop", "running", False, "going"),
        ("stop", "running", True, "failed"),
        ("shutdown", "exited", True, "reached"),
        ("restart", "running", False, "going"),
        ("restart", "running", True, "reached"),
        ("restart", "deleted", True, "failed"),
        ("delete", "running", True, "going"),
        ("delete", "deleted", False, "reached"),
        ("commit", "provisioning", True, "going"),
        ("replicate", "running", True, "reached"),
        ("replicate", "some-new-word", True, "going"),
    ],
)
def test_the_turn_of_an_operation_follows_from_what_its_cvm_does(verb, status, begun, kind):
    assert progress_of(verb, seen(status), begun=begun).kind == kind


def test_a_running_cvm_does_not_show_that_it_was_restarted():
    assert not has_begun("restart", seen("running"))
    assert has_begun("restart", seen("restarting"))
    assert has_begun("start", seen("running"))


def test_nothing_is_reached_while_an_operation_is_under_way():
    assert progress_of("start", seen("running", in_progress=True), begun=True).kind == "going"


def test_the_same_intent_in_another_spelling_is_the_same():
    one = intent_key("commit", None, {"a": [1, {"b": 2}], "c": 3})

    assert one == intent_key("commit", None, {"c": 3, "a": [1, {"b": 2}]})
    assert one != intent_key("commit", None, {"c": 3, "a": [1, {"b": 4}]})


def test_the_ledger_is_bounded_and_forgets_the_oldest_that_are_done(bench):
    (row,) = bench.make()
    ledger = Ledger(limit=10)
    made = []
    new = partial(bench.operations._entries.new, "stop", row, {})
    for number in range(40):
        op, is_new = ledger.add(str(number), 0.0, new)
        assert is_new
        made.append(op)
        if number != 3:
            op.move(state="failed", done=True)
            ledger.ended(op)

    kept = [record.id for record in ledger.records()]

    assert len(kept) <= 13
    assert kept[0] == made[3].id, "what is alive is kept"
    assert kept[-1] == made[-1].id


# --- against a server that breaks -----------------------------------------------------------------


@pytest.mark.parametrize("verb", ["stop", "shutdown", "restart"])
def test_8_a_reset_after_the_request_is_sent_is_observed_and_not_sent_again(bench, verb):
    (row,) = bench.make()
    bench.break_it("reset_after", route="action")

    op = bench.operations.submit(verb, row).wait(30)

    assert op.state == "reached"
    assert bench.sent("POST", f"/{verb}") == 1


@pytest.mark.parametrize("verb", ["stop", "shutdown", "restart"])
def test_8_the_ledger_finds_out_where_the_client_could_not_read(bench, verb):
    (row,) = bench.make()
    bench.break_it("reset_after", route="action")
    bench.cloud.inject({**BLIND, "route": "get"})
    states = []
    bench.operations.attach(lambda record: states.append(record.state))

    op = bench.operations.submit(verb, row).wait(30)

    assert "unknown" in states
    assert op.state == "reached"
    assert bench.sent("POST", f"/{verb}") == 1
    assert op.accepted_at is not None


def test_9_a_commit_that_was_not_answered_makes_one_cvm(bench):
    provision = bench.client.provision_cvm(name="only-one", compose_file=COMPOSE)
    bench.break_it("reset_after", route="commit")
    bench.cloud.inject({**BLIND, "route": f"GET /apps/{provision.app_id}/cvms"})

    op = bench.operations.submit("commit", None, params=provision).wait(30)

    assert op.state == "reached"
    (cvm,) = bench.client.get_app_cvms(provision.app_id)
    assert op.made_id == cvm.id
    assert bench.sent("POST", "/cvms") == 1


def test_9_a_replica_that_was_not_answered_is_found_and_not_made_twice(bench):
    (row,) = bench.make()
    bench.break_it("reset_after", route="replicate")
    bench.cloud.inject({**BLIND, "route": "get"})

    op = bench.operations.submit("replicate", row).wait(30)

    assert op.state == "reached"
    brothers = bench.client.get_app_cvms(row.app_id)
    assert {cvm.id for cvm in brothers} == {row.id, op.made_id}
    assert bench.sent("POST", "/replicas") == 1


def test_10_a_delete_that_was_not_answered_is_done_when_the_cvm_is_gone(bench):
    (row,) = bench.make()
    bench.break_it("reset_after", route="delete")
    bench.cloud.inject({**BLIND, "route": "get"})

    op = bench.operations.submit("delete", row).wait(30)

    assert op.state == "reached"
    assert bench.sent("DELETE") == 1
    assert bench.store.get(row.id) is None


def test_11_an_answer_that_comes_after_our_timeout_moves_it_from_unknown_to_observed(bench):
    (row,) = bench.make()
    bench.break_it("late", route="replicate", arg=LONG_PATIENCE)
    operations = bench.new_operations(bench.new_client(timeout=Timeout(5.0, 3.0, 60.0)))

    op = operations.submit("replicate", row).wait(LONG_PATIENCE)

    assert op.state == "reached"
    assert len(bench.client.get_app_cvms(row.app_id)) == 2, "no second replica"
    assert bench.sent("POST", "/replicas") == 1


def test_11_what_never_arrived_stays_unknown_with_a_next_step(bench):
    (row,) = bench.make()
    bench.break_it("reset", route="replicate")
    operations = bench.new_operations(settings=OperationSettings(settle=1.0))

    op = operations.submit("replicate", row).wait(30)

    assert (op.state, op.done) == ("unknown", True)
    assert "nothing of it is to be seen" in op.note
    assert "Look at the CVM" in op.hint
    with pytest.raises(TransportError):
        op.result()
    assert bench.sent("POST", "/replicas") == 1


def test_13_a_burst_of_503_does_not_multiply_requests(bench):
    (row,) = bench.make()
    bench.break_it("status", arg=503, route="action", times=None)
    operations = bench.new_operations(settings=OperationSettings(settle=1.0))

    op = operations.submit("restart", row).wait(60)

    assert (op.state, op.http_status) == ("failed", 503)
    assert "nothing of it is to be seen" in op.note
    assert bench.sent("POST", "/restart") == op.attempts == 1, "it is not sent again"


def test_the_store_may_settle_it_before_a_reading_does(bench):
    (row,) = bench.make()
    bench.break_it("reset_after", route="action")
    late = OperationSettings(look=LONG_PATIENCE, slowest=LONG_PATIENCE)
    op = bench.new_operations(settings=late).submit("shutdown", row)
    until(lambda: op.state == "unknown")

    until(lambda: bench.list() or op.done)  # as a reflector would list

    assert op.state == "reached"
    assert "no answer came, but it is s" in op.note  # stopped, or shutting_down still


def test_a_target_that_is_not_reached_in_time_is_given_up_on_with_what_is_known(new_bench, clock):
    bench = new_bench(speed=0.1)
    commit(bench.client, "slow-one")
    bench.cloud.advance(3600)
    store = FleetStore(clock)
    store.replace(bench.client.list_cvms(), received=clock.monotonic())
    operations = bench.new_operations(store=store, clock=clock)
    (row,) = store.snapshot()
    op = operations.submit("restart", row)
    assert op._answered.wait(HANGS)

    until(lambda: clock.advance(60) or op.done)

    assert (op.state, op.done) == ("unknown", True)
    assert "accepted, but is not running after" in op.note
    assert op.status == "restarting"


def test_what_was_given_up_on_is_not_judged_again_by_a_change_that_comes_late(bench, held):
    (row,) = bench.make()
    _, operations = held
    op = operations.submit("stop", row)
    until(lambda: op.state == "sent")
    operations.close()
    given_up = op.record
    assert (given_up.state, given_up.done) == ("unknown", True)

    # a thread that tells of a change has taken the operation up before it was given up
    operations._follower.see(op, seen("stopped"), proof=False)

    assert op.record == given_up


def prepared(bench, verb, row):
    intent = bench.client.intent(verb, row.id)
    intent.prepare()
    return intent


def test_a_restart_is_known_by_what_is_new_in_the_history_and_by_nobodys_clock(bench):
    (row,) = bench.make()
    intent = prepared(bench, "restart", row)
    assert not intent.read_back().begun

    intent.send()
    bench.client.watch_cvm_state(row.id, target="running")

    found = intent.read_back()
    assert found.begun
    assert found.correlation_id not in intent.known


def test_a_replica_of_before_is_not_taken_for_ours(bench):
    (row,) = bench.make()
    bench.client.replicate_cvm(row.id)

    intent = prepared(bench, "replicate", row)
    assert not intent.read_back().begun
    intent.withdraw()


def test_a_replica_is_found_though_its_source_is_gone(bench):
    (row,) = bench.make()
    intent = prepared(bench, "replicate", row)
    bench.break_it("reset_after", route="replicate")
    with pytest.raises(TransportError):
        intent.send()
    bench.delete(row.id)

    found = intent.read_back()
    assert found.begun
    assert [cvm.id for cvm in bench.client.get_app_cvms(row.app_id)] == [found.cvm.id]


class Watcher:
    """A reflector that is given what to follow; the test itself lists."""

    def follow(self, _cvm_id):
        pass

    def unfollow(self, _cvm_id):
        pass

    def announce(self, _cvm_id):
        pass

    def relist(self):
        pass


def test_what_was_over_before_it_was_joined_is_seen_in_a_row_that_changes_no_more(new_bench):
    bench = new_bench(speed=0.1)
    (row,) = bench.make(advance=3600)
    operations = bench.new_operations(hooks=Watcher())
    bench.break_it("latency", arg=2.0, route="get")
    bench.client.stop_cvm(row.id)
    op = operations.submit("shutdown", row)
    until(lambda: any(one["status"] == 409 for one in bench.cloud.requests()))
    bench.cloud.advance(3600)  # it has stopped when the conflict is looked at
    op.wait(HANGS, until="accepted")
    bench.list()

    assert op.wait(HANGS).state == "reached"
    assert op.note.startswith("joined")


def test_what_another_person_undid_meanwhile_is_not_sent_again(bench):
    (row,) = bench.make()
    operations = bench.new_operations(
        bench.new_client(timeout=Timeout(2.0, 0.5, 20.0)), settings=OperationSettings(settle=0.1)
    )
    bench.break_it("late", route="action", arg=1.0)
    bench.cloud.inject({**BLIND, "route": "get"})
    op = operations.submit("stop", row)
    bench.client.watch_cvm_state(row.id, target="stopped")
    bench.client.start_cvm(row.id)

    op.wait(30)

    assert bench.sent("POST", "/stop") == op.attempts == 1


def test_reading_back_that_fails_too_raises(bench):
    (row,) = bench.make()
    bench.break_it("status", arg=401, route="get")

    with pytest.raises(CvmError):
        bench.client.intent("stop", row.id).read_back()
