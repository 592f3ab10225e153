"""Who you are in both shapes, workspaces that do not see each other, SSH keys, device log-in."""

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def public_key():
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize("version", ["2026-01-21", "2026-05-22", "2026-06-23"])
def test_me_has_user_workspace_and_credits_since_2026(cloud, connect, version):
    me = connect(cloud, version=version).get("/auth/me").json()
    assert set(me) == {"user", "workspace", "credits"}
    assert me["user"]["role"] == "user"
    assert me["workspace"]["id"].startswith("wks_")
    assert me["credits"]["granted_balance"] == "10000.000000"


def test_me_was_flat_in_2025(cloud, connect):
    me = connect(cloud, version="2025-10-28").get("/auth/me").json()
    assert (me["username"], me["team_tier"]) == ("you", "ENTERPRISE")
    assert isinstance(me["credits"], float)


@pytest.mark.parametrize("key", ["", "phak_wrong", "Bearer phak_x"])
def test_without_a_valid_key_nothing_is_revealed(cloud, key):
    headers = {"X-API-Key": key} if key else {}
    answer = requests.get(f"{cloud.url}/auth/me", headers=headers, timeout=10)
    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)


def test_balance_burns_by_the_minute(clocked_cloud, connect):
    api = connect(clocked_cloud, key=clocked_cloud.new_workspace()["api_key"])
    api.create()
    clocked_cloud.advance(100)  # it runs
    before = api.balance()
    clocked_cloud.advance(3_600)
    spent = before - api.balance()
    # An hour of tdx.small and of its 20 GB, give or take the minute that is not full yet.
    assert spent == pytest.approx(0.058 + 20 * 0.000139, abs=0.0011)


def test_a_workspace_is_found_by_slug_and_by_id(api):
    listed = api.get("/workspaces").json()
    (workspace,) = listed["data"]
    assert listed["pagination"] == {"has_more": False, "next_cursor": None, "total": 1}
    for name in (workspace["slug"], workspace["id"]):
        assert api.get(f"/workspaces/{name}").json() == workspace


def test_another_workspace_is_not_seen(cloud, api, connect):
    made = cloud.new_workspace("Other")
    other = connect(cloud, key=made["api_key"])
    assert other.get("/workspaces").json()["data"][0]["slug"] == made["slug"]
    for path in ("", "/nodes", "/quotas"):
        assert api.get(f"/workspaces/{made['slug']}{path}").status_code == 404


def test_workspace_nodes_come_in_pages(api):
    slug = api.get("/workspaces").json()["data"][0]["slug"]
    first = api.get(f"/workspaces/{slug}/nodes?page_size=4").json()
    second = api.get(f"/workspaces/{slug}/nodes?page_size=4&page=2").json()
    assert (first["total"], first["pages"], len(first["items"])) == (8, 2, 4)
    assert len({node["id"] for node in first["items"] + second["items"]}) == 8
    assert api.get(f"/workspaces/{slug}/nodes?page_size=101").status_code == 422


def test_quotas_say_what_is_left(cloud, connect):
    made = cloud.new_workspace("Small", tier="LEVEL_1")
    api = connect(cloud, key=made["api_key"])
    path = f"/workspaces/{made['slug']}/quotas"
    assert api.get(path).json()["quotas"]["vm_slots"] == {"limit": 8, "remaining": 8}
    api.create(instance_type="tdx.medium")
    quotas = api.get(path).json()["quotas"]
    assert quotas["vm_slots"] == {"limit": 8, "remaining": 7}
    assert quotas["vcpu"] == {"limit": 16, "remaining": 14}
    assert quotas["memory_mb"] == {"limit": 32 * 1024, "remaining": 28 * 1024}


def test_ssh_keys_are_added_listed_and_deleted(own):
    text = f"{public_key()} ana@laptop"
    added = own.post("/user/ssh-keys", {"name": "laptop", "public_key": text})
    assert added.status_code == 201
    assert added.json()["key_type"] == "ssh-ed25519"
    assert added.json()["fingerprint"].startswith("SHA256:")
    assert own.get("/user/ssh-keys").json() == [added.json()]
    path = f"/user/ssh-keys/{added.json()['id']}"
    assert [own("DELETE", path).status_code for _ in range(2)] == [204, 404]
    assert own.get("/user/ssh-keys").json() == []


def test_the_same_ssh_key_is_not_added_twice(api):
    body = {"name": "twice", "public_key": public_key()}
    assert [api.post("/user/ssh-keys", body).status_code for _ in range(2)] == [201, 409]


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 ????", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", "a b c"]
)
def test_what_is_no_ssh_key_is_refused(api, text):
    assert api.post("/user/ssh-keys", {"name": "bad", "public_key": text}).status_code == 400


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_an_ssh_key_has_a_name_of_1_to_100(api, name):
    body = {"name": name, "public_key": public_key()}
    assert api.post("/user/ssh-keys", body).status_code == 422


def test_a_workspace_can_be_named_in_a_header(cloud, connect):
    api, stranger = (connect(cloud, key=cloud.new_workspace()["api_key"]) for _ in range(2))
    made = api.create()
    own = api.get("/auth/me").json()["workspace"]
    other = stranger.get("/auth/me").json()["workspace"]
    for name in (own["id"], own["slug"]):
        seen = api.get("/cvms", headers={"X-Phala-Workspace": name})
        assert [item["id"] for item in seen.json()] == [made["id"]]
    for name in (other["id"], other["slug"], "wks_nobody00"):
        for method, path in (("GET", "/cvms"), ("DELETE", f"/cvms/{made['id']}")):
            refused = api(method, path, headers={"X-Phala-Workspace": name})
            assert refused.status_code == 403
    assert api.get(f"/cvms/{made['id']}").status_code == 200


def test_a_device_logs_in_after_one_pending_answer(cloud, connect):
    anyone = connect(cloud, key="none")
    begun = anyone.post("/auth/device/code", {"client_id": "phala-cli", "scope": "x"}).json()
    asked = {"device_code": begun["device_code"], "client_id": "phala-cli"}
    pending = anyone.post("/auth/device/token", asked)
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    assert pending.json()["detail"]["error"] == "authorization_pending"
    key = anyone.post("/auth/device/token", asked).json()["access_token"]
    assert connect(cloud, key=key).get("/auth/me").status_code == 200


@pytest.mark.parametrize("code", ["", "x", "99999999999.abc.def", "1.2"])
def test_a_device_code_that_was_not_given_out_opens_nothing(cloud, connect, code):
    answer = connect(cloud, key="none").post("/auth/device/token", {"device_code": code})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("what", ["github-profile", "github-sync"])
def test_nothing_is_fetched_from_the_network(api, what):
    answer = api.post(f"/user/ssh-keys/{what}", {"github_username": "octocat"})
    assert (answer.status_code, "GitHub" in answer.json()["detail"]) == (400, True)
