"""Allowed addresses of webhooks: public https, and this machine itself.

The service takes public addresses by https alone, when a webhook is made and again when something
is sent, so that a name that was pointed elsewhere since reaches nothing private. LocalCloud takes
this machine's own addresses besides, where receivers under test listen, by plain http, too.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from cvm_notebook.local.core.settings import is_loopback

_LONGEST = 2048
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an address that deliveries may go to."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _PORTS[self.scheme] else f"{shown}:{self.port}"


def read_target(url: str) -> Target:
    """Read the address of a webhook.

    Raises
    ------
    ValueError
        Nothing may be sent there; the text says why, and holds nothing of the address.
    """
    if (
        len(url) > _LONGEST
        or not url.isascii()
        or not url.isprintable()
        or set(url) & set(' \\"<>')
    ):
        raise ValueError(f"url is no address of up to {_LONGEST} plain characters")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise ValueError("url is no address") from None
    if parts.scheme not in _PORTS or not host or "%" in host or port == 0:
        raise ValueError("url must be https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url holds a user or a password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("url must use https")
    if not is_loopback(host) and (host.endswith((".local", ".localhost")) or _is_private(host)):
        raise ValueError("url must have a public address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def may_reach(target: Target, address: str) -> bool:
    """Tell whether a target's name may stand for this IP address."""
    ip = _ip(address)
    if is_loopback(target.host):
        return ip.is_loopback
    return ip.is_global and not ip.is_multicast


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.partition("%")[0])
    return getattr(ip, "ipv4_mapped", None) or ip


def _is_private(host: str) -> bool:
    try:
        ip = _ip(host)
    except ValueError:
        return False  # a name: it is looked up when something is sent
    return not ip.is_global or ip.is_multicast
