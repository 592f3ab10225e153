"""What is in use and what is left: of each node, and of a workspace's quotas.

``node_usage(session)`` → ``{node_id: Usage}``; ``workspace_usage(session, workspace_id)`` →
``Usage``. A CVM holds its share until it is deleted, also while it is stopped.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.catalogue import TIERS, Node
from cvm_notebook.local.db import Cvm
from cvm_notebook.local.errors import ApiError, coded, detail
from cvm_notebook.local.usage import NodeUsage, WorkspaceUsage


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
