"""The dashboard's Python half: what needs attention, activity and its retry, costs."""

import datetime as dt
import json
import time
from decimal import Decimal

import pytest
from helpers import LONG_PATIENCE, settled, until

from cvm_notebook.api.models.cvm import Cvm, HourlyRate, Resource
from cvm_notebook.live.query import search
from cvm_notebook.live.store.figures import Figures, Sample
from cvm_notebook.live.store.records import Health, Provenance, Row, Snapshot
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.dashboard.attention import concerns, stop_plan, unmeasured
from cvm_notebook.widgets.dashboard.dashboard import Dashboard

CVMS = ("web-1", "web-2")
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
RATE = HourlyRate(total="0.5", compute="0.4", disk="0.1")


# --- what needs attention: pure -------------------------------------------------------------------


def row(number, status="running", *, app=None, digest="a", gpus=0, rate=RATE, **more):
    one = Cvm(
        id=f"cvm_{number}",
        name=f"web-{number}",
        app_id=app or f"app{number}",
        status=status,
        compose_hash=digest,
        hourly_rate=rate,
        resource=Resource(instance_type="tdx.small", gpus=gpus),
    )
    return Row(cvm=one, status=status, seen=Provenance(1000.0, NOON, "list"), **more)


def snapshot(*rows, idle=None):
    figures = {
        f"cvm_{number}": Figures("known", 0.01, 0.1, 1000.0, seconds)
        for number, seconds in (idle or {}).items()
    }
    return Snapshot(
        revision=1,
        rows=rows,
        taken_at=NOON,
        monotonic=1000.0,
        health=Health("live", NOON),
        figures=figures,
    )


def test_a_fleet_that_is_well_has_no_concerns():
    assert concerns(snapshot(row(1), row(2)), Decimal(1000)) == ()
    assert concerns(snapshot()) == ()


def test_each_concern_says_what_it_is_and_finds_its_cvms_in_the_table():
    fleet = snapshot(
        row(1, "error", boot_error="no such image"),
        row(2),
        row(3, app="shop", digest="a"),
        row(4, app="shop", digest="0xB"),
        row(5, "exited"),
        row(6, "stopped", rate=None),
        idle={2: 1800.0, 3: 1799.0},
    )
    found = {one.key: one for one in concerns(fleet)}
    assert list(found) == ["failed", "idle", "drift", "stopped"]
    assert found["failed"].more == "web-1: no such image"
    assert [found[key].title for key in found] == [
        "1 failed",
        "1 idle",
        "1 app with mixed compose versions",
        "1 stopped but billed",
    ]
    assert [str(found[key].usd_h) for key in ("failed", "idle", "stopped")] == ["0.1", "0.5", "0.1"]
    shown = {key: [r.id for r in search(one.query).rows(fleet)] for key, one in found.items()}
    assert shown == {
        "failed": ["cvm_1"],
        "idle": ["cvm_2"],
        "drift": ["cvm_3", "cvm_4"],
        "stopped": ["cvm_5", "cvm_6"],
    }


@pytest.mark.parametrize(
    ("credit", "title"),
    [
        ("168", None),
        ("167", "Credit ends in 6 d"),
        ("12", "Credit ends in 12 h"),
        ("0", "No credit left"),
        ("-3", "No credit left"),
    ],
)
def test_credit_that_ends_within_a_week_needs_attention(credit, title):
    fleet = snapshot(row(1), row(2))  # a dollar an hour
    found = [one.title for one in concerns(fleet, Decimal(credit))]
    assert found == ([] if title is None else [title])


def test_credit_of_a_fleet_that_costs_nothing_does_not_end():
    assert concerns(snapshot(row(1, rate=None)), Decimal(0)) == ()


def test_hostile_names_and_apps_are_text_and_no_condition():
    fleet = snapshot(row(1, app="a' or '1'='1", digest="a"), row(2, app="a' or '1'='1", digest="b"))
    (drift,) = concerns(fleet)
    assert drift.query == ""
    assert not drift.spec()["shows"]


