"""Serve the revisions of an app, each compose file its CVMs have had, and take CVMs back to one."""

from typing import Annotated, Any

from fastapi import Body, Path, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from cvm_notebook.local.answers import apps as answers
from cvm_notebook.local.answers.apps import known_app, one_app
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.clock import iso
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, Revision, lock
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm, hashid, unhash
from cvm_notebook.local.engine import updating
from cvm_notebook.local.engine.compose import canonical, measured
from cvm_notebook.local.engine.requests import RedeployRequest
from cvm_notebook.local.routing import api_router

router = api_router(tags=["apps"])

AppId = Annotated[str, Path(max_length=500)]
TransactionHash = Annotated[str | None, Query(max_length=500)]
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
            Revision.app_id == known_app(session, shapes, app_id),
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
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        revision, cvm = _one(session, caller, known_app(session, shapes, app_id), revision_id)
    raw = canonical(measured(revision.compose_file)) if raw_compose_file else revision.compose_file
    return json_answer(
        _item(shapes, revision, cvm)
        | {
            "compose_file": raw,
            "encrypted_env": revision.encrypted_env or "",
            "user_config": revision.user_config or "",
        }
    )


@router.post(
    "/apps/{app_id}/revisions/{revision_id}/redeploy",
    status_code=202,
    response_model=answers.Redeployed,
    responses=documented(404, 409),
)
def redeploy_app(
    ctx: Ctx,
    caller: Auth,
    *,
    app_id: AppId,
    revision_id: AppId,
    body: Annotated[RedeployRequest | None, Body()] = None,
    transaction_hash: TransactionHash = None,  # noqa: ARG001 - no chain to ask
) -> Response:
    """Take CVMs of an app to one of its revisions; all that are named, or none."""
    shapes = Shapes(ctx, caller)
    with ctx.database.write() as session:
        lock(session, "workspace", caller.workspace.id)
        revision, _ = _one(session, caller, known_app(session, shapes, app_id), revision_id)
        cvms = _named(session, shapes, revision.app_id, body)
        begun = [_redeployed(session, ctx, caller, cvm, revision) for cvm in cvms]
    return _accepted(begun)


@router.post(
    "/cvms/{cvm_id}/revisions/{revision_id}/redeploy",
    status_code=202,
    response_model=answers.Redeployed,
    responses=documented(404, 409),
)
def redeploy_cvm(
    ctx: Ctx,
    caller: Auth,
    cvm_id: AppId,
    revision_id: AppId,
    transaction_hash: TransactionHash = None,  # noqa: ARG001 - no chain to ask
) -> Response:
    """Take a CVM to a revision of its app."""
    with ctx.database.write() as session:
        lock(session, "workspace", caller.workspace.id)
        cvm = find_cvm(session, caller.workspace.id, cvm_id, whole=True, for_change=True)
        revision, _ = _one(session, caller, cvm.app_id, revision_id)
        begun = [_redeployed(session, ctx, caller, cvm, revision)]
    return _accepted(begun)


def _named(
    session: Session, shapes: Shapes, app_id: str, body: RedeployRequest | None
) -> list[Cvm]:
    """Return the CVMs that a redeployment is about."""
    found = one_app(session, shapes, app_id, whole=True)
    if body is None or not body.vm_uuids:
        if len(found) > 1:
            raise ApiError(
                400, f"App {app_id} has {len(found)} CVMs. Name those to redeploy in vm_uuids."
            )
        return found
    by_uuid = {cvm.vm_uuid.replace("-", ""): cvm for cvm in found}
    wanted = dict.fromkeys(text.replace("-", "").lower() for text in body.vm_uuids)
    unknown = [text for text in wanted if text not in by_uuid]
    if unknown:
        raise ApiError(404, f"App {app_id} has no CVM {unknown[0][:80]!r}.")
    return [by_uuid[text] for text in wanted]


def _redeployed(
    session: Session, ctx: Context, caller: Caller, cvm: Cvm, revision: Revision
) -> dict[str, str]:
    correlation_id = updating.redeploy(session, ctx, caller, cvm, revision)
    return {"vm_uuid": cvm.vm_uuid, "correlation_id": correlation_id}


def _accepted(begun: list[dict[str, str]]) -> Response:
    return json_answer(
        {
            "status": "in_progress",
            "message": "The redeployment has begun.",
            "correlation_id": begun[0]["correlation_id"] if len(begun) == 1 else None,
            "cvms": begun,
        },
        202,
    )


def _one(session: Session, caller: Caller, app_id: str, revision_id: str) -> tuple[Revision, Cvm]:
    """Return a revision of an app, whole, and the CVM that it was of; 404 where there is none."""
    row = session.execute(
        select(Revision, Cvm)
        .join(Cvm, Cvm.id == Revision.cvm_id)
        .where(
            Revision.workspace_id == caller.workspace.id,
            Revision.app_id == app_id,
            Revision.id == (unhash("rev", revision_id) or 0),
        )
        .options(
            undefer(Revision.compose_file),
            undefer(Revision.encrypted_env),
            undefer(Revision.user_config),
        )
    ).one_or_none()
    if row is None:
        raise ApiError(404, f"App {app_id} has no revision {revision_id[:80]!r}.")
    return row[0], row[1]


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
