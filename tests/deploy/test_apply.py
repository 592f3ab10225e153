"""Update and apply against LocalCloud: what is sent, what is not, and where it ends."""

import pytest
from helpers import COMPOSE, changes_sent, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cvm_notebook as cvm
from cvm_notebook.live.plans.plan import NotConfirmed

NEWER = COMPOSE.replace("1.27", "1.28")


def test_an_app_is_made_once_and_updated_when_it_differs(place):
    fleet, cloud = place
    app = {"name": "web-1", "compose_file": COMPOSE, "env": {"A": "1"}}

    made = fleet.apply(**app, wait=True)
    cloud.clear_requests()
    again = fleet.apply(**app, wait=True)

    assert made.ok
    assert [row.step.action for row in made] == ["create"]
    assert [row.step.action for row in again] == ["nothing"]
    assert again.operations == ()
    assert "Nothing differed" in repr(again)
    assert changes_sent(cloud) == []

    newer = fleet.apply(**{**app, "compose_file": NEWER}, wait=True)
    assert newer.ok
    assert [method for method, _ in changes_sent(cloud)] == ["PATCH"]
    assert "1.28" in fleet.client.get_cvm_docker_compose("web-1")
    assert fleet.drift({"web-1": {"compose": NEWER, "envs": ["A"]}}).empty


def test_another_value_is_sent_and_the_same_one_is_not(place):
    fleet, cloud = place
    app = {"name": "web-1", "compose_file": COMPOSE}
    fleet.apply(**app, env={"A": "1"}, wait=True)
    cloud.clear_requests()

    fleet.apply(**app, env={"A": "2"}, wait=True)
    fleet.apply(**app, env={"A": "2"}, wait=True)
    assert len(changes_sent(cloud)) == 1

    fleet["web-1"].update(env={"A": "3"}).result(60)
    fleet.apply(**app, env={"A": "3"}, wait=True)
    assert len(changes_sent(cloud)) == 2
    fleet.apply(**app, env={"A": "2"}, wait=True)
    assert len(changes_sent(cloud)) == 3


def test_values_that_another_kernel_has_sent_are_left_and_that_is_shown(place):
    fleet, cloud = place
    app = {"name": "web-1", "compose_file": COMPOSE, "env": {"A": "1"}}
    fleet.apply(**app, wait=True)
    cloud.clear_requests()
    with cvm.Fleet(fleet.client) as other:
        plan = other.apply(**app, dry_run=True)
        assert "cannot be read back" in str(plan.steps[0].reason)
        assert other.apply(**app, wait=True).operations == ()
        assert changes_sent(cloud) == []
        assert other.apply(**app, wait=True, resend_env=True).ok
    assert len(changes_sent(cloud)) == 1


def test_a_dry_run_is_one_plan_for_all_and_sends_nothing(place, tmp_path):
    fleet, cloud = place
    fleet.apply({"web-1": COMPOSE, "web-2": COMPOSE}, wait=True)
    cloud.clear_requests()
    file = tmp_path / "apps.yaml"
    file.write_text(
        "web-1: {compose_file: new.yml}\nweb-2: {compose_file: old.yml}\n"
        "web-3: {compose_file: old.yml, instance_type: tdx.medium}\n"
        "web-4: {compose_file: old.yml, replicas: 2}\n"
        "web-5: {compose_file: old.yml, disk_size: 5}\n"
    )
    (tmp_path / "new.yml").write_text(NEWER)
    (tmp_path / "old.yml").write_text(COMPOSE)

    plan = fleet.apply(file, dry_run=True)

    frame = plan.frame()
    assert list(zip(frame.index, frame["action"], strict=True)) == [
        ("web-1", "update"),
        ("web-2", "nothing"),
        ("web-3", "create"),
        ("web-4", "create"),
        ("web-4", "replicate"),
        ("web-5", "refused"),
    ]
    assert bool(frame.loc["web-1", "restarts"])
    assert frame.loc["web-3", "rate_after_usd_h"] == pytest.approx(0.11878)
    assert "disk_size" in frame.loc["web-5", "reason"]
    assert "1.28" in plan._repr_mimebundle_()["text/html"]
    assert changes_sent(cloud) == []

    done = plan.execute(wait=True)
    assert [row.state for row in done] == ["reached", "nothing", *["reached"] * 3, "refused"]
    assert not done.ok
    with pytest.raises(cvm.CvmError, match="executed already"):
        plan.execute()


