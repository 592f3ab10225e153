"""What columns are read from in a live fleet: each row with its own newest status and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Self

from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.frames.rows import Rows, Same
from cvm_notebook.live.store.observation import health_of_row, operation_of_row
from cvm_notebook.live.store.records import Row


@dataclass(frozen=True)
class SeenRows(Rows):
    """Some of the rows of a snapshot."""

    rows: Sequence[Row]
    taken: float

    @classmethod
    def of(cls, rows: Sequence[Row], taken_at: datetime, monotonic: float) -> Self:
        """Take rows as they were at a moment; each has a time and a source of its own."""
        return cls(
            cvms=[r.cvm for r in rows],
            observed_at=taken_at,
            age_s=0.0,
            source="list",
            revision=None,
            rows=rows,
            taken=monotonic,
        )

    @property
    def ids(self) -> list[str | None]:
        """What each is known by."""
        return [r.id or None for r in self.rows]

    @cached_property
    def words(self) -> list[str | None]:
        """The server's own word for each status, by the newest fact."""
        return [r.status for r in self.rows]

    @property
    def in_progress(self) -> list[bool | None]:
        """Whether something is being done to each."""
        return [r.in_progress for r in self.rows]

    @property
    def operations(self) -> list[str | None]:
        """What is being done to each: as the service says, or else as its status tells."""
        return [operation_of_row(r) for r in self.rows]

    @property
    def operations_since(self) -> list[str | None]:
        """When what is being done to each began."""
        return [r.operation.started_at if r.operation else None for r in self.rows]

    @property
    def correlation_ids(self) -> list[str | None]:
        """The service's id of what is being done to each."""
        return [r.operation.correlation_id if r.operation else None for r in self.rows]

    @property
    def errors(self) -> Sequence[str | None] | Same:
        """Why each failed, or else why it could not be read."""
        return [r.boot_error or r.error for r in self.rows]

    @property
    def healths(self) -> list[str]:
        """The health of each: an error stays one, however old; what is old is stale."""
        return [health_of_row(r, self.taken) for r in self.rows]

    @property
    def times(self) -> Sequence[datetime] | Same:
        """When each was read."""
        return [r.seen_at for r in self.rows]

    @property
    def ages(self) -> Sequence[float] | Same:
        """How old each is by the monotonic clock, which no change of the wall clock moves."""
        return [r.age(self.taken) for r in self.rows]

    @property
    def sources(self) -> Sequence[str] | Same:
        """Which call told of each."""
        return [r.source for r in self.rows]

    @property
    def uptimes(self) -> Sequence[int | None] | Same:
        """Seconds since each has booted, when it was read."""
        return [seconds_of(r.uptime) for r in self.rows]

    @property
    def revisions(self) -> Sequence[int] | Same:
        """The store's revision at which each changed."""
        return [r.revision for r in self.rows]
