"""What a workspace and its GPUs are bound to: suspension, the least time, orders of rental."""

import pytest

DAY = 86_400


@pytest.fixture
def space(clocked_cloud, connect):
    """A client of a workspace of the test's own, and its slug."""
    made = clocked_cloud.new_workspace(balance="100000")
    return connect(clocked_cloud, key=made["api_key"]), made["slug"]


def usage(api, made):
    asked = {"limit": 5000, "start_date": "2020-01-01T00:00:00"}
    return api.get(f"/apps/{made['app_id']}/usage", params=asked).json()["total_cost"]


def test_a_suspended_workspace_looks_stops_and_deletes_and_nothing_else(clocked_cloud, space):
    api, slug = space
    made = api.create()
    clocked_cloud.advance(3600)
    planned = api.provision("planned-one").json()
    revision = api.get(f"/apps/{made['app_id']}/revisions").json()["revisions"][0]["revision_id"]
    clocked_cloud.suspend(slug)
    assert api.get(f"/workspaces/{slug}").json()["billing_status"] == "suspended"
    refused = [
        api.provision("another-one"),
        api.commit(planned),
        api.patch(f"/cvms/{made['id']}", {"vcpu": 2}),
        api.post(f"/cvms/{made['id']}/replicas"),
        api.post(f"/cvms/{made['id']}/restart"),
        api.post(f"/cvms/{made['id']}/revisions/{revision}/redeploy"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["error_code"]) == (403, "ERR-04-001")
        assert "suspended" in answer.json()["message"]
    assert api.status(made["id"]) == "running"
    assert api.post(f"/cvms/{made['id']}/stop").status_code == 200
    clocked_cloud.advance(3600)
    assert api.post(f"/cvms/{made['id']}/start").status_code == 403
    clocked_cloud.suspend(slug, suspended=False)
    assert api.get("/workspaces").json()["data"][0]["billing_status"] == "active"
    assert api.commit(planned).status_code == 200
    assert api("DELETE", f"/cvms/{made['id']}").status_code == 204


def test_a_workspace_can_begin_suspended(clocked_cloud, connect):
    made = clocked_cloud.new_workspace(suspended=True)
    assert connect(clocked_cloud, key=made["api_key"]).provision("some-cvm").status_code == 403


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_gpus_are_charged_for_a_day_at_least(clocked_cloud, space, verb):
    api, _ = space
    before = api.balance()
    made = api.create(instance_type="h200.small")
    clocked_cloud.advance(3600)
    if verb == "stop":
        assert api.post(f"/cvms/{made['id']}/stop").status_code == 200
    else:
        assert api("DELETE", f"/cvms/{made['id']}").status_code == 204
    clocked_cloud.advance(2 * DAY)
    api.get("/cvms")
    left, used = api.balance_and(lambda: usage(api, made))
    assert before - left == pytest.approx(24 * 3.5, abs=1)  # the disk is the rest
    assert used == pytest.approx(before - left, abs=1e-4)


def test_gpus_are_charged_as_they_run_after_their_day(clocked_cloud, space):
    api, _ = space
    before = api.balance()
    made = api.create(instance_type="h200.small")
    clocked_cloud.advance(2 * DAY)
    api.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(DAY)
    assert before - api.balance() == pytest.approx(48 * 3.5, abs=2)
    assert api.get(f"/cvms/{made['id']}").json()["gpu_rental_order"] is None


def test_other_cvms_cost_what_they_run(clocked_cloud, space):
    api, _ = space
    before = api.balance()
    made = api.create(instance_type="tdx.8xlarge")
    clocked_cloud.advance(3600)
    api.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(DAY)
    assert before - api.balance() == pytest.approx(3.7, abs=0.2)


def test_what_an_order_manages_is_neither_stopped_nor_changed(clocked_cloud, space):
    api, slug = space
    made = api.create(instance_type="h200.small")
    clocked_cloud.advance(3600)
    clocked_cloud.rent(made["id"], 7, slug)
    order = api.get(f"/cvms/{made['id']}").json()["gpu_rental_order"]
    assert (order["status"], order["commitment_days"]) == ("active", 7)
    assert order["agreed_hourly_rate"] == "3.500000"
    path = f"/cvms/{made['id']}"
    for answer in (
        api.post(f"{path}/stop"),
        api.post(f"{path}/shutdown"),
        api.patch(path, {"disk_size": 200}),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "CVM managed by on-demand GPU rental",
        )
    assert api.post("/cvms/batch-stop", {"cvm_ids": [made["id"]]}).json()["skipped"] == 1
    assert api.status(made["id"]) == "running"
    before = api.balance()
    assert api("DELETE", path).status_code == 204
    clocked_cloud.advance(3600)
    assert before - api.balance() == pytest.approx(7 * 24 * 3.5, abs=2)


def test_only_gpus_are_rented(clocked_cloud, space):
    api, slug = space
    made = api.create()
    with pytest.raises(ValueError, match="has no GPUs"):
        clocked_cloud.rent(made["id"], 7, slug)


def test_what_was_spent_ahead_counts_against_the_balance_at_once(clocked_cloud, connect):
    api = connect(clocked_cloud, key=clocked_cloud.new_workspace(balance="50")["api_key"])
    made = api.create(instance_type="h200.small")
    clocked_cloud.advance(60)
    assert api.provision("before-it").status_code == 200
    assert api("DELETE", f"/cvms/{made['id']}").status_code == 204
    clocked_cloud.advance(120)
    refused = api.provision("after-it")
    assert (refused.status_code, refused.json()["error_code"]) == (403, "ERR-04-001")
