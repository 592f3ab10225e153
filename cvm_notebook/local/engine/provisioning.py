"""Make CVMs: plan one (step one), commit the plan (step two), replicate what runs."""

import itertools
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from cvm_notebook.local.core.catalogue import IMAGES, NODES
from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import Cvm, Provision, Workspace, lock
from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.core.identifiers import (
    WHOLE,
    app_id_of,
    find_cvm,
    hash64,
    hex40,
    new_instance_id,
    new_uuid,
    not_found,
    reserve_app_ids,
)
from cvm_notebook.local.core.keys import EnvError, EnvLimitError, decrypt_env, guest_env
from cvm_notebook.local.engine import billing, operations, placement
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.requests import CommitRequest, ProvisionRequest, ReplicateRequest

_DAY = 86_400.0
_NAMES_AT_ONCE = 100
_STAYS = (Cvm.deleted_at.is_(None), Cvm.gone_at.is_(None))
_REQUESTED = "requested"
"""In a plan: where its CVM may go, when it named no node."""


def provision(
    session: Session,
    ctx: Context,
    caller: Caller,
    request: ProvisionRequest,
    columns: dict[str, Any],
) -> Provision:
    """Check what is asked for and keep the plan; nothing runs and nothing costs yet.

    ``columns`` are those of the app compose, read before: others wait while this is written.
    """
    workspace_id = caller.workspace.id
    billing.check_active(caller.workspace)
    lock(session, "workspace", workspace_id)
    check_name(session, workspace_id, request.name)
    placement.check_kms(request.kms)
    size = placement.size_of(request)
    node, image = placement.place(session, request, size)
    placement.check_quota(session, workspace_id, caller.workspace.tier, size.usage)
    billing.check_balance(session, workspace_id, caller.now)
    app_id = _app_id(session, ctx, workspace_id, request)
    check_env(ctx, app_id, request.encrypted_env, columns["compose_file"])
    plan = {
        _REQUESTED: {"region": request.region} if request.teepod_id is None else None,
        "name": request.name,
        "node_id": node.id,
        "image": image.name,
        **placement.columns_of_size(size),
        "kms_type": (request.kms or "phala").lower(),
        "listed": request.listed,
        "encrypted_env": request.encrypted_env,
        "env_keys": request.env_keys or columns["compose_file"]["allowed_envs"],
        "user_config": request.user_config,
        "ports": [port.model_dump() for port in request.ports or ()],
        **columns,
    }
    return _keep(session, ctx, caller, app_id, plan)


def _app_id(session: Session, ctx: Context, workspace_id: int, request: ProvisionRequest) -> str:
    if request.app_id is None and request.nonce is None:
        return reserve_app_ids(session, ctx.secret, workspace_id, 1)[0][0]
    app_id = hex40(request.app_id or "")
    if app_id is None or request.nonce is None:
        raise _bad("app_id", request.app_id, "Give app_id (40 hex) and nonce together, or neither.")
    if app_id != app_id_of(ctx.secret, workspace_id, request.nonce):
        raise coded(
            "ERR-02-008",
            "App ID mismatch",
            details=[detail("nonce", request.nonce, f"does not belong to {app_id}")],
        )
    _check_free(session, workspace_id, app_id, request)
    session.execute(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.next_nonce <= request.nonce)
        .values(next_nonce=request.nonce + 1)
    )
    return app_id


def _check_free(
    session: Session, workspace_id: int, app_id: str, request: ProvisionRequest
) -> None:
    """Raise when another CVM was provisioned under this app id: predictions can be equal."""
    plans = session.scalars(
        select(Provision.plan).where(
            Provision.workspace_id == workspace_id, Provision.app_id == app_id
        )
    )
    if any(plan.get("name", request.name) != request.name for plan in plans):
        raise _bad(
            "nonce", request.nonce, f"App id {app_id} has been given to another CVM; ask anew."
        )


def _keep(
    session: Session, ctx: Context, caller: Caller, app_id: str, plan: dict[str, Any]
) -> Provision:
    workspace_id, compose_hash = caller.workspace.id, plan["compose_hash"]
    same = (Provision.workspace_id == workspace_id, Provision.app_id == app_id)
    kept = session.scalar(select(Provision).where(*same, Provision.compose_hash == compose_hash))
    if kept is not None and kept.cvm_id is not None and _is_live(session, kept.cvm_id):
        return kept
    session.execute(delete(Provision).where(*same, Provision.compose_hash == compose_hash))
    row = Provision(
        workspace_id=workspace_id,
        app_id=app_id,
        compose_hash=compose_hash,
        plan=plan,
        created_at=caller.now,
        expires_at=caller.now + ctx.settings.provision_days * _DAY,
    )
    session.add(row)
    session.flush()
    return row


def _is_live(session: Session, cvm_id: int) -> bool:
    """Tell whether a CVM is there to stay, neither gone nor being deleted."""
    return session.scalar(select(Cvm.id).where(Cvm.id == cvm_id, *_STAYS)) is not None


