"""Models of the answers about CVMs, for the OpenAPI description; ``shapes`` makes the answers."""

from typing import Any

from pydantic import BaseModel


class Provisioned(BaseModel):
    """The answer to step one, the provision."""

    app_id: str | None
    app_env_encrypt_pubkey: str | None
    compose_hash: str
    kms_info: dict[str, Any] | None
    fmspc: str | None
    device_id: str | None
    os_image_hash: str | None
    instance_type: str | None
    node_id: int | None
    teepod_id: int | None
    kms_id: str | None
    kms_contract_id: str | None
    gateway_app_id: str | None


class NodeName(BaseModel):
    """A node by id and name."""

    id: int
    name: str
    region_identifier: str | None = None


class Action(BaseModel):
    """The answer to start, stop, shutdown, restart, replicate and commit."""

    id: int | str
    name: str
    status: str
    teepod_id: int
    teepod: NodeName | None
    user_id: int | str | None
    app_id: str
    vm_uuid: str
    instance_id: str | None
    app_url: str | None
    base_image: str | None
    vcpu: int
    memory: int
    disk_size: int
    manifest_version: int | None
    version: str | None
    runner: str | None
    docker_compose_file: str | None
    features: list[str] | None
    created_at: str
    encrypted_env_pubkey: str | None


class Resource(BaseModel):
    """The size of a CVM."""

    instance_type: str | None
    vcpu: int | None
    memory_in_gb: float | None
    disk_in_gb: int | None
    gpus: int | None
    compute_billing_price: str | None
    billing_period: str | None


class Progress(BaseModel):
    """The operation in progress, and the status that it leads to."""

    target: str | None
    started_at: str | None
    correlation_id: str | None


class Gateway(BaseModel):
    """Under which domain it is reached."""

    base_domain: str | None
    cname: str | None


class LogUrls(BaseModel):
    """The URLs of a CVM's logs."""

    serial: str | None
    stdout: str | None
    stderr: str | None
    container_log_base: str | None


class Endpoint(BaseModel):
    """One published port, by app and by instance."""

    app: str
    instance: str


class CvmInfo(BaseModel):
    """A CVM as lists have it (API versions of 2026)."""

    id: str
    name: str
    app_id: str | None
    vm_uuid: str | None
    instance_id: str | None
    resource: Resource
    node_info: dict[str, Any] | None
    os: dict[str, Any] | None
    kms_type: str | None
    kms_info: dict[str, Any] | None
    status: str
    in_progress: bool
    progress: Progress | None
    compose_hash: str | None
    docker_compose_hash: str | None
    pre_launch_script_hash: str | None
    gateway: Gateway
    logs: LogUrls
    services: list[dict[str, Any]]
    endpoints: list[Endpoint] | None
    public_logs: bool
    public_sysinfo: bool
    public_tcbinfo: bool
    gateway_enabled: bool
    secure_time: bool
    listed: bool
    storage_fs: str
    workspace: dict[str, Any] | None
    creator: dict[str, Any] | None
    created_at: str | None
    deleted_at: str | None
    project_type: str | None


class CvmDetail(CvmInfo):
    """A CVM with its compose file."""

    compose_file: dict[str, Any] | str | None


class CvmPage(BaseModel):
    """A page of CVMs."""

    items: list[CvmInfo]
    total: int
    page: int
    page_size: int
    pages: int


class LegacyItem(BaseModel):
    """A CVM as lists had it in 2025."""

    hosted: dict[str, Any]
    name: str
    status: str
    in_progress: bool
    listed: bool
    syslog_endpoint: str | None
    vcpu: int | None
    memory: int | None
    disk_size: int | None
    public_urls: list[Endpoint]


class LegacyPage(BaseModel):
    """A page of CVMs as it was in 2025."""

    items: list[LegacyItem]
    total: int
    page: int
    page_size: int
    pages: int


class LegacyDetail(Action):
    """A CVM as it was described in 2025."""

    in_progress: bool
    listed: bool
    instance_type: str | None
    syslog_endpoint: str | None
    public_urls: list[Endpoint] | None


class State(BaseModel):
    """The state of a CVM; what isn't known is left out."""

    id: str | None = None
    instance_id: str | None = None
    name: str | None = None
    status: str
    derived_status: str | None = None
    vm_uuid: str | None = None
    uptime: str | None = None
    exited_at: str | None = None
    boot_progress: str | None = None
    boot_error: str | None = None
    shutdown_progress: str | None = None


class BatchStatus(BaseModel):
    """One CVM's part of a batch status."""

    vm_uuid: str
    status: str
    uptime: str | None
    in_progress: bool
    boot_progress: str | None
    boot_error: str | None
    shutdown_progress: str | None
    events: list[dict[str, Any]]


class Accepted(BaseModel):
    """The answer to a change that goes on in the background."""

    status: str
    message: str | None
    correlation_id: str | None


class AcceptedEnvs(Accepted):
    """The answer to a change of environment variables."""

    allowed_envs_changed: bool


class ComposeProvisioned(BaseModel):
    """The answer to provisioning another app compose."""

    app_id: str
    device_id: str | None
    compose_hash: str
    kms_info: dict[str, Any] | None
    compose_hash_registered: bool


class UserConfig(BaseModel):
    """Host name and SSH keys."""

    hostname: str | None
    ssh_authorized_keys: list[str]
    default_gateway_domain: str | None


class OsImageVariant(BaseModel):
    """An image a CVM can change to."""

    name: str
    slug: str
    os_image_hash: str | None
    is_current: bool


class OsImageChoice(BaseModel):
    """The images of one version."""

    version: list[int]
    prod: OsImageVariant | None
    dev: OsImageVariant | None


class InstanceIdResult(BaseModel):
    """The result for one instance id."""

    cvm_id: int | str | None
    identifier: str
    status: str
    old_instance_id: str | None
    new_instance_id: str | None
    source: str
    verified_with_gateway: bool
    reason: str | None


class InstanceIdResults(BaseModel):
    """The results for several instance ids."""

    total: int
    scanned: int
    updated: int
    unchanged: int
    skipped: int
    conflicts: int
    errors: int
    items: list[InstanceIdResult]
