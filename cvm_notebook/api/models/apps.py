"""Models of an app beside its CVMs: usage, pending updates, permissions on chain."""

import datetime as dt
from typing import ClassVar

from cvm_notebook.api.models.base import Int, Model, Money, Rows, Tidy, instant


class UsageRecord(Tidy, frozen=True, kw_only=True, gc=False):
    """One metered entry of the bill: the charge of one CVM for one kind of use.

    ``instance_id`` is the CVM's ``vm_uuid``.
    """

    money_fields: ClassVar[frozenset[str]] = frozenset({"cost"})

    instance_id: str | None = None
    project_id: str | int | None = None
    team_id: str | int | None = None
    timestamp: str | None = None
    event_type: str | None = None
    usage_type: str | None = None
    cost: Money = None
    details: str | None = None
    billing_start: str | None = None
    billing_end: str | None = None
    duration_minutes: float | None = None
    billing_key: str | None = None
    billing_hour: str | None = None
    billing_day: str | None = None

    @property
    def hour(self) -> dt.datetime | None:
        """The hour it is billed for."""
        return instant(self.billing_hour) or instant(self.timestamp)


class AppUsage(Tidy, frozen=True, kw_only=True, gc=False):
    """The metered use of an app: its records, how many there are, and what they cost in all."""

    money_fields: ClassVar[frozenset[str]] = frozenset({"total_cost"})

    usage: Rows[UsageRecord] = ()
    total: Int | None = None
    total_cost: Money = None


class PendingUpdate(Model, frozen=True, kw_only=True, gc=False):
    """A compose hash that was signed on chain for a CVM and is not applied yet."""

    vm_uuid: str | None = None
    compose_hash: str | None = None
    on_chain: bool | None = None
    instance_name: str | None = None


class PendingUpdates(Tidy, frozen=True, kw_only=True, gc=False):
    """The pending updates of an app: signed for its CVMs and not applied yet."""

    items: Rows[PendingUpdate] = ()


class PendingUpdatePreview(Model, frozen=True, kw_only=True, gc=False):
    """The changes of a pending update: compose file and script, before and after."""

    current_docker_compose: str | None = None
    pending_docker_compose: str | None = None
    current_pre_launch_script: str | None = None
    pending_pre_launch_script: str | None = None


class AppKmsInfo(Model, frozen=True, kw_only=True, gc=False):
    """The kind of an app's key service, its contract, and the account that deployed it."""

    is_onchain_kms: bool | None = None
    chain_id: Int | None = None
    kms_contract_address: str | None = None
    app_contract_address: str | None = None
    deployer_address: str | None = None
    deployer_type: str | None = None
    is_contract: bool | None = None
    safe_app_url: str | None = None


class AllowedDevice(Tidy, frozen=True, kw_only=True, gc=False):
    """A node that an app's contract lets its CVMs run on, or does not."""

    device_id: str | None = None
    node_name: str | None = None
    cvm_ids: Rows[str | int] = ()
    allowed_onchain: bool | None = None
    status: str | None = None


class DeviceAllowlist(Tidy, frozen=True, kw_only=True, gc=False):
    """The nodes an app's contract lets its CVMs run on."""

    is_onchain_kms: bool | None = None
    allow_any_device: bool | None = None
    chain_id: Int | None = None
    app_contract_address: str | None = None
    devices: Rows[AllowedDevice] = ()


class Allowance(Model, frozen=True, kw_only=True, gc=False):
    """Whether an app's contract lets a compose hash run on a node."""

    cvm_id: str | int | None = None
    app_contract_address: str | None = None
    compose_hash: str | None = None
    device_id: str | None = None
    compose_hash_allowed: bool | None = None
    allow_any_device: bool | None = None
    device_id_allowed: bool | None = None
    is_allowed: bool | None = None
    error: str | None = None


class Allowances(Tidy, frozen=True, kw_only=True, gc=False):
    """The same of all CVMs of an app."""

    is_onchain: bool | None = None
    total: Int | None = None
    allowed_count: Int | None = None
    denied_count: Int | None = None
    error_count: Int | None = None
    results: Rows[Allowance] = ()
    skipped_cvm_ids: Rows[str | int] = ()


class TcbEvaluationInstance(Model, frozen=True, kw_only=True, gc=False):
    """The TCB evaluation of a CVM's platform against Intel's newest collateral."""

    vm_uuid: str | None = None
    name: str | None = None
    instance_id: str | None = None
    status: str | None = None
    image_version: str | None = None
    ppid: str | None = None
    device_id: str | None = None
    evaluation_update: str | None = None
    evaluation_ok: bool | None = None
    evaluation_status: str | None = None
    error: str | None = None


class TcbEvaluation(Tidy, frozen=True, kw_only=True, gc=False):
    """The service's own judgement of the platforms of an app; `cvm.verify` judges here instead."""

    app_id: str | None = None
    update: str | None = None
    instances: Rows[TcbEvaluationInstance] = ()


class AppFilterOptions(Tidy, frozen=True, kw_only=True, gc=False):
    """The words by which apps can be filtered."""

    statuses: Rows[str] = ()
    image_versions: Rows[str] = ()
    instance_types: Rows[str] = ()
    kms_slugs: Rows[str] = ()
    kms_types: Rows[str] = ()
    regions: Rows[str] = ()
    nodes: Rows[str] = ()
