"""Two steps make a CVM: provision keeps a plan, commit makes it, once."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['8080:80', 9000]\n"


def new_name(prefix="cvm"):
    import uuid

    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def code_of(answer):
    return answer.json()["error_code"]


def test_provision_answers_what_commit_and_encryption_need(api):
    answer = api.provision(new_name(), vcpu=2, memory=2048, disk_size=20, teepod_id=3).json()
    assert re.fullmatch("[0-9a-f]{40}", answer["app_id"])
    assert re.fullmatch("[0-9a-f]{64}", answer["compose_hash"])
    assert re.fullmatch("[0-9a-f]{64}", answer["app_env_encrypt_pubkey"])
    assert answer["node_id"] == answer["teepod_id"] == 3


def test_provision_makes_nothing_that_is_listed(own):
    own.provision(new_name())
    assert own.get("/cvms/paginated").json()["total"] == 0


def test_the_compose_hash_is_that_of_the_app_compose_that_is_served_back(api):
    made = api.create(compose=COMPOSE)
    app_compose = api.get(f"/cvms/{made['id']}/compose_file").json()
    text = json.dumps(app_compose, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    detail = api.get(f"/cvms/{made['id']}").json()
    assert hashlib.sha256(text.encode()).hexdigest() == detail["compose_hash"]
    raw = api.get(f"/cvms/{made['id']}/compose_file", params={"raw": "true"}).content
    assert hashlib.sha256(raw).hexdigest() == detail["compose_hash"]
    assert app_compose["docker_compose_file"] == COMPOSE


def test_commit_is_idempotent(api):
    provisioned = api.provision(new_name()).json()
    first, second = api.commit(provisioned), api.commit(provisioned)
    assert first.status_code == second.status_code == 200
    assert first.json()["id"] == second.json()["id"]


def test_commit_takes_hashes_and_ids_with_their_prefixes(api):
    provisioned = api.provision(new_name()).json()
    first = api.commit(provisioned).json()
    spelled = {
        "app_id": "0x" + provisioned["app_id"].upper(),
        "compose_hash": "sha256:" + provisioned["compose_hash"],
        "transaction_hash": "0xdef",
    }
    assert api.post("/cvms", spelled).json()["id"] == first["id"]


def test_many_commits_at_once_make_one_cvm(own):
    provisioned = own.provision(new_name()).json()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: own.commit(provisioned), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert own.get("/cvms/paginated").json()["total"] == 1


def test_many_provisions_of_one_name_committed_at_once_make_one_cvm(own):
    name = new_name()
    plans = [own.provision(name).json() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(own.commit, plans))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 409, 409, 409, 409, 409]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {code_of(answer) for answer in refused} == {"ERR-01-004"}


def test_another_hash_for_an_app_that_has_a_cvm_is_a_conflict_even_if_unknown(api):
    provisioned = api.provision(new_name()).json()
    api.commit(provisioned)
    answer = api.commit(provisioned | {"compose_hash": "ab" * 32})
    assert (answer.status_code, code_of(answer)) == (409, "ERR-03-007")


@pytest.mark.parametrize("app_id", ["0" * 40, "app-123"])
def test_a_pair_that_was_never_provisioned_is_refused(api, app_id):
    answer = api.commit({"app_id": app_id, "compose_hash": "0" * 64})
    assert (answer.status_code, code_of(answer)) == (466, "ERR-01-006")
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert answer.json()["suggestions"]


def test_a_provision_lives_fourteen_days(clocked_cloud, clocked):
    kept, lost = clocked.provision(new_name()).json(), clocked.provision(new_name()).json()
    clocked_cloud.advance(14 * 86_400 - 60)
    assert clocked.commit(kept).status_code == 200
    clocked_cloud.advance(61)
    assert code_of(clocked.commit(lost)) == "ERR-01-006"


def test_a_provision_is_used_up_when_its_cvm_is_deleted(api):
    provisioned = api.provision(new_name()).json()
    made = api.commit(provisioned).json()
    assert api("DELETE", f"/cvms/{made['id']}").status_code == 204
    assert code_of(api.commit(provisioned)) == "ERR-01-006"


def test_an_app_id_is_taken_together_with_its_nonce(api):
    reserved = api.get("/kms/phala/next_app_id", params={"counts": 2}).json()["app_ids"]
    one = reserved[1]
    answer = api.provision(new_name(), app_id=one["app_id"], nonce=one["nonce"])
    assert answer.json()["app_id"] == one["app_id"]
    alone = api.provision(new_name(), app_id=one["app_id"])
    assert code_of(alone) == "ERR-02-008"
    wrong = api.provision(new_name(), app_id="0" * 40, nonce=one["nonce"])
    assert code_of(wrong) == "ERR-02-008"


def test_a_predicted_app_id_goes_to_who_provisions_it_first(api):
    one = api.get("/kms/phala/next_app_id").json()["app_ids"][0]
    mine = {"name": new_name(), "teepod_id": 3, **one}  # or the node is the emptiest at the time
    first = api.provision(**mine)
    assert first.json()["app_id"] == one["app_id"]
    assert api.provision(**mine).json() == first.json()
    late = api.provision(new_name(), **one)
    assert (late.status_code, code_of(late)) == (400, "ERR-02-008")
    assert api.provision(new_name()).json()["app_id"] != one["app_id"]


@pytest.mark.parametrize(
    "name", ["abc", "1abcdef", "with--two", "ends-", "under_score", "a" * 64, "", "späti"]
)
def test_a_name_that_breaks_the_rule_is_refused_with_a_list_of_findings(api, name):
    answer = api.provision(name)
    assert answer.status_code == 422
    finding = answer.json()["detail"][0]
    assert finding["loc"] == ["body", "name"]
    assert finding["input"] == name


def test_a_taken_name_is_refused_already_at_provision(api):
    made = api.create()
    answer = api.provision(made["name"])
    assert (answer.status_code, code_of(answer)) == (409, "ERR-01-004")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"compose": ""}, "ERR-01-002"),
        ({"compose": "a: [1"}, "ERR-01-003"),
        ({"compose": "services: []"}, "ERR-01-003"),
        ({"compose": "just text"}, "ERR-01-003"),
        ({"compose": "services:\n  app: {ports: [80]}"}, "ERR-01-003"),
        ({"compose": "services:\n  a: {image: " + "x" * 210_000 + "}"}, "ERR-01-003"),
        ({"compose": "[" * 5000}, "ERR-01-003"),
        ({"teepod_id": 999}, "ERR-01-001"),
        ({"instance_type": "tdx.nano"}, "ERR-02-001"),
        ({"instance_type": "tdx.small", "vcpu": 3}, "ERR-02-009"),
        ({"disk_size": 10}, "ERR-02-008"),
        ({"image": "dstack-9.9.9"}, "ERR-02-010"),
        ({"teepod_id": 18, "image": "dstack-0.5.4"}, "ERR-02-013"),
        ({"kms": "ETHEREUM"}, "ERR-02-011"),
        ({"kms": "nobody"}, "ERR-02-008"),
        ({"region": "MARS"}, "ERR-02-002"),
        ({"teepod_id": 3, "instance_type": "h200.small"}, "ERR-02-007"),
    ],
)
def test_what_cannot_run_is_refused_with_its_code(api, more, code):
    answer = api.provision(new_name(), **more)
    assert (answer.status_code, code_of(answer)) == (400, code), answer.text
    assert answer.json()["message"]


def test_the_node_may_be_named_by_either_word_and_the_region_in_any_case(api):
    assert api.provision(new_name(), node_id=5).json()["node_id"] == 5
    assert api.provision(new_name(), region="us-east-1").json()["node_id"] == 21
    gpu = api.provision(new_name(), instance_type="h200.small", region="US-east-1").json()
    assert gpu["node_id"] == 26


def test_a_compose_file_may_have_no_name_and_unknown_fields_count_in_its_hash(api):
    body = {"name": new_name(), "compose_file": {"docker_compose_file": COMPOSE}}
    plain = api.post("/cvms/provision", body).json()["compose_hash"]
    body["compose_file"] |= {"salt_of_mine": 1}
    assert api.post("/cvms/provision", body).json()["compose_hash"] != plain


def provision_with(api, name, value):
    """Provision with a value of the app compose spelled by hand."""
    compose = f'"docker_compose_file": {json.dumps(COMPOSE)}, "x": {value}'
    body = f'{{"name": "{name}", "compose_file": {{{compose}}}}}'
    json_type = {"Content-Type": "application/json"}
    return api("POST", "/cvms/provision", data=body, headers=json_type)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_a_number_json_cannot_spell_is_kept_as_null(api, number):
    name = new_name()
    assert api.commit(provision_with(api, name, number).json()).status_code == 200
    assert api.get(f"/cvms/{name}").json()["compose_file"]["x"] is None


@pytest.mark.parametrize(
    "value",
    ['"\\ud800"', '{"\\ud800": 1}', "1" * 5000, "[" * 100_000, "[" * 900 + "]" * 900],
    ids=["surrogate", "surrogate key", "long number", "deep, broken", "deep"],
)
def test_a_value_that_cannot_be_kept_is_refused(api, value):
    answer = provision_with(api, new_name(), value)
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])


def test_the_published_ports_become_endpoints_once_it_has_booted(clocked_cloud, clocked):
    made = clocked.create(compose=COMPOSE)
    assert clocked.get(f"/cvms/{made['id']}").json()["endpoints"] == []
    clocked_cloud.advance(3600)
    detail = clocked.get(f"/cvms/{made['id']}").json()
    ports = [one["app"].split("-")[1].split(".")[0] for one in detail["endpoints"]]
    assert ports == ["8080", "9000"]
    assert all(detail["instance_id"] in one["instance"] for one in detail["endpoints"])


def test_an_image_that_does_not_exist_ends_the_boot_in_an_error(api):
    made = api.create(compose="services:\n  a:\n    image: does-not-exist:1\n")
    events = api.watch(made["id"], "error")
    assert events[-1][0] == "complete"
    state = api.get(f"/cvms/{made['id']}/state").json()
    assert state["boot_error"] == "failed to start containers"
    assert api.get(f"/cvms/{made['id']}").json()["instance_id"] is None
