"""Serve what is done to a CVM: start, stop, shutdown, restart, delete, replicate."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Body, Response

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm
from cvm_notebook.local.engine import operations
from cvm_notebook.local.engine.billing import check_active, check_balance, check_unmanaged
from cvm_notebook.local.engine.lifecycle import View, view_of
from cvm_notebook.local.engine.provisioning import replicate
from cvm_notebook.local.engine.requests import ReplicateRequest, RestartRequest
from cvm_notebook.local.routing import NO_PREPARING, api_router

router = api_router(tags=["CVM actions"], responses=documented(404, 409))

Choice = Callable[[Cvm, View], str | None]
"""Which operation to begin, or None when the CVM is already where it was to go."""


_BOOTS = frozenset({"power_on", "restart", "force_restart"})


def _act(ctx: Context, caller: Caller, text: str, choose: Choice) -> Response:
    """Begin the operation that ``choose`` names, and answer with the record of the CVM."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, text, whole=True, for_change=True)
        kind = choose(cvm, view_of(cvm, caller.now, ctx.settings.speed))
        if kind in _BOOTS:
            check_active(caller.workspace)
        if kind == "power_on":
            check_balance(session, caller.workspace.id, caller.now, status=400)
        if kind is not None:
            operations.begin(session, ctx, caller, cvm, kind)
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.post("/cvms/{cvm_id}/start", response_model=answers.Action)
def start_cvm(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Start a stopped CVM; one that runs stays as it is."""

    def choose(cvm: Cvm, view: View) -> str | None:
        operations.check_idle(cvm, caller.now, ctx.settings.speed)
        return None if view.status == "running" else "power_on"

    return _act(ctx, caller, cvm_id, choose)


@router.post("/cvms/{cvm_id}/stop", response_model=answers.Action, responses=documented(403))
def stop_cvm(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Stop a CVM by force, whatever it is doing."""

    def choose(cvm: Cvm, view: View) -> str | None:
        check_unmanaged(cvm)
        operations.check_stays(cvm)
        return None if view.status in {"stopped", "stopping"} else "power_off"

    return _act(ctx, caller, cvm_id, choose)


@router.post("/cvms/{cvm_id}/shutdown", response_model=answers.Action, responses=documented(403))
def shutdown_cvm(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Shut a CVM down in good order."""

    def choose(cvm: Cvm, view: View) -> str | None:
        check_unmanaged(cvm)
        operations.check_idle(cvm, caller.now, ctx.settings.speed)
        return None if view.status == "stopped" else "shutdown"

    return _act(ctx, caller, cvm_id, choose)


@router.post("/cvms/{cvm_id}/restart", response_model=answers.Action)
def restart_cvm(
    ctx: Ctx, caller: Auth, cvm_id: str, body: Annotated[RestartRequest | None, Body()] = None
) -> Response:
    """Restart a CVM, in good order or (``force``) at once."""
    force = body is not None and body.force

    def choose(cvm: Cvm, view: View) -> str | None:
        operations.check_idle(cvm, caller.now, ctx.settings.speed)
        if view.status == "stopped":
            raise ApiError(400, f"CVM {cvm.name} is stopped and can't be restarted. Start it.")
        return "force_restart" if force else "restart"

    return _act(ctx, caller, cvm_id, choose)


@router.delete("/cvms/{cvm_id}", status_code=204)
def delete_cvm(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Delete a CVM and its data, whatever it is doing; it takes a while until it is gone."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        operations.delete(session, ctx, caller, cvm)
    return Response(status_code=204)


@router.post(
    "/cvms/{cvm_id}/replicas",
    response_model=answers.Action,
    responses=documented(403),
    dependencies=NO_PREPARING,
)
def replicate_cvm(
    ctx: Ctx, caller: Auth, cvm_id: str, body: Annotated[ReplicateRequest | None, Body()] = None
) -> Response:
    """Make another CVM of the same app, here or on another node."""
    with ctx.database.write() as session:
        replica = replicate(session, ctx, caller, cvm_id, body or ReplicateRequest())
    return json_answer(Shapes(ctx, caller).action(replica))
