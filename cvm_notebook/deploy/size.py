"""Resizing a CVM: the new price, the room on its node, the quota."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.catalogue import InstanceType, Node, QuotaMetric, WorkspaceQuotas
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.money import exact
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.pricing import DISK_USD_GB_H

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


@dataclass(frozen=True, slots=True)
class Size:
    """A size; None where it is not known. Memory in MB, the disk in GB."""

    instance_type: str | None = None
    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    gpus: int = 0

    @classmethod
    def of(cls, cvm: Cvm) -> Self:
        """Read what a CVM has."""
        now = cvm.resource
        if now is None:
            return cls()
        memory = None if now.memory_in_gb is None else round(now.memory_in_gb * 1024)
        return cls(now.instance_type, now.vcpu, memory, now.disk_in_gb, now.gpus or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The catalogue, a CVM's node and the quotas, as far as the service tells them."""

    types: tuple[InstanceType, ...] = ()
    node: Node | None = None
    quotas: WorkspaceQuotas | None = None

    @classmethod
    def read(cls, client: "Client", cvm: Cvm) -> Self:
        """Read them from the service by three requests; what cannot be read is left out."""
        types: tuple[InstanceType, ...] = ()
        node, quotas = None, None
        node_id = cvm.node_info.id if cvm.node_info is not None else None
        with suppress(CvmError):
            types = tuple(client.list_instance_types())
        with suppress(CvmError):
            nodes = client.get_available_nodes().nodes
            node = next((one for one in nodes if one.id == node_id), None)
        with suppress(CvmError):
            quotas = client.get_workspace_quotas().quotas
        return cls(types=types, node=node, quotas=quotas)

    def size_after(self, now: Size, changes: Changes) -> Size:
        """Return the size that the changes lead to."""
        kind = self.type_of(changes.instance_type)
        disk = changes.disk_size or now.disk_size
        if changes.instance_type is not None:
            if kind is None:
                return Size(changes.instance_type, changes.vcpu, changes.memory, disk)
            gpus = now.gpus if kind.requires_gpu else 0
            return Size(kind.id, kind.vcpu, kind.memory_mb, disk, gpus)
        vcpu, memory = changes.vcpu or now.vcpu, changes.memory or now.memory
        fits = next((k for k in self.types if (k.vcpu, k.memory_mb) == (vcpu, memory)), None)
        same = (vcpu, memory) == (now.vcpu, now.memory)
        name = now.instance_type if same else fits.id if fits is not None else None
        return Size(name, vcpu, memory, disk, now.gpus)

    def type_of(self, name: str | None) -> InstanceType | None:
        """Return an instance type of the catalogue."""
        return next((kind for kind in self.types if name and kind.id == name), None)

    @exact
    def usd_h_after(self, cvm: Cvm, now: Size, after: Size) -> Decimal | None:
        """Return the price of an hour of the new size while it runs; None where it is not known."""
        rate = cvm.hourly_rate
        if now == after:
            return None if rate is None else rate.total_usd
        if (now.instance_type, now.vcpu, now.memory) == (
            after.instance_type,
            after.vcpu,
            after.memory,
        ):
            compute = rate.compute_usd if rate is not None else None
        else:
            kind = self.type_of(after.instance_type)
            compute = kind.hourly_rate if kind is not None else None
        if compute is None or after.disk_size is None:
            return None
        disk = rate.disk_usd if rate is not None else None
        if disk is None or after.disk_size != now.disk_size:
            disk = DISK_USD_GB_H * after.disk_size
        return compute + disk

    def obstacles(self, now: Size, after: Size) -> Iterator[str]:
        """Say what keeps the new size from being had."""
        if now == after:
            return
        if now.disk_size and after.disk_size and after.disk_size < now.disk_size:
            yield f"its disk has {now.disk_size} GB and only grows"
        more = _more(now, after)
        for what, free in self._left.items():
            if free is not None and more[what.partition(" of the ")[0]] > max(0, free):
                needs = more[what.partition(" of the ")[0]]
                yield f"{needs} more {what} are needed, and {free:g} are left"

    @property
    def _left(self) -> dict[str, float | None]:
        """The resources left, of the node and of the workspace's quota."""
        node, quotas = self.node or Node(), self.quotas or WorkspaceQuotas()
        return {
            "vCPU of the node": node.remaining_vcpu,
            "MB of memory of the node": node.remaining_memory,
            "vCPU of the quota": _rest(quotas.vcpu),
            "MB of memory of the quota": _rest(quotas.memory_mb),
            "GB of disk of the quota": _rest(quotas.disk_gb),
        }


def _more(now: Size, after: Size) -> dict[str, int]:
    return {
        "vCPU": (after.vcpu or 0) - (now.vcpu or 0) if after.vcpu else 0,
        "MB of memory": (after.memory or 0) - (now.memory or 0) if after.memory else 0,
        "GB of disk": (after.disk_size or 0) - (now.disk_size or 0) if after.disk_size else 0,
    }


def _rest(metric: QuotaMetric | None) -> int | None:
    return None if metric is None or metric.unlimited else metric.remaining


def shrinks(now: Size, after: Size) -> bool:
    """Return whether a CVM would have less of something than it has."""
    pairs = ((now.vcpu, after.vcpu), (now.memory, after.memory), (now.gpus, after.gpus))
    return any(old and new is not None and new < old for old, new in pairs)
