"""Plant CVMs into a new database: the demo fleet with its past, or thousands for a benchmark.

The demo fleet's past is replayed by the same operations that users begin, each at its own time.
"""

import dataclasses
import hashlib
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import yaml
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import operations as history
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import Cvm, LedgerEntry, Operation, User, Workspace
from cvm_notebook.local.core.identifiers import reserve_app_ids
from cvm_notebook.local.demo.seed_data import APPS, App, One
from cvm_notebook.local.engine import billing, operations
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.placement import columns_of_size, resolve_size

_DAY: Final = 86_400.0
_WEEK: Final = 7 * _DAY
_BATCH: Final = 1_000
_STEP: Final = 50_000_000


def plant(session: Session, ctx: Context, caller: Caller) -> None:
    """Make the demo fleet in the caller's workspace; the same for the same moment."""
    for app in APPS:
        app_id, _ = reserve_app_ids(session, ctx.secret, caller.workspace.id, 1)[0]
        for one in app.cvms:
            _live(session, ctx, caller, _cvm(caller, app, one, app_id), app=app, one=one)
    session.flush()
    _pay(session, caller)


def _cvm(caller: Caller, app: App, one: One, app_id: str) -> Cvm:
    created_at = caller.now - (one.age * _DAY if one.ago is None or one.past else one.ago)
    born = dataclasses.replace(caller, now=created_at)
    size = resolve_size(one.size, None, None, one.disk)
    return Cvm(
        **operations.new_row_defaults(born)
        | columns_of_size(size)
        | columns_of_release(app.name, 0)
        | _ids(one.name),
        name=one.name,
        app_id=app_id,
        node_id=one.node,
        image=one.image,
        listed=not app.private,
        env_keys=list(app.secrets),
        ports=[],
    )


def _ids(name: str) -> dict[str, str]:
    return {
        "vm_uuid": _uuid(name),
        "instance_id": hashlib.sha256(f"instance:{name}".encode()).hexdigest()[:40],
    }


