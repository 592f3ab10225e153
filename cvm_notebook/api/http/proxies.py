"""Proxy and certificate settings of this machine's environment, and what is wrong with them."""

import importlib.util
import os
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util import parse_url

from cvm_notebook.api.auth.address import is_loopback
from cvm_notebook.api.errors.tree import ConfigurationError
from cvm_notebook.text import clean_text

# The first that is set names the certificates of the authorities to trust.
BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PROXIES: Final = (
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
)
_KEYLOG: Final = "SSLKEYLOGFILE"
_SOCKS: Final = ("socks4", "socks4a", "socks5", "socks5h")
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")  # as OpenSSL looks certificates up in a folder


class Environment:
    """The proxy and the certificates for one base URL, read once: reading costs more than a call.

    Attributes
    ----------
    verify
        The path of a file or folder of certificates, or True for those that come with requests.
    proxies
        The proxies, as requests takes them.
    """

    def __init__(self, base_url: str) -> None:
        self._url = base_url
        found = requests.Session().merge_environment_settings(base_url, {}, None, None, None)
        self._bundle = next((name for name in BUNDLES if os.environ.get(name)), None)
        # There is no way to switch the check off.
        self.verify: str | bool = os.environ[self._bundle] if self._bundle else True
        # A proxy cannot reach this machine by its own name, and must not see its key in the clear.
        own = is_loopback(urlsplit(base_url).hostname or "")
        self.proxies: dict[str, str] = {} if own else dict(found["proxies"])

    def fault(self) -> ConfigurationError | None:
        """Return what of it cannot be used; None where nothing is wrong."""
        fault = self._proxy_fault()
        if fault is None and self._url.startswith("https:"):
            fault = self._bundle_fault() or _keylog_fault()
        return fault

    def _bundle_fault(self) -> ConfigurationError | None:
        if self._bundle is None:
            if Path(DEFAULT_CA_BUNDLE_PATH).is_file():
                return None
            return ConfigurationError(
                "the certificates that come with requests are not there",
                hint="python -m pip install --force-reinstall certifi",
            )
        path = Path(str(self.verify))
        named = f"{self._bundle} names {clean_text(str(path), 200)!r}"
        try:
            if path.is_dir():
                problem = "a folder without certificates that OpenSSL would find"
                if any(_HASHED.fullmatch(entry.name) for entry in path.iterdir()):
                    return None
            else:
                problem = "which holds no certificates in PEM"
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
                return None
        except ssl.SSLError:
            pass
        except (OSError, ValueError) as error:
            problem = f"which cannot be read ({getattr(error, 'strerror', None) or 'no path'})"
        return ConfigurationError(
            f"{named}, {problem}",
            hint=f"Set {self._bundle} to a file of certificates in PEM, or unset it.",
            variable=self._bundle,
        )

    def _proxy_fault(self) -> ConfigurationError | None:
        proxy = select_proxy(self._url, self.proxies)
        if not proxy:
            return None
        named = next((name for name in _PROXIES if os.environ.get(name) == proxy), None)
        whose = named or "the proxy of this system's settings"
        try:
            parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
            scheme, host = (parts.scheme or "").lower(), parts.host
        except (urllib3.exceptions.LocationValueError, ValueError):
            scheme, host = "", None
        if not host:
            problem, hint = "is not the address of a proxy", "Write it as http://proxy.example:3128"
        elif scheme in _SOCKS and importlib.util.find_spec("socks") is None:
            problem = "names a SOCKS proxy, for which PySocks is needed"
            hint = 'python -m pip install "requests[socks]"'
        elif scheme not in ("http", "https", *_SOCKS):
            problem = "names a proxy of a kind that is not supported"
            hint = f"A proxy begins with http://, https:// or {', '.join(_SOCKS)}"
        else:
            return None
        # The address itself is not shown: it may hold a user's password.
        return ConfigurationError(
            f"{whose} {problem}", hint=f"{hint}; or unset it.", variable=named
        )


def _keylog_fault() -> ConfigurationError | None:
    path = os.environ.get(_KEYLOG)
    if not path:
        return None
    try:
        Path(path).open("ab").close()
    except (OSError, ValueError) as error:
        return ConfigurationError(
            f"{_KEYLOG} names {clean_text(path, 200)!r}, which cannot be written "
            f"({getattr(error, 'strerror', None) or 'no path'})",
            hint=f"Unset {_KEYLOG}, unless you mean to record the keys of connections.",
            variable=_KEYLOG,
        )
    return None
