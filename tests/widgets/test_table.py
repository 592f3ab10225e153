"""The table's Python half: what goes to the front end, and what is taken from it."""

import gc
import json
import math
import threading
import time
import weakref
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import chain

import ipywidgets
import msgspec
import numpy as np
import pytest
from helpers import COMPOSE, LONG_PATIENCE, collected, commit, settled, until

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import first_https
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.store.figures import Point, Sample
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.widgets.base.confirm import Confirmation
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.table.facets import facet_of
from cvm_notebook.widgets.table.patches import PatchFeed
from cvm_notebook.widgets.table.presentation import COLUMNS, HINTS, USUAL, columns_of, spark, specs

CVMS = ("web-1", "web-2", "data-1")


@pytest.fixture
def table(fleet):
    return fleet.table(undo=0)


def booted(wire, table):
    """Return the first snapshot, as a front end reads it."""
    (buffers,) = [b for i, kind, _, b in wire.log if i == table.model_id and kind == "comm_open"]
    return json.loads(bytes(buffers[0]))


class Front:
    """A front end of the table: keeps what was sent to it, and sends what a view sends."""

    def __init__(self, wire, table):
        self.wire, self.table = wire, table
        self.boot = booted(wire, table)
        self.token, self.revision = self.boot["token"], self.boot["revision"]
        self.k = dict(zip(self.boot["ids"], self.boot["ks"], strict=True))

    def begin(self, fleet):
        """Have the table as it is; return how many patches were sent before what changes now."""
        figures = fleet.store.figures  # which are measured again in half a minute
        until(lambda: all(figures.sample(row.id) for row in fleet.snapshot()))
        snapshots = len(self.wire.sent(self.table, "snapshot"))
        self.say("hello", n=-1)
        self.wire.wait(self.table, "snapshot", after=snapshots)
        return len(self.wire.sent(self.table, "patch"))

    def greet(self):
        """Say hello as a view that has all that was sent, also where more is sent just now."""
        ui_thread.post(lambda: self.table._take({"kind": "hello", "n": self.table._n}))

    def flushed(self):
        """Have all sent that has changed; none of it is on its way on the UI thread any more."""
        self.say("ack", n=self.table._n)  # who does not answer is sent less
        ui_thread.post(self.table.flush, self.table)
        settled()

    def named(self, fleet, *names):
        return [self.k[fleet[name].id] for name in names]

    def say(self, kind, **content):
        self.wire.say(self.table, {"kind": kind, "token": self.token, "n": 1, **content})

    def act(self, verb, ks, click="c-1", **content):
        shown = {"click": click, "revision": self.revision}
        self.say("act", **{"verb": verb, "ks": ks, **shown, **content})


@pytest.fixture
def front(wire, table):
    return Front(wire, table)


def asked(fleet, verb):
    return [record for record in fleet.operator.records() if record.verb == verb]


# --- what is shown --------------------------------------------------------------------------------


def test_the_first_snapshot_rides_in_the_opening_of_the_comm(front, fleet):
    boot = front.boot
    assert set(boot["ids"]) == {row.id for row in fleet.snapshot()}
    assert boot["cols"]["name"] == [row.name for row in fleet.snapshot()]
    assert boot["cols"]["status"] == ["running"] * 3
    rates = [row.cvm.hourly_rate.total for row in fleet.snapshot()]
    assert Decimal(boot["totals"]["rate"]) == sum(map(Decimal, map(str, rates)))
    assert [column["name"] for column in boot["columns"]][:2] == ["name", "status"]


def test_a_view_is_one_model_whatever_the_rows(wire, table, fleet):
    opened = len(wire.opened)
    fleet["web-1"].stop().wait(LONG_PATIENCE)
    assert fleet.table() is table
    assert len(wire.opened) == opened <= 5


def test_a_change_made_elsewhere_is_sent_as_the_cells_that_changed(
    front, wire, table, client, fleet
):
    before = front.begin(fleet)
    client.stop_cvm("web-1")
    fleet.refresh()
    fleet.wait("web-1", status="stopped", progress=False)
    k = front.named(fleet, "web-1")[0]
    seen = []
    for after in range(before, before + 20):
        patch = wire.wait(table, "patch", after=after)
        assert len(json.dumps(patch)) < 300 + 100  # the totals and the counters are not a row's
        ks, cells = patch["set"].get("status", ([], []))
        assert set(ks) <= {k}
        seen += cells
        if "stopped" in seen:
            break
    assert seen[-1] == "stopped"
    disk = Decimal(str(fleet["web-1"].cvm.hourly_rate.disk))
    others = (one.cvm for one in fleet.snapshot() if one.name != "web-1")
    running = [Decimal(str(one.hourly_rate.total)) for one in others]
    assert Decimal(patch["totals"]["rate"]) == disk + sum(running)