def name_is_taken(session: Session, workspace_id: int, name: str) -> bool:
    """Tell whether a CVM of the workspace has this name; it has it until it is gone."""
    taken = session.scalar(
        select(Cvm.id).where(
            Cvm.workspace_id == workspace_id, Cvm.name == name, Cvm.deleted_at.is_(None)
        )
    )
    return taken is not None


def check_name(session: Session, workspace_id: int, name: str) -> None:
    """Raise ERR-01-004 when a CVM of the workspace has this name."""
    if name_is_taken(session, workspace_id, name):
        raise coded(
            "ERR-01-004",
            f"A CVM named {name} exists in this workspace.",
            details=[detail("name", name, "taken")],
            suggestions=["Choose another name, or delete the CVM that has it."],
        )


def commit(session: Session, ctx: Context, caller: Caller, request: CommitRequest) -> Cvm:
    """Make the CVM of a provision; asked again, return the CVM that it became."""
    workspace_id = caller.workspace.id
    lock(session, "workspace", workspace_id)
    app_id = hex40(request.app_id) or request.app_id
    compose_hash = hash64(request.compose_hash) or request.compose_hash
    planned = session.scalar(
        select(Provision).where(
            Provision.workspace_id == workspace_id,
            Provision.app_id == app_id,
            Provision.compose_hash == compose_hash,
        )
    )
    there = _committed(session, workspace_id, app_id, compose_hash, planned)
    if there is not None:
        return there
    if planned is None or not _is_open(planned, caller.now):
        raise unknown_hash(app_id, compose_hash)
    plan = dict(planned.plan)
    requested = plan.pop(_REQUESTED, None)
    if request.encrypted_env is not None:
        check_env(ctx, app_id, request.encrypted_env, plan["compose_file"])
        plan["encrypted_env"] = request.encrypted_env
    if request.env_keys is not None:
        plan["env_keys"] = request.env_keys
    check_name(session, workspace_id, plan["name"])
    cvm = Cvm(
        **plan | operations.new_row_defaults(caller),
        app_id=app_id,
        provision_id=planned.id,
        **_fresh_ids(),
    )
    _admit(session, caller, cvm, requested)
    operations.begin_new(session, ctx, caller, cvm, "create")
    planned.cvm_id = cvm.id
    return cvm


def check_env(
    ctx: Context, app_id: str, encrypted: str | None, app_compose: dict[str, Any]
) -> None:
    """Raise when a guest would not boot with these variables.

    What can't be decrypted passes: the service can read no environment, and says nothing of it.
    """
    try:
        variables = decrypt_env(ctx.secret, app_id, encrypted or "")
        guest_env(variables, app_compose["allowed_envs"])
    except EnvLimitError as error:
        raise coded(
            "ERR-02-008",
            f"The environment is more than a CVM takes: {error}.",
            details=[detail("encrypted_env", None, str(error))],
            status=422,
        ) from None
    except EnvError:
        return


def _is_open(planned: Provision, now: float) -> bool:
    """Tell whether a CVM can be made of it: no plan of an update, unused, not expired."""
    return "name" in planned.plan and planned.cvm_id is None and now < planned.expires_at


def _committed(
    session: Session, workspace_id: int, app_id: str, compose_hash: str, planned: Provision | None
) -> Cvm | None:
    live = session.scalars(
        select(Cvm)
        .where(Cvm.workspace_id == workspace_id, Cvm.app_id == app_id, *_STAYS)
        .order_by(Cvm.id)
    ).all()
    became = planned.cvm_id if planned is not None else None
    for cvm in live:
        if cvm.id == became or cvm.compose_hash == compose_hash:
            return cvm
    if live:
        raise coded(
            "ERR-03-007",
            f"App {app_id} already has CVM {live[0].name} with another compose hash.",
            details=[
                detail("app_id", app_id, "in use"),
                detail("compose_hash", compose_hash, f"the CVM has {live[0].compose_hash}"),
            ],
            suggestions=["Update that CVM, or provision again to get a new app_id."],
        )
    return None


def unknown_hash(app_id: str, compose_hash: str) -> ApiError:
    """Return the error of a pair that was never provisioned, has expired or is used up."""
    return coded(
        "ERR-01-006",
        "No provision is waiting under this app_id and compose_hash; it may have expired.",
        details=[
            detail("app_id", app_id[:80], "no such provision"),
            detail("compose_hash", compose_hash[:80], "unknown or expired"),
        ],
        suggestions=["Provision again and commit what comes back."],
    )


def _fresh_ids() -> dict[str, str]:
    return {"vm_uuid": new_uuid(), "instance_id": new_instance_id()}


