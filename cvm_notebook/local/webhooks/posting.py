"""POST once to the address of a webhook: no redirects, no proxy, ten seconds in all."""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

import h11

from cvm_notebook.local.webhooks.address import Target, may_reach, read_target

SECONDS: Final = 10.0
"""From looking the name up to the head of the answer."""
_PIECE: Final = 16_384
_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Posted:
    """The result of a post. ``status`` is 0 for no answer; ``error`` is empty on success."""

    status: int
    error: str
    duration_ms: int


async def post(url: str, headers: Mapping[str, str], body: bytes) -> Posted:
    """Send it. Never raises for what the other side does."""
    began = time.monotonic()
    status = 0
    try:
        async with asyncio.timeout(SECONDS):
            status = await _exchange(read_target(url), headers, body)
        error = "" if status in _SUCCESS else f"The answer was HTTP {status}"
    except TimeoutError:
        error = f"No answer within {SECONDS:.0f} s"
    except h11.RemoteProtocolError:
        error = "The answer was no HTTP"
    except (OSError, ValueError) as problem:  # ValueError: an invalid address or host name
        error = f"Not sent: {_why(problem)}"
    return Posted(status, error, round((time.monotonic() - began) * 1000))


def _why(problem: OSError | ValueError) -> str:
    if isinstance(problem, ssl.SSLError):
        return f"TLS failed ({problem.reason or type(problem).__name__})"
    if isinstance(problem, socket.gaierror):
        return "its name is not known"
    if isinstance(problem, OSError):
        return problem.strerror or type(problem).__name__
    return str(problem)[:200]


async def _exchange(target: Target, headers: Mapping[str, str], body: bytes) -> int:
    """Return the status of the answer; what follows its head is not read."""
    reader, writer = await _connect(target)
    try:
        line = h11.Connection(h11.CLIENT)
        named = {
            "Host": target.authority,
            **headers,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        request = h11.Request(method="POST", target=target.path, headers=list(named.items()))
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(line.send(part) or b"")
        await writer.drain()
        while True:
            event = line.next_event()
            if event is h11.NEED_DATA:
                line.receive_data(await reader.read(_PIECE))
            elif isinstance(event, h11.Response):
                return event.status_code
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("it has ended without an answer")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the very address that was looked at, so that a name cannot mean two things."""
    found = await asyncio.get_running_loop().getaddrinfo(
        target.host, target.port, type=socket.SOCK_STREAM
    )
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not addresses or not all(may_reach(target, address) for address in addresses):
        raise ValueError("its name stands for an address that is not public")
    tls = _tls() if target.scheme == "https" else None
    name = target.host if tls is not None else None
    problem: OSError | None = None
    for address in addresses:
        try:
            return await asyncio.open_connection(
                address, target.port, ssl=tls, server_hostname=name
            )
        except OSError as error:
            problem = error
    assert problem is not None  # noqa: S101 - there is an address
    raise problem


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
