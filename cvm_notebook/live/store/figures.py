"""How busy CVMs are: what guests say of CPU, memory and disks, kept beside the rows for a day.

A figure that changes makes no new row: rows stay what the service's records say. Each sample tells
of the time since the one before it, for a guest averages its load over 1, 5 and 15 minutes; what
lies further back was not observed.
"""

import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf, isnan, nan
from typing import Final, Literal, NamedTuple, TypeAlias

from cvm_notebook.api.models.guest import SystemInfo

FigureState: TypeAlias = Literal["known", "private", "failed", "unknown"]
FIGURE_STATES: Final[tuple[FigureState, ...]] = ("known", "private", "failed", "unknown")

IDLE_BELOW: Final = 0.1
"""The share of its CPU under which a CVM is idle, by default."""
FRESH: Final = 300.0
"""Seconds for which a figure is shown as the present one."""
FULL: Final = 900.0
"""Seconds in which every sample is kept."""

_BUCKET: Final = 300.0  # what is older is kept as one point for so many seconds
_OLDEST: Final = 86_400.0
_CVMS: Final = 1_000  # whose history is kept: some 20 kB each
# A load average covers its window, and a little more: polls come late.
_REACH: Final = ((1, 90.0), (5, 330.0), (15, 930.0))


class Sample(NamedTuple):
    """What a guest reported of itself at a moment.

    Attributes
    ----------
    at, received
        Wall time in seconds since 1970, and monotonic time.
    loads
        The load of 1, 5 and 15 minutes as shares of its vCPUs.
    memory
        The share in use.
    uptime
        Seconds since it booted.
    info
        All that it reported, of which this is made.
    """

    cvm_id: str
    at: float
    received: float
    loads: tuple[float | None, float | None, float | None]
    memory: float | None = None
    uptime: float | None = None
    info: SystemInfo | None = None

    @classmethod
    def of(cls, cvm_id: str, info: SystemInfo, *, at: datetime, received: float) -> "Sample":
        """Read it from a guest's answer."""
        loads = (info.cpu(1), info.cpu(5), info.cpu(15))
        return cls(cvm_id, at.timestamp(), received, loads, info.memory, info.uptime, info)

    def since(self, gap: float | None) -> tuple[float, float]:
        """Return the time since the last sample that this one covers, and the load in it.

        Parameters
        ----------
        gap
            Seconds since the last one; None where there was none.

        Returns
        -------
        tuple of float
            Seconds: the gap, or 0.0 where it is more than a load average reaches over or the CVM
            booted in it, so that what was before is not joined. And the highest average that
            covers them; infinity where the guest has none, for then it may not have been idle.
        """
        highest = -inf
        if gap is None or (self.uptime is not None and self.uptime < gap):
            return 0.0, _or(self.loads[0], inf)
        for load, (_, reach) in zip(self.loads, _REACH, strict=True):
            highest = max(highest, _or(load, inf))
            if gap <= reach:
                return max(gap, 0.0), highest
        return 0.0, _or(self.loads[0], inf)


