"""``cvm-notebook autostop``: looks that add up, what is shut down, and its exit codes."""

import argparse
import json
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock
from helpers import run_all

import cvm_notebook as cvm
from cvm_notebook.cli.autostop import _judge, _Memory, autostop
from cvm_notebook.live.rules.terms import read_terms
from cvm_notebook.live.store.figures import Sample
from cvm_notebook.live.store.store import FleetStore

NOON = datetime(2026, 6, 23, 12, 0, tzinfo=UTC)
IDLE = '[[rule]]\nwhere = "name like \'stop-%\'"\nidle = "10m"\n'


# --- what is due: pure ---------------------------------------------------------------------------


class Looks:
    """Looks at one CVM, minute by minute."""

    def __init__(self, **terms):
        self.store = FleetStore()
        record = cvm.Cvm(id="cvm_1", name="one", status="running")
        self.store.replace([record], received=0.0)
        snapshot = self.store.snapshot()
        given = {"idle": None, "schedule": None, "below": 0.1, **terms}
        self.terms = read_terms("status = running", snapshot, **given)
        self.memory = _Memory(looked_at=NOON)

    def at(self, minutes, cpu, *, uptime=1e7):
        now = NOON + timedelta(minutes=minutes)
        loads = (cpu, cpu, cpu)
        sample = Sample("cvm_1", now.timestamp(), 60.0 * minutes, loads, None, uptime)
        samples = {} if cpu is None else {"cvm_1": sample}
        found = _judge(self.terms, self.memory, self.store.snapshot(), samples, now)
        return [one.why for one in found]


def test_looks_that_reach_one_another_add_up():
    looks = Looks(idle="30m")
    due = [looks.at(minutes, 0.01) for minutes in (0, 10, 20, 30, 40)]
    assert due == [[], [], [], ["under 10% of CPU for 30 min"], []]


def test_looks_too_far_apart_see_no_idleness():
    looks = Looks(idle="30m")
    assert not any(looks.at(minutes, 0.01) for minutes in range(0, 200, 20))


def test_a_look_that_failed_is_reached_over_by_the_next():
    looks = Looks(idle="20m")
    assert [looks.at(m, cpu) for m, cpu in ((0, 0.0), (7, 0.0), (14, None), (21, 0.0))] == [
        *([[]] * 3),
        ["under 10% of CPU for 21 min"],
    ]


@pytest.mark.parametrize("work", [{"cpu": 0.5}, {"cpu": 0.0, "uptime": 60.0}])
def test_work_and_boots_begin_a_new_stretch(work):
    looks = Looks(idle="20m")
    for minutes in (0, 10):
        assert not looks.at(minutes, 0.0)
    assert not looks.at(20, **work)
    assert not looks.at(30, 0.0)
    assert looks.at(40, 0.0)


def test_a_scheduled_time_is_met_by_the_next_look_and_once():
    looks = Looks(schedule="12:10 UTC")
    due = [looks.at(minutes, None) for minutes in (5, 9, 14, 19, 40)]
    assert due == [[], [], ["scheduled at Tue 12:10 UTC"], [], []]


def test_a_scheduled_time_long_ago_is_missed(capsys):
    assert Looks(schedule="12:10 UTC").at(60, None) == []
    assert "missed Tue 12:10 UTC" in capsys.readouterr().err


# --- against a cloud -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(new_cloud):
    with (
        new_cloud(seed="empty", speed=200) as running,
        cvm.Client(api_key=running.api_key, base_url=running.url) as client,
    ):
        run_all(client, "stop-quiet", "stop-busy", "keep-quiet")
        running.advance(86_400)
        running.ids = {row.name: row.id for row in client.list_cvms()}
        yield running


@pytest.fixture
def cloud(server, monkeypatch, tmp_path):
    server.clear_faults()
    for name, cvm_id in server.ids.items():
        load = 80 if name == "stop-busy" else 1
        loads = {f"/sysinfo/loadavg_{n}": load for n in ("one", "five", "fifteen")}
        arg = {**loads, "/sysinfo/num_cpus": 1}
        route = f"GET /cvms/{cvm_id}/stats"
        server.inject({"kind": "rewrite", "route": route, "times": None, "arg": arg})
    server.clear_requests()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", server.url)
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", server.api_key)
    return server


