"""Models of the answers to requests that change a CVM, and of its state.

Unknown fields are ignored, unknown statuses kept in the service's own word, and what was not sent
is None. Here stand the answers to actions and updates, states, and the page; `cvm` holds the row
of a fleet, `guest` what a CVM says of itself, `catalogue` what surrounds CVMs.
"""

import datetime as dt
from typing import Any, Final, Generic, Self

import msgspec

from cvm_notebook.api.errors.tree import ApiError, DecodeError
from cvm_notebook.api.models.base import Guarded, Int, Model, Rows, T, Tidy, instant
from cvm_notebook.api.models.cvm import (
    Cvm,
    NodeRef,
)
from cvm_notebook.api.models.decode import (
    convert,
    decode,
    decode_map,
    decode_rows,
    share,
)
from cvm_notebook.api.secret import Secret, sealed


class CvmAction(Model, frozen=True, kw_only=True, gc=False):
    """The answer to start, stop, shutdown, restart, replicate and commit.

    ``id`` is the hashid, or at older API versions a number (0 at 2026-01-21: use ``vm_uuid``).
    """

    id: str | int | None = None
    name: str | None = None
    status: str | None = None
    app_id: str | None = None
    vm_uuid: str | None = None
    instance_id: str | None = None
    teepod_id: Int | None = None
    teepod: NodeRef | None = None
    user_id: str | int | None = None
    app_url: str | None = None
    base_image: str | None = None
    vcpu: Int | None = None
    memory: Int | None = None
    disk_size: Int | None = None
    manifest_version: str | int | None = None
    version: str | None = None
    runner: str | None = None
    docker_compose_file: str | None = None
    features: tuple[str, ...] | None = None
    created_at: str | None = None
    encrypted_env_pubkey: str | None = None


class Provision(Model, frozen=True, kw_only=True, gc=False):
    """A provision: the result of step one, which step two commits. The service keeps it 14 days.

    ``allowed_envs`` is what `Client.provision_cvm` asked for: the variables that the CVM keeps.
    """

    app_id: str | None = None
    compose_hash: str | None = None
    app_env_encrypt_pubkey: str | None = None
    kms_info: dict[str, Any] | None = None
    fmspc: str | None = None
    device_id: str | None = None
    os_image_hash: str | None = None
    instance_type: str | None = None
    node_id: Int | None = None
    teepod_id: Int | None = None
    kms_id: str | int | None = None
    kms_contract_id: str | int | None = None
    allowed_envs: tuple[str, ...] | None = None


class ComposeProvision(Model, frozen=True, kw_only=True, gc=False):
    """A new compose file of an existing CVM, ready to be applied."""

    app_id: str | None = None
    device_id: str | None = None
    compose_hash: str | None = None
    kms_info: dict[str, Any] | None = None
    compose_hash_registered: bool | None = None


class CvmState(Guarded, Model, frozen=True, kw_only=True, gc=False):
    """The state of one CVM at a moment; ``raw`` is the object as sent, with its secrets sealed."""

    id: str | int | None = None
    instance_id: str | None = None
    name: str | None = None
    status: str | None = None
    derived_status: str | None = None
    vm_uuid: str | None = None
    uptime: str | None = None
    exited_at: str | None = None
    boot_progress: str | None = None
    boot_error: str | None = None
    shutdown_progress: str | None = None
    raw: dict[str, Any] = msgspec.field(default_factory=dict)


def decode_state(body: bytes | str, where: str) -> CvmState:
    """Decode a state: an answer, or the data of an event."""
    return state_of(decode(body, dict[str, Any], where), where)


def state_of(data: dict[str, Any], where: str) -> CvmState:
    """Return a state that was decoded to a mapping already; raises as `decode_state` does."""
    return convert({**data, "raw": sealed(data)}, CvmState, where)


class OperationStatus(Model, frozen=True, kw_only=True, gc=False):
    """An operation under way."""

    type: str | None = None
    phase: str | None = None
    started_at: str | None = None
    correlation_id: str | None = None


class ResourceUsage(Model, frozen=True, kw_only=True, gc=False):
    """The resource usage of a CVM at the moment."""

    cpu_percent: float | None = None
    memory_used_bytes: Int | None = None
    memory_total_bytes: Int | None = None
    egress_bytes: Int | None = None


