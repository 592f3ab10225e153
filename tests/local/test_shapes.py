"""Every version of the API has its own shapes; the header decides."""

import pytest

VERSIONS = ("2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23")

VM_KEYS = {
    *("id", "name", "status", "teepod_id", "teepod", "user_id", "app_id", "vm_uuid"),
    *("instance_id", "app_url", "base_image", "vcpu", "memory", "disk_size"),
    *("manifest_version", "version", "runner", "docker_compose_file", "features"),
    *("created_at", "encrypted_env_pubkey"),
}
NEWEST_KEYS = {
    *("updated_at", "app_url", "base_image", "features", "runner", "manifest_version"),
    *("hourly_rate", "billing_interval", "gpu_rental_order"),
}
INFO_KEYS = {
    *("id", "name", "app_id", "vm_uuid", "instance_id", "resource", "node_info", "os"),
    *("kms_type", "kms_info", "status", "in_progress", "progress", "compose_hash"),
    *("docker_compose_hash", "pre_launch_script_hash", "gateway", "logs", "services"),
    *("endpoints", "public_logs", "public_sysinfo", "public_tcbinfo", "gateway_enabled"),
    *("secure_time", "listed", "storage_fs", "workspace", "creator", "created_at"),
    *("deleted_at", "project_type"),
}


@pytest.fixture(params=VERSIONS)
def versioned(request, cloud, connect):
    return request.param, connect(cloud, version=request.param)


def test_the_record_of_an_action(versioned):
    version, api = versioned
    record = api.create(instance_type="tdx.small")
    assert record.keys() == VM_KEYS
    kinds = {
        "2025-10-28": lambda: isinstance(record["id"], int) and record["id"] > 0,
        "2026-01-21": lambda: (record["id"], record["user_id"]) == (0, None),
        "2026-05-22": lambda: record["id"].startswith("cvm_"),
        "2026-06-23": lambda: record["id"].startswith("cvm_"),
    }
    assert kinds[version]()
    assert (record["memory"], record["disk_size"]) == (2048, 20)


def test_the_detail(versioned):
    version, api = versioned
    record = api.create()
    detail = api.get(f"/cvms/{record['vm_uuid']}").json()
    if version == "2025-10-28":
        assert detail.keys() >= VM_KEYS | {"public_urls", "gateway_domain", "project_id"}
        assert detail["id"] == record["id"]
        assert "?" in detail["syslog_endpoint"]
        assert detail["teepod"].keys() == {"id", "name", "region_identifier"}
        return
    newest = NEWEST_KEYS if version == "2026-06-23" else set()
    assert detail.keys() == INFO_KEYS | newest | {"compose_file"}
    assert detail["id"].startswith("cvm_")
    assert detail["node_info"]["object_type"] == "node"
    assert detail["workspace"]["object_type"] == "workspace"
    assert detail["creator"]["object_type"] == "user"


@pytest.mark.parametrize("path", ["/cvms", "/cvms/paginated"])
def test_the_lists(versioned, path):
    version, api = versioned
    record = api.create()
    answer = api.get(path).json()
    items = answer if path == "/cvms" else answer["items"]
    found = [item for item in items if item["name"] == record["name"]]
    assert len(found) == 1
    if version == "2025-10-28":
        assert found[0]["hosted"]["id"] == record["vm_uuid"]
    else:
        newest = NEWEST_KEYS if version == "2026-06-23" else set()
        assert found[0].keys() == INFO_KEYS | newest


def test_the_batch_status(versioned):
    version, api = versioned
    uuid = api.create()["vm_uuid"]
    flat = {"operation_type", "operation_started_at", "correlation_id"}
    bare = uuid.replace("-", "").upper()
    answer = api.post("/status/batch", {"vm_uuids": [uuid, bare, "nonsense", "0" * 32]}).json()
    assert answer.keys() == {uuid, bare}
    assert answer[bare]["vm_uuid"] == uuid
    older = version < "2026-05-22"
    assert answer[uuid].keys() >= (flat if older else {"operation", "resource_usage"})
    assert api.post("/status/batch", {"vmUuids": [uuid]}).json().keys() == {uuid}


@pytest.mark.parametrize("asked", ["LATEST", "latest", None])
def test_latest_and_nothing_mean_the_newest(cloud, connect, asked):
    api = connect(cloud, version=asked)
    record = api.create()
    assert api.get(f"/cvms/{record['id']}").json().keys() >= NEWEST_KEYS


def test_an_unknown_version_is_refused(cloud, connect):
    answer = connect(cloud, version="2024-01-01").get("/cvms")
    assert answer.status_code == 400
    assert "2024-01-01" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["", "phak_wrong"])
def test_without_a_valid_key_there_is_only_a_plain_401(cloud, connect, key):
    api = connect(cloud)
    api.session.headers["X-API-Key"] = key
    answer = api.get("/cvms")
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])
    del api.session.headers["X-API-Key"]
    assert api.get("/cvms").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/cvms", 200),
        ("GET", "/cvms/nobody", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/cvms", 405),
        ("GET", "/cvms/paginated?page=0", 422),
    ],
)
def test_every_answer_has_a_request_id_of_its_own(api, method, path, status):
    answers = [api(method, path) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 2


def test_pages_are_cut_from_one_order_and_end_empty(own):
    made = [own.create()["id"] for _ in range(5)]
    pages = [
        own.get("/cvms/paginated", params={"page": page, "page_size": 2}).json()
        for page in (1, 2, 3, 4)
    ]
    assert [item["id"] for page in pages for item in page["items"]] == made[::-1]
    assert [len(page["items"]) for page in pages] == [2, 2, 1, 0]
    assert {(page["total"], page["pages"], page["page_size"]) for page in pages} == {(5, 3, 2)}


@pytest.mark.parametrize("query", [{"page_size": 101}, {"page_size": 0}, {"page": 0}])
def test_a_page_holds_one_to_a_hundred(api, query):
    assert api.get("/cvms/paginated", params=query).status_code == 422


def test_lists_can_be_narrowed(own):
    plain = own.create(teepod_id=5)["id"]
    large = own.create(teepod_id=6, instance_type="tdx.large")["id"]
    gpu = own.create(instance_type="h200.small")["id"]

    def ids(**query):
        items = own.get("/cvms/paginated", params=query).json()["items"]
        return {item["id"] for item in items}

    assert ids(family="gpu") == {gpu}
    assert ids(family="cpu") == {plain, large}
    assert ids(instance_types=["tdx.large", "h200.small"]) == {large, gpu}
    assert ids(teepod_id=5) == ids(node_id=5) == {plain}
    assert ids(user_id="usr_00000000") == set()


def test_money_is_text_and_adds_up(api):
    record = api.create(instance_type="tdx.medium", disk_size=40)
    rate = api.get(f"/cvms/{record['id']}").json()["hourly_rate"]
    assert rate == {"total": "0.121560", "compute": "0.116000", "disk": "0.005560"}
