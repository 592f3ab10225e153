"""Apps are CVMs that share an app id: they are filtered, paged, and keep their revisions."""

import hashlib
import json

import pytest


@pytest.fixture(scope="module")
def demo_cloud(new_cloud):
    with new_cloud(seed="demo") as running:
        yield running


@pytest.fixture
def demo(demo_cloud, connect):
    return connect(demo_cloud)


def apps_of(api, **query):
    return api.get("/apps", params={"page_size": 100, **query}).json()["dstack_apps"]


def names_of(apps):
    return {cvm["name"] for app in apps for cvm in app["cvms"]}


def test_pages_of_apps_hold_each_app_once(demo):
    pages = [demo.get(f"/apps?page_size=4&page={page}").json() for page in (1, 2, 3, 4, 5)]
    found = [app["app_id"] for page in pages for app in page["dstack_apps"]]
    assert len(found) == len(set(found)) == pages[0]["total"]
    assert pages[0]["total_pages"] == -(-pages[0]["total"] // 4)


def test_an_app_has_all_its_cvms_and_shows_the_newest(demo):
    apps = apps_of(demo, search="wallet-signer")
    assert [app["cvm_count"] for app in apps] == [3]
    assert apps[0]["current_cvm"] == apps[0]["cvms"][0]
    assert apps[0]["id"].startswith("prj_")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "stopped"}, lambda cvm: cvm["status"] == "stopped"),
        ({"status": ["error", "exited"]}, lambda cvm: cvm["status"] in ("error", "exited")),
        (
            {"instance_type": "h200.small"},
            lambda cvm: cvm["resource"]["instance_type"] == "h200.small",
        ),
        ({"node": "gpu1"}, lambda cvm: cvm["node_info"]["name"] == "gpu1"),
        ({"region": "US-EAST-1"}, lambda cvm: cvm["node_info"]["region"] == "US-EAST-1"),
        ({"base_image": "dstack-0.5.8"}, lambda cvm: cvm["os"]["name"] == "dstack-0.5.8"),
        ({"listed": "false"}, lambda cvm: not cvm["listed"]),
        ({"kms_type": "PHALA"}, lambda cvm: cvm["kms_type"] == "phala"),
        ({"search": "JUPYTER"}, lambda cvm: "jupyter" in cvm["name"]),
    ],
)
def test_a_filter_keeps_the_apps_that_have_such_a_cvm(demo, query, field):
    kept = {app["app_id"] for app in apps_of(demo, **query)}
    wanted = {app["app_id"] for app in apps_of(demo) if any(field(cvm) for cvm in app["cvms"])}
    assert kept == wanted
    assert kept


@pytest.mark.parametrize(
    "query", [{"search": "no-such-app"}, {"kms_slug": "other"}, {"status": "levitating"}]
)
def test_a_filter_that_fits_nothing_gives_an_empty_page(demo, query):
    answer = demo.get("/apps", params=query).json()
    assert (answer["dstack_apps"], answer["total"], answer["total_pages"]) == ([], 0, 0)


def test_filter_options_are_what_the_fleet_has(demo):
    options = demo.get("/apps/filter-options").json()
    cvms = [cvm for app in apps_of(demo) for cvm in app["cvms"]]
    assert set(options["nodes"]) == {cvm["node_info"]["name"] for cvm in cvms}
    assert set(options["instance_types"]) == {cvm["resource"]["instance_type"] for cvm in cvms}
    assert {"running", "stopped", "error", "exited"} <= set(options["statuses"])


@pytest.mark.parametrize("spelling", ["{}", "0x{}", "app_{}"])
def test_an_app_is_found_by_every_spelling_of_its_id(demo, spelling):
    app = apps_of(demo, search="vault-sync")[0]
    assert demo.get(f"/apps/{spelling.format(app['app_id'])}").json()["id"] == app["id"]
    cvms = demo.get(f"/apps/{spelling.format(app['app_id'])}/cvms").json()
    assert [cvm["name"] for cvm in cvms] == ["vault-sync-2", "vault-sync-1"]


@pytest.mark.parametrize("path", ["", "/cvms", "/revisions", "/attestations", "/device-allowlist"])
@pytest.mark.parametrize("app_id", ["ab" * 20, "hello", "app_"])
def test_an_app_that_is_not_there_is_not_found(demo, app_id, path):
    assert demo.get(f"/apps/{app_id}{path}").status_code == 404


def test_apps_of_another_workspace_are_not_seen(demo_cloud, demo, connect):
    app = apps_of(demo)[0]
    other = connect(demo_cloud, key=demo_cloud.new_workspace()["api_key"])
    assert apps_of(other) == []
    assert other.get(f"/apps/{app['app_id']}").status_code == 404
    assert other.get(f"/apps/{app['app_id']}/revisions").status_code == 404


def test_legacy_apps_have_flat_cvms(demo_cloud, connect):
    legacy = connect(demo_cloud, version="2025-10-28")
    cvm = apps_of(legacy, search="rag-demo")[0]["cvms"][0]
    assert (cvm["teepod_name"], cvm["region_identifier"]) == ("use2", "US-EAST-1")
    app_id = apps_of(legacy, search="rag-demo")[0]["app_id"]
    assert "hosted" in legacy.get(f"/apps/{app_id}/cvms").json()[0]


