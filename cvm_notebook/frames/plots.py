"""Pictures of a fleet, for notebooks and reports: each a function of a frame.

They are matplotlib's, and return its Axes: a picture is stored in the notebook as an image, which
GitHub, nbviewer and a mail show without running anything; the libraries that draw in the browser
show nothing there. matplotlib is loaded when a picture is drawn.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.status import STATUSES
from cvm_notebook.text import clean_text, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Paint(NamedTuple):
    colour: str
    hatch: str = ""


# Okabe and Ito's palette, which colour-blind readers can tell apart; where two statuses share a
# colour the hatch differs, and the legend has the word
_PAINT: Final = {
    "provisioning": _Paint("#0072B2"),
    "starting": _Paint("#56B4E9"),
    "running": _Paint("#009E73"),
    "restarting": _Paint("#56B4E9", "////"),
    "stopping": _Paint("#E69F00"),
    "stopped": _Paint("#BBBBBB"),
    "shutting_down": _Paint("#E69F00", "////"),
    "failed": _Paint("#D55E00"),
    "deleting": _Paint("#CC79A7"),
    "gone": _Paint("#EEEEEE", "xxxx"),
    "unknown": _Paint("#FFFFFF", "...."),
}
_LABEL_CHARS: Final = 24
_LABEL_SHARE: Final = 0.03  # of the longest bar; a number in a narrower piece would not fit
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_OTHERS: Final = "#999999"
_NOT_SEEN: Final = 0.4  # opacity of what was not observed


def plot_fleet(fleet: pd.DataFrame, ax: "Axes | None" = None, *, by: str = "region") -> "Axes":
    """Draw how many CVMs each region has, by status, as stacked bars.

    Parameters
    ----------
    fleet
        A frame of `fleet_frame` with the columns ``status`` and ``region``.
    ax
        Where to draw; a figure of its own when None.
    by
        A bar for each region, or for each ``status``, ``instance_type``, ``node`` or another
        column of text.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; its figure is ``.figure``.
    """
    counts = _count(fleet, checks.text("by", by))
    ax = new_axes(len(counts)) if ax is None else drawable(ax)
    left = pd.Series(0, index=counts.index)
    longest = int(counts.sum(axis="columns").max()) if len(counts) else 0
    for status in counts.columns:
        _draw_status(ax, status, counts[status], left, longest)
        left += counts[status]
    label = by.replace("_", " ")
    title = f"{_cvms(len(fleet))} by {label}" + ("" if by == "status" else " and status")
    _finish(ax, title, list(counts.columns))
    return ax


def _count(fleet: pd.DataFrame, by: str) -> pd.DataFrame:
    """Count CVMs: regions as rows, the smallest first; the statuses that occur as columns."""
    _require(fleet, ("status", by), "fleet_frame(cvms)")
    group = fleet[by].astype("string").map(label_of).fillna(f"no {by.replace('_', ' ')} yet")
    status = fleet["status"].astype("object").fillna("unknown")
    counts = pd.crosstab(group.astype("object").rename("bar"), status.rename("piece"))
    counts = counts.reindex(columns=[s for s in STATUSES if s in counts.columns])
    order = counts.sum(axis="columns").sort_values(kind="stable").index
    return counts.loc[order]


def label_of(value: Any) -> Any:
    """Return the service's text fit for a picture, in which a dollar sign begins no formula."""
    return value if pd.isna(value) else clean_text(value, _LABEL_CHARS).replace("$", r"\$")


def _cvms(number: int) -> str:
    return counted(number, "CVM")


def _require(frame: pd.DataFrame, names: tuple[str, ...], maker: str) -> None:
    kind = "fleet" if "fleet" in maker else "timeline"
    checks.instance(kind, frame, pd.DataFrame, f"Give a frame of {maker}.")
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InvalidInput(
            kind,
            f"has no column {' and no column '.join(missing)}",
            f"Give a frame of {maker} that has both.",
        )


def drawable(ax: "Axes") -> "Axes":
    """Return axes that can be drawn on."""
    if not callable(getattr(ax, "barh", None)):
        raise InvalidInput("ax", f"it is {type(ax).__name__}, not Axes", "Leave it out.")
    return ax


def new_axes(bars: int) -> "Axes":
    """Return the axes of a new figure, high enough for so many bars."""
    try:
        with LOADING:
            from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ImportError(
            "pictures are drawn with matplotlib, which is not installed: pip install matplotlib"
        ) from error
    _, ax = plt.subplots(figsize=(8, 1.4 + 0.42 * max(bars, 2)), layout="constrained")
    return ax


