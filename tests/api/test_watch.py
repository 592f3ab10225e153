"""watch_cvm_state and the streams below it, against a LocalCloud that breaks on request."""

import inspect
import threading
import time

import pytest
from helpers import HANGS, until

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import TargetUnreachable
from cvm_notebook.api.http.sse import EventReader


def streams(cloud):
    return [r for r in cloud.requests() if r["path"].endswith("/state")]


@pytest.fixture
def name(caller, make):
    made = make(caller)
    yield made
    caller.delete_cvm(made)


def test_each_state_is_reported_and_the_last_one_is_the_answer(caller, name):
    seen = []
    caller.restart_cvm(name)
    state = caller.watch_cvm_state(name, target="running", on_event=seen.append)
    assert state.status == "running"
    assert state.name == name
    assert {s.status for s in seen} <= {"restarting", "starting", "running"}
    assert seen[-1].vm_uuid == state.vm_uuid
    assert state.raw["elapsed"] >= 0  # what only the end of the stream says


@pytest.mark.parametrize("target", ["running", "Running", "RUNNING"])
def test_the_status_is_spelled_as_asked(caller, name, target):
    assert caller.watch_cvm_state({"id": name, "target": target}).status == target


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "arg": 502},
        {"kind": "refuse"},
        {"kind": "reset"},
        {"kind": "cut", "arg": 1},
        {"kind": "half", "arg": 1},
        {"kind": "status", "arg": 503, "retry_after": 0},
    ],
    ids=str,
)
def test_a_stream_that_breaks_is_opened_again(broken, caller, name, fault):
    broken.clear_requests()
    broken.inject({"route": "stream", **fault})

    def stop(_state):
        if len(streams(broken)) == 2:
            caller.stop_cvm(name)

    state = caller.watch_cvm_state(name, target="stopped", retry_delay=0.05, on_event=stop)
    assert state.status == "stopped"
    assert len(streams(broken)) == 2


def test_a_stream_without_chunks_is_read_as_it_comes(broken, caller, name):
    broken.inject({"kind": "close_delimited", "route": "stream"})
    assert caller.watch_cvm_state(name, target="running").status == "running"


def test_a_flood_of_states_does_not_hide_the_end(broken, caller, name):
    broken.inject({"kind": "flood", "arg": 10_000, "route": "stream"})
    seen = []

    class EnoughError(Exception):
        pass

    def count(state):
        seen.append(state)
        if len(seen) == 2000:
            raise EnoughError

    with pytest.raises(EnoughError):  # an error of the callback is the caller's
        caller.watch_cvm_state(name, target="no-such-status", on_event=count)
    assert len(seen) == 2000


@pytest.mark.parametrize(
    "spelling",
    [
        {"max_retries": 2, "retry_delay": 0.01},
        {"maxRetries": 2, "retryDelay": 0.01},
    ],
)
def test_max_retries_and_retry_delay_hold_in_both_spellings(broken, caller, name, spelling):
    broken.clear_requests()
    broken.inject({"kind": "status", "arg": 502, "route": "stream", "times": 99})
    with pytest.raises(cvm.WatchTimeout) as caught:
        caller.watch_cvm_state({"id": name, "target": "stopped", **spelling})
    assert len(streams(broken)) == 3
    assert isinstance(caught.value, TimeoutError)
    assert "3 attempts" in str(caught.value)


def test_no_retries_is_one_attempt(broken, caller, name):
    broken.clear_requests()
    broken.inject({"kind": "drop", "arg": 1, "route": "stream", "times": 99})
    with pytest.raises(cvm.WatchTimeout) as caught:
        caller.watch_cvm_state(name, target="stopped", max_retries=0)
    assert len(streams(broken)) == 1
    assert caught.value.state.status == "running"
    assert "'running'" in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "arg": 429}, {"kind": "html"}, {"kind": "content_type", "arg": "text/x"}],
    ids=str,
)
def test_where_no_stream_can_be_had_it_polls(broken, caller, name, fault):
    broken.clear_requests()
    broken.inject({"route": "stream", **fault})
    seen = []
    assert caller.watch_cvm_state(name, target="running", on_event=seen.append).status == "running"
    assert [("target" in r.get("query", "")) for r in streams(broken)] == [True, False]
    assert [s.status for s in seen] == ["running"]


