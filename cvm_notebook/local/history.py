"""Spell a CVM's past: each operation, its events, and how it ended; let one end badly."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from cvm_notebook.local import billing, lifecycle
from cvm_notebook.local.clock import iso, iso_or_none
from cvm_notebook.local.db import Cvm, Operation, User
from cvm_notebook.local.deps import Context
from cvm_notebook.local.identifiers import hashid
from cvm_notebook.local.shapes import Shapes

Spell = Callable[[Shapes, Operation, Cvm, User], dict[str, Any]]
"""Spells an operation of a CVM that a user has begun."""


def operation(shapes: Shapes, row: Operation, cvm: Cvm, user: User) -> dict[str, Any]:
    """Spell one operation."""
    ended, status = _end(shapes, row)
    duration = None if ended is None else round((ended - row.began_at) * 1000)
    return {
        "correlation_id": row.correlation_id,
        "operation_type": row.kind,
        "target_state": _target(row),
        "triggered_by": user.id if shapes.caller.version < "2026-05-22" else hashid("usr", user.id),
        "triggered_by_username": user.username,
        "triggered_by_email": user.email,
        "started_at": iso(row.began_at),
        "completed_at": iso_or_none(ended),
        "duration_ms": duration,
        "status": status,
        "error_message": row.error if status == "failed" else None,
        "sub_operations": [],
        "events": _events(shapes, row, ended, status),
        "instance_name": cvm.name,
        "compose_hash": row.compose_hash,
    }


def event(shapes: Shapes, row: Operation, _cvm: Cvm, _user: User) -> dict[str, Any]:
    """Spell how one operation ended, or that it goes on."""
    ended, status = _end(shapes, row)
    at = row.began_at if ended is None else ended
    return {"event_type": f"instance.{row.kind}", "status": status, "timestamp": iso(at)}


def _as_operation(row: Operation) -> lifecycle.Operation:
    return lifecycle.Operation(row.kind, row.began_at, row.origin, row.final, row.error)


def _target(row: Operation) -> str:
    return lifecycle.target(_as_operation(row))


def _end(shapes: Shapes, row: Operation) -> tuple[float | None, str]:
    """Return when an operation ended (None: it goes on) and how."""
    done = _as_operation(row)
    ends_at = row.began_at + lifecycle.duration(done, shapes.ctx.settings.speed)
    if row.cancelled_at is not None and row.cancelled_at < ends_at:
        return row.cancelled_at, "cancelled"
    if shapes.now < ends_at:
        return None, "in_progress"
    return ends_at, "failed" if row.error else "completed"


def _events(
    shapes: Shapes, row: Operation, ended: float | None, status: str
) -> list[dict[str, Any]]:
    """List what happened when: each phase that has begun, and the end."""
    found = []
    done = _as_operation(row)
    at = row.began_at
    phases = lifecycle.plan(row.kind, row.origin).phases
    for place, phase in enumerate(phases):
        if at > min(shapes.now, ended if ended is not None else shapes.now):
            break
        name = "start" if place == 0 else phase.status
        found.append(_event(row, name, at, phase.status))
        at += phase.seconds / shapes.ctx.settings.speed
    if ended is not None:
        state = row.final or _target(row)
        if status == "cancelled":
            state = lifecycle.view(done, ended, shapes.ctx.settings.speed).status
        found.append(_event(row, status, ended, state))
    return found


def _event(row: Operation, name: str, at: float, state: str) -> dict[str, Any]:
    return {
        "event_type": f"instance.{row.kind}.{name}",
        "timestamp": iso(at),
        "state": state,
    }


def end_badly(
    session: Session, ctx: Context, cvm: Cvm, *, final: str, error: str | None, now: float
) -> None:
    """Let the newest operation of a CVM end in ``error`` or ``exited``, now or when it ends."""
    operation = lifecycle.operation_of(cvm)
    ends_at = operation.began_at + lifecycle.duration(operation, ctx.settings.speed)
    billing.accrue(cvm, now)
    cvm.op_final, cvm.op_error = final, error
    cvm.active_until = max(now, ends_at)
    session.execute(
        update(Operation)
        .where(Operation.correlation_id == cvm.op_correlation_id)
        .values(final=final, error=error)
    )
