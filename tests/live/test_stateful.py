"""Whatever is done to a fleet, by us and by others, through faults: it ends in the truth.

A state machine drives a real LocalCloud over real sockets with a real Fleet. Both live twenty times
faster than the wall; most of the time is moved, not waited for. The steps of an example overlap:
nothing waits for an operation before the end, when the faults are over and all must come to rest.
"""

import gc
import sys
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from helpers import COMPOSE, NIGHTLY
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryPolicy
from cvm_notebook.api.resources import intent
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.store.observation import phase_of
from cvm_notebook.live.store.records import Gap
from cvm_notebook.local.control_requests import RefusalError

STEPS = 200
LEAST = 100_000 if NIGHTLY else 1_000  # steps in all
EXAMPLES = LEAST // 125  # of two hundred steps hypothesis takes some 130 to 160
TIMES = 20  # faster than the wall
ON_ITS_WAY = 5.0 * TIMES  # an event of a stream may come so late: it does not say when it was true
PATIENCE = 60.0  # real seconds in which all must come to rest
ACTS = ("start", "stop", "shutdown", "restart", "delete", "replicate")
RARE = ("restart", "replicate", "shutdown")
MOST = 6  # CVMs at a time
OTHERS = "another-person/1"

FAULTS = (
    {"kind": "reset_after", "route": "write"},
    {"kind": "reset_after", "route": "commit"},
    {"kind": "reset_after", "route": "replicate"},
    {"kind": "reset", "route": "write"},
    {"kind": "reset", "route": "*"},
    {"kind": "truncate", "route": "write"},
    {"kind": "truncate", "route": "list"},
    {"kind": "truncate", "route": "batch"},
    {"kind": "late", "route": "write", "arg": 0.1},
    {"kind": "late", "route": "action", "arg": 1.2},  # later than the client waits
    {"kind": "late", "route": "list", "arg": 0.2},
    {"kind": "late", "route": "get", "arg": 0.2},
    {"kind": "status", "route": "write", "arg": 502},
    {"kind": "status", "route": "*", "arg": 503},
    {"kind": "status", "route": "list", "arg": 500},
    {"kind": "status", "route": "*", "arg": 429, "retry_after": 0.1},
    {"kind": "status", "route": "write", "arg": 504},
    {"kind": "cut", "route": "stream"},
    {"kind": "half", "route": "stream"},
    {"kind": "drop", "route": "stream"},
)


# --- the oracle -----------------------------------------------------------------------------------

VERBS = {"power_on": "start", "power_off": "stop", "replicas": "replicate"}  # else the same word
MAKERS = {"replicate", "commit"}
GOALS = {"start": "running", "restart": "running", "stop": "stopped", "shutdown": "stopped"}


