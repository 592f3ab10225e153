"""Serve the metered usage of an app, by the hour."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import app_details as answers
from cvm_notebook.local.answers.apps import known_app
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.clock import iso
from cvm_notebook.local.core.context import Auth, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, Revision
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.engine import metering
from cvm_notebook.local.routing import api_router

router = api_router(tags=["apps"])

_WEEK: Final = 7 * 86_400.0
_MICROS: Final = 1_000_000
_EVENTS: Final = {"compute": "instance.compute", "storage": "instance.storage"}

Day = Annotated[datetime | None, Query()]


@router.get("/apps/{app_id}/usage", response_model=answers.Usage, responses=documented(404))
def app_usage(
    ctx: Ctx,
    caller: Auth,
    app_id: Annotated[str, Path(max_length=500)],
    *,
    start_date: Day = None,
    end_date: Day = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> Response:
    """List what an app has cost, CVMs that are gone included; by default in the last seven days."""
    wanted = _period(start_date, end_date, caller.now)
    workspace_id = caller.workspace.id
    with ctx.database.read() as session:
        known = known_app(session, Shapes(ctx, caller), app_id)
        found = metering.records(
            session, workspace_id, known, wanted, caller.now, skip=offset, most=limit
        )
        uuids = _uuids(session, {record.cvm_id for record in found})
        project = session.scalar(
            select(func.min(Revision.cvm_id)).where(
                Revision.workspace_id == workspace_id, Revision.app_id == known
            )
        )
    ids = {"project_id": project, "team_id": workspace_id}
    return json_answer(
        {
            "usage": [ids | _item(record, uuids[record.cvm_id]) for record in found],
            "total": len(found),
            "total_cost": sum(record.cost for record in found) / _MICROS,
        }
    )


def _period(start: datetime | None, end: datetime | None, now: float) -> metering.Period:
    ends_at = now if end is None else _moment(end)
    begins_at = ends_at - _WEEK if start is None else _moment(start)
    if ends_at < begins_at:
        raise ApiError(400, "end_date lies before start_date.")
    return metering.Period(begins_at, ends_at)


def _moment(moment: datetime) -> float:
    """Return a time that was asked for; one without a zone is in UTC."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _uuids(session: Session, cvm_ids: set[int]) -> dict[int, str]:
    rows = session.execute(select(Cvm.id, Cvm.vm_uuid).where(Cvm.id.in_(cvm_ids)))
    return dict(rows.tuples().all())


def _item(record: metering.Record, vm_uuid: str) -> dict[str, Any]:
    day = iso(record.hour)[:10]
    return {
        "instance_id": vm_uuid,
        "timestamp": iso(record.ends_at),
        "event_type": _EVENTS[record.category],
        "cost": record.cost / _MICROS,
        "details": None,
        "usage_type": record.category,
        "billing_start": day,
        "billing_end": iso(record.ends_at)[:10],
        "duration_minutes": (record.ends_at - record.begins_at) / 60,
        "billing_key": f"{vm_uuid}:{record.category}:{iso(record.begins_at)}",
        "billing_hour": iso(record.hour),
        "billing_day": day,
    }
