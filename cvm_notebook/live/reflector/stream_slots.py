"""Allocation of the few streams to CVMs, with reconnects; shared with other tabs; pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from cvm_notebook.live.clock import Backoff
from cvm_notebook.live.reflector.events import (
    CloseReason,
    CloseStream,
    FailureKind,
    OpenStream,
    ReflectorSettings,
    StreamClosed,
)

_NEVER = float("-inf")
_FOR_EVER = float("inf")
_SHORT_LIVES = 3  # in a row, after which a CVM is polled for a while
_REST = 300.0
_FIRST_REST, _LONGEST_REST = 60.0, 600.0
_BURST = 5.0


@dataclass(slots=True)
class _Past:
    """The history of one CVM's streams."""

    backoff: Backoff = field(default_factory=Backoff)
    not_before: float = _NEVER


class StreamSlots:
    """The allocation of streams to CVMs, and when each may reconnect.

    The service allows a user five streams, whoever opens them, and refuses the sixth. Whoever is
    refused gives one back and asks again after a minute, then ever later: so one stays free for a
    watch in a cell or another tab, and two notebooks do not fight over it.

    Attributes
    ----------
    allowed
        How many there may be at the moment.
    problem
        Why there are none at all, in words; None when there may be some.
    """

    def __init__(self, settings: ReflectorSettings) -> None:
        self.allowed = settings.streams
        self.problem: str | None = None
        self._most = settings.streams
        self._open: dict[str, bool] = {}  # id -> whether it has spoken
        self._closing: set[str] = set()
        self._pasts: dict[str, _Past] = {}
        self._rest = 0.0
        self._refused_at = _NEVER
        self._more_at = _FOR_EVER
        self._none_until = _NEVER

    def next(
        self, now: float, followed: Collection[str], busy: Collection[str]
    ) -> list[OpenStream | CloseStream]:
        """Return the streams to open and to close; `followed` come before `busy`."""
        if now >= self._more_at:
            self.allowed = min(self.allowed + 1, self._most)
            self._more_at = _FOR_EVER if self.allowed == self._most else now + self._rest
        chosen = self._choose(now, followed, busy)
        close = [c for c in self._open if c not in chosen and c not in self._closing]
        self._closing.update(close)
        room = self.allowed - len(self._open)
        opened = [c for c in chosen if c not in self._open][: max(room, 0)]
        self._open.update(dict.fromkeys(opened, False))
        return [*map(CloseStream, close), *map(OpenStream, opened)]

    def _choose(self, now: float, followed: Collection[str], busy: Collection[str]) -> list[str]:
        if now < self._none_until:
            return []
        chosen: dict[str, None] = {}
        for group in (followed, busy):
            held = (c for c in self._open if c in group)  # who has a place keeps it
            for cvm_id in chain(held, group):
                if len(chosen) >= self.allowed:
                    break  # there may be a thousand more, and this is asked at every event
                if self._may(cvm_id, now):
                    chosen[cvm_id] = None
        return list(chosen)

    def _may(self, cvm_id: str, now: float) -> bool:
        past = self._pasts.get(cvm_id)
        return past is None or past.not_before <= now

    def covered(self, cvm_id: str) -> bool:
        """Whether a stream reports on it."""
        return self._open.get(cvm_id, False)

    def opened(self, now: float, cvm_id: str) -> None:
        """Count a first event."""
        if cvm_id in self._open:
            self._open[cvm_id] = True
            self._past(cvm_id).backoff.succeeded(now)
            self.problem = None
            self._none_until = _NEVER
            if len(self._open) >= self._most:
                self._rest = 0.0  # all places are to be had again

    def ended(self, now: float, end: StreamClosed) -> None:
        """Count an end, and decide when that CVM may reconnect."""
        spoke = self._open.pop(end.cvm_id, False)
        self._closing.discard(end.cvm_id)
        past = self._past(end.cvm_id)
        if end.how is CloseReason.CLOSED:
            return
        if end.how is CloseReason.GONE:
            past.not_before = _FOR_EVER  # until it is listed anew
            return
        kind = end.failure.kind if end.failure is not None else None
        if kind is FailureKind.SLOW_DOWN:
            self._refused(now)
        elif kind is FailureKind.NO_SENSE and not spoke:
            self._none(now)
        elif kind in (FailureKind.MISSING, FailureKind.DENIED):
            past.not_before = _FOR_EVER  # until it changes
        else:
            wait = past.backoff.failed(now)
            resting = past.backoff.failures >= _SHORT_LIVES
            past.not_before = now + max(_REST if resting else wait, end.retry)

    def _refused(self, now: float) -> None:
        self.allowed = max(0, min(self.allowed, len(self._open) - 1))
        if now > self._refused_at + _BURST:  # several that were opened at once are one refusal
            self._rest = min(max(2 * self._rest, _FIRST_REST), _LONGEST_REST)
        self._refused_at = now
        self._more_at = now + self._rest

    def _none(self, now: float) -> None:
        self.problem = "event streams do not come through; statuses are asked for instead"
        self._none_until = now + _LONGEST_REST

    def changed(self, cvm_id: str) -> None:
        """Allow a stream again for a CVM that has changed, though one was refused for good."""
        past = self._pasts.get(cvm_id)
        if past is not None and past.not_before == _FOR_EVER:
            past.not_before = _NEVER

    def forget(self, cvm_id: str) -> None:
        """Forget a CVM that is gone."""
        self._pasts.pop(cvm_id, None)

    def cut(self) -> None:
        """Count all streams as ended."""
        self._open.clear()
        self._closing.clear()

    @property
    def ids(self) -> tuple[str, ...]:
        """The CVMs that have a place."""
        return tuple(self._open)

    def due(self, now: float) -> float:
        """Return the time at which `next` may return something, if nothing happens before."""
        waits = [p.not_before for p in self._pasts.values() if p.not_before > now]
        return min([self._more_at, *([self._none_until] if self._none_until > now else []), *waits])

    def _past(self, cvm_id: str) -> _Past:
        return self._pasts.setdefault(cvm_id, _Past())
