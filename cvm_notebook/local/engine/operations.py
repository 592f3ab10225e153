"""Begin an operation on a CVM, inside a write transaction: the row, its history, its account.

``begin(session, ctx, caller, cvm, "power_on")`` is the only thing that changes what a CVM does.
``check_idle(cvm, caller.now, speed)`` raises the 409 of a busy one.
"""

import uuid

from sqlalchemy import update
from sqlalchemy.orm import Session

from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import Cvm, Operation, Revision
from cvm_notebook.local.core.errors import busy
from cvm_notebook.local.engine import billing, compose, lifecycle

_REVISES = frozenset({"create", "replicate", "compose_update", "env_update"})


def check_idle(cvm: Cvm, now: float, speed: float) -> lifecycle.View:
    """Return what the CVM does, or raise 409 when it is in the middle of something."""
    view = lifecycle.view_of(cvm, now, speed)
    if view.in_progress:
        raise busy()
    return view


def check_stays(cvm: Cvm) -> None:
    """Raise 409 when the CVM is being deleted, which nothing cancels."""
    if cvm.gone_at is not None:
        raise busy()


def begin(session: Session, ctx: Context, caller: Caller, cvm: Cvm, kind: str) -> str:
    """Begin an operation now and return its correlation id.

    What runs is cancelled; whoever may not cancel has called ``check_idle`` before.
    """
    speed = ctx.settings.speed
    before = lifecycle.view_of(cvm, caller.now, speed)
    if before.in_progress:
        _cancel(session, cvm, caller.now)
    return _enter(session, ctx, caller, cvm, kind, origin=_origin(before))


def _origin(before: lifecycle.View) -> str:
    return before.status if before.status in lifecycle.STABLE else before.target


def begin_new(session: Session, ctx: Context, caller: Caller, cvm: Cvm, kind: str) -> str:
    """Begin the first operation of a CVM that ``new_row_defaults`` has made."""
    billing.begin_term(cvm, caller.now)
    session.add(cvm)
    session.flush()
    return _enter(session, ctx, caller, cvm, kind, origin="")


def new_row_defaults(caller: Caller) -> dict[str, object]:
    """Return the columns a new CVM begins with; ``begin_new`` fills in its operation."""
    return {
        "workspace_id": caller.workspace.id,
        "creator_id": caller.user.id,
        "created_at": caller.now,
        "updated_at": caller.now,
        "billed_from": caller.now,
        "accrued": 0,
        "op_kind": "create",
        "op_began_at": caller.now,
        "op_origin": "",
        "op_correlation_id": "",
    }


def _enter(
    session: Session, ctx: Context, caller: Caller, cvm: Cvm, kind: str, *, origin: str
) -> str:
    now = caller.now
    probe = lifecycle.Operation(kind, now, origin)
    error = compose.boot_error(cvm.services) if lifecycle.boots(probe) else None
    final = "error" if error else None
    ends_at = now + lifecycle.duration(probe, ctx.settings.speed)
    billing.accrue(cvm, now)
    if lifecycle.boots(probe):
        cvm.active_until = None
        if final:
            billing.stop_computing(cvm, ends_at)
        _boot(cvm, now, ends_at, fails=final is not None)
    else:
        billing.stop_computing(cvm, _earlier(cvm.active_until, ends_at))
        _boot(cvm, now, ends_at, fails=True)
    cvm.op_kind, cvm.op_began_at, cvm.op_origin = kind, now, origin
    cvm.op_final, cvm.op_error = final, error
    cvm.op_correlation_id = str(uuid.uuid4())
    cvm.updated_at = now
    _record(session, caller, cvm)
    return cvm.op_correlation_id


def _boot(cvm: Cvm, now: float, ends_at: float, *, fails: bool) -> None:
    """Set when the CVM has booted for the first time, unless it has already."""
    if cvm.first_boot_at is None or cvm.first_boot_at > now:
        cvm.first_boot_at = None if fails else ends_at


def _earlier(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)


def _cancel(session: Session, cvm: Cvm, now: float) -> None:
    session.execute(
        update(Operation)
        .where(Operation.correlation_id == cvm.op_correlation_id)
        .values(cancelled_at=now)
    )


def _record(session: Session, caller: Caller, cvm: Cvm) -> None:
    session.add(
        Operation(
            workspace_id=cvm.workspace_id,
            cvm_id=cvm.id,
            user_id=caller.user.id,
            correlation_id=cvm.op_correlation_id,
            kind=cvm.op_kind,
            began_at=caller.now,
            origin=cvm.op_origin,
            final=cvm.op_final,
            error=cvm.op_error,
            compose_hash=cvm.compose_hash,
        )
    )
    if cvm.op_kind in _REVISES:
        session.add(
            Revision(
                workspace_id=cvm.workspace_id,
                app_id=cvm.app_id,
                cvm_id=cvm.id,
                user_id=caller.user.id,
                compose_hash=cvm.compose_hash,
                compose_file=cvm.compose_file,
                encrypted_env=cvm.encrypted_env,
                user_config=cvm.user_config,
                operation_kind=cvm.op_kind,
                correlation_id=cvm.op_correlation_id,
                created_at=caller.now,
            )
        )


def delete(session: Session, ctx: Context, caller: Caller, cvm: Cvm) -> None:
    """Begin to delete a CVM, whatever it is doing; once begun it goes on to its end."""
    if cvm.gone_at is None:
        begin(session, ctx, caller, cvm, "delete")
        cvm.gone_at = lifecycle.view_of(cvm, caller.now, ctx.settings.speed).ends_at
