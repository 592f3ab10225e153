"""Networking of a CVM: ports, gateways, its node's firewall, custom domains."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.models.network import (
    DomainDiagnoses,
    DomainDiagnosis,
    FirewallStatus,
    NetworkConfig,
    PortMapping,
)
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import Ref, cvm_path
from cvm_notebook.text import clean_text

_HIGHEST_PORT: Final = 65535
_HTTPS: Final = 443
_PORT_REMEDY: Final = 'Give 8080, "53/udp" or {"vm_port": 53, "protocol": "udp"}.'
_DOMAIN: Final = re.compile(
    r"(?=.{4,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*"
)
_DOMAIN_REMEDY: Final = 'Give "app.example.com", or "app.example.com:8443" for another port.'


class Networks(Endpoints):
    """Ports are opened on the node; the gateway's addresses need none."""

    def list_ports(self, cvm: Ref = None, /, **identifier: object) -> list[PortMapping]:
        """Return the ports of a CVM that are open on its node."""
        return self._read(cvm_path(cvm, identifier, "list_ports", "/ports"), list[PortMapping])

    def update_ports(
        self,
        cvm: Ref = None,
        /,
        *,
        ports: Iterable[int | str | Mapping[str, Any] | PortMapping],
        **identifier: object,
    ) -> list[PortMapping]:
        """Replace the ports of a CVM that are open on its node; the node chooses its own side.

        Parameters
        ----------
        ports
            All that are to be open: ``[8080, "53/udp"]``. An empty list closes all of them.

        Raises
        ------
        InvalidInput
            One is no port, or is there twice; nothing was sent.
        """
        path = cvm_path(cvm, identifier, "update_ports", "/ports")
        wanted = [_port(one) for one in checks.several("ports", ports, "ports")]
        if len({(one["vm_port"], one["protocol"]) for one in wanted}) < len(wanted):
            raise InvalidInput("ports", "one is there twice", "Give each port once.")
        return self._change(RetryKind.UPDATE, "PUT", path, list[PortMapping], {"ports": wanted})

    def get_network_config(self, cvm: Ref = None, /, **identifier: object) -> NetworkConfig:
        """Return the key services and gateways configured for a CVM on its node."""
        path = cvm_path(cvm, identifier, "get_network_config", "/network-config")
        return self._read(path, NetworkConfig)

    def update_network_config(
        self,
        cvm: Ref = None,
        /,
        *,
        kms_urls: Iterable[str] | None = None,
        gateway_urls: Iterable[str] | None = None,
        restart: bool = False,
        **identifier: object,
    ) -> NetworkConfig:
        """Configure other key services or gateways of a CVM; what is not given stays as it is.

        Parameters
        ----------
        kms_urls, gateway_urls
            All of them, https.
        restart
            Restart it, so that this holds at once.

        Raises
        ------
        InvalidInput
            Neither is given, or one is no https address; nothing was sent.
        """
        path = cvm_path(cvm, identifier, "update_network_config", "/network-config")
        wanted = given(
            kms_urls=None if kms_urls is None else _urls("kms_urls", kms_urls),
            gateway_urls=None if gateway_urls is None else _urls("gateway_urls", gateway_urls),
        )
        if not wanted:
            raise InvalidInput("kms_urls", "nothing to change", "Give kms_urls or gateway_urls.")
        body = {**wanted, "restart": checks.boolean("restart", restart)}
        return self._change(RetryKind.UPDATE, "PATCH", path, NetworkConfig, body)

    def get_firewall_status(self, cvm: Ref = None, /, **identifier: object) -> FirewallStatus:
        """Return whether the node of a CVM can filter what reaches it."""
        path = cvm_path(cvm, identifier, "get_firewall_status", "/firewall-status")
        return self._read(path, FirewallStatus)

    def diagnose_domains(
        self,
        cvm: Ref = None,
        /,
        *,
        domains: Iterable[str | Mapping[str, Any]],
        **identifier: object,
    ) -> list[DomainDiagnosis]:
        """Ask which DNS records custom domains of a CVM have, and which they need.

        Parameters
        ----------
        domains
            ``["app.example.com", "api.example.com:8443"]``; the port is 443 when not given.

        Raises
        ------
        InvalidInput
            There is none, or one is no domain; nothing was sent.

        Examples
        --------
        >>> [found.domain for found in client.diagnose_domains("my-app", domains=["a.example.com"])]
        ['a.example.com']
        """
        path = cvm_path(cvm, identifier, "diagnose_domains", "/customize-domain-diagnose")
        asked = [_domain(one) for one in checks.several("domains", domains, "domains")]
        if not asked:
            raise InvalidInput("domains", "there is none", _DOMAIN_REMEDY)
        answer = self._ask(path, DomainDiagnoses, {"domains": asked})
        return list(answer.results)


def _port(value: object) -> dict[str, Any]:
    if isinstance(value, PortMapping):
        number, protocol = value.vm_port, value.protocol
    elif isinstance(value, Mapping):
        number, protocol = value.get("vm_port"), value.get("protocol")
    elif isinstance(value, str):
        digits, _, protocol = value.strip().partition("/")
        number = int(digits) if digits.isascii() and digits.isdigit() else None
    else:
        number, protocol = value, None  # type: ignore[assignment]  # checked below
    protocol = protocol.lower() if isinstance(protocol, str) and protocol else "tcp"
    if number is None or protocol not in {"tcp", "udp"}:
        problem = f"{clean_text(repr(value), 60)} is not a port"
        raise InvalidInput("ports", problem, _PORT_REMEDY)
    return {"vm_port": checks.integer("ports", number, most=_HIGHEST_PORT), "protocol": protocol}


def _urls(field: str, urls: object) -> list[str]:
    found = [checks.text(field, one) for one in checks.several(field, urls, "addresses")]
    for url in found:
        try:
            parts = urlsplit(url)
            bad = parts.scheme != "https" or not parts.hostname or parts.username is not None
        except ValueError:
            bad = True
        if bad or not url.isprintable() or " " in url:
            problem = f"{clean_text(url.partition('@')[2] or url, 60)!r} is not an https address"
            raise InvalidInput(field, problem, 'Give "https://HOST:PORT".')
    return found


def _domain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        domain, port = value.get("domain"), value.get("port", _HTTPS)
    else:
        domain, colon, digits = checks.text("domains", value).partition(":")
        port = int(digits) if digits.isascii() and digits.isdigit() else (None if colon else _HTTPS)
    if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain) or port is None:
        problem = f"{clean_text(repr(value), 80)} is not a domain"
        raise InvalidInput("domains", problem, _DOMAIN_REMEDY)
    return {"domain": domain, "port": checks.integer("domains", port, most=_HIGHEST_PORT)}
