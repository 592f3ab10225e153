"""Selections and handles: what Python users reach for on a collection, against a LocalCloud."""

import pytest
from helpers import COMPOSE, run_all

import cvm_notebook as cvm
from cvm_notebook.fleet.selection import Selection
from cvm_notebook.live.plans.plan import NotConfirmed

NAMES = [f"chosen-{n}" for n in range(4)]


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=100) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            run_all(client, *NAMES)
        yield running


@pytest.fixture(scope="module")
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(client):
    with cvm.Fleet(client) as made:
        yield made


def test_handles_of_one_cvm_are_equal_and_are_in_their_fleet(fleet, client):
    one = fleet["chosen-1"]
    assert one == fleet[one.id] == fleet[one] == fleet[one.cvm] == fleet[one.row]
    assert one != fleet["chosen-2"]
    assert one != one.id
    assert len({*fleet, *fleet}) == len(NAMES)
    assert one in fleet
    assert one.cvm in fleet
    assert one.row in fleet
    assert None not in fleet
    assert 7 not in fleet
    with cvm.Fleet(client) as other:
        assert other["chosen-1"] != one


def test_get_returns_a_handle_or_the_default(fleet):
    assert fleet.get("chosen-1") == fleet["chosen-1"]
    assert fleet.get("nobody") is None
    assert fleet.get("nobody", 5) == 5
    with pytest.raises(cvm.InvalidInput):
        fleet.get(["chosen-1"])


def test_what_the_fleet_does_not_have_is_not_found(fleet):
    with pytest.raises(cvm.NotFoundError, match="there is no CVM 'nope' in the fleet") as caught:
        fleet["nope"]
    assert caught.value.status == 404
    assert "HTTP" not in str(caught.value)
    with pytest.raises(LookupError):
        fleet["nope"]


@pytest.mark.parametrize("kind", ["selection", "live selection"])
def test_a_selection_is_a_sequence_and_a_set(fleet, kind):
    chosen = fleet.where(name="chosen-*")
    if kind == "live selection":
        fleet.selection = chosen
        chosen = fleet.selection
    handles = list(chosen)
    assert [chosen[n] for n in range(len(chosen))] == handles
    assert chosen[-1] == handles[-1]
    assert chosen["chosen-2"] == fleet["chosen-2"]
    assert isinstance(chosen[1:3], Selection)
    assert list(chosen[1:3]) == handles[1:3]
    with pytest.raises(IndexError):
        chosen[99]
    with pytest.raises(cvm.NotFoundError):
        chosen[:2]["nobody"]
    for one in (handles[0], handles[0].id, handles[0].name, handles[0].cvm, handles[0].row):
        assert one in chosen[:2]
        assert one not in chosen[2:]
    assert chosen.where(name="*-1").names == ["chosen-1"]
    assert chosen.search("name = chosen-1").names == ["chosen-1"]
    assert chosen[:2].where(name=handles[3].name).names == []
    assert list(chosen[:2] | chosen[1:3]) == handles[:3]
    assert list(chosen[:3] & chosen[2:]) == handles[2:3]
    assert list(fleet.where(name=handles[3].name) | chosen[:1]) == [handles[3], handles[0]]
    assert len(chosen & chosen) == len(chosen | chosen) == len(handles)


def test_selections_of_two_fleets_are_not_joined(fleet, client):
    with cvm.Fleet(client) as other, pytest.raises(cvm.InvalidInput, match="another fleet"):
        fleet.where() | other.where()


def test_an_empty_selection_waits_for_nothing(fleet):
    assert len(fleet.where(name="nobody").wait("stopped", timeout=0.1)) == 0


def test_whatever_stands_for_cvms_can_be_selected(fleet):
    frame = fleet.frame()
    for chosen in (frame.index[:2], list(frame.index[:2]), list(fleet)[:2], fleet.where()[:2]):
        fleet.selection = chosen
        assert list(fleet.selection) == list(fleet)[:2]
    with pytest.raises(cvm.InvalidInput, match="not a list of CVMs"):
        fleet.selection = "chosen-1"


def test_each_replicate_is_another_replica(fleet, client):
    def count():
        return sum(one.name.startswith("chosen-3") for one in client.list_cvms())

    one = fleet["chosen-3"]
    before = count()
    several = one.replicate(count=2)
    assert isinstance(several, tuple)
    made = [*several, *(one.replicate() for _ in range(3))]
    assert len({operation.id for operation in made}) == 5
    assert [operation.wait(60).state for operation in made] == ["reached"] * 5
    assert sum(c.app_id == one.cvm.app_id for c in client.list_cvms()) == before + 5
    for wrong in (0, -1, True, 1.5, "2", 101):
        with pytest.raises(cvm.InvalidInput, match="count"):
            one.replicate(count=wrong)


TEXTS = {
    "batch_stop_cvms": lambda fleet: fleet.client.batch_stop_cvms("chosen-1"),
    "get_cvm_status_batch": lambda fleet: fleet.client.get_cvm_status_batch("chosen-1"),
    "list_cvms": lambda fleet: fleet.client.list_cvms(instance_types="tdx.small"),
    "provision_cvm": lambda fleet: fleet.client.provision_cvm(
        name="other", compose_file=COMPOSE, env_keys="TOKEN"
    ),
    "table": lambda fleet: fleet.table("region"),
    "fleet_frame": lambda _: cvm.fleet_frame("chosen-1"),
    "assert_fleet": lambda fleet: cvm.assert_fleet(fleet.frame("wide"), regions="us-west"),
    "drift": lambda fleet: fleet.drift({"chosen-1": {"envs": "TOKEN"}}),
    "wait": lambda fleet: fleet.wait(["chosen-1"]),
    "fleet[...]": lambda fleet: fleet[["chosen-1"]],
}


@pytest.mark.parametrize("call", TEXTS.values(), ids=TEXTS)
def test_a_text_is_no_list(fleet, call):
    with pytest.raises(cvm.InvalidInput):
        call(fleet)
    assert fleet.client.get_cvm_state("chosen-1").status == "running"


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("stop", "at least 24 hours"),
        ("shutdown", "at least 24 hours"),
        ("delete", "rented for 7 days"),
    ],
)
def test_what_ends_gpus_that_cost_the_same_wants_the_phrase_and_says_until_when(cloud, verb, why):
    asked = {"name": "gpu-one", "compose_file": COMPOSE, "instance_type": "h200.small"}
    place = cloud.new_workspace()
    with cvm.Client(api_key=place["api_key"], base_url=cloud.url) as client:
        made = client.commit_cvm_provision(client.provision_cvm(asked))
        client.watch_cvm_state("gpu-one", target="running")
        if verb == "delete":  # the service refuses to stop what is rented
            cloud.rent(made.id, 7, place["slug"])
        with cvm.Fleet(client) as fleet:
            end = getattr(fleet["gpu-one"], verb)

            with pytest.raises(NotConfirmed, match=rf"{why}.*confirm='{verb} 1'"):
                end()
            with pytest.raises(NotConfirmed, match="and not 'yes'"):
                end(confirm="yes")
            assert fleet.operator.records() == ()
            ended = end(confirm=f"{verb} 1").wait(60)
            assert ended.state == "reached", ended
            assert fleet.operator.records()[0].verb == verb
