"""Operations against a real server: asked at once, sent once, and followed to their end."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time
from datetime import UTC
from math import inf

import pytest
from helpers import COMPOSE, HANGS, LONG_PATIENCE, commit, until

from cvm_notebook.api.client import VERSIONS, Client
from cvm_notebook.api.errors.tree import (
    AuthError,
    CvmError,
    InvalidInput,
    ReadOnly,
    WatchTimeout,
    WorkspaceSuspended,
)
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.operations.preconditions import Refused, RowChanged
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.store import FleetStore

GOALS = {"stop": "stopped", "shutdown": "stopped", "restart": "running"}
UNWATCHED = OperationSettings(look=LONG_PATIENCE, slowest=LONG_PATIENCE)


# --- the way of an operation ----------------------------------------------------------------------


def test_submit_returns_at_once_though_the_service_is_slow(bench, held):
    rows = bench.make(20)
    _, operations = held
    submitted = [operations.submit("stop", row) for row in rows]

    assert {one.state for one in submitted} <= {"asked", "sent"}


@pytest.mark.parametrize("verb", GOALS)
def test_an_operation_goes_from_asked_to_reached(bench, verb):
    (row,) = bench.make()

    op = bench.operations.submit(verb, row)
    op.wait(20)

    assert (op.state, op.target, op.status) == ("reached", GOALS[verb], GOALS[verb])
    assert bench.client.get_cvm_state(row.id).status == GOALS[verb]
    assert op.asked_at <= op.sent_at <= op.accepted_at <= op.reached_at
    assert op.asked_at.tzinfo is UTC
    assert op.attempts == 1
    assert op.result().id == row.id
    assert bench.sent("POST", f"/{verb}") == 1


def test_a_stopped_cvm_is_started(bench):
    (row,) = bench.make(status="stopped")

    assert bench.operations.submit("start", row).result(20).status == "starting"
    assert bench.row(row.name).status == "running", "the store has seen it"


def test_a_delete_is_reached_when_the_cvm_is_gone(bench):
    (row,) = bench.make()

    op = bench.operations.submit("delete", row).wait(20)

    assert (op.state, op.result()) == ("reached", None)
    assert bench.store.get(row.id) is None


def test_a_replica_is_followed_until_it_runs(bench):
    (row,) = bench.make()

    op = bench.operations.submit("replicate", row).wait(20)

    assert op.state == "reached"
    assert op.made_id not in {None, row.id}
    assert bench.client.get_cvm_info(op.made_id).app_id == row.app_id


def test_a_commit_is_followed_until_its_cvm_runs(bench):
    provision = bench.client.provision_cvm(
        name="committed", compose_file="services:\n  a:\n    image: nginx\n"
    )

    op = bench.operations.submit("commit", None, params=provision).wait(20)

    assert op.state == "reached"
    assert bench.client.get_cvm_state(op.made_id).status == "running"


def test_the_answer_and_the_changes_are_laid_to_the_operation(bench):
    (row,) = bench.make()
    changes = []
    bench.store.attach(changes.extend)

    op = bench.operations.submit("stop", row).wait(20)

    assert changes[0].source == "action"
    assert {change.operation_id for change in changes} == {op.id}


def test_a_cvm_that_does_not_come_up_fails_with_its_reason(bench, clock):
    (row,) = bench.make(status="stopped")

    op = bench.new_operations(clock=clock).submit("start", row)
    assert op._answered.wait(HANGS)
    bench.cloud.fail(row.id, "failed to start containers")
    until(lambda: clock.advance(1) or op.done)  # it is not looked at before

    with pytest.raises(CvmError, match="failed to start containers"):
        op.result()
    assert op.state == "failed"


def test_what_the_service_refuses_fails_with_its_words(bench):
    (row,) = bench.make()
    bench.break_it("status", route="action", arg=400)

    op = bench.operations.submit("restart", row).wait(20)

    assert (op.state, op.http_status) == ("failed", 400)
    with pytest.raises(CvmError, match="HTTP 400"):
        op.result()


def test_many_under_way_are_looked_at_in_one_request(bench, clock):
    rows = bench.make(12)
    operations = bench.new_operations(clock=clock, workers=12)
    submitted = [operations.submit("shutdown", row) for row in rows]
    ids = {row.id for row in rows}
    # followed, and stopped: what is looked at before would be looked at again, perhaps alone
    until(lambda: all(op.state == "accepted" and op.tracking.due < inf for op in submitted))
    until(lambda: {c.status for c in bench.client.list_cvms() if c.id in ids} == {"stopped"})

    assert clock.settle(1)
    clock.advance(5)  # each is due to be looked at

    until(lambda: {op.state for op in submitted} == {"reached"})
    assert bench.sent("POST", "/status/batch") >= 1
    assert bench.sent("GET", "/state") == 0


# --- the same intent ------------------------------------------------------------------------------


def test_42_a_double_click_is_one_request(bench, monkeypatch):
    monkeypatch.setattr("cvm_notebook.live.operations.ledger._MOMENT", LONG_PATIENCE)
    (row,) = bench.make()

    first = bench.operations.submit("restart", row)
    second = bench.operations.submit("restart", row)
    first.wait(20)
    third = bench.operations.submit("restart", row)

    assert first is second is third
    assert bench.sent("POST", "/restart") == 1


def test_42_a_click_during_the_sending_joins_it(bench, monkeypatch):
    monkeypatch.setattr("cvm_notebook.live.operations.ledger._MOMENT", LONG_PATIENCE)
    (row,) = bench.make()
    bench.break_it("latency", route="action", arg=0.5)
    first = bench.operations.submit("stop", row)
    while first.state == "asked":
        threading.Event().wait(0.01)

    assert bench.operations.submit("stop", row) is first
    assert first.wait(20).state == "reached"
    assert bench.sent("POST", "/stop") == 1


def test_42_a_click_on_a_row_that_just_vanished_is_explained(bench):
    (row,) = bench.make()
    bench.delete(row.id)
    bench.list()
    bench.cloud.clear_requests()

    op = bench.operations.submit("restart", row)

    assert op.done, "nobody needs to be asked"
    with pytest.raises(RowChanged, match="no longer in the fleet"):
        op.result()
    assert bench.sent("POST") == 0


def test_a_wish_after_another_one_is_a_new_one(bench, monkeypatch):
    monkeypatch.setattr(
        "cvm_notebook.live.operations.ledger._MOMENT", 60.0
    )  # however slow this machine is
    (row,) = bench.make()

    for verb, state in (("stop", "stopped"), ("start", "running"), ("stop", "stopped")):
        assert bench.operations.submit(verb, bench.row(row.name)).wait(20).state == "reached"
        assert bench.row(row.name).status == state

    assert (bench.sent("POST", "/stop"), bench.sent("POST", "/start")) == (2, 1)


def test_a_wish_after_a_refusal_is_a_new_one(bench, monkeypatch):
    monkeypatch.setattr("cvm_notebook.live.operations.ledger._MOMENT", 60.0)
    (row,) = bench.make()
    bench.break_it("status", route="action", arg=400)

    assert bench.operations.submit("stop", row).wait(20).state == "failed"
    assert bench.operations.submit("stop", row).wait(20).state == "reached"


def test_a_wish_on_purpose_is_another_one(bench):
    (row,) = bench.make()

    first = bench.operations.submit("replicate", row)
    second = bench.operations.submit("replicate", row, again=True)

    assert first.wait(20).made_id != second.wait(20).made_id
    assert bench.sent("POST", "/replicas") == 2


# --- before it is sent ----------------------------------------------------------------------------


def test_what_runs_already_is_not_started_and_its_note_says_so(bench):
    (row,) = bench.make()

    op = bench.operations.submit("start", row).wait(20)

    assert (op.state, op.attempts) == ("reached", 0)
    assert "is already running" in op.note
    assert bench.sent("POST") == 0


def test_an_old_row_is_read_again_before_nothing_is_sent(bench):
    (row,) = bench.make()
    bench.client.stop_cvm(row.id)
    bench.client.watch_cvm_state(row.id, target="stopped")
    careful = bench.new_operations(settings=OperationSettings(fresh=0.0))

    op = careful.submit("start", row).wait(20)

    assert op.state == "failed", "it does not run: who asked saw another state"
    assert "was running when it was shown" in str(op.error)


def test_41_two_notebooks_act_on_the_same_cvm_and_both_ledgers_are_true(bench):
    (row,) = bench.make()
    theirs = FleetStore()
    bench.list(theirs)
    other = bench.new_operations(store=theirs, settings=OperationSettings(fresh=0.0))
    mine = bench.operations.submit("stop", row).wait(20)

    late = other.submit("restart", theirs.get(row.id)).wait(20)

    assert mine.state == "reached"
    assert late.state == "failed"
    assert "is stopped now" in str(late.error)
    assert bench.sent("POST", "/restart") == 0


def test_a_row_that_turned_since_its_revision_was_shown_is_refused(bench):
    (row,) = bench.make()
    revision = bench.store.revision
    bench.client.stop_cvm(row.id)
    bench.client.watch_cvm_state(row.id, target="stopped")
    bench.list()

    op = bench.operations.submit("delete", bench.row(row.name), expected_revision=revision)

    with pytest.raises(RowChanged, match="was running when it was shown, and is stopped now"):
        op.result()
    assert bench.sent("DELETE") == 0


def test_a_row_that_is_as_it_was_is_not_refused_for_what_others_did(bench):
    row, another = bench.make(2)
    revision = bench.store.revision
    bench.operations.submit("stop", another).wait(20)

    assert bench.store.revision > revision
    op = bench.operations.submit("stop", row, expected_revision=revision)
    assert op.wait(20).state == "reached"


def test_a_read_only_client_sends_nothing(bench):
    (row,) = bench.make()
    operations = bench.new_operations(bench.new_client(read_only=True))

    op = operations.submit("stop", row)

    with pytest.raises(ReadOnly, match="read-only"):
        op.result()
    assert bench.sent("POST") == 0


def test_it_can_be_taken_back_while_its_window_is_open(bench):
    (row,) = bench.make()

    op = bench.operations.submit("delete", row, delay=30)

    assert "sent after 30 s unless it is cancelled" in repr(op)
    assert op.cancel()
    assert (op.state, op.done) == ("cancelled", True)
    assert not op.cancel(), "once is enough"
    assert bench.sent("DELETE") == 0
    assert bench.operations.submit("stop", row).wait(20).state == "reached"
    with pytest.raises(CvmError, match="taken back"):
        op.result()


def test_what_was_sent_cannot_be_taken_back(bench):
    (row,) = bench.make()
    op = bench.operations.submit("stop", row)
    op.wait(20, until="accepted")

    assert not op.cancel()
    assert op.wait(20).state == "reached"


def test_the_window_counts_by_the_clock_and_the_row_is_judged_again(bench, clock):
    (row,) = bench.make()
    store = FleetStore(clock)
    store.replace([row.cvm], received=clock.monotonic())
    operations = bench.new_operations(store=store, clock=clock)
    shown = store.get(row.id)
    op = operations.submit("shutdown", shown, delay=5)
    assert clock.settle()

    clock.advance(4.9)
    assert op.state == "asked"
    store.replace(
        [type(row.cvm)(id=row.id, name=row.name, status="stopped")], received=clock.monotonic()
    )
    clock.advance(0.2)

    assert op._ended.wait(10)
    assert op.state == "failed"
    assert "is stopped now" in str(op.error)
    assert bench.sent("POST") == 0


def test_a_queue_that_is_full_refuses(bench):
    (row,) = bench.make()
    operations = bench.new_operations(settings=OperationSettings(waiting=1))
    operations.submit("stop", row, delay=30)

    with pytest.raises(Refused, match="wait to be sent already"):
        operations.submit("start", row)


def test_another_client_is_used_when_the_key_was_changed(bench):
    row, other = bench.make(2)
    operations = bench.new_operations(bench.new_client(read_only=True))
    assert operations.submit("stop", row).state == "failed"

    operations.use(bench.client)

    assert operations.submit("stop", other).wait(20).state == "reached"


def test_a_verb_without_a_cvm_is_refused(bench):
    with pytest.raises(InvalidInput, match="needs a CVM"):
        bench.operations.submit("stop", None)


# --- waiting --------------------------------------------------------------------------------------


def test_43_ctrl_c_in_wait_stops_the_waiting_only(bench, held, press_ctrl_c):
    (row,) = bench.make()
    line, operations = held
    op = operations.submit("stop", row)
    timer = threading.Timer(0.2, press_ctrl_c)

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - outside of it nobody catches a Ctrl-C
        timer.start()
        op.wait(20)

    timer.join()
    assert not op.done
    line.flow()
    assert op.wait(20).state == "reached"


def test_43_a_bad_observer_is_isolated_and_reported_once(bench):
    (row,) = bench.make()
    tried, seen, over = [], [], threading.Event()

    def bad(record):
        tried.append(record.state)
        raise ZeroDivisionError

    def good(record):
        seen.append(record.state)
        if record.done:
            over.set()

    bench.operations.subscribe(bad)
    bench.operations.subscribe(good)

    op = bench.operations.submit("stop", row).wait(20)

    assert op.state == "reached"
    assert over.wait(20)
    assert list(dict.fromkeys(seen)) == ["sent", "accepted", "reached"]
    until(lambda: "reached" in tried)  # by then it has raised more than once
    assert [type(fault.error) for fault in bench.faults] == [ZeroDivisionError]


def test_a_wait_that_is_too_short_says_how_it_stands(bench, held):
    (row,) = bench.make()
    line, operations = held
    op = operations.submit("stop", row)
    until(lambda: op.state == "sent")

    with pytest.raises(WatchTimeout, match=r"not done after 0\.05 s.*waiting for an answer"):
        op.wait(0.05)

    line.flow()
    assert op.wait(20).state == "reached"


def test_an_operation_is_awaited_without_blocking_the_loop(bench, held):
    (row,) = bench.make()
    line, operations = held

    async def tick():
        for _ in range(6):
            await asyncio.sleep(0.01)
        line.flow()

    async def work():
        ticker = asyncio.create_task(tick())
        answer = await operations.submit("stop", row)
        await ticker
        return answer

    assert asyncio.run(work()).id == row.id


def test_47_two_loops_await_the_same_operation(bench):
    (row,) = bench.make()
    op = bench.operations.submit("stop", row)
    answers = []

    async def wait():
        return await op

    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(wait()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [op.answer, op.answer]


def test_an_await_that_is_given_up_leaves_the_operation_alone(bench, held):
    (row,) = bench.make()
    line, operations = held
    op = operations.submit("stop", row)

    async def impatient():
        await asyncio.wait_for(op, 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    line.flow()
    assert op.wait(20).state == "reached"
    assert op._completion._wakers == {}


# --- faults ---------------------------------------------------------------------------------------


def test_12_a_500_of_html_names_status_and_request_and_is_not_shown_raw(bench):
    (row,) = bench.make()
    page = "<html><h1>Boom</h1></html>"
    answer = f"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nX-Request-ID: req-12\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n{page}"  # noqa: E501 - the wire's own words
    bench.break_it("raw", route="action", arg=answer, times=None)
    operations = bench.new_operations(settings=OperationSettings(settle=0.5))

    op = operations.submit("restart", row).wait(60)

    assert (op.state, op.http_status, op.request_id) == ("failed", 500, "req-12")
    assert "nothing of it is to be seen" in op.note
    assert "<h1>" not in repr(op) + op._repr_mimebundle_()["text/html"]


def test_17_a_revoked_key_ends_the_operation_with_what_to_do(bench):
    rows = bench.make(2)
    bench.break_it("status", route="*", arg=401, times=None)

    ops = [bench.operations.submit("stop", row).wait(20) for row in rows]

    assert {op.state for op in ops} == {"failed"}
    assert isinstance(ops[0].error, AuthError)
    assert ops[0].hint


def test_17_a_key_revoked_on_the_way_parks_the_operation_until_there_is_another(bench):
    (row,) = bench.make()
    bench.break_it("status", route="read", arg=401, times=None)
    refused = threading.Event()
    bench.operations.subscribe(
        lambda record: refused.set() if "key was refused" in record.note else None
    )

    op = bench.operations.submit("shutdown", row)

    assert refused.wait(20)
    assert (op.state, op.done) == ("accepted", False)
    assert bench.sent("GET") == 1, "no loop"
    bench.cloud.clear_faults()
    bench.operations.use(bench.new_client())
    assert op.wait(20).state == "reached"


def test_18_a_403_for_one_cvm_fails_that_one_only(bench):
    one, other = bench.make(2)
    bench.break_it("status", route=f"POST /cvms/{one.id}/stop", arg=403)

    ops = [bench.operations.submit("stop", row).wait(20) for row in (one, other)]

    assert [op.state for op in ops] == ["failed", "reached"]
    assert ops[0].http_status == 403


def test_19_a_listed_cvm_that_is_not_there_is_reported_without_a_loop(bench):
    (row,) = bench.make()
    bench.delete(row.id)

    op = bench.operations.submit("stop", row).wait(20)

    assert (op.state, op.http_status) == ("failed", 404)
    assert bench.sent("POST", "/stop") == 1


def test_10_a_delete_of_what_is_gone_already_has_succeeded(bench):
    (row,) = bench.make()
    bench.delete(row.id)
    bench.cloud.clear_requests()

    op = bench.operations.submit("delete", row).wait(20)

    assert op.state == "reached"
    assert "gone already" in op.note


def test_20_a_409_while_another_does_the_same_joins_it(new_bench):
    bench = new_bench(speed=0.1)
    (row,) = bench.make(advance=3600)
    bench.client.restart_cvm(row.id)

    op = bench.operations.submit("restart", row).wait(30, until="accepted")
    bench.cloud.advance(3600)

    assert op.wait(30).state == "reached"
    assert "joined another's: it is restarting since" in op.note
    assert "asked for by" in op.note


def test_20_a_409_while_another_does_something_else_says_what_and_who(new_bench):
    bench = new_bench(speed=0.1)
    (row,) = bench.make(advance=3600)
    bench.client.shutdown_cvm(row.id)

    op = bench.operations.submit("restart", row).wait(30)

    assert (op.state, op.http_status) == ("failed", 409)
    assert "shutting down since" in op.note
    assert "asked for by" in op.note
    assert "stop it" in op.hint


def test_49_a_proxy_that_asks_for_a_login_fails_with_words(bench):
    (row,) = bench.make()
    bench.break_it("status", route="action", arg=407)

    op = bench.operations.submit("stop", row).wait(20)

    assert op.state == "failed"
    assert "407" in str(op.error)


def test_49_an_answer_too_large_to_read_is_settled_by_reading(bench):
    (row,) = bench.make()
    bench.break_it("gzip_bomb", route="action", arg=80)
    operations = bench.new_operations(settings=OperationSettings(settle=0.5))

    op = operations.submit("restart", row).wait(30)

    assert op.state == "unknown", "the fault did nothing, and the client cannot know that"
    assert bench.sent("POST", "/restart") == 1


def test_50_a_provision_that_expired_fails_and_keeps_what_was_given(bench):
    params = {"app_id": "ab" * 20, "compose_hash": "cd" * 32}

    op = bench.operations.submit("commit", None, params=params).wait(20)

    assert (op.state, op.error_code) == ("failed", "ERR-01-006")
    assert op.params == params


def test_50_a_quota_used_up_between_form_and_commit_fails_and_keeps_what_was_given(bench):
    key = bench.cloud.new_workspace(tier="LEVEL_1")["api_key"]
    with Client(api_key=key, base_url=bench.cloud.url) as client:
        plans = [
            client.provision_cvm(
                name=f"half-{n}",
                instance_type="tdx.xlarge",
                compose_file="services: {a: {image: b}}",
            )
            for n in range(3)
        ]
        for plan in plans[:2]:
            client.commit_cvm_provision(plan)
        params = {"app_id": plans[2].app_id, "compose_hash": plans[2].compose_hash}

        op = bench.new_operations(client).submit("commit", None, params=params).wait(20)

    assert (op.state, op.http_status, op.error_code) == ("failed", 400, "ERR-02-015")
    assert op.params == params
    assert op.hint


@pytest.mark.parametrize("error", [MemoryError("no room"), SystemExit(1)], ids=repr)
def test_a_worker_whose_task_dies_is_reported_once_and_what_follows_is_done(bench, error):
    (row,) = bench.make()

    def dies():
        raise error

    bench.operations._context.workers.do(dies)
    op = bench.operations.submit("stop", row).wait(20)

    assert op.state == "reached"
    until(lambda: bench.faults)
    (fault,) = bench.faults
    assert type(error).__name__ in str(fault)


def test_an_operation_has_no_id_of_the_one_before_it(new_bench):
    bench = new_bench(speed=0.1)
    name = "young-one"
    commit(bench.client, name)
    bench.list()
    row = bench.row(name)
    assert row.operation is not None, "it is being created"
    bench.cloud.advance(3600)

    def hear():
        """Hear of it as a stream would tell, which says nothing of operations."""
        state = bench.client.get_cvm_state(name)
        fact = Observation.of_state(state, received=time.monotonic(), id=row.id)
        bench.store.patch([fact])
        return state.status

    bench.client.watch_cvm_state(name, target="running")
    hear()
    op = bench.operations.submit("stop", bench.row(name))
    op.wait(20, until="accepted")
    assert hear() == "stopping"
    bench.cloud.advance(3600)
    assert op.wait(20).state == "reached"
    stopped, created = bench.client.list_operations(name)
    assert created.correlation_id == row.operation.correlation_id
    assert op.correlation_id in {None, stopped.correlation_id}


def test_44_after_a_restart_what_still_runs_is_found_again(new_bench):
    bench = new_bench(speed=0.1)
    rows = bench.make(2, advance=3600)
    bench.operations.submit("restart", rows[0]).wait(20, until="accepted")
    bench.operations.close()
    fresh = FleetStore()
    bench.list(fresh)
    operations = bench.new_operations(store=fresh)

    (op,) = operations.recover(fresh.snapshot())

    assert (op.verb, op.cvm_id, op.state) == ("restart", rows[0].id, "accepted")
    assert op.record.recovered
    assert op.correlation_id is not None
    assert operations.recover(fresh.snapshot()) == (), "once"
    bench.cloud.advance(3600)
    assert op.wait(20).state == "reached"
    assert bench.sent("POST", "/restart") == 1


# --- its own life ---------------------------------------------------------------------------------


def test_close_does_not_wait_for_the_answer_of_a_request_in_flight(bench, held):
    row, other = bench.make(2)
    _, operations = held
    flying = operations.submit("stop", row)
    waiting = operations.submit("stop", other, delay=60)
    until(lambda: flying.state == "sent")

    operations.close()

    assert (flying.state, flying.done) == ("unknown", True)  # it did not wait for the answer
    assert (waiting.state, waiting.done) == ("cancelled", True)
    with pytest.raises(Refused, match="closed"):
        operations.submit("stop", other)


def test_47_a_forked_process_is_refused_and_has_to_make_its_own(bench):
    (row,) = bench.make()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            bench.operations.submit("stop", row)
            message = "sent"
        except Refused as error:
            message = str(error)
        os.write(write, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    message = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)

    assert "before the fork" in message
    assert "new Client" in message


def test_47_pickling_says_what_to_do(bench):
    (row,) = bench.make()
    op = bench.operations.submit("stop", row).wait(20)

    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(op)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(bench.operations)
    assert pickle.loads(pickle.dumps(op.record)) == op.record


SCRIPT = """
import sys, time
from cvm_notebook.api.client import VERSIONS, Client
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.store import FleetStore
client = Client(base_url=sys.argv[1])
store = FleetStore()
store.replace(client.list_cvms(), received=time.monotonic())
operations = OperationService(client, store)
op = operations.submit("stop", store.snapshot().find(sys.argv[2]))
while op.state == "asked":
    time.sleep(0.01)
