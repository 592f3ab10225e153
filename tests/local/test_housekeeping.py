"""What a server does besides serving: bounded tables, and a time that never goes back."""

import sqlite3
import time
from contextlib import closing
from datetime import datetime

import pytest
from local_evidence import gateway
from sqlalchemy import func, select

from cvm_notebook.local.attestation import kept_quotes
from cvm_notebook.local.core.clock import SteadyClock
from cvm_notebook.local.core.database import Cvm, Database, KeyValue, Operation, Provision, Revision
from cvm_notebook.local.engine import housekeeping


class Machine:
    """A machine whose clock can be set."""

    def __init__(self):
        self.wall, self.elapsed = 1_000_000.0, 50.0

    def go(self, seconds):
        self.wall += seconds
        self.elapsed += seconds


def test_a_clock_that_is_set_back_goes_on_where_it_was():
    machine = Machine()
    clock = SteadyClock(lambda: machine.wall, lambda: machine.elapsed)
    machine.go(100)
    assert clock.now() == 1_000_100
    machine.go(10)
    machine.wall -= 86_400
    assert clock.now() == 1_000_110
    machine.go(5)
    assert clock.now() == 1_000_115
    machine.wall += 86_400  # and set right again
    assert clock.now() == 1_000_115 + 86_400
    machine.wall -= 0.5  # as it is kept in step
    assert clock.now() == 1_000_115 + 86_400


def test_a_clock_begins_no_earlier_than_it_is_set():
    machine = Machine()
    clock = SteadyClock(lambda: machine.wall, lambda: machine.elapsed)
    clock.begin_at_least(900_000)
    assert clock.now() == 1_000_000
    clock.begin_at_least(2_000_000)
    machine.go(7)
    assert clock.now() == 2_000_007


@pytest.fixture
def kept(new_cloud, tmp_path, monkeypatch):
    """A cloud with a database of its own, not started, and the path of that."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = tmp_path / "kept.sqlite"
    return new_cloud(seed="empty", speed=200, database=f"sqlite:///{path}"), path


def test_after_a_clock_was_set_back_a_running_cvm_still_runs(kept, connect):
    cloud, path = kept
    with cloud:
        api = connect(cloud)
        made = api.create()
        api.watch(made["id"], "running")
        served = time.time()
    ahead = 3 * 86_400
    script = f"""
        UPDATE cvms SET op_began_at = op_began_at + {ahead}, billed_from = billed_from + {ahead};
        UPDATE facts SET value = value + {ahead} WHERE name = 'clock_seen';
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)  # as if all of that had been before the clock was set back
    with cloud:
        api = connect(cloud)
        assert api.status(made["id"]) == "running"
        other = api.create()
        began = datetime.fromisoformat(other["created_at"]).timestamp()
        assert began >= served + ahead


@pytest.mark.parametrize("seconds", [1e12, -1, float("inf"), float("nan"), "soon", None])
def test_the_clock_is_moved_within_reason(fresh_cloud, fresh, seconds):
    url = f"http://127.0.0.1:{fresh_cloud.port}/_local/advance"
    token = {"X-Local-Token": fresh_cloud._settings.control_token}
    text = f'{{"seconds": {seconds if seconds is not None else "null"}}}'.replace("inf", "Infinity")
    headers = token | {"Content-Type": "application/json"}
    answer = fresh.session.post(url, data=text.replace("nan", "NaN"), headers=headers, timeout=9)
    assert answer.status_code == 422
    assert fresh.get("/cvms").status_code == 200
    assert fresh_cloud.requests()


def test_the_clock_is_moved_by_a_hundred_years_at_most(fresh_cloud, fresh):
    url = f"http://127.0.0.1:{fresh_cloud.port}/_local/advance"
    token = {"X-Local-Token": fresh_cloud._settings.control_token}
    moves = [
        fresh.session.post(url, json={"seconds": 3.1e8}, headers=token, timeout=9).status_code
        for _ in range(12)
    ]
    assert moves[:10] == [200] * 10
    assert moves[-1] == 422
    assert fresh.create()


def _counts(database):
    with database.read() as session:
        return {
            table.__name__: session.scalar(select(func.count()).select_from(table))
            for table in (Cvm, Operation, Revision, Provision)
        }


def test_tables_stay_bounded_and_what_was_spent_stays_counted(kept, connect, monkeypatch):
    cloud, path = kept
    monkeypatch.setattr(housekeeping, "KEPT_OPERATIONS", 3)
    monkeypatch.setattr(housekeeping, "KEPT_DELETED", 2)
    with cloud:
        api = connect(cloud)
        busy = api.create()
        for _ in range(4):
            api.watch(busy["id"], "running")
            api.post(f"/cvms/{busy['id']}/restart")
        for _ in range(4):
            gone = api.create()
            cloud.advance(86_400)
            api.delete(gone["id"])
        api.provision("never-made")
        cloud.advance(20 * 86_400)
        assert len(api.get("/cvms").json()) == 1
        before = api.balance()
        database = Database(f"sqlite:///{path}")
        housekeeping.purge(database)
        counts = _counts(database)
        database.close()
        assert counts == {"Cvm": 3, "Operation": 3 + 2 * 2, "Revision": 3, "Provision": 1}
        after = api.balance()
        assert after == pytest.approx(before, abs=0.01)
        newest = api.get(f"/cvms/{busy['id']}/operations").json()["items"]
        assert [one["operation_type"] for one in newest] == ["restart"] * 3


def test_quotes_that_are_known_stay_bounded(kept, connect, monkeypatch):
    cloud, path = kept
    monkeypatch.setattr(housekeeping, "KEPT_QUOTES", 3)
    monkeypatch.setattr(kept_quotes, "MOST_PUBLISHED", 2)
    with cloud:
        api = connect(cloud)
        cvm = api.create()
        api.watch(cvm["id"], "running")
        asked = [
            gateway(cloud, f"{cvm['app_id']}-80", "/quote", nonce=f"{number:02x}")
            for number in range(6)
        ]
        quotes = [bytes.fromhex(answer.json()["quote"]) for answer in asked]
        database = Database(f"sqlite:///{path}")
        for quote in quotes[:4]:
            with database.write() as session:
                kept_quotes.publish(session, quote, 1.0)
        with database.read() as session:
            assert len(kept_quotes.published(session, 0, 100)) == 2
        housekeeping.purge(database)
        database.close()
        checksums = [kept_quotes.checksum_of(quote) for quote in quotes]
        found = [api.get(f"/attestations/collateral/{one}").status_code for one in checksums]
    assert found == [404] * 3 + [200] * 3


def test_a_server_remembers_what_time_it_is(kept):
    cloud, path = kept
    began = time.time()
    with cloud:
        database = Database(f"sqlite:///{path}")
        with database.read() as session:
            seen = float(session.get_one(KeyValue, "clock_seen").value)
        database.close()
    assert began - 1 <= seen <= time.time() + 1
