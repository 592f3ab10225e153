"""The reflector against a real LocalCloud, over real sockets, with real faults."""

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from statistics import median

import pytest
from helpers import COMPOSE, HANGS, OWN_PORT, commit, until

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import AuthError, CvmError, TransportError
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.reflector.reflector import Reflector, ReflectorSettings
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.local.core.database import Cvm, Database
from cvm_notebook.local.core.identifiers import new_instance_id, new_uuid
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.placement import Size, columns_of_size

PATIENCE = 20.0
ROWS = 250
QUICK = ReflectorSettings(
    resync=1.0, sweep=0.5, fast=0.2, debounce=0.05, idle_after=0.3, per_second=100.0
)
CALM = ReflectorSettings(resync=300.0, sweep=300.0, fast=300.0, debounce=0.05)


@pytest.fixture(scope="module")
def server(new_cloud):
    """A demo fleet of some forty CVMs on several nodes."""
    with new_cloud(seed="demo", speed=200) as running:
        yield running


@pytest.fixture
def cloud(server):
    server.clear_faults()
    until(lambda: server.open_streams() == 0)
    server.clear_requests()
    yield server
    server.clear_faults()


@pytest.fixture(scope="module")
def slow(new_cloud):
    """An empty cloud in which a boot takes half a minute, unless its clock is moved."""
    with new_cloud(seed="empty", speed=2) as running:
        yield running


@pytest.fixture(scope="module")
def large(new_cloud, tmp_path_factory):
    """A fleet of three pages, on three nodes; nothing in it moves."""
    database = f"sqlite:///{tmp_path_factory.mktemp('large') / 'cloud.sqlite'}"
    with new_cloud(seed="empty", database=database) as running:
        _fill(database, ROWS)
        yield running


def _fill(path, count):
    began = time.time() - 86_400
    shared = {
        **columns_of(complete(AppCompose(docker_compose_file=COMPOSE))),
        **columns_of_size(Size("tdx.small", 1, 2048, 20)),
        **dict.fromkeys(("workspace_id", "creator_id"), 1),
        **dict.fromkeys(
            ("first_boot_at", "created_at", "updated_at", "billed_from", "op_began_at"), began
        ),
        "image": "dstack-0.5.9",
        "op_kind": "create",
        "op_origin": "",
        "env_keys": [],
        "ports": [],
    }
    database = Database(path)
    with database.write() as session:
        for number in range(count):
            ids = {"app_id": new_instance_id(), "instance_id": new_instance_id()}
            node = (3, 5, 6)[number % 3]
            names = {"name": f"large-{number:03d}", "op_correlation_id": new_uuid()}
            session.add(Cvm(**shared, **ids, **names, vm_uuid=new_uuid(), node_id=node))
    database.close()


@pytest.fixture
def make():
    """Make reflectors that are closed in the end, with their clients."""
    with contextlib.ExitStack() as stack:

        def made(cloud, settings=QUICK, **client):
            given = {"api_key": cloud.api_key, "base_url": cloud.url} | client
            one = stack.enter_context(cvm.Client(**given))
            reflector = Reflector(one, FleetStore(), settings=settings)
            stack.enter_context(reflector)
            reflector.client, reflector.store = one, reflector._store
            return reflector

        yield made


def state(reflector):
    return reflector.store.health.state


def rows(reflector):
    return {row.name: row for row in reflector.store.snapshot().rows}


