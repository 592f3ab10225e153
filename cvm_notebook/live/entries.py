"""New entries of the ledger: what was asked for here, and what was found under way."""

import itertools
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cvm_notebook.live.desk import Desk
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
        self._mark = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def new(
        self, verb: Verb, row: Row | None, params: Mapping[str, Any], delay: float = 0.0
    ) -> Operation:
        """Make one that is asked for now."""
        name = str(params.get("name") or params.get("app_id") or "a CVM")
        seen = Seen.of_row(row) if row is not None else Seen(name=name)
        now = self._desk.clock.now()
        return self._made(verb, row, seen, params, asked_at=now, delay=max(delay, 0.0))

    def recovered(self, verb: Verb, row: Row) -> Operation:
        """Make one for what the service is doing already."""
        seen = Seen.of_row(row)
        return self._made(
            verb,
            row,
            seen,
            {},
            asked_at=seen.since or self._desk.clock.now(),
            state="accepted",
            recovered=True,
            correlation_id=seen.correlation_id,
        )

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
