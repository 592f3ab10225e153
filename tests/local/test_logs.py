"""Logs answer at URLs that carry their own token, and are a pure function of CVM and moment."""

import asyncio
import base64
import json
import time
import uuid

import pytest
import requests
from dstack_sdk import EnvVar, encrypt_env_vars

from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.simulated import log_texts, logs

COMPOSE = """
services:
  web:
    image: nginx:1.27
  db:
    image: postgres:17
"""
NOW = 1_800_000_000.0
BOOTED = NOW - 86_400.0


def cvm(**more):
    facts = {
        "id": 7,
        "vm_uuid": "11111111-2222-4333-8444-555555555555",
        "name": "db-main",
        "app_id": "ab" * 20,
        "compose_hash": "cd" * 32,
        "node_id": 5,
        "vcpu": 2,
        "memory": 4096,
        "disk_size": 40,
        "storage_fs": "zfs",
        "services": [{"name": "web", "image": "nginx:1.27", "ports": []}],
        "op_kind": "create",
        "op_began_at": BOOTED - 65,
        "op_origin": "",
        "op_correlation_id": "x",
        "first_boot_at": BOOTED,
    }
    return Cvm(**facts | more)


def texts(log, after=0.0, until=NOW, count=logs.LONGEST):
    return [line.text for line in log.read(after, until, count)]


def test_the_console_tells_the_boot_in_the_order_of_its_stages():
    made = cvm()
    found = texts(logs.serial(made, logs.times_of(made, NOW, 1)))
    stages = [text.removeprefix("boot: ") for text in found if text.startswith("boot: ")]
    assert stages == [*log_texts.STAGES, "done"]


def test_lines_stand_in_the_order_of_their_times():
    made = cvm()
    times = logs.times_of(made, NOW, 1)
    for log in (logs.serial(made, times), logs.container(made, made.services[0], times)):
        moments = [line.at for line in log.read(0, NOW)]
        assert moments == sorted(moments)
        assert moments[-1] <= NOW


def test_reading_in_two_stretches_gives_each_line_once():
    made = cvm()
    log = logs.container(made, made.services[0], logs.times_of(made, NOW, 1))
    middle = NOW - 1_234.5
    whole = log.read(NOW - 5_000, NOW)
    assert log.read(NOW - 5_000, middle) + log.read(middle, NOW) == whole
    assert len(whole) > 500


def test_the_last_lines_of_a_year_are_found_at_once():
    made = cvm(op_began_at=NOW - 365 * 86_400, first_boot_at=NOW - 365 * 86_400 + 65)
    began = time.process_time()
    found = logs.container(made, made.services[0], logs.times_of(made, NOW, 1)).read(0, NOW, 10)
    assert len(found) == 10
    assert time.process_time() - began < 1


def test_a_later_moment_only_adds_lines():
    made = cvm()
    early, late = (
        logs.container(made, made.services[0], logs.times_of(made, at, 1)).read(NOW - 3_000, at)
        for at in (NOW, NOW + 600)
    )
    assert late[: len(early)] == early
    assert len(late) > len(early)


def test_nothing_is_written_before_the_boot_begins():
    made = cvm(op_began_at=NOW - 5, first_boot_at=NOW + 60)
    times = logs.times_of(made, NOW, 1)
    assert texts(logs.serial(made, times)) == []
    assert texts(logs.container(made, made.services[0], times)) == []


def test_a_failed_boot_ends_with_its_reason():
    made = cvm(op_final="error", op_error="failed to start containers", first_boot_at=None)
    found = texts(logs.serial(made, logs.times_of(made, NOW, 1)))
    assert "app-compose.sh: error: failed to start containers" in found[-2:]
    assert "boot: done" not in found


def test_a_stopped_cvm_has_written_its_last_line():
    made = cvm(op_kind="shutdown", op_began_at=NOW - 3_600, op_origin="running")
    times = logs.times_of(made, NOW, 1)
    assert texts(logs.serial(made, times))[-1] == "reboot: Power down"
    log = logs.container(made, made.services[0], times)
    assert texts(log)[-1] == "received SIGTERM, shutting down"
    assert log.read(NOW - 3_000, NOW) == []


@pytest.mark.parametrize("program", [*log_texts.PROGRAMS, log_texts.OTHER])
def test_every_text_of_a_program_can_be_written(program):
    for text in (*program.starts, *program.goes_on):
        assert text.format(a=1, b=2, c=3, n=4)


@pytest.fixture(scope="module")
def logged(new_cloud):
    with new_cloud(seed="empty", speed=200) as cloud:
        yield cloud


@pytest.fixture
def running(logged, connect):
    api = connect(logged)
    made = api.create(compose=COMPOSE)
    assert api.watch(made["id"], "running")[-1][0] == "complete"
    logged.advance(600)
    return api.get(f"/cvms/{made['id']}").json()


@pytest.fixture
def web(running, logged, connect):
    """The log URL of a container, as the list of containers gives it."""
    found = connect(logged).get(f"/cvms/{running['id']}/composition").json()["containers"]
    return {one["names"][0]: one["log_endpoint"] for one in found}["/dstack-web-1"]


def read(url, **query):
    return requests.get(url, params=query, timeout=10)


