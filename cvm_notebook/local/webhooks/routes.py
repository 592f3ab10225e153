"""Serve the webhooks of a workspace: make, change, test them, and say what became of deliveries.

The service wants a second factor before it shows or changes a secret; LocalCloud, whose users have
none, takes it as given.
"""

from typing import Annotated, Any, Final

from fastapi import Path, Query, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, undefer

from cvm_notebook.local.core.clock import iso_or_none
from cvm_notebook.local.core.context import Auth, Caller, Ctx, json_answer
from cvm_notebook.local.core.database import Webhook, WebhookDelivery, lock
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import hashid, unhash
from cvm_notebook.local.routing import api_router
from cvm_notebook.local.webhooks import answers, events
from cvm_notebook.local.webhooks.address import read_target

router = api_router(tags=["Webhooks"])

MOST: Final = 20
"""Webhooks that a workspace may have."""
_MOST_WAITING: Final = 100
"""Deliveries that may wait for one webhook before tests and repetitions are refused."""
_FOUND: Final = documented(404)
_FOUND_ENABLED: Final = documented(404, 409)
_ENDED: Final = ("success", "failed")


def _reachable(url: str) -> str:
    read_target(url)
    return url


def _known(event: str) -> str:
    if event not in events.EVENTS:
        raise ValueError(f"an event is one of {', '.join(events.EVENTS)}")
    return event


Url = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_reachable)]
Event = Annotated[str, StringConstraints(max_length=100), AfterValidator(_known)]
Events = Annotated[list[Event], Field(min_length=1, max_length=50)]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
Secret = Annotated[str, StringConstraints(min_length=16, max_length=200, pattern=r"^[!-~]*$")]
Id = Annotated[str, Path(max_length=100)]


class NewWebhook(BaseModel):
    """The request for a new webhook; without a secret one is made."""

    url: Url
    events: Events
    name: Name | None = None
    secret: Secret | None = None


class WebhookChange(BaseModel):
    """The request for a change of a webhook; null leaves it as it is."""

    url: Url | None = None
    events: Events | None = None
    name: Name | None = None
    enabled: bool | None = None


@router.get("/workspace/webhooks", response_model=list[answers.WebhookItem])
def list_webhooks(ctx: Ctx, caller: Auth) -> Response:
    """List the webhooks of the workspace, oldest first."""
    own = Webhook.workspace_id == caller.workspace.id
    with ctx.database.read() as session:
        rows = session.scalars(select(Webhook).where(own).order_by(Webhook.id)).all()
    return json_answer([answers.webhook_item(row) for row in rows])


@router.post("/workspace/webhooks", status_code=201, response_model=answers.WebhookItem)
def create_webhook(ctx: Ctx, caller: Auth, body: NewWebhook) -> Response:
    """Make a webhook; its secret is shown this once."""
    with ctx.database.write() as session:
        lock(session, "webhooks", caller.workspace.id)
        own = Webhook.workspace_id == caller.workspace.id
        if (session.scalar(select(func.count(Webhook.id)).where(own)) or 0) >= MOST:
            raise ApiError(400, f"The workspace has {MOST} webhooks already: delete one first.")
        row = Webhook(
            workspace_id=caller.workspace.id,
            url=body.url,
            secret=body.secret or events.new_secret(),
            events=list(dict.fromkeys(body.events)),
            name=body.name,
            enabled=True,
            since=caller.now,
            created_at=caller.now,
            updated_at=caller.now,
        )
        session.add(row)
        session.flush()
        return json_answer(answers.webhook_item(row, whole=True), 201)


@router.get(
    "/workspace/webhooks/{webhook_id}", response_model=answers.WebhookItem, responses=_FOUND
)
def get_webhook(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Describe a webhook."""
    with ctx.database.read() as session:
        return json_answer(answers.webhook_item(_find(session, caller, webhook_id)))


@router.put(
    "/workspace/webhooks/{webhook_id}", response_model=answers.WebhookItem, responses=_FOUND
)
def update_webhook(ctx: Ctx, caller: Auth, webhook_id: Id, body: WebhookChange) -> Response:
    """Change a webhook. What waits for one that is disabled has failed."""
    with ctx.database.write() as session:
        row = _find(session, caller, webhook_id, for_change=True)
        for field in body.model_fields_set:
            value = getattr(body, field)
            if value is not None:
                setattr(row, field, value)
        if body.events is not None or body.enabled is not None:
            row.since = caller.now
        row.updated_at = caller.now
        if not row.enabled:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.webhook_id == row.id, WebhookDelivery.status == "pending")
                .values(status="failed", error_message="The webhook was disabled")
            )
        return json_answer(answers.webhook_item(row))


@router.delete("/workspace/webhooks/{webhook_id}", status_code=204, responses=_FOUND)
def delete_webhook(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Forget a webhook and its deliveries; nothing more is sent there."""
    with ctx.database.write() as session:
        row = _find(session, caller, webhook_id, for_change=True)
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == row.id))
        session.delete(row)
    return Response(status_code=204)