def _draw_status(ax: "Axes", status: str, counts: pd.Series, left: pd.Series, longest: int) -> None:
    paint = _PAINT[status]
    bars = ax.barh(
        list(counts.index),
        counts.to_list(),
        left=left.to_list(),
        label=f"{status.replace('_', ' ')} ({counts.sum()})",
        color=paint.colour,
        hatch=paint.hatch,
        edgecolor="#333333",
        linewidth=0.6,
    )
    numbers = [str(n) if n > _LABEL_SHARE * longest else "" for n in counts]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
    # black on a white box, whatever the style: in a dark one the text would be white
    for label in ax.bar_label(bars, numbers, label_type="center", fontsize=8, color="black"):
        if label.get_text():
            label.set_bbox(box)


def _finish(ax: "Axes", title: str, statuses: list[str]) -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel("CVMs")
    ax.locator_params(axis="x", integer=True)
    _tidy(ax)
    if statuses:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, title="status")
    else:
        _show_empty(ax, "no CVMs")


def _tidy(ax: "Axes") -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _show_empty(ax: "Axes", message: str) -> None:
    ax.text(0.5, 0.5, message, ha="center", va="center", transform=ax.transAxes)
    ax.set_yticks([])


# --- over time ----------------------------------------------------------------------------------


def plot_timeline(timeline: pd.DataFrame, ax: "Axes | None" = None, *, limit: int = 40) -> "Axes":
    """Draw which status each CVM had when: a row for each CVM, a bar for each interval.

    Bars are pale where nobody was looking, and the status is the last one seen before.

    Parameters
    ----------
    timeline
        A frame of `timeline_frame`.
    ax
        Where to draw; a figure of its own when None.
    limit
        The most CVMs drawn: those with the most intervals. The title says of how many.
    """
    intervals = _intervals(timeline)
    changes = intervals.groupby("cvm_id", sort=False).size()
    chosen = changes.sort_values(ascending=False, kind="stable").index[
        : checks.integer("limit", limit)
    ]
    shown = [cvm_id for cvm_id in changes.index if cvm_id in set(chosen)]
    ax = new_axes(len(shown)) if ax is None else drawable(ax)
    of = intervals[intervals["cvm_id"].isin(shown)]
    place = {cvm_id: row for row, cvm_id in enumerate(reversed(shown))}
    for (status, observed), some in of.groupby(["status", "observed"], observed=True, sort=False):
        _draw_intervals(ax, str(status), bool(observed), some, place)
    names = of.groupby("cvm_id")["name"].last()
    labels = [label_of(names[cvm_id]) if pd.notna(names[cvm_id]) else cvm_id for cvm_id in place]
    ax.set_yticks(list(place.values()), labels)
    ax.set_ylim(-0.7, max(len(shown), 1) - 0.3)
    part = "" if len(shown) == len(changes) else f", {len(shown)} of them shown"
    ax.set_title(f"{_cvms(len(changes))} over time{part}", loc="left")
    _legend_of_statuses(ax, of)
    finish_time(ax, empty=of.empty)
    return ax


def _intervals(timeline: pd.DataFrame) -> pd.DataFrame:
    """Return the intervals as plain columns, with the times as numbers that matplotlib draws by."""
    needed = ("ended_at", "status", "name", "app_id", "charged_usd_h", "amount_usd", "observed")
    _require(timeline, needed, "timeline_frame(log)")
    intervals = timeline.reset_index()
    days = pd.Timedelta(days=1)
    epoch = pd.Timestamp(0, tz="UTC")
    intervals["start"] = (intervals["began_at"] - epoch) / days
    intervals["end"] = (intervals["ended_at"] - epoch) / days
    for name in ("charged_usd_h", "amount_usd"):
        intervals[name] = intervals[name].astype("float64").fillna(0.0)
    return intervals


def _draw_intervals(
    ax: "Axes", status: str, observed: bool, intervals: pd.DataFrame, place: dict[str, int]
) -> None:
    paint = _PAINT[status]
    ax.barh(
        [place[cvm_id] for cvm_id in intervals["cvm_id"]],
        (intervals["end"] - intervals["start"]).to_list(),
        left=intervals["start"].to_list(),
        height=0.7,
        color=paint.colour,
        hatch=paint.hatch,
        edgecolor="#333333",
        linewidth=0.6,
        alpha=1.0 if observed else _NOT_SEEN,
    )


def _legend_of_statuses(ax: "Axes", intervals: pd.DataFrame) -> None:
    with LOADING:
        from matplotlib.patches import Patch  # noqa: PLC0415 - an extra, and slow to load

    found = set(intervals["status"].astype(str))
    handles = [
        Patch(
            facecolor=_PAINT[status].colour,
            hatch=_PAINT[status].hatch,
            edgecolor="#333333",
            label=status.replace("_", " "),
        )
        for status in STATUSES
        if status in found
    ]
    if not intervals["observed"].all():
        handles.append(
            Patch(facecolor=_OTHERS, alpha=_NOT_SEEN, edgecolor="#333333", label="(not observed)")
        )
    if handles:
        ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
            title="status",
        )


