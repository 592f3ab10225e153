"""Models of the answers about users and workspaces, for the OpenAPI description."""

from typing import Any, Literal

from pydantic import BaseModel

from cvm_notebook.local.answers.catalogue import Paged


class MyUser(BaseModel):
    """The user that calls."""

    username: str
    email: str
    role: Literal["admin", "user"]
    avatar: str
    email_verified: bool
    totp_enabled: bool
    has_backup_codes: bool
    flag_has_password: bool


class MyWorkspace(BaseModel):
    """The workspace of the key."""

    id: str
    name: str
    slug: str | None
    tier: str
    role: str
    avatar: str | None


class Credits(BaseModel):
    """The credit left, in dollars."""

    balance: str
    granted_balance: str
    is_post_paid: bool
    outstanding_amount: str | None


class Me(BaseModel):
    """The user, the workspace and the credit of an API key."""

    user: MyUser
    workspace: MyWorkspace
    credits: Credits


class LegacyMe(BaseModel):
    """The same as it was in 2025."""

    username: str
    email: str
    credits: float
    granted_credits: float
    avatar: str
    team_name: str
    team_tier: str


class WorkspaceItem(BaseModel):
    """A workspace."""

    id: str
    name: str
    slug: str | None
    tier: str
    role: str
    is_default: bool
    created_at: str
    billing_status: str
    suspended_at: str | None
    avatar_url: str | None
    confidential_models_enabled: bool


class CursorPage(BaseModel):
    """The cursor of a list."""

    has_more: bool
    next_cursor: str | None
    total: int | None


class Workspaces(BaseModel):
    """The workspaces of a key."""

    data: list[WorkspaceItem]
    pagination: CursorPage


class WorkspaceNodes(Paged):
    """A page of nodes."""

    items: list[dict[str, Any]]


class Metric(BaseModel):
    """One quota: the limit and what is left of it; -1 is without limit."""

    limit: int
    remaining: int


class QuotaMetrics(BaseModel):
    """The quotas of a workspace."""

    vm_slots: Metric
    vcpu: Metric
    memory_mb: Metric
    disk_gb: Metric


class ReservedGpus(BaseModel):
    """The GPUs that are kept for a workspace."""

    gpus: Metric
    in_use: int
    misconfigured: int


class Quotas(BaseModel):
    """The quotas of a workspace's tier."""

    team_slug: str
    tier: str
    quotas: QuotaMetrics
    reserved_nodes: Metric
    reserved_gpu: ReservedGpus
    as_of: str


class SshKeyItem(BaseModel):
    """A public SSH key."""

    id: str
    user_id: str
    name: str
    public_key: str
    fingerprint: str
    key_type: str
    source: str
    key_metadata: dict[str, Any] | None
    last_synced_at: str | None
    created_at: str
    updated_at: str


class DeviceCode(BaseModel):
    """A log-in that has begun."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceToken(BaseModel):
    """A log-in that has succeeded."""

    access_token: str
    token_type: str
    scope: str


class OAuthError(BaseModel):
    """An OAuth error: why a log-in has not succeeded yet, or never will."""

    error: str
    error_description: str
    detail: dict[str, str]