class Oracle:
    """What there must be in the end, by what was asked and what the service has carried out."""

    def __init__(self, log, records, ever, batches):
        self.records = records
        self.ever = ever  # CVM id -> app id, of all that were ever seen
        self.batches = batches
        self.ours, self.theirs = Counter(), Counter()
        for entry in log:
            self.count(entry)
        self.asked = Counter((r.verb, r.cvm_id) for r in records if r.attempts and not refused(r))
        self.done = self.ours + self.theirs

    def count(self, entry):
        """Count a request that was carried out."""
        by_others = entry["user_agent"] == OTHERS
        *_, cvm_id, last = ["", *entry["path"].removeprefix("/api/v1/cvms").split("/")]
        verb = VERBS.get(last, last)
        if entry["method"] == "DELETE":
            verb, cvm_id = "delete", last
        if entry["method"] == "GET" or verb not in {*ACTS, "batch-stop"}:
            return
        # whether the answer arrived or not
        if (entry["answered"] or entry["status"] or 500) < 300:
            (self.theirs if by_others else self.ours)[verb, cvm_id] += 1

    def most(self, verb, cvm_id):
        """How often something may have been done to a CVM."""
        times = self.asked[verb, cvm_id] + self.theirs[verb, cvm_id]
        return times + (self.batches if verb == "stop" else 0)

    def sent_twice(self, histories):
        """I2: for each wish at most one effect."""
        for (verb, cvm_id), times in self.ours.items():
            most = self.batches if verb == "batch-stop" else self.asked[verb, cvm_id]
            if times > most:
                yield f"{verb} of {cvm_id} was carried out {times} times for {most} wishes"
        for cvm_id, history in histories.items():
            for kind, times in Counter(one["operation_type"] for one in history).items():
                verb = VERBS.get(kind, kind)
                if verb in GOALS and times > self.most(verb, cvm_id):
                    yield f"{cvm_id} has {times} of {kind} for {self.most(verb, cvm_id)} wishes"
        for app, there in Counter(self.ever.values()).items():
            of_app = [cvm_id for cvm_id, its in self.ever.items() if its == app]
            most = 1 + sum(self.most("replicate", cvm_id) for cvm_id in of_app)
            if there > most:
                yield f"the app {app} has had {there} CVMs for {most} wishes"

    def untrue(self, truth):
        """I3: what the ledger says that is not so."""
        known = Counter(
            (r.verb, r.cvm_id)
            for r in self.records
            # what became of an answer that was lost cannot be known of a CVM that is gone
            if r.accepted or r.state == "unknown" or (r.verb in GOALS and r.cvm_id not in truth)
        )
        for key, times in self.ours.items():
            if key[0] != "batch-stop" and times > known[key]:
                yield f"{key} was carried out {times} times, and the ledger has {known[key]}"
        for r in self.records:
            done = r.state == "reached" and r.attempts
            wrong = {
                "is not done": not r.done,
                "has no next step": r.state == "unknown" and not r.hint,
                "was cancelled and sent": r.state == "cancelled" and r.attempts,
                "failed for no reason": r.state == "failed" and not r.error,
                "did not delete": done and r.verb == "delete" and r.cvm_id in truth,
                "made nothing": done and r.verb in MAKERS and r.made_id not in self.ever,
                "was done by nobody": done and r.verb in GOALS and not self.somebody(r),
            }
            yield from (f"an operation {what}: {r}" for what, is_so in wrong.items() if is_so)

    def somebody(self, r):
        """Whether anybody has sent a CVM to where an operation was to bring it."""
        ways = [verb for verb, goal in GOALS.items() if goal == GOALS[r.verb]]
        return self.batches or any(self.done[verb, r.cvm_id] for verb in ways)

    def misplaced(self, truth, histories):
        """Who is there and must not be, or the other way, or in another status than its history."""
        for cvm_id in self.ever:
            if (cvm_id in truth) == bool(self.done["delete", cvm_id]):
                yield f"{cvm_id} was deleted and is there, or is gone and was not"
        for cvm_id, history in histories.items():
            # Of requests that meet, the service dates one before it lets the other go first.
            newest = next(one for one in history if one["status"] != "cancelled")
            kind = newest["operation_type"]
            ends = GOALS.get(VERBS.get(kind, kind), "running")
            ends = "error" if newest["status"] == "failed" else ends
            if truth[cvm_id].status != ends:
                yield f"{cvm_id} is {truth[cvm_id].status} after {kind}: {history[:2]}"


def refused(record):
    """Whether the service has answered that it did nothing."""
    return record.state == "failed" and 400 <= (record.http_status or 0) < 500


# --- the machine ----------------------------------------------------------------------------------


class FastClock:
    """A clock that goes faster than the wall's, and can be moved forward."""

    def __init__(self):
        self._lead = 0.0
        self._began = time.monotonic(), datetime.now(UTC)

    def monotonic(self):
        return (time.monotonic() - self._began[0]) * TIMES + self._lead

    def now(self):
        return self._began[1] + timedelta(seconds=self.monotonic())

    def wait(self, event, seconds):
        return event.wait(min(max(0.0, seconds) / TIMES, threading.TIMEOUT_MAX))

    def jump(self, seconds):
        self._lead += seconds


class Mirror:
    """The fleet as somebody sees it who only hears of changes."""

    def __init__(self, store):
        self.rows = {}
        self.revision = self.seq = 0
        self.wrong = []
        self.subscription = store.attach(self.changed, since=0)

    def changed(self, batch):
        if isinstance(batch, Gap):
            self.wrong.append(batch)
            return
        for change in batch:
            if change.seq != self.seq + 1 or change.revision < self.revision:
                self.wrong.append((self.seq, self.revision, change))
            if change.before != self.rows.get(change.row.id):
                self.wrong.append((self.rows.get(change.row.id), change))
            self.seq, self.revision = change.seq, change.revision
            if change.after is None:
                self.rows.pop(change.row.id, None)
            else:
                self.rows[change.row.id] = change.after