def test_figures_change_cells_without_a_row(front, wire, table, fleet):
    k, before = front.named(fleet, "web-1")[0], fleet["web-1"].row
    patches, now = front.begin(fleet), fleet.now()
    fleet.store.measure(
        [Sample(before.id, time.time(), now, (0.42, 0.4, 0.4), memory=0.5, uptime=9_000)]
    )
    for after in range(patches, patches + 20):
        patch = wire.wait(table, "patch", after=after)
        ks, cells = patch["set"].get("mem", ([], []))
        if (k, 50) in zip(ks, cells, strict=True):
            break
    assert dict(zip(*patch["set"]["cpu"], strict=True))[k] == 42
    assert dict(zip(*patch["set"]["spark"], strict=True))[k] == " " * 14 + "▄"
    assert fleet["web-1"].row is before


def test_since_when_rows_in_sight_run_is_sent_anew_though_no_row_changes(front, wire, table, fleet):
    (k,), before = front.named(fleet, "web-1"), fleet["web-1"].row
    front.say("seen", ks=[k])

    def pulsed():
        pulses = len(wire.sent(table, "pulse"))
        ui_thread.post(table.pulse, table)
        settled()
        return [one["boots"] for one in wire.sent(table, "pulse")[pulses:] if "boots" in one]

    def is_sent(uptime, seconds):
        began = time.time()
        fleet.store.patch(
            [
                Observation(
                    id=before.id,
                    status=before.status,
                    uptime=uptime,
                    boot_progress=before.boot_progress,
                    received=fleet.now(),
                    source="batch",
                )
            ]
        )
        assert fleet["web-1"].row is before
        sent = [dict(zip(boots["ks"], boots["at"], strict=True)) for boots in pulsed()]
        began_at = [at[k] / 1000 + seconds for at in sent if k in at]
        return any(began - 1 <= at <= time.time() + 1 for at in began_at)

    for uptime, seconds in (("2d 3h", 183_600), ("1m", 60)):  # read, and restarted unseen
        until(partial(is_sent, uptime, seconds))  # again where the service was asked meanwhile
    until(lambda: not pulsed())  # it is sent once


def test_where_a_cvm_is_reached_is_sent_when_it_is_asked_for(front, wire, table, fleet):
    assert "url" not in front.boot["cols"]
    (k,), row = front.named(fleet, "web-1"), fleet["web-1"].row
    front.say("endpoint", ks=[k])
    settled()
    url = first_https(row.cvm.endpoints)
    assert wire.wait(table, "endpoint") == {"kind": "endpoint", "k": k, "url": url}


def test_headings_begin_with_a_capital():
    heads = [column.label for column in COLUMNS.values()]
    assert {"Name", "Size", "CPU", "USD/h", "Month", "ID", "vCPU", "Memory GB"} <= set(heads)
    assert all(head[0].isupper() or head == "vCPU" for head in heads)
    hinted = {one["name"] for one in specs(columns_of(USUAL)) if "hint" in one}
    assert hinted == set(USUAL) - {"name", "status"}
    assert set(HINTS) <= set(COLUMNS)


def test_bars_are_minutes_and_what_nobody_measured_is_a_gap():
    def sample(ago, cpu):
        return Point(0.0, 1_000.0 - ago, cpu, cpu, 0.5, 30.0, 1.0)

    seen = [sample(*one) for one in ((901.0, 1.0), (841.0, 0.0), (60.0, 0.5), (1.0, 2.0))]
    assert spark(seen, 1_000.0) == "▁" + " " * 12 + "▅█"
    assert spark([sample(1.0, math.nan)], 1_000.0) == " " * 15


