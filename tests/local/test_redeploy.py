"""Going back to a revision, and the other ways to another app compose."""

import hashlib
import json

import pytest

OTHER = "services:\n  other:\n    image: redis:7\n"


@pytest.fixture
def changed(clocked_cloud, clocked):
    """A CVM that runs its second compose file, and the revisions of its app, the newest first."""
    made = clocked.create(encrypted_env="00", user_config='{"hostname": "box"}')
    clocked_cloud.advance(3600)
    body = {"docker_compose_file": OTHER, "encrypted_env": "01", "vcpu": 2, "memory": 4096}
    assert clocked.patch(f"/cvms/{made['id']}", body).status_code == 202
    clocked_cloud.advance(3600)
    return made, clocked.get(f"/apps/{made['app_id']}/revisions").json()["revisions"]


def test_a_change_of_everything_is_one_operation_and_one_revision(clocked, changed):
    made, revisions = changed
    assert [one["operation_type"] for one in revisions] == ["compose_update", "create"]
    items = clocked.get(f"/cvms/{made['id']}/operations").json()["items"]
    assert [one["operation_type"] for one in items] == ["compose_update", "create"]


@pytest.mark.parametrize("of_app", [False, True])
def test_a_cvm_goes_back_to_a_revision_with_what_belonged_to_it(
    clocked_cloud, clocked, changed, of_app
):
    made, (_, first) = changed
    whose = f"/apps/{made['app_id']}" if of_app else f"/cvms/{made['id']}"
    answer = clocked.post(f"{whose}/revisions/{first['revision_id']}/redeploy")
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert begun["cvms"] == [
        {"vm_uuid": made["vm_uuid"], "correlation_id": begun["correlation_id"]}
    ]
    detail = clocked.get(f"/cvms/{made['id']}").json()
    assert (detail["status"], detail["compose_hash"]) == ("updating", first["compose_hash"])
    assert detail["resource"]["vcpu"] == 2  # a revision is no size
    newest = clocked.get(f"/apps/{made['app_id']}/revisions").json()["revisions"][0]
    assert newest["trace_id"] == begun["correlation_id"]
    whole = clocked.get(f"/apps/{made['app_id']}/revisions/{newest['revision_id']}").json()
    assert (whole["encrypted_env"], whole["user_config"]) == ("00", '{"hostname": "box"}')
    clocked_cloud.advance(3600)
    assert clocked.status(made["id"]) == "running"


def test_a_busy_cvm_is_not_redeployed(clocked, changed):
    made, (_, first) = changed
    clocked.post(f"/cvms/{made['id']}/restart")
    answer = clocked.post(f"/cvms/{made['id']}/revisions/{first['revision_id']}/redeploy")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "Another operation is already in progress",
    )


def test_of_several_cvms_those_are_redeployed_that_are_named_all_or_none(
    clocked_cloud, clocked, changed
):
    made, (_, first) = changed
    path = f"/apps/{made['app_id']}/revisions/{first['revision_id']}/redeploy"
    replica = clocked.post(f"/cvms/{made['id']}/replicas").json()
    assert clocked.post(path).status_code == 400
    both = {"vm_uuids": [made["vm_uuid"], replica["vm_uuid"].replace("-", "")]}
    assert clocked.post(path, both).status_code == 409  # the replica boots
    assert clocked.status(made["id"]) == "running"
    clocked_cloud.advance(3600)
    assert clocked.post(path, {"vm_uuids": ["0" * 32]}).status_code == 404
    begun = clocked.post(path, both).json()
    assert [one["vm_uuid"] for one in begun["cvms"]] == [made["vm_uuid"], replica["vm_uuid"]]
    assert begun["correlation_id"] is None
    assert clocked.status(made["id"]) == clocked.status(replica["id"]) == "updating"


@pytest.mark.parametrize("revision", ["rev_00000000", "nonsense"])
def test_a_revision_that_is_not_there_is_404(clocked, changed, revision):
    made, _ = changed
    for whose in (f"/cvms/{made['id']}", f"/apps/{made['app_id']}"):
        assert clocked.post(f"{whose}/revisions/{revision}/redeploy").status_code == 404


def test_an_app_compose_is_taken_whole_with_its_hash_and_not_with_another(clocked, changed):
    made, _ = changed
    path = f"/cvms/{made['id']}/compose_file"
    whole = clocked.get(path).json() | {"salt": "another"}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    wanted = hashlib.sha256(text.encode()).hexdigest()
    refused = clocked.post(path, {"compose_file": whole, "compose_hash": "0" * 64})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "ERR-02-008")
    assert clocked.status(made["id"]) == "running"
    answer = clocked.post(path, {"compose_file": whole, "compose_hash": wanted})
    assert answer.status_code == 202, answer.text
    assert clocked.get(f"/cvms/{made['id']}").json()["compose_hash"] == wanted


@pytest.mark.parametrize("field", ["listed", "name", "scheduled_delete_at", "os_image_name"])
def test_what_is_changed_elsewhere_is_refused_and_not_lost(clocked, changed, field):
    made, _ = changed
    answer = clocked.patch(f"/cvms/{made['id']}", {"vcpu": 4, field: "x"})
    assert answer.status_code == 422
    assert f"{field} is not changed here" in answer.text
    assert clocked.status(made["id"]) == "running"


def test_a_hash_or_a_token_that_no_chain_gave_is_refused(clocked, changed):
    made, _ = changed
    path = f"/cvms/{made['id']}"
    proofs = {"X-Compose-Hash": "0" * 64, "X-Transaction-Hash": "0x1"}
    answers = [
        clocked.patch(path, {}, headers=proofs),
        clocked.get(f"{path}/commit-update", params={"token": "t"}),
        clocked.post(f"{path}/commit-update", {"token": "t"}),
        clocked.post(f"{path}/commit-update"),
        clocked.post(f"{path}/commit-replica", params={"token": "t"}),
    ]
    assert {(one.status_code, one.json()["error_code"]) for one in answers} == {(466, "ERR-01-006")}
    assert clocked.status(made["id"]) == "running"
