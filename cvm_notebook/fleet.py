"""Fleet: the CVMs of a workspace, live."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.times import length_of, moment_of
from cvm_notebook.app import App, find_app
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.apply.planning import plan_apply
from cvm_notebook.deploy.declaration import read_apps
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.query import search, where
from cvm_notebook.live.rules.autostop import AutoStop, Rules
from cvm_notebook.live.rules.terms import read_terms
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.figures import IDLE_BELOW
from cvm_notebook.live.store.index import UnknownCvm
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.wait import Waiting
from cvm_notebook.selection import Columns, CvmHandle, LiveSelection, Selection, WidgetDisplay

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy
    from cvm_notebook.frames.schema import Money
    from cvm_notebook.widgets.dashboard import Dashboard
    from cvm_notebook.widgets.form.form import ProvisionForm
    from cvm_notebook.widgets.table.table import FleetTable

T = TypeVar("T")
_A_WHILE = timedelta(minutes=15)


class Fleet(FleetEngine, WidgetDisplay):
    """The CVMs of a workspace, kept true by one background thread while somebody looks.

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
        The file cannot be opened, or is none of ours.

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

    def idle(
        self, below: float = IDLE_BELOW, for_: str | timedelta = "30m", *, wait: float = 15.0
    ) -> Selection:
        """Choose the running CVMs that were seen idle for so long, up to now and without a break.

        Only what was observed counts: a CVM whose CPU was not measured all that time is not in it,
        however little it does, and neither is one that keeps its figures private. So the first call
        finds none; it has all that run measured for as long again, as an open table, `measure` and
        `autostop` do for as long as they are there. CPU alone is judged: the service tells nothing
        of GPUs, so one that computes on its GPU may look idle.

        Parameters
        ----------
        below
            The share of its vCPUs under which a CVM is idle: 0.1 is 10 %.
        for_
            For how long: ``"30m"``, ``"2h"``, or a timedelta.
        wait
            Seconds to wait for a first measurement of those that have none.

        Raises
        ------
        InvalidInput
            `below` is no share from 0 to 1, or `for_` no length of time.

        Examples
        --------
        >>> fleet.idle(for_="8h").names
        []
        """
        below, length = checks.share("below", below), length_of("for_", for_)[0]
        self._measured(length + _A_WHILE, wait)  # and a look at it after that
        snapshot, lasted = self.snapshot(), self.store.figures.idle_for
        rows = (
            row
            for row in where(snapshot, status="running")
            if (lasted(row.id, below, snapshot.monotonic) or 0.0) >= length.total_seconds()
        )
        return Selection(self, snapshot, tuple(rows))

    def _measured(self, length: timedelta, wait: float) -> None:
        """Have all that run measured for so long, and wait for a first figure of each."""
        self.snapshot()
        self.poll.measure_for(length.total_seconds())
        self.poll.ready(checks.seconds("wait", wait))

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

    # --- rules ---------------------------------------------------------------------------------

    def autostop(
        self,
        where: str | Mapping[str, object] | Selection | LiveSelection | Iterable[Ref],
        *,
        idle: str | timedelta | None = None,
        schedule: str | None = None,
        below: float | str = IDLE_BELOW,
        undo: float | str | timedelta = 60.0,
    ) -> AutoStop:
        """Shut CVMs down when idle, or at a time of day; this acts only while the kernel runs.

        The rule asks for a shutdown, which lets containers end, of each CVM that it is about: once
        in each stretch of idleness, and once at each scheduled time; their disks stay, and stay
        paid for. Each request stands in the ledger with its reason, and waits for some seconds in
        which it can be taken back; it is taken back by itself when the CVM is busy again. When the
        fleet is closed or the kernel ends, so do its rules, and what was not sent is not sent. For
        machines without a kernel there is ``cvm-notebook autostop FILE``.

        Parameters
        ----------
        where
            Which CVMs: a search (see `search`), conditions as a mapping (see `where`), or some
            CVMs. It is asked anew at each look, every ten seconds.
        idle
            After so long, as of `idle`: ``"1h"``. Only what is observed counts, from now on; CPU
            alone is judged, so leave out those that compute on GPUs.
        schedule
            Days and a time of 24 hours in this machine's local time: ``"Mon-Fri 20:00"``,
            ``"daily 20:00"``; a time zone may follow. A time that passes while this machine sleeps
            is missed. With `idle` as well, either is enough.
        below
            The share of its CPU under which a CVM is idle: 0.1, or ``"10%"``.
        undo
            Seconds, or a length of time, in which a request can be taken back.

        Returns
        -------
        AutoStop
            The rule, with its ``log()``, its ``operations``, and ``cancel()``.

        Raises
        ------
        InvalidInput
            Neither `idle` nor `schedule` is given, or one of these cannot be understood.
        ReadOnly
            The client changes nothing.

        Examples
        --------
        >>> rule = fleet.autostop({"name": "nightly-*"}, schedule="Mon-Fri 20:00")
        >>> fleet.rules()[-1] is rule, rule.active
        (True, True)
        >>> rule.cancel()
        """
        if isinstance(where, Selection | LiveSelection):
            where = [row.id for row in where.rows]
        terms = read_terms(
            where, self.snapshot(), idle=idle, schedule=schedule, below=below, undo=undo
        )
        return self.rulebook.add(terms)

    def rules(self) -> Rules:
        """Return the rules of this fleet, the oldest first; displayed as a table."""
        return self.rulebook.rules()

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

    # --- frames ----------------------------------------------------------------------------------

    def frame(self, columns: Columns = "narrow", *, money: "Money" = "float") -> "pd.DataFrame":
        """Return the fleet as a DataFrame; see `fleet_frame`.

        Examples
        --------
        >>> fleet.frame().loc[fleet["my-app"].id, "status"]
        'running'
        """
        from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand

        return fleet_frame(self.snapshot(), columns=columns, money=money)

    def at(self, moment: str | date, columns: Columns = "narrow") -> "pd.DataFrame":
        """Return the fleet as it was, within the history that is kept.

        Parameters
        ----------
        moment
            ``"14:05"``, the last time that this machine's clock showed it; ISO text, a datetime, a
            Timestamp or a date. Without a time zone it is this machine's local time.

        Raises
        ------
        InvalidInput
            It is no time, it is in the future, or the history does not reach back so far.
        """
        from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand

        then = moment_of("moment", moment, now=self._clock.now())
        return fleet_frame(self.history.at(then), columns=columns)

    def events(self) -> "pd.DataFrame":
        """Return what happened to the fleet since it is watched; see `events_frame`."""
        from cvm_notebook.frames.reports.events import events_frame  # noqa: PLC0415 - pandas on demand

        return events_frame(self.history.changes())

    def operations(self) -> "pd.DataFrame":
        """Return what was asked for, and what became of it; see `operations_frame`."""
        from cvm_notebook.frames.reports.operations import (  # noqa: PLC0415 - pandas on demand
            operations_frame,
        )

        return operations_frame(self.operator.records())

    def cost(self, window: str | timedelta = "24h", *, money: "Money" = "float") -> "pd.DataFrame":
        """Return what each CVM has cost, to the last digit, and how much of it was observed.

        Parameters
        ----------
        window
            How far back: ``"24h"``, ``"7d"``; see `cost_frame`.
        money
            ``"float"``: amounts are ``float64``; ``"decimal"``: exact decimals.
        """
        from cvm_notebook.frames.reports.cost import cost_frame  # noqa: PLC0415 - pandas on demand

        self.snapshot()
        return cost_frame(self.store.log(), window, money=money)

    def bill(
        self,
        start: str | date | None = None,
        end: str | date | None = None,
        *,
        threshold: float = 0.05,
        money: "Money" = "float",
    ) -> "pd.DataFrame":
        """Return what the service metered beside what `cost` estimates; see `bill_frame`.

        Parameters
        ----------
        start, end
            Of what time; the seven days up to the last full hour when not given.
        threshold
            The share by which both may differ: 0.05 is five per cent.
        money
            As of `cost`.
        """
        from cvm_notebook.frames.workspace.usage import bill_frame  # noqa: PLC0415 - pandas on demand

        self.snapshot()
        log = self.store.log()
        return bill_frame(self.client, log, start=start, end=end, threshold=threshold, money=money)

    def metrics(self, window: str | timedelta = "15m", *, wait: float = 15.0) -> "pd.DataFrame":
        """Return what the guests of running CVMs said of CPU and memory; see `metrics_frame`.

        Whoever asks has them measured for the next 15 minutes, about twice a minute; what nobody
        measured before is not there. CVMs that keep their figures private are not asked.

        Parameters
        ----------
        window
            How far back: ``"15m"`` in full, up to ``"24h"`` in steps of five minutes.
        wait
            Seconds to wait for the first measurement of each.

        Examples
        --------
        >>> metrics = fleet.metrics()
        >>> 0 <= float(metrics.loc[fleet["my-app"].id, "memory"].iloc[-1]) <= 1
        True
        """
        from cvm_notebook.frames.metrics import metrics_frame  # noqa: PLC0415 - pandas on demand

        length_of("window", window)
        self._measured(_A_WHILE, wait)
        return metrics_frame(self.store, window)

    def exposure(self) -> "pd.DataFrame":
        """Return what of each CVM anybody can reach or read; see `exposure_frame`."""
        from cvm_notebook.frames.workspace.exposure import exposure_frame  # noqa: PLC0415 - pandas on demand

        return exposure_frame(self)

    def drift(self, expected: Any) -> "pd.DataFrame":
        """Return where the fleet is not as it is declared; see `drift_frame`.

        Parameters
        ----------
        expected
            A compose file, a mapping of names to what is declared of them, or a fleet frame.
        """
        from cvm_notebook.frames.reports.drift import drift_frame  # noqa: PLC0415 - pandas on demand

        return drift_frame(self.snapshot(), expected, client=self.client)

    def verify(
        self,
        policy: "Policy | None" = None,
        *,
        expected: Any = None,
        pccs: str | None = None,
        refresh: bool = False,
        progress: bool = True,
    ) -> "pd.DataFrame":
        """Verify every CVM; table, cards and frames show what came of it.

        What is proven of a CVM is forgotten as soon as it is stopped, restarted or changed. For
        some CVMs: ``fleet.where(...).verify()``; for one, with all nine checks and their reasons:
        ``fleet["x"].verify()``.

        Parameters
        ----------
        policy
            What is trusted and expected of each; `Policy()` when not given.
        expected
            The app of each CVM, by its name, id or app id; see `attestation_frame`.
        pccs, refresh
            Where collateral is had from; asked for again. See `cvm.verify`.
        progress
            Show a bar, where it takes longer than a second.

        Returns
        -------
        pandas.DataFrame
            As of `attestation_frame`: a row a CVM, a column a check; the verdict, its age, and
            until when it can be repeated.

        Raises
        ------
        InvalidInput
            The policy names a nonce or an endpoint: each CVM has its own.
        AuthError
            The key was refused.

        Examples
        --------
        >>> verified = fleet.verify()
        >>> verified.loc[fleet["my-app"].id, "verdict"]
        'SIMULATED'
        """
        snapshot = self.snapshot()
        return Selection(self, snapshot, snapshot.rows).verify(
            policy, expected=expected, pccs=pccs, refresh=refresh, progress=progress
        )

    # --- shown -----------------------------------------------------------------------------------

    def table(
        self,
        columns: Iterable[str] | None = None,
        *,
        height: int | None = None,
        undo: float | None = None,
        by: Literal["cvm", "app"] | None = None,
    ) -> "FleetTable":
        """Return the live table, the same one each time; displaying the fleet shows it.

        Parameters
        ----------
        columns
            Which columns, by the names of the fleet frame.
        height
            Of the rows, in pixels.
        undo
            Seconds in which a stop or a deletion that was clicked can be taken back.
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

        if columns is not None:
            listed = checks.several("columns", columns, "column names")
            columns = [checks.text("columns", name) for name in listed]
        if height is not None:
            height = checks.integer("height", height, unit="pixels")
        if undo is not None:
            undo = checks.seconds("undo", undo)
        if self._table is None or not is_open(self._table):  # none yet, or it was closed
            if self._table is not None:
                self._table.close()
            self._reflector.touch()
            self._table = FleetTable(self)
        self._table.set(columns=columns, height=height, undo=undo, by=by)
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
        plan = plan_apply(self, read_apps(declared, fields), resend_env=resend_env)
        return plan if dry_run else plan.execute(confirm=confirm, wait=wait)

    @property
    def selection(self) -> LiveSelection:
        """What is selected in the live table, whenever it is asked; may be set.

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
        return f"<Fleet: {len(self.store.snapshot())} CVMs, {self.health}>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        with contextlib.suppress(CvmError):  # what is wrong is said in what is shown
            self.snapshot()
        static = show(self.store.snapshot())
        if self.health.state == "closed":
            return static
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import with_widget  # noqa: PLC0415 - widgets on demand

        return with_widget(static, self.table)

    def _widget(self) -> "FleetTable":
        return self.table()


def dashboard(of: Client | Fleet) -> "Dashboard":
    """Show a fleet: its table, the CVM that is selected, the form for a new one, costs, ledger.

    Parameters
    ----------
    of
        A client, whose fleet is then made here, and ends with the dashboard; or a fleet there is
        already, which goes on without it.

    Raises
    ------
    CvmError
        What prevented the first list; in a notebook the table says it, and asks for a key.

    Examples
    --------
    >>> board = cvm.dashboard(client)
    >>> board.fleet["my-app"].status
    'running'
    >>> board.close()
    """
    with LOADING:
        from cvm_notebook.widgets.base.mimebundle import has_kernel  # noqa: PLC0415 - widgets on demand
        from cvm_notebook.widgets.dashboard import dashboard_of  # noqa: PLC0415 - widgets on demand

    fleet = of if isinstance(of, Fleet) else Fleet(of)
    try:
        fleet.snapshot()
    except CvmError:
        if not has_kernel():
            raise
    return dashboard_of(fleet, fleet.table(), owns_fleet=fleet is not of)
