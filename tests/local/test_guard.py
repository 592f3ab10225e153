"""What no client of the server sends is refused: other hosts, pages of other sites, floods."""

import dataclasses
import http.client
import json
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from helpers import until

from cvm_notebook.local.guard import MAX_BODY, MAX_OPEN_BODY

_PATIENCE = 20


@pytest.fixture
def anyone(cloud, connect):
    return connect(cloud, key="none")


def _begin(api, **headers):
    body = {"client_id": "phala-cli", "scope": "x"}
    return api.post("/auth/device/code", body, headers=headers)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example",
        "evil.example@127.0.0.1:{port}",
        "127.0.0.1:{port}/evil.example",
        "10.0.0.1:{port}",
        "[::2]:{port}",
        "127.1",
        "",
    ],
)
def test_a_name_that_was_rebound_gets_nothing(cloud, api, host):
    made = api.create()
    headers = {"Host": host.format(port=cloud.port)}
    assert _begin(api, **headers).status_code == 403
    assert api("DELETE", f"/cvms/{made['id']}", headers=headers).status_code == 403
    health = requests.get(
        f"http://127.0.0.1:{cloud.port}/_local/health", headers=headers, timeout=9
    )
    assert health.status_code == 403
    assert api.get(f"/cvms/{made['id']}").status_code == 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "localhost.", "[::1]:1", "127.0.0.2"],
)
def test_names_of_this_machine_are_served(cloud, api, host):
    headers = {"Host": host.format(port=cloud.port)}
    assert api.get("/auth/me", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_of_other_sites_are_refused(anyone, headers):
    assert _begin(anyone, **headers).status_code == 403
    assert anyone.get("/instance-types", headers=headers).status_code == 403


def test_a_link_that_is_followed_and_the_servers_own_pages_are_served(cloud, anyone):
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert anyone.get("/instance-types", headers=visit).status_code == 200
    assert _begin(anyone, **visit).status_code == 403
    for name in ("127.0.0.1", "localhost"):
        own = {"Origin": f"http://{name}:{cloud.port}", "Sec-Fetch-Site": "same-origin"}
        assert _begin(anyone, **own).status_code == 200


def _with(cloud, **settings):
    """Change settings that LocalCloud does not offer, before it starts."""
    cloud._settings = dataclasses.replace(cloud._settings, **settings)
    return cloud


def test_a_host_that_is_allowed_is_served_and_so_are_its_pages(new_cloud, connect):
    with _with(new_cloud(seed="empty"), host="0.0.0.0", allowed_hosts=("Hub.Example",)) as cloud:
        api = connect(cloud)
        assert api.get("/auth/me").status_code == 200
        assert api.get("/auth/me", headers={"Host": "hub.example"}).status_code == 200
        page = {"Host": "hub.example", "Origin": "https://hub.example"}
        assert _begin(api, **page, **{"Sec-Fetch-Site": "same-site"}).status_code == 200
        assert api.get("/auth/me", headers={"Host": "evil.example"}).status_code == 403
        own = socket.gethostbyname(socket.gethostname())
        assert requests.get(f"http://{own}:{cloud.port}/_local/health", timeout=9).ok


def test_a_device_code_gives_one_key_once(anyone):
    code = _begin(anyone).json()["device_code"]
    answers = [anyone.post("/auth/device/token", {"device_code": code}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [400, 200, 400, 400, 400, 400]
    assert [answer.json().get("error") for answer in answers[2:]] == ["invalid_grant"] * 4


def _raw(cloud, head, body=b""):
    connection = socket.create_connection(("127.0.0.1", cloud.port), timeout=_PATIENCE)
    connection.sendall(f"{head}\r\nHost: localhost\r\n".encode() + body)
    return connection


def _answer(connection):
    """Read to the end of the connection."""
    pieces = []
    with connection:
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def _first_line(connection):
    with connection.makefile("rb") as file:
        return file.readline()


@pytest.mark.parametrize(
    ("path", "key"), [("/api/v1/cvms/provision", "X-API-Key"), ("/_local/faults", "X-Local-Token")]
)
def test_without_a_key_no_body_is_waited_for(cloud, path, key):
    declared = b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for wrong in (b"", f"{key}: wrong\r\n".encode()):
        with _raw(cloud, f"POST {path} HTTP/1.1", wrong + declared) as connection:
            assert _first_line(connection).startswith(b"HTTP/1.1 401")


def test_a_body_that_is_too_large_is_refused(cloud, api, anyone):
    text = {"Content-Type": "application/json"}
    path = "/auth/device/code"
    assert anyone("POST", path, data=b" " * (MAX_OPEN_BODY + 1), headers=text).status_code == 413
    declared = f"X-API-Key: {cloud.api_key}\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
    with _raw(cloud, "POST /api/v1/cvms HTTP/1.1", declared) as connection:
        assert _first_line(connection).startswith(b"HTTP/1.1 413")
    chunks = iter([b" " * 65536] * (MAX_BODY // 65536 + 1))
    answer = api("POST", "/cvms", data=chunks, headers=text)
    assert answer.status_code == 413
    assert "bytes" in answer.json()["detail"]


def test_a_head_that_is_too_large_is_refused(cloud):
    with _raw(cloud, "GET /api/v1/cvms HTTP/1.1", b"X-Long: " + b"a" * 100_000) as connection:
        assert _first_line(connection).startswith(b"HTTP/1.1 4")


_REQUEST_SECONDS = 3  # a busy machine connects and sends within it


@pytest.fixture
def impatient(new_cloud):
    with _with(new_cloud(seed="empty"), request_seconds=_REQUEST_SECONDS) as cloud:
        yield cloud


def test_half_a_head_is_not_waited_for_for_ever(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), _PATIENCE) as nothing:
        half = _raw(impatient, "GET /api/v1/cvms HTTP/1.1")
        assert _answer(half).startswith(b"HTTP/1.1 408")
        assert nothing.recv(65536) == b""


def test_half_a_body_is_not_waited_for_for_ever(impatient):
    head = f"X-API-Key: {impatient.api_key}\r\nContent-Length: 9\r\n\r\n{{".encode()
    answer = _answer(_raw(impatient, "POST /api/v1/cvms HTTP/1.1", head))
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "detail": "The request was not sent to its end."
    }


def test_a_connection_that_is_kept_is_not_cut(impatient):
    kept = http.client.HTTPConnection("127.0.0.1", impatient.port, timeout=_PATIENCE)
    kept.connect()
    kept.auto_open = 0
    for pause in (_REQUEST_SECONDS + 0.5, 0):
        kept.request("GET", "/_local/health")
        assert kept.getresponse().read()
        time.sleep(pause)
    kept.close()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit is Linux's")
def test_at_the_limit_of_open_files_the_log_does_not_grow(new_cloud, connect):
    with new_cloud(seed="empty") as cloud:
        api = connect(cloud)

        def connections():
            files = psutil.Process(cloud.pid).open_files()
            return sum(file.path.endswith("local.sqlite") for file in files)

        # As many to its database as it works on requests at once: it will open no more of them.
        with ThreadPoolExecutor(8) as pool:
            ask = ["/auth/me"] * 32
            until(lambda: list(pool.map(api.get, ask)) and connections() >= 3)
        limit = psutil.Process(cloud.pid).num_fds() + 4
        old = resource.prlimit(cloud.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(cloud.pid, resource.RLIMIT_NOFILE, (limit, old[1]))
        many = [socket.create_connection(("127.0.0.1", cloud.port)) for _ in range(40)]
        until(lambda: "No connection can be accepted" in cloud.log_path.read_text())
        assert api.get("/auth/me").status_code == 200
        for one in many:
            one.close()
        resource.prlimit(cloud.pid, resource.RLIMIT_NOFILE, old)
        assert connect(cloud).get("/auth/me").status_code == 200
        assert len(cloud.log_path.read_text().splitlines()) == 1
