"""Scheduling of status polls, by node, so that a slow one delays no other; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cvm_notebook.live.clock import Backoff
from cvm_notebook.live.reflector.events import (
    Failure,
    FetchStatuses,
    MarkFailed,
    ReflectorSettings,
    WatchTarget,
)

_NEVER = float("-inf")


@dataclass(slots=True)
class _Node:
    """The polling state of one node."""

    backoff: Backoff
    urgent: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    flight: FetchStatuses | None = None
    began: float = 0.0
    slow: bool = False
    reported_slow: bool = False  # in this flight
    not_before: float = _NEVER

    @property
    def wanted(self) -> bool:
        return bool(self.urgent or self.waiting)

    def take(self, most: int) -> tuple[str, ...]:
        """Take the next to ask for, the urgent ones first."""
        everyone = list({**self.urgent, **self.waiting})[:most]
        for uuid in everyone:
            self.urgent.pop(uuid, None)
            self.waiting.pop(uuid, None)
        return tuple(everyone)


class Polling:
    """Questions under way and still to be asked.

    A sweep asks for every CVM, a fast round for those in transition that have no stream. Each node
    has one question under way at most, and slow nodes leave room for the others.
    """

    def __init__(self, settings: ReflectorSettings) -> None:
        self._settings = settings
        self._rows: dict[str, WatchTarget] = {}
        self._nodes: dict[str, _Node] = {}
        self._silent: set[str] = set()
        self._sweep_at = _NEVER
        self._fast_at: float | None = None
        self._hold_until = _NEVER
        self._probing = False

    def rows(self, now: tuple[WatchTarget, ...], gone: Iterable[str]) -> list[WatchTarget]:
        """Take note of rows; return those that are watched otherwise than before."""
        changed: list[WatchTarget] = []
        for row in now:
            before = self._rows.get(row.id)
            if row == before:
                continue
            changed.append(row)
            if before is not None and before.node != row.node:
                self._forget(before)
            self._rows[row.id] = row
            if row.settling and row.uuid and not (before and before.settling):
                self._node(row.node).urgent[row.uuid] = None
        for cvm_id in gone:
            before = self._rows.pop(cvm_id, None)
            if before is not None:
                self._forget(before)
        return changed

    def knows(self, cvm_id: str) -> bool:
        """Return whether it is a CVM of the fleet."""
        return cvm_id in self._rows

    def urge(self, cvm_id: str) -> None:
        """Ask for one CVM before the others of its node."""
        row = self._rows.get(cvm_id)
        if row is not None and row.uuid:
            self._node(row.node).urgent[row.uuid] = None

    def sweep(self, now: float) -> None:
        """Ask for everyone, now; later again by itself."""
        for row in self._rows.values():
            if row.uuid:
                self._node(row.node).waiting[row.uuid] = None
        sizes: dict[str, int] = {}
        for row in self._rows.values():
            sizes[row.node] = sizes.get(row.node, 0) + 1
        chunks = sum(-(-size // self._settings.chunk) for size in sizes.values())
        self._sweep_at = now + max(self._settings.sweep, chunks / self._settings.per_second)

    def hold(self, until: float) -> None:
        """Ask nothing before then, and one question first: the service asked to slow down."""
        self._hold_until = max(self._hold_until, until)
        self._probing = True

    def next(self, now: float, hot: Iterable[str]) -> list[FetchStatuses | MarkFailed]:
        """Return the questions to ask now; `hot` are the ids to be asked for in fast rounds."""
        if now < self._hold_until:
            return []
        if now >= self._sweep_at:
            self.sweep(now)
        self._fast_round(now, hot)
        return [*self._overdue(now), *self._begin(now)]

    def answered(self, now: float, ask: FetchStatuses, silent: tuple[str, ...]) -> tuple[str, ...]:
        """Count an answer; return the ids that are missing from an answer for the first time."""
        node = self._node(ask.node)
        node.slow = now - node.began >= self._settings.slow_after
        node.flight = None
        self._probing = False
        node.backoff.succeeded(now)
        node.not_before = _NEVER
        self._silent.difference_update(set(ask.uuids).difference(silent))
        first = set(silent).difference(self._silent)
        self._silent.update(first)
        return tuple(row.id for row in self._rows.values() if row.uuid in first) if first else ()

    def failed(self, now: float, ask: FetchStatuses, failure: Failure) -> tuple[bool, MarkFailed]:
        """Count a failure; return whether the node had been well until now, and what to say."""
        node = self._node(ask.node)
        node.flight = None
        node.waiting.update(dict.fromkeys(ask.uuids))
        was_well = node.not_before == _NEVER
        node.not_before = now + max(node.backoff.failed(now), failure.retry_after)
        return was_well, MarkFailed(ask.uuids, failure.cause, node.began)

    def cut(self) -> None:
        """Forget what is under way; a sweep begins anew."""
        self._nodes.clear()
        self._sweep_at = _NEVER
        self._fast_at = None

    def due(self, now: float) -> float:
        """Return the time at which `next` returns something again, if nothing happens before."""
        times = [self._sweep_at]
        if self._fast_at is not None:
            times.append(self._fast_at)
        for node in self._nodes.values():
            if node.flight is None:
                times += [node.not_before] if node.wanted and node.not_before > now else []
            elif not node.reported_slow:
                times.append(node.began + self._settings.slow_after)
        return max(min(times), self._hold_until)

    @property
    def waits_since(self) -> float | None:
        """Since when a node owes an answer; None where none does."""
        return min((n.began for n in self._nodes.values() if n.flight is not None), default=None)

    def _fast_round(self, now: float, hot: Iterable[str]) -> None:
        hot = iter(hot)  # there may be a thousand, and this is asked at every event
        first = next(hot, None)
        if first is None:
            self._fast_at = None
        elif self._fast_at is None:
            self._fast_at = now + self._settings.fast
        elif now >= self._fast_at:
            self._fast_at = now + self._settings.fast
            for cvm_id in (first, *hot):
                self.urge(cvm_id)

    def _begin(self, now: float) -> list[FetchStatuses]:
        flights = [node for node in self._nodes.values() if node.flight is not None]
        slow = sum(node.slow for node in flights)
        under_way = sum(
            not node.reported_slow for node in flights
        )  # who is overdue is waited for besides
        left = max(0, (1 if self._probing else self._settings.calls) - under_way)
        asks: list[FetchStatuses] = []
        ready = [
            (name, node)
            for name, node in self._nodes.items()
            if node.wanted and node.flight is None and node.not_before <= now
        ]
        ready.sort(key=lambda pair: (pair[1].slow, not pair[1].urgent, pair[1].began))
        for name, node in ready[:left]:
            slow += node.slow
            if node.slow and slow > max(1, self._settings.calls // 2):
                break  # these are the last: the others are sorted before them
            node.flight = FetchStatuses(name, node.take(self._settings.chunk))
            node.began, node.reported_slow = now, False
            asks.append(node.flight)
        return asks

    def _overdue(self, now: float) -> list[MarkFailed]:
        marks: list[MarkFailed] = []
        for name, node in self._nodes.items():
            late = now - node.began >= self._settings.slow_after
            if node.flight is not None and late and not node.reported_slow:
                node.reported_slow = node.slow = True
                seconds = f"{self._settings.slow_after:.0f} s"
                why = f"node {name or '(unnamed)'} has not answered for {seconds}"
                cvms = (*node.flight.uuids, *node.urgent, *node.waiting)
                marks.append(MarkFailed(cvms, why, node.began))
        return marks

    def _node(self, name: str) -> _Node:
        return self._nodes.setdefault(name, _Node(Backoff()))

    def _forget(self, row: WatchTarget) -> None:
        node = self._nodes.get(row.node)
        if node is not None and row.uuid is not None:
            node.urgent.pop(row.uuid, None)
            node.waiting.pop(row.uuid, None)
