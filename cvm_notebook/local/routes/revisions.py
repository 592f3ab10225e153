"""Serve the revisions of an app: each compose file its CVMs have had."""

from typing import Annotated, Any

from fastapi import Path, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from cvm_notebook.local.answers import apps as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.clock import iso
from cvm_notebook.local.core.context import Auth, Caller, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, Revision
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import hashid, hex40, unhash
from cvm_notebook.local.engine.compose import canonical, measured
from cvm_notebook.local.routing import api_router

router = api_router(tags=["apps"])

AppId = Annotated[str, Path(max_length=500)]
_FOUND = documented(404)


@router.get("/apps/{app_id}/revisions", response_model=answers.Revisions, responses=_FOUND)
def list_revisions(
    ctx: Ctx,
    caller: Auth,
    app_id: AppId,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Response:
    """List the compose files an app has had, newest first; deleted CVMs count too."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        own = (
            Revision.workspace_id == caller.workspace.id,
            Revision.app_id == _known_app(session, caller, app_id),
        )
        total = session.scalar(select(func.count()).select_from(Revision).where(*own)) or 0
        rows = session.execute(
            select(Revision, Cvm)
            .join(Cvm, Cvm.id == Revision.cvm_id)
            .where(*own)
            .order_by(Revision.created_at.desc(), Revision.id.desc())
            .limit(page_size)
            .offset((page - 1) * page_size)
        ).all()
    return json_answer(
        {
            "revisions": [_item(shapes, revision, cvm) for revision, cvm in rows],
            "total": total,
            "page": page,
            "page_size": page_size,
            "total_pages": -(-total // page_size),
        }
    )


@router.get(
    "/apps/{app_id}/revisions/{revision_id}",
    response_model=answers.RevisionDetail,
    responses=_FOUND,
)
def get_revision(
    ctx: Ctx, caller: Auth, app_id: AppId, revision_id: AppId, raw_compose_file: bool = False
) -> Response:
    """Give a compose file an app has had, as an object or as the text that was hashed."""
    with ctx.database.read() as session:
        row = session.execute(
            select(Revision, Cvm)
            .join(Cvm, Cvm.id == Revision.cvm_id)
            .where(
                Revision.workspace_id == caller.workspace.id,
                Revision.app_id == _known_app(session, caller, app_id),
                Revision.id == (unhash("rev", revision_id) or 0),
            )
            .options(
                undefer(Revision.compose_file),
                undefer(Revision.encrypted_env),
                undefer(Revision.user_config),
            )
        ).one_or_none()
    if row is None:
        raise ApiError(404, f"App {app_id[:80]} has no revision {revision_id[:80]!r}.")
    revision, cvm = row
    raw = canonical(measured(revision.compose_file)) if raw_compose_file else revision.compose_file
    return json_answer(
        _item(Shapes(ctx, caller), revision, cvm)
        | {
            "compose_file": raw,
            "encrypted_env": revision.encrypted_env or "",
            "user_config": revision.user_config or "",
        }
    )


def _known_app(session: Session, caller: Caller, text: str) -> str:
    app_id = hex40(text)
    own = (Revision.workspace_id == caller.workspace.id, Revision.app_id == app_id)
    if app_id is None or session.scalar(select(Revision.id).where(*own).limit(1)) is None:
        raise ApiError(404, f"There is no app {text[:80]!r} in this workspace.")
    return app_id


def _item(shapes: Shapes, revision: Revision, cvm: Cvm) -> dict[str, Any]:
    return {
        "revision_id": hashid("rev", revision.id),
        "app_id": revision.app_id,
        "vm_uuid": cvm.vm_uuid,
        "compose_hash": revision.compose_hash,
        "created_at": iso(revision.created_at),
        "trace_id": revision.correlation_id,
        "operation_type": revision.operation_kind,
        "triggered_by": shapes.user_ref(revision.user_id),
        "cvm": {
            "object_type": "cvm",
            "id": hashid("cvm", cvm.id),
            "name": cvm.name,
            "app_id": cvm.app_id,
            "vm_uuid": cvm.vm_uuid,
        },
        "workspace": shapes.workspace_ref(),
    }
