"""Observers and callbacks: slow, blocked, failing or interrupted, they harm nobody else."""

import asyncio
import gc
import threading
import time
import weakref

import pytest
from helpers import HANGS, collected, commit, until

from cvm_notebook import Client
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live import engine
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.observers import Mailbox
from cvm_notebook.live.store.records import Gap, Health
from cvm_notebook.live.store.store import FleetStore

PATIENCE = 30.0


def fleet_threads():
    """Names of the threads that fleets have; the one of all widgets may be another test's."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("cvm-") and name != "cvm-widgets"]


def at_rest():
    gc.collect()
    return not fleet_threads()


class Collected:
    """An observer that keeps what it is called with."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self._received = threading.Condition()

    def __call__(self, batch):
        with self._received:
            self.batches.append(batch)
            self.threads.add(threading.current_thread().name)
            self._received.notify_all()

    def revisions(self, count):
        """Return the revisions it was notified of, once there are so many batches."""
        with self._received:
            assert self._received.wait_for(lambda: len(self.batches) >= count, PATIENCE)
        return [batch[-1].revision for batch in self.batches]


@pytest.fixture
def client(cloud):
    with Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture
def name(client, request):
    """Return the name of a CVM of the test's own that runs."""
    made = f"watched-{abs(hash(request.node.name)) % 10**8}"
    commit(client, made)
    client.watch_cvm_state(made, target="running")
    yield made
    client.delete_cvm(made)


@pytest.fixture
def fleet(client, name):
    with Fleet(client) as made:
        assert name in made
        yield made


# --- the store's -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_one_that_raises_takes_nothing_from_the_others_nor_from_itself(clock, make_cvm, error):
    faults, calls, good = [], Collected(), Collected()
    store = FleetStore(clock, on_fault=faults.append)

    def bad(batch):
        calls(batch)
        raise error

    store.subscribe(bad)
    store.subscribe(good)
    for n in range(5):
        store.replace([make_cvm(n)], received=float(n))
    assert calls.revisions(5) == good.revisions(5) == [1, 2, 3, 4, 5]
    until(lambda: faults)
    assert [type(fault.error) for fault in faults] == [error]
    assert "MainThread" not in calls.threads | good.threads


def test_one_that_blocks_gets_it_all_later_and_holds_nobody_up(clock, make_cvm):
    go, slow, quick = threading.Event(), Collected(), Collected()
    store = FleetStore(clock)
    store.subscribe(lambda batch: go.wait(PATIENCE) and slow(batch))
    store.subscribe(quick)
    for n in range(50):
        store.replace([make_cvm(n)], received=float(n))
    assert quick.revisions(50) == list(range(1, 51))
    assert slow.batches == []
    go.set()
    assert slow.revisions(50) == list(range(1, 51))


def test_too_much_for_one_is_reported_as_a_gap_and_what_follows_as_ever(clock, make_cvm):
    go, begun, received = threading.Event(), threading.Event(), Collected()
    store = FleetStore(clock)

    def slow(batch):
        begun.set()
        go.wait(PATIENCE)
        received(batch)

    healths = []
    store.subscribe(slow, health=healths.append)
    many = 4_000
    store.replace([make_cvm(n) for n in range(many)], received=0.0)
    assert begun.wait(PATIENCE)
    for turn in range(1, 4):
        store.replace([make_cvm(n, vcpu=9 + turn) for n in range(many)], received=float(turn))
    store.set_health(Health("live", clock.now()))
    go.set()
    until(lambda: len(received.batches) >= 2)
    first, gap = received.batches[:2]
    assert len(first) == many
    assert gap == Gap(since=1, oldest=4, revision=4)
    store.replace([make_cvm(0)], received=9.0)
    until(lambda: len(received.batches) == 3)
    assert received.batches[2][-1].revision == 5
    until(lambda: [health.state for health in healths] == ["live"])


def test_a_closed_one_is_notified_no_more_not_even_what_waits(clock, make_cvm):
    go, begun, batches = threading.Event(), threading.Event(), []
    store = FleetStore(clock)

    def slow(batch):
        begun.set()
        go.wait(PATIENCE)
        batches.append(batch)

    subscription = store.subscribe(slow)
    for n in range(3):
        store.replace([make_cvm(n)], received=float(n))
    assert begun.wait(PATIENCE)
    subscription.close()
    go.set()
    until(lambda: "cvm-observer" not in fleet_threads())
    assert len(batches) == 1


