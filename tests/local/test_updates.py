"""Changes of a CVM: what each answers, what comes of it, what is refused."""

from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest

OTHER = "services:\n  other:\n    image: redis:7\n"


@pytest.fixture
def running(clocked_cloud, clocked):
    made = clocked.create(instance_type="tdx.small")
    clocked_cloud.advance(3600)
    return made["id"]


def text(api, cvm_id, path, body, kind):
    return api("PATCH", f"/cvms/{cvm_id}/{path}", data=body, headers={"Content-Type": kind})


def code_of(answer):
    return answer.json()["error_code"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"docker_compose_file": OTHER}),
        ("", {"vcpu": 2, "memory": 4096}),
        ("", {"public_logs": False}),
        ("", {"encrypted_env": "00"}),
        ("", {"user_config": "{}"}),
        ("", {"image": "dstack-0.5.8"}),
        ("/envs", {"encrypted_env": "00"}),
        ("/resources", {"instance_type": "tdx.medium", "allow_restart": 1}),
        ("/resources", {"disk_size": 40}),
        ("/os-image", {"os_image_name": "dstack-dev-0.5.9"}),
    ],
)
def test_an_update_is_accepted_goes_through_updating_and_runs_again(
    clocked_cloud, clocked, running, path, body
):
    answer = clocked.patch(f"/cvms/{running}{path}", body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "in_progress"
    detail = clocked.get(f"/cvms/{running}").json()
    assert (detail["status"], detail["in_progress"]) == ("updating", True)
    assert detail["progress"]["correlation_id"] == answer.json()["correlation_id"]
    clocked_cloud.advance(3600)
    assert clocked.status(running) == "running"


def test_a_stopped_cvm_stays_stopped_over_an_update(clocked_cloud, clocked, running):
    clocked.post(f"/cvms/{running}/stop")
    clocked_cloud.advance(3600)
    clocked.patch(f"/cvms/{running}/envs", {"encrypted_env": "00"})
    assert clocked.status(running) == "updating"
    clocked_cloud.advance(3600)
    assert clocked.status(running) == "stopped"


def test_a_new_compose_file_is_served_and_hashed(clocked, running):
    before = clocked.get(f"/cvms/{running}").json()
    answer = text(clocked, running, "docker-compose", OTHER, "text/yaml")
    assert answer.status_code == 202
    after = clocked.get(f"/cvms/{running}").json()
    assert after["compose_hash"] != before["compose_hash"]
    assert [service["name"] for service in after["services"]] == ["other"]
    assert clocked.get(f"/cvms/{running}/docker-compose.yml").text == OTHER


def test_a_script_is_set_and_taken_away_again(clocked_cloud, clocked, running):
    assert clocked.get(f"/cvms/{running}/pre-launch-script").text == "\n"
    text(clocked, running, "pre-launch-script", "echo hello", "text/plain")
    assert clocked.get(f"/cvms/{running}/pre-launch-script").text == "echo hello"
    clocked_cloud.advance(3600)
    assert text(clocked, running, "pre-launch-script", "", "text/plain").status_code == 202
    assert clocked.get(f"/cvms/{running}/pre-launch-script").text == "\n"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\x00b", b"services: []", b""])
def test_a_text_that_is_no_compose_file_changes_nothing(clocked, running, body):
    before = clocked.get(f"/cvms/{running}").json()
    assert text(clocked, running, "docker-compose", body, "text/yaml").status_code == 400
    assert clocked.get(f"/cvms/{running}").json() == before | {"updated_at": before["updated_at"]}


def test_a_compose_file_is_provisioned_and_committed_by_its_hash(clocked, running):
    path = f"/cvms/{running}/compose_file"
    planned = clocked.post(f"{path}/provision", {"name": "", "docker_compose_file": OTHER}).json()
    assert planned["compose_hash_registered"] is True
    assert clocked.get(f"/cvms/{running}/docker-compose.yml").text != OTHER
    answer = clocked.patch(path, {"compose_hash": planned["compose_hash"]})
    assert answer.status_code == 202
    detail = clocked.get(f"/cvms/{running}").json()
    assert detail["compose_hash"] == planned["compose_hash"]


def test_a_compose_hash_nobody_provisioned_is_refused(clocked, running):
    answer = clocked.patch(f"/cvms/{running}/compose_file", {"compose_hash": "0" * 64})
    assert (answer.status_code, code_of(answer)) == (466, "ERR-01-006")


def test_a_provisioned_update_can_not_be_committed_as_a_new_cvm(clocked, running):
    path = f"/cvms/{running}/compose_file/provision"
    planned = clocked.post(path, {"docker_compose_file": OTHER}).json()
    assert code_of(clocked.commit(planned)) == "ERR-03-007"
    clocked("DELETE", f"/cvms/{running}")
    assert code_of(clocked.commit(planned)) == "ERR-01-006"


def test_commit_stays_idempotent_after_an_update(clocked_cloud, clocked):
    planned = clocked.provision("updated-later").json()
    made = clocked.commit(planned).json()
    clocked_cloud.advance(3600)
    clocked.patch(f"/cvms/{made['id']}", {"docker_compose_file": OTHER})
    assert clocked.commit(planned).json()["id"] == made["id"]


def test_new_names_of_variables_change_the_compose_hash_and_say_so(clocked_cloud, clocked, running):
    path = f"/cvms/{running}/envs"
    before = clocked.get(f"/cvms/{running}").json()["compose_hash"]
    renamed = clocked.patch(path, {"encrypted_env": "00", "env_keys": ["TOKEN"]}).json()
    assert renamed["allowed_envs_changed"] is True
    detail = clocked.get(f"/cvms/{running}").json()
    assert detail["compose_file"]["allowed_envs"] == ["TOKEN"]
    assert detail["compose_hash"] != before
    clocked_cloud.advance(3600)
    again = clocked.patch(path, {"encrypted_env": "01", "env_keys": ["TOKEN"]}).json()
    assert again["allowed_envs_changed"] is False


@pytest.mark.parametrize(
    "case",
    [
        ("", {}, 400, None),
        ("", None, 400, None),
        ("", {"docker_compose_file": "nonsense"}, 400, "ERR-01-003"),
        ("", {"vcpu": -1}, 422, None),
        ("", {"shutdown_timeout": 5}, 422, None),
        ("/resources", {}, 400, None),
        ("/resources", {"disk_size": 10}, 400, "ERR-02-008"),
        ("/resources", {"instance_type": "tdx.nano"}, 400, "ERR-02-001"),
        ("/resources", {"vcpu": 4, "allow_restart": 0}, 400, None),
        ("/resources", {"instance_type": "h200.small"}, 400, "ERR-02-007"),
        ("/os-image", {"os_image_name": "windows"}, 400, "ERR-02-010"),
        ("/os-image", {"os_image_name": "dstack-nvidia-0.5.9"}, 400, "ERR-02-013"),
        ("/envs", {}, 422, None),
        ("/name", {"name": "no"}, 422, None),
        ("/scheduled-delete", {"scheduled_delete_at": "2001-01-01T00:00:00Z"}, 400, None),
        ("/scheduled-delete", {"scheduled_delete_at": "soon"}, 422, None),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_and_nothing_begins(clocked, running, case):
    path, body, status, code = case
    answer = clocked.patch(f"/cvms/{running}{path}", body)
    assert answer.status_code == status, answer.text
    assert answer.json().get("error_code") == code
    assert clocked.status(running) == "running"


def test_only_preparing_is_refused_rather_than_done(clocked, running):
    answer = clocked.patch(
        f"/cvms/{running}", {"docker_compose_file": OTHER}, headers={"X-Prepare-Only": "true"}
    )
    assert code_of(answer) == "ERR-02-008"
    assert clocked.status(running) == "running"


def test_a_resize_changes_size_and_price(clocked, running):
    clocked.patch(f"/cvms/{running}/resources", {"instance_type": "tdx.medium", "disk_size": 40})
    detail = clocked.get(f"/cvms/{running}").json()
    assert detail["resource"]["vcpu"] == 2
    assert detail["resource"]["instance_type"] == "tdx.medium"
    assert detail["resource"]["disk_in_gb"] == 40
    assert detail["hourly_rate"]["compute"] == "0.116000"


def test_visibility_changes_at_once(clocked, running):
    body = {"public_sysinfo": False, "public_logs": False, "public_tcbinfo": False}
    answer = clocked.patch(f"/cvms/{running}/visibility", body)
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    detail = clocked.get(f"/cvms/{running}").json()
    assert not any(detail[key] for key in body)


def test_a_name_changes_unless_it_is_taken(clocked, running):
    other = clocked.create()["name"]
    taken = clocked.patch(f"/cvms/{running}/name", {"name": other})
    text = f'CVM name "{other}" is already in use in this workspace'
    assert (taken.status_code, taken.json()) == (400, {"detail": text})
    answer = clocked.patch(f"/cvms/{running}/name", {"name": f"new-{other}"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert clocked.get(f"/cvms/new-{other}").json()["id"] == running


def test_listed_changes(clocked, running):
    assert clocked.patch(f"/cvms/{running}/listed", {"listed": False}).status_code == 200
    assert clocked.get(f"/cvms/{running}").json()["listed"] is False


def test_a_scheduled_deletion_happens_when_its_time_has_come(clocked_cloud, clocked, running):
    now = parsedate_to_datetime(clocked.get(f"/cvms/{running}").headers["Date"])
    later = (now + timedelta(days=3)).isoformat()
    path = f"/cvms/{running}/scheduled-delete"
    assert clocked.patch(path, {"scheduled_delete_at": later}).status_code == 200
    assert clocked.status(running) == "running"
    clocked_cloud.advance(3 * 86_400 - 60)
    assert clocked.status(running) == "running"
    clocked_cloud.advance(61)
    assert clocked.status(running) == "deleting"
    clocked_cloud.advance(30)
    assert clocked.get(f"/cvms/{running}").status_code == 404


def test_a_scheduled_deletion_can_be_taken_back(clocked_cloud, clocked, running):
    path = f"/cvms/{running}/scheduled-delete"
    clocked.patch(path, {"scheduled_delete_at": "2999-01-01T00:00:00+00:00"})
    assert clocked.patch(path, {"scheduled_delete_at": None}).status_code == 200
    assert clocked.get(f"/cvms/{running}").status_code == 200


def test_instance_ids_are_unchanged_or_not_yet_known(clocked, running):
    new = clocked.create()["id"]
    known = clocked.patch(f"/cvms/{running}/instance-id", {"overwrite": True}).json()
    assert (known["status"], known["cvm_id"]) == ("unchanged", running)
    unknown = clocked.patch(f"/cvms/{new}/instance-id").json()
    assert (unknown["status"], unknown["new_instance_id"]) == ("skipped", None)
    both = clocked.patch("/cvms/instance-ids", {"cvm_ids": [running, new]}).json()
    assert (both["total"], both["unchanged"], both["skipped"]) == (2, 1, 1)


def test_the_images_offered_mark_the_present_one(clocked, running):
    offered = clocked.get(f"/cvms/{running}/available-os-images").json()
    current = [
        one["name"]
        for choice in offered
        for one in (choice["prod"], choice["dev"])
        if one is not None and one["is_current"]
    ]
    assert current == [clocked.get(f"/cvms/{running}").json()["os"]["name"]]
    assert offered[0]["version"] > offered[-1]["version"]


def test_the_user_config_is_served(clocked):
    config = '{"hostname": "box", "ssh_authorized_keys": ["ssh-ed25519 AAAA"]}'
    made = clocked.create(user_config=config)
    answer = clocked.get(f"/cvms/{made['id']}/user_config").json()
    assert answer["hostname"] == "box"
    assert answer["ssh_authorized_keys"] == ["ssh-ed25519 AAAA"]
