"""Models of the answers about a CVM's past and its measurements, for the OpenAPI description."""

from typing import Any

from pydantic import BaseModel

from cvm_notebook.local.answers import Endpoint


class OperationEvent(BaseModel):
    """One thing that happened in the course of an operation."""

    event_type: str
    timestamp: str
    state: str


class OperationItem(BaseModel):
    """One operation."""

    correlation_id: str
    operation_type: str
    target_state: str
    triggered_by: int | str
    triggered_by_username: str | None
    triggered_by_email: str | None
    started_at: str
    completed_at: str | None
    duration_ms: int | None
    status: str
    error_message: str | None
    sub_operations: list[str]
    events: list[OperationEvent]
    instance_name: str
    compose_hash: str | None


class Operations(BaseModel):
    """A stretch of a CVM's operations, newest first."""

    items: list[OperationItem]
    next_cursor: str | None
    total: int


class Event(BaseModel):
    """How an operation on a CVM ended, or that it goes on."""

    event_type: str
    status: str
    timestamp: str


class Events(BaseModel):
    """A stretch of a CVM's events, newest first."""

    items: list[Event]
    next_cursor: str | None
    total: int


class OperationStatus(BaseModel):
    """What a CVM is in the middle of."""

    status: str
    in_progress: bool
    operation: OperationItem | None


class Cancelled(BaseModel):
    """Whether there was something to cancel."""

    cancelled: bool
    correlation_id: str | None


class BatchStopError(BaseModel):
    """A CVM that could not be stopped."""

    cvm_id: str
    error: str


class BatchStopped(BaseModel):
    """What became of several CVMs."""

    total: int
    stopped: int
    skipped: int
    errors: list[BatchStopError]


class Measured(BaseModel):
    """What each measurement begins with."""

    is_online: bool
    is_public: bool
    error: str | None


class Stats(Measured):
    """The load of a CVM."""

    sysinfo: dict[str, Any] | None
    status: str | None
    in_progress: bool
    boot_progress: str | None
    boot_error: str | None


class Network(Measured):
    """The network of a CVM."""

    internal_ip: str | None
    latest_handshake: str | None
    public_urls: list[Endpoint] | None


class Container(BaseModel):
    """One container."""

    id: str
    names: list[str]
    image: str
    image_id: str
    command: str | None
    created: int
    state: str
    status: str
    log_endpoint: str | None


class Composition(Measured):
    """The containers of a CVM."""

    docker_compose_file: str | None
    manifest_version: int | None
    version: str | None
    runner: str | None
    features: list[str] | None
    containers: list[Container] | None


class Attestation(Measured):
    """What would prove what a CVM runs, if this were hardware."""

    name: str | None
    app_certificates: list[dict[str, Any]] | None
    tcb_info: dict[str, Any] | None
    compose_file: str | None
    notice: str
