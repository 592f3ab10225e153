"""Serve the past of a CVM and its measurements; stop many at once; cancel what goes on."""

from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import operations as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, Operation, User
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm, find_cvms
from cvm_notebook.local.engine import lifecycle, operations
from cvm_notebook.local.engine.billing import accrue, stop_computing
from cvm_notebook.local.routing import api_router

router = api_router(tags=["operations and measurements"])

CvmId = Annotated[str, Path(max_length=500)]
_FOUND = documented(404, 409)
_MICROSECOND = 1e-6


class Period(BaseModel):
    """The query of the list of operations."""

    cursor: str | None = Field(default=None, max_length=100)
    limit: int = Field(default=50, ge=1, le=500)
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    operation_types: list[str] | None = None


@router.get("/cvms/{cvm_id}/operations", response_model=answers.Operations, responses=_FOUND)
def list_operations(
    ctx: Ctx, caller: Auth, cvm_id: CvmId, period: Annotated[Period, Query()]
) -> Response:
    """List what was done to a CVM, newest first."""
    return _history(ctx, caller, cvm_id, period, answers.operation)


@router.get("/cvms/{cvm_id}/events", response_model=answers.Events, responses=_FOUND)
def list_events(
    ctx: Ctx, caller: Auth, cvm_id: CvmId, period: Annotated[Period, Query()]
) -> Response:
    """List how what was done to a CVM ended, newest first."""
    return _history(ctx, caller, cvm_id, period, answers.event)


def _history(
    ctx: Context, caller: Caller, cvm_id: str, period: Period, format_one: answers.Formatter
) -> Response:
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id)
        conditions = _conditions(cvm, period)
        count = select(func.count()).select_from(Operation).where(*conditions)
        total = session.scalar(count) or 0
        order = (Operation.began_at.desc(), Operation.id.desc())
        query = (
            select(Operation, User)
            .join(User, User.id == Operation.user_id)
            .where(*conditions, *_after(period.cursor))
            .order_by(*order)
            .limit(period.limit + 1)
        )
        rows = session.execute(query).all()
    shown = rows[: period.limit]
    items = [format_one(shapes, operation, cvm, user) for operation, user in shown]
    more = len(rows) > period.limit
    cursor = f"{shown[-1][0].began_at!r}_{shown[-1][0].id}" if more else None
    return json_answer({"items": items, "next_cursor": cursor, "total": total})


def _conditions(cvm: Cvm, period: Period) -> list[ColumnElement[bool]]:
    conditions = [Operation.cvm_id == cvm.id]
    # Times are spelled in microseconds but kept finer: a time that was read back must be met.
    if period.start_time is not None:
        conditions.append(Operation.began_at >= period.start_time.timestamp() - _MICROSECOND)
    if period.end_time is not None:
        conditions.append(Operation.began_at <= period.end_time.timestamp() + _MICROSECOND)
    if period.operation_types:
        conditions.append(Operation.kind.in_(period.operation_types))
    return conditions


def _after(cursor: str | None) -> list[ColumnElement[bool]]:
    if not cursor:
        return []
    began_at, _, number = cursor.partition("_")
    try:
        place = (float(began_at), int(number))
    except ValueError:
        raise ApiError(400, f"cursor {cursor[:80]!r} was not given out here.") from None
    if place[1] >= 1 << 62:
        raise ApiError(400, f"cursor {cursor[:80]!r} was not given out here.")
    return [tuple_(Operation.began_at, Operation.id) < tuple_(*place)]


