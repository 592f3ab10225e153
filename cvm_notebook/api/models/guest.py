"""Models of a CVM's own reports: figures, network, containers, evidence and history."""

import datetime as dt
from math import isfinite
from typing import Literal

from cvm_notebook.api.models.base import Guarded, Int, Model, Rows, Tidy, instant
from cvm_notebook.api.models.cvm import Endpoint
from cvm_notebook.api.secret import Secret


class Disk(Model, frozen=True, kw_only=True, gc=False):
    """A disk of a guest, in bytes."""

    name: str | None = None
    mount_point: str | None = None
    total_size: Int | None = None
    free_size: Int | None = None


class SystemInfo(Tidy, frozen=True, kw_only=True, gc=False):
    """The guest's report on its machine; memory in bytes, uptime in seconds."""

    os_name: str | None = None
    os_version: str | None = None
    kernel_version: str | None = None
    cpu_model: str | None = None
    num_cpus: Int | None = None
    total_memory: Int | None = None
    available_memory: Int | None = None
    used_memory: Int | None = None
    free_memory: Int | None = None
    total_swap: Int | None = None
    used_swap: Int | None = None
    free_swap: Int | None = None
    uptime: Int | None = None
    # the guest agent counts loads in hundredths
    loadavg_one: float | None = None
    loadavg_five: float | None = None
    loadavg_fifteen: float | None = None
    disks: Rows[Disk] = ()

    def load(self, minutes: Literal[1, 5, 15] = 1) -> float | None:
        """Return the load average of so many minutes, in vCPUs wanted; None where it is missing."""
        hundredths = {1: self.loadavg_one, 5: self.loadavg_five, 15: self.loadavg_fifteen}[minutes]
        if hundredths is None or not isfinite(hundredths) or hundredths < 0:
            return None
        return hundredths / 100

    def cpu(self, minutes: Literal[1, 5, 15] = 1) -> float | None:
        """Return that load as a share of its vCPUs (above 1: more was wanted); None if missing."""
        load, cpus = self.load(minutes), self.num_cpus
        return None if load is None or cpus is None or cpus < 1 else load / cpus

    @property
    def memory(self) -> float | None:
        """The share of its memory that is used; None where it does not say."""
        used, total = self.memory_used, self.total_memory
        return None if used is None or not total or total < 0 else min(1.0, max(0.0, used / total))

    @property
    def disk(self) -> float | None:
        """The share of its disks that is used, of all together; None where none says."""
        reported = [
            (disk.total_size, disk.total_size - disk.free_size)
            for disk in self.disks
            if disk.total_size is not None and disk.total_size > 0 and disk.free_size is not None
        ]
        total, used = sum(size for size, _ in reported), sum(used for _, used in reported)
        return min(1.0, max(0.0, used / total)) if total else None

    @property
    def memory_used(self) -> int | None:
        """Used memory, in bytes."""
        if self.used_memory is None and self.total_memory and self.available_memory is not None:
            return self.total_memory - self.available_memory
        return self.used_memory


class CvmStats(Model, frozen=True, kw_only=True, gc=False):
    """The guest's figures; ``error`` says why there are none."""

    is_online: bool | None = None
    is_public: bool | None = None
    error: str | None = None
    sysinfo: SystemInfo | None = None
    status: str | None = None
    in_progress: bool | None = None
    boot_progress: str | None = None
    boot_error: str | None = None


class CvmNetwork(Tidy, frozen=True, kw_only=True, gc=False):
    """The network state of a CVM."""

    is_online: bool | None = None
    is_public: bool | None = None
    error: str | None = None
    internal_ip: str | None = None
    latest_handshake: str | None = None
    public_urls: Rows[Endpoint] = ()


class Container(Guarded, Tidy, frozen=True, kw_only=True, gc=False):
    """A container; ``log_endpoint`` carries its own right to read, and is a Secret."""

    id: str | None = None
    names: Rows[str] = ()
    image: str | None = None
    image_id: str | None = None
    command: str | None = None
    created: Int | None = None
    state: str | None = None
    status: str | None = None
    log_endpoint: Secret | None = None


