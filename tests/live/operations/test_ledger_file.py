"""A ledger in a file: kernels are killed, their cells are run again, and nothing is doubled."""

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from helpers import COMPOSE, until

from cvm_notebook.api.compose.hashing import encrypt_env
from cvm_notebook.api.errors.tree import NotFoundError
from cvm_notebook.api.verbs import SPECS, VERBS
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.operations.database import LedgerDatabase, LedgerError
from cvm_notebook.live.plans.plan import Plan

TRIALS = 3 if os.environ.get("CVM_NOTEBOOK_NIGHTLY") == "1" else 1
SEED = random.SystemRandom().randrange(1000)  # shown where a test fails
START = """
import functools
from cvm_notebook.live.operations import service
service.OperationSettings = functools.partial(service.OperationSettings, settle=4.0, look=0.2)
client = cvm.Client()
NAMES = os.environ["NAMES"].split()
LEDGER = os.environ["LEDGER"]
def tell(**facts):
    print(json.dumps(facts), flush=True)
def tell_end(op):
    tell(ended=op.id, state=op.state, made=op.made_id, attempts=op.attempts, note=op.note)
"""
STAY = """
    import threading
    threading.Event().wait(100)  # until it is killed
"""
DIE = """
    database = fleet.operator.database
    while not all(database.record(op.id).done for op in fleet.operator.records()):
        pass
    os.kill(os.getpid(), 9)
"""
CELL = """
with cvm.Fleet(client, ledger=LEDGER) as fleet:
    row = fleet[NAMES[0]].row if NAMES[0] in fleet else None
    tell(ready=True)
    if row is None and "VERB" == "delete":
        tell(ended=None, state="reached", made=None, attempts=0, note="gone")
    elif "VERB" == "commit":
        params = json.loads(os.environ["PARAMS"])
        tell_end(fleet.operator.submit("commit", None, params=params).wait(60))
    elif "VERB" == "redeploy":
        tell_end(fleet[NAMES[0]].rollback().wait(60))
    elif "VERB" == "update":
        tell_end(fleet[NAMES[0]].update(compose_file=os.environ["PARAMS"]).wait(60))
    else:
        tell_end(getattr(fleet[NAMES[0]], "VERB")().wait(60))
"""
PLAN = """
with cvm.Fleet(client, ledger=LEDGER) as fleet:
    plan = fleet.where(name=NAMES).plan("VERB")
    tell(ready=True)
    out = plan.execute(confirm=plan.phrase, rate=8, progress=False, until="UNTIL")
    tell(ended=True, states=out.counts)
"""
EFFECTS = {
    "start": {"power_on"},
    "stop": {"power_off"},
    "shutdown": {"shutdown"},
    "restart": {"restart", "force_restart"},
    "redeploy": {"compose_update"},
    "update": {"compose_update"},
}
_numbers = count(1)


@pytest.fixture
def kernel(bench, kernels, tmp_path):
    """Run a cell in a new kernel on the test's ledger."""

    def start(code, *rows, ledger=None, **more):
        return kernels.start(
            START + code,
            NAMES=" ".join(getattr(row, "name", row) for row in rows),
            LEDGER=str(ledger or tmp_path / "fleet.sqlite"),
            PHALA_CLOUD_API_PREFIX=bench.cloud.url,
            PHALA_CLOUD_API_KEY=bench.cloud.api_key,
            **more,
        )

    return start


def result(kernel):
    """Wait until a kernel's cell is done, and return what it printed."""
    found = json.loads(kernel.wait_for_line("ended"))
    assert kernel.end() == 0, kernel.err
    return found


def killed(kernel, after):
    """Kill a kernel a moment after its cell has begun to ask."""
    kernel.wait_for_line("ready")
    threading.Event().wait(after)
    kernel.send(signal.SIGKILL)
    kernel.end()


def history(bench, row, verb="restart"):
    return [
        one.correlation_id
        for one in bench.client.list_operations(row.id, limit=100)
        if one.operation_type in EFFECTS[verb]
    ]


