"""Deliveries of webhooks as a frame, also those of the time while no notebook looked."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import NotFoundError
from cvm_notebook.api.models.base import shown
from cvm_notebook.api.models.webhooks import Webhook, WebhookDelivery
from cvm_notebook.api.resources.webhooks import Webhooks
from cvm_notebook.frames.schema import DURATION, INTEGER, MOMENT, TEXT, Field, Table
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


class _Row(NamedTuple):
    webhook: Webhook
    delivery: WebhookDelivery


def _took(row: _Row) -> timedelta | None:
    duration = row.delivery.duration_ms
    return None if duration is None else timedelta(milliseconds=min(max(duration, 0), 10**12))


DELIVERIES: Final[Table[_Row]] = Table(
    "deliveries/1",
    (
        Field("webhook_id", TEXT, lambda t: t.webhook.id, "the webhook"),
        Field("event_id", TEXT, lambda t: t.delivery.event_id, "the delivery"),
    ),
    (
        Field("created_at", MOMENT, lambda t: t.delivery.created_at, "when the event was"),
        Field("event", TEXT, lambda t: t.delivery.event_type, "what happened, as cvm.stopped"),
        Field("status", TEXT, lambda t: t.delivery.status, "how it ended, in the service's word"),
        Field("attempts", INTEGER, lambda t: t.delivery.attempts, "how often it was sent"),
        Field(
            "http_status",
            INTEGER,
            lambda t: t.delivery.response_status or None,
            "of the last answer; missing where there was none",
        ),
        Field(
            "error",
            TEXT,
            lambda t: clean_text(t.delivery.error_message or "") or None,
            "what went wrong, in the service's words",
        ),
        Field("duration", DURATION, _took, "of the last attempt"),
        Field("delivered_at", MOMENT, lambda t: t.delivery.delivered_at, "when it arrived"),
        Field(
            "original_event_id",
            TEXT,
            lambda t: t.delivery.original_event_id or None,
            "the delivery that this one repeats",
        ),
        Field("webhook", TEXT, lambda t: clean_text(t.webhook.name or "") or None, "its name"),
        Field("url", TEXT, lambda t: shown(t.delivery.request_url), "without its query"),
    ),
)


@DELIVERIES.documents
def deliveries_frame(
    client: "Client", webhook: Webhook | str | None = None, *, limit: int = 500
) -> pd.DataFrame:
    """List how the deliveries of webhooks ended, one a row, the newest of each webhook first.

    Parameters
    ----------
    client
        Whose workspace.
    webhook
        The webhook, or its id; all of the workspace when not given.
    limit
        The most deliveries of each webhook.

    Examples
    --------
    >>> frame = cvm.deliveries_frame(client)
    >>> failed = frame[frame["status"] == "failed"]
    """
    calls = checks.instance("client", client, Webhooks, "Give a Client.")
    return DELIVERIES.frame(_rows(calls, webhook, checks.integer("limit", limit)))


def _rows(calls: Webhooks, webhook: Webhook | str | None, limit: int) -> Iterator[_Row]:
    if webhook is not None:
        one = webhook if isinstance(webhook, Webhook) else calls.get_webhook(webhook)
        for delivery in calls.list_webhook_deliveries(one, limit=limit):
            yield _Row(one, delivery)
        return
    for one in calls.list_webhooks():
        try:
            deliveries = calls.list_webhook_deliveries(one, limit=limit)
        except NotFoundError:
            continue  # deleted since it was listed
        for delivery in deliveries:
            yield _Row(one, delivery)
