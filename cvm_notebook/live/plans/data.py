"""Serialisation of a plan as JSON: the verb, and the CVMs as they were shown."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.verbs import Verb
from cvm_notebook.live.operations.preconditions import what_changed
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.records import Provenance, Row, Snapshot

NEVER: Final = Provenance(0.0, datetime.min.replace(tzinfo=UTC), "list")
"""When a row was seen that is made of a plan's own words: before all others."""


class HasOperations(Protocol):
    """A fleet, as far as a plan needs one."""

    @property
    def operator(self) -> OperationService:
        """The service that sends operations."""

    def snapshot(self) -> Snapshot:
        """Return the fleet as it is known now."""


class ShownCvm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CVM as the plan showed it."""

    id: str
    name: str | None = None
    status: str | None = None
    in_progress: bool = False


class UpdatedField(NamedTuple):
    """One field that would be otherwise; None is nothing."""

    field: str
    before: str | None
    after: str | None


class PlanData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan."""

    id: str
    verb: Verb
    params: dict[str, Any] = {}
    rows: tuple[ShownCvm, ...] = ()


def as_json(plan: str, verb: Verb, params: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """Return a plan as JSON."""
    shown = tuple(
        ShownCvm(id=row.id, name=row.name, status=row.status, in_progress=row.in_progress)
        for row in rows
    )
    data = PlanData(id=plan, verb=verb, params=dict(params), rows=shown)
    return msgspec.json.encode(data).decode()


def from_json(text: str) -> PlanData:
    """Return the plan of a JSON text.

    Raises
    ------
    InvalidInput
        It is none.
    """
    try:
        return msgspec.json.decode(text, type=PlanData)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        problem = f"it is not a plan ({error})"
        raise InvalidInput("text", problem, "Give what plan.to_json() returned.") from None


def rows_as_shown(shown: Iterable[ShownCvm], now: Snapshot) -> list[Row]:
    """Return the CVMs as the plan showed them: what has changed since is refused one by one."""
    present = {row.id: row for row in now}
    found = []
    for one in shown:
        row = present.get(one.id)
        if row is None:  # gone: the plan's own words are all there is
            row = Row(cvm=Cvm(id=one.id, name=one.name), status=one.status, seen=NEVER)
        then = replace(row, status=one.status, in_progress=one.in_progress)
        found.append(row if what_changed(then, row) is None else then)
    return found
