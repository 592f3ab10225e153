"""Webhooks: addresses to which the service posts events, and the log of its deliveries."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from cvm_notebook.api import checks
from cvm_notebook.api.auth.address import is_loopback
from cvm_notebook.api.errors.tree import DecodeError, InvalidInput
from cvm_notebook.api.http.prefetch import MOST_PAGES
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request, query
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.webhooks import (
    Webhook,
    WebhookDelivery,
    WebhookSecret,
    WebhookStats,
)
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import near_miss, path_segment
from cvm_notebook.api.secret import Secret, sealed
from cvm_notebook.text import clean_text

WEBHOOK_EVENTS: Final = (
    "cvm.created",
    "cvm.started",
    "cvm.create_failed",
    "cvm.restarted",
    "cvm.updated",
    "cvm.stopped",
    "cvm.deleted",
    "cvm.update.pending_approval",
)
"""What the service's documentation names; there may be more since."""

_BELOW: Final = "/workspace/webhooks"
_PAGE: Final = 50  # the service's default
_LONGEST_URL: Final = 2048
_LONGEST_NAME: Final = 100
_SHORTEST_SECRET: Final = 16
_LONGEST_SECRET: Final = 200
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


class Webhooks(Endpoints):
    """Calls about the webhooks of the key's workspace.

    A webhook is given as a `Webhook` or by its id. A change whose answer is lost is not sent again;
    the error says so by ``sent``, and `list_webhooks` shows what became of it.
    """

    def list_webhooks(self) -> list[Webhook]:
        """Return the webhooks of the workspace, their secrets masked."""
        return self._read(_BELOW, list[Webhook])

    def get_webhook(self, webhook: Webhook | str) -> Webhook:
        """Return a webhook, its secret masked."""
        return self._read(_path(webhook), Webhook)

    def create_webhook(
        self,
        url: str,
        events: Iterable[str] | str,
        *,
        name: str | None = None,
        secret: Secret | str | None = None,
    ) -> Webhook:
        """Make a webhook: the service posts events to its address.

        Parameters
        ----------
        url
            Https, at a public address; or an address of this machine, where the service is
            LocalCloud.
        events
            One or several of `WEBHOOK_EVENTS`.
        name
            For people; 100 characters at most.
        secret
            What signs each delivery, 16 to 200 characters; the service makes one when not given.

        Returns
        -------
        Webhook
            With its whole ``secret``, which the service shows this once. Keep it where the receiver
            finds it, for `verify_webhook`.

        Raises
        ------
        InvalidInput
            The service would not send there, or knows no such event; nothing was sent.

        Examples
        --------
        >>> webhook = client.create_webhook(
        ...     "https://hooks.example.org/cvm", ["cvm.stopped", "cvm.create_failed"]
        ... )
        >>> webhook.enabled
        True
        >>> client.delete_webhook(webhook)
        """
        body = given(
            url=self._url(url),
            events=_events(events),
            name=None if name is None else _name(name),
            secret=None if secret is None else _secret(secret),
        )
        return self._sent("POST", _BELOW, Webhook, body)

    def update_webhook(
        self,
        webhook: Webhook | str,
        *,
        url: str | None = None,
        events: Iterable[str] | str | None = None,
        name: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change a webhook; what is not given stays as it is."""
        body = given(
            url=None if url is None else self._url(url),
            events=None if events is None else _events(events),
            name=None if name is None else _name(name),
            enabled=None if enabled is None else checks.boolean("enabled", enabled),
        )
        if not body:
            raise InvalidInput("update_webhook", "nothing to change", "Give enabled=False, say.")
        return self._sent("PUT", _path(webhook), Webhook, body)

    def delete_webhook(self, webhook: Webhook | str) -> None:
        """Forget a webhook, and what is known of its deliveries."""
        self._change(RetryKind.UPDATE, "DELETE", _path(webhook), dict[str, Any])

    def reveal_webhook_secret(self, webhook: Webhook | str) -> Secret:
        """Return the whole secret of a webhook.

        Raises
        ------
        AuthError, ApiError
            The service wants a second factor: 403 where the account has none, 428 where it was not
            shown lately.
        """
        return self._secret_of(RetryKind.READ, f"{_path(webhook)}/reveal-secret")

    def rotate_webhook_secret(self, webhook: Webhook | str) -> Secret:
        """Give a webhook another secret and return it; the one before signs nothing any more.

        Raises
        ------
        AuthError, ApiError
            As `reveal_webhook_secret`.
        """
        return self._secret_of(RetryKind.UPDATE, f"{_path(webhook)}/rotate-secret")

    def test_webhook(self, webhook: Webhook | str) -> dict[str, Any]:
        """Have the service send a test event; its answer, as sent: no shape of it is described."""
        return self._post(f"{_path(webhook)}/test")

    def list_webhook_deliveries(
        self, webhook: Webhook | str, *, limit: int = 50
    ) -> list[WebhookDelivery]:
        """Return how deliveries ended, the newest first.

        The service keeps one entry for each event, once it has arrived or is given up.

        Parameters
        ----------
        webhook
            Whose deliveries.
        limit
            The most to return.
        """
        path, limit = f"{_path(webhook)}/deliveries", checks.integer("limit", limit)
        found: dict[object, WebhookDelivery] = {}
        deadline = self._deadline()
        offset = 0
        for _ in range(MOST_PAGES):
            asked = query(limit=min(_PAGE, limit), offset=offset)
            page = self._read(path + asked, list[WebhookDelivery], deadline=deadline)
            offset += len(page)
            for one in page:  # what ended meanwhile moves the others on
                found.setdefault(one.event_id or one.snowflake_id, one)
            if not page or len(found) >= limit:
                break
        return list(found.values())[:limit]

    def resend_webhook_delivery(
        self, webhook: Webhook | str, delivery: WebhookDelivery | str
    ) -> dict[str, Any]:
        """Have the service send an event again; its answer, as sent: no shape of it is described.

        Parameters
        ----------
        webhook
            Whose delivery.
        delivery
            The delivery, or its ``event_id``.
        """
        event_id = delivery.event_id if isinstance(delivery, WebhookDelivery) else delivery
        event = path_segment(checks.text("delivery", event_id))
        return self._post(f"{_path(webhook)}/deliveries/{event}/resend")

    def get_webhook_stats(self, webhook: Webhook | str) -> WebhookStats:
        """Return how the deliveries of a webhook ended, counted."""
        return self._read(f"{_path(webhook)}/stats", WebhookStats)

    # --- shared ------------------------------------------------------------------------------

    def _sent(
        self, method: str, path: str, kind: type[Webhook], body: dict[str, object]
    ) -> Webhook:
        return self._change(RetryKind.UPDATE, method, path, kind, body)

    def _post(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = sealed(
            self._change(RetryKind.UPDATE, "POST", path, dict[str, Any])
        )
        return answer

    def _secret_of(self, kind: RetryKind, path: str) -> Secret:
        def read(body: bytes) -> Secret:
            found = decode(body, WebhookSecret, f"POST {path}").secret
            if not found:
                raise DecodeError(f"POST {path} gave no secret", where=f"POST {path}")
            return found

        request = Request(kind, "POST", path)
        return self._transport.call(request, lambda reply: read(reply.body))

    def _url(self, url: object) -> str:
        """Return an address that the service would send to."""
        text = checks.text("url", url)
        if len(text) > _LONGEST_URL or not text.isascii() or not text.isprintable():
            problem = f"it is not an address of up to {_LONGEST_URL} plain characters"
            raise InvalidInput("url", problem, _URL_REMEDY)
        try:
            parts = urlsplit(text)
            host = (parts.hostname or "").rstrip(".")
            _ = parts.port  # ValueError where it is not a port
        except ValueError:
            raise InvalidInput("url", "it is not an address", _URL_REMEDY) from None
        if parts.username is not None or parts.password is not None:
            # Not shown: it may be a password.
            raise InvalidInput("url", "it holds a user or a password", _URL_REMEDY)
        here = is_loopback(host) and is_loopback(urlsplit(self._transport.base_url).hostname or "")
        if not host or parts.scheme not in ("https", "http") or set(text) & set(' \\"<>'):
            raise InvalidInput("url", f"{_shown(text)} is not an address", _URL_REMEDY)
        if parts.scheme != "https" and not here:
            raise InvalidInput("url", f"{_shown(text)} is not https", _URL_REMEDY)
        if not here and _is_private(host):
            problem = f"{clean_text(host, 80)} is not public, so the service sends nothing there"
            raise InvalidInput("url", problem, _URL_REMEDY)
        return text


_URL_REMEDY: Final = "Give https://host/path, at an address that the service can reach."


def _path(webhook: object) -> str:
    known = webhook.id if isinstance(webhook, Webhook) else webhook
    return f"{_BELOW}/{path_segment(checks.text('webhook', known))}"


def _shown(url: str) -> str:
    return repr(clean_text(url.partition("?")[0], 80))


def _is_private(host: str) -> bool:
    if is_loopback(host) or host.endswith((".local", ".localhost")):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name: the service looks it up
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return not ip.is_global or ip.is_multicast


def _events(events: object) -> list[str]:
    listed = [events] if isinstance(events, str) else checks.several("events", events, "events")
    names = list(dict.fromkeys(_event(one) for one in listed))
    if not names:
        raise InvalidInput("events", "none is named", f"Some of {', '.join(WEBHOOK_EVENTS)}.")
    return names


def _event(event: object) -> str:
    name = checks.text("events", event)
    if name in WEBHOOK_EVENTS:
        return name
    near = near_miss(name, WEBHOOK_EVENTS)
    if near is not None or not _EVENT.fullmatch(name):
        remedy = f"Did you mean {near!r}?" if near else f"Some of {', '.join(WEBHOOK_EVENTS)}."
        raise InvalidInput("events", f"{clean_text(name, 60)!r} is not an event", remedy)
    return name  # the service may know more by now


def _name(name: object) -> str:
    text = checks.text("name", name)
    if len(text) > _LONGEST_NAME:
        raise InvalidInput("name", f"it has {len(text)} characters", f"{_LONGEST_NAME} at most.")
    return text


def _secret(secret: object) -> str:
    text = checks.text("secret", secret.reveal() if isinstance(secret, Secret) else secret)
    fits = _SHORTEST_SECRET <= len(text) <= _LONGEST_SECRET
    if not fits or not text.isascii() or not text.isprintable() or " " in text:
        problem = f"it is not {_SHORTEST_SECRET} to {_LONGEST_SECRET} plain characters"
        raise InvalidInput("secret", problem, "Leave it out: the service makes one.")
    return text
