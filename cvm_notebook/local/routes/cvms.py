"""Serve CVMs: provision, commit, look at one, list them, their status in batches."""

from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Query, Response
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.answers.legacy import legacy_detail, legacy_item
from cvm_notebook.local.answers.provisioned import provisioned
from cvm_notebook.local.core.context import Auth, Caller, Ctx, json_answer, page_of
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import documented
from cvm_notebook.local.core.identifiers import find_cvm, unhash
from cvm_notebook.local.engine.compose import columns_of, complete
from cvm_notebook.local.engine.provisioning import commit, provision
from cvm_notebook.local.engine.requests import BatchStatusRequest, CommitRequest, ProvisionRequest
from cvm_notebook.local.routing import api_router

router = api_router(tags=["CVMs"])

Family = Literal["all", "cpu", "gpu"]
_NOT_LISTED = {"compose_file", "encrypted_env", "user_config", "env_keys", "network"}
_COLUMNS = Cvm.__table__.columns
_LIST_COLUMNS = [one for one in _COLUMNS if one.name not in _NOT_LISTED]
_STATUS_COLUMNS = [
    *(_COLUMNS.vm_uuid, _COLUMNS.workspace_id, _COLUMNS.deleted_at),
    *(one for one in _COLUMNS if one.name.startswith("op_")),
]
# Attributes of a named tuple are read ten times as fast as those of a row, and lists read many.
_Listed = NamedTuple("_Listed", [(one.name, Any) for one in _LIST_COLUMNS])  # type: ignore[misc]
_Status = NamedTuple("_Status", [(one.name, Any) for one in _STATUS_COLUMNS])  # type: ignore[misc]


@router.post(
    "/cvms/provision",
    response_model=answers.Provisioned,
    responses=documented(403, 409),
)
def provision_cvm(ctx: Ctx, caller: Auth, body: ProvisionRequest) -> Response:
    """Check a CVM's plan and keep it; the answer is what step two needs."""
    columns = columns_of(complete(body.compose_file))
    with ctx.database.write() as session:
        kept = provision(session, ctx, caller, body, columns)
    return json_answer(provisioned(Shapes(ctx, caller), kept))


@router.post("/cvms", response_model=answers.Action, responses=documented(403, 409, 466))
def commit_cvm(ctx: Ctx, caller: Auth, body: CommitRequest) -> Response:
    """Make the CVM that was provisioned; asked again, answer with the CVM that is there."""
    with ctx.database.write() as session:
        cvm = commit(session, ctx, caller, body)
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.get("/cvms/paginated", response_model=answers.CvmPage | answers.LegacyPage)
def list_page(
    ctx: Ctx,
    caller: Auth,
    *,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 30,
    family: Family | None = None,
    instance_types: Annotated[list[str] | None, Query()] = None,
    user_id: str | None = None,
    teepod_id: int | None = None,
    node_id: int | None = None,
) -> Response:
    """List the workspace's CVMs, newest first, a page at a time."""
    node = teepod_id if teepod_id is not None else node_id
    conditions = _conditions(caller, family, instance_types, user_id, node)
    with ctx.database.read() as session:
        total = session.scalar(select(func.count(Cvm.id)).where(*conditions)) or 0
        # The index alone finds the ids, so that only the page's own rows are read.
        order = Cvm.id.desc()
        ids = select(Cvm.id).where(*conditions).order_by(order).limit(page_size)
        inside = Cvm.id.in_(ids.offset((page - 1) * page_size))
        items = _items(session, Shapes(ctx, caller), _listing([inside]))
    return json_answer(page_of(items, total, page, page_size))


@router.get("/cvms", response_model=list[answers.CvmInfo] | list[answers.LegacyItem])
def list_all(
    ctx: Ctx,
    caller: Auth,
    user_id: str | None = None,
    teepod_id: int | None = None,
) -> Response:
    """List all of the workspace's CVMs, newest first."""
    conditions = _conditions(caller, None, None, user_id, teepod_id)
    with ctx.database.read() as session:
        items = _items(session, Shapes(ctx, caller), _listing(conditions))
    return json_answer(items)


def _conditions(
    caller: Caller,
    family: Family | None,
    instance_types: list[str] | None,
    user_id: str | None,
    node_id: int | None,
) -> list[ColumnElement[bool]]:
    conditions = [Cvm.workspace_id == caller.workspace.id, Cvm.deleted_at.is_(None)]
    if family in ("cpu", "gpu"):
        conditions.append(Cvm.gpus > 0 if family == "gpu" else Cvm.gpus == 0)
    if instance_types:
        conditions.append(Cvm.instance_type.in_(instance_types))
    if user_id is not None:
        conditions.append(Cvm.creator_id == (unhash("usr", user_id) or 0))
    if node_id is not None:
        conditions.append(Cvm.node_id == node_id)
    return conditions


def _listing(conditions: list[ColumnElement[bool]]) -> Select[Any]:
    return select(*_LIST_COLUMNS).where(*conditions).order_by(Cvm.id.desc())


def _items(session: Session, shapes: Shapes, query: Select[Any]) -> list[dict[str, Any]]:
    # they have a Cvm's columns; objects would cost double
    rows: Any = map(_Listed._make, session.connection().execute(query))
    if shapes.caller.legacy:
        return [legacy_item(shapes, row) for row in rows]
    return [shapes.info(row) for row in rows]


@router.get(
    "/cvms/{cvm_id}",
    response_model=answers.CvmDetail | answers.LegacyDetail,
    responses=documented(404, 409),
)
def get_cvm(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Describe one CVM, its compose file included."""
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, whole=True)
    shapes = Shapes(ctx, caller)
    return json_answer(legacy_detail(shapes, cvm) if caller.legacy else shapes.detail(cvm))


@router.post("/status/batch", response_model=dict[str, answers.BatchStatus])
def batch_status(ctx: Ctx, caller: Auth, body: BatchStatusRequest) -> Response:
    """Say what several CVMs are doing; unknown uuids are left out."""
    wanted: dict[str, str] = {}
    for text in body.vm_uuids:
        dashed = _dashed(text)
        if dashed is not None:
            wanted[text] = dashed
    shapes = Shapes(ctx, caller)
    with ctx.database.read() as session:
        query = select(*_STATUS_COLUMNS).where(_COLUMNS.vm_uuid.in_(list(wanted.values())))
        rows: Any = map(_Status._make, session.connection().execute(query))
        # Filtered here: asked to, SQLite would walk through the workspace instead of the uuids.
        found = {
            row.vm_uuid: shapes.batch_status(row)
            for row in rows
            if row.workspace_id == caller.workspace.id and row.deleted_at is None
        }
    return json_answer({text: found[dashed] for text, dashed in wanted.items() if dashed in found})


def _dashed(text: str) -> str | None:
    digits = text.replace("-", "").lower()
    if len(digits) != 32 or not all(digit in "0123456789abcdef" for digit in digits):  # noqa: PLR2004 - hex digits of a uuid
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
