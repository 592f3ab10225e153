"""Serve who you are: the user, the workspace, its quotas, and SSH keys."""

import base64
import hashlib
from typing import Annotated, Any, Final

from fastapi import Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import delete, select

from cvm_notebook.local.answers import account as answers
from cvm_notebook.local.answers.cvm_views import Shapes, dollars
from cvm_notebook.local.core.catalogue import NODES, TIERS
from cvm_notebook.local.core.clock import iso, iso_or_none
from cvm_notebook.local.core.context import Auth, Caller, Ctx, json_answer, page_of
from cvm_notebook.local.core.database import SshKey, Workspace, lock
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import hashid, unhash
from cvm_notebook.local.engine.billing import balance, deposited
from cvm_notebook.local.engine.placement import workspace_usage
from cvm_notebook.local.routing import api_router

router = api_router(tags=["account"])

_MICROS: Final = 1_000_000
_NO_AVATAR: Final = ""

Slug = Annotated[str, Path(max_length=200)]


@router.get("/auth/me", response_model=answers.Me | answers.LegacyMe)
def who_am_i(ctx: Ctx, caller: Auth) -> Response:
    """Describe the caller, the workspace of the key, and what is left to spend."""
    with ctx.database.read() as session:
        left = balance(session, caller.workspace.id, caller.now)
        granted = deposited(session, caller.workspace.id)
    user, workspace = caller.user, caller.workspace
    if caller.legacy:
        legacy = {
            "username": user.username,
            "email": user.email,
            "credits": left / _MICROS,
            "granted_credits": granted / _MICROS,
            "avatar": _NO_AVATAR,
            "team_name": workspace.name,
            "team_tier": workspace.tier,
        }
        return json_answer(legacy)
    me = {
        "user": {
            "username": user.username,
            "email": user.email,
            "role": "user",
            "avatar": _NO_AVATAR,
            "email_verified": True,
            "totp_enabled": False,
            "has_backup_codes": False,
            "flag_has_password": False,
        },
        "workspace": {
            "id": hashid("wks", workspace.id),
            "name": workspace.name,
            "slug": workspace.slug,
            "tier": workspace.tier,
            "role": "owner",
            "avatar": None,
        },
        "credits": {
            "balance": dollars(left),
            "granted_balance": dollars(granted),
            "is_post_paid": False,
            "outstanding_amount": dollars(-left) if left < 0 else None,
        },
    }
    return json_answer(me)


@router.get("/workspaces", response_model=answers.Workspaces)
def list_workspaces(caller: Auth) -> Response:
    """List the workspaces of this key, which is one."""
    pagination = {"has_more": False, "next_cursor": None, "total": 1}
    return json_answer({"data": [_workspace(caller.workspace)], "pagination": pagination})


def _workspace(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": hashid("wks", workspace.id),
        "name": workspace.name,
        "slug": workspace.slug,
        "tier": workspace.tier,
        "role": "owner",
        "is_default": True,
        "created_at": iso(workspace.created_at),
        "billing_status": "active" if workspace.suspended_at is None else "suspended",
        "suspended_at": iso_or_none(workspace.suspended_at),
        "avatar_url": None,
        "confidential_models_enabled": False,
    }


def _own(caller: Caller, slug: str) -> Workspace:
    if slug not in (caller.workspace.slug, hashid("wks", caller.workspace.id)):
        raise ApiError(404, f"This key opens no workspace {slug[:80]!r}.")
    return caller.workspace


@router.get("/workspaces/{slug}", response_model=answers.WorkspaceItem, responses=documented(404))
def get_workspace(caller: Auth, slug: Slug) -> Response:
    """Describe a workspace."""
    return json_answer(_workspace(_own(caller, slug)))


