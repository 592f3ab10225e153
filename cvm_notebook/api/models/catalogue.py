"""Models of what surrounds CVMs: nodes, types, images, workspaces, quotas, keys and apps."""

import datetime as dt
from typing import Any, ClassVar

from cvm_notebook.api.models.base import Int, Model, Money, Rows, Tidy, instant
from cvm_notebook.api.models.cvm import Cvm, CvmRef, DeviceId, UserRef, WorkspaceRef
from cvm_notebook.api.models.decode import convert, decode


class OsImageRef(Tidy, frozen=True, kw_only=True, gc=False):
    """An OS image that a node has."""

    name: str | None = None
    is_dev: bool | None = None
    version: tuple[int | str, ...] | str | None = None
    os_image_hash: str | None = None


class Node(Tidy, frozen=True, kw_only=True, gc=False):
    """A node and what it has left. `Node.id` is what ``teepod_id`` and ``node_id`` take."""

    teepod_id: Int | None = None
    name: str | None = None
    listed: bool | None = None
    resource_score: float | None = None
    remaining_vcpu: float | None = None
    remaining_memory: float | None = None
    remaining_cvm_slots: float | None = None
    images: Rows[OsImageRef] = ()
    support_onchain_kms: bool | None = None
    fmspc: str | None = None
    device_id: str | None = None
    device_ids: Rows[DeviceId] = ()
    region_identifier: str | None = None
    default_kms: str | None = None
    kms_list: Rows[str] = ()

    @property
    def id(self) -> int | None:
        """The number of the node."""
        return self.teepod_id


class Capacity(Model, frozen=True, kw_only=True, gc=False):
    """The most a workspace may have; None where no limit is stated."""

    max_instances: Int | None = None
    max_vcpu: Int | None = None
    max_memory: Int | None = None
    max_disk: Int | None = None


class GpuAvailability(Model, frozen=True, kw_only=True, gc=False):
    """Whether GPUs are to be had."""

    has_reserved_gpus: bool | None = None
    reserved_gpu_count: Int | None = None
    has_public_gpus: bool | None = None
    public_gpu_count: Int | None = None


class KmsNode(Model, frozen=True, kw_only=True, gc=False):
    """One server of a key management service."""

    id: str | int | None = None
    slug: str | None = None
    url: str | None = None
    version: str | None = None
    kms_type: str | None = None
    chain_id: Int | None = None
    kms_contract_address: str | None = None
    gateway_app_id: str | None = None


class KmsContract(Model, frozen=True, kw_only=True, gc=False):
    """A key management service on a chain, which several servers may stand for."""

    id: str | None = None
    slug: str | None = None
    label: str | None = None
    contract_address: str | None = None
    chain_id: Int | None = None
    k256_pubkey: str | None = None
    ca_pubkey: str | None = None
    node_count: Int | None = None


class AvailableNodes(Tidy, frozen=True, kw_only=True, gc=False):
    """The nodes a workspace may use."""

    tier: str | None = None
    capacity: Capacity | None = None
    nodes: Rows[Node] = ()
    kms_list: Rows[KmsNode] = ()
    gpu_availability: GpuAvailability | None = None


class InstanceType(Tidy, frozen=True, kw_only=True, gc=False):
    """A size of CVM and its price per hour in dollars."""

    money_fields: ClassVar[frozenset[str]] = frozenset({"hourly_rate"})

    id: str | None = None
    name: str | None = None
    description: str | None = None
    vcpu: Int | None = None
    memory_mb: Int | None = None
    hourly_rate: Money = None
    requires_gpu: bool | None = None
    default_disk_size_gb: Int | None = None
    family: str | None = None


class InstanceTypeFamily(Tidy, frozen=True, kw_only=True, gc=False):
    """The instance types of one family; the service names it in one of two fields."""

    name: str | None = None
    family: str | None = None
    items: Rows[InstanceType] = ()
    total: Int | None = None


class InstanceTypeFamilies(Tidy, frozen=True, kw_only=True, gc=False):
    """All instance types by family."""

    result: Rows[InstanceTypeFamily] = ()


class OsImage(Model, frozen=True, kw_only=True, gc=False):
    """An OS image that may be chosen."""

    name: str | None = None
    slug: str | None = None
    version: str | None = None
    os_image_hash: str | None = None
    is_dev: bool | None = None
    requires_gpu: bool | None = None


class Workspace(Model, frozen=True, kw_only=True, gc=False):
    """A workspace and the key's role in it."""

    id: str | None = None
    name: str | None = None
    slug: str | None = None
    tier: str | None = None
    role: str | None = None
    avatar: str | None = None
    is_default: bool | None = None
    created_at: str | None = None
    billing_status: str | None = None


class WorkspacePagination(Model, frozen=True, kw_only=True, gc=False):
    """The cursor of a list of workspaces."""

    has_more: bool | None = None
    next_cursor: str | None = None
    total: Int | None = None


class WorkspacePage(Tidy, frozen=True, kw_only=True, gc=False):
    """The workspaces of the key's owner."""

    data: Rows[Workspace] = ()
    pagination: WorkspacePagination | None = None