def plot_cost(timeline: pd.DataFrame, ax: "Axes | None" = None, *, apps: int = 6) -> "Axes":
    """Draw what the fleet was charged an hour, over time, with an area for each app.

    Parameters
    ----------
    timeline
        A frame of `timeline_frame`.
    ax
        Where to draw; a figure of its own when None.
    apps
        The most apps with an area of their own, at most seven: those that cost most.
    """
    intervals = _intervals(timeline)
    intervals["app"] = intervals["app_id"].fillna(intervals["cvm_id"])
    totals = (
        intervals.groupby("app")["amount_usd"].sum().sort_values(ascending=False, kind="stable")
    )
    dearest = list(totals.index[: min(checks.integer("apps", apps), len(COLOURS))])
    names = intervals.groupby("app").agg(name=("name", "first"), cvms=("cvm_id", "nunique"))
    ax = new_axes(6) if ax is None else drawable(ax)
    times, rates = _rates(intervals, dearest)
    base = np.zeros(len(times))
    for app, colour in [*zip(dearest, COLOURS, strict=False), (None, _OTHERS)]:
        rate = rates.get(app)
        if rate is None:
            continue
        label = _app_label(names, app, len(totals) - len(dearest))
        ax.fill_between(
            times, base, base + rate, step="post", color=colour, label=label, linewidth=0
        )
        base = base + rate
    for start, end in _unseen(intervals):
        ax.axvspan(start, end, fill=False, hatch="///", edgecolor=_OTHERS, linewidth=0)
    ax.set_title(f"{_usd(totals.sum())} in {_length(intervals)}, by app", loc="left")
    ax.set_ylabel("USD/h")
    ax.set_ylim(bottom=0)
    if len(times):
        _legend_of_apps(ax, unseen=not intervals["observed"].all())
    finish_time(ax, empty=intervals.empty)
    return ax


def _rates(intervals: pd.DataFrame, dearest: list[str]) -> tuple[Any, dict[str | None, Any]]:
    """Return the moments at which a rate changes, and each app's rate from each on."""
    times = np.unique(np.concatenate([intervals["start"], intervals["end"]]).astype("float64"))
    rates: dict[str | None, Any] = {}
    own = intervals["app"].where(intervals["app"].isin(dearest), None).astype(object)
    for app, some in intervals.groupby(own.fillna(""), sort=False):
        change = np.zeros(len(times))
        for side, sign in (("start", 1.0), ("end", -1.0)):
            at = np.searchsorted(times, some[side].to_numpy(dtype="float64"))
            np.add.at(change, at, sign * some["charged_usd_h"].to_numpy())
        rates[str(app) or None] = np.maximum(np.cumsum(change), 0.0)
    return times, rates


def _unseen(intervals: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the unobserved times, merged."""
    found: list[tuple[float, float]] = []
    times = intervals.loc[~intervals["observed"], ["start", "end"]].sort_values("start")
    for start, end in times.itertuples(index=False):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _legend_of_apps(ax: "Axes", *, unseen: bool) -> None:
    with LOADING:
        from matplotlib.patches import Patch  # noqa: PLC0415 - an extra, and slow to load

    handles, _ = ax.get_legend_handles_labels()
    handles.reverse()  # as the areas lie on each other
    if unseen:
        handles.append(
            Patch(fill=False, hatch="///", edgecolor=_OTHERS, linewidth=0, label="(not observed)")
        )
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _app_label(names: pd.DataFrame, app: str | None, rest: int) -> str:
    if app is None:
        return counted(rest, "other app")
    found: Any = names.loc[app]
    name, cvms = found["name"], int(found["cvms"])
    label = str(label_of(name if pd.notna(name) else app)) or "(no name)"
    label = f" {label}" if label.startswith("_") else label  # no legend shows those
    return label if cvms == 1 else f"{label} ({cvms} CVMs)"


def _usd(amount: float) -> str:
    small = 0 < amount < 1
    return f"{amount:.6f} USD" if small else f"{amount:,.2f} USD"


def _length(intervals: pd.DataFrame) -> str:
    """Return how long a time the intervals are of, in the unit that suits it."""
    seconds = (
        0.0 if intervals.empty else (intervals["end"].max() - intervals["start"].min()) * 86_400
    )
    for size, unit in ((2 * 86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / (86_400 if unit == 'days' else size):.1f} {unit}"
    return f"{seconds:.1f} s"


def finish_time(ax: "Axes", *, empty: bool) -> None:
    """Make the x axis one of time."""
    _tidy(ax)
    if empty:
        _show_empty(ax, "no history yet")
        ax.set_xticks([])
        return
    ax.xaxis_date()
    ax.margins(x=0)
    ax.set_xlabel("UTC")
    with LOADING:
        from matplotlib import dates  # noqa: PLC0415 - an extra, and slow to load

    untyped: Any = dates
    locator = untyped.AutoDateLocator(maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