def ours():
    """Threads of reflectors; the one of all widgets may be another test's."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("cvm-") and name != "cvm-widgets"]


def seen(cloud, what):
    return [r for r in cloud.requests() if what in r["path"]]


# --- from the wire to the store ------------------------------------------------------------------


def test_the_whole_fleet_is_in_the_store_when_it_is_ready(cloud, make):
    reflector = make(cloud)
    reflector.ready(PATIENCE)
    listed = reflector.client.list_cvms()
    assert [row.id for row in reflector.store.snapshot().rows] == [one.id for one in listed]
    until(lambda: state(reflector) in ("live", "paused"))


def test_statuses_follow_the_list_in_chunks_by_node(cloud, make):
    reflector = make(cloud)
    with reflector.interest():
        reflector.ready(PATIENCE)
        until(lambda: all(row.source != "list" for row in rows(reflector).values()))
    nodes = {row.cvm.node_info.name for row in rows(reflector).values()}
    assert len(seen(cloud, "/status/batch")) >= len(nodes) > 1


def test_a_boot_is_followed_live(slow, make):
    reflector = make(slow, CALM)
    changes = []
    reflector.store.attach(changes.extend)
    with reflector.interest():
        reflector.ready(PATIENCE)
        commit(reflector.client, "followed-boot")
        reflector.refresh()
        until(lambda: "followed-boot" in rows(reflector))

        def row():
            return rows(reflector)["followed-boot"]

        until(lambda: row().source == "stream")
        slow.advance(20)
        until(lambda: row().boot_progress)
        first = row().boot_progress
        slow.advance(7)
        until(lambda: row().boot_progress != first)
        slow.advance(100)
        until(lambda: row().status == "running")
        until(lambda: not row().in_progress)
    booted = [c for c in changes if c.row.name == "followed-boot"]
    words = [c.after.boot_progress for c in booted if c.after.boot_progress]
    assert booted[-1].after.status == "running"
    assert len(set(words)) > 1
    assert "stream" in {c.source for c in booted}
    # of most: a busy machine may hold the thread up
    assert median(c.lag_ms for c in booted if c.source == "stream") < 100


def test_a_delete_is_seen_on_the_stream_and_confirmed_by_a_list(cloud, make):
    reflector = make(cloud, CALM)
    made = commit(reflector.client, "followed-delete")
    with reflector.interest():
        reflector.ready(PATIENCE)
        reflector.follow(rows(reflector)["followed-delete"].id)
        until(lambda: rows(reflector)["followed-delete"].source == "stream")
        before = len(seen(cloud, "/cvms/paginated"))
        reflector.client.delete_cvm(made.vm_uuid)
        until(lambda: "followed-delete" not in rows(reflector))
    assert 1 <= len(seen(cloud, "/cvms/paginated")) - before <= 2


def test_two_fleets_of_one_user_share_five_streams_without_a_fight(slow, make):
    one, two = make(slow), make(slow)
    for number in range(6):
        commit(one.client, f"shared-{number}")
    opened = []
    slow.clear_requests()
    with one.interest(), two.interest():
        one.ready(PATIENCE)
        two.ready(PATIENCE)
        until(lambda: "shared-5" in rows(one) and "shared-5" in rows(two))
        until(lambda: opened.append(slow.open_streams()) or max(opened) >= 3)
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            opened.append(slow.open_streams())
        slow.advance(100)
        until(lambda: {row.status for row in rows(one).values()} == {"running"})
        until(lambda: {row.status for row in rows(two).values()} == {"running"})
        assert state(one) == state(two) == "live"
    refused = [r for r in seen(slow, "/state") if r["status"] == 429]
    assert max(opened) <= 5
    assert len(refused) <= 4


# --- nobody is interested ------------------------------------------------------------------------


def test_a_fleet_that_nobody_looks_at_sends_nothing(cloud, make):
    reflector = make(cloud)
    assert ours() == []
    assert state(reflector) == "paused"
    assert cloud.requests() == []


def test_when_interest_ends_requests_and_threads_end(cloud, make):
    reflector = make(cloud)
    with reflector.interest():
        reflector.ready(PATIENCE)
        reflector.follow(next(iter(rows(reflector).values())).id)
        until(lambda: cloud.open_streams() == 1)
        reflector.unfollow(next(iter(rows(reflector).values())).id)
    until(lambda: not ours())
    assert state(reflector) == "paused"
    cloud.clear_requests()
    time.sleep(1.5)  # a sweep and a list would have been due
    assert cloud.requests() == []


def test_a_handle_that_nobody_holds_keeps_nothing_going(cloud, make):
    reflector = make(cloud)
    reflector.interest()
    gc.collect()
    until(lambda: state(reflector) == "paused" and "cvm-reflector" not in _names())


def _names():
    return {thread.name for thread in threading.enumerate()}


def test_interest_comes_back_after_it_ended(cloud, make):
    reflector = make(cloud)
    reflector.ready(PATIENCE)
    until(lambda: "cvm-reflector" not in _names())
    commit(reflector.client, "meanwhile")
    with reflector.interest():
        until(lambda: "meanwhile" in rows(reflector))


# --- faults --------------------------------------------------------------------------------------


def test_a_slow_node_holds_up_only_its_own_rows(cloud, make):
    settings = ReflectorSettings(resync=300, sweep=0.3, slow_after=0.5, per_second=100)
    reflector = make(cloud, settings)
    reflector.ready(PATIENCE)
    slow = Counter(row.cvm.node_info.name for row in rows(reflector).values()).most_common(1)[0][0]
    cloud.inject({"kind": "slow_node", "node": slow, "arg": 10.0})
    began = time.monotonic()
    with reflector.interest():
        # another may be late for a moment, too
        until(lambda: {r.cvm.node_info.name for r in rows(reflector).values() if r.error} == {slow})
        others = [r for r in rows(reflector).values() if r.cvm.node_info.name != slow]
        until(lambda: all(rows(reflector)[r.name].observed_at > began + 0.8 for r in others))
        assert time.monotonic() - began < 10.0
        assert f"node {slow} has not answered" in next(
            r.error for r in rows(reflector).values() if r.cvm.node_info.name == slow
        )
        assert state(reflector) == "live"
        cloud.clear_faults()
        until(lambda: not any(row.error for row in rows(reflector).values()))


def test_an_outage_is_shown_with_its_cause_and_ends_by_itself(new_cloud, make, tmp_path):
    database = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    shown = []
    with new_cloud(port=OWN_PORT, seed="demo", database=database) as first:
        reflector = make(first)
        reflector.store.subscribe(lambda _: None, health=shown.append)
        reflector.interest_held = reflector.interest()
        reflector.ready(PATIENCE)
    before = rows(reflector).keys()
    until(lambda: state(reflector) == "offline")
    until(lambda: shown and "cannot be reached" in (shown[-1].cause or ""))
    assert "offline since" in str(reflector.store.health)
    assert rows(reflector).keys() == before
    with new_cloud(port=OWN_PORT, seed="demo", database=database):
        until(lambda: state(reflector) == "live")
        until(lambda: shown[-1].state == "live")  # observers hear of it a moment later
        reflector.close()
    states = [health.state for health in shown]
    assert states.count("live") == 2
    assert len({health.since for health in shown if health.state == "offline"}) == 1


def test_a_revoked_key_stops_everything_within_one_interval_and_a_new_one_resumes(cloud, make):
    reflector = make(cloud)
    with reflector.interest():
        reflector.ready(PATIENCE)
        cloud.inject({"kind": "status", "arg": 401, "route": "*", "times": None})
        until(lambda: state(reflector) == "needs a key", HANGS)
        until(lambda: not ours())
        cloud.clear_requests()
        reflector.refresh()
        time.sleep(1.2)  # a sweep and a list would have been due
        assert cloud.requests() == []
        cloud.clear_faults()
        new = cloud.new_workspace("Another")
        with cvm.Client(api_key=new["api_key"], base_url=cloud.url) as other:
            reflector.resume(other)
            until(lambda: state(reflector) == "live" and not rows(reflector))


def test_ready_raises_at_once_what_no_time_will_cure(cloud, make):
    reflector = make(cloud, api_key="phak_wrong")
    began = time.monotonic()
    with pytest.raises(AuthError):
        reflector.ready(PATIENCE)
    assert time.monotonic() - began < HANGS


def test_ready_raises_when_the_store_shows_why(cloud, make, monkeypatch):
    reflector = make(cloud, api_key="phak_wrong")
    known, go = threading.Event(), threading.Event()
    show = reflector.store.set_health

    def late(health):
        if health.state == "needs a key":
            known.set()
            assert go.wait(HANGS)
        show(health)

    def ask():
        with pytest.raises(AuthError):
            reflector.ready(PATIENCE)
        return state(reflector)

    monkeypatch.setattr(reflector.store, "set_health", late)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert known.wait(HANGS)
        newcomer = pool.submit(ask)
        assert not wait([newcomer], 0.3).done
        go.set()
        assert {first.result(HANGS), newcomer.result(HANGS)} == {"needs a key"}


def test_ready_raises_in_the_end_what_prevented_it(make, cloud, refusing_port):
    reflector = make(cloud, base_url=f"http://127.0.0.1:{refusing_port}/api/v1")
    with reflector.interest():
        until(lambda: state(reflector) == "offline")  # it takes a busy machine a while
        with pytest.raises(TransportError, match="cannot be reached"):
            reflector.ready(0.5)


def test_ready_can_be_waited_for_by_many(cloud, make):
    cloud.inject({"kind": "latency", "arg": 0.5, "route": "list"})
    reflector = make(cloud)
    done = []
    waiting = [
        threading.Thread(target=lambda: done.append(reflector.ready(PATIENCE))) for _ in range(5)
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(PATIENCE)
    assert len(done) == 5


def test_a_page_that_fails_is_asked_for_again_and_the_others_are_not(large, make):
    large.clear_requests()
    large.inject({"kind": "status", "arg": 429, "route": "list?page=3", "times": 1})
    reflector = make(large, ReflectorSettings(resync=300))
    with reflector.interest():
        reflector.ready(PATIENCE)
        assert len(rows(reflector)) == ROWS
    pages = Counter(r["query"] for r in seen(large, "/cvms/paginated"))
    assert sorted(pages.values()) == [1, 1, 2]


def test_cvms_that_come_and_go_while_pages_are_read_cost_no_other_row(large, make):
    large.clear_faults()
    reflector = make(large)
    with reflector.interest():
        reflector.ready(PATIENCE)
        gone = []
        reflector.store.subscribe(
            lambda changes: gone.extend(c.before.id for c in changes if c.after is None)
        )
        victim = reflector.store.snapshot().rows[0]
        for page in (2, 3):
            large.inject({"kind": "latency", "arg": 0.3, "route": f"list?page={page}"})
        large.clear_requests()
        reflector.refresh()
        until(lambda: any("page=1" in r["query"] for r in seen(large, "/cvms/paginated")))
        reflector.client.delete_cvm(victim.id)  # all that follows moves up by one, and back
        commit(reflector.client, f"came-{victim.id.removeprefix('cvm_').lower()}")
        large.advance(100)  # until it has booted: nothing moves again
        listed = {one.id for one in reflector.client.list_cvms()}
        until(lambda: {row.id for row in reflector.store.snapshot().rows} == listed)
        until(lambda: gone)  # observers hear of it a moment later
        ids = [row.id for row in reflector.store.snapshot().rows]
    assert len(ids) == len(set(ids)) == ROWS
    assert gone == [victim.id]


@pytest.mark.parametrize("kind", ["truncate", "garbage", "html", "reset"])
def test_a_page_that_cannot_be_had_takes_no_row_away(large, make, kind):
    large.clear_faults()
    reflector = make(large)
    with reflector.interest():
        reflector.ready(PATIENCE)
        gone = []
        reflector.store.subscribe(lambda changes: gone.extend(c for c in changes if not c.after))
        large.inject({"kind": kind, "route": "list?page=3", "times": None})
        reflector.refresh()
        until(lambda: state(reflector) == "offline")
        assert len(rows(reflector)) == ROWS
        large.clear_faults()
        until(lambda: state(reflector) == "live")
        assert gone == []


def test_a_record_that_cannot_be_read_keeps_its_row_and_says_why(large, make):
    large.clear_faults()
    reflector = make(large)
    with reflector.interest():
        reflector.ready(PATIENCE)
        victim = reflector.store.snapshot().rows[0]
        bad = {"kind": "rewrite", "route": "list?page=1", "times": None}
        large.inject({**bad, "arg": {"/items/0/resource": "nonsense"}})
        until(lambda: rows(reflector)[victim.name].error is not None)
        assert len(rows(reflector)) == ROWS
        large.clear_faults()
        until(lambda: rows(reflector)[victim.name].error is None)


@pytest.mark.parametrize("total", [0, -5, 251, 10**9])
def test_a_total_that_lies_costs_no_row(large, make, total):
    large.clear_faults()
    bad = {"kind": "rewrite", "route": "list", "times": 12}
    reflector = make(large)
    with reflector.interest():
        reflector.ready(PATIENCE)
        gone = []
        reflector.store.subscribe(lambda changes: gone.extend(c for c in changes if not c.after))
        large.clear_requests()
        large.inject({**bad, "arg": {"/total": total}})
        reflector.refresh()
        until(lambda: len(seen(large, "/cvms/paginated")) >= 6)
        assert gone == []
        assert len(rows(reflector)) == ROWS


def test_429_with_a_time_is_waited_out(cloud, make):
    reflector = make(cloud)
    with reflector.interest():
        reflector.ready(PATIENCE)
        cloud.inject({"kind": "status", "arg": 429, "route": "batch", "times": 1, "retry_after": 4})
        until(lambda: any(r["status"] == 429 for r in cloud.requests()))

        def asked_again():
            """Return when the service was asked after it had refused, by the service's clock."""
            batches = seen(cloud, "/status/batch")
            refused = next(r["at"] for r in batches if r["status"] == 429)
            return [r["at"] - refused for r in batches if r["at"] > refused]

        # what was on its way to another node at that moment may still have come in
        until(lambda: any(after > 3.9 for after in asked_again()))
        times = [0.0, *asked_again()]
        assert max(later - sooner for sooner, later in pairwise(times)) > 2.0
        until(lambda: state(reflector) == "live")


