"""Rules: when one acts, for whom, how often; what is taken back; against a real LocalCloud."""

import contextlib
import gc
import os
import subprocess
import sys
import threading
import weakref
from datetime import UTC, datetime, time, timedelta

import pytest
from helpers import COMPOSE, HANGS, busy, collected, examples, until
from hypothesis import given, settings
from hypothesis import strategies as st

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import CvmError, InvalidInput, ReadOnly
from cvm_notebook.live.rules.occasions import LATE, Occasions
from cvm_notebook.live.rules.timetable import Timetable

NOON = datetime(2026, 6, 23, 12, 0, tzinfo=UTC)  # a Tuesday


# --- timetables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "days", "at", "shown"),
    [
        ("Mon-Fri 20:00", {0, 1, 2, 3, 4}, time(20), "Mon-Fri 20:00"),
        ("mon-fri 8:05", {0, 1, 2, 3, 4}, time(8, 5), "Mon-Fri 08:05"),
        ("Sat,Sun 09:30", {5, 6}, time(9, 30), "Sat-Sun 09:30"),
        ("Fri-Mon 23:59", {4, 5, 6, 0}, time(23, 59), "Mon,Fri-Sun 23:59"),
        ("Sunday 00:00", {6}, time(0), "Sun 00:00"),
        ("Mon,Wed-Thu 12:00", {0, 2, 3}, time(12), "Mon,Wed-Thu 12:00"),
        ("daily 20:00", set(range(7)), time(20), "daily 20:00"),
        ("  20:00 ", set(range(7)), time(20), "daily 20:00"),
        ("Tue 20:00 Europe/Berlin", {1}, time(20), "Tue 20:00 Europe/Berlin"),
    ],
)
def test_a_timetable_is_read_as_people_write_it(text, days, at, shown):
    table = Timetable.read("schedule", text)
    assert (table.days, table.at, str(table)) == (days, at, shown)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", "not a schedule"),
        ("Mon-Fri", "not a schedule"),
        ("Mon-Fri at 20:00", "not a schedule"),
        ("Mon-Fri 20:00 21:00", "not a schedule"),
        ("Mon-Fri 20:00 Europe/Berlin now", "not a schedule"),
        ("Mon-Fri 24:00", "'24:00' is not a time"),
        ("Mon-Fri 20:60", "'20:60' is not a time"),
        ("Mon-Fri 8:00pm", "'8:00pm' is not a time"),
        ("Mon-Fr 20:00", "'Fr' is not a day"),
        ("Mon- 20:00", "'' is not a day"),
        ("Mon,,Tue 20:00", "'' is not a day"),
        ("weekdays 20:00", "'weekdays' is not a day"),
        ("Mon 20:00 Europe/Atlantis", "not a time zone"),
        ("Mon 20:00 ../../etc/passwd", "not a time zone"),
        (20, "not a schedule"),
        (None, "not a schedule"),
    ],
)
def test_what_is_no_timetable_is_refused_by_its_part(value, names):
    with pytest.raises(InvalidInput, match=names) as refused:
        Timetable.read("schedule", value)
    assert "schedule" in str(refused.value)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sets(st.integers(0, 6), min_size=1),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.sampled_from([None, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    st.integers(0, 2 * 366 * 86_400).map(lambda s: NOON + timedelta(seconds=s)),
)
def test_each_time_comes_next_and_was_last(days, at, zone, moment):
    table = Timetable(frozenset(days), at, zone)
    assert Timetable.read("schedule", str(table)) == table
    coming, last = table.after(moment), table.last(moment)
    assert last <= moment < coming
    assert coming - moment <= timedelta(days=7, hours=2)
    assert table.last(coming) == coming
    assert table.after(last) == coming, "there is none between them"
    for one in (coming, last):
        local = table._local(one)
        skipped = abs(local.replace(fold=0).utcoffset() - local.replace(fold=1).utcoffset())
        assert local.weekday() in days
        assert local.time() == at or timedelta() < skipped or _after_a_skip(table, local)


def _after_a_skip(table, local):
    """Whether clocks were set forward over the time of day."""
    wanted = datetime.combine(local.date(), table.at, tzinfo=local.tzinfo)
    return wanted.astimezone(UTC).astimezone(local.tzinfo).time() != table.at


@pytest.mark.parametrize(
    ("place", "text", "before", "acts"),
    [  # set forward from 2:00 to 3:00, from 24:00 to 1:00, and over a whole Friday
        ("America/New_York", "daily 02:30", "2026-03-08T00:00-05:00", "2026-03-08T03:00-04:00"),
        ("America/Santiago", "Sun 00:30", "2026-09-05T12:00-04:00", "2026-09-06T01:00-03:00"),
        ("Pacific/Apia", "Fri 20:00", "2011-12-28T00:00-10:00", "2011-12-31T00:00+14:00"),
        # set back from 2:00 to 1:00: the first of two
        ("America/New_York", "daily 01:30", "2026-11-01T00:00-04:00", "2026-11-01T01:30-04:00"),
        ("Asia/Kolkata", "Mon-Fri 20:00", "2027-12-31T20:00+05:30", "2028-01-03T20:00+05:30"),
        ("Pacific/Auckland", "daily 12:00", "2028-02-28T12:00+13:00", "2028-02-29T12:00+13:00"),
    ],
)
def test_a_time_that_clocks_skip_is_the_moment_at_which_they_are_set(
    zone, place, text, before, acts
):
    zone(place)
    at = datetime.fromisoformat(acts).astimezone(UTC)
    for table in (Timetable.read("schedule", text), Timetable.read("schedule", f"{text} {place}")):
        assert table.after(datetime.fromisoformat(before)) == at
        assert table.last(at) == at
        assert table.last(at - timedelta(seconds=1)) < at
        assert table.after(at) > at + timedelta(hours=2), "and not twice"


# --- occasions -----------------------------------------------------------------------------------


def occasions(idle=60.0, table=None):
    return Occasions(idle, None if table is None else Timetable.read("schedule", table), NOON)


def test_a_clock_that_was_days_ahead_and_is_right_again_misses_no_time():
    made = occasions(None, "daily 13:00 UTC")
    assert made.scheduled(NOON + timedelta(days=3)) == (None, NOON + timedelta(days=2, hours=1))
    assert made.scheduled(NOON + timedelta(minutes=1)) == (None, None)
    due = NOON + timedelta(hours=1)
    assert made.scheduled(due) == (due, None)
    assert made.scheduled(due - timedelta(seconds=20)) == (None, None)
    assert made.scheduled(due + timedelta(seconds=20)) == (None, None), "set by seconds, not twice"


def test_one_stretch_of_idleness_is_one_occasion():
    made = occasions()
    due = [made.idle_now({"a": length}, {"a"}) for length in (0.0, 59.0, 60.0, 90.0, None, 5e5)]
    assert due == [[], [], ["a"], [], [], []]


def test_after_work_it_is_another_one():
    made = occasions()
    assert made.idle_now({"a": 60.0}, {"a"}) == ["a"]
    assert made.idle_now({"a": 0.0}, {"a"}) == []
    assert made.idle_now({"a": 61.0}, {"a"}) == ["a"]


def test_what_is_not_known_is_neither_work_nor_idleness():
    made = occasions()
    assert made.idle_now({"a": None}, {"a"}) == []
    assert made.idle_now({"a": 60.0}, {"a"}) == ["a"]
    assert made.idle_now({"a": None}, {"a"}) == []
    assert made.idle_now({"a": 90.0}, {"a"}) == []


def test_who_was_stopped_begins_anew():
    made = occasions()
    assert made.idle_now({"a": 60.0}, {"a"}) == ["a"]
    assert made.idle_now({}, set()) == []
    assert made.idle_now({"a": 60.0}, {"a"}) == ["a"]


def test_a_scheduled_time_is_one_occasion_and_a_late_one_is_missed():
    made = occasions(None, "12:10 UTC")
    ten = NOON + timedelta(minutes=10)
    assert made.scheduled(NOON + timedelta(minutes=9)) == (None, None)
    assert made.scheduled(ten) == (ten, None)
    assert made.scheduled(ten + timedelta(seconds=10)) == (None, None)
    late = ten + timedelta(days=1) + LATE + timedelta(seconds=1)
    assert made.scheduled(late) == (None, ten + timedelta(days=1))
    assert made.scheduled(late) == (None, None)


def test_what_was_scheduled_before_the_rule_was_made_is_not_made_up_for():
    made = occasions(None, "11:59 UTC")
    assert made.scheduled(NOON + timedelta(minutes=1)) == (None, None)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.sampled_from([0.0, 30.0, 60.0, 120.0, None, "stopped"]), max_size=40))
