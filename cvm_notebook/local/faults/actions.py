"""Act each kind of fault out on one exchange."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from starlette.types import Message

from cvm_notebook.local.faults.connection import Answer, Exchange, phrase, race
from cvm_notebook.local.faults.kinds import Kind
from cvm_notebook.local.faults.spec import Fault

_MIB: Final = 1 << 20
_ENV_KEYS: Final = frozenset({"public_key", "app_env_encrypt_pubkey", "encrypted_env_pubkey"})
_FORGED: Final = hashlib.sha256(b"LocalCloud: somebody else's key").hexdigest()
_LOGIN_PAGE: Final = b"<!doctype html><title>Log in</title><h1>Log in to the network</h1>"


async def _late(exchange: Exchange, fault: Fault) -> None:
    answer = await exchange.run()
    await exchange.until_gone(asyncio.sleep(fault.arg))
    await _pass_on(exchange, answer)


async def _pass_on(exchange: Exchange, answer: Answer) -> None:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    headers.pop("content-length", None)
    await exchange.answer(answer.status, headers, answer.body)


async def _hang(exchange: Exchange, _: Fault) -> None:
    await exchange.gone()


async def _refuse(exchange: Exchange, fault: Fault) -> None:
    await exchange.read_all()
    pause = exchange.scope["state"].get("pause")
    if fault.arg is not None and pause is not None:
        await pause(fault.arg)
    await exchange.close()


async def _reset(exchange: Exchange, _: Fault) -> None:
    await exchange.read_all()
    await exchange.reset()


async def _reset_after(exchange: Exchange, _: Fault) -> None:
    await exchange.run()
    await exchange.reset()


async def _truncate(exchange: Exchange, _: Fault) -> None:
    answer = await exchange.run()
    exchange.write_head(answer, length=max(len(answer.body), 1))
    exchange.transport.write(answer.body[: len(answer.body) // 2])
    await exchange.close()


async def _drip(exchange: Exchange, fault: Fault) -> None:
    answer = await exchange.run()
    exchange.write_head(answer, length=10**9)

    async def drip() -> None:
        body = iter(answer.body)
        while True:
            exchange.transport.write(bytes([next(body, 0x20)]))
            await asyncio.sleep(fault.arg)

    await exchange.until_gone(drip())


async def _status(exchange: Exchange, fault: Fault) -> None:
    await exchange.read_all()
    headers = {"content-type": "application/json"}
    if fault.retry_after is not None:
        headers["retry-after"] = _retry_after(fault.retry_after)
    text = f"Fault on request: {fault.arg} {phrase(fault.arg)}".rstrip()
    await exchange.answer(fault.arg, headers, json.dumps({"detail": text}).encode())


def _retry_after(value: str | float) -> str:
    if isinstance(value, str) and value.startswith("date:"):
        moment = datetime.now(UTC) + timedelta(seconds=float(value.removeprefix("date:")))
        return format_datetime(moment, usegmt=True)
    return str(value)


async def _content_type(exchange: Exchange, fault: Fault) -> None:
    answer = await exchange.run()
    await exchange.answer(answer.status, {"content-type": fault.arg}, answer.body)


async def _html(exchange: Exchange, _: Fault) -> None:
    await exchange.read_all()
    await exchange.answer(200, {"content-type": "text/html"}, _LOGIN_PAGE)


async def _redirect(exchange: Exchange, fault: Fault) -> None:
    await exchange.read_all()
    await exchange.answer(fault.code, {"location": fault.arg})


async def _silent(exchange: Exchange, _: Fault) -> None:
    await exchange.stream({"content-type": "text/event-stream"})
    await exchange.more(b"")
    await exchange.gone()


async def _flood(exchange: Exchange, fault: Fault) -> None:
    event = b'event: state\ndata: {"status":"starting","name":"flood"}\n\n'
    await exchange.stream({"content-type": "text/event-stream"})

    async def pour() -> None:
        tick = 0.02
        while True:
            await exchange.more(event * max(1, round(fault.arg * tick)))
            await asyncio.sleep(tick)

    await exchange.until_gone(pour())


async def _gzip_bomb(exchange: Exchange, fault: Fault) -> None:
    # A gzip body may be many members in a row: one small one is compressed once and sent often.
    await exchange.stream({"content-type": "application/json", "content-encoding": "gzip"})
    member = gzip.compress(b" " * _MIB)

    async def pour() -> None:
        for _ in range(fault.arg):
            await exchange.more(member)
        await exchange.more(gzip.compress(b"{}"), last=True)

    await exchange.until_gone(pour())


async def _huge(exchange: Exchange, fault: Fault) -> None:
    await exchange.stream({"content-type": "application/json"})

    async def pour() -> None:
        for _ in range(fault.arg):
            await exchange.more(b" " * _MIB)
        await exchange.more(b"{}", last=True)

    await exchange.until_gone(pour())


async def _garbage(exchange: Exchange, fault: Fault) -> None:
    await exchange.read_all()
    await exchange.answer(200, {"content-type": "application/json"}, fault.arg.encode())


async def _close_delimited(exchange: Exchange, _: Fault) -> None:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            head = Answer(message["status"], list(message["headers"]), b"")
            exchange.write_head(head, length=None)
        else:
            exchange.transport.write(message.get("body", b""))

    await exchange.app(exchange.scope, exchange.receive, send)
    await exchange.close()


async def _rewrite(exchange: Exchange, fault: Fault) -> None:
    answer = await exchange.run()
    data = json.loads(answer.body)
    for pointer, value in fault.arg.items():
        _put(data, pointer, value)
    await _pass_on(exchange, Answer(answer.status, answer.headers, json.dumps(data).encode()))


def _put(data: Any, pointer: str, value: object) -> None:
    *way, last = pointer.removeprefix("/").split("/")
    for step in way:
        data = data[int(step)] if isinstance(data, list) else data[step]
    if isinstance(data, list):
        data[int(last)] = value
    else:
        data[last] = value


async def _env_key_forged(exchange: Exchange, _: Fault) -> None:
    answer = await exchange.run()
    try:
        data = json.loads(answer.body)
    except ValueError:
        await _pass_on(exchange, answer)
        return
    _forge(data)
    await _pass_on(exchange, Answer(answer.status, answer.headers, json.dumps(data).encode()))


def _forge(data: Any) -> None:
    """Put another key in the place of each that environment variables are encrypted for."""
    for item in data if isinstance(data, list) else [data]:
        for name, value in item.items() if isinstance(item, dict) else ():
            if name in _ENV_KEYS and value:
                item[name] = _FORGED
            elif isinstance(value, dict | list):
                _forge(value)


async def _raw(exchange: Exchange, fault: Fault) -> None:
    await exchange.read_all()
    pieces = [fault.arg] if isinstance(fault.arg, str) else fault.arg
    for piece in pieces:
        if piece is None:
            await exchange.gone()
            return
        exchange.transport.write(piece.encode("latin-1"))
        await asyncio.sleep(0.005)
    await exchange.close()


class _Counted:
    """Pass a stream on until so many events have been sent."""

    def __init__(self, exchange: Exchange, fault: Fault) -> None:
        self._exchange = exchange
        self._left: int = fault.arg
        self._half = fault.kind is Kind.HALF
        self.over = asyncio.Event()

    async def send(self, message: Message) -> None:
        if self.over.is_set():
            return
        body = message.get("body", b"")
        if b"data:" not in body:
            await self._exchange.send(message)
        elif self._left > 0:
            self._left -= 1
            await self._exchange.send(message)
        elif self._half:
            await self._exchange.more(body[: len(body) // 2])
            self.over.set()
        if self._left == 0 and not self._half:
            self.over.set()


async def _end_stream(exchange: Exchange, fault: Fault) -> None:
    counted = _Counted(exchange, fault)
    await race(exchange.app(exchange.scope, exchange.receive, counted.send), counted.over.wait())
    if not counted.over.is_set():
        return
    if fault.kind is Kind.CUT:
        await exchange.reset()
    else:
        await exchange.more(b"", last=True)


ACTS: Final[Mapping[Kind, Callable[[Exchange, Fault], Awaitable[None]]]] = {
    Kind.LATE: _late,
    Kind.HANG: _hang,
    Kind.REFUSE: _refuse,
    Kind.RESET: _reset,
    Kind.RESET_AFTER: _reset_after,
    Kind.TRUNCATE: _truncate,
    Kind.DRIP: _drip,
    Kind.STATUS: _status,
    Kind.CONTENT_TYPE: _content_type,
    Kind.HTML: _html,
    Kind.REDIRECT: _redirect,
    Kind.SILENT: _silent,
    Kind.DROP: _end_stream,
    Kind.CUT: _end_stream,
    Kind.HALF: _end_stream,
    Kind.FLOOD: _flood,
    Kind.GZIP_BOMB: _gzip_bomb,
    Kind.HUGE: _huge,
    Kind.GARBAGE: _garbage,
    Kind.CLOSE_DELIMITED: _close_delimited,
    Kind.REWRITE: _rewrite,
    Kind.RAW: _raw,
    Kind.ENV_KEY_FORGED: _env_key_forged,
}