def _admit(
    session: Session, caller: Caller, cvm: Cvm, requested: dict[str, Any] | None = None
) -> None:
    """Raise when the node, the quota or the balance can't take a new CVM.

    A plan holds no place. Where no node was named, the CVM goes to another that fits the request.
    """
    billing.check_active(caller.workspace)
    wanted = placement.usage_of(cvm)
    lock(session, "nodes")
    used = placement.node_usage(session)
    error = placement.lacking(NODES[cvm.node_id], used.get(cvm.node_id, placement.Usage()), wanted)
    if error is not None:
        another = placement.another_node(used, wanted, IMAGES[cvm.image], requested)
        if another is None:
            raise error
        cvm.node_id = another.id
    placement.check_quota(session, caller.workspace.id, caller.workspace.tier, wanted)
    billing.check_balance(session, caller.workspace.id, caller.now)


def replicate(
    session: Session,
    ctx: Context,
    caller: Caller,
    text: str,
    request: ReplicateRequest,
    *,
    edits: dict[str, Any] | None = None,
) -> Cvm:
    """Make another CVM of the same app, on the same or another node.

    ``edits`` are parts of its app compose that differ.
    """
    lock(session, "workspace", caller.workspace.id)
    source = _source(session, caller, text, request)
    operations.check_stays(source)
    node_id = request.node_id if request.node_id is not None else request.teepod_id
    node = placement.node_of(node_id) if node_id is not None else NODES[source.node_id]
    image = placement.image_of(request.os_image) if request.os_image else IMAGES[source.image]
    if image not in node.images:
        raise coded(
            "ERR-03-006",
            f"Node {node.name} doesn't have image {image.name}.",
            details=[detail("node_id", node.id, "image not available")],
            suggestions=["Choose a node that has the image, or give os_image."],
        )
    replica = Cvm(
        **_copied(source),
        **operations.new_row_defaults(caller),
        **_fresh_ids(),
        name=_free_name(session, caller.workspace.id, source.name),
        node_id=node.id,
        image=image.name,
    )
    if request.encrypted_env is not None:
        check_env(ctx, source.app_id, request.encrypted_env, source.compose_file)
        replica.encrypted_env = request.encrypted_env
    if edits:
        changed = AppCompose.model_validate(source.compose_file | edits)
        for name, value in columns_of(complete(changed)).items():
            setattr(replica, name, value)
    _admit(session, caller, replica)
    operations.begin_new(session, ctx, caller, replica, "replicate")
    return replica


_COPIED = (
    *("app_id", "instance_type", "vcpu", "memory", "disk_size", "gpus", "kms_type", "listed"),
    *("compose_file", "compose_hash", "docker_compose_hash", "pre_launch_script_hash", "services"),
    *("encrypted_env", "env_keys", "user_config", "ports", "compute_rate", "disk_rate"),
    *("public_logs", "public_sysinfo", "public_tcbinfo"),
    *("gateway_enabled", "secure_time", "storage_fs"),
)


def _copied(source: Cvm) -> dict[str, Any]:
    return {name: getattr(source, name) for name in _COPIED}


def _source(session: Session, caller: Caller, text: str, request: ReplicateRequest) -> Cvm:
    """Find what to replicate; an app with several CVMs needs the compose hash to choose by."""
    wanted = hash64(request.compose_hash) if request.compose_hash else None
    try:
        source = find_cvm(session, caller.workspace.id, text, whole=True)
    except ApiError as error:
        if error.body is None or error.body["error_code"] != "ERR-03-010":
            raise
        return _by_hash(session, caller.workspace.id, text, wanted)
    if request.compose_hash and source.compose_hash != wanted:
        return _by_hash(session, caller.workspace.id, source.app_id, wanted)
    return source


def _by_hash(session: Session, workspace_id: int, text: str, compose_hash: str | None) -> Cvm:
    if compose_hash is None:
        raise coded(
            "ERR-03-009",
            f"App {text[:80]} has several CVMs; give compose_hash to say which one to replicate.",
            details=[detail("compose_hash", None, "required here")],
        )
    found = session.scalar(
        select(Cvm)
        .where(
            Cvm.workspace_id == workspace_id,
            Cvm.app_id == hex40(text),
            Cvm.compose_hash == compose_hash,
            Cvm.deleted_at.is_(None),
        )
        .order_by(Cvm.id)
        .options(*WHOLE)
        .limit(1)
    )
    if found is None:
        raise not_found(text)
    return found


def _free_name(session: Session, workspace_id: int, name: str) -> str:
    stem = name[:56].rstrip("-")
    for first in itertools.count(2, _NAMES_AT_ONCE):
        names = [f"{stem}-{number}" for number in range(first, first + _NAMES_AT_ONCE)]
        query = select(Cvm.name).where(
            Cvm.workspace_id == workspace_id, Cvm.deleted_at.is_(None), Cvm.name.in_(names)
        )
        taken = set(session.scalars(query))
        free = next((one for one in names if one not in taken), None)
        if free is not None:
            return free
    raise AssertionError("numbers come to no end")


def _bad(field: str, value: Any, message: str) -> ApiError:
    return coded("ERR-02-008", message, details=[detail(field, value, message)])
