"""Models of the answers about a CVM's past and its measurements, for the OpenAPI description."""

import hashlib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from sqlalchemy import update
from sqlalchemy.orm import Session

from cvm_notebook.local.answers.cvm_views import FEATURES, Shapes
from cvm_notebook.local.answers.cvms import Endpoint
from cvm_notebook.local.core.clock import human, iso, iso_or_none
from cvm_notebook.local.core.context import Context
from cvm_notebook.local.core.database import Cvm, Operation, User
from cvm_notebook.local.core.identifiers import hashid, log_token
from cvm_notebook.local.engine import billing, lifecycle
from cvm_notebook.local.engine.lifecycle import View
from cvm_notebook.local.simulated import stats


class OperationEvent(BaseModel):
    """One thing that happened in the course of an operation."""

    event_type: str
    timestamp: str
    state: str


class OperationItem(BaseModel):
    """One operation."""

    correlation_id: str
    operation_type: str
    target_state: str
    triggered_by: int | str
    triggered_by_username: str | None
    triggered_by_email: str | None
    started_at: str
    completed_at: str | None
    duration_ms: int | None
    status: str
    error_message: str | None
    sub_operations: list[str]
    events: list[OperationEvent]
    instance_name: str
    compose_hash: str | None


class Operations(BaseModel):
    """A stretch of a CVM's operations, newest first."""

    items: list[OperationItem]
    next_cursor: str | None
    total: int


class Event(BaseModel):
    """An entry of a CVM's history: one operation, ended or under way."""

    event_type: str
    status: str
    timestamp: str


class Events(BaseModel):
    """A stretch of a CVM's events, newest first."""

    items: list[Event]
    next_cursor: str | None
    total: int


class OperationStatus(BaseModel):
    """The operation under way on a CVM."""

    status: str
    in_progress: bool
    operation: OperationItem | None


class Cancelled(BaseModel):
    """Whether there was something to cancel."""

    cancelled: bool
    correlation_id: str | None


class BatchStopError(BaseModel):
    """A CVM that could not be stopped."""

    cvm_id: str
    error: str


class BatchStopped(BaseModel):
    """The results of a batch stop."""

    total: int
    stopped: int
    skipped: int
    errors: list[BatchStopError]


class Measured(BaseModel):
    """The fields that each measurement begins with."""

    is_online: bool
    is_public: bool
    error: str | None


class Stats(Measured):
    """The load of a CVM."""

    sysinfo: dict[str, Any] | None
    status: str | None
    in_progress: bool
    boot_progress: str | None
    boot_error: str | None


class Network(Measured):
    """The network of a CVM."""

    internal_ip: str | None
    latest_handshake: str | None
    public_urls: list[Endpoint] | None


class Container(BaseModel):
    """One container."""

    id: str
    names: list[str]
    image: str
    image_id: str
    command: str | None
    created: int
    state: str
    status: str
    log_endpoint: str | None


class Composition(Measured):
    """The containers of a CVM."""

    docker_compose_file: str | None
    manifest_version: int | None
    version: str | None
    runner: str | None
    features: list[str] | None
    containers: list[Container] | None


_HANDSHAKE_SECONDS = 120
_OFFLINE = "The CVM is not running."


def system_info(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Format the load."""
    view = shapes.view(cvm)
    up = _up(shapes, view)
    shown = up is not None and cvm.public_sysinfo
    return _online(up, public=cvm.public_sysinfo) | {
        "sysinfo": stats.system_info(cvm, shapes.now, up) if shown and up is not None else None,
        "status": view.status,
        "in_progress": view.in_progress,
        "boot_progress": view.boot_progress,
        "boot_error": view.boot_error,
    }


def network(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Format the network: the address inside, the latest handshake, the addresses outside."""
    up = _up(shapes, shapes.view(cvm))
    answer = _online(up, public=True)
    if up is None:
        return answer | {"internal_ip": None, "latest_handshake": None, "public_urls": None}
    shaken = shapes.now - up % _HANDSHAKE_SECONDS
    return answer | {
        "internal_ip": f"10.4.{cvm.id // 250 % 250}.{2 + cvm.id % 250}",
        "latest_handshake": iso(shaken),
        "public_urls": shapes.endpoints(cvm),
    }


def composition(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Format the containers. Needs the compose file."""
    up = _up(shapes, shapes.view(cvm))
    shown = up is not None and cvm.public_sysinfo
    return _online(up, public=cvm.public_sysinfo) | {
        "docker_compose_file": cvm.compose_file.get("docker_compose_file"),
        "manifest_version": cvm.compose_file.get("manifest_version"),
        "version": "1.0.0",
        "runner": cvm.compose_file.get("runner"),
        "features": cvm.compose_file.get("features") or list(FEATURES),
        "containers": [_container(shapes, cvm, service, up) for service in cvm.services]
        if shown and up is not None
        else None,
    }


def _container(shapes: Shapes, cvm: Cvm, service: dict[str, Any], up: float) -> dict[str, Any]:
    name = service["name"]
    token = log_token(shapes.ctx.secret, cvm.vm_uuid)
    url = f"{shapes.log_urls(cvm)['container_log_base']}/{name}?token={token}"
    return {
        "id": hashlib.sha256(f"container:{cvm.vm_uuid}/{name}".encode()).hexdigest(),
        "names": [f"/dstack-{name}-1"],
        "image": service["image"] or f"dstack-{name}",
        "image_id": "sha256:" + hashlib.sha256(service["image"].encode()).hexdigest(),
        "command": None,
        "created": int(shapes.now - up),
        "state": "running",
        "status": f"Up {human(up)}",
        "log_endpoint": url if cvm.public_logs else None,
    }


def _up(shapes: Shapes, view: View) -> float | None:
    """Return for how long the CVM has been running; None when it isn't."""
    return None if view.running_since is None else max(0.0, shapes.now - view.running_since)


def _online(up: float | None, *, public: bool) -> dict[str, Any]:
    return {
        "is_online": up is not None,
        "is_public": public,
        "error": None if up is not None else _OFFLINE,
    }


Formatter = Callable[[Shapes, Operation, Cvm, User], dict[str, Any]]
"""Spells an operation of a CVM that a user has begun."""


def operation(shapes: Shapes, row: Operation, cvm: Cvm, user: User) -> dict[str, Any]:
    """Format one operation."""
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
    """Format how one operation ended, or that it goes on."""
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
    billing.stop_computing(cvm, max(now, ends_at))
    session.execute(
        update(Operation)
        .where(Operation.correlation_id == cvm.op_correlation_id)
        .values(final=final, error=error)
    )
