"""Dependencies of handlers: ``Ctx`` (the server) and ``Auth`` (the caller, and the time).

Example
-------
>>> @router.get("/things")                                          # doctest: +SKIP
... def things(ctx: Ctx, caller: Auth) -> Response:
...     with ctx.database.read() as session:
...         rows = session.scalars(select(Thing).where(
...             Thing.workspace_id == caller.workspace.id))
...         return json_answer([... for row in rows])

Handlers are plain ``def`` (they run in a thread; the database blocks) and answer by
``json_answer(data, status=200)``, which costs less than FastAPI's own encoding.
``caller.version`` compares as text: ``caller.version >= "2026-05-22"``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Protocol

import pydantic_core
from fastapi import Depends, Header, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.database import Database, KeyValue, User, Workspace
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.settings import Settings

VERSIONS = ("2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23")
LATEST = VERSIONS[-1]
LEGACY = VERSIONS[0]
_BASELINE = "2025-05-31"
CLOCK_OFFSET: Final = (
    select(KeyValue.value).where(KeyValue.name == "clock_offset").scalar_subquery()
)
"""How far the owner of this server has moved its clock, as text; None: it was never moved."""


@dataclass
class Context:
    """One server process: its settings, its database, its secret."""

    settings: Settings
    database: Database

    @cached_property
    def secret(self) -> bytes:
        """The secret that signs log URLs and derives keys; in the database, for all workers."""
        with self.database.read() as session:
            found = session.get_one(KeyValue, "secret")
            return bytes.fromhex(found.value)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request: user, workspace, version of the API, and time."""

    user: User
    workspace: Workspace
    version: str
    now: float
    origin: str
    """``http://host:port`` as the client addressed this server."""

    @property
    def legacy(self) -> bool:
        """Whether the shapes of 2025 are wanted."""
        return self.version < "2026-01-21"


class HasContext(Protocol):
    """``app.state``."""

    context: Context


def context_of(request: Request) -> Context:
    """Return the server that handles this request."""
    state: HasContext = request.app.state
    return state.context


def clock_now(session: Session) -> float:
    """Return the time as this server sees it, test offset included."""
    return machine_now() + clock_offset(session)


def clock_offset(session: Session) -> float:
    """Return how far the owner of this server has moved its clock."""
    return float(session.scalar(select(CLOCK_OFFSET)) or 0)


def wanted_version(default: str | None, x_phala_version: str | None) -> str:
    """Return the version of the API whose shapes are wanted, or raise 400."""
    asked = x_phala_version or default or LATEST
    if asked.upper() == "LATEST":
        return LATEST
    if asked == _BASELINE:
        return LEGACY
    if asked not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise ApiError(
            400, f"X-Phala-Version {asked[:40]!r} is unknown. Known are {known}, LATEST."
        )
    return asked


async def caller_of(
    request: Request,
    x_api_key: Annotated[str | None, Header()] = None,  # noqa: ARG001 - for the description
    x_phala_version: Annotated[str | None, Header()] = None,  # noqa: ARG001
    x_phala_workspace: Annotated[str | None, Header()] = None,  # noqa: ARG001
) -> Caller:
    """Return who calls, as ``auth.authenticate`` has found out before the body was read."""
    caller: Caller = request.state.caller
    return caller


Ctx = Annotated[Context, Depends(context_of)]
Auth = Annotated[Caller, Depends(caller_of)]


def json_answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(
        pydantic_core.to_json(data), status, headers=headers, media_type="application/json"
    )


def page_of(items: list[Any], total: int, page: int, page_size: int) -> dict[str, Any]:
    """Return the envelope most lists come in."""
    pages = -(-total // page_size)
    return {"items": items, "total": total, "page": page, "page_size": page_size, "pages": pages}