def test_nobody_is_asked_for_twice_in_one_stretch(lengths):
    made, asked_in_stretch = occasions(), False
    for length in lengths:
        running = set() if length == "stopped" else {"a"}
        due = made.idle_now({} if length == "stopped" else {"a": length}, running)
        if length == "stopped" or (length is not None and length < 60):
            asked_in_stretch = False
        assert not (due and asked_in_stretch)
        assert due == ["a"] or length in ("stopped", None, 0.0, 30.0) or asked_in_stretch
        asked_in_stretch = asked_in_stretch or bool(due)


# --- a rule of a live fleet ----------------------------------------------------------------------

QUIET, BUSY = 1, 80  # hundredths


@pytest.fixture(scope="module")
def server(new_cloud):
    """Three CVMs that have been up for a day: one is quiet, one busy, one private."""
    with (
        new_cloud(seed="empty", speed=200) as running,
        cvm.Client(api_key=running.api_key, base_url=running.url) as client,
    ):
        private = {"docker_compose_file": COMPOSE, "public_sysinfo": False}
        for name in ("quiet-one", "busy-one", "private-one"):
            file = private if name == "private-one" else COMPOSE
            client.commit_cvm_provision(client.provision_cvm(name=name, compose_file=file))
        for name in ("quiet-one", "busy-one", "private-one"):
            client.watch_cvm_state(name, target="running")
        running.advance(86_400)
        running.ids = {row.name: row.id for row in client.list_cvms()}
        yield running