def brothers(bench, app_id):
    try:
        return {cvm.id for cvm in bench.client.get_app_cvms(app_id)}
    except NotFoundError:
        return set()


# --- kill -9 --------------------------------------------------------------------------------------


class Trial:
    """One verb, asked for by a kernel that is killed twice and then left alone."""

    def __init__(self, bench, kernel, verb, folder):
        self.bench, self.verb, self.kernel = bench, verb, kernel
        self.ledger = folder / f"{verb}-{next(_numbers)}.sqlite"
        self.params = {}
        self.row, self.name = None, f"none-{next(_numbers)}"
        if verb == "commit":
            name = f"killed-{next(_numbers)}"
            offer = bench.client.provision_cvm(name=name, compose_file=COMPOSE)
            self.app_id = offer.app_id
            params = {"app_id": offer.app_id, "compose_hash": offer.compose_hash}
            self.params = {"PARAMS": json.dumps(params)}
        else:
            (self.row,) = bench.make(status="stopped" if verb == "start" else "running")
            self.app_id, self.name = self.row.app_id, self.row.name
        if verb == "update":
            self.params = {"PARAMS": COMPOSE.replace("1.27", "1.28")}
        if verb == "redeploy":
            newer = COMPOSE.replace("1.27", "1.28")
            bench.client.update_cvm(self.row.id, compose_file=newer)
            bench.client.watch_cvm_state(self.row.id, target="running")
        self.before = self.effects()

    def start(self, then=""):
        code = CELL.replace("VERB", self.verb) + then
        return self.kernel(code, self.name, ledger=self.ledger, **self.params)

    def effects(self):
        if SPECS[self.verb].creates:
            return brothers(self.bench, self.app_id)
        if self.verb == "delete":
            return {self.row.id} - {cvm.id for cvm in self.bench.client.list_cvms()}
        return set(history(self.bench, self.row, self.verb))

    def run(self, moments):
        for moment in moments:
            killed(self.start(STAY), moment)
        self.result = result(self.start())
        return self

    @property
    def wrong(self):
        new = self.effects() - self.before
        state = self.result["state"]
        found = []
        if len(new) > 1:
            found.append(f"carried out {len(new)} times")
        if state == "reached" and not new:
            found.append("reached, but nothing was done")
        if new and state != "reached":
            found.append("it was done, and that is not seen")
        if SPECS[self.verb].creates and state == "reached" and self.result["made"] not in new:
            found.append("it takes another CVM for its own")
        return [f"{self.verb}: {what} ({self.result}; seed {SEED})" for what in found]


@pytest.mark.parametrize("verb", VERBS)
def test_a_cell_whose_kernel_is_killed_is_run_again_and_nothing_is_doubled(
    bench, kernel, tmp_path, verb
):
    dice = random.Random(f"{SEED}{verb}")
    trials = [Trial(bench, kernel, verb, tmp_path) for _ in range(TRIALS)]
    # so that being asked, being done and being answered are moments that can be hit
    bench.break_it("latency", route="write", arg=0.08, times=None)
    bench.break_it("late", route="write", arg=0.15, times=None)

    with ThreadPoolExecutor(len(trials)) as pool:
        moments = [[dice.uniform(0.0, 0.5) for _ in range(2)] for _ in trials]
        list(pool.map(Trial.run, trials, moments))

    bench.cloud.clear_faults()
    wrong = [what for trial in trials for what in trial.wrong]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("verb", ["restart", "replicate"])
def test_a_plan_whose_kernel_is_killed_is_executed_again_and_repeats_nothing(bench, kernel, verb):
    rows = bench.make(6)
    dice = random.Random(f"{SEED}{verb}")
    code = PLAN.replace("VERB", verb).replace("UNTIL", "reached")
    bench.break_it("late", route="write", arg=0.1, times=None)

    for _ in range(2):
        killed(kernel(code + STAY, *rows), dice.uniform(0.05, 0.8))
    found = result(kernel(code, *rows))

    bench.cloud.clear_faults()
    reached = found["states"].get("reached", 0)
    done = [_done(bench, row, verb) for row in rows]
    assert max(done) <= 1, f"doubled; seed {SEED}"
    assert sum(done) == reached, f"{found}; seed {SEED}"
    assert bench.sent("POST", "/replicas" if verb == "replicate" else "/restart") <= len(rows)


