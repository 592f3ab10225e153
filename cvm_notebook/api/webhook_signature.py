"""Tell whether what arrived at a webhook's address was sent by the service, and just now.

The scheme is that of the service's documentation (``phala-cloud/references/webhooks``, March 2026)
and of its SDKs: ``X-Webhook-Signature`` is ``sha256=`` and the hexadecimal HMAC-SHA256, under the
webhook's secret, of ``X-Webhook-Timestamp``, a dot and the body as it was sent.
"""

import hmac
import re
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, DecodeError, InvalidInput
from cvm_notebook.api.models.webhooks import WebhookEvent, decode_event
from cvm_notebook.api.secret import Secret

TOLERANCE: Final = 300.0
"""Seconds by which a timestamp may differ from now, as of the service's documentation."""
_SIGNATURE: Final = "X-Webhook-Signature"
_TIMESTAMP: Final = "X-Webhook-Timestamp"
_LARGEST: Final = 1024 * 1024
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_HINT: Final = (
    "Answer 401 and do nothing else. If it should have been genuine: the body must be the bytes as "
    "they came, and the secret the whole one of this webhook."
)


class WebhookRejected(CvmError):  # noqa: N818 - it says what happened, as others of the tree
    """The request is not proven to be a recent event of the service.

    Attributes
    ----------
    field
        What is wrong: the name of a header, or ``body``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"The webhook is rejected: {field} {problem}", hint=_HINT)
        self.field = field


class Headers(Protocol):
    """The headers of a request, as any server's framework has them."""

    def items(self) -> Any:
        """Return pairs of name and value."""


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str] | Headers,
    secret: Secret | str,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> WebhookEvent:
    """Return the event of a delivery, once its signature and its age are found right.

    It asks nobody and needs no client. A delivery can arrive more than once, as when the service
    did not get the answer: ``event.id`` tells.

    Parameters
    ----------
    body
        The request's body as it came. JSON that was read and written again has another signature.
    headers
        The request's headers; upper and lower case are the same.
    secret
        The webhook's secret, whole: of `Client.create_webhook`.
    tolerance
        Seconds by which the time of sending may differ from now, either way.
    now
        Seconds since 1970; the machine's clock when not given.

    Raises
    ------
    WebhookRejected
        The signature is missing or wrong, the delivery is too old or of the future, or what is
        signed is no event.
    InvalidInput
        The secret is masked or empty, or an argument is of another type.
    """
    key, content = _key(secret), _content(body)
    tolerance = checks.seconds("tolerance", tolerance)
    moment = time.time() if now is None else checks.seconds("now", now)
    found = _found(headers)
    signature, sent = found[_SIGNATURE], found[_TIMESTAMP]
    signed = hmac.digest(key, sent.encode("utf-8", "replace") + b"." + content, "sha256")
    if not hmac.compare_digest(
        f"sha256={signed.hex()}".encode(), signature.encode("utf-8", "replace")
    ):
        raise WebhookRejected(_SIGNATURE, "does not fit the body and the secret")
    if not _SECONDS.fullmatch(sent):
        raise WebhookRejected(_TIMESTAMP, "is not a time in seconds")
    if abs(moment - int(sent)) > tolerance:
        raise WebhookRejected(
            _TIMESTAMP, f"is {moment - int(sent):.0f} s ago, and {tolerance:.0f} s are allowed"
        )
    return _event(content)


def _key(secret: object) -> bytes:
    if isinstance(secret, Secret):
        secret = secret.reveal()
    if not isinstance(secret, str):
        raise InvalidInput("secret", f"it is {type(secret).__name__}, not a text", None)
    if not secret.strip():
        raise InvalidInput("secret", "it is empty", "Give the secret of the webhook.")
    if "****" in secret:
        raise InvalidInput(
            "secret",
            "it is masked, as the service shows it after a webhook was made",
            "client.reveal_webhook_secret(webhook) asks for the whole one.",
        )
    try:
        return secret.strip().encode()
    except UnicodeEncodeError:
        raise InvalidInput("secret", "it holds a lone surrogate", None) from None


def _content(body: object) -> bytes:
    if isinstance(body, str):
        try:
            body = body.encode()
        except UnicodeEncodeError:
            raise WebhookRejected("body", "holds a lone surrogate") from None
    if not isinstance(body, bytes | bytearray | memoryview):
        remedy = "Give the bytes of the request, before its JSON is read."
        raise InvalidInput("body", f"it is {type(body).__name__}, not bytes", remedy)
    if memoryview(body).nbytes > _LARGEST:
        raise WebhookRejected("body", "is larger than a MiB")
    return bytes(body)


def _found(headers: object) -> dict[str, str]:
    """Return the two headers that matter, each given once."""
    items = getattr(headers, "items", None)
    if not callable(items) or isinstance(headers, type):
        raise InvalidInput("headers", f"it is {type(headers).__name__}, not a mapping", None)
    found: dict[str, set[str]] = {name.lower(): set() for name in (_SIGNATURE, _TIMESTAMP)}
    for name, value in items():
        if isinstance(name, str) and name.lower() in found:
            found[name.lower()].add(str(value).strip())
    for name in (_SIGNATURE, _TIMESTAMP):
        values = found[name.lower()] - {""}
        if len(values) != 1:
            raise WebhookRejected(name, "is there twice" if values else "is missing")
    return {name: (found[name.lower()] - {""}).pop() for name in (_SIGNATURE, _TIMESTAMP)}


def _event(content: bytes) -> WebhookEvent:
    try:
        event = decode_event(content, "the webhook")
    except DecodeError as error:
        raise WebhookRejected("body", f"is signed, but no event ({error.path or '$'})") from None
    if not event.id or not event.event:
        raise WebhookRejected("body", "is signed, but has no id or no event")
    return event