def test_an_unchanged_relist_keeps_every_row(large, make):
    large.clear_faults()
    reflector = make(large)
    with reflector.interest():
        reflector.ready(PATIENCE)
        until(lambda: all(row.source == "batch" for row in rows(reflector).values()))
        before, revision = reflector.store.snapshot(), reflector.store.revision
        large.clear_requests()
        until(lambda: len(seen(large, "/cvms/paginated")) >= 7)
        after = reflector.store.snapshot()
    changed = [b.name for a, b in zip(before.rows, after.rows, strict=True) if a.cvm is not b.cvm]
    assert changed == []
    assert after.rows[0].observed_at > before.monotonic
    assert reflector.store.revision >= revision


# --- the thread and its end ----------------------------------------------------------------------


def test_close_ends_everything_at_once_with_a_request_in_flight(cloud, make):
    cloud.inject({"kind": "hang", "route": "list", "times": None})
    reflector = make(cloud)
    reflector.touch()
    until(lambda: seen(cloud, "/cvms/paginated"))
    began = time.monotonic()
    reflector.close()
    assert time.monotonic() - began < HANGS
    until(lambda: not ours(), HANGS)


def test_close_ends_everything_at_once_with_streams_and_a_drip_open(cloud, make):
    reflector = make(cloud, ReflectorSettings(sweep=0.2, per_second=100))
    reflector.touch()
    reflector.ready(PATIENCE)
    for row in list(rows(reflector).values())[:3]:
        reflector.follow(row.id)
    until(lambda: cloud.open_streams() == 3)
    cloud.inject({"kind": "drip", "route": "batch", "times": None})
    cloud.clear_requests()
    until(lambda: seen(cloud, "/status/batch"))
    began = time.monotonic()
    reflector.close()
    assert time.monotonic() - began < HANGS
    until(lambda: not ours(), HANGS)
    assert state(reflector) == "closed"


