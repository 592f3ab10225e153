"""Delete the CVMs whose time has come, the first time anybody looks afterwards.

No clock runs for this: ``is_due`` rides in the query that authenticates each request.
"""

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from cvm_notebook.local import billing, operations
from cvm_notebook.local.db import Cvm, User, Workspace
from cvm_notebook.local.deps import LATEST, Caller, Context

_LIVE = Cvm.deleted_at.is_(None)


def _begins(now: float) -> ColumnElement[bool]:
    return Cvm.scheduled_delete_at <= now


def _is_gone(now: float) -> ColumnElement[bool]:
    return Cvm.gone_at <= now


def is_due(now: float) -> ColumnElement[bool]:
    """Return the condition that the deletion of some CVM begins or ends by now."""
    begins = exists(select(Cvm.id).where(_begins(now), Cvm.gone_at.is_(None), _LIVE))
    return or_(begins, exists(select(Cvm.id).where(_is_gone(now), _LIVE)))


def sweep(session: Session, ctx: Context, now: float) -> None:
    """Begin and end what is due, as of the time it was due. Needs a write session."""
    for cvm, user, workspace in session.execute(
        select(Cvm, User, Workspace)
        .join(User, User.id == Cvm.creator_id)
        .join(Workspace, Workspace.id == Cvm.workspace_id)
        .where(_begins(now), Cvm.gone_at.is_(None), _LIVE)
        .order_by(Cvm.id)
        .with_for_update(of=Cvm, skip_locked=True)
    ):
        at = cvm.scheduled_delete_at
        assert at is not None  # noqa: S101 - it was compared
        caller = Caller(user=user, workspace=workspace, version=LATEST, now=at, origin="")
        operations.delete(session, ctx, caller, cvm)
    session.flush()
    for cvm in session.scalars(
        select(Cvm).where(_is_gone(now), _LIVE).order_by(Cvm.id).with_for_update(skip_locked=True)
    ):
        assert cvm.gone_at is not None  # noqa: S101 - it was compared
        billing.accrue(cvm, cvm.gone_at)
        cvm.deleted_at = cvm.updated_at = cvm.gone_at
