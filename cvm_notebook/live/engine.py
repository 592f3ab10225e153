"""FleetEngine: store, reflector and operations of one workspace, and their common life.

Everything that shows or waits for a fleet holds this; `Fleet` adds selections, frames and widgets.
"""

import logging
import time
import weakref
from collections.abc import Iterable
from os import PathLike
from typing import Any, Self

from cvm_notebook.api import checks
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import WatchTimeout
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.metrics.poll import MeasureHandle, MetricsPoll
from cvm_notebook.live.operations.draining import cancelled_text
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.reflector.reflector import InterestHandle, Reflector, ReflectorSettings
from cvm_notebook.live.rules.book import RuleBook
from cvm_notebook.live.store.history import History
from cvm_notebook.live.store.index import Index
from cvm_notebook.live.store.records import Health, Row, Snapshot
from cvm_notebook.live.store.store import Fault, FleetStore
from cvm_notebook.text import counted

_log = logging.getLogger(__name__)
_FIRST_LIST = 60.0
_CLIENT = "Give a Client, as of cvm.connect()."
_DRAIN = 60.0
_CLOSES_IN = 2.0  # seconds, although an observer is slow
_AT_LEAST = 0.5  # for what reads, which ends at once when it is broken off


class FleetEngine:
    """Store, reflector and operations of one workspace; live while there is interest in it.

    Safe to use from any thread. See `Fleet` for the parameters.

    Raises
    ------
    LedgerError
        The file of the ledger cannot be opened, or is not a ledger.
    """

    def __init__(
        self,
        client: Client,
        *,
        ledger: str | PathLike[str] | None = None,
        clock: Clock | None = None,
        settings: ReflectorSettings | None = None,
    ) -> None:
        self.client = checks.instance("client", client, Client, _CLIENT)
        self._clock = clock or SystemClock()
        self.store = FleetStore(self._clock, on_fault=_note)
        self.history = History(self.store)
        self._reflector = Reflector(
            client, self.store, clock=self._clock, settings=settings or ReflectorSettings()
        )
        self.operator = OperationService(
            client,
            self.store,
            self._reflector,
            clock=self._clock,
            on_fault=_note,
            ledger=ledger,
        )
        self.poll = MetricsPoll(
            client, self.store, self._reflector.interest, clock=self._clock, on_crash=_crashed
        )
        self.rulebook = RuleBook(
            self.store, self.operator, self.poll, self._reflector.interest, on_crash=_crashed
        )
        self._interest: InterestHandle | None = None
        self._followed: list[Row] = []
        # an engine that is garbage collected without close() makes no more requests
        weakref.finalize(self, _drop, weakref.ref(self._reflector), self._followed).atexit = False

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
            _log.warning("%s", cancelled_text(cancelled))

    def drain(self, timeout: float = 60.0, *, progress: bool = True) -> None:
        """Send what waits to be sent, and wait for the service's answers.

        What has a delay, in which it could be cancelled, is sent at once.

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
        timeout = checks.wait_seconds("timeout", timeout)
        left = self.operator.drain(timeout, progress=checks.boolean("progress", progress))
        if left:
            named = ", ".join(f"{one.verb} {one.name}" for one in left[:5])
            raise WatchTimeout(
                f"{counted(len(left), 'operation')} {'has' if len(left) == 1 else 'have'} "
                f"no answer after {timeout:g} s: {named}",
                hint="They go on: drain again, or look at fleet.operations().",
                target="accepted",
            )

    def _close(self, wait: bool | float) -> tuple[Operation, ...]:
        self.rulebook.close(_AT_LEAST)  # first: what rules asked for is cancelled, not sent
        try:
            if wait is not False:
                self.operator.drain(_DRAIN if wait is True else wait, progress=True)
        finally:
            ends = time.monotonic() + _CLOSES_IN
            cancelled = self.operator.close(_CLOSES_IN)
            self.poll.close(_AT_LEAST)
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
            error.add_note(cancelled_text(cancelled))

    @property
    def health(self) -> Health:
        """The health of the fleet: live, catching up, offline or without a key; why; what to do."""
        return self.store.health

    def resume(self, client: Client | None = None) -> None:
        """Go on after the key was refused: with another client, or with the same one."""
        if client is not None:
            self.client = checks.instance("client", client, Client, _CLIENT)
        self.operator.use(self.client)
        self.poll.use(self.client)
        self._reflector.resume(client)

    def refresh(self) -> None:
        """Ask for a new list soon."""
        self._reflector.refresh()

    # --- who is in it --------------------------------------------------------------------------

    def snapshot(self, *, wait: float = _FIRST_LIST) -> Snapshot:
        """Return the fleet as it is known now, after the first list; once closed, as it was last.

        Parameters
        ----------
        wait
            Seconds to wait for the first list.

        Raises
        ------
        CvmError
            What prevented the first list.
        """
        wait = checks.wait_seconds("wait", wait)
        known = self.store.snapshot()
        if known.complete and known.health.state == "closed":
            return known
        self._reflector.touch()
        self._reflector.ready(wait)
        return self.store.snapshot()

    def interest(self) -> InterestHandle:
        """Keep the fleet live until the handle is closed."""
        return self._reflector.interest()

    def measure(self, cvms: Iterable[str] | None = None) -> MeasureHandle:
        """Measure how busy CVMs are, twice a minute, until the handle is closed.

        Parameters
        ----------
        cvms
            The ids of those whose figures are wanted, as of the rows that can be seen; all that run
            when not given.

        Returns
        -------
        MeasureHandle
            To be held: one that nobody holds any more counts as closed. Its ``see`` names others.
        """
        if cvms is not None:
            cvms = [checks.text("cvms", one) for one in checks.several("cvms", cvms, "ids")]
        return self.poll.measure(cvms)

    def known(self, cvm_id: str) -> Row | None:
        """Return what is known of a CVM without waiting for anything."""
        return self.store.get(checks.text("cvm_id", cvm_id))

    def now(self) -> float:
        """Return the time by which the age of rows counts, in monotonic seconds."""
        return self._clock.monotonic()

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
        """Return while changes can be expected.

        Raises
        ------
        CvmError
            The key was refused, the fleet is closed, or its thread has ended with an error.
        """
        self._reflector.check()

    def keep_fresh(self, ids: list[str], *, on: bool) -> None:
        """Follow CVMs, or end that."""
        on = checks.boolean("on", on)
        for cvm_id in checks.several("ids", ids, "ids"):
            (self._reflector.follow if on else self._reflector.unfollow)(cvm_id)

    def recover(self) -> tuple[Operation, ...]:
        """Find what the service is still doing, as after a restart of the kernel.

        Returns
        -------
        tuple of Operation
            Those that were not known here; they are in the ledger, and followed to their end.
        """
        return self.operator.recover(self.snapshot().rows)

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


def _crashed(error: BaseException) -> None:
    _note(Fault("metrics", f"a worker failed: {error!r}", error))


def _note(fault: Fault) -> None:
    """Say, once each, what went wrong in an observer or a worker."""
    _log.warning("%s: %s", fault.where, fault.what)
