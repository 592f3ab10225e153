"""cost_frame: exact amounts, of what was seen and of what was not, and never one for the other."""

import datetime as dt
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import HourlyRate
from cvm_notebook.api.status import STATUSES
from cvm_notebook.frames.reports import cost, timeline
from cvm_notebook.frames.reports.cost import COST, PROJECTION
from cvm_notebook.frames.reports.timeline import TIMELINE
from cvm_notebook.live.costs.curve import cost_curve
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Health

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
MONEY = "decimal128(18, 6)[pyarrow]"
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
STATUS = pd.CategoricalDtype(list(STATUSES))
KEYS = {"cost": ["cvm_id", "window"], "timeline": ["cvm_id", "began_at"], "projection": ["cvm_id"]}
DTYPES = {
    "cost": {
        "window_start": MOMENT,
        "window_end": MOMENT,
        "running_h": MONEY,
        "stopped_h": MONEY,
        "rate_usd_h": MONEY,
        "amount_usd": MONEY,
        "basis": pd.CategoricalDtype(["observed", "extrapolated", "assumed"]),
        "coverage": "Float64",
        "name": TEXT,
    },
    "timeline": {
        "ended_at": MOMENT,
        "name": TEXT,
        "app_id": TEXT,
        "region": TEXT,
        "status": STATUS,
        "lasted": "timedelta64[us]",
        "charged_usd_h": MONEY,
        "amount_usd": MONEY,
        "observed": "boolean",
    },
    "projection": {
        "name": TEXT,
        "status": STATUS,
        "charged_usd_h": MONEY,
        "monthly_usd": MONEY,
        "monthly_running_usd": MONEY,
        "monthly_stopped_usd": MONEY,
        "assumption": TEXT,
    },
}
cost_frame = partial(cost.cost_frame, money="decimal")  # whose digits are all looked at here
timeline_frame = partial(timeline.timeline_frame, money="decimal")
projection_frame = partial(cost.projection_frame, money="decimal")
FRAMES = {"cost": cost_frame, "timeline": timeline_frame, "projection": projection_frame}


def check(which, frame):
    dtypes = DTYPES[which]
    assert list(frame.columns) == list(dtypes)
    assert {n: d for n, d in dtypes.items() if frame[n].dtype != d} == {}
    assert list(frame.index.names) == KEYS[which]
    assert frame.index.is_unique
    pa.DataFrameSchema(
        {n: pa.Column(d, nullable=True) for n, d in dtypes.items() if d != MONEY}, ordered=True
    ).validate(frame)
    return frame


@pytest.fixture
def log(make):
    """Make a log of changes, oldest first, of a fleet that was live all the time by default."""

    def log(*changes, rows=None, since=NOON - 24 * HOUR, now=NOON, healths=None):
        present = {}
        for number, change in enumerate(changes):
            object.__setattr__(change, "seq", number)
            present[change.row.id] = change.after
        rows = [r for r in present.values() if r is not None] if rows is None else rows
        return Log(
            changes=tuple(changes),
            healths=(Health("live", since),) if healths is None else healths,
            since=since,
            listed_at=since,
            now=make.snapshot(*rows, at=now),
        )

    return log


def only(frame):
    assert len(frame) == 1
    return check("cost", frame).iloc[0]


# --- schemas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_schemas_are_the_same_for_any_number_of_rows(make, log, count):
    rows = [make.row(n) for n in range(count)]
    check("cost", cost_frame(make.snapshot(*rows)))
    check("cost", cost_frame(log(rows=rows)))
    check("timeline", timeline_frame(log(rows=rows)))
    check("projection", projection_frame(make.snapshot(*rows)))


def test_schemas_are_the_same_when_nothing_is_reported(make, log):
    bare = make.row(record={"hourly_rate": None, "name": None, "created_at": None}, status=None)
    row = only(cost_frame(make.snapshot(bare)))
    assert pd.isna(row["rate_usd_h"])
    check("timeline", timeline_frame(log(rows=[bare])))
    check("projection", projection_frame(make.snapshot(bare)))


