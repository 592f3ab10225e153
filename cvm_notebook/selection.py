"""Selection and CvmHandle: some CVMs of a live fleet, and one of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, overload

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.workspace.ssh_command import ssh_command
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.apply.planning import plan_updates
from cvm_notebook.deploy.declaration import MOST_INSTANCES, Changes
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import check_confirmed, previewed, submitted
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.query import search, where
from cvm_notebook.live.static_view import show, show_one
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.live.wait import Waiting
from cvm_notebook.rollouts.targets import redeployed, rollback_of
from cvm_notebook.text import html_table, text_table

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy
    from cvm_notebook.attest.verdict import Verdict
    from cvm_notebook.widgets.card.card import CvmCard
    from cvm_notebook.widgets.form.change import ChangeForm

Columns: TypeAlias = Literal["narrow", "wide"] | Sequence[str]


class FleetPlan(Plan):
    """A dry run of one verb over some CVMs of a fleet; displayed as the table of its effects."""

    def frame(self) -> "pd.DataFrame":
        """Return what would be done, one CVM a row; see `plan_frame`."""
        from cvm_notebook.frames.reports.plan import plan_frame  # noqa: PLC0415 - pandas on demand

        return plan_frame(self.rows())

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head = ("name", "allowed", "effect", "reason", "USD/h")
        cells = [
            (row.name, "yes" if row.allowed else "no", row.effect, row.reason, _usd(row))
            for row in self.rows()
        ]
        title = repr(self).strip("<>")
        return {
            "text/plain": text_table(title, head, cells),
            "text/html": html_table(title, head, cells),
        }


def _usd(row: Any) -> str:
    change: Decimal | None = row.rate_change_usd_h
    return "" if change is None else f"{change:+f}"


class _Group(ABC):
    """Some CVMs of a fleet: what `Selection` and `LiveSelection` have in common."""

    _fleet: FleetEngine

    @abstractmethod
    def now(self) -> "Selection":
        """Return the CVMs that are meant at this moment."""

    def __len__(self) -> int:
        return len(self.now().rows)

    def __iter__(self) -> Iterator["CvmHandle"]:
        for row in self.now().rows:
            yield CvmHandle(self._fleet, row.id)

    @overload
    def __getitem__(self, which: "SupportsIndex | Ref") -> "CvmHandle": ...

    @overload
    def __getitem__(self, which: slice) -> "Selection": ...

    def __getitem__(self, which: "SupportsIndex | Ref | slice") -> "CvmHandle | Selection":
        """Return one by its place or by what it is called, or some by their places."""
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
        mine, theirs = self._both(other)
        known = {row.id for row in mine.rows}
        return mine.only((*mine.rows, *(row for row in theirs.rows if row.id not in known)))

    def __and__(self, other: "_Group") -> "Selection":
        """Return the CVMs that are in both."""
        if not isinstance(other, _Group):
            return NotImplemented
        mine, theirs = self._both(other)
        shared = {row.id for row in theirs.rows}
        return mine.only(row for row in mine.rows if row.id in shared)

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
        plan = plan_updates(self._fleet, self.now().rows, Changes.read(changes))
        return plan if dry_run else plan.execute(confirm=confirm)

    def wait(self, status: str = "running", timeout: float | None = 300.0) -> "Selection":
        """Wait until all of them have a status; see `Fleet.wait`."""
        ids = [row.id for row in self.now().rows]
        if not ids:
            return self.now()
        done = set(_wait(self._fleet, ids, status, timeout))
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

    def __init__(self, fleet: FleetEngine, snapshot: Snapshot, rows: tuple[Row, ...]) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self.rows = rows

    def now(self) -> "Selection":
        """Return itself."""
        return self

    def only(self, rows: Iterable[Row]) -> "Selection":
        """Return a selection of other rows of the same snapshot."""
        return Selection(self._fleet, self._snapshot, tuple(rows))

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
        """How many they are, in words."""
        return f"{len(self.rows)} of {len(self._snapshot)} CVMs"


class LiveSelection(_Group):
    """What is selected in a fleet's table, by hand or from Python: as it is when it is asked.

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


class WidgetDisplay(ABC):
    """What Jupyter and marimo show by a live widget, with a snapshot beside it."""

    @abstractmethod
    def _repr_mimebundle_(self) -> dict[str, Any]:
        """Return the snapshot, and the widget where there is a front end."""

    @abstractmethod
    def _widget(self) -> Any:
        """Return the widget."""

    def _ipython_display_(self) -> None:
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import display_in_jupyter  # noqa: PLC0415

        display_in_jupyter(self._repr_mimebundle_())

    def _display_(self) -> Any:  # marimo asks for it
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import displayed  # noqa: PLC0415 - widgets on demand

        return displayed(self._repr_mimebundle_(), self._widget)


