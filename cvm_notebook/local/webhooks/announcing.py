"""Find out what has ended since one last looked, and make a delivery of it for each webhook.

Nothing ticks in a CVM: its status is computed. So the ends of operations are looked for, in the
order in which these were begun; what is looked at twice is announced once, for an event's id
follows from its operation.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from cvm_notebook.local.core.context import Context
from cvm_notebook.local.core.database import (
    Cvm,
    KeyValue,
    Operation,
    Webhook,
    WebhookDelivery,
    Workspace,
)
from cvm_notebook.local.engine import housekeeping, lifecycle
from cvm_notebook.local.webhooks.events import body_of, ends_at, event_id_of, event_of

_AT_ONCE: Final = 1_000
"""As many operations are looked at in one go."""
_LATE: Final = 60.0
"""Seconds by which a transaction may show later than its operation's end; more than a database
lets anybody wait."""
_KEY: Final = "webhooks_announced"
_WEBHOOKS: Final = select(func.count(), func.min(case((Webhook.enabled, Webhook.since))))
"""How many there are, and since when one that is enabled is notified of what ends."""
_CLOCK: Final = select(*housekeeping.CLOCK)
_LONGEST: Final = max(
    sum(phase.seconds for phase in plan.phases) for plan in lifecycle.PLANS.values()
)


class Announcer:
    """Makes deliveries of what ends; each server process has one.

    Parameters
    ----------
    ctx
        The server.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._over: int | None = None
        """Up to this operation all are long over: nothing more will come of them."""

    def look(self) -> bool:
        """Make deliveries of what has ended; one small query where there is nobody to notify.

        Returns
        -------
        bool
            Whether there are webhooks at all: without one there is nothing to send, either.
        """
        with self._ctx.database.read() as session:
            count, since = session.execute(_WEBHOOKS).one()
            if since is None:
                return bool(count)
            now, due = housekeeping.read_clock(*session.execute(_CLOCK).one())
        if due:  # a scheduled deletion that no request has carried out
            with self._ctx.database.write() as session:
                housekeeping.sweep(session, self._ctx, now)
        with self._ctx.database.read() as session:
            if self._over is None:
                self._over = self._begin(session, since)
            begun = session.scalars(
                select(Operation)
                .where(Operation.id > self._over)
                .order_by(Operation.id)
                .limit(_AT_ONCE)
            ).all()
            made = self._deliveries(session, begun, now)
        over = self._new_over(begun, now)
        if made:
            self._keep(made, over)
        self._over = over
        return True

    def _begin(self, session: Session, since: float) -> int:
        """Return the last operation that is no business of any webhook."""
        kept = session.scalar(select(KeyValue.value).where(KeyValue.name == _KEY))
        if kept is not None:
            return int(kept)
        before = since - _LONGEST / self._ctx.settings.speed
        return (
            session.scalar(select(func.max(Operation.id)).where(Operation.began_at < before)) or 0
        )

    def _new_over(self, begun: Sequence[Operation], now: float) -> int:
        over = self._over or 0
        for operation in begun:
            if ends_at(operation, self._ctx.settings.speed) > now - _LATE:
                break
            over = operation.id
        return over

    def _deliveries(
        self, session: Session, begun: Sequence[Operation], now: float
    ) -> list[dict[str, Any]]:
        ended = {
            operation: at
            for operation in begun
            if (at := ends_at(operation, self._ctx.settings.speed)) <= now
        }
        webhooks = session.scalars(
            select(Webhook).where(
                Webhook.enabled, Webhook.workspace_id.in_({one.workspace_id for one in ended})
            )
        ).all()
        ids = {event_id_of(operation) for operation in ended}
        known = set(
            session.execute(
                select(WebhookDelivery.webhook_id, WebhookDelivery.event_id).where(
                    WebhookDelivery.event_id.in_(ids)
                )
            ).tuples()
        )
        return [
            _delivery(session, webhook, operation, event, at)
            for operation, at in ended.items()
            if (event := event_of(operation)) is not None
            for webhook in webhooks
            if webhook.workspace_id == operation.workspace_id
            and event in webhook.events
            and webhook.since < at
            and (webhook.id, event_id_of(operation)) not in known
        ]

    def _keep(self, made: list[dict[str, Any]], over: int) -> None:
        """Keep new deliveries, and how far one has come; another process may have been faster."""
        with self._ctx.database.write() as session:
            insert = (
                sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
            )
            there = set(
                session.scalars(
                    select(Webhook.id).where(Webhook.id.in_({one["webhook_id"] for one in made}))
                )
            )
            rows = [one for one in made if one["webhook_id"] in there]
            if rows:
                session.execute(insert(WebhookDelivery).on_conflict_do_nothing(), rows)
            session.merge(KeyValue(name=_KEY, value=str(over)))


def _delivery(
    session: Session, webhook: Webhook, operation: Operation, event: str, at: float
) -> dict[str, Any]:
    cvm = session.get_one(Cvm, operation.cvm_id)
    workspace = session.get_one(Workspace, operation.workspace_id)
    return {
        "webhook_id": webhook.id,
        "event_id": event_id_of(operation),
        "original_event_id": "",
        "event_type": event,
        "body": body_of(operation, event, cvm, workspace, at=at),
        "request_url": webhook.url,
        "status": "pending",
        "attempts": 0,
        "due_at": at,
        "leased_until": 0.0,
        "response_status": 0,
        "error_message": "",
        "duration_ms": 0,
        "created_at": at,
    }