print("in flight", flush=True)
"""


def test_47_the_interpreter_ends_within_two_seconds_with_a_request_in_flight(bench):
    (row,) = bench.make()
    bench.break_it("latency", route="action", arg=4 * HANGS)
    environment = {**os.environ, "PHALA_CLOUD_API_KEY": bench.cloud.api_key}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, bench.cloud.url, row.id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdout.readline() == "in flight\n"
    began = time.monotonic()
    _out, err = process.communicate(timeout=2 * HANGS)

    assert time.monotonic() - began < HANGS
    assert (process.returncode, err) == (0, "")


def test_threads_end_by_themselves_and_come_back(bench, monkeypatch):
    monkeypatch.setattr("cvm_notebook.live.workers._LINGER", 0.05)
    row, other = bench.make(2)
    bench.operations.submit("stop", row).wait(20)

    until(lambda: not _ours())
    assert bench.operations.submit("stop", other).wait(20).state == "reached"


def _ours():
    return [t.name for t in threading.enumerate() if t.name.startswith("cvm-operations")]


# --- shown ----------------------------------------------------------------------------------------


def test_a_hostile_name_is_escaped_and_no_script_is_in_the_html(bench, make_cvm):
    store = FleetStore()
    store.replace(
        [make_cvm(1, name="<img src=x onerror=alert(1)></script><script>")],
        received=time.monotonic(),
    )
    operations = bench.new_operations(bench.new_client(read_only=True), store=store)

    op = operations.submit("stop", store.snapshot().rows[0])
    bundle = op._repr_mimebundle_()

    assert "<img" not in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert "&lt;img" in bundle["text/html"]
    assert "read-only" in bundle["text/plain"]


def test_the_ledger_keeps_every_operation_in_order_with_whose_key_it_was(bench):
    rows = bench.make(2)
    ops = [bench.operations.submit("stop", row) for row in rows]
    for op in ops:
        op.wait(20)

    records = bench.operations.records()

    assert [record.id for record in records] == [op.id for op in ops]
    assert {record.who for record in records} == {"the api_key argument"}
    assert bench.cloud.api_key not in repr(records)
    assert bench.operations.get(ops[0].id) is ops[0]


class Reflector:
    """What a reflector does for operations, counted."""

    def __init__(self):
        self.follows = []
        self.unfollows = []
        self.announced = []
        self.lists = 0

    def follow(self, cvm_id):
        self.follows.append(cvm_id)

    def unfollow(self, cvm_id):
        self.unfollows.append(cvm_id)

    def announce(self, cvm_id):
        self.announced.append(cvm_id)

    def relist(self):
        self.lists += 1


def test_a_reflector_follows_while_it_is_under_way_and_saves_the_looks(bench):
    (row,) = bench.make()
    hooks = Reflector()
    operations = bench.new_operations(bench.client, bench.store, hooks, settings=UNWATCHED)
    op = operations.submit("stop", row)
    until(lambda: hooks.announced)
    bench.client.watch_cvm_state(row.id, target="stopped")
    bench.list()  # what the reflector would do

    assert op.wait(20).state == "reached"
    assert hooks.follows == hooks.unfollows == hooks.announced == [row.id]
    assert bench.sent("GET", "/state") == 1, "the stream of this test alone"


def test_a_reflector_is_notified_when_cvms_come_and_go(bench):
    row, other = bench.make(2)
    hooks = Reflector()
    operations = bench.new_operations(bench.client, bench.store, hooks)

    operations.submit("replicate", row).wait(20)
    operations.submit("delete", other).wait(20)

    end = time.monotonic() + 20  # whoever waits is woken first
    while len(hooks.follows) > len(hooks.unfollows) and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert hooks.lists >= 2
    assert sorted(hooks.follows) == sorted(hooks.unfollows)


def test_what_was_made_has_a_row_before_any_list_as_soon_as_it_is_accepted(bench):
    (row,) = bench.make()

    made = bench.operations.submit("replicate", row).wait(20, until="accepted").made_id

    known = bench.store.get(made)
    assert (known.app_id, known.cvm.name) == (row.app_id, bench.client.get_cvm_info(made).name)


@pytest.mark.parametrize("version", VERSIONS)
def test_operations_work_with_every_version_of_the_api(bench, version):
    client = bench.new_client(version=version)
    (row,) = bench.make()
    operations = bench.new_operations(client)

    replica = operations.submit("replicate", row).wait(30)
    restart = operations.submit("restart", row).wait(30)
    provision = client.provision_cvm(name="by-version", compose_file="services: {a: {image: b}}")
    commit = operations.submit("commit", None, params=provision).wait(30)

    assert [op.state for op in (replica, restart, commit)] == ["reached"] * 3
    assert {cvm.id for cvm in client.get_app_cvms(row.app_id)} == {row.id, replica.made_id}
    assert client.get_cvm_info(commit.made_id).name == "by-version"
    client.delete_cvm(commit.made_id)


@pytest.mark.parametrize("verb", ["start", "restart", "replicate", "update", "redeploy", "commit"])
def test_what_a_suspended_workspace_may_not_is_refused_before_anything_is_sent(bench, verb):
    (row,) = bench.make(status="stopped" if verb == "start" else "running")
    params, shown = {}, row
    if verb == "update":
        params = {"vcpu": 2}
    elif verb == "redeploy":
        (revision,) = bench.client.get_app_revisions(row.app_id)
        params = {"revision_id": revision.revision_id}
    elif verb == "commit":
        provision = bench.client.provision_cvm(name="suspended-one", compose_file=COMPOSE)
        params, shown = provision, None
    bench.cloud.suspend()
    bench.cloud.clear_requests()
    try:
        asked = bench.operations.submit(verb, shown, params=params).wait(30)
        assert (asked.state, asked.attempts) == ("failed", 0)
        assert isinstance(asked.error, WorkspaceSuspended)
        assert "Pay what it owes" in asked.hint
        assert {request["method"] for request in bench.cloud.requests()} == {"GET"}
    finally:
        bench.cloud.suspend(suspended=False)
    assert bench.operations.submit(verb, shown, params=params, again=True).wait(60).attempts


def test_a_suspended_workspace_still_stops_and_that_it_is_in_order_is_asked_once(bench):
    rows = bench.make(3)
    for operation in [bench.operations.submit("restart", row) for row in rows]:
        assert operation.wait(60).state == "reached"
    assert bench.sent("GET", "/workspaces") == 1
    bench.cloud.suspend()
    try:
        assert bench.operations.submit("stop", rows[0]).wait(60).state == "reached"
    finally:
        bench.cloud.suspend(suspended=False)
