"""One exchange over HTTP: no retries, no redirects.

It uses requests' transport adapter without a Session. A Session adds redirects, cookies and netrc,
all of which an API key must never meet; and nobody promises that one may be shared by threads,
while the adapter is urllib3's pool, which is. Failures are returned and not raised here, so that no
frame of a library, with the key among its locals, hangs on to the error that a user sees.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool

from cvm_notebook.api.errors.tree import CvmError, DecodeError, TransportError
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.failures import FAILURES, explain, used_up
from cvm_notebook.api.http.proxies import Environment
from cvm_notebook.api.http.sockets import Attempt, Sockets, limited
from cvm_notebook.api.secret import MASK, Secret

MAX_BODY_BYTES: Final = 64 * 2**20
_CHUNK: Final = 2**16  # read1 makes a buffer of this size each time: larger ones cost a mmap
_CONNECTIONS: Final = 64


class Timeout(NamedTuple):
    """Seconds one call may take.

    Attributes
    ----------
    connect
        Until the connection stands.
    read
        Until the next byte comes.
    total
        For the whole call, retries and their waits included.
    """

    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Shown(str):
    """A header value with a mask for a repr: tracebacks that print locals show headers."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


class _Adapter(HTTPAdapter):
    """An adapter for one origin: it finds its pool of connections once, not for every request."""

    _pool: ConnectionPool | None = None

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        super().__init__(pool_maxsize=_CONNECTIONS, max_retries=0)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> ConnectionPool:
        if self._pool is None:
            pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
            pool.ConnectionCls = limited(pool.ConnectionCls, self._sockets)
            self._pool = pool
        return self._pool

    def close(self) -> None:
        self._pool = None
        super().close()