@router.get(
    "/workspaces/{slug}/nodes", response_model=answers.WorkspaceNodes, responses=documented(404)
)
def workspace_nodes(
    ctx: Ctx,
    caller: Auth,
    slug: Slug,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """List the nodes a workspace may use."""
    _own(caller, slug)
    shapes = Shapes(ctx, caller)
    found = [shapes.node_ref(node) for node in NODES.values()]
    begin = (page - 1) * page_size
    return json_answer(page_of(found[begin : begin + page_size], len(found), page, page_size))


@router.get("/workspaces/{slug}/quotas", response_model=answers.Quotas, responses=documented(404))
def workspace_quotas(ctx: Ctx, caller: Auth, slug: Slug) -> Response:
    """Say what the workspace's tier allows and what of it is left; -1 is without limit."""
    workspace = _own(caller, slug)
    tier = TIERS[workspace.tier]
    with ctx.database.read() as session:
        used = workspace_usage(session, workspace.id)
    quotas = {
        "vm_slots": _metric(tier.instances, used.instances),
        "vcpu": _metric(tier.vcpu, used.vcpu),
        "memory_mb": _metric(tier.memory_gb * 1024, used.memory),
        "disk_gb": _metric(tier.disk_gb, used.disk),
    }
    return json_answer(
        {
            "team_slug": workspace.slug,
            "tier": workspace.tier,
            "quotas": quotas,
            "reserved_nodes": _metric(0, 0),
            "reserved_gpu": {"gpus": _metric(0, 0), "in_use": used.gpus, "misconfigured": 0},
            "as_of": iso(caller.now),
        }
    )


def _metric(limit: int, used: int) -> dict[str, int]:
    if limit < 0:
        return {"limit": -1, "remaining": -1}
    return {"limit": limit, "remaining": max(0, limit - used)}


class NewSshKey(BaseModel):
    """A public key and what to call it."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")
    public_key: str = Field(max_length=20_000)


@router.get("/user/ssh-keys", response_model=list[answers.SshKeyItem])
def list_ssh_keys(ctx: Ctx, caller: Auth) -> Response:
    """List the caller's public SSH keys."""
    query = select(SshKey).where(SshKey.user_id == caller.user.id).order_by(SshKey.id)
    with ctx.database.read() as session:
        return json_answer([_ssh_key(row) for row in session.scalars(query)])


@router.post(
    "/user/ssh-keys", status_code=201, response_model=answers.SshKeyItem, responses=documented(409)
)
def add_ssh_key(ctx: Ctx, caller: Auth, body: NewSshKey) -> Response:
    """Keep a public SSH key."""
    kind, fingerprint = _read_ssh_key(body.public_key)
    same = (SshKey.user_id == caller.user.id, SshKey.fingerprint == fingerprint)
    with ctx.database.write() as session:
        lock(session, "ssh keys", caller.user.id)
        if session.scalar(select(SshKey.name).where(*same)) is not None:
            raise ApiError(409, f"You have this key already ({fingerprint}).")
        row = SshKey(
            user_id=caller.user.id,
            name=body.name,
            public_key=body.public_key.strip(),
            fingerprint=fingerprint,
            key_type=kind,
            created_at=caller.now,
            updated_at=caller.now,
        )
        session.add(row)
        session.flush()
        return json_answer(_ssh_key(row), 201)


@router.delete("/user/ssh-keys/{key_id}", status_code=204, responses=documented(404))
def delete_ssh_key(ctx: Ctx, caller: Auth, key_id: Slug) -> Response:
    """Forget a public SSH key."""
    own = (SshKey.id == (unhash("key", key_id) or 0), SshKey.user_id == caller.user.id)
    with ctx.database.write() as session:
        gone = session.execute(delete(SshKey).where(*own).returning(SshKey.id)).all()
    if not gone:
        raise ApiError(404, f"You have no SSH key {key_id[:80]!r}.")
    return Response(status_code=204)


class GithubProfile(BaseModel):
    """The request for importing the keys of a GitHub profile."""

    github_username: str = Field(min_length=1, max_length=100)


@router.post("/user/ssh-keys/github-profile")
def import_ssh_keys(_caller: Auth, body: GithubProfile) -> Response:  # noqa: ARG001
    """Refuse: LocalCloud asks nothing of the network."""
    raise _no_github()


@router.post("/user/ssh-keys/github-sync")
def sync_ssh_keys(_caller: Auth) -> Response:
    """Refuse: LocalCloud asks nothing of the network."""
    raise _no_github()


def _no_github() -> ApiError:
    return ApiError(400, "LocalCloud does not reach GitHub. Add the key itself.")


def _ssh_key(row: SshKey) -> dict[str, Any]:
    return {
        "id": hashid("key", row.id),
        "user_id": hashid("usr", row.user_id),
        "name": row.name,
        "public_key": row.public_key,
        "fingerprint": row.fingerprint,
        "key_type": row.key_type,
        "source": row.source,
        "key_metadata": None,
        "last_synced_at": None,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }


def _read_ssh_key(text: str) -> tuple[str, str]:
    """Return type and fingerprint of an OpenSSH public key."""
    kind, _, rest = text.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except ValueError:
        blob = b""
    named = len(kind).to_bytes(4, "big") + kind.encode()
    if not kind or not blob.startswith(named) or len(blob) == len(named):
        raise ApiError(400, "public_key is no OpenSSH public key, as in ~/.ssh/id_ed25519.pub.")
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return kind, f"SHA256:{digest}"
