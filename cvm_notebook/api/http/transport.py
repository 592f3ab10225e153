"""Calls with retries: exchanges repeated, settled or given up as the policy says."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from cvm_notebook.api.auth.address import outside_address
from cvm_notebook.api.errors.tree import (
    ApiError,
    ConfigurationError,
    CvmError,
    DecodeError,
    InvalidInput,
    NotTrustedError,
    ReadOnly,
    TransportError,
    UnsafeRedirect,
)
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import Answer, ByteStream, Exchange, Timeout
from cvm_notebook.api.http.retry import (
    AttemptOutcome,
    GiveUp,
    Reconcile,
    Retry,
    RetryBudget,
    RetryKind,
    RetryPolicy,
)
from cvm_notebook.api.scalars import own
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text

T = TypeVar("T")
Settle: TypeAlias = Callable[[CvmError, Deadline], T | None]

_OUTCOMES: Final = {
    409: AttemptOutcome.CONFLICT,
    429: AttemptOutcome.RATE_LIMITED,
    502: AttemptOutcome.UNAVAILABLE,
    503: AttemptOutcome.UNAVAILABLE,
    504: AttemptOutcome.UNAVAILABLE,
}
_LOST: Final = (AttemptOutcome.NO_ANSWER, AttemptOutcome.UNAVAILABLE, AttemptOutcome.SERVER_ERROR)
_FOR_EVER: Final = Deadline(math.inf)
_STREAM_HEADERS: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent.

    Attributes
    ----------
    path
        Below the base URL, already percent-encoded, with its query.
    """

    kind: RetryKind
    method: str
    path: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: Timeout | None = None

    @property
    def where(self) -> str:
        """The request in words."""
        return f"{self.method} {self.path.partition('?')[0]}"


class Reply(NamedTuple):
    """A successful answer; `slowed` when the service had asked to slow down before it came."""

    headers: Mapping[str, str]
    body: bytes
    slowed: bool = False


class _Failure(NamedTuple):
    """An attempt without success."""

    outcome: AttemptOutcome
    error: CvmError

    @property
    def lost(self) -> bool:
        """Whether the service may have acted on it nevertheless."""
        return self.outcome in _LOST


def query(**params: object) -> str:
    """Return ``?a=1&b=2`` of the parameters that are not None, "" when there are none."""
    given = {name: value for name, value in params.items() if value is not None}
    pairs = {n: str(v).lower() if isinstance(v, bool) else v for n, v in given.items()}
    return f"?{urlencode(pairs, doseq=True)}" if pairs else ""


def to_json(value: object) -> bytes:
    """Encode a request's body; what no JSON can hold is refused."""
    try:
        return msgspec.json.encode(value, enc_hook=own)
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidInput("body", f"it cannot be sent: {clean_text(error, 120)}") from None