def test_the_plan_says_what_each_saves_and_what_is_not_seen():
    cheap = HourlyRate(total="0.2", compute="0.1", disk="0.1")
    fleet = snapshot(
        row(1, rate=cheap), row(2, gpus=1), row(3, rate=None), idle={1: 7200.0, 2: 3600.0, 3: 1e4}
    )
    rows = stop_plan(fleet)["rows"]
    assert [(one["name"], one["idle"], one["saves"]) for one in rows] == [
        ("web-2", "1 h", "0.4"),
        ("web-1", "2 h", "0.1"),
        ("web-3", "2 h", None),
    ]
    assert rows[0]["note"] == "GPU load is not measured"
    assert all(one["sends"] for one in rows)


def test_a_plan_of_the_dearest_says_of_how_many():
    many = snapshot(*(row(n) for n in range(250)), idle=dict.fromkeys(range(250), 7200.0))
    plan = stop_plan(many)
    assert (len(plan["rows"]), plan["of"]) == (200, 250)


def test_of_a_large_fleet_it_is_said_how_many_may_idle_unseen():
    fleet = [row(n) for n in range(61)]
    assert unmeasured(snapshot(*fleet, row(99, "stopped"), idle={1: 0.0, 2: 7200.0})) == 59
    assert unmeasured(snapshot(*fleet[:60])) == 0, "all of a small one are measured in a moment"


def test_a_filter_by_some_of_many_apps_says_so():
    apps = [row(n, app=f"app{n // 2}", digest=str(n % 2)) for n in range(80)]
    (drift,) = (one for one in concerns(snapshot(*apps)) if one.key == "drift")
    assert drift.title.startswith("40 apps")
    assert drift.more.endswith("and 37 more. Show filters by 30 of them")
    assert drift.query.count("'app") == 30


# --- with a fleet ---------------------------------------------------------------------------------


@pytest.fixture
def board(fleet):
    table = fleet.table(undo=0, columns=["name", "status"])  # without figures none are measured
    return Dashboard(fleet, table)


@pytest.fixture
def say(wire, board):
    (buffers,) = [b for i, kind, _, b in wire.log if i == board.model_id and kind == "comm_open"]
    token = json.loads(bytes(buffers[0]))["token"]

    def say(kind, **content):
        wire.say(board, {"kind": kind, "token": token, "n": 1, **content})

    return say


def asked(fleet, verb):
    return [record for record in fleet.operator.records() if record.verb == verb]


def failed_restart(fleet, client):
    """A restart that was refused because the CVM was stopped, which runs again by now."""
    fleet["web-1"].stop().wait(LONG_PATIENCE)
    refused = fleet["web-1"].restart().wait(LONG_PATIENCE)
    assert refused.state == "failed"
    client.start_cvm("web-1")
    fleet.refresh()
    fleet.wait("web-1", status="running", progress=False)
    return refused


def test_what_failed_is_counted_and_asked_again_once(wire, board, say, fleet, client):
    refused = failed_restart(fleet, client)
    state = wire.until(board, lambda state: state["activity"]["failed"] == 1)
    newest, before = state["activity"]["lines"]
    assert (newest["verb"], newest["state"], newest["retry"]) == ("restart", "failed", True)
    assert (before["verb"], before["state"], before["retry"]) == ("stop", "reached", False)
    assert newest["by"] == "you"
    for click in ("r-1", "r-1", "r-2"):
        say("retry", id=refused.id, click=click)
    settled()
    until(lambda: len(asked(fleet, "restart")) == 2 and asked(fleet, "restart")[-1].done)
    assert asked(fleet, "restart")[-1].state == "reached"
    state = wire.until(board, lambda state: state["activity"]["failed"] == 0)
    assert [one["retry"] for one in state["activity"]["lines"]] == [False] * 3
    say("retry", id=refused.id, click="r-3")
    settled()
    assert len(asked(fleet, "restart")) == 2


def lost_stop(fleet, client):
    """A stop that was sent and got no answer, and is looked for no more."""
    op = fleet.operator.submit("stop", fleet["web-1"].row, delay=600)
    op.intent = client.intent("stop", op.cvm_id)
    op.move(state="sent")
    op.move(state="unknown", done=True)
    return op


def test_what_got_no_answer_is_read_back_before_it_is_asked_again(wire, board, say, fleet, client):
    assert board._clicks.undo == 5.0
    board._clicks.undo = 600.0
    op = lost_stop(fleet, client)
    wire.until(board, lambda state: any(one["retry"] for one in state["activity"]["lines"]))
    say("retry", id=op.id, click="r-1")
    say("retry", id=op.id, click="r-2")
    until(lambda: len(asked(fleet, "stop")) == 2)
    settled()
    again = asked(fleet, "stop")[-1]
    assert (again.state, again.delay) == ("asked", 600.0)  # with its time to take it back
    say("undo", ops=[again.id])
    until(lambda: asked(fleet, "stop")[-1].state == "cancelled")


