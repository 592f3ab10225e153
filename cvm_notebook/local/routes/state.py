"""Serve a CVM's state: once as JSON, or as a stream of events until a target is reached."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import Query, Response
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm, StreamLease, lock
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm
from cvm_notebook.local.engine import housekeeping
from cvm_notebook.local.routing import api_router

router = api_router(tags=["CVMs"])

LEASE_SECONDS = 12.0
"""For how long a stream's place is kept without a sign of life of its server."""

KEEPALIVE_SECONDS = 8.0
SHORTEST_PAUSE = 0.05
_CLOCK = select(*housekeeping.CLOCK)


class Leases:
    """A user's places for streams, counted in the database: all workers see the same."""

    def __init__(self, ctx: Context, user_id: int) -> None:
        self._database = ctx.database
        self._limit = ctx.settings.streams_per_user
        self._user_id = user_id
        self.id = uuid.uuid4().hex

    def take(self) -> None:
        """Take a place, or raise 429 when all are taken."""
        now = machine_now()
        of_user = StreamLease.user_id == self._user_id
        with self._database.write() as session:
            lock(session, "streams", self._user_id)
            session.execute(delete(StreamLease).where(of_user, StreamLease.expires_at <= now))
            taken = session.scalar(select(func.count(StreamLease.id)).where(of_user)) or 0
            if taken >= self._limit:
                raise ApiError(
                    429,
                    f"{taken} state streams are open; {self._limit} per user are allowed. "
                    "Close one, or poll the state instead.",
                    headers={"Retry-After": "5"},
                )
            session.add(
                StreamLease(id=self.id, user_id=self._user_id, expires_at=now + LEASE_SECONDS)
            )

    def renew(self) -> None:
        """Keep the place."""
        with self._database.write() as session:
            session.execute(
                update(StreamLease)
                .where(StreamLease.id == self.id)
                .values(expires_at=machine_now() + LEASE_SECONDS)
            )

    def free(self) -> None:
        """Give the place back."""
        with self._database.write() as session:
            session.execute(delete(StreamLease).where(StreamLease.id == self.id))


class StateStream(EventSourceResponse):
    """A stream that gives its place back whichever way it ends."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], leases: Leases) -> None:
        super().__init__(
            events,
            ping=int(KEEPALIVE_SECONDS),
            ping_message_factory=lambda: ServerSentEvent(comment="keepalive", sep="\n"),
            sep="\n",
        )
        self._leases = leases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, and free the place also when the client has gone or the server ends."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_place)
                await super().__call__(scope, receive, send)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._leases.free)

    async def _keep_place(self) -> None:
        while True:
            await anyio.sleep(LEASE_SECONDS / 3)
            await to_thread.run_sync(self._leases.renew)


class Watch:
    """One stream: samples a CVM's state until the target, the timeout, or its deletion."""

    def __init__(
        self, ctx: Context, caller: Caller, cvm_row: int, target: str, timeout: float
    ) -> None:
        self._ctx = ctx
        self._caller = caller
        self._row = cvm_row
        self._target = target
        self._timeout = timeout
        self._began = time.monotonic()

    async def events(self, pause: float) -> AsyncIterator[ServerSentEvent]:
        """Give the stream's events: the first at once, a last look when the time is over."""
        over = False
        while True:
            state = await to_thread.run_sync(self._sample)
            if state is None:
                for event in self._deleted():
                    yield event
                return
            reached = state["status"].lower() == self._target.lower()
            if reached:
                state["status"] = self._target
            yield _event("state", state)
            if reached or over:
                yield self._complete() if reached else self._timed_out()
                return
            left = self._timeout - self._elapsed()
            over = left <= pause
            await anyio.sleep(min(pause, max(0.0, left)))

    def _sample(self) -> dict[str, Any] | None:
        with self._ctx.database.read() as session:
            now, due = housekeeping.read_clock(*session.execute(_CLOCK).one())
            if not due:
                return self._state(session, now)
        with self._ctx.database.write() as session:
            housekeeping.sweep(session, self._ctx, now)
        with self._ctx.database.read() as session:
            return self._state(session, now)

    def _state(self, session: Session, now: float) -> dict[str, Any] | None:
        cvm = session.get(Cvm, self._row)
        if cvm is None or cvm.deleted_at is not None:
            return None
        return Shapes(self._ctx, self._caller, now).state(cvm)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _facts(self, **facts: Any) -> dict[str, Any]:
        return facts | {"elapsed": round(self._elapsed(), 3), "target": self._target}

    def _complete(self) -> ServerSentEvent:
        return _event("complete", self._facts(status=self._target))

    def _timed_out(self) -> ServerSentEvent:
        text = f"{self._target} was not reached within {self._timeout:g} s."
        return _event("timeout", self._facts(error=text))

    def _deleted(self) -> list[ServerSentEvent]:
        if self._target.lower() == "deleted":
            return [_event("state", {"status": self._target}), self._complete()]
        text = "The CVM has been deleted."
        return [_event("error", self._facts(error=text, message=text))]


def _event(name: str, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, separators=(",", ":")), event=name, sep="\n")


@router.get(
    "/cvms/{cvm_id}/state",
    response_model=answers.State,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "The state; with target, a stream of events state, complete, "
            "timeout and error",
        },
        **documented(404, 409),
    },
)
async def get_state(
    ctx: Ctx,
    caller: Auth,
    cvm_id: str,
    *,
    target: Annotated[str | None, Query(max_length=100)] = None,
    interval: Annotated[int, Query(ge=5, le=30)] = 5,
    timeout: Annotated[int, Query(ge=10, le=600)] = 300,  # noqa: ASYNC109 - the API's parameter
) -> Response:
    """Say what a CVM is doing; with ``target``, go on until it is reached."""
    cvm = await to_thread.run_sync(_find, ctx, caller, cvm_id)
    if target is None:
        return json_answer(Shapes(ctx, caller).state(cvm))
    leases = Leases(ctx, caller.user.id)
    await to_thread.run_sync(leases.take)
    watch = Watch(ctx, caller, cvm.id, target, timeout)
    pause = max(SHORTEST_PAUSE, interval / ctx.settings.speed)
    return StateStream(watch.events(pause), leases)


def _find(ctx: Context, caller: Caller, text: str) -> Cvm:
    with ctx.database.read() as session:
        return find_cvm(session, caller.workspace.id, text)
