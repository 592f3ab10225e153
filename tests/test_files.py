"""A file that a user names is written as other programs write one: what it is, it stays."""

import os
import stat
import threading
from pathlib import Path

import pytest
from helpers import HANGS

from cvm_notebook.files import target_of, write_file


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_usual_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new", b"text")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"text"
    assert mode(tmp_path / "new") == 0o640


@pytest.mark.parametrize("had", [0o600, 0o644, 0o666])
def test_a_file_keeps_its_mode_and_is_replaced_whole(tmp_path, had):
    path = tmp_path / "old"
    path.write_text("of yesterday")
    path.chmod(had)
    with path.open() as reader:  # who reads the old one reads on
        write_file(path, b"text")
        assert reader.read() == "of yesterday"
    assert path.read_bytes() == b"text"
    assert mode(path) == had
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("had", [None, 0o600, 0o644])
def test_a_private_file_is_its_owners_alone_whatever_mode_it_had(tmp_path, had):
    path = tmp_path / "old"
    if had is not None:
        path.write_text("of yesterday")
        path.chmod(had)
    write_file(path, b"text", private=True)
    assert path.read_bytes() == b"text"
    assert mode(path) == 0o600


def test_a_private_file_of_several_names_is_its_owners_alone_too(tmp_path):
    path = tmp_path / "old"
    path.write_text("of yesterday")
    (tmp_path / "other").hardlink_to(path)
    write_file(path, b"text", private=True)
    assert (tmp_path / "other").read_bytes() == b"text"
    assert mode(path) == 0o600


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_one(tmp_path, there):
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real"
    if there:
        real.write_text("of yesterday")
        real.chmod(0o600)
    (tmp_path / "middle").symlink_to("far/real")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "middle")
    write_file(link, b"text")
    assert link.readlink() == tmp_path / "middle"
    assert (tmp_path / "middle").is_symlink()
    assert real.read_bytes() == b"text"
    assert not there or mode(real) == 0o600
    assert list(real.parent.iterdir()) == [real]


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(tmp_path / "a", b"text")


def test_both_names_of_a_file_name_it_still(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("of yesterday, and longer")
    other.hardlink_to(one)
    write_file(one, b"text")
    assert other.read_bytes() == b"text"
    assert one.samefile(other)


def test_a_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"text")
    reader.join(HANGS)
    assert read == [b"text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_devices_and_open_files_are_written_into(tmp_path):
    write_file(Path(os.devnull), b"text")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    held, link = tmp_path / "held", tmp_path / "link"
    with held.open("w+b") as file:
        link.symlink_to(f"/dev/fd/{file.fileno()}")
        assert str(target_of(link)) == f"/dev/fd/{file.fileno()}"
        write_file(link, b"text")
        assert file.read() == b"text"  # the file that is open, and not another of its name
    assert list(tmp_path.glob(".*")) == []


def test_what_cannot_be_written_stays_as_it_was(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path, b"text")
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "nowhere" / "file", b"text")
    if os.geteuid() != 0:
        path = tmp_path / "read-only"
        path.write_text("of yesterday")
        path.chmod(0o400)
        with pytest.raises(PermissionError):
            write_file(path, b"text")
        assert path.read_text() == "of yesterday"


def test_a_file_in_a_folder_that_takes_no_other_is_written_in_place(tmp_path, monkeypatch):
    path = tmp_path / "mounted"
    path.write_text("of yesterday")

    def refuse(*_):  # as for a single file that is mounted into a container
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    write_file(path, b"text")
    assert path.read_bytes() == b"text"
    assert list(tmp_path.iterdir()) == [path]