@pytest.fixture
def cloud(server):
    set_loads(server, QUIET)
    server.clear_requests()
    yield server
    server.clear_faults()
    with cvm.Client(api_key=server.api_key, base_url=server.url) as client:
        for one in client.list_cvms():
            client.watch_cvm_state(one, target=["running", "stopped"][one.status != "running"])
            if client.get_cvm_state(one).status == "stopped":
                client.start_cvm(one)
                client.watch_cvm_state(one, target="running")
                server.advance(86_400)


def set_loads(server, quiet, busy=BUSY):
    server.clear_faults()
    for name, load in (("quiet-one", quiet), ("busy-one", busy)):
        set_load(server, name, load)


def set_load(server, name, hundredths):
    loads = dict.fromkeys(("one", "five", "fifteen"), hundredths)
    arg = {f"/sysinfo/loadavg_{minutes}": value for minutes, value in loads.items()}
    arg["/sysinfo/num_cpus"] = 1
    route = f"GET /cvms/{server.ids[name]}/stats"
    server.inject({"kind": "rewrite", "route": route, "times": None, "arg": arg})


@pytest.fixture
def fleet(cloud, clock):
    with (
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        contextlib.closing(cvm.Fleet(client, clock=clock)) as made,
    ):
        made.snapshot()
        yield made


class Time:
    """Passes half a minute at a time, and waits for what is measured in it.

    It stands still while answers are waited for, or a slow machine would make minutes longer.
    """

    def __init__(self, fleet, clock, cloud):
        self.fleet, self.clock, self.cloud = fleet, clock, cloud

    def measured(self, name):
        points = self.fleet.store.figures.points(self.cloud.ids[name])
        return points[-1].received if points else None

    def passes(self, minutes):
        for _ in range(int(2 * minutes)):
            before = self.clock.monotonic()
            self.clock.advance(30)
            until(lambda now=before: self.is_measured_after(now), HANGS)

    def is_measured_after(self, moment):
        if not busy(self.fleet.poll._workers):
            self.clock.advance(0.5)  # what is due in a moment
        latest = self.measured("quiet-one")
        return latest is not None and latest > moment


@pytest.fixture
def passing(fleet, clock, cloud):
    return Time(fleet, clock, cloud)


def asked(cloud, what="shutdown"):
    return [one["path"] for one in cloud.requests() if one["path"].endswith(f"/{what}")]


def looked(rule, clock, condition):
    """Let moments pass until the rule has looked."""

    def once():
        if not busy(rule._kept_by._workers):
            clock.advance(1)
        return condition()

    until(once, HANGS)


