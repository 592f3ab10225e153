"""One exchange over HTTP, and the only module that imports requests: no retries, no redirects.

It uses requests' transport adapter without a Session. A Session adds redirects, cookies and netrc,
all of which an API key must never meet; and nobody promises that one may be shared by threads,
while the adapter is urllib3's pool, which is. Failures are returned and not raised here, so that no
frame of a library, with the key among its locals, hangs on to the error that a user sees.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool

from cvm_notebook.api.address import is_loopback
from cvm_notebook.api.errors import (
    CvmError,
    DeadlineExceeded,
    DecodeError,
    TransportError,
    TruncatedResponse,
)
from cvm_notebook.api.secret import MASK, Secret
from cvm_notebook.api.sockets import Sockets

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
    """What came back, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotTrustedError(TransportError):
    """The other end, or the proxy before it, is not to be trusted with the key."""


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
            pool.ConnectionCls = self._sockets.noting(pool.ConnectionCls)
            self._pool = pool
        return self._pool

    def close(self) -> None:
        self._pool = None
        super().close()


class Exchange:
    """Sends single requests to one base URL with one key, or none. Safe to use from any thread."""

    def __init__(self, base_url: str, key: Secret | None, headers: Mapping[str, str]) -> None:
        self.base_url = base_url
        # Proxies and certificates of the environment are read once: per call that would cost
        # more than the call.
        found = requests.Session().merge_environment_settings(base_url, {}, None, None, None)
        self._verify = found["verify"] or True  # there is no way to switch it off
        # A proxy cannot reach this machine by its own name, and must not see its key in the clear.
        own = is_loopback(urlsplit(base_url).hostname or "")
        self._proxies = {} if own else dict(found["proxies"])
        self._sockets = Sockets()
        self._adapter = _Adapter(self._sockets)
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
        ends: float,
    ) -> Answer | CvmError:
        """Send a request and read its answer to the end, before the moment `ends`."""
        where = f"{method} {_bare(path)}"
        prepared = self._prepared(method, path, headers, body)
        left = max(ends - time.monotonic(), 0.001)
        timeout = (min(limit.connect, left), min(limit.read, left))
        started = self._start(prepared, where, timeout)
        if isinstance(started, CvmError):
            return started
        content = _read_all(started.raw, where, timeout[1], ends)
        if isinstance(content, CvmError):
            return content
        return Answer(started.status_code, started.headers, content)

    def open(
        self,
        path: str,
        headers: Mapping[str, str],
        limit: Timeout,
        stall: float,
        *,
        media: str | None = "text/event-stream",
        where: str | None = None,
    ) -> "ByteStream | Answer | CvmError":
        """Open a stream; an answer that is none is returned, read to its end.

        Parameters
        ----------
        media
            The media type of a stream; None takes any.
        where
            What is opened, for errors, when the path itself is not to be told.
        """
        where = where or f"GET {_bare(path)}"
        prepared = self._prepared("GET", path, headers, None)
        started = self._start(prepared, where, (limit.connect, stall))
        if isinstance(started, CvmError):
            return started
        kind = started.headers.get("content-type", "").partition(";")[0].strip().lower()
        if started.status_code == requests.codes.ok and media in (None, kind):
            return ByteStream(started.raw, where, stall)
        if started.ok:  # its body is not wanted, and may be a stream that never ends
            started.raw.close()
            return Answer(started.status_code, started.headers, b"")
        ends = time.monotonic() + limit.read
        content = _read_all(started.raw, where, stall, ends)
        if isinstance(content, CvmError):
            return content
        return Answer(started.status_code, started.headers, content)

    def close(self) -> None:
        """End the connections that are idle."""
        self._adapter.close()

    def abort(self) -> None:
        """End for good: what is under way breaks at once, and nothing more is sent.

        A thread that still looks a name up or connects is not woken: it finds out when that is
        done, at the latest after the connect timeout.
        """
        self._sockets.end()
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
        self, prepared: requests.PreparedRequest, where: str, timeout: tuple[float, float]
    ) -> requests.Response | CvmError:
        """Send, and wait for the head of the answer."""
        if os.getpid() != self._pid:
            return TransportError(
                f"{where} was not sent: this client was made before the process forked",
                hint="Its connections belong to the parent: make a new Client in the child.",
                sent=False,
            )
        if self._sockets.ended:
            return TransportError(
                f"{where} was not sent: its connections were closed",
                hint="Make a new Client, or a new Fleet.",
                sent=False,
            )
        try:
            return self._adapter.send(
                prepared,
                stream=True,
                timeout=timeout,
                verify=self._verify,
                proxies=self._proxies,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return _explain(error, where, urlsplit(self.base_url).hostname or "", timeout)


class ByteStream:
    """An open stream of bytes that any thread may close."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, where: str, stall: float) -> None:
        self._raw = raw
        self._where = where
        self._stall = stall
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as the socket has them; ends when the stream ends or is closed.

        Raises
        ------
        TransportError
            When the connection breaks or is silent for too long.
        """
        try:
            while got := self._read():
                if isinstance(got, CvmError):
                    raise got
                yield got
        finally:
            self._closed = True
            self._raw.close()

    def _read(self) -> bytes | CvmError:
        try:
            return self._raw.read1(_CHUNK, decode_content=False) or b""
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._closed:
                return b""
            return _explain(error, self._where, "", (0.0, self._stall))

    def close(self) -> None:
        """End the stream at once; a reader that is blocked on it sees its end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # Closing a socket does not wake a thread that reads from it; shutting it down does.
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            self._raw.shutdown()


def _bare(path: str) -> str:
    return path.partition("?")[0]


def _read_all(
    raw: urllib3.BaseHTTPResponse, where: str, read: float, ends: float
) -> bytes | CvmError:
    """Read a body to its end: within the deadline, and no larger than is sane once decoded."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := raw.read1(_CHUNK, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES or time.monotonic() > ends:
                raw.close()
                return _too_large(where) if size > MAX_BODY_BYTES else _too_late(where)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raw.close()
        return _explain(error, where, "", (0.0, read))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# --- from failures to words ----------------------------------------------------------------


def _too_large(where: str) -> CvmError:
    return DecodeError(
        f"{where}: the answer is larger than {MAX_BODY_BYTES >> 20} MiB and was not read",
        where=where,
        hint="Report it to the service.",
    )


def _too_late(where: str) -> CvmError:
    return DeadlineExceeded(
        f"{where}: the answer was still coming when the time for the call was used up",
        hint="Give the client a larger timeout, or try again.",
    )


def _explain(
    error: Exception, where: str, host: str, timeout: tuple[float, float]
) -> TransportError:
    """Return the error of our tree for a failure of requests, urllib3 or the socket."""
    cause = _root(error)
    errors = urllib3.exceptions
    if isinstance(error, requests.exceptions.SSLError | errors.SSLError):
        return NotTrustedError(
            f"{where}: the certificate of {host} was not accepted ({_words(cause)})",
            hint="Check the address and this machine's clock; behind a company's proxy set "
            "REQUESTS_CA_BUNDLE.",
            sent=False,
        )
    if isinstance(error, requests.exceptions.ProxyError | errors.ProxyError):
        return NotTrustedError(
            f"{where}: the proxy did not let the request through ({_tunnel(cause)})",
            hint="Check HTTPS_PROXY, with its user and password, and NO_PROXY.",
            sent=False,
        )
    if isinstance(cause, errors.ConnectTimeoutError):  # also: refused, no such host
        slow = f"no connection within {timeout[0]:.3g} s"
        why = _words(cause) if isinstance(cause, errors.NewConnectionError) else slow
        return TransportError(
            f"{where}: {host} cannot be reached ({why})",
            hint="Check the network and the base URL; `cvm-notebook doctor` looks for the cause.",
            sent=False,
        )
    if isinstance(cause, errors.TimeoutError | TimeoutError):
        return DeadlineExceeded(
            f"{where}: no byte came for {timeout[1]:.3g} s",
            hint="The service may be slow, or the line dead; look again in a moment.",
        )
    if isinstance(cause, errors.IncompleteRead):
        return TruncatedResponse(f"{where}: the answer ended before its end", hint="Try again.")
    return TransportError(
        f"{where}: the connection broke before the answer was whole ({_words(cause)})",
        hint="Look what became of the request before you repeat it.",
    )


def _root(error: BaseException) -> BaseException:
    """Return what a library's wrapped exception is about."""
    while not isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _tunnel(cause: BaseException) -> str:
    """Say how a proxy refused: by its number only, for its words may be anybody's."""
    said = re.match(r"Tunnel connection failed: (\d{3})\b", str(cause))
    return f"it answered {said[1]}" if said else _words(cause)


def _words(cause: BaseException) -> str:
    """Name a cause briefly: the text of a library's error may hold objects' addresses and URLs."""
    text = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
    if text:
        return str(text)
    inner = cause.__cause__ or cause.__context__
    text = getattr(inner, "strerror", None)
    return str(text) if text else type(cause).__name__
