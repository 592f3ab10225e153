"""Fleet, as it is used from a plain prompt, against a LocalCloud."""

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
from helpers import COMPOSE, HANGS, commit, run_all, until

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import TargetUnreachable
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.reflector.reflector import ReflectorSettings
from cvm_notebook.live.store.index import UnknownCvm

NAMES = [f"fleet-{n}" for n in range(5)]


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=100) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            run_all(client, *NAMES)
        yield running


@pytest.fixture
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture
def fleet(client):
    with Fleet(client) as made:
        yield made


def test_a_fleet_is_a_collection_of_its_cvms(fleet):
    assert len(fleet) == len(NAMES)
    assert sorted(handle.name for handle in fleet) == NAMES
    one = fleet["fleet-1"].cvm
    for identifier in (one.id, one.vm_uuid, one.app_id, one.instance_id, one.name):
        assert identifier in fleet
        assert fleet[identifier].id == one.id
    assert "nobody" not in fleet
    with pytest.raises(UnknownCvm, match="Did you mean 'fleet-1'"):
        fleet["fleet1"]
    assert set(fleet._ipython_key_completions_()) == set(NAMES)


def test_an_action_is_an_operation_that_reaches_its_end(fleet):
    stopped = fleet["fleet-0"].stop()
    assert stopped.wait(30).state == "reached"
    assert fleet["fleet-0"].status == "stopped"
    started = fleet["fleet-0"].start()
    assert started.result(30).name == "fleet-0"
    assert fleet["fleet-0"].wait("running", 30).status == "running"
    ledger = fleet.operations()
    assert list(ledger["verb"]) == ["stop", "start"]
    assert list(ledger["state"].astype(str)) == ["reached", "reached"]
    events = fleet["fleet-0"].events()
    assert {"stopped", "running"} <= set(events["status_to"].dropna().astype(str))


def test_what_may_be_taken_back_is_not_sent(fleet, cloud):
    cloud.clear_requests()
    deletion = fleet["fleet-2"].delete(delay=30)
    assert deletion.cancel()
    assert deletion.state == "cancelled"
    assert not [r for r in cloud.requests() if r["method"] == "DELETE"]


def test_a_plan_says_what_it_would_do_and_then_does_it(fleet, cloud):
    chosen = fleet.where(name=["fleet-3", "fleet-4"], status="running")
    assert sorted(chosen.names) == ["fleet-3", "fleet-4"]
    cloud.clear_requests()
    plan = chosen.plan("stop")
    assert plan.phrase == "stop 2"
    assert plan.rate_change_usd_h < 0
    assert list(plan.frame()["allowed"]) == [True, True]
    assert "stop 2" in plan._repr_mimebundle_()["text/html"]
    with pytest.raises(cvm.CvmError, match="stop 2"):
        plan.execute(confirm="stop 3", progress=False)
    assert not [r for r in cloud.requests() if r["method"] == "POST" and "stop" in r["path"]]
    outcome = plan.execute(confirm="stop 2", progress=False, until="reached")
    assert {row.state for row in outcome.rows} == {"reached"}
    fleet.where(name=["fleet-3", "fleet-4"]).plan("start").execute(progress=False)
    assert len(fleet.wait("fleet-3", "fleet-4", timeout=30, progress=False)) == 2


def test_a_search_and_a_filter_agree(fleet):
    by_filter = fleet.where(region="US-*", vcpu=1).names
    assert fleet.search("region like 'US-%' and vcpu = 1").names == by_filter
    assert fleet.search("fleet order by name desc limit 2").names == ["fleet-4", "fleet-3"]


def test_waiting_for_what_does_not_come_says_which(fleet):
    fleet.snapshot()  # a fleet that is not listed in time says that instead
    with pytest.raises(cvm.WatchTimeout, match=r"fleet-1 \(running\)"):
        fleet.wait("fleet-1", status="stopped", timeout=0.2)


