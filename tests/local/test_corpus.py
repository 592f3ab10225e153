"""LocalCloud's answers beside those of the service that others have published.

They are no part of this project: ``CVM_NOTEBOOK_CORPUS`` names their folder (``.ci/run`` does where
it lies beside the project). LocalCloud's answer to the same request has the same fields, of the
same types, and refuses in the same words. What differs is named, with the reason.
"""

import json
import os
from pathlib import Path

import pytest
from published_requests import COMPOSE_ONLY, World, ssh_key

FOLDER = os.environ.get("CVM_NOTEBOOK_CORPUS", "")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
LATEST = "2026-06-23"

_ON_CHAIN = "an answer about an app on a chain, and LocalCloud is on none"
_TEXT = "a text, which loses nothing; the Python SDK 0.2.0 (models/auth.py) reads both"
_NETWORK = "LocalCloud asks nothing of the network"
DIFFERENT = {
    "commit": {"app_auth_contract_address": _ON_CHAIN, "deployer_address": _ON_CHAIN},
    "compose_file": {"pre_launch_script": "an app compose has one where it was given"},
    "info_legacy": {"kms_info.chain": _ON_CHAIN},
    "list_legacy": {"items.0.kms_info.chain": _ON_CHAIN},
    "me": dict.fromkeys(("credits.balance: str", "credits.granted_balance: str"), _TEXT),
    "compose_hash_golden": "its request is not known, but for the structure",
    "hash_required_structured": _ON_CHAIN,
    "hash_required_legacy": _ON_CHAIN,
    "provision_onchain_live": _ON_CHAIN,
    "github_sync": _NETWORK,
    "envs_patch_200": "the service answers 202, as its description says; 200 is a test's stand-in",
    "envs_patch_tf": "the same, of another client's test",
    "resources_202_empty": "the description leaves the body open, and official clients read it",
    "resources_202_null": "the same",
    "os_image_202_empty": "the same",
    "server_error": "a failure of the service; a fault on request plays it",
}
"""What differs, by the name of an exchange: wholly, or some of its fields."""


class Again:
    """The requests of the exchanges, of things that are there."""

    def __init__(self, cloud, api):
        self.world = World(cloud, api).new()
        self.api = api

    def send(self, exchange):
        """Return LocalCloud's answer to the request of an exchange."""
        asked = exchange["request"]
        special = getattr(self, exchange["name"], None)
        headers = {"X-Phala-Version": asked["version"] or LATEST}
        if special is not None:
            return special(headers)
        path = asked["path"].replace(UUID, self.world.cvm["vm_uuid"])
        for name, value in (("{app}", "app_id"), ("{uuid}", "vm_uuid"), ("{running}", "vm_uuid")):
            path = path.replace(name, self.world.cvm[value])
        more = {"json": asked["body"]} if isinstance(asked["body"], dict) else {}
        if exchange.get("call") in BODIES:
            more["json"] = BODIES[exchange["call"]](self.world)
        return self.api(asked["method"], path, headers=headers, **more)

    def kms_info(self, headers):
        return self.api.get("/kms/phala-prod", headers=headers)

    def ssh_key(self, headers):
        body = {"name": "my-laptop", "public_key": ssh_key()}
        return self.api.post("/user/ssh-keys", body, headers=headers)

    def stop(self, headers):
        path = f"/cvms/{self.world.cvm['vm_uuid']}"
        self.api.post(f"{path}/stop")
        self.world.settle()
        return self.api.post(f"{path}/stop", headers=headers)

    def start(self, headers):
        self.stop(headers)
        return self.api.post(f"/cvms/{self.world.cvm['vm_uuid']}/start", headers=headers)

    def state1(self, headers):
        self.stop(headers)
        return self.api.get(f"/cvms/{self.world.cvm['vm_uuid']}/state", headers=headers)

    def rename_duplicate(self, headers):
        self.api.create("web-two")
        path = f"/cvms/{self.world.cvm['vm_uuid']}/name"
        return self.api.patch(path, {"name": "web-two"}, headers=headers)

    def busy(self, headers):
        path = f"/cvms/{self.world.cvm['vm_uuid']}"
        self.api.post(f"{path}/restart")
        return self.api.patch(f"{path}/resources", {"vcpu": 2}, headers=headers)

    def region_prefix(self, headers):
        return self.api.provision(self.world.name, region="us-west", headers=headers)

    def gpu_capacity(self, headers):
        where = {"compose_file": COMPOSE_ONLY, "region": "us-west-1"}
        for _ in range(2):  # all sixteen GPUs of its only node that has some
            self.api.post("/cvms", self.world.plan(**where, instance_type="h200.8x.large"))
        body = {"name": self.world.name, **where, "instance_type": "h200.small"}
        return self.api.post("/cvms/provision", body, headers=headers)

    def app_id_mismatch(self, headers):
        body = {"name": self.world.name, "compose_file": COMPOSE_ONLY}
        body |= {"app_id": "1" * 40, "nonce": 0}
        return self.api.post("/cvms/provision", body, headers=headers)

    def several_cvms(self, headers):
        there = self.world.cvm
        self.api.post(f"/cvms/{there['vm_uuid']}/replicas")
        return self.api.get(f"/cvms/app_{there['app_id']}/attestation", headers=headers)

    def bearer_key(self, headers):
        key = self.api.session.headers.pop("X-API-Key")
        answer = self.api.get("/cvms", headers=headers | {"Authorization": "Bearer phak_x"})
        self.api.session.headers["X-API-Key"] = key
        return answer

    def services_empty(self, headers):
        path = f"/cvms/{self.world.cvm['vm_uuid']}/docker-compose"
        return self.api("PATCH", path, data="services: {}", headers=headers)

    def delete_async(self, headers):
        path = f"/cvms/{self.world.cvm['vm_uuid']}"
        self.api("DELETE", path)
        return self.api.get(path, headers=headers)


