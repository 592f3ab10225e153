"""The number of instances of an app: how many are missing or too many, and what is sent for it."""

from datetime import UTC, datetime

import pytest
from helpers import COMPOSE, changes_sent, until

import cvm_notebook as cvm
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.deploy.apply.creating import created
from cvm_notebook.deploy.apply.scaling import Instances
from cvm_notebook.deploy.declaration import read_app
from cvm_notebook.live.plans.plan import NotConfirmed
from cvm_notebook.live.store.records import Provenance, Row

NEWER = COMPOSE.replace("1.27", "1.28")
REPLICAS = "POST /cvms/*/replicas"
APP = {"name": "web-1", "compose_file": COMPOSE}


def endings(cloud):
    """Return what was sent, by method and the last part of the path."""
    return [f"{how} {path.rpartition('/')[2]}" for how, path in changes_sent(cloud)]


def instances_of(fleet, name="web-1"):
    return fleet.client.get_app_cvms(fleet[name].cvm.app_id)


# --- how many are missing, and which are too many -------------------------------------------------


def row(number, name=None):
    made = f"2026-11-0{number}T00:00:00Z"
    cvm_ = Cvm(id=f"cvm_{number}", name=name or f"web-{number}", app_id="a", created_at=made)
    return Row(cvm=cvm_, status="running", seen=Provenance(0.0, datetime.now(UTC), "list"))


def instances(replicas, rows, *, key="web-1", named=(), making=0):
    app = read_app(key, {"compose_file": COMPOSE, "replicas": replicas})
    return Instances(app=app, rows=tuple(rows), making=making, named=frozenset({key, *named}))


@pytest.fixture
def slow_place(new_cloud):
    """A fleet with one CVM that runs, and a cloud on which nothing else comes to an end."""
    with (
        new_cloud(seed="empty", speed=0.1) as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        cvm.Fleet(client) as fleet,
    ):
        fleet.apply(**APP)
        cloud.advance(3600)
        fleet.wait("web-1")
        yield fleet, cloud


@pytest.mark.parametrize(
    ("replicas", "making", "missing", "excess"),
    [(3, 0, 0, 0), (5, 0, 2, 0), (5, 1, 1, 0), (4, 3, 0, 0), (2, 0, 0, 1), (2, 4, 0, 1)],
)
def test_what_is_being_made_counts_as_there_but_never_as_too_many(
    replicas, making, missing, excess
):
    whole = instances(replicas, map(row, (1, 2, 3)), making=making)
    assert (whole.missing, whole.excess) == (missing, excess)
    assert len(whole.surplus) == excess


@pytest.mark.parametrize(
    ("key", "named", "gone"),
    [
        ("web-1", [], ["cvm_4", "cvm_3", "cvm_2"]),
        ("web-4", [], ["cvm_3", "cvm_2", "cvm_1"]),  # or the app would not be found again
        ("cvm_3", [], ["cvm_4", "cvm_2", "cvm_1"]),
        ("web-1", ["cvm_4"], ["cvm_3", "cvm_2"]),
        ("web-1", ["web-3"], ["cvm_4", "cvm_2"]),
        ("a", [], ["cvm_4", "cvm_3", "cvm_2"]),
    ],
)
def test_the_newest_go_first_and_never_what_is_declared_itself(key, named, gone):
    whole = instances(1, map(row, (1, 2, 3, 4)), key=key, named=named)
    assert [one.id for one in whole.surplus] == gone


def test_of_several_with_the_name_that_is_declared_one_stays():
    whole = instances(1, [row(1, "web-1"), row(2, "web-1"), row(3, "web-1")])
    assert [one.id for one in whole.surplus] == ["cvm_3", "cvm_2"]


def test_the_number_has_bounds():
    with pytest.raises(cvm.InvalidInput, match="out of range"):
        read_app("web-1", {"compose_file": COMPOSE, "replicas": 101})
    with pytest.raises(cvm.InvalidInput, match="out of range"):
        read_app("web-1", {"compose_file": COMPOSE, "replicas": 0})


# --- more -----------------------------------------------------------------------------------------


def test_a_new_app_gets_its_instances_once_the_first_runs(place):
    fleet, cloud = place
    plan = fleet.apply(**APP, replicas=3, dry_run=True)
    assert [step.action for step in plan.steps] == ["create", "replicate", "replicate"]
    assert list(plan.frame()["rate_after_usd_h"]) == pytest.approx([0.06078] * 3)
    assert "once it runs" in plan.steps[1].reason
    assert plan.phrase is None
    assert changes_sent(cloud) == []

    done = plan.execute()

    assert endings(cloud) == ["POST provision", "POST cvms", "POST replicas", "POST replicas"]
    assert done.ok
    assert done.rows[0].state == "reached"
    assert len(instances_of(fleet)) == 3
    cloud.clear_requests()
    assert fleet.apply(**APP, replicas=3).operations == ()
    assert changes_sent(cloud) == []