class FleetMachine(RuleBasedStateMachine):
    cloud: ClassVar = None  # set by the test, as the next is
    counts: ClassVar = Counter()
    numbers = count(1)

    def __init__(self):
        super().__init__()
        gc.collect()
        self.threads, self.files = set(threading.enumerate()), open_files()
        self.cloud.clear_faults()
        self.cloud.clear_requests()
        self.workspace = self.cloud.new_workspace()
        self.others = requests.Session()
        self.others.headers.update({"X-API-Key": self.workspace["api_key"], "User-Agent": OTHERS})
        self.clock = FastClock()
        self.client = quick_client(self.cloud.url, self.workspace["api_key"])
        self.fleet = Fleet(self.client, clock=self.clock)
        self.crashes = []
        self.fleet.operator._on_fault = self.crashes.append
        self.fleet.store._subscriptions._on_fault = self.crashes.append
        self.mirror = Mirror(self.fleet.store)
        self.ever = {}
        self.shown = ()
        self.batches = 0
        self.after = {}  # CVM id -> when somebody else's change was answered, and what follows
        self.trace = deque(maxlen=STEPS + 10)
        self.fleet.__enter__()
        self.fleet.snapshot(wait=PATIENCE * TIMES)

    # --- what we do ------------------------------------------------------------------------------

    @initialize(number=st.integers(1, 3), booted=st.booleans())
    def first(self, number, booted):
        for _ in range(number):
            self.create()
        if booted:
            self.settle_what_is_sent()
            self.advance(5.0)
            self.fleet.refresh()
            self.until(self.all_run, "they do not boot")

    @rule()
    def make(self):
        """Provision and commit another CVM."""
        self.note("make")
        self.create()

    def create(self):
        if len(self.fleet.store.snapshot()) >= MOST:
            return
        name = f"state-{next(self.numbers)}"
        with suppress(CvmError):  # a provision may be lost: nothing was made
            provision = self.client.provision_cvm(name=name, compose_file=COMPOSE)
            first = self.fleet.operator.submit("commit", None, params=provision)
            again = self.fleet.operator.submit("commit", None, params=provision)
            assert first is again or first.done

    @rule(
        verb=st.sampled_from(ACTS),
        which=st.integers(0, MOST),
        old=st.booleans(),
        double=st.booleans(),
        delay=st.sampled_from((0.0, 0.0, 0.0, 2.0)),
    )
    def ask(self, verb, which, old, double, delay):
        """Ask for something, once or twice, of a CVM as it is or as it was shown some time ago."""
        row = self.pick(which, old=old)
        self.note("ask", verb, row and row.name, old, double, delay)
        self.submit(verb, row, double=double, delay=delay)

    @rule(verb=st.sampled_from(ACTS[:4]), which=st.integers(0, MOST), double=st.booleans())
    def switch(self, verb, which, double):
        """Start or stop a CVM, as it is."""
        row = self.pick(which)
        self.note("switch", verb, row and row.name, double)
        self.submit(verb, row, double=double)

    def submit(self, verb, row, *, double, delay=0.0):
        if row is None or (verb == "replicate" and len(self.fleet.store.snapshot()) >= MOST):
            return
        self.after.pop(row.id, None)
        before = len(self.fleet.operator.records())
        one = self.fleet.operator.submit(verb, row, delay=delay)
        assert len(self.fleet.operator.records()) <= before + 1
        if double:
            other = self.fleet.operator.submit(verb, row, delay=delay)
            assert one is other or one.done

    @rule(verb=st.sampled_from(RARE), which=st.integers(0, MOST))
    def ask_in_calm(self, verb, which):
        """Ask for what faults seldom let through while there are none, and nothing is under way."""
        self.cloud.clear_faults()
        self.settle_what_is_sent()
        self.advance(60.0)
        self.fleet.refresh()
        row = self.pick(which)
        self.note("ask in calm", verb, row and row.name)
        self.submit(verb, row, double=False)
        self.settle_what_is_sent()
        self.advance(60.0)

    @rule(verb=st.sampled_from(("stop", "delete")), which=st.integers(0, MOST))
    def take_back(self, verb, which):
        """Ask for something, and think again before it is sent."""
        row = self.pick(which)
        self.note("take back", verb, row and row.name)
        if row is not None:
            op = self.fleet.operator.submit(verb, row, delay=600.0)
            assert op.cancel() or op.state != "asked"

    @rule()
    def stop_all(self):
        """Stop what there is with one request."""
        rows = self.fleet.store.snapshot().rows
        self.note("stop all", len(rows))
        if rows:
            self.after.clear()
            self.batches += 1
            self.fleet.operator.stop_together(rows)

    @rule()
    def start_all(self):
        """Start what there is, or nothing would be left to restart, or to make replicas of."""
        rows = self.fleet.store.snapshot().rows
        self.note("start all", len(rows))
        for row in rows:
            self.submit("start", row, double=False)

    @rule(which=st.integers(0, MOST), on=st.booleans())
    def follow(self, which, on):
        row = self.pick(which)
        self.note("follow", row and row.name, on)
        if row is not None:
            self.fleet.keep_fresh([row.id], on=on)

    @rule()
    def refresh(self):
        self.note("refresh")
        self.fleet.refresh()

    # --- what others do --------------------------------------------------------------------------

    @rule(verb=st.sampled_from(ACTS), which=st.integers(0, MOST))
    def meddle(self, verb, which):
        """Let another person act on a CVM of ours, and see that later looks show it."""
        row = self.pick(which)
        self.note("meddle", verb, row and row.name)
        if row is None or (verb == "replicate" and len(self.fleet.store.snapshot()) >= MOST):
            return
        self.after.pop(row.id, None)
        calm = not self.busy_with(row.id)
        path = {"delete": "", "replicate": "/replicas"}.get(verb, f"/{verb}")
        method = "DELETE" if verb == "delete" else "POST"
        status = self.call(method, f"/cvms/{row.id}{path}")
        self.trace.append(("answered", status))
        if status is not None and status < 300 and calm and not self.busy_with(row.id):
            follows = {
                "stop": {"stopping", "stopped"},
                "shutdown": {"shutting_down", "stopped"},
                "delete": {"deleting", "gone"},
            }
            if verb in follows:
                self.after[row.id] = self.clock.monotonic(), follows[verb]

    @rule(which=st.integers(0, MOST))
    def fail(self, which):
        """Let a CVM fail."""
        row = self.pick(which)
        self.note("fail", row and row.name)
        if row is not None:
            self.after.pop(row.id, None)
            with suppress(RefusalError):  # it is gone, or something else goes on
                path = f"workspaces/{self.workspace['slug']}/cvms/{row.id}/fail"
                self.cloud._control("POST", path, {"error": "out of memory"})

    @rule(seconds=st.sampled_from((0.2, 1.0, 5.0)))
    def pass_time(self, seconds):
        self.note("pass", seconds)
        self.settle_what_is_sent()  # no clock jumps between a request and a look at what it did
        self.advance(seconds)

    @rule(hours=st.integers(1, 8))
    def sleep(self, hours):
        """Let the laptop sleep."""
        self.note("sleep", hours)
        self.settle_what_is_sent()
        before = self.clock.monotonic()
        self.clock.jump(3600.0 * hours)
        for cvm_id, (at, follows) in self.after.items():
            if before - at <= ON_ITS_WAY:  # what was sent before is still on its way
                self.after[cvm_id] = at + 3600.0 * hours, follows
        self.advance(180.0 * hours)

    # --- what goes wrong -------------------------------------------------------------------------

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 3), skip=st.integers(0, 2))
    def inject(self, fault, times, skip):
        self.note("inject", fault, times, skip)
        self.cloud.inject({**fault, "times": times, "skip": skip})

    @rule()
    def outage(self):
        """Let nothing be answered until the faults are over."""
        self.note("outage")
        self.cloud.inject({"kind": "status", "route": "*", "arg": 503, "times": 8})

    @rule()
    def mend(self):
        self.note("mend")
        self.cloud.clear_faults()

    # --- what is seen ----------------------------------------------------------------------------

    @rule()
    def look(self):
        """Look at the fleet in every way there is."""
        self.note("look")
        snapshot = self.fleet.snapshot()
        self.shown = snapshot.rows
        self.check_ages(snapshot)
        running = self.fleet.where(status="running")
        same = self.fleet.search("status = running")
        if running._snapshot.revision == same._snapshot.revision:
            assert running.rows == same.rows
        plan = running.plan("stop")
        assert len(plan.rows()) == len(running)
        frame = self.fleet.frame("wide")
        assert list(frame.columns)
        for handle in self.fleet:
            assert handle.id
        self.fleet._repr_mimebundle_()

    # --- the end ---------------------------------------------------------------------------------

    def teardown(self):
        broken = sys.exception() is not None
        try:
            if not broken:
                self.come_to_rest()
        finally:
            self.cloud.clear_faults()
            self.mirror.subscription.close()
            self.fleet.close()
            self.client.close()
            self.others.close()
        if not broken:
            self.check_nothing_is_left()

    def come_to_rest(self):
        self.cloud.clear_faults()
        self.settle_what_is_sent()
        self.advance(60.0)
        truth = self.truth()
        self.fleet.refresh()
        self.until(lambda: self.is_true(truth), "the store is not as the service is")
        self.until(lambda: self.is_at_rest(truth), "operations are not over")
        if self.fleet.operator.alive():
            self.clock.jump(1000.0)
            self.until(lambda: not self.fleet.operator.alive(), "operations are not over")
        truth = self.truth()
        self.fleet.refresh()
        self.until(lambda: self.is_true(truth), "the store is not as the service is")
        self.until(lambda: self.fleet.health.state == "live", "the fleet is not live")
        self.check(truth)

    def all_run(self):
        return all(row.status == "running" for row in self.fleet.store.snapshot())

    def is_at_rest(self, truth):
        """Whether what is not over got no answer, or was overtaken: it is waited for in vain."""
        for one in self.fleet.operator.alive():
            there = truth.get(one.made_id or one.cvm_id)
            status = there.status if there is not None else "gone"
            if one.state != "unknown" and status == one.target:
                return False
        return True

    def is_true(self, truth):
        """I4: whether the store says what the service says."""
        rows = self.fleet.store.snapshot().rows
        return [comparable(row.cvm, row.status, row.in_progress) for row in rows] == [
            comparable(one, one.status, one.in_progress) for one in truth.values()
        ]

    def check(self, truth):
        histories = {i: self.get(f"/cvms/{i}/operations?limit=500")["items"] for i in truth}
        records = self.fleet.operator.records()
        oracle = Oracle(self.cloud.requests(), records, self.ever, self.batches)
        wrong = [
            *(f"I1: {crash}" for crash in self.crashes),
            *(f"I2: {what}" for what in oracle.sent_twice(histories)),
            *(f"I3: {what}" for what in oracle.untrue(truth)),
            *(f"I4: {what}" for what in oracle.misplaced(truth, histories)),
            *(f"the mirror: {what}" for what in self.mirror.wrong),
        ]
        assert not wrong, self.report("\n".join(wrong))
        snapshot = self.fleet.snapshot()
        self.check_ages(snapshot)
        self.check_views()
        for record in records:
            self.counts[record.verb, record.state] += 1

    def check_ages(self, snapshot):
        """I5: no row is from the future, or shows what a later look could not have shown."""
        for row in snapshot:
            seen = row.seen  # once: a newer look that shows the same advances it at any time
            now = self.clock.monotonic()
            assert seen.moment <= seen.received <= now, self.report(repr(row))
            assert row.revision <= snapshot.revision, self.report(repr(row))
            at, follows = self.after.get(row.id, (float("inf"), ()))
            slack = ON_ITS_WAY if seen.source == "stream" else 0.0
            if seen.moment > at + slack and phase_of(row.status) not in follows:
                raise AssertionError(self.report(f"asked after {at}, when it was {follows}: {row}"))

    def check_views(self):
        """All views show one revision, and the same CVMs."""
        end = time.monotonic() + PATIENCE
        while True:
            first = self.fleet.store.revision
            snapshot, frame = self.fleet.snapshot(), self.fleet.frame()
            every, mirror = self.fleet.search("order by name"), dict(self.mirror.rows)
            if self.fleet.store.revision == first == self.mirror.revision:
                break
            assert time.monotonic() < end, self.report("the fleet does not come to rest")
        views = [snapshot.revision, frame.attrs["cvm"]["revision"], every._snapshot.revision]
        assert views == [first] * 3
        assert mirror == {row.id: row for row in snapshot}
        assert set(frame.index) == set(mirror) == {row.id for row in every.rows}

    def check_nothing_is_left(self):
        """I7: threads, files and sockets are as many as before; the service has no stream open."""
        end = time.monotonic() + PATIENCE
        while True:
            left = [t.name for t in set(threading.enumerate()) - self.threads]
            files, streams = open_files() - self.files, self.cloud.open_streams()
            if not left and files <= 0 and not streams:
                return
            gc.collect()
            assert time.monotonic() < end, self.report(f"I7: left {left}, {files} files, {streams}")
            time.sleep(0.02)

    # --- help ------------------------------------------------------------------------------------

    def note(self, *what):
        self.counts["steps"] += 1
        self.trace.append(what)

    def report(self, what):
        steps = "\n".join(" ".join(map(str, step)) for step in self.trace)
        ledger = "\n".join(map(str, self.fleet.operator.records()))
        return f"{what}\n--- after\n{steps}\n--- ledger\n{ledger}"

    def pick(self, which, *, old=False):
        rows = (old and self.shown) or self.fleet.store.snapshot().rows
        self.ever.update({row.id: row.app_id for row in self.fleet.store.snapshot()})
        if not rows:
            self.create()  # or whoever deleted the last one would leave nothing to do
            return None
        return rows[which % len(rows)]

    def busy_with(self, cvm_id):
        return bool(self.fleet.operator.alive(cvm_id))

    def advance(self, seconds):
        self.cloud.advance(seconds)

    def settle_what_is_sent(self):
        """Wait until nothing is on its way to the service any more."""
        self.until(
            lambda: not any(one.state in {"asked", "sent"} for one in self.fleet.operator.alive()),
            "something is neither sent nor answered",
        )

    def until(self, true, what):
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, self.report(what)
            time.sleep(0.01)

    def call(self, method, path):
        try:
            answer = self.others.request(method, self.cloud.url + path, json={}, timeout=5)
        except requests.RequestException:
            return None
        return answer.status_code

    def get(self, path):
        return self.others.get(self.cloud.url + path, timeout=30).json()

    def truth(self):
        cvms = {one.id: one for one in self.client.list_cvms()}
        self.ever.update({one.id: one.app_id for one in cvms.values()})
        return cvms


