"""MeasuredFleet: CPU and memory of guests, idle CVMs, and rules that shut those down."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.times import length_of
from cvm_notebook.fleet.selection import LiveSelection, Selection
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.query import where
from cvm_notebook.live.rules.autostop import AutoStop, Rules
from cvm_notebook.live.rules.terms import read_terms
from cvm_notebook.live.store.figures import IDLE_BELOW
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import span_words

if TYPE_CHECKING:
    import pandas as pd


_A_WHILE = timedelta(minutes=15)


class MeasuredFleet(FleetEngine):
    """The part of a fleet that measures its guests: metrics, idle CVMs, auto-stop rules."""

    def metrics(self, window: str | timedelta = "15m", *, wait: float = 15.0) -> "pd.DataFrame":
        """Return what guests of running CVMs report of CPU, memory and disks; see `metrics_frame`.

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
        with LOADING:
            from cvm_notebook.frames.metrics import metrics_frame  # noqa: PLC0415 - pandas on demand

        length_of("window", window)
        self._measured(_A_WHILE, wait)
        return metrics_frame(self.store, window)

    def idle(
        self, below: float = IDLE_BELOW, for_: str | timedelta = "30m", *, wait: float = 15.0
    ) -> Selection:
        """Choose the running CVMs that were seen idle for so long, up to now and without a break.

        Only what was observed counts: a CVM whose CPU was not measured all that time is not in it,
        however little it does, and neither is one that keeps its figures private. So the first call
        finds none; it has all that run measured for as long again, as an open table, `measure` and
        `autostop` do for as long as they are there; the selection says how many were not measured
        long enough, or at all. CPU alone is judged: the service reports nothing of GPUs, so one
        that computes on its GPU may look idle.

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
        snapshot, figures = self.snapshot(), self.store.figures
        idle: list[Row] = []
        short = private = 0  # what is not judged
        for row in where(snapshot, status="running"):
            known = figures.latest.get(row.id)
            lasted = figures.idle_for(row.id, below, snapshot.monotonic)
            if known is not None and known.state == "private":
                private += 1
            elif lasted is not None and lasted >= length.total_seconds():
                idle.append(row)
            elif lasted is None or not figures.was_busy(row.id, below):
                short += 1
        return Selection(self, snapshot, tuple(idle), _not_judged(short, private, length))

    def _measured(self, length: timedelta, wait: float) -> None:
        """Have all that run measured for so long, and wait for a first figure of each."""
        self.snapshot()
        self.poll.measure_for(length.total_seconds())
        self.poll.ready(checks.seconds("wait", wait))

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
        which it can be cancelled; it is cancelled by itself when the CVM is busy again. When the
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
            Seconds, or a length of time, in which a request can be cancelled.

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


def _not_judged(short: int, private: int, length: timedelta) -> str:
    """Return how many running CVMs may be idle, or not: nobody knows."""
    parts = [
        f"{short} not measured for {span_words(length.total_seconds())}" if short else "",
        f"{private} with private metrics" if private else "",
    ]
    return "".join(f"; {part}" for part in parts if part)
