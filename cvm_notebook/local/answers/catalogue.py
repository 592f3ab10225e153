"""Models of the answers about what can be rented, for the OpenAPI description."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class InstanceTypeItem(BaseModel):
    """A size of CVM and its price."""

    model_config = ConfigDict(extra="forbid")

    id: str
    name: str
    description: str
    vcpu: int
    memory_mb: int
    hourly_rate: str
    requires_gpu: bool
    default_disk_size_gb: int
    family: str | None


class FamilyGroup(BaseModel):
    """The instance types of one family, in the list of all."""

    name: str
    items: list[InstanceTypeItem]
    total: int


class Families(BaseModel):
    """All instance types."""

    result: list[FamilyGroup]


class Family(BaseModel):
    """The instance types of one family."""

    items: list[InstanceTypeItem]
    total: int
    family: str


class Paged(BaseModel):
    """The pagination fields of every page."""

    total: int
    page: int
    page_size: int
    pages: int


class ImageItem(BaseModel):
    """An operating system image."""

    name: str
    slug: str
    version: str
    os_image_hash: str | None
    is_dev: bool
    requires_gpu: bool


class Images(Paged):
    """A page of images."""

    items: list[ImageItem]


class Capacity(BaseModel):
    """The capacity of the workspace's tier; -1 is without limit."""

    max_instances: int | None
    max_vcpu: int | None
    max_memory: int | None
    max_disk: int | None


class GpuAvailability(BaseModel):
    """Whether there are GPUs."""

    has_reserved_gpus: bool
    reserved_gpu_count: int
    has_public_gpus: bool
    public_gpu_count: int


class NodeImage(BaseModel):
    """An image a node can run."""

    name: str
    is_dev: bool
    version: list[int]
    os_image_hash: str | None


class NodeCapacity(BaseModel):
    """A node and what is left on it."""

    teepod_id: int
    name: str
    listed: bool
    resource_score: float
    remaining_vcpu: float
    remaining_memory: float
    remaining_cvm_slots: float
    images: list[NodeImage]
    support_onchain_kms: bool | None
    fmspc: str | None
    device_id: str | None
    dedicated_for_team_id: int | None
    region_identifier: str | None
    default_kms: str | None
    kms_list: list[str]


class Kms(BaseModel):
    """A key management service, before API version 2026-06-23."""

    id: str
    slug: str | None
    url: str
    version: str
    chain_id: int | None
    kms_contract_address: str | None
    gateway_app_id: str | None


class KmsContract(BaseModel):
    """A key management service as a contract, from API version 2026-06-23 on."""

    id: str
    slug: str | None
    label: str | None
    contract_address: str
    chain_id: int
    k256_pubkey: str | None
    ca_pubkey: str | None
    node_count: int


class KmsPage(Paged):
    """A page of key management services."""

    items: list[Kms | KmsContract]


class KmsNode(BaseModel):
    """A server of a key management service."""

    id: str
    slug: str | None
    url: str
    version: str
    kms_type: str


class KmsNodes(BaseModel):
    """The servers of a key management service."""

    items: list[KmsNode]
    total: int


class KmsInspection(BaseModel):
    """The report of a key management service, with the nodes that use it."""

    id: str
    slug: str | None
    endpoint: str
    kms_type: str
    db_version: str
    rpc: dict[str, Any] | None
    rpc_error: str | None
    guest_agent: dict[str, Any] | None
    guest_agent_error: str | None
    teepods: list[dict[str, Any]]
    on_chain: dict[str, Any] | None


class AvailableNodes(BaseModel):
    """The nodes on which a CVM can be placed."""

    tier: str
    capacity: Capacity
    nodes: list[NodeCapacity]
    kms_list: list[Kms]
    gpu_availability: GpuAvailability | None


class CreateResources(BaseModel):
    """Everything a form for a new CVM needs."""

    tier: str
    capacity: Capacity
    nodes: list[NodeCapacity]
    kms_nodes: list[dict[str, Any]]
    node_kms_relations: list[dict[str, Any]]
    gateway_nodes: list[dict[str, Any]]
    instance_types: list[dict[str, Any]]
    gpu_availability: GpuAvailability


class AppIdAndNonce(BaseModel):
    """An app id and the nonce it belongs to."""

    app_id: str
    nonce: int


class NextAppIds(BaseModel):
    """The next app ids of a workspace."""

    app_ids: list[AppIdAndNonce]


class OnChain(BaseModel):
    """The KMS contracts of a chain."""

    chain_name: str
    chain_id: int
    contracts: list[dict[str, Any]]


class EnvPubkey(BaseModel):
    """The key an app's environment is encrypted for, and its signatures."""

    public_key: str
    signature: str
    signature_v1: str | None = None
    timestamp: int | None = None