def comparable(record, status, in_progress):
    """What of a CVM must be as the service says."""
    node = record.node_info and record.node_info.name
    return (record.id, record.name, status, bool(in_progress), record.vm_uuid, record.app_id, node)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def quick_client(url, key):
    """A client whose pauses are as short as the service is fast."""
    client = Client(api_key=key, base_url=url, timeout=Timeout(2.0, 1.0, 20.0))
    client._transport = client.apart(RetryPolicy(base=0.2 / TIMES, cap=8.0 / TIMES))
    return client


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=TIMES) as running:
        yield running


@pytest.mark.timeout(7200 if NIGHTLY else 600)
def test_whatever_happens_the_fleet_ends_in_the_truth(cloud, monkeypatch):
    monkeypatch.setattr(intent, "_LOOKS", tuple(pause / TIMES for pause in intent._LOOKS))
    monkeypatch.setattr(FleetMachine, "cloud", cloud)
    monkeypatch.setattr(FleetMachine, "counts", Counter())
    run_state_machine_as_test(
        FleetMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not NIGHTLY,
            database=None,
            deadline=None,
            phases=(Phase.generate,),  # what threads do is not done again the same way
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert FleetMachine.counts["steps"] >= LEAST
    for verb in (*ACTS, "commit"):
        assert FleetMachine.counts[verb, "reached"]
