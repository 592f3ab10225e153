"""ReportedFleet: a fleet as DataFrames, each made by a function of `frames`."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.times import moment_of
from cvm_notebook.fleet.selection import Columns, Selection
from cvm_notebook.live.engine import FleetEngine

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy
    from cvm_notebook.frames.schema import Money


class ReportedFleet(FleetEngine):
    """The part of a fleet that returns DataFrames: state, history, money, drift, verification."""

    def frame(self, columns: Columns = "narrow", *, money: "Money" = "float") -> "pd.DataFrame":
        """Return the fleet as a DataFrame; see `fleet_frame`.

        Examples
        --------
        >>> fleet.frame().loc[fleet["my-app"].id, "status"]
        'running'
        """
        with LOADING:
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
            It is not a time, it is in the future, or the history does not reach back so far.
        """
        with LOADING:
            from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand

        then = moment_of("moment", moment, now=self._clock.now())
        return fleet_frame(self.history.at(then), columns=columns)

    def events(self) -> "pd.DataFrame":
        """Return what happened to the fleet since it was opened; see `events_frame`."""
        with LOADING:
            from cvm_notebook.frames.reports.events import events_frame  # noqa: PLC0415 - pandas on demand

        return events_frame(self.history.changes())

    def operations(self) -> "pd.DataFrame":
        """Return what was asked for, and what became of it; see `operations_frame`."""
        with LOADING:
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
        with LOADING:
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
        with LOADING:
            from cvm_notebook.frames.workspace.usage import bill_frame  # noqa: PLC0415 - pandas on demand

        self.snapshot()
        log = self.store.log()
        return bill_frame(self.client, log, start=start, end=end, threshold=threshold, money=money)

    def exposure(self) -> "pd.DataFrame":
        """Return what of each CVM anybody can reach or read; see `exposure_frame`."""
        with LOADING:
            from cvm_notebook.frames.workspace.exposure import exposure_frame  # noqa: PLC0415 - pandas on demand

        return exposure_frame(self)

    def drift(self, expected: Any) -> "pd.DataFrame":
        """Return the drift of the fleet from its declaration; see `drift_frame`.

        Parameters
        ----------
        expected
            A compose file, a mapping of names to what is declared of them, or a fleet frame.
        """
        with LOADING:
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
