"""Stand before the application: remember what is asked, and let it meet its faults."""

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvm_notebook.local.attestation.tampering import STATE
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.settings import API_PREFIX
from cvm_notebook.local.faults.actions import ACTS
from cvm_notebook.local.faults.connection import Exchange
from cvm_notebook.local.faults.kinds import DELAYS, EVIDENCE, Kind
from cvm_notebook.local.faults.spec import PASSING, Asked, Fault, FaultBook

NodesOf = Callable[[Iterable[str]], Awaitable[set[int | str]]]
"""The ids and names of the nodes that hold these CVMs."""

_REMEMBERED: Final = 10_000
# what belongs to the service, and not to this server
_SERVED: Final = (API_PREFIX, "/logs/", "/gateway/")
_SECRET_PARAMETERS: Final = frozenset({"token"})


class SeenRequests:
    """The latest requests of this process, oldest first; never a key nor a log token."""

    def __init__(self) -> None:
        self._seen: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._numbers = itertools.count(1)

    def begin(self, scope: Scope) -> dict[str, Any]:
        """Remember a request that has just come in."""
        headers = dict(scope["headers"])
        entry = {
            "number": next(self._numbers),
            "at": time.time(),
            "method": scope["method"],
            "path": scope["path"],
            "query": _public_query(scope),
            "keyed": b"x-api-key" in headers,
            "version": headers.get(b"x-phala-version", b"").decode("latin-1") or None,
            "user_agent": headers.get(b"user-agent", b"").decode("latin-1") or None,
            "status": None,
            "seconds": None,
            "fault": None,
            "answered": None,
            "request_id": scope["state"].get("request_id"),
        }
        self._seen.append(entry)
        return entry

    def all(self) -> list[dict[str, Any]]:
        """Give what is remembered."""
        return list(self._seen)

    def clear(self) -> None:
        """Forget."""
        self._seen.clear()


class SeenMiddleware:
    """Remember each request and how it ended.

    ``status`` stays None where nothing was answered; where a fault kept the answer to itself,
    ``answered`` is the status that it had. Each answer has the date of this server's own clock.
    """

    def __init__(self, app: ASGIApp, seen: SeenRequests) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_SERVED):
            await self._app(scope, receive, send)
            return
        entry = self._seen.begin(scope)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
                now = scope["state"].get("now", machine_now())
                date = formatdate(now, usegmt=True).encode()
                message["headers"] = [*message.get("headers", ()), (b"date", date)]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, noted)
        finally:
            entry["seconds"] = time.perf_counter() - began
            entry["fault"] = scope["state"].get("fault")
            entry["answered"] = scope["state"].get("answered")


class FaultMiddleware:
    """Let each request meet the faults in force, then the application."""

    def __init__(self, app: ASGIApp, book: FaultBook, nodes_of: NodesOf) -> None:
        self._app = app
        self._book = book
        self._nodes_of = nodes_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_SERVED):
            await self._app(scope, receive, send)
            return
        faults = self._book.take(_asked(scope))
        exchange = Exchange(self._app, scope, receive, send)
        for fault in faults:
            scope["state"]["fault"] = fault.kind
            if fault.kind in DELAYS:
                exchange = await self._delay(exchange, fault)
        scope["state"][STATE] = [(f.kind.value, f.cvm) for f in faults if f.kind in EVIDENCE]
        ending = next((fault for fault in faults if fault.kind not in PASSING), None)
        if ending is None:
            await self._app(scope, exchange.receive, send)
        else:
            await ACTS[ending.kind](exchange, ending)

    async def _delay(self, exchange: Exchange, fault: Fault) -> Exchange:
        if fault.kind is Kind.LATENCY:
            await asyncio.sleep(fault.arg)
            return exchange
        body = await exchange.read_all()
        if fault.node in await self._nodes_of(_vm_uuids(body)):
            await asyncio.sleep(fault.arg)
        return Exchange(exchange.app, exchange.scope, _replay(body, exchange), exchange.send)


def _public_query(scope: Scope) -> str:
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return urlencode([(name, "" if name in _SECRET_PARAMETERS else value) for name, value in pairs])


def _asked(scope: Scope) -> Asked:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return Asked(scope["method"], scope["path"].removeprefix(API_PREFIX), query)


def _vm_uuids(body: bytes) -> list[str]:
    try:
        asked = json.loads(body)["vm_uuids"]
    except (ValueError, KeyError, TypeError):
        return []
    return [item for item in asked if isinstance(item, str)] if isinstance(asked, list) else []


def _replay(body: bytes, exchange: Exchange) -> Receive:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return pending.pop() if pending else await exchange.receive()

    return receive
