"""Times that users say: naive ones are this machine's, whatever its zone does to its clock."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.times import moment_of


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("value", "now", "meant"),
    [
        ("23:50", "2026-06-10T00:10+02:00", "2026-06-09T23:50+02:00"),
        ("00:05", "2026-06-10T00:10+02:00", "2026-06-10T00:05+02:00"),
        ("00:10", "2026-06-10T00:10+02:00", "2026-06-10T00:10+02:00"),
        ("14:05:30", "2026-06-10T14:05:29+02:00", "2026-06-09T14:05:30+02:00"),
        ("00:00", "2026-06-10T14:05+02:00", "2026-06-10T00:00+02:00"),
        # the clock was set forward at 2:00, after the time asked for
        ("01:30", "2026-03-29T10:00+02:00", "2026-03-29T01:30+01:00"),
        ("03:30", "2026-03-29T10:00+02:00", "2026-03-29T03:30+02:00"),
        ("23:50", "2026-03-30T00:10+02:00", "2026-03-29T23:50+02:00"),
        # set back at 3:00: 2:30 was twice, and the last time is meant that is not to come
        ("02:30", "2026-10-25T10:00+01:00", "2026-10-25T02:30+01:00"),
        ("02:30", "2026-10-25T02:40+02:00", "2026-10-25T02:30+02:00"),
        ("02:30", "2026-10-25T02:10+01:00", "2026-10-25T02:30+02:00"),
        ("01:30", "2026-10-25T10:00+01:00", "2026-10-25T01:30+02:00"),
    ],
)
def test_a_time_of_day_is_the_last_time_the_clock_showed_it(zone, value, now, meant):
    assert moment_of("moment", value, now=at(now)) == at(meant)


def test_a_time_that_the_clock_skipped_is_refused(zone):
    now = at("2026-03-29T10:00+02:00")
    for value in ("02:30", "2026-03-29 02:30", datetime(2026, 3, 29, 2, 30)):  # noqa: DTZ001
        with pytest.raises(InvalidInput, match="clock skipped 2026-03-29 02:30:00"):
            moment_of("moment", value, now=now)


NAIVE = [
    "2026-06-10 14:05",
    "2026-06-10T14:05:00",
    datetime(2026, 6, 10, 14, 5),  # noqa: DTZ001
    pd.Timestamp("2026-06-10 14:05"),
    np.str_("2026-06-10 14:05"),
]


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("value", NAIVE, ids=repr)
def test_a_naive_time_is_this_machines(zone, value, name):
    zone(name)
    assert moment_of("since", value) == datetime(2026, 6, 10, 14, 5).astimezone(UTC)


def test_a_date_begins_at_midnight_here(zone):
    for value in (date(2026, 6, 10), "2026-06-10"):
        assert moment_of("since", value) == at("2026-06-10T00:00+02:00")


def test_an_hour_that_was_twice_is_distinguished_by_fold(zone):
    first = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001
    assert moment_of("since", first) == at("2026-10-25T02:30+02:00")
    assert moment_of("since", first.replace(fold=1)) == at("2026-10-25T02:30+01:00")


@pytest.mark.parametrize(
    "value",
    [
        "2026-06-10T14:05Z",
        datetime(2026, 6, 10, 19, 35, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        pd.Timestamp("2026-06-10 16:05", tz="Europe/Berlin"),
        np.datetime64("2026-06-10T14:05:00.000000000"),
        pd.Series(pd.to_datetime(["2026-06-10 14:05"], utc=True)).to_numpy()[0],
        pd.Series(pd.to_datetime(["2026-06-10 14:05"], utc=True)).iloc[0],
    ],
    ids=repr,
)
def test_a_zone_counts_and_numpys_times_are_utc(zone, value):
    assert moment_of("since", value) == datetime(2026, 6, 10, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("yesterday", "25:00", "", "14:05 Uhr", b"14:05", 5, 1.5, None, True, object(), []),
        *(pd.NaT, pd.NA, np.datetime64("NaT"), datetime.max),  # noqa: DTZ901
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_time_is_refused(zone, value):
    with pytest.raises(InvalidInput):
        moment_of("since", value)
    with pytest.raises(InvalidInput):
        moment_of("moment", value, now=at("2026-06-10T14:05Z"))


def test_the_future_is_refused_where_the_past_is_asked_for(zone):
    now = at("2026-06-10T14:05Z")
    for value in ("2026-06-10T14:05:01Z", "2026-06-10 16:06", now + timedelta(microseconds=1)):
        with pytest.raises(InvalidInput, match="in the future"):
            moment_of("moment", value, now=now)
    assert moment_of("moment", now, now=now) == now
