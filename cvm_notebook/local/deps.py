"""What a handler asks for: ``Ctx`` (the server) and ``Auth`` (who calls, and when it is).

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
from typing import Annotated, Any, Protocol

import pydantic_core
from fastapi import Depends, Header, Request, Response
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from cvm_notebook.local import overdue
from cvm_notebook.local.clock import machine_now
from cvm_notebook.local.db import ApiKey, Database, Fact, RateWindow, User, Workspace
from cvm_notebook.local.errors import ApiError
from cvm_notebook.local.identifiers import key_hash
from cvm_notebook.local.settings import Settings

VERSIONS = ("2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23")
LATEST = VERSIONS[-1]
LEGACY = VERSIONS[0]
_BASELINE = "2025-05-31"


@dataclass
class Context:
    """One server process: its settings, its database, its secret."""

    settings: Settings
    database: Database

    @cached_property
    def secret(self) -> bytes:
        """What signs log URLs and derives keys; the same for all workers, kept in the database."""
        with self.database.read() as session:
            found = session.get_one(Fact, "secret")
            return bytes.fromhex(found.value)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, for which workspace, in which version of the API, and at what time."""

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
    offset = session.scalar(select(Fact.value).where(Fact.name == "clock_offset"))
    return machine_now() + float(offset or 0)


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


def authenticate(request: Request) -> Caller:
    """Find out who calls; 401 without a valid key, 429 above the rate limit."""
    ctx = context_of(request)
    key = request.headers.get("x-api-key")
    if not key:
        raise ApiError(401, "Send your API key in the X-API-Key header.")
    with ctx.database.read() as session:
        now = request.state.now = clock_now(session)
        found = session.execute(
            select(User, Workspace, ApiKey.default_version, overdue.is_due(now))
            .select_from(ApiKey)
            .join(User, User.id == ApiKey.user_id)
            .join(Workspace, Workspace.id == ApiKey.workspace_id)
            .where(ApiKey.key_hash == key_hash(key), ApiKey.revoked_at.is_(None))
        ).one_or_none()
    if found is None:
        raise ApiError(401, "This API key is not valid here.")
    user, workspace, default, due = found
    if due:
        with ctx.database.write() as session:
            overdue.sweep(session, now)
    if ctx.settings.rate_limit is not None:
        _count(ctx, user.id, ctx.settings.rate_limit)
    return Caller(
        user=user,
        workspace=workspace,
        version=wanted_version(default, request.headers.get("x-phala-version")),
        now=now,
        origin=f"{request.url.scheme}://{request.url.netloc}",
    )


async def caller_of(
    request: Request,
    x_api_key: Annotated[str | None, Header()] = None,  # noqa: ARG001 - for the description
    x_phala_version: Annotated[str | None, Header()] = None,  # noqa: ARG001
) -> Caller:
    """Return who calls, as ``authenticate`` has found out before the body was read."""
    caller: Caller = request.state.caller
    return caller


def _count(ctx: Context, user_id: int, limit: int) -> None:
    now = machine_now()
    minute = int(now // 60)
    with ctx.database.write() as session:
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        count = session.scalar(
            insert(RateWindow)
            .values(user_id=user_id, minute=minute, count=1)
            .on_conflict_do_update(
                index_elements=[RateWindow.user_id, RateWindow.minute],
                set_={"count": RateWindow.count + 1},
            )
            .returning(RateWindow.count)
        )
    if count is not None and count > limit:
        wait = str(int((minute + 1) * 60 - now) + 1)
        raise ApiError(
            429,
            f"More than {limit} requests in this minute. Try again in {wait} s.",
            headers={"Retry-After": wait},
        )


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
