"""Cvm: one row of the fleet, and what it is made of."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from cvm_notebook.api.models.base import Guarded, Int, Model, Rows, Tidy, instant, money, shown
from cvm_notebook.api.secret import Secret


class Resource(Model, frozen=True, kw_only=True, gc=False):
    """The size of a CVM, and how its computing is billed."""

    instance_type: str | None = None
    vcpu: Int | None = None
    memory_in_gb: float | None = None
    disk_in_gb: Int | None = None
    gpus: Int | None = None
    compute_billing_price: str | float | None = None
    billing_period: str | None = None

    @property
    def compute_billing_usd(self) -> Decimal | None:
        """The price of computing per billing period."""
        return money(self.compute_billing_price)


class DeviceId(Model, frozen=True, kw_only=True, gc=False):
    """One identity of a node's hardware."""

    device_id: str | None = None
    algorithm_version: str | None = None
    os_image_ids: tuple[Int, ...] | None = None
    enabled: bool | None = None


class NodeRef(Model, frozen=True, kw_only=True, gc=False):
    """The node a CVM runs on."""

    id: Int | None = None
    name: str | None = None
    region: str | None = None
    device_id: str | None = None
    device_ids: tuple[DeviceId, ...] | None = None
    ppid: str | None = None
    status: str | None = None
    version: str | None = None


class OsInfo(Model, frozen=True, kw_only=True, gc=False):
    """The OS image a CVM runs."""

    name: str | None = None
    version: str | None = None
    is_dev: bool | None = None
    os_image_hash: str | None = None


class KmsInfo(Model, frozen=True, kw_only=True, gc=False):
    """The key management a CVM trusts."""

    chain_id: Int | None = None
    dstack_kms_address: str | None = None
    dstack_app_address: str | None = None
    deployer_address: str | None = None
    rpc_endpoint: str | None = None
    encrypted_env_pubkey: str | None = None
    k256_pubkey: str | None = None


class Progress(Model, frozen=True, kw_only=True, gc=False):
    """The operation under way."""

    target: str | None = None
    started_at: str | None = None
    correlation_id: str | None = None

    @property
    def started(self) -> dt.datetime | None:
        """The time at which it began."""
        return instant(self.started_at)


class Gateway(Model, frozen=True, kw_only=True, gc=False):
    """The domains by which a CVM is reached from outside."""

    base_domain: str | None = None
    cname: str | None = None


class LogUrls(Guarded, Model, frozen=True, kw_only=True, gc=False):
    """The URLs of logs. They carry their own right to read, and are Secrets."""

    serial: Secret | None = None
    stdout: Secret | None = None
    stderr: Secret | None = None
    container_log_base: Secret | None = None


class Endpoint(Model, frozen=True, kw_only=True, gc=False):
    """A public URL, of the app and of this instance of it."""

    app: str | None = None
    instance: str | None = None


def first_https(endpoints: Iterable[Endpoint] | None) -> str | None:
    """Return the first https address, the app's before the instance's, fit to be shown."""
    for endpoint in endpoints or ():
        for url in (endpoint.app, endpoint.instance):
            if url is not None and url.startswith("https://"):
                return shown(url)
    return None


class HourlyRate(Model, frozen=True, kw_only=True, gc=False):
    """The price per hour as it was sent; the ``_usd`` properties are Decimal."""

    total: str | float | None = None
    compute: str | float | None = None
    disk: str | float | None = None

    @property
    def total_usd(self) -> Decimal | None:
        """Computing and disk together."""
        return money(self.total)

    @property
    def compute_usd(self) -> Decimal | None:
        """Charged while running."""
        return money(self.compute)

    @property
    def disk_usd(self) -> Decimal | None:
        """Charged while stopped, too."""
        return money(self.disk)


class WorkspaceRef(Model, frozen=True, kw_only=True, gc=False):
    """The workspace that owns something."""

    id: str | None = None
    name: str | None = None
    slug: str | None = None
    avatar_url: str | None = None


class UserRef(Model, frozen=True, kw_only=True, gc=False):
    """The person who did something."""

    id: str | None = None
    username: str | None = None
    avatar_url: str | None = None


class CvmRef(Model, frozen=True, kw_only=True, gc=False):
    """A CVM by its names only."""

    id: str | None = None
    name: str | None = None
    app_id: str | None = None
    vm_uuid: str | None = None


class GpuRentalOrder(Model, frozen=True, kw_only=True, gc=False):
    """The order by which a CVM's GPUs are rented."""

    order_id: str | None = None
    status: str | None = None
    pricing_plan: str | None = None
    commitment_days: Int | None = None
    agreed_hourly_rate: str | float | None = None
    hourly_billing_start_time: str | None = None
    activated_at: str | None = None
    completed_at: str | None = None
    cancelled_at: str | None = None
    decoupled_at: str | None = None
    sku_code: str | None = None
    sku_display_name: str | None = None


class Cvm(Model, frozen=True, kw_only=True, gc=False):
    """A CVM as the list and ``get_cvm_info`` give it; only the latter has ``compose_file``."""

    id: str | None = None
    name: str | None = None
    app_id: str | None = None
    vm_uuid: str | None = None
    instance_id: str | None = None
    resource: Resource | None = None
    node_info: NodeRef | None = None
    os: OsInfo | None = None
    kms_type: str | None = None
    kms_info: KmsInfo | None = None
    status: str | None = None
    in_progress: bool | None = None
    progress: Progress | None = None
    compose_hash: str | None = None
    docker_compose_hash: str | None = None
    pre_launch_script_hash: str | None = None
    gateway: Gateway | None = None
    logs: LogUrls | None = None
    services: tuple[Any, ...] | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    public_logs: bool | None = None
    public_sysinfo: bool | None = None
    public_tcbinfo: bool | None = None
    gateway_enabled: bool | None = None
    secure_time: bool | None = None
    listed: bool | None = None
    storage_fs: str | None = None
    workspace: WorkspaceRef | None = None
    creator: UserRef | None = None
    created_at: str | None = None
    updated_at: str | None = None
    deleted_at: str | None = None
    project_type: str | None = None
    app_url: str | None = None
    base_image: str | None = None
    features: tuple[str, ...] | None = None
    runner: str | None = None
    manifest_version: str | int | None = None
    hourly_rate: HourlyRate | None = None
    billing_interval: str | None = None
    gpu_rental_order: GpuRentalOrder | None = None
    compose_file: str | dict[str, Any] | None = None

    @property
    def created(self) -> dt.datetime | None:
        """The time at which the CVM was made."""
        return instant(self.created_at)

    @property
    def updated(self) -> dt.datetime | None:
        """The time of the service's last change of its record."""
        return instant(self.updated_at)

    @property
    def deleted(self) -> dt.datetime | None:
        """The time of the CVM's deletion, if it was deleted."""
        return instant(self.deleted_at)


class NotStopped(Model, frozen=True, kw_only=True, gc=False):
    """A CVM that a batch stop could not stop, and why."""

    cvm_id: str | None = None
    error: str | None = None


class BatchStopped(Tidy, frozen=True, kw_only=True, gc=False):
    """The result of a batch stop.

    The service counts those that it stopped and those that it skipped, and names only those that
    failed. It skips what is already stopped or in the middle of something.
    """

    total: Int | None = None
    stopped: Int | None = None
    skipped: Int | None = None
    errors: Rows[NotStopped] = ()
