"""What the head of a card and its charts say: money, idleness, a boot that failed, a deletion."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from cvm_notebook.api.models.cvm import Cvm, HourlyRate, NodeRef, Resource
from cvm_notebook.api.models.guest import Disk, SystemInfo
from cvm_notebook.live.costs.spent import costs_of
from cvm_notebook.live.store.figures import Figures, Sample
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.widgets.card.metrics import history, idle_for, meters_of, stats_state
from cvm_notebook.widgets.card.money import money_state, spent_today_usd
from cvm_notebook.widgets.card.sections import card_state, gone_state

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
RATE = HourlyRate(total="3.57", compute="3.50", disk="0.07")


class Clock:
    """Time that a test moves."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def now(self):
        return NOON + dt.timedelta(seconds=self.seconds)

    def wait(self, _event, _seconds):
        raise AssertionError("nothing here waits")


@pytest.fixture
def clock():
    return Clock()


def made(status="running", **more):
    created = (NOON - dt.timedelta(days=2)).isoformat()
    place = NodeRef(name="gpu1", region="US-EAST-1")
    size = Resource(instance_type="h200.small", vcpu=24, memory_in_gb=192.0, disk_in_gb=500, gpus=1)
    facts = {"created_at": created, "node_info": place, "resource": size, "hourly_rate": RATE}
    return Cvm(id="cvm_1", name="llama", status=status, app_id="a" * 40, **{**facts, **more})


@pytest.fixture
def store(clock):
    store = FleetStore(clock)
    store.replace([made()], received=clock.monotonic())
    return store


def changes_of(store):
    return [one for one in store.log().changes if one.row.id == "cvm_1"]


def patch(store, clock, hours, **facts):
    clock.seconds = hours * 3_600.0
    store.patch([Observation(id="cvm_1", received=clock.monotonic(), source="get", **facts)])


# --- money ----------------------------------------------------------------------------------------


def test_stopping_saves_what_computing_costs_and_a_stopped_cvm_has_nothing_to_save(store, clock):
    assert money_state(store.get("cvm_1")) == {
        "hour": 3.57,
        "month": pytest.approx(3.57 * 730),
        "saves": 3.5,
    }
    patch(store, clock, 1, status="stopped")
    assert money_state(store.get("cvm_1")) == {
        "hour": 0.07,
        "month": pytest.approx(51.1),
        "saves": None,
    }
    unknown = {"hour": None, "month": None, "saves": None}
    assert money_state(None) == unknown
    row = store.get("cvm_1")
    assert money_state(replace(row, cvm=msgspec.structs.replace(row.cvm, hourly_rate=None))) == (
        unknown
    )


@pytest.mark.parametrize("deleted", [False, True])
def test_what_it_cost_today_is_what_the_frame_of_costs_says(store, clock, deleted):
    spent = [(2, "stopping"), (2.5, "stopped"), (6, "starting"), (6.5, "running")]
    for hours, status in spent:
        patch(store, clock, hours, status=status)
    clock.seconds = 9.25 * 3_600
    if deleted:
        store.replace([], received=clock.monotonic())
        clock.seconds += 1_800
    now = clock.now()
    (cost,) = costs_of(store.log(), now - NOON.replace(hour=0), now)
    assert spent_today_usd(store.log().of("cvm_1")) == cost.amount
    assert cost.amount > 0


def test_what_is_not_priced_has_no_cost_and_what_never_was_none(clock):
    store = FleetStore(clock)
    store.replace([made(hourly_rate=None)], received=0.0)
    assert spent_today_usd(store.log().of("cvm_1")) is None
    assert spent_today_usd(store.log().of("cvm_2")) == Decimal(0)


def test_only_long_idleness_that_is_fresh_is_shown():
    figures = Figures("known", 0.05, 0.4, received=100.0, idle_for=7_200.0)
    assert idle_for(figures, 110.0) == 7_200
    assert idle_for(figures, 100.0 + 301) is None
    assert idle_for(replace(figures, idle_for=1_799.0), 110.0) is None
    assert idle_for(None, 0.0) is None


