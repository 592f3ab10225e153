"""The state stream: its events, its limits, and that its place is freed however it ends."""

import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from helpers import HANGS, until

from cvm_notebook.local import LocalCloud


def await_streams(cloud, count):
    """Wait until so many streams are open; asking is cheap and each answer is the truth."""
    until(lambda: cloud.open_streams() == count)


def test_a_watch_of_a_new_cvm_ends_complete(api):
    made = api.create()
    events = api.watch(made["id"], "running")
    names = [name for name, _ in events]
    assert names[-1] == "complete"
    assert set(names[:-1]) == {"state"}
    assert events[-2][1]["status"] == "running"
    complete = events[-1][1]
    assert complete.keys() == {"status", "elapsed", "target"}
    assert (complete["status"], complete["target"]) == ("running", "running")
    assert complete["elapsed"] >= 0


@pytest.mark.parametrize("spelled", ["Running", "RUNNING", "running"])
def test_a_target_that_holds_gives_one_state_and_complete_as_it_was_spelled(api, spelled):
    made = api.create()
    api.watch(made["id"], "running")
    events = api.watch(made["id"], spelled)
    assert [name for name, _ in events] == ["state", "complete"]
    assert [data["status"] for _, data in events] == [spelled, spelled]


def test_presence_of_target_makes_a_stream_and_accept_alone_does_not(api):
    made = api.create()
    accept = {"Accept": "text/event-stream"}
    plain = api.get(f"/cvms/{made['id']}/state", headers=accept)
    assert plain.headers["Content-Type"] == "application/json"
    streamed = api.get(f"/cvms/{made['id']}/state", params={"target": "running"})
    assert streamed.headers["Content-Type"].startswith("text/event-stream")


def test_the_json_state_leaves_out_what_is_not_known(clocked):
    made = clocked.create()
    state = clocked.get(f"/cvms/{made['id']}/state").json()
    assert None not in state.values()
    assert "instance_id" not in state


@pytest.mark.parametrize(
    "query",
    [{"interval": 4}, {"interval": 31}, {"timeout": 9}, {"timeout": 601}, {"interval": "x"}],
)
def test_parameters_out_of_range_are_refused(api, query):
    made = api.create()
    answer = api.get(f"/cvms/{made['id']}/state", params={"target": "running"} | query)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], list)


def test_frames_are_as_documented_byte_by_byte(api):
    made = api.create()
    api.watch(made["id"], "running")
    raw = api.get(f"/cvms/{made['id']}/state", params={"target": "running"}).content
    blocks = raw.split(b"\n\n")
    assert blocks[-1] == b""
    for block, name in zip(blocks, (b"state", b"complete"), strict=False):
        first, second = block.split(b"\n")
        assert first == b"event: " + name
        assert second.startswith(b"data: {")


def test_each_step_of_a_boot_is_seen_in_samples_as_often_as_the_speed_says(new_cloud, connect):
    with new_cloud(seed="empty", speed=6) as cloud:  # each phase lasts more than 3 s
        api = connect(cloud)
        made = api.create()
        events = api.watch(made["id"], "running", interval=5)
    statuses = [data["status"] for name, data in events if name == "state"]
    assert list(dict.fromkeys(statuses)) == ["provisioning", "starting", "running"]
    # 65 s of boot sampled each 5 s, both divided by 6
    assert 8 <= len(statuses) <= 15


def test_the_timeout_is_real_seconds_and_comments_keep_the_connection_until_then(
    clocked_cloud, clocked
):
    made = clocked.create()
    began = time.monotonic()
    query = {"target": "exited", "timeout": 10, "interval": 30}
    answer = clocked.get(f"/cvms/{made['id']}/state", params=query)
    assert 9.9 <= time.monotonic() - began < 10 + HANGS
    blocks = [block.splitlines() for block in answer.text.split("\n\n")[:-1]]
    # the first look, a comment after 8 s, a last look when the time is over
    assert [block[0] for block in blocks] == [
        "event: state",
        ": keepalive",
        "event: state",
        "event: timeout",
    ]
    last = json.loads(blocks[-1][1].removeprefix("data: "))
    assert last.keys() == {"error", "elapsed", "target"}
    assert 9.9 <= last["elapsed"] < 10 + HANGS