@router.get(
    "/cvms/{cvm_id}/operation-status", response_model=answers.OperationStatus, responses=_FOUND
)
def operation_status(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Say what a CVM is in the middle of, or that it is idle."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id)
        newest = _newest(session, cvm)
    view = shapes.view(cvm)
    busy = view.in_progress and newest is not None
    item = answers.operation(shapes, newest[0], cvm, newest[1]) if busy and newest else None
    status = view.status if busy else "idle"
    return json_answer({"status": status, "in_progress": busy, "operation": item})


def _newest(session: Session, cvm: Cvm) -> tuple[Operation, User] | None:
    row = session.execute(
        select(Operation, User)
        .join(User, User.id == Operation.user_id)
        .where(Operation.correlation_id == cvm.op_correlation_id)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


@router.post("/cvms/{cvm_id}/operations/cancel", response_model=answers.Cancelled, responses=_FOUND)
def cancel_operation(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Cancel what a CVM is in the middle of: it falls back to what it was before."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        view = lifecycle.view_of(cvm, caller.now, ctx.settings.speed)
        if not view.in_progress or cvm.gone_at is not None:
            return json_answer({"cancelled": False, "correlation_id": None})
        correlation_id = cvm.op_correlation_id
        _fall_back(session, ctx, caller, cvm)
    return json_answer({"cancelled": True, "correlation_id": correlation_id})


def _fall_back(session: Session, ctx: Context, caller: Caller, cvm: Cvm) -> None:
    back = cvm.op_origin if cvm.op_origin in lifecycle.STABLE else "stopped"
    running = back in lifecycle.ALIVE
    accrue(cvm, caller.now)
    newest = _newest(session, cvm)
    if newest is not None:
        newest[0].cancelled_at = caller.now
    # The status is computed from when the operation began: let it have ended just now.
    operation = lifecycle.operation_of(cvm)
    cvm.op_began_at = caller.now - lifecycle.duration(operation, ctx.settings.speed)
    cvm.op_final, cvm.op_error = back, None
    cvm.active_until = None
    if not running:
        stop_computing(cvm, caller.now)
    if cvm.first_boot_at is not None and cvm.first_boot_at > caller.now:
        cvm.first_boot_at = None
    cvm.updated_at = caller.now


class BatchStop(BaseModel):
    """The request for stopping several CVMs."""

    cvm_ids: list[Annotated[str, Field(max_length=500)]] = Field(min_length=1, max_length=50)


@router.post("/cvms/batch-stop", response_model=answers.BatchStopped)
def batch_stop(ctx: Ctx, caller: Auth, body: BatchStop) -> Response:
    """Stop several CVMs; those that stand, are busy or are managed are skipped."""
    stopped, errors = 0, []
    wanted = list(dict.fromkeys(body.cvm_ids))
    with ctx.database.write() as session:
        for cvm_id, cvm in find_cvms(session, caller.workspace.id, wanted).items():
            if isinstance(cvm, ApiError):
                errors.append({"cvm_id": cvm_id, "error": cvm.detail})
                continue
            view = lifecycle.view_of(cvm, caller.now, ctx.settings.speed)
            managed = cvm.rental is not None and cvm.rental["managed"]
            if not managed and not view.in_progress and view.status != "stopped":
                operations.begin(session, ctx, caller, cvm, "power_off")
                stopped += 1
    skipped = len(wanted) - stopped - len(errors)
    return json_answer(
        {"total": len(wanted), "stopped": stopped, "skipped": skipped, "errors": errors}
    )


def _read(ctx: Context, caller: Caller, cvm_id: str, *, whole: bool = False) -> Cvm:
    with ctx.database.read() as session:
        return find_cvm(session, caller.workspace.id, cvm_id, whole=whole)


def _measured(what: Any, ctx: Context, caller: Caller, cvm: Cvm) -> Response:
    return json_answer(what(Shapes(ctx, caller), cvm))


@router.get("/cvms/{cvm_id}/stats", response_model=answers.Stats, responses=_FOUND)
def cvm_stats(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Measure a CVM's load."""
    return _measured(answers.system_info, ctx, caller, _read(ctx, caller, cvm_id))


@router.get("/cvms/{cvm_id}/network", response_model=answers.Network, responses=_FOUND)
def cvm_network(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Describe a CVM's network."""
    return _measured(answers.network, ctx, caller, _read(ctx, caller, cvm_id))


@router.get("/cvms/{cvm_id}/composition", response_model=answers.Composition, responses=_FOUND)
def cvm_composition(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """List a CVM's containers and where their logs are."""
    return _measured(answers.composition, ctx, caller, _read(ctx, caller, cvm_id, whole=True))
