"""Decide where a CVM goes: its size, its image, its node; and say why when nothing fits."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.catalogue import (
    DEFAULT_INSTANCE_TYPE,
    IMAGES,
    INSTANCE_TYPES,
    KMS_TYPES,
    MIN_DISK_GB,
    NODES,
    TIERS,
    Image,
    InstanceType,
    Node,
)
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.core.usage import NodeUsage, WorkspaceUsage
from cvm_notebook.local.engine import billing
from cvm_notebook.local.engine.requests import ProvisionRequest


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources of some CVMs; memory in MB, disk in GB."""

    instances: int = 0
    vcpu: int = 0
    memory: int = 0
    disk: int = 0
    gpus: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Return both together."""
        return Usage(
            self.instances + other.instances,
            self.vcpu + other.vcpu,
            self.memory + other.memory,
            self.disk + other.disk,
            self.gpus + other.gpus,
        )


def usage_of(cvm: Cvm) -> Usage:
    """Return what one CVM holds."""
    return Usage(1, cvm.vcpu, cvm.memory, cvm.disk_size, cvm.gpus)


def node_usage(session: Session) -> dict[int, Usage]:
    """Return what is in use on each node, by everybody."""
    columns = (NodeUsage.instances, NodeUsage.vcpu, NodeUsage.memory, NodeUsage.disk)
    rows = session.execute(select(NodeUsage.node_id, *columns, NodeUsage.gpus))
    return {node_id: Usage(*held) for node_id, *held in rows}


def workspace_usage(session: Session, workspace_id: int) -> Usage:
    """Return what a workspace holds."""
    kept = WorkspaceUsage
    row = session.execute(
        select(kept.instances, kept.vcpu, kept.memory, kept.disk, kept.gpus).where(
            kept.workspace_id == workspace_id
        )
    ).one_or_none()
    return Usage() if row is None else Usage(*row)


def lacking(node: Node, used: Usage, wanted: Usage) -> ApiError | None:
    """Return why ``wanted`` doesn't fit on a node, or None when it does."""
    limits = (
        ("ERR-02-005", "CVM slots", node.slots - used.instances, wanted.instances),
        ("ERR-02-003", "vCPUs", node.vcpu - used.vcpu, wanted.vcpu),
        ("ERR-02-004", "MB of memory", node.memory - used.memory, wanted.memory),
        ("ERR-02-007", "GPUs", node.gpus - used.gpus, wanted.gpus),
    )
    for code, what, left, needed in limits:
        if needed > left:
            return coded(
                code,
                f"Node {node.name} has {max(left, 0)} {what} left; {needed} are needed.",
                details=[detail("teepod_id", node.id, f"{max(left, 0)} {what} left")],
                suggestions=["Choose another node, or a smaller size."],
            )
    return None


def check_quota(session: Session, workspace_id: int, tier: str, wanted: Usage) -> None:
    """Raise ERR-02-015 when the workspace would hold more than its tier allows."""
    limits = TIERS[tier]
    after = workspace_usage(session, workspace_id).plus(wanted)
    checks = (
        ("CVMs", limits.instances, after.instances),
        ("vCPUs", limits.vcpu, after.vcpu),
        ("GB of memory", limits.memory_gb, after.memory / 1024),
        ("GB of disk", limits.disk_gb, after.disk),
    )
    for what, limit, total in checks:
        if limit >= 0 and total > limit:
            raise coded(
                "ERR-02-015",
                f"Tier {tier} allows {limit} {what}; with this there would be {total:g}.",
                details=[detail(what, total, f"at most {limit}")],
                suggestions=["Delete CVMs that are not needed, or move to a higher tier."],
            )


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a CVM; memory in MB, disk in GB."""

    instance_type: str | None
    vcpu: int
    memory: int
    disk_size: int
    gpus: int = 0

    @property
    def usage(self) -> Usage:
        """The resources of a node that it holds."""
        return Usage(1, self.vcpu, self.memory, self.disk_size, self.gpus)


def columns_of_size(size: Size) -> dict[str, Any]:
    """Return the columns of a CVM that follow from its size."""
    return {
        "instance_type": size.instance_type,
        "vcpu": size.vcpu,
        "memory": size.memory,
        "disk_size": size.disk_size,
        "gpus": size.gpus,
        "compute_rate": billing.compute_rate(size.instance_type, size.vcpu, size.memory),
        "disk_rate": billing.disk_rate(size.disk_size),
    }


def check_kms(kms: str | None) -> None:
    """Raise when the key management service asked for isn't one that is here."""
    kind = (kms or "phala").lower()
    if kind not in KMS_TYPES:
        raise _bad("kms", kms, f"kms is one of {', '.join(KMS_TYPES)}.")
    if kind not in {"phala", "legacy"}:
        raise coded(
            "ERR-02-011",
            f"LocalCloud has no {kind} KMS: it is connected to no chain.",
            details=[detail("kms", kms, "not available")],
            suggestions=["Leave kms out, or say phala."],
        )


def size_of(request: ProvisionRequest) -> Size:
    """Return the size that is asked for."""
    gpus = len(request.gpus.gpus) if request.gpus else 0
    return resolve_size(
        request.instance_type, request.vcpu, request.memory, request.disk_size, gpus
    )


