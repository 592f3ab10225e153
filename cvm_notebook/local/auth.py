"""Find out who calls: by the key, the workspace that is wanted, and how often they have called."""

from fastapi import Request
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import (
    Caller,
    Context,
    context_of,
    wanted_version,
)
from cvm_notebook.local.core.database import ApiKey, RateWindow, User, Workspace
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.identifiers import hashid, key_hash
from cvm_notebook.local.engine import housekeeping

_USER, _WORKSPACE = User.__table__.columns, Workspace.__table__.columns
# Built once, and of tables: every request asks it, and half of its time went into building it.
_CALLER = (
    select(
        *_USER,
        *_WORKSPACE,
        ApiKey.__table__.c.default_version,
        *housekeeping.CLOCK,
    )
    .select_from(ApiKey.__table__)
    .join(User.__table__, _USER.id == ApiKey.__table__.c.user_id)
    .join(Workspace.__table__, _WORKSPACE.id == ApiKey.__table__.c.workspace_id)
    .where(
        ApiKey.__table__.c.key_hash == bindparam("key_hash"),
        ApiKey.__table__.c.revoked_at.is_(None),
    )
)


def authenticate(request: Request) -> Caller:
    """Find out who calls; 401 without a valid key, 429 above the rate limit."""
    ctx = context_of(request)
    key = request.headers.get("x-api-key")
    if not key and request.headers.get("authorization"):
        raise _refused()  # a key is no bearer token
    if not key:
        raise ApiError(401, "Send your API key in the X-API-Key header.")
    with ctx.database.read() as session:
        found = session.connection().execute(_CALLER, {"key_hash": key_hash(key)}).one_or_none()
    if found is None:
        raise _refused()
    *columns, default, offset, begins, ends = found
    now, due = housekeeping.read_clock(offset, begins, ends)
    request.state.now = now
    user = User(**dict(zip(_USER.keys(), columns, strict=False)))
    workspace = Workspace(**dict(zip(_WORKSPACE.keys(), columns[len(_USER) :], strict=True)))
    if due:
        with ctx.database.write() as session:
            housekeeping.sweep(session, ctx, now)
    wanted = request.headers.get("x-phala-workspace")
    if wanted:
        workspace = _workspace(ctx, user, wanted)
    if ctx.settings.rate_limit is not None:
        _count(ctx, user.id, ctx.settings.rate_limit)
    return Caller(
        user=user,
        workspace=workspace,
        version=wanted_version(default, request.headers.get("x-phala-version")),
        now=now,
        origin=f"{request.url.scheme}://{request.url.netloc}",
    )


def _refused() -> ApiError:
    return ApiError(401, "Invalid or expired token")


def _workspace(ctx: Context, user: User, wanted: str) -> Workspace:
    """Return one of the user's workspaces by its id or slug, or raise 403."""
    with ctx.database.read() as session:
        workspaces = session.scalars(
            select(Workspace)
            .join(ApiKey, ApiKey.workspace_id == Workspace.id)
            .where(ApiKey.user_id == user.id, ApiKey.revoked_at.is_(None))
            .distinct()
        )
        for one in workspaces:
            if wanted in {one.slug, hashid("wks", one.id)}:
                return one
    raise ApiError(403, f"You have no access to workspace {wanted[:80]!r}.")


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