class Point(NamedTuple):
    """Some time of one CVM: a sample, or five minutes of them.

    Attributes
    ----------
    at, received
        When it ends; wall and monotonic time in seconds.
    cpu, memory, disk
        Means, as shares; NaN where the guest did not say.
    highest
        The highest load that was seen.
    covers
        Seconds before ``received`` that it covers; 0.0 where there is no sample right before.
    samples
        How many samples it is made of.
    """

    at: float
    received: float
    cpu: float
    highest: float
    memory: float
    covers: float
    samples: float
    disk: float = nan

    def joined(self, later: "Point") -> "Point":
        """Return both as one."""
        samples = self.samples + later.samples

        def mean(one: float, other: float) -> float:
            if isnan(one) or isnan(other):
                return other if isnan(one) else one
            return (one * self.samples + other * later.samples) / samples

        return Point(
            later.at,
            later.received,
            mean(self.cpu, later.cpu),
            max(self.highest, later.highest),
            mean(self.memory, later.memory),
            self.covers + later.covers,
            samples,
            mean(self.disk, later.disk),
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of how busy one CVM is; frozen.

    Attributes
    ----------
    state
        ``known``; ``private`` where the CVM shows no figures; ``failed`` where they could not be
        read last, for the reason in ``why``.
    cpu, memory
        Of the last sample, as shares.
    received
        Its monotonic time.
    idle_for
        Seconds up to then, without a break, for which its CPU was under `IDLE_BELOW`.
    """

    state: FigureState
    cpu: float | None = None
    memory: float | None = None
    received: float = -inf
    idle_for: float | None = None
    why: str = ""

    def is_fresh(self, now: float) -> bool:
        """Whether the figures may be shown as the present ones."""
        return now - self.received <= FRESH


@dataclass(frozen=True, slots=True)
class Measured:
    """New figures have come: whose they are."""

    cvm_ids: tuple[str, ...]


class FigureHistory:
    """The figures of every CVM that was asked for them. Safe to use from any thread.

    Every sample is kept for 15 minutes, then a mean and the highest load for each five minutes, for
    24 hours; of the 1,000 CVMs that were measured last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}
        self._figures: Mapping[str, Figures] = {}

    @property
    def latest(self) -> Mapping[str, Figures]:
        """What is known now, by CVM; a mapping that never changes."""
        return self._figures

    def take(self, samples: Iterable[Sample]) -> None:
        """Take samples, each newer than what is known of its CVM."""
        with self._lock:
            known = dict(self._figures)
            for sample in samples:
                series = self._series.pop(sample.cvm_id, None) or _Series()
                if series.take(sample):
                    known[sample.cvm_id] = Figures(
                        "known",
                        sample.loads[0],
                        sample.memory,
                        sample.received,
                        series.idle_for,
                    )
                self._series[sample.cvm_id] = series
            for cvm_id in list(self._series)[: max(0, len(self._series) - _CVMS)]:
                del self._series[cvm_id]
                known.pop(cvm_id, None)
            self._figures = known

    def note(self, state: FigureState, reasons: Mapping[str, str]) -> None:
        """Take why CVMs have no new figures, by id; the last ones stay until they are old."""
        with self._lock:
            known = dict(self._figures)
            for cvm_id, why in reasons.items():
                old = known.get(cvm_id)
                keep = state == "failed" and old is not None
                known[cvm_id] = (
                    Figures(state, old.cpu, old.memory, old.received, old.idle_for, why)
                    if keep and old is not None
                    else Figures(state, why=why)
                )
            self._figures = known

    def forget(self, cvm_ids: Iterable[str]) -> None:
        """Forget CVMs that are gone."""
        with self._lock:
            gone = set(cvm_ids)
            for cvm_id in gone & set(self._series):
                del self._series[cvm_id]
            if not gone.isdisjoint(self._figures):
                left = {key: known for key, known in self._figures.items() if key not in gone}
                self._figures = left

    def points(self, cvm_id: str) -> tuple[Point, ...]:
        """Return the history of a CVM, the oldest first."""
        with self._lock:
            series = self._series.get(cvm_id)
            return () if series is None else tuple(series)

    def recent(self, cvm_id: str) -> tuple[Point, ...]:
        """Return the samples of a CVM that are kept one by one: those of `FULL` seconds."""
        with self._lock:
            series = self._series.get(cvm_id)
            return () if series is None else series.samples

    def sample(self, cvm_id: str) -> Sample | None:
        """Return the last sample of a CVM."""
        with self._lock:
            series = self._series.get(cvm_id)
            return None if series is None else series.last

    def idle_for(self, cvm_id: str, below: float, now: float) -> float | None:
        """Return for how many seconds, up to its last sample, a CVM was under a share of its CPU.

        Returns
        -------
        float or None
            0.0 when it was not at the last sample; None where that is not fresh: nobody knows. Time
            that is kept as five minutes counts where the highest load in them was below.
        """
        known = self._figures.get(cvm_id)
        if known is None or known.received == -inf or not known.is_fresh(now):
            return None
        if below == IDLE_BELOW:
            return known.idle_for
        began: float | None = None
        for point in reversed(self.points(cvm_id)):
            if not point.highest < below:
                break
            began = point.received - point.covers
            if not point.covers:
                break
        return 0.0 if began is None else known.received - began

    def was_busy(self, cvm_id: str, below: float) -> bool:
        """Return whether a sample since the last gap in measuring was at a share of its CPU."""
        for point in reversed(self.points(cvm_id)):
            if not point.highest < below:
                return True
            if not point.covers:
                break
        return False


