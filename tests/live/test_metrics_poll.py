"""Asking guests for their figures: whom, when, how many at once; against a real LocalCloud."""

import contextlib
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from helpers import COMPOSE, HANGS, busy, examples, until
from hypothesis import given, settings
from hypothesis import strategies as st

import cvm_notebook as cvm
from cvm_notebook.live.metrics.poll import MetricsPoll
from cvm_notebook.live.metrics.schedule import PollSchedule, PollSettings, PollTarget
from cvm_notebook.live.reflector.reflector import Reflector
from cvm_notebook.live.store.store import FleetStore

QUICK = PollSettings(every=0.2, per_second=1_000.0, look=0.05, give_up_after=5.0)


# --- the schedule: pure --------------------------------------------------------------------------


def targets(count, public=True, version="1"):
    return [PollTarget(f"cvm-{n}", public, version) for n in range(count)]


def test_a_round_of_sixty_is_asked_at_once_and_more_of_them_at_two_a_second():
    schedule, wanted, now, begun = PollSchedule(PollSettings()), targets(100), 0.0, []
    while now < 120:
        for asked in schedule.next(now, wanted).ask:
            begun.append((now, asked))
            schedule.answered(now, PollTarget(asked, True, "1"), private=False)
        now += 0.125
    first = [at for at, _ in begun]
    assert first[59] <= 0.5, "sixteen, four times"
    assert first[99] == pytest.approx(20.5, abs=1)
    assert len(begun) == pytest.approx(60 + 2 * 120, abs=2)


def test_no_more_than_sixteen_wait_for_an_answer():
    schedule, wanted = PollSchedule(PollSettings()), targets(40)
    assert len(schedule.next(0.0, wanted).ask) == 16
    assert schedule.next(1_000.0, wanted).ask == ()
    schedule.failed(1_000.0, "cvm-0")
    assert len(schedule.next(1_001.0, wanted).ask) == 1


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(1, 120),
    st.lists(st.tuples(st.floats(0.01, 40), st.integers(0, 16)), min_size=1, max_size=60),
)
def test_the_rate_is_kept_whatever_answers_when(count, steps):
    schedule, wanted, now, flying, asked_at = (
        PollSchedule(PollSettings()),
        targets(count),
        0.0,
        [],
        [],
    )
    last = {}
    for pause, answers in steps:
        found = schedule.next(now, wanted).ask
        for cvm_id in found:
            assert now - last.get(cvm_id, -1e9) >= 30 - 1e-6, "one CVM twice a minute at most"
            last[cvm_id] = now
        asked_at += [now] * len(found)
        flying += found
        assert len(flying) <= 16
        for cvm_id in flying[:answers]:
            schedule.answered(now, PollTarget(cvm_id, True, "1"), private=False)
        del flying[:answers]
        assert 0 < schedule.pause(now) <= 5.0 or not wanted
        now += pause
    for first, begin in enumerate(asked_at):
        for end in range(first, len(asked_at)):
            assert end - first + 1 <= 60 + 2 * (asked_at[end] - begin) + 1e-6


def test_who_is_private_is_not_asked_until_its_record_changes():
    schedule = PollSchedule(PollSettings())
    first = schedule.next(0.0, targets(1, public=False))
    assert (first.ask, first.private) == ((), ("cvm-0",))
    assert schedule.next(99.0, targets(1, public=False)) == ((), ())
    assert schedule.next(100.0, targets(1, public=True, version="2")).ask == ("cvm-0",)


def test_who_says_that_it_is_private_is_believed_until_its_record_changes():
    schedule, (target,) = PollSchedule(PollSettings()), targets(1)
    assert schedule.next(0.0, [target]).ask
    schedule.answered(1.0, target, private=True)
    assert schedule.next(1_000.0, [target]) == ((), ())
    assert schedule.pause(1_000.0) == 5.0
    assert schedule.next(1_001.0, [target._replace(version="2")]).ask


