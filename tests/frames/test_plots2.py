"""Pictures over time draw what the frame says: who, when, how much, and what nobody saw."""

import datetime as dt
from decimal import Decimal

import matplotlib as mpl
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import dates
from matplotlib import pyplot as plt

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import HourlyRate
from cvm_notebook.frames import fleet_frame, timeline_frame
from cvm_notebook.frames.plots import plot_cost, plot_fleet, plot_timeline
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Health

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(params=["default", "dark_background"])
def style(request):
    with plt.style.context(request.param):
        yield request.param


@pytest.fixture
def timeline(make):
    """Make the timeline of a day that ends at noon."""

    def timeline(*changes, rows=(), healths=()):
        start = NOON - 24 * HOUR
        numbered = [make.change(*sides, seq=n, at=at) for n, (*sides, at) in enumerate(changes)]
        log = Log(
            tuple(numbered),
            (Health("live", start), *healths),
            start,
            start,
            make.snapshot(*rows, at=NOON),
        )
        return timeline_frame(log)

    return timeline


@pytest.fixture
def stopped_at_six(make, timeline):
    """One that stopped at six, one that ran all the time, and an hour in which nobody looked."""
    stop = (make.row(1), make.row(1, status="stopped"), NOON - 6 * HOUR)
    gone = Health("offline", NOON - 2 * HOUR), Health("live", NOON - HOUR)
    return timeline(stop, rows=[make.row(1, status="stopped"), make.row(2)], healths=gone)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def intervals(ax):
    """Return what was drawn: (name, first hour, last hour, faint) of each bar, in order."""
    start = dates.date2num(NOON - 24 * HOUR)
    rows = dict(zip(ax.get_yticks(), names(ax), strict=True))
    return sorted(
        (
            rows[round(bar.get_y() + bar.get_height() / 2)],
            round((bar.get_x() - start) * 24, 6),
            round((bar.get_x() + bar.get_width() - start) * 24, 6),
            (bar.get_alpha() or 1) < 1,
        )
        for bar in ax.patches
    )


def test_each_spell_is_where_it_was_and_pale_where_nobody_looked(stopped_at_six, style):
    ax = plot_timeline(stopped_at_six)
    assert intervals(ax) == [
        ("web-1", 0, 18, False),
        ("web-1", 18, 22, False),
        ("web-1", 22, 23, True),
        ("web-1", 23, 24, False),
        ("web-2", 0, 22, False),
        ("web-2", 22, 23, True),
        ("web-2", 23, 24, False),
    ]
    assert legend(ax) == ["running", "stopped", "(not observed)"]
    assert ax.get_title(loc="left") == "2 CVMs over time"
    ax.figure.draw_without_rendering()


def test_where_all_was_observed_the_legend_speaks_of_nothing_else(make, timeline):
    assert legend(plot_timeline(timeline(rows=[make.row(1)]))) == ["running"]


def test_a_part_of_many_is_never_drawn_silently(make, timeline):
    busy = (make.row(7), make.row(7, status="stopped"), NOON - HOUR)
    rows = [make.row(n) for n in range(7)] + [make.row(7, status="stopped")]
    ax = plot_timeline(timeline(busy, rows=rows), limit=3)
    assert ax.get_title(loc="left") == "8 CVMs over time, 3 of them shown"
    assert "web-7" in names(ax)
    assert len(names(ax)) == 3


def area(ax, label):
    """Return the area under a label: USD an hour times days."""
    (shape,) = [c for c in ax.collections if c.get_label() == label]
    points = shape.get_paths()[0].vertices
    x, y = points[:, 0], points[:, 1]
    return abs(float(((x[:-1] * y[1:]) - (x[1:] * y[:-1])).sum())) / 2


