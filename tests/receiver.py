"""A receiver of webhooks: an HTTP server of the test's own, which keeps what arrives."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from helpers import LONG_PATIENCE


class Arrived(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return self.headers["X-Webhook-Event"]

    @property
    def event_id(self) -> str:
        return self.headers["X-Webhook-Id"]


class Receiver:
    """What listens, and what it has heard.

    Attributes
    ----------
    url
        Where it listens.
    answers
        The statuses of the next answers; when they are used up it is 200.
    count
        How many requests have come.
    may_answer
        Requests wait for it.
    """

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.count = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._arrived: queue.Queue[Arrived] = queue.Queue()
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.count += 1
                heard._arrived.put(Arrived(self.path, dict(self.headers), body))
                assert heard.may_answer.wait(LONG_PATIENCE)
                status = heard.answers.pop(0) if heard.answers else 200
                self.send_response(status)
                if status in range(300, 400):
                    self.send_header("Location", f"{heard.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def next(self) -> Arrived:
        """Wait for what comes next."""
        return self._arrived.get(timeout=LONG_PATIENCE)

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen for a while."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()