def test_waiting_for_one_that_failed_ends_at_once(fleet, client, cloud):
    commit(client, "fleet-failed")
    client.watch_cvm_state("fleet-failed", target="running")
    fleet.refresh()
    cvm_id = client.get_cvm_info("fleet-failed").id
    cloud.fail(cvm_id)
    while (row := fleet.known(cvm_id)) is None or row.status != "error":
        time.sleep(0.05)
        fleet.refresh()
    with pytest.raises(TargetUnreachable, match="fleet-failed"):
        fleet.wait("fleet-failed", status="running", timeout=60)
    assert fleet["fleet-failed"].delete().wait(30).state == "reached"
    assert fleet.known(cvm_id) is None


def test_what_is_gone_already_is_not_waited_for(client):
    commit(client, "fleet-brief")
    with Fleet(client) as fleet:
        deletion = fleet["fleet-brief"].delete().wait(30)
        assert deletion.state == "reached", deletion.record
        assert len(fleet.wait("fleet-brief", status="deleted", timeout=60)) == 0
        with pytest.raises(UnknownCvm, match="fleet-breif"):
            fleet.wait("fleet-breif", status="deleted", timeout=5)


def test_the_past_can_be_looked_at(fleet):
    assert "fleet-1" in fleet
    before = datetime.now(UTC)
    fleet["fleet-1"].stop().wait(30)
    assert fleet.at(before).set_index("name").loc["fleet-1", "status"] == "running"
    assert fleet.frame().set_index("name").loc["fleet-1", "status"] == "stopped"
    fleet["fleet-1"].start().wait(30)
    with pytest.raises(cvm.InvalidInput, match="not a time"):
        fleet.at("noon")
    with pytest.raises(cvm.InvalidInput, match="history begins"):
        fleet.at("2020-01-01T00:00:00Z")


def test_what_it_shows_is_static_and_has_its_time(fleet):
    for shown in (fleet, fleet["fleet-1"], fleet.where(name="fleet-*")):
        bundle = shown._repr_mimebundle_()
        assert "fleet-1" in bundle["text/plain"]
        assert "<script" not in bundle["text/html"]
        assert "fleet-1" in bundle["text/html"]
    assert "UTC" in fleet._repr_mimebundle_()["text/plain"]
    assert "live" in str(fleet.health)


def test_a_closed_fleet_answers_from_its_last_snapshot_and_says_that_it_is_closed(client):
    with Fleet(client) as fleet:
        number, names = len(fleet), fleet.frame()["name"].tolist()
    assert number > 0
    assert len(fleet) == number
    assert fleet.frame()["name"].tolist() == names
    assert fleet.frame().attrs["cvm"]["health"] == "closed"
    assert fleet["fleet-1"].name == "fleet-1"
    assert repr(fleet) == f"<Fleet: {number} CVMs, closed>"
    assert "closed" in fleet._repr_mimebundle_()["text/html"]
    with pytest.raises(cvm.CvmError, match="closed"):
        fleet["fleet-1"].stop()
    never = Fleet(client)
    never.close()
    with pytest.raises(cvm.CvmError, match="this fleet is closed"):
        len(never)


def test_nobody_looking_means_no_traffic(client, cloud):
    def quiet():  # what was broken off may be read by the cloud a moment later
        cloud.clear_requests()
        time.sleep(0.3)
        return cloud.requests() == []

    with Fleet(client) as fleet:
        len(fleet)
    until(quiet)
    made = Fleet(client)  # made, and not looked at
    time.sleep(0.3)  # what must not happen has no event to wait for
    assert cloud.requests() == []
    made.close()


def test_what_one_fleet_does_is_seen_in_others_that_are_looked_at(cloud, client):
    seldom = ReflectorSettings(resync=3600, sweep=3600)  # they would not look by themselves
    with (
        Fleet(client) as one,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as another,
        FleetEngine(another, settings=seldom) as other,
        closing(FleetEngine(another, settings=seldom)) as unseen,
    ):
        fleet_4 = one["fleet-4"]
        assert other.snapshot().find("fleet-4").status == "running"
        fleet_4.stop().wait(30)
        until(lambda: other.known(fleet_4.id).status == "stopped")
        made = fleet_4.replicate().wait(30, until="accepted").made_id
        until(lambda: other.known(made))
        one[made].delete(confirm=one[made].name).wait(60)
        until(lambda: other.known(made) is None)
        fleet_4.start().wait(30)
        until(lambda: other.known(fleet_4.id).status == "running")
        assert not unseen.store.snapshot().rows, "nobody looks at it"


