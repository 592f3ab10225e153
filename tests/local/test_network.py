"""A CVM's network: ports on its host, the services it uses, the firewall, own domains."""

import pytest


@pytest.fixture
def running(clocked_cloud, clocked):
    made = clocked.create(teepod_id=5)
    clocked_cloud.advance(3600)
    return made["id"]


def test_ports_are_replaced_as_a_whole_and_those_that_stay_keep_their_port(clocked, running):
    path = f"/cvms/{running}/ports"
    assert clocked.get(path).json() == []
    asked = [{"vm_port": 22}, {"vm_port": 53, "protocol": "udp"}]
    first = clocked("PUT", path, json={"ports": asked}).json()
    assert [(one["vm_port"], one["protocol"]) for one in first] == [(22, "tcp"), (53, "udp")]
    assert all(one["id"].startswith("pm_") and one["host_port"] >= 20_000 for one in first)
    assert clocked.get(path).json() == first
    second = clocked("PUT", path, json={"ports": [{"vm_port": 22}]}).json()
    assert second == first[:1]
    assert clocked.status(running) == "running"
    assert clocked.get(f"/cvms/{running}/network-config").json()["ports"] == [
        {key: value for key, value in second[0].items() if key != "id"}
    ]
    assert clocked("PUT", path, json={"ports": []}).json() == []


def test_two_cvms_of_a_node_share_no_port_of_it(clocked, running):
    other = clocked.create(teepod_id=5)["id"]
    asked = {"ports": [{"vm_port": port} for port in range(1, 60)]}
    both = [clocked("PUT", f"/cvms/{one}/ports", json=asked).json() for one in (running, other)]
    found = [one["host_port"] for answer in both for one in answer]
    assert len(set(found)) == len(found) == 118


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ([{"vm_port": 22}, {"vm_port": 22}], 400),
        ([{"vm_port": 0}], 422),
        ([{"vm_port": 22, "protocol": "icmp"}], 422),
    ],
)
def test_ports_that_make_no_sense_are_refused(clocked, running, asked, status):
    answer = clocked("PUT", f"/cvms/{running}/ports", json={"ports": asked})
    assert answer.status_code == status
    assert clocked.get(f"/cvms/{running}/ports").json() == []


def test_a_node_without_a_firewall_opens_no_port_and_says_why(clocked, running):
    assert clocked.get(f"/cvms/{running}/firewall-status").json() == {
        "available": True,
        "reason": None,
    }
    there = clocked.create(teepod_id=26)["id"]
    found = clocked.get(f"/cvms/{there}/firewall-status").json()
    assert not found["available"]
    refused = clocked("PUT", f"/cvms/{there}/ports", json={"ports": [{"vm_port": 22}]})
    assert (refused.status_code, refused.json()["detail"]) == (400, found["reason"])


def test_the_services_of_a_cvm_change_with_a_restart_or_without(clocked, running):
    path = f"/cvms/{running}/network-config"
    before = clocked.get(path).json()
    assert len(before["kms_urls"]) == len(before["gateway_urls"]) == 1
    assert clocked.patch(path, {}).status_code == 400
    assert clocked.patch(path, {"kms_urls": ["ftp://x"]}).status_code == 422
    urls = ["https://gateway.example.org"]
    after = clocked.patch(path, {"gateway_urls": urls}).json()
    assert after == before | {"gateway_urls": urls}
    assert clocked.status(running) == "running"
    clocked.patch(path, {"gateway_urls": [], "restart": True})
    assert clocked.status(running) == "restarting"
    assert clocked.patch(path, {"gateway_urls": urls}).status_code == 409
    assert clocked.get(path).json()["gateway_urls"] == []


def test_domains_are_diagnosed_by_their_names_alone(clocked, running):
    names = ["app.valid.test", "app.old.test", "app.example.org"]
    body = {"domains": [{"domain": name, "port": 8080} for name in names]}
    answer = clocked.post(f"/cvms/{running}/customize-domain-diagnose", body)
    valid, old, missing = answer.json()["results"]
    cname = clocked.get(f"/cvms/{running}").json()["gateway"]["cname"]
    assert valid["is_valid"]
    assert valid["records"][0]["actual_value"] == cname
    assert old["is_valid"]
    assert old["records"][1]["is_deprecated"]
    assert not missing["is_valid"]
    assert {one["actual_value"] for one in missing["records"]} == {None}
    assert missing["records"][1]["query_name"] == "_dstack-app-address.app.example.org"


def test_an_agent_is_made_of_its_character(own):
    character = '{"name": "$ada", "bio": ": - {"}'
    body = {"name": "agent-one", "characterfile": character, "env_keys": ["TOKEN"]}
    planned = own.post("/cvms/provision/eliza", body)
    assert planned.status_code == 200, planned.text
    pair = {key: planned.json()[key] for key in ("app_id", "compose_hash")}
    made = own.post("/cvms/eliza", pair).json()
    found = own.get(f"/cvms/{made['id']}").json()
    assert [one["name"] for one in found["services"]] == ["eliza"]
    assert found["compose_file"]["allowed_envs"] == ["TOKEN"]
    unknown = own.post("/cvms/eliza", pair | {"compose_hash": "0" * 64, "app_id": "1" * 40})
    assert (unknown.status_code, unknown.json()["error_code"]) == (422, "ERR-01-006")


def test_a_model_is_served_on_a_gpu(own):
    body = {"name": "model-one", "instance_type": "h200.small", "model_id": "org/model"}
    made = own.post("/cvms/workload", body)
    assert made.status_code == 200, made.text
    found = own.get(f"/cvms/{made.json()['id']}").json()
    assert found["resource"]["gpus"] == 1
    assert found["node_info"]["name"] in {"gpu1", "gpu2"}  # by what others use of each
    again = own.post("/cvms/workload", body)
    assert (again.status_code, again.json()["error_code"]) == (409, "ERR-01-004")
    refused = own.post("/cvms/workload", body | {"name": "model-two", "instance_type": "tdx.small"})
    assert refused.json()["error_code"] == "ERR-02-009"