def test_who_is_idle_for_so_long_is_found_and_no_other(fleet, passing):
    nobody_knows = "; 1 not measured for 5 min; 1 with private metrics>"
    assert repr(fleet.idle(for_="5m")) == f"<Selection: 0 of 3 CVMs{nobody_knows}"
    assert "; 1 not measured for 90 min;" in repr(fleet.idle(for_="90m"))
    passing.passes(4)
    assert repr(fleet.idle(for_="5m")) == f"<Selection: 0 of 3 CVMs{nobody_knows}"
    passing.passes(1.5)
    assert fleet.idle(for_="5m").names == ["quiet-one"]
    assert repr(fleet.idle(for_="5m")) == "<Selection: 1 of 3 CVMs; 1 with private metrics>"
    assert sorted(fleet.idle(0.9, "5m").names) == ["busy-one", "quiet-one"]
    assert fleet.search("idle_for > 5m").names == ["quiet-one"]
    assert fleet.search("cpu < 10%").names == ["quiet-one"]
    frame = fleet.frame("wide").set_index("name")
    assert frame.loc["private-one", "metrics"] == "private"
    assert frame.loc["busy-one", "cpu"] == 0.8


def test_a_rule_asks_once_and_waits_so_that_it_can_be_taken_back(fleet, passing, clock, cloud):
    rule = fleet.autostop("name like '%-one'", idle="5m", undo=120)
    passing.passes(6)
    looked(rule, clock, lambda: rule.operations)
    (operation,) = rule.operations
    assert (operation.name, operation.verb, operation.state) == ("quiet-one", "shutdown", "asked")
    assert operation.record.reason.startswith("rule-1: under 10% of CPU for ")
    assert asked(cloud) == []
    assert rule.standing.private == 1
    clock.advance(121)
    looked(rule, clock, lambda: operation.state in {"accepted", "reached"})
    assert asked(cloud) == [f"/api/v1/cvms/{cloud.ids['quiet-one']}/shutdown"]
    reasons = fleet.operations()["reason"]
    assert list(reasons.str.contains("rule-1")) == [True]


def test_what_was_taken_back_is_not_asked_again_in_the_same_stretch(fleet, passing, clock, cloud):
    rule = fleet.autostop({"name": "quiet-*"}, idle="2m", undo=600)
    passing.passes(3)
    looked(rule, clock, lambda: rule.operations)
    assert rule.operations[0].cancel()
    passing.passes(3)
    assert len(rule.operations) == 1
    set_loads(cloud, BUSY)
    passing.passes(1)
    set_loads(cloud, QUIET)
    passing.passes(4)
    looked(rule, clock, lambda: len(rule.operations) == 2)
    assert asked(cloud) == []


def test_who_is_busy_again_is_left_alone(fleet, passing, clock, cloud):
    rule = fleet.autostop("name = 'quiet-one'", idle="2m", undo=600)
    passing.passes(3)
    looked(rule, clock, lambda: rule.operations)
    set_loads(cloud, BUSY)
    passing.passes(1)
    looked(rule, clock, rule.operations[0].cancelled)
    assert "busy again" in rule.operations[0].note
    assert [event.what for event in rule.log()] == ["made", "asked", "taken back"]
    assert asked(cloud) == []


def test_at_its_time_a_rule_asks_for_all_that_it_is_about(fleet, clock, cloud):
    rule = fleet.autostop(fleet.where(name=["busy-one", "private-one"]), schedule="12:10 UTC")
    assert rule.next_at == NOON + timedelta(minutes=10)
    clock.advance(590)
    assert rule.operations == ()
    looked(rule, clock, lambda: len(rule.operations) == 2)
    assert {operation.name for operation in rule.operations} == {"busy-one", "private-one"}
    assert rule.next_at == NOON + timedelta(days=1, minutes=10)
    rule.cancel()
    assert all(operation.cancelled() for operation in rule.operations)
    assert asked(cloud) == []
    assert asked(cloud, "stats") == [], "a time needs no figures"


def test_a_time_that_passed_while_the_machine_slept_is_missed(fleet, clock):
    rule = fleet.autostop("status = running", schedule="12:10 UTC")
    clock.jump(3_600)
    looked(rule, clock, lambda: any(event.what == "missed" for event in rule.log()))
    assert rule.operations == ()


