"""Values of the wrong kind, as they come out of frames and parameters, against a LocalCloud."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from helpers import COMPOSE, run_all

import cvm_notebook as cvm
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.live.plans.plan import NotConfirmed

NAME = "wrong-values"
HALF = "half \ud800 of a character"
FLAGS = [None, "", "no", 0, [], pd.NA, np.array([True, False]), pd.Series([False])]
CELLS = [pd.NA, np.array(["a", "b"]), pd.Series(["a"]), pd.DataFrame()]
LENGTHS = ["", "soon", pd.NA, True, -1, float("nan"), Decimal("NaN"), np.array(["a"]), [1]]


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=100) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            run_all(client, NAME)
        yield running


@pytest.fixture(scope="module")
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(client):
    with cvm.Fleet(client) as made:
        made.snapshot()
        yield made


@pytest.fixture
def nothing_is_changed(cloud):
    cloud.clear_requests()
    yield
    asked = [one for one in cloud.requests() if one["method"] != "GET"]
    # by this the fleet, which is live, asks for statuses
    assert not [one for one in asked if not one["path"].endswith("/status/batch")]


def refused(call, value, field):
    with pytest.raises(cvm.InvalidInput) as caught:
        call(value)
    assert caught.value.field == field
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("flag", FLAGS, ids=repr)
def test_what_is_no_flag_sends_nothing(fleet, nothing_is_changed, flag):
    one = fleet[NAME]
    app = fleet.app(NAME)
    newest = app.revisions().index[0]
    changes = {"disk_size": 60}
    for call in (
        lambda flag: one.update(**changes, dry_run=flag),
        lambda flag: one.rollback(newest, dry_run=flag),
        lambda flag: fleet.where(name=NAME).update(**changes, dry_run=flag),
        lambda flag: app.update(**changes, dry_run=flag),
        lambda flag: app.rollback(newest, dry_run=flag),
        lambda flag: app.resume(dry_run=flag),
        lambda flag: fleet.apply(name=NAME, compose_file=COMPOSE, dry_run=flag),
    ):
        refused(call, flag, "dry_run")


@pytest.mark.parametrize("cell", [*CELLS, "x" * 10_000], ids=lambda cell: type(cell).__name__)
def test_a_cell_is_no_word(fleet, client, nothing_is_changed, cell):
    frame = fleet.frame("wide")
    refused(lambda verb: fleet.where(name=NAME).plan(verb), cell, "verb")
    refused(frame.cvm.plan, cell, "verb")
    refused(frame.cvm.with_status, cell, "status")
    refused(lambda channel: client.get_cvm_logs(NAME, channel=channel), cell, "channel")
    refused(
        lambda one: cvm.Client("phak_x", "http://127.0.0.1:9/api/v1", version=one), cell, "version"
    )
    refused(lambda source: cvm.fleet_frame([], source=source), cell, "source")
    with pytest.raises(NotConfirmed) as caught:
        fleet.where(name=NAME).plan("delete").execute(confirm=cell, progress=False)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", LENGTHS, ids=repr)
def test_what_is_no_length_of_time_is_refused(fleet, value):
    refused(fleet.drain, value, "timeout")
    refused(lambda wait: fleet.snapshot(wait=wait), value, "wait")
    refused(lambda timeout: fleet.wait(NAME, timeout=timeout), value, "timeout")


def test_a_length_of_time_may_be_of_numpy_and_longer_than_any(fleet):
    for value in (np.float64(30), np.int64(30), float("inf"), 10**400):
        fleet.wait(NAME, timeout=value, progress=False)
        fleet.drain(value, progress=False)
    refused(lambda delay: fleet[NAME].stop(delay=delay), 10**400, "delay")


@pytest.mark.parametrize(
    "timeout",
    ["5", None, True, pd.NA, 0, 1e300, 10**400, (1, 2, 3), Timeout("a", 1, 1), Timeout(1, 1, 1e9)],
    ids=repr,
)
def test_what_is_no_timeout_makes_no_client(cloud, timeout):
    refused(lambda it: cvm.Client(cloud.api_key, cloud.url, timeout=it), timeout, "timeout")


def test_a_timeout_may_be_of_numpy(cloud):
    with cvm.Client(cloud.api_key, cloud.url, timeout=np.int64(20)) as client:
        assert client.get_current_user()


def test_what_is_called_when_something_changes_can_be_called(fleet):
    refused(lambda call: fleet.wait(NAME, on_change=call), "print", "on_change")


@pytest.mark.parametrize("value", [np.zeros((2, 2)), pd.NA, "x" * 10_000], ids=type)
def test_what_is_no_column_and_no_order_of_a_table_is_refused(fleet, value):
    refused(lambda columns: fleet.frame(columns=columns), [value], "columns")
    refused(lambda columns: fleet.frame(columns=columns), value, "columns")
    refused(lambda by: fleet.table(by=by), value, "by")


def test_the_name_of_a_ledger_that_cannot_be_is_not_repeated_at_length(client):
    with pytest.raises(cvm.CvmError) as caught:
        cvm.Fleet(client, ledger="x" * 10_000)
    assert len(str(caught.value)) < 800


def test_a_fleet_has_a_client_and_keeps_it(fleet, client):
    refused(cvm.Fleet, None, "client")
    refused(cvm.dashboard, "local", "client")
    refused(fleet.resume, "another key", "client")
    assert fleet.client is client


@pytest.mark.parametrize("path", [3, b"a", "", "nul\0", HALF, "~nobody-has-this-name/a"], ids=repr)
def test_what_is_no_path_is_refused(client, fleet, path):
    refused(lambda path: cvm.Fleet(client, ledger=path), path, "ledger")
    refused(cvm.verify_bundle, path, "path")
    refused(cvm.Policy.from_toml, path, "path")


def test_a_ledger_may_be_in_the_home_folder(client, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    cvm.Fleet(client, ledger="~/fleet.sqlite").close()
    assert (tmp_path / "fleet.sqlite").exists()


def test_half_a_character_is_refused_before_it_is_sent(client, nothing_is_changed):
    refused(lambda text: client.update_cvm(NAME, user_config=text), HALF, "user_config")
    refused(lambda text: client.update_cvm(NAME, image=text), HALF, "image")
    refused(lambda text: client.update_cvm(NAME, gpus=[text]), HALF, "gpus")
    refused(lambda text: client.watch_cvm_state(NAME, target=text), HALF, "target")
    refused(lambda text: client.post("/cvms", {"name": text}), HALF, "body")


def test_a_text_of_numpy_is_a_text(client):
    script, compose = np.str_("echo numpy"), np.str_(COMPOSE)
    assert client.provision_cvm(name=np.str_("of-numpy"), compose_file=compose).compose_hash
    client.update_cvm(NAME, pre_launch_script=script, env_keys=np.array(["A_KEY"]))
    client.watch_cvm_state(NAME, target="running")
    assert client.get_cvm_compose_file(NAME)["pre_launch_script"] == "echo numpy"


@pytest.mark.parametrize(
    "env", [["PASSWORD", "hunter2"], "PASSWORD=hunter2", [("PASSWORD",)], 3, pd.Series(["hunter2"])]
)
def test_an_environment_that_is_none_is_refused_and_not_shown(
    client, fleet, nothing_is_changed, env
):
    for call in (
        lambda env: client.update_envs(NAME, env=env),
        lambda env: cvm.encrypt_env("00" * 32, env),
        lambda env: fleet.deploy(env=env),
    ):
        with pytest.raises(cvm.InvalidInput) as caught:
            call(env)
        assert caught.value.field == "env"
        assert "hunter2" not in str(caught.value)


def test_an_app_compose_that_has_no_hash_is_refused():
    runner = {"runner": "docker-compose"}
    for compose in (
        None,
        "services: {}",
        runner | {"a": object()},
        runner | {1: 2},
        runner | {"a": HALF},
    ):
        refused(cvm.compose_hash, compose, "app_compose")


@pytest.mark.parametrize(
    "url",
    [
        "https://[evil",
        "https://x:99999/",
        "https://x:abc/",
        "https://.",
        "https://a..b/",
        "https://[::1]:x/",
        "https://%zz/",
        "https://\uff20/",
        "https://user@x/",
        "http://127.0.0.1:99999/",
        "https://" + "a" * 64 + "/",
    ],
)
def test_an_address_that_a_service_or_a_policy_names_may_be_none(client, url):
    for call in (
        lambda: client.read_elsewhere(url, "the log"),
        lambda: client.served_certificate(url),
        lambda: client.transport.open_without_key(cvm.Secret(url), where="the log", stall=1),
    ):
        with pytest.raises(cvm.CvmError):
            call()


@pytest.mark.parametrize("until", ["reached", "acepted", None, pd.NA, np.array(["done"])], ids=repr)
def test_an_operation_is_not_waited_for_until_something_else(fleet, until):
    operation = fleet[NAME].restart()
    refused(lambda until: operation.wait(20, until=until), until, "until")
    operation.wait(60)


def test_a_limit_that_there_is_not_is_named(fleet):
    frame = fleet.frame("wide")
    refused(lambda most: cvm.assert_fleet(frame, max_failed=most), 0, "max_failed")
    refused(lambda most: cvm.assert_fleet(frame, max_status={most: 0}), 3, "max_status")


def test_what_is_no_policy_is_refused():
    for value in (3, [], "toml"):
        refused(cvm.Policy.from_dict, value, "policy")