@pytest.mark.parametrize("which", FRAMES)
def test_every_column_stands_in_the_docstring(which):
    table = {"cost": COST, "timeline": TIMELINE, "projection": PROJECTION}[which]
    for column, row in table.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in FRAMES[which].func.__doc__


# --- amounts ------------------------------------------------------------------------------------


def test_running_is_charged_with_computing_and_stopped_with_the_disk_alone(make, log):
    stop = make.change(make.row(), make.row(status="stopped"), at=NOON - 6 * HOUR)
    row = only(cost_frame(log(stop), "24h"))
    assert (row["running_h"], row["stopped_h"]) == (18, 6)
    assert row["amount_usd"] == 18 * Decimal("0.060780") + 6 * Decimal("0.002780")
    assert row["rate_usd_h"] == Decimal("0.060780")
    assert (row["basis"], row["coverage"]) == ("observed", 1.0)


@pytest.mark.parametrize(
    ("status", "running", "stopped"),
    [
        *((s, 1, 0) for s in ("starting", "running", "restarting", "stopping", "shutting_down")),
        *((s, 0, 1) for s in ("provisioning", "stopped", "failed", "deleting")),
        ("deleted", 0, 0),
        ("hibernating", 1, 0),
        ("updating", 1, 0),
    ],
)
def test_what_each_status_is_charged(make, status, running, stopped):
    row = only(cost_frame(make.snapshot(make.row(status=status)), "1h"))
    assert (row["running_h"], row["stopped_h"]) == (running, stopped)
    expected = running * Decimal("0.060780") + stopped * Decimal("0.002780")
    assert row["amount_usd"] == expected


def test_a_price_that_changes_is_charged_from_then_on(make, log):
    dear = {"hourly_rate": HourlyRate(total="1.0", compute="0.9", disk="0.1")}
    resize = make.change(make.row(), make.row(record=dear), at=NOON - 1 * HOUR)
    row = only(cost_frame(log(resize), "2h"))
    assert row["amount_usd"] == Decimal("1.060780")
    assert row["rate_usd_h"] == 1


def test_an_unknown_price_is_missing_and_never_zero(make):
    for rate in (None, HourlyRate(total="free"), HourlyRate(disk="0.1")):
        row = only(cost_frame(make.snapshot(make.row(record={"hourly_rate": rate}))))
        assert pd.isna(row["amount_usd"])
        assert row["running_h"] == 24


def test_a_stopped_cvm_without_a_price_for_the_disk_has_no_amount(make):
    rate = {"hourly_rate": HourlyRate(total="1")}
    row = only(cost_frame(make.snapshot(make.row(status="stopped", record=rate))))
    assert pd.isna(row["amount_usd"])


def test_a_cvm_that_went_has_cost_until_then(make, log):
    went = make.change(make.row(), None, at=NOON - 20 * HOUR)
    row = only(cost_frame(log(went), "24h"))
    assert row["running_h"] == 4
    assert row["window_end"] == pd.Timestamp(NOON - 20 * HOUR)
    assert row["name"] == "web-0"


def test_a_cvm_made_in_the_window_costs_from_then(make, log):
    made = {"created_at": (NOON - 3 * HOUR).isoformat()}
    row = only(cost_frame(make.snapshot(make.row(record=made)), "24h"))
    assert row["running_h"] == 3
    assert row["window_start"] == pd.Timestamp(NOON - 3 * HOUR)


def test_a_clock_of_the_service_that_goes_before_ours_hides_no_time_we_saw(make, log):
    ahead = make.row(record={"created_at": (NOON + HOUR / 6).isoformat()})
    row = only(cost_frame(log(make.change(None, ahead, at=NOON - HOUR)), "24h"))
    assert row["running_h"] == 1
    assert row["coverage"] == 1.0


def test_amounts_do_not_depend_on_the_callers_decimal_context(make):
    taken = make.snapshot(make.row())
    with localcontext(prec=2):
        few = cost_frame(taken, "7d")
    pd.testing.assert_frame_equal(few, cost_frame(taken, "7d"))
    assert few["amount_usd"].iloc[0] == Decimal("10.211040")


