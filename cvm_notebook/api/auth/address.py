"""Base URLs of the API: validated, normalised and compared."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import quoted, trimmed

DEFAULT_BASE_URL: Final = "https://cloud-api.phala.com/api/v1"
_CONSOLE: Final = "https://cloud.phala.com/dashboard/cvms/"  # as the Phala CLI names a CVM's page
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_LONGEST: Final = 500
_LONGEST_HOST: Final = 253
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")


def check_base_url(url: object, field: str = "base_url") -> str:
    """Return the API prefix in one spelling: no trailing slash, lower-case host, no usual port.

    Parameters
    ----------
    url
        Https, or http to this machine itself.
    field
        Where it came from, for the error.

    Raises
    ------
    InvalidInput
        The key would not be safe with it, or it is not an address.
    """
    if not isinstance(url, str) or not url.strip():
        raise InvalidInput(field, "it is not an address", f"Such as {DEFAULT_BASE_URL}.")
    text = trimmed(url)
    # Whitespace and backslashes are read differently by different libraries; look-alike letters
    # by people.
    if not text.isascii() or not text.isprintable() or set(text) & set(' \\"<>^`{|}'):
        problem = f"{quoted(text)} holds characters that an address has not"
        raise InvalidInput(field, problem, "Type it in plain letters (an IDN as xn--...).")
    parts, host, port = _split(text, field)
    if parts.username is not None or parts.password is not None:
        # Not shown: it may be a password.
        raise InvalidInput(field, "it holds a user or password", "Give it without; use api_key.")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise InvalidInput(field, "it has a query or a fragment", "Give the address up to /api/v1.")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        raise InvalidInput(field, "its path holds dots", "Write the path out.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        problem = f"{quoted(text)} is not https, so the key could be read on its way"
        raise InvalidInput(field, problem, "Use https; http is for this machine only.")
    shown = f"[{host}]" if ":" in host else host
    usual = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{shown}{'' if usual else f':{port}'}{parts.path.rstrip('/')}"


def _split(text: str, field: str) -> tuple[SplitResult, str, int | None]:
    read = read_address(text if "://" in text else f"//{text}")
    if read is None or len(text) > _LONGEST or not read[0].scheme:
        problem = f"{quoted(text.rpartition('@')[2])} is not an address"
        raise InvalidInput(field, problem, f"Such as {DEFAULT_BASE_URL}.")
    return read


def read_address(url: str) -> tuple[SplitResult, str, int | None] | None:
    """Return the parts of an address, its host and its port; None where nothing can be there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    return (parts, host, port) if _is_host(host) else None


def outside_address(url: str, base_url: str) -> tuple[str, str] | None:
    """Return origin and path of an https URL, or of a loopback one where the service is local.

    None for any other, and for one with a user's name or with what cannot be seen.
    """
    read, near = read_address(url), is_loopback(urlsplit(base_url).hostname or "")
    if read is None or "@" in read[0].netloc or not url.isprintable():
        return None
    parts, host, _ = read
    if parts.scheme != "https" and not (parts.scheme == "http" and near and is_loopback(host)):
        return None
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + "?" + parts.query


def _is_host(host: str) -> bool:
    """Return whether a host can be looked up at all."""
    if ":" in host:  # an address of IPv6, which `urlsplit` has read; no zone of this machine
        return "%" not in host
    labels = host.removesuffix(".").split(".")
    return len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(one) for one in labels)


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine by its own name; nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or an address in a disguise such as 0x7f.1
        return False


def console_of(base_url: str) -> str | None:
    """Return where the service's console shows a CVM: this, and its uuid; None of other clouds."""
    return _CONSOLE if base_url == DEFAULT_BASE_URL else None