def test_ctrl_c_in_a_hook_is_raised_once_all_have_been_notified(clock, make_cvm):
    store, batches = FleetStore(clock), []

    def interrupted(_batch):
        raise KeyboardInterrupt

    with store.attach(interrupted):
        store.attach(batches.append)
        with pytest.raises(KeyboardInterrupt):
            store.replace([make_cvm(0)], received=0.0)
        assert len(batches) == 1
    store.replace([make_cvm(1)], received=1.0)
    assert len(batches) == 2


def test_what_an_observer_writes_is_reported_in_its_turn(clock, make_cvm):
    store, received = FleetStore(clock), Collected()

    def writes(batch):
        if batch[-1].revision == 1:
            store.replace([make_cvm(1)], received=1.0)

    store.subscribe(writes)
    store.subscribe(received)
    store.replace([make_cvm(0)], received=0.0)
    assert received.revisions(2) == [1, 2]


def test_threads_end_with_the_store_although_much_waits(clock, make_cvm):
    store, batches = FleetStore(clock), []

    def slow(batch):
        batches.append(batch)
        threading.Event().wait(0.2)

    store.subscribe(slow)
    for n in range(50):
        store.replace([make_cvm(n)], received=float(n))
    store.close(timeout=0.5)
    count = len(batches)
    until(lambda: "cvm-observer" not in fleet_threads())
    assert len(batches) <= count + 1


# --- of operations -----------------------------------------------------------------------------


def test_of_operations_too_many_for_one_the_newest_of_each_is_reported():
    go, received = threading.Event(), []

    def slow(item):
        go.wait(PATIENCE)
        received.append(item)

    newest = dict  # of pairs: the newest of each key
    box = Mailbox(
        slow, on_fault=lambda _: None, shorten=lambda pairs: newest(pairs).items(), limit=10
    )
    for turn in range(20):
        for key in "ab":
            box.put((key, turn))
    go.set()
    until(lambda: ("b", 19) in received)
    assert received[-2:] == [("a", 19), ("b", 19)]
    assert len(received) <= 12


def test_a_callback_that_waits_stops_no_events(fleet, name):
    """It starts the CVM again and waits for that: which needs the events that it would hold up."""
    then = []

    def start(_operation):
        fleet[name].start()
        then.append(fleet.wait(name, timeout=PATIENCE, progress=False).names)

    operation = fleet[name].stop()
    operation.add_done_callback(start)
    until(lambda: then)
    assert then == [[name]]


def test_no_callback_runs_on_a_thread_that_brings_events(fleet, name):
    threads, all_called = [], threading.Event()

    def note(_what):
        threads.append(threading.current_thread().name)
        if len(threads) >= 3:
            all_called.set()

    fleet.store.subscribe(note)
    fleet.operator.subscribe(note)
    operation = fleet[name].restart()
    operation.add_done_callback(note)
    operation.wait(PATIENCE)
    operation.add_done_callback(note)
    assert all_called.wait(PATIENCE)
    until(lambda: threads.count("cvm-callback") == 2)
    assert set(threads) == {"cvm-observer", "cvm-callback"}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_callback_that_raises_is_logged_and_the_others_are_called(fleet, name, caplog, error):
    called = threading.Event()

    def bad(_operation):
        raise error

    operation = fleet[name].restart()
    operation.add_done_callback(bad)
    operation.add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)
    until(lambda: error.__name__ in caplog.text)
    assert fleet[name].stop().wait(PATIENCE).state == "reached", "and all goes on"


def test_a_callback_that_was_removed_is_not_called(fleet, name):
    called, last = [], threading.Event()
    operation = fleet[name].stop(delay=600)  # it cannot end before
    operation.add_done_callback(called.append)
    assert operation.remove_done_callback(called.append) == 1
    assert operation.remove_done_callback(called.append) == 0
    operation.add_done_callback(lambda _: last.set())
    assert operation.cancel()
    assert last.wait(PATIENCE)
    assert called == []


def test_closing_tells_what_became_of_what_was_under_way(client, name, monkeypatch):
    monkeypatch.setattr(engine, "_CLOSES_IN", PATIENCE)  # on a busy machine, too
    states, called = [], threading.Event()
    fleet = Fleet(client)
    operation = fleet[name].stop(delay=60)
    operation.add_done_callback(lambda _: called.set())
    fleet.operator.subscribe(lambda record: states.append(record.state))
    fleet.close()
    assert states == ["cancelled"]
    assert called.wait(PATIENCE)