def _done(bench, row, verb):
    if verb == "restart":
        return len(history(bench, row))
    return len(brothers(bench, row.app_id)) - 1


@pytest.mark.parametrize("verb", ["restart", "replicate"])
def test_a_plan_that_ctrl_c_interrupts_is_executed_again_and_repeats_nothing(bench, kernel, verb):
    rows = bench.make(6)
    code = PLAN.replace("VERB", verb).replace("UNTIL", "accepted").replace("rate=8", "rate=0.5")
    first = kernel(code, *rows)
    first.wait_for_line("ready")
    word = "/replicas" if verb == "replicate" else "/restart"
    until(lambda: bench.sent("POST", word) >= 2)
    first.send(signal.SIGINT)
    first.end()
    assert "KeyboardInterrupt" in first.err
    sent = bench.sent("POST", word)

    found = result(kernel(code.replace("rate=0.5", "rate=50"), *rows))

    assert 2 <= sent < 6
    assert [_done(bench, row, verb) for row in rows] == [1] * 6
    assert set(found["states"]) <= {"accepted", "reached"}
    assert bench.sent("POST", word) == 6


def test_a_plan_that_came_to_its_end_is_done_once_more_when_it_is_made_anew(bench, kernel):
    rows = bench.make(2)
    code = PLAN.replace("VERB", "restart").replace("UNTIL", "reached")

    for _ in range(2):
        assert result(kernel(code, *rows))["states"] == {"reached": 2}

    assert [len(history(bench, row)) for row in rows] == [2, 2]


def test_a_wish_that_was_joined_once_is_another_one_the_next_time(bench, kernel):
    (row,) = bench.make()
    code = CELL.replace("VERB", "restart")
    first = kernel(code + DIE, row)
    first.wait_for_line("ended")
    first.end()

    again = result(kernel(code, row))
    assert len(history(bench, row)) == 1, "the cell is run again: it is the same wish"
    later = result(kernel(code, row))

    assert len(history(bench, row)) == 2, "its end was seen: to ask again is to want another one"
    assert json.loads(first.wait_for_line("ended"))["ended"] == again["ended"] != later["ended"]


# --- more than one kernel -------------------------------------------------------------------------

SHOWN = """
with cvm.Fleet(client, ledger=LEDGER) as fleet:
    frame = fleet.operations()
    ids = [record.id for record in fleet.operator.records()]
    tell(ended=True, ids=ids, states=[record.state for record in fleet.operator.records()],
         rows=len(frame), alive=len(fleet.operator.alive()))
"""


def test_operations_of_earlier_kernels_are_shown_each_once(bench, kernel):
    rows = bench.make(3)
    ids = [result(kernel(CELL.replace("VERB", verb), row))["ended"]
           for verb, row in zip(("stop", "restart", "delete"), rows, strict=True)]  # fmt: skip
    crashed = kernel(CELL.replace("VERB", "replicate") + DIE, rows[0])
    ids.append(json.loads(crashed.wait_for_line("ended"))["ended"])
    crashed.end()

    found = result(kernel(SHOWN, rows[0]))

    assert sorted(found["ids"]) == sorted(ids)
    assert found["rows"] == 4


FOLLOW = """
with cvm.Fleet(client, ledger=LEDGER) as fleet:
    tell(found=[op.id for op in fleet.operator.alive()])
    ops = [op.wait(60) for op in fleet.operator.alive()]
    tell(ended=[(op.id, op.state) for op in ops],
         shown=[(record.id, record.state) for record in fleet.operator.records()])
"""