def test_areas_are_what_each_app_was_charged(stopped_at_six, style):
    ax = plot_cost(stopped_at_six)
    assert area(ax, "web-1") * 24 == pytest.approx(18 * 0.06078 + 6 * 0.00278)
    assert area(ax, "web-2") * 24 == pytest.approx(24 * 0.06078)
    total = stopped_at_six["amount_usd"].sum()
    assert ax.get_title(loc="left") == f"{total:.2f} USD in 24.0 h, by app"
    assert total == pytest.approx(42 * 0.06078 + 6 * 0.00278)
    assert legend(ax) == ["web-1", "web-2", "(not observed)"]
    assert ax.get_ylim()[0] == 0
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("minutes", "rate", "title"),
    [
        (1 / 60, "0.36", "0.000100 USD in 1.0 s, by app"),
        (30, "1", "0.500000 USD in 30.0 min, by app"),
        (90, "2", "3.00 USD in 1.5 h, by app"),
        (72 * 60, "100", "7,200.00 USD in 3.0 days, by app"),
    ],
)
def test_small_amounts_and_short_times_can_be_read(make, timeline, minutes, rate, title):
    row = make.row(1, record={"hourly_rate": HourlyRate(total=rate)})
    frame = timeline(rows=[row])
    frame["amount_usd"] = frame["amount_usd"].astype(object)
    short = frame.reset_index()
    short["ended_at"] = short["began_at"] + pd.Timedelta(minutes=minutes)
    short["amount_usd"] = Decimal(rate) * Decimal(str(round(minutes, 9))) / 60
    ax = plot_cost(short.set_index(["cvm_id", "began_at"]))
    assert ax.get_title(loc="left") == title


def test_replicas_are_one_area_and_the_cheap_ones_another(make, timeline):
    dear = {"app_id": "a" * 40, "hourly_rate": HourlyRate(total="5", disk="0")}
    rows = [make.row(1, record=dear), make.row(2, record=dear), *(make.row(n) for n in range(3, 9))]
    ax = plot_cost(timeline(rows=rows), apps=2)
    assert legend(ax) == ["5 other apps", "web-3", "web-1 (2 CVMs)"]
    assert area(ax, "web-1 (2 CVMs)") == pytest.approx(10)
    assert area(ax, "5 other apps") == pytest.approx(5 * 0.06078)


def test_a_price_that_is_not_known_draws_nothing_and_breaks_nothing(make, timeline):
    ax = plot_cost(timeline(rows=[make.row(1, record={"hourly_rate": None, "app_id": None})]))
    assert ax.get_title(loc="left") == "0.00 USD in 24.0 h, by app"


@pytest.mark.parametrize("plot", [plot_timeline, plot_cost])
def test_a_missing_history_is_shown(timeline, plot, style):
    ax = plot(timeline())
    assert [text.get_text() for text in ax.texts] == ["no history yet"]
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize("plot", [plot_timeline, plot_cost])
def test_hostile_names_are_text(make, timeline, plot):
    hostile = [r"$\frac{1}{0}$", "a\nb\x00c", "\u202ecod.exe", "x" * 10_000, "", None, "_hidden"]
    rows = [make.row(n, record={"name": name}) for n, name in enumerate(hostile)]
    ax = plot(timeline(rows=rows))
    ax.figure.draw_without_rendering()  # matplotlib raises where a formula is wrong
    drawn = names(ax) if plot is plot_timeline else legend(ax)
    assert len(drawn) == len(hostile)
    assert all(len(name) <= 40 and "\n" not in name and "\u202e" not in name for name in drawn)


@pytest.mark.parametrize("plot", [plot_timeline, plot_cost])
def test_another_frame_is_refused_by_the_columns_it_lacks(plot):
    with pytest.raises(InvalidInput, match="no column ended_at"):
        plot(fleet_frame([]))


@pytest.mark.parametrize("plot", [plot_timeline, plot_cost])
def test_it_draws_on_the_axes_it_is_given_and_changes_no_frame(stopped_at_six, plot):
    before = stopped_at_six.copy()
    _, axes = plt.subplots()
    assert plot(stopped_at_six, ax=axes) is axes
    pd.testing.assert_frame_equal(stopped_at_six, before)


@pytest.mark.parametrize(
    ("by", "bars", "title"),
    [
        ("status", ["failed", "running"], "3 CVMs by status"),
        ("instance_type", ["tdx.small"], "3 CVMs by instance type and status"),
        ("kms_type", ["phala"], "3 CVMs by kms type and status"),
    ],
)
def test_a_fleet_is_drawn_by_any_column_of_words(make, by, bars, title):
    fleet = fleet_frame([make.cvm(1), make.cvm(2), make.cvm(3, status="error")], columns="wide")
    ax = plot_fleet(fleet, by=by)
    assert names(ax) == bars
    assert ax.get_title(loc="left") == title


def test_numbers_can_be_read_in_a_dark_style(make, style):
    ax = plot_fleet(fleet_frame([make.cvm(1)]))
    written = [text for text in ax.texts if text.get_text() == "1"]
    assert [text.get_color() for text in written] == ["black"]
