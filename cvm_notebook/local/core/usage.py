"""Running totals of what nodes and workspaces hold, kept by the database itself.

Triggers of the table of CVMs keep them, so they are right whoever writes, and a commit costs the
same in a large fleet as in a small one: it reads a row instead of adding up all CVMs. For money
there is a ceiling: what a workspace had spent at a moment, and the highest hourly rate since, say
how much it can have spent at most.
"""

from typing import Final

from sqlalchemy import BigInteger, Connection, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cvm_notebook.local.core.database import Base, BigKey


class NodeUsage(Base):
    """The resources of all live CVMs of a node together."""

    __tablename__ = "node_usage"
    node_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    instances: Mapped[int] = mapped_column(BigInteger)
    vcpu: Mapped[int] = mapped_column(BigInteger)
    memory: Mapped[int] = mapped_column(BigInteger)
    disk: Mapped[int] = mapped_column(BigInteger)
    gpus: Mapped[int] = mapped_column(BigInteger)


class WorkspaceUsage(Base):
    """The resources of all live CVMs of a workspace together, with a ceiling of their cost."""

    __tablename__ = "workspace_usage"
    workspace_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    instances: Mapped[int] = mapped_column(BigInteger)
    vcpu: Mapped[int] = mapped_column(BigInteger)
    memory: Mapped[int] = mapped_column(BigInteger)
    disk: Mapped[int] = mapped_column(BigInteger)
    gpus: Mapped[int] = mapped_column(BigInteger)
    rate: Mapped[int] = mapped_column(BigInteger)
    """Millionths of a dollar per hour, as if all of them ran."""
    peak_rate: Mapped[int] = mapped_column(BigInteger)
    """The highest rate since ``checked_at``."""
    checked_at: Mapped[float]
    """When the spending was last added up."""
    checked_spent: Mapped[float]
    """What had been spent by then, at most."""


