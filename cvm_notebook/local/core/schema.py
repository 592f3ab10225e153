"""The tables of a database: make them, bring earlier ones up to date, refuse unknown ones.

The version stands in the fact ``schema``; databases without it are of version 1.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, inspect, select
from sqlalchemy.schema import CreateColumn

from cvm_notebook.local.core import usage
from cvm_notebook.local.core.database import Base, Cvm, Database, KeyValue, lock

VERSION: Final = 3

_ADDED_IN_2: Final = (
    ("cvms", "gone_at", ""),
    ("workspaces", "settled", " DEFAULT 0"),
)
_ADDED_IN_3: Final = (
    ("cvms", "network", ""),
    ("cvms", "rental", ""),
    ("workspaces", "suspended_at", ""),
)


class DatabaseVersionError(RuntimeError):
    """A database that this version of the package can't serve."""


def bring_up(database: Database) -> None:
    """Make the tables, or bring them to this version.

    Raises
    ------
    DatabaseVersionError
        They are of a later version, or of none that is known.
    """
    _keep_private(database)
    with database.write() as session:
        lock(session, "schema")
        connection = session.connection()
        found = _version(connection, database)
        Base.metadata.create_all(connection)
        if found == 1:
            _from_1_to_2(connection)
        if found in {1, 2}:
            _add(connection, _ADDED_IN_3)
            usage.meter_the_past(connection)
        _check(connection, database)
        usage.install(connection)
        if found == 1:
            usage.recount(connection)
        session.merge(KeyValue(name="schema", value=str(VERSION)))


def _version(connection: Connection, database: Database) -> int | None:
    """Return the version of the tables; None when there are none."""
    tables = inspect(connection).get_table_names()
    if Cvm.__tablename__ not in tables:
        return None
    if KeyValue.__tablename__ not in tables:
        raise _unknown(database, "it has no table facts")
    stored = connection.scalar(select(KeyValue.value).where(KeyValue.name == "schema"))
    if stored is None:
        return 1
    if not stored.isdecimal() or not 1 <= int(stored) <= VERSION:
        raise _unknown(
            database, f"its schema is of version {stored[:20]}, and {VERSION} is known here"
        )
    return int(stored)


def _from_1_to_2(connection: Connection) -> None:
    _add(connection, _ADDED_IN_2)
    for name in ("cvms_app", "cvms_instance"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    for index in Cvm.__table__.indexes:  # type: ignore[attr-defined]  # it is a Table
        index.create(connection, checkfirst=True)


def _add(connection: Connection, columns: tuple[tuple[str, str, str], ...]) -> None:
    """Add columns that are not there; each by its table, its name, and its default in SQL."""
    there = inspect(connection)
    for table, name, default in columns:
        if name not in {one["name"] for one in there.get_columns(table)}:
            column: Column[Any] = Base.metadata.tables[table].columns[name]
            spelled = str(CreateColumn(column).compile(connection))
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {spelled}{default}")


def _check(connection: Connection, database: Database) -> None:
    """Refuse tables without the columns that are needed."""
    there = inspect(connection)
    for table in Base.metadata.sorted_tables:
        columns = {one["name"] for one in there.get_columns(table.name)}
        missing = sorted(_names(table.columns.values()) - columns)
        if missing:
            raise _unknown(database, f"its table {table.name} has no column {missing[0]}")


def _names(columns: list[Column[object]]) -> set[str]:
    return {column.name for column in columns}


def _unknown(database: Database, why: str) -> DatabaseVersionError:
    url = database.engine.url.render_as_string(hide_password=True)
    return DatabaseVersionError(
        f"The database {url} was made by another version of cvm-notebook: {why}. "
        "Name another database, or remove this one."
    )


def _keep_private(database: Database) -> None:
    """See that only its owner reads a SQLite file: the secret of the KMS is in it."""
    name = database.engine.url.database
    if database.engine.dialect.name != "sqlite" or not name or name.startswith("file:"):
        return
    with suppress(FileExistsError, OSError):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for path in (Path(name), Path(f"{name}-wal"), Path(f"{name}-shm")):
        # What cannot be opened SQLite will tell, and why.
        with suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                path.chmod(mode & 0o700)
