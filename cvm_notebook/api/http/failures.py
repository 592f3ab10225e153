"""Mapping of exceptions of requests, urllib3 and sockets to the errors of our tree."""

import re
import ssl
from typing import Final

import requests
import urllib3

from cvm_notebook.api.errors.tree import (
    CvmError,
    DeadlineExceeded,
    NotTrustedError,
    TransportError,
    TruncatedResponse,
)
from cvm_notebook.api.http.sockets import Attempt

FAILURES: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_SSL: Final = (requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError)
_PROXY: Final = (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)
_ENDED: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def explain(error: Exception, attempt: Attempt, where: str, host: str = "") -> CvmError:
    """Return our error for a failure of an attempt.

    Whether the request was sent is not guessed from the kind of failure: the attempt knows.
    """
    cause = _root(error)
    return (_lost if attempt.sent else _not_sent)(error, cause, attempt, where, host)


def used_up(where: str, attempt: Attempt) -> DeadlineExceeded:
    """Return the error for a deadline that has passed."""
    seconds = f"{attempt.deadline.seconds:.3g} s"
    if not attempt.sent:
        return DeadlineExceeded(
            f"{where} was not sent: the time for the call, {seconds}, was used up before",
            hint="Give the client a larger timeout, or try again.",
            sent=False,
        )
    return DeadlineExceeded(
        f"{where}: the answer was not whole when the time for the call, {seconds}, was used up",
        hint="Give the client a larger timeout, or try again.",
    )


def _not_sent(
    error: Exception, cause: BaseException, attempt: Attempt, where: str, host: str
) -> CvmError:
    if isinstance(error, _SSL) and not isinstance(cause, _ENDED):
        return NotTrustedError(
            f"{where}: the certificate of {host} was not accepted ({_words(cause)})",
            hint="Check the address and this machine's clock; behind a company's proxy set "
            "REQUESTS_CA_BUNDLE.",
            sent=False,
        )
    if isinstance(error, _PROXY):
        return NotTrustedError(
            f"{where}: the proxy did not let the request through ({_tunnel(cause)})",
            hint="Check HTTPS_PROXY, with its user and password, and NO_PROXY.",
            sent=False,
        )
    slow = isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError)
    failed = isinstance(cause, urllib3.exceptions.NewConnectionError)  # also a kind of timeout
    why = f"no connection within {attempt.connect:.3g} s" if slow and not failed else _words(cause)
    kind = DeadlineExceeded if attempt.deadline.expired else TransportError
    return kind(
        f"{where}: {host} cannot be reached ({why})",
        hint="Check the network and the base URL; `cvm-notebook doctor` looks for the cause.",
        sent=False,
    )


def _lost(
    _error: Exception, cause: BaseException, attempt: Attempt, where: str, _host: str
) -> CvmError:
    if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
        if attempt.deadline.expired:
            return used_up(where, attempt)
        return DeadlineExceeded(
            f"{where}: no byte came for {attempt.read:.3g} s",
            hint="The service may be slow, or the line dead; look again in a moment.",
        )
    if isinstance(cause, urllib3.exceptions.IncompleteRead):
        return TruncatedResponse(f"{where}: the answer ended before its end", hint=_next(where))
    return TransportError(
        f"{where}: the connection broke before the answer was whole ({_words(cause)})",
        hint=_next(where),
    )


def _next(where: str) -> str:
    """Return what to do about an answer that was lost: what changes nothing can be asked again."""
    if where.startswith("GET "):
        return "Try again."
    return "Look what became of the request before you repeat it."


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
    status = re.match(r"Tunnel connection failed: (\d{3})\b", str(cause))
    return f"it answered {status[1]}" if status else _words(cause)


def _words(cause: BaseException) -> str:
    """Name a cause briefly: the text of a library's error may hold objects' addresses and URLs."""
    text = getattr(cause, "strerror", None) or getattr(cause, "verify_message", None)
    if text:
        return str(text)
    inner = cause.__cause__ or cause.__context__
    text = getattr(inner, "strerror", None)
    return str(text) if text else type(cause).__name__
