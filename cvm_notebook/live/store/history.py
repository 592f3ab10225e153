"""What happened to the fleet: its changes, and its state at a moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.times import in_utc
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Change, Health, Provenance, Row, Snapshot
from cvm_notebook.live.store.store import FleetStore


class History:
    """The past of a store, as far as it is kept.

    Parameters
    ----------
    store
        Whose past.
    limit
        How many changes are kept; the oldest go first.
    """

    def __init__(self, store: FleetStore, limit: int = 10_000) -> None:
        self._store = store
        store.keep(limit)

    def changes(self) -> tuple[Change, ...]:
        """Return every change kept, the oldest first."""
        return self._store.log().changes

    def at(self, moment: datetime) -> Snapshot:
        """Return the fleet as the store knew it at a moment.

        A row is as old there as the last thing that is known to have been seen of it then. Rows
        that the service only put in another order since then stand in the present order.

        Raises
        ------
        InvalidInput
            The history does not reach back so far.
        """
        log = self._store.log()
        moment = in_utc("moment", moment)
        if moment < log.since:
            raise InvalidInput(
                "moment",
                f"the history begins at {log.since:%Y-%m-%d %H:%M:%S} UTC",
                "Ask for a later moment.",
            )
        count = _until(log.changes, moment)
        kept, undone = log.changes[:count], log.changes[count:]
        ago = max(timedelta(), log.now.taken_at - moment)
        now = log.now
        return Snapshot(
            revision=_revision(kept, undone, now.revision),
            rows=tuple(_as_seen(_undo(now.rows, undone), kept, log, moment)),
            taken_at=min(moment.astimezone(UTC), now.taken_at),
            monotonic=now.monotonic - ago.total_seconds(),
            health=_health(log, moment),
            complete=log.listed_at is not None and log.listed_at <= moment,
        )


def _until(changes: tuple[Change, ...], moment: datetime) -> int:
    """Return how many of the changes had been made at a moment.

    From the end: where the wall clock was set back, the moment may have been twice.
    """
    count = len(changes)
    while count and _made(changes[count - 1]) > moment:
        count -= 1
    return count


def _made(change: Change) -> datetime:
    return change.made_at or change.at


def _undo(rows: tuple[Row, ...], undone: tuple[Change, ...]) -> list[Row]:
    """Return the rows as they were before the changes."""
    found = {row.id: row for row in rows}
    for _, group in groupby(reversed(undone), attrgetter("revision")):
        gone = []
        for change in group:
            if change.before is None:
                found.pop(change.row.id, None)
            elif change.after is None:
                gone.append(change)
            else:
                found[change.row.id] = change.before
        if gone:
            found = _put_back(found, gone)
    return list(found.values())


def _put_back(rows: dict[str, Row], gone: list[Change]) -> dict[str, Row]:
    """Return the rows with those that went, each where it was."""
    keys = list(rows)
    for change in sorted(gone, key=lambda c: c.position or 0):
        if change.before is not None:
            rows[change.row.id] = change.before
            keys.insert(len(keys) if change.position is None else change.position, change.row.id)
    return {key: rows[key] for key in keys}


def _as_seen(rows: list[Row], kept: tuple[Change, ...], log: Log, moment: datetime) -> list[Row]:
    """Return the rows with what is known of when they were seen by then: none looks fresher."""
    ago = (log.now.taken_at - log.since).total_seconds()
    seen = {change.row.id: Provenance(change.received, change.at, change.source) for change in kept}
    first = Provenance(log.now.monotonic - ago, log.since, "list")
    return [
        row if row.seen.at <= moment else replace(row, seen=seen.get(row.id, first)) for row in rows
    ]


def _revision(kept: tuple[Change, ...], undone: tuple[Change, ...], present: int) -> int:
    if kept:
        return kept[-1].revision
    return undone[0].revision - 1 if undone else present


def _health(log: Log, moment: datetime) -> Health:
    past = [health for health in log.healths if health.since <= moment]
    return past[-1] if past else log.healths[0]