def test_amounts_without_an_end_are_rounded_and_not_lost(make, log):
    stop = make.change(make.row(), make.row(status="stopped"), at=NOON - HOUR / 3)
    row = only(cost_frame(log(stop), "1h"))
    assert (row["running_h"], row["stopped_h"]) == (Decimal("0.666667"), Decimal("0.333333"))
    assert row["amount_usd"] == Decimal("0.041447")  # 0.0414466...


def test_the_sum_of_many_is_exact(make):
    rate = {"hourly_rate": HourlyRate(total="0.1", disk="0")}
    frame = cost_frame(make.snapshot(*(make.row(n, record=rate) for n in range(1000))), "1h")
    assert frame["amount_usd"].sum() == Decimal(100)


# --- what is known ------------------------------------------------------------------------------


def test_a_snapshot_alone_is_all_assumed(make):
    row = only(cost_frame(make.snapshot(make.row())))
    assert (row["basis"], row["coverage"]) == ("assumed", 0.0)


def test_before_the_history_it_is_taken_to_have_been_as_first_seen(make, log):
    stop = make.change(make.row(), make.row(status="stopped"), at=NOON - HOUR)
    row = only(cost_frame(log(stop, since=NOON - 6 * HOUR), "24h"))
    assert (row["running_h"], row["stopped_h"]) == (23, 1)
    assert (row["basis"], row["coverage"]) == ("extrapolated", 0.25)


def test_after_the_log_was_taken_it_goes_on_as_last_seen(make, log):
    row = only(cost_frame(log(rows=[make.row()]), "24h", NOON + 6 * HOUR))
    assert row["running_h"] == 24
    assert row["coverage"] == 0.75


def test_a_window_before_the_history_is_assumed(make, log):
    row = only(cost_frame(log(rows=[make.row()], since=NOON - HOUR), "1h", NOON - 5 * HOUR))
    assert (row["running_h"], row["basis"]) == (1, "assumed")


def test_while_the_fleet_was_not_live_nothing_was_observed(make, log):
    healths = (
        Health("catching up", NOON - 24 * HOUR),
        Health("live", NOON - 24 * HOUR),
        Health("offline", NOON - 18 * HOUR),
        Health("catching up", NOON - 7 * HOUR),
        Health("live", NOON - 6 * HOUR),
    )
    taken = log(rows=[make.row()], healths=healths)
    row = only(cost_frame(taken, "24h"))
    assert (row["running_h"], row["coverage"], row["basis"]) == (24, 0.5, "extrapolated")
    intervals = check("timeline", timeline_frame(taken))
    assert list(intervals["observed"]) == [True, False, True]
    assert list(intervals["lasted"] / pd.Timedelta("1h")) == [6, 12, 6]


def test_the_moment_until_the_first_list_counts_as_live_is_no_gap(make, log):
    start = NOON - 24 * HOUR
    soon = dt.timedelta(milliseconds=50)
    healths = (
        Health("paused", start - soon),
        Health("catching up", start - soon),
        Health("live", start + soon),
    )
    assert only(cost_frame(log(rows=[make.row()], healths=healths)))["basis"] == "observed"
    never = healths[:2]
    assert only(cost_frame(log(rows=[make.row()], healths=never)))["basis"] == "assumed"
    lost = (*healths[:2], Health("offline", start + 12 * HOUR), Health("live", start + 18 * HOUR))
    assert only(cost_frame(log(rows=[make.row()], healths=lost)))["coverage"] == 0.75


def test_a_fleet_that_has_parked_does_not_look(make, log):
    healths = (Health("live", NOON - 24 * HOUR), Health("paused", NOON - 12 * HOUR))
    assert only(cost_frame(log(rows=[make.row()], healths=healths)))["coverage"] == 0.5


def test_a_cvm_that_came_back_is_not_charged_for_the_time_between(make, log):
    taken = log(
        make.change(make.row(), None, at=NOON - 3 * HOUR),
        make.change(None, make.row(), at=NOON - HOUR),
    )
    row = only(cost_frame(taken, "4h"))
    assert row["running_h"] == 2