def test_what_was_last_known_of_a_failing_guest_is_shown_and_a_stopped_one_idles_no_more(fleet):
    row, now = fleet["web-1"].row, fleet.now()
    for ago in (60.0, 30.0, 0.0):
        figures = Sample(row.id, time.time() - ago, now - ago, (0.01, 0.01, 0.01), 0.5, 9_000)
        fleet.store.measure([figures])
    fleet.store.measure([], failed={row.id: "no answer"})
    feed = PatchFeed(columns_of(["cpu"]), fleet.store.figures)

    def cells():
        cols = feed.message(fleet.store.snapshot)["cols"]
        at = cols["name"].index("web-1")
        return {name: cols[name][at] for name in ("cpu", "spark", "idle")}

    shown = cells()
    assert (shown["cpu"], shown["spark"].strip()) == (1, "▁▁")
    assert shown["idle"] >= 60
    fleet["web-1"].stop().wait(LONG_PATIENCE)
    feed.lose()
    assert cells() == {"cpu": None, "spark": None, "idle": None}


def test_nothing_is_measured_for_a_table_without_such_columns(front, table):
    front.say("hello", n=0)
    settled()
    assert table._measuring.handle is not None
    for name in ("cpu", "mem"):
        front.say("column", name=name, on=False)
    settled()
    settled()
    assert table._measuring.handle is None
    front.say("columns")
    settled()
    settled()
    assert table._measuring.handle is not None


def test_a_large_fleet_is_measured_where_it_is_seen(front, table, fleet, monkeypatch):
    monkeypatch.setattr("cvm_notebook.widgets.table.measuring.ALL_MEASURED", 2)
    numbers = front.named(fleet, "web-1", "web-2")
    front.say("seen", ks=numbers)
    settled()
    assert table._measuring.handle.cvm_ids == {fleet["web-1"].id, fleet["web-2"].id}
    for query in ("cpu < 10%", "running order by idle", "cpu is null"):
        table.query = query
        until(lambda: table._measuring.handle.cvm_ids is None)
        table.query = "web cpu <"  # not finished
        until(lambda: table._measuring.handle.cvm_ids is not None)
    front.say("seen", ks=numbers, sort="cpu")
    settled()
    assert table._measuring.handle.cvm_ids is None
    front.say("seen", ks=numbers, sort="name")
    settled()
    assert table._measuring.handle.cvm_ids is not None


def are_counted(messages):
    numbers = [one["n"] for one in messages if one["kind"] in {"snapshot", "patch"}]
    return numbers == list(range(2, 2 + len(numbers)))


def test_messages_are_counted_without_a_gap(front, wire, table, fleet):
    for name in ("web-1", "web-2"):
        before = len(wire.sent(table, "patch"))
        fleet[name].stop().wait(LONG_PATIENCE)
        wire.wait(table, "patch", after=before)
    assert are_counted(wire.sent(table))


def test_a_view_that_lost_something_gets_everything_again(front, wire, table):
    front.say("hello", n=0)
    snapshot = wire.wait(table, "snapshot")
    assert snapshot["ids"] == front.boot["ids"]
    assert are_counted(wire.sent(table))


def test_rows_keep_their_number_over_snapshots(front, wire, table):
    front.say("hello", n=0)
    assert wire.wait(table, "snapshot")["ks"] == front.boot["ks"]


def test_a_new_cvm_is_added_on_top_and_a_deleted_one_goes(front, wire, table, client, fleet):
    before = front.begin(fleet)
    made = commit(client, "later")
    fleet.refresh()
    added = next(
        patch["add"]
        for after in range(before, before + 20)
        if "add" in (patch := wire.wait(table, "patch", after=after))
    )
    assert added["ids"] == [made.id]
    assert added["cols"]["name"] == ["later"]
    client.delete_cvm("later")
    fleet.refresh()
    gone = next(
        patch["del"]
        for after in range(40)
        if (patch := wire.wait(table, "patch", after=after))["del"]
    )
    assert gone == added["ks"]


def test_nothing_is_sent_while_nobody_looks(front, wire, table, fleet):
    wire.wait(table, "views")  # read when somebody began to look
    front.say("bye")
    settled()
    ui_thread.post(table.flush, table)
    settled()
    before = len(wire.sent(table))
    fleet["web-1"].stop().wait(LONG_PATIENCE)
    table.flush()
    table.pulse()
    assert len(wire.sent(table)) == before
    front.say("alive")
    snapshot = wire.wait(table, "snapshot")
    at = snapshot["ids"].index(fleet["web-1"].id)
    assert snapshot["cols"]["status"][at] == "stopped"


