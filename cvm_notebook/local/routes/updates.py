"""Serve changes to a CVM: its compose file, environment, size, image, name and visibility."""

from typing import Annotated, Any

from fastapi import Body, Depends, Header, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, lock
from cvm_notebook.local.core.errors import ApiError, documented, unknown_token
from cvm_notebook.local.core.identifiers import find_cvm, hashid
from cvm_notebook.local.engine import updating
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete, read_ahead
from cvm_notebook.local.engine.provisioning import name_is_taken
from cvm_notebook.local.engine.requests import (
    CommitTokenRequest,
    ComposeCommitRequest,
    ComposeFileRequest,
    ComposeProvisionRequest,
    EnvsRequest,
    InstanceIdRequest,
    InstanceIdsRequest,
    ListedRequest,
    NameRequest,
    OsImageRequest,
    ResourcesRequest,
    ScheduledDeleteRequest,
    UpdateRequest,
    VisibilityRequest,
)
from cvm_notebook.local.routing import NO_PREPARING, api_router

router = api_router(tags=["CVM updates"], responses=documented(404, 409, 466))

_MAX_TEXT = 1 << 20


async def _raw_text(request: Request) -> str:
    """Read the body as it is, whatever type it claims to have."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_TEXT:
            raise ApiError(400, f"The text has more than {_MAX_TEXT} bytes.")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "The text is not UTF-8.") from None
    if "\x00" in text:
        raise ApiError(400, "The text contains NUL.")
    return text


RawText = Annotated[str, Depends(_raw_text)]


def _text_body(media_type: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def _accepted(correlation_id: str, **more: Any) -> Response:
    facts = {
        "status": "in_progress",
        "message": "The update has begun.",
        "correlation_id": correlation_id,
    }
    return json_answer(facts | more, 202)


# Before /cvms/{cvm_id}, which would take it for an id.
@router.patch("/cvms/instance-ids", response_model=answers.InstanceIdResults)
def refresh_instance_ids(
    ctx: Ctx, caller: Auth, body: Annotated[InstanceIdsRequest | None, Body()] = None
) -> Response:
    """Look the instance ids of several CVMs up."""
    asked = body or InstanceIdsRequest()
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        cvms = _asked_for(session, ctx, caller, asked)
    items = [_instance_id_result(shapes, cvm, hashid("cvm", cvm.id)) for cvm in cvms]
    skipped = sum(item["status"] == "skipped" for item in items)
    return json_answer(
        {
            "total": len(items),
            "scanned": len(items),
            "updated": 0,
            "unchanged": len(items) - skipped,
            "skipped": skipped,
            "conflicts": 0,
            "errors": 0,
            "items": items,
        }
    )


@router.patch(
    "/cvms/{cvm_id}",
    status_code=202,
    response_model=answers.Accepted,
    dependencies=NO_PREPARING,
)
def update_cvm(
    ctx: Ctx,
    caller: Auth,
    *,
    cvm_id: str,
    body: Annotated[UpdateRequest | None, Body()] = None,
    x_compose_hash: Annotated[str | None, Header()] = None,
    x_transaction_hash: Annotated[str | None, Header()] = None,  # noqa: ARG001 - no chain to ask
) -> Response:
    """Change anything of a CVM in one go, with one restart."""
    asked = body or UpdateRequest()
    read_ahead(asked.docker_compose_file)
    with ctx.database.write() as session:
        if x_compose_hash is not None and not asked.model_fields_set:
            updating.confirm(session, caller, cvm_id, x_compose_hash)
        begun = updating.update(session, ctx, caller, cvm_id, asked)
    return _accepted(begun)


# A commit token is all it takes, so these need no key.
@router.get("/cvms/{cvm_id}/commit-update", response_model=dict[str, Any])
def get_commit(cvm_id: str, token: Annotated[str, Query(max_length=500)]) -> Response:  # noqa: ARG001
    """Describe the change that a commit token is for."""
    raise unknown_token(token)


@router.post("/cvms/{cvm_id}/commit-update", status_code=202, response_model=answers.Accepted)
@router.post("/cvms/{cvm_id}/commit-replica", response_model=answers.Action)
def commit_prepared(
    cvm_id: str,  # noqa: ARG001
    token: Annotated[str | None, Query(max_length=500)] = None,
    body: Annotated[CommitTokenRequest | None, Body()] = None,
) -> Response:
    """Finish a change, or a replica, that was only prepared."""
    raise unknown_token(token or (body.token if body is not None else ""))


@router.patch("/cvms/{cvm_id}/envs", status_code=202, response_model=answers.AcceptedEnvs)
def update_envs(ctx: Ctx, caller: Auth, cvm_id: str, body: EnvsRequest) -> Response:
    """Replace the environment variables."""
    with ctx.database.write() as session:
        begun, renamed = updating.update_envs(session, ctx, caller, cvm_id, body)
    return _accepted(begun, allowed_envs_changed=renamed)


@router.patch(
    "/cvms/{cvm_id}/docker-compose",
    status_code=202,
    response_model=answers.Accepted,
    openapi_extra=_text_body("text/yaml"),
)
def update_docker_compose(ctx: Ctx, caller: Auth, cvm_id: str, text: RawText) -> Response:
    """Replace the docker compose file; the body is its text."""
    read_ahead(text)
    with ctx.database.write() as session:
        edits = {"docker_compose_file": text}
        begun = updating.edit_compose(session, ctx, caller, cvm_id, edits)
    return _accepted(begun)


@router.patch(
    "/cvms/{cvm_id}/pre-launch-script",
    status_code=202,
    response_model=answers.Accepted,
    openapi_extra=_text_body("text/plain"),
)
def update_pre_launch_script(ctx: Ctx, caller: Auth, cvm_id: str, text: RawText) -> Response:
    """Replace the script that runs before the containers; an empty body takes it away."""
    with ctx.database.write() as session:
        edits = {"pre_launch_script": text or None}
        begun = updating.edit_compose(session, ctx, caller, cvm_id, edits)
    return _accepted(begun)


@router.post("/cvms/{cvm_id}/compose_file/provision", response_model=answers.ComposeProvisioned)
def provision_compose(
    ctx: Ctx, caller: Auth, cvm_id: str, body: ComposeProvisionRequest
) -> Response:
    """Check another app compose for a CVM and keep it under its hash."""
    whole = AppCompose.model_validate(body.model_dump(exclude={"update_env_vars"}))
    columns = columns_of(complete(whole))
    with ctx.database.write() as session:
        cvm, compose_hash = updating.provision_compose(session, ctx, caller, cvm_id, columns)
    return json_answer(
        {
            "app_id": cvm.app_id,
            "device_id": NODES[cvm.node_id].device_id,
            "compose_hash": compose_hash,
            "kms_info": Shapes(ctx, caller).kms_ref(),
            "compose_hash_registered": True,
        }
    )


@router.post("/cvms/{cvm_id}/compose_file", status_code=202, response_model=answers.Accepted)
def replace_compose(ctx: Ctx, caller: Auth, cvm_id: str, body: ComposeFileRequest) -> Response:
    """Use an app compose whose hash the caller has computed."""
    read_ahead(body.compose_file.docker_compose_file)
    with ctx.database.write() as session:
        begun = updating.commit_compose(session, ctx, caller, cvm_id, body)
    return _accepted(begun)


@router.patch("/cvms/{cvm_id}/compose_file", status_code=202, response_model=answers.Accepted)
def commit_compose(ctx: Ctx, caller: Auth, cvm_id: str, body: ComposeCommitRequest) -> Response:
    """Use the app compose that was provisioned under this hash."""
    with ctx.database.write() as session:
        begun = updating.commit_compose(session, ctx, caller, cvm_id, body)
    return _accepted(begun)


@router.patch("/cvms/{cvm_id}/resources", status_code=202, response_model=answers.Accepted)
def update_resources(ctx: Ctx, caller: Auth, cvm_id: str, body: ResourcesRequest) -> Response:
    """Change the size."""
    with ctx.database.write() as session:
        begun = updating.resize(session, ctx, caller, cvm_id, body)
    return _accepted(begun)


@router.patch("/cvms/{cvm_id}/os-image", status_code=202, response_model=answers.Accepted)
def update_os_image(ctx: Ctx, caller: Auth, cvm_id: str, body: OsImageRequest) -> Response:
    """Change the operating system image."""
    with ctx.database.write() as session:
        begun = updating.change_image(session, ctx, caller, cvm_id, body.os_image_name)
    return _accepted(begun)


@router.patch("/cvms/{cvm_id}/visibility", response_model=answers.Action)
def update_visibility(ctx: Ctx, caller: Auth, cvm_id: str, body: VisibilityRequest) -> Response:
    """Say what strangers may see of a CVM."""
    with ctx.database.write() as session:
        cvm = updating.idle(session, ctx, caller, cvm_id)
        cvm.public_sysinfo, cvm.public_logs = body.public_sysinfo, body.public_logs
        if body.public_tcbinfo is not None:
            cvm.public_tcbinfo = body.public_tcbinfo
        cvm.updated_at = caller.now
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.patch("/cvms/{cvm_id}/name", status_code=204)
def rename(ctx: Ctx, caller: Auth, cvm_id: str, body: NameRequest) -> Response:
    """Give a CVM another name."""
    with ctx.database.write() as session:
        lock(session, "workspace", caller.workspace.id)
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        if body.name != cvm.name:
            if name_is_taken(session, caller.workspace.id, body.name):
                raise ApiError(400, f'CVM name "{body.name}" is already in use in this workspace')
            cvm.name = body.name
            cvm.updated_at = caller.now
    return Response(status_code=204)


@router.patch("/cvms/{cvm_id}/listed", response_model=answers.Action)
def set_listed(ctx: Ctx, caller: Auth, cvm_id: str, body: ListedRequest) -> Response:
    """Say whether a CVM is listed in public."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        cvm.listed = body.listed
        cvm.updated_at = caller.now
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.patch("/cvms/{cvm_id}/scheduled-delete", response_model=answers.Action)
def schedule_delete(ctx: Ctx, caller: Auth, cvm_id: str, body: ScheduledDeleteRequest) -> Response:
    """Say when a CVM is to be deleted; null takes that back."""
    at = body.scheduled_delete_at
    if at is not None and at.timestamp() <= caller.now:
        raise ApiError(400, "scheduled_delete_at lies in the past.")
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        cvm.scheduled_delete_at = None if at is None else at.timestamp()
        cvm.updated_at = caller.now
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.patch("/cvms/{cvm_id}/instance-id", response_model=answers.InstanceIdResult)
def refresh_instance_id(
    ctx: Ctx,
    caller: Auth,
    cvm_id: str,
    body: Annotated[InstanceIdRequest | None, Body()] = None,  # noqa: ARG001 - a known id never changes here
) -> Response:
    """Look a CVM's instance id up; here it is never wrong, at most not yet known."""
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id)
    return json_answer(_instance_id_result(Shapes(ctx, caller), cvm, cvm_id))