def open_stream(cloud, cvm_id, target="never"):
    """Open a stream on a bare socket and return it when its first event has come."""
    parts = urlsplit(cloud.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection.sendall(
        f"GET {parts.path}/cvms/{cvm_id}/state?target={target} HTTP/1.1\r\n"
        f"Host: {parts.netloc}\r\nX-API-Key: {cloud.api_key}\r\n\r\n".encode()
    )
    seen = b""
    while b"event: " not in seen and b"HTTP/1.1 4" not in seen:
        seen += connection.recv(65536)
    return connection, seen


def test_a_user_has_five_streams_and_the_sixth_is_refused(fresh_cloud, fresh):
    made = fresh.create()
    streams = [open_stream(fresh_cloud, made["id"])[0] for _ in range(5)]
    sixth = fresh.get(f"/cvms/{made['id']}/state", params={"target": "running"})
    assert sixth.status_code == 429
    assert int(sixth.headers["Retry-After"]) > 0
    assert fresh.get(f"/cvms/{made['id']}/state").status_code == 200
    streams.pop().close()
    await_streams(fresh_cloud, 4)
    again, seen = open_stream(fresh_cloud, made["id"])
    assert b"200 OK" in seen
    for stream in [*streams, again]:
        stream.close()
    await_streams(fresh_cloud, 0)


def test_another_user_has_streams_of_their_own(fresh_cloud, fresh, connect):
    made = fresh.create()
    streams = [open_stream(fresh_cloud, made["id"])[0] for _ in range(5)]
    other = connect(fresh_cloud, key=fresh_cloud.new_workspace()["api_key"])
    foreign = other.create()
    assert other.watch(foreign["id"], "running")[-1][0] == "complete"
    for stream in streams:
        stream.close()


def test_six_at_once_are_five(fresh_cloud, fresh):
    made = fresh.create()
    found = []

    def open_one():
        found.append(open_stream(fresh_cloud, made["id"]))

    threads = [threading.Thread(target=open_one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = [seen for _, seen in found if b"200 OK" in seen]
    assert (len(accepted), len(found)) == (5, 12)
    for connection, _ in found:
        connection.close()


@pytest.mark.parametrize("target", ["deleted", "exited"])
def test_a_deletion_ends_the_stream(cloud, api, target):
    made = api.create()
    connection, seen = open_stream(cloud, made["id"], target)
    api("DELETE", f"/cvms/{made['id']}")
    with connection:
        while b"event: complete" not in seen and b"event: error" not in seen:
            seen += connection.recv(65536)
    assert (b"event: complete" in seen) is (target == "deleted")


def test_a_stream_sees_another_operation_begin(cloud, api):
    made = api.create()
    api.watch(made["id"], "running")
    connection, seen = open_stream(cloud, made["id"], "stopped")
    api.post(f"/cvms/{made['id']}/stop")
    with connection:
        while b"event: complete" not in seen:
            seen += connection.recv(65536)


def test_a_stream_of_nobody_is_not_found_and_takes_no_place(fresh_cloud, fresh):
    for _ in range(7):
        answer = fresh.get("/cvms/nobody/state", params={"target": "running"})
        assert answer.status_code == 404
    assert fresh_cloud.open_streams() == 0


def test_a_server_that_is_closed_ends_its_streams_at_once(connect):
    with LocalCloud(seed="empty", speed=1) as cloud:
        made = connect(cloud).create()
        stream, _ = open_stream(cloud, made["id"])
        began = time.monotonic()
        cloud.close()
        assert time.monotonic() - began < HANGS
        with stream:
            while stream.recv(65536):
                pass
