"""A database lies where its path says, whatever characters that has."""

import pytest
from sqlalchemy import text

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.core.database import Database
from cvm_notebook.local.core.schema import bring_up
from cvm_notebook.local.core.settings import sqlite_url

PATHS = [
    "a%2Fb",
    "a?b=c",
    "a#b",
    "a b+c",
    "100%",
    "%3F",
    "\u00e4\u2603",
    "a&b;c:d@e",
    "back\\slash",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_file_is_made_in_the_folder_of_that_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    database = Database(sqlite_url(folder / "local.sqlite"))
    bring_up(database)
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM cvms")).scalar() == 0
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "local.sqlite" in {path.name for path in folder.iterdir()}


def test_options_after_the_question_mark_are_options(tmp_path):
    url = sqlite_url(tmp_path / "a?b.sqlite")
    database = Database(f"{url}?timeout=7")
    bring_up(database)
    assert database.engine.url.query == {"timeout": "7"}
    database.close()
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["a?b.sqlite"]


def test_a_usual_path_is_written_as_it_is(tmp_path):
    assert sqlite_url("/data/me/share/x y.sqlite") == ("sqlite:////data/me/share/x y.sqlite")


def test_a_cloud_runs_whatever_the_folder_for_temporary_files_is_called(tmp_path, monkeypatch):
    folder = tmp_path / "a%2Fb?c#d e"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with LocalCloud(seed="empty") as cloud:
        assert cloud.log_path.parent.parent == folder
        assert (cloud.log_path.parent / "local.sqlite").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert list(folder.iterdir()) == []
