"""What the live fleet is made of: rows, changes, snapshots; all of it frozen."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self, TypeAlias

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.actions import OperationStatus
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.attest.words import Word
from cvm_notebook.live.store.figures import Figures
from cvm_notebook.live.store.index import Index

Source: TypeAlias = Literal["list", "get", "batch", "stream", "action"]


class Provenance(NamedTuple):
    """When, and by which call, a row was last seen to be as it is."""

    received: float
    at: datetime
    source: Source
    asked: float | None = None

    @property
    def moment(self) -> float:
        """The monotonic time that what was seen is as old as: when it was asked for, at most."""
        return self.received if self.asked is None else min(self.asked, self.received)


class TrustCheck(NamedTuple):
    """One check of a verdict, in words."""

    name: str
    title: str
    outcome: str
    reason: str
    todo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the last verification of a CVM came to: its verdict without the evidence.

    Attributes
    ----------
    word, summary
        Of the verdict: one word, and what led to it.
    at
        The instant of the judgement.
    until
        Until when it can be repeated with the same collateral.
    checks
        All nine, in their order.
    """

    word: Word
    summary: str
    at: datetime
    until: datetime | None
    checks: tuple[TrustCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One CVM as it is known now.

    What a row says never changes: a change makes a new row. Only ``seen`` and ``uptime`` advance,
    when a newer fact says the same; so rows compare without them, and an unchanged row stays the
    same object. How a CVM at rest came to it, which a list does not say, is filled in.

    Attributes
    ----------
    cvm
        Its last full record, from a list or a get.
    status
        The server's word, by the newest fact.
    in_progress, operation
        Whether, and which, operation is under way.
    boot_progress, boot_error, shutdown_progress, uptime
        The progress and error of the newest fact with this status.
    revision
        The store's revision at which the row last changed.
    error
        Why the row could not be refreshed, or None.
    trust
        What was proven of it as it runs now, or None where it is not verified.
    seen
        The receipt, wall time and source of the newest fact.
    """

    cvm: Cvm
    status: str | None = None
    in_progress: bool = False
    operation: OperationStatus | None = None
    boot_progress: str | None = None
    boot_error: str | None = None
    shutdown_progress: str | None = None
    uptime: str | None = field(default=None, compare=False)
    error: str | None = None
    trust: Trust | None = None
    revision: int = 0
    seen: Provenance = field(compare=False)

    @classmethod
    def of_cvm(cls, cvm: Cvm, seen: Provenance, revision: int = 0) -> Self:
        """Make the row of a record, when nothing else is known."""
        return cls(
            cvm=cvm,
            status=cvm.status,
            in_progress=bool(cvm.in_progress),
            operation=operation_in(cvm),
            revision=revision,
            seen=seen,
        )

    def __hash__(self) -> int:
        return hash((self.id, self.revision))

    @property
    def id(self) -> str:
        """The CVM's id; where the service gave none, its next best identifier."""
        return key_of(self.cvm) or ""

    @property
    def name(self) -> str | None:
        """The CVM's name."""
        return self.cvm.name

    @property
    def vm_uuid(self) -> str | None:
        """The VM's UUID."""
        return self.cvm.vm_uuid

    @property
    def app_id(self) -> str | None:
        """The app it is an instance of."""
        return self.cvm.app_id

    @property
    def observed_at(self) -> float:
        """The monotonic receipt of the newest fact."""
        return self.seen.received

    @property
    def seen_at(self) -> datetime:
        """The wall time of that receipt, in UTC."""
        return self.seen.at

    @property
    def source(self) -> Source:
        """The call that brought the newest fact."""
        return self.seen.source

    def age(self, now: float) -> float:
        """Return the seconds since the newest fact, by the monotonic clock."""
        return max(0.0, now - self.seen.received)


def key_of(cvm: Cvm) -> str | None:
    """Return what a CVM is kept under: its id, or else the next best identifier."""
    return cvm.id or cvm.vm_uuid or cvm.instance_id or cvm.app_id or cvm.name


def operation_in(cvm: Cvm) -> OperationStatus | None:
    """Return the operation under way in a record, as a batch status has it."""
    doing = cvm.progress
    if doing is None:
        return None
    return OperationStatus(
        type=doing.target, started_at=doing.started_at, correlation_id=doing.correlation_id
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row came (``before`` is None), became another, or went (``after`` is None).

    Attributes
    ----------
    seq
        Counts every change of the store, without gaps.
    revision
        The store's revision; changes that came in together share it.
    at, received
        The wall time and the monotonic time at which the cause was received.
    made_at
        The wall time at which the store changed.
    lag_ms
        From the receipt to the change.
    position
        Of a row that went: its place among the rows before.
    operation_id
        The entry in our ledger that brought it about, where that is known.
    """

    seq: int
    before: Row | None
    after: Row | None
    revision: int
    source: Source
    at: datetime
    received: float
    made_at: datetime | None = None
    lag_ms: float | None = None
    operation_id: str | None = None
    position: int | None = None

    @property
    def row(self) -> Row:
        """The row as it is now, or as it last was."""
        row = self.after or self.before
        assert row is not None  # noqa: S101 - a change without either is never made
        return row

    @property
    def kind(self) -> Literal["added", "changed", "removed"]:
        """What happened to the row."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes that are no longer kept were asked for: take a snapshot and go on from there."""

    since: int
    oldest: int
    revision: int


HealthState: TypeAlias = Literal[
    "live", "catching up", "offline", "needs a key", "paused", "closed"
]


@dataclass(frozen=True, slots=True)
class Health:
    """How up to date the store is at the moment, why, and what to do.

    Attributes
    ----------
    next_try
        Of one that is offline: the monotonic time at which the service is asked again; None while
        it is being asked.
    """

    state: HealthState
    since: datetime
    cause: str | None = None
    next_step: str | None = None
    next_try: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        text: str = self.state
        if self.state in ("offline", "needs a key"):
            text += f" since {self.since:%H:%M:%S} UTC"
        if self.cause:
            text += f": {self.cause}"
        if self.next_step:
            text = f"{text.rstrip('.')}. {self.next_step}"
        return text


def name_of_app(names: Iterable[str]) -> str:
    """Return what an app is called, whose id says nothing to people: web, and not web-2.

    Parameters
    ----------
    names
        Of its CVMs; the shortest is taken.
    """
    return min(names, key=len, default="")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet at one moment; nothing in it moves but when its rows were last confirmed.

    Attributes
    ----------
    rows
        In the service's order.
    complete
        Whether a whole list has been read yet.
    figures
        How busy CVMs are, by id, as far as that was measured; it belongs to no row.
    """

    revision: int
    rows: tuple[Row, ...]
    taken_at: datetime
    monotonic: float
    health: Health
    complete: bool = True
    index: Index[Any] | None = field(default=None, repr=False, compare=False)
    figures: Mapping[str, Figures] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, identifier: object) -> bool:
        if isinstance(identifier, Row):
            return identifier in self.rows
        try:
            return bool(self._index().matches(identifier))
        except InvalidInput:  # nothing that stands for a CVM
            return False

    def find(self, identifier: Ref) -> Row:
        """Return the one row meant by an id, a uuid, an app id, an instance id or a name.

        Raises
        ------
        InvalidInput
            It is nothing that stands for one CVM.
        UnknownCvm
            There is none; the message has the nearest names.
        AmbiguousCvm
            There are several; the message lists them.
        """
        row: Row = self._index().find(identifier)
        return row

    def _index(self) -> Index[Any]:
        if self.index is None:
            object.__setattr__(self, "index", Index(self.rows))
        found = self.index
        assert found is not None  # noqa: S101 - set above
        return found