def test_closing_ends_every_thread(client):
    before = set(threading.enumerate())
    with Fleet(client) as fleet:
        fleet.follow("fleet-1")
        fleet["fleet-1"].stop()
        assert set(threading.enumerate()) - before
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(HANGS)
    assert not [thread for thread in left if thread.is_alive()]
    with Fleet(client) as fleet:
        fleet.wait("fleet-1", status="stopped", timeout=30)  # it was sent, and may be under way
        fleet["fleet-1"].start().result(30)


def test_a_fleet_is_not_pickled(fleet):
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(fleet)


def test_an_interpreter_ends_with_a_live_fleet(cloud):
    script = """
import cvm_notebook as cvm
fleet = cvm.Fleet(cvm.Client())
fleet.follow("fleet-1")
print(len(fleet))
"""
    env = {"PHALA_CLOUD_API_PREFIX": cloud.url, "PHALA_CLOUD_API_KEY": cloud.api_key}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= len(NAMES)


def test_what_it_costs_and_where_it_drifts(fleet):
    cost = fleet.cost("1h")
    assert cost["amount_usd"].sum() > 0
    assert ((cost["coverage"] >= 0) & (cost["coverage"] <= 1)).all()
    assert fleet.drift(fleet.frame("wide")).empty
    drift = fleet.drift({"fleet-1": {"instance_type": "tdx.medium"}, "not-there": COMPOSE})
    kinds = set(drift["kind"].dropna().astype(str))
    assert kinds == {"different", "missing", "extra"}  # extra: what nobody declared


def test_what_another_kernel_has_asked_for_is_found_again(new_cloud):
    with (
        new_cloud(seed="empty", speed=1) as cloud,  # an operation lasts long enough
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
    ):
        commit(client, "again")
        with Fleet(client) as after:
            (found,) = after.recover()
            assert (found.verb, found.name, found.state) == ("commit", "again", "accepted")
            assert after.recover() == ()
            cloud.advance(120)
            after.refresh()
            assert found.wait(20).state == "reached"
            assert after.operations()["verb"].tolist() == ["commit"]


# --- waiting, and the operations that were asked for ----------------------------------------------


@pytest.fixture
def slow(new_cloud):
    """A cloud of its own in which a restart takes a while."""
    with new_cloud(seed="empty", speed=20) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            commit(client, "slowly")
            client.watch_cvm_state("slowly", target="running")
        yield running


@pytest.fixture
def slow_fleet(slow):
    with (
        cvm.Client(api_key=slow.api_key, base_url=slow.url) as client,
        Fleet(client) as made,
    ):
        yield made


@pytest.mark.parametrize("way", ["fleet", "handle", "selection", "async"])
def test_after_a_restart_it_waits_for_that_restart(slow_fleet, way):
    handle = slow_fleet["slowly"]

    def hold(record):
        if record.state == "sent":
            until(lambda: len(slow_fleet.operator._hooks) > 1)  # somebody waits

    end = slow_fleet.operator.attach(hold)
    operation = handle.restart()
    assert handle.status == "running", "it says so still"
    if way == "fleet":
        slow_fleet.wait("slowly", timeout=60, progress=False)
    elif way == "handle":
        handle.wait(timeout=60)
    elif way == "selection":
        slow_fleet.where(name="slowly").wait(timeout=60)
    else:
        asyncio.run(slow_fleet.wait_async("slowly", timeout=60))
    assert operation.state == "reached"
    end()


def test_what_was_asked_for_and_failed_ends_the_waiting(slow_fleet, slow):
    slow.inject({"kind": "status", "route": "action", "arg": 403})
    operation = slow_fleet["slowly"].stop(delay=60)

    def send(_row):  # it is waited for by now
        slow_fleet.operator.send_now(operation)

    with pytest.raises(TargetUnreachable, match=r"slowly \(running; .*stop"):
        slow_fleet.wait("slowly", status="stopped", timeout=60, on_change=send)
    assert operation.state == "failed"


