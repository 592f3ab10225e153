"""What the table says the fleet has cost: the numbers of `cost_frame`, some rows at a time."""

import datetime as dt

import msgspec
import pytest

from cvm_notebook.api.models.cvm import Cvm, HourlyRate
from cvm_notebook.frames.reports.cost import cost_frame
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Health, Provenance, Row, Snapshot
from cvm_notebook.widgets.table.spending import Spending, SpendingFeed, spending_of

NOW = dt.datetime(2026, 6, 11, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def row(number, status, created, *, total="2", disk="0.5"):
    rate = HourlyRate(total=total, disk=disk)
    cvm = Cvm(id=f"cvm_{number}", name=f"n{number}", status=status, hourly_rate=rate)
    cvm = msgspec.structs.replace(cvm, created_at=created.isoformat())
    return Row.of_cvm(cvm, Provenance(0.0, NOW, "list"))


def log(*rows, since):
    health = Health("live", since)
    return Log((), (health,), since, since, Snapshot(1, rows, NOW, 0.0, health))


def test_the_month_begins_on_its_first_day_and_is_what_the_cost_frame_says():
    there = log(
        row(1, "running", NOW - 400 * HOUR),
        row(2, "stopped", NOW - 10 * HOUR),
        row(3, "running", NOW - HOUR, total=None),
        since=NOW - 3 * HOUR,
    )
    found = spending_of(there)
    hours = 10 * 24 + 12
    assert found.month == {
        "cvm_1": (str(2 * hours), False),
        "cvm_2": ("5.00", False),
        "cvm_3": (None, True),
    }
    frame = cost_frame(there, dt.timedelta(hours=hours), money="decimal")
    assert frame["amount_usd"].sum() == 2 * hours + 5
    today = cost_frame(there, dt.timedelta(hours=12), money="decimal")["amount_usd"].sum()
    assert found.today == (str(today.quantize(1)), False)
    assert today == 24 + 5


def test_what_was_watched_all_the_month_is_no_estimate():
    found = spending_of(log(row(1, "running", NOW - 3 * HOUR), since=NOW - 3 * HOUR))
    assert (found.month, found.today) == ({"cvm_1": ("6.00", True)}, ("6", True))


def test_each_bar_is_an_hour_and_those_before_the_history_are_pale():
    there = log(
        row(1, "running", NOW - 400 * HOUR),
        row(2, "stopped", NOW - 5.5 * HOUR),
        since=NOW - 3 * HOUR,
    )
    found = spending_of(there)
    assert found.bars == (*[2.0] * 18, 2.25, *[2.5] * 5)
    assert found.seen == 3
    assert sum(spending_of(log(since=NOW)).bars) == 0


@pytest.fixture
def feed():
    feed = SpendingFeed()
    feed.learn(Spending({f"c{n}": (str(n), False) for n in range(1_000)}, ("0", True), (), 0))
    return feed


def test_a_large_fleet_is_sent_in_turn_and_who_is_in_sight_first(feed):
    first = feed.take(["c999", "c998", "gone"])
    assert list(first)[:3] == ["c999", "c998", "c0"]
    assert len(first) <= 400
    spent = dict(first)
    for _ in range(3):
        spent |= feed.take([])
    assert len(spent) == 1_000
    assert feed.take(["c1"]) == {}


def test_all_of_a_large_fleet_is_sent_at_once_where_it_is_ordered_by(feed):
    assert len(feed.take(["c999"], every=True)) == 1_000
    assert feed.take([], every=True) == {}


def test_only_what_has_changed_is_sent_again_and_all_to_a_view_that_begins(feed):
    for _ in range(4):
        feed.take([])
    changed = {**feed.spending.month, "c5": ("5.01", False)}
    feed.learn(Spending(changed, ("0", True), (), 0))
    assert feed.take([]) == {"c5": ("5.01", False)}
    feed.anew()
    assert len(feed.take([])) == 400
