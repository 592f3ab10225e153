"""Every error the package raises: one tree under CvmError.

``str(error)`` says what happened, to what, and what to do. Text of the service is data: it is
cleaned of control characters and clipped before it is shown.
"""

# ruff: noqa: N818 - names say what happened, as WatchTimeout and the builtin TimeoutError do

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from cvm_notebook.api.errors.envelope import (
    SERVER,
    Detail,
    Link,
    next_step,
    own_words,
    parse_retry_after,
    read_error,
    without_query,
)
from cvm_notebook.api.errors.notebook import notebook_lines
from cvm_notebook.api.secret import masked
from cvm_notebook.text import as_sentence, clean_text, visible


class LastState(Protocol):
    """The last state that was seen of a CVM: a CvmState, which this module knows by its shape."""

    @property
    def name(self) -> str | None:
        """The CVM's name."""

    @property
    def instance_id(self) -> str | None:
        """Its instance."""

    @property
    def vm_uuid(self) -> str | None:
        """The VM's UUID."""

    @property
    def status(self) -> str | None:
        """The service's word."""

    @property
    def derived_status(self) -> str | None:
        """The status the service derives."""

    @property
    def boot_progress(self) -> str | None:
        """The progress of its boot."""

    @property
    def boot_error(self) -> str | None:
        """The error of its boot."""

    @property
    def shutdown_progress(self) -> str | None:
        """The progress of its shutdown."""

    @property
    def uptime(self) -> str | None:
        """Since when it runs, in words."""

    @property
    def exited_at(self) -> str | None:
        """The time at which it stopped."""


class CvmError(Exception):
    """The root of the tree.

    Attributes
    ----------
    message
        What happened, and to what.
    hint
        What to do, or None.
    """

    message: str
    hint: str | None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # whatever it repeats: names, and what was typed, can hold escapes for a terminal
        message = visible(message)
        super().__init__(message)
        self.message = message
        self.hint = None if hint is None else visible(hint)

    def __str__(self) -> str:
        return " ".join(part for part in (self._sentence(), self.hint, self._marks()) if part)

    def _sentence(self) -> str:
        """Return what happened, and to what, as a sentence."""
        return as_sentence(self.message)

    def _marks(self) -> str:
        """Return what support asks for, in brackets; empty where there is nothing."""
        return ""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows; ``%tb`` shows the traceback."""
        return notebook_lines(self, self.hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Constructors have required keywords, which the inherited protocol would not give back.
        return _revive, (type(self), self.args, dict(self.__dict__))


def _revive(cls: type[CvmError], args: tuple[Any, ...], state: dict[str, Any]) -> CvmError:
    """Make an unpickled error without running its constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class TransportError(CvmError):
    """No answer could be had.

    Attributes
    ----------
    sent
        True when the request may have reached the service, which may therefore have acted.
    method, path
        The request.
    attempts
        How many times it was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        sent: bool = True,
        method: str | None = None,
        path: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent
        self.method = method
        self.path = without_query(path)
        self.attempts = attempts


class DeadlineExceeded(TransportError, TimeoutError):
    """The time given for the call was used up."""


class TruncatedResponse(TransportError):
    """The answer ended before its end."""


class UnsafeRedirect(TransportError):
    """The service pointed elsewhere; the key was not sent there."""


class NotTrustedError(TransportError):
    """The other end, or the proxy before it, is not to be trusted with the key."""


class ConfigurationError(CvmError):
    """Settings of this machine do not allow a connection: its proxy, its certificates.

    It is not tried again, and nothing was sent.

    Attributes
    ----------
    variable
        The environment variable at fault, or None.
    sent
        Always False.
    """

    sent: Final = False

    def __init__(
        self, message: str, *, hint: str | None = None, variable: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.variable = variable


class DecodeError(CvmError):
    """The answer is not what the API describes.

    Attributes
    ----------
    where
        What was read, for people: ``GET /cvms/paginated``, ``CVM 3 of the page``.
    path
        The place in the JSON, such as ``$.items[3].status``; empty when it is not JSON.
    """

    def __init__(
        self, message: str, *, where: str = "", path: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.where = where
        self.path = path


class ReadOnly(CvmError):
    """The client is read-only and the call would have changed something; nothing was sent."""


class WorkspaceSuspended(CvmError):
    """The workspace is suspended: it can look, stop and delete; nothing was sent."""


class InvalidInput(CvmError, ValueError):
    """An argument was refused before anything was sent.

    Parameters
    ----------
    field
        The argument.
    problem
        What is wrong with it.
    remedy
        What to give instead.
    """

    def __init__(self, field: str, problem: str, remedy: str | None = None) -> None:
        super().__init__(f"{field}: {problem}" if field else problem, hint=remedy)
        self.field = field
        self.problem = problem
        self.remedy = remedy


class CredentialsError(CvmError):
    """No usable API key, or one that may not be used as asked."""

    is_of_the_key: Final = True


class _WatchError(CvmError):
    """Base of the errors that end a watch before its target.

    Attributes
    ----------
    state
        The last CvmState seen, or None.
    target
        The status that was waited for.
    """

    state: LastState | None
    target: str | None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        state: LastState | None = None,
        target: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.state = state
        self.target = target


class WatchTimeout(_WatchError, TimeoutError):
    """The target was not reached in the attempts and the time allowed."""


class TargetUnreachable(_WatchError):
    """The target cannot come any more: the CVM failed, or is gone."""


class ApiError(CvmError):
    """The service answered with a refusal or a failure.

    Attributes
    ----------
    status : int
        The HTTP status.
    error_code : str or None
        Such as ``ERR-03-007``; see `cvm_notebook.api.errors.codes`.
    suggestions : tuple of str
    links : tuple of Link
    details : tuple of Detail
    request_id : str or None
        Name it to support.
    method, path : str
        The request, without its query.
    retry_after : float or None
        Seconds the service asks to wait; never negative.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        error_code: str | None = None,
        suggestions: tuple[str, ...] = (),
        links: tuple[Link, ...] = (),
        details: tuple[Detail, ...] = (),
        request_id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.error_code = error_code
        self.suggestions = suggestions
        self.links = links
        self.details = details
        self.request_id = request_id
        self.method = method
        self.path = without_query(path)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        kept = tuple(d._replace(value=masked(d.value)) for d in self.details)
        return _revive, (type(self), self.args, {**self.__dict__, "details": kept})

    def detail(self, field: str) -> Any:
        """Return the value of the detail of that name, or None."""
        return next((d.value for d in self.details if d.field == field), None)

    def _sentence(self) -> str:
        # Without the request a reader of a long cell cannot tell which call it was.
        asked = f"{self.method} {self.path}: " if self.method and self.path else ""
        return asked + as_sentence(self.message)

    def _marks(self) -> str:
        marks = [f"HTTP {self.status}"]
        if self.error_code:
            marks.insert(0, self.error_code)
        if self.request_id:
            marks.append(f"request {self.request_id}")
        return f"[{', '.join(marks)}]"

    @staticmethod
    def from_response(
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        method: str,
        path: str,
        now: float | None = None,
    ) -> "ApiError":
        """Return the error that an answer of 3xx, 4xx or 5xx means. Never raises.

        Parameters
        ----------
        status, headers, body
            The answer. The body is never shown raw.
        method, path
            The request.
        now
            The time in seconds since 1970, to read a Retry-After that is a date.
        """
        lower = {str(name).lower(): str(value) for name, value in headers.items()}
        envelope = read_error(body, lower.get("content-type", ""))
        code = envelope.error_code
        retry_after = parse_retry_after(lower.get("retry-after"), now=now)
        return _class_for(status, structured=code is not None)(
            status,
            envelope.message or own_words(status, code),
            hint=next_step(status, code, envelope.suggestions, retry_after),
            error_code=code,
            suggestions=envelope.suggestions,
            links=envelope.links,
            details=envelope.details,
            request_id=envelope.request_id or clean_text(lower.get("x-request-id", ""), 80) or None,
            method=method,
            path=path,
            retry_after=retry_after,
        )


