"""Reach through ASGI to the connection: answer past the server's framing, close, reset, refuse."""

import asyncio
import errno
import functools
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_logger = logging.getLogger("uvicorn.error")

REQUEST_SECONDS: Final = 30.0
"""How long a client may take to send the head of a request, and then its body."""

BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""

_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_QUIET_SECONDS: Final = 60.0
_SLOW_TEXT: Final = b'{"detail":"The request was not sent to its end."}'
_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_SLOW_TEXT), _SLOW_TEXT)
)
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket: from now on connections wait for a worker instead of failing.

    The protocol is named, for asyncio sets TCP_NODELAY only on connections that say they are TCP;
    without it each small answer waits 40 ms for the acknowledgement of its first half.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class FaultyProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which shows the application its connection.

    A request that is not sent to its end in time is answered 408 and its connection closed, so that
    nobody holds connections with halves of requests. How long that is stands in the state that the
    application's lifespan gives.
    """

    _waits_for: object | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Put the transport where each request's ``state`` is copied from."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._wait_for(h11.IDLE)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        self._wait_for(None)
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_for(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        """See what of a request is missing: its head, when it has begun, its body, or nothing."""
        state = self.conn.their_state
        begun = state is h11.SEND_BODY or (state is h11.IDLE and self.conn.trailing_data[0])
        missing = state if begun else None
        if missing is not self._waits_for:
            self._wait_for(missing)

    def _wait_for(self, what: object | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_for, self._deadline = what, None
        if what is not None:
            seconds = self.app_state.get("request_seconds", REQUEST_SECONDS)
            self._deadline = self.loop.call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        if self.flow.read_paused:  # we do not read: the client waits, and not we
            self._wait_for(self._waits_for)
            return
        answered = self.cycle is not None and self.cycle.response_started
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            begun_another = self.conn.their_state is h11.IDLE
            if begun_another or not answered:
                self.transport.write(_TOO_SLOW)
        self.transport.close()


def quiet_accept_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Say once a minute, and not a thousand times a second, that no connection can be accepted.

    At the limit of open files asyncio tries again each second, as often as connections may wait,
    and reports each failure with a traceback.
    """
    logged_at = -_QUIET_SECONDS

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal logged_at
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_MORE_FILES):
            loop.default_exception_handler(context)
        elif loop.time() - logged_at >= _QUIET_SECONDS:
            logged_at = loop.time()
            _logger.error("No connection can be accepted: %s. Trying again.", error.strerror)

    loop.set_exception_handler(handle)


class PausableServer(uvicorn.Server):
    """A uvicorn server that can stop listening for a while: connections are truly refused.

    The application finds ``pause`` in each request's ``state``. ``started`` is called once it
    serves and minds signals: a Ctrl-C that came before that could be lost.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and offer to pause."""
        self.lifespan.state["pause"] = self.pause
        await super().startup(sockets)
        if not self.should_exit:
            self._started()

    async def pause(self, seconds: float) -> None:
        """Stop listening now, and listen again at the same addresses after so many seconds."""
        addresses = [each.getsockname()[:2] for s in self.servers for each in s.sockets]
        for server in self.servers:
            server.close()
        self._reopening = asyncio.create_task(self._reopen(addresses, seconds))

    async def _reopen(self, addresses: list[tuple[str, int]], seconds: float) -> None:
        await asyncio.sleep(seconds)
        protocol = functools.partial(
            FaultyProtocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(protocol, sock=listen(*address), backlog=BACKLOG)
            for address in addresses
        ]


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True)
class Exchange:
    """One request, its application, and the connection it came on."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    @property
    def transport(self) -> asyncio.Transport:
        """The connection."""
        return cast(asyncio.Transport, self.scope["state"]["transport"])

    async def run(self) -> Answer:
        """Let the application do its work and keep its answer to ourselves."""
        start: MutableMapping[str, Any] = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self.app(self.scope, self.receive, keep)
        self.scope["state"]["answered"] = start["status"]
        return Answer(start["status"], list(start["headers"]), bytes(body))

    async def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """Answer in good order."""
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await self._start(status, raw)
        await self.send({"type": "http.response.body", "body": body})

    async def stream(self, headers: dict[str, str]) -> None:
        """Begin an answer without a length."""
        await self._start(200, [(name.encode(), value.encode()) for name, value in headers.items()])

    async def more(self, body: bytes, *, last: bool = False) -> None:
        """Send a piece of a stream; waits while the client does not read."""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})

    async def read_all(self) -> bytes:
        """Read the request's body."""
        body = bytearray()
        while (message := await self.receive())["type"] == "http.request":
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                break
        return bytes(body)

    async def gone(self) -> None:
        """Wait until the connection is closed, by whom ever."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def until_gone(self, work: Awaitable[None]) -> None:
        """Do the work, but not for a client that has left."""
        await race(work, self.gone())

    async def close(self) -> None:
        """Send what is written, then close."""
        self.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """Break the connection: what is not yet sent is lost, and the client sees a reset."""
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()
        await self.gone()

    def write_head(self, answer: Answer, *, length: int | None) -> None:
        """Write a status line and headers to the connection, past the server's own framing."""
        own = (b"content-length", b"transfer-encoding", b"connection")
        lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}".encode()]
        lines += [b"%s: %s" % pair for pair in answer.headers if pair[0].lower() not in own]
        lines.append(b"connection: close")
        if length is not None:
            lines.append(b"content-length: %d" % length)
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


def phrase(status: int) -> str:
    """Give the reason phrase of a status, also of one nobody has registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def race(*works: Awaitable[object]) -> None:
    """Wait for the first of the works to end; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
