"""Scheduling of metrics requests: a few at a time, within a rate limit; pure decisions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cvm_notebook.live.clock import Backoff

_FOR_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class PollSettings:
    """Settings of the metrics poll. Times are seconds.

    Attributes
    ----------
    every
        Between two questions to one CVM, where the rate allows it.
    at_once
        Most questions under way.
    per_second
        Questions a second in the long run, of all CVMs: a round of 60 may be asked as fast as they
        answer, and of more of them it takes longer.
    give_up_after
        How long an answer is waited for.
    longest
        Between two questions to a CVM that does not answer.
    look
        After which new CVMs, and those that are no longer wanted, are noticed.
    """

    every: float = 30.0
    at_once: int = 16
    per_second: float = 2.0
    give_up_after: float = 10.0
    longest: float = 300.0
    look: float = 5.0


class PollTarget(NamedTuple):
    """A CVM whose figures are wanted.

    Attributes
    ----------
    public
        Whether its record says that it shows figures; None where it does not say.
    version
        Changes with its record: one that was private is asked again when it does.
    """

    cvm_id: str
    public: bool | None
    version: str | None


class PollRound(NamedTuple):
    """One round of the poll: the CVMs to ask, and those newly known to be private."""

    ask: tuple[str, ...]
    private: tuple[str, ...]


@dataclass(slots=True)
class _Asked:
    """The results of the requests to one CVM."""

    due: float
    backoff: Backoff
    under_way: bool = False
    private_as: tuple[bool | None, str | None] | None = None  # as it stood when it was private


@dataclass(slots=True)
class PollSchedule:
    """The schedule of the poll, CVM by CVM. It reads no clock and sends nothing."""

    settings: PollSettings
    _known: dict[str, _Asked] = field(default_factory=dict)
    _allowed: float = 0.0
    _counted_at: float | None = None
    _not_before: float = -_FOR_EVER

    def next(self, now: float, wanted: Iterable[PollTarget]) -> PollRound:
        """Return the CVMs to ask now; CVMs that are no longer wanted are forgotten."""
        targets = {target.cvm_id: target for target in wanted}
        for gone in [k for k, a in self._known.items() if k not in targets and not a.under_way]:
            del self._known[gone]
        private, due = [], []
        for target in targets.values():
            asked = self._known.get(target.cvm_id)
            if asked is None:
                backoff = Backoff(first=self.settings.every, cap=self.settings.longest)
                asked = self._known[target.cvm_id] = _Asked(now, backoff)
            if self._is_private(asked, target):
                private += [target.cvm_id] if asked.private_as is None else []
                asked.private_as = target.public, target.version
            elif not asked.under_way and asked.due <= now:
                due.append((asked.due, target.cvm_id, asked))
        return PollRound(self._begin(now, sorted(due, key=lambda one: one[0])), tuple(private))

    def _is_private(self, asked: _Asked, target: PollTarget) -> bool:
        if target.public is False:
            return True
        if asked.private_as == (target.public, target.version):
            return True
        if asked.private_as is not None:  # its record is another one since
            asked.private_as, asked.due = None, -_FOR_EVER
        return False

    def _begin(self, now: float, due: list[tuple[float, str, _Asked]]) -> tuple[str, ...]:
        most = self.settings.every * self.settings.per_second
        since = _FOR_EVER if self._counted_at is None else now - self._counted_at
        self._allowed = min(most, self._allowed + since * self.settings.per_second)
        self._counted_at = now
        flying = sum(asked.under_way for asked in self._known.values())
        room = min(self.settings.at_once - flying, int(self._allowed))
        if now < self._not_before:
            room = 0
        begun = due[: max(0, room)]
        for _, _, asked in begun:
            asked.under_way = True
            asked.due = now + self.settings.every
        self._allowed -= len(begun)
        return tuple(cvm_id for _, cvm_id, _ in begun)

    def answered(self, now: float, target: PollTarget, *, private: bool) -> None:
        """Count an answer: figures, or that there are none for us."""
        asked = self._known.get(target.cvm_id)
        if asked is not None:
            asked.under_way = False
            asked.backoff.succeeded(now)
            asked.private_as = (target.public, target.version) if private else None

    def failed(self, now: float, cvm_id: str) -> None:
        """Count a failure: it is asked again later, and ever later."""
        asked = self._known.get(cvm_id)
        if asked is not None:
            asked.under_way = False
            asked.due = now + max(self.settings.every, asked.backoff.failed(now))

    def resume(self) -> None:
        """Ask again everyone who waits for an answer, and at once: those will not come."""
        self._not_before = -_FOR_EVER
        for asked in self._known.values():
            if asked.under_way:
                asked.under_way, asked.due = False, -_FOR_EVER

    def hold(self, until: float) -> None:
        """Hold all requests until then: the service asked to slow down, or refused the key."""
        self._not_before = max(self._not_before, until)

    @property
    def under_way(self) -> bool:
        """Whether answers are waited for."""
        return any(asked.under_way for asked in self._known.values())

    def pause(self, now: float) -> float:
        """Return the seconds until `next` may have something to say, if nothing happens before."""
        due = [
            asked.due
            for asked in self._known.values()
            if not asked.under_way and asked.private_as is None
        ]
        wait = max(min(due, default=_FOR_EVER), self._not_before) - now
        if wait <= 0:  # a request waits for the rate limit, or for an answer
            wait = max((1 - self._allowed) / self.settings.per_second, 0.05)
        return min(wait, self.settings.look)