@pytest.mark.parametrize(
    ("window", "hours", "label"),
    [
        ("24h", 24, "24h"),
        ("7d", 168, "7d"),
        ("90m", Fraction(3, 2), "90m"),
        (" 1d  12h ", 36, "1d 12h"),
        (dt.timedelta(hours=2), 2, "2h"),
    ],
)
def test_windows_are_given_in_words(make, window, hours, label):
    frame = cost_frame(make.snapshot(make.row()), window)
    assert frame.index[0] == ("cvm_00000000", label)
    assert Fraction(only(frame)["running_h"]) == hours


@pytest.mark.parametrize("window", ["", "24", "yesterday", "-1h", "0h", "900y", dt.timedelta(0)])
def test_what_is_no_window_is_refused(make, window):
    with pytest.raises(InvalidInput, match="is not a length of time"):
        cost_frame(make.snapshot(), window)


# --- intervals ----------------------------------------------------------------------------------


def test_spells_follow_each_other_and_say_who_and_what(make, log):
    frame = check(
        "timeline",
        timeline_frame(
            log(
                make.change(None, make.row(1), at=NOON - 4 * HOUR),
                make.change(make.row(1), make.row(1, status="stopping"), at=NOON - 2 * HOUR),
                make.change(
                    make.row(1, status="stopping"), make.row(1, status="stopped"), at=NOON - HOUR
                ),
                rows=[make.row(1, status="stopped"), make.row(2)],
            )
        ),
    )
    first = frame.loc["cvm_00000001"]
    assert list(first["status"]) == ["running", "stopping", "stopped"]
    assert list(first.index[1:]) == list(first["ended_at"][:-1])
    assert first["ended_at"].iloc[-1] == pd.Timestamp(NOON)
    assert list(first["charged_usd_h"]) == [Decimal(s) for s in ("0.06078", "0.06078", "0.00278")]
    second = frame.loc["cvm_00000002"]
    assert list(second["lasted"]) == [pd.Timedelta("24h")]


def test_a_change_of_something_else_begins_no_spell(make, log):
    busy = make.row(boot_progress="done")
    assert len(timeline_frame(log(make.change(make.row(), busy, at=NOON - HOUR)))) == 1


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 24 * 60), st.sampled_from(["running", "stopped", None])
    ),
    max_size=8,
)
LIVE = st.lists(
    st.tuples(st.integers(0, 24 * 60), st.sampled_from(["live", "offline", "paused"])), max_size=4
)


@settings(max_examples=examples(40), deadline=None)
@given(steps=STEPS, live=LIVE, window=st.sampled_from(["1h", "24h", "36h"]))
def test_hours_coverage_and_amounts_add_up(make, steps, live, window):
    present, changes = {0: make.row(0), 1: make.row(1)}, []
    for seq, (number, minute, status) in enumerate(sorted(steps, key=lambda step: step[1])):
        before = present[number]
        after = None if status is None else make.row(number, status=status)
        if before is None and after is None:
            continue
        at = NOON - 24 * HOUR + minute * HOUR / 60
        changes.append(make.change(before, after, seq=seq, at=at))
        present[number] = after
    start = NOON - 24 * HOUR
    healths = [Health(state, start + minute * HOUR / 60) for minute, state in sorted(live)]
    taken = Log(
        changes=tuple(changes),
        healths=(Health("live", start), *healths),
        since=start,
        listed_at=start,
        now=make.snapshot(*(r for r in present.values() if r is not None), at=NOON),
    )
    frame = check("cost", cost_frame(taken, window))
    kept = {row.id for row in present.values() if row is not None}
    assert kept <= set(frame.index.get_level_values(0))
    for _, row in frame.iterrows():
        elapsed = (row["window_end"] - row["window_start"]) / pd.Timedelta("1h")
        charged = float(row["running_h"] + row["stopped_h"])
        assert charged <= elapsed + 1e-5
        if not any(status is None for _, _, status in steps):
            assert charged == pytest.approx(elapsed, abs=1e-5)
        exact = row["running_h"] * Decimal("0.06078") + row["stopped_h"] * Decimal("0.00278")
        assert abs(row["amount_usd"] - exact) < Decimal("0.000002")
        if not pd.isna(row["coverage"]):
            assert 0 <= row["coverage"] <= 1
            assert (row["basis"] == "observed") == (row["coverage"] == 1)
            assert (row["basis"] == "assumed") == (row["coverage"] == 0)


