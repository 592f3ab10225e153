"""What only the owner of the server may do: it needs the token, and is in no description."""

from email.utils import parsedate_to_datetime

import pytest
import requests

OWN = ["/faults", "/requests", "/streams"]


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_control_needs_the_token(cloud, path, token):
    url = cloud.url.replace("/api/v1", "/_local")
    headers = {} if token is None else {"X-Local-Token": token}
    answer = requests.get(
        f"{url}{path}", headers=headers | {"X-API-Key": cloud.api_key}, timeout=10
    )
    assert answer.status_code == 401


def test_health_needs_no_token(cloud):
    url = cloud.url.replace("/api/v1", "/_local/health")
    assert requests.get(url, timeout=10).json()["service"] == "LocalCloud"


def test_control_is_in_no_description_of_the_api(cloud):
    url = cloud.url.replace("/api/v1", "/openapi.json")
    assert "_local" not in requests.get(url, timeout=10).text


def test_requests_are_remembered_in_order(fresh_cloud, fresh):
    fresh_cloud.clear_requests()
    fresh.get("/workspaces?page=2")
    fresh.get("/nowhere")
    requests.get(f"{fresh_cloud.url}/instance-types", timeout=10)
    seen = fresh_cloud.requests()
    assert [(one["method"], one["path"], one["status"], one["keyed"]) for one in seen] == [
        ("GET", "/api/v1/workspaces", 200, True),
        ("GET", "/api/v1/nowhere", 404, True),
        ("GET", "/api/v1/instance-types", 200, False),
    ]
    assert seen[0]["query"] == "page=2"
    assert seen[0]["user_agent"].startswith("python-requests")
    assert seen[0]["request_id"].startswith("req_")
    assert seen[0]["seconds"] > 0
    fresh_cloud.clear_requests()
    assert fresh_cloud.requests() == []


def test_advancing_moves_the_clock_of_the_server(clocked_cloud, clocked):
    made = clocked.create()
    assert clocked.status(made["id"]) == "provisioning"
    clocked_cloud.advance(21)
    assert clocked.status(made["id"]) == "starting"
    clocked_cloud.advance(45)
    assert clocked.status(made["id"]) == "running"


def test_answers_are_dated_by_the_clock_of_the_server(clocked_cloud):
    def date():
        key = {"X-API-Key": clocked_cloud.api_key}
        answer = requests.get(f"{clocked_cloud.url}/auth/me", headers=key, timeout=10)
        return parsedate_to_datetime(answer.headers["date"])

    before = date()
    clocked_cloud.advance(3_600)
    assert 3_600 <= (date() - before).total_seconds() < 3_660


def test_a_cvm_can_be_made_to_fail(clocked_cloud, clocked):
    made = clocked.create()
    clocked_cloud.advance(3_600)
    clocked_cloud.fail(made["id"], "out of memory")
    state = clocked.get(f"/cvms/{made['id']}/state").json()
    assert (state["status"], state["boot_error"]) == ("error", "out of memory")
    (operation,) = clocked.get(f"/cvms/{made['id']}/operations").json()["items"]
    assert (operation["status"], operation["error_message"]) == ("failed", "out of memory")


def test_a_failed_cvm_costs_its_disk_only(fresh_cloud, fresh):
    made = fresh.create()
    fresh.watch(made["id"], "running")
    fresh_cloud.fail(made["id"])
    fresh_cloud.advance(120)
    before = fresh.balance()
    fresh_cloud.advance(36_000)
    spent = before - fresh.balance()
    assert spent == pytest.approx(10 * 20 * 0.000139, rel=0.02)


def test_another_workspace_begins_empty_with_its_own_money(cloud, api, connect):
    api.create()
    other = connect(cloud, key=cloud.new_workspace("Poor", balance="0.5")["api_key"])
    assert other.get("/cvms/paginated").json()["total"] == 0
    assert other.get("/auth/me").json()["credits"]["balance"] == "0.500000"


def change(cloud, slug, **what):
    token = cloud._settings.control_token
    url = cloud.url.replace("/api/v1", f"/_local/workspaces/{slug}")
    return requests.patch(url, json=what, headers={"X-Local-Token": token}, timeout=10)


def test_balance_and_tier_of_a_workspace_can_be_set(cloud, connect):
    made = cloud.new_workspace()
    api = connect(cloud, key=made["api_key"])
    assert change(cloud, made["slug"], balance="3.25", tier="LEVEL_2").status_code == 204
    me = api.get("/auth/me").json()
    assert (me["credits"]["balance"], me["workspace"]["tier"]) == ("3.250000", "LEVEL_2")
    change(cloud, made["slug"], balance="0")
    refused = api.provision("no-money-left")
    assert refused.json()["error_code"] == "ERR-04-001"


def test_what_makes_no_sense_is_refused(cloud):
    assert change(cloud, "my-workspace", tier="GOLD").status_code == 422
    assert change(cloud, "nobody", tier="PRO").status_code == 404
    assert change(cloud, "my-workspace", tires=4).status_code == 422


def test_an_unknown_fault_is_refused_with_the_reason(cloud):
    token = cloud._settings.control_token
    url = cloud.url.replace("/api/v1", "/_local/faults")
    answer = requests.post(
        url, json={"kind": "explode"}, headers={"X-Local-Token": token}, timeout=10
    )
    assert answer.status_code == 422
    assert "kind" in answer.json()["detail"]


def test_repr_and_description_hide_key_and_token(cloud):
    shown = repr(cloud) + repr(cloud._settings)
    assert cloud.api_key not in shown
    assert cloud._settings.control_token not in shown
