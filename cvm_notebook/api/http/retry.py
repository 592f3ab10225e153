"""The retry policy: pure decisions from (kind of request, attempt, outcome), without a clock."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto


class RetryKind(Enum):
    """The kind of a request, by its effect on the service: the columns of the retry table."""

    READ = auto()  # idempotent
    PROVISION = auto()  # may be repeated: an extra one costs nothing
    COMMIT = auto()  # idempotent by the service's promise: the same pair gives the same CVM
    UPDATE = auto()  # not idempotent: never sent again once it may have arrived


class AttemptOutcome(Enum):
    """The outcome of a failed attempt: the rows of the retry table."""

    NOT_SENT = auto()  # refused, no such host: the service saw nothing
    NO_ANSWER = auto()  # sent, then a timeout, a reset, half an answer or no JSON
    UNTRUSTED = auto()  # certificate, proxy or settings: another try would end the same
    RATE_LIMITED = auto()  # 429
    UNAVAILABLE = auto()  # 502, 503, 504
    SERVER_ERROR = auto()  # 500 and other 5xx
    REDIRECT = auto()
    CONFLICT = auto()  # 409
    REFUSED = auto()  # every other 4xx


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the request again after `after` seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Reconcile: read back what became of it; send again only if nothing began."""

    after: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Raise the error."""


Decision = Retry | Reconcile | GiveUp

_RETRY, _RECONCILE, _GIVE_UP = "retry", "reconcile", "give up"
_ALWAYS = {
    AttemptOutcome.NOT_SENT: _RETRY,
    AttemptOutcome.RATE_LIMITED: _RETRY,  # refused before any work
    AttemptOutcome.UNTRUSTED: _GIVE_UP,
    AttemptOutcome.REDIRECT: _GIVE_UP,
    AttemptOutcome.REFUSED: _GIVE_UP,
    AttemptOutcome.CONFLICT: _GIVE_UP,
}
_LOST = (AttemptOutcome.NO_ANSWER, AttemptOutcome.UNAVAILABLE, AttemptOutcome.SERVER_ERROR)
_TABLE: dict[tuple[RetryKind, AttemptOutcome], str] = {
    **{(kind, outcome): what for kind in RetryKind for outcome, what in _ALWAYS.items()},
    **{(RetryKind.READ, outcome): _RETRY for outcome in _LOST},
    **{(RetryKind.COMMIT, outcome): _RECONCILE for outcome in _LOST},
    **{(RetryKind.UPDATE, outcome): _GIVE_UP for outcome in _LOST},
    # a provision costs nothing and expires by itself
    (RetryKind.PROVISION, AttemptOutcome.NO_ANSWER): _RETRY,
    (RetryKind.PROVISION, AttemptOutcome.UNAVAILABLE): _RETRY,
    (RetryKind.PROVISION, AttemptOutcome.SERVER_ERROR): _GIVE_UP,
    # the conflict may be our own first attempt
    (RetryKind.COMMIT, AttemptOutcome.CONFLICT): _RECONCILE,
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry policy: the number of attempts, and the exponential backoff between them.

    Attributes
    ----------
    attempts
        Most attempts of one call; being asked to slow down (429) may add as many again.
    base, cap
        Seconds: the wait doubles from `base` up to `cap`, then is shortened by up to half at
        random.
    retry_after_cap
        Seconds: the longest wait that a service can ask for.
    """

    attempts: int = 4
    base: float = 0.2
    cap: float = 8.0
    retry_after_cap: float = 60.0

    def decide(
        self,
        kind: RetryKind,
        attempt: int,
        outcome: AttemptOutcome,
        *,
        retry_after: float | None = None,
        rand: Callable[[], float] = random.random,
    ) -> Decision:
        """Decide what follows the failed attempt number `attempt` (the first is 1).

        Parameters
        ----------
        kind, attempt, outcome
            The cell of the table, and how many attempts were made so far.
        retry_after
            Seconds the service asked to wait, or None.
        rand
            Source of jitter in [0, 1).
        """
        what = _TABLE[kind, outcome]
        most = self._most(kind, outcome)
        if what == _GIVE_UP or attempt >= most:
            return GiveUp()
        after = self._wait(attempt, retry_after, rand)
        return Retry(after) if what == _RETRY else Reconcile(after)

    def _most(self, kind: RetryKind, outcome: AttemptOutcome) -> int:
        if outcome is AttemptOutcome.RATE_LIMITED:
            return 2 * self.attempts
        if outcome is AttemptOutcome.SERVER_ERROR and kind is RetryKind.READ:
            return min(2, self.attempts)  # a fault of the service's own is not cured by asking
        return self.attempts

    def _wait(self, attempt: int, retry_after: float | None, rand: Callable[[], float]) -> float:
        if retry_after is not None:
            # all clients got the same time: jitter upwards, never before the time asked for
            return min(retry_after, self.retry_after_cap) * (1 + 0.1 * rand()) + 0.05 * rand()
        return min(self.cap, self.base * 2.0 ** (attempt - 1)) * (1 - 0.5 * rand())


class RetryBudget:
    """A retry budget shared by all calls of one client, so that an outage is not multiplied.

    Each retry takes one token, each success gives a tenth back: in the long run at most one call in
    ten is a retry.
    """

    def __init__(self, tokens: float = 100.0) -> None:
        self._most = tokens
        self._tokens = tokens
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one retry; False when the budget is spent."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def succeeded(self) -> None:
        """Give a tenth of a retry back."""
        if self._tokens < self._most:  # a stale read here costs a tenth of a token, no more
            with self._lock:
                self._tokens = min(self._most, self._tokens + 0.1)

    @property
    def left(self) -> float:
        """Tokens left."""
        return self._tokens