def test_who_does_not_answer_is_asked_ever_later():
    schedule, wanted, now, asked = PollSchedule(PollSettings()), targets(1), 0.0, []
    while now < 3_000:
        if schedule.next(now, wanted).ask:
            asked.append(now)
            schedule.failed(now, "cvm-0")
        now += 1.0
    pauses = [b - a for a, b in pairwise(asked)]
    assert pauses[0] >= 30
    assert max(pauses) <= 301
    assert min(pauses[5:]) >= 149


def test_when_asked_to_slow_down_nobody_is_asked():
    schedule = PollSchedule(PollSettings())
    schedule.hold(60.0)
    assert schedule.next(59.0, targets(3)).ask == ()
    assert len(schedule.next(60.0, targets(3)).ask) == 3


# --- against a cloud -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(new_cloud):
    """The demo fleet: 31 of its 40 CVMs run, and seven of these keep their figures private."""
    with new_cloud(seed="demo", speed=200) as running:
        yield running


@pytest.fixture
def cloud(server):
    server.clear_faults()
    server.clear_requests()
    yield server
    server.clear_faults()


@pytest.fixture
def make(cloud):
    """Make polls whose rows are kept up to date, and that are closed in the end."""
    with contextlib.ExitStack() as stack:

        def made(settings=QUICK, **client):
            given = {"api_key": cloud.api_key, "base_url": cloud.url} | client
            one = stack.enter_context(cvm.Client(**given))
            store = FleetStore()
            reflector = stack.enter_context(Reflector(one, store))
            reflector.ready()
            poll = MetricsPoll(one, store, reflector.interest, settings=settings)
            stack.callback(poll.close)
            poll.store = store
            until(lambda: store.health.state == "live")
            return poll

        yield made


def asked(cloud):
    return [
        one["path"].split("/")[-2] for one in cloud.requests() if one["path"].endswith("/stats")
    ]


def test_while_nobody_wants_figures_nobody_is_asked(cloud, make):
    poll = make()
    handle = poll.measure()
    assert poll.ready(HANGS)
    handle.close()
    until(lambda: poll._holding is None and not busy(poll._workers), HANGS)
    cloud.clear_requests()
    with poll.measure(()):  # nobody is in sight
        until(lambda: poll._holding is None, HANGS)
    assert asked(cloud) == []


def test_a_turn_that_is_overtaken_keeps_no_interest(make):
    poll = make()
    begun, go, interest = threading.Event(), threading.Event(), poll._interest

    def late():
        begun.set()
        assert go.wait(HANGS)
        return interest()

    poll._interest = late
    handle = poll.measure()
    assert begun.wait(HANGS)
    handle.close()
    until(lambda: busy(poll._workers) == 1, HANGS)  # its turn is over, and found nothing to release
    go.set()
    until(lambda: busy(poll._workers) == 0, HANGS)
    assert poll._holding is None


def test_a_handle_that_nobody_holds_counts_as_closed(make):
    poll = make()
    handle = poll.measure()
    until(lambda: poll._holding is not None, HANGS)
    del handle
    until(lambda: poll._holding is None, HANGS)


def test_only_those_in_sight_are_asked_and_private_ones_never(cloud, make):
    poll = make()
    rows = [row for row in poll.store.snapshot() if row.status == "running"]
    private = [row.id for row in rows if row.cvm.public_sysinfo is False]
    public = [row.id for row in rows if row.cvm.public_sysinfo]
    stopped = [row.id for row in poll.store.snapshot() if row.status != "running"]
    seen = [*public[:3], *private[:2], *stopped[:2]]

    def known():
        return dict(poll.store.figures.latest)

    with poll.measure(seen) as handle:
        until(lambda: min(Counter(asked(cloud))[key] for key in public[:3]) >= 3, HANGS)
        assert set(asked(cloud)) == set(public[:3])
        states = {
            **dict.fromkeys(public[:3], "known"),
            **dict.fromkeys(private[:2], "private"),
        }
        until(lambda: {key: one.state for key, one in known().items()} == states, HANGS)
        assert "public_sysinfo" in known()[private[0]].why
        handle.see(public[5:6])
        until(lambda: public[5] in asked(cloud), HANGS)


