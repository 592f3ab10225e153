"""LocalCloud's process: started, found, ended, and never left behind."""

import contextlib
import hashlib
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import requests

from cvm_notebook.local import LocalCloud, LocalCloudError, cloud, root_of
from cvm_notebook.local.core.settings import data_folder, read_running, write_running


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Keep keys and state files of these tests away from the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PHALA_CLOUD_API_PREFIX", "PHALA_CLOUD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cloud, "_PROBE_SECONDS", 20.0)  # servers are slow on a busy machine


def gone(pid, within=30.0):
    """Wait until a process has ended."""
    try:
        psutil.Process(pid).wait(within)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": "demmo"}, 'seed is \'demmo\'; give "empty" or "demo"'),
        ({"tier": "GOLD"}, "tier is 'GOLD'; give one of "),
        ({"balance": "much"}, "balance is 'much'; give dollars"),
        ({"balance": "NaN"}, "balance is 'NaN'; give dollars"),
    ],
)
def test_what_cannot_be_served_is_refused_before_it_starts(wrong, message):
    with pytest.raises(ValueError, match=message):
        LocalCloud(**wrong)


def test_it_answers_as_soon_as_it_has_started_and_not_after_it_is_closed():
    cloud = LocalCloud(seed="empty")
    assert not cloud.alive
    assert cloud.api_key not in repr(cloud)
    with cloud as running:
        assert running is cloud
        assert cloud.alive
        assert cloud.url == f"http://127.0.0.1:{cloud.port}/api/v1"
        headers = {"X-API-Key": cloud.api_key}
        assert requests.get(f"{cloud.url}/cvms", headers=headers, timeout=30).json() == []
        pid, url, log = cloud.pid, cloud.url, cloud.log_path
        assert pid != os.getpid()
        assert log.exists()
        assert str(cloud.port) in repr(cloud)
        command = " ".join(psutil.Process(pid).cmdline())
        assert cloud.api_key not in repr(cloud) + command
    assert gone(pid)
    assert not log.parent.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/cvms", headers=headers, timeout=5)
    cloud.close()
    with pytest.raises(LocalCloudError):
        _ = cloud.url


def test_a_port_that_is_taken_is_an_error_that_shows_why(cloud):
    with pytest.raises(LocalCloudError, match="ddress already in use"):
        LocalCloud(port=cloud.port, seed="empty").start()


