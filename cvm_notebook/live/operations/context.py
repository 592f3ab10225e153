"""OperationContext: client, store, clock, ledger, database and workers of operations."""

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.intent import intent_of
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.operations.database import LedgerDatabase, LedgerEntry
from cvm_notebook.live.operations.ledger import Ledger
from cvm_notebook.live.operations.operation import OnChange, Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.progress import target_of
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.workers import Workers


class Hooks(Protocol):
    """The reflector's methods that operations use."""

    def follow(self, cvm_id: str, /) -> object:
        """Keep this CVM's row fresh: something is going on."""

    def unfollow(self, cvm_id: str, /) -> object:
        """Take one `follow` back."""

    def relist(self) -> object:
        """List the fleet soon, also in other fleets: a CVM came or went, or was edited."""

    def announce(self, cvm_id: str, /) -> object:
        """Have other fleets read this CVM's status soon."""


@dataclass(frozen=True, slots=True)
class OperationSettings:
    """Settings of sending and tracking operations, in seconds unless stated otherwise.

    Attributes
    ----------
    workers
        Requests at once, of all operations together.
    waiting
        Operations that may wait to be sent.
    fresh
        A row older than this is read again before what cannot be undone, and before nothing is
        sent because all seems well.
    trust
        A row that the reflector has seen within this time needs no look of our own.
    look, slowest
        Until the first look at an operation under way, doubling up to the slowest.
    reach
        After this an operation that was accepted is given up on.
    settle
        After this an operation that got no answer is given up on.
    admitted
        So long it is not asked again whether the workspace is suspended.
    """

    workers: int = 8
    waiting: int = 10_000
    fresh: float = 10.0
    trust: float = 10.0
    look: float = 0.5
    slowest: float = 5.0
    reach: float = 900.0
    settle: float = 45.0
    admitted: float = 60.0


@dataclass(slots=True)
class OperationContext:
    """Dependencies shared by sender, tracker and service; only the client may be changed."""

    client: Client
    store: FleetStore
    hooks: Hooks | None
    clock: Clock
    settings: OperationSettings
    ledger: Ledger
    database: LedgerDatabase
    workers: Workers

    def refresh(self) -> None:
        """Request a new list of the fleet, where there is a reflector."""
        if self.hooks is not None:
            with contextlib.suppress(CvmError):  # it has ended
                self.hooks.relist()


class OperationFactory:
    """Makes operations, each with an id of its own in all kernels."""

    def __init__(self, context: OperationContext, on_change: OnChange) -> None:
        self._context = context
        self._on_change = on_change
        self._mark = context.database.kernel[:8]
        self._numbers = itertools.count(1)

    def new(
        self,
        verb: Verb,
        row: Row | None,
        params: Mapping[str, Any],
        delay: float = 0.0,
        reason: str = "",
    ) -> Operation:
        """Make one that is asked for now."""
        name = str(params.get("name") or params.get("app_id") or "a CVM")
        seen = Reading.of_row(row) if row is not None else Reading(name=name)
        now = self._context.clock.now()
        return self._made(
            verb, row, seen, params, asked_at=now, delay=max(delay, 0.0), reason=reason
        )

    def recovered(self, verb: Verb, row: Row, correlation_id: str | None = None) -> Operation:
        """Make one for what the service is doing already, or has done."""
        seen = Reading.of_row(row)
        return self._made(
            verb,
            row,
            seen,
            {},
            asked_at=seen.since or self._context.clock.now(),
            state="accepted",
            recovered=True,
            correlation_id=correlation_id or seen.correlation_id,
        )

    def inherited(self, entry: LedgerEntry) -> Operation:
        """Make one of what an earlier kernel has left; it has not ended, or not been seen to."""
        old = entry.record
        now, wall = self._context.clock.monotonic(), self._context.clock.now()
        began = now - max(0.0, (wall - old.asked_at).total_seconds())
        there = f"an earlier kernel asked for it at {old.asked_at:%H:%M:%S} UTC"
        record = replace(
            old,
            asked=began,
            sent=None if old.sent is None else began + (old.sent - old.asked),
            accepted=None if old.accepted is None else began + (old.accepted - old.asked),
            ended=None if old.ended is None else began + (old.ended - old.asked),
            state="unknown" if old.state == "sent" else old.state,
            note="; ".join(part for part in (there, old.note) if part),
        )
        operation = Operation(record, clock=self._context.clock, on_change=self._on_change)
        client, trail = self._context.client, entry.trail
        fields = {}
        if old.verb == "commit":
            fields = {"app_id": trail.app_id, "compose_hash": trail.compose_hash}
        # what it was is not kept: it is read back, and never sent
        operation.intent = intent_of(client.transport, old.verb, old.cvm_id, fields)
        operation.intent.app_id = trail.app_id
        operation.intent.attempts = old.attempts
        operation.intent.resume(trail.known, trail.claimant, trail.shows)
        return operation

    def _made(
        self,
        verb: Verb,
        row: Row | None,
        seen: Reading,
        params: Mapping[str, Any],
        *,
        asked_at: datetime,
        **more: Any,
    ) -> Operation:
        record = OperationRecord(
            id=f"op_{self._mark}_{next(self._numbers)}",
            verb=verb,
            cvm_id=row.id if row is not None else None,
            name=seen.name,
            target=target_of(verb),
            status=seen.status,
            asked_at=asked_at,
            asked=self._context.clock.monotonic(),
            who=self._context.client.key_source,
            **more,
        )
        return Operation(
            record, clock=self._context.clock, row=row, params=params, on_change=self._on_change
        )
