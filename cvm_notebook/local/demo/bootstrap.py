"""Make a database ready: tables, the default workspace with its key, and the seed."""

import secrets
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import (
    ApiKey,
    Database,
    KeyValue,
    LedgerEntry,
    User,
    Workspace,
    lock,
)
from cvm_notebook.local.core.identifiers import key_hash
from cvm_notebook.local.core.schema import bring_up
from cvm_notebook.local.core.settings import Settings
from cvm_notebook.local.engine.housekeeping import remember_time, resume_time

_MICROS = 1_000_000


def prepare(settings: Settings) -> bytes:
    """Bring the database to where workers can serve from it, and return LocalCloud's secret.

    It does nothing twice.
    """
    database = Database(settings.database)
    try:
        bring_up(database)
        resume_time(database)
        remember_time(database)
        with database.write() as session:
            lock(session, "prepare")
            fresh = session.get(KeyValue, "secret") is None
            if fresh:
                session.add(KeyValue(name="secret", value=secrets.token_hex(32)))
                _found_workspace(session, settings)
            _admit_key(session, settings)
        ctx = Context(settings=settings, database=database)
        if fresh and settings.seed == "demo":
            _plant(ctx)
        return ctx.secret
    finally:
        database.close()


def _found_workspace(session: Session, settings: Settings) -> None:
    now = machine_now()
    user = User(username="you", email="you@localhost", created_at=now)
    workspace = Workspace(
        name="My workspace", slug="my-workspace", tier=settings.tier, created_at=now
    )
    session.add_all([user, workspace])
    session.flush()
    amount = int(Decimal(settings.balance) * _MICROS)
    session.add(
        LedgerEntry(workspace_id=workspace.id, at=now, amount=amount, note="opening balance")
    )


def _admit_key(session: Session, settings: Settings) -> None:
    """Let the key of the settings open the default workspace."""
    digest = key_hash(settings.api_key)
    if session.scalar(select(ApiKey.id).where(ApiKey.key_hash == digest)) is None:
        user_id = session.scalars(select(User.id).order_by(User.id)).first()
        workspace_id = session.scalars(select(Workspace.id).order_by(Workspace.id)).first()
        session.add(
            ApiKey(
                key_hash=digest,
                user_id=user_id,
                workspace_id=workspace_id,
                created_at=machine_now(),
            )
        )


def _plant(ctx: Context) -> None:
    from cvm_notebook.local.demo import seed  # noqa: PLC0415 - only a new demo needs it

    with ctx.database.write() as session:
        caller = Caller(
            user=session.scalars(select(User).order_by(User.id)).one(),
            workspace=session.scalars(select(Workspace).order_by(Workspace.id)).one(),
            version="2026-06-23",
            now=machine_now(),
            origin="",
        )
        seed.plant(session, ctx, caller)