class CvmContainers(Tidy, frozen=True, kw_only=True, gc=False):
    """The containers of a CVM and the compose file they run by."""

    is_online: bool | None = None
    is_public: bool | None = None
    error: str | None = None
    docker_compose_file: str | None = None
    manifest_version: str | int | None = None
    version: str | None = None
    runner: str | None = None
    features: Rows[str] = ()
    containers: Rows[Container] = ()


class CertificateName(Model, frozen=True, kw_only=True, gc=False):
    """The subject or issuer of a certificate."""

    common_name: str | None = None
    organization: str | None = None
    country: str | None = None
    state: str | None = None
    locality: str | None = None


class Certificate(Tidy, frozen=True, kw_only=True, gc=False):
    """A certificate of an app."""

    subject: CertificateName | None = None
    issuer: CertificateName | None = None
    serial_number: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    version: str | None = None
    fingerprint: str | None = None
    signature_algorithm: str | None = None
    sans: Rows[str] = ()
    is_ca: bool | None = None
    position_in_chain: Int | None = None
    quote: str | None = None
    app_id: str | None = None
    cert_usage: str | None = None


class EventLog(Model, frozen=True, kw_only=True, gc=False):
    """One measured event of a boot; ``version`` says in which form its digest is made."""

    imr: Int | None = None
    event_type: Int | None = None
    digest: str | None = None
    event: str | None = None
    event_payload: str | None = None
    version: Int | None = None


class TcbInfo(Tidy, frozen=True, kw_only=True, gc=False):
    """The measurements of the trusted computing base."""

    mrtd: str | None = None
    rootfs_hash: str | None = None
    rtmr0: str | None = None
    rtmr1: str | None = None
    rtmr2: str | None = None
    rtmr3: str | None = None
    event_log: Rows[EventLog] = ()
    app_compose: str | None = None


class CvmAttestation(Tidy, frozen=True, kw_only=True, gc=False):
    """The evidence of what a CVM runs, as the service hands it on: not verified here."""

    name: str | None = None
    is_online: bool | None = None
    is_public: bool | None = None
    error: str | None = None
    app_certificates: Rows[Certificate] = ()
    tcb_info: TcbInfo | None = None
    compose_file: str | None = None


class OperationEvent(Model, frozen=True, kw_only=True, gc=False):
    """One step of an operation."""

    event_type: str | None = None
    timestamp: str | None = None
    state: str | None = None


class Operation(Tidy, frozen=True, kw_only=True, gc=False):
    """One entry of a CVM's history."""

    correlation_id: str | None = None
    operation_type: str | None = None
    target_state: str | None = None
    triggered_by: str | int | None = None
    triggered_by_username: str | None = None
    triggered_by_email: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: Int | None = None
    status: str | None = None
    error_message: str | None = None
    sub_operations: Rows[str] = ()
    events: Rows[OperationEvent] = ()
    instance_name: str | None = None
    compose_hash: str | None = None

    @property
    def started(self) -> dt.datetime | None:
        """The time at which it began."""
        return instant(self.started_at)

    @property
    def completed(self) -> dt.datetime | None:
        """The time at which it ended; None while it runs."""
        return instant(self.completed_at)


class OperationPage(Model, frozen=True, kw_only=True, gc=False):
    """One page of a CVM's history."""

    items: tuple[Operation, ...]
    next_cursor: str | None = None
    total: Int | None = None


class UserConfig(Tidy, frozen=True, kw_only=True, gc=False):
    """The user configuration that a CVM was given."""

    hostname: str | None = None
    ssh_authorized_keys: Rows[str] = ()
    default_gateway_domain: str | None = None


class OsImageVariant(Model, frozen=True, kw_only=True, gc=False):
    """The prod or the dev build of an OS image."""

    name: str | None = None
    slug: str | None = None
    os_image_hash: str | None = None
    is_current: bool | None = None


class CvmOsImage(Model, frozen=True, kw_only=True, gc=False):
    """An OS image that a CVM may change to."""

    version: tuple[int | str, ...] | str | None = None
    prod: OsImageVariant | None = None
    dev: OsImageVariant | None = None
