"""Events and actions of the reflector's state machine, and its settings."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from cvm_notebook.api.errors.tree import (
    ApiError,
    AuthError,
    ConfigurationError,
    DeadlineExceeded,
    DecodeError,
    NotFoundError,
    NotTrustedError,
    RateLimited,
    UnsafeRedirect,
)
from cvm_notebook.api.status import info_of
from cvm_notebook.live.store.records import HealthState, Row

_LONGEST_RETRY_AFTER: Final = 60.0


@dataclass(frozen=True, slots=True)
class ReflectorSettings:
    """Settings of the reflector. Times are seconds.

    Attributes
    ----------
    resync, sweep
        Between two whole lists, and between two questions for the status of every CVM; longer for
        a fleet so large that `per_second` would be exceeded.
    fast
        Between two questions for the CVMs in transition that have no stream.
    streams
        Most streams at a time; the service allows a user five.
    idle_after
        How long it goes on when nobody is interested any more.
    debounce
        Between the beginnings of two lists, at the least.
    per_second
        Requests per second that lists may cost on average, and sweeps as well.
    calls, chunk
        Most questions for statuses at a time, not counting those that are overdue; and most CVMs
        in one.
    slow_after, late_after, give_up_after
        When a node counts as slow, when what is shown no longer counts as live because an answer is
        late, and when it is no longer waited for.
    """

    resync: float = 60.0
    sweep: float = 15.0
    fast: float = 5.0
    streams: int = 4
    idle_after: float = 60.0
    debounce: float = 1.0
    per_second: float = 0.8
    calls: int = 4
    chunk: int = 100
    slow_after: float = 10.0
    late_after: float = 15.0
    give_up_after: float = 45.0


class FailureKind(Enum):
    """The kind of a failure, as far as the reaction depends on it."""

    KEY = auto()  # 401
    DENIED = auto()  # 403
    SLOW_DOWN = auto()  # 429
    MISSING = auto()  # 404
    UNTRUSTED = auto()  # certificate, proxy, redirect, settings: another try would end the same
    NO_SENSE = auto()  # an answer, but not what the API describes
    LATE = auto()  # no answer in time
    FAILED = auto()  # no connection, or 5xx


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request, classified.

    Attributes
    ----------
    retry_after
        Seconds the service asked to wait, clamped to a minute.
    """

    kind: FailureKind
    cause: str
    next_step: str | None = None
    retry_after: float = 0.0
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Classify an error."""
        retry_after = error.retry_after if isinstance(error, ApiError) else None
        return cls(
            _kind_of(error),
            getattr(error, "message", None) or f"{type(error).__name__}: {error}",
            getattr(error, "hint", None),
            min(max(retry_after or 0.0, 0.0), _LONGEST_RETRY_AFTER),
            error,
        )


def _kind_of(error: BaseException) -> FailureKind:
    if isinstance(error, AuthError):
        return FailureKind.KEY if error.is_of_the_key else FailureKind.DENIED
    kinds = {
        RateLimited: FailureKind.SLOW_DOWN,
        NotFoundError: FailureKind.MISSING,
        NotTrustedError: FailureKind.UNTRUSTED,
        ConfigurationError: FailureKind.UNTRUSTED,
        UnsafeRedirect: FailureKind.UNTRUSTED,
        DecodeError: FailureKind.NO_SENSE,
        DeadlineExceeded: FailureKind.LATE,
    }
    found = (kind for type_, kind in kinds.items() if isinstance(error, type_))
    return next(found, FailureKind.FAILED)


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """The part of a row that decides how it is watched.

    Attributes
    ----------
    busy
        It is in transition.
    settling
        Its status is one that lasts, but it was last reported in progress: a stream does not report
        when that ends.
    """

    id: str
    uuid: str | None
    node: str
    busy: bool
    settling: bool = False

    @classmethod
    def of(cls, row: Row) -> "WatchTarget":
        """Read a row."""
        node = row.cvm.node_info
        moving = info_of(row.status).moving
        return cls(
            row.id,
            row.vm_uuid,
            (node and node.name) or "",
            moving or row.in_progress,
            row.in_progress and not moving,
        )


# --- what happens ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interest:
    """Interest in the fleet began, or ended."""

    held: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """The viewer is gone: without interest of anybody else, polling ends."""


@dataclass(frozen=True, slots=True)
class Touched:
    """The fleet was read."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """A user asked for a refresh."""


@dataclass(frozen=True, slots=True)
class ChangedElsewhere:
    """Another fleet of this process changes a CVM, or made or deleted one: then without an id."""

    cvm_id: str | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """Following a CVM by a stream begins, or ends."""

    cvm_id: str
    on: bool = True


@dataclass(frozen=True, slots=True)
class RowsChanged:
    """Rows were added, changed or removed."""

    now: tuple[WatchTarget, ...]
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchStatuses:
    """An action: request the statuses of CVMs of one node."""

    node: str
    uuids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageFetched:
    """A page of the list came: the others may take their time."""


@dataclass(frozen=True, slots=True)
class ListFetched:
    """The list is in the store.

    Attributes
    ----------
    rows
        How many it has.
    whole
        False when it may lack some: CVMs came or went while it was read.
    """

    rows: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class ListFailed:
    """The list could not be read to its end."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class StatusesFetched:
    """Statuses are in the store; of some CVMs the answer did not speak."""

    ask: FetchStatuses
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusesFailed:
    """The request for statuses failed."""

    ask: FetchStatuses
    failure: Failure


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream has sent its first event."""

    cvm_id: str


class CloseReason(Enum):
    """The reason for a stream's end."""

    ENDED = auto()  # in good order, or because its time was over
    GONE = auto()  # it says that the CVM is no more
    CLOSED = auto()  # by us
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream is at its end; its place is free.

    Attributes
    ----------
    retry
        Seconds the stream asked to wait before another.
    """

    cvm_id: str
    how: CloseReason
    failure: Failure | None = None
    retry: float = 0.0


@dataclass(frozen=True, slots=True)
class Woke:
    """The computer was asleep: connections are dead, and the store is out of date."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A new API key was given."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The thread crashed and was restarted, or (``final``) not."""

    cause: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: a timer event."""


Event: TypeAlias = (
    Interest
    | Dropped
    | Touched
    | Refresh
    | ChangedElsewhere
    | Follow
    | RowsChanged
    | PageFetched
    | ListFetched
    | ListFailed
    | StatusesFetched
    | StatusesFailed
    | StreamOpened
    | StreamClosed
    | Woke
    | Resumed
    | Crashed
    | Tick
)


# --- what is to be done ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchList:
    """An action: read the whole list."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """An action: open a stream."""

    cvm_id: str


@dataclass(frozen=True, slots=True)
class CloseStream:
    """An action: close a stream."""

    cvm_id: str


@dataclass(frozen=True, slots=True)
class MarkFailed:
    """An action: write to rows, by id or uuid, why they could not be refreshed.

    Attributes
    ----------
    asked
        When that was tried: what is known since then, and a late answer, count for more.
    """

    cvms: tuple[str, ...]
    why: str
    asked: float


@dataclass(frozen=True, slots=True)
class SetHealth:
    """An action: set the store's health; `next_try` is when the list is requested again."""

    state: HealthState
    cause: str | None = None
    next_step: str | None = None
    next_try: float | None = None


@dataclass(frozen=True, slots=True)
class AbortAll:
    """An action: abort all calls and streams, and ignore their results."""


Action: TypeAlias = (
    FetchList | FetchStatuses | OpenStream | CloseStream | MarkFailed | SetHealth | AbortAll
)
