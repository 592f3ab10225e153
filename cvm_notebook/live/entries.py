"""New entries of the ledger: asked for here, found under way, or left by an earlier kernel."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cvm_notebook.live.desk import Desk
from cvm_notebook.live.ledger_database import Entry
from cvm_notebook.live.operation import OnChange, Operation, OperationRecord
from cvm_notebook.live.preconditions import Verb
from cvm_notebook.live.reconcile import target_of
from cvm_notebook.live.rows import Row
from cvm_notebook.live.seen import Seen


class Entries:
    """Makes operations, each with an id of its own in all kernels."""

    def __init__(self, desk: Desk, on_change: OnChange) -> None:
        self._desk = desk
        self._on_change = on_change
        self._mark = desk.database.kernel[:8]
        self._numbers = itertools.count(1)

    def new(
        self, verb: Verb, row: Row | None, params: Mapping[str, Any], delay: float = 0.0
    ) -> Operation:
        """Make one that is asked for now."""
        name = str(params.get("name") or params.get("app_id") or "a CVM")
        seen = Seen.of_row(row) if row is not None else Seen(name=name)
        now = self._desk.clock.now()
        return self._made(verb, row, seen, params, asked_at=now, delay=max(delay, 0.0))

    def recovered(self, verb: Verb, row: Row, correlation_id: str | None = None) -> Operation:
        """Make one for what the service is doing already, or has done."""
        seen = Seen.of_row(row)
        return self._made(
            verb,
            row,
            seen,
            {},
            asked_at=seen.since or self._desk.clock.now(),
            state="accepted",
            recovered=True,
            correlation_id=correlation_id or seen.correlation_id,
        )

    def inherited(self, entry: Entry) -> Operation:
        """Make one of what an earlier kernel has left; it has not ended, or not been seen to."""
        old = entry.record
        now, wall = self._desk.clock.monotonic(), self._desk.clock.now()
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
        operation = Operation(record, clock=self._desk.clock, on_change=self._on_change)
        client, trail = self._desk.client, entry.trail
        fields = {}
        if old.verb == "commit":
            fields = {"app_id": trail.app_id, "compose_hash": trail.compose_hash}
        operation.intent = client.intent(old.verb, old.cvm_id, **fields)
        operation.intent.app_id = trail.app_id
        operation.intent.attempts = old.attempts
        operation.intent.resume(trail.known, trail.claimant)
        return operation

    def _made(
        self,
        verb: Verb,
        row: Row | None,
        seen: Seen,
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
            asked=self._desk.clock.monotonic(),
            who=self._desk.client.key_source,
            **more,
        )
        return Operation(
            record, clock=self._desk.clock, row=row, params=params, on_change=self._on_change
        )
