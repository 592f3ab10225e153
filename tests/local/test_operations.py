"""A CVM's past is kept and shown; many are stopped at once; what goes on can be cancelled."""

import time
from datetime import datetime

import pytest


@pytest.fixture
def running(clocked_cloud, clocked):
    made = clocked.create()
    clocked_cloud.advance(3_600)
    return made["id"]


def operations_of(api, cvm, **query):
    return api.get(f"/cvms/{cvm}/operations", params=query).json()


def test_operations_are_listed_newest_first(clocked_cloud, clocked, running):
    for verb in ("stop", "start", "restart"):
        clocked.post(f"/cvms/{running}/{verb}")
        clocked_cloud.advance(600)
    listed = operations_of(clocked, running)
    kinds = [one["operation_type"] for one in listed["items"]]
    assert kinds == ["restart", "power_on", "power_off", "create"]
    assert {one["status"] for one in listed["items"]} == {"completed"}
    assert (listed["total"], listed["next_cursor"]) == (4, None)


def test_an_operation_says_how_long_it_took_and_what_happened_in_it(clocked, running):
    (create,) = operations_of(clocked, running)["items"]
    begun, ended = (datetime.fromisoformat(create[x]) for x in ("started_at", "completed_at"))
    assert create["duration_ms"] == round((ended - begun).total_seconds() * 1000) == 65_000
    assert create["target_state"] == "running"
    assert create["triggered_by_username"] == "you"
    assert [event["state"] for event in create["events"]] == [
        "provisioning",
        "starting",
        "running",
    ]


def test_an_operation_in_progress_has_no_end_yet(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/restart")
    newest = operations_of(clocked, running)["items"][0]
    status = clocked.get(f"/cvms/{running}/operation-status").json()
    detail = clocked.get(f"/cvms/{running}").json()
    assert (newest["status"], newest["completed_at"]) == ("in_progress", None)
    assert status == {"status": "restarting", "in_progress": True, "operation": newest}
    assert newest["correlation_id"] == detail["progress"]["correlation_id"]
    clocked_cloud.advance(600)
    assert clocked.get(f"/cvms/{running}/operation-status").json() == {
        "status": "idle",
        "in_progress": False,
        "operation": None,
    }


def test_an_operation_whose_place_was_taken_is_cancelled(clocked_cloud, clocked, running):
    began = time.monotonic()
    clocked.post(f"/cvms/{running}/restart")
    clocked_cloud.advance(2)
    clocked.post(f"/cvms/{running}/stop")
    took = 1000 * (time.monotonic() - began)
    stop, restart = operations_of(clocked, running)["items"][:2]
    assert (restart["status"], stop["operation_type"]) == ("cancelled", "power_off")
    assert stop["status"] in {"in_progress", "completed"}
    assert 2_000 <= restart["duration_ms"] <= 2_001 + took


def test_a_cursor_walks_through_all_operations_once(clocked_cloud, clocked, running):
    for _ in range(6):
        clocked.post(f"/cvms/{running}/restart")
        clocked_cloud.advance(600)
    found, cursor = [], None
    while True:
        part = operations_of(clocked, running, limit=2, cursor=cursor)
        found += [one["correlation_id"] for one in part["items"]]
        cursor = part["next_cursor"]
        if cursor is None:
            break
    whole = [one["correlation_id"] for one in operations_of(clocked, running)["items"]]
    assert found == whole
    assert len(whole) == 7


@pytest.mark.parametrize("cursor", ["x", "1_", "_1", "1_9999999999999999999999"])
def test_a_cursor_that_was_not_given_out_is_refused(clocked, running, cursor):
    assert clocked.get(f"/cvms/{running}/operations?cursor={cursor}").status_code == 400


def test_operations_are_filtered_by_kind_and_time(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/restart")
    clocked_cloud.advance(600)
    (restart,) = operations_of(clocked, running, operation_types="restart")["items"]
    later = operations_of(clocked, running, start_time=restart["started_at"])
    earlier = operations_of(clocked, running, end_time=restart["started_at"], limit=500)
    assert [one["operation_type"] for one in later["items"]] == ["restart"]
    assert [one["operation_type"] for one in earlier["items"]] == ["restart", "create"]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "start_time=yesterday"])
def test_bounds_of_the_query_are_kept(clocked, running, query):
    assert clocked.get(f"/cvms/{running}/operations?{query}").status_code == 422


@pytest.mark.parametrize(
    ("version", "kind"), [("2025-10-28", int), ("2026-01-21", int), ("2026-05-22", str)]
)
def test_users_are_numbers_before_2026_05_22(clocked_cloud, connect, running, version, kind):
    api = connect(clocked_cloud, version=version)
    assert isinstance(operations_of(api, running)["items"][0]["triggered_by"], kind)


def test_cancelling_lets_a_cvm_fall_back_to_what_it_was(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/restart")
    newest = operations_of(clocked, running)["items"][0]
    answer = clocked.post(f"/cvms/{running}/operations/cancel").json()
    assert answer == {"cancelled": True, "correlation_id": newest["correlation_id"]}
    assert clocked.status(running) == "running"
    assert operations_of(clocked, running)["items"][0]["status"] == "cancelled"
    again = clocked.post(f"/cvms/{running}/operations/cancel").json()
    assert again == {"cancelled": False, "correlation_id": None}


def test_cancelling_a_boot_leaves_a_stopped_cvm(clocked):
    made = clocked.create()
    assert clocked.post(f"/cvms/{made['id']}/operations/cancel").json()["cancelled"]
    assert clocked.status(made["id"]) == "stopped"
    assert clocked.post(f"/cvms/{made['id']}/start").json()["status"] == "starting"


def test_batch_stop_stops_skips_and_names_what_it_does_not_find(clocked_cloud, clocked):
    made = [clocked.create()["id"] for _ in range(3)]
    clocked_cloud.advance(3_600)
    clocked.post(f"/cvms/{made[2]}/stop")
    clocked_cloud.advance(600)
    answer = clocked.post("/cvms/batch-stop", {"cvm_ids": [*made, made[0], "nobody"]}).json()
    assert (answer["total"], answer["stopped"], answer["skipped"]) == (4, 2, 1)
    assert [error["cvm_id"] for error in answer["errors"]] == ["nobody"]
    assert {clocked.status(cvm) for cvm in made} <= {"stopping", "stopped"}


@pytest.mark.parametrize("count", [0, 51])
def test_1_to_50_are_stopped_at_once(clocked, count):
    assert clocked.post("/cvms/batch-stop", {"cvm_ids": ["x"] * count}).status_code == 422