def test_the_cell_that_is_run_again_while_copies_boot_sends_nothing(slow_place):
    fleet, cloud = slow_place
    cloud.clear_requests()
    fleet.apply(**APP, replicas=3)
    again = fleet.apply(**APP, replicas=3)
    with cvm.Fleet(fleet.client) as other:
        elsewhere = other.apply(**APP, replicas=3)

    assert endings(cloud) == ["POST replicas"] * 2
    assert again.operations == elsewhere.operations == ()
    assert {one.status for one in instances_of(fleet)} == {"running", "provisioning"}


def test_copies_are_made_of_what_is_declared_once_it_runs(place):
    fleet, cloud = place
    fleet.apply(**APP, env={"A": "1"}, wait=True)
    cloud.clear_requests()

    newer = {**APP, "compose_file": NEWER, "env": {"A": "2"}, "replicas": 2}
    done = fleet.apply(**newer)

    assert [how for how, _ in changes_sent(cloud)] == ["PATCH", "POST"]
    assert [row.step.action for row in done] == ["update", "replicate"]
    assert "a copy of 'web-1'" in done.rows[1].step.reason
    done.operations[1].result(60)
    made = fleet.client.get_cvm_compose_file(done.operations[1].made_id)
    assert "1.28" in made["docker_compose_file"]
    assert fleet.apply(**newer, wait=True).operations == ()
    # the values that the copy got are known: another one is sent to both
    cloud.clear_requests()
    assert fleet.apply(**{**newer, "env": {"A": "3"}}, wait=True).ok
    assert [how for how, _ in changes_sent(cloud)] == ["PATCH", "PATCH"]


def test_what_is_not_as_declared_is_not_copied(place):
    fleet, cloud = place
    fleet.apply(**APP, wait=True)
    cloud.inject({"kind": "status", "arg": 400, "route": "PATCH /cvms/*"})
    newer = {**APP, "compose_file": NEWER, "replicas": 2}

    done = fleet.apply(**newer)

    assert [row.state for row in done] == ["failed", "refused"]
    assert "not sent: the update of 'web-1' is failed" in done.rows[1].why
    assert "replicas" not in str(changes_sent(cloud))
    cloud.clear_faults()
    assert fleet.apply(**newer, wait=True).ok
    assert len(instances_of(fleet)) == 2


def test_what_cannot_be_as_declared_is_neither_copied_nor_thinned_out(place):
    fleet, cloud = place
    fleet.apply(**APP, replicas=2, wait=True)
    cloud.clear_requests()
    for replicas in (1, 3):
        done = fleet.apply(**APP, region="EU-NOWHERE", replicas=replicas)
        assert {row.state for row in done} == {"refused"}
    assert changes_sent(cloud) == []


def test_a_lost_answer_is_not_made_up_for_by_another_copy(place):
    fleet, cloud = place
    fleet.apply(**APP, wait=True)
    cloud.clear_requests()
    cloud.inject({"kind": "reset_after", "route": REPLICAS})

    first = fleet.apply(**APP, replicas=3)
    fleet.apply(**APP, replicas=3, wait=True)

    assert [row.step.action for row in first] == ["nothing", "replicate", "replicate"]
    assert endings(cloud) == ["POST replicas"] * 2
    assert len(instances_of(fleet)) == 3


def test_what_another_kernel_has_asked_for_counts_before_it_is_answered(place, tmp_path):
    fleet, cloud = place
    fleet.apply(**APP, wait=True)
    cloud.clear_requests()
    ledger = tmp_path / "ledger"
    with (
        cvm.Fleet(fleet.client, ledger=ledger) as one,
        cvm.Fleet(fleet.client, ledger=ledger) as two,
    ):
        cloud.inject({"kind": "latency", "arg": 2.0, "route": REPLICAS})
        asked = one["web-1"].replicate()
        until(lambda: asked.attempts)
        assert not two.apply(**APP, replicas=2, dry_run=True).sends
        assert one.apply(**APP, replicas=3, dry_run=True).sends == 1
    assert endings(cloud) == ["POST replicas"]


def test_a_new_app_whose_answer_is_awaited_is_not_made_twice(place, tmp_path):
    fleet, cloud = place
    ledger = tmp_path / "ledger"
    with (
        cvm.Fleet(fleet.client, ledger=ledger) as one,
        cvm.Fleet(fleet.client, ledger=ledger) as two,
    ):
        cloud.inject({"kind": "latency", "arg": 2.0, "route": "POST /cvms"})
        asked = created(one.operator, read_app("web-1", {"compose_file": COMPOSE}))
        until(lambda: asked.attempts)
        plans = [each.apply(**APP, dry_run=True) for each in (one, two)]
        assert not any(plan.sends for plan in plans)


def test_what_somebody_else_changes_is_not_copied(slow_place):
    fleet, cloud = slow_place
    fleet.client.restart_cvm("web-1")
    cloud.clear_requests()

    done = fleet.apply(**APP, replicas=2)

    assert not done.ok
    assert "'web-1' is restarting" in done.failed[0].why
    assert changes_sent(cloud) == []