class AuthError(ApiError):
    """The key is missing, wrong or revoked (401), or lacks the right (403)."""

    @property
    def is_of_the_key(self) -> bool:
        """Whether the key itself was refused, and with it every request."""
        return self.status == HTTPStatus.UNAUTHORIZED


class NotFoundError(ApiError):
    """There is no such thing, or it belongs to another workspace (404)."""


class ConflictError(ApiError):
    """Something else is going on, or exists already (409)."""


class RateLimited(ApiError):
    """Too many requests or streams (429); ``retry_after`` says how long to wait."""


class ServerError(ApiError):
    """The service failed (5xx); for a request that changes something the outcome is unknown."""


class ResourceError(ApiError):
    """A refusal with a code of the service: ``error_code`` is set."""


class ResourceAuthError(ResourceError, AuthError):
    """A 401 or 403 with a code."""


class ResourceNotFound(ResourceError, NotFoundError):
    """A 404 with a code."""


class ResourceConflict(ResourceError, ConflictError):
    """A 409 with a code, such as `CVM_APP_ID_CONFLICT`: it does not go away by waiting."""


class ResourceRateLimited(ResourceError, RateLimited):
    """A 429 with a code."""


class ResourceServerError(ResourceError, ServerError):
    """A 5xx with a code."""


_BY_STATUS: Final[dict[int, tuple[type[ApiError], type[ApiError]]]] = {
    401: (AuthError, ResourceAuthError),
    403: (AuthError, ResourceAuthError),
    404: (NotFoundError, ResourceNotFound),
    409: (ConflictError, ResourceConflict),
    429: (RateLimited, ResourceRateLimited),
}


def _class_for(status: int, *, structured: bool) -> type[ApiError]:
    default = (ServerError, ResourceServerError) if status >= SERVER else (ApiError, ResourceError)
    return _BY_STATUS.get(status, default)[structured]