def _uuid(name: str) -> str:
    digest = hashlib.sha256(f"uuid:{name}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


@lru_cache(maxsize=256)
def columns_of_release(name: str, release: int) -> dict[str, Any]:
    """Return the columns that follow from an app's compose file; each release of it differs."""
    app = next(app for app in APPS if app.name == name)
    return columns_of(complete(_compose(app, release)))


def _compose(app: App, release: int) -> AppCompose:
    services = {
        name: {"restart": "unless-stopped", **service, "labels": {"release": f"r{release}"}}
        for name, service in app.services.items()
    }
    document: dict[str, object] = {"services": services}
    if app.volumes:
        document["volumes"] = {name: {} for name in app.volumes}
    return AppCompose(
        name=app.name,
        docker_compose_file=yaml.safe_dump(document, sort_keys=False),
        allowed_envs=list(app.secrets),
        pre_launch_script=app.pre_launch,
        public_logs=not app.private,
        public_sysinfo=not app.private,
    )


def _live(session: Session, ctx: Context, caller: Caller, cvm: Cvm, *, app: App, one: One) -> None:
    """Let a CVM live through its past."""
    moments = list(_moments(one, caller.now, cvm.created_at))
    operations.begin_new(session, ctx, dataclasses.replace(caller, now=moments[0]), cvm, "create")
    for release, (kind, moment) in enumerate(zip(one.past, moments[1:], strict=True), start=1):
        if kind == "compose_update":
            for name, value in columns_of_release(app.name, release).items():
                setattr(cvm, name, value)
        operations.begin(session, ctx, dataclasses.replace(caller, now=moment), cvm, kind)
    if one.final is not None:
        session.flush()
        history.end_badly(session, ctx, cvm, final=one.final, error=one.error, now=moments[-1])


def _moments(one: One, now: float, created_at: float) -> Iterator[float]:
    """Say when a CVM was made and when each operation began."""
    yield created_at
    count = len(one.past)
    for number in range(1, count + 1):
        if number == count and one.ago is not None:
            yield now - one.ago
            return
        # Evenly, but at an hour of its own.
        drift = int(hashlib.sha256(f"{one.name}/{number}".encode()).hexdigest()[:4], 16) % 9_000
        yield created_at + (now - created_at) * number / (count + 1) + drift - 4_500


def _pay(session: Session, caller: Caller) -> None:
    """Let the workspace be as old as its CVMs, and pay each week for what they have cost."""
    oldest = session.scalars(select(Cvm.created_at).order_by(Cvm.created_at)).first()
    begin = caller.now if oldest is None else oldest - _DAY
    session.get_one(Workspace, caller.workspace.id).created_at = begin
    weeks = max(1, int((caller.now - begin) // _WEEK))
    spent = billing.spent(session, caller.workspace.id, caller.now)
    each = -(-spent // weeks // _STEP) * _STEP
    for week in range(weeks):
        session.add(
            LedgerEntry(
                workspace_id=caller.workspace.id,
                at=begin + week * _WEEK,
                amount=each,
                note="top-up",
            )
        )


def seed_many(session: Session, count: int, now: float | None = None) -> None:
    """Insert many synthetic CVMs into the default workspace, each with its first operation."""
    moment = machine_now() if now is None else now
    workspace = session.scalars(select(Workspace.id).order_by(Workspace.id)).first()
    user = session.scalars(select(User.id).order_by(User.id)).first()
    owner = {"workspace_id": workspace, "creator_id": user}
    for begin in range(0, count, _BATCH):
        numbers = range(begin, min(begin + _BATCH, count))
        rows = [_many_row(number, moment) | owner for number in numbers]
        ids = list(session.scalars(insert(Cvm).returning(Cvm.id), rows))
        session.execute(
            insert(Operation),
            [_first_operation(cvm_id, row) for cvm_id, row in zip(ids, rows, strict=True)],
        )


_NODES: Final = (5, 6, 7, 18, 21)
_KINDS: Final = ("create",) * 7 + ("power_off", "restart", "compose_update")
_SIZES: Final = ("tdx.small", "tdx.small", "tdx.medium", "tdx.large")


def _many_row(number: int, now: float) -> dict[str, Any]:
    app = APPS[number % len(APPS)]
    kind = _KINDS[number % len(_KINDS)]
    # Coprime to the number of nodes and kinds, so that they mix.
    node, size = _NODES[number // 3 % len(_NODES)], _SIZES[number // 7 % len(_SIZES)]
    created_at = now - 3_600 - number % 9_973 * 600
    began_at = created_at if kind == "create" else created_at + 1_800
    name = f"{app.name}-{number:05d}"
    return (
        columns_of_size(resolve_size(size, None, None, None))
        | columns_of_release(app.name, 0)
        | _ids(name)
        | {
            "name": name,
            "app_id": hashlib.sha256(f"many:{number // 4}".encode()).hexdigest()[:40],
            "node_id": node,
            "image": "dstack-0.5.9",
            "env_keys": list(app.secrets),
            "ports": [],
            "first_boot_at": created_at + 65,
            "created_at": created_at,
            "updated_at": began_at,
            "billed_from": created_at,
            "active_until": began_at + 6 if kind == "power_off" else None,
            "op_kind": kind,
            "op_began_at": began_at,
            "op_origin": "" if kind == "create" else "running",
            "op_correlation_id": _uuid(f"{name}/{kind}"),
        }
    )


def _first_operation(cvm_id: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "workspace_id": row["workspace_id"],
        "cvm_id": cvm_id,
        "user_id": row["creator_id"],
        "correlation_id": row["op_correlation_id"],
        "kind": row["op_kind"],
        "began_at": row["op_began_at"],
        "origin": row["op_origin"],
        "compose_hash": row["compose_hash"],
    }