def test_a_log_url_needs_no_key_but_its_token(running):
    url = running["logs"]["serial"]
    assert "boot: done" in read(url).text
    other = url.replace("token=", "token=0")
    assert read(other).status_code == 401
    assert "boot" not in read(other).text


def test_containers_write_lines_of_json_with_base64(web):
    lines = [json.loads(line) for line in read(web, tail=5).text.splitlines()]
    assert len(lines) == 5
    for line in lines:
        assert line["channel"] == "stdout"
        assert base64.b64decode(line["message"]).endswith(b"\n")


def test_text_and_bare_make_plain_lines(web):
    now = read(f"{web}&text&bare&timestamps", tail=1).text.partition(" ")[0]  # it writes on
    plain = read(f"{web}&text&bare", tail=5, until=now)
    assert plain.headers["content-type"].startswith("text/plain")
    lines = read(f"{web}&text", tail=5, until=now).text.splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert len(messages) == 5
    assert plain.text == "".join(messages)


@pytest.mark.parametrize("query", [{"tail": "3"}, {"lines": "3"}, {"tail": "", "lines": "3"}])
def test_tail_and_lines_limit_how_much_comes(running, query):
    assert len(read(running["logs"]["serial"], **query).text.splitlines()) == 3


@pytest.mark.parametrize("query", [{}, {"tail": "all"}, {"lines": "", "ansi": ""}])
def test_without_a_limit_the_whole_log_comes(running, query):
    assert read(running["logs"]["serial"], **query).text.startswith("Linux version")


def test_since_and_until_take_durations_numbers_and_dates(web):
    stamped = read(f"{web}&text&bare&timestamps").text.splitlines()
    moments = [line.partition(" ")[0] for line in stamped]
    assert moments == sorted(moments)
    third, last = moments[2], moments[-1]  # it writes on
    later = read(f"{web}&text&bare&timestamps", since=third, until=last)
    assert later.text.splitlines() == stamped[3:]
    assert read(f"{web}&text&bare&timestamps", until=third).text.splitlines() == stamped[:3]
    assert 1 < len(read(f"{web}&text&bare", since="60s").text.splitlines()) < len(stamped)


def test_a_time_that_is_none_is_refused(web):
    answer = read(web, since="yesterday")
    assert answer.status_code == 400
    assert "yesterday" in answer.text


def test_a_container_that_is_not_there_is_not_found(web):
    assert read(web.replace("/containers/web", "/containers/nothing")).status_code == 404


def test_stdout_and_stderr_are_the_supervisors(running):
    assert "is up" in read(running["logs"]["stdout"]).text
    assert read(running["logs"]["stderr"]).text == ""


def test_following_a_log_brings_new_lines_and_ends_with_the_cvm(running, web, logged, connect):
    # with their times: a program may say the same again
    asked = f"{web}&text&bare&timestamps&follow&tail=1"
    with requests.get(asked, stream=True, timeout=10) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        logged.advance(30)
        assert next(lines) != first
        connect(logged).post(f"/cvms/{running['id']}/shutdown")
        logged.advance(30)
        assert list(lines)[-1].endswith(b" received SIGTERM, shutting down")


def boot_with(api, provisioned, encrypted):
    wanted = {key: provisioned[key] for key in ("app_id", "compose_hash")}
    made = api.post("/cvms", wanted | {"encrypted_env": encrypted}).json()
    api.watch(made["id"], "running")
    return read(api.get(f"/cvms/{made['id']}").json()["logs"]["serial"]).text


def test_the_console_names_the_variables_that_were_encrypted_and_shows_no_value(api):
    compose = {"docker_compose_file": COMPOSE, "allowed_envs": ["DB_PASSWORD", "UNUSED"]}
    body = {"name": f"env-{uuid.uuid4().hex[:8]}", "compose_file": compose}
    provisioned = api.post("/cvms/provision", body).json()
    variables = [EnvVar(key=name, value="hunter2") for name in ("DB_PASSWORD", "a\nb", "TOKEN")]
    key = provisioned["app_env_encrypt_pubkey"]
    console = boot_with(api, provisioned, asyncio.run(encrypt_env_vars(variables, key)))
    dropped = "dropped, as allowed_envs lacks them: a?b, TOKEN"
    assert f"environment: DB_PASSWORD; {dropped}\n" in console
    assert "hunter2" not in console


def test_the_console_says_when_variables_were_encrypted_for_another_app(api):
    first, second = (api.provision(f"env-{uuid.uuid4().hex[:8]}").json() for _ in range(2))
    variables = [EnvVar(key="DB_PASSWORD", value="hunter2")]
    encrypted = asyncio.run(encrypt_env_vars(variables, first["app_env_encrypt_pubkey"]))
    assert "environment: not readable" in boot_with(api, second, encrypted)


def test_private_logs_are_not_shown(logged, connect):
    api = connect(logged)
    name = "private-logs"
    body = {
        "name": name,
        "compose_file": {"docker_compose_file": COMPOSE, "public_logs": False},
    }
    api.commit(api.post("/cvms/provision", body).json())
    api.watch(name, "running")
    found = api.get(f"/cvms/{name}/composition").json()["containers"]
    assert [one["log_endpoint"] for one in found] == [None, None]
    detail = api.get(f"/cvms/{name}").json()
    token = detail["logs"]["serial"].partition("?")[2]
    answer = read(f"{detail['logs']['container_log_base']}/web?{token}")
    assert answer.status_code == 403