def test_a_failure_ends_the_wait(broken, caller, make):
    failed = make(caller)
    broken.fail(caller.get_cvm_info(failed).id, error="failed to start containers")
    with pytest.raises(TargetUnreachable, match="failed to start containers") as caught:
        caller.watch_cvm_state(failed, target="running")
    assert caught.value.state.status == "error"
    assert caller.watch_cvm_state(failed, target="error").status == "error"
    caller.delete_cvm(failed)


def test_a_deleted_cvm_ends_the_wait(caller, make):
    gone = make(caller)

    def delete(_state):
        caller.delete_cvm(gone)

    with pytest.raises((TargetUnreachable, cvm.NotFoundError)):
        caller.watch_cvm_state(gone, target="stopped", on_event=delete)
    assert caller.watch_cvm_state(gone, target="deleted").status == "deleted"
    with pytest.raises(cvm.NotFoundError):
        caller.watch_cvm_state(gone, target="running")


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_ends_the_wait(broken, caller, name, status):
    broken.clear_requests()
    broken.inject({"kind": "status", "arg": status, "route": "stream"})
    with pytest.raises(cvm.ApiError) as caught:
        caller.watch_cvm_state(name, target="running")
    assert caught.value.status == status
    assert len(streams(broken)) == 1


def test_ctrl_c_ends_the_wait_at_once(broken, caller, name, press_ctrl_c):
    broken.clear_requests()
    broken.inject({"kind": "silent", "route": "stream"})
    pressed = []

    def press():
        until(lambda: streams(broken))
        pressed.append(time.monotonic())
        press_ctrl_c()

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        caller.watch_cvm_state(name, target="stopped")
    pressing.join()
    assert time.monotonic() - pressed[0] < HANGS  # a silent stream goes on for longer


# --- the stream itself ---------------------------------------------------------------------------


def open_stream(client, name, stall=2 * HANGS):
    path = f"/cvms/{name}/state?target=stopped&interval=5&timeout=600"
    return client._transport.open(path, stall=stall, headers={})


def test_another_thread_can_end_a_reader_that_waits(broken, caller, name):
    broken.inject({"kind": "silent", "route": "stream"})
    stream = open_stream(caller, name)
    ended = threading.Event()

    def read():
        assert list(EventReader().events(stream)) == []
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert not ended.wait(0.2)
    stream.close()
    assert ended.wait(HANGS)
    reader.join()
    stream.close()  # again is no error


def test_a_silent_stream_is_found_dead(broken, caller, name):
    broken.inject({"kind": "silent", "route": "stream"})
    with pytest.raises(cvm.TransportError, match=r"no byte came for 0\.3 s"):
        list(open_stream(caller, name, stall=0.3))


def test_an_answer_that_is_no_stream_is_explained(broken, caller, name):
    broken.inject({"kind": "html", "route": "stream"})
    with pytest.raises(cvm.DecodeError, match="text/html, not an event stream"):
        open_stream(caller, name)


def test_half_an_event_at_the_end_is_dropped(broken, caller, name):
    broken.inject({"kind": "half", "arg": 2, "route": "stream"})
    events = list(EventReader().events(open_stream(caller, name)))
    assert [e.event for e in events] == ["state", "state"]


def test_streams_end_with_what_used_them(broken, caller, name):
    caller.watch_cvm_state(name, target="running")
    with pytest.raises(RuntimeError):
        caller.watch_cvm_state(name, target="stopped", on_event=_raise)
    until(lambda: broken.open_streams() == 0)  # the server sees their end a moment later


def _raise(_state):
    raise RuntimeError


def test_the_signature_is_the_documentation():
    named = inspect.signature(cvm.Client.watch_cvm_state).parameters
    assert {"target", "interval", "timeout", "max_retries", "retry_delay", "on_event"} <= set(named)
