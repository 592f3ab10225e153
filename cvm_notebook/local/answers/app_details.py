"""Models of the answers about an app's chain, its pending updates and its usage."""

from pydantic import BaseModel


class AppKmsInfo(BaseModel):
    """On which chain an app is."""

    is_onchain_kms: bool = False
    chain_id: int | None = None
    kms_contract_address: str | None = None
    app_contract_address: str | None = None
    deployer_address: str | None = None
    deployer_type: str | None = None
    is_contract: bool = False
    safe_app_url: str | None = None


class PendingUpdate(BaseModel):
    """A change that waits for a CVM."""

    vm_uuid: str
    compose_hash: str
    on_chain: bool
    instance_name: str | None


class PendingUpdates(BaseModel):
    """The changes that wait for the CVMs of an app."""

    items: list[PendingUpdate]


class PendingUpdatePreview(BaseModel):
    """The changes of a pending update."""

    current_docker_compose: str | None
    pending_docker_compose: str | None
    current_pre_launch_script: str | None
    pending_pre_launch_script: str | None


class UsageItem(BaseModel):
    """One metered entry: the cost of one CVM in one hour; ``cost`` in dollars."""

    instance_id: str
    project_id: int
    team_id: int
    timestamp: str
    event_type: str
    cost: float
    details: str | None
    usage_type: str
    billing_start: str
    billing_end: str
    duration_minutes: float
    billing_key: str
    billing_hour: str
    billing_day: str


class Usage(BaseModel):
    """The metered usage of an app, and the sum of what is listed."""

    usage: list[UsageItem]
    total: int
    total_cost: float
