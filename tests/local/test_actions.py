"""Actions: what each answers, what it leads to, and what is refused while a CVM is busy."""

from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def running(clocked_cloud, clocked):
    """A CVM that runs, on a clock of its own."""
    made = clocked.create()
    clocked_cloud.advance(3600)
    assert clocked.status(made["id"]) == "running"
    return made["id"]


@pytest.mark.parametrize(
    "case",
    [
        ("stop", "stopping", "stopped"),
        ("shutdown", "shutting_down", "stopped"),
        ("restart", "restarting", "running"),
        ("start", "running", "running"),
    ],
)
def test_an_action_on_a_running_cvm(clocked_cloud, clocked, running, case):
    verb, answers, ends = case
    answer = clocked.post(f"/cvms/{running}/{verb}")
    assert (answer.status_code, answer.json()["status"]) == (200, answers)
    clocked_cloud.advance(3600)
    assert clocked.status(running) == ends


@pytest.mark.parametrize(
    "case",
    [("start", 200, "starting"), ("stop", 200, "stopped"), ("shutdown", 200, "stopped")],
)
def test_an_action_on_a_stopped_cvm(clocked_cloud, clocked, running, case):
    verb, status, answers = case
    clocked.post(f"/cvms/{running}/stop")
    clocked_cloud.advance(3600)
    answer = clocked.post(f"/cvms/{running}/{verb}")
    assert (answer.status_code, answer.json()["status"]) == (status, answers)