class QuotaMetric(Model, frozen=True, kw_only=True, gc=False):
    """A limit and what is left of it; the service's -1 means no limit."""

    limit: Int | None = None
    remaining: Int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit."""
        return self.limit is not None and self.limit < 0


class WorkspaceQuotas(Model, frozen=True, kw_only=True, gc=False):
    """The limits of a workspace by kind."""

    vm_slots: QuotaMetric | None = None
    vcpu: QuotaMetric | None = None
    memory_mb: QuotaMetric | None = None
    disk_gb: QuotaMetric | None = None


class ReservedGpu(Model, frozen=True, kw_only=True, gc=False):
    """GPUs set aside for a workspace."""

    gpus: QuotaMetric | None = None
    in_use: Int | None = None
    misconfigured: Int | None = None


class Quotas(Model, frozen=True, kw_only=True, gc=False):
    """The quotas of a workspace, as of a moment."""

    team_slug: str | None = None
    tier: str | None = None
    quotas: WorkspaceQuotas | None = None
    reserved_nodes: QuotaMetric | None = None
    reserved_gpu: ReservedGpu | None = None
    as_of: str | None = None


class User(Model, frozen=True, kw_only=True, gc=False):
    """The key's owner."""

    username: str | None = None
    email: str | None = None
    role: str | None = None
    avatar: str | None = None
    email_verified: bool | None = None
    totp_enabled: bool | None = None
    has_backup_codes: bool | None = None
    flag_has_password: bool | None = None


class Credits(Tidy, frozen=True, kw_only=True, gc=False):
    """The workspace's money in dollars."""

    money_fields: ClassVar[frozenset[str]] = frozenset(
        {"balance", "granted_balance", "outstanding_amount"}
    )

    balance: Money = None
    granted_balance: Money = None
    outstanding_amount: Money = None
    is_post_paid: bool | None = None


class CurrentUser(Model, frozen=True, kw_only=True, gc=False):
    """The user and the workspace of the API key, with the credit left."""

    user: User | None = None
    workspace: Workspace | None = None
    credits: Credits | None = None


def decode_current_user(body: bytes, where: str = "GET /auth/me") -> CurrentUser:
    """Decode either shape of the answer: nested, or flat as API version 2025-10-28 has it."""
    answer = decode(body, dict[str, Any], where)
    if not {"user", "workspace", "credits"} & {k for k, v in answer.items() if isinstance(v, dict)}:
        answer = {
            "user": {name: answer.get(name) for name in ("username", "email", "avatar")},
            "workspace": {"name": answer.get("team_name"), "tier": answer.get("team_tier")},
            "credits": {
                "balance": answer.get("credits"),
                "granted_balance": answer.get("granted_credits"),
            },
        }
    return convert(answer, CurrentUser, where)


class NextAppId(Model, frozen=True, kw_only=True, gc=False):
    """An app id to come, and the nonce that makes it."""

    app_id: str | None = None
    nonce: Int | None = None


class NextAppIds(Tidy, frozen=True, kw_only=True, gc=False):
    """The next app ids of the workspace."""

    app_ids: Rows[NextAppId] = ()


class EnvPubkey(Model, frozen=True, kw_only=True, gc=False):
    """The key that environment variables of an app are encrypted for, and its signature.

    ``signature_v1`` is over the time, too, which is ``timestamp`` (seconds since 1970).
    """

    public_key: str | None = None
    signature: str | None = None
    signature_v1: str | None = None
    timestamp: Int | None = None


class AppProfile(Model, frozen=True, kw_only=True, gc=False):
    """The public profile of an app."""

    display_name: str | None = None
    avatar_url: str | None = None
    description: str | None = None
    custom_domain: str | None = None


class App(Tidy, frozen=True, kw_only=True, gc=False):
    """An app: one app id, one or more CVMs."""

    id: str | None = None
    name: str | None = None
    app_id: str | None = None
    app_provision_type: str | None = None
    app_icon_url: str | None = None
    created_at: str | None = None
    kms_type: str | None = None
    profile: AppProfile | None = None
    current_cvm: Cvm | None = None
    cvms: Rows[Cvm] = ()
    cvm_count: Int | None = None


class AppPage(Model, frozen=True, kw_only=True, gc=False):
    """One page of apps."""

    dstack_apps: tuple[App, ...]
    page: Int | None = None
    page_size: Int | None = None
    total: Int | None = None
    total_pages: Int | None = None


class AppRevision(Model, frozen=True, kw_only=True, gc=False):
    """One version of an app; the last three fields come with a single revision only."""

    revision_id: str | None = None
    app_id: str | None = None
    vm_uuid: str | None = None
    compose_hash: str | None = None
    created_at: str | None = None
    trace_id: str | None = None
    operation_type: str | None = None
    triggered_by: UserRef | None = None
    cvm: CvmRef | None = None
    workspace: WorkspaceRef | None = None
    compose_file: str | dict[str, Any] | None = None
    encrypted_env: str | None = None
    user_config: str | None = None

    @property
    def created(self) -> dt.datetime | None:
        """The time at which the revision was made."""
        return instant(self.created_at)


class AppRevisions(Model, frozen=True, kw_only=True, gc=False):
    """One page of revisions."""

    revisions: tuple[AppRevision, ...]
    total: Int | None = None
    page: Int | None = None
    page_size: Int | None = None
    total_pages: Int | None = None
