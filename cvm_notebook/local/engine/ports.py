"""Ports of CVMs on their hosts: which are mapped, and which are free on a node."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.core.database import Cvm, lock
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.engine.requests import PortEntry

_LOWEST: Final = 20_000
_SPAN: Final = 40_000

Taken = set[tuple[str, int]]


def mappings(cvm: Cvm) -> list[dict[str, Any]]:
    """Return the mappings of a CVM, each with the port of the host that is its own."""
    taken: Taken = set()
    return [_mapped(cvm, port, taken) for port in cvm.ports]


def replace(session: Session, cvm: Cvm, wanted: Sequence[PortEntry]) -> None:
    """Give a CVM these mappings in the place of all that it has; those that stay keep their port.

    Raises
    ------
    ApiError
        400: one is named twice, or the node has no port left.
    """
    asked = [(one.protocol, one.vm_port) for one in wanted]
    if len(set(asked)) < len(asked):
        raise ApiError(400, "A port of the CVM is named twice for one protocol.")
    lock(session, "ports", cvm.node_id)
    taken = _taken(session, cvm)
    kept = {(one["protocol"], one["vm_port"]): one["host_port"] for one in mappings(cvm)}
    cvm.ports = [
        _mapped(cvm, {"protocol": one[0], "vm_port": one[1], "host_port": kept.get(one, 0)}, taken)
        for one in asked
    ]


def _taken(session: Session, cvm: Cvm) -> Taken:
    """Return what the other CVMs of the node have."""
    others = session.scalars(
        select(Cvm).where(Cvm.node_id == cvm.node_id, Cvm.deleted_at.is_(None), Cvm.id != cvm.id)
    )
    return {
        (port["protocol"], port["host_port"])
        for one in others
        if one.ports
        for port in mappings(one)
    }


def _mapped(cvm: Cvm, port: dict[str, Any], taken: Taken) -> dict[str, Any]:
    protocol, vm_port = port["protocol"], port["vm_port"]
    host_port = port["host_port"] or _free(cvm, protocol, vm_port, taken)
    taken.add((protocol, host_port))
    return {
        "protocol": protocol,
        "host_port": host_port,
        "vm_port": vm_port,
        "host_address": port.get("host_address") or "0.0.0.0",
    }


def _free(cvm: Cvm, protocol: str, vm_port: int, taken: Taken) -> int:
    name = f"{cvm.vm_uuid}/{protocol}/{vm_port}".encode()
    first = int.from_bytes(hashlib.sha256(name).digest()[:4])
    for step in range(_SPAN):
        host_port = _LOWEST + (first + step) % _SPAN
        if (protocol, host_port) not in taken:
            return host_port
    raise ApiError(400, "The node has no port left.")