def test_a_stopped_cvm_cannot_be_restarted(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/stop")
    clocked_cloud.advance(3600)
    answer = clocked.post(f"/cvms/{running}/restart", {"force": False})
    assert answer.status_code == 400
    assert "stopped" in answer.json()["detail"]


@pytest.mark.parametrize("begun", ["restart", "shutdown"])
@pytest.mark.parametrize(
    "asked",
    [
        ("POST", "start", None),
        ("POST", "shutdown", None),
        ("POST", "restart", {"force": True}),
        ("PATCH", "envs", {"encrypted_env": "00"}),
        ("PATCH", "resources", {"vcpu": 4}),
        ("PATCH", "visibility", {"public_logs": True, "public_sysinfo": True}),
    ],
)
def test_a_busy_cvm_answers_a_plain_409(clocked, running, begun, asked):
    clocked.post(f"/cvms/{running}/{begun}")
    method, path, body = asked
    answer = clocked(method, f"/cvms/{running}/{path}", json=body)
    assert answer.status_code == 409
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize("begun", ["restart", "shutdown", "start", "stop"])
def test_stop_is_never_refused_and_cancels_what_runs(clocked_cloud, clocked, running, begun):
    clocked.post(f"/cvms/{running}/{begun}")
    answer = clocked.post(f"/cvms/{running}/stop")
    assert (answer.status_code, answer.json()["status"]) == (200, "stopping")
    clocked_cloud.advance(3600)
    assert clocked.status(running) == "stopped"


def test_many_starts_at_once_begin_one_operation(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/stop")
    clocked_cloud.advance(3600)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: clocked.post(f"/cvms/{running}/start"), range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [409] * 7
    history = clocked.get(f"/cvms/{running}/operations").json()["items"]
    assert [item["operation_type"] for item in history].count("power_on") == 1


def test_a_stop_during_the_first_boot_leaves_no_instance_id(clocked_cloud, clocked):
    made = clocked.create()
    clocked.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(3600)
    detail = clocked.get(f"/cvms/{made['id']}").json()
    assert (detail["status"], detail["instance_id"]) == ("stopped", None)
    clocked.post(f"/cvms/{made['id']}/start")
    clocked_cloud.advance(3600)
    assert clocked.get(f"/cvms/{made['id']}").json()["instance_id"]


def test_the_instance_id_is_kept_over_restarts(clocked_cloud, clocked, running):
    before = clocked.get(f"/cvms/{running}").json()["instance_id"]
    clocked.post(f"/cvms/{running}/restart")
    assert clocked.get(f"/cvms/{running}").json()["instance_id"] == before


def test_restart_needs_no_body(clocked, running):
    assert clocked("POST", f"/cvms/{running}/restart").status_code == 200


def test_progress_names_target_and_correlation_id_while_busy(clocked, running):
    clocked.post(f"/cvms/{running}/restart")
    detail = clocked.get(f"/cvms/{running}").json()
    assert detail["in_progress"] is True
    assert detail["progress"]["target"] == "running"
    uuid = detail["vm_uuid"]
    batch = clocked.post("/status/batch", {"vm_uuids": [uuid]}).json()[uuid]
    assert batch["operation"]["correlation_id"] == detail["progress"]["correlation_id"]
    assert batch["operation"]["type"] == "restart"


def test_a_deletion_takes_its_time_and_can_be_watched(new_cloud, connect):
    slow = 100  # times slower than the real cloud: the test looks often
    with new_cloud(seed="empty", speed=1 / slow) as cloud:
        api = connect(cloud)
        made = api.create()
        cloud.advance(120 * slow)
        path = f"/cvms/{made['id']}"
        answer = api("DELETE", path)
        assert (answer.status_code, answer.content) == (204, b"")
        seen = api.get(path).json()
        assert (seen["status"], seen["in_progress"]) == ("deleting", True)
        assert seen["progress"]["target"] == "deleted"
        assert api.status(made["id"]) == "deleting"
        assert made["id"] in [item["id"] for item in api.get("/cvms").json()]
        batch = api.post("/status/batch", {"vm_uuids": [made["vm_uuid"]]}).json()
        assert batch[made["vm_uuid"]]["operation"]["type"] == "delete"
        cloud.advance(24 * slow)
        assert api.status(made["id"]) == "deleting"
        cloud.advance(slow)
        assert api.get(path).json()["error_code"] == "ERR-03-001"


def test_nothing_stops_a_deletion(clocked_cloud, clocked):
    made = clocked.create()
    path = f"/cvms/{made['id']}"
    assert clocked("DELETE", path).status_code == 204
    for verb in ("start", "stop", "shutdown", "restart", "replicas"):
        refused = clocked.post(f"{path}/{verb}")
        assert refused.status_code == 409, verb
        assert refused.json() == {"detail": "Another operation is already in progress"}
    assert clocked.patch(f"{path}/resources", {"vcpu": 2}).status_code == 409
    assert clocked.post(f"{path}/operations/cancel").json()["cancelled"] is False
    stops = clocked.post("/cvms/batch-stop", {"cvm_ids": [made["id"]]}).json()
    assert (stops["stopped"], stops["skipped"]) == (0, 1)
    taken = clocked.provision(made["name"])
    assert (taken.status_code, taken.json()["error_code"]) == (409, "ERR-01-004")
    clocked_cloud.advance(10)
    assert clocked("DELETE", path).status_code == 204
    clocked_cloud.advance(15)  # it was not begun again
    assert clocked.get(path).status_code == 404


def test_events_say_how_each_operation_ended(clocked_cloud, clocked):
    made = clocked.create()
    clocked_cloud.advance(120)
    clocked.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(60)
    clocked.post(f"/cvms/{made['id']}/start")
    answer = clocked.get(f"/cvms/{made['vm_uuid']}/events").json()
    assert [(one["event_type"], one["status"]) for one in answer["items"]] == [
        ("instance.power_on", "in_progress"),
        ("instance.power_off", "completed"),
        ("instance.create", "completed"),
    ]
    assert (answer["total"], answer["next_cursor"]) == (3, None)
    page = clocked.get(f"/cvms/{made['id']}/events", params={"limit": 2}).json()
    rest = {"limit": 2, "cursor": page["next_cursor"]}
    rest = clocked.get(f"/cvms/{made['id']}/events", params=rest).json()
    assert page["items"] + rest["items"] == answer["items"]


def test_a_cvm_that_is_deleted_is_found_no_more(api):
    made = api.create()
    api.delete(made["id"])
    for method, path in (
        ("GET", ""),
        ("GET", "/state"),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("DELETE", ""),
    ):
        gone = api(method, f"/cvms/{made['id']}{path}")
        assert (gone.status_code, gone.json()["error_code"]) == (404, "ERR-03-001")
    listed = [item["id"] for item in api.get("/cvms").json()]
    assert made["id"] not in listed


def test_the_name_of_a_deleted_cvm_is_free(api):
    made = api.create()
    api.delete(made["id"])
    assert api.create(made["name"])["id"] != made["id"]


def test_a_replica_shares_app_and_compose_and_nothing_else(api):
    made = api.create(teepod_id=3)
    replica = api.post(f"/cvms/{made['id']}/replicas", {"node_id": 5}).json()
    for key in ("id", "vm_uuid", "name", "teepod_id"):
        assert replica[key] != made[key]
    assert replica["app_id"] == made["app_id"]
    one, two = (api.get(f"/cvms/{cvm['id']}").json() for cvm in (made, replica))
    assert one["compose_hash"] == two["compose_hash"]
    assert one["compose_file"] == two["compose_file"]
    api.watch(replica["id"], "running")
    api.watch(made["id"], "running")
    ids = {api.get(f"/cvms/{cvm['id']}").json()["instance_id"] for cvm in (made, replica)}
    assert len(ids) == 2


@pytest.mark.parametrize("body", [None, {}, {"node_id": None}])
def test_a_replica_without_a_node_goes_where_its_source_is(api, body):
    made = api.create(teepod_id=6)
    answer = api.post(f"/cvms/{made['id']}/replicas", body)
    assert (answer.status_code, answer.json()["teepod_id"]) == (200, 6)


def test_many_replicas_at_once_get_names_of_their_own(api):
    made = api.create()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: api.post(f"/cvms/{made['id']}/replicas"), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["name"] for answer in answers}) == 6


def test_a_replica_is_refused_where_its_image_is_missing(api):
    made = api.create(image="dstack-0.5.4", teepod_id=3)
    answer = api.post(f"/cvms/{made['id']}/replicas", {"node_id": 18})
    assert answer.json()["error_code"] == "ERR-03-006"
    helped = api.post(f"/cvms/{made['id']}/replicas", {"node_id": 18, "os_image": "dstack-0.5.9"})
    assert helped.status_code == 200


def test_an_app_with_several_cvms_is_replicated_by_its_compose_hash(api):
    made = api.create()
    api.post(f"/cvms/{made['id']}/replicas")
    path = f"/cvms/app_{made['app_id']}/replicas"
    assert api.post(path, {}).json()["error_code"] == "ERR-03-009"
    compose_hash = api.get(f"/cvms/{made['id']}").json()["compose_hash"]
    assert api.post(path, {"compose_hash": compose_hash}).status_code == 200
    assert api.post(path, {"compose_hash": "0" * 64}).json()["error_code"] == "ERR-03-001"


def test_a_replica_of_nobody_is_not_found(api):
    assert api.post("/cvms/nobody-here/replicas").json()["error_code"] == "ERR-03-001"
