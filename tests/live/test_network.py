"""A live fleet on networks that fail below HTTP, and on clocks that are wrong."""

import contextlib
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from helpers import commit, until

import cvm_notebook as cvm
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.reflector import lister as wire
from cvm_notebook.live.reflector.events import ReflectorSettings
from cvm_notebook.live.reflector.reflector import Reflector
from cvm_notebook.live.store.store import FleetStore

PATIENCE = 20.0
QUICK = ReflectorSettings(
    resync=1.0, sweep=0.5, fast=0.2, debounce=0.05, per_second=100.0, give_up_after=0.5
)
CALM = ReflectorSettings(resync=300.0, sweep=300.0, fast=300.0, debounce=0.05)


@pytest.fixture
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture
def running(client):
    """The id of a CVM that runs."""
    name = f"net-{time.monotonic_ns() % 10**9}"
    made = commit(client, name)
    client.watch_cvm_state(made, target="running")
    yield made.id
    client.delete_cvm(made)


@pytest.fixture
def line(lay_line, cloud):
    return lay_line(cloud.port)


@pytest.fixture
def look(cloud):
    """Begin to look at the fleet by way of a URL."""
    with contextlib.ExitStack() as stack:

        def looking(url, settings=QUICK, clock=None):
            client = stack.enter_context(cvm.Client(api_key=cloud.api_key, base_url=url))
            store = FleetStore(clock or SystemClock())
            made = Reflector(client, store, settings=settings, clock=clock or SystemClock())
            stack.enter_context(made)
            stack.enter_context(made.interest())
            return made, store

        yield looking


def row(store, cvm_id):
    return store.snapshot().find(cvm_id)


def test_a_stream_whose_line_dies_silently_is_found_dead_and_opened_again(
    client, running, line, look, monkeypatch
):
    assert wire._STALL <= 3 * wire._INTERVAL
    monkeypatch.setattr(wire, "_STALL", 2.0)  # longer than a busy server is silent
    reflector, store = look(line.url, CALM)
    reflector.ready(PATIENCE)
    reflector.follow(running)
    until(lambda: row(store, running).source == "stream")
    line.stall()
    before = line.accepted
    until(lambda: line.accepted > before)
    line.flow()
    client.stop_cvm(running)
    until(lambda: row(store, running).status == "stopped")
    assert row(store, running).source == "stream"


def test_a_fleet_whose_line_dies_silently_looks_no_fresher_and_comes_back(running, line, look):
    reflector, store = look(line.url)
    reflector.ready(PATIENCE)
    line.stall()
    until(lambda: store.health.state == "offline")
    seen, before = row(store, running).observed_at, line.accepted
    until(lambda: line.accepted >= before + 2)
    assert row(store, running).observed_at == seen
    line.flow()
    until(lambda: store.health.state == "live")
    until(lambda: row(store, running).observed_at > seen)


def test_connections_that_are_reset_cost_no_row(running, line, look):
    reflector, store = look(line.url)
    reflector.ready(PATIENCE)
    gone = []
    store.attach(lambda changes: gone.extend(c for c in changes if c.after is None))
    for _ in range(5):
        seen = row(store, running).observed_at
        line.reset()
        until(lambda seen=seen: row(store, running).observed_at > seen)
    assert gone == []


def test_a_name_that_is_not_found_is_shown_and_the_fleet_comes_back_by_itself(
    cloud, running, look, monkeypatch
):
    def forgets(*_name, **_more):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with monkeypatch.context() as broken:
        broken.setattr(socket, "getaddrinfo", forgets)
        _, store = look(cloud.url)
        until(lambda: store.health.state == "offline")
        assert "cannot be reached" in str(store.health)
        assert "offline since" in str(store.health)
    until(lambda: store.health.state == "live")
    assert row(store, running).status == "running"


class Wrong(SystemClock):
    """A clock of this machine that shows another time than the service's."""

    def __init__(self, ahead):
        self.ahead = timedelta(seconds=ahead)

    def now(self):
        return super().now() + self.ahead


@pytest.mark.parametrize("ahead", [-600, 600])
def test_a_wall_clock_that_is_wrong_makes_no_row_older_or_younger(
    cloud, client, running, look, ahead
):
    reflector, store = look(cloud.url, clock=Wrong(ahead))
    reflector.ready(PATIENCE)
    assert 0 <= row(store, running).age(time.monotonic()) < PATIENCE
    shown = row(store, running).seen_at - datetime.now(UTC)
    assert abs(shown.total_seconds() - ahead) < PATIENCE
    client.stop_cvm(running)
    until(lambda: row(store, running).status == "stopped")
    assert row(store, running).age(time.monotonic()) < PATIENCE
