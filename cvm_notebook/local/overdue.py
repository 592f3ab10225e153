"""Delete the CVMs whose scheduled time has come, the first time anybody looks afterwards.

No clock runs for this: ``is_due`` rides in the query that authenticates each request.
"""

import uuid

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from cvm_notebook.local import billing
from cvm_notebook.local.db import Cvm, Operation


def _due(now: float) -> tuple[ColumnElement[bool], ...]:
    return (Cvm.scheduled_delete_at <= now, Cvm.deleted_at.is_(None))


def is_due(now: float) -> ColumnElement[bool]:
    """Return the condition that some CVM is to be deleted by now."""
    return exists(select(Cvm.id).where(*_due(now)))


def sweep(session: Session, now: float) -> None:
    """Delete what is due, as of the time it was due. Needs a write session."""
    for cvm in session.scalars(
        select(Cvm).where(*_due(now)).order_by(Cvm.id).with_for_update(skip_locked=True)
    ):
        at = cvm.scheduled_delete_at
        assert at is not None  # noqa: S101 - it was compared
        bury(session, cvm, at, user_id=cvm.creator_id)


def bury(session: Session, cvm: Cvm, at: float, *, user_id: int) -> None:
    """Mark a CVM as deleted, close its account and write it into its history."""
    billing.accrue(cvm, at)
    cvm.active_until = at if cvm.active_until is None else min(at, cvm.active_until)
    cvm.deleted_at = cvm.updated_at = at
    session.add(
        Operation(
            workspace_id=cvm.workspace_id,
            cvm_id=cvm.id,
            user_id=user_id,
            correlation_id=str(uuid.uuid4()),
            kind="delete",
            began_at=at,
            origin=cvm.op_origin,
            compose_hash=cvm.compose_hash,
        )
    )
