"""A plan is a dry run first; then it is confirmed, bounded, interruptible and resumable."""

import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from helpers import LONG_PATIENCE, until

from cvm_notebook.api.errors.tree import InvalidInput, WorkspaceSuspended
from cvm_notebook.api.models.cvm import Resource
from cvm_notebook.live.operations.preconditions import Refused
from cvm_notebook.live.plans.plan import NotConfirmed, Plan
from cvm_notebook.live.plans.runner import RateLimiter
from cvm_notebook.live.store.records import Provenance, Row


def rows_of(make_cvm, *statuses, **fields):
    return [
        Row.of_cvm(make_cvm(number, status=status, **fields), Provenance(0.0, None, "list"))
        for number, status in enumerate(statuses)
    ]


# --- the dry run ----------------------------------------------------------------------------------


def test_a_plan_says_what_it_would_do_to_each_row(make_cvm):
    plan = Plan(rows_of(make_cvm, "running", "stopped", "restarting", "deleted"), "shutdown")

    runs, stopped, busy, gone = plan.rows()

    assert [row.allowed for row in plan.rows()] == [True, True, False, False]
    assert [row.sends for row in plan.rows()] == [True, False, False, False]
    assert "ends its containers" in runs.effect
    assert stopped.reason == "'web-1' is already stopped"
    assert "restarting" in busy.reason
    assert gone.reason == "'web-3' is gone"
    assert (runs.cvm_id, runs.name, runs.verb) == ("cvm_00000000", "web-0", "shutdown")


def test_the_price_per_hour_changes_by_what_is_paid_while_it_runs(make_cvm):
    rows = rows_of(make_cvm, "running", "stopped", rate="0.058")

    def change(verb):
        return [row.rate_change_usd_h for row in Plan(rows, verb).rows()]

    assert change("stop") == [Decimal("-0.058"), Decimal(0)]
    assert change("start") == [Decimal(0), Decimal("0.058")]
    assert change("delete") == [Decimal("-0.061"), Decimal("-0.003")]
    assert change("restart") == [Decimal(0), Decimal(0)]
    assert change("replicate") == [Decimal("0.061")] * 2
    assert Plan(rows, "delete").rate_change_usd_h == Decimal("-0.064")


def test_in_the_minimum_term_of_gpus_stopping_saves_nothing_and_a_plan_says_so(make_cvm):
    gpus = Resource(gpus=1)
    made = datetime.now(UTC) - timedelta(hours=2)
    young = {"resource": gpus, "created_at": made.isoformat(), "rate": "2.8"}
    (new,) = rows_of(make_cvm, "running", **young)
    (old,) = rows_of(make_cvm, "running", **{**young, "created_at": "2026-01-01T00:00:00Z"})

    (stop,) = Plan([new], "stop").rows()
    (delete,) = Plan([new], "delete").rows()
    (later,) = Plan([old], "stop").rows()
    (restart,) = Plan([new], "restart").rows()

    until = f"{made + timedelta(hours=24):%Y-%m-%d %H:%M} UTC"
    assert f"computing costs the same until {until}: GPUs are charged for at" in stop.effect
    assert (stop.rate_change_usd_h, delete.rate_change_usd_h) == (Decimal(0), Decimal("-0.003"))
    assert later.rate_change_usd_h == Decimal("-2.8")
    assert "costs the same" not in later.effect + restart.effect
    assert [row.needs_confirm for row in (stop, delete, later, restart)] == [
        True,
        True,
        False,
        False,
    ]
    assert Plan([new], "stop").phrase == "stop 1"
    assert Plan([old], "stop").phrase is None


def test_a_plan_that_is_not_confirmed_says_until_when_gpus_cost_the_same(make_cvm, bench):
    young = {"resource": Resource(gpus=1), "created_at": datetime.now(UTC).isoformat()}
    plan = Plan(rows_of(make_cvm, "running", **young), "stop", operations=bench.operations)

    with pytest.raises(NotConfirmed, match="'web-0' computing costs the same until"):
        plan.execute()


