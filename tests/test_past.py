"""The past of a fleet: asked for by the clock on the wall, and not observed while asleep."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from helpers import commit

import cvm_notebook as cvm
from cvm_notebook.frames import cost_frame, timeline_frame
from cvm_notebook.live.clock import SystemClock


class MovedClock(SystemClock):
    """This machine's clock, with a wall clock that can be moved as a suspended machine's is."""

    def __init__(self):
        self.ahead = timedelta()

    def now(self):
        return super().now() + self.ahead


@pytest.fixture(scope="module")
def client(new_cloud):
    with (
        new_cloud(seed="empty", speed=100) as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made,
    ):
        commit(made, "past-1")
        made.watch_cvm_state("past-1", target="running")
        yield made


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def fleet(client, clock):
    with cvm.Fleet(client, clock=clock) as made:
        len(made)
        yield made


def test_hours_asleep_are_not_observed(fleet, clock):
    fleet.cost("1h")  # a look before, as a person would
    clock.ahead = timedelta(hours=8)
    (row,) = fleet.cost("8h").itertuples()
    assert row.basis in ("extrapolated", "assumed")
    assert row.coverage < 0.01
    fleet.refresh()
    fleet.wait(timeout=10)
    timeline = timeline_frame(fleet.store.log())
    unseen = timeline[~timeline["observed"]]
    assert unseen["lasted"].sum() > timedelta(hours=7.9)
    (row,) = fleet.cost("8h").itertuples()
    assert row.coverage < 0.01


def test_the_past_is_asked_for_by_the_clock_on_the_wall(fleet, clock, zone):
    zone("Asia/Kolkata")
    then = clock.now().astimezone()
    for moment in (
        then,
        then.replace(tzinfo=None),
        pd.Timestamp(then),
        f"{then:%Y-%m-%d %H:%M:%S.%f}",
    ):
        assert list(fleet.at(moment).index) == [row.id for row in fleet.snapshot()]
    utc = np.datetime64(then.astimezone(UTC).replace(tzinfo=None))
    assert len(fleet.at(utc)) == 1
    seen = fleet.frame("wide")["observed_at"].max()
    assert fleet.at(seen).index.name == "cvm_id"
    with pytest.raises(cvm.InvalidInput, match="in the future"):
        fleet.at(clock.now() + timedelta(minutes=5))
    clock.ahead = timedelta(hours=1)
    soon = (clock.now() + timedelta(minutes=2)).astimezone()
    with pytest.raises(cvm.InvalidInput, match="the history begins at"):
        fleet.at(f"{soon:%H:%M}")  # yesterday's


def test_one_naive_time_means_one_moment_in_every_call(fleet, client, zone):
    zone("Asia/Kolkata")
    naive = datetime(2026, 6, 10, 12, 0)  # noqa: DTZ001
    meant = datetime(2026, 6, 10, 6, 30, tzinfo=UTC)
    frame = cvm.fleet_frame(client.list_cvms(), columns=["name", "observed_at"], observed_at=naive)
    assert frame["observed_at"].tolist() == [pd.Timestamp(meant)]
    wide = fleet.frame("wide")
    assert wide.cvm.cost("1h", now=naive)["window_end"].le(pd.Timestamp(meant)).all()
    cost = cost_frame(fleet.snapshot(), "1h", naive)
    assert cost.attrs["cvm"]["as_of"] == meant.isoformat()
    created = fleet["past-1"].cvm.created.astimezone()
    local = created.replace(tzinfo=None)
    assert fleet.where(created_at=local).names == ["past-1"]
    assert fleet.search(f"created_at >= '{local}'").names == ["past-1"]
    assert fleet.search(f"created_at > '{local}'").names == []
