"""Stream readers, against a real server: what they bring, how they end, and that they end."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from queue import Empty, Queue

import pytest
from helpers import HANGS, commit

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import TransportError
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.reflector.events import (
    CloseReason,
    FailureKind,
    ReflectorSettings,
    StreamClosed,
    StreamOpened,
    Tick,
)
from cvm_notebook.live.reflector.lister import FleetApi
from cvm_notebook.live.reflector.stream_reader import (
    FLUSH,
    Sink,
    StreamPool,
    StreamReader,
    Throttle,
)

PATIENCE = 20.0
NO_STREAM = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 999\r\n\r\nevent: s"


@pytest.fixture(scope="module")
def server(new_cloud):
    with new_cloud(seed="empty", speed=100) as running:
        client = cvm.Client(api_key=running.api_key, base_url=running.url)
        commit(client, "streamed")
        client.watch_cvm_state("streamed", target="running")
        client.close()
        yield running


@pytest.fixture
def cloud(server):
    server.clear_faults()
    server.clear_requests()
    yield server
    server.clear_faults()
    deadline = time.monotonic() + PATIENCE
    while server.open_streams() and time.monotonic() < deadline:
        time.sleep(0.02)  # a stream that is left is noticed by its server a moment later
    assert server.open_streams() == 0


@pytest.fixture
def wire(cloud):
    client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
    made = FleetApi(client, ReflectorSettings())
    yield made
    made.cut()
    client.close()


class Received:
    """What a reader brings."""

    def __init__(self):
        self.facts = Queue()
        self.events = Queue()

    @property
    def sink(self):
        return Sink(self.facts.put, self.events.put)

    def end(self):
        while not isinstance(event := self.events.get(timeout=PATIENCE), StreamClosed):
            pass
        return event


@pytest.fixture
def read(wire):
    def reading(cvm_id="streamed"):
        received = Received()
        reader = StreamReader(wire, cvm_id, received.sink, SystemClock())
        reader.start()
        return reader, received

    return reading


def test_a_state_is_brought_as_a_fact_when_it_arrives(read):
    reader, received = read()
    (fact,) = received.facts.get(timeout=PATIENCE)
    assert (fact.status, fact.source, fact.id) == ("running", "stream", "streamed")
    assert received.events.get(timeout=PATIENCE) == StreamOpened("streamed")
    reader.close()
    assert received.end().how is CloseReason.CLOSED


def test_a_stream_is_closed_from_another_thread_at_once(read):
    reader, received = read()
    received.facts.get(timeout=PATIENCE)
    reader.close()
    reader.thread.join(HANGS)
    assert not reader.thread.is_alive()


def test_a_stream_that_has_not_begun_is_cut_with_its_wire(read, wire, cloud):
    cloud.inject({"kind": "hang", "route": "stream"})
    reader, received = read()
    _requested(cloud, "stream")
    reader.close()
    wire.cut()
    reader.thread.join(HANGS)
    assert not reader.thread.is_alive()
    assert received.end().how is CloseReason.CLOSED


def _requested(cloud, what):
    deadline = time.monotonic() + PATIENCE
    while not any("/state" in r["path"] for r in cloud.requests()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "how", "kind"),
    [
        ({"kind": "drop", "arg": 1}, CloseReason.ENDED, None),
        ({"kind": "half", "arg": 1}, CloseReason.ENDED, None),
        ({"kind": "cut", "arg": 1}, CloseReason.FAILED, FailureKind.FAILED),
        ({"kind": "status", "arg": 429}, CloseReason.FAILED, FailureKind.SLOW_DOWN),
        ({"kind": "status", "arg": 401}, CloseReason.FAILED, FailureKind.KEY),
        ({"kind": "status", "arg": 404}, CloseReason.FAILED, FailureKind.MISSING),
        ({"kind": "status", "arg": 503}, CloseReason.FAILED, FailureKind.FAILED),
        ({"kind": "status", "arg": 204}, CloseReason.FAILED, FailureKind.NO_SENSE),
        ({"kind": "html"}, CloseReason.FAILED, FailureKind.NO_SENSE),
        ({"kind": "raw", "arg": [NO_STREAM, None]}, CloseReason.FAILED, FailureKind.NO_SENSE),
        ({"kind": "redirect", "arg": "http://evil/"}, CloseReason.FAILED, FailureKind.UNTRUSTED),
    ],
)
def test_each_way_a_stream_ends_is_distinguished(read, cloud, fault, how, kind):
    cloud.inject({"route": "stream", **fault})
    _, received = read()
    end = received.end()
    assert end.how is how
    assert (end.failure.kind if end.failure else None) is kind


def test_half_an_event_at_the_end_is_dropped(read, cloud):
    cloud.inject({"kind": "half", "arg": 1})
    _, received = read()
    received.end()
    assert received.facts.qsize() == 1


def test_a_stream_of_a_deleted_cvm_says_that_it_is_gone(read, cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client:
        commit(client, "leaving")
        client.watch_cvm_state("leaving", target="running")
        _, received = read("leaving")
        received.facts.get(timeout=PATIENCE)
        client.delete_cvm("leaving")
    assert received.end().how is CloseReason.GONE


@pytest.mark.parametrize(("asked", "kept"), [("0", 0.0), ("4000", 4.0), ("99999999", 30.0)])
def test_the_wait_that_a_stream_asks_for_is_clamped(read, cloud, asked, kept):
    body = f'retry: {asked}\nevent: state\ndata: {{"status": "running"}}\n\n'
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    cloud.inject({"kind": "raw", "arg": head + body, "route": "stream"})
    _, received = read()
    assert received.end().retry == kept


def test_what_cannot_be_read_is_passed_over(read, cloud):
    body = "".join(
        f"event: state\ndata: {data}\n\n"
        for data in ("nonsense", "[1]", "{}", '{"status": 5}', '{"status": "stopped"}')
    )
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    cloud.inject({"kind": "raw", "arg": head + body, "route": "stream"})
    _, received = read()
    assert received.end().how is CloseReason.ENDED
    assert [fact.status for (fact,) in received.facts.queue] == ["stopped"]


def test_a_flood_is_held_back_and_its_last_word_is_kept(read, cloud):
    cloud.inject({"kind": "flood", "arg": 5_000})
    began = time.monotonic()
    reader, received = read()
    end = time.monotonic() + 1.0
    while (left := end - time.monotonic()) > 0:
        with suppress(Empty):
            received.events.get(timeout=min(left, FLUSH))
        reader.flush()
    reader.close()
    received.end()
    seconds = time.monotonic() - began
    assert received.facts.qsize() <= 20 + 2 * 10 * seconds + 2


def test_a_throttle_lets_bursts_through_and_holds_floods_back(clock):
    throttle = Throttle()
    assert [throttle.passes(clock.monotonic()) for _ in range(30)] == [True] * 20 + [False] * 10
    clock.advance(1.0)
    assert sum(throttle.passes(clock.monotonic()) for _ in range(30)) == 10


def test_a_call_that_dies_is_reported_as_a_failure(wire):
    received = Queue()
    lines = StreamPool(lambda: wire, lambda _: None, received.put, SystemClock())

    def dies(_wire):
        raise SystemExit

    lines.call("ask", dies, lambda failure: failure)
    assert received.get(timeout=PATIENCE).kind is FailureKind.FAILED


def test_what_a_call_brings_after_a_cut_is_dropped(wire):
    received, go = Queue(), threading.Event()
    lines = StreamPool(lambda: wire, lambda _: None, received.put, SystemClock())

    def waits(_wire):
        go.wait(PATIENCE)
        return Tick()

    lines.call("ask", waits, lambda failure: failure)
    lines.cut()
    go.set()
    for thread in lines.threads():
        thread.join(PATIENCE)
    assert received.empty()


def test_what_a_stream_still_had_in_its_buffer_at_a_cut_is_dropped(wire, cloud):
    """It would be dated after the cut, and outrank the list that is asked for next."""
    brought, opened = Queue(), threading.Event()

    def tell(event):
        if isinstance(
            event, StreamOpened
        ):  # on the reader's thread: its first state is read already
            lines.cut()
            opened.set()

    lines = StreamPool(lambda: wire, brought.put, tell, SystemClock())
    lines.open("streamed")
    assert opened.wait(PATIENCE)
    for thread in lines.threads():
        thread.join(PATIENCE)
    assert brought.empty()


@pytest.fixture
def deaf(authority, tmp_path, monkeypatch):
    """A TLS server that reads requests and never answers; its URL."""
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "trusted.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = threading.Event()

        def serve():
            plain, _ = server.accept()
            with context.wrap_socket(plain, server_side=True) as secure:
                while secure.recv(65536):
                    asked.set()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{server.getsockname()[1]}/api/v1", asked
        thread.join(PATIENCE)


def test_a_cut_wakes_a_call_that_waits_under_tls(deaf):
    url, asked = deaf
    with cvm.Client(api_key="phak_x", base_url=url) as client:
        wire = FleetApi(client, ReflectorSettings())
        received = Queue()
        lines = StreamPool(lambda: wire, lambda _: None, received.put, SystemClock())
        lines.call("list", lambda each: each.page(1), lambda failure: failure)
        assert asked.wait(PATIENCE)
        lines.cut()
        for thread in lines.threads():
            thread.join(HANGS)
        assert not [thread for thread in lines.threads() if thread.is_alive()]
        with pytest.raises(TransportError, match="connections were closed"):
            wire.page(1)
