"""The ledger as a database: every operation and every plan, in a file if one is named.

SQLite in WAL mode. An operation is written down before it is sent, so that another kernel on the
same file knows of it, even when this one was killed a moment later. No secret is in it: neither a
key nor an environment, encrypted or not.
"""

import os
import platform
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.process_lock import ProcessLock, has_died
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Refused
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.text import clean_text, quoted

_WAIT: Final = 10.0  # seconds for another kernel's transaction
_VERSION: Final = 1
_KEPT: Final = 10_000  # operations that are done
_OFTEN: Final = 1_000  # new ones, after which the oldest are dropped
_SAME_PLAN: Final = timedelta(hours=24)  # an interrupted plan goes on when it is made anew by then
_SAME_CELL: Final = timedelta(minutes=15)  # a cell that is run again after its kernel was killed
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS kernel (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, ended TEXT, clean INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS operation (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kernel TEXT NOT NULL,
    intent TEXT NOT NULL,      -- what makes two the same: verb, CVM and parameters, as a digest
    plan TEXT,
    cvm_id TEXT,
    counted INTEGER NOT NULL,  -- twice is more than once
    asked_at TEXT NOT NULL,
    sent INTEGER NOT NULL,     -- it may have been sent
    done INTEGER NOT NULL,
    record TEXT NOT NULL,
    trail TEXT NOT NULL        -- what is needed to read back what became of it
);
-- of each CVM of a plan, one operation is sent: whichever kernel comes first
CREATE UNIQUE INDEX IF NOT EXISTS operation_of_plan ON operation (plan, cvm_id)
    WHERE plan IS NOT NULL AND (sent OR NOT done);
CREATE INDEX IF NOT EXISTS operation_open ON operation (kernel) WHERE NOT done;
CREATE TABLE IF NOT EXISTS plan (
    id TEXT PRIMARY KEY, intent TEXT NOT NULL, started TEXT NOT NULL, finished TEXT
);
"""
_LEFT: Final = """
SELECT record, intent, plan, trail FROM operation WHERE kernel = ? AND NOT done ORDER BY number
"""
_UNSEEN: Final = """
SELECT record, intent, plan, trail FROM operation
WHERE kernel = ? AND done AND sent AND counted AND asked_at >= ?
    AND (SELECT NOT clean FROM kernel WHERE id = operation.kernel)
ORDER BY number
"""


class LedgerError(CvmError):
    """The file of the ledger cannot be opened or written."""


class ResumeState(msgspec.Struct, frozen=True, kw_only=True):
    """The data by which an operation of another kernel is read back."""

    known: tuple[str, ...] | None = None
    claimant: str | None = None
    app_id: str | None = None
    compose_hash: str | None = None
    shows: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """An operation that an earlier kernel has left.

    Attributes
    ----------
    intent
        What makes two the same; see `ledger.intent_key`.
    """

    record: OperationRecord
    intent: str
    plan: str | None
    trail: ResumeState


class LedgerDatabase:
    """Operations and plans, of this kernel and of those before it. Safe to use from any thread.

    Parameters
    ----------
    path
        A file that may be shared by kernels; in memory, of this kernel alone, when not given.

    Raises
    ------
    LedgerError
        It is no such file, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else checks.path("ledger", path).absolute()
        self.kernel = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._closed = False
        self._alive: ProcessLock | None = None
        try:
            self._database = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise self._failed("opened", error) from None

    def _opened(self) -> sqlite3.Connection:
        name = ":memory:" if self.path is None else self.path
        if self.path is not None and not self.path.exists():
            self.path.touch(mode=0o600)
        with ExitStack() as undo:
            database = sqlite3.connect(
                name, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
            undo.callback(database.close)
            _check_schema(database)
            if self.path is not None:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
            # in one transaction, for other kernels may open the same new file
            database.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
            if self.path is not None:  # before it can be seen in the database
                self._alive = ProcessLock(self._mark(self.kernel))
                undo.callback(self._alive.release)
            database.execute(
                "INSERT INTO kernel (id, host, pid, started) VALUES (?, ?, ?, ?)",
                (self.kernel, platform.node(), os.getpid(), _now()),
            )
            undo.pop_all()
        return database

    # --- operations --------------------------------------------------------------------------

    def add(self, operation: Operation, intent: str, plan: str | None) -> bool:
        """Write down a new operation; False when its plan has one for that CVM already.

        Raises
        ------
        LedgerError
            It cannot be written: then nothing may be sent.
        """
        record = operation.record
        row = (
            record.id,
            self.kernel,
            intent,
            plan,
            record.cvm_id,
            SPECS[record.verb].is_counted,
            record.asked_at.isoformat(),
            record.done,
            _json(record),
        )
        with self._transaction() as database:
            try:
                added = database.execute(
                    "INSERT INTO operation (id, kernel, intent, plan, cvm_id, counted, asked_at,"
                    " sent, done, record, trail) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, '{}')",
                    row,
                )
            except sqlite3.IntegrityError:
                return False
            if (added.lastrowid or 0) % _OFTEN == 0:
                _forget(database)
        return True

    def will_send(self, operations: Sequence[Operation]) -> None:
        """Write down that operations are about to be sent; raises as `add`."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE operation SET sent = 1, trail = ? WHERE id = ? AND NOT done",
                [(_json(_trail(one)), one.id) for one in operations],
            )

    def save(self, operation: Operation) -> None:
        """Write the record of an operation; raises as `add`. Nothing is saved once closed."""
        record = operation.record
        sent = record.attempts > 0
        if self._closed:
            return
        with self._transaction() as database:
            database.execute(
                "UPDATE operation SET sent = ?, done = ?, record = ? WHERE id = ?",
                (sent, record.done, _json(record), record.id),
            )

    def records(self) -> tuple[OperationRecord, ...]:
        """Return the operations that earlier kernels still own, the oldest first."""
        with self._transaction() as database:
            found = database.execute(
                "SELECT record FROM operation WHERE kernel != ? ORDER BY number DESC LIMIT ?",
                (self.kernel, _KEPT),
            ).fetchall()
        return tuple(_record(text) for (text,) in reversed(found))

    def record(self, operation_id: str) -> OperationRecord | None:
        """Return the record of an operation of any kernel."""
        with self._transaction() as database:
            found = database.execute(
                "SELECT record FROM operation WHERE id = ?", (operation_id,)
            ).fetchone()
        return None if found is None else _record(found[0])

    def inherit(self) -> tuple[list[LedgerEntry], list[LedgerEntry]]:
        """Take over what kernels have left that have ended.

        Returns
        -------
        tuple of list of Entry
            What is not done, which is this kernel's from now on; and what was done shortly before
            its kernel was killed, so that its result may not have been seen.
        """
        since = (datetime.now(UTC) - _SAME_CELL).isoformat()
        with self._transaction() as database:
            ended = [one for one in self._others(database) if self._has_ended(one)]
            left, unseen = [], []
            for kernel in ended:
                left += database.execute(_LEFT, (kernel,)).fetchall()
                unseen += database.execute(_UNSEEN, (kernel, since)).fetchall()
                database.execute(
                    "UPDATE operation SET kernel = ? WHERE kernel = ? AND NOT done",
                    (self.kernel, kernel),
                )
                database.execute(
                    "UPDATE kernel SET ended = coalesce(ended, ?) WHERE id = ?", (_now(), kernel)
                )
            _forget(database)
        return [_entry(row) for row in left], [_entry(row) for row in unseen]

    def adopt(self, operation: Operation) -> bool:
        """Make an operation this kernel's that one which was killed has left.

        False when another kernel was first: whoever asks here wants another one. Raises as `add`.
        """
        with self._transaction() as database:
            adopted = database.execute(
                "UPDATE operation SET kernel = ? WHERE id = ? AND (SELECT ended IS NOT NULL AND NOT"
                " clean FROM kernel WHERE id = operation.kernel)",
                (self.kernel, operation.id),
            )
            if adopted.rowcount:
                return True
            found = database.execute(
                "SELECT kernel FROM operation WHERE id = ?", (operation.id,)
            ).fetchone()
        return found is None or found[0] == self.kernel

    def _others(self, database: sqlite3.Connection) -> list[str]:
        found = database.execute(
            "SELECT id FROM kernel WHERE id != ? AND (ended IS NULL OR EXISTS"
            " (SELECT 1 FROM operation WHERE kernel = kernel.id AND asked_at >= ?)"
            " OR EXISTS (SELECT 1 FROM operation WHERE kernel = kernel.id AND NOT done))",
            (self.kernel, (datetime.now(UTC) - _SAME_CELL).isoformat()),
        )
        return [kernel for (kernel,) in found]

    def _has_ended(self, kernel: str) -> bool:
        """Whether a kernel lives no more."""
        return self.path is None or has_died(self._mark(kernel))

    # --- plans -------------------------------------------------------------------------------

    def begin_plan(self, plan: str, intent: str, *, counted: bool) -> str:
        """Begin to execute a plan, or go on with it; return the id under which it is kept.

        A plan that is made anew while the same one is unfinished goes on with that, where its verb
        counts how often it is done.
        """
        since = (datetime.now(UTC) - _SAME_PLAN).isoformat()
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM plan WHERE id = ?", (plan,)).fetchone():
                return plan
            if counted:
                found = database.execute(
                    "SELECT id FROM plan WHERE intent = ? AND finished IS NULL AND started >= ?"
                    " ORDER BY started DESC",
                    (intent, since),
                ).fetchone()
                if found is not None:
                    return str(found[0])
            database.execute(
                "INSERT INTO plan (id, intent, started) VALUES (?, ?, ?)", (plan, intent, _now())
            )
        return plan

    def finish_plan(self, plan: str) -> None:
        """Note that a plan came to its end: to make the same one is to do it once more."""
        with self._transaction() as database:
            database.execute("UPDATE plan SET finished = ? WHERE id = ?", (_now(), plan))

    def sent_of_plan(self, plan: str) -> dict[str, str]:
        """Return the CVMs of a plan that have an operation already, and its id."""
        with self._transaction() as database:
            return dict(
                database.execute(
                    "SELECT cvm_id, id FROM operation WHERE plan = ? AND (sent OR NOT done)",
                    (plan,),
                ).fetchall()
            )

    # --- its own life ------------------------------------------------------------------------

    def close(self) -> None:
        """Close it; what is not done stays so, for the next kernel."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # where it cannot be written any more, this kernel counts as one that was killed
            with suppress(sqlite3.Error):
                self._database.execute(
                    "UPDATE kernel SET ended = ?, clean = 1 WHERE id = ?", (_now(), self.kernel)
                )
            self._database.close()
            if self._alive is not None:
                self._alive.release()

    def _mark(self, kernel: str) -> Path:
        assert self.path is not None  # noqa: S101 - only a file has kernels beside this one
        return self.path.with_name(f"{self.path.name}-kernel-{kernel}.lock")

    def _failed(self, what: str, error: Exception) -> LedgerError:
        return LedgerError(
            f"the ledger {quoted(self.path, 200)} cannot be {what}: {clean_text(error, 200)}",
            hint="Name a file in a folder that can be written to, or leave ledger= out.",
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise Refused("the ledger is closed", hint="Make a new Fleet.")
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed("written", error) from None


def _check_schema(database: sqlite3.Connection) -> None:
    """Refuse the database of another program, or of a later version, before it is touched."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, _VERSION}:
        raise sqlite3.DatabaseError(f"it is of version {version}, this package of {_VERSION}")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if tables and not {"kernel", "operation", "plan"} <= tables:
        raise sqlite3.DatabaseError("it is the database of another program")


def _forget(database: sqlite3.Connection) -> None:
    """Drop the oldest of what is done."""
    database.execute(
        "DELETE FROM operation WHERE done AND number <= (SELECT max(number) FROM operation) - ?",
        (_KEPT,),
    )
    database.execute(
        "DELETE FROM kernel WHERE ended IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM operation WHERE kernel = kernel.id)"
    )
    database.execute(
        "DELETE FROM plan WHERE finished IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM operation WHERE plan = plan.id)"
    )


def _entry(row: tuple[str, str, str | None, str]) -> LedgerEntry:
    record, intent, plan, trail = row
    return LedgerEntry(
        record=_record(record),
        intent=intent,
        plan=plan,
        trail=msgspec.json.decode(trail, type=ResumeState),
    )


def _trail(operation: Operation) -> ResumeState:
    intent = operation.intent
    if intent is None:
        return ResumeState()
    return ResumeState(
        known=None if intent.known is None else tuple(sorted(intent.known)),
        claimant=intent.claimant,
        app_id=intent.app_id,
        compose_hash=intent.compose_hash,
        shows=intent.shows,
    )


def _record(text: str) -> OperationRecord:
    return msgspec.json.decode(text, type=OperationRecord)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _now() -> str:
    return datetime.now(UTC).isoformat()
