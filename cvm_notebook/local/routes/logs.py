"""Serve the logs of CVMs at URLs that carry their own token, as text or as lines of JSON."""

import asyncio
import base64
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from cvm_notebook.local.core.context import Context, Ctx, clock_now
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.identifiers import log_token
from cvm_notebook.local.core.keys import EnvError, decrypt_env, guest_env
from cvm_notebook.local.simulated import logs

# Log URLs are found in answers and carry their own token; they are no part of the API.
router = APIRouter(prefix="/logs", include_in_schema=False)

_POLL_SECONDS: Final = 0.5
_COUNT: Final = re.compile("[0-9]{1,9}")
_NO: Final = frozenset({"0", "false", "no"})
_NOT_A_NAME: Final = re.compile("[^A-Za-z0-9_]")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS: Final = (86_400, 3_600, 60, 1)


class Asked(BaseModel):
    """The query of a log: its part, and its format. Flags count when present."""

    token: str = ""
    ch: str = "serial"
    since: str | None = None
    until: str | None = None
    tail: str | None = None
    lines: str | None = None
    timestamps: str | None = None
    follow: str | None = None
    text: str | None = None
    bare: str | None = None
    ansi: str | None = None

    def count(self) -> int:
        """Say how many lines are wanted at most."""
        wanted = self.lines or self.tail or ""
        return int(wanted) if _COUNT.fullmatch(wanted) else logs.LONGEST

    def flag(self, name: str) -> bool:
        """Tell whether a flag was set."""
        value: str | None = getattr(self, name)
        return value is not None and value.lower() not in _NO


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one log again and again, always as its CVM is by then."""

    ctx: Context
    vm_uuid: str
    service: str | None
    channel: str

    def read(
        self, after: float, until: float | None, count: int
    ) -> tuple[list[logs.Line], float, bool]:
        """Give the lines of a stretch, the present moment, and whether more may come."""
        with self.ctx.database.read() as session:
            now = clock_now(session)
            cvm = session.scalar(select(Cvm).where(Cvm.vm_uuid == self.vm_uuid))
            if cvm is None:
                raise ApiError(404, "There is no such CVM.")
            times = logs.times_of(cvm, now, self.ctx.settings.speed)
            found = self._log(cvm, times).read(after, min(now, until or now), count)
            over = times.down_at is not None and now > times.down_at
            return found, now, over or cvm.deleted_at is not None

    def _log(self, cvm: Cvm, times: logs.Times) -> logs.Log:
        if self.service is None:
            if self.channel == "serial":
                return logs.serial(cvm, times, _environment(self.ctx, cvm))
            return logs.agent(cvm, times, self.channel)
        if not cvm.public_logs:
            raise ApiError(403, f"The logs of {cvm.name} are not public: its public_logs is off.")
        for service in cvm.services:
            if service["name"] == self.service:
                return logs.container(cvm, service, times)
        raise ApiError(404, f"{cvm.name} has no container {self.service[:80]!r}.")


def _environment(ctx: Context, cvm: Cvm) -> str:
    """Say which variables a CVM keeps and which it drops: their names, never a value."""
    if not cvm.encrypted_env:
        return "none"
    allowed = cvm.compose_file["allowed_envs"]
    try:
        given = decrypt_env(ctx.secret, cvm.app_id, cvm.encrypted_env)
        kept = guest_env(given, allowed)
    except EnvError as error:
        return f"not readable: {error}"
    dropped = [name for name in given if name not in kept]
    names = _listed(kept) or "none"
    return f"{names}; dropped, as allowed_envs lacks them: {_listed(dropped)}" if dropped else names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_NOT_A_NAME.sub("?", name)[:255] for name in names)


@router.get("/{vm_uuid}/vm", response_class=PlainTextResponse)
def machine_log(ctx: Ctx, vm_uuid: str, asked: Annotated[Asked, Query()]) -> Response:
    """Read the console of a CVM, or its supervisor's stdout or stderr."""
    if asked.ch not in ("serial", "stdout", "stderr"):
        raise ApiError(400, f"ch is {asked.ch[:20]!r}; give serial, stdout or stderr.")
    return _answer(_Reader(ctx, vm_uuid, None, asked.ch), asked, plain=True)


@router.get("/{vm_uuid}/containers/{service}", response_class=PlainTextResponse)
def container_log(
    ctx: Ctx, vm_uuid: str, service: str, asked: Annotated[Asked, Query()]
) -> Response:
    """Read a container's log: lines of JSON with base64, with ``text`` as text, ``bare`` plain."""
    reader = _Reader(ctx, vm_uuid, service, asked.ch)
    return _answer(reader, asked, plain=asked.flag("text") and asked.flag("bare"))


def _answer(reader: _Reader, asked: Asked, *, plain: bool) -> Response:
    expected = log_token(reader.ctx.secret, reader.vm_uuid)
    if not secrets.compare_digest(asked.token.encode(), expected.encode()):
        raise ApiError(401, "This log URL is not valid. Get a new one from the CVM.")
    with reader.ctx.database.read() as session:
        now = clock_now(session)
    since = _moment(asked.since, now)
    until = _moment(asked.until, now)
    after = 0.0 if since is None else since
    found, seen_until, over = reader.read(after, until, asked.count())
    media_type = "text/plain" if plain else "application/x-ndjson"
    first = _spell(found, asked, plain=plain)
    if not asked.flag("follow") or over:
        return Response(first, media_type=media_type)
    rest = _follow(reader, asked, first, seen_until, plain=plain)
    return StreamingResponse(rest, media_type=media_type)


async def _follow(
    reader: _Reader, asked: Asked, first: str, seen_until: float, *, plain: bool
) -> AsyncIterator[str]:
    yield first
    over = False
    while not over:
        await asyncio.sleep(_POLL_SECONDS)
        found, now, over = await run_in_threadpool(reader.read, seen_until, None, logs.LONGEST)
        seen_until = max(now, seen_until)
        if found:
            yield _spell(found, asked, plain=plain)


def _spell(lines: list[logs.Line], asked: Asked, *, plain: bool) -> str:
    stamped = asked.flag("timestamps")
    texts = (f"{_stamp(line.at)} {line.text}\n" if stamped else f"{line.text}\n" for line in lines)
    if plain:
        return "".join(texts)
    as_text = asked.flag("text")
    return "".join(
        json.dumps(
            {
                "channel": line.channel,
                "message": text if as_text else base64.b64encode(text.encode()).decode(),
            }
        )
        + "\n"
        for line, text in zip(lines, texts, strict=True)
    )


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str | None, now: float) -> float | None:
    """Read seconds since 1970, an ISO time, or a duration back from now (``1h30m``)."""
    if text is None or text in ("", "0"):
        return None
    try:
        return float(text)
    except ValueError:
        pass
    back = _DURATION.fullmatch(text)
    if back is not None:
        parts = zip(back.groups(), _UNITS, strict=True)
        return now - sum(int(number or 0) * unit for number, unit in parts)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(
            400, f"{text[:40]!r} is not a time; give 1760000000, 2026-01-31T12:00:00Z or 15m."
        ) from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
