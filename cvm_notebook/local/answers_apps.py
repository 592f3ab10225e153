"""Models of the answers about apps, for the OpenAPI description."""

from typing import Any

from pydantic import BaseModel

from cvm_notebook.local.answers import CvmInfo


class Profile(BaseModel):
    """How an app presents itself."""

    display_name: str | None
    avatar_url: str | None
    description: str | None
    custom_domain: str | None


class LegacyAppCvm(BaseModel):
    """A CVM as lists of apps had it in 2025."""

    vm_uuid: str | None
    app_id: str
    name: str
    status: str
    vcpu: int
    memory: int
    disk_size: int
    teepod_id: int
    teepod_name: str
    region_identifier: str | None
    kms_type: str | None
    instance_type: str | None
    listed: bool | None
    base_image: str | None
    instance_id: str | None


class App(BaseModel):
    """An app and its CVMs."""

    id: str
    name: str
    app_id: str
    app_provision_type: str | None
    app_icon_url: str | None
    created_at: str
    kms_type: str
    profile: Profile | None
    current_cvm: CvmInfo | LegacyAppCvm | None
    cvms: list[CvmInfo | LegacyAppCvm]
    cvm_count: int


class Apps(BaseModel):
    """A page of apps."""

    dstack_apps: list[App]
    page: int
    page_size: int
    total: int
    total_pages: int


class FilterOptions(BaseModel):
    """What the list of apps can be filtered by."""

    statuses: list[str]
    image_versions: list[str]
    instance_types: list[str]
    kms_slugs: list[str]
    kms_types: list[str]
    regions: list[str]
    nodes: list[str]


class RevisionItem(BaseModel):
    """A compose file a CVM has had."""

    revision_id: str
    app_id: str
    vm_uuid: str
    compose_hash: str
    created_at: str
    trace_id: str | None
    operation_type: str
    triggered_by: dict[str, Any] | None
    cvm: dict[str, Any] | None
    workspace: dict[str, Any] | None


class RevisionDetail(RevisionItem):
    """The same with the compose file."""

    compose_file: dict[str, Any] | str | None
    encrypted_env: str
    user_config: str


class Revisions(BaseModel):
    """A page of revisions, newest first."""

    revisions: list[RevisionItem]
    total: int
    page: int
    page_size: int
    total_pages: int


class AllowlistDevice(BaseModel):
    """A machine, and the app's CVMs on it."""

    device_id: str
    node_name: str | None
    cvm_ids: list[int | str]
    allowed_onchain: bool
    status: str


class DeviceAllowlist(BaseModel):
    """On which machines an app may run."""

    is_onchain_kms: bool
    allow_any_device: bool | None
    chain_id: int | None
    app_contract_address: str | None
    devices: list[AllowlistDevice]


class IsAllowed(BaseModel):
    """Whether a compose file may run on a machine."""

    app_contract_address: str
    compose_hash: str
    device_id: str
    compose_hash_allowed: bool
    allow_any_device: bool
    device_id_allowed: bool | None
    is_allowed: bool
    error: str | None


class CvmIsAllowed(IsAllowed):
    """The same for a CVM."""

    cvm_id: int | str | None


class CvmsAreAllowed(BaseModel):
    """The same for all CVMs of an app; without a chain there is nothing to ask."""

    is_onchain: bool
    results: list[CvmIsAllowed]
    total: int
    allowed_count: int
    denied_count: int
    error_count: int
    skipped_cvm_ids: list[int | str]


class AttestationInstance(BaseModel):
    """What one CVM of an app attests."""

    vm_uuid: str | None
    name: str | None
    instance_id: str | None
    status: str | None
    image_version: str | None
    quote: str | None
    ppid: str | None
    device_id: str | None
    fmspc: str | None
    mr_config_id: str | None
    tcb_info: dict[str, Any] | None
    app_certificates: list[dict[str, Any]] | None
    compose_file: str | None
    eventlog: list[dict[str, Any]]
    error: str | None


class AppAttestation(BaseModel):
    """What the running CVMs of an app attest."""

    app_id: str | None
    contract_address: str | None
    kms_info: dict[str, Any] | None
    instances: list[AttestationInstance]
    kms_guest_agent_info: dict[str, Any] | None
    gateway_guest_agent_info: dict[str, Any] | None
    qemu_version: str | None
    notice: str