def test_each_of_two_quick_choices_of_columns_counts(front, wire, table):
    def chosen(*changes):
        for change in changes:  # before any answer
            front.say("column", **change)
        front.flushed()
        snapshot = wire.sent(table, "snapshot")[-1]
        assert len(snapshot["cols"]["vcpu"]) == 3
        return [column["name"] for column in snapshot["columns"]]

    table.set(columns=["region"])
    first = [{"name": name, "on": True} for name in ("vcpu", "no-such-column", 7, ["vcpu"], "os")]
    assert chosen(*first) == ["name", "status", "region", "vcpu", "os"]
    steps = [{"name": "os", "step": -1}] * 2 + [{"name": "status", "step": 1}]
    assert chosen(*steps, {"name": "region", "on": False}) == ["name", "status", "os", "vcpu"]
    ends = [{"name": "os", "step": -1}, {"name": "vcpu", "step": 1}, {"name": "name", "on": False}]
    sent = len(wire.sent(table, "snapshot"))
    assert chosen(*ends) == ["name", "status", "os", "vcpu"]
    assert len(wire.sent(table, "snapshot")) == sent, "nothing has changed"


def test_a_column_that_does_not_exist_is_refused_at_once(fleet):
    with pytest.raises(InvalidInput, match="instance_type"):
        fleet.table(columns=["instance_typ"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": [["vcpu"]]},
        {"columns": "vcpu"},
        {"height": -3},
        {"undo": float("nan")},
        {"by": np.array(["app", "cvm"])},  # which is neither equal to a word nor unequal
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_table_of_which_one_value_is_wrong_stays_as_it_was(fleet, wrong):
    with pytest.raises(InvalidInput, match=rf"^{next(iter(wrong))}: "):
        fleet.table(**wrong)
    assert fleet._table is None
    table = fleet.table()
    was = table.height, table.by, len(table._feed.columns)
    with pytest.raises(InvalidInput, match=rf"^{next(iter(wrong))}: "):
        table.set(**{"columns": ["vcpu"], "height": 300, "by": "app"} | wrong)
    assert (table.height, table.by, len(table._feed.columns)) == was


def test_rows_tell_their_app_only_where_they_are_grouped_by_it(front, wire, table, fleet):
    assert not [name for name in front.boot["cols"] if name.startswith("_")]
    sent = len(wire.sent(table, "snapshot"))
    assert fleet.table(by="app") is table
    cols = wire.wait(table, "snapshot", after=sent)["cols"]
    assert cols["_app"] == [row.app_id for row in fleet.snapshot()]
    assert cols["_hash"] == [row.cvm.compose_hash[:16] for row in fleet.snapshot()]
    assert cols["_usd"] == ["0.06078"] * 3
    sent = len(wire.sent(table, "snapshot"))
    wire.set(table, by="cvm")  # the button
    assert "_app" not in wire.wait(table, "snapshot", after=sent)["cols"]
    with pytest.raises(InvalidInput, match="by: it is 'node'"):
        fleet.table(by="node")


def test_a_large_fleets_rows_do_not_stay_in_the_saved_state(front, wire, table, monkeypatch):
    front.say("ack")
    settled()
    assert table._boot  # a small one shows them when the notebook is opened without a kernel
    monkeypatch.setattr("cvm_notebook.widgets.table.table._KEPT_ROWS", 2)
    front.say("ack")
    settled()
    assert table._boot == b""


def test_a_view_that_knows_it_all_is_sent_no_more_than_the_selection(front, wire, table, fleet):
    fleet.selection = fleet.where(name="web-1")
    front.greet()
    wire.wait(table, "selected", after=1)
    assert not wire.sent(table, "snapshot")


def test_ages_never_make_a_row_look_fresher_than_it_is(table, fleet):
    snapshot = fleet.snapshot()
    ages = table._feed.ages(snapshot)
    for row in snapshot:
        shown = ages["own"].get(str(table._feed.number(row.id)), ages["common"])
        assert shown >= row.age(snapshot.monotonic) - 1


# --- searching and selecting ----------------------------------------------------------------------


def test_the_search_language_is_understood_in_the_kernel(front, wire, table, fleet):
    wire.set(table, query=" name like 'web-%' order by name desc")
    found = wire.wait(table, "found")
    assert found["ks"] == front.named(fleet, "web-2", "web-1")
    assert found["ordered"] is True


def test_a_search_that_cannot_be_understood_says_where(front, wire, table):
    wire.set(table, query="status = = 1")
    found = wire.wait(table, "found")
    assert "^" in found["error"]
    assert "ks" not in found


def test_a_selection_by_hand_is_explored_with_pandas(front, fleet):
    front.say("select", ks=[*front.named(fleet, "web-1", "data-1"), 999, "x", None])
    settled()
    assert sorted(fleet.selection.names) == ["data-1", "web-1"]
    assert len(fleet.selection.frame()) == 2
    assert fleet.selection.plan("stop").phrase == "stop 2"


def test_every_view_is_sent_what_one_of_them_selects(front, wire, table, fleet):
    front.say("select", ks=front.named(fleet, "web-1"), pick="17-4")
    message = wire.wait(table, "selected")
    assert message["ks"] == front.named(fleet, "web-1")
    assert message["pick"] == "17-4"  # whoever picked it knows by this that older messages end here


def test_a_selection_from_python_is_shown(front, wire, table, fleet):
    fleet.selection = fleet.where(name="web-*")
    message = wire.wait(table, "selected")
    assert sorted(message["ks"]) == sorted(front.named(fleet, "web-1", "web-2"))


def test_what_is_searched_for_is_one_trait_and_whoever_comes_later_is_sent_what_it_finds(
    front, wire, table, fleet
):
    table.query = "name like 'web-%' order by name"
    assert wire.updates(table)[-1] == {"query": "name like 'web-%' order by name"}
    found = wire.wait(table, "found")["ks"]
    assert found == front.named(fleet, "web-1", "web-2")
    front.say("hello", n=0)  # of a page that is loaded again
    assert wire.wait(table, "snapshot")["found"]["ks"] == found
    before = len(wire.sent(table, "found"))
    front.greet()
    assert wire.wait(table, "found", after=before)["ks"] == found
    table.query = ""
    settled()
    table.flush()
    front.say("hello", n=0)
    assert "found" not in wire.wait(table, "snapshot", after=1)


def test_a_facet_has_every_app_of_a_large_fleet(fleet):
    before = fleet.snapshot()
    one = before.rows[0]
    apps = [
        replace(one, cvm=msgspec.structs.replace(one.cvm, id=f"cvm_{n}", app_id=f"app{n}"))
        for n in range(500)
    ]
    large = replace(before, rows=tuple(apps), index=None)
    assert {found["value"] for found in facet_of(large, "app_id")} == {
        f"app{n}" for n in range(500)
    }


def test_a_facet_lists_the_values_there_are_and_apps_by_a_name(front, wire, table, fleet):
    front.say("facet", name="region")
    region = fleet["web-1"].cvm.node_info.region
    values = wire.wait(table, "facet")["values"]
    assert {one["value"]: one["count"] for one in values}[region] >= 1
    assert sum(one["count"] for one in values) == 3
    front.say("facet", name="app_id")
    apps = {one["value"]: one["label"] for one in wire.wait(table, "facet", after=1)["values"]}
    assert apps == {row.app_id: row.name for row in fleet.snapshot()}
    front.say("facet", name="compose_hash")
    settled()
    assert len(wire.sent(table, "facet")) == 2


@pytest.fixture
def no_views(monkeypatch, tmp_path):
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))