def test_each_compose_file_an_app_has_had_is_a_revision(demo):
    cvm = demo.get("/cvms/shop-api-prod-west").json()
    path = f"/apps/{cvm['app_id']}/revisions"
    listed = demo.get(path).json()
    own = [one for one in listed["revisions"] if one["vm_uuid"] == cvm["vm_uuid"]]
    assert [one["operation_type"] for one in own] == [
        "compose_update",
        "env_update",
        "compose_update",
        "create",
    ]
    assert own[0]["compose_hash"] == cvm["compose_hash"]
    assert len({one["compose_hash"] for one in own}) == 3
    moments = [one["created_at"] for one in listed["revisions"]]
    assert moments == sorted(moments, reverse=True)
    detail = demo.get(f"{path}/{own[0]['revision_id']}").json()
    assert detail["compose_file"] == cvm["compose_file"]
    raw = demo.get(f"{path}/{own[0]['revision_id']}?raw_compose_file=true").json()["compose_file"]
    assert json.loads(raw) == detail["compose_file"]


def test_revisions_come_in_pages(demo):
    app_id = demo.get("/cvms/shop-api-prod-west").json()["app_id"]
    path = f"/apps/{app_id}/revisions"
    whole = demo.get(path).json()
    pages = [demo.get(f"{path}?page_size=2&page={page}").json() for page in (1, 2, 3, 4, 5, 6, 7)]
    assert [one for page in pages for one in page["revisions"]] == whole["revisions"]
    assert demo.get(f"{path}/rev_00000000").status_code == 404


def test_app_attestations_cover_running_cvms_and_name_the_others(demo):
    app_id = demo.get("/cvms/mpc-node-backup").json()["app_id"]
    answer = demo.get(f"/apps/{app_id}/attestations").json()
    by_name = {one["name"]: one for one in answer["instances"]}
    assert by_name["mpc-node-backup"]["tcb_info"] is None
    west = by_name["mpc-node-west"]
    assert west["eventlog"] == west["tcb_info"]["event_log"]
    assert "LocalCloud" in answer["notice"]


@pytest.mark.parametrize(
    ("version", "kind"), [("2026-01-21", int), ("2026-05-22", str), ("2026-06-23", str)]
)
def test_allowlists_have_numbers_before_2026_05_22(demo_cloud, connect, version, kind):
    api = connect(demo_cloud, version=version)
    app_id = api.get("/cvms/vault-sync-1").json()["app_id"]
    devices = api.get(f"/apps/{app_id}/device-allowlist").json()["devices"]
    assert {device["node_name"] for device in devices} == {"prod7", "use2"}
    assert isinstance(devices[0]["cvm_ids"][0], kind)
    skipped = api.post(f"/apps/{app_id}/cvms/is-allowed").json()["skipped_cvm_ids"]
    assert isinstance(skipped[0], kind)
    assert isinstance(api.post("/cvms/vault-sync-1/is-allowed", {}).json()["cvm_id"], kind)


def test_a_compose_file_is_allowed_if_the_app_has_had_it(demo):
    cvm = demo.get("/cvms/shop-api-prod-west").json()
    path = f"/apps/{cvm['app_id']}/is-allowed"
    known = demo.post(path, {"compose_hash": f"0x{cvm['compose_hash']}"}).json()
    unknown = demo.post(path, {"compose_hash": "ab" * 32}).json()
    assert (known["is_allowed"], unknown["is_allowed"]) == (True, False)
    assert demo.post("/cvms/shop-api-prod-west/is-allowed").json()["is_allowed"]


def test_another_instance_of_an_app_shares_its_app_id(api):
    first = api.create()
    path = f"/apps/{first['app_id']}/instances"
    second = api.post(path, {"node_id": 21}).json()
    assert second["app_id"] == first["app_id"]
    assert second["teepod_id"] == 21
    assert api.get(f"/apps/{first['app_id']}").json()["cvm_count"] == 2
    text = "services: {a: {image: nginx}}"
    other = api.post(path, {"docker_compose_file": text, "node_id": 6, "encrypted_env": "00"})
    assert (other.status_code, other.json()["teepod_id"]) == (200, 6)
    detail = api.get(f"/cvms/{other.json()['id']}").json()
    assert detail["app_id"] == first["app_id"]
    assert detail["compose_file"]["docker_compose_file"] == text
    assert detail["compose_hash"] != api.get(f"/cvms/{first['id']}").json()["compose_hash"]
    script = api.post(path, {"pre_launch_script": "echo hello"}).json()
    kept = api.get(f"/cvms/{script['id']}/pre-launch-script").text
    assert kept == "echo hello"
    broken = api.post(path, {"docker_compose_file": "no: services"})
    assert (broken.status_code, broken.json()["error_code"]) == (400, "ERR-01-003")


def test_credentials_of_a_registry_are_not_in_the_hash(own):
    compose = {"docker_compose_file": "services: {a: {image: nginx}}"}
    secret = compose | {"docker_config": {"username": "me", "password": "secret"}}
    hashes = [
        own.post("/cvms/provision", {"name": f"hash-{number}", "compose_file": one}).json()
        for number, one in enumerate((compose, secret))
    ]
    assert hashes[0]["compose_hash"] == hashes[1]["compose_hash"]
    made = own.commit(hashes[1]).json()
    raw = own.get(f"/cvms/{made['id']}/compose_file", params={"raw": "true"}).content
    assert hashlib.sha256(raw).hexdigest() == hashes[1]["compose_hash"]
    assert b"secret" not in raw
