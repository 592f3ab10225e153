"""The store's rules."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from time import process_time

import pytest
from helpers import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cvm_notebook.api.models.actions import CvmStatus, OperationStatus
from cvm_notebook.api.models.cvm import Cvm, NodeRef, OsInfo
from cvm_notebook.live.store.merge import HORIZON
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Gap, Health, Trust, TrustCheck
from cvm_notebook.live.store.store import FleetStore

ID = "cvm_00000001"
CONTENT = (
    "cvm", "status", "in_progress", "operation",
    "boot_progress", "boot_error", "shutdown_progress", "error",
)  # fmt: skip
SERVER = datetime(2026, 6, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(clock, make_cvm):
    """A store that listed web-1 a second ago."""
    store = FleetStore(clock)
    store.replace([make_cvm(1)], received=clock.monotonic())
    clock.advance(1.0)
    return store


def content(row):
    return tuple(getattr(row, name) for name in CONTENT)


def reported(clock, status, ago=0.0, **more):
    fields = {"id": ID, "status": status, "received": clock.monotonic() - ago, "source": "stream"}
    return Observation(**(fields | more))


def doing(kind, minute):
    return OperationStatus(type=kind, started_at=f"2026-06-23T12:{minute:02}:00Z")


# lists


def test_a_relist_computes_what_came_changed_and_went(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1), make_cvm(2), make_cvm(3)], received=1.0)
    listed = [make_cvm(4), make_cvm(1), make_cvm(2, status="stopped")]
    changes = store.replace(listed, received=2.0)
    assert {(c.kind, c.row.name) for c in changes} == {
        ("added", "web-4"),
        ("changed", "web-2"),
        ("removed", "web-3"),
    }
    assert [r.name for r in store.snapshot()] == ["web-4", "web-1", "web-2"]


def test_unchanged_rows_keep_their_identity_over_a_relist(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1), make_cvm(2)], received=1.0)
    before = store.snapshot()
    store.replace([make_cvm(1), make_cvm(2, status="stopped")], received=2.0)
    after = store.snapshot()
    assert after.rows[0] is before.rows[0]
    assert after.rows[1] is not before.rows[1]


def test_observed_at_advances_without_a_change(store, clock, make_cvm):
    batches = []
    store.attach(batches.append)
    revision = store.revision
    now = clock.monotonic()
    assert store.replace([make_cvm(1)], received=now) == ()
    row = store.snapshot().rows[0]
    assert (row.observed_at, row.seen_at, row.source) == (now, clock.now(), "list")
    assert (store.revision, row.revision, batches) == (revision, revision, [])


def test_a_list_that_only_reorders_shows_its_order_and_no_change(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1), make_cvm(2)], received=1.0)
    assert store.replace([make_cvm(2), make_cvm(1)], received=2.0) == ()
    assert [r.name for r in store.snapshot()] == ["web-2", "web-1"]


def test_an_older_list_does_not_undo_a_newer_one(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1), make_cvm(2)], received=10.0, asked=9.0)
    assert store.replace([make_cvm(1)], received=11.0, asked=8.0) == ()
    assert len(store.snapshot()) == 2


def test_a_cvm_seen_while_the_list_was_on_its_way_stays(store, clock, make_cvm):
    asked = clock.monotonic()
    clock.advance(1)
    store.patch([Observation.of_cvm(make_cvm(2), received=clock.monotonic())])
    clock.advance(1)
    assert store.replace([make_cvm(1)], received=clock.monotonic(), asked=asked) == ()
    (gone,) = store.replace([make_cvm(1)], received=clock.monotonic())
    assert (gone.kind, gone.row.name) == ("removed", "web-2")


def test_a_cvm_that_went_does_not_come_back_by_an_older_list(store, clock, make_cvm):
    asked = clock.monotonic()
    clock.advance(1)
    (gone,) = store.remove([ID], received=clock.monotonic())
    assert gone.kind == "removed"
    clock.advance(1)
    assert store.replace([make_cvm(1)], received=clock.monotonic(), asked=asked) == ()
    late = Observation.of_cvm(make_cvm(1), received=clock.monotonic(), asked=asked)
    assert store.patch([late]) == ()
    (back,) = store.replace([make_cvm(1)], received=clock.monotonic())
    assert back.kind == "added"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_rows_with_one_id_the_one_updated_last_counts_and_it_is_reported_once(
    clock, make_cvm, order
):
    faults = []
    store = FleetStore(clock, on_fault=faults.append)
    twins = [
        make_cvm(1, status="running", updated_at="2026-06-01T10:00:00Z"),
        make_cvm(1, status="stopped", updated_at="2026-06-02T10:00:00Z"),
    ]
    for received in (1.0, 2.0):
        store.replace([twins[n] for n in order], received=received)
    assert [r.status for r in store.snapshot()] == ["stopped"]
    assert [f.where for f in faults] == ["list"]
    assert ID in faults[0].what


def test_missing_fields_and_new_statuses_keep_their_row(clock):
    store = FleetStore(clock)
    store.replace([Cvm(vm_uuid="u-1"), Cvm(id="a", status="hibernating"), Cvm()], received=1.0)
    assert [(r.id, r.status) for r in store.snapshot()] == [("u-1", None), ("a", "hibernating")]


def test_a_list_keeps_the_compose_file_that_a_get_brought(store, clock, make_cvm):
    full = make_cvm(1, compose_hash="h", compose_file={"name": "x"})
    store.patch([Observation.of_cvm(full, received=clock.monotonic())])
    row = store.snapshot().rows[0]
    clock.advance(1)
    assert store.replace([make_cvm(1, compose_hash="h")], received=clock.monotonic()) == ()
    assert store.snapshot().rows[0] is row
    clock.advance(1)
    store.replace([make_cvm(1, compose_hash="h", status="stopped")], received=clock.monotonic())
    assert store.snapshot().rows[0].cvm.compose_file == {"name": "x"}
    clock.advance(1)
    store.replace([make_cvm(1, compose_hash="other")], received=clock.monotonic())
    assert store.snapshot().rows[0].cvm.compose_file is None


def test_ten_thousand_rows_unchanged_cost_a_tenth_of_the_first_time_at_most(clock, make_cvm):
    listed = [make_cvm(n) for n in range(10_000)]
    again = [make_cvm(n) for n in range(10_000)]
    store = FleetStore(clock)
    costs = []
    for received, rows in enumerate((listed, again, again, again)):
        start = process_time()
        changes = store.replace(rows, received=float(received))
        costs.append(process_time() - start)
        assert len(changes) == (0 if received else 10_000)
    # some 14 ms on two quiet cores; a test cannot count on quiet
    assert min(costs[1:]) < max(0.05, costs[0] / 3)


# facts


def test_a_late_fact_does_not_undo_a_newer_one(store, clock):
    store.patch([reported(clock, "stopping")])
    assert store.patch([reported(clock, "starting", ago=0.5)]) == ()
    assert store.get(ID).status == "stopping"


def test_a_duplicate_fact_changes_nothing(store, clock):
    fact = reported(clock, "stopping")
    assert len(store.patch([fact])) == 1
    assert store.patch([fact, fact]) == ()


def test_a_late_fact_makes_no_row_look_fresher(store, clock):
    store.patch([reported(clock, "stopping")])
    seen = store.get(ID).seen
    store.patch([reported(clock, "running", ago=0.5)])
    assert store.get(ID).seen is seen


def test_a_batch_that_was_asked_long_ago_does_not_undo_what_came_meanwhile(store, clock):
    asked = clock.monotonic()
    clock.advance(10)
    store.patch([reported(clock, "stopping")])
    clock.advance(21)
    slow = reported(
        clock, "running", source="batch", asked=asked, in_progress=False, operation=None
    )
    assert store.patch([slow]) == ()
    assert store.get(ID).status == "stopping"


def test_a_late_batch_does_not_undo_a_newer_one_in_a_quiet_fleet(store, clock):
    def entry(progress, ago):
        rest = {"in_progress": False, "operation": None, "boot_error": None}
        rest |= {"boot_progress": progress, "shutdown_progress": None}
        return reported(clock, "running", ago, source="batch", **rest)

    store.patch([entry("done", 0.1)])
    assert store.patch([entry("pre-launch", 0.2)]) == ()
    assert store.get(ID).boot_progress == "done"


def at_rest(clock, status="running", progress="done", error=None, **changes):
    """What a batch status reports of a CVM that nothing is done to."""
    clock.advance(1)
    progress_fields = {"boot_progress": progress, "boot_error": error, "shutdown_progress": None}
    whole = {"in_progress": False, "operation": None, **progress_fields, **changes}
    return reported(clock, status, source="batch", **whole)


def test_how_a_cvm_came_to_rest_is_filled_in_and_is_no_change(store, clock):
    before, revision = store.get(ID), store.revision

    assert store.patch([at_rest(clock, uptime="3d 4h")]) == ()

    row = store.get(ID)
    assert row is before
    assert (row.boot_progress, row.uptime, row.source) == ("done", "3d 4h", "batch")
    assert store.revision == revision


def test_whatever_has_happened_to_a_cvm_at_rest_is_a_change(store, clock):
    store.patch([at_rest(clock)])
    (again,) = store.patch([at_rest(clock, progress="init-script")])
    assert (again.before.boot_progress, again.after.boot_progress) == ("done", "init-script")
    (failed,) = store.patch([at_rest(clock, progress="init-script", error="no disk")])
    assert failed.after.boot_error == "no disk"
    (stopped,) = store.patch([at_rest(clock, "stopped", progress=None)])
    assert stopped.after.status == "stopped"


def test_a_first_word_that_tells_of_a_failure_or_of_a_boot_is_a_change(store, clock, make_cvm):
    assert len(store.patch([at_rest(clock, error="no disk")])) == 1
    store.replace([make_cvm(2, status="starting")], received=clock.monotonic())
    key = store.snapshot().rows[0].id
    boots = at_rest(clock, "starting", progress="init-script", id=key)
    assert len(store.patch([boots])) == 1


def test_a_later_operation_wins_over_a_later_receipt(store, clock):
    new = reported(clock, "starting", 0.5, in_progress=True, operation=doing("start", 2))
    old = reported(clock, "stopping", 0.0, in_progress=True, operation=doing("stop", 1))
    store.patch([new])
    assert store.patch([old]) == ()
    assert store.get(ID).operation.type == "start"


def test_a_later_server_time_wins_over_a_later_receipt(store, clock, make_cvm):
    new = make_cvm(1, status="stopped", updated_at="2026-06-02T10:00:00Z")
    old = make_cvm(1, status="stopping", updated_at="2026-06-02T09:00:00Z")
    store.patch([Observation.of_cvm(new, received=clock.monotonic() - 0.5)])
    assert store.patch([Observation.of_cvm(old, received=clock.monotonic())]) == ()
    assert store.get(ID).status == "stopped"


def test_a_server_clock_that_was_set_back_does_not_freeze_a_row(store, clock, make_cvm):
    old = make_cvm(1, status="stopped", updated_at="2020-01-01T00:00:00Z")
    store.patch([Observation.of_cvm(old, received=clock.monotonic())])
    assert store.get(ID).status == "running"
    clock.advance(HORIZON + 1)
    store.replace([old], received=clock.monotonic())
    assert store.get(ID).status == "stopped"


def test_after_a_list_that_was_asked_later_the_row_is_the_lists(store, clock, make_cvm):
    store.patch([reported(clock, "stopping", in_progress=True, operation=doing("stop", 1))])
    clock.advance(1)
    store.replace([make_cvm(1, status="stopped")], received=clock.monotonic())
    row = store.get(ID)
    assert (row.status, row.in_progress, row.operation) == ("stopped", False, None)


def test_a_status_at_rest_ends_the_operation_that_led_to_it(store, clock):
    store.patch([reported(clock, "stopping", in_progress=True, operation=doing("stop", 1))])
    clock.advance(1)
    store.patch([reported(clock, "stopped")])
    assert (store.get(ID).in_progress, store.get(ID).operation) == (False, None)


def test_a_later_operation_does_not_carry_the_id_of_the_one_before_it(store, clock):
    """A stream says nothing of operations, only how the status goes on."""
    store.patch([reported(clock, "stopping", in_progress=True, operation=doing("restart", 1))])
    clock.advance(1)
    store.patch([reported(clock, "starting")])
    assert store.get(ID).operation.type == "restart", "it boots within the same operation"

    seen = []
    for status in ("running", "starting", "stopping"):
        clock.advance(1)
        store.patch([reported(clock, status)])
        seen.append((store.get(ID).in_progress, store.get(ID).operation))
    assert seen == [(False, None), (True, None), (True, None)]


def test_a_boot_that_is_stopped_is_another_operation_though_its_end_was_not_seen(store, clock):
    store.patch([reported(clock, "starting", in_progress=True, operation=doing("create", 1))])
    clock.advance(1)
    store.patch([reported(clock, "stopping")])
    assert (store.get(ID).in_progress, store.get(ID).operation) == (True, None)


def test_what_is_done_to_a_running_cvm_goes_on_while_it_runs(store, clock):
    store.patch([reported(clock, "running", in_progress=True, operation=doing("resize", 1))])
    clock.advance(1)
    store.patch([reported(clock, "running")])
    assert (store.get(ID).in_progress, store.get(ID).operation.type) == (True, "resize")


def test_a_status_in_transition_is_in_progress(store, clock):
    store.patch([reported(clock, "stopping")])
    assert store.get(ID).in_progress


def test_progress_goes_with_the_status_it_was_reported_with(store, clock, make_cvm):
    store.patch([reported(clock, "starting", boot_progress="mounting data disk", boot_error=None)])
    assert store.get(ID).boot_progress == "mounting data disk"
    clock.advance(1)
    store.patch([reported(clock, "running")])
    assert store.get(ID).boot_progress is None


def test_the_spelling_of_a_watched_status_is_no_change(store, clock):
    assert store.patch([reported(clock, "Running")]) == ()
    assert store.get(ID).status == "running"


def test_uptime_advances_without_a_change(store, clock):
    def fact(uptime):
        return Observation.of_status(
            CvmStatus(vm_uuid=store.get(ID).vm_uuid, status="running", in_progress=False,
                      uptime=uptime),
            received=clock.monotonic(),
        )  # fmt: skip

    assert store.patch([fact("1m")]) == ()
    row = store.get(ID)
    clock.advance(5)
    assert store.patch([fact("1m 5s")]) == ()
    assert store.get(ID) is row
    assert row.uptime == "1m 5s"


def test_a_row_that_could_not_be_read_says_why_and_looks_no_fresher(store, clock, make_cvm):
    seen = store.get(ID).seen
    store.patch([Observation.of_error("HTTP 403", id=ID, received=clock.monotonic(), source="get")])
    row = store.get(ID)
    assert (row.error, row.seen, row.status) == ("HTTP 403", seen, "running")
    clock.advance(1)
    store.replace([make_cvm(1)], received=clock.monotonic())
    assert store.get(ID).error is None


def test_a_fact_about_an_unknown_cvm_counts_only_with_its_record(store, clock, make_cvm):
    assert (
        store.patch([Observation(id="cvm_x", status="running", received=2.0, source="stream")])
        == ()
    )
    (change,) = store.patch([Observation.of_cvm(make_cvm(9), received=clock.monotonic())])
    assert change.kind == "added"
    assert [r.name for r in store.snapshot()] == ["web-9", "web-1"]


STATUSES = st.sampled_from(["running", "stopping", "stopped", "starting", "Running"])
MINUTES = st.integers(0, 3)


@st.composite
def facts(draw):
    """Draw facts about one CVM, each with a receipt of its own, within the horizon."""
    made = []
    for receipt in draw(st.lists(st.integers(1, 100), min_size=3, max_size=6, unique=True)):
        more = {"received": 1000.0 + receipt, "source": draw(st.sampled_from(["stream", "batch"]))}
        progress = {"boot_progress": draw(st.sampled_from(["a", "b"])), "boot_error": None,
                    "shutdown_progress": None}  # fmt: skip
        kind = draw(st.sampled_from(["quiet", "busy", "calm", "bare"]))
        if kind == "quiet":  # an entry of a batch in a quiet fleet
            quiet = {"in_progress": False, "operation": None, **progress, **more}
            made.append(Observation(id=ID, status="running", **quiet))
            continue
        if kind == "busy":
            more |= {"in_progress": True, "operation": doing("x", draw(MINUTES))}
        elif kind == "calm":
            more |= {"in_progress": False, "operation": None}
        if draw(st.booleans()):
            more["server_time"] = SERVER + timedelta(minutes=draw(MINUTES))
        if draw(st.booleans()):
            more |= progress
        made.append(Observation(id=ID, status=draw(STATUSES), **more))
    return made


def settled(clock, cvm, facts):
    store = FleetStore(clock)
    store.replace([cvm], received=1000.0)
    for fact in facts:
        store.patch([fact])
    return store


@settings(
    max_examples=examples(250),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(facts=facts(), order=st.randoms(use_true_random=False))
def test_any_interleaving_of_facts_ends_in_one_state(clock, make_cvm, facts, order):
    """However they come, late or twice: the same row, and no change when they come again."""
    shuffled = [*facts, *facts]
    order.shuffle(shuffled)
    one = settled(clock, make_cvm(1), facts)
    other = settled(clock, make_cvm(1), shuffled)
    assert content(one.get(ID)) == content(other.get(ID))
    assert other.patch(facts) == ()


def test_any_order_of_whole_facts_ends_in_the_newest_alone(clock, make_cvm):
    whole = {"boot_error": None, "shutdown_progress": None, "source": "batch", "id": ID}
    made = [
        Observation(
            status="stopping", in_progress=True, operation=doing("stop", 1),
            received=1010.0,
             boot_progress=None, **whole),
        Observation(
            status="starting", in_progress=True, operation=doing("start", 2),
            received=1005.0,
             boot_progress="a", **whole),
        Observation(
            status="starting", in_progress=True, operation=doing("start", 2),
            received=1004.0,
             boot_progress=None, **whole),
        Observation(status="running", in_progress=False, operation=None, received=1002.0,
             boot_progress="done", **whole),
    ]  # fmt: skip
    newest = content(settled(clock, make_cvm(1), [made[1]]).get(ID))
    for order in permutations(made):
        assert content(settled(clock, make_cvm(1), order).get(ID)) == newest


# snapshots


def test_a_snapshot_does_not_move(store, clock, make_cvm):
    before = store.snapshot()
    rows = before.rows
    store.patch([reported(clock, "stopping")])
    assert before.rows is rows
    assert before.find("web-1").status == "running"
    assert store.snapshot().find("web-1").status == "stopping"


def test_a_snapshot_says_whether_a_whole_list_was_read(clock, make_cvm):
    store = FleetStore(clock)
    assert not store.snapshot().complete
    store.patch([Observation.of_cvm(make_cvm(1), received=1.0)])
    assert not store.snapshot().complete
    store.replace([], received=2.0)
    assert store.snapshot().complete


def test_a_changed_row_knows_the_revision_at_which_it_changed(store, clock):
    store.patch([reported(clock, "stopping")])
    assert store.get(ID).revision == store.revision == 2


def test_health_reads_well_and_the_same_again_is_no_change(clock):
    store, healths = FleetStore(clock), []
    store.attach(lambda _: None, health=healths.append)
    down = Health("offline", clock.now(), "connection refused.", "It is tried again in 3 s.")
    for _ in range(2):
        store.set_health(down)
    assert healths == [down]
    assert store.snapshot().health is down
    assert str(down) == (
        "offline since 12:00:00 UTC: connection refused. It is tried again in 3 s."
    )
    assert str(Health("live", clock.now())) == "live"
    store.set_health(again := replace(down, next_try=7.0))
    assert healths[1:] == [again]
    assert store.log().healths[-1] is down, "when it is tried next is no other state"


# notifying


def test_subscribers_get_batches_in_order_outside_the_lock(store, clock):
    received = []

    def see(batch):
        # would wait for ever if the lock were held
        received.append((batch[0].seq, store.snapshot().revision >= batch[0].revision))

    store.attach(see)
    for status in ("stopping", "stopped", "starting"):
        clock.advance(1)
        store.patch([reported(clock, status)])
    assert received == [(2, True), (3, True), (4, True)]


def test_an_observer_that_writes_is_notified_of_it_after_earlier_changes(store, clock):
    seen = []

    def see(batch):
        if not seen:
            clock.advance(1)
            store.patch([reported(clock, "stopped")])
        seen.extend(c.after.status for c in batch)

    store.attach(see)
    store.patch([reported(clock, "stopping")])
    assert seen == ["stopping", "stopped"]


def test_an_exception_in_an_observer_is_isolated_and_reported_once(clock, make_cvm):
    faults, batches = [], []
    store = FleetStore(clock, on_fault=faults.append)
    store.attach(lambda _: 1 / 0)
    store.attach(batches.append)
    for n in range(3):
        store.replace([make_cvm(n)], received=float(n))
    assert len(batches) == 3
    assert [type(f.error) for f in faults] == [ZeroDivisionError]
    assert "observer" in faults[0].what


def test_a_closed_subscription_is_notified_no_more(store, clock):
    batches = []
    with store.attach(batches.append):
        store.patch([reported(clock, "stopping")])
    clock.advance(1)
    store.patch([reported(clock, "stopped")])
    assert len(batches) == 1


def test_what_was_missed_since_a_revision_comes_first(store, clock):
    seen = store.revision
    store.patch([reported(clock, "stopping")])
    batches = []
    store.attach(batches.append, since=seen)
    clock.advance(1)
    store.patch([reported(clock, "stopped")])
    assert [[c.after.status for c in batch] for batch in batches] == [["stopping"], ["stopped"]]
    store.attach(batches.append, since=store.revision)
    assert len(batches) == 2


def test_a_revision_no_longer_kept_is_answered_by_a_gap(clock, make_cvm):
    store = FleetStore(clock, kept=2)
    for n in range(4):
        store.replace([make_cvm(1, vcpu=n)], received=float(n))
    for since, expected in ((1, Gap(1, 2, 4)), (99, Gap(99, 2, 4))):
        batches = []
        store.attach(batches.append, since=since)
        assert batches == [expected]
    batches = []
    store.attach(batches.append, since=2)
    assert [c.revision for c in batches[0]] == [3, 4]


def test_changes_are_laid_to_the_operation_they_come_of(store, clock):
    store.attribute(ID, "op-1")
    (first,) = store.patch([reported(clock, "stopping")])
    store.attribute(ID, None)
    clock.advance(1)
    (second,) = store.patch([reported(clock, "stopped")])
    clock.advance(1)
    (third,) = store.patch([reported(clock, "starting", operation_id="op-2")])
    assert [c.operation_id for c in (first, second, third)] == ["op-1", None, "op-2"]


def test_lag_is_the_time_from_the_receipt_to_the_change(store, clock):
    (change,) = store.patch([reported(clock, "stopping", ago=0.25)])
    assert change.lag_ms == pytest.approx(250)
    assert change.made_at - change.at == timedelta(milliseconds=250)


# what was proven


def trust(seconds=0.0, word="SIMULATED"):
    at = SERVER + timedelta(seconds=seconds)
    checks = (TrustCheck("tcb", "TCB up to date", "pass", "UpToDate", ""),)
    return Trust(word=word, summary=f"{word} (1 pass)", at=at, until=None, checks=checks)


@pytest.fixture
def proven(clock, make_cvm):
    """A store with web-1, of which all that a quote is about is known, and which was verified."""
    store = FleetStore(clock)
    store.replace([make_cvm(1, **MEASURED)], received=clock.monotonic())
    clock.advance(1.0)
    store.attest({ID: trust()})
    clock.advance(1.0)
    return store


MEASURED = {
    "compose_hash": "a" * 64,
    "os": OsInfo(name="dstack-0.6", os_image_hash="b" * 64),
    "instance_id": "i-1",
    "vm_uuid": "u-1",
    "node_info": NodeRef(id=21),
}


def test_what_was_proven_is_a_change_of_the_row_and_no_sighting_of_it(store, clock):
    batches = []
    store.attach(batches.append)
    (before,) = store.snapshot()
    (change,) = store.attest({ID: trust(), "cvm_unknown": trust()})
    (row,) = store.snapshot()
    assert batches == [(change,)]
    assert (change.before, change.after, change.source) == (before, row, "action")
    assert (row.trust, row.seen, row.revision) == (trust(), before.seen, store.revision)
    assert store.attest({"cvm_unknown": trust()}) == ()


@pytest.mark.parametrize(
    "another",
    [
        {"compose_hash": "c" * 64},
        {"os": OsInfo(name="dstack-0.6", os_image_hash="d" * 64)},
        {"instance_id": "i-2"},
        {"vm_uuid": "u-2"},
        {"node_info": NodeRef(id=22)},
        {"status": "stopped"},
        {"status": "restarting"},
        {"in_progress": True},
    ],
)
def test_it_is_forgotten_when_something_else_runs(proven, clock, make_cvm, another):
    proven.replace([make_cvm(1, **(MEASURED | another))], received=clock.monotonic())
    assert proven.snapshot().rows[0].trust is None
    clock.advance(1.0)
    proven.replace([make_cvm(1, **MEASURED)], received=clock.monotonic())
    assert proven.snapshot().rows[0].trust is None


@pytest.mark.parametrize(
    "same",
    [{}, {"vcpu": 8}, {"name": "renamed"}, {"status": "Running"}, {"instance_id": None}],
)
def test_it_stays_while_the_same_runs(proven, clock, make_cvm, same):
    proven.replace([make_cvm(1, **(MEASURED | same))], received=clock.monotonic())
    assert proven.snapshot().rows[0].trust == trust()


def test_a_restart_that_nobody_saw_shows_in_the_uptime(proven, clock):
    def trust_after(uptime):
        clock.advance(30)
        status = CvmStatus(vm_uuid="u-1", status="running", in_progress=False, uptime=uptime)
        proven.patch([Observation.of_status(status, received=clock.monotonic())])
        return proven.snapshot().rows[0].trust

    assert trust_after("1h 2m") == trust_after("1h 3m") == trust_after(None) == trust()
    assert trust_after("1h 4m") == trust()
    assert trust_after("20s") is None


def test_of_who_runs_anew_since_it_was_asked_nothing_is_kept(store, clock):
    since = store.revision
    store.patch([reported(clock, "running", boot_progress="done")])
    assert store.attest({ID: trust()}, since=since)
    for status in ("restarting", "running"):
        clock.advance(1.0)
        store.patch([reported(clock, status)])
    assert store.attest({ID: trust(1)}, since=since) == ()
    assert store.snapshot().rows[0].trust is None
    assert store.attest({ID: trust(2)}, since=store.revision)
    store.keep(1)
    assert store.attest({ID: trust(3)}, since=since) == ()  # nobody remembers what was


# all at once


def test_eight_writers_and_readers_see_one_order(make_cvm):
    """Whoever follows the batches holds what the store holds; no revision is seen twice."""
    store = FleetStore()
    store.replace([make_cvm(n) for n in range(50)], received=0.0)
    mirror, revisions, seqs = {r.id: r for r in store.snapshot()}, [], []
    torn = []
    stop = threading.Event()

    def follow(batch):
        for change in batch:
            seqs.append(change.seq)
            if change.after is None:
                del mirror[change.row.id]
            else:
                mirror[change.row.id] = change.after
        revisions.append(batch[0].revision)

    def write(writer):
        for turn in range(40):
            moment = float(1 + turn * 8 + writer)
            if turn % 10 == 9:
                store.replace([make_cvm(n, vcpu=turn + writer) for n in range(50)], received=moment)
            else:
                fact = Observation(id=f"cvm_{turn % 50:08d}", status=f"s{turn}{writer}",
                            received=moment, source="stream")  # fmt: skip
                store.patch([fact])

    def read():
        last = 0
        while not stop.is_set():
            snapshot = store.snapshot()
            if snapshot.revision < last or max(r.revision for r in snapshot) > snapshot.revision:
                torn.append(snapshot.revision)
            last = snapshot.revision

    store.attach(follow)
    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert torn == []
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert revisions == sorted(set(revisions))
    assert mirror == {r.id: r for r in store.snapshot()}


class Oracle(RuleBasedStateMachine):
    """The store against a dict: facts come in their order, lists are whole."""

    cvms = st.integers(0, 5)

    def __init__(self):
        super().__init__()
        self.now = 1.0
        self.store = FleetStore()
        self.truth = {}  # id -> (status, vcpu)
        self.trusted = set()
        self.mirror = {}
        self.revision = 0
        self.store.attach(self.follow)

    def follow(self, batch):
        for change in batch:
            assert self.mirror.get(change.row.id) is change.before
            if change.after is None:
                del self.mirror[change.row.id]
            else:
                assert change.after != change.before
                self.mirror[change.row.id] = change.after

    def tick(self):
        self.now += 1.0
        return self.now

    def now_are(self, rows):
        """Take what is true now; what was proven holds for who is there and has its status."""
        old, self.truth = self.truth, rows
        self.trusted = {
            k for k in self.trusted & rows.keys() if rows[k][0].lower() == old[k][0].lower()
        }

    @rule(n=cvms)
    def attest(self, n):
        key = cvm(n).id
        made = self.store.attest({key: trust(self.now)})
        assert bool(made) == (key in self.truth)
        self.trusted |= {key} & self.truth.keys()

    @rule(rows=st.dictionaries(cvms, st.tuples(STATUSES, st.integers(1, 2)), max_size=6))
    def relist(self, rows):
        self.now_are({cvm(n, *row).id: row for n, row in rows.items()})
        self.store.replace([cvm(n, *row) for n, row in rows.items()], received=self.tick())

    @rule(n=cvms, status=STATUSES)
    def stream(self, n, status):
        key = cvm(n).id
        self.store.patch(
            [Observation(id=key, status=status, received=self.tick(), source="stream")]
        )
        if key in self.truth:
            self.now_are(self.truth | {key: (status, self.truth[key][1])})

    @rule(n=cvms, status=STATUSES, vcpu=st.integers(1, 2))
    def get(self, n, status, vcpu):
        self.store.patch([Observation.of_cvm(cvm(n, status, vcpu), received=self.tick())])
        self.now_are(self.truth | {cvm(n).id: (status, vcpu)})

    @rule(n=cvms, status=STATUSES)
    def late(self, n, status):
        fact = Observation(id=cvm(n).id, status=status, received=self.now - 1e6, source="stream")
        assert self.store.patch([fact]) == ()

    @rule(n=cvms)
    def delete(self, n):
        self.store.remove([cvm(n).id], received=self.tick())
        self.now_are({k: row for k, row in self.truth.items() if k != cvm(n).id})

    @invariant()
    def the_store_holds_the_truth(self):
        rows = {r.id: r for r in self.store.snapshot()}
        assert {k: (r.status.lower(), r.cvm.resource.vcpu) for k, r in rows.items()} == {
            k: (status.lower(), vcpu) for k, (status, vcpu) in self.truth.items()
        }
        assert {k for k, row in rows.items() if row.trust} == self.trusted
        assert self.mirror == rows
        assert all(self.mirror[k] is r for k, r in rows.items())

    @invariant()
    def the_revision_only_grows(self):
        assert self.store.revision >= self.revision
        self.revision = self.store.revision


def cvm(number, status="running", vcpu=1):
    from cvm_notebook.api.models.cvm import Resource

    resource = Resource(vcpu=vcpu)
    return Cvm(id=f"cvm_{number}", status=status, resource=resource, updated_at="2026-06-01")


TestOracle = Oracle.TestCase
TestOracle.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