class CvmHandle(WidgetDisplay):
    """One CVM of a live fleet: its state, its history, and what can be done to it.

    What it says is as new as the fleet is; what it is asked to do gives an Operation at once.
    Handles of one CVM of one fleet are equal.
    """

    def __init__(self, fleet: FleetEngine, cvm_id: str) -> None:
        self._fleet = fleet
        self._id = cvm_id

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CvmHandle):
            return NotImplemented
        return self._id == other._id and self._fleet is other._fleet

    def __hash__(self) -> int:
        return hash((self._id, id(self._fleet)))

    @property
    def row(self) -> Row:
        """The CVM as it is known now, with the age and the source of what is known.

        Raises
        ------
        UnknownCvm
            It is gone.
        """
        return self._fleet.snapshot().find(self.id)

    @property
    def cvm(self) -> Cvm:
        """Its record."""
        return self.row.cvm

    @property
    def name(self) -> str:
        """Its name."""
        return self.row.name or self.id

    @property
    def status(self) -> str | None:
        """Its status, in the service's own word."""
        return self.row.status

    # --- what can be done ----------------------------------------------------------------------

    def start(self) -> Operation:
        """Start it."""
        return self._ask("start")

    def stop(self, *, delay: float = 0.0, confirm: str | None = None) -> Operation:
        """Stop it at once; `delay` seconds leave time to `cancel` the operation.

        In the minimum term of its GPUs, when it costs the same all the same, it is not sent without
        ``confirm="stop 1"``; nor are a `shutdown` and a `delete` without theirs.
        """
        return self._end("stop", confirm, delay)

    def shutdown(self, *, confirm: str | None = None) -> Operation:
        """Shut it down cleanly; for `confirm` see `stop`."""
        return self._end("shutdown", confirm)

    def restart(self, *, force: bool = False) -> Operation:
        """Restart it; `force` skips the clean shutdown."""
        return self._ask("restart", force=checks.boolean("force", force))

    def delete(self, *, delay: float = 0.0, confirm: str | None = None) -> Operation:
        """Delete it and all its data; for `delay` and `confirm` see `stop`."""
        return self._end("delete", confirm, delay)

    @overload
    def replicate(self, *, node_id: int | None = None) -> Operation: ...

    @overload
    def replicate(self, *, count: int, node_id: int | None = None) -> tuple[Operation, ...]: ...

    def replicate(
        self, *, count: int | None = None, node_id: int | None = None
    ) -> Operation | tuple[Operation, ...]:
        """Make another CVM of its app, or several; each call asks for further ones.

        Parameters
        ----------
        count
            How many; a tuple of that many operations is returned. One operation when not given.
        node_id
            The node to put them on; the service chooses when not given.

        Raises
        ------
        InvalidInput
            `count` or `node_id` is no whole number from 1 up, or `count` is above 100.
        """
        params = {} if node_id is None else {"node_id": checks.integer("node_id", node_id)}
        if count is None:
            return self._ask("replicate", again=True, **params)
        row, number = self.row, checks.integer("count", count, most=MOST_INSTANCES)
        submit = self._fleet.operator.submit
        return tuple(
            submit("replicate", row, params=dict(params), again=True) for _ in range(number)
        )

    @overload
    def update(
        self, *, dry_run: Literal[True], confirm: str | None = ..., **changes: Any
    ) -> UpdatePreview: ...

    @overload
    def update(
        self,
        *,
        dry_run: Literal[False] = ...,
        confirm: str | None = ...,
        delay: float = ...,
        **changes: Any,
    ) -> Operation: ...

    def update(
        self,
        *,
        dry_run: bool = False,
        confirm: str | None = None,
        delay: float = 0.0,
        **changes: Any,
    ) -> Operation | UpdatePreview:
        """Change what it runs, has or shows, in one request and one restart.

        What is not given stays as it is, and what is so already is not sent.

        Parameters
        ----------
        dry_run
            Return what would change, cost and be lost, and send nothing.
        confirm
            The preview's `phrase`: losing a variable, shrinking, and leaving GPUs before their
            minimum term want it.
        delay
            Seconds that leave time to `cancel` the operation.
        **changes
            ``compose_file`` (text or path), ``pre_launch_script``, ``env`` (all variables: they
            replace those that are there), ``instance_type`` or ``vcpu`` and ``memory`` (MB),
            ``disk_size`` (GB), ``image``, ``public_logs``, ``public_sysinfo``, ``public_tcbinfo``,
            ``listed``, ``user_config``, ``shutdown_timeout`` (seconds), ``allow_force_stop``.

        Raises
        ------
        InvalidInput
            A field is unknown or cannot be; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> preview = fleet["my-app"].update(disk_size=40, dry_run=True)
        >>> [tuple(change) for change in preview.fields]
        [('disk_size', '20', '40')]
        """
        wanted = Changes.read(changes)
        delay = checks.seconds("delay", delay)
        preview = previewed(self._fleet.client, self.id, wanted)
        if dry_run:
            return preview
        check_confirmed(preview.phrase, confirm, preview.dangers)
        return submitted(self._fleet.operator, self.row, preview, delay=delay)

    def change(self, **fields: Any) -> "ChangeForm":
        """Return a form filled with what it runs, to change it; see `ChangeForm` for its fields."""
        with LOADING:
            from cvm_notebook.widgets.form.change import ChangeForm  # noqa: PLC0415 - widgets on demand

        return ChangeForm(self._fleet, self.row.id, **fields)

    def rollback(
        self,
        revision: int | str = -1,
        *,
        dry_run: bool = False,
        confirm: str | None = None,
        delay: float = 0.0,
    ) -> Operation | UpdatePreview:
        """Take it to a revision that it has had, in one restart; the same call twice does so once.

        It gets the app compose, the variables and the user config of that revision; its size and
        its image stay. For all instances of its app, one by one: `App.rollback`.

        Parameters
        ----------
        revision
            ``-1`` is the version before its newest change, ``-2`` one further; or the id of a
            revision, or a compose hash: ``fleet.app("x").revisions()`` has them.
        dry_run
            Return what would change, and send nothing.
        confirm
            The preview's `phrase`: losing a variable wants it.
        delay
            Seconds that leave time to `cancel` the operation.

        Raises
        ------
        InvalidInput
            There is no such revision; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> newest = fleet.app("my-app").revisions().index[0]
        >>> fleet["my-app"].rollback(newest, dry_run=True).differs
        False
        """
        row, delay = self.row, checks.seconds("delay", delay)
        version, preview = rollback_of(self._fleet.client, row, revision)
        if dry_run:
            return preview
        check_confirmed(preview.phrase, confirm, preview.dangers)
        return redeployed(self._fleet.operator, row, preview, version, delay=delay)

    def _end(self, verb: Verb, confirm: str | None, delay: float = 0.0) -> Operation:
        planned = Plan([self.row], verb, operations=self._fleet.operator).rows()[0]
        if planned.term:
            hint = "Until then only a deletion saves anything, its disk. Else give the phrase."
            check_confirmed(f"{verb} 1", confirm, (planned.term,), hint)
        return self._ask(verb, delay=delay)

    def _ask(
        self, verb: Verb, *, delay: float = 0.0, again: bool = False, **params: object
    ) -> Operation:
        return self._fleet.operator.submit(
            verb, self.row, params=params, delay=checks.seconds("delay", delay), again=again
        )

    # --- what can be seen ------------------------------------------------------------------------

    def wait(self, status: str = "running", timeout: float | None = 300.0) -> "CvmHandle":
        """Wait until it has a status; see `Fleet.wait`."""
        _wait(self._fleet, [self.id], status, timeout)
        return self

    def verify(
        self, policy: "Policy | None" = None, *, pccs: str | None = None, refresh: bool = False
    ) -> "Verdict":
        """Say what is proven of it; see `cvm.verify`. Table, card and frames show what came of it.

        Examples
        --------
        >>> fleet["my-app"].verify().word
        'SIMULATED'
        """
        from cvm_notebook.live.trust import verify_row  # noqa: PLC0415 - what judges, on demand

        return verify_row(self._fleet, self.row, policy, pccs=pccs, refresh=refresh)

    def ssh_command(self, *, user: str = "root", port: int = 22) -> str:
        """Return the command that logs in to it, to be run in a terminal; see `ssh_command`."""
        return ssh_command(self.cvm, user=user, port=port)

    def events(self) -> "pd.DataFrame":
        """Return what is kept of what happened to it; see `Fleet.events`."""
        from cvm_notebook.frames import events_frame  # noqa: PLC0415 - pandas on demand

        events = events_frame(self._fleet.history.changes())
        return events[events["cvm_id"] == self.id]

    def __repr__(self) -> str:
        row = self._fleet.known(self.id)
        return f"<CVM {row.name!r}: {row.status}>" if row is not None else f"<CVM {self.id}: gone>"

    def card(self) -> "CvmCard":
        """Return its live card, the same one each time; displaying the handle shows it."""
        with LOADING:
            from cvm_notebook.widgets.card.card import card_of  # noqa: PLC0415 - widgets on demand

        return card_of(self._fleet, self.id)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        snapshot = self._fleet.store.snapshot()
        row = self._fleet.known(self.id)
        if row is None:
            return {"text/plain": repr(self)}
        static = show_one(row, snapshot)
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import with_widget  # noqa: PLC0415 - widgets on demand

        return with_widget(static, self.card)

    def _widget(self) -> "CvmCard":
        return self.card()


def _wait(fleet: FleetEngine, ids: Sequence[str], status: str, timeout: float | None) -> list[str]:
    return Waiting(
        fleet, tuple(ids), status=status, timeout=timeout, progress=True, on_change=None
    ).run()
