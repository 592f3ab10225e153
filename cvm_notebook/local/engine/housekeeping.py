"""Housekeeping of a server: deletes what is due, bounds the tables, stores the clock."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session
from starlette.concurrency import run_in_threadpool

from cvm_notebook.local.core.clock import begin_at_least, machine_now
from cvm_notebook.local.core.context import (
    CLOCK_OFFSET,
    LATEST,
    Caller,
    Context,
    clock_now,
    clock_offset,
)
from cvm_notebook.local.core.database import (
    ApiKey,
    Cvm,
    Database,
    DeviceCode,
    KeyValue,
    Operation,
    Provision,
    Quote,
    RateWindow,
    Revision,
    StreamLease,
    User,
    WebhookDelivery,
    Workspace,
    lock,
)
from cvm_notebook.local.core.usage import MeteredSpan
from cvm_notebook.local.engine import billing, operations

_LIVE = Cvm.deleted_at.is_(None)


def _begins(now: float) -> ColumnElement[bool]:
    return Cvm.scheduled_delete_at <= now


def _is_gone(now: float) -> ColumnElement[bool]:
    return Cvm.gone_at <= now


# The query states that there is a time: without it, the partial index of those times is not used.
CLOCK: Final = (
    CLOCK_OFFSET,
    select(func.min(Cvm.scheduled_delete_at))
    .where(Cvm.scheduled_delete_at.is_not(None), Cvm.gone_at.is_(None), _LIVE)
    .scalar_subquery(),
    select(func.min(Cvm.gone_at)).where(Cvm.gone_at.is_not(None), _LIVE).scalar_subquery(),
)
"""Columns for `read_clock`: the offset, when the next deletion begins, when the next one ends."""


def read_clock(offset: str | None, *due: float | None) -> tuple[float, bool]:
    """Return the time as this server sees it, and whether a deletion begins or ends by then."""
    now = machine_now() + float(offset or 0)
    return now, any(time is not None and time <= now for time in due)


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
        billing.leave_term(cvm, cvm.gone_at, 0)
        cvm.deleted_at = cvm.updated_at = cvm.gone_at


_logger = logging.getLogger("uvicorn.error")

SECONDS: Final = 30.0
"""Between two rounds."""
KEPT_OPERATIONS: Final = 500
"""Of each CVM, the newest."""
KEPT_SPANS: Final = 2_000
"""Of each CVM, the newest stretches of time that it was charged for."""
KEPT_REVISIONS: Final = 1_000
"""Of each app, the newest."""
KEPT_DELETED: Final = 10_000
"""CVMs that are gone, the newest."""
KEPT_DEVICE_KEYS: Final = 200
"""Keys that were given to devices, the newest."""
KEPT_QUOTES: Final = 20_000
"""Quotes that are known by their checksum, the newest."""
KEPT_DELIVERIES: Final = 1_000
"""Of each webhook, the newest; what still waits is among them."""

_AT_ONCE: Final = 500
"""As many rows are removed in one transaction: others wait for it."""
_CLOCK_KEY: Final = "clock_seen"


async def keep_house(database: Database) -> None:
    """Do it again and again, until cancelled."""
    while True:
        await asyncio.sleep(SECONDS)
        try:
            await run_in_threadpool(remember_time, database)
            await run_in_threadpool(purge, database)
        except SQLAlchemyError as error:
            _logger.error(  # noqa: TRY400 - one line is enough
                "Housekeeping failed and will be tried again: %s", type(error).__name__
            )


def remember_time(database: Database) -> None:
    """Keep what time it is, for a server that starts after the clock was set back."""
    with database.write() as session:
        lock(session, "clock")
        kept = session.get(KeyValue, _CLOCK_KEY)
        seen = max(machine_now(), float(kept.value) if kept is not None else 0.0)
        session.merge(KeyValue(name=_CLOCK_KEY, value=repr(seen)))


def resume_time(database: Database) -> None:
    """Let the time go on from where it was when the database was last served."""
    with database.read() as session:
        kept = session.scalar(select(KeyValue.value).where(KeyValue.name == _CLOCK_KEY))
        newest = session.scalar(select(func.max(Cvm.op_began_at)))
        offset = clock_offset(session)
    if kept is not None and float(kept) > machine_now():
        begin_at_least(float(kept) + SECONDS)  # as long as it may have been served since
    if newest is not None:
        begin_at_least(newest - offset)


def purge(database: Database) -> None:
    """Remove what nobody asks for any more."""
    now = machine_now()
    _remove(database, StreamLease.id, StreamLease.expires_at <= now)
    _remove(database, DeviceCode.code_hash, DeviceCode.expires_at <= now)
    _remove(database, RateWindow.minute, RateWindow.minute < now // 60 - 1)
    with database.read() as session:
        live = select(Cvm.id).where(Cvm.deleted_at.is_(None))
        unused = or_(Provision.cvm_id.is_(None), Provision.cvm_id.not_in(live))
        expired = (Provision.expires_at <= clock_now(session), unused)
    _remove(database, Provision.id, *expired)
    _keep_newest(database, Operation.id, Operation.cvm_id, KEPT_OPERATIONS)
    _keep_newest(database, MeteredSpan.id, MeteredSpan.cvm_id, KEPT_SPANS)
    _keep_newest(database, Revision.id, Revision.app_id, KEPT_REVISIONS)
    _keep_newest(database, WebhookDelivery.id, WebhookDelivery.webhook_id, KEPT_DELIVERIES)
    _keep_newest_of_all(database, ApiKey.id, KEPT_DEVICE_KEYS, ApiKey.name == "device")
    _keep_newest_of_all(database, Quote.id, KEPT_QUOTES)
    _purge_deleted(database)


def _remove(
    database: Database, key: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]
) -> None:
    """Remove the rows that meet the conditions, a few at a time."""
    while True:
        with database.read() as session:
            keys = session.scalars(select(key).where(*conditions).limit(_AT_ONCE)).all()
        if not keys:
            return
        with database.write() as session:
            session.execute(delete(key.class_).where(key.in_(keys), *conditions))


def _keep_newest(
    database: Database,
    key: InstrumentedAttribute[int],
    group: InstrumentedAttribute[Any],
    count: int,
) -> None:
    """Keep so many rows of each group."""
    with database.read() as session:
        crowded = session.scalars(select(group).group_by(group).having(func.count() > count)).all()
    for one in crowded:
        with database.read() as session:
            oldest_kept = session.scalar(
                select(key).where(group == one).order_by(key.desc()).offset(count - 1).limit(1)
            )
        if oldest_kept is not None:
            _remove(database, key, group == one, key < oldest_kept)


def _keep_newest_of_all(
    database: Database,
    key: InstrumentedAttribute[int],
    count: int,
    *conditions: ColumnElement[bool],
) -> None:
    """Keep so many of the rows that meet the conditions."""
    with database.read() as session:
        newest = select(key).where(*conditions).order_by(key.desc())
        oldest_kept = session.scalar(newest.offset(count - 1).limit(1))
    if oldest_kept is not None:
        _remove(database, key, *conditions, key < oldest_kept)


def _purge_deleted(database: Database) -> None:
    """Remove CVMs that have long been gone, with their history; what they cost stays counted."""
    newest = select(Cvm.id).where(Cvm.deleted_at.is_not(None)).order_by(Cvm.deleted_at.desc())
    while True:
        with database.read() as session:
            ids = session.scalars(newest.offset(KEPT_DELETED).limit(_AT_ONCE)).all()
        if not ids:
            return
        with database.write() as session:
            _forget(session, ids)


def _forget(session: Session, ids: Iterable[int]) -> None:
    lock(session, "purge")
    gone = (Cvm.id.in_(ids), Cvm.deleted_at.is_not(None))
    costs = session.execute(
        select(Cvm.workspace_id, func.sum(Cvm.accrued)).where(*gone).group_by(Cvm.workspace_id)
    ).all()
    for workspace_id, cost in costs:
        session.execute(
            update(Workspace)
            .where(Workspace.id == workspace_id)
            .values(settled=Workspace.settled + int(cost))
        )
    for table in (Operation, Revision, Provision, MeteredSpan):
        session.execute(delete(table).where(table.cvm_id.in_(ids)))
    session.execute(delete(Cvm).where(*gone))
