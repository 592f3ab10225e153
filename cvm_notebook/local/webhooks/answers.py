"""Models of the answers about webhooks, and how rows become them."""

from typing import Any, Final

from pydantic import BaseModel

from cvm_notebook.local.core.clock import iso, iso_or_none
from cvm_notebook.local.core.database import Webhook, WebhookDelivery
from cvm_notebook.local.core.identifiers import hashid

PREFIX: Final = "wh"
_EPOCH_MS: Final = 1_577_836_800_000  # 2020


class WebhookItem(BaseModel):
    """A webhook; its secret is whole where it was just made, and masked ever after."""

    id: str
    url: str
    secret: str | None
    events: list[str]
    name: str | None
    enabled: bool
    created_at: str
    updated_at: str


class WebhookSecret(BaseModel):
    """The signing secret of a webhook."""

    secret: str


class WebhookSent(BaseModel):
    """A delivery that was asked for; it is on its way."""

    event_id: str
    status: str


class WebhookDeliveryItem(BaseModel):
    """A delivery to a webhook, and how it ended."""

    snowflake_id: int
    event_id: str
    event_type: str
    status: str
    attempts: int
    request_url: str
    response_status: int
    error_message: str
    duration_ms: int
    created_at: str
    delivered_at: str | None
    original_event_id: str


class WebhookStats(BaseModel):
    """Statistics of a webhook's deliveries; the rate is a percentage."""

    total: int
    success_count: int
    failed_count: int
    success_rate: float
    avg_duration_ms: int
    max_duration_ms: int
    last_delivery_at: str | None


def webhook_item(row: Webhook, *, whole: bool = False) -> dict[str, Any]:
    """Format a webhook."""
    return {
        "id": hashid(PREFIX, row.id),
        "url": row.url,
        "secret": row.secret if whole else f"whsec_****...{row.secret[-4:]}",
        "events": row.events,
        "name": row.name,
        "enabled": row.enabled,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }


def delivery_item(row: WebhookDelivery) -> dict[str, Any]:
    """Format a delivery."""
    return {
        "snowflake_id": (int(row.created_at * 1000) - _EPOCH_MS << 22) | (row.id & 0x3FFFFF),
        "event_id": row.event_id,
        "event_type": row.event_type,
        "status": row.status,
        "attempts": row.attempts,
        "request_url": row.request_url,
        "response_status": row.response_status,
        "error_message": row.error_message,
        "duration_ms": row.duration_ms,
        "created_at": iso(row.created_at),
        "delivered_at": iso_or_none(row.delivered_at),
        "original_event_id": row.original_event_id,
    }
