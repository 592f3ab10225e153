"""Pictures of a fleet, for notebooks and reports; matplotlib is loaded when one is drawn."""

from typing import TYPE_CHECKING, Final, NamedTuple

import pandas as pd

from cvm_notebook.api.errors import InvalidInput
from cvm_notebook.frames.words import STATUSES

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
_NO_REGION: Final = "no region yet"
_REGION_CHARS: Final = 24
_LABEL_SHARE: Final = 0.03  # of the longest bar; a number in a narrower piece would not fit


def plot_fleet(fleet: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Draw how many CVMs each region has, by status, as stacked bars.

    Parameters
    ----------
    fleet
        A frame of `fleet_frame` with the columns ``status`` and ``region``.
    ax
        Where to draw; a figure of its own when None.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; its figure is ``.figure``.
    """
    counts = _count(fleet)
    if ax is None:
        ax = _new_axes(len(counts))
    left = pd.Series(0, index=counts.index)
    longest = int(counts.sum(axis="columns").max()) if len(counts) else 0
    for status in counts.columns:
        _draw_status(ax, status, counts[status], left, longest)
        left += counts[status]
    _finish(ax, len(fleet), list(counts.columns))
    return ax


def _count(fleet: pd.DataFrame) -> pd.DataFrame:
    """Count CVMs: regions as rows, the smallest first; the statuses that occur as columns."""
    missing = [name for name in ("status", "region") if name not in fleet.columns]
    if missing:
        raise InvalidInput(
            "fleet",
            f"has no column {' and no column '.join(missing)}",
            "Give a frame of fleet_frame(cvms) that has both.",
        )
    # a region is the server's text: a dollar sign in it would begin a formula of matplotlib
    words = fleet["region"].astype("string").str.slice(0, _REGION_CHARS).str.replace("$", r"\$")
    region = words.fillna(_NO_REGION).astype("object")
    status = fleet["status"].astype("object").fillna("unknown")
    counts = pd.crosstab(region, status)
    counts = counts.reindex(columns=[s for s in STATUSES if s in counts.columns])
    order = counts.sum(axis="columns").sort_values(kind="stable").index
    return counts.loc[order]


def _new_axes(bars: int) -> "Axes":
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ImportError(
            "plot_fleet draws with matplotlib, which is not installed: pip install matplotlib"
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
    for label in ax.bar_label(bars, numbers, label_type="center", fontsize=8):
        if label.get_text():
            label.set_bbox(box)


def _finish(ax: "Axes", total: int, statuses: list[str]) -> None:
    ax.set_title(f"{total} CVM{'' if total == 1 else 's'} by region and status", loc="left")
    ax.set_xlabel("CVMs")
    ax.locator_params(axis="x", integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    if statuses:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, title="status")
    else:
        ax.text(0.5, 0.5, "no CVMs", ha="center", va="center", transform=ax.transAxes)
        ax.set_yticks([])
