"""Models of the answers about a CVM's network: ports, addresses, firewall, domains of its own."""

from typing import Any

from pydantic import BaseModel

from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.identifiers import hashid

VALID_DOMAIN = ".valid.test"
"""LocalCloud asks no DNS. Domains below this one have the records that they need,"""
OLD_DOMAIN = ".old.test"
"""those below this one a TXT record of an earlier form, and all others have none."""
_OLD_FORM = "The record has an earlier form. Use _dstack-app-address instead of _tapp-address."


class HostPort(BaseModel):
    """A port of the CVM on its host, as the host has it."""

    host_port: int
    vm_port: int
    protocol: str
    host_address: str


class MappedPort(HostPort):
    """The same with its id."""

    id: str


class NetworkConfig(BaseModel):
    """The gateways and key services of a CVM, and its ports."""

    kms_urls: list[str]
    gateway_urls: list[str]
    ports: list[HostPort]


class Firewall(BaseModel):
    """Whether ports of a CVM can be opened."""

    available: bool
    reason: str | None


class DnsRecord(BaseModel):
    """A DNS record, as it should be and as it is."""

    record_type: str
    query_name: str
    expected_value: str
    actual_value: str | None
    is_valid: bool
    is_deprecated: bool
    warning_message: str | None


class DomainDiagnosis(BaseModel):
    """The diagnosis of a domain."""

    domain: str
    port: int
    records: list[DnsRecord]
    is_valid: bool
    caa_check: dict[str, Any] | None


class Diagnosis(BaseModel):
    """The diagnoses of several domains, in the order of the request."""

    results: list[DomainDiagnosis]


def mapped(cvm: Cvm, port: dict[str, Any]) -> dict[str, Any]:
    """Format a mapping with its id."""
    number = cvm.id << 17 | port["host_port"] << 1 | (port["protocol"] == "udp")
    return {"id": hashid("pm", number)} | port


def diagnosis(cvm: Cvm, domain: str, port: int) -> dict[str, Any]:
    """Format what is found of a domain."""
    found, old = domain.endswith((VALID_DOMAIN, OLD_DOMAIN)), domain.endswith(OLD_DOMAIN)
    target, address = f"_.{NODES[cvm.node_id].domain}", f"{cvm.app_id}:{port}"
    prefix = "_tapp-address" if old else "_dstack-app-address"
    records = [
        _record("CNAME", domain, target, found=found),
        _record("TXT", f"{prefix}.{domain}", address, found=found, old=old),
    ]
    return {
        "domain": domain,
        "port": port,
        "records": records,
        "is_valid": found,
        "caa_check": None,
    }


def _record(
    kind: str, name: str, expected: str, *, found: bool, old: bool = False
) -> dict[str, Any]:
    return {
        "record_type": kind,
        "query_name": name,
        "expected_value": expected,
        "actual_value": expected if found else None,
        "is_valid": found,
        "is_deprecated": old,
        "warning_message": _OLD_FORM if old else None,
    }
