"""What columns are read from: the CVMs, and what several columns share, worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from cvm_notebook.api.models.cvm import (
    Cvm,
    Gateway,
    HourlyRate,
    KmsInfo,
    NodeRef,
    OsInfo,
    Progress,
    Resource,
    UserRef,
    WorkspaceRef,
    first_https,
)
from cvm_notebook.api.status import health_of, operation_of, status_of

# what stands in for a nested object that is missing or null: each of its fields is None
_RESOURCE: Final = Resource()
_NODE: Final = NodeRef()
_OS: Final = OsInfo()
_KMS: Final = KmsInfo()
_PROGRESS: Final = Progress()
_GATEWAY: Final = Gateway()
_RATE: Final = HourlyRate()
_WORKSPACE: Final = WorkspaceRef()
_USER: Final = UserRef()


@dataclass(frozen=True, slots=True)
class Same:
    """One value, the same for every row."""

    value: object


@dataclass(frozen=True)
class Rows:
    """Some of the CVMs of a frame, and when and how they were read."""

    cvms: Sequence[Cvm]
    observed_at: datetime
    age_s: float
    source: str
    revision: int | None

    @property
    def ids(self) -> list[str | None]:
        """What each CVM is known by."""
        return [c.id for c in self.cvms]

    @cached_property
    def resource(self) -> list[Resource]:
        """Each CVM's size."""
        return [c.resource or _RESOURCE for c in self.cvms]

    @cached_property
    def node(self) -> list[NodeRef]:
        """Each CVM's node."""
        return [c.node_info or _NODE for c in self.cvms]

    @cached_property
    def os(self) -> list[OsInfo]:
        """Each CVM's guest image."""
        return [c.os or _OS for c in self.cvms]

    @cached_property
    def kms(self) -> list[KmsInfo]:
        """Each CVM's key management."""
        return [c.kms_info or _KMS for c in self.cvms]

    @cached_property
    def progress(self) -> list[Progress]:
        """Each CVM's operation under way."""
        return [c.progress or _PROGRESS for c in self.cvms]

    @cached_property
    def gateway(self) -> list[Gateway]:
        """Each CVM's way in."""
        return [c.gateway or _GATEWAY for c in self.cvms]

    @cached_property
    def rate(self) -> list[HourlyRate]:
        """Each CVM's price an hour."""
        return [c.hourly_rate or _RATE for c in self.cvms]

    @cached_property
    def workspace(self) -> list[WorkspaceRef]:
        """Each CVM's workspace."""
        return [c.workspace or _WORKSPACE for c in self.cvms]

    @cached_property
    def creator(self) -> list[UserRef]:
        """Each CVM's maker."""
        return [c.creator or _USER for c in self.cvms]

    @cached_property
    def words(self) -> list[str | None]:
        """The server's own word for each status."""
        return [c.status for c in self.cvms]

    @cached_property
    def statuses(self) -> list[str]:
        """The status of each, in fixed words."""
        status = {word: status_of(word) for word in set(self.words)}
        return [status[word] for word in self.words]

    @property
    def in_progress(self) -> list[bool | None]:
        """Whether something is being done to each."""
        return [c.in_progress for c in self.cvms]

    @property
    def operations_since(self) -> list[str | None]:
        """When what is being done to each began."""
        return [p.started_at for p in self.progress]

    @property
    def correlation_ids(self) -> list[str | None]:
        """The service's id of what is being done to each."""
        return [p.correlation_id for p in self.progress]

    @property
    def errors(self) -> Sequence[str | None] | Same:
        """Why each failed; a list does not say."""
        return Same(None)

    @property
    def times(self) -> Sequence[datetime] | Same:
        """When each was read."""
        return Same(self.observed_at)

    @property
    def ages(self) -> Sequence[float] | Same:
        """How old each is, in seconds."""
        return Same(self.age_s)

    @property
    def sources(self) -> Sequence[str] | Same:
        """Which call told of each."""
        return Same(self.source)

    @property
    def uptimes(self) -> Sequence[int | None] | Same:
        """Seconds since each has booted; a list does not say."""
        return Same(None)

    @property
    def revisions(self) -> Sequence[int] | Same:
        """Our revision at which each changed."""
        return Same(self.revision)

    @property
    def healths(self) -> list[str]:
        """The health of each, as its status tells."""
        health = {status: health_of(status) for status in set(self.statuses)}
        return [health[status] for status in self.statuses]

    @property
    def operations(self) -> list[str | None]:
        """What is being done to each, as its status tells."""
        words = set(self.words)
        calm = {word: operation_of(word, in_progress=False) for word in words}
        busy = {word: operation_of(word, in_progress=True) for word in words}
        return [(busy if c.in_progress else calm)[c.status] for c in self.cvms]

    @property
    def urls(self) -> list[str | None]:
        """The first https address of each."""
        return [first_https(c.endpoints) for c in self.cvms]

    @property
    def endpoint_counts(self) -> list[int | None]:
        """How many addresses each has."""
        return [None if c.endpoints is None else len(c.endpoints) for c in self.cvms]