def _asked_for(
    session: Session, ctx: Context, caller: Caller, asked: InstanceIdsRequest
) -> list[Cvm]:
    if asked.cvm_ids is not None:
        texts = asked.cvm_ids[: asked.limit]
        return [find_cvm(session, caller.workspace.id, text) for text in texts]
    shapes = Shapes(ctx, caller)
    query = select(Cvm).where(Cvm.workspace_id == caller.workspace.id, Cvm.deleted_at.is_(None))
    found = [
        cvm
        for cvm in session.scalars(query.order_by(Cvm.id))
        if not (asked.running_only and shapes.view(cvm).status != "running")
        and not (asked.missing_only and shapes.instance_id(cvm) is not None)
    ]
    return found[: asked.limit]


def _instance_id_result(shapes: Shapes, cvm: Cvm, identifier: str) -> dict[str, Any]:
    known = shapes.instance_id(cvm)
    by_text = shapes.caller.version >= "2026-05-22"
    return {
        "cvm_id": hashid("cvm", cvm.id) if by_text else cvm.id,
        "identifier": identifier,
        "status": "skipped" if known is None else "unchanged",
        "old_instance_id": known,
        "new_instance_id": known,
        "source": "none" if known is None else "teepod_state",
        "verified_with_gateway": known is not None,
        "reason": "the CVM has not booted yet" if known is None else None,
    }
