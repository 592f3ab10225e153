"""Send what is due, try again what failed, and keep what came of it; until the server ends.

What is sent is claimed first, for longer than it can take: no other worker sends it meanwhile. A
server that dies after sending and before it has kept the outcome sends once more, as the service
may, too: receivers tell by the event's id.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import undefer
from starlette.concurrency import run_in_threadpool

from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Context, clock_now
from cvm_notebook.local.core.database import Database, Webhook, WebhookDelivery
from cvm_notebook.local.webhooks.announcing import Announcer
from cvm_notebook.local.webhooks.events import headers_of
from cvm_notebook.local.webhooks.posting import SECONDS, Posted, post

RETRIES: Final = (60.0, 600.0, 3600.0)
"""Seconds until the next attempt, after the first, the second and the third; divided by speed."""
_LOOK_SECONDS: Final = 0.5
_LEASE_SECONDS: Final = SECONDS + 20.0
_AT_ONCE: Final = 8
"""As many are on their way at once, and of one webhook one: who is slow holds nobody up."""
_logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A delivery that this process sends now."""

    id: int
    webhook_id: int
    attempt: int
    url: str
    headers: dict[str, str]
    body: bytes


async def deliver(ctx: Context) -> None:
    """Tell webhooks of what happens, until cancelled; then nothing more is sent."""
    announcer = Announcer(ctx)
    sending: dict[int, asyncio.Task[None]] = {}
    sent = asyncio.Event()
    clock, next_look, webhooks = asyncio.get_running_loop().time, 0.0, True
    async with asyncio.TaskGroup() as group:
        while True:
            with suppress(TimeoutError):  # what has just been sent has made room for the next
                await asyncio.wait_for(sent.wait(), max(0.0, next_look - clock()))
            sent.clear()
            try:
                if clock() >= next_look:
                    next_look = clock() + _LOOK_SECONDS
                    webhooks = await run_in_threadpool(announcer.look)
                if not webhooks:
                    continue
                claimed = await run_in_threadpool(claim, ctx.database, tuple(sending))
            except SQLAlchemyError as error:
                _log(error)
                continue
            for one in claimed:
                task = sending[one.webhook_id] = group.create_task(_send(ctx, one))
                task.add_done_callback(partial(_forget, sending, one.webhook_id, sent))


def _forget(
    sending: dict[int, asyncio.Task[None]],
    webhook_id: int,
    sent: asyncio.Event,
    _done: asyncio.Task[None],
) -> None:
    del sending[webhook_id]
    sent.set()


async def _send(ctx: Context, one: _Claimed) -> None:
    posted = await post(one.url, one.headers, one.body)
    try:
        await run_in_threadpool(record, ctx, one, posted)
    except SQLAlchemyError as error:
        _log(error)


def _log(error: SQLAlchemyError) -> None:
    _logger.error("Webhooks failed and will be tried again: %s", type(error).__name__)


def claim(database: Database, busy: Sequence[int]) -> list[_Claimed]:
    """Take what is due, one of each webhook that is not busy, and count the attempt."""
    free = _AT_ONCE - len(busy)
    with database.read() as session:
        due = (
            WebhookDelivery.status == "pending",
            WebhookDelivery.due_at <= clock_now(session),
            WebhookDelivery.leased_until <= machine_now(),
        )
        first = (
            select(func.min(WebhookDelivery.id))
            .where(*due, WebhookDelivery.webhook_id.not_in(busy))
            .group_by(WebhookDelivery.webhook_id)
            .limit(free)
        )
        ids = session.scalars(first).all() if free > 0 else []
    if not ids:
        return []
    with database.write() as session:
        rows = session.execute(
            select(WebhookDelivery, Webhook)
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .where(WebhookDelivery.id.in_(ids), *due)
            .options(undefer(WebhookDelivery.body))
            .with_for_update(of=WebhookDelivery, skip_locked=True)
        ).all()
        for delivery, webhook in rows:
            delivery.attempts += 1
            delivery.request_url = webhook.url  # never to one that it has no more
            delivery.leased_until = machine_now() + _LEASE_SECONDS
        return [_claimed(delivery, webhook) for delivery, webhook in rows]


def _claimed(delivery: WebhookDelivery, webhook: Webhook) -> _Claimed:
    body = delivery.body.encode()
    event_id = delivery.original_event_id or delivery.event_id  # a repetition is the same event
    return _Claimed(
        id=delivery.id,
        webhook_id=webhook.id,
        attempt=delivery.attempts,
        url=delivery.request_url,
        # The machine's time, whatever this server's clock says: so receivers compare it.
        headers=headers_of(webhook, event_id, delivery.event_type, body, int(machine_now())),
        body=body,
    )


def record(ctx: Context, one: _Claimed, posted: Posted) -> None:
    """Keep what came of an attempt: delivered, given up, or due again."""
    with ctx.database.write() as session:
        now = clock_now(session)
        values: dict[str, object] = {
            "response_status": posted.status,
            "error_message": posted.error,
            "duration_ms": posted.duration_ms,
            "leased_until": 0.0,
        }
        if not posted.error:
            values |= {"status": "success", "delivered_at": now}
        elif one.attempt > len(RETRIES):
            values |= {"status": "failed"}
        else:
            values |= {"due_at": now + RETRIES[one.attempt - 1] / ctx.settings.speed}
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == one.id, WebhookDelivery.status == "pending")
            .values(**values)
        )
