"""Databases that are kept: who may read them, and what becomes of those of other versions."""

import os
import sqlite3
import stat
from contextlib import closing

import pytest

from cvm_notebook.local.cloud import LocalCloudError

_TO_VERSION_1 = """
DROP TRIGGER cvms_counted; DROP TRIGGER cvms_recounted; DROP TRIGGER cvms_uncounted;
DROP TABLE node_usage; DROP TABLE workspace_usage; DROP TABLE device_codes;
DROP INDEX cvms_being_deleted; DROP INDEX deleted_cvms;
DROP INDEX cvms_of_app; DROP INDEX cvms_of_instance;
CREATE INDEX cvms_app ON cvms (app_id); CREATE INDEX cvms_instance ON cvms (instance_id);
ALTER TABLE cvms DROP COLUMN gone_at;
ALTER TABLE cvms DROP COLUMN network;
ALTER TABLE cvms DROP COLUMN rental;
ALTER TABLE workspaces DROP COLUMN suspended_at;
DROP TABLE metered_spans;
ALTER TABLE workspaces DROP COLUMN settled;
DELETE FROM facts WHERE name = 'schema';
"""


@pytest.fixture
def kept(new_cloud, tmp_path, monkeypatch):
    """The path of a database that holds one CVM, and a cloud that serves it when started."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = tmp_path / "kept.sqlite"
    with new_cloud(seed="empty", speed=200, database=f"sqlite:///{path}") as cloud:
        yield path, cloud


def _change(path, script):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_only_its_owner_reads_a_database(kept, connect):
    path, cloud = kept
    connect(cloud).create()
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob("kept*")}
    assert {"kept.sqlite", "kept.sqlite-wal", "kept.sqlite-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_database_that_others_could_read_is_closed_to_them(kept):
    path, cloud = kept
    cloud.close()
    path.chmod(0o644)
    with cloud.start():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_of_the_version_before_is_brought_up(kept, connect, walk_and_add_up):
    path, cloud = kept
    made = connect(cloud).create()
    cloud.close()
    _change(path, _TO_VERSION_1)
    with cloud.start():
        api = connect(cloud)
        assert [item["id"] for item in api.get("/cvms").json()] == [made["id"]]
        assert api.create()["id"] != made["id"]
        walk_and_add_up(cloud, rounds=1, steps=10)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("UPDATE facts SET value = '99' WHERE name = 'schema'", "version 99"),
        ("UPDATE facts SET value = 'x' WHERE name = 'schema'", "version x"),
        ("ALTER TABLE cvms DROP COLUMN op_error", "table cvms has no column op_error"),
        ("DROP TABLE facts", "no table facts"),
    ],
)
def test_a_database_of_another_version_is_refused_before_it_is_served(kept, script, why):
    path, cloud = kept
    cloud.close()
    _change(path, script)
    with pytest.raises(LocalCloudError, match=why) as refused:
        cloud.start()
    assert "another version" in str(refused.value)
    assert "Traceback" not in str(refused.value)