def test_close_does_not_wait_for_a_connection_that_never_comes(cloud, make, deaf_port):
    settings = ReflectorSettings(give_up_after=3.0)  # seconds that its thread stays behind
    reflector = make(cloud, settings, base_url=f"http://127.0.0.1:{deaf_port}/api/v1")
    reflector.touch()
    until(lambda: "cvm-list" in _names())
    time.sleep(0.1)  # until it connects
    began = time.monotonic()
    reflector.close()
    assert time.monotonic() - began < HANGS
    until(lambda: "cvm-reflector" not in _names(), HANGS)


def test_closing_ends_no_call_of_the_client(cloud, make):
    cloud.inject({"kind": "latency", "arg": 0.5, "route": "list"})
    reflector = make(cloud)
    found = []
    thread = threading.Thread(target=lambda: found.append(reflector.client.list_cvms()))
    thread.start()
    until(lambda: seen(cloud, "/cvms/paginated"))
    reflector.touch()
    reflector.close()
    thread.join(PATIENCE)
    assert len(found) == 1


def test_a_closed_fleet_says_so(cloud, make):
    reflector = make(cloud)
    reflector.close()
    reflector.close()
    for call in (reflector.touch, reflector.refresh, reflector.interest, reflector.ready):
        with pytest.raises(CvmError, match="closed"):
            call()