def test_what_was_under_way_is_followed_to_its_end(new_bench, kernels, tmp_path):
    bench = new_bench(speed=0.1)
    (row,) = bench.make(advance=3600)
    code = CELL.replace("VERB", "restart").replace(".wait(60)", ".wait(60, until='accepted')")

    def start(code):
        return kernels.start(
            START + code,
            NAMES=row.name,
            LEDGER=str(tmp_path / "fleet.sqlite"),
            PHALA_CLOUD_API_PREFIX=bench.cloud.url,
            PHALA_CLOUD_API_KEY=bench.cloud.api_key,
        )

    first = start(code + "    os.kill(os.getpid(), 9)\n")
    asked = json.loads(first.wait_for_line("ended"))
    first.end()
    second = start(FOLLOW)
    alive = json.loads(second.wait_for_line("found"))["found"]
    bench.cloud.advance(3600)
    found = result(second)

    assert alive == [asked["ended"]]
    assert found["shown"] == found["ended"] == [[asked["ended"], "reached"]]
    assert len(history(bench, row)) == 1


def test_three_kernels_on_one_file_execute_one_plan_once(bench, kernel):
    rows = bench.make(6)
    plan = Plan(rows, "replicate").to_json()
    code = """
from cvm_notebook.live.plans.plan import Plan
with cvm.Fleet(client, ledger=LEDGER) as fleet:
    plan = Plan.from_json(os.environ["PARAMS"], fleet)
    tell(ready=True)
    out = plan.execute(confirm=plan.phrase, progress=False, until="reached")
    tell(ended=True, states=out.counts)
"""
    started = [kernel(code, *rows, PARAMS=plan) for _ in range(3)]

    found = [result(one) for one in started]

    assert [_done(bench, row, "replicate") for row in rows] == [1] * 6
    assert bench.sent("POST", "/replicas") == 6
    for one in found:
        assert sum(one["states"].values()) == 6


def test_three_kernels_on_one_file_ask_for_a_replica_each_and_get_one_each(bench, kernel):
    (row,) = bench.make()
    started = [kernel(CELL.replace("VERB", "replicate"), row) for _ in range(3)]

    made = [result(one)["made"] for one in started]

    assert len(set(made)) == 3
    assert set(made) == brothers(bench, row.app_id) - {row.id}


def test_a_kernel_that_lives_keeps_what_is_its_own(bench, kernel, tmp_path):
    (row,) = bench.make()
    bench.break_it("latency", route="replicate", arg=2.0)
    first = kernel(CELL.replace("VERB", "replicate"), row)
    first.wait_for_line("ready")
    until(lambda: bench.sent("POST", "/replicas") == 1)

    with Fleet(bench.client, ledger=tmp_path / "fleet.sqlite") as fleet:
        assert fleet.operator.alive() == ()
        (theirs,) = fleet.operator.records()

    assert result(first)["ended"] == theirs.id
    assert len(brothers(bench, row.app_id)) == 2


# --- the file -------------------------------------------------------------------------------------


def foreign_text(folder):
    path = folder / "notes.txt"
    path.write_text("what I wrote " * 1000)
    return path


def foreign_database(folder):
    path = folder / "photos.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE photo (name TEXT)")
    database.close()
    return path


