"""Fleet: the CVMs of a workspace, live."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.apply.planning import plan_apply
from cvm_notebook.deploy.declaration import read_apps
from cvm_notebook.fleet.activity import MeasuredFleet
from cvm_notebook.fleet.app import App, find_app
from cvm_notebook.fleet.display import WidgetDisplay
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.fleet.reports import ReportedFleet
from cvm_notebook.fleet.selection import LiveSelection, Selection
from cvm_notebook.live.query import search, where
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.index import UnknownCvm
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.wait import Waiting
from cvm_notebook.text import counted

if TYPE_CHECKING:
    from cvm_notebook.widgets.form.form import ProvisionForm
    from cvm_notebook.widgets.table.table import FleetTable

T = TypeVar("T")
_By: TypeAlias = Literal["cvm", "app"]


class Fleet(MeasuredFleet, ReportedFleet, WidgetDisplay):
    """The CVMs of a workspace, kept up to date by one background thread while somebody looks.

    Whatever reads from it waits for the first list, and keeps the fleet live for a minute; as long
    as it is used in a ``with`` block it is live throughout. While nobody looks it sends nothing.
    Safe to use from any thread.

    Parameters
    ----------
    client
        Whose workspace it is.
    ledger
        A file that keeps operations and plans beyond this kernel. A new kernel on the same file
        shows what was asked for before, follows what was under way to its end, and repeats nothing
        when the same cell is run again. Several kernels may share it; no secret is in it.

    Raises
    ------
    LedgerError
        The file cannot be opened, or is not a ledger.

    Examples
    --------
    >>> fleet = cvm.Fleet(client)
    >>> "my-app" in fleet
    True
    >>> fleet["my-app"].status
    'running'
    >>> fleet.close()
    """

    _table: "FleetTable | None" = None

    # --- who is in it --------------------------------------------------------------------------

    def __getitem__(self, identifier: Ref) -> CvmHandle:
        return CvmHandle(self, self.snapshot().find(identifier).id)

    @overload
    def get(self, identifier: Ref) -> CvmHandle | None: ...

    @overload
    def get(self, identifier: Ref, default: T) -> CvmHandle | T: ...

    def get(self, identifier: Ref, default: object = None) -> object:
        """Return the handle of a CVM, or `default` when the fleet has none of that name.

        Parameters
        ----------
        identifier
            As of ``fleet[...]``: its id, uuid, app id, instance id or name, or the CVM itself.
        default
            What is returned when there is none.

        Raises
        ------
        AmbiguousCvm
            There are several.

        Examples
        --------
        >>> fleet.get("my-app") in fleet, fleet.get("nobody")
        (True, None)
        """
        try:
            return self[identifier]
        except UnknownCvm:
            return default

    def __contains__(self, identifier: object) -> bool:
        return identifier in self.snapshot()

    def __len__(self) -> int:
        return len(self.snapshot())

    def __iter__(self) -> Iterator[CvmHandle]:
        for row in self.snapshot():
            yield CvmHandle(self, row.id)

    def _ipython_key_completions_(self) -> list[str]:
        # what is known now: completion must not wait for the service
        return [row.name for row in self.store.snapshot() if row.name]

    def where(self, **conditions: object) -> Selection:
        """Choose CVMs by the columns of the frame.

        Parameters
        ----------
        **conditions
            ``status="running"``, ``region="us-*"`` (whatever the case), ``gpus=8``,
            ``node=["prod5", "prod6"]`` (any of them), ``region=None`` (the service did not say).

        Raises
        ------
        InvalidInput
            There is no such column; the message has the closest names.

        Examples
        --------
        >>> fleet.where(name="my-*").names
        ['my-app']
        """
        snapshot = self.snapshot()
        return Selection(self, snapshot, tuple(where(snapshot, **conditions)))

    def search(self, text: str) -> Selection:
        """Choose CVMs by words, or by the search language.

        Parameters
        ----------
        text
            Words that must all occur, or a condition such as
            ``region like 'us-%' and rate_usd_h > 1 order by rate_usd_h desc limit 20``.

        Raises
        ------
        InvalidInput
            It cannot be understood; the message shows the place.

        Examples
        --------
        >>> fleet.search("name = 'my-app' and vcpu >= 1").names
        ['my-app']
        """
        snapshot = self.snapshot()
        return Selection(self, snapshot, tuple(search(text).rows(snapshot)))

    def app(self, identifier: Ref) -> App:
        """Return an app: its instances, its revisions, and changing them one by one.

        Parameters
        ----------
        identifier
            The app's id, or whatever one of its instances is called by.

        Raises
        ------
        UnknownCvm
            There is none.
        AmbiguousCvm
            There are several.

        Examples
        --------
        >>> len(fleet.app("my-app"))
        1
        """
        return find_app(self, identifier)

    # --- waiting ---------------------------------------------------------------------------------

    def wait(
        self,
        *identifiers: str,
        status: str = "running",
        timeout: float | None = 300.0,
        progress: bool = True,
        on_change: Callable[[Row], object] | None = None,
    ) -> Selection:
        """Wait until some CVMs, or all, have a status. Ctrl-C ends the waiting at once.

        What was asked of a CVM here is waited for first: after ``fleet["x"].restart()`` it waits
        for that restart, although the CVM still says that it runs.

        Parameters
        ----------
        *identifiers
            Which CVMs; the whole fleet when none is named.
        status
            A status, in the service's word or the frame's: ``"exited"`` is ``"stopped"``;
            ``"deleted"`` waits until they are gone.
        timeout
            Seconds; None to wait as long as it takes.
        progress
            Show a bar when there are several.
        on_change
            Called here with the row of a CVM that is otherwise: its status, or how it boots.

        Raises
        ------
        InvalidInput
            There is no such status (the message has the closest), or the timeout is none.
        WatchTimeout
            Some do not have it yet; the message names them.
        TargetUnreachable
            All that do not have it have failed, are gone, or what was asked of them failed.
        CvmError
            It can no longer be known: the key was refused, or the fleet is closed.
        """
        waiting = Waiting(
            self,
            identifiers,
            status=status,
            timeout=timeout,
            progress=progress,
            on_change=on_change,
        )
        return self._chosen(waiting.run())

    async def wait_async(
        self,
        *identifiers: str,
        status: str = "running",
        timeout: float | None = 300.0,  # noqa: ASYNC109 - as of `wait`
        progress: bool = True,
        on_change: Callable[[Row], object] | None = None,
    ) -> Selection:
        """Wait as `wait` does, without blocking the event loop: ``await fleet.wait_async("x")``.

        In a notebook clicks and views are served meanwhile. Cancelling the task ends the waiting,
        and nothing else.
        """
        waiting = Waiting(
            self,
            identifiers,
            status=status,
            timeout=timeout,
            progress=progress,
            on_change=on_change,
        )
        return self._chosen(await waiting.arun())

    def _chosen(self, ids: list[str]) -> Selection:
        after, wanted = self.store.snapshot(), set(ids)
        return Selection(self, after, tuple(row for row in after if row.id in wanted))

    # --- shown -----------------------------------------------------------------------------------

    def table(
        self,
        columns: Iterable[str] | None = None,
        *,
        height: int | None = None,
        undo: float | None = None,
        by: _By | None = None,
    ) -> "FleetTable":
        """Return the live table, the same one each time; displaying the fleet shows it.

        Parameters
        ----------
        columns
            Which columns, by the names of the fleet frame.
        height
            Of the rows, in pixels.
        undo
            Seconds in which a stop or a deletion that was clicked can be undone.
        by
            ``"app"`` puts CVMs under their apps, with counts, prices, and a warning where they run
            different versions; ``"cvm"`` is the plain list.

        Raises
        ------
        InvalidInput
            There is no such column; the message has the closest names. Or `by` is neither.
        """
        with LOADING:
            from cvm_notebook.widgets.base.closing import is_open  # noqa: PLC0415 - widgets on demand
            from cvm_notebook.widgets.table.table import FleetTable  # noqa: PLC0415 - widgets on demand

        # before there is a table, for which the service is asked
        given = FleetTable.checked(columns=columns, height=height, undo=undo, by=by)
        if self._table is None or not is_open(self._table):  # none yet, or it was closed
            if self._table is not None:
                self._table.close()
            self._reflector.touch()
            self._table = FleetTable(self)
        self._table.apply(given)
        return self._table

    def view(self, name: str) -> "FleetTable":
        """Return the live table as a saved view shows it; views are saved in the table's own menu.

        A view is a filter, columns with their order and widths, sorting and grouping. Views are
        kept for the user, in a file beside the profiles of the command line.

        Parameters
        ----------
        name
            Of the view; ``"Default"`` is always there.

        Raises
        ------
        InvalidInput
            There is no such view; the message has the names of those there are.
        CvmError
            The file of views cannot be read.
        """
        table = self.table()
        table.show_view(checks.text("name", name))
        return table

    def deploy(self, **fields: Any) -> "ProvisionForm":
        """Return a form for a new CVM of this fleet; see `ProvisionForm` for its fields."""
        with LOADING:
            from cvm_notebook.widgets.form.form import ProvisionForm  # noqa: PLC0415 - widgets on demand

        return ProvisionForm(self.client, fleet=self, **fields)

    # --- declared --------------------------------------------------------------------------------

    def apply(
        self,
        declared: Any = None,
        /,
        *,
        dry_run: bool = False,
        confirm: str | None = None,
        wait: bool = False,
        resend_env: bool = False,
        **fields: Any,
    ) -> ApplyPlan | Applied:
        """Make what is declared true: create what is not there, update what differs.

        With ``replicas`` the number of instances, too: copies are made of one that is as declared,
        and of too many the newest are deleted, which wants the phrase. Both are sent when the
        updates of that app have succeeded, and a new app runs; so it waits for these even without
        `wait`, as long as an operation may take. What is being made already counts as there.

        Where nothing differs nothing is sent, and it says so: a cell that is run twice changes
        nothing the second time.

        Parameters
        ----------
        declared
            A mapping from names to what is declared of them, as `drift` takes it, or the path of a
            YAML file with one. What is not declared is left as it is; what this kernel has applied
            before and is not declared any more goes back to its default.
        dry_run
            Return the plan for all of them, with a preview of each, and send nothing.
        confirm
            The plan's `phrase`, where something would be lost; see `CvmHandle.update`.
        wait
            Until all of them run; else until the service has answered.
        resend_env
            Send variables although none of their names differs. Values that this kernel has sent
            are compared; others cannot be read back from a CVM.
        **fields
            Of one app, instead: ``name``, ``compose_file``, ``env``, and whatever else
            `CvmHandle.update` takes; of a new one ``region`` or ``node_id`` as well.

        Returns
        -------
        ApplyPlan or Applied
            The plan of a dry run, or what became of it; what failed is in that, and not raised.

        Raises
        ------
        InvalidInput
            It cannot be declared; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> plan = fleet.apply(name="my-app", compose_file=compose, disk_size=40, dry_run=True)
        >>> [(step.name, step.action, step.changes) for step in plan.steps]
        [('my-app', 'update', 'disk_size')]
        """
        checks.booleans(dry_run=dry_run, wait=wait, resend_env=resend_env)
        plan = plan_apply(self, read_apps(declared, fields), resend_env=resend_env)
        return plan if dry_run else plan.execute(confirm=confirm, wait=wait)

    @property
    def selection(self) -> LiveSelection:
        """The current selection of the live table; may be set.

        Examples
        --------
        >>> fleet.selection = fleet.where(name="my-*")
        >>> fleet.selection.names
        ['my-app']
        >>> fleet.selection = fleet.frame().index
        """
        return LiveSelection(self, lambda: self.table().selected)

    @selection.setter
    def selection(self, chosen: Selection | LiveSelection | Iterable[Ref]) -> None:
        snapshot = self.snapshot()
        refs = (row.id for row in chosen.rows) if isinstance(chosen, Selection) else chosen
        found = [snapshot.find(ref).id for ref in checks.several("selection", refs)]
        self.table().selected = tuple(found)

    def __repr__(self) -> str:
        return f"<Fleet: {counted(len(self.store.snapshot()), 'CVM')}, {self.health}>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        with contextlib.suppress(CvmError):  # what is wrong is in what is shown
            self.snapshot()
        static = show(self.store.snapshot())
        if self.health.state == "closed":
            return static
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import with_widget  # noqa: PLC0415 - widgets on demand

        return with_widget(static, self.table)

    def _widget(self) -> "FleetTable":
        return self.table()
