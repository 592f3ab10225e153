"""The demo fleet is believable and has a past; thousands are planted quickly."""

import collections
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from cvm_notebook.local.core.database import Database
from cvm_notebook.local.core.identifiers import is_name
from cvm_notebook.local.demo.seed import columns_of_release, seed_many
from cvm_notebook.local.demo.seed_data import APPS


@pytest.fixture(scope="module")
def demo_cloud(new_cloud):
    with new_cloud(seed="demo", speed=200) as running:
        yield running


@pytest.fixture
def demo(demo_cloud, connect):
    return connect(demo_cloud)


@pytest.fixture
def fleet(demo):
    answer = demo.get("/cvms/paginated?page_size=100").json()
    assert answer["total"] == len(answer["items"])
    return answer["items"]


def test_there_are_some_forty_cvms_of_every_kind(fleet):
    assert 38 <= len(fleet) <= 45
    assert len({cvm["app_id"] for cvm in fleet}) >= 12
    assert len({cvm["node_info"]["name"] for cvm in fleet}) == 7
    assert {cvm["node_info"]["region"] for cvm in fleet} == {"US-WEST-1", "US-EAST-1"}
    assert sum(cvm["resource"]["gpus"] > 0 for cvm in fleet) >= 4
    statuses = collections.Counter(cvm["status"] for cvm in fleet)
    assert {"running", "stopped", "exited", "error"} <= set(statuses)
    assert statuses["running"] > len(fleet) / 2


def test_names_are_allowed_and_differ(fleet):
    names = [cvm["name"] for cvm in fleet]
    assert all(is_name(name) for name in names)
    assert len(set(names)) == len(names)


def test_the_fleet_has_grown_over_weeks(fleet):
    now = datetime.now(UTC)
    ages = [now - datetime.fromisoformat(cvm["created_at"]) for cvm in fleet]
    assert max(ages) > timedelta(days=80)
    assert min(ages) < timedelta(days=1)


def test_every_cvm_has_a_past_that_ends_in_what_it_is(demo, fleet):
    for cvm in fleet:
        operations = demo.get(f"/cvms/{cvm['id']}/operations").json()["items"]
        assert operations[-1]["operation_type"] == "create"
        moments = [operation["started_at"] for operation in operations]
        assert moments == sorted(moments, reverse=True)
        assert moments[-1] == cvm["created_at"]
    assert sum(len(demo.get(f"/cvms/{x['id']}/operations").json()["items"]) for x in fleet) > 80


def test_errors_say_why(demo, fleet):
    for cvm in fleet:
        if cvm["status"] == "error":
            assert "containers" in demo.get(f"/cvms/{cvm['id']}/state").json()["boot_error"]


def test_there_is_money_left_after_all_that_was_spent(demo):
    money = demo.get("/auth/me").json()["credits"]
    assert 9_900 < float(money["balance"]) < 11_000
    assert float(money["granted_balance"]) > 15_000


def test_a_node_is_nearly_full(demo):
    nodes = {node["name"]: node for node in demo.get("/teepods/available").json()["nodes"]}
    assert 0 < nodes["prod7"]["remaining_vcpu"] < 16


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_the_compose_file_of_an_app_runs_and_changes_with_each_release(app):
    first, second = (columns_of_release(app.name, release) for release in (0, 1))
    assert [one["name"] for one in first["services"]] == list(app.services)
    assert first["compose_hash"] != second["compose_hash"]


def test_a_kept_database_is_planted_once(new_cloud, tmp_path):
    database = f"sqlite:///{tmp_path / 'kept.sqlite'}"
    for _ in range(2):
        with new_cloud(seed="demo", database=database):
            pass
    with sqlite3.connect(tmp_path / "kept.sqlite") as connection:
        (count,) = connection.execute("SELECT count(*) FROM cvms").fetchone()
    connection.close()
    assert count == sum(len(app.cvms) for app in APPS)


def test_thousands_are_planted_and_can_be_listed(new_cloud, tmp_path, connect):
    database = f"sqlite:///{tmp_path / 'many.sqlite'}"
    with new_cloud(seed="empty", database=database) as cloud:
        opened = Database(database)
        with opened.write() as session:
            seed_many(session, 2_000)
        opened.close()
        api = connect(cloud)
        page = api.get("/cvms/paginated?page_size=100&page=20").json()
        assert (page["total"], len(page["items"])) == (2_000, 100)
        statuses = collections.Counter(cvm["status"] for cvm in page["items"])
        assert set(statuses) == {"running", "stopped"}
        assert api.get(f"/cvms/{page['items'][0]['id']}/operations").json()["total"] == 1
