"""What runs out: quotas, nodes, balance, requests; and that workspaces never meet."""

import pytest

MINUTE = 60


def code_of(answer):
    return answer.json()["error_code"]


@pytest.fixture
def workspace(clocked_cloud, connect):
    """A way to get clients of new workspaces."""

    def make(**limits):
        made = clocked_cloud.new_workspace(**limits)
        return connect(clocked_cloud, key=made["api_key"])

    return make


def test_a_tier_runs_out_of_cvms(workspace):
    api = workspace(tier="LEVEL_1")
    for _ in range(8):
        api.create()
    answer = api.provision("one-more")
    assert (answer.status_code, code_of(answer)) == (400, "ERR-02-015")
    assert answer.json()["details"]


def test_a_tier_runs_out_of_vcpus_at_commit_too(workspace):
    api = workspace(tier="LEVEL_1")
    plans = [api.provision(f"half-{n}", instance_type="tdx.xlarge").json() for n in range(3)]
    answers = [api.commit(plan) for plan in plans]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert code_of(answers[2]) == "ERR-02-015"


def test_what_is_deleted_no_longer_counts(clocked_cloud, workspace):
    api = workspace(tier="LEVEL_1")
    made = [api.create()["id"] for _ in range(8)]
    api("DELETE", f"/cvms/{made[0]}")
    assert code_of(api.provision("not-gone-yet")) == "ERR-02-015"
    clocked_cloud.advance(30)
    api.create()


def test_a_node_runs_out_and_says_of_what(fresh):
    fresh.create(teepod_id=7, instance_type="tdx.4xlarge")
    fresh.create(teepod_id=7, instance_type="tdx.2xlarge")
    answer = fresh.provision("too-much", teepod_id=7, instance_type="tdx.4xlarge")
    assert code_of(answer) == "ERR-02-003"
    memory = fresh.provision("too-big", teepod_id=7, vcpu=1, memory=120_000)
    assert code_of(memory) == "ERR-02-004"
    for number in range(14):
        fresh.create(f"small-{number}", teepod_id=7)
    assert code_of(fresh.provision("slotless", teepod_id=7)) == "ERR-02-005"


def test_gpus_run_out(fresh):
    east = {"region": "US-EAST-1"}
    fresh.create(instance_type="h200.8x.large", **east)
    fresh.create(instance_type="h200.8x.large", **east)
    refused = fresh.provision("another", instance_type="h200.small", **east)
    assert code_of(refused) == "ERR-02-002"


def test_a_cvm_costs_by_the_minute_until_nothing_can_be_started(clocked_cloud, workspace):
    api = workspace(balance="1")
    made = api.create(instance_type="tdx.large", disk_size=20)
    before = float(api.get("/auth/me").json()["credits"]["balance"])
    clocked_cloud.advance(3600)
    after = float(api.get("/auth/me").json()["credits"]["balance"])
    assert before - after == pytest.approx(0.232 + 0.00278, abs=0.005)
    clocked_cloud.advance(4 * 3600)
    refused = api.provision("too-late")
    assert (refused.status_code, code_of(refused)) == (403, "ERR-04-001")
    api.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(MINUTE)
    start = api.post(f"/cvms/{made['id']}/start")
    assert (start.status_code, code_of(start)) == (400, "ERR-04-001")


def test_a_stopped_cvm_costs_its_disk_alone_and_a_deleted_one_nothing(clocked_cloud, workspace):
    api = workspace(balance="100")

    def spent_in_a_day():
        before = float(api.get("/auth/me").json()["credits"]["balance"])
        clocked_cloud.advance(24 * 3600)
        return before - float(api.get("/auth/me").json()["credits"]["balance"])

    made = api.create(instance_type="tdx.small", disk_size=100)
    assert spent_in_a_day() == pytest.approx(24 * (0.058 + 0.0139), abs=0.01)
    api.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(MINUTE)
    assert spent_in_a_day() == pytest.approx(24 * 0.0139, abs=0.01)
    api("DELETE", f"/cvms/{made['id']}")
    clocked_cloud.advance(MINUTE)
    assert spent_in_a_day() == 0


def test_two_workspaces_never_see_each_other(workspace):
    api, stranger = workspace(), workspace()
    made = api.create("the-same-name")
    uuid = made["vm_uuid"]
    for text in (made["id"], uuid, made["app_id"], "the-same-name"):
        for method, path in (
            ("GET", ""),
            ("GET", "/state"),
            ("GET", "/state?target=running"),
            ("GET", "/compose_file"),
            ("GET", "/docker-compose.yml"),
            ("GET", "/stats"),
            ("GET", "/operations"),
            ("POST", "/start"),
            ("POST", "/stop"),
            ("POST", "/replicas"),
            ("DELETE", ""),
        ):
            answer = stranger(method, f"/cvms/{text}{path}")
            assert answer.status_code == 404, (method, path)
    changes = [
        ("envs", {"encrypted_env": "00"}),
        ("name", {"name": "stolen-name"}),
        ("visibility", {"public_logs": True, "public_sysinfo": True}),
        ("resources", {"vcpu": 2}),
        ("compose_file", {"compose_hash": "0" * 64}),
    ]
    for path, body in changes:
        assert stranger.patch(f"/cvms/{made['id']}/{path}", body).status_code == 404
    assert stranger.get("/cvms/paginated").json()["total"] == 0
    assert stranger.post("/status/batch", {"vm_uuids": [uuid]}).json() == {}
    assert stranger.get(f"/apps/{made['app_id']}").status_code == 404
    assert stranger.create("the-same-name")["id"] != made["id"]
    plan = api.provision("planned").json()
    assert code_of(stranger.commit(plan)) == "ERR-01-006"


def test_the_rate_limit_is_off_until_asked_for_and_says_when_to_come_back(new_cloud, connect):
    with new_cloud(seed="empty", rate_limit=5) as cloud:
        api = connect(cloud)
        answers = [api.get("/cvms") for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code == 429]
        # twelve requests fall into one minute or two, five pass in each
        assert 2 <= len(refused) <= 7
        assert 1 <= int(refused[0].headers["Retry-After"]) <= 61
