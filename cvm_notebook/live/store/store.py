"""FleetStore: the one place where the fleet is known; immutable rows, a revision, no I/O."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.store.changelog import Changelog, Log, Move
from cvm_notebook.live.store.figures import FigureHistory, Measured, Sample
from cvm_notebook.live.store.index import Index
from cvm_notebook.live.store.merge import (
    HORIZON,
    Known,
    agrees,
    anew_in,
    is_plain,
    shows,
    take_plain,
)
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import (
    Change,
    Gap,
    Health,
    Provenance,
    Row,
    Snapshot,
    Source,
    Trust,
    key_of,
)
from cvm_notebook.live.store.subscriptions import (
    ChangeBatch,
    Fault,
    Hook,
    Subscription,
    Subscriptions,
)

__all__ = ["ChangeBatch", "Fault", "FleetStore", "Hook", "Log", "Subscription"]

H = TypeVar("H", bound=Hook)

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_KEPT: Final = 10_000  # changes; more are rarely wanted, and it is some 5 MB
_TWINS: Final = (
    "The list named {} CVM(s) twice, {} for one; of each the record updated last was taken."
)


class FleetStore:
    """The fleet as it is known, safe to use from any thread.

    Facts may come late, twice and out of order: a row shows the newest by operation, by the
    service's time and by receipt. Every call that writes makes at most one revision.

    Parameters
    ----------
    clock
        The clock; tests move it.
    kept
        How many changes are kept, for `subscribe` since a revision and for the history.
    on_fault
        Called once for each observer that fails, and of the first list that names a CVM twice.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        kept: int = _KEPT,
        on_fault: Callable[[Fault], object] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._subscriptions = Subscriptions(on_fault)
        self._rows: dict[str, Row] = {}
        self._uuids: dict[str, str] = {}
        self._known: dict[str, Known] = {}  # what was reported lately, where reports differed
        self._gone: dict[str, float] = {}  # until a list that was asked for later
        self._listed = float("-inf")
        self._revision = 0
        self._twins_reported = False
        self._health = Health("paused", self._clock.now())
        self._chronicle = Changelog(self._clock, kept, self._health)
        self.figures = FigureHistory()
        self._view: tuple[tuple[Row, ...], Index[Any]] | None = None
        self._doing: dict[str, str] = {}

    # reading

    @property
    def revision(self) -> int:
        """Counts what changed; it only grows."""
        return self._revision

    @property
    def health(self) -> Health:
        """The health of the store: live, or how it is behind the service."""
        return self._health

    def snapshot(self) -> Snapshot:
        """Return the fleet as it is known at this moment."""
        with self._lock:
            return self._snapshot()

    def log(self) -> Log:
        """Return the changes kept, and the fleet as they left it."""
        with self._lock:
            return self._chronicle.log(self._snapshot())

    def keep(self, changes: int) -> None:
        """Keep that many changes from now on."""
        with self._lock:
            self._chronicle.keep(changes)

    def get(self, identifier: str) -> Row | None:
        """Return the row of a CVM's id or uuid, or None."""
        with self._lock:
            return self._rows.get(self._key(identifier, identifier) or "")

    # writing

    def replace(
        self,
        cvms: Iterable[Cvm],
        *,
        received: float,
        source: Source = "list",
        asked: float | None = None,
    ) -> tuple[Change, ...]:
        """Take a whole list: what it does not name is gone, unless seen since it was asked for.

        Parameters
        ----------
        cvms
            Every CVM, in the service's order.
        received, asked
            The monotonic times at which the last page was received, and the first asked for.

        Returns
        -------
        tuple of Change
            Empty when nothing changed, and for a list older than the one held.
        """
        named, twins = _by_key(cvms)
        with self._lock:
            seen = self._sighting(received, source, asked)
            if seen.moment < self._listed:
                return ()
            moves = self._relist(named, seen)
            self._listed = seen.moment
            self._chronicle.listed_at = self._chronicle.listed_at or self._clock.now()
            self._prune()
            if twins and not self._twins_reported:
                self._twins_reported = True
                self._subscriptions.post(Fault("list", _TWINS.format(len(twins), twins[0])))
            changes = self._commit(moves)
        self._subscriptions.deliver()
        return changes

    def patch(self, facts: Iterable[Observation]) -> tuple[Change, ...]:
        """Take facts about single CVMs; one about an unknown CVM counts if it has its record."""
        moves: list[Move] = []
        with self._lock:
            for fact in facts:
                moves += self._take(fact)
            changes = self._commit(moves)
        self._subscriptions.deliver()
        return changes

    def remove(
        self,
        ids: Iterable[str],
        *,
        received: float,
        source: Source = "get",
        operation_id: str | None = None,
    ) -> tuple[Change, ...]:
        """Let rows go that are known to be gone; only a later list or get brings one back."""
        with self._lock:
            seen = self._sighting(received, source, None)
            keys = {self._key(given, given) or given for given in ids}
            moves = []
            for position, (key, row) in enumerate(self._rows.items()):
                if key in keys and row.seen.moment <= received:
                    moves.append(Move(row, None, seen, operation_id, position))
            self._gone.update(dict.fromkeys(keys, received))
            self._drop(moves)
            changes = self._commit(moves)
        self._subscriptions.deliver()
        return changes

    def attest(
        self, trusts: Mapping[str, Trust], *, since: int | None = None
    ) -> tuple[Change, ...]:
        """Take what was proven of CVMs, by id; who is not known is left out.

        It stays with a row until the CVM is stopped, restarted or runs something else.

        Parameters
        ----------
        since
            The revision at which it was begun: who became another meanwhile is left out, too.
        """
        moves = []
        with self._lock:
            seen = self._sighting(self._clock.monotonic(), "action", None)
            others = self._anew_since(since)
            for cvm_id, trust in trusts.items():
                old = self._rows.get(self._key(cvm_id, cvm_id) or "")
                if old is not None and old.id not in others:
                    new = replace(old, trust=trust, revision=self._revision + 1)
                    self._rows[old.id] = new
                    moves.append(Move(old, new, seen))
            changes = self._commit(moves)
        self._subscriptions.deliver()
        return changes

    def measure(
        self,
        samples: Iterable[Sample],
        *,
        private: Mapping[str, str] = _NONE,
        failed: Mapping[str, str] = _NONE,
    ) -> None:
        """Take figures of CVMs, and why others have none, by id; no row changes for it."""
        with self._lock:
            taken = [sample for sample in samples if sample.cvm_id in self._rows]
            self.figures.take(taken)
            self.figures.note("private", private)
            self.figures.note("failed", failed)
            self.figures.forget(key for key in self.figures.latest if key not in self._rows)
            measured = (*(sample.cvm_id for sample in taken), *private, *failed)
            if measured:
                self._subscriptions.post(Measured(measured))
        self._subscriptions.deliver()

    def set_health(self, health: Health) -> None:
        """Say how up to date the store is; the same again is no change."""
        with self._lock:
            same = health == self._health
            if same and health.next_try == self._health.next_try:
                return
            self._health = health
            if not same:
                self._chronicle.note(health)
            self._subscriptions.post(health)
        self._subscriptions.deliver()

    def attribute(self, cvm_id: str, operation_id: str | None) -> None:
        """Lay the changes of a CVM to an operation of our ledger, until None is given."""
        with self._lock:
            if operation_id is None:
                self._doing.pop(cvm_id, None)
            else:
                self._doing[cvm_id] = operation_id

    def subscribe(
        self,
        callback: Callable[[ChangeBatch], object],
        since: int | None = None,
        *,
        health: Callable[[Health], object] | None = None,
        figures: Callable[[Measured], object] | None = None,
    ) -> Subscription:
        """Call back with every batch of changes from now on, in order, on a thread of its own.

        Parameters
        ----------
        callback
            Gets the changes of one or more revisions, or a Gap. It may take its time, and may
            write itself; when 10,000 changes wait for it, it gets a Gap in their place. What it
            raises is reported to ``on_fault`` the first time, and it is called again for later
            changes.
        since
            A revision that was seen: what changed after it comes first, or a Gap when that is no
            longer kept.
        health
            Gets the health whenever it changes.
        figures
            Gets whose figures are new, whenever some are; the next snapshot has them.
        """
        return self._joined(Subscription(self._subscriptions, callback, health, figures), since)

    def attach(
        self,
        callback: Callable[[ChangeBatch], object],
        since: int | None = None,
        *,
        health: Callable[[Health], object] | None = None,
        figures: Callable[[Measured], object] | None = None,
    ) -> Hook:
        """Call back as `subscribe` does, but on the thread that writes: for code of this package.

        The callback must be quick and wait for nothing: it holds up all notifications.
        """
        return self._joined(Hook(self._subscriptions, callback, health, figures), since)

    def close(self, timeout: float = 2.0) -> None:
        """End all subscriptions; what is queued for an observer is delivered within the timeout."""
        self._subscriptions.finish(time.monotonic() + timeout)

    def _joined(self, hook: H, since: int | None) -> H:
        with self._lock:
            missed = None if since is None else self._chronicle.since(since, self._revision)
            self._subscriptions.join(hook, missed)
        self._subscriptions.deliver()
        return hook

    # under the lock

    def _snapshot(self) -> Snapshot:
        if self._view is None:
            rows = tuple(self._rows.values())
            self._view = rows, Index(rows)
        rows, index = self._view
        now, monotonic = self._clock.now(), self._clock.monotonic()
        complete = self._listed != float("-inf")
        figures = self.figures.latest
        return Snapshot(
            self._revision, rows, now, monotonic, self._health, complete, index, figures
        )

    def _key(self, cvm_id: str | None, vm_uuid: str | None) -> str | None:
        return cvm_id if cvm_id in self._rows else self._uuids.get(vm_uuid or "", cvm_id)

    def _sighting(self, received: float, source: Source, asked: float | None) -> Provenance:
        ago = timedelta(seconds=self._clock.monotonic() - received)
        return Provenance(received, self._clock.now() - ago, source, asked)

    def _relist(self, named: dict[str, Cvm], seen: Provenance) -> list[Move]:
        old_rows, known, advance = self._rows, self._known, object.__setattr__
        rows: dict[str, Row] = {}
        moves: list[Move] = []
        for key, cvm in named.items():
            old = old_rows.get(key)
            # The one loop over everything: most rows are as they were, and end here. One of which
            # nothing else is known says what its record says.
            if old is not None and key not in known and old.cvm == cvm:
                advance(old, "seen", seen)
                rows[key] = old
                continue
            new = self._list_one(key, cvm, old, seen)
            if new is None:
                continue
            rows[key] = new
            if new is not old:
                moves.append(Move(old, new, seen))
        if list(rows) != list(old_rows):
            self._leave_out(rows, seen, moves)
            self._view = None
        self._rows = rows
        return moves

    def _list_one(self, key: str, cvm: Cvm, old: Row | None, seen: Provenance) -> Row | None:
        """Return the row that follows from a listed record, or None when it is known to be gone."""
        if old is not None:
            fact = Observation.of_cvm(
                cvm, received=seen.received, asked=seen.asked, source=seen.source
            )
            return self._merge(key, old, fact, seen)
        if seen.moment < self._gone.get(key, seen.moment):
            return None
        if cvm.vm_uuid:
            self._uuids[cvm.vm_uuid] = key
        return Row.of_cvm(cvm, seen, self._revision + 1)

    def _leave_out(self, rows: dict[str, Row], seen: Provenance, moves: list[Move]) -> None:
        """Let go what the list does not name, but for what was seen after it was asked for."""
        gone = []
        for position, (key, row) in enumerate(self._rows.items()):
            if key in rows:
                continue
            if row.seen.moment > seen.moment:
                rows[key] = row
            else:
                gone.append(Move(row, None, seen, None, position))
        self._drop(gone)
        moves += gone

    def _drop(self, gone: list[Move]) -> None:
        for move in gone:
            if move.before is not None:
                key = move.before.id
                self._rows.pop(key, None)
                self._known.pop(key, None)
                self._uuids.pop(move.before.vm_uuid or "", None)

    def _take(self, fact: Observation) -> Iterator[Move]:
        key = self._key(fact.id, fact.vm_uuid)
        old = self._rows.get(key or "")
        seen = self._sighting(fact.received, fact.source, fact.asked)
        if old is None or key is None:
            yield from self._discover(fact, seen)
            return
        if key not in self._known and is_plain(fact, old):
            new = take_plain(fact, old, seen, self._revision + 1)
            object.__setattr__(new, "seen", seen)
        else:
            new = self._merge(key, old, fact, seen)
        if new is not old:
            self._rows[key] = new
            yield Move(old, new, seen, fact.operation_id)

    def _discover(self, fact: Observation, seen: Provenance) -> Iterator[Move]:
        cvm = fact.cvm or None
        key = cvm and key_of(cvm)
        if cvm is None or not key or seen.moment < self._gone.get(key, seen.moment):
            return
        new = Row.of_cvm(cvm, seen, self._revision + 1)
        self._rows = {key: new, **self._rows}  # the service lists the newest first
        self._known[key] = Known(new, seen.moment)
        if cvm.vm_uuid:
            self._uuids[cvm.vm_uuid] = key
        yield Move(None, new, seen, fact.operation_id)

    def _merge(self, key: str, old: Row, fact: Observation, seen: Provenance) -> Row:
        """Take a fact that needs to be weighed; return the row that follows from all of them."""
        if key not in self._known:
            self._known[key] = Known(old, self._listed)
        known = self._known[key]
        known.take(fact)
        # A fact that failed has seen nothing, and an older one nothing newer.
        fresh = not fact.error and seen.received >= old.seen.received
        new = known.row(old, seen if fresh else old.seen, self._revision + 1)
        if new is old and fresh and shows(old, fact):
            object.__setattr__(old, "seen", seen)
        return new

    def _anew_since(self, revision: int | None) -> set[str]:
        """Return who may run something else than at a revision; all, where that is forgotten."""
        missed = () if revision is None else self._chronicle.since(revision, self._revision)
        return set(self._rows) if isinstance(missed, Gap) else anew_in(missed)

    def _prune(self) -> None:
        """Forget what can decide nothing any more."""
        past = self._listed - HORIZON
        for key in [k for k, known in self._known.items() if known.latest < past]:
            if agrees(self._rows[key]):
                del self._known[key]
        self._gone = {k: v for k, v in self._gone.items() if v > self._listed}

    def _commit(self, moves: list[Move]) -> tuple[Change, ...]:
        if not moves:
            return ()
        self._revision += 1
        self._view = None
        changes = self._chronicle.record(moves, self._revision, self._doing)
        self._subscriptions.post(changes)
        return changes


def _by_key(cvms: Iterable[Cvm]) -> tuple[dict[str, Cvm], list[str]]:
    """Return the records by what they are kept under, and which of these were named twice."""
    cvms = list(cvms)
    by_id = {cvm.id: cvm for cvm in cvms}
    if len(by_id) == len(cvms) and None not in by_id:
        return cast("dict[str, Cvm]", by_id), []
    named: dict[str, Cvm] = {}
    twins: list[str] = []
    for cvm in cvms:
        key = cvm.id or key_of(cvm)
        if key is None:
            continue  # it could not be identified
        if key in named:
            twins.append(key)
            held, new = named[key].updated, cvm.updated
            if held is not None and (new is None or new < held):
                continue
        named[key] = cvm
    return named, twins
