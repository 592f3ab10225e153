"""What was last seen of one CVM, wherever it was read, and what is said of it in words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cvm_notebook.api.envelopes import clean_text
from cvm_notebook.api.models import Cvm, CvmState, CvmStatus, instant
from cvm_notebook.api.status import Phase, health_of, info_of, operation_of, phase_of, status_of
from cvm_notebook.live.rows import Row, operation_in

STALE_AFTER_S: Final = 180.0  # three resyncs at their usual pace
_NAME_CHARS: Final = 80


def operation_of_row(row: Row) -> str | None:
    """Name what is being done to a CVM: as the service says, or else as its status tells."""
    said = row.operation.type if row.operation else None
    return operation_of(row.status, in_progress=row.in_progress, said=said)


def health_of_row(row: Row, now: float) -> str:
    """Judge a row: an error stays one, however old; what is old is stale."""
    health = "error" if row.boot_error else health_of(status_of(row.status))
    if health != "ok":
        return health
    return "stale" if row.error or row.age(now) > STALE_AFTER_S else "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One CVM as one answer, or the store, shows it.

    Attributes
    ----------
    name
        What to call it: its name, else its id.
    since
        When the operation under way began, as the service tells the time.
    """

    name: str
    status: str | None = None
    in_progress: bool = False
    since: datetime | None = None
    correlation_id: str | None = None
    boot_progress: str | None = None
    boot_error: str | None = None

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """See what the store knows."""
        doing = row.operation
        return cls(
            name=_name(row.name, row.id),
            status=row.status,
            in_progress=row.in_progress,
            since=instant(doing.started_at) if doing else None,
            correlation_id=doing.correlation_id if doing else None,
            boot_progress=row.boot_progress,
            boot_error=row.boot_error,
        )

    @classmethod
    def of_cvm(cls, cvm: Cvm) -> Self:
        """See a full record."""
        doing = operation_in(cvm)
        return cls(
            name=_name(cvm.name, cvm.id or ""),
            status=cvm.status,
            in_progress=bool(cvm.in_progress),
            since=instant(doing.started_at) if doing else None,
            correlation_id=doing.correlation_id if doing else None,
        )

    @classmethod
    def of_state(cls, state: CvmState, name: str) -> Self:
        """See a state; it does not speak of operations, but its status does."""
        return cls(
            name=name,
            status=state.status,
            boot_progress=state.boot_progress,
            boot_error=state.boot_error,
        )

    @classmethod
    def of_status(cls, status: CvmStatus, name: str) -> Self:
        """See an entry of a batch status."""
        doing = status.doing
        return cls(
            name=name,
            status=status.status,
            in_progress=bool(status.in_progress),
            since=instant(doing.started_at) if doing else None,
            correlation_id=doing.correlation_id if doing else None,
            boot_progress=status.boot_progress,
            boot_error=status.boot_error,
        )

    @property
    def phase(self) -> Phase:
        """The kind of its status."""
        return phase_of(self.status)

    @property
    def busy(self) -> bool:
        """Whether it is in the middle of something."""
        return self.in_progress or info_of(self.status).moving

    @property
    def doing(self) -> str:
        """What it does, in words: ``restarting since 14:03:20 UTC``, or ``stopped``."""
        words = info_of(self.status).doing
        if words is None:
            words = "busy" if self.in_progress else clean_text(self.status or "in no known state")
        return f"{words} since {self.since:%H:%M:%S} UTC" if self.since and self.busy else words


def _name(name: str | None, cvm_id: str) -> str:
    return clean_text(name or cvm_id, _NAME_CHARS)
