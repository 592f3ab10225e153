"""Metrics of guests over time, CPU, memory and disks, as a frame and a plot."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.times import length_of
from cvm_notebook.frames.plots import COLOURS, drawable, finish_time, label_of, new_axes
from cvm_notebook.frames.schema import INSTANT, REAL, TEXT, Field, Table, require
from cvm_notebook.live.store.figures import Point, moment
from cvm_notebook.live.store.store import FleetStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP: Final = pd.Timedelta(minutes=16)  # longer ones were not observed: no line is drawn over them


@dataclass(frozen=True, slots=True)
class Measurement:
    """One sample of a guest's metrics, or an aggregate of five minutes."""

    cvm_id: str
    name: str | None
    point: Point

    @property
    def at(self) -> datetime:
        """The end of the sample, in UTC."""
        return moment(self.point.at)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


METRICS: Final[Table[Measurement]] = Table(
    "metrics/1",
    (
        Field("cvm_id", TEXT, lambda m: m.cvm_id, "the CVM"),
        Field("at", INSTANT, lambda m: m.at, "when it was measured"),
    ),
    (
        Field("name", TEXT, lambda m: m.name, "its name now"),
        Field(
            "cpu",
            REAL,
            lambda m: _finite(m.point.cpu),
            "the load of one minute as a share of its vCPUs; above 1 more was wanted",
        ),
        Field(
            "cpu_highest",
            REAL,
            lambda m: _finite(m.point.highest),
            "the highest share seen since the row before",
        ),
        Field("memory", REAL, lambda m: _finite(m.point.memory), "the share of its memory in use"),
        Field("disk", REAL, lambda m: _finite(m.point.disk), "the share of its disks in use"),
        Field(
            "observed_s",
            REAL,
            lambda m: m.point.covers,
            "seconds before that it tells of; 0 where nothing was observed right before",
        ),
    ),
)


@METRICS.documents
def metrics_frame(store: FleetStore, window: str | timedelta = "15m") -> pd.DataFrame:
    """List the CPU, memory and disk use that guests reported, a row a measurement, CVM by CVM.

    The last 15 minutes are kept as they were measured, about twice a minute; what is older as one
    row for five minutes, with their means, for 24 hours. What nobody measured is not there.

    Parameters
    ----------
    store
        Of a live fleet: ``fleet.store``.
    window
        How far back: ``"15m"``, ``"24h"``, or a timedelta.

    Raises
    ------
    InvalidInput
        It is no store, or no length of time.
    """
    checks.instance("store", store, FleetStore, "Give fleet.store.")
    return METRICS.frame(_measured(store, length_of("window", window)[0]))


def _measured(store: FleetStore, window: timedelta) -> Iterator[Measurement]:
    snapshot = store.snapshot()
    first = snapshot.taken_at.timestamp() - window.total_seconds()
    for row in snapshot.rows:
        for point in store.figures.points(row.id):
            if point.at >= first:
                yield Measurement(row.id, row.name, point)


def plot_metrics(
    metrics: pd.DataFrame, ax: "Axes | None" = None, *, of: str = "cpu", limit: int = 7
) -> "Axes":
    """Draw how busy CVMs were over time, a line each; a line is broken where nobody measured.

    Parameters
    ----------
    metrics
        A frame of `Fleet.metrics`.
    ax
        Where to draw; a figure of its own when None.
    of
        ``"cpu"``, ``"cpu_highest"`` or ``"memory"``.
    limit
        The most CVMs drawn, at most seven: those with the highest mean. The title says of how many.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; its figure is ``.figure``.

    Raises
    ------
    InvalidInput
        It is another frame, or has nothing of that name.
    """
    require(metrics, ["name", "cpu", "memory"], "plot_metrics")
    of = checks.one_of("of", of, _TITLES)
    shares = metrics[of].astype("float64")
    means = shares.groupby(level="cvm_id").mean().sort_values(ascending=False, kind="stable")
    chosen = list(means.index[: min(checks.integer("limit", limit), len(COLOURS))])
    ax = new_axes(6) if ax is None else drawable(ax)
    names = metrics["name"].groupby(level="cvm_id").last()
    for cvm_id, colour in zip(chosen, COLOURS, strict=False):
        times, values = _line(shares.xs(cvm_id, level="cvm_id"))
        name = names[cvm_id]
        label = label_of(name if pd.notna(name) else cvm_id)
        # one measurement alone is no line
        marker = "." if len(times) == 1 else None
        ax.plot(times, values, color=colour, label=f" {label}", linewidth=1.4, marker=marker)
    part = "" if len(chosen) == len(means) else f", {len(chosen)} of {len(means)} CVMs shown"
    ax.set_title(f"{_TITLES[of]}{part}", loc="left")
    ax.set_ylabel("%")
    ax.set_ylim(bottom=0)
    if chosen:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    finish_time(ax, empty=metrics.empty)
    return ax


_TITLES: Final = {
    "cpu": "CPU load of one minute, of all vCPUs",
    "cpu_highest": "Highest CPU load, of all vCPUs",
    "memory": "Memory in use",
}


def _line(shares: "pd.Series[float]") -> tuple[Any, Any]:
    """Return times as matplotlib counts them and percents, with a hole where there is a gap."""
    at = shares.index.to_series()
    holes = at[at.diff() > _GAP] - pd.Timedelta(microseconds=1)
    whole = pd.concat([shares, pd.Series(np.nan, index=pd.Index(holes))]).sort_index()
    untyped: Any = whole.index
    days = (untyped - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return np.asarray(days, dtype="float64"), 100 * whole.to_numpy(dtype="float64")
