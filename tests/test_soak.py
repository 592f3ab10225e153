"""What is opened and closed for hours leaves nothing behind: threads, files, memory stay flat."""

import gc
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from helpers import LONG_PATIENCE, run_all

import cvm_notebook as cvm
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.store.history import History
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.store import FleetStore

WARM_UP, ROUNDS, CYCLES = 10, 4, 20
UPDATES, KEPT = 2_000, 500
PER_CYCLE = 2_000  # bytes that a cycle may leave: a Fleet with its store is some hundred thousand
PER_UPDATE = 50  # bytes that an update may leave once the history is full: a change is some 500
STATUSES = ("stopping", "stopped", "starting", "running")


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=200) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            run_all(client, *(f"soak-{number}" for number in range(3)))
        yield running


@pytest.fixture
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def counts():
    """Threads that run, and files and sockets that are open."""
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def memory():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def settled(before):
    """Return the counts when they are as low as before, or after a while as they are."""
    end = time.monotonic() + LONG_PATIENCE
    while time.monotonic() < end:
        now = counts()
        if now[0] <= before[0] and now[1] <= before[1]:
            break
        time.sleep(0.02)
    return now


def open_and_close(client):
    """Use a fleet as somebody does who runs a cell again."""
    with Fleet(client) as fleet:
        handle = fleet["soak-1"]
        fleet.follow(handle.id)
        assert handle.start().result(60) is None, "it runs already: nothing is sent"
        assert len(fleet.where(status="running")) == 3


def growth_of_a_round(client, before):
    """Use fleets, and return by how many bytes the memory has grown."""
    held = memory()
    for _ in range(CYCLES):
        open_and_close(client)
    threads, files = settled(before)
    assert threads <= before[0]
    assert files <= before[1]
    return memory() - held


def test_eighty_fleets_leave_nothing_behind(client, traced):
    client.list_cvms()  # it keeps a connection
    before = counts()
    for _ in range(WARM_UP):
        open_and_close(client)
    grown = [growth_of_a_round(client, before) for _ in range(ROUNDS)]
    # What leaks is left by each round; caches that fill (of urllib's parsed addresses) by some.
    assert min(grown) < CYCLES * PER_CYCLE, grown


def test_two_thousand_updates_leave_no_more_than_the_history_that_is_kept(client, cloud, traced):
    listed = client.list_cvms()
    store = FleetStore(SystemClock())
    history = History(store, limit=KEPT)
    batches = []
    store.attach(lambda batch: batches.append(len(batch)))
    store.replace(listed, received=time.monotonic())

    def update(number):
        fact = Observation(
            id=listed[number % len(listed)].id,
            status=STATUSES[number // len(listed) % len(STATUSES)],
            in_progress=False,
            received=time.monotonic(),
            source="stream",
        )
        store.patch([fact])

    for number in range(UPDATES):  # the history is full from here on
        update(number)
    before, held, already = counts(), memory(), len(batches)
    for number in range(UPDATES, 2 * UPDATES):
        update(number)
    assert len(batches) - already == UPDATES
    assert len(history.changes()) <= 2 * KEPT
    assert memory() - held < UPDATES * PER_UPDATE
    threads, files = counts()
    assert threads <= before[0]
    assert files <= before[1]
