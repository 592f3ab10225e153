"""Selection: some CVMs of a live fleet, as they were chosen or as they are selected now."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, overload

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.apply.planning import plan_updates
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.query import search, where
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.live.wait import Waiting
from cvm_notebook.text import counted, signed, table_bundle

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy

Columns: TypeAlias = Literal["narrow", "wide"] | Sequence[str]


class FleetPlan(Plan):
    """A dry run of one verb over some CVMs of a fleet; displayed as the table of its effects."""

    def frame(self) -> "pd.DataFrame":
        """Return what would be done, one CVM a row; see `plan_frame`."""
        with LOADING:
            from cvm_notebook.frames.reports.plan import plan_frame  # noqa: PLC0415 - pandas on demand

        return plan_frame(self.rows())

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head = ("name", "allowed", "effect", "reason", "USD/h")
        cells = [
            (row.name, "yes" if row.allowed else "no", row.effect, row.reason, _usd(row))
            for row in self.rows()
        ]
        return table_bundle(repr(self).strip("<>"), head, cells)


def _usd(row: Any) -> str:
    change: Decimal | None = row.rate_change_usd_h
    return "" if change is None else signed(change)


class _Group(ABC):
    """Base of `Selection` and `LiveSelection`: some CVMs of a fleet."""

    _fleet: FleetEngine

    @abstractmethod
    def now(self) -> "Selection":
        """Return the CVMs that are meant at this moment."""

    def __len__(self) -> int:
        return len(self.now().rows)

    def __iter__(self) -> Iterator[CvmHandle]:
        for row in self.now().rows:
            yield CvmHandle(self._fleet, row.id)

    @overload
    def __getitem__(self, which: "SupportsIndex | Ref") -> CvmHandle: ...

    @overload
    def __getitem__(self, which: slice) -> "Selection": ...

    def __getitem__(self, which: "SupportsIndex | Ref | slice") -> "CvmHandle | Selection":
        """Return one by position or by name, or some by a slice."""
        chosen = self.now()
        if isinstance(which, slice):
            return chosen.only(chosen.rows[which])
        if isinstance(which, SupportsIndex):
            return CvmHandle(self._fleet, chosen.rows[which].id)
        return CvmHandle(self._fleet, chosen.part().find(which).id)

    def __contains__(self, cvm: object) -> bool:
        return cvm in self.now().part()

    def __or__(self, other: "_Group") -> "Selection":
        """Return the CVMs that are in one of both."""
        if not isinstance(other, _Group):
            return NotImplemented
        left, right = self._both(other)
        known = {row.id for row in left.rows}
        return left.only((*left.rows, *(row for row in right.rows if row.id not in known)))

    def __and__(self, other: "_Group") -> "Selection":
        """Return the CVMs that are in both."""
        if not isinstance(other, _Group):
            return NotImplemented
        left, right = self._both(other)
        shared = {row.id for row in right.rows}
        return left.only(row for row in left.rows if row.id in shared)

    def _both(self, other: "_Group") -> tuple["Selection", "Selection"]:
        if self._fleet is not other._fleet:  # noqa: SLF001 - of its own kind
            raise InvalidInput("selection", "it is of another fleet", "Select in one fleet.")
        return self.now(), other.now()

    @property
    def names(self) -> list[str]:
        """Their names, in the order of the rows."""
        return [row.name or row.id for row in self.now().rows]

    def where(self, **conditions: object) -> "Selection":
        """Choose among them by the columns of the frame; see `Fleet.where`."""
        chosen = self.now()
        return chosen.only(where(chosen.part(), **conditions))

    def search(self, text: str) -> "Selection":
        """Choose among them by words, or by the search language; see `Fleet.search`."""
        chosen = self.now()
        return chosen.only(search(text).rows(chosen.part()))

    def frame(self, columns: Columns = "narrow") -> "pd.DataFrame":
        """Return them as a DataFrame; see `fleet_frame`."""
        with LOADING:
            from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand

        return fleet_frame(self.now().part(), columns=columns)

    def verify(
        self,
        policy: "Policy | None" = None,
        *,
        expected: Any = None,
        pccs: str | None = None,
        refresh: bool = False,
        progress: bool = True,
    ) -> "pd.DataFrame":
        """Verify each of them; see `Fleet.verify`."""
        with LOADING:
            from cvm_notebook.frames.reports.attestation import (  # noqa: PLC0415 - pandas on demand
                verify_rows,
            )

        return verify_rows(
            self._fleet,
            self.now().rows,
            policy,
            expected=expected,
            pccs=pccs,
            refresh=refresh,
            progress=progress,
        )

    def plan(self, verb: Verb, **params: object) -> FleetPlan:
        """Return what `verb` would do to each of them; nothing is sent.

        Parameters
        ----------
        verb
            ``start``, ``stop``, ``shutdown``, ``restart``, ``delete`` or ``replicate``.
        **params
            What the verb takes beside the CVM, such as ``force=True`` of a restart.
        """
        return FleetPlan(self.now().rows, verb, operations=self._fleet.operator, params=params)

    def update(
        self, *, dry_run: bool = False, confirm: str | None = None, **changes: Any
    ) -> ApplyPlan | Applied:
        """Change each of them in the same way, each in one restart.

        Parameters
        ----------
        dry_run
            Return the plan, with a preview of each, and send nothing.
        confirm
            The plan's phrase: several CVMs want it, and whatever `CvmHandle.update` wants it for.
        **changes
            As of `CvmHandle.update`.

        Raises
        ------
        NotConfirmed
            It needs the phrase; nothing was sent.
        """
        checks.booleans(dry_run=dry_run)
        plan = plan_updates(self._fleet, self.now().rows, Changes.read(changes))
        return plan if dry_run else plan.execute(confirm=confirm)

    def wait(self, status: str = "running", timeout: float | None = 300.0) -> "Selection":
        """Wait until all of them have a status; see `Fleet.wait`."""
        ids = [row.id for row in self.now().rows]
        if not ids:
            return self.now()
        done = set(Waiting(self._fleet, ids, status=status, timeout=timeout).run())
        after = self._fleet.store.snapshot()
        return Selection(self._fleet, after, tuple(row for row in after if row.id in done))

    def __repr__(self) -> str:
        return f"<Selection: {self.now().said}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        chosen = self.now()
        return show(chosen.part(), chosen.said)


class Selection(_Group):
    """Some CVMs of a fleet, as they were when they were chosen.

    Examples
    --------
    >>> chosen = fleet.where(name="my-*")
    >>> chosen.names
    ['my-app']
    >>> chosen[0] == fleet["my-app"], fleet["my-app"] in chosen
    (True, True)
    >>> chosen.plan("delete").phrase
    'delete 1'
    """

    def __init__(
        self, fleet: FleetEngine, snapshot: Snapshot, rows: tuple[Row, ...], note: str = ""
    ) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self._note = note
        self.rows = rows

    def now(self) -> "Selection":
        """Return itself."""
        return self

    def only(self, rows: Iterable[Row]) -> "Selection":
        """Return a selection of other rows of the same snapshot."""
        chosen = checks.members("rows", rows, Row, "Give rows of selection.rows.")
        return Selection(self._fleet, self._snapshot, tuple(chosen))

    def part(self) -> Snapshot:
        """Return the snapshot they were chosen from, with no others."""
        was = self._snapshot
        return Snapshot(
            was.revision,
            self.rows,
            was.taken_at,
            was.monotonic,
            was.health,
            was.complete,
            figures=was.figures,
        )

    @property
    def said(self) -> str:
        """The number of CVMs, in words, and what else there is to know of the choice."""
        return f"{len(self.rows)} of {counted(len(self._snapshot), 'CVM')}{self._note}"


class LiveSelection(_Group):
    """The current selection of a fleet's table, by hand or from Python; read at each use.

    Examples
    --------
    >>> fleet.selection = fleet.where(name="my-*")
    >>> len(fleet.selection)
    1
    """

    def __init__(self, fleet: FleetEngine, selected: Callable[[], Iterable[str]]) -> None:
        self._fleet = fleet
        self._selected = selected

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that are selected at this moment."""
        return self.now().rows

    def now(self) -> Selection:
        """Return the CVMs that are selected at this moment; those that are gone are left out."""
        snapshot = self._fleet.snapshot()
        chosen = set(self._selected())
        return Selection(self._fleet, snapshot, tuple(r for r in snapshot if r.id in chosen))
