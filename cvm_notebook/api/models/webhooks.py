"""Webhooks of a workspace, how their deliveries ended, and the event that a delivery holds."""

from typing import Any

from cvm_notebook.api.models.base import Guarded, Model, Rows, Tidy, shown
from cvm_notebook.api.models.cvm import WorkspaceRef
from cvm_notebook.api.models.decode import convert, decode
from cvm_notebook.api.secret import Secret, sealed
from cvm_notebook.text import clean_text


class Webhook(Guarded, Tidy, frozen=True, kw_only=True, gc=False):
    """A webhook: an address to which the service posts events.

    ``secret`` verifies what arrives there. The service gives it whole where the webhook was just
    made, and masked ever after.
    """

    id: str | None = None
    url: str | None = None
    secret: Secret | None = None
    events: Rows[str] = ()
    name: str | None = None
    enabled: bool | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def __repr__(self) -> str:
        named = f" {clean_text(self.name, 60)!r}" if self.name else ""
        state = "" if self.enabled is not False else ", disabled"
        listens = clean_text(", ".join(self.events), 200)
        to = clean_text(shown(self.url) or "nowhere", 200)
        return f"<Webhook {clean_text(self.id, 40)}{named} to {to}: {listens}{state}>"


class WebhookSecret(Guarded, Model, frozen=True, kw_only=True, gc=False):
    """The secret of a webhook, shown or made anew."""

    secret: Secret | None = None


class WebhookDelivery(Model, frozen=True, kw_only=True, gc=False):
    """A delivery: ``status`` is the service's word, ``response_status`` 0 for no answer.

    ``original_event_id`` is that of the delivery which this one repeats; empty for none.
    """

    snowflake_id: int | None = None
    event_id: str | None = None
    event_type: str | None = None
    status: str | None = None
    attempts: int | None = None
    request_url: str | None = None
    response_status: int | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    created_at: str | None = None
    delivered_at: str | None = None
    original_event_id: str | None = None

    def __repr__(self) -> str:
        parts = (self.event_type, self.event_id, self.status, self.created_at)
        return f"<WebhookDelivery {clean_text(' '.join(one for one in parts if one), 200)}>"


class WebhookStats(Model, frozen=True, kw_only=True, gc=False):
    """Statistics of a webhook's deliveries; ``success_rate`` is as the service says it."""

    total: int | None = None
    success_count: int | None = None
    failed_count: int | None = None
    success_rate: float | None = None
    avg_duration_ms: int | None = None
    max_duration_ms: int | None = None
    last_delivery_at: str | None = None


class WebhookEvent(Guarded, Model, frozen=True, kw_only=True, gc=False):
    """The event of a delivery; what grants access in ``data`` is a Secret.

    The same event can arrive more than once, always with the same ``id``.
    """

    id: str | None = None
    event: str | None = None
    version: str | None = None
    created_at: str | None = None
    workspace: WorkspaceRef | None = None
    data: dict[str, Any] | None = None

    @property
    def cvm_id(self) -> str | None:
        """The CVM's ``vm_uuid``, by which every call of the client takes it."""
        return self._text("cvm_id")

    @property
    def cvm_name(self) -> str | None:
        """The CVM's name."""
        return self._text("cvm_name")

    @property
    def app_id(self) -> str | None:
        """Its app, without ``0x``, as other answers spell it."""
        found = self._text("app_id")
        return None if found is None else found.removeprefix("0x")

    @property
    def status(self) -> str | None:
        """Its status then."""
        return self._text("status")

    @property
    def error(self) -> str | None:
        """The error, where it failed."""
        return self._text("error")

    def _text(self, name: str) -> str | None:
        value = (self.data or {}).get(name)
        return value if isinstance(value, str) else None


def decode_event(body: bytes, where: str) -> WebhookEvent:
    """Decode the body of a delivery.

    Raises
    ------
    DecodeError
        It is no event.
    """
    event = decode(body, dict[str, Any], where)
    return convert({**event, "data": sealed(event.get("data"))}, WebhookEvent, where)