class GuestEvent(Model, frozen=True, kw_only=True, gc=False):
    """Something the guest reported; ``timestamp`` is seconds or milliseconds since 1970."""

    event: str | None = None
    body: str | None = None
    timestamp: float | None = None

    @property
    def at(self) -> dt.datetime | None:
        """The time of the event."""
        return instant(self.timestamp)


class CvmStatus(Tidy, frozen=True, kw_only=True, gc=False):
    """One CVM of a batch status; API version 2026-01-21 has the operation in three fields."""

    vm_uuid: str | None = None
    status: str | None = None
    uptime: str | None = None
    in_progress: bool | None = None
    boot_progress: str | None = None
    boot_error: str | None = None
    shutdown_progress: str | None = None
    events: Rows[GuestEvent] = ()
    operation: OperationStatus | None = None
    resource_usage: ResourceUsage | None = None
    operation_type: str | None = None
    operation_started_at: str | None = None
    correlation_id: str | None = None

    @property
    def doing(self) -> OperationStatus | None:
        """The operation under way, whichever way it was sent."""
        if self.operation is None and self.operation_type is not None:
            return OperationStatus(
                type=self.operation_type,
                started_at=self.operation_started_at,
                correlation_id=self.correlation_id,
            )
        return self.operation


def decode_statuses(
    body: bytes, where: str = "POST /status/batch"
) -> tuple[dict[str, CvmStatus], tuple[DecodeError, ...]]:
    """Decode a batch status by uuid; a malformed entry is left out, with a warning."""
    return decode_map(body, CvmStatus, where)


class UpdateAccepted(Model, frozen=True, kw_only=True, gc=False):
    """An update has begun; it is done when the CVM is no longer in progress."""

    status: str | None = None
    message: str | None = None
    correlation_id: str | None = None
    allowed_envs_changed: bool | None = None


class RedeployedCvm(Model, frozen=True, kw_only=True, gc=False):
    """A CVM that is being taken to a revision, and the service's name for what it does."""

    vm_uuid: str | None = None
    correlation_id: str | None = None


class Redeployed(Model, frozen=True, kw_only=True, gc=False):
    """CVMs of an app are being taken to a revision."""

    status: str | None = None
    message: str | None = None
    correlation_id: str | None = None
    cvms: Rows[RedeployedCvm] = ()


class HashRequired(Guarded, Model, frozen=True, kw_only=True, gc=False):
    """An update waits for its compose hash to be registered on chain (HTTP 465).

    Who has ``commit_token``, or an address that it is in, can commit: they are Secrets.
    """

    message: str | None = None
    compose_hash: str | None = None
    app_id: str | None = None
    device_id: str | None = None
    kms_info: dict[str, Any] | None = None
    commit_token: Secret | None = None
    commit_url: Secret | None = None
    api_commit_url: Secret | None = None
    onchain_status: dict[str, Any] | None = None
    status: str = "precondition_required"

    @classmethod
    def from_error(cls, error: ApiError) -> Self:
        """Read it from the refusal; a field of another shape than described stays None."""
        required = cls(message=error.message)
        for field, value, _ in error.details:  # what grants access is a Secret in them already
            wants = _WANTS.get(field)
            if wants is not None and isinstance(value, wants):
                required = msgspec.structs.replace(required, **{field: value})
        return required


_WANTS: Final[dict[str, type]] = {
    **dict.fromkeys(("message", "compose_hash", "app_id", "device_id"), str),
    **dict.fromkeys(("kms_info", "onchain_status"), dict),
    **dict.fromkeys(("commit_token", "commit_url", "api_commit_url"), Secret),
}


class Page(Model, Generic[T], frozen=True, kw_only=True, gc=False):
    """One page of a list.

    ``items`` must be there: an answer without it is no empty fleet.
    """

    items: tuple[T, ...]
    total: Int | None = None
    page: Int | None = None
    page_size: Int | None = None
    pages: Int | None = None


def decode_page(
    body: bytes, where: str = "GET /cvms/paginated"
) -> tuple[Page[Cvm], tuple[DecodeError, ...]]:
    """Decode a page of CVMs.

    Returns
    -------
    tuple
        The page, and one error for each row that could not be read; the others are in the page.

    Raises
    ------
    DecodeError
        It is no page at all.
    """
    faults: tuple[DecodeError, ...] = ()
    try:
        page = decode(body, Page[Cvm], where)
    except DecodeError:
        envelope, rows, faults = decode_rows(body, Cvm, where)
        page = msgspec.structs.replace(decode(envelope, Page[Cvm], where), items=rows)
    share(page.items)
    return page, faults