def newer_version(folder):
    path = folder / "newer.sqlite"
    LedgerDatabase(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    return path


def a_folder(folder):
    return folder


def no_folder(folder):
    return folder / "missing" / "fleet.sqlite"


BAD = [foreign_text, foreign_database, newer_version, a_folder, no_folder]


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_is_none_of_ours_is_refused_and_left_as_it_is(bench, tmp_path, bad):
    path = bad(tmp_path)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    bench.cloud.clear_requests()

    with pytest.raises(LedgerError, match="cannot be opened") as refused:
        Fleet(bench.client, ledger=path)

    assert str(path) in refused.value.message
    assert refused.value.hint
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before
    assert bench.cloud.requests() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_refused(bench, tmp_path):
    path = tmp_path / "fleet.sqlite"
    LedgerDatabase(path).close()
    path.chmod(0o400)

    with pytest.raises(LedgerError):
        Fleet(bench.client, ledger=path)


def test_what_cannot_be_written_down_is_not_sent(bench, tmp_path):
    (row,) = bench.make()
    operations = bench.new_operations(ledger=tmp_path / "fleet.sqlite")
    operations.database._database.execute("PRAGMA query_only = ON")

    op = operations.submit("restart", row).wait(10)

    assert (op.state, type(op.error)) == ("failed", LedgerError)
    assert bench.sent("POST", "/restart") == 0


def test_only_its_owner_can_read_it_and_a_clean_end_leaves_it_alone(bench, tmp_path):
    path = tmp_path / "fleet.sqlite"

    with Fleet(bench.client, ledger=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    assert [one.name for one in tmp_path.iterdir()] == ["fleet.sqlite"]


def test_no_secret_is_in_it(bench, tmp_path):
    value, key = "s3cret-of-mine", bench.cloud.api_key
    row, other = bench.make(2)
    offer = bench.client.provision_cvm(
        name=f"sealed-{next(_numbers)}", compose_file=COMPOSE, env_keys=["PASSWORD"]
    )
    sealed = encrypt_env(offer.app_env_encrypt_pubkey, {"PASSWORD": value})
    params = {"app_id": offer.app_id, "compose_hash": offer.compose_hash}
    operations = bench.new_operations(ledger=tmp_path / "fleet.sqlite")
    ops = [
        operations.submit(
            "commit", None, params={**params, "encrypted_env": sealed, "env_keys": ["PASSWORD"]}
        ),
        operations.submit("replicate", row, params={"encrypted_env": sealed}),
    ]
    bench.break_it("status", route="action", arg=401)
    ops.append(operations.submit("stop", other))
    for op in ops:
        op.wait(60)

    written = b"".join(one.read_bytes() for one in tmp_path.iterdir())

    assert len(operations.records()) == 3
    for secret in (key, key[4:], value, sealed):
        assert secret.encode() not in written


# --- by any engine --------------------------------------------------------------------------------

DASK = """
import json, os, sys
from collections import Counter
from pathlib import Path
import distributed

def run(text, folder):
    from cvm_notebook.api.client import Client
    from cvm_notebook.fleet.fleet import Fleet
    from cvm_notebook.live.plans.plan import Plan

    with Client() as client, Fleet(client, ledger=Path(folder, "fleet.sqlite")) as fleet:
        plan = Plan.from_json(text, fleet)
        Path(folder, f"{plan.id}-{os.getpid()}.started").touch()
        return plan.execute(progress=False, until="reached", concurrency=1).counts

if __name__ == "__main__":
    folder, *parts = sys.argv[1:]
    workers = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0}
    with distributed.LocalCluster(**workers, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as engine:
            futures = [engine.submit(run, part, folder, pure=False) for part in parts]
            counts = sum((Counter(one) for one in engine.gather(futures)), Counter())
    print(json.dumps(counts), flush=True)
"""


def test_parts_of_a_plan_are_run_by_dask_and_a_killed_worker_doubles_nothing(bench, tmp_path):
    pytest.importorskip("distributed")
    rows = bench.make(6)
    bench.break_it("late", route="replicate", arg=0.4, times=None)
    parts = [part.to_json() for part in Plan(rows, "replicate").split(2)]
    environment = {
        **os.environ,
        "PHALA_CLOUD_API_PREFIX": bench.cloud.url,
        "PHALA_CLOUD_API_KEY": bench.cloud.api_key,
    }
    engine = subprocess.Popen(
        [sys.executable, "-c", DASK, str(tmp_path), *parts],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    with engine:
        until(lambda: engine.poll() is None and bench.sent("POST", "/replicas"))
        (first, *_) = tmp_path.glob("*.started")
        os.kill(int(first.stem.rpartition("-")[2]), signal.SIGKILL)
        counts = Counter(json.loads(engine.communicate(timeout=150)[0]))

    done = [_done(bench, row, "replicate") for row in rows]
    assert len(list(tmp_path.glob("*.started"))) == 3, "one part was run twice"
    assert max(done) == 1, "doubled"
    assert sum(done) == counts["reached"]
    assert counts["reached"] + counts["unknown"] == 6
    assert bench.sent("POST", "/replicas") == sum(done)
