"""What can be rented, at the documented prices, in the shapes that official clients insist on."""

import time
from decimal import Decimal

import pytest
import requests
from dstack_sdk import verify_env_encrypt_public_key

PRICES = {
    "tdx.small": "0.058",
    "tdx.medium": "0.116",
    "tdx.large": "0.232",
    "tdx.xlarge": "0.464",
    "tdx.2xlarge": "0.928",
    "tdx.4xlarge": "1.856",
    "tdx.8xlarge": "3.712",
    "h100.small": "2.80",
    "h200.small": "3.50",
    "h200.8x.large": "23.04",
}
ITEM = {
    *("id", "name", "description", "vcpu", "memory_mb", "hourly_rate"),
    *("requires_gpu", "default_disk_size_gb", "family"),
}


def test_instance_types_need_no_key_and_have_no_further_fields(cloud):
    groups = requests.get(f"{cloud.url}/instance-types", timeout=10).json()["result"]
    items = [item for group in groups for item in group["items"]]
    assert all(set(item) == ITEM for item in items)
    assert all(len(group["items"]) == group["total"] for group in groups)
    rates = {item["id"]: item["hourly_rate"] for item in items}
    assert {name: Decimal(rate) for name, rate in rates.items()} == {
        name: Decimal(price) for name, price in PRICES.items()
    }
    assert rates["tdx.small"] == "0.058000"


def test_one_family_can_be_asked_for(cloud):
    gpu = requests.get(f"{cloud.url}/instance-types/gpu", timeout=10).json()
    assert gpu["family"] == "gpu"
    assert all(item["requires_gpu"] for item in gpu["items"])
    assert requests.get(f"{cloud.url}/instance-types/quantum", timeout=10).status_code == 404


def test_images_come_newest_first_and_in_pages(api):
    first = api.get("/os-images?page_size=3").json()
    assert (first["total"], first["pages"]) == (20, 7)
    assert first["items"][0]["version"] == "0.6.0"
    assert api.get("/os-images?page=99").json()["items"] == []


@pytest.mark.parametrize("is_dev", [True, False])
def test_images_can_be_filtered_by_is_dev(api, is_dev):
    items = api.get("/os-images", params={"is_dev": is_dev, "page_size": 100}).json()["items"]
    assert len(items) == 10
    assert {item["is_dev"] for item in items} == {is_dev}


def test_a_node_has_less_left_when_a_cvm_is_on_it(own):
    def left():
        nodes = own.get("/teepods/available").json()["nodes"]
        return {node["name"]: node for node in nodes}["use2"]

    before = left()
    own.create(teepod_id=before["teepod_id"], instance_type="tdx.large")
    after = left()
    assert before["remaining_vcpu"] - after["remaining_vcpu"] == 4
    assert before["remaining_memory"] - after["remaining_memory"] == 8192
    assert before["remaining_cvm_slots"] - after["remaining_cvm_slots"] == 1


def test_available_nodes_have_what_clients_read(api):
    answer = api.get("/teepods/available").json()
    assert answer["tier"] == "ENTERPRISE"
    assert answer["kms_list"][0]["slug"] in answer["nodes"][0]["kms_list"]
    for node in answer["nodes"]:
        assert len(node["device_id"]) == 64
        assert all(len(image["version"]) == 3 for image in node["images"])


def test_the_form_resources_refer_to_what_is_there(api):
    graph = api.get("/teepods/cvm-create-resources").json()
    nodes = {node["teepod_id"] for node in graph["nodes"]}
    kms = {node["id"] for node in graph["kms_nodes"]}
    assert {relation["teepod_id"] for relation in graph["node_kms_relations"]} == nodes
    assert {relation["kms_id"] for relation in graph["node_kms_relations"]} <= kms
    assert {gateway["teepod_id"] for gateway in graph["gateway_nodes"]} == nodes
    assert {kind["id"] for kind in graph["instance_types"]} == set(PRICES)


@pytest.mark.parametrize(
    ("version", "prefix", "field"),
    [("2026-05-22", "kms_", "url"), ("2026-06-23", "kc_", "contract_address")],
)
def test_kms_is_centred_on_contracts_since_2026_06_23(cloud, connect, version, prefix, field):
    api = connect(cloud, version=version)
    (item,) = api.get("/kms").json()["items"]
    assert item["id"].startswith(prefix)
    assert field in item
    assert api.get(f"/kms/{item['slug']}").json() == item == api.get(f"/kms/{item['id']}").json()
    assert api.get(f"/kms/{item['id']}/nodes").json()["total"] == 1


def test_no_kms_is_on_a_chain(api):
    assert api.get("/kms?is_onchain=true").json()["items"] == []
    assert api.get("/kms/on-chain/base").json() == {
        "chain_name": "base",
        "chain_id": 8453,
        "contracts": [],
    }
    assert api.get("/kms/on-chain/dogecoin").status_code == 400
    assert api.get("/kms/kms_nothing1").status_code == 404


def test_predicted_app_ids_are_those_that_are_given_out(own):
    predicted = own.get("/kms/phala/next_app_id?counts=3").json()["app_ids"]
    assert own.get("/kms/phala/next_app_id").json()["app_ids"] == predicted[:1]
    made = [own.create()["app_id"] for _ in range(3)]
    assert made == [one["app_id"] for one in predicted]


def test_a_predicted_app_id_can_be_asked_for(own):
    second = own.get("/kms/phala/next_app_id?counts=2").json()["app_ids"][1]
    assert own.create(**second)["app_id"] == second["app_id"]


@pytest.mark.parametrize("counts", [0, 21, "many"])
def test_1_to_20_app_ids_can_be_predicted(api, counts):
    assert api.get(f"/kms/phala/next_app_id?counts={counts}").status_code == 422


@pytest.mark.parametrize("spelling", ["{}", "0x{}", "app_{}"])
def test_the_official_sdk_verifies_the_key_of_an_app(api, spelling):
    app_id = "5d" * 20
    answer = api.get(f"/kms/phala/pubkey/{spelling.format(app_id)}").json()
    signer = verify_env_encrypt_public_key(
        bytes.fromhex(answer["public_key"]),
        bytes.fromhex(answer["signature_v1"]),
        app_id,
        answer["timestamp"],
    )
    (kms,) = api.get("/kms").json()["items"]
    assert signer == "0x" + kms["k256_pubkey"]
    assert abs(answer["timestamp"] - time.time()) < 30


def test_the_key_of_an_app_is_the_one_its_provision_gives(api):
    provisioned = api.provision("env-key-check").json()
    answer = api.get(f"/kms/phala/pubkey/{provisioned['app_id']}").json()
    assert answer["public_key"] == provisioned["app_env_encrypt_pubkey"]


@pytest.mark.parametrize("version", ["2025-10-28", "2026-01-21"])
def test_the_key_of_an_app_had_no_further_fields_in_older_versions(cloud, connect, version):
    answer = connect(cloud, version=version).get(f"/kms/phala/pubkey/{'5d' * 20}").json()
    assert set(answer) == {"public_key", "signature"}


def test_an_app_id_that_is_none_has_no_key(api):
    assert api.get("/kms/phala/pubkey/hello").status_code == 400
    assert api.get(f"/kms/other/pubkey/{'5d' * 20}").status_code == 404