def test_one_that_becomes_public_is_asked(cloud, make):
    poll = make()
    client = poll._client
    row = client.commit_cvm_provision(
        client.provision_cvm(
            name="once-private",
            compose_file={"docker_compose_file": COMPOSE, "public_sysinfo": False},
        )
    )
    client.watch_cvm_state(row.id, target="running")
    handle = poll.measure()
    until(lambda: row.id in poll.store.figures.latest or _refreshed(poll), HANGS)
    assert poll.store.figures.latest[row.id].state == "private"
    client.update_visibility(row.id, public_sysinfo=True, public_logs=True)
    until(lambda: _refreshed(poll) or poll.store.figures.latest[row.id].state == "known", HANGS)
    handle.close()
    client.delete_cvm(row.id)


def _refreshed(poll):
    """Have the list read anew; says nothing."""
    poll._interest.__self__.refresh()


def test_one_that_does_not_answer_holds_up_no_other(cloud, make):
    poll = make(replace(QUICK, give_up_after=300.0))
    row = next(r for r in poll.store.snapshot() if r.status == "running" and r.cvm.public_sysinfo)
    route = f"GET /cvms/{row.id}/stats"
    cloud.inject({"kind": "hang", "route": route, "times": None})
    with poll.measure():
        others = [
            one.id
            for one in poll.store.snapshot()
            if one.status == "running" and one.cvm.public_sysinfo and one.id != row.id
        ]
        known = poll.store.figures
        until(lambda: all(key in known.latest for key in others), HANGS)
        assert row.id not in known.latest


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "arg": 500},
        {"kind": "garbage"},
        {"kind": "reset"},
        {"kind": "rewrite", "arg": {"/sysinfo": None, "/error": "the guest\u202e is \x1b[31mout"}},
    ],
    ids=lambda fault: fault["kind"],
)
def test_what_goes_wrong_is_reported_and_is_none_of_the_others_business(cloud, make, fault):
    poll = make()
    rows = [r for r in poll.store.snapshot() if r.status == "running" and r.cvm.public_sysinfo]
    broken, well = rows[0].id, rows[1].id
    cloud.inject({**fault, "route": f"GET /cvms/{broken}/stats", "times": None})
    with poll.measure([broken, well]):
        until(lambda: {broken, well} <= poll.store.figures.latest.keys(), HANGS)
    figures = poll.store.figures.latest
    assert figures[well].state == "known"
    assert figures[broken].state == "failed"
    assert figures[broken].why
    assert figures[broken].why.isprintable()
    assert poll.store.health.state == "live"


def test_closing_breaks_off_what_is_waited_for_and_leaves_no_thread(cloud, make):
    poll = make()
    cloud.inject({"kind": "hang", "route": "GET /cvms/*/stats", "times": None})
    handle = poll.measure()
    until(lambda: any(t.name == "cvm-metrics-worker" for t in threading.enumerate()), HANGS)
    poll.close()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("cvm-metrics")], HANGS)
    handle.close()
    with pytest.raises(cvm.CvmError, match="closed"):
        poll.measure()


def test_figures_come_together_and_change_no_row(cloud, make):
    poll, batches = make(), []
    before = {row.id: row for row in poll.store.snapshot()}
    hook = poll.store.attach(lambda _: None, figures=batches.append)
    with poll.measure():
        assert poll.ready(HANGS)
        # another thread may still be about to say what the store has already
        until(lambda: len({one for batch in batches for one in batch.cvm_ids}) >= 31, HANGS)
    hook.close()
    after = {row.id: row for row in poll.store.snapshot()}
    assert all(after[key] is row for key, row in before.items() if row.status == "running")


def test_with_another_client_what_was_under_way_is_asked_again(cloud):
    stats = {"route": "GET /cvms/*/stats", "times": None}
    with (
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as other,
        cvm.Fleet(client) as fleet,
    ):
        fleet.snapshot()
        cloud.inject({"kind": "hang", **stats})
        handle = fleet.measure()
        until(lambda: len(asked(cloud)) >= 16, HANGS)
        cloud.clear_faults()
        fleet.resume(other)
        assert fleet.poll.ready(HANGS)
        assert len(fleet.metrics()) >= 20
        handle.close()