def test_a_view_that_is_saved_in_the_table_is_shown_by_its_name(
    no_views, front, wire, table, fleet
):
    fleet.table(columns=["vcpu"], by="app")
    table.query = "vcpu >= 1"
    look = {"widths": {"name": 200}, "sort": {"name": "vcpu", "down": True}}
    front.say("view", do="save", name="gpu", look=look)
    until(lambda: (wire.sent(table, "views") or [{"names": ()}])[-1]["names"][1:] == ("gpu",))
    front.say("view", do="load", name="Default", view="7-7")
    message = wire.wait(table, "look")
    assert (message["view"], message["query"], message["by"]) == ("7-7", "", "cvm")
    assert len(table._feed.columns) > 3
    turn = table._look_turn
    assert fleet.view("gpu") is table
    assert (table.query, table.by) == ("vcpu >= 1", "app")
    front.say("hello", n=0)
    front.flushed()
    shown = wire.sent(table, "snapshot")[-1]
    assert shown["look"]["turn"] > turn
    assert [one["name"] for one in shown["columns"]] == ["name", "status", "vcpu"]
    assert {name: shown["look"][name] for name in look} == look
    assert shown["view"] == "gpu"
    with pytest.raises(InvalidInput, match=r"no saved view 'cpu'\. Saved are: gpu\."):
        fleet.view("cpu")
    front.say("view", do="delete", name="gpu")
    until(lambda: wire.sent(table, "views")[-1]["names"] == ("Default",))
    front.say("view", do="delete", name="gpu")
    assert "no saved view" in wire.wait(table, "notice")["text"]