def test_the_end_of_the_fleet_is_the_end_of_its_rules(fleet, passing, clock, cloud):
    rule = fleet.autostop("name = 'quiet-one'", idle="2m", undo=600)
    passing.passes(3)
    looked(rule, clock, lambda: rule.operations)
    fleet.close(wait=True)
    assert not rule.active
    assert rule.operations[0].cancelled()
    assert [event.what for event in rule.log()][-2:] == ["taken back", "ended"]
    assert asked(cloud) == []
    with pytest.raises(CvmError, match="closed"):
        fleet.autostop("status = running", idle="1h")


PROGRAM = """
import cvm_notebook as cvm

fleet = cvm.Fleet(cvm.Client())
rule = fleet.autostop("status = running", schedule="daily 03:33", undo=300)
snapshot = fleet.snapshot()
fleet.rulebook._ask(rule, snapshot, snapshot.find("busy-one"), "it is time", for_idleness=False)
print(rule.operations[0].state)
"""


def test_the_end_of_the_program_sends_nothing_that_could_still_be_taken_back(cloud):
    env = {"PHALA_CLOUD_API_PREFIX": cloud.url, "PHALA_CLOUD_API_KEY": cloud.api_key}
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=100, check=False
    )
    assert (run.returncode, run.stdout) == (0, "asked\n")
    assert asked(cloud) == []


def test_a_cancelled_rule_has_nobody_measured_any_more(fleet, passing, clock, cloud):
    rule = fleet.autostop("status = running", idle="1h")
    passing.passes(1)
    rule.cancel()
    looked(rule, clock, lambda: not fleet.rulebook._measuring)
    until(lambda: not busy(fleet.poll._workers), HANGS)
    cloud.clear_requests()
    clock.advance(5)
    clock.advance(90)
    assert asked(cloud, "stats") == []
    rule.cancel()
    assert [event.what for event in rule.log()] == ["made", "ended"]


def test_a_fleet_that_nobody_holds_ends_its_rules(cloud, clock):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client:
        threads = set(threading.enumerate())
        fleet = cvm.Fleet(client, clock=clock)
        fleet.autostop("status = running", schedule="12:10 UTC")
        book = weakref.ref(fleet.rulebook)
        del fleet
        gc.collect()
        assert collected(book)

        def at_rest():
            clock.advance(1)  # its threads notice
            return set(threading.enumerate()) <= threads

        until(at_rest)


@pytest.mark.parametrize(
    ("where", "terms", "says"),
    [
        ("status = running", {}, "neither it nor schedule"),
        ("", {"idle": "1h"}, "where"),
        ({}, {"idle": "1h"}, "where"),
        ([], {"idle": "1h"}, "where"),
        ("status = sleeping", {"idle": "1h"}, "never"),
        ({"colour": "red"}, {"idle": "1h"}, "no such column"),
        ("status = running", {"idle": "soon"}, "not a length of time"),
        ("status = running", {"idle": "1h", "below": 10}, "not a share"),
        ("status = running", {"idle": "1h", "undo": -1}, "seconds"),
        ("status = running", {"schedule": "at night"}, "not a schedule"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_makes_no_rule(fleet, where, terms, says):
    with pytest.raises(InvalidInput, match=says):
        fleet.autostop(where, **terms)
    assert fleet.rules() == ()


def test_a_client_that_only_reads_has_no_rules(cloud, clock):
    with (
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url, read_only=True) as client,
        contextlib.closing(cvm.Fleet(client, clock=clock)) as fleet,
        pytest.raises(ReadOnly),
    ):
        fleet.autostop("status = running", idle="1h")


def test_what_is_shown_says_that_it_acts_only_while_the_kernel_runs(fleet):
    rule = fleet.autostop("name like '<b>%'", idle="1h", schedule="Mon-Fri 20:00 UTC", undo="2m")
    only = "acts only while this kernel runs"
    shown = rule._repr_mimebundle_()
    for text in (repr(rule), shown["text/plain"], shown["text/html"]):
        assert only in text
        assert "Mon-Fri 20:00 UTC" in text
    assert "<b>" not in shown["text/html"]
    assert only in fleet.rules()._repr_mimebundle_()["text/html"]
    assert rule.terms.undo == 120
    longer = fleet.autostop("name = 'none'", idle="90m")
    assert "after 90 min under 10% of CPU" in repr(longer)  # all of it, and not some two hours
