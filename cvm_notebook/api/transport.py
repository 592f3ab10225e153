"""The one module that sends: key header, deadlines, retries, no redirects, streams.

It uses requests' transport adapter without a Session. A Session adds redirects, cookies and netrc, all of which an API
key must never meet; and nobody promises that one may be shared by threads, while the adapter is urllib3's pool, which is.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter

from cvm_notebook.api.errors import (
    ApiError,
    CvmError,
    DeadlineExceeded,
    DecodeError,
    ReadOnly,
    TransportError,
    TruncatedResponse,
    UnsafeRedirect,
)
from cvm_notebook.api.retry import GiveUp, Kind, Outcome, Reconcile, Retry, RetryBudget, RetryPolicy
from cvm_notebook.api.secret import Secret

T = TypeVar("T")

MAX_BODY_BYTES: Final = 64 * 2**20
_CHUNK: Final = 2**18
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


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent.

    Attributes
    ----------
    path
        Below the base URL, already percent-encoded, with its query.
    """

    kind: Kind
    method: str
    path: str
    body: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    timeout: Timeout | None = None


class Reply(NamedTuple):
    """One successful answer, read to its end; `slowed` when the service had said to slow down before it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    slowed: bool = False


class _Shown(str):
    """A header value whose repr is a mask: tracebacks that print locals show the headers of a request."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'••••'"


def query(**params: object) -> str:
    """Return ``?a=1&b=2`` of the parameters that are not None, "" when there are none."""
    given = {name: value for name, value in params.items() if value is not None}
    pairs = {n: str(v).lower() if isinstance(v, bool) else v for n, v in given.items()}
    return f"?{urlencode(pairs, doseq=True)}" if pairs else ""