def test_closing_does_not_wait_for_observers_that_block(client, name):
    go, fleet = threading.Event(), Fleet(client)
    assert name in fleet
    fleet.store.subscribe(lambda _: go.wait(2 * HANGS))
    fleet.operator.subscribe(lambda _: go.wait(2 * HANGS))
    operation = fleet[name].restart()
    operation.add_done_callback(lambda _: go.wait(2 * HANGS))
    operation.wait(HANGS)
    began = time.monotonic()
    fleet.close()
    assert time.monotonic() - began < HANGS
    until(lambda: set(fleet_threads()) <= {"cvm-observer", "cvm-callback"}, HANGS)
    go.set()
    until(lambda: not fleet_threads())


# --- in event loops ----------------------------------------------------------------------------


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def test_asyncio_waits_for_operations_in_every_way(fleet, name):
    async def work():
        stop = fleet[name].stop()
        done, pending = await asyncio.wait([stop])
        assert (done, pending) == ({stop}, set())
        (answer,) = await asyncio.gather(fleet[name].start())
        assert answer is not None
        await asyncio.wait_for(fleet[name].stop(), PATIENCE)
        await asyncio.ensure_future(fleet[name].start())
        await fleet[name].stop()
        for first in asyncio.as_completed([fleet[name].start()]):
            await first
        return stop

    operation = run(work())
    assert operation.done
    assert operation.done() is True
    assert operation.exception() is None
    assert not operation.cancelled()


def test_asyncio_wait_ends_with_its_timeout_and_leaves_the_operation(fleet, name):
    operation = fleet[name].stop(delay=60)

    async def work():
        return await asyncio.wait([operation], timeout=0.05)

    assert run(work()) == (set(), {operation})
    assert operation.state == "asked"
    assert operation.cancel()
    assert operation.cancelled()


def test_asyncio_wait_ends_with_the_first_that_failed(fleet, name):
    slow = fleet[name].stop(delay=60)

    async def work():
        failed = fleet[name].start()  # it runs already
        bad = fleet.operator.submit("commit", None, params={"app_id": "none", "compose_hash": "0"})
        return bad, await asyncio.wait([slow, bad], return_when=asyncio.FIRST_EXCEPTION), failed

    bad, (done, pending), _ = run(work())
    assert bad in done
    assert slow in pending
    assert bad.exception() is not None
    slow.cancel()


def test_a_loop_that_has_ended_does_no_harm(fleet, name):
    operation = fleet[name].stop(delay=60)

    async def leave():
        task = asyncio.ensure_future(operation)
        await asyncio.sleep(0)
        task.cancel()

    run(leave())
    assert operation.cancel()
    assert operation.wait(PATIENCE).state == "cancelled"


# --- what is dropped ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["looked", "held", "followed", "asked", "subscribed"])
def test_a_fleet_that_is_dropped_stops_asking(client, cloud, name, how):
    fleet = Fleet(client)
    assert name in fleet
    if how == "held":
        fleet.__enter__()
    elif how == "followed":
        fleet.follow(name)
        until(lambda: any(t.startswith("cvm-stream") for t in fleet_threads()))
    elif how == "asked":
        fleet[name].restart().wait(PATIENCE)
    elif how == "subscribed":
        fleet.store.subscribe(lambda _, fleet=fleet: fleet.known(name))
    del fleet
    until(at_rest)
    cloud.clear_requests()
    threading.Event().wait(0.5)
    assert cloud.requests() == []


def test_operations_that_are_dropped_leave_no_thread_and_no_hook(client, name):
    store = FleetStore()
    store.replace(client.list_cvms(), received=time.monotonic())
    operations = OperationService(client, store)
    row = store.snapshot().find(name)
    operations.submit("restart", row).wait(PATIENCE)
    gone = weakref.ref(operations)
    del operations
    until(lambda: not fleet_threads())
    gc.collect()
    assert collected(gone)
    store.replace([], received=time.monotonic())


def test_what_was_asked_for_is_seen_to_its_end_though_the_fleet_was_dropped(client, name):
    operation = Fleet(client)[name].stop(delay=0.3)
    gc.collect()
    assert operation.wait(PATIENCE).state == "reached"
    del operation
    until(lambda: not fleet_threads())


def test_follow_deletion_and_unfollow_leave_the_fleet_at_rest(client, cloud):
    made = "followed-and-gone"
    commit(client, made)
    client.watch_cvm_state(made, target="running")
    fleet = Fleet(client)
    try:
        fleet.follow(made)
        cvm_id = fleet[made].id
        fleet.follow(cvm_id)
        fleet[made].delete().wait(PATIENCE)
        until(lambda: fleet.known(cvm_id) is None)
        fleet.unfollow(made)
        fleet.unfollow(cvm_id)
        with pytest.raises(LookupError):
            fleet.unfollow(made)
        assert not fleet._reflector._interests
    finally:
        fleet.close()
