"""The fleet table of a live fleet: each row has its own newest status, time and source."""

import datetime as dt

import pandas as pd
import pytest

from cvm_notebook.api.models.actions import OperationStatus
from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.frames import fleet_frame
from cvm_notebook.live.store.observation import STALE_AFTER_S

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def cell(make):
    def cell(column, *, monotonic=1000.0, **changes):
        taken = make.snapshot(make.row(**changes), monotonic=monotonic)
        return fleet_frame(taken, columns=[column])[column].iloc[0]

    return cell


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_it_has_the_schema_of_the_fleet_table(make, rows):
    live = fleet_frame(make.snapshot(*(make.row(n) for n in range(rows))), columns="wide")
    assert dict(live.dtypes) == dict(fleet_frame([], columns="wide").dtypes)
    assert live.index.dtype == fleet_frame([]).index.dtype
    assert len(live) == rows


def test_where_no_newer_fact_came_it_is_the_frame_of_the_records(make):
    live = fleet_frame(make.snapshot(make.row(1), make.row(2)), columns="wide")
    plain = fleet_frame([make.cvm(1), make.cvm(2)], columns="wide", observed_at=make.noon)
    of_live = ["age_s", "health", "revision", "uptime_s", "error"]
    pd.testing.assert_frame_equal(live.drop(columns=of_live), plain.drop(columns=of_live))


def test_the_newest_status_counts_and_not_the_records(cell):
    assert cell("status", status="stopped") == "stopped"
    assert cell("status_raw", status="Exited") == "Exited"
    assert cell("status", status="hibernating") == "unknown"


def test_each_row_tells_when_and_how_it_was_seen(make):
    old = make.row(1, at=make.noon - HOUR, received=100.0, source="stream", revision=7)
    frame = fleet_frame(
        make.snapshot(old, make.row(2), revision=9),
        columns=["observed_at", "age_s", "source", "revision"],
    )
    assert list(frame["age_s"]) == [900.0, 0.0]
    assert list(frame["observed_at"]) == [pd.Timestamp(make.noon - HOUR), pd.Timestamp(make.noon)]
    assert list(frame["source"]) == ["stream", "list"]
    assert list(frame["revision"]) == [7, 1]
    assert frame.attrs["cvm"] == {
        "schema": "fleet/1",
        "source": "live",
        "revision": 9,
        "as_of": "2026-06-01T12:00:00+00:00",
        "complete": True,
        "health": "live",
    }


def test_ages_come_from_the_monotonic_clock_whatever_the_wall_clock_says(cell, make):
    for at in (make.noon + 9 * HOUR, make.noon - 9 * HOUR):
        assert cell("age_s", at=at, received=990.0) == 10.0


def test_a_row_confirmed_after_the_snapshot_is_not_of_the_future(cell):
    assert cell("age_s", received=1010.0) == 0.0


@pytest.mark.parametrize(
    ("kind", "status", "operation"),
    [
        ("power_on", "starting", "start"),
        ("power_off", "stopping", "stop"),
        ("force_restart", "restarting", "restart"),
        ("replicate", "provisioning", "replicate"),
        ("compose_update", "updating", "other"),
        ("running", "starting", "start"),  # the target: its status tells more
        ("defragment", "running", "other"),
        (None, "stopping", "stop"),
    ],
)
def test_the_operation_is_the_services_or_the_statuss(cell, kind, status, operation):
    doing = OperationStatus(type=kind, started_at="2026-06-01T11:59:00Z", correlation_id="f" * 32)
    row = {"status": status, "in_progress": True, "operation": doing}
    assert cell("operation", **row) == operation
    assert cell("operation_since", **row) == pd.Timestamp("2026-06-01T11:59:00Z")
    assert cell("correlation_id", **row) == "f" * 32
    assert cell("in_progress", **row)


def test_nothing_under_way_is_no_operation(cell):
    assert pd.isna(cell("operation"))
    assert pd.isna(cell("correlation_id"))


@pytest.mark.parametrize(
    ("row", "health", "error"),
    [
        ({}, "ok", None),
        ({"received": 1000.0 - STALE_AFTER_S - 1}, "stale", None),
        ({"error": "the node did not answer"}, "stale", "the node did not answer"),
        ({"status": "error"}, "error", None),
        ({"boot_error": "no disk", "error": "no answer"}, "error", "no disk"),
        ({"status": "error", "received": 0.0}, "error", None),
        ({"status": "hibernating"}, "unknown", None),
    ],
)
def test_health_says_what_is_wrong_and_what_is_old(cell, row, health, error):
    assert cell("health", **row) == health
    shown = cell("error", **row)
    assert (None if pd.isna(shown) else shown) == error


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2m 3s", 123),
        ("1day 2h 3m 4s", 93784),
        ("1d 2h", 93600),
        ("3months 2days", 3 * 2_630_016 + 2 * 86400),
        ("12s 500ms", 12),
        ("0s", 0),
        (" 5M ", 300),
        ("", None),
        (None, None),
        ("never", None),
        ("5", None),
        ("-5s", None),
        ("5s?", None),
        ("5 parsecs", None),
        ("9" * 5000 + "s", None),
        ("\u0665s", 5),  # another script's digit is a digit
    ],
)
def test_uptimes_are_read_or_missing(cell, text, seconds):
    assert seconds_of(text) == seconds
    found = cell("uptime_s", uptime=text)
    assert (None if pd.isna(found) else found) == seconds