class Exchange:
    """Sends single requests to one base URL with one key, or none. Safe to use from any thread.

    Parameters
    ----------
    sockets
        Those of another exchange that is to be ended together with this one.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret | None,
        headers: Mapping[str, str],
        sockets: Sockets | None = None,
    ) -> None:
        self.base_url = base_url
        self.sockets = sockets or Sockets()
        self._environment = Environment(base_url)
        self._usable = False  # until the environment was looked at
        self._host = urlsplit(base_url).hostname or ""
        self._adapter = _Adapter(self.sockets)
        # Every call copies this one: preparing a request costs as much as sending it.
        secret = {} if key is None else {"X-API-Key": _Shown(key.reveal())}
        self._template = requests.Request("GET", base_url, headers={**headers, **secret}).prepare()
        self._pid = os.getpid()

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: Timeout,
        deadline: Deadline,
        on_sent: Callable[[], None] | None = None,
    ) -> Answer | CvmError:
        """Send a request and read its answer to the end, before the deadline.

        Parameters
        ----------
        on_sent
            Called when it has ended, in whatever way, if bytes of it may have left this machine.
        """
        where = f"{method} {_bare(path)}"
        prepared = self._prepared(method, path, headers, body)
        attempt = _attempt(limit, limit.read, deadline)
        try:
            started = self._start(prepared, where, attempt)
            if isinstance(started, CvmError):
                return started
            return self._whole(started, where, attempt)
        finally:
            if on_sent is not None and attempt.sent:
                on_sent()

    def open(
        self,
        path: str,
        headers: Mapping[str, str],
        limit: Timeout,
        stall: float,
        *,
        deadline: Deadline,
        life: Deadline,
        media: str | None = "text/event-stream",
        where: str | None = None,
    ) -> "ByteStream | Answer | CvmError":
        """Open a stream; an answer that is none is returned, read to its end.

        Parameters
        ----------
        deadline
            When it must be open: for the connection, the head, and the body of a refusal.
        life
            When the stream itself must have ended.
        media
            The media type of a stream; None takes any.
        where
            What is opened, for errors, when the path itself is not to be shown.
        """
        where = where or f"GET {_bare(path)}"
        prepared = self._prepared("GET", path, headers, None)
        attempt = _attempt(limit, stall, deadline)
        started = self._start(prepared, where, attempt)
        if isinstance(started, CvmError):
            return started
        kind = started.headers.get("content-type", "").partition(";")[0].strip().lower()
        if started.status_code == requests.codes.ok and media in (None, kind):
            attempt.deadline, attempt.read = life, stall  # until now, the time to open it
            return ByteStream(started.raw, where, attempt)
        if started.ok:  # its body is not wanted, and may be a stream that never ends
            started.raw.close()
            return Answer(started.status_code, started.headers, b"")
        return self._whole(started, where, attempt)

    def close(self) -> None:
        """End the connections that are idle."""
        self._adapter.close()

    def abort(self) -> None:
        """End for good: what is under way breaks at once, and nothing more is sent.

        A thread in the midst of TCP's own handshake is not woken: it finds out when that is done,
        at the latest after the connect timeout.
        """
        self.sockets.end()
        self._adapter.close()

    def _prepared(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        prepared = self._template.copy()
        prepared.method = method
        prepared.url = self.base_url + path
        prepared.headers.update(headers)
        if body is not None:
            prepared.body = body
            prepared.headers["Content-Length"] = str(len(body))
        elif method != "GET":
            prepared.headers["Content-Length"] = "0"
        return prepared

    def _start(
        self, prepared: requests.PreparedRequest, where: str, attempt: Attempt
    ) -> requests.Response | CvmError:
        """Send, and wait for the head of the answer."""
        if (refused := self._refused(where, attempt)) is not None:
            return refused
        self.sockets.current.attempt = attempt
        try:
            return self._adapter.send(
                prepared,
                stream=True,
                timeout=(attempt.connect, attempt.read),
                verify=self._environment.verify,
                proxies=self._environment.proxies,
            )
        except FAILURES as error:
            failure = explain(error, attempt, where, self._host)
        # Files may have gone since the first look at the environment.
        return failure if attempt.sent else self._environment.fault() or failure

    def _refused(self, where: str, attempt: Attempt) -> CvmError | None:
        """Return why nothing can be sent, as far as that is known before."""
        if os.getpid() != self._pid:
            return TransportError(
                f"{where} was not sent: this client was made before the process forked",
                hint="Its connections belong to the parent: make a new Client in the child.",
                sent=False,
            )
        if self.sockets.ended:
            return TransportError(
                f"{where} was not sent: its connections were closed",
                hint="Make a new Client, or a new Fleet.",
                sent=False,
            )
        if not self._usable:
            if (fault := self._environment.fault()) is not None:
                return fault
            self._usable = True
        return used_up(where, attempt) if attempt.deadline.expired else None

    def _whole(self, started: requests.Response, where: str, attempt: Attempt) -> Answer | CvmError:
        """Read a body to its end, no larger than is sane once decoded."""
        pieces: list[bytes] = []
        size = 0
        raw = started.raw
        try:
            while piece := raw.read1(_CHUNK, decode_content=True):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raw.close()
                    return _too_large(where)
        except FAILURES as error:
            raw.close()
            return explain(error, attempt, where)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Answer(started.status_code, started.headers, body)


class ByteStream:
    """An open stream of bytes that any thread may close."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, where: str, attempt: Attempt) -> None:
        self._raw = raw
        self._where = where
        self._attempt = attempt
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as the socket has them; ends when the stream ends or is closed.

        Raises
        ------
        TransportError
            When the connection breaks, is silent for too long, or goes on for too long.
        """
        try:
            # Looked at each time: from a socket that was shut down a flood can still be read.
            while not self._closed and (got := self._read()):
                if isinstance(got, CvmError):
                    raise got
                yield got
        finally:
            self._closed = True
            self._raw.close()

    def _read(self) -> bytes | CvmError:
        try:
            return self._raw.read1(_CHUNK, decode_content=False) or b""
        except (*FAILURES, ValueError) as error:
            return b"" if self._closed else explain(error, self._attempt, self._where)

    def close(self) -> None:
        """End the stream at once; a reader that is blocked on it sees its end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # Closing a socket does not wake a thread that reads from it; shutting it down does.
        self._attempt.cut()


def _attempt(limit: Timeout, read: float, deadline: Deadline) -> Attempt:
    left = deadline.remaining()
    return Attempt(deadline, min(limit.connect, left), min(read, left))


def _bare(path: str) -> str:
    return path.partition("?")[0]


def _too_large(where: str) -> CvmError:
    return DecodeError(
        f"{where}: the answer is larger than {MAX_BODY_BYTES >> 20} MiB and was not read",
        where=where,
        hint="Report it to the service.",
    )
