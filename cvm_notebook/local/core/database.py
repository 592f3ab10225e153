"""Everything that is kept: tables as SQLAlchemy models, and ``Database`` with its transactions.

``with database.read() as session`` gives a consistent snapshot; ``with database.write() as
session`` a transaction that commits at the end of the block (on SQLite writers take turns, in the
order they came). On PostgreSQL call ``lock(session, "workspace", 1)`` first
where a rule spans rows; on SQLite a write transaction is already alone and ``lock`` does nothing.

Moments are seconds since 1970 (float), money is in millionths of a dollar (int). A CVM's newest
operation stands in its own row too (``op_...``): its status is computed from these columns by
``lifecycle.view`` and is stored nowhere. SQLite runs in WAL mode with ``synchronous=FULL``: what
was acknowledged survives the death of the process and of the machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

from cvm_notebook.local.core.write_lock import Turns

BigKey = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only in a column declared INTEGER."""


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {float: Double, str: Text, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - read by SQLAlchemy once, never changed


class KeyValue(Base):
    """Single values by name: ``secret`` (signs log URLs and derives keys), ``clock_offset``."""

    __tablename__ = "facts"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class User(Base):
    """A person; the limit of state streams counts per user."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str]
    created_at: Mapped[float]


class Workspace(Base):
    """A team: owns CVMs, has a tier (its quotas) and a balance."""

    __tablename__ = "workspaces"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    tier: Mapped[str]
    created_at: Mapped[float]
    next_nonce: Mapped[int] = mapped_column(default=0)
    settled: Mapped[int] = mapped_column(BigInteger, default=0)
    """What CVMs have cost that were purged since, millionths of a dollar."""
    suspended_at: Mapped[float | None]


class ApiKey(Base):
    """A key, kept as its SHA-256 only; it says which user acts in which workspace."""

    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    key_hash: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="default")
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    default_version: Mapped[str | None]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Provision(Base):
    """A provision of step one; step two finds it by workspace, app_id and compose hash."""

    __tablename__ = "provisions"
    __table_args__ = (UniqueConstraint("workspace_id", "app_id", "compose_hash"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    app_id: Mapped[str] = mapped_column(index=True)
    compose_hash: Mapped[str]
    plan: Mapped[dict[str, Any]]
    """Columns of the CVM to be: what ``provisioning`` decided."""
    created_at: Mapped[float]
    expires_at: Mapped[float]
    cvm_id: Mapped[int | None] = mapped_column(BigInteger)
    """The CVM it became (which may have been deleted since)."""


class Cvm(Base):
    """A CVM, with its newest operation. ``deleted_at`` set: it is gone, kept for its history."""

    __tablename__ = "cvms"
    __table_args__ = (
        Index(
            "one_live_cvm_per_name",
            "workspace_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "live_cvms",
            "workspace_id",
            "id",
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "cvms_to_be_deleted",
            "scheduled_delete_at",
            sqlite_where=text("scheduled_delete_at IS NOT NULL AND deleted_at IS NULL"),
            postgresql_where=text("scheduled_delete_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index(
            "cvms_being_deleted",
            "gone_at",
            sqlite_where=text("gone_at IS NOT NULL AND deleted_at IS NULL"),
            postgresql_where=text("gone_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index(
            "deleted_cvms",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
        # With the id in them, for lists are in its order: SQLite would rather walk through the
        # whole workspace in order than sort the few that it looks for.
        Index("cvms_of_app", "workspace_id", "app_id", "id"),
        Index("cvms_of_instance", "workspace_id", "instance_id", "id"),
        Index("cvms_node", "node_id"),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    creator_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    provision_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    """One provision becomes one CVM, whatever races; replicas have none."""
    name: Mapped[str]
    app_id: Mapped[str]
    vm_uuid: Mapped[str] = mapped_column(unique=True)
    instance_id: Mapped[str]
    """Shown from ``first_boot_at`` on (``identifiers.visible_instance_id``)."""
    first_boot_at: Mapped[float | None]

    node_id: Mapped[int]
    instance_type: Mapped[str | None]
    vcpu: Mapped[int]
    memory: Mapped[int]
    """MB."""
    disk_size: Mapped[int]
    """GB."""
    gpus: Mapped[int] = mapped_column(default=0)
    image: Mapped[str]
    kms_type: Mapped[str] = mapped_column(default="phala")
    listed: Mapped[bool] = mapped_column(default=True)

    compose_file: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    """The whole AppCompose; large, so loaded only where asked for."""
    compose_hash: Mapped[str]
    docker_compose_hash: Mapped[str | None]
    pre_launch_script_hash: Mapped[str | None]
    services: Mapped[list[Any]]
    """``[{"name": ..., "image": ..., "ports": [...]}]``, read out of the compose file."""
    encrypted_env: Mapped[str | None] = mapped_column(deferred=True)
    env_keys: Mapped[list[Any]]
    user_config: Mapped[str | None] = mapped_column(deferred=True)
    ports: Mapped[list[Any]]
    network: Mapped[dict[str, Any] | None]
    """``kms_urls`` and ``gateway_urls``, where they are not those of its node."""
    rental: Mapped[dict[str, Any] | None]
    """The term of its GPUs: ``begins_at``, ``days``, ``managed`` (``engine.billing``)."""
    public_logs: Mapped[bool]
    public_sysinfo: Mapped[bool]
    public_tcbinfo: Mapped[bool]
    gateway_enabled: Mapped[bool]
    secure_time: Mapped[bool]
    storage_fs: Mapped[str]
    scheduled_delete_at: Mapped[float | None]
    gone_at: Mapped[float | None]
    """When its deletion, which has begun, comes to its end."""

    created_at: Mapped[float]
    updated_at: Mapped[float]
    deleted_at: Mapped[float | None]

    op_kind: Mapped[str]
    op_began_at: Mapped[float]
    op_origin: Mapped[str]
    """Stable status the operation began from."""
    op_final: Mapped[str | None]
    """Where it ends instead of where it should: ``error`` or ``exited``."""
    op_error: Mapped[str | None]
    op_correlation_id: Mapped[str]

    accrued: Mapped[int] = mapped_column(BigInteger, default=0)
    """Cost up to ``billed_from``, millionths of a dollar."""
    billed_from: Mapped[float]
    active_until: Mapped[float | None]
    """When computing stops costing; None: it goes on."""
    compute_rate: Mapped[int] = mapped_column(BigInteger)
    disk_rate: Mapped[int] = mapped_column(BigInteger)
    """Millionths of a dollar per hour."""


class Operation(Base):
    """History: each operation that was begun, the newest also stands in its CVM's row."""

    __tablename__ = "operations"
    __table_args__ = (Index("operations_of_cvm", "cvm_id", "began_at"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    cvm_id: Mapped[int] = mapped_column(ForeignKey("cvms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    correlation_id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    began_at: Mapped[float]
    origin: Mapped[str]
    final: Mapped[str | None]
    error: Mapped[str | None]
    compose_hash: Mapped[str | None]
    cancelled_at: Mapped[float | None]
    """When a later operation took its place before it had finished."""


class Revision(Base):
    """Each compose file an app's CVM has had."""

    __tablename__ = "revisions"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    app_id: Mapped[str] = mapped_column(index=True)
    cvm_id: Mapped[int] = mapped_column(ForeignKey("cvms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    compose_hash: Mapped[str]
    compose_file: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    encrypted_env: Mapped[str | None] = mapped_column(deferred=True)
    user_config: Mapped[str | None] = mapped_column(deferred=True)
    operation_kind: Mapped[str]
    correlation_id: Mapped[str]
    created_at: Mapped[float]


class LedgerEntry(Base):
    """Money that came in; what CVMs cost is computed (``billing``)."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    at: Mapped[float]
    amount: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str]


class SshKey(Base):
    """A user's public SSH key."""

    __tablename__ = "ssh_keys"
    __table_args__ = (UniqueConstraint("user_id", "fingerprint"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    public_key: Mapped[str]
    fingerprint: Mapped[str]
    key_type: Mapped[str]
    source: Mapped[str] = mapped_column(default="manual")
    created_at: Mapped[float]
    updated_at: Mapped[float]


class StreamLease(Base):
    """A place among a user's state streams, held until ``expires_at`` of the machine's clock."""

    __tablename__ = "stream_leases"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    expires_at: Mapped[float]


class DeviceCode(Base):
    """A device code that was asked about: the second time it gives a key, and never again."""

    __tablename__ = "device_codes"
    code_hash: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[float] = mapped_column(index=True)
    used: Mapped[bool] = mapped_column(default=False)


class RateWindow(Base):
    """The number of requests of a user in one minute, when there is a limit."""

    __tablename__ = "rate_windows"
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    minute: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    count: Mapped[int]


class Quote(Base):
    """A quote that can be asked about by its checksum; kept itself once somebody publishes it."""

    __tablename__ = "quotes"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    checksum: Mapped[str] = mapped_column(unique=True)
    node_id: Mapped[int | None]
    cvm_id: Mapped[int | None] = mapped_column(BigInteger)
    quote: Mapped[bytes | None]
    published_at: Mapped[float | None]


class Webhook(Base):
    """An address that is notified of events; the secret signs what is sent to it."""

    __tablename__ = "webhooks"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), index=True)
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[list[Any]]
    name: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    since: Mapped[float]
    """It is notified of what ends after this: when it was made, or its events were last changed."""
    created_at: Mapped[float]
    updated_at: Mapped[float]


class WebhookDelivery(Base):
    """One event for one webhook: what is sent, how often it was tried, what came of it."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        Index(
            "deliveries_due",
            "due_at",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id"))
    event_id: Mapped[str]
    original_event_id: Mapped[str] = mapped_column(default="")
    """Of the delivery that this one repeats."""
    event_type: Mapped[str]
    body: Mapped[str] = mapped_column(deferred=True)
    request_url: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float]
    leased_until: Mapped[float] = mapped_column(default=0.0)
    """By the machine's clock: until then a worker is about to send it."""
    response_status: Mapped[int] = mapped_column(default=0)
    error_message: Mapped[str] = mapped_column(default="")
    duration_ms: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    delivered_at: Mapped[float | None]


def lock(session: Session, *name: object) -> None:
    """Hold a named lock until the transaction ends, where the database has several writers."""
    if session.get_bind().dialect.name == "postgresql":
        digest = blake2b("/".join(map(str, name)).encode(), digest_size=8).digest()
        key = int.from_bytes(digest, signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


class Database:
    """One database: SQLite file or PostgreSQL, by its SQLAlchemy URL."""

    def __init__(self, url: str) -> None:
        self.engine = _sqlite(url) if url.startswith("sqlite") else _server(url)
        self._writing = self.engine.execution_options(cvm_writes=True)
        self._reading = self.engine
        self._turns: Turns | None = None
        if self.engine.dialect.name == "sqlite":
            name = self.engine.url.database or "file:"
            self._turns = Turns(None if name.startswith("file:") else Path(f"{name}-turns"))
        else:
            # Each statement would see a state of its own: what is read must agree.
            self._reading = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one consistent state and keeps nothing."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are kept when the block ends without an exception."""
        with (
            self._turns or nullcontext(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()
        if self._turns is not None:
            self._turns.close()


def _server(url: str) -> Engine:
    # Of two workers together no more than half of what a server takes by default.
    return create_engine(url, pool_size=10, max_overflow=15, pool_pre_ping=True)


def _file_url(url: str) -> URL:
    """Read the URL of a file: SQLAlchemy 2.1 decodes its path, and 2.0 takes it as it stands."""
    head, mark, rest = url.partition(":///")
    path, question, query = rest.partition("?")
    return make_url(f"{head}{mark}{question}{query}").set(database=unquote(path))


def _sqlite(url: str) -> Engine:
    engine = create_engine(
        _file_url(url), pool_size=10, max_overflow=40, connect_args={"timeout": 30}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Transactions are opened below; sqlite3 shall not open its own.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("cvm_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
