"""Claims: a registry that assigns each new CVM, or history entry, to the request that made it.

The service has no idempotency key. A replica or a restart whose answer was lost can only be
recognised by what is new since before it was sent, and what is new may be another request's doing.
So every such request of this machine, of whatever client, fleet or kernel, is written down before
it is sent; what is new is given to a lost request only when there is as much of it as there are
requests that may have made it. Otherwise its result stays unknown. No clock is read: the order is
that of the database.
"""

import contextlib
import json
import os
import sqlite3
import stat
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cvm_notebook.api.process_lock import ProcessLock, has_died

_WAIT: Final = 5.0  # seconds for another kernel's transaction
_MINUTES_KEPT: Final = 60  # no gateway delivers a request later than that
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS claim (
        claimant TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        state TEXT NOT NULL,      -- sent, lost or answered
        made TEXT,                -- the CVM, or the entry of the history, that is its doing
        begun INTEGER NOT NULL,   -- places in the one order of all events
        answered INTEGER,
        holder TEXT,              -- of which process; none of a database in memory
        known TEXT,               -- what was there before it was sent; until then it is not sent
        at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        UNIQUE (scope, made)
    )
    """,
    "CREATE INDEX IF NOT EXISTS claim_scope ON claim (scope)",
    "CREATE TABLE IF NOT EXISTS event (place INTEGER PRIMARY KEY AUTOINCREMENT)",
)


class SentClaims:
    """The requests that were sent of late, and what each of them made.

    Safe to use from any thread, and from several processes where it is a file.

    Parameters
    ----------
    path
        An SQLite database; one in memory, of this process alone, when not given.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._in_flight: set[str] = set()
        self._alive: tuple[str, ProcessLock] | None = None  # while something is in flight
        self._memory = _connected(":memory:") if path is None else None
        with self._transaction() as database:
            for statement in _TABLES:
                database.execute(statement)
            kept = (f"-{_MINUTES_KEPT} minutes",)
            database.execute("DELETE FROM claim WHERE at < datetime('now', ?)", kept)

    def begin(self, scope: str) -> str:
        """Write down that a request is about to be sent, and return the claimant's name.

        What was there before has to be read after this call and before the request is sent; `know`
        takes it.

        Parameters
        ----------
        scope
            Where its doing will be seen, such as the app of a replica.
        """
        claimant = uuid.uuid4().hex
        with self._transaction() as database:
            self._in_flight.add(claimant)
            row = (claimant, scope, _next(database), self._holder())
            database.execute(
                "INSERT INTO claim (claimant, scope, state, begun, holder)"
                " VALUES (?, ?, 'sent', ?, ?)",
                row,
            )
        return claimant

    def _holder(self) -> str | None:
        """Return the name by which others see whether this process lives."""
        if self._path is None:
            return None
        if self._alive is None:
            name = uuid.uuid4().hex
            self._alive = name, ProcessLock(self._mark(name))
        return self._alive[0]

    def _landed(self, claimant: str) -> None:
        """Note that a request is in flight no more; without any, no file is kept open."""
        self._in_flight.discard(claimant)
        if self._alive is not None and not self._in_flight:
            self._alive[1].release()
            self._alive = None

    def _mark(self, holder: str) -> Path:
        assert self._path is not None  # noqa: S101 - only a file has holders
        return self._path.with_name(f"{self._path.name}-{holder}.lock")

    def _mark_lost(self, database: sqlite3.Connection, scope: str) -> None:
        """Mark claims of ended processes as lost, or as never sent."""
        found = database.execute(
            "SELECT DISTINCT holder FROM claim WHERE scope = ? AND state = 'sent'"
            " AND holder IS NOT NULL AND holder IS NOT ?",
            (scope, self._alive[0] if self._alive else None),
        ).fetchall()
        for (holder,) in found:
            if has_died(self._mark(holder)):
                of = (holder,)
                database.execute(
                    "DELETE FROM claim WHERE holder = ? AND state = 'sent' AND known IS NULL", of
                )
                database.execute(
                    "UPDATE claim SET state = 'lost' WHERE holder = ? AND state = 'sent'", of
                )

    def know(self, claimant: str, known: Sequence[str]) -> None:
        """Note what was there before it is sent; that may show what earlier ones have made."""
        with self._transaction() as database:
            scope, begun = database.execute(
                "SELECT scope, begun FROM claim WHERE claimant = ?", (claimant,)
            ).fetchone()
            database.execute(
                "UPDATE claim SET known = ? WHERE claimant = ?", (json.dumps(known), claimant)
            )
            self._mark_lost(database, scope)
            earlier = database.execute(
                "SELECT claimant, state, known FROM claim WHERE scope = ? AND made IS NULL"
                " AND begun < ? ORDER BY begun",
                (scope, begun),
            ).fetchall()
            if not earlier or any(state == "sent" or was is None for _, state, was in earlier):
                return
            found = {name: set(json.loads(was)) for name, _, was in earlier}
            there_then = found[earlier[0][0]] | _taken(database, scope)
            free = [one for one in known if one not in there_then]
            if len(free) != len(earlier):
                return
            # who had found the most of it there has the least to choose from
            for name in sorted(found, key=lambda name: -len(found[name].intersection(free))):
                made = next((one for one in free if one not in found[name]), None)
                if made is not None:
                    free.remove(made)
                    database.execute("UPDATE claim SET made = ? WHERE claimant = ?", (made, name))

    def answered(self, claimant: str, made: str | None = None) -> None:
        """Note the service's answer, and what it says was made, if it says so."""
        with self._transaction() as database:
            if made is not None:  # the answer is proof; a claim by inference gives way
                database.execute(
                    "UPDATE claim SET made = NULL WHERE made = ?"
                    " AND scope = (SELECT scope FROM claim WHERE claimant = ?)",
                    (made, claimant),
                )
            database.execute(
                "UPDATE claim SET state = 'answered', answered = ?, made = coalesce(?, made)"
                " WHERE claimant = ?",
                (_next(database), made, claimant),
            )
            self._landed(claimant)

    def lost(self, claimant: str) -> None:
        """Note that no answer will come."""
        with self._transaction() as database:
            database.execute(
                "UPDATE claim SET state = 'lost' WHERE claimant = ? AND state = 'sent'",
                (claimant,),
            )
            self._landed(claimant)

    def withdraw(self, claimant: str) -> None:
        """Note that the service did nothing, by its own answer."""
        with self._transaction() as database:
            database.execute("DELETE FROM claim WHERE claimant = ?", (claimant,))
            self._landed(claimant)

    def assign(self, claimant: str, candidates: Sequence[str]) -> str | None:
        """Return what a request has made, or None while, or where, that cannot be known.

        Parameters
        ----------
        candidates
            All that is new in its scope since before it was sent.
        """
        with self._transaction() as database:
            claim = database.execute(
                "SELECT scope, begun, made FROM claim WHERE claimant = ?", (claimant,)
            ).fetchone()
            if claim is None:
                return None
            scope, begun, made = claim
            if made is not None:
                return str(made)
            self._mark_lost(database, scope)
            taken = _taken(database, scope)
            free = [one for one in candidates if one not in taken]
            # whose answer had come before this one began is not in what is new since
            rivals = database.execute(
                "SELECT state, known FROM claim WHERE scope = ? AND made IS NULL AND claimant != ?"
                " AND coalesce(answered, ?) >= ?",
                (scope, claimant, begun, begun),
            ).fetchall()
            if any(state == "sent" for state, _ in rivals) or len(free) != len(rivals) + 1:
                return None
            # what rivals had found there is none of theirs: the rest is left to them
            found = Counter(one for _, known in rivals for one in json.loads(known or "[]"))
            mine = max(free, key=lambda one: found[one])
            database.execute("UPDATE claim SET made = ? WHERE claimant = ?", (mine, claimant))
            return mine

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction; a file is open for no longer than that."""
        with self._lock, contextlib.ExitStack() as stack:
            database = self._memory
            if database is None:
                database = stack.enter_context(contextlib.closing(_connected(self._path or "")))
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


def _connected(name: str | Path) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    # what a loss of power takes away is of no use after it
    database.execute("PRAGMA synchronous = OFF")
    return database


def _taken(database: sqlite3.Connection, scope: str) -> set[str]:
    found = database.execute(
        "SELECT made FROM claim WHERE scope = ? AND made IS NOT NULL", (scope,)
    )
    return {made for (made,) in found}


def _next(database: sqlite3.Connection) -> int:
    place = database.execute("INSERT INTO event DEFAULT VALUES").lastrowid
    database.execute("DELETE FROM event WHERE place < ?", (place,))
    return place or 0


# --- those of this machine ----------------------------------------------------------------------

_shared: tuple[int, SentClaims] | None = None
_shared_lock = threading.Lock()


def claims_of_this_machine() -> SentClaims:
    """Return the claims that all kernels of this user on this machine share.

    They are in the folder for temporary files. Where that cannot be written to, they are those of
    this process alone.
    """
    global _shared  # noqa: PLW0603 - one for each process, and another one after a fork
    with _shared_lock:
        if _shared is None or _shared[0] != os.getpid():
            _shared = os.getpid(), _opened()
        return _shared[1]


def _opened() -> SentClaims:
    try:
        return SentClaims(_own_folder() / "sent-claims.sqlite")
    except (OSError, sqlite3.Error):
        return SentClaims()


def _own_folder() -> Path:
    """Return a folder for temporary files that nobody else can write to."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir(), f"cvm-notebook-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    strange = not stat.S_ISDIR(found.st_mode) or (
        hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077)
    )
    if strange:
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder
