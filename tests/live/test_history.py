"""The history's rules."""

from datetime import UTC, timedelta, timezone

import pytest
from helpers import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.live.store.history import History
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Health
from cvm_notebook.live.store.store import FleetStore

STATUSES = st.sampled_from(["running", "stopping", "stopped", "starting"])
NUMBERS = st.integers(0, 6)


@pytest.fixture
def store(clock):
    return FleetStore(clock)


def stream(store, clock, number, status):
    fact = Observation(
        id=f"cvm_{number:08d}", status=status, received=clock.monotonic(), source="stream"
    )
    store.patch([fact])


def relist(store, clock, make_cvm, *cvms):
    listed = [make_cvm(n, status=status) for n, status in cvms]
    store.replace(listed, received=clock.monotonic())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("list"), st.dictionaries(NUMBERS, STATUSES)),
        st.tuples(st.just("stream"), NUMBERS, STATUSES),
        st.tuples(st.just("gone"), NUMBERS),
        st.tuples(st.just("health"), st.sampled_from(["live", "offline"])),
    ),
    max_size=25,
)


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, limit=st.sampled_from([3, 10_000]))
def test_at_a_moment_is_what_the_snapshot_was_then(clock, make_cvm, steps, limit):
    store = FleetStore(clock)
    history = History(store, limit)
    taken = [store.snapshot()]
    for step in steps:
        clock.advance(1.5)
        match step:
            case "list", cvms:
                # the newest first, as the service lists them
                relist(store, clock, make_cvm, *sorted(cvms.items(), reverse=True))
            case "stream", number, status:
                stream(store, clock, number, status)
            case "gone", number:
                store.remove([f"cvm_{number:08d}"], received=clock.monotonic())
            case "health", state:
                store.set_health(Health(state, clock.now()))
        taken.append(store.snapshot())
    clock.advance(1.5)
    reached = [then for then in taken if then.taken_at >= store.log().since]
    assert limit < 10_000 or len(reached) == len(taken)
    for then in reached:
        now = history.at(then.taken_at)
        assert now == then
        later = history.at(then.taken_at + timedelta(seconds=1))
        assert (later.rows, later.monotonic) == (then.rows, then.monotonic + 1)


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(NUMBERS, STATUSES), max_size=20))
def test_in_the_past_no_row_looks_fresher_than_it_was(clock, make_cvm, steps):
    store = FleetStore(clock)
    history = History(store)
    relist(store, clock, make_cvm, *((n, "running") for n in range(7)))
    taken = [(store.snapshot(), ages(store, clock))]
    for number, status in steps:
        clock.advance(2)
        stream(store, clock, number, status)
        taken.append((store.snapshot(), ages(store, clock)))
    for then, were in taken:
        past = history.at(then.taken_at)
        assert all(row.age(past.monotonic) >= were[row.id] for row in past)
        assert all(row.seen_at <= then.taken_at for row in past)


def ages(store, clock):
    return {row.id: row.age(clock.monotonic()) for row in store.snapshot()}


def test_the_history_is_bounded_and_says_how_far_it_reaches(store, clock, make_cvm):
    history = History(store, limit=3)
    began = clock.now()
    assert store.log().since == began
    relist(store, clock, make_cvm, (1, "running"))
    for status in ("stopping", "stopped", "starting", "running"):
        clock.advance(10)
        stream(store, clock, 1, status)
    assert [c.after.status for c in history.changes()] == ["stopped", "starting", "running"]
    assert store.log().since == began + timedelta(seconds=10)
    assert history.at(store.log().since).find("web-1").status == "stopping"
    with pytest.raises(InvalidInput, match="the history begins at 2026-06-23 12:00:10 UTC"):
        history.at(began + timedelta(seconds=9))


def test_a_moment_may_have_any_zone_or_none(store, clock, make_cvm):
    history = History(store)
    relist(store, clock, make_cvm, (1, "running"))
    assert history.at(clock.now().astimezone().replace(tzinfo=None)) == history.at(clock.now())
    elsewhere = clock.now().astimezone(timezone(timedelta(hours=9)))
    then = history.at(elsewhere)
    assert then.taken_at == clock.now()
    assert then.taken_at.tzinfo is UTC


def test_a_moment_to_come_is_now(store, clock, make_cvm):
    history = History(store)
    relist(store, clock, make_cvm, (1, "running"))
    assert history.at(clock.now() + timedelta(days=1)) == store.snapshot()


def test_a_row_that_went_is_put_back_where_it_was(store, clock, make_cvm):
    history = History(store)
    relist(store, clock, make_cvm, *((n, "running") for n in range(5)))
    then = clock.now()
    clock.advance(1)
    relist(store, clock, make_cvm, (0, "running"), (3, "stopped"), (9, "running"))
    assert [r.name for r in history.at(then)] == [f"web-{n}" for n in range(5)]


def test_a_wall_clock_that_is_set_back_shows_the_later_of_two_same_moments(store, clock, make_cvm):
    history = History(store)
    relist(store, clock, make_cvm, (1, "running"))
    noon = clock.now()
    clock.advance(60)
    stream(store, clock, 1, "stopping")
    clock.set_wall(noon)
    clock.advance(30)
    stream(store, clock, 1, "stopped")
    assert history.at(noon + timedelta(seconds=30)).find("web-1").status == "stopped"


def test_states_of_health_are_kept(store, clock):
    clock.advance(5)
    store.set_health(Health("offline", clock.now(), "connection refused"))
    assert [h.state for h in store.log().healths] == ["paused", "offline"]


def test_the_first_batch_status_of_a_large_fleet_leaves_the_history_alone(clock, make_cvm):
    store = FleetStore(clock)
    history = History(store, limit=20)
    relist(store, clock, make_cvm, *((number, "running") for number in range(20)))
    clock.advance(1)
    stream(store, clock, 0, "stopping")
    clock.advance(1)
    store.patch(
        Observation(
            id=row.id,
            status="running",
            in_progress=False,
            operation=None,
            boot_progress="done",
            boot_error="",
            shutdown_progress="",
            uptime="3d",
            received=clock.monotonic(),
            source="batch",
        )
        for row in store.snapshot().rows[1:]
    )

    assert [row.boot_progress for row in store.snapshot().rows[1:]] == ["done"] * 19
    assert history.changes()[-1].after.status == "stopping"
    assert sum(change.kind == "added" for change in history.changes()) == 19