class _Series:
    """The history of one CVM."""

    def __init__(self) -> None:
        self._full, self._thin = _Points(), _Points()
        self._idle_since: float | None = None
        self.last: Sample | None = None

    @property
    def samples(self) -> tuple[Point, ...]:
        """What is kept one by one."""
        return tuple(self._full)

    @property
    def idle_for(self) -> float:
        """How long it has been idle, up to the last sample."""
        return 0.0 if self._idle_since is None else self._full[-1].received - self._idle_since

    def take(self, sample: Sample) -> bool:
        """Take a sample; False where it is not newer than the last."""
        last = self._full[-1] if self._full else None
        gap = None
        if last is not None:
            if sample.received <= last.received:
                return False
            # whichever clock saw more time pass: one stands still while a machine sleeps
            gap = max(sample.received - last.received, sample.at - last.at)
        self.last = sample
        covers, highest = sample.since(gap)
        cpu, memory = _or(sample.loads[0], nan), _or(sample.memory, nan)
        disk = nan if sample.info is None else _or(sample.info.disk, nan)
        self._full.add(Point(sample.at, sample.received, cpu, highest, memory, covers, 1.0, disk))
        seen = sample.received, covers, highest
        self._idle_since = idle_since(self._idle_since, *seen, IDLE_BELOW)
        self._thin_out(sample.received)
        return True

    def _thin_out(self, now: float) -> None:
        while now - self._full[0].received > FULL:
            point = self._full.take_first()
            last = self._thin[-1] if self._thin else None
            same = last is not None and last.at // _BUCKET == point.at // _BUCKET
            if last is not None and same and point.covers:
                self._thin.put_last(last.joined(point))
            else:
                self._thin.add(point)
        while self._thin and now - self._thin[0].received > _OLDEST:
            self._thin.take_first()

    def __iter__(self) -> Iterator[Point]:
        yield from self._thin
        yield from self._full


class _Points:
    """Points in the order of time, in a few bytes each."""

    _WIDTH: Final = len(Point._fields)

    def __init__(self) -> None:
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._numbers) // self._WIDTH

    def __getitem__(self, place: int) -> Point:
        first = range(len(self))[place] * self._WIDTH
        return Point(*self._numbers[first : first + self._WIDTH])

    def __iter__(self) -> Iterator[Point]:
        for place in range(len(self)):
            yield self[place]

    def add(self, point: Point) -> None:
        self._numbers.extend(point)

    def put_last(self, point: Point) -> None:
        self._numbers[-self._WIDTH :] = array("d", point)

    def take_first(self) -> Point:
        first = self[0]
        del self._numbers[: self._WIDTH]
        return first


def idle_since(
    before: float | None, now: float, covers: float, highest: float, below: float
) -> float | None:
    """Return since when a CVM is idle, after one more sample; None when it is not.

    Parameters
    ----------
    before
        The same up to the sample before.
    now
        When this one was taken, by the same clock.
    covers, highest
        As of `Sample.since`.
    below
        The share of its CPU under which it is idle.
    """
    if not highest < below:
        return None
    return now - covers if before is None or not covers else before


def moment(at: float) -> datetime:
    """Return the wall time of a point, in UTC."""
    return datetime.fromtimestamp(at, UTC)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