BODIES = {
    "commit": lambda w: w.plan(compose_file=COMPOSE_ONLY),
    "provision": lambda w: {"name": w.name, "compose_file": COMPOSE_ONLY},
    "batch": lambda w: {"vm_uuids": [w.cvm["vm_uuid"]]},
    "envs": lambda _: {"encrypted_env": "00"},
    "visibility": lambda _: {"public_sysinfo": True, "public_logs": True},
    "resources": lambda _: {"vcpu": 2},
    "os_image": lambda _: {"os_image_name": "dstack-0.5.8"},
}
UUID = "123e4567-e89b-42d3-a456-556642440000"


def misses(published, actual, place=""):
    """List the fields that the published answer has and ours has not, or has of another type."""
    if published is None or actual is None:
        return []
    if isinstance(published, dict) and isinstance(actual, dict):
        if published.keys() == {UUID}:
            return misses(published[UUID], next(iter(actual.values())), place)
        found = [f"{place}{name}" for name in published.keys() - actual.keys()]
        for name in published.keys() & actual.keys():
            found += misses(published[name], actual[name], f"{place}{name}.")
        return sorted(found)
    if isinstance(published, list) and isinstance(actual, list):
        return misses(published[0], actual[0], f"{place}0.") if published and actual else []
    numbers = (int, float)
    alike = type(published) is type(actual) or (
        isinstance(published, numbers) and isinstance(actual, numbers)
    )
    return [] if alike else [f"{place.rstrip('.')}: {type(actual).__name__}"]


@pytest.mark.skipif(not FOLDER, reason="CVM_NOTEBOOK_CORPUS names no folder of published answers")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_answer_is_as_the_service_gave_it(clocked_cloud, connect, path):
    exchange = json.loads(path.read_text(encoding="utf-8"))
    name, published = exchange["name"], exchange["response"]
    if isinstance(DIFFERENT.get(name), str):
        pytest.skip(f"differs: {DIFFERENT[name]}")
    api = connect(clocked_cloud)
    answer = Again(clocked_cloud, api).send(exchange)
    assert answer.status_code == published["status"], answer.text
    actual = answer.json()
    assert misses(published["body"], actual) == sorted(DIFFERENT.get(name, {}))
    for words in ("detail", "message", "error_code") if exchange["evidence"] == "live" else ():
        if words in published["body"]:
            assert actual[words] == published["body"][words]


def test_what_is_compared_are_fields_and_types():
    published = {"a": 1, "b": [{"c": "x"}], UUID: None, "d": {UUID: {"e": 1.5}}}
    assert (
        misses(published, {"a": 2.5, "b": [{"c": "y", "z": 1}], UUID: 1, "d": {"u": {"e": 1}}})
        == []
    )
    assert misses(published, {"a": "1", "b": [{}], UUID: 1, "d": {"u": {}}}) == [
        "a: str",
        "b.0.c",
        "d.e",
    ]
