"""Inventory frames: nodes, sizes, images and quotas of a workspace."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.models.catalogue import InstanceType, Node, OsImage, QuotaMetric, Quotas
from cvm_notebook.api.resources.cvms import Reads
from cvm_notebook.frames.schema import FLAG, INTEGER, MOMENT, MONEY, REAL, TEXT, Field, Table

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_N = TypeVar("_N", int, float)
_MB_PER_GB: Final = 1024


def _limit(value: _N | None) -> _N | None:
    """Return an amount; the service's negative ones mean that there is no limit."""
    return None if value is None or value < 0 else value


def _gb(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes / _MB_PER_GB


def _is_unlimited(node: Node) -> bool | None:
    left = (node.remaining_vcpu, node.remaining_memory, node.remaining_cvm_slots)
    known = [amount for amount in left if amount is not None]
    return any(amount < 0 for amount in known) if known else None


NODES: Final[Table[Node]] = Table(
    "nodes/1",
    (Field("node_id", INTEGER, lambda n: n.id, "the node's number, as provisioning takes it"),),
    (
        Field("name", TEXT, lambda n: n.name, "the node's name"),
        Field("region", TEXT, lambda n: n.region_identifier, "its region"),
        Field("listed", FLAG, lambda n: n.listed, "whether all may use it"),
        Field("free_vcpu", REAL, lambda n: _limit(n.remaining_vcpu), "virtual CPUs left"),
        Field(
            "free_memory_gb",
            REAL,
            lambda n: _gb(_limit(n.remaining_memory)),
            "memory left, in GB",
        ),
        Field("free_slots", REAL, lambda n: _limit(n.remaining_cvm_slots), "CVMs it has room for"),
        Field("unlimited", FLAG, _is_unlimited, "whether one of these has no limit"),
        Field("score", REAL, lambda n: n.resource_score, "how well it is placed; more is better"),
        Field("images", INTEGER, lambda n: len(n.images), "OS images it has"),
        Field("onchain_kms", FLAG, lambda n: n.support_onchain_kms, "whether it takes chain keys"),
        Field("default_kms", TEXT, lambda n: n.default_kms, "who keeps keys by default"),
        Field("fmspc", TEXT, lambda n: n.fmspc, "the platform's family, as Intel numbers it"),
        Field("device_id", TEXT, lambda n: n.device_id, "the hardware's identity"),
    ),
)
INSTANCE_TYPES: Final[Table[InstanceType]] = Table(
    "instance_types/1",
    (Field("instance_type", TEXT, lambda t: t.id, "as tdx.small"),),
    (
        Field("name", TEXT, lambda t: t.name, "its name for people"),
        Field("family", TEXT, lambda t: t.family, "cpu or gpu"),
        Field("vcpu", INTEGER, lambda t: _limit(t.vcpu), "virtual CPUs"),
        Field("memory_gb", REAL, lambda t: _gb(_limit(t.memory_mb)), "memory in GB"),
        Field("disk_gb", INTEGER, lambda t: _limit(t.default_disk_size_gb), "default disk, in GB"),
        Field("needs_gpu", FLAG, lambda t: t.requires_gpu, "whether it comes with GPUs"),
        Field("rate_usd_h", MONEY, lambda t: t.hourly_rate, "US dollars an hour, without disk"),
        Field("description", TEXT, lambda t: t.description, "in the service's words"),
    ),
)
IMAGES: Final[Table[OsImage]] = Table(
    "images/1",
    (Field("slug", TEXT, lambda i: i.slug, "the image's one name"),),
    (
        Field("name", TEXT, lambda i: i.name, "as dstack-0.5.8"),
        Field("version", TEXT, lambda i: i.version, "its version"),
        Field("is_dev", FLAG, lambda i: i.is_dev, "whether it is for debugging"),
        Field("needs_gpu", FLAG, lambda i: i.requires_gpu, "whether it is for GPUs"),
        Field("os_image_hash", TEXT, lambda i: i.os_image_hash, "what attestation shows for it"),
    ),
)


class _Quota(NamedTuple):
    name: str
    unit: str
    metric: QuotaMetric
    whose: Quotas


def _used(quota: _Quota) -> int | None:
    limit, left = _limit(quota.metric.limit), quota.metric.remaining
    return None if limit is None or left is None else limit - left


QUOTAS: Final[Table[_Quota]] = Table(
    "quotas/1",
    (Field("quota", TEXT, lambda q: q.name, "what is limited"),),
    (
        Field("limit", INTEGER, lambda q: _limit(q.metric.limit), "the most there may be"),
        Field("remaining", INTEGER, lambda q: _limit(q.metric.remaining), "what is left"),
        Field("used", INTEGER, _used, "limit less remaining"),
        Field(
            "unlimited",
            FLAG,
            lambda q: None if q.metric.limit is None else q.metric.unlimited,
            "whether there is no limit",
        ),
        Field("unit", TEXT, lambda q: q.unit, "what is counted"),
        Field("workspace", TEXT, lambda q: q.whose.team_slug, "the workspace's slug"),
        Field("tier", TEXT, lambda q: q.whose.tier, "the workspace's tier"),
        Field("as_of", MOMENT, lambda q: q.whose.as_of, "when the service counted"),
    ),
)


@NODES.documents
def nodes_frame(client: "Client") -> pd.DataFrame:
    """List the nodes the workspace may use, and what they have left."""
    return _unique(NODES.frame(_reads(client).get_available_nodes().nodes))


@INSTANCE_TYPES.documents
def instance_types_frame(client: "Client", family: str | None = None) -> pd.DataFrame:
    """List the sizes of CVM and their prices; with `family`, only its."""
    return _unique(INSTANCE_TYPES.frame(_reads(client).list_instance_types(family)))


@IMAGES.documents
def images_frame(client: "Client") -> pd.DataFrame:
    """List the OS images a CVM can boot."""
    return _unique(IMAGES.frame(_reads(client).list_os_images()))


@QUOTAS.documents
def quotas_frame(client: "Client", workspace: str | None = None) -> pd.DataFrame:
    """List what the workspace may have and what is left of it; one limit a row."""
    return QUOTAS.frame(_quotas(_reads(client).get_workspace_quotas(workspace)))


def _reads(client: object) -> Reads:
    return checks.instance("client", client, Reads, "Give a Client.")


def _quotas(quotas: Quotas) -> Iterable[_Quota]:
    kinds, none = quotas.quotas, QuotaMetric()
    gpu = quotas.reserved_gpu.gpus if quotas.reserved_gpu else None
    for name, unit, metric in (
        ("vm_slots", "CVMs", kinds and kinds.vm_slots),
        ("vcpu", "virtual CPUs", kinds and kinds.vcpu),
        ("memory", "MB", kinds and kinds.memory_mb),
        ("disk", "GB", kinds and kinds.disk_gb),
        ("reserved_nodes", "nodes", quotas.reserved_nodes),
        ("reserved_gpus", "GPUs", gpu),
    ):
        yield _Quota(name, unit, metric or none, quotas)


def _unique(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the last of several rows of one key: the index is unique."""
    return frame[~frame.index.duplicated(keep="last") | frame.index.isna()]
