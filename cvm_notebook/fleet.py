"""Fleet: the CVMs of a workspace, live."""

import logging
import time
import weakref
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import WatchTimeout
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.times import moment_of
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.operations.draining import told
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.service import Operations
from cvm_notebook.live.query import search, where
from cvm_notebook.live.reflector.reflector import InterestHandle, Reflector, ReflectorSettings
from cvm_notebook.live.store.history import History
from cvm_notebook.live.store.index import Index, UnknownCvm
from cvm_notebook.live.store.records import Health, Row, Snapshot
from cvm_notebook.live.store.store import Fault, FleetStore
from cvm_notebook.selection import Columns, CvmHandle, LiveSelection, Selection
from cvm_notebook.text import show
from cvm_notebook.waiting import Waits

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.widgets.form.form import ProvisionForm
    from cvm_notebook.widgets.table.table import FleetTable

T = TypeVar("T")

_log = logging.getLogger(__name__)
_FIRST_LIST = 60.0
_DRAIN = 60.0
_CLOSES_IN = 2.0  # seconds, although an observer is slow
_AT_LEAST = 0.5  # for what reads, which ends at once when it is broken off


class Fleet(Waits):
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

    def __init__(
        self,
        client: Client,
        *,
        ledger: str | PathLike[str] | None = None,
        clock: Clock | None = None,
        settings: ReflectorSettings | None = None,
    ) -> None:
        self.client = client
        self._clock = clock or SystemClock()
        self.store = FleetStore(self._clock, on_fault=_note)
        self._history = History(self.store)
        self._reflector = Reflector(
            client, self.store, clock=self._clock, settings=settings or ReflectorSettings()
        )
        self.operator = Operations(
            client,
            self.store,
            self._reflector,
            clock=self._clock,
            on_fault=_note,
            ledger=ledger,
        )
        self._interest: InterestHandle | None = None
        self._followed: list[Row] = []
        # one that nobody holds any more, and nobody closed, asks no more
        weakref.finalize(self, _drop, weakref.ref(self._reflector), self._followed).atexit = False
        self._table: FleetTable | None = None

    # --- its own life ------------------------------------------------------------------------

    def close(self, *, wait: bool | float = False) -> None:
        """End its threads, within two seconds; what was sent goes on at the service.

        Parameters
        ----------
        wait
            Send what waits to be sent first: for a minute at most, or so many seconds. Otherwise
            it is cancelled, and a warning of the log says what was.
        """
        cancelled = self._close(wait)
        if cancelled:
            _log.warning("%s", told(cancelled))

    def drain(self, timeout: float = 60.0, *, progress: bool = True) -> None:
        """Send what waits to be sent, and wait for the service's answers.

        What has a delay, in which it could be taken back, is sent at once.

        Parameters
        ----------
        timeout
            Seconds.
        progress
            Show a bar when it takes longer than a second.

        Raises
        ------
        WatchTimeout
            Some have no answer yet; they go on.
        """
        left = self.operator.drain(timeout, progress=progress)
        if left:
            named = ", ".join(f"{one.verb} {one.name}" for one in left[:5])
            raise WatchTimeout(
                f"{len(left)} operations have no answer after {timeout:g} s: {named}",
                hint="They go on: drain again, or look at fleet.operations().",
                target="accepted",
            )

    def _close(self, wait: bool | float) -> tuple[Operation, ...]:
        try:
            if wait is not False:
                self.operator.drain(_DRAIN if wait is True else wait, progress=True)
        finally:
            ends = time.monotonic() + _CLOSES_IN
            cancelled = self.operator.close(_CLOSES_IN)
            self._reflector.close(max(_AT_LEAST, ends - time.monotonic()))
            self.store.close(max(0.0, ends - time.monotonic()))
        return cancelled

    def __enter__(self) -> Self:
        self._interest = self.interest()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Send what waits to be sent; after an error, cancel it and say so in the error."""
        if error is None or isinstance(error, SystemExit):  # sys.exit() is a clean end
            self.close(wait=True)
            return
        cancelled = self._close(wait=False)
        if cancelled:
            error.add_note(told(cancelled))

    @property
    def health(self) -> Health:
        """How true it is: live, catching up, offline, or in need of a key; why; what to do."""
        return self.store.health

    def resume(self, client: Client | None = None) -> None:
        """Go on after the key was refused: with another client, or with the same one."""
        self.client = client or self.client
        self.operator.use(self.client)
        self._reflector.resume(client)

    def refresh(self) -> None:
        """Ask for a new list soon."""
        self._reflector.refresh()

    # --- who is in it --------------------------------------------------------------------------

    def snapshot(self, *, wait: float = _FIRST_LIST) -> Snapshot:
        """Return the fleet as it is known now, after the first list.

        Parameters
        ----------
        wait
            Seconds to wait for the first list.

        Raises
        ------
        CvmError
            What prevented the first list.
        """
        self._reflector.touch()
        self._reflector.ready(wait)
        return self.store.snapshot()

    def interest(self) -> InterestHandle:
        """Keep the fleet live until the handle is closed."""
        return self._reflector.interest()

    def known(self, cvm_id: str) -> Row | None:
        """Return what is known of a CVM without waiting for anything."""
        return self.store.get(checks.text("cvm_id", cvm_id))

    def now(self) -> float:
        """Return the time by which the age of rows counts, in monotonic seconds."""
        return self._clock.monotonic()

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

    # --- waiting ---------------------------------------------------------------------------------

    def follow(self, identifier: str) -> None:
        """Keep one CVM's row especially fresh, by a stream where one can be had.

        The fleet is live until `unfollow` has taken it back.
        """
        row = self.snapshot().find(identifier)
        self._reflector.follow(row.id)
        self._followed.append(row)

    def unfollow(self, identifier: str) -> None:
        """Take one `follow` back, also of a CVM that is gone; asks the service for nothing.

        Raises
        ------
        UnknownCvm
            There is no such CVM, and none that is followed was called that.
        """
        now = Index(self.store.snapshot().rows).matches(identifier)
        called = {row.id for row in (*now, *Index(self._followed).matches(identifier))}
        for row in self._followed:
            if row.id in called:
                self._followed.remove(row)
                self._reflector.unfollow(row.id)
                return
        if not now:
            self.store.snapshot().find(identifier)

    def check(self) -> None:
        """Return while news can be expected.

        Raises
        ------
        CvmError
            The key was refused, the fleet is closed, or its thread has ended with an error.
        """
        self._reflector.check()

    def keep_fresh(self, ids: list[str], *, on: bool) -> None:
        """Follow CVMs, or take it back."""
        for cvm_id in ids:
            (self._reflector.follow if on else self._reflector.unfollow)(cvm_id)

    # --- frames ----------------------------------------------------------------------------------

    def frame(self, columns: Columns = "narrow") -> "pd.DataFrame":
        """Return the fleet as a DataFrame; see `fleet_frame`.

        Examples
        --------
        >>> fleet.frame().loc[fleet["my-app"].id, "status"]
        'running'
        """
        from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand

        return fleet_frame(self.snapshot(), columns=columns)

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
        return fleet_frame(self._history.at(then), columns=columns)

    def events(self) -> "pd.DataFrame":
        """Return what happened to the fleet since it is watched; see `events_frame`."""
        from cvm_notebook.frames.reports.events import events_frame  # noqa: PLC0415 - pandas on demand

        return events_frame(self._history.changes())

    def operations(self) -> "pd.DataFrame":
        """Return what was asked for, and what became of it; see `operations_frame`."""
        from cvm_notebook.frames.reports.operations import (  # noqa: PLC0415 - pandas on demand
            operations_frame,
        )

        return operations_frame(self.operator.records())

    def recover(self) -> tuple[Operation, ...]:
        """Find what the service is still doing, as after a restart of the kernel.

        Returns
        -------
        tuple of Operation
            Those that were not known here; they are in the ledger, and followed to their end.
        """
        return self.operator.recover(self.snapshot().rows)

    def cost(self, window: str | timedelta = "24h") -> "pd.DataFrame":
        """Return what each CVM has cost, to the last digit, and how much of it was observed.

        Parameters
        ----------
        window
            How far back: ``"24h"``, ``"7d"``; see `cost_frame`.
        """
        from cvm_notebook.frames.reports.cost import cost_frame  # noqa: PLC0415 - pandas on demand

        self.snapshot()
        return cost_frame(self.store.log(), window)

    def drift(self, expected: Any) -> "pd.DataFrame":
        """Return where the fleet is not as it is declared; see `drift_frame`.

        Parameters
        ----------
        expected
            A compose file, a mapping of names to what is declared of them, or a fleet frame.
        """
        from cvm_notebook.frames.reports.drift import drift_frame  # noqa: PLC0415 - pandas on demand

        return drift_frame(self.snapshot(), expected, client=self.client)

    # --- shown -----------------------------------------------------------------------------------

    def table(
        self,
        columns: Iterable[str] | None = None,
        *,
        height: int | None = None,
        undo: float | None = None,
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

        Raises
        ------
        InvalidInput
            There is no such column; the message has the closest names.
        """
        from cvm_notebook.widgets.table.table import FleetTable  # noqa: PLC0415 - widgets on demand

        if columns is not None:
            listed = checks.several("columns", columns, "column names")
            columns = [checks.text("columns", name) for name in listed]
        if height is not None:
            height = checks.integer("height", height, unit="pixels")
        if undo is not None:
            undo = checks.seconds("undo", undo)
        if self._table is None or self._table.comm is None:  # none yet, or it was closed
            self._reflector.touch()
            self._table = FleetTable(self)
        self._table.set(columns=columns, height=height, undo=undo)
        return self._table

    def deploy(self, **fields: Any) -> "ProvisionForm":
        """Return a form for a new CVM of this fleet; see `ProvisionForm` for its fields."""
        from cvm_notebook.widgets.form.form import ProvisionForm  # noqa: PLC0415 - widgets on demand

        return ProvisionForm(self.client, fleet=self, **fields)

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
        return LiveSelection(self)

    @selection.setter
    def selection(self, chosen: Selection | LiveSelection | Iterable[Ref]) -> None:
        snapshot = self.snapshot()
        refs = (row.id for row in chosen.rows) if isinstance(chosen, Selection) else chosen
        found = [snapshot.find(ref).id for ref in checks.several("selection", refs)]
        self.table().selected = tuple(found)

    def __repr__(self) -> str:
        return f"<Fleet: {len(self.store.snapshot())} CVMs, {self.health}>"

    def _repr_mimebundle_(self, **_: object) -> Any:
        from cvm_notebook.widgets.base.view import with_widget  # noqa: PLC0415 - widgets on demand

        return with_widget(show(self.snapshot()), self.table)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "A Fleet is not pickled: it has threads and connections. Pickle fleet.frame(), and "
            "make a Fleet in each process."
        )


def _drop(ref: weakref.ref[Reflector], followed: list[Row]) -> None:
    """Have a reflector rest whose fleet was dropped; it takes no lock, see `Reflector.drop`."""
    reflector = ref()
    if reflector is not None:
        reflector.drop([row.id for row in followed])


def _note(fault: Fault) -> None:
    """Say, once each, what went wrong in an observer or a worker."""
    _log.warning("%s: %s", fault.where, fault.what)