def test_what_was_taken_back_ends_the_waiting(fleet):
    operation = fleet["fleet-1"].stop(delay=60)

    def cancel(_row):  # it is waited for by now
        threading.Timer(0.3, operation.cancel).start()

    with pytest.raises(TargetUnreachable, match="taken back"):
        fleet.wait("fleet-1", status="stopped", timeout=60, on_change=cancel)


@pytest.mark.parametrize(("word", "near"), [("runing", "'running'"), ("exitd", "'exited'")])
def test_a_status_that_is_misspelt_is_refused_at_once(fleet, client, word, near):
    calls = (
        lambda: fleet.wait("fleet-1", status=word),
        lambda: fleet["fleet-1"].wait(word),
        lambda: fleet.where(name="fleet-1").wait(word),
        lambda: asyncio.run(fleet.wait_async("fleet-1", status=word)),
        lambda: client.watch_cvm_state("fleet-1", target=word),
    )
    for call in calls:
        with pytest.raises(
            cvm.InvalidInput, match=f"is not a status of a CVM. Did you mean {near}"
        ):
            call()


@pytest.mark.parametrize("timeout", [float("nan"), -1, float("-inf"), "5", True])
def test_a_timeout_that_is_none_is_refused(fleet, timeout):
    operation = fleet["fleet-1"].stop(delay=60)
    for call in (
        lambda: fleet.wait("fleet-1", timeout=timeout),
        lambda: operation.wait(timeout),
        lambda: operation.result(timeout),
    ):
        with pytest.raises(cvm.InvalidInput, match="not a number of seconds"):
            call()
    operation.cancel()


@pytest.mark.parametrize("timeout", [None, float("inf")])
def test_without_a_timeout_it_waits_as_long_as_it_takes(fleet, timeout):
    assert fleet.wait("fleet-1", timeout=timeout).names == ["fleet-1"]
    assert fleet["fleet-1"].restart().wait(timeout).state == "reached"


def test_waiting_ends_when_the_key_is_refused_and_says_why(slow_fleet, slow):
    slow_fleet.snapshot()
    slow.inject({"kind": "status", "route": "*", "arg": 401, "times": None})
    with pytest.raises(cvm.AuthError):
        slow_fleet.wait("slowly", status="stopped", timeout=60)


def test_waiting_ends_when_the_fleet_is_closed_and_says_so(client):
    fleet = Fleet(client)
    fleet.snapshot()
    threading.Timer(0.3, fleet.close).start()
    with pytest.raises(cvm.CvmError, match="this fleet is closed"):
        fleet.wait("fleet-1", status="stopped", timeout=60)
    with pytest.raises(cvm.CvmError, match="this fleet is closed"):
        fleet.wait("fleet-1", status="stopped", timeout=60)


def test_a_waiting_that_is_cancelled_leaves_nothing_behind(fleet):
    fleet.snapshot()  # its own thread has a hook
    hooks = len(fleet.store._subscriptions._hooks)

    async def work():
        task = asyncio.ensure_future(fleet.wait_async("fleet-1", status="stopped", timeout=None))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert len(fleet.store._subscriptions._hooks) == hooks
    assert fleet.operator._hooks == ()


def test_the_loop_runs_while_it_waits_for_the_first_list_and_the_status(cloud, lay_line):
    line = lay_line(cloud.port)
    line.stall()  # no list comes before the loop has run

    async def work(fleet):
        async def run_then_list():
            for _ in range(3):
                await asyncio.sleep(0.01)
            line.flow()

        found, _ = await asyncio.gather(
            fleet.wait_async("fleet-1", timeout=60, progress=False), run_then_list()
        )
        return found.names

    with cvm.Client(api_key=cloud.api_key, base_url=line.url) as client, Fleet(client) as fleet:
        assert asyncio.run(work(fleet)) == ["fleet-1"]


def test_ctrl_c_while_a_wait_begins_leaves_nothing_behind(fleet, monkeypatch):
    fleet.snapshot()  # its own thread has a hook
    hooks = len(fleet.store._subscriptions._hooks)

    def interrupted(_hook):
        raise KeyboardInterrupt

    monkeypatch.setattr(fleet.operator, "attach", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fleet.wait("fleet-1", status="stopped", timeout=5)
    assert len(fleet.store._subscriptions._hooks) == hooks
    assert not fleet._reflector._interests._follows
