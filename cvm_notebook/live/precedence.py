"""Which of several facts about a CVM is the newest, in whatever order they came in.

Facts are ordered by operation (when it began), then by the service's own time, then by receipt.
Not every fact tells of an operation, or has a time of the service's; two facts are compared by
what both of them have. Such an order is not transitive, so the newest of many is not found by
keeping the newer of each pair. Instead the best of each kind of fact is kept (there are four
kinds), and these are compared with each other: what comes out depends on which facts there were,
and not on the order in which they came.
"""

from datetime import datetime
from typing import Final, NamedTuple, Self

from cvm_notebook.api.values import instant
from cvm_notebook.live.facts import Fact

# A fact so much younger by receipt is newer, whatever times it tells: the service's clock may have
# been set back, and must not freeze what we know.
HORIZON: Final = 120.0


class Standing(NamedTuple):
    """What decides between two facts.

    Attributes
    ----------
    operation
        When the operation began that the fact tells of.
    server
        The service's own time of it.
    moment
        The monotonic time at which it was asked for, or received where it was pushed.
    """

    operation: datetime | None
    server: datetime | None
    moment: float

    @classmethod
    def of(cls, fact: Fact) -> Self:
        """Return where a fact stands."""
        doing = fact.operation
        began = instant(doing.started_at) if doing else None
        return cls(began, fact.server_time, fact.moment)

    @property
    def kind(self) -> int:
        """Facts of one kind have the same things to be compared by."""
        return 2 * (self.operation is not None) + (self.server is not None)


def newer(one: Standing, other: Standing) -> bool:
    """Return whether one is at least as new as the other."""
    if abs(one.moment - other.moment) <= HORIZON:
        for mine, its in ((one.operation, other.operation), (one.server, other.server)):
            if mine is not None and its is not None and mine != its:
                return mine > its
    return one.moment >= other.moment


class Claims:
    """The best fact of each kind about one thing."""

    __slots__ = ("_best",)

    def __init__(self) -> None:
        self._best: dict[int, tuple[Standing, Fact]] = {}

    def take(self, standing: Standing, fact: Fact) -> None:
        """Keep the fact if it is the best of its kind."""
        held = self._best.get(standing.kind)
        if held is None or newer(standing, held[0]):
            self._best[standing.kind] = standing, fact

    def winner(self) -> tuple[Standing, Fact] | None:
        """Return the newest fact, or None when there was none."""
        with_operation = self._of_pair(3, 2)
        without = self._of_pair(1, 0)
        if with_operation is None or without is None:
            return with_operation or without
        return with_operation if newer(with_operation[0], without[0]) else without

    def _of_pair(self, dated: int, plain: int) -> tuple[Standing, Fact] | None:
        one, other = self._best.get(dated), self._best.get(plain)
        if one is None or other is None:
            return one or other
        return one if newer(one[0], other[0]) else other