@router.post(
    "/workspace/webhooks/{webhook_id}/reveal-secret",
    response_model=answers.WebhookSecret,
    responses=_FOUND,
)
def reveal_webhook_secret(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Show the secret of a webhook."""
    with ctx.database.read() as session:
        return json_answer({"secret": _find(session, caller, webhook_id).secret})


@router.post(
    "/workspace/webhooks/{webhook_id}/rotate-secret",
    response_model=answers.WebhookSecret,
    responses=_FOUND,
)
def rotate_webhook_secret(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Give a webhook another secret, which signs from now on whatever is sent to it."""
    with ctx.database.write() as session:
        row = _find(session, caller, webhook_id, for_change=True)
        row.secret, row.updated_at = events.new_secret(), caller.now
        return json_answer({"secret": row.secret})


@router.post(
    "/workspace/webhooks/{webhook_id}/test",
    response_model=answers.WebhookSent,
    responses=_FOUND_ENABLED,
)
def test_webhook(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Send an event to a webhook by which nothing has happened."""
    with ctx.database.write() as session:
        row = _find_enabled(session, caller, webhook_id)
        event_id = events.new_event_id()
        body = events.test_body(
            event_id, hashid(answers.PREFIX, row.id), caller.workspace, caller.now
        )
        return _queue(session, caller, row, event_id=event_id, event=events.TEST_EVENT, body=body)


@router.get(
    "/workspace/webhooks/{webhook_id}/deliveries",
    response_model=list[answers.WebhookDeliveryItem],
    responses=_FOUND,
)
def list_deliveries(
    ctx: Ctx,
    caller: Auth,
    webhook_id: Id,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """List how deliveries ended, newest first; one that is still tried is not there yet."""
    with ctx.database.read() as session:
        row = _find(session, caller, webhook_id)
        found = session.scalars(
            select(WebhookDelivery)
            .where(WebhookDelivery.webhook_id == row.id, WebhookDelivery.status.in_(_ENDED))
            .order_by(WebhookDelivery.id.desc())
            .limit(limit)
            .offset(offset)
        ).all()
    return json_answer([answers.delivery_item(one) for one in found])


@router.post(
    "/workspace/webhooks/{webhook_id}/deliveries/{event_id}/resend",
    response_model=answers.WebhookSent,
    responses=_FOUND_ENABLED,
)
def resend_delivery(ctx: Ctx, caller: Auth, webhook_id: Id, event_id: Id) -> Response:
    """Send an event again, as it was: a delivery of its own, which names the first."""
    with ctx.database.write() as session:
        row = _find_enabled(session, caller, webhook_id)
        before = session.scalar(
            select(WebhookDelivery)
            .where(
                WebhookDelivery.webhook_id == row.id,
                WebhookDelivery.event_id == event_id,
                WebhookDelivery.status.in_(_ENDED),
            )
            .options(undefer(WebhookDelivery.body))
        )
        if before is None:
            raise ApiError(404, f"The webhook has no ended delivery of {event_id[:80]!r}.")
        first = before.original_event_id or before.event_id
        return _queue(
            session,
            caller,
            row,
            event_id=events.new_event_id(),
            event=before.event_type,
            body=before.body,
            original=first,
        )


@router.get(
    "/workspace/webhooks/{webhook_id}/stats", response_model=answers.WebhookStats, responses=_FOUND
)
def webhook_stats(ctx: Ctx, caller: Auth, webhook_id: Id) -> Response:
    """Count how the deliveries of a webhook ended."""
    with ctx.database.read() as session:
        row = _find(session, caller, webhook_id)
        counted = session.execute(
            select(
                WebhookDelivery.status,
                func.count(),
                func.sum(WebhookDelivery.duration_ms),
                func.max(WebhookDelivery.duration_ms),
                func.max(WebhookDelivery.delivered_at),
            )
            .where(WebhookDelivery.webhook_id == row.id, WebhookDelivery.status.in_(_ENDED))
            .group_by(WebhookDelivery.status)
        ).all()
    count = {status: int(number) for status, number, *_ in counted}
    total = sum(count.values())
    success = count.get("success", 0)
    return json_answer(
        {
            "total": total,
            "success_count": success,
            "failed_count": total - success,
            "success_rate": round(100 * success / total, 2) if total else 0.0,
            "avg_duration_ms": round(sum(int(row[2]) for row in counted) / total) if total else 0,
            "max_duration_ms": max((int(row[3]) for row in counted), default=0),
            "last_delivery_at": iso_or_none(max((row[4] or 0.0 for row in counted), default=0.0))
            if success
            else None,
        }
    )


def _find(
    session: Session, caller: Caller, webhook_id: str, *, for_change: bool = False
) -> Webhook:
    query = select(Webhook).where(
        Webhook.id == (unhash(answers.PREFIX, webhook_id) or 0),
        Webhook.workspace_id == caller.workspace.id,
    )
    found = session.scalar(query.with_for_update() if for_change else query)
    if found is None:
        raise ApiError(404, f"There is no webhook {webhook_id[:80]!r} in this workspace.")
    return found


def _find_enabled(session: Session, caller: Caller, webhook_id: str) -> Webhook:
    row = _find(session, caller, webhook_id, for_change=True)
    if not row.enabled:
        raise ApiError(409, "The webhook is disabled. Enable it first.")
    waiting = select(func.count(WebhookDelivery.id)).where(
        WebhookDelivery.webhook_id == row.id, WebhookDelivery.status == "pending"
    )
    if (session.scalar(waiting) or 0) >= _MOST_WAITING:
        raise ApiError(409, f"{_MOST_WAITING} deliveries wait for this webhook already.")
    return row


def _queue(
    session: Session,
    caller: Caller,
    row: Webhook,
    *,
    event_id: str,
    event: str,
    body: str,
    original: str = "",
) -> Response:
    session.add(
        WebhookDelivery(
            webhook_id=row.id,
            event_id=event_id,
            original_event_id=original,
            event_type=event,
            body=body,
            request_url=row.url,
            due_at=caller.now,
            created_at=caller.now,
        )
    )
    answer: dict[str, Any] = {"event_id": event_id, "status": "pending"}
    return json_answer(answer)