def test_what_the_month_has_cost_rides_with_the_pulses(front, wire, table, fleet):
    ui_thread.post(table.pulse, table)
    until(lambda: any("spending" in message for message in wire.sent(table, "pulse")))
    spent_by_k = {}

    def all_sent():
        for message in wire.sent(table, "pulse"):
            spent = message.get("spent", {"ks": [], "usd": []})
            spent_by_k.update(zip(spent["ks"], spent["usd"], strict=True))
        return len(spent_by_k) == 3

    until(all_sent)
    assert set(spent_by_k) == set(front.k.values())
    front.say("hello", n=0)
    assert len(wire.wait(table, "snapshot")["spent"]["ks"]) == 3
    assert "month_usd" not in wire.wait(table, "snapshot")["cols"]


def test_an_order_by_month_brings_what_was_not_sent_yet_at_once(front, wire, table, monkeypatch):
    monkeypatch.setattr("cvm_notebook.widgets.table.spending._AT_A_TIME", 1)

    def sent():
        spent = [one["spent"]["ks"] for one in wire.sent(table, "pulse") if "spent" in one]
        return set(chain(*spent))

    ui_thread.post(table.pulse, table)
    until(sent)
    front.say("seen", ks=[], sort="month_usd")
    settled()
    assert sent() == set(front.k.values())


# --- acting ---------------------------------------------------------------------------------------


def test_a_click_becomes_one_operation(front, wire, table, fleet):
    front.act("stop", front.named(fleet, "web-1"))
    message = wire.wait(table, "asked")
    assert [record.id for record in asked(fleet, "stop")] == message["ops"]
    fleet.wait("web-1", status="stopped", progress=False)


def test_a_click_that_comes_twice_counts_once(front, wire, table, fleet):
    for _ in range(3):
        front.act("restart", front.named(fleet, "web-1"), click="same")
    wire.wait(table, "asked")
    settled()
    assert len(asked(fleet, "restart")) == 1


def test_a_click_from_a_copied_notebook_does_nothing(front, wire, table, fleet):
    front.act("stop", front.named(fleet, "web-1"), token="of another kernel")
    front.act("stop", front.named(fleet, "web-1"), token=None, click="c-2")
    settled()
    assert not asked(fleet, "stop")
    assert not wire.sent(table, "asked")


def test_traits_from_a_forged_state_do_nothing(front, wire, table, fleet):
    wire.set(table, _boot="Zm9yZ2Vk", selected=["x"], height=77)
    settled()
    assert not fleet.operator.records()
    assert table.selected == ()


def test_a_handler_only_writes_an_intent(front, table, fleet, monkeypatch):
    threads = []
    monkeypatch.setattr(
        table._clicks, "receive", lambda _: threads.append(threading.current_thread().name)
    )
    front.act("stop", front.named(fleet, "web-1"))
    settled()
    assert threads == ["cvm-widgets"]


def test_a_click_on_what_has_changed_since_it_was_shown_is_asked_again(
    front, wire, table, fleet, client
):
    client.stop_cvm("web-1")
    fleet.refresh()
    fleet.wait("web-1", status="stopped", progress=False)
    client.start_cvm("web-1")
    fleet.refresh()
    fleet.wait("web-1", status="running", progress=False)
    front.act("restart", front.named(fleet, "web-1"))  # with the revision of the first snapshot
    wire.wait(table, "asked")
    (record,) = asked(fleet, "restart")
    assert (record.state, record.attempts) == ("failed", 0)
    assert "when it was shown" in record.error