# --- a boot that failed, a deletion ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "step"),
    [
        ("failed to start containers: ghcr.io/x unauthorized", "starting containers"),
        ("could not mount the data disk", "mounting data disk"),
        ("pre-launch script exited with 3", "pre-launch"),
        ("docker daemon is not running", "setting up docker"),
        ("something broke", "requesting app keys"),  # the last one that was seen
    ],
)
def test_the_step_at_which_a_boot_failed_is_marked(store, clock, error, step):
    patch(store, clock, 1, status="starting", in_progress=True, boot_progress="setting up docker")
    patch(store, clock, 2, status="starting", boot_progress="requesting app keys")
    patch(store, clock, 3, status="error", in_progress=False, boot_error=error, boot_progress=None)
    state = card_state(store.get("cvm_1"), changes_of(store))
    steps = state["steps"]
    assert steps["failed"]
    assert steps["words"][steps["at"]] == step
    (message,) = state["errors"]
    assert message.lower().count("failed to start") == 1
    assert message.endswith(error[1:])


def test_of_a_boot_that_nobody_saw_no_step_is_called_done(clock):
    store = FleetStore(clock)
    store.replace([made("error")], received=0.0)
    patch(store, clock, 1, status="error", boot_error="something broke", boot_progress=None)
    state = card_state(store.get("cvm_1"), changes_of(store))
    assert state["steps"] is None
    assert state["errors"] == ["Failed to start: something broke"]


def test_a_deleted_cvm_keeps_its_facts_but_not_its_price(store, clock):
    last = store.get("cvm_1")
    clock.seconds = 600.0
    store.replace([], received=clock.monotonic())
    state = gone_state("llama", "cvm_1", last, changes_of(store))
    facts = {label for label, *_ in state["facts"]}
    assert {"size", "region · node", "app", "id"} <= facts
    assert "cost" not in facts
    assert state["gone"] == {"at": int(clock.now().timestamp() * 1000), "by_you": False}
    assert state["steps"] is None
    assert not state["running"]
    (end,) = [replace(one, operation_id="op-1") for one in changes_of(store) if one.after is None]
    assert gone_state("llama", "cvm_1", last, [end])["gone"]["by_you"]
    assert gone_state("llama", "cvm_1", None, [])["facts"] == []


# --- figures --------------------------------------------------------------------------------------

INFO = SystemInfo(
    num_cpus=2,
    loadavg_one=50,
    total_memory=4 * 2**30,
    used_memory=2**30,
    uptime=90_000,
    disks=(
        Disk(mount_point="/tapp", total_size=40 * 2**30, free_size=10 * 2**30),
        Disk(mount_point="/odd", total_size=None, free_size=5),
    ),
)


def test_figures_of_the_guest_become_meters_and_odd_ones_none():
    assert [(one["label"], one["part"]) for one in meters_of(INFO)] == [
        ("CPU load", 0.25),
        ("memory", 0.25),
        ("disk /tapp", 0.75),
    ]
    odd = SystemInfo(num_cpus=0, loadavg_one=float("nan"), total_memory=0, used_memory=5)
    assert meters_of(odd) == []
    assert (INFO.disk, odd.disk) == (0.75, None)


def measure(store, clock, seconds, info=INFO):
    clock.seconds = seconds
    sample = Sample.of("cvm_1", info, at=clock.now(), received=clock.monotonic())
    store.measure([sample])


def test_charts_get_what_is_kept_and_where_it_is_broken(store, clock):
    assert history(store, "cvm_1")["points"] == []
    for seconds in (0.0, 30.0, 3_000.0, 3_030.0):
        measure(store, clock, seconds)
    state = history(store, "cvm_1")
    first = int(NOON.timestamp() * 1000)
    assert state["points"][-1] == [first + 3_030_000, 0.25, 0.25, 0.75, True]
    older, *full = state["points"]  # what is older than 15 minutes is one point
    assert older[0] == first + 30_000
    assert [joined for *_, joined in full] == [False, True]
    assert state["sizes"] == {"cpu": 2, "memory": 4 * 2**30, "disk": 40 * 2**30}
    assert state["state"] == "known"


def test_meters_are_of_the_present_and_what_is_private_says_so(store, clock):
    assert stats_state(store, "cvm_1", 0.0) == {
        "meters": [],
        "error": None,
        "state": "unknown",
        "at": None,
    }
    measure(store, clock, 10.0)
    state = stats_state(store, "cvm_1", 20.0)
    assert (len(state["meters"]), state["error"], state["state"]) == (3, None, "known")
    assert stats_state(store, "cvm_1", 20.0 + 300)["meters"] == []
    store.measure([], failed={"cvm_1": "the guest is silent"})
    assert stats_state(store, "cvm_1", 20.0)["error"] == (
        "Could not read metrics: the guest is silent"
    )
    store.measure([], private={"cvm_1": "public_sysinfo is off"})
    assert "private" in stats_state(store, "cvm_1", 20.0)["error"]
