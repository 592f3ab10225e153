"""RuleBook: the rules of a fleet, looked at every few seconds on one short thread."""

import os
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from cvm_notebook.api.errors.tree import CvmError, ReadOnly
from cvm_notebook.api.status import status_of
from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live.metrics.poll import MeasureHandle, MetricsPoll
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.reflector.interest import InterestHandle
from cvm_notebook.live.rules.autostop import AutoStop, AutoStopTerms, Rules, RuleStanding
from cvm_notebook.live.rules.occasions import Occasions
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import age_words, clean_text

_LOOK: Final = 10.0  # seconds between two looks
_SOON: Final = 0.05


class RuleBook:
    """The rules of one fleet. Safe to use from any thread.

    While there are any, it keeps the fleet live, and has those measured whose idleness counts. It
    acts only on what is known to be true now: while the service cannot be reached, it does nothing.

    Parameters
    ----------
    store, operations, poll
        Of the fleet.
    interest
        Keeps the fleet live.
    on_crash
        Called with an error that its thread ended with: a bug.
    """

    def __init__(
        self,
        store: FleetStore,
        operations: OperationService,
        poll: MetricsPoll,
        interest: Callable[[], InterestHandle],
        *,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._operations = operations
        self._poll = poll
        self._interest = interest
        self._clock = operations.clock
        self._workers = Workers(self._clock, 1, "cvm-rules", on_crash)
        self._lock = threading.Lock()
        self._rules: list[AutoStop] = []
        self._holding: InterestHandle | None = None
        self._measuring: dict[str, MeasureHandle] = {}
        self._turns = 0
        self._pid = os.getpid()
        _books.add(self)

    def add(self, terms: AutoStopTerms) -> AutoStop:
        """Begin a rule.

        Raises
        ------
        ReadOnly
            The client changes nothing.
        CvmError
            The fleet is closed.
        """
        if self._operations.read_only:
            raise ReadOnly(
                "a rule cannot stop anything: this client is read-only",
                hint="Make a client with read_only=False to change things.",
            )
        holding = self._interest()  # refuses when the fleet is closed
        now = self._clock.now
        idle = None if terms.idle is None else terms.idle.total_seconds()
        occasions = Occasions(idle, terms.timetable, now())
        with self._lock:
            name = f"rule-{len(self._rules) + 1}"
            rule = AutoStop(name, terms, now, occasions, kept_by=self)
            self._rules.append(rule)
            self._holding = self._holding or holding
            self._turns += 1
            turn = self._turns
        self._workers.do(partial(weakly(self._turn), turn))
        return rule

    def rules(self) -> Rules:
        """Return every rule, those that have ended too, the oldest first."""
        with self._lock:
            return Rules(self._rules)

    def close(self, timeout: float = 2.0, why: str = "the fleet was closed") -> None:
        """End every rule; what they asked for and was not sent is cancelled."""
        if os.getpid() != self._pid:
            return
        _books.discard(self)
        for rule in self.rules():
            rule.end(why)
        with self._lock:
            self._turns += 1
        self._workers.close(timeout)
        self._detach()

    # --- its turns -------------------------------------------------------------------------

    def _turn(self, turn: int) -> None:
        """Look at each rule, and come back; end when none is active."""
        active = [rule for rule in self.rules() if rule.active]
        with self._lock:
            if turn != self._turns:
                return
        if not active:
            self._detach()
            return
        snapshot = self._store.snapshot()
        if snapshot.complete and snapshot.health.state == "live":
            for rule in active:
                self._look(rule, snapshot)
        for ended in set(self._measuring) - {rule.id for rule in active}:
            self._measuring.pop(ended).close()
        self._workers.later(self._pause(active), partial(weakly(self._turn), turn))

    def _pause(self, active: list[AutoStop]) -> float:
        now = self._clock.now()
        due = [(at - now).total_seconds() for rule in active if (at := rule.next_at)]
        return min(_LOOK, *(max(seconds, _SOON) for seconds in due), _LOOK)

    def _detach(self) -> None:
        with self._lock:
            if any(rule.active for rule in self._rules):
                return  # a rule was made meanwhile
            holding, self._holding = self._holding, None
            measuring, self._measuring = self._measuring, {}
        for handle in (*measuring.values(), *((holding,) if holding else ())):
            handle.close()

    # --- one rule --------------------------------------------------------------------------

    def _look(self, rule: AutoStop, snapshot: Snapshot) -> None:
        running = {row.id: row for row in snapshot.rows if status_of(row.status) == "running"}
        fits = {row.id: row for row in rule.terms.chosen(snapshot) if row.id in running}
        figures = snapshot.figures
        private = sum(1 for key in fits if key in figures and figures[key].state == "private")
        rule.standing = RuleStanding(len(fits), private)
        if rule.terms.idle is not None:
            self._look_for_idle(rule, snapshot, fits, running)
        self._look_at_the_clock(rule, snapshot, fits)

    def _look_for_idle(
        self, rule: AutoStop, snapshot: Snapshot, fits: dict[str, Row], running: dict[str, Row]
    ) -> None:
        self._measure(rule, frozenset(fits) | rule.occasions.acted)
        terms, lengths = rule.terms, {}
        for cvm_id in {*fits, *(rule.occasions.acted & running.keys())}:
            lasted = self._store.figures.idle_for(cvm_id, terms.below, snapshot.monotonic)
            lengths[cvm_id] = lasted
        idle = terms.idle or timedelta()

        def is_busy(cvm_id: str) -> bool:
            lasted = lengths.get(cvm_id)
            return lasted is not None and lasted < idle.total_seconds()

        rule.reconsider(is_busy)
        for cvm_id in rule.occasions.idle_now(lengths, running):
            lasted = lengths[cvm_id] or 0.0
            why = f"under {terms.below:.0%} of CPU for {age_words(lasted)}"
            if cvm_id in fits:
                self._ask(rule, snapshot, fits[cvm_id], why, for_idleness=True)

    def _measure(self, rule: AutoStop, cvm_ids: frozenset[str]) -> None:
        handle = self._measuring.get(rule.id)
        if handle is None:
            self._measuring[rule.id] = self._poll.measure(cvm_ids)
        elif handle.cvm_ids != cvm_ids:
            handle.see(cvm_ids)

    def _look_at_the_clock(self, rule: AutoStop, snapshot: Snapshot, fits: dict[str, Row]) -> None:
        due, missed = rule.occasions.scheduled(self._clock.now())
        table = rule.terms.timetable
        if table is not None and missed is not None:
            why = f"nobody looked at {table.shown(missed)}, as while a machine sleeps"
            rule.note("missed", why)
        if table is not None and due is not None:
            for row in fits.values():
                why = f"scheduled at {table.shown(due)}"
                self._ask(rule, snapshot, row, why, for_idleness=False)

    def _ask(
        self, rule: AutoStop, snapshot: Snapshot, row: Row, why: str, *, for_idleness: bool
    ) -> None:
        try:
            operation = self._operations.submit(
                "shutdown",
                row,
                delay=rule.terms.undo,
                expected_revision=snapshot.revision,
                reason=f"{rule.id}: {why}",
            )
        except CvmError as error:  # it is closed, or too much waits
            rule.note("not asked", clean_text(error.message, 200), row)
            return
        rule.asked(operation, row, why, for_idleness=for_idleness)


_books: "weakref.WeakSet[RuleBook]" = weakref.WeakSet()


def _end_all() -> None:
    """End all rules before pending operations are sent, as they could not be cancelled later."""
    for book in list(_books):
        book.close(0.0, "the program ended")


at_exit(Stage.HALT, _end_all)
