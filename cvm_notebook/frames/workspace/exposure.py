"""The exposure frame: what of each CVM is public, as ports, addresses, logs and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pandas as pd

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.base import shown
from cvm_notebook.api.models.cvm import Cvm, first_https
from cvm_notebook.api.models.network import FirewallStatus, PortMapping
from cvm_notebook.api.status import STATUSES, status_of
from cvm_notebook.frames.schema import FLAG, INTEGER, TEXT, Field, Table, fixed
from cvm_notebook.frames.workspace.reading import client_and_cvms, read_each
from cvm_notebook.live.store.records import key_of
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.live.engine import FleetEngine


@dataclass(frozen=True, slots=True)
class Exposure:
    """One CVM, and what could be read of its ports and its node's firewall."""

    cvm: Cvm
    ports: Sequence[PortMapping] | CvmError
    firewall: FirewallStatus | CvmError

    @property
    def open_ports(self) -> Sequence[PortMapping] | None:
        """Its ports on the node; None where they could not be read."""
        return None if isinstance(self.ports, CvmError) else self.ports

    @property
    def firewall_status(self) -> FirewallStatus:
        """The status of its node's firewall, as far as it is known."""
        return FirewallStatus() if isinstance(self.firewall, CvmError) else self.firewall

    @property
    def shows(self) -> str:
        """The public data, in words; empty for none that is known."""
        cvm = self.cvm
        flags = {
            "listed": cvm.listed,
            "logs": cvm.public_logs,
            "system figures": cvm.public_sysinfo,
            "measurements": cvm.public_tcbinfo,
            "web addresses": cvm.gateway_enabled and bool(cvm.endpoints or cvm.app_url),
            "node ports": bool(self.open_ports),
        }
        return ", ".join(name for name, is_so in flags.items() if is_so)

    @property
    def error(self) -> str | None:
        """The requests that failed, with the reasons."""
        parts = {"ports": self.ports, "firewall": self.firewall}
        failures = [
            f"{name}: {clean_text(part.message, 160)}"
            for name, part in parts.items()
            if isinstance(part, CvmError)
        ]
        return "; ".join(failures) or None


def _ports(found: Exposure) -> str | None:
    if found.open_ports is None:
        return None
    return clean_text(", ".join(port.said for port in found.open_ports))


def _reason(found: Exposure) -> str | None:
    reason = found.firewall_status.reason
    return None if reason is None else clean_text(reason)


EXPOSURE: Final[Table[Exposure]] = Table(
    "exposure/1",
    (Field("cvm_id", TEXT, lambda e: key_of(e.cvm), "the CVM"),),
    (
        Field("name", TEXT, lambda e: e.cvm.name, "its name"),
        Field("status", fixed(STATUSES), lambda e: status_of(e.cvm.status), "its status"),
        Field("shows", TEXT, lambda e: e.shows, "what anybody can see or reach, in words"),
        Field("listed", FLAG, lambda e: e.cvm.listed, "in the service's public list"),
        Field("public_logs", FLAG, lambda e: e.cvm.public_logs, "anybody can read its logs"),
        Field("public_sysinfo", FLAG, lambda e: e.cvm.public_sysinfo, "its system figures"),
        Field("public_tcbinfo", FLAG, lambda e: e.cvm.public_tcbinfo, "its measurements"),
        Field("gateway", FLAG, lambda e: e.cvm.gateway_enabled, "reached through the gateway"),
        Field("endpoint", TEXT, lambda e: _endpoint(e.cvm), "its first web address"),
        Field("custom_domain", TEXT, lambda e: _domain(e.cvm), "its own domain"),
        Field(
            "open_ports",
            INTEGER,
            lambda e: None if e.open_ports is None else len(e.open_ports),
            "ports that are open on its node",
        ),
        Field("ports", TEXT, _ports, "which: inside, and on the node"),
        Field("firewall", FLAG, lambda e: e.firewall_status.available, "its node can filter"),
        Field("firewall_reason", TEXT, _reason, "why it cannot"),
        Field("error", TEXT, lambda e: e.error, "what could not be read"),
    ),
)


def _endpoint(cvm: Cvm) -> str | None:
    return first_https(cvm.endpoints) or shown(cvm.app_url)


def _domain(cvm: Cvm) -> str | None:
    return cvm.gateway.cname if cvm.gateway is not None else None


@EXPOSURE.documents
def exposure_frame(source: "Client | FleetEngine") -> pd.DataFrame:
    """Say what of each CVM anybody can reach or read, one CVM a row.

    Ports are read for each CVM and the firewall once for each node, eight at a time. What cannot
    be read is missing, and ``error`` says why: missing is never closed.

    Parameters
    ----------
    source
        A client, whose CVMs are then listed; or a fleet.

    Examples
    --------
    >>> "my-app" in exposure_frame(client)["name"].to_list()
    True
    """
    client, cvms = client_and_cvms(source)
    of_node: dict[object, Cvm] = {}
    for cvm in cvms:
        of_node.setdefault(_node(cvm), cvm)
    ports = read_each(cvms, client.list_ports)
    answers = read_each(list(of_node.values()), client.get_firewall_status)
    firewalls: Mapping[object, FirewallStatus | CvmError] = dict(zip(of_node, answers, strict=True))
    found = zip(cvms, ports, strict=True)
    return EXPOSURE.frame(Exposure(cvm, listed, firewalls[_node(cvm)]) for cvm, listed in found)


def _node(cvm: Cvm) -> object:
    """Return what names a CVM's node; the CVM itself where it is not known."""
    node = cvm.node_info
    known = node and (node.id if node.id is not None else node.name)
    return ("cvm", key_of(cvm)) if known is None else ("node", known)
