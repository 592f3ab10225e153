"""One table of statuses: whatever asks about a status, anywhere, gets the same answer."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.models.cvm import Cvm, HourlyRate
from cvm_notebook.api.status import (
    MOVING,
    PHASES,
    STATUSES,
    TABLE,
    closest_status,
    is_status,
    phase_of,
    same_status,
    status_of,
)
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.frames import fleet_frame
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.costs.intervals import HourlyPrice
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.figures import FigureHistory
from cvm_notebook.live.store.records import Health
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.widgets.card.sections import card_state
from cvm_notebook.widgets.table.patches import PatchFeed
from cvm_notebook.widgets.table.presentation import USUAL, columns_of

WORDS = sorted({*PHASES, *(word for info in TABLE.values() for word in info.wire), "in_progress"})
FULL, DISK, NONE = Decimal("1.00"), Decimal("0.10"), Decimal(0)
CHARGED = {
    **dict.fromkeys(("starting", "running", "restarting", "updating", "in_progress"), FULL),
    **dict.fromkeys(("stopping", "shutting_down", "unknown"), FULL),
    **dict.fromkeys(("gone", "deleted", "removed", "terminated"), NONE),
}


def snapshot_of(*words):
    rate = HourlyRate(total="1.00", compute="0.90", disk="0.10")
    store = FleetStore()
    store.replace(
        [
            Cvm(id=f"cvm_{n}", name=word, status=word, hourly_rate=rate)
            for n, word in enumerate(words)
        ],
        received=time.monotonic(),
    )
    store.set_health(Health("live", datetime.now(UTC)))
    return store.snapshot()


def test_the_table_is_whole():
    assert set(TABLE) == set(PHASES)
    assert {phase for phase, info in TABLE.items() if info.moving} == MOVING
    for phase, info in TABLE.items():
        assert (info.operation is not None) == (info.doing is not None) == info.moving, phase
        assert info.disk_charged or not info.computing_charged, phase
        shown = TABLE[info.shown_as or phase]
        assert shown.computing_charged == info.computing_charged, phase


@pytest.mark.parametrize("word", WORDS)
def test_what_is_charged_is_the_same_everywhere(word):
    snapshot = snapshot_of(word)
    (row,) = snapshot.rows
    expected = CHARGED.get(word, DISK)
    frame = fleet_frame(snapshot, columns="wide")
    feed = PatchFeed(columns_of(USUAL), FigureHistory())
    feed.message(lambda: snapshot)
    assert charged_usd(row) == expected
    assert frame.cvm.charged == expected
    assert HourlyPrice(FULL, DISK).charged(status_of(word)) == expected
    assert Decimal(feed.totals()["rate"]) == expected
    (amount,) = frame.cvm.cost("1h", money="decimal")["amount_usd"]
    assert Decimal(amount) == expected


@pytest.mark.parametrize("word", ["stopping", "running", "stopped", "failed"])
def test_a_deletion_saves_what_is_charged(word):
    (row,) = snapshot_of(word).rows
    plan = Plan([row], "delete")
    assert plan.rate_change_usd_h == -CHARGED.get(word, DISK)


def test_the_price_that_is_shown_adds_up_to_the_header():
    snapshot = snapshot_of("running", "stopping", "stopped", "exited", "failed")
    feed = PatchFeed(columns_of(USUAL), FigureHistory())
    message = feed.message(lambda: snapshot)
    (column,) = [c for c in feed.columns if c.label == "USD/h"]
    shown = [Decimal(cell) for cell in message["cols"][column.name]]
    assert shown == [FULL, FULL, DISK, DISK, DISK]
    assert sum(shown) == Decimal(feed.totals()["rate"])
    text = show(snapshot)["text/plain"].splitlines()
    at = text[1].index("USD/h")
    assert [Decimal(line[at:].split()[0]) for line in text[2:]] == shown
    prices = {
        row.status: fact[1]
        for row in snapshot
        for fact in card_state(row)["facts"]
        if fact[0] == "cost"
    }
    assert prices["stopping"] == "1 USD/h"
    assert prices["stopped"] == "0.1 USD/h (1 when it runs)"


def test_what_is_shown_without_a_widget_names_a_status_as_the_table_does():
    shown = show(snapshot_of("error", "exited", "shutting_down", "brand new"))["text/plain"]
    at = shown.splitlines()[1].index("status")
    words = ["failed", "stopped", "shutting down", "brand new"]
    assert [line[at:].split("  ")[0] for line in shown.splitlines()[2:]] == words
    assert shown.startswith("4 CVMs; ")
    assert show(snapshot_of("running"))["text/plain"].startswith("1 CVM; ")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_has_the_status_that_it_means_and_no_other(word):
    same = {status for status in STATUSES if same_status(word, status)}
    assert same == {status_of(word)} - ({"unknown"} - {word})
    assert same_status(word.upper(), word)
    assert not same_status(None, word)


def test_words_that_mean_the_same_are_the_same():
    assert same_status("exited", "stopped")
    assert same_status("stopped", "Exited")
    assert same_status("deleted", "gone")
    assert same_status("updating", "restarting")
    assert not same_status("restarting", "updating")
    assert not same_status("brand_new", "unknown_too")
    assert same_status("brand_new", "brand_new")


@pytest.mark.parametrize("word", [*WORDS, "Running", " stopped "])
def test_every_word_of_the_table_is_a_status(word):
    assert is_status(word) == (word not in {"unknown", "in_progress"})
    assert not is_status(word) or phase_of(word) != "unknown"
    assert closest_status("stoped") == "stopped"


@pytest.fixture(scope="module")
def demo(new_cloud):
    """A client of a cloud in which some CVMs have exited, as the service calls it."""
    with (
        new_cloud(seed="demo", speed=30) as running,
        cvm.Client(api_key=running.api_key, base_url=running.url) as client,
    ):
        yield client


def test_one_that_exited_has_stopped_for_every_way_to_ask(demo):
    name = next(one.name for one in demo.list_cvms() if one.status == "exited")
    with Fleet(demo) as fleet:
        found = fleet.wait(name, status="stopped", timeout=30)
        assert [row.status for row in found.rows] == ["exited"]
        assert fleet.where(status="stopped", name=name).names == [name]
        assert fleet.where(status="exited", name=name).names == [name]
        assert fleet.search(f"status = 'stopped' and name = '{name}'").names == [name]
    state = demo.watch_cvm_state(name, target="stopped", timeout=30, max_retries=0)
    assert state.status == "stopped"