def test_a_price_that_is_not_known_is_none_and_not_zero(make_cvm):
    (row,) = Plan(rows_of(make_cvm, "running", hourly_rate=None), "stop").rows()

    assert row.rate_change_usd_h is None


@pytest.mark.parametrize(
    ("verb", "statuses", "phrase"),
    [
        ("stop", ("running",), None),
        ("stop", ("running", "running", "stopped"), "stop 2"),
        ("shutdown", ("running",) * 3, "shutdown 3"),
        ("restart", ("running",) * 3, "restart 3"),
        ("delete", ("running",), "delete 1"),
        ("delete", ("deleted",), None),
        ("start", ("stopped",) * 3, None),
        ("replicate", ("running",) * 3, None),
    ],
)
def test_what_destroys_needs_a_phrase_that_counts(make_cvm, verb, statuses, phrase):
    plan = Plan(rows_of(make_cvm, *statuses), verb)

    assert plan.phrase == phrase
    assert any(row.needs_confirm for row in plan.rows()) is (phrase is not None)


def test_a_row_that_is_given_twice_is_planned_once(make_cvm):
    rows = rows_of(make_cvm, "running", "running")

    assert len(Plan([*rows, *rows], "stop")) == 2


def test_a_plan_shows_its_phrase_and_what_it_saves(make_cvm):
    plan = Plan(rows_of(make_cvm, "running", "running", "restarting"), "shutdown")

    assert repr(plan) == (
        "<Plan: shutdown 2 of 3 CVMs, 1 refused, -0.116 USD/h, confirm='shutdown 2'>"
    )


@pytest.mark.parametrize("terms", [{"concurrency": 0}, {"concurrency": 65}, {"rate": 0}])
def test_bounds_that_are_none_are_refused_before_anything_is_sent(make_cvm, terms):
    plan = Plan(rows_of(make_cvm, "running"), "stop")

    with pytest.raises(InvalidInput):
        plan.execute(**terms)


def test_a_commit_cannot_be_planned(make_cvm):
    with pytest.raises(InvalidInput, match="no CVM to plan for"):
        Plan(rows_of(make_cvm, "running"), "commit")


def test_the_pace_is_even_and_not_saved_up(clock):
    pace = RateLimiter(2.0, clock)
    waits = []
    for _ in range(3):
        waits.append(pace.wait())
        clock.jump(pace.wait())
        pace.went(1)
    clock.jump(100)
    pace.went(1)

    assert waits == [0.0, 0.5, 0.5]
    assert pace.wait() == 0.0, "a moment late is caught up with"
    pace.went(1)
    assert pace.wait() == 0.5, "and no more than a moment"


# --- doing it -------------------------------------------------------------------------------------


def execute(plan, bench, **terms):
    terms = {"confirm": plan.phrase, "progress": False, **terms}
    return plan.execute(bench.operations, **terms)


@pytest.mark.parametrize("phrase", [None, "", "stop 2", "Stop 3", "stop 3 ", "\u0455top 3"])
def test_a_wrong_phrase_sends_nothing_and_says_the_right_one(bench, phrase):
    plan = Plan(bench.make(3), "stop")

    with pytest.raises(NotConfirmed, match="confirm='stop 3'"):
        plan.execute(bench.operations, confirm=phrase, progress=False)

    assert bench.sent("POST") == 0
    assert plan.outcome.counts == {"planned": 3}


def test_many_are_stopped_with_one_request(bench):
    rows = bench.make(4)
    plan = Plan(rows, "stop")

    outcome = execute(plan, bench, until="reached")

    assert outcome.ok
    assert outcome.counts == {"reached": 4}
    assert bench.sent("POST", "/batch-stop") == 1
    assert bench.sent("POST", "/stop") == 0
    assert [row.cvm_id for row in outcome] == [row.id for row in rows]
    for row in rows:
        assert bench.client.get_cvm_state(row.id).status == "stopped"