@pytest.mark.parametrize(
    "bad",
    [{"speed": 0}, {"speed": -1}, {"seed": "full"}, {"workers": 0}, {"database": "sqlite://"}],
)
def test_what_can_not_be_served_is_refused_before_anything_starts(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LocalCloud(**bad)


PARENT = """
import os, sys, time
from cvm_notebook.local import LocalCloud
cloud = LocalCloud(seed="empty", workers=int(sys.argv[2])).start()
if sys.argv[1] == "fork" and os.fork() == 0:
    time.sleep(60)
    os._exit(0)
print(cloud.pid, cloud.log_path.parent, flush=True)
if sys.argv[1] == "exit":
    sys.exit(0)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("way", "workers"), [("kill", "1"), ("kill", "2"), ("fork", "1"), ("exit", "1")]
)
def test_it_ends_with_its_parent_however_that_ends(way, workers):
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), way, workers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with parent:
        pid, scratch = parent.stdout.readline().split()
        server = psutil.Process(int(pid)) if way != "exit" else None
        family = [server, *server.children(recursive=True)] if server else []
        if way != "exit":
            parent.kill()
        parent.stdin.close()
        parent.wait(30)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
        assert gone(int(pid))
        if way == "fork":
            os.killpg(parent.pid, signal.SIGKILL)
    assert not Path(scratch).exists()


ENDS = """
import signal
for name in ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGCHLD"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
from cvm_notebook.local import LocalCloud, cloud as server
server._END_SECONDS = 60
by_force = server.kill
server.kill = lambda one: (print("by force"), by_force(one))
cloud = LocalCloud(seed="empty", workers=2).start()
print(cloud.pid, flush=True)
cloud.close()
"""


def test_it_ends_in_good_order_where_signals_are_ignored():
    done = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, check=True, timeout=110
    )
    (pid,) = done.stdout.split()
    assert gone(int(pid))


def test_a_server_that_died_can_be_started_again(new_cloud):
    with new_cloud(seed="empty") as cloud:
        first = cloud.pid
        os.kill(first, signal.SIGKILL)
        assert gone(first)
        assert not cloud.alive
        assert cloud.start().pid != first
        assert cloud.alive


def test_a_kept_database_keeps_its_cvms_and_its_key_in_a_private_file(tmp_path, connect):
    database = f"sqlite:///{tmp_path / 'kept.sqlite'}"
    with LocalCloud(seed="empty", database=database) as cloud:
        key = cloud.api_key
        made = connect(cloud).create()
    with LocalCloud(seed="empty", database=database) as again:
        assert again.api_key == key
        assert connect(again).get(f"/cvms/{made['id']}").json()["name"] == made["name"]
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


SERVE = """
import sys
from cvm_notebook.local import serve
serve(
    host=sys.argv[1], port=0, seed="empty", database=f"sqlite:///{sys.argv[2]}",
    ready=lambda url, key: print(url, key, flush=True),
)
"""


@contextlib.contextmanager
def serving(database, host="127.0.0.1"):
    """A server in the foreground, and its URL and key."""
    command = [sys.executable, "-c", SERVE, host, database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url, key = server.stdout.readline().split()
            yield server, (url, key)
            server.send_signal(signal.SIGINT)
            server.wait(60)
        finally:
            server.kill()


def test_a_server_in_the_foreground_is_found_while_it_runs(tmp_path):
    assert LocalCloud.running() is None
    with serving(tmp_path / "a.sqlite", "127.0.0.2") as (_, announced):  # this machine, too
        assert announced[0].startswith("http://127.0.0.2:")
        assert LocalCloud.running() == announced
        file, root = sorted((data_folder() / "running").iterdir())
        assert [stat.S_IMODE(one.stat().st_mode) for one in (file, root)] == [0o600, 0o600]
        assert root_of(announced[0]) == root
        file.chmod(0o644)  # others could read the key of what is stated there
        assert read_running() == []
        assert root_of(announced[0]) is None
    assert read_running() == []
    assert not list((data_folder() / "running").iterdir())
    assert LocalCloud.running() is None


def test_of_two_the_newest_is_found_and_its_end_hides_no_other(tmp_path):
    with serving(tmp_path / "a.sqlite") as (_, first):
        with serving(tmp_path / "b.sqlite") as (_, second):
            assert LocalCloud.running() == second
        assert LocalCloud.running() == first
        with serving(tmp_path / "b.sqlite") as (killed, second):
            killed.kill()
            killed.wait(20)
            assert LocalCloud.running() == first
            assert [facts["url"] for facts in read_running()] == [second[0], first[0]]
            assert root_of(first[0]).read_text() != root_of(second[0]).read_text()
        with serving(tmp_path / "c.sqlite") as (_, third):  # it tidies up after the killed one
            assert [facts["url"] for facts in read_running()] == [third[0], first[0]]
            assert len(list((data_folder() / "running").iterdir())) == 4  # of each, facts and root


def test_the_place_of_another_server_is_taken_over():
    for key in ("phak_old", "phak_new"):
        write_running({"url": "http://127.0.0.1:9/api/v1", "api_key": key}, f"root of {key}")
    assert [facts["api_key"] for facts in read_running()] == ["phak_new"]
    assert root_of("http://localhost:9/api/v1").read_text() == "root of phak_new"


def test_the_root_is_a_file_of_its_owners_that_goes_with_the_cloud(monkeypatch, new_cloud):
    with new_cloud(seed="empty") as cloud:
        path = cloud.root_path
        assert root_of(cloud.url) == path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "http://127.0.0.1:9/api/v1")
        monkeypatch.setenv("CVM_NOTEBOOK_LOCAL_ROOT", str(path))  # as in a kernel of the demo
        assert root_of("http://127.0.0.1:9/api/v1") == path
        assert root_of("https://cloud-api.phala.com/api/v1") is None
        path.chmod(0o640)
        assert root_of(cloud.url) is None
    assert not path.exists()


def test_all_workers_give_the_same_evidence(tmp_path):
    with LocalCloud(seed="demo", workers=2, database=f"sqlite:///{tmp_path / 'w.sqlite'}") as cloud:
        seen = set()
        for _ in range(12):  # each on a connection of its own, so that all workers are asked
            answer = requests.get(
                f"{cloud.url}/cvms/agent-alpha/attestation",
                headers={"X-API-Key": cloud.api_key, "Connection": "close"},
                timeout=30,
            ).json()
            shown = answer["app_certificates"][0]
            checksum = hashlib.sha256(bytes.fromhex(shown["quote"])).hexdigest()
            signed = requests.get(f"{cloud.url}/attestations/collateral/{checksum}", timeout=30)
            seen.add((shown["quote"], shown["fingerprint"], signed.text))
        assert len(seen) == 1


def test_a_stale_or_foreign_address_is_not_taken_for_a_local_cloud(monkeypatch):
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_x")
    for url in (
        "https://cloud-api.phala.com/api/v1",
        "http://127.0.0.1:1/api/v1",
        "http://192.0.2.1/api/v1",
    ):
        monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", url)
        assert LocalCloud.running() is None


def test_a_cloud_named_in_the_environment_is_found(monkeypatch, cloud):
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", cloud.api_key)
    assert LocalCloud.running() == (cloud.url, cloud.api_key)


def test_importing_the_room_loads_no_server():
    program = "import sys, cvm_notebook.local; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "cvm_notebook.local" in done.stdout.split()
    assert not {"fastapi", "sqlalchemy", "uvicorn"} & set(done.stdout.split())