def test_losing_a_variable_wants_the_phrase(place):
    fleet, cloud = place
    fleet.apply(name="web-1", compose_file=COMPOSE, env={"A": "1", "B": "2"}, wait=True)
    cloud.clear_requests()

    with pytest.raises(NotConfirmed, match=r"B would be lost.*confirm='update 1'"):
        fleet["web-1"].update(env={"A": "1"})
    with pytest.raises(NotConfirmed, match="confirm='apply 1'"):
        fleet.apply(name="web-1", compose_file=COMPOSE, env={"A": "1"})
    assert changes_sent(cloud) == []

    preview = fleet["web-1"].update(env={"A": "1"}, dry_run=True)
    fleet["web-1"].update(env={"A": "1"}, confirm=preview.phrase).result(60)
    assert fleet.client.get_cvm_compose_file("web-1")["allowed_envs"] == ["A"]


def test_an_update_is_an_operation_with_its_undo_window(place):
    fleet, cloud = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    cloud.clear_requests()

    taken_back = fleet["web-1"].update(compose_file=NEWER, delay=60)
    assert taken_back.cancel()
    assert changes_sent(cloud) == []

    operation = fleet["web-1"].update(compose_file=NEWER, disk_size=40)
    operation.result(60)
    assert (operation.verb, operation.state, operation.attempts) == ("update", "reached", 1)
    assert fleet["web-1"].cvm.resource.disk_in_gb == 40
    again = fleet["web-1"].update(compose_file=NEWER, disk_size=40)
    assert again.wait(60).state == "reached"
    assert "nothing was sent" in again.note
    assert len(changes_sent(cloud)) == 1


def test_what_is_stopped_is_changed_and_stays_stopped(place):
    fleet, _ = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    fleet["web-1"].stop().result(60)

    operation = fleet["web-1"].update(compose_file=NEWER)

    operation.result(60)
    assert operation.state == "reached"
    assert fleet["web-1"].status == "stopped"
    assert "1.28" in fleet.client.get_cvm_docker_compose("web-1")


def test_a_listing_alone_restarts_nothing(place):
    fleet, cloud = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    cloud.clear_requests()
    operation = fleet["web-1"].update(listed=True)
    assert operation.wait(60).state == "reached"
    assert [path.rpartition("/")[2] for _, path in changes_sent(cloud)] == ["listed"]
    assert fleet.client.get_cvm_info("web-1").listed


def test_several_are_changed_alike_with_the_phrase(place):
    fleet, cloud = place
    fleet.apply({f"web-{n}": COMPOSE for n in range(3)}, wait=True)
    cloud.clear_requests()
    chosen = fleet.where(name="web-*")

    with pytest.raises(NotConfirmed, match="update 3"):
        chosen.update(compose_file=NEWER)
    assert changes_sent(cloud) == []
    plan = chosen.update(compose_file=NEWER, dry_run=True)
    assert plan.phrase == "update 3"
    assert chosen.update(compose_file=NEWER, confirm="update 3").ok
    assert [method for method, _ in changes_sent(cloud)] == ["PATCH"] * 3


def test_what_another_does_meanwhile_is_not_taken_for_ours(place):
    fleet, _ = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    row = fleet["web-1"].row
    fleet.client.update_cvm("web-1", compose_file=COMPOSE.replace("1.27", "1.26"))

    operation = fleet.operator.submit("update", row, params={"docker_compose_file": NEWER})

    operation.wait(60)
    if operation.state == "failed":  # it came while the other's was under way
        assert "1.26" in fleet.client.get_cvm_docker_compose("web-1")
    else:
        assert "1.28" in fleet.client.get_cvm_docker_compose("web-1")


def test_all_instances_of_an_app_are_made_as_one_of_them_is_declared(place):
    fleet, cloud = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    fleet["web-1"].replicate().result(60)
    cvms = fleet.client.get_app_cvms(fleet["web-1"].cvm.app_id)
    cloud.clear_requests()

    done = fleet.apply({"web-1": {"compose": NEWER, "replicas": 2}}, wait=True)

    assert {row.step.cvm_id for row in done} == {one.id for one in cvms}
    assert done.ok
    assert [method for method, _ in changes_sent(cloud)] == ["PATCH", "PATCH"]
    assert fleet.drift({"web-1": {"compose": NEWER}}).empty


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"region": "EU-NOWHERE"}, "does not move"),
        ({"node_id": 999}, "does not move"),
        ({"envs": ["A"]}, "A have no values"),
        ({"compose_hash": "ab" * 32}, "not the declared one"),
        ({"disk_size": 10}, "only grows"),
    ],
)
def test_what_cannot_be_made_true_is_refused_and_nothing_is_sent(place, declared, message):
    fleet, cloud = place
    fleet.apply(name="web-1", compose_file=COMPOSE, disk_size=40, wait=True)
    cloud.clear_requests()

    done = fleet.apply({"web-1": {"compose": COMPOSE, **declared}})

    assert not done.ok
    assert message in done.failed[0].why
    assert changes_sent(cloud) == []


