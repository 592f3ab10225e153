"""Serve what only the owner of this server may do: faults, the clock, the requests seen, money.

All of it stands under ``/_local``, wants ``X-Local-Token`` (but for ``health``) and is in no
description of the API.
Faults and requests seen are kept by each server process for itself: use them with one worker.
"""

import secrets
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from cvm_notebook.local.answers import operations as history
from cvm_notebook.local.core.catalogue import NODES, TIERS
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Ctx, clock_now, context_of, json_answer
from cvm_notebook.local.core.database import (
    ApiKey,
    Cvm,
    Database,
    KeyValue,
    LedgerEntry,
    StreamLease,
    User,
    Workspace,
    lock,
)
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.identifiers import find_cvm, key_hash, new_key
from cvm_notebook.local.core.settings import Settings
from cvm_notebook.local.engine.billing import balance
from cvm_notebook.local.engine.lifecycle import view_of
from cvm_notebook.local.engine.operations import check_stays
from cvm_notebook.local.faults.middleware import FaultMiddleware, SeenMiddleware, SeenRequests
from cvm_notebook.local.faults.spec import FaultBook, FaultError, load_faults, parse_fault
from cvm_notebook.local.routing import ApiRoute, Handler

_MICROS = 1_000_000
_MOST_OFFSET = 100 * 366 * 86_400.0
"""Seconds by which the clock can be moved in all: a hundred years."""
_MOST_FAULTS = 1_000

Amount = Annotated[Decimal, Field(ge=-1_000_000_000, le=1_000_000_000)]
ErrorText = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


def install(app: FastAPI, settings: Settings) -> None:
    """Put the faults and the memory of requests before the application."""
    app.state.faults = FaultBook(load_faults(settings.faults))
    app.state.seen = SeenRequests()
    database: Database = app.state.context.database

    async def nodes_of(vm_uuids: Iterable[str]) -> set[int | str]:
        return await run_in_threadpool(_nodes_of, database, list(vm_uuids))

    app.add_middleware(FaultMiddleware, book=app.state.faults, nodes_of=nodes_of)
    app.add_middleware(SeenMiddleware, seen=app.state.seen)


def _nodes_of(database: Database, vm_uuids: list[str]) -> set[int | str]:
    with database.read() as session:
        ids = set(session.scalars(select(Cvm.node_id).where(Cvm.vm_uuid.in_(vm_uuids))))
    return ids | {NODES[number].name for number in ids}


class _OwnerRoute(ApiRoute):
    """A route for the owner of this server alone, who is known before the body is read."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            sent = request.headers.get("x-local-token", "")
            wanted = context_of(request).settings.control_token
            if not secrets.compare_digest(sent.encode(), wanted.encode()):
                raise ApiError(401, "Send the control token in the X-Local-Token header.")
            return await handle(request)

        return answer


router = APIRouter(prefix="/_local", include_in_schema=False)
owner = APIRouter(prefix="/_local", include_in_schema=False, route_class=_OwnerRoute)


@router.get("/health")
async def health() -> Response:
    """Say that this is a LocalCloud and that it answers; no token is needed."""
    return json_answer({"service": "LocalCloud", "status": "ok"})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Advance(_Body):
    """The request for moving the clock."""

    seconds: float = Field(ge=0, le=_MOST_OFFSET, allow_inf_nan=False)


class NewWorkspace(_Body):
    """A workspace with a user and a key of its own."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^\x00]*$")
    tier: str = "ENTERPRISE"
    balance: Amount = Decimal(10_000)
    suspended: bool = False


class WorkspaceChange(_Body):
    """The request for a change of a workspace; None leaves it as it is."""

    tier: str | None = None
    balance: Amount | None = None
    suspended: bool | None = None


class Rental(_Body):
    """For how many days, from now on, an order rents the GPUs of a CVM."""

    days: int = Field(ge=1, le=3_650)


class Failure(_Body):
    """The request that makes a CVM fail."""

    error: ErrorText = "failed to start containers"
    final: str = Field(default="error", pattern="^(error|exited)$")


# The book and the memory belong to the event loop, so these handlers run in it.


@owner.post("/faults")
async def add_fault(request: Request, fault: Annotated[Any, Body()]) -> Response:
    """Put a fault in force, or each of a list."""
    try:
        found = [parse_fault(item) for item in (fault if isinstance(fault, list) else [fault])]
    except FaultError as error:
        raise ApiError(422, str(error)) from None
    book: FaultBook = request.app.state.faults
    if len(found) + len(book.in_force()) > _MOST_FAULTS:
        raise ApiError(422, f"No more than {_MOST_FAULTS} faults can be in force.")
    for one in found:
        book.add(one)
    return json_answer({"in_force": len(book.in_force())}, 201)


@owner.get("/faults")
async def list_faults(request: Request) -> Response:
    """List the faults that can still meet a request."""
    book: FaultBook = request.app.state.faults
    return json_answer([fault.model_dump(mode="json") for fault in book.in_force()])


@owner.delete("/faults")
async def clear_faults(request: Request) -> Response:
    """Forget all faults."""
    request.app.state.faults.clear()
    return Response(status_code=204)