def test_partial_failure_is_a_result(bench):
    rows = bench.make(3)
    bench.break_it("status", route=f"POST /cvms/{rows[1].id}/shutdown", arg=403)

    outcome = execute(Plan(rows, "shutdown"), bench, until="reached")

    assert [row.state for row in outcome] == ["reached", "failed", "reached"]
    assert outcome.rows[1].http_status == 403
    assert not outcome.ok
    assert rows[1].name in repr(outcome)


def test_a_batch_whose_cvms_are_gone_fails_for_those_only(bench):
    rows = bench.make(3)
    bench.delete(rows[0].id)

    outcome = execute(Plan(rows, "stop"), bench, until="reached")

    assert [row.state for row in outcome] == ["failed", "reached", "reached"]
    assert bench.sent("POST", "/batch-stop") == 1


def test_what_a_batch_skipped_is_stopped_by_itself(new_bench):
    bench = new_bench(speed=0.1)
    rows = bench.make(3, advance=3600)
    bench.client.restart_cvm(rows[0].id)  # since it was shown: a batch skips what is busy
    plan = Plan(rows, "stop")

    execute(plan, bench)
    bench.cloud.advance(3600)

    until(lambda: plan.outcome.counts == {"reached": 3})
    assert bench.sent("POST", f"/{rows[0].id}/stop") == 1
    assert bench.sent("POST", "/stop") == 1
    assert bench.client.get_cvm_state(rows[0].id).status == "stopped"


def test_8_a_batch_that_was_not_answered_is_read_back_and_not_sent_again(bench):
    rows = bench.make(3)
    bench.break_it("reset_after", route="POST /cvms/batch-stop")

    outcome = execute(Plan(rows, "stop"), bench, until="reached")

    assert outcome.counts == {"reached": 3}
    assert bench.sent("POST", "/batch-stop") == 1
    assert bench.sent("POST", "/stop") == 0


def test_rows_that_changed_since_are_refused_row_by_row_with_the_reason(bench):
    rows = bench.make(3)
    plan = Plan(rows, "restart")
    bench.operations.submit("stop", rows[1]).wait(20)
    bench.operations.submit("delete", rows[2]).wait(20)

    outcome = execute(plan, bench, until="reached")

    assert [row.state for row in outcome] == ["reached", "refused", "refused"]
    assert "was running when it was shown, and is stopped now" in outcome.rows[1].reason
    assert "no longer in the fleet" in outcome.rows[2].reason
    assert bench.sent("POST", "/restart") == 1


def test_no_more_than_so_many_are_under_way_at_once(bench):
    rows = bench.make(6)
    most = []

    def observe(_record):
        most.append(
            sum(op.state in {"asked", "sent", "accepted"} for op in bench.operations.alive())
        )

    bench.operations.attach(observe)

    outcome = execute(Plan(rows, "restart"), bench, concurrency=2, until="reached")

    assert outcome.counts == {"reached": 6}
    assert max(most) <= 2


def test_a_rate_is_kept(bench):
    rows = bench.make(6)
    began = time.monotonic()

    execute(Plan(rows, "shutdown"), bench, rate=10)

    took = time.monotonic() - began
    assert took >= 0.5


def test_a_rate_makes_batches_smaller(bench):
    rows = bench.make(4)

    outcome = execute(Plan(rows, "stop"), bench, rate=2, until="reached")

    assert outcome.counts == {"reached": 4}
    assert bench.sent("POST", "/batch-stop") == 2