def test_a_click_on_a_row_that_vanished_is_explained(front, wire, table, fleet, client):
    ks = front.named(fleet, "web-1")
    client.delete_cvm("web-1")
    fleet.refresh()
    fleet.wait("web-2", status="running", progress=False)
    while fleet.known(front.boot["ids"][front.boot["ks"].index(ks[0])]) is not None:
        settled()
    front.act("stop", ks)
    notice = wire.wait(table, "notice")
    assert "no longer in the fleet" in notice["text"] or "gone" in notice["text"]
    assert not asked(fleet, "stop")


def test_what_needs_nothing_says_why(front, wire, table, fleet):
    front.act("start", front.named(fleet, "web-1"))
    assert "is already running" in wire.wait(table, "notice")["text"]


def test_an_unknown_verb_is_refused(front, wire, table, fleet):
    front.act("format", front.named(fleet, "web-1"))
    assert "format" in wire.wait(table, "notice")["text"]


@pytest.mark.parametrize(
    "content",
    [
        {"verb": "stop", "ks": "all", "click": "x"},
        {"verb": ["stop"], "ks": [1], "click": "x"},
        {"verb": "stop", "ks": [1]},
        {"verb": "stop", "ks": [1], "click": ""},
        {"verb": "stop", "ks": [True, 1.5, {}], "click": "x", "revision": "new"},
    ],
)
def test_malformed_messages_do_nothing(front, fleet, content):
    front.say("act", **content)
    settled()
    assert not asked(fleet, "stop")


def test_a_row_that_is_opened_is_shown_as_its_card_in_the_view_that_asked(
    front, wire, table, fleet
):
    front.say("open", ks=front.named(fleet, "web-1"), view="7-7")
    message = wire.wait(table, "opened")
    assert message["card"] == fleet["web-1"].card().model_id
    assert (message["view"], message["of"], message["id"]) == ("7-7", "web-1", fleet["web-1"].id)


def test_a_row_is_opened_elsewhere_where_somebody_shows_it(front, wire, table, fleet):
    shown = []
    take_back = table.on_open(shown.append)
    front.say("open", ks=front.named(fleet, "web-1"), view="7-7")
    assert wire.wait(table, "opened")["card"] is None
    assert shown == [fleet["web-1"].id]
    take_back()
    front.say("open", ks=front.named(fleet, "web-1"), view="7-7")
    assert wire.wait(table, "opened", after=1)["card"] is not None
    front.say("open", ks=[999, "x"], view=None)
    front.say("open", ks=front.named(fleet, "web-1"), view="7-7", token="of another kernel")
    settled()
    assert len(wire.sent(table, "opened")) == 2


# --- confirming -----------------------------------------------------------------------------------


def test_a_deletion_wants_the_name_and_every_loss_ticked(front, wire, table, fleet):
    front.act("delete", front.named(fleet, "web-1"))
    question = wire.wait(table, "confirm")
    assert question["phrase"] == "web-1"
    assert any("disk" in sentence for sentence in question["sentences"])
    assert "This is the last CVM of web-1." in question["sentences"]
    assert "replicas" not in question["head"]
    front.say("confirmed", click="c-1", typed="web-2", ticked=2)
    assert "web-1" in wire.wait(table, "refused")["text"]
    front.say("confirmed", click="c-1", typed="web-1", ticked=1)
    wire.wait(table, "refused", after=1)
    assert not asked(fleet, "delete")
    front.say("confirmed", click="c-1", typed="web-1", ticked=2)
    wire.wait(table, "asked")
    (record,) = asked(fleet, "delete")
    assert fleet.operator.get(record.id).wait(LONG_PATIENCE).state == "reached"


def test_several_want_the_phrase(front, wire, table, fleet):
    front.act("stop", front.named(fleet, "web-1", "web-2"))
    question = wire.wait(table, "confirm")
    assert question["phrase"] == "stop 2"
    assert len(question["items"]) == 2
    front.say("confirmed", click="c-1", typed="stop 2", ticked=0)
    assert len(wire.wait(table, "asked")["ops"]) == 2


