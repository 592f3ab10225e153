"""Events of webhooks: their types, their payloads, and their signatures."""

import hashlib
import hmac
import secrets
from typing import Any, Final

import pydantic_core

from cvm_notebook.local.core.clock import iso
from cvm_notebook.local.core.database import Cvm, Operation, Webhook, Workspace
from cvm_notebook.local.engine import lifecycle

EVENTS: Final = (
    "cvm.created",
    "cvm.started",
    "cvm.create_failed",
    "cvm.restarted",
    "cvm.updated",
    "cvm.stopped",
    "cvm.deleted",
    "cvm.update.pending_approval",
)
"""What a webhook can listen to. LocalCloud has no chain, so nothing ever waits for approval."""
TEST_EVENT: Final = "webhook.test"
_NEW: Final = frozenset({"create", "replicate"})
_BY_KIND: Final = {
    **dict.fromkeys(_NEW, "cvm.created"),
    "power_on": "cvm.started",
    "restart": "cvm.restarted",
    "force_restart": "cvm.restarted",
    "power_off": "cvm.stopped",
    "shutdown": "cvm.stopped",
    "delete": "cvm.deleted",
}


def ends_at(operation: Operation, speed: float) -> float:
    """Return when an operation ends, or has ended."""
    return operation.began_at + lifecycle.duration(_plain(operation), speed)


def event_of(operation: Operation) -> str | None:
    """Return the event that the end of an operation is; None where there is none.

    Of the failures only that of a new CVM is one.
    """
    if operation.cancelled_at is not None:
        return None
    if operation.final is not None:
        return "cvm.create_failed" if operation.kind in _NEW else None
    plan = lifecycle.PLANS.get(operation.kind)
    if plan is not None and lifecycle.UPDATING in plan.phases:
        return "cvm.updated"
    return _BY_KIND.get(operation.kind)


def event_id_of(operation: Operation) -> str:
    """Return the name of the event, which is the same however often it is worked out."""
    return f"evt_{hashlib.sha256(operation.correlation_id.encode()).hexdigest()[:16]}"


def new_event_id() -> str:
    """Make the name of an event that is the end of nothing: a test, or a repetition."""
    return f"evt_{secrets.token_hex(8)}"


def body_of(operation: Operation, event: str, cvm: Cvm, workspace: Workspace, *, at: float) -> str:
    """Say what has happened to a CVM, as JSON."""
    data = {
        "cvm_id": cvm.vm_uuid,
        "cvm_name": cvm.name,
        "app_id": f"0x{cvm.app_id}",
        "status": operation.final or lifecycle.target(_plain(operation)),
    }
    if operation.error:
        data["error"] = operation.error
    return _envelope(event_id_of(operation), event, workspace, data, at)


def test_body(event_id: str, webhook_id: str, workspace: Workspace, at: float) -> str:
    """Say that nothing has happened, as JSON."""
    data = {"webhook_id": webhook_id, "message": "This is a test. Nothing has happened."}
    return _envelope(event_id, TEST_EVENT, workspace, data, at)


def _envelope(
    event_id: str, event: str, workspace: Workspace, data: dict[str, Any], at: float
) -> str:
    envelope = {
        "id": event_id,
        "event": event,
        "version": "1",
        "created_at": iso(at).replace("+00:00", "Z"),
        "workspace": {"id": workspace.slug, "name": workspace.name},
        "data": data,
    }
    return pydantic_core.to_json(envelope).decode()


def headers_of(webhook: Webhook, event_id: str, event: str, body: bytes, at: int) -> dict[str, str]:
    """Return what goes with a body, signed with the webhook's secret as of this second."""
    signed = hmac.digest(webhook.secret.encode(), f"{at}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json",
        "User-Agent": "PhalaCloud-Webhook/1.0 LocalCloud",
        "X-Webhook-Id": event_id,
        "X-Webhook-Event": event,
        "X-Webhook-Timestamp": str(at),
        "X-Webhook-Signature": f"sha256={signed.hex()}",
    }


def new_secret() -> str:
    """Make what signs the deliveries of a webhook."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def _plain(operation: Operation) -> lifecycle.Operation:
    return lifecycle.Operation(operation.kind, operation.began_at, operation.origin)
