"""A bench for operations: a LocalCloud that may be broken, a client, a store, and a ledger."""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest
from helpers import COMPOSE

from cvm_notebook.api.client import Client
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.store import FleetStore

_numbers = count(1)


@pytest.fixture(scope="module")
def shared_cloud(new_cloud):
    with new_cloud(seed="empty", speed=500) as cloud:
        yield cloud


class Bench:
    """A cloud and one kernel that works on it."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.faults = []
        self._open = []
        self.client = self.new_client()
        self.store = FleetStore()
        self.operations = self.new_operations(self.client, self.store)

    def new_client(self, url=None, **settings):
        client = Client(api_key=self.cloud.api_key, base_url=url or self.cloud.url, **settings)
        self._open.append(client)
        return client

    def new_operations(self, client=None, store=None, hooks=None, **settings):
        client = client or self.new_client()
        made = OperationService(
            client, store or self.store, hooks, on_fault=self.faults.append, **settings
        )
        self._open.append(made)
        return made

    def delete(self, cvm_id):
        """Delete a CVM past all operations, and wait until it is gone."""
        self.client.delete_cvm(cvm_id)
        self.client.watch_cvm_state(cvm_id, target="deleted")

    def make(self, number=1, status="running", advance=0):
        """Make CVMs, wait until they are so, list the fleet, and return their rows.

        On a slow cloud, `advance` moves its clock past the boots.
        """
        names = [f"work-{next(_numbers)}" for _ in range(number)]
        for name in names:
            provision = self.client.provision_cvm(name=name, compose_file=COMPOSE)
            self.client.commit_cvm_provision(provision)
        self.cloud.advance(advance)
        for name in names:
            self.client.watch_cvm_state(name, target="running")
            if status == "stopped":
                self.client.stop_cvm(name)
                self.client.watch_cvm_state(name, target="stopped")
        self.list()
        self.cloud.clear_requests()
        return [self.row(name) for name in names]

    def list(self, store=None):
        asked = time.monotonic()
        cvms = self.client.list_cvms()
        (store or self.store).replace(cvms, received=time.monotonic(), asked=asked)

    def row(self, name):
        return self.store.snapshot().find(name)

    def sent(self, method, ending=""):
        """Count the requests of a method whose path ends so."""
        return sum(
            r["method"] == method and r["path"].partition("?")[0].endswith(ending)
            for r in self.cloud.requests()
        )

    def break_it(self, kind, **more):
        self.cloud.inject({"kind": kind, **more})

    def close(self):
        self.cloud.clear_faults()
        for one in reversed(self._open):
            one.close()


@pytest.fixture
def bench(shared_cloud):
    """A kernel of the test's own on a cloud that the module shares."""
    shared_cloud.clear_faults()
    shared_cloud.clear_requests()
    made = Bench(shared_cloud)
    yield made
    made.close()


@pytest.fixture
def held(bench, lay_line):
    """A line, and operations that send by it: nothing arrives before `line.flow()`."""
    line = lay_line(bench.cloud.port)
    line.stall()
    operations = bench.new_operations(bench.new_client(line.url))
    yield line, operations
    operations.close(0.0)  # or what waits would go to whoever has the line's port next


@pytest.fixture
def new_bench(new_cloud):
    """Make benches on clouds of their own, of any speed."""
    made = []

    def make(**settings):
        made.append(Bench(new_cloud(seed="empty", **settings).start()))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.cloud.close()


# --- a gateway that loses answers -----------------------------------------------------------------

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, and not a second
_LATER = 0.3  # seconds until the service goes on with what the gateway has given up on
_PATIENCE = 20.0


class Gateway(ThreadingHTTPServer):
    """An HTTP proxy before a cloud that loses the answer to requests that are named.

    Attributes
    ----------
    requests
        How often each (method, path) has arrived here.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port, slow=1.6):
        super().__init__(("127.0.0.1", 0), _Request)
        self.port = port
        self.slow = slow  # seconds: longer than the clients wait for an answer
        self.requests = Counter()
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._lost = {}
        self._later = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="gateway")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.server_port}/api/v1"

    def lose(self, method, path, way):
        """Lose the answer to the first such request; the ways are those of `WAYS`."""
        with self._lock:
            self._lost[method, f"/api/v1{path}"] = way

    def arrived(self, method, path):
        """Note a request, and return in which way its answer is lost, if it is."""
        with self._lock:
            self.requests[method, path] += 1
            return self._lost.pop((method, path), None)

    def count(self, method, path):
        return self.requests[method, f"/api/v1{path}"]

    def afterwards(self, seconds, act):
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        with self._lock:
            self._later.append(timer)
        timer.start()

    def rest(self):
        """Wait until the service has been given all that it goes on with."""
        for timer in list(self._later):
            timer.join(_PATIENCE)
            assert not timer.is_alive()

    def handle_error(self, _request, _address):
        """Say nothing of clients that have gone."""

    def close(self):
        self.closed.set()
        self.rest()
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        with contextlib.suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def log_message(self, *_):
        pass

    def handle_any(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        way = self.server.arrived(self.command, self.path.partition("?")[0])
        self.close_connection = True
        WAYS[way](self)

    do_GET = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815 - named so by http.server

    def forward(self):
        """Ask the service, and return what it answers."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port)) as far:
            headers = {**dict(self.headers), "Connection": "close"}
            far.request(self.command, self.path, self.body or None, headers)
            answer = far.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def forward_later(self):
        self.server.afterwards(_LATER, self.forward)

    def answer(self, status, headers, body, *, length=None):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        os.close(self.connection.detach())

    def says(self, status):
        self.answer(status, [("Content-Type", "text/html")], b"<h1>no</h1>")

    def truncate(self):
        status, headers, body = self.forward()
        self.answer(status, headers, body[: len(body) // 2], length=len(body) or 7)

    def wait_too_long(self):
        self.server.closed.wait(self.server.slow)

    def hang(self):
        self.wait_too_long()
        self.reset()

    def late(self):
        answer = self.forward()
        self.wait_too_long()
        self.answer(*answer)

    def hold(self):
        self.server.afterwards(self.server.slow, self.forward)
        self.wait_too_long()


def _after(act, then):
    return lambda request: (act(request), then(request))


WAYS = {
    None: lambda request: request.answer(*request.forward()),
    "reset": _Request.reset,
    "reset_after": _after(_Request.forward, _Request.reset),
    "truncated": _Request.truncate,
    "500": lambda request: request.says(500),
    "504": lambda request: request.says(504),
    "500 and done": _after(_Request.forward, lambda request: request.says(500)),
    "500 going on": _after(_Request.forward_later, lambda request: request.says(500)),
    "502 going on": _after(_Request.forward_later, lambda request: request.says(502)),
    "504 going on": _after(_Request.forward_later, lambda request: request.says(504)),
    "hang": _Request.hang,
    "late": _Request.late,
    "held": _Request.hold,
}
UNDONE = {"reset", "500", "504", "hang"}  # the service does nothing


@pytest.fixture
def lay_gateway():
    """Lay gateways to ports of this machine: ``lay_gateway(cloud.port)``."""
    made = []

    def lay(port, **settings):
        made.append(Gateway(port, **settings))
        return made[-1]

    lay.ways = tuple(way for way in WAYS if way is not None)
    lay.undone = frozenset(UNDONE)
    yield lay
    for one in made:
        one.close()
