"""FleetStore: the one place where the fleet is known; immutable rows, a revision, no I/O."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeAlias

from msgspec import UNSET

from cvm_notebook.api.cvm import Cvm
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.lookup import Index
from cvm_notebook.live.rows import (
    STATUS_FIELDS,
    Change,
    Fact,
    Gap,
    Health,
    Row,
    Sighting,
    Snapshot,
    Source,
    key_of,
)

Batch: TypeAlias = tuple[Change, ...] | Gap
_KEPT: Final = 10_000  # changes kept for those who ask since a revision


@dataclass(frozen=True, slots=True)
class Fault:
    """Something went wrong that no call can raise: told once, and nothing stops for it."""

    where: str
    what: str
    error: Exception | None = None


class Subscription:
    """Somebody who is told of changes, until `close`."""

    def __init__(
        self,
        store: "FleetStore",
        callback: Callable[[Batch], None],
        health: Callable[[Health], None] | None,
    ) -> None:
        self._store = store
        self.callback = callback
        self.health = health
        self.active = True
        self.faulted = False

    def close(self) -> None:
        """End it: nothing more is told, not even what waits to be."""
        self.active = False
        self._store._forget(self)  # noqa: SLF001 - two halves of one thing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FleetStore:
    """The fleet as it is known, safe to use from any thread."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        kept: int = _KEPT,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._uuids: dict[str, str] = {}
        self._revision = 0
        self._seq = 0
        self._complete = False
        self._health = Health("idle", self._clock.now())
        self._log: deque[Change] = deque(maxlen=kept)
        self._view: tuple[tuple[Row, ...], Index[Any]] | None = None
        self._doing: dict[str, str] = {}
        self._subscriptions: tuple[Subscription, ...] = ()
        self._outbox: deque[tuple[tuple[Subscription, ...], Batch | Health]] = deque()
        self._delivering = False

    # reading

    @property
    def revision(self) -> int:
        """Counts what changed; it only grows."""
        return self._revision

    @property
    def health(self) -> Health:
        """How true the store is at the moment."""
        return self._health

    def snapshot(self) -> Snapshot:
        """Return the fleet as it is known at this moment."""
        with self._lock:
            if self._view is None:
                rows = tuple(self._rows.values())
                self._view = rows, Index(rows)
            rows, index = self._view
            return Snapshot(
                self._revision,
                rows,
                self._clock.now(),
                self._clock.monotonic(),
                self._health,
                self._complete,
                index,
            )

    def get(self, cvm_id: str) -> Row | None:
        """Return the row of a CVM's id or uuid, or None."""
        with self._lock:
            return self._rows.get(cvm_id) or self._rows.get(self._uuids.get(cvm_id, ""))

    # writing

    def replace(
        self,
        cvms: Iterable[Cvm],
        *,
        received: float,
        source: Source = "list",
        asked: float | None = None,
    ) -> tuple[Change, ...]:
        """Take a whole list: what it has not is gone, what is equal stays the same object."""
        with self._lock:
            seen = self._sighting(received, source)
            rows: dict[str, Row] = {}
            changed: list[tuple[Row | None, Row | None, str | None]] = []
            for cvm in cvms:
                key = key_of(cvm)
                if key is None:
                    continue
                old = self._rows.get(key)
                if old is not None and old.cvm == cvm and old.status == cvm.status:
                    object.__setattr__(old, "seen", seen)
                    rows[key] = old
                    continue
                rows[key] = Row.of_cvm(cvm, seen, self._revision + 1)
                changed.append((old, rows[key], None))
            since = received if asked is None else asked
            for key, old in self._rows.items():
                if key in rows:
                    continue
                if old.seen.received > since:  # it came while the list was on its way
                    rows[key] = old
                else:
                    changed.append((old, None, None))
            if changed or list(rows) != list(self._rows):
                self._view = None
            self._rows = rows
            self._uuids = {r.cvm.vm_uuid: k for k, r in rows.items() if r.cvm.vm_uuid}
            self._complete = True
            changes = self._emit(changed, seen)
        self._deliver()
        return changes

    def patch(self, facts: Iterable[Fact]) -> tuple[Change, ...]:
        """Take facts about single CVMs; those of unknown ones are dropped, unless a record."""
        made: list[Change] = []
        with self._lock:
            for fact in facts:
                made += self._apply(fact)
        self._deliver()
        return tuple(made)

    def remove(
        self, ids: Iterable[str], *, received: float, source: Source = "get"
    ) -> tuple[Change, ...]:
        """Let rows go that are known to be gone."""
        with self._lock:
            seen = self._sighting(received, source)
            gone: list[tuple[Row | None, Row | None, str | None]] = []
            for cvm_id in ids:
                row = self._rows.pop(cvm_id, None)
                if row is not None:
                    self._uuids.pop(row.cvm.vm_uuid or "", None)
                    gone.append((row, None, None))
            changes = self._emit(gone, seen)
        self._deliver()
        return changes

    def set_health(self, health: Health) -> None:
        """Say how true the store is; the same again is no news."""
        with self._lock:
            if health == self._health:
                return
            self._health = health
            self._outbox.append((self._subscriptions, health))
        self._deliver()

    def attribute(self, cvm_id: str, operation_id: str | None) -> None:
        """Let changes of a CVM be laid to an operation of our ledger, until None is given."""
        with self._lock:
            if operation_id is None:
                self._doing.pop(cvm_id, None)
            else:
                self._doing[cvm_id] = operation_id

    # telling

    def subscribe(
        self,
        callback: Callable[[Batch], None],
        since: int | None = None,
        *,
        health: Callable[[Health], None] | None = None,
    ) -> Subscription:
        """Tell of every change from now on, in order, outside the lock."""
        subscription = Subscription(self, callback, health)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
            missed = None if since is None else self._since(since)
            if missed:
                self._outbox.append(((subscription,), missed))
        self._deliver()
        return subscription

    def _since(self, revision: int) -> Batch:
        oldest = self._log[0].revision - 1 if self._log else self._revision
        if self._log and self._log[0].seq == 1:
            oldest = 0
        if revision < oldest or revision > self._revision:
            return Gap(revision, oldest, self._revision)
        return tuple(c for c in self._log if c.revision > revision)

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def _sighting(self, received: float, source: Source) -> Sighting:
        return Sighting(received, self._wall(received), source)

    def _wall(self, received: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - received)

    def _apply(self, fact: Fact) -> tuple[Change, ...]:
        key = fact.id if fact.id in self._rows else self._uuids.get(fact.vm_uuid or "", fact.id)
        old = self._rows.get(key or "")
        seen = self._sighting(fact.received, fact.source)
        if old is None:
            if fact.cvm is UNSET or key is None:
                return ()
            new = Row.of_cvm(fact.cvm, seen, self._revision + 1)
        elif fact.received < old.seen.received:
            return ()
        else:
            said = {
                name: value
                for name in (*STATUS_FIELDS, "cvm", "in_progress", "operation", "error")
                if (value := getattr(fact, name)) is not UNSET
            }
            if all(getattr(old, name) == value for name, value in said.items()):
                object.__setattr__(old, "seen", seen)
                return ()
            new = replace(old, **said, seen=seen, revision=self._revision + 1)
        self._rows[key or ""] = new
        if new.cvm.vm_uuid:
            self._uuids[new.cvm.vm_uuid] = key or ""
        return self._emit([(old, new, fact.operation_id)], seen)

    def _emit(
        self, pairs: list[tuple[Row | None, Row | None, str | None]], seen: Sighting
    ) -> tuple[Change, ...]:
        if not pairs:
            return ()
        self._revision += 1
        self._view = None
        lag = (self._clock.monotonic() - seen.received) * 1000
        made = []
        for before, after, operation_id in pairs:
            self._seq += 1
            row = after or before
            made.append(
                Change(
                    seq=self._seq,
                    before=before,
                    after=after,
                    revision=self._revision,
                    source=seen.source,
                    at=seen.at,
                    received=seen.received,
                    lag_ms=lag,
                    operation_id=operation_id or self._doing.get(row.id if row else ""),
                )
            )
        self._log.extend(made)
        batch = tuple(made)
        self._outbox.append((self._subscriptions, batch))
        return batch

    def _deliver(self) -> None:
        """Tell what waits to be told; one thread at a time does it, so that order is kept."""
        while True:
            with self._lock:
                if self._delivering or not self._outbox:
                    return
                self._delivering = True
                to, what = self._outbox.popleft()
            try:
                for subscription in to:
                    self._tell(subscription, what)
            finally:
                self._delivering = False

    def _tell(self, subscription: Subscription, what: Batch | Health) -> None:
        if not subscription.active:
            return
        try:
            if not isinstance(what, Health):
                subscription.callback(what)
            elif subscription.health is not None:
                subscription.health(what)
        except Exception as error:  # noqa: BLE001 - a bad observer must not stop the others
            first, subscription.faulted = not subscription.faulted, True
            if first and self._on_fault is not None:
                self._on_fault(Fault("observer", f"an observer failed: {error!r}", error))