def test_what_was_done_after_all_is_not_sent_again_and_counts_no_more(
    wire, board, say, fleet, client
):
    op = lost_stop(fleet, client)
    client.stop_cvm("web-1")
    client.watch_cvm_state("web-1", target="stopped")
    say("retry", id=op.id, click="r-1")
    state = wire.until(
        board,
        lambda state: any(line["state"] == "reached" for line in state["activity"]["lines"]),
    )
    assert state["activity"]["failed"] == 0
    (line,) = state["activity"]["lines"]
    assert (line["state"], line["words"], line["retry"]) == ("reached", "done, as read back", False)
    texts = [message["text"] for message in wire.sent(board, "notice")]
    assert texts[-1] == "Not sent again: stop web-1 was carried out."
    assert len(asked(fleet, "stop")) == 1


def test_a_concern_filters_the_table_and_its_plan_asks_before_it_stops(wire, board, say, fleet):
    board._clicks.undo = 600.0
    now, wall = fleet.now(), time.time()
    for later in (10, 910, 1810, 2710):  # after what was measured already
        fleet.store.measure(
            [
                Sample(one.id, wall + later, now + later, (0.01, 0.01, 0.01), 0.1, 90_000.0)
                for one in fleet.snapshot()
            ]
        )

    def found():
        ui_thread.post(board.pulse, board)
        settled()
        return wire.state(board)["attention"]["concerns"]

    until(found)
    (idle,) = wire.state(board)["attention"]["concerns"]
    assert (idle["key"], idle["title"], idle["shows"]) == ("idle", "2 idle", True)
    say("show", key="idle")
    say("show", key="failed")
    settled()
    assert board.table.query == "idle_for >= 30m"
    say("plan", view="v")
    plan = wire.wait(board, "plan")
    ids = [one["id"] for one in plan["rows"]]
    assert set(ids) == {one.id for one in fleet.snapshot()}
    say("act", verb="stop", ids=ids, click="p-1", revision=plan["revision"])
    question = wire.wait(board, "confirm")
    assert question["phrase"] == "stop 2"
    assert not asked(fleet, "stop")
    say("confirmed", click="p-1", typed="stop 2", ticked=len(question["sentences"]))
    until(lambda: len(asked(fleet, "stop")) == 2)
    say("undo", ops=[one.id for one in asked(fleet, "stop")])
    until(lambda: all(one.state == "cancelled" for one in asked(fleet, "stop")))


def test_costs_are_worked_out_while_somebody_looks_and_add_up_to_the_table(wire, board, say, fleet):
    assert wire.state(board)["costs"] is None
    say("costs", window="1y")
    say("page", view="v", name="fleet")
    settled()
    assert board._costs is None
    say("page", view="v", name="costs")
    costs = wire.until(board, lambda state: state["costs"])["costs"]
    assert (costs["window"], len(costs["observed"])) == ("24h", 96)
    fleet.table().flush()
    rate = json.loads(bytes(fleet.table()._boot))["totals"]["rate"]
    assert costs["charged"] == rate
    assert sum(Decimal(app["charged"]) for app in costs["apps"]) == Decimal(rate)
    assert sum(Decimal(app["amount"]) for app in costs["apps"]) == Decimal(costs["amount"])
    say("costs", window="30d")
    wire.until(board, lambda state: state["costs"]["window"] == "30d")
    say("page", view="v", name="")
    settled()
    assert board._pages == {}


def test_a_card_is_shown_until_the_overview_is_wanted(wire, board, say, fleet):
    say("open", id=fleet["web-2"].id)
    card = wire.until(board, lambda state: state["card"])["card"]
    assert card == fleet["web-2"].card().model_id
    assert fleet.table().selected == (fleet["web-2"].id,)
    assert wire.wait(board, "front")
    say("overview")
    wire.until(board, lambda state: state["card"] is None)
    say("open", id="cvm_none")
    assert wire.wait(board, "notice")["text"] == "This CVM is no longer in the fleet."
