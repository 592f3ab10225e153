"""Totals that are kept instead of added up: they are what adding up gives."""

import threading

import pytest

from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.write_lock import Turns


def test_totals_are_the_sums_after_a_random_walk(fresh_cloud, walk_and_add_up):
    walk_and_add_up(fresh_cloud, rounds=4, steps=15)


def test_a_workspace_is_stopped_at_nothing_left_and_no_sooner(clocked_cloud, connect):
    key = clocked_cloud.new_workspace(balance="10")["api_key"]
    api = connect(clocked_cloud, key=key)
    api.create(instance_type="tdx.4xlarge")
    stopped = api.create(instance_type="tdx.8xlarge", disk_size=20)
    api.post(f"/cvms/{stopped['id']}/stop")
    answers = set()
    for step in range(12):
        clocked_cloud.advance(1_800)
        left = api.balance()
        answers.add((left > 0, api.provision(f"left-{step:02d}").status_code))
    assert answers == {(True, 200), (False, 403)}


def test_commit_looks_for_another_node_when_the_planned_one_is_full(fresh):
    region = {"region": "us-east-1"}
    large = fresh.provision("large-one", vcpu=4_000, memory=2048, **region).json()
    small = fresh.provision("small-one", vcpu=200, memory=2048, **region).json()
    pinned = fresh.provision("pinned-one", vcpu=200, memory=2048, teepod_id=21).json()
    assert large["node_id"] == small["node_id"] == 21
    assert fresh.commit(large).json()["teepod_id"] == 21
    assert fresh.commit(small).json()["teepod_id"] == 26
    refused = fresh.commit(pinned)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "ERR-02-003")
    full = fresh.provision("third-one", vcpu=400, memory=2048, **region)
    assert (full.status_code, full.json()["message"]) == (400, "No teepod found")


@pytest.mark.parametrize("region", ["us-west", "US", "us-west-1-", "-1"])
def test_a_region_is_named_in_full(own, region):
    refused = own.provision("some-region", region=region)
    assert refused.status_code == 400
    assert refused.json()["error_code"] == "ERR-02-002"
    assert refused.json()["message"] == "No teepod found"
    assert own.provision("some-region", region="us-WEST-1").status_code == 200


def test_what_is_wanted_is_named_when_no_node_has_room(fresh):
    for number in range(sum(node.gpus for node in NODES.values())):
        assert fresh.create(f"gpu-{number:04d}", instance_type="h200.small")
    refused = fresh.provision("one-too-many", instance_type="h200.small")
    assert refused.json()["message"] == "No teepod found matching h200.small"


def test_writers_take_turns_in_the_order_they_came(tmp_path):
    turns, order, threads = Turns(tmp_path / "turns"), [], []

    def write(number):
        with turns:
            order.append(number)

    with turns:
        for number in range(20):
            thread = threading.Thread(target=write, args=(number,))
            thread.start()
            threads.append(thread)
            while len(turns._waiting) <= number:
                assert thread.is_alive()
    for thread in threads:
        thread.join()
    turns.close()
    assert order == list(range(20))


def test_a_turn_is_given_on_after_a_failure(tmp_path):
    turns = Turns(tmp_path / "turns")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), turns:
            raise ValueError("broken")
    with Turns(tmp_path / "no-folder" / "turns"):
        pass  # it is SQLite that says what is wrong with the folder
