"""Observations: the content of one answer about one CVM, whichever call it came by."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from msgspec import UNSET, UnsetType

from cvm_notebook.api.models.actions import CvmAction, CvmState, CvmStatus, OperationStatus
from cvm_notebook.api.models.base import instant
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import Phase, health_of, info_of, operation_of, phase_of
from cvm_notebook.live.store.records import Row, Source, key_of, operation_in
from cvm_notebook.text import clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one answer reports of one CVM. What it does not report is UNSET.

    Attributes
    ----------
    id, vm_uuid
        Which CVM; one of them is enough.
    received
        The monotonic time of receipt.
    asked
        The monotonic time at which the answer was asked for, where that is long before: the
        answer is as old as the question, and is ordered by it. None for what is pushed.
    server_time
        The service's own time of it, if it states one.
    operation_id
        The entry in our ledger that brought this about, if that is known.
    error
        Why the CVM could not be read; such a fact changes nothing else.
    """

    id: str | None = None
    vm_uuid: str | None = None
    cvm: Cvm | UnsetType = UNSET
    status: str | UnsetType | None = UNSET
    in_progress: bool | UnsetType = UNSET
    operation: OperationStatus | UnsetType | None = UNSET
    boot_progress: str | UnsetType | None = UNSET
    boot_error: str | UnsetType | None = UNSET
    shutdown_progress: str | UnsetType | None = UNSET
    uptime: str | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    server_time: datetime | None = None
    received: float
    asked: float | None = None
    source: Source
    correlation_id: str | None = None
    operation_id: str | None = None

    @property
    def moment(self) -> float:
        """The monotonic time that the fact is as old as."""
        return self.received if self.asked is None else min(self.asked, self.received)

    @classmethod
    def of_cvm(
        cls, cvm: Cvm, *, received: float, source: Source = "get", asked: float | None = None
    ) -> Self:
        """Read a full record."""
        operation = operation_in(cvm)
        return cls(
            id=key_of(cvm),
            vm_uuid=cvm.vm_uuid,
            cvm=cvm,
            status=cvm.status,
            in_progress=bool(cvm.in_progress),
            operation=operation,
            server_time=cvm.updated,
            received=received,
            asked=asked,
            source=source,
            correlation_id=operation.correlation_id if operation else None,
        )

    @classmethod
    def of_state(
        cls,
        state: CvmState,
        *,
        received: float,
        source: Source = "stream",
        id: str | None = None,  # noqa: A002 - the contract's name for it
        asked: float | None = None,
    ) -> Self:
        """Read a state, of a stream or of ``get_cvm_state``; ``id`` where it names no CVM."""
        own = state.id if isinstance(state.id, str) else None
        return cls(
            id=id or own,
            vm_uuid=state.vm_uuid,
            status=UNSET if state.status is None else state.status,
            boot_progress=state.boot_progress,
            boot_error=state.boot_error,
            shutdown_progress=state.shutdown_progress,
            uptime=state.uptime,
            received=received,
            asked=asked,
            source=source,
        )

    @classmethod
    def of_status(
        cls,
        status: CvmStatus,
        *,
        received: float,
        source: Source = "batch",
        vm_uuid: str | None = None,
        asked: float | None = None,
    ) -> Self:
        """Read an entry of a batch status; ``vm_uuid`` is the key it stood under."""
        doing = status.doing
        return cls(
            vm_uuid=vm_uuid or status.vm_uuid,
            status=UNSET if status.status is None else status.status,
            in_progress=UNSET if status.in_progress is None else status.in_progress,
            # An API version that does not speak of progress does not speak of operations either.
            operation=UNSET if status.in_progress is None and doing is None else doing,
            boot_progress=status.boot_progress,
            boot_error=status.boot_error,
            shutdown_progress=status.shutdown_progress,
            uptime=status.uptime,
            received=received,
            asked=asked,
            source=source,
            correlation_id=doing.correlation_id if doing else None,
        )

    @classmethod
    def of_action(
        cls,
        action: CvmAction,
        *,
        received: float,
        id: str | None = None,  # noqa: A002 - the contract's name for it
        operation_id: str | None = None,
    ) -> Self:
        """Read the answer to an action; ``id`` is the CVM it was asked of."""
        own = action.id if isinstance(action.id, str) else None
        return cls(
            id=id or own,
            vm_uuid=action.vm_uuid,
            status=UNSET if action.status is None else action.status,
            received=received,
            source="action",
            operation_id=operation_id,
        )

    @classmethod
    def of_created(cls, action: CvmAction, made_id: str, *, received: float) -> Self:
        """Read what the answer to a commit or a replication says of the CVM that it made."""
        made = Cvm(
            id=made_id,
            name=action.name,
            app_id=action.app_id,
            vm_uuid=action.vm_uuid,
            status=action.status,
        )
        return cls.of_cvm(made, received=received, source="action")

    @classmethod
    def of_error(
        cls,
        error: str,
        *,
        received: float,
        source: Source,
        id: str | None = None,  # noqa: A002 - the contract's name for it
        vm_uuid: str | None = None,
    ) -> Self:
        """Tell why a CVM could not be read."""
        return cls(id=id, vm_uuid=vm_uuid, error=error, received=received, source=source)


STALE_AFTER_S: Final = 180.0  # three resyncs at their usual pace
_NAME_CHARS: Final = 80


def operation_of_row(row: Row) -> str | None:
    """Return the operation under way on a CVM: the service's word, else the one of its status."""
    reported = row.operation.type if row.operation else None
    return operation_of(row.status, row.in_progress, reported)


def health_of_row(row: Row, now: float) -> str:
    """Judge a row: an error stays one, however old; what is old is stale."""
    if row.boot_error:
        return "error"
    if (health := health_of(row.status)) != "ok":
        return health
    return "stale" if row.error or row.age(now) > STALE_AFTER_S else "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One CVM as one answer, or the store, shows it.

    Attributes
    ----------
    name
        What to call it: its name, else its id.
    since
        The start of the operation under way, by the service's clock.
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
        text = info_of(self.status).doing
        if text is None:
            text = "busy" if self.in_progress else clean_text(self.status or "unknown status")
        return f"{text} since {self.since:%H:%M:%S} UTC" if self.since and self.busy else text


def _name(name: str | None, cvm_id: str) -> str:
    return clean_text(name or cvm_id, _NAME_CHARS)