def test_a_stop_of_gpus_that_cost_the_same_is_asked_for_and_says_until_when(wire, client, fleet):
    asked_for = {"name": "gpu-1", "compose_file": COMPOSE, "instance_type": "h200.small"}
    client.commit_cvm_provision(client.provision_cvm(asked_for))
    fleet.refresh()
    until(lambda: "gpu-1" in fleet)
    fleet.wait("gpu-1", progress=False)
    front = Front(wire, fleet.table(undo=0))
    front.act("stop", front.named(fleet, "gpu-1"))
    question = wire.wait(front.table, "confirm")
    assert question["title"] == "Stop 'gpu-1'?"
    (sentence,) = question["sentences"]
    assert sentence.startswith("Computing costs the same until ")
    front.say("confirmed", click="c-1", typed="gpu-1", ticked=0)
    wire.wait(front.table, "refused")
    assert not asked(fleet, "stop")
    front.say("confirmed", click="c-1", typed="gpu-1", ticked=1)
    wire.wait(front.table, "asked")

    front.act("delete", front.named(fleet, "gpu-1", "web-1"), click="c-2")
    first, *lost = wire.wait(front.table, "confirm", after=1)["sentences"]
    assert first.startswith("Of gpu-1 computing costs the same until ")
    assert len(lost) == 2


def test_no_is_no(front, wire, table, fleet):
    front.act("delete", front.named(fleet, "web-1"))
    wire.wait(table, "confirm")
    front.say("cancelled", click="c-1")
    front.say("confirmed", click="c-1", typed="web-1", ticked=2)
    assert "too old" in wire.wait(table, "notice")["text"]
    assert not asked(fleet, "delete")


def test_names_that_look_alike_go_by_their_id(fleet):
    row, snapshot = fleet["web-1"].row, fleet.snapshot()

    def phrase(name):
        alike = replace(row, cvm=msgspec.structs.replace(row.cvm, name=name))
        rows = tuple(alike if other.id == row.id else other for other in snapshot)
        shown = replace(snapshot, rows=rows, index=None)
        return Confirmation.of(Plan([alike], "delete"), shown).phrase

    assert phrase("web-1") == "web-1"
    assert phrase("prod") == "prod"
    for name in ("\u0440rod", "pro\u200bd", " prod", "", "web-2"):  # the last is another's
        assert phrase(name) == row.id


def test_what_waits_to_be_sent_can_be_taken_back(front, wire, table, fleet):
    fleet.table(undo=30)
    front.act("stop", front.named(fleet, "web-1"))
    message = wire.wait(table, "asked")
    assert message["undo"] == 30
    front.say("undo", ops=message["ops"])
    until(lambda: asked(fleet, "stop")[0].done)
    (record,) = asked(fleet, "stop")
    assert (record.state, record.attempts) == ("cancelled", 0)


def test_an_operation_is_shown_in_its_row_until_it_has_ended_well(front, wire, table, fleet):
    def cells():
        patches = [patch["set"] for patch in wire.sent(table, "patch")]
        return [cell for patch in patches for cell in patch.get("op", ([], []))[1]]

    stop = fleet.operator.submit("stop", fleet["web-1"].row, delay=600)
    stop.move(state="sent")
    until(lambda: cells()[-1:] == ["stop: waiting for an answer"])
    stop.move(state="reached", done=True)
    until(lambda: cells()[-1] is None)


# --- its end --------------------------------------------------------------------------------------


def test_a_fleet_that_nobody_holds_takes_its_table_with_it(client, wire):
    before = len(ipywidgets.widgets.widget._instances)
    for _ in range(4):
        fleet = cvm.Fleet(client)
        model, kept = fleet.table().model_id, weakref.ref(fleet)
        fleet.close()
        del fleet
        gc.collect()
        settled()
        gc.collect()
        assert collected(kept)
        until(lambda model=model: model not in ipywidgets.widgets.widget._instances)
    until(lambda: len(ipywidgets.widgets.widget._instances) == before)


def test_displaying_the_same_fleet_makes_nothing_new(fleet, wire):
    shown = {fleet.table().model_id for _ in range(100)}
    assert len(shown) == 1
    assert len(wire.opened) <= 5


def test_what_fails_in_a_view_is_one_line(front, wire, table, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("sentinel-detail")

    monkeypatch.setattr(table, "flush", broken)
    ui_thread.mark(table)
    notice = wire.wait(table, "notice")
    assert notice["fault"] is True
    assert "Traceback" not in notice["text"]
    assert "sentinel-detail" not in notice["text"]