def resolve_size(
    type_id: str | None, vcpu: int | None, memory: int | None, disk: int | None, gpus: int = 0
) -> Size:
    """Complete a size from what was given of it; contradictions raise."""
    if type_id is None and vcpu is None and memory is None:
        type_id = DEFAULT_INSTANCE_TYPE
    if type_id is not None:
        kind = instance_type_of(type_id)
        if vcpu not in (None, kind.vcpu) or memory not in (None, kind.memory_mb):
            raise coded(
                "ERR-02-009",
                f"{kind.id} has {kind.vcpu} vCPU and {kind.memory_mb} MB, not what was given.",
                details=[detail("instance_type", type_id, "contradicts vcpu or memory")],
            )
        size = Size(
            kind.id, kind.vcpu, kind.memory_mb, disk or kind.default_disk_gb, kind.gpus or gpus
        )
    else:
        size = _free_size(vcpu, memory, disk, gpus)
    if size.disk_size < MIN_DISK_GB:
        raise _bad("disk_size", size.disk_size, f"A disk has at least {MIN_DISK_GB} GB.")
    return size


def _free_size(vcpu: int | None, memory: int | None, disk: int | None, gpus: int) -> Size:
    cpus = vcpu or max(1, -(-(memory or 0) // 2048))
    mb = memory or cpus * 2048
    known = [
        kind.id
        for kind in INSTANCE_TYPES.values()
        if (kind.vcpu, kind.memory_mb, kind.gpus) == (cpus, mb, gpus)
    ]
    return Size(known[0] if known else None, cpus, mb, disk or 20, gpus)


def instance_type_of(type_id: str) -> InstanceType:
    """Return an instance type, or raise ERR-02-001."""
    found = INSTANCE_TYPES.get(type_id)
    if found is None:
        raise coded(
            "ERR-02-001",
            f"There is no instance type {type_id[:80]!r}.",
            details=[detail("instance_type", type_id[:80], "unknown")],
            suggestions=[f"Choose one of {', '.join(INSTANCE_TYPES)}."],
        )
    return found


def image_of(text: str) -> Image:
    """Return an image by name or slug, or raise ERR-02-010."""
    for image in IMAGES.values():
        if text in (image.name, image.slug):
            return image
    raise coded(
        "ERR-02-010",
        f"There is no image {text[:80]!r}.",
        details=[detail("image", text[:80], "unknown")],
        suggestions=["List the images and take one of their names."],
    )


def node_of(node_id: int) -> Node:
    """Return a node, or raise ERR-01-001."""
    found = NODES.get(node_id)
    if found is None:
        raise coded(
            "ERR-01-001",
            f"There is no node {node_id}.",
            details=[detail("teepod_id", node_id, "unknown")],
            suggestions=["List the available nodes and take one of their ids."],
        )
    return found


def place(session: Session, request: ProvisionRequest, size: Size) -> tuple[Node, Image]:
    """Return the node and image for a request, or raise the reason why none will do."""
    image = image_of(request.image) if request.image else None
    used = node_usage(session)
    if request.teepod_id is not None:
        node = node_of(request.teepod_id)
        chosen = check_image(node, image or _newest(node, request, size))
        error = lacking(node, used.get(node.id, Usage()), size.usage)
        if error is not None:
            raise error
        return node, chosen
    best = _best(used, size.usage, image, request.region)
    if best is None:
        raise _no_node(request, size)
    return best, image or _newest(best, request, size)


def _no_node(request: ProvisionRequest, size: Size) -> ApiError:
    regions = {node.region for node in _in_region(request.region)}
    wanted = f" matching {size.instance_type}" if regions and size.instance_type else ""
    known = ", ".join(dict.fromkeys(node.region for node in NODES.values()))
    return coded(
        "ERR-02-002",
        f"No teepod found{wanted}",
        details=[] if regions else [detail("region", request.region, f"is none of {known}")],
        suggestions=[
            "Choose a smaller size or another region."
            if regions
            else f"Choose one of the regions {known}, or leave region out."
        ],
    )


def another_node(
    used: dict[int, Usage], wanted: Usage, image: Image, requested: dict[str, Any] | None
) -> Node | None:
    """Return a node for a CVM whose planned node is full; None when it may go to no other."""
    if requested is None:
        return None
    return _best(used, wanted, image, requested["region"])


def _best(
    used: dict[int, Usage], wanted: Usage, image: Image | None, region: str | None
) -> Node | None:
    """Return the best node with room for it; None when there is none."""
    fitting = [
        node
        for node in _in_region(region)
        if (image is None or image in node.images)
        and lacking(node, used.get(node.id, Usage()), wanted) is None
    ]
    # GPU machines are kept for those who need them; among the others, the emptiest.
    return min(
        fitting,
        key=lambda node: (node.gpus > wanted.gpus, _load(node, used), node.id),
        default=None,
    )


def _load(node: Node, used: dict[int, Usage]) -> float:
    return used.get(node.id, Usage()).vcpu / node.vcpu


def _in_region(region: str | None) -> list[Node]:
    """Return the nodes of a region by its whole name, in any case; all where none is named."""
    wanted = (region or "").lower()
    return [node for node in NODES.values() if wanted in {"", node.region.lower()}]


def _newest(node: Node, request: ProvisionRequest, size: Size) -> Image:
    fitting = [
        image
        for image in node.images
        if image.is_dev is bool(request.prefer_dev) and image.requires_gpu is (size.gpus > 0)
    ]
    if not fitting:
        raise coded(
            "ERR-02-007",
            f"Node {node.name} has no GPUs.",
            details=[detail("teepod_id", node.id, "no GPUs")],
        )
    return max(fitting, key=lambda image: image.version)


def check_image(node: Node, image: Image) -> Image:
    """Return the image, or raise ERR-02-013 when the node can't run it."""
    if image not in node.images:
        raise coded(
            "ERR-02-013",
            f"Node {node.name} can't run image {image.name}.",
            details=[detail("image", image.name, "not compatible")],
            suggestions=["Leave image out, or choose one the node lists."],
        )
    return image


def _bad(field: str, value: Any, message: str) -> ApiError:
    return coded("ERR-02-008", message, details=[detail(field, value, message)])