# --- a month ------------------------------------------------------------------------------------


def test_a_month_is_730_hours_as_now_and_says_so(make):
    frame = projection_frame(make.snapshot(make.row(1), make.row(2, status="stopped")))
    runs, stopped = frame.iloc[0], frame.iloc[1]
    assert runs["monthly_usd"] == runs["monthly_running_usd"] == 730 * Decimal("0.060780")
    assert stopped["monthly_usd"] == stopped["monthly_stopped_usd"] == 730 * Decimal("0.002780")
    assert runs["assumption"] == "as now (running: computing and disk) for a month of 730 h"
    assert stopped["assumption"] == "as now (stopped: disk only) for a month of 730 h"


def test_what_is_gone_costs_nothing_a_month(make):
    row = projection_frame(make.snapshot(make.row(status="deleted"))).iloc[0]
    assert row["monthly_usd"] == 0
    assert row["assumption"] == "gone, and costs nothing"


# --- a curve --------------------------------------------------------------------------------------


def changing(make, log):
    """A log of apps that cost different things at different times, one of them gone by now."""
    dear = {"hourly_rate": HourlyRate(total="3.5", compute="3.4", disk="0.1")}
    unseen = (
        Health("live", NOON - 24 * HOUR),
        Health("offline", NOON - 10 * HOUR),
        Health("live", NOON - 9 * HOUR),
    )
    return log(
        make.change(None, make.row(1, record=dear), at=NOON - 20 * HOUR),
        make.change(None, make.row(2), at=NOON - 19 * HOUR),
        make.change(None, make.row(3, record={"app_id": f"{2:040x}"}), at=NOON - 18 * HOUR),
        make.change(
            make.row(1, record=dear),
            make.row(1, record=dear, status="stopped"),
            at=NOON - 7 * HOUR,
        ),
        make.change(make.row(2), None, at=NOON - 3 * HOUR),
        make.change(None, make.row(4, record={"hourly_rate": None}), at=NOON - 2 * HOUR),
        healths=unseen,
    )


@pytest.mark.parametrize(("hours", "steps"), [(24, 96), (168, 84), (720, 90), (1.5, 7)])
@pytest.mark.parametrize("apps", [1, 2, 9])
def test_a_curve_adds_up_to_what_the_frame_says(make, log, hours, steps, apps):
    past, window = changing(make, log), hours * HOUR
    curve = cost_curve(past, window, steps, apps=apps)
    amounts = cost_frame(past, window)["amount_usd"].dropna()
    assert curve.amount == sum(app.amount for app in curve.apps)
    assert float(curve.amount) == pytest.approx(float(amounts.sum()), abs=1e-5)
    step_h = curve.step / HOUR
    for app in curve.apps:
        assert len(app.rates) == steps
        assert sum(app.rates) * step_h == pytest.approx(float(app.amount), abs=1e-6)
    assert curve.charged == sum(app.charged for app in curve.apps) == Decimal("0.160780")
    assert sum(app.apps for app in curve.apps) == len({row.app_id for row in past.now.rows})
    assert [app.app_id for app in curve.apps].count(None) == (len(curve.apps) > apps)


def test_a_curve_says_what_was_seen_and_what_is_stopped_and_paid_for(make, log):
    curve = cost_curve(changing(make, log), 24 * HOUR, 24)
    assert (curve.stopped, curve.stopped_charged, curve.unpriced) == (1, Decimal("0.1"), 1)
    # nobody was looking from ten to nine hours ago; of four CVMs one was seen later only
    assert curve.observed[14:16] == (0.0, 0.75)
    assert curve.observed[-1] == 1.0
    assert max(curve.observed[:3]) == 0.0  # before the first list
    assert curve.since == NOON - 24 * HOUR


def test_a_curve_of_nothing_is_flat(make, log):
    curve = cost_curve(log(rows=[]), 24 * HOUR, 24)
    assert (curve.apps, curve.amount, curve.charged) == ((), 0, 0)
    assert curve.observed == (1.0,) * 24