@owner.get("/requests")
async def list_requests(request: Request) -> Response:
    """List the latest requests, oldest first."""
    return json_answer(request.app.state.seen.all())


@owner.delete("/requests")
async def clear_requests(request: Request) -> Response:
    """Forget the requests seen."""
    request.app.state.seen.clear()
    return Response(status_code=204)


@owner.post("/advance")
def advance(ctx: Ctx, asked: Advance) -> Response:
    """Move the clock of all workers forward."""
    with ctx.database.write() as session:
        lock(session, "clock")
        offset = session.get(KeyValue, "clock_offset") or KeyValue(name="clock_offset", value="0")
        moved = float(offset.value) + asked.seconds
        if moved > _MOST_OFFSET:
            raise ApiError(
                422, "The clock has been moved by a hundred years: that is all it takes."
            )
        offset.value = repr(moved)
        session.add(offset)
        session.flush()
        return json_answer({"now": clock_now(session)})


@owner.get("/streams")
def streams(ctx: Ctx) -> Response:
    """Count the state streams that are open."""
    with ctx.database.read() as session:
        live = StreamLease.expires_at > machine_now()
        count = session.scalar(select(func.count()).select_from(StreamLease).where(live))
    return json_answer({"open": count})


@owner.post("/workspaces")
def make_workspace(ctx: Ctx, asked: NewWorkspace) -> Response:
    """Make a workspace with a user and a key of its own; the key is shown this once."""
    _known_tier(asked.tier)
    key, tag = new_key(), secrets.token_hex(3)
    with ctx.database.write() as session:
        now = clock_now(session)
        user = User(username=f"user-{tag}", email=f"user-{tag}@example.com", created_at=now)
        slug = f"{asked.name.lower().replace(' ', '-')}-{tag}"
        workspace = Workspace(
            name=asked.name,
            slug=slug,
            tier=asked.tier,
            created_at=now,
            suspended_at=now if asked.suspended else None,
        )
        session.add_all([user, workspace])
        session.flush()
        session.add(
            ApiKey(
                key_hash=key_hash(key),
                user_id=user.id,
                workspace_id=workspace.id,
                created_at=now,
            )
        )
        _deposit(session, workspace.id, int(asked.balance * _MICROS), now)
    return json_answer({"api_key": key, "slug": slug, "username": user.username}, 201)


@owner.patch("/workspaces/{slug}")
def change_workspace(ctx: Ctx, slug: str, asked: WorkspaceChange) -> Response:
    """Set the tier of a workspace, what it has left to spend, or whether it is suspended."""
    with ctx.database.write() as session:
        workspace = _workspace(session, slug)
        lock(session, "workspace", workspace.id)
        if asked.tier is not None:
            _known_tier(asked.tier)
            workspace.tier = asked.tier
        now = clock_now(session)
        if asked.suspended is not None:
            workspace.suspended_at = now if asked.suspended else None
        if asked.balance is not None:
            missing = int(asked.balance * _MICROS) - balance(session, workspace.id, now)
            _deposit(session, workspace.id, missing, now)
    return Response(status_code=204)


@owner.post("/workspaces/{slug}/cvms/{cvm_id}/fail")
def fail_cvm(ctx: Ctx, slug: str, cvm_id: str, asked: Failure) -> Response:
    """Let a CVM's newest operation have ended badly: at once, or when it ends if it goes on."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, _workspace(session, slug).id, cvm_id, for_change=True)
        check_stays(cvm)
        now = clock_now(session)
        history.end_badly(session, ctx, cvm, final=asked.final, error=asked.error, now=now)
        cvm.updated_at = now
        status = view_of(cvm, now, ctx.settings.speed).status
    return json_answer({"status": status})


@owner.post("/workspaces/{slug}/cvms/{cvm_id}/rent")
def rent_gpus(ctx: Ctx, slug: str, cvm_id: str, asked: Rental) -> Response:
    """Let an order rent the GPUs of a CVM from now on."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, _workspace(session, slug).id, cvm_id, for_change=True)
        check_stays(cvm)
        if cvm.gpus == 0:
            raise ApiError(422, f"CVM {cvm.name} has no GPUs.")
        now = clock_now(session)
        cvm.rental = {"begins_at": now, "days": asked.days, "managed": True}
        cvm.updated_at = now
    return Response(status_code=204)


def _workspace(session: Session, slug: str) -> Workspace:
    query = select(Workspace)
    query = (
        query.order_by(Workspace.id).limit(1)
        if slug == "default"
        else query.where(Workspace.slug == slug)
    )
    found = session.scalar(query)
    if found is None:
        raise ApiError(404, f"No workspace is called {slug!r}.")
    return found


def _known_tier(tier: str) -> None:
    if tier not in TIERS:
        raise ApiError(422, f"tier {tier!r} is none of {', '.join(TIERS)}")


def _deposit(session: Session, workspace_id: int, amount: int, now: float) -> None:
    session.add(LedgerEntry(workspace_id=workspace_id, at=now, amount=amount, note="control"))