class Transport:
    """Sends requests to one base URL with one key. Safe to use from any thread."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        version: str,
        user_agent: str,
        timeout: Timeout,
        read_only: bool = False,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self.timeout = timeout
        self.read_only = read_only
        self.budget = RetryBudget()
        self._policy = policy
        self.user_agent = user_agent
        self._aborted = threading.Event()
        self._made = partial(
            Transport,
            base_url,
            key,
            version=version,
            user_agent=user_agent,
            timeout=timeout,
            read_only=read_only,
        )
        self._exchange = Exchange(
            base_url,
            key,
            {
                "X-Phala-Version": version,
                "User-Agent": user_agent,
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
            },
        )

    @property
    def base_url(self) -> str:
        """The address that paths are below."""
        return self._exchange.base_url

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def send(self, request: Request, *, deadline: Deadline | None = None) -> Reply:
        """Send a request and return its answer; raises as `call` does."""
        return self.call(request, lambda reply: reply, deadline=deadline)

    def call(
        self,
        request: Request,
        decode: Callable[[Reply], T],
        settle: Settle[T] | None = None,
        *,
        deadline: Deadline | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> T:
        """Send a request and decode its answer, with retries as the policy says.

        Parameters
        ----------
        decode
            Turns the answer into what is returned; its DecodeError counts as no answer.
        settle
            Called with the error and the deadline when a request that changes something may have
            been carried out: returns what it led to, None when nothing began, or raises the error
            that it is given. What it reads is bounded by that same deadline.
        deadline
            When the call has ended: its attempts, the waits between them and what `settle` reads.
            When not given, a new one of ``total`` seconds of the request's timeout, or of the
            transport's.
        on_sent
            Called once for each attempt of which bytes may have left this machine, as soon as that
            attempt has ended and before anything is decided about it: so it counts what the
            service can have seen. It is not called for attempts that could not connect, that met a
            certificate or proxy not to be trusted, or that this machine's configuration prevented.

        Raises
        ------
        TransportError, ApiError, DecodeError
            As the attempt ended that the policy gave up on. DeadlineExceeded, which is a
            TransportError, when the time was used up. ``sent`` is true when any attempt may have
            been carried out.
        ConfigurationError
            This machine's proxy or certificates cannot be used; nothing was sent.
        ReadOnly
            Nothing was sent.
        """
        self.check_may_send(request)
        deadline = deadline or Deadline((request.timeout or self.timeout).total)
        attempt, slowed, lost = 0, False, False
        while True:
            attempt += 1
            result = self._attempt(request, decode, deadline, on_sent, slowed=slowed)
            if not isinstance(result, _Failure):
                self.budget.succeeded()
                return result
            slowed = slowed or result.outcome is AttemptOutcome.RATE_LIMITED
            lost = lost or result.lost
            error = _after(result.error, attempt, request, lost=lost)
            retry_after = error.retry_after if isinstance(error, ApiError) else None
            decision = self._policy.decide(
                request.kind, attempt, result.outcome, retry_after=retry_after
            )
            if isinstance(decision, Reconcile):
                settled = self._settled(settle, error, deadline)
                if settled is not None:
                    return settled
                lost = False  # nothing began
                decision = Retry(decision.after)
            if isinstance(decision, GiveUp) or decision.after >= deadline.remaining():
                raise error
            if not self.budget.take() or self.pause(decision.after):
                raise error

    def pause(self, seconds: float) -> bool:
        """Wait; returns True at once when `abort` is called, or was."""
        return self._aborted.wait(seconds)

    def open(
        self,
        path: str,
        *,
        stall: float,
        headers: Mapping[str, str],
        deadline: Deadline | None = None,
    ) -> ByteStream:
        """Open a stream of server-sent events; one attempt, no retry.

        It must be open, or refused, within ``total`` seconds of the transport's timeout.

        Parameters
        ----------
        stall
            Seconds without a byte after which the stream counts as dead.
        deadline
            When the stream itself has ended, whatever is sent; no limit when not given.

        Raises
        ------
        TransportError, ApiError
            When it cannot be opened.
        DecodeError
            When the answer is a success, but no stream.
        """
        request = Request(RetryKind.READ, "GET", path)
        life = deadline or _FOR_EVER
        opened = self._exchange.open(
            path,
            {**_STREAM_HEADERS, **headers},
            self.timeout,
            stall,
            deadline=life.within(self.timeout.total),
            life=life,
        )
        if isinstance(opened, Answer):
            if 200 <= opened.status < 300:  # noqa: PLR2004 - RFC 9110: success
                kind = clean_text(opened.headers.get("content-type", "nothing"), 60)
                raise DecodeError(
                    f"{request.where}: the answer is {kind}, not an event stream",
                    where=request.where,
                    hint="Check whether a proxy or a log-in page stands before the service.",
                )
            raise self._refusal(opened, request).error
        if isinstance(opened, CvmError):
            raise opened
        return opened

    def open_without_key(
        self,
        url: Secret,
        *,
        where: str,
        stall: float,
        opening: Deadline | None = None,
        deadline: Deadline | None = None,
    ) -> ByteStream:
        """Open an address that carries its own right to be read; the key is not sent there.

        Parameters
        ----------
        url
            Https; or http on this machine, when the service itself is there. It is never shown.
        where
            What is opened, in words, for errors.
        opening
            When it must be open; within ``total`` seconds of the timeout when not given.
        deadline
            When it has ended, whatever is sent; no limit when not given.

        Raises
        ------
        DecodeError, TransportError, ApiError
            When it must not, or cannot, be opened.
        """
        origin, path = self.elsewhere(url.reveal(), where)
        headers = {"User-Agent": self.user_agent, "Accept": "*/*"}
        exchange = Exchange(origin, None, headers, self._exchange.sockets)  # one end for both
        once = {"Accept-Encoding": "identity", "Connection": "close"}
        life = deadline or _FOR_EVER
        opened = exchange.open(
            path,
            once,
            self.timeout,
            stall,
            deadline=opening or life.within(self.timeout.total),
            life=life,
            media=None,
            where=where,
        )
        if isinstance(opened, Answer):
            raise self._refusal(opened, Request(RetryKind.READ, where, "")).error
        if isinstance(opened, CvmError):
            raise opened
        return opened

    def elsewhere(self, url: str, where: str) -> tuple[str, str]:
        """Return the origin of an address outside of the service, and what is asked for there."""
        found = outside_address(url, self.base_url)
        if found is None:
            problem = f"{clean_text(where, 120)}: the service names no https address for it"
            raise DecodeError(problem, where=where, hint="Report it to the service.")
        return found

    def close(self) -> None:
        """End the connections that are idle; a later request opens new ones."""
        self._exchange.close()

    def apart(self, policy: RetryPolicy) -> "Transport":
        """Return a transport to the same service with connections and retries of its own.

        What is done to it, `abort` above all, leaves this one alone.
        """
        return self._made(policy=policy)

    def abort(self) -> None:
        """End for good: every call and stream under way fails at once, waits between attempts too.

        A call in the midst of TCP's own handshake fails when that is done, at the latest after the
        connect timeout.
        """
        self._aborted.set()
        self._exchange.abort()

    # --- one attempt -------------------------------------------------------------------------

    def _attempt(
        self,
        request: Request,
        decode: Callable[[Reply], T],
        deadline: Deadline,
        on_sent: Callable[[], None] | None,
        *,
        slowed: bool,
    ) -> T | _Failure:
        answer = self._exchange.send(
            request.method,
            request.path,
            headers={"Content-Type": request.content_type, **dict(request.headers)},
            body=request.body,
            limit=request.timeout or self.timeout,
            deadline=deadline,
            on_sent=on_sent,
        )
        if isinstance(answer, CvmError):
            return _Failure(_outcome_of(answer), answer)
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110: success
            return self._refusal(answer, request)
        try:
            return decode(Reply(answer.headers, answer.body, slowed))
        except DecodeError as error:
            error.__context__ = None  # as with all failures: nothing of a library hangs on to it
            return _Failure(AttemptOutcome.NO_ANSWER, error.with_traceback(None))

    def _refusal(self, answer: Answer, request: Request) -> _Failure:
        if 300 <= answer.status < 400:  # noqa: PLR2004 - RFC 9110: redirection
            return _Failure(AttemptOutcome.REDIRECT, _redirect(answer, request))
        default = AttemptOutcome.SERVER_ERROR if answer.status >= 500 else AttemptOutcome.REFUSED  # noqa: PLR2004
        error = ApiError.from_response(
            answer.status,
            answer.headers,
            answer.body,
            method=request.method,
            path=request.path,
        )
        return _Failure(_OUTCOMES.get(answer.status, default), error)

    @staticmethod
    def _settled(settle: Settle[T] | None, error: CvmError, deadline: Deadline) -> T | None:
        if settle is None:
            raise error
        return settle(error, deadline)

    def check_may_send(self, request: Request) -> None:
        """Refuse a change where the client is read-only, before anything is sent for it."""
        if self.read_only and request.kind is not RetryKind.READ:
            raise ReadOnly(
                f"{request.where} was not sent: this client is read-only",
                hint="Make a client with read_only=False to change things.",
            )


def _outcome_of(error: CvmError) -> AttemptOutcome:
    if isinstance(error, NotTrustedError | ConfigurationError):
        return AttemptOutcome.UNTRUSTED
    if isinstance(error, DecodeError):
        return AttemptOutcome.REFUSED  # an answer too large to be read would be as large again
    if isinstance(error, TransportError) and not error.sent:
        return AttemptOutcome.NOT_SENT
    return AttemptOutcome.NO_ANSWER


def _after(error: CvmError, attempts: int, request: Request, *, lost: bool) -> CvmError:
    """Say in an error what was asked, how often, and whether any of it may have been done."""
    if isinstance(error, TransportError):
        error.attempts = attempts
        error.sent = error.sent or lost
        error.method, error.path = request.method, request.path.partition("?")[0]
    return error


def _redirect(answer: Answer, request: Request) -> UnsafeRedirect:
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        target = f"{parts.scheme}://{parts.hostname or ''}" if parts.netloc else "another path"
    except ValueError:
        target = "an address that cannot be read"
    return UnsafeRedirect(
        f"{request.where}: the service answered {answer.status}, pointing to {target!r}; "
        "the key was not sent there",
        hint="Check the base URL (PHALA_CLOUD_API_PREFIX).",
        method=request.method,
        path=request.path,
    )