class MeteredSpan(Base):
    """The cost of a CVM in a time at one rate; written when that time ends."""

    __tablename__ = "metered_spans"
    __table_args__ = (Index("metered_spans_of_app", "workspace_id", "app_id", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(BigInteger)
    app_id: Mapped[str]
    cvm_id: Mapped[int] = mapped_column(BigInteger, index=True)
    begins_at: Mapped[float]
    ends_at: Mapped[float]
    active_until: Mapped[float]
    """When it had stopped to compute: `begins_at` if it did not, `ends_at` at the latest."""
    compute: Mapped[int] = mapped_column(BigInteger)
    storage: Mapped[int] = mapped_column(BigInteger)
    """Millionths of a dollar."""


_HELD: Final = {
    "instances": "1",
    "vcpu": "{row}.vcpu",
    "memory": "{row}.memory",
    "disk": "{row}.disk_size",
    "gpus": "{row}.gpus",
}
_RATED: Final = _HELD | {"rate": "({row}.compute_rate + {row}.disk_rate)"}
_LIVE: Final = "(CASE WHEN {row}.deleted_at IS NULL THEN 1 ELSE 0 END)"
_WATCHED: Final = (
    "workspace_id, node_id, vcpu, memory, disk_size, gpus, compute_rate, disk_rate, deleted_at"
)


def _values(columns: dict[str, str], row: str) -> dict[str, str]:
    return {name: f"{_LIVE} * {value}".format(row=row) for name, value in columns.items()}


def _subtract(table: str, key: str, columns: dict[str, str]) -> str:
    changes = [f"{name} = {name} - {value}" for name, value in _values(columns, "OLD").items()]
    return f"UPDATE {table} SET {', '.join(changes)} WHERE {key} = OLD.{key}"  # noqa: S608 - of our own words alone


def _add(table: str, key: str, columns: dict[str, str], more: dict[str, tuple[str, str]]) -> str:
    """Return an upsert; ``more`` has further columns: what each begins with and becomes."""
    values = _values(columns, "NEW")
    begin = values | {name: first for name, (first, _) in more.items()}
    changes = [f"{name} = {table}.{name} + excluded.{name}" for name in values]
    changes += [f"{name} = {then}" for name, (_, then) in more.items()]
    return (
        f"INSERT INTO {table} ({key}, {', '.join(begin)}) "
        f"SELECT NEW.{key}, {', '.join(begin.values())} WHERE true "
        f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(changes)}"
    )


def _ceiling(greatest: str, *, new: bool) -> dict[str, tuple[str, str]]:
    """Return how the ceiling of spending goes on; a new CVM may have a past that counts."""
    old, given = "workspace_usage", "excluded"
    past = f"{greatest}(0, {old}.checked_at - {given}.checked_at) * {given}.rate / 3600.0"
    spent = (
        f"{old}.checked_spent + {given}.checked_spent + {past}" if new else f"{old}.checked_spent"
    )
    rate = _values(_RATED, "NEW")["rate"]
    peak = f"{greatest}({old}.peak_rate, {old}.rate + {given}.rate)"
    return {
        "peak_rate": (rate, peak),
        "checked_at": ("NEW.billed_from", f"{old}.checked_at"),
        "checked_spent": ("NEW.accrued", spent),
    }


def _insertion(greatest: str) -> list[str]:
    return [
        _add("workspace_usage", "workspace_id", _RATED, _ceiling(greatest, new=True)),
        _add("node_usage", "node_id", _HELD, {}),
    ]


def _deletion() -> list[str]:
    return [
        _subtract("workspace_usage", "workspace_id", _RATED),
        _subtract("node_usage", "node_id", _HELD),
    ]


def _change(greatest: str) -> list[str]:
    # Always the workspace first: one order of locks, so that there is no deadlock.
    return [
        _subtract("workspace_usage", "workspace_id", _RATED),
        _add("workspace_usage", "workspace_id", _RATED, _ceiling(greatest, new=False)),
        _subtract("node_usage", "node_id", _HELD),
        _add("node_usage", "node_id", _HELD, {}),
    ]


def install(connection: Connection) -> None:
    """Make the triggers that are not there yet."""
    if connection.dialect.name == "sqlite":
        _install_sqlite(connection)
    else:
        _install_postgres(connection)


def _install_sqlite(connection: Connection) -> None:
    for name, when, acts in (
        ("cvms_counted", "AFTER INSERT", _insertion("max")),
        ("cvms_recounted", f"AFTER UPDATE OF {_WATCHED}", _change("max")),
        ("cvms_uncounted", "AFTER DELETE", _deletion()),
    ):
        body = " ".join(f"{act};" for act in acts)
        connection.exec_driver_sql(
            f"CREATE TRIGGER IF NOT EXISTS {name} {when} ON cvms BEGIN {body} END"
        )


def _install_postgres(connection: Connection) -> None:
    for name, when, acts in (
        ("cvms_counted", "INSERT", _insertion("GREATEST")),
        ("cvms_recounted", f"UPDATE OF {_WATCHED}", _change("GREATEST")),
        ("cvms_uncounted", "DELETE", _deletion()),
    ):
        body = " ".join(f"{act};" for act in acts)
        connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN NULL; END $$"
        )
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name} ON cvms")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} AFTER {when} ON cvms FOR EACH ROW EXECUTE FUNCTION {name}()"
        )


def recount(connection: Connection) -> None:
    """Add everything up anew, for a database whose totals were not kept so far."""
    sums = "count(*), sum(vcpu), sum(memory), sum(disk_size), sum(gpus)"
    live = "FROM cvms WHERE deleted_at IS NULL GROUP BY"
    connection.execute(text("DELETE FROM node_usage"))
    connection.execute(text("DELETE FROM workspace_usage"))
    connection.execute(
        text(
            f"INSERT INTO node_usage (node_id, {', '.join(_HELD)}) "
            f"SELECT node_id, {sums} {live} node_id"
        )
    )
    # Spending is added up the first time it matters: until then it may have been anything.
    connection.execute(
        text(
            f"INSERT INTO workspace_usage (workspace_id, {', '.join(_RATED)}, peak_rate, "
            "checked_at, checked_spent) "
            f"SELECT workspace_id, {sums}, sum(compute_rate + disk_rate), "
            f"sum(compute_rate + disk_rate), 0, 1e18 {live} workspace_id"
        )
    )


def meter_the_past(connection: Connection) -> None:
    """Give CVMs of a database that kept no spans one for all that they have cost so far."""
    connection.execute(
        text(
            "INSERT INTO metered_spans (workspace_id, app_id, cvm_id, begins_at, ends_at, "
            "active_until, compute, storage) SELECT workspace_id, app_id, id, created_at, "
            "billed_from, billed_from, accrued, 0 FROM cvms WHERE accrued > 0"
        )
    )
