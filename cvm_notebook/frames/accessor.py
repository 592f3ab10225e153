"""The accessor ``df.cvm``: money and filters of a fleet frame, execution of a plan's frame."""

import os
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import instant, money
from cvm_notebook.api.money import total
from cvm_notebook.api.status import STATUSES
from cvm_notebook.api.times import moment_of
from cvm_notebook.frames.convert import as_text, conform, require_unique
from cvm_notebook.frames.io import write_fleet
from cvm_notebook.frames.reports.cost import frame_of
from cvm_notebook.frames.reports.diff import diff
from cvm_notebook.frames.schema import Money, require
from cvm_notebook.live.costs.intervals import HourlyPrice
from cvm_notebook.live.costs.spent import ChargedCvm

if TYPE_CHECKING:
    from cvm_notebook.live.engine import FleetEngine
    from cvm_notebook.live.operations.preconditions import Verb


class CvmAccessor:
    """The accessor of a fleet frame; each answer is computed from the frame alone.

    Nothing here asks the service, and nothing but `execute` sends. Selecting rows first is the way
    to choose: ``df[df.region == "us-west-1"].cvm.running()``.

    Examples
    --------
    >>> frame = fleet.frame("wide")
    >>> frame.cvm.running().cvm.rate > 0
    True
    >>> plan = frame[frame["name"].str.startswith("web-")].cvm.plan("delete")
    >>> plan.cvm.phrase
    'delete 6'
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    # --- of a fleet --------------------------------------------------------------------------

    def running(self) -> pd.DataFrame:
        """Return the CVMs that run."""
        return self.with_status("running")

    def with_status(self, *statuses: str) -> pd.DataFrame:
        """Return the CVMs in one of these statuses."""
        require(self._frame, ["status"], "this")
        for status in statuses:
            checks.one_of("status", status, STATUSES)
        return self._frame[self._frame["status"].isin(statuses)]

    @property
    def rate(self) -> Decimal:
        """The total price of an hour of running, in US dollars; CVMs without a price are left out.

        The sum of ``rate_usd_h``, exact; Decimal(0) for none.
        """
        return self._total("rate_usd_h")

    @property
    def charged(self) -> Decimal:
        """The current total charge an hour: of the stopped ones, only the disk."""
        frame = self._exact("status", "rate_usd_h", "rate_disk_usd_h")
        charged = (
            price.charged(str(status))
            for status, price in zip(frame["status"], _prices(frame), strict=True)
        )
        return total(charged)

    def cost(
        self,
        window: str | timedelta = "24h",
        *,
        hours: float | None = None,
        now: str | date | None = None,
        money: Money = "float",
    ) -> pd.DataFrame:
        """Estimate the cost of each, as if its status had always been the same; see `cost_frame`.

        A frame knows no past, so the basis is ``assumed``; `Fleet.cost` counts what was observed.

        Parameters
        ----------
        window
            How far back: ``"24h"``, ``"7d"``, or a timedelta.
        hours
            The same in hours.
        now
            The end of the window; the newest ``observed_at`` if None, or else the present.
        money
            ``"float"``: amounts are ``float64``; ``"decimal"``: exact decimals.
        """
        frame = self._exact("status", "rate_usd_h", "rate_disk_usd_h")
        at = self._as_of(frame) if now is None else moment_of("now", now)
        cvms = [
            ChargedCvm(str(cvm_id), name, str(status), price, instant(created))
            for cvm_id, name, status, price, created in zip(
                frame.index,
                _column(frame, "name"),
                frame["status"].astype(object).fillna("unknown"),
                _prices(frame),
                _column(frame, "created_at"),
                strict=True,
            )
        ]
        if hours is not None:
            window = timedelta(hours=checks.seconds("hours", hours))
        return frame_of(cvms, [], window, at, money)

    def diff(self, other: pd.DataFrame) -> pd.DataFrame:
        """Return what is different in another frame, as what comes after this one; see `diff`."""
        return diff(self._frame, other)

    def plan(self, verb: "Verb") -> pd.DataFrame:
        """Return what a verb would do to each of them; nothing is sent. See `plan_frame`.

        By how much the price changes is known for a frame with ``columns="wide"``.
        """
        with LOADING:
            from cvm_notebook.frames.reports.plan import plan_of  # noqa: PLC0415 - loads the client

        return plan_of(self._frame, verb)

    def check(self) -> pd.DataFrame:
        """Return the frame with the exact dtypes of the fleet table.

        Raises
        ------
        InvalidInput
            It is no fleet frame: the message names the column, and the value that does not fit.
        """
        return conform(self._frame)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a Parquet file; `read_fleet` reads it."""
        return self._write(path, ".parquet")

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a CSV file that holds no formula, as `write_fleet`; `read_fleet` reads it."""
        return self._write(path, ".csv")

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a JSON file; `read_fleet` reads it."""
        return self._write(path, ".json")

    # --- of a plan ---------------------------------------------------------------------------

    @property
    def phrase(self) -> str | None:
        """The phrase for ``confirm`` of `execute`; None where nothing needs it."""
        with LOADING:
            from cvm_notebook.frames.reports.plan import phrase_of  # noqa: PLC0415 - loads the client

        return phrase_of(self._frame)

    @property
    def rate_change(self) -> Decimal:
        """By how much this plan changes the price an hour, as far as prices are known."""
        return self._total("rate_change_usd_h")

    def execute(
        self,
        fleet: "FleetEngine",
        *,
        confirm: str | None = None,
        concurrency: int = 8,
        rate: float | None = None,
        progress: bool = True,
        until: Literal["accepted", "reached"] = "accepted",
    ) -> pd.DataFrame:
        """Send this plan; return what became of each row. See `Plan.execute`.

        It goes by the ids and never by position. A CVM that is no longer as the plan shows it is
        refused, with the reason; so a plan that was interrupted is executed again to go on.

        Parameters
        ----------
        fleet
            The Fleet that sends.
        confirm
            The plan's `phrase`.
        concurrency, rate, progress, until
            As of `Plan.execute`.

        Raises
        ------
        NotConfirmed
            Something needs the phrase, and it was not given as it is; nothing was sent.
        """
        with LOADING:
            from cvm_notebook.frames.reports.plan import execute  # noqa: PLC0415 - loads the client

        return execute(
            self._frame,
            fleet,
            confirm=confirm,
            concurrency=concurrency,
            rate=rate,
            progress=progress,
            until=until,
        )

    # --- inside ------------------------------------------------------------------------------

    def _exact(self, *columns: str) -> pd.DataFrame:
        require(self._frame, columns, "this")
        require_unique(self._frame)
        return conform(self._frame)

    def _total(self, column: str) -> Decimal:
        require(self._frame, [column], "this")
        require_unique(self._frame)
        return total(money(text) for text in as_text(self._frame[column]))

    def _as_of(self, frame: pd.DataFrame) -> datetime:
        seen = frame["observed_at"].max() if "observed_at" in frame and len(frame) else pd.NaT
        moment = pd.Timestamp.now("UTC") if pd.isna(seen) else seen
        at: datetime = moment.to_pydatetime()
        return at

    def _write(self, path: str | os.PathLike[str], ending: str) -> Path:
        if not isinstance(path, str | os.PathLike) or Path(path).suffix.lower() != ending:
            raise InvalidInput("path", f"does not end with {ending}", "Name it so.")
        return write_fleet(self._frame, path)


def _column(frame: pd.DataFrame, name: str) -> Sequence[str | None]:
    return as_text(frame[name]) if name in frame else [None] * len(frame)


def _prices(frame: pd.DataFrame) -> list[HourlyPrice]:
    totals, disks = (_column(frame, name) for name in ("rate_usd_h", "rate_disk_usd_h"))
    return [
        HourlyPrice(money(total), money(disk)) for total, disk in zip(totals, disks, strict=True)
    ]
