"""The same server on PostgreSQL, with several workers: what races stays true."""

import hashlib
import json
import random
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from helpers import until
from local_evidence import quote_of, refusal, root_der
from receiver import receiving

from cvm_notebook.local import LocalCloud


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A LocalCloud of two workers on a PostgreSQL server of its own."""
    with warnings.catch_warnings():
        # On import it asks for a runtime folder, which machines without a desktop don't have.
        warnings.simplefilter("ignore")
        import pgserver
    # No folder of pytest: where root runs it, the server is another user's, who is let in, and each
    # pytest that begins shuts the folder of all of them again.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        server = pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            with LocalCloud(seed="empty", speed=200, workers=2, database=url) as cloud:
                yield cloud
        finally:
            server.cleanup()


@pytest.fixture
def api(shared, connect):
    return connect(shared)


def test_the_whole_lifecycle(api):
    made = api.create()
    assert api.watch(made["id"], "Running")[-1][1]["status"] == "Running"
    for verb, ends in (
        ("stop", "stopped"),
        ("start", "running"),
        ("restart", "running"),
        ("shutdown", "stopped"),
    ):
        assert api.post(f"/cvms/{made['id']}/{verb}").status_code == 200
        assert api.watch(made["id"], ends)[-1][0] == "complete"
    replica = api.post(f"/cvms/{made['id']}/replicas", {"node_id": 5}).json()
    assert api.patch(f"/cvms/{made['id']}/envs", {"encrypted_env": "00"}).status_code == 202
    for cvm in (made, replica):
        api.delete(cvm["id"])
        assert api.get(f"/cvms/{cvm['id']}").status_code == 404


def test_workers_give_the_same_evidence_and_know_each_others_quotes(shared, api):
    made = api.create()
    api.watch(made["id"], "running")
    with ThreadPoolExecutor(8) as pool:
        asked = [f"/cvms/{made['id']}/attestation"] * 16
        shown = {quote_of(answer.json()) for answer in pool.map(api.get, asked)}
    (quote,) = shown
    answers = []
    for _ in range(8):  # each on a connection of its own
        requests.post(f"{shared.url}/attestations/verify", json={"hex": quote.hex()}, timeout=30)
        url = f"{shared.url}/attestations/collateral/{hashlib.sha256(quote).hexdigest()}"
        answers.append(requests.get(url, timeout=30).text)
    assert len(set(answers)) == 1
    assert refusal(quote, json.loads(answers[0]), root_der(shared.root_path)) is None


def test_two_workers_tell_a_webhook_of_each_event_once(api):
    with receiving() as receiver:
        wanted = {"url": receiver.url, "events": ["cvm.created"]}
        hook = f"/workspace/webhooks/{api.post('/workspace/webhooks', wanted).json()['id']}"
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: api.create(), range(8)))
        until(lambda: len(api.get(f"{hook}/deliveries").json()) == len(made))
        assert api.post(f"{hook}/test").status_code == 200
        came = [receiver.next() for _ in range(len(made) + 1)]
        assert came[-1].event == "webhook.test"
        announced = {json.loads(one.body)["data"].get("cvm_id") for one in came[:-1]}
        assert announced == {cvm["vm_uuid"] for cvm in made}
        assert api("DELETE", hook).status_code == 204


def test_many_commits_at_once_make_one_cvm(api):
    for number in range(3):
        plan = api.provision(f"pg-once-{number}").json()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(api.commit, [plan] * 16))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1


def test_one_name_committed_many_times_at_once_is_taken_once(api):
    plans = [api.provision("pg-the-name").json() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(answer.status_code for answer in pool.map(api.commit, plans))
    assert statuses == {200: 1, 409: 7}


def test_many_starts_at_once_begin_one_operation(api):
    made = api.create()
    api.post(f"/cvms/{made['id']}/stop")
    api.watch(made["id"], "stopped")
    with ThreadPoolExecutor(8) as pool:
        path = f"/cvms/{made['id']}/start"
        answers = list(pool.map(lambda _: api.post(path).json()["status"], range(1)))
        answers += [answer.status_code for answer in pool.map(lambda _: api.post(path), range(8))]
    history = api.get(f"/cvms/{made['id']}/operations").json()["items"]
    assert [item["operation_type"] for item in history].count("power_on") == 1


def test_a_quota_holds_against_many_commits_at_once(shared, connect):
    api = connect(shared, key=shared.new_workspace(tier="LEVEL_1")["api_key"])
    plans = [api.provision(f"quota-{number}").json() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(answer.status_code for answer in pool.map(api.commit, plans))
    assert statuses == {200: 8, 400: 8}


def test_many_provisions_at_once_get_app_ids_of_their_own(api):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: api.provision(f"pg-app-{n}").json(), range(24)))
    assert len({answer["app_id"] for answer in answers}) == 24


def test_five_streams_are_counted_over_all_workers(shared, api):
    made = api.create()
    api.watch(made["id"], "running")
    until(lambda: shared.open_streams() == 0)  # its place comes back a little later

    def open_one(_):
        return requests.get(
            f"{shared.url}/cvms/{made['id']}/state",
            params={"target": "stopped"},
            headers={"X-API-Key": shared.api_key},
            stream=True,
            timeout=30,
        )

    with ThreadPoolExecutor(12) as pool:
        streams = list(pool.map(open_one, range(12)))
    statuses = Counter(stream.status_code for stream in streams)
    for stream in streams:
        stream.close()
    assert statuses == {200: 5, 429: 7}


@pytest.mark.parametrize("text", ["nul\x00byte", "%00"])
def test_what_postgresql_can_not_keep_is_refused_and_not_a_failure(api, text):
    assert api.get(f"/cvms/{text}").status_code == 404
    compose = {"docker_compose_file": f"services: {{a: {{image: '{text}'}}}}"}
    answer = api.post("/cvms/provision", {"name": "pg-strange", "compose_file": compose})
    assert answer.status_code < 500


def test_stops_of_the_same_cvms_in_any_order_never_fail(api):
    made = [api.create(f"pg-stops-{number}")["id"] for number in range(12)]
    for one in made:
        api.watch(one, "running")
    dice = random.Random(22)
    orders = [dice.sample(made, len(made)) for _ in range(24)]

    def stop(order):
        return api.post("/cvms/batch-stop", {"cvm_ids": order})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(stop, orders))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["stopped"] for answer in answers) == len(made)


def test_apps_are_listed_as_of_one_moment_while_some_go(api):
    going = [api.create(f"pg-going-{number}")["id"] for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        gone = [pool.submit(api, "DELETE", f"/cvms/{one}") for one in going]
        lists = [pool.submit(api.get, "/apps", params={"page_size": 100}) for _ in range(48)]
        assert {each.result().status_code for each in gone} == {204}
        assert {each.result().status_code for each in lists} == {200}


def test_totals_are_the_sums_here_too(shared, walk_and_add_up):
    walk_and_add_up(shared, rounds=2, steps=15)
