"""Serve apps: their CVMs, what they attest, and where and what they may run."""

from typing import Annotated, Any

from fastapi import Body, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import app_details as details
from cvm_notebook.local.answers import apps as app_answers
from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.apps import (
    Filters,
    cvms_of,
    filter_options,
    find_apps,
    format_app,
    one_app,
    spell_cvm,
)
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.answers.legacy import legacy_item
from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.context import Auth, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, Revision
from cvm_notebook.local.core.errors import ApiError, documented, unknown_token
from cvm_notebook.local.core.identifiers import find_cvm, hash64, hashid, hex40
from cvm_notebook.local.engine.placement import node_of
from cvm_notebook.local.engine.provisioning import replicate
from cvm_notebook.local.engine.requests import EncryptedEnv, NodeId, ReplicateRequest, Short, Text
from cvm_notebook.local.routing import NO_PREPARING, api_router

router = api_router(tags=["apps"])

AppId = Annotated[str, Path(max_length=500)]
_FOUND = documented(404)
_NO_CONTRACT = ""


class AppsQuery(BaseModel):
    """The query of the list of apps: filters and page."""

    page: int = Field(default=1, ge=1, le=1_000_000)
    page_size: int = Field(default=20, ge=1, le=100)
    search: Short | None = None
    status: list[Short] | None = None
    listed: bool | None = None
    base_image: Short | None = None
    instance_type: Short | None = None
    kms_slug: Short | None = None
    kms_type: Short | None = None
    node: Short | None = None
    region: Short | None = None


