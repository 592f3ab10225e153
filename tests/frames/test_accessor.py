"""df.cvm: asked of the frame alone; importing the package does not bring it."""

import subprocess
import sys
from decimal import Decimal, localcontext

import pandas as pd
import pytest

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import HourlyRate
from cvm_notebook.frames import diff, fleet_frame, read_fleet

NO_RATE = {"hourly_rate": None}


@pytest.fixture
def fleet(make):
    """Two that run, one of them without a price; one stopped; one failed."""
    return fleet_frame(
        make.snapshot(
            make.row(1),
            make.row(2, record=NO_RATE),
            make.row(3, status="stopped"),
            make.row(4, status="error"),
        ),
        columns="wide",
    )


def test_importing_the_package_brings_neither_pandas_nor_an_accessor():
    code = (
        "import sys, cvm_notebook; assert 'pandas' not in sys.modules;"
        "import pandas; assert not hasattr(pandas.DataFrame, 'cvm');"
        "cvm_notebook.fleet_frame; assert hasattr(pandas.DataFrame, 'cvm');"
        "assert 'requests' not in sys.modules, 'a frame alone needs no client'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_running_and_with_status_choose_rows(fleet):
    assert list(fleet.cvm.running()["name"]) == ["web-1", "web-2"]
    assert list(fleet.cvm.with_status("stopped", "failed")["name"]) == ["web-3", "web-4"]
    assert fleet.cvm.running().dtypes.equals(fleet.dtypes)
    with pytest.raises(InvalidInput, match="'stoped', which is not known"):
        fleet.cvm.with_status("stoped")


def test_rates_are_exact_sums_of_what_has_a_price(fleet):
    assert fleet.cvm.rate == 3 * Decimal("0.060780")
    assert fleet.cvm.charged == Decimal("0.060780") + 2 * Decimal("0.002780")
    assert fleet.iloc[:0].cvm.rate == 0
    assert fleet.iloc[1:2].cvm.charged == 0


def test_ten_thousand_tenths_are_a_thousand(make):
    rate = HourlyRate(total="0.1", compute="0.1", disk="0")
    many = fleet_frame([make.cvm(n, hourly_rate=rate) for n in range(10_000)])
    assert many.cvm.rate == 1000


def test_cost_is_assumed_from_how_they_are(fleet):
    cost = fleet.cvm.cost("10h")
    assert list(cost["basis"].unique()) == ["assumed"]
    assert list(cost["amount_usd"].dropna()) == [
        0.6078,
        0.0278,
        0.0278,
    ]
    assert list(cost["name"]) == ["web-1", "web-2", "web-3", "web-4"]
    pd.testing.assert_series_equal(
        fleet.cvm.cost(hours=10)["amount_usd"].reset_index(drop=True),
        cost["amount_usd"].reset_index(drop=True),
    )


def test_the_window_ends_when_the_frame_was_read(fleet, make):
    cost = fleet.cvm.cost("1h")
    assert set(cost["window_end"]) == {pd.Timestamp(make.noon)}
    later = pd.Timestamp(make.noon) + pd.Timedelta("24h")
    assert set(fleet.cvm.cost("1h", now=later)["window_end"]) == {later}


def test_accessors_chain_as_frames_do(fleet):
    assert fleet.cvm.running().cvm.cost(hours=24)["running_h"].sum() == 48


def test_money_does_not_depend_on_the_callers_decimal_context(fleet):
    with localcontext(prec=3):
        few = fleet.cvm.cost("7d")["amount_usd"].sum()
    assert few == fleet.cvm.cost("7d")["amount_usd"].sum()


def test_diff_is_diff(fleet, make):
    other = fleet_frame([make.cvm(1, status="stopped")], columns="wide")
    pd.testing.assert_frame_equal(fleet.cvm.diff(other), diff(fleet, other))


def test_check_gives_the_exact_dtypes_back(fleet):
    spoiled = fleet.reset_index()
    for name in spoiled.columns:
        spoiled[name] = spoiled[name].astype(object)
    pd.testing.assert_frame_equal(spoiled.cvm.check(), fleet)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.assign(vcpu="many"), "vcpu: 'many' is not Int64"),
        (lambda f: f.assign(mine=1), "no column mine"),
        (lambda f: f.reset_index(drop=True), "has no cvm_id"),
        (lambda f: f[["name", "name"]], "has twice: name"),
    ],
)
def test_check_names_what_is_wrong(fleet, spoil, message):
    with pytest.raises(InvalidInput, match=message):
        spoil(fleet).cvm.check()


@pytest.mark.parametrize(
    "ask",
    [
        lambda f: f.cvm.running(),
        lambda f: f.cvm.rate,
        lambda f: f.cvm.charged,
        lambda f: f.cvm.cost(),
        lambda f: f.cvm.plan("stop"),
        lambda f: f.cvm.phrase,
        lambda f: f.cvm.rate_change,
        lambda f: f.cvm.execute(None),
    ],
)
def test_a_frame_without_the_columns_is_refused_by_name(ask):
    with pytest.raises(InvalidInput, match="has no column"):
        ask(fleet_frame([], columns=["name"]))


@pytest.mark.parametrize(
    "ask", [lambda f: f.cvm.rate, lambda f: f.cvm.charged, lambda f: f.cvm.cost()]
)
def test_a_cvm_that_stands_in_it_twice_is_not_charged_twice(fleet, ask):
    ask(fleet)
    for twice in (pd.concat([fleet, fleet]), pd.concat([fleet, fleet]).reset_index()):
        with pytest.raises(InvalidInput, match=f"has {fleet.index[0]} twice"):
            ask(twice)


@pytest.mark.parametrize("ending", ["parquet", "csv", "json"])
def test_files_are_written_in_the_named_format(fleet, tmp_path, ending):
    write = getattr(fleet.cvm, f"to_{ending}")
    pd.testing.assert_frame_equal(read_fleet(write(tmp_path / f"a.{ending}")), fleet)
    with pytest.raises(InvalidInput, match=f"does not end with .{ending}"):
        write(tmp_path / "a.txt")


def test_nothing_depends_on_attrs(fleet):
    bare = fleet.copy()
    bare.attrs.clear()
    pd.testing.assert_frame_equal(bare.cvm.cost(), fleet.cvm.cost())
    assert bare.cvm.rate == fleet.cvm.rate


def test_the_accessor_changes_nothing_of_the_frame(fleet):
    before = fleet.copy()
    _ = fleet.cvm.cost(), fleet.cvm.plan("stop"), fleet.cvm.check(), fleet.cvm.diff(fleet)
    pd.testing.assert_frame_equal(fleet, before)
