"""Change CVMs: work out the new columns, check them, begin the operation."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import Cvm, Provision, Revision, lock
from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.core.identifiers import find_cvm, hash64
from cvm_notebook.local.engine import billing, operations, placement
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.provisioning import check_env, unknown_hash
from cvm_notebook.local.engine.requests import (
    ComposeCommitRequest,
    ComposeFileRequest,
    EnvsRequest,
    ResourcesRequest,
    UpdateRequest,
)

_DAY = 86_400.0
_COMPOSE_FIELDS = (
    *("docker_compose_file", "pre_launch_script", "allowed_envs"),
    *("public_logs", "public_sysinfo", "public_tcbinfo"),
)


@dataclass
class Change:
    """A change of a CVM's row, with the operation that brings it about."""

    kind: str = ""
    columns: dict[str, Any] = field(default_factory=dict)

    def add(self, kind: str, columns: dict[str, Any]) -> None:
        """Add to it; what was added first names the operation, and what makes a revision is."""
        self.kind = self.kind or kind
        self.columns |= columns


def begin(session: Session, ctx: Context, caller: Caller, cvm: Cvm, change: Change) -> str:
    """Apply a change to an idle CVM and return the correlation id of its operation."""
    if not change.kind:
        raise ApiError(400, "Nothing to change was given.")
    billing.accrue(cvm, caller.now)
    if "compute_rate" in change.columns:
        billing.leave_term(cvm, caller.now, change.columns["compute_rate"])
    for name, value in change.columns.items():
        setattr(cvm, name, value)
    if bool(cvm.gpus) is not bool(cvm.rental):
        billing.begin_term(cvm, caller.now)
    return operations.begin(session, ctx, caller, cvm, change.kind)


def confirm(session: Session, caller: Caller, text: str, compose_hash: str) -> None:
    """Refuse to confirm a change under this hash: only apps on a chain have changes that wait."""
    cvm = find_cvm(session, caller.workspace.id, text)
    raise unknown_hash(cvm.app_id, compose_hash)


def idle(session: Session, ctx: Context, caller: Caller, text: str) -> Cvm:
    """Find the CVM to be changed, whole and locked; 409 while it is busy."""
    lock(session, "workspace", caller.workspace.id)
    cvm = find_cvm(session, caller.workspace.id, text, whole=True, for_change=True)
    billing.check_active(caller.workspace)
    billing.check_unmanaged(cvm)
    operations.check_idle(cvm, caller.now, ctx.settings.speed)
    return cvm


def update(
    session: Session, ctx: Context, caller: Caller, text: str, request: UpdateRequest
) -> str:
    """Change anything in one go."""
    cvm = idle(session, ctx, caller, text)
    change = Change()
    fields = {name: getattr(request, name) for name in _COMPOSE_FIELDS}
    edits = {name: value for name, value in fields.items() if value is not None}
    if edits:
        change.add("compose_update", _edited(cvm, edits))
        if request.allowed_envs is not None:
            change.columns["env_keys"] = request.allowed_envs
    whole = change.columns.get("compose_file", cvm.compose_file)
    check_env(ctx, cvm.app_id, request.encrypted_env, whole)
    for name in ("encrypted_env", "user_config"):
        value = getattr(request, name)
        if value is not None:
            change.add("env_update", {name: value})
    _resize(session, caller, cvm, request, change)
    if request.image is not None:
        change.add("image_update", _image(cvm, request.image))
    return begin(session, ctx, caller, cvm, change)


def edit_compose(
    session: Session, ctx: Context, caller: Caller, text: str, edits: dict[str, Any]
) -> str:
    """Change parts of the app compose."""
    cvm = idle(session, ctx, caller, text)
    return begin(session, ctx, caller, cvm, Change("compose_update", _edited(cvm, edits)))


