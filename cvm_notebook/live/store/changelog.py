"""What happened to the fleet, kept within bounds: changes, numbered, and states of health."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from cvm_notebook.live.clock import Clock
from cvm_notebook.live.store.records import Change, Gap, Health, Provenance, Row, Snapshot

_KEPT_HEALTHS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Log:
    """What is kept of the past, and the present it leads to.

    Attributes
    ----------
    since
        How far back it reaches.
    listed_at
        When the first whole list was in, or None.
    """

    changes: tuple[Change, ...]
    healths: tuple[Health, ...]
    since: datetime
    listed_at: datetime | None
    now: Snapshot

    def of(self, cvm_id: str) -> "Log":
        """Return what is kept of one CVM."""
        changes = tuple(change for change in self.changes if change.row.id == cvm_id)
        rows = tuple(row for row in self.now.rows if row.id == cvm_id)
        return replace(self, changes=changes, now=replace(self.now, rows=rows))


class Move(NamedTuple):
    """A change before it is numbered."""

    before: Row | None
    after: Row | None
    seen: Provenance
    operation_id: str | None = None
    position: int | None = None


class Changelog:
    """The changes and states of health of a store, which locks."""

    def __init__(self, clock: Clock, kept: int, health: Health) -> None:
        self._clock = clock
        self._seq = 0
        self._changes: deque[Change] = deque(maxlen=max(1, kept))
        self._healths: deque[Health] = deque([health], maxlen=_KEPT_HEALTHS)
        self._forgotten = 0, clock.now()  # the revision and the time before the first change kept
        self.listed_at: datetime | None = None

    def log(self, now: Snapshot) -> Log:
        """Return all that is kept, and what it leads to."""
        return Log(
            tuple(self._changes), tuple(self._healths), self._forgotten[1], self.listed_at, now
        )

    def keep(self, changes: int) -> None:
        """Keep that many changes from now on."""
        kept, self._changes = self._changes, deque(maxlen=max(1, changes))
        self._append(kept)

    def note(self, health: Health) -> None:
        """Keep a state of health."""
        self._healths.append(health)

    def record(
        self, moves: Iterable[Move], revision: int, doing: dict[str, str]
    ) -> tuple[Change, ...]:
        """Keep the changes of one revision, numbered."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        made = []
        for before, after, seen, operation_id, position in moves:
            self._seq += 1
            row = after or before
            made.append(
                Change(
                    seq=self._seq,
                    before=before,
                    after=after,
                    revision=revision,
                    source=seen.source,
                    at=seen.at,
                    received=seen.received,
                    made_at=now,
                    lag_ms=(monotonic - seen.received) * 1000,
                    operation_id=operation_id or doing.get(row.id if row else ""),
                    position=position,
                )
            )
        self._append(made)
        return tuple(made)

    def since(self, revision: int, present: int) -> tuple[Change, ...] | Gap:
        """Return what changed after a revision, or a Gap when that is no longer kept."""
        oldest = self._forgotten[0]
        if not oldest <= revision <= present:
            return Gap(revision, oldest, present)
        return tuple(change for change in self._changes if change.revision > revision)

    def _append(self, changes: Iterable[Change]) -> None:
        kept = self._changes
        for change in changes:
            if len(kept) == kept.maxlen:
                self._forgotten = kept[0].revision, kept[0].made_at or kept[0].at
            kept.append(change)
