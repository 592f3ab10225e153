"""Refuse requests that no client of this server makes: other hosts, pages of other sites, floods.

A page of the web can have its name resolve to 127.0.0.1 (DNS rebinding) and then talks to this
server as if to its own; a page can also post a form here. Browsers send the name that they
address (``Host``) and who asks (``Origin``, ``Sec-Fetch-Site``): such requests are recognised.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvm_notebook.local.core.context import json_answer
from cvm_notebook.local.core.settings import is_loopback

MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes that a request may send."""
MAX_OPEN_BODY: Final = 64 * 1024
"""Bytes that a request may send which needs no key."""

_OPEN_PATHS: Final = ("/api/v1/auth/device/", "/api/v1/attestations/", "/gateway/")
_SAME: Final = frozenset({"same-origin", "none"})
_PLAIN: Final = re.compile(r"(?:[a-z]+:)?//(?:[^/?#@\\\[\]:]+|\[[0-9a-fA-F:.]+\])(?::[0-9]*)?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Guard:
    """Let only requests through that were meant for this server, and only so much of each.

    Parameters
    ----------
    app
        What is guarded.
    host
        Where the server listens.
    allowed_hosts
        Further names under which it is reached, as through a proxy. Pages of these hosts may send
        requests, too.
    """

    def __init__(self, app: ASGIApp, host: str, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(name.lower().strip("[]") for name in allowed_hosts)
        self._bound = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await json_answer({"detail": refusal}, 403)(scope, receive, send)
            return
        limit = MAX_OPEN_BODY if scope["path"].startswith(_OPEN_PATHS) else MAX_BODY
        length = headers.get(b"content-length", "0")
        if length.isdigit() and int(length) > limit:
            await json_answer({"detail": _too_large(limit)}, 413)(scope, receive, send)
            return
        await self._app(scope, _limited(receive, limit), send)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> str | None:
        """Return why a request is refused, or None."""
        host, port = _host_and_port(f"//{headers.get(b'host', '')}")
        if not self._is_own_host(host, scope):
            return (
                f"Host {host[:80]!r} is not one of this LocalCloud's. If it is reached under this "
                f"name, start it with --allow-host {host[:80] or 'NAME'}."
            )
        origin = headers.get(b"origin")
        if origin is not None:
            return self._refused_origin(origin, host, port, scope)
        site = headers.get(b"sec-fetch-site")
        if site is None or site in _SAME or _is_visit(scope, headers):
            return None
        return "Pages of other sites may not send requests to this LocalCloud."

    def _refused_origin(self, origin: str, host: str, port: int | None, scope: Scope) -> str | None:
        origin_host, origin_port = _host_and_port(origin)
        if origin_host in self._allowed:
            return None
        same_host = origin_host == host or (is_loopback(origin_host) and is_loopback(host))
        own_port = port if port is not None else _DEFAULT_PORTS.get(scope["scheme"])
        if same_host and origin_port == own_port:
            return None
        return f"Origin {origin[:80]!r} may not send requests to this LocalCloud."

    def _is_own_host(self, host: str, scope: Scope) -> bool:
        if is_loopback(host) or host in self._allowed:
            return True
        # Or the address the connection came in by: a name that was rebound is never an address.
        arrived = str((scope.get("server") or ("",))[0])
        return bool(host) and host in {self._bound, arrived}


def _limited(receive: Receive, limit: int) -> Receive:
    """Return a ``receive`` that refuses to read more than so many bytes."""
    left = limit

    async def read() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, _too_large(limit))
        return message

    return read


def _too_large(limit: int) -> str:
    return f"The body of this request has more than {limit} bytes."


def _is_visit(scope: Scope, headers: dict[bytes, str]) -> bool:
    """Tell whether somebody follows a link here: such a page cannot be read by the other site."""
    visits = headers.get(b"sec-fetch-mode") == "navigate"
    shown = headers.get(b"sec-fetch-dest", "document") == "document"
    return visits and shown and scope["method"] in {"GET", "HEAD"}


def _host_and_port(url: str) -> tuple[str, int | None]:
    """Return host and port of an origin, or of a ``Host`` header behind two slashes."""
    try:
        if not _PLAIN.fullmatch(url):
            return "", None
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None
    return (parts.hostname or "").rstrip("."), port