def test_ctrl_c_sends_nothing_new_keeps_what_was_done_and_resumes_the_rest(
    bench, lay_gateway, press_ctrl_c
):
    rows = bench.make(6)
    plan = Plan(rows, "shutdown")
    gateway = lay_gateway(bench.cloud.port, slow=LONG_PATIENCE)
    for row in rows[2:4]:  # done, and not answered before it is closed
        gateway.lose("POST", f"/cvms/{row.id}/shutdown", "late")
    operations = bench.new_operations(bench.new_client(gateway.url))

    def press():
        until(lambda: bench.sent("POST", "/shutdown") == 4)
        press_ctrl_c()

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        plan.execute(operations, confirm=plan.phrase, progress=False, concurrency=2)
    pressing.join()
    gateway.closed.set()  # from now on there would be room for others
    until(lambda: sum(row.state in {"accepted", "reached"} for row in plan.outcome) == 4)
    threading.Event().wait(0.5)  # whatever was still to be sent would be by now

    assert bench.sent("POST", "/shutdown") == 4
    assert plan.outcome.interrupted
    assert "plan.resume() sends the rest" in interrupted.value.__notes__[0]
    assert sum(row.attempts for row in plan.outcome) == 4

    outcome = plan.resume()

    assert outcome.ok
    assert not outcome.interrupted
    assert bench.sent("POST", "/shutdown") == 6, "each once"


def test_a_plan_is_executed_once(bench):
    plan = Plan(bench.make(1), "stop")
    with pytest.raises(Refused, match="not executed yet"):
        plan.resume()
    execute(plan, bench)

    with pytest.raises(Refused, match="executed already"):
        execute(plan, bench)
    assert plan.resume(progress=False).ok, "nothing is left"
    assert bench.sent("POST", "/stop") == 1


def test_an_empty_plan_is_done_at_once(bench):
    outcome = execute(Plan([], "stop"), bench)

    assert outcome.ok
    assert len(outcome) == 0


def test_a_read_only_client_refuses_each_row(bench):
    rows = bench.make(2)
    operations = bench.new_operations(bench.new_client(read_only=True))

    outcome = Plan(rows, "start", operations=operations).execute(progress=False)
    stops = Plan(rows, "stop", operations=operations).execute(confirm="stop 2", progress=False)

    assert outcome.counts == {"skipped": 2}
    assert stops.counts == {"refused": 2}
    assert bench.sent("POST") == 0


def test_operations_that_are_closed_stop_the_plan_with_words(bench):
    operations = bench.new_operations()
    operations.close()

    with pytest.raises(Refused, match="closed"):
        Plan(bench.make(1), "stop", operations=operations).execute(progress=False)


def test_a_bar_shows_how_far_it_is(bench, capsys):
    plan = Plan(bench.make(2), "restart")

    execute(plan, bench, progress=True)

    shown = capsys.readouterr().err
    assert "restart" in shown
    assert "2/2" in shown


def test_stopping_a_hundred_takes_two_requests(bench, make_cvm):
    rows = rows_of(make_cvm, *["running"] * 100)

    outcome = execute(Plan(rows, "stop"), bench)

    assert outcome.counts == {"failed": 100}
    assert bench.sent("POST", "/batch-stop") == 2


def test_ctrl_c_while_the_bar_is_made_is_one_and_leaves_nothing(bench, monkeypatch):
    rows = bench.make(2)

    class Interrupted:
        def __init__(self, **_settings):
            raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.auto.tqdm", Interrupted)
    plan = Plan(rows, "shutdown", operations=bench.operations)
    with pytest.raises(KeyboardInterrupt):
        plan.execute(confirm=plan.phrase)
    assert bench.operations._hooks == ()
    assert "cvm-plan" not in [thread.name for thread in threading.enumerate()]
    assert bench.sent("POST", "/shutdown") == 0
    monkeypatch.undo()
    assert plan.resume(progress=False).ok


def test_a_plan_that_starts_what_a_suspended_workspace_may_not_sends_nothing(bench):
    (stopped,) = bench.make(status="stopped")
    bench.cloud.suspend()
    bench.cloud.clear_requests()
    try:
        with pytest.raises(WorkspaceSuspended):
            Plan([stopped], "start").execute(bench.operations, progress=False)
        assert bench.sent("POST") == 0
    finally:
        bench.cloud.suspend(suspended=False)
    done = Plan([stopped], "start").execute(bench.operations, progress=False)
    assert len(done.rows) == 1
