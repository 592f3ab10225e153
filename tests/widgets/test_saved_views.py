"""Saved views: what is kept of a table, where, and the error for a file of another format."""

import json

import pytest

from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.widgets.table.presentation import USUAL
from cvm_notebook.widgets.table.views import SavedView, Sort, ViewBook

GPU = SavedView(
    query="gpus > 0",
    columns=("name", "status", "gpus"),
    widths={"name": 220},
    sort=Sort("gpus", down=True),
    by="app",
)


@pytest.fixture
def book(tmp_path):
    return ViewBook(tmp_path / "new" / "views.json")


def test_a_view_comes_back_as_it_was_saved_also_to_another_kernel(book):
    assert book.names() == ()
    assert book.save(" gpu ", GPU) == "gpu"
    other = ViewBook(book.path)
    assert other.get("gpu") == other.get("GPU") == GPU
    other.save("broken", SavedView(query="status = 'failed'"))
    assert book.names() == ("broken", "gpu")
    book.save("Gpu", SavedView(by="app"))  # the same name: it is replaced
    assert book.names() == ("broken", "Gpu")
    book.delete("gpu")
    assert book.names() == ("broken",)
    assert book.path.stat().st_mode & 0o077 == 0


def test_it_stands_beside_the_profiles_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    ViewBook().save("gpu", GPU)
    assert json.loads((tmp_path / "notebook-views.json").read_text())["views"]["gpu"]["by"] == "app"


def test_an_unknown_name_gets_those_that_are_saved(book):
    with pytest.raises(InvalidInput, match=r"no saved view 'gpu'\. None is saved yet"):
        book.get("gpu")
    book.save("gpu", GPU)
    book.save("eu", GPU)
    for asked in (book.get, book.delete):
        with pytest.raises(InvalidInput, match=r"no saved view 'cpu'\. Saved are: eu, gpu\."):
            asked("cpu")


def test_the_default_is_always_there_and_no_name_of_another(book):
    assert book.get("default") == SavedView(columns=USUAL)
    for name, wrong in ((" DEFAULT", "always there"), ("", "empty"), ("x" * 61, "more than 60")):
        with pytest.raises(InvalidInput, match=wrong):
            book.save(name, GPU)
    assert not book.path.exists()


@pytest.mark.parametrize("content", ["[", "[]", '{"views": {"a": {"columns": 7}}}', "\udcff"])
def test_a_file_of_another_format_is_named_and_left_alone(book, content):
    book.path.parent.mkdir()
    book.path.write_bytes(content.encode(errors="surrogateescape"))
    for act in (book.names, lambda: book.get("a"), lambda: book.save("a", GPU)):
        with pytest.raises(
            CvmError, match=r"views\.json is not a file of saved views.*move it away"
        ):
            act()
    assert book.path.read_bytes() == content.encode(errors="surrogateescape")


def test_a_file_that_cannot_be_read_or_is_too_large_says_so(book):
    book.path.mkdir(parents=True)
    with pytest.raises(CvmError, match="cannot be read"):
        book.names()
    book.path.rmdir()
    book.path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(CvmError, match="too large"):
        book.names()


def test_a_view_of_another_version_is_shown_as_far_as_this_one_knows_it(book):
    odd = SavedView(
        columns=("gpus", "of_the_future"),
        widths={"name": 9, "gpus": 100, "of_the_future": 100},
        sort=Sort("of_the_future"),
        query="x" * 5_000,
    )
    book.save("odd", odd)
    sound = book.get("odd")
    assert (sound.columns, sound.widths, sound.sort) == (("gpus",), {"gpus": 100}, None)
    assert len(sound.query) == 2_000


def test_what_a_front_end_says_of_its_look_is_taken_only_where_it_makes_sense():
    look = {"widths": {"name": 200, "cpu": "wide", 7: 7}, "sort": {"name": "cpu", "down": True}}
    view = SavedView.of("web", ("name", "cpu"), "cvm", look)
    assert view.look() == {"widths": {"name": 200}, "sort": {"name": "cpu", "down": True}}
    for nonsense in (None, [], {"widths": [], "sort": {"name": 7}}, {"sort": {"name": "nothing"}}):
        assert SavedView.of("", (), "app", nonsense).look() == {"widths": {}, "sort": None}
