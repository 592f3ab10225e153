"""Models of networking: ports, the abilities of a node, and the DNS records of a domain."""

from typing import Any

from cvm_notebook.api.models.base import Int, Model, Rows, Tidy


class PortMapping(Model, frozen=True, kw_only=True, gc=False):
    """A port of a CVM, and the port of its node that leads to it."""

    id: str | None = None
    host_address: str | None = None
    host_port: Int | None = None
    vm_port: Int | None = None
    protocol: str | None = None

    @property
    def said(self) -> str:
        """The mapping in words: ``22/tcp on 20022``."""
        host = f"{self.host_address}:" if self.host_address else ""
        return f"{self.vm_port}/{self.protocol or 'tcp'} on {host}{self.host_port}"


class NetworkConfig(Tidy, frozen=True, kw_only=True, gc=False):
    """A CVM's key services, gateways and ports, as its node has them."""

    kms_urls: Rows[str] = ()
    gateway_urls: Rows[str] = ()
    ports: Rows[PortMapping] = ()


class FirewallStatus(Model, frozen=True, kw_only=True, gc=False):
    """Whether the node of a CVM can filter what reaches it; ``reason`` says why not."""

    available: bool | None = None
    reason: str | None = None


class DnsRecord(Model, frozen=True, kw_only=True, gc=False):
    """A record that a custom domain needs, and what is there instead."""

    record_type: str | None = None
    query_name: str | None = None
    expected_value: str | None = None
    actual_value: str | None = None
    is_valid: bool | None = None
    is_deprecated: bool | None = None
    warning_message: str | None = None


class CaaCheck(Tidy, frozen=True, kw_only=True, gc=False):
    """Whether the domain lets the CVM's account be given certificates (CAA, RFC 8659)."""

    caa_records: Rows[str] = ()
    accounturi: str | None = None
    expected_uri: str | None = None
    is_match: bool | None = None
    info_message: str | None = None
    acme_fetches: Rows[dict[str, Any]] = ()


class DomainDiagnosis(Tidy, frozen=True, kw_only=True, gc=False):
    """The diagnosis of a custom domain: its DNS records, and what is wrong with them."""

    domain: str | None = None
    port: Int | None = None
    is_valid: bool | None = None
    records: Rows[DnsRecord] = ()
    caa_check: CaaCheck | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems to correct, a line each; none where the domain works."""
        found = [
            f"{r.record_type} {r.query_name}: {r.actual_value or 'nothing'} is there, "
            f"and {r.expected_value} is needed"
            for r in self.records
            if r.is_valid is False
        ]
        caa = self.caa_check
        if caa is not None and caa.is_match is False:
            found.append(f"CAA: {caa.info_message or f'{caa.expected_uri} may not certify it'}")
        return tuple(found)


class DomainDiagnoses(Tidy, frozen=True, kw_only=True, gc=False):
    """The diagnoses of several domains."""

    results: Rows[DomainDiagnosis] = ()