@router.get("/apps", response_model=app_answers.Apps)
def list_apps(ctx: Ctx, caller: Auth, asked: Annotated[AppsQuery, Query()]) -> Response:
    """List the workspace's apps, newest first, a page at a time."""
    shapes = Shapes(ctx, caller)
    facts = asked.model_dump(exclude={"page", "page_size", "status"})
    wanted = Filters(**facts, status=asked.status or ())
    with ctx.database.read() as session:
        found = find_apps(session, shapes, wanted)
        begin = (asked.page - 1) * asked.page_size
        shown = found[begin : begin + asked.page_size]
        cvms = cvms_of(session, shapes, shown)
    return json_answer(
        {
            "dstack_apps": [format_app(shapes, cvms[app_id]) for app_id in shown],
            "page": asked.page,
            "page_size": asked.page_size,
            "total": len(found),
            "total_pages": -(-len(found) // asked.page_size),
        }
    )


@router.get("/apps/filter-options", response_model=app_answers.FilterOptions)
def list_filter_options(ctx: Ctx, caller: Auth) -> Response:
    """Say what the list of apps can be filtered by."""
    with ctx.database.read() as session:
        return json_answer(filter_options(session, Shapes(ctx, caller)))


@router.get("/apps/{app_id}", response_model=app_answers.App, responses=_FOUND)
def get_app(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """Describe an app and its CVMs."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        return json_answer(format_app(shapes, one_app(session, shapes, app_id)))


@router.get(
    "/apps/{app_id}/cvms",
    response_model=list[answers.CvmInfo] | list[answers.LegacyItem],
    responses=_FOUND,
)
def list_app_cvms(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """List the CVMs of an app, newest first."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        found = one_app(session, shapes, app_id)
    if caller.legacy:
        return json_answer([legacy_item(shapes, cvm) for cvm in found])
    return json_answer([spell_cvm(shapes, cvm) for cvm in found])


@router.get(
    "/apps/{app_id}/device-allowlist",
    response_model=app_answers.DeviceAllowlist,
    responses=_FOUND,
)
def device_allowlist(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """List the machines an app runs on; without a chain every machine is allowed."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        found = one_app(session, shapes, app_id)
    nodes = dict.fromkeys(cvm.node_id for cvm in found)
    devices = [
        {
            "device_id": NODES[node_id].device_id,
            "node_name": NODES[node_id].name,
            "cvm_ids": [_cvm_id(shapes, cvm) for cvm in found if cvm.node_id == node_id],
            "allowed_onchain": False,
            "status": "off_chain",
        }
        for node_id in nodes
    ]
    return json_answer(
        {
            "is_onchain_kms": False,
            "allow_any_device": True,
            "chain_id": None,
            "app_contract_address": None,
            "devices": devices,
        }
    )


def _cvm_id(shapes: Shapes, cvm: Cvm) -> int | str:
    return cvm.id if shapes.caller.version < "2026-05-22" else hashid("cvm", cvm.id)


class NewInstance(BaseModel):
    """The request for another CVM of an app: its node, and its compose hash."""

    teepod_id: NodeId | None = None
    node_id: NodeId | None = None
    encrypted_env: EncryptedEnv | None = None
    compose_hash: Short | None = None
    docker_compose_file: Text | None = None
    pre_launch_script: Text | None = None
    token: Short | None = None
    transaction_hash: Short | None = None


@router.post(
    "/apps/{app_id}/instances",
    response_model=answers.Action,
    responses=documented(403, 404, 409, 466),
    dependencies=NO_PREPARING,
)
def add_instance(ctx: Ctx, caller: Auth, app_id: AppId, body: NewInstance) -> Response:
    """Make another CVM of an app, from its newest CVM or from that with ``compose_hash``.

    A compose file or a script that is given takes the place of the app's.
    """
    if body.token:
        raise unknown_token(body.token)
    shapes = Shapes(ctx, caller)
    parts = {
        "docker_compose_file": body.docker_compose_file,
        "pre_launch_script": body.pre_launch_script,
    }
    edits = {name: text for name, text in parts.items() if text is not None}
    with ctx.database.write() as session:
        found = one_app(session, shapes, app_id)
        newest = next((cvm for cvm in found if cvm.gone_at is None), found[0])
        request = ReplicateRequest(
            teepod_id=body.teepod_id,
            node_id=body.node_id,
            encrypted_env=body.encrypted_env,
            compose_hash=body.compose_hash,
        )
        cvm = replicate(session, ctx, caller, hashid("cvm", newest.id), request, edits=edits)
    return json_answer(shapes.action(cvm))


@router.post(
    "/apps/{app_id}/cvms/{vm_uuid}/replicas",
    response_model=answers.Action,
    responses=documented(403, 404, 409),
    dependencies=NO_PREPARING,
)
def replicate_app_cvm(
    ctx: Ctx,
    caller: Auth,
    app_id: AppId,
    vm_uuid: AppId,
    body: Annotated[ReplicateRequest | None, Body()] = None,
) -> Response:
    """Make another CVM of the one with this uuid, which must be of the app."""
    with ctx.database.write() as session:
        source = find_cvm(session, caller.workspace.id, vm_uuid)
        if source.app_id != hex40(app_id):
            raise ApiError(400, f"CVM {source.name} is not of app {app_id[:80]!r}.")
        cvm = replicate(session, ctx, caller, source.vm_uuid, body or ReplicateRequest())
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.get("/apps/{app_id}/kms-info", response_model=details.AppKmsInfo, responses=_FOUND)
def app_kms_info(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """Say on which chain an app is: on none."""
    with ctx.database.read() as session:
        one_app(session, Shapes(ctx, caller), app_id)
    return json_answer(details.AppKmsInfo().model_dump())


@router.get(
    "/apps/{app_id}/pending-updates",
    response_model=details.PendingUpdates,
    responses=_FOUND,
)
def pending_updates(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """List changes that were signed on chain and wait to be applied: without a chain, none."""
    with ctx.database.read() as session:
        one_app(session, Shapes(ctx, caller), app_id)
    return json_answer({"items": []})


@router.get(
    "/apps/{app_id}/pending-updates/{vm_uuid}/{compose_hash}/preview",
    response_model=details.PendingUpdatePreview,
    responses=_FOUND,
)
def preview_pending_update(
    ctx: Ctx, caller: Auth, app_id: AppId, vm_uuid: AppId, compose_hash: AppId
) -> Response:
    """Show what would change by an update that waits: there never is one."""
    with ctx.database.read() as session:
        one_app(session, Shapes(ctx, caller), app_id)
    raise ApiError(404, f"No update {compose_hash[:80]!r} waits for CVM {vm_uuid[:80]!r}.")


class AppQuestion(BaseModel):
    """The question whether a compose hash may run on a node."""

    compose_hash: Short
    node_id: NodeId | None = None
    device_id: Short | None = None
    chain_id: int | None = None


class CvmQuestion(BaseModel):
    """The same about a CVM, whose own compose file and machine are meant unless others are."""

    compose_hash: Short | None = None
    node_id: NodeId | None = None
    device_id: Short | None = None


@router.post("/apps/{app_id}/is-allowed", response_model=app_answers.IsAllowed, responses=_FOUND)
def is_app_allowed(ctx: Ctx, caller: Auth, app_id: AppId, body: AppQuestion) -> Response:
    """Say whether a compose file of an app may run: without a chain, if the app has had it."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        newest = one_app(session, shapes, app_id)[0]
        answer = _allowed(session, newest, body.compose_hash, body.device_id, body.node_id)
    return json_answer(answer)


@router.post("/cvms/{cvm_id}/is-allowed", response_model=app_answers.CvmIsAllowed, responses=_FOUND)
def is_cvm_allowed(
    ctx: Ctx, caller: Auth, cvm_id: AppId, body: CvmQuestion | None = None
) -> Response:
    """Say whether a compose file may run on a CVM."""
    asked = body or CvmQuestion()
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id)
        compose_hash = asked.compose_hash or cvm.compose_hash
        answer = _allowed(session, cvm, compose_hash, asked.device_id, asked.node_id)
    return json_answer({"cvm_id": _cvm_id(shapes, cvm)} | answer)


@router.post(
    "/apps/{app_id}/cvms/is-allowed", response_model=app_answers.CvmsAreAllowed, responses=_FOUND
)
def are_cvms_allowed(ctx: Ctx, caller: Auth, app_id: AppId) -> Response:
    """Skip all CVMs of an app: there is no chain to ask."""
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        found = one_app(session, shapes, app_id)
    counts = dict.fromkeys(("total", "allowed_count", "denied_count", "error_count"), 0)
    skipped = [_cvm_id(shapes, cvm) for cvm in found]
    return json_answer({"is_onchain": False, "results": [], "skipped_cvm_ids": skipped} | counts)


def _allowed(
    session: Session, cvm: Cvm, compose_hash: str, device_id: str | None, node_id: int | None
) -> dict[str, Any]:
    wanted = hash64(compose_hash)
    known = session.scalar(
        select(Revision.id)
        .where(
            Revision.workspace_id == cvm.workspace_id,
            Revision.app_id == cvm.app_id,
            Revision.compose_hash == wanted,
        )
        .limit(1)
    )
    node = node_of(node_id if node_id is not None else cvm.node_id)
    return {
        "app_contract_address": _NO_CONTRACT,
        "compose_hash": wanted or compose_hash,
        "device_id": device_id or node.device_id,
        "compose_hash_allowed": known is not None,
        "allow_any_device": True,
        "device_id_allowed": True,
        "is_allowed": known is not None,
        "error": None,
    }