def _edited(cvm: Cvm, edits: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of an app compose with some parts replaced; None takes one out."""
    changed = cvm.compose_file | edits
    return columns_of(complete(AppCompose.model_validate(changed)))


def update_envs(
    session: Session, ctx: Context, caller: Caller, text: str, request: EnvsRequest
) -> tuple[str, bool]:
    """Replace the environment; also tell whether the allowed names have changed."""
    cvm = idle(session, ctx, caller, text)
    change = Change("env_update", {"encrypted_env": request.encrypted_env})
    renamed = request.env_keys is not None and _differ(
        request.env_keys, cvm.compose_file["allowed_envs"]
    )
    if request.env_keys is not None:
        change.columns["env_keys"] = request.env_keys
    if renamed:
        change.columns |= _edited(cvm, {"allowed_envs": request.env_keys})
    whole = change.columns.get("compose_file", cvm.compose_file)
    check_env(ctx, cvm.app_id, request.encrypted_env, whole)
    return begin(session, ctx, caller, cvm, change), renamed


def _differ(one: Iterable[str], other: Iterable[str]) -> bool:
    return set(one) != set(other)


def resize(
    session: Session, ctx: Context, caller: Caller, text: str, request: ResourcesRequest
) -> str:
    """Change the size."""
    cvm = idle(session, ctx, caller, text)
    change = Change()
    _resize(session, caller, cvm, request, change)
    forbidden = request.allow_restart is not None and not request.allow_restart
    if forbidden and _runs(ctx, caller, cvm):
        raise ApiError(400, f"Resizing restarts CVM {cvm.name}. Send allow_restart to do so.")
    return begin(session, ctx, caller, cvm, change)


def _runs(ctx: Context, caller: Caller, cvm: Cvm) -> bool:
    view = operations.check_idle(cvm, caller.now, ctx.settings.speed)
    return view.status == "running"


def _resize(
    session: Session,
    caller: Caller,
    cvm: Cvm,
    request: UpdateRequest | ResourcesRequest,
    change: Change,
) -> None:
    gpus = request.gpus if isinstance(request, UpdateRequest) else None
    asked = (request.instance_type, request.vcpu, request.memory, request.disk_size, gpus)
    if all(part is None for part in asked):
        return
    size = _new_size(cvm, request, len(gpus.gpus) if gpus else None)
    if size.disk_size < cvm.disk_size:
        raise coded(
            "ERR-02-008",
            f"The disk of {cvm.name} has {cvm.disk_size} GB and can't be made smaller.",
            details=[detail("disk_size", size.disk_size, f"at least {cvm.disk_size}")],
        )
    more = placement.Usage(
        0,
        size.vcpu - cvm.vcpu,
        size.memory - cvm.memory,
        size.disk_size - cvm.disk_size,
        size.gpus - cvm.gpus,
    )
    lock(session, "nodes")
    used = placement.node_usage(session).get(cvm.node_id, placement.Usage())
    error = placement.lacking(NODES[cvm.node_id], used, more)
    if error is not None:
        raise error
    placement.check_quota(session, caller.workspace.id, caller.workspace.tier, more)
    change.add("resize", placement.columns_of_size(size))


def _new_size(
    cvm: Cvm, request: UpdateRequest | ResourcesRequest, gpus: int | None
) -> placement.Size:
    disk = request.disk_size or cvm.disk_size
    if request.instance_type is not None:
        return placement.resolve_size(
            request.instance_type, request.vcpu, request.memory, disk, gpus or 0
        )
    return placement.resolve_size(
        None,
        request.vcpu or cvm.vcpu,
        request.memory or cvm.memory,
        disk,
        cvm.gpus if gpus is None else gpus,
    )


def change_image(session: Session, ctx: Context, caller: Caller, text: str, name: str) -> str:
    """Change the operating system image."""
    cvm = idle(session, ctx, caller, text)
    return begin(session, ctx, caller, cvm, Change("image_update", _image(cvm, name)))


def _image(cvm: Cvm, name: str) -> dict[str, Any]:
    image = placement.image_of(name)
    placement.check_image(NODES[cvm.node_id], image)
    if image.requires_gpu and cvm.gpus == 0:
        raise coded(
            "ERR-02-013",
            f"Image {image.name} needs a GPU, which {cvm.name} doesn't have.",
            details=[detail("os_image_name", image.name, "not compatible")],
        )
    return {"image": image.name}


def provision_compose(
    session: Session, ctx: Context, caller: Caller, text: str, columns: dict[str, Any]
) -> tuple[Cvm, str]:
    """Keep a new app compose for a CVM until it is committed, and return its hash.

    ``columns`` are those of the app compose, read before: others wait while this is written.
    """
    cvm = find_cvm(session, caller.workspace.id, text)
    lock(session, "workspace", caller.workspace.id)
    kept = _kept(session, cvm, columns["compose_hash"])
    expires_at = caller.now + ctx.settings.provision_days * _DAY
    if kept is None:
        session.add(
            Provision(
                workspace_id=cvm.workspace_id,
                app_id=cvm.app_id,
                compose_hash=columns["compose_hash"],
                plan={"compose_file": columns["compose_file"]},
                created_at=caller.now,
                expires_at=expires_at,
            )
        )
    else:
        kept.expires_at = expires_at
    return cvm, columns["compose_hash"]


def _kept(session: Session, cvm: Cvm, compose_hash: str) -> Provision | None:
    return session.scalar(
        select(Provision).where(
            Provision.workspace_id == cvm.workspace_id,
            Provision.app_id == cvm.app_id,
            Provision.compose_hash == compose_hash,
        )
    )


def _check_hash(declared: str, computed: str) -> None:
    if declared != computed:
        raise coded(
            "ERR-02-008",
            "compose_hash is not that of compose_file.",
            details=[detail("compose_hash", declared[:80], f"it is {computed}")],
        )


def redeploy(session: Session, ctx: Context, caller: Caller, cvm: Cvm, revision: Revision) -> str:
    """Go back to (or on to) what an app had at a revision: compose file, variables, user config."""
    billing.check_active(caller.workspace)
    billing.check_unmanaged(cvm)
    operations.check_idle(cvm, caller.now, ctx.settings.speed)
    change = Change("compose_update", columns_of(revision.compose_file))
    change.columns |= {
        "encrypted_env": revision.encrypted_env,
        "env_keys": revision.compose_file["allowed_envs"],
        "user_config": revision.user_config,
    }
    return begin(session, ctx, caller, cvm, change)


def commit_compose(
    session: Session,
    ctx: Context,
    caller: Caller,
    text: str,
    request: ComposeCommitRequest | ComposeFileRequest,
) -> str:
    """Use an app compose that was provisioned, or that is given whole with its hash."""
    cvm = idle(session, ctx, caller, text)
    compose_hash = hash64(request.compose_hash) or request.compose_hash
    if isinstance(request, ComposeFileRequest):
        columns = columns_of(complete(request.compose_file))
        _check_hash(compose_hash, columns["compose_hash"])
    else:
        columns = _provisioned(session, caller, cvm, compose_hash)
    change = Change("compose_update", columns)
    check_env(ctx, cvm.app_id, request.encrypted_env, columns["compose_file"])
    for name in ("encrypted_env", "env_keys"):
        value = getattr(request, name)
        if value is not None:
            change.columns[name] = value
    return begin(session, ctx, caller, cvm, change)


def _provisioned(session: Session, caller: Caller, cvm: Cvm, compose_hash: str) -> dict[str, Any]:
    kept = _kept(session, cvm, compose_hash)
    if kept is None or kept.expires_at <= caller.now:
        raise unknown_hash(cvm.app_id, compose_hash)
    return columns_of(kept.plan["compose_file"])