@pytest.fixture
def look(tmp_path):
    def run(rules, *, dry_run=False, earlier=None):
        file, state = tmp_path / "rules.toml", tmp_path / "rules.toml.state.json"
        file.write_text(rules)
        if earlier is not None:  # move what was seen into the past
            saved = json.loads(state.read_text())
            for memory in saved["rules"].values():
                for seen in memory["seen"].values():
                    if seen["idle_since"] is not None:
                        seen["idle_since"] -= earlier
            state.write_text(json.dumps(saved))
        options = argparse.Namespace(file=file, state=None, target=None, dry_run=dry_run)
        return autostop(options)

    run.state = tmp_path / "rules.toml.state.json"
    return run


def changes(cloud):
    asked = [one for one in cloud.requests() if one["method"] != "GET"]
    return [one["path"] for one in asked if not one["path"].endswith("/status/batch")]


def test_what_was_idle_from_look_to_look_is_shut_down_once(cloud, look, capsys):
    assert look(IDLE) == 0
    assert "2 running, 0 seen idle (of 10 min)" in capsys.readouterr().out
    assert look(IDLE) == 0
    assert changes(cloud) == []

    assert look(IDLE, earlier=600, dry_run=True) == 0
    assert "would shut down stop-quiet: under 10% of CPU for 10 min" in capsys.readouterr().out
    assert changes(cloud) == []

    assert look(IDLE) == 0
    assert changes(cloud) == [f"/api/v1/cvms/{cloud.ids['stop-quiet']}/shutdown"]
    assert look(IDLE) == 0
    assert len(changes(cloud)) == 1
    assert look.state.stat().st_mode & 0o077 == 0


def test_a_dry_run_keeps_nothing(cloud, look):
    assert look(IDLE, dry_run=True) == 0
    assert not look.state.exists()


def test_what_the_service_refuses_is_reported_and_tried_again(cloud, look, capsys):
    rule = IDLE.replace("stop-%", "keep-%")
    assert look(rule) == 0
    assert look(rule) == 0
    route = f"POST /cvms/{cloud.ids['keep-quiet']}/shutdown"
    cloud.inject({"kind": "status", "route": route, "arg": 409, "times": None})
    assert look(rule, earlier=600) == 1
    assert "1 were not shut down" in capsys.readouterr().err
    (memory,) = json.loads(look.state.read_text())["rules"].values()
    assert memory["acted"] == []


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("", "not a file of rules"),
        ("rule = []", "no [[rule]]"),
        ("[[rule]\nwhere =", "not a file of rules"),
        ('[[rule]]\nidle = "1h"', "missing required field `where`"),
        ('[[rule]]\nwhere = "status = running"\nidel = "1h"', "unknown field `idel`"),
        ('[[rule]]\nwhere = "status = running"', "rule 1: idle: neither it nor schedule"),
        ('[[rule]]\nname = "x"\nwhere = "no = 1"\nidle = "1h"', "rule 1 (x)"),
        ('[[rule]]\nwhere = "status = running"\nidle = "soon"', "not a length of time"),
        ('[[rule]]\nwhere = "status = running"\nschedule = "at night"', "not a schedule"),
    ],
)
def test_a_file_that_cannot_be_meant_changes_nothing(cloud, look, capsys, rules, says):
    assert look(rules) == 2
    assert says in capsys.readouterr().err
    assert changes(cloud) == []
    assert not look.state.exists()


def test_a_file_may_begin_with_the_mark_that_some_editors_write(cloud, look):
    assert look("\ufeff" + IDLE, dry_run=True) == 0
    assert changes(cloud) == []


def test_a_state_of_another_shape_is_not_overwritten(cloud, look, capsys):
    look.state.write_text("[]")
    assert look(IDLE) == 2
    assert "delete it to begin anew" in capsys.readouterr().err
    assert look.state.read_text() == "[]"


def test_two_runs_at_once_are_one(cloud, look, capsys):
    with FileLock(f"{look.state}.lock"):
        assert look(IDLE) == 2
    assert "another run is at it" in capsys.readouterr().err


def test_without_rules_or_the_key_it_could_not_run(cloud, look, monkeypatch, tmp_path, capsys):
    absent = tmp_path / "none.toml"
    options = argparse.Namespace(file=absent, state=None, target=None, dry_run=False)
    assert autostop(options) == 2
    assert f"could not run: {absent}: No such file" in capsys.readouterr().err
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_another")
    assert look(IDLE) == 2
    printed = capsys.readouterr().err
    assert "could not run" in printed
    assert "phak_another" not in printed