def test_one_that_fails_leaves_the_others_and_is_reported(place):
    fleet, cloud = place
    fleet.apply({f"web-{n}": COMPOSE for n in range(3)}, wait=True)
    # of updates alone: a fleet's question for statuses is a POST, too
    cloud.inject({"kind": "status", "arg": 400, "route": "PATCH /cvms/*"})
    done = fleet.apply({f"web-{n}": NEWER for n in range(3)})
    assert len(done.operations) == 3
    states = sorted(row.operation.wait(90).state for row in done)
    cloud.clear_faults()
    assert states == ["failed", "reached", "reached"]
    again = fleet.apply({f"web-{n}": NEWER for n in range(3)}, wait=True)
    assert sorted(row.step.action for row in again) == ["nothing", "nothing", "update"]
    assert again.ok


def test_two_of_one_name_are_declared_by_their_ids(place):
    fleet, _ = place
    fleet.apply({"web-1": COMPOSE, "web-2": COMPOSE}, wait=True)
    ids = [fleet[name].id for name in ("web-1", "web-2")]
    done = fleet.apply({ids[0]: NEWER, ids[1]: COMPOSE}, wait=True)
    assert [row.step.action for row in done] == ["update", "nothing"]


def test_a_plan_of_a_verb_sends_no_update_of_nothing(place):
    fleet, _ = place
    fleet.apply(name="web-1", compose_file=COMPOSE, wait=True)
    with pytest.raises(cvm.InvalidInput, match="needs the changes to make"):
        fleet.where(name="web-1").plan("update")


# --- the property ---------------------------------------------------------------------------------

_DECLARED = st.fixed_dictionaries(
    {"compose_file": st.sampled_from([COMPOSE, NEWER, COMPOSE + "# more\n"])},
    optional={
        "env": st.dictionaries(st.sampled_from("ABC"), st.sampled_from("12"), max_size=3),
        "instance_type": st.sampled_from(["tdx.small", "tdx.medium"]),
        "pre_launch_script": st.sampled_from(["", "true\n"]),
        "public_logs": st.booleans(),
        "public_tcbinfo": st.booleans(),
        "listed": st.booleans(),
        "replicas": st.integers(1, 3),
    },
)


def shapes(client, name):
    """Return what is declared of each CVM of an app, as it is."""
    instances = client.get_app_cvms(client.get_cvm_info(name).app_id)
    return [shape(client.get_cvm_info(one.id)) for one in instances]


def shape(found):
    compose = found.compose_file
    return {
        "compose": compose["docker_compose_file"],
        "script": compose.get("pre_launch_script") or "",
        "env": set(compose["allowed_envs"]),
        "type": found.resource.instance_type,
        "public": (found.public_logs, found.public_sysinfo, found.public_tcbinfo),
        "listed": found.listed,
    }


def applied(fleet, declared):
    plan = fleet.apply({"web-1": declared}, dry_run=True)
    outcome = plan.execute(confirm=plan.phrase, wait=True)
    assert outcome.ok, repr(outcome)
    return outcome


@settings(
    max_examples=examples(16),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(a=_DECLARED, b=_DECLARED)
def test_to_apply_twice_is_to_apply_once_whatever_was_there_before(shared, a, b):
    def workspace():
        key = shared.new_workspace()["api_key"]
        client = cvm.Client(api_key=key, base_url=shared.url)
        return client, cvm.Fleet(client)

    client, fleet = workspace()
    with client, fleet:
        applied(fleet, a)
        applied(fleet, b)
        shared.clear_requests()
        last = applied(fleet, b)
        assert last.operations == ()
        assert changes_sent(shared) == []
        there = shapes(client, "web-1")
    client, fleet = workspace()
    with client, fleet:
        applied(fleet, b)
        assert there == shapes(client, "web-1")