# --- fewer ----------------------------------------------------------------------------------------


def test_too_many_are_deleted_with_the_phrase_the_newest_first(place):
    fleet, cloud = place
    fleet.apply(**APP, replicas=3, wait=True)
    cloud.clear_requests()

    plan = fleet.apply(**APP, replicas=1, dry_run=True)

    assert [step.action for step in plan.steps] == ["nothing", "delete", "delete"]
    newest = sorted(instances_of(fleet), key=lambda one: (one.created, one.id), reverse=True)
    assert newest[-1].name == "web-1"
    # replicas are made side by side: either of them may be the newest
    assert [step.name for step in plan.steps] == ["web-1", *(one.name for one in newest[:-1])]
    assert plan.phrase == "apply 2"
    assert plan.frame()["needs_confirm"].tolist() == [False, True, True]
    with pytest.raises(NotConfirmed, match="deleted, for good"):
        fleet.apply(**APP, replicas=1)
    assert changes_sent(cloud) == []
    assert plan.execute(confirm="apply 2", wait=True).ok
    assert [one.name for one in instances_of(fleet)] == ["web-1"]
    assert [how for how, _ in changes_sent(cloud)] == ["DELETE", "DELETE"]
    assert fleet.apply(**APP, replicas=1).operations == ()


def test_what_goes_is_not_updated_and_goes_after_the_others_are(place):
    fleet, cloud = place
    fleet.apply(**APP, replicas=2, wait=True)
    cloud.clear_requests()
    done = fleet.apply(**{**APP, "compose_file": NEWER}, replicas=1, confirm="apply 2", wait=True)
    assert done.ok
    assert [how for how, _ in changes_sent(cloud)] == ["PATCH", "DELETE"]
    assert [row.step.name for row in done] == ["web-1", "web-1-2"]


def test_a_deletion_that_waits_to_be_sent_counts_as_done(place):
    fleet, cloud = place
    fleet.apply(**APP, replicas=2, wait=True)
    cloud.clear_requests()
    going = fleet["web-1-2"].delete(delay=600)
    plan = fleet.apply(**APP, replicas=1, dry_run=True)
    assert [step.action for step in plan.steps] == ["nothing"]
    plan = fleet.apply(**APP, replicas=2, dry_run=True)
    assert [step.action for step in plan.steps] == ["nothing", "replicate"]
    assert going.cancel()
    assert changes_sent(cloud) == []


def test_the_number_goes_back_to_one_where_it_is_not_declared_any_more(place):
    fleet, _ = place
    fleet.apply(**APP, replicas=2, wait=True)
    plan = fleet.apply(**APP, dry_run=True)
    assert [step.action for step in plan.steps] == ["nothing", "delete"]
    assert plan.execute(confirm=plan.phrase, wait=True).ok
    # and what is made by hand after that is left alone
    fleet["web-1"].replicate().result(60)
    assert [step.action for step in fleet.apply(**APP, dry_run=True).steps] == ["nothing"] * 2


def test_what_is_declared_by_its_id_is_not_deleted(place):
    fleet, _ = place
    fleet.apply(**APP, replicas=3, wait=True)
    newest, older = fleet["web-1-3"].id, fleet["web-1-2"].id
    declared = {newest: {"compose_file": COMPOSE, "replicas": 1}, older: COMPOSE}
    plan = fleet.apply(declared, dry_run=True)
    assert "1 of those to delete are declared themselves" in str(plan.frame()["reason"].tolist())
    plan = fleet.apply({newest: {"compose_file": COMPOSE, "replicas": 1}}, dry_run=True)
    gone = [step.name for step in plan.steps if step.action == "delete"]
    assert gone == ["web-1-2", "web-1"]


def test_one_app_has_one_number(place):
    fleet, cloud = place
    fleet.apply(**APP, replicas=2, wait=True)
    ids = [fleet[name].id for name in ("web-1", "web-1-2")]
    cloud.clear_requests()
    declared = {one: {"compose_file": COMPOSE, "replicas": n + 3} for n, one in enumerate(ids)}
    with pytest.raises(cvm.InvalidInput, match="declare it once"):
        fleet.apply(declared)
    declared = {one: {"compose_file": COMPOSE, "replicas": 3} for one in ids}
    actions = [step.action for step in fleet.apply(declared, dry_run=True).steps]
    assert sorted(actions) == ["nothing", "nothing", "replicate"]
    assert changes_sent(cloud) == []


def test_gpus_that_are_paid_all_the_same_are_named_before_they_go(place):
    fleet, _ = place
    app = {**APP, "instance_type": "h200.small"}
    fleet.apply(**app, wait=True)
    fleet["web-1"].replicate().result(60)
    plan = fleet.apply(**app, replicas=1, dry_run=True)
    step = plan.steps[-1]
    assert "computing costs the same until" in step.reason
    assert step.rate_after_usd_h > 0