def test_close_may_be_called_by_an_observer(cloud, make):
    reflector = make(cloud)
    closed = threading.Event()

    def observe(_changes):
        reflector.close()
        closed.set()

    reflector.store.subscribe(observe)
    with reflector.interest():  # a touch may be over before a busy machine has listed
        assert closed.wait(PATIENCE)
    until(lambda: "cvm-reflector" not in _names())


class Breaking(SystemClock):
    """A clock that is out of memory when it is asked to wait."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    def wait(self, event, seconds):
        if self.times and threading.current_thread().name == "cvm-reflector":
            self.times -= 1
            raise self.error
        return super().wait(event, seconds)


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1)], ids=repr)
def test_a_thread_that_is_killed_is_started_again_once(cloud, make, caplog, error):
    reflector = make(cloud)
    reflector._clock = Breaking(error, times=1)

    def errors():
        return [r.levelname for r in caplog.records].count("ERROR")

    with reflector.interest():
        reflector.ready(PATIENCE)
        until(errors)  # the list may be in before the thread waits for the first time
        until(lambda: state(reflector) == "live")
    assert errors() == 1


def test_a_thread_that_is_killed_again_is_shown_and_started_by_refresh(cloud, make):
    reflector = make(cloud)
    reflector._clock = Breaking(MemoryError(), times=2)
    cloud.inject({"kind": "hang", "route": "list", "times": None})  # or it may be listed before
    with reflector.interest():
        with pytest.raises(CvmError, match="MemoryError"):
            reflector.ready(PATIENCE)
        until(lambda: "cvm-reflector" not in _names())
        assert state(reflector) == "offline"
        assert "MemoryError" in str(reflector.store.health)
        cloud.clear_faults()
        reflector.refresh()
        until(lambda: state(reflector) == "live")


def test_a_fork_says_that_it_has_no_thread(cloud, make):
    reflector = make(cloud)
    reflector.ready(PATIENCE)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is unwise is the point
        child = os.fork()
    if child == 0:
        try:
            reflector.close()  # the parent's: nothing to do
            reflector.touch()
            message = "nothing"
        except CvmError as error:
            message = str(error)
        os.write(writing, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    assert "before the process forked" in message
    assert "new Fleet" in message
    reflector.refresh()


def test_a_live_fleet_is_not_pickled(cloud, make):
    with pytest.raises(TypeError, match="snapshot"):
        pickle.dumps(make(cloud))


EXITING = """
import sys, time, threading
import cvm_notebook as cvm
from cvm_notebook.live import workers
from cvm_notebook.live.reflector import thread
from cvm_notebook.live.reflector.reflector import Reflector
from cvm_notebook.live.store.store import FleetStore
workers._ENDS_IN = thread._AT_EXIT = 40.0  # so that one shows for which it waits in vain
store = FleetStore()
client = cvm.Client(api_key=sys.argv[1], base_url=sys.argv[2])
reflector = Reflector(client, store)
handle = reflector.interest()
if sys.argv[3] == "streams":
    reflector.ready()
    for row in store.snapshot().rows[:3]:
        reflector.follow(row.id)
    while len([t for t in threading.enumerate() if t.name.startswith("cvm-stream")]) < 3:
        time.sleep(0.01)
else:
    while "cvm-list" not in {t.name for t in threading.enumerate()}:
        time.sleep(0.01)
time.sleep(0.3)
print("ends", time.time(), flush=True)
"""


@pytest.mark.parametrize("what", ["streams", "request"])
def test_the_interpreter_ends_cleanly_with_live_threads(cloud, what):
    if what == "request":
        cloud.inject({"kind": "hang", "route": "list", "times": None})
    done = subprocess.run(
        [sys.executable, "-c", EXITING, cloud.api_key, cloud.url, what],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    ended = time.time()
    assert done.stderr == ""
    assert done.returncode == 0
    assert ended - float(done.stdout.split()[1]) < HANGS