class Transport:
    """Sends requests to one base URL with one key.

    Safe to use from any thread. `close` ends idle connections; a later request opens new ones.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        version: str,
        user_agent: str,
        timeout: Timeout = Timeout(),  # noqa: B008 - a NamedTuple does not change
        read_only: bool = False,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self.read_only = read_only
        self.budget = RetryBudget()
        self._policy = policy
        # The environment (proxies, certificates) is read once: per call it costs more than the call.
        found = requests.Session().merge_environment_settings(base_url, {}, None, None, None)
        self._verify: bool | str = found["verify"]
        self._proxies: dict[str, str] = dict(found["proxies"])
        self._adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0)
        self._pid = os.getpid()
        self._template = _template(base_url, key, version, user_agent)

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    # --- calls -----------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Send a request and return its answer.

        Raises
        ------
        TransportError, ApiError, DecodeError, ReadOnly
            As the attempt ended that the policy gave up on.
        """
        return self.call(request, _whole)

    def call(
        self,
        request: Request,
        decode: Callable[[Reply], T],
        settle: Callable[[CvmError], T | None] | None = None,
    ) -> T:
        """Send a request and decode its answer, with retries as the policy says.

        Parameters
        ----------
        decode
            Turns the answer into what is returned; its DecodeError counts as no answer.
        settle
            Called when a request that changes something may have been carried out: returns what it led to, None when
            it is proven that nothing began, or raises the error that it is given.
        """
        self._check_may_send(request)
        limit = request.timeout or self.timeout
        ends = time.monotonic() + limit.total
        attempt, slowed = 0, False
        while True:
            attempt += 1
            outcome, result = self._attempt(request, decode, limit, ends, slowed)
            if outcome is None:
                self.budget.succeeded()
                return result  # type: ignore[return-value]  # outcome None means a T
            assert isinstance(result, CvmError)
            slowed = slowed or outcome is Outcome.RATE_LIMITED
            told = result.retry_after if isinstance(result, ApiError) else None
            decision = self._policy.decide(request.kind, attempt, outcome, told=told)
            error = _counted(result, attempt)
            if isinstance(decision, Reconcile):
                if settle is None:
                    raise error
                settled = settle(error)
                if settled is not None:
                    return settled
                decision = Retry(decision.after)
            if isinstance(decision, GiveUp) or not self.budget.take():
                raise error
            if time.monotonic() + decision.after >= ends:
                raise error
            time.sleep(decision.after)

    def open(self, path: str, *, stall: float, headers: Mapping[str, str]) -> "ByteStream":
        """Open a stream of server-sent events; one attempt, no retry.

        Parameters
        ----------
        stall
            Seconds without a byte after which the stream counts as dead.

        Raises
        ------
        TransportError, ApiError
            When it cannot be opened, or answers with something else than a stream.
        """
        prepared = self._copy(Request(Kind.READ, "GET", path))
        prepared.headers.update(
            {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        )
        prepared.headers.update(headers)
        where = f"GET {path.partition('?')[0]}"
        started = self._exchange(prepared, where, Timeout(self.timeout.connect, stall, 0.0), stall)
        if isinstance(started, CvmError):
            raise started
        raw, response_headers = started.raw, started.headers
        kind = response_headers.get("content-type", "").partition(";")[0].strip().lower()
        if started.status_code == requests.codes.ok and kind == "text/event-stream":
            return ByteStream(raw, where, stall)
        ends = time.monotonic() + self.timeout.read
        body = _read_all(raw, ends, where)
        if isinstance(body, CvmError):
            raise body
        _, error = self._refusal(started.status_code, response_headers, body, "GET", path)
        raise error

    def close(self) -> None:
        """End the connections that are idle."""
        self._adapter.close()

    # --- one attempt -------------------------------------------------------------------------

    def _attempt(
        self,
        request: Request,
        decode: Callable[[Reply], T],
        limit: Timeout,
        ends: float,
        slowed: bool,
    ) -> tuple[Outcome | None, T | CvmError]:
        """Send once; errors are returned, so that no frame of a library hangs on to the one that is raised."""
        where = f"{request.method} {request.path.partition('?')[0]}"
        left = ends - time.monotonic()
        started = self._exchange(self._copy(request), where, limit, left)
        if isinstance(started, CvmError):
            return _outcome_of(started), started
        status, headers = started.status_code, started.headers
        body = _read_all(started.raw, ends, where)
        if isinstance(body, CvmError):
            return Outcome.NO_ANSWER, body
        if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110
            return self._refusal(status, headers, body, request.method, request.path)
        try:
            return None, decode(Reply(status, headers, body, slowed))
        except DecodeError as error:
            return Outcome.NO_ANSWER, error.with_traceback(None)

    def _exchange(
        self, prepared: requests.PreparedRequest, where: str, limit: Timeout, left: float
    ) -> requests.Response | CvmError:
        """Send, and wait for the head of the answer."""
        connect, read = min(limit.connect, max(left, 0.001)), min(limit.read, max(left, 0.001))
        try:
            return self._adapter.send(
                prepared,
                stream=True,
                timeout=(connect, read),
                verify=self._verify,
                proxies=self._proxies,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return _explain(error, where, self.base_url, connect, read)

    def _refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, method: str, path: str
    ) -> tuple[Outcome, CvmError]:
        if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110
            return Outcome.REDIRECT, _redirect(status, headers.get("location", ""), method, path)
        error = ApiError.from_response(status, headers, body, method=method, path=path)
        return _OUTCOMES.get(status, _default_outcome(status)), error

    def _copy(self, request: Request) -> requests.PreparedRequest:
        prepared = self._template.copy()
        prepared.method = request.method
        prepared.url = self.base_url + request.path
        prepared.headers["Content-Type"] = request.content_type
        if request.body is not None:
            prepared.body = request.body
            prepared.headers["Content-Length"] = str(len(request.body))
        elif request.method in ("POST", "PATCH", "PUT"):
            prepared.headers["Content-Length"] = "0"
        for name, value in request.headers:
            prepared.headers[name] = value
        return prepared

    def _check_may_send(self, request: Request) -> None:
        if self.read_only and request.kind is not Kind.READ:
            raise ReadOnly(
                f"{request.method} {request.path.partition('?')[0]} was not sent: this client is read-only",
                hint="Make a client with read_only=False to change things.",
            )
        if os.getpid() != self._pid:
            raise TransportError(
                "this client was made before the process forked, and its connections belong to the parent",
                hint="Make a new Client in the child process.",
                sent=False,
            )


class ByteStream:
    """An open stream of bytes that any thread may close."""

    def __init__(self, raw: urllib3.response.HTTPResponse, where: str, stall: float) -> None:
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
            while True:
                got = self._read()
                if isinstance(got, CvmError):
                    raise got
                if not got:
                    return
                yield got
        finally:
            self.close()
            self._raw.close()

    def _read(self) -> bytes | CvmError:
        try:
            return self._raw.read1(_CHUNK, decode_content=False) or b""
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._closed:
                return b""
            return _explain(error, self._where, "", 0.0, self._stall)

    def close(self) -> None:
        """End the stream at once; a reader that is blocked on it sees its end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # closing a socket does not wake a thread that reads from it; shutting it down does
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            self._raw.shutdown()


def _template(
    base_url: str, key: Secret, version: str, user_agent: str
) -> requests.PreparedRequest:
    """Make the request that every call copies: preparing one costs as much as sending it."""
    headers = {
        "X-API-Key": _Shown(key.reveal()),
        "X-Phala-Version": version,
        "User-Agent": user_agent,
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
    }
    return requests.Request("GET", base_url, headers=headers).prepare()


# --- from failures to words ------------------------------------------------------------------------

_OUTCOMES: Final = {
    429: Outcome.RATE_LIMITED,
    502: Outcome.UNAVAILABLE,
    503: Outcome.UNAVAILABLE,
    504: Outcome.UNAVAILABLE,
    409: Outcome.CONFLICT,
}


def _default_outcome(status: int) -> Outcome:
    return Outcome.SERVER_ERROR if status >= requests.codes.server_error else Outcome.REFUSED


def _outcome_of(error: CvmError) -> Outcome:
    if isinstance(error, TransportError) and not error.sent:
        return Outcome.UNTRUSTED if isinstance(error, _Untrusted) else Outcome.NOT_SENT
    return Outcome.NO_ANSWER


class _Untrusted(TransportError):
    """The other end, or the proxy before it, is not to be trusted with the key."""


def _whole(reply: Reply) -> Reply:
    return reply


def _counted(error: CvmError, attempts: int) -> CvmError:
    if isinstance(error, TransportError):
        error.attempts = attempts
    return error


def _read_all(raw: urllib3.response.HTTPResponse, ends: float, where: str) -> bytes | CvmError:
    """Read a body to its end: within the deadline, and no larger than is sane once decoded."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := raw.read1(_CHUNK, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raw.close()
                return DecodeError(
                    f"{where}: the answer is larger than {MAX_BODY_BYTES >> 20} MiB and was not read",
                    where=where,
                    hint="Report it to the service.",
                )
            if time.monotonic() > ends:
                raw.close()
                return DeadlineExceeded(
                    f"{where}: the answer was still coming when the time for the call was used up",
                    hint="Give the client a larger timeout, or try again.",
                )
    except urllib3.exceptions.IncompleteRead:
        return TruncatedResponse(
            f"{where}: the answer ended before its end", hint="Try again."
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raw.close()
        return _explain(error, where, "", 0.0, 0.0)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _redirect(status: int, location: str, method: str, path: str) -> UnsafeRedirect:
    try:
        parts = urlsplit(location)
        target = f"{parts.scheme}://{parts.hostname or ''}" if parts.netloc else "another path"
    except ValueError:
        target = "an address that cannot be read"
    return UnsafeRedirect(
        f"{method} {path.partition('?')[0]}: the service answered {status}, pointing to {target!r}; the key was not sent there",
        hint="Check the base URL (PHALA_CLOUD_API_PREFIX).",
        method=method,
        path=path,
    )


def _explain(
    error: Exception, where: str, base_url: str, connect: float, read: float
) -> TransportError:
    """Return the error of the tree for a failure of requests, urllib3 or the socket."""
    cause = _root(error)
    host = urlsplit(base_url).hostname or "the service"
    if isinstance(error, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
        return _Untrusted(
            f"{where}: the certificate of {host} was not accepted ({_words(cause)})",
            hint="Check the address and this machine's clock; behind a company proxy set REQUESTS_CA_BUNDLE.",
            sent=False,
        )
    if isinstance(error, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError):
        return _Untrusted(
            f"{where}: the proxy did not let the request through ({_words(cause)})",
            hint="Check HTTPS_PROXY and NO_PROXY.",
            sent=False,
        )
    if isinstance(cause, urllib3.exceptions.ConnectTimeoutError):
        return TransportError(
            f"{where}: no connection to {host} within {connect:g} s",
            hint="Check the network and the base URL.",
            sent=False,
        )
    if isinstance(cause, urllib3.exceptions.NewConnectionError):  # also: no such host
        return TransportError(
            f"{where}: {host} cannot be reached ({_words(cause)})",
            hint="Check the network and the base URL; `cvm-notebook doctor` looks for the cause.",
            sent=False,
        )
    if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
        return DeadlineExceeded(
            f"{where}: no byte came for {read:.3g} s", hint="The service may be slow; try again."
        )
    if isinstance(cause, urllib3.exceptions.IncompleteRead):
        return TruncatedResponse(f"{where}: the answer ended before its end", hint="Try again.")
    return TransportError(
        f"{where}: the connection broke before the answer was whole ({_words(cause)})",
        hint="Check the network, then look what became of the request before you repeat it.",
    )


def _root(error: BaseException) -> BaseException:
    """Return what a library's wrapped exception is about."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException) or isinstance(
            error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
        ):
            return error
        error = inner


def _words(cause: BaseException) -> str:
    """Return a short word for a cause: its own text may hold addresses of objects and URLs."""
    text = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
    return str(text) if text else type(cause).__name__


def to_json(value: object) -> bytes:
    """Encode a request's body."""
    return msgspec.json.encode(value)
