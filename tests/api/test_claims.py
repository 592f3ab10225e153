"""What is new is given to one request, and only where it can be nobody else's."""

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvm_notebook.api import claims as module
from cvm_notebook.api.claims import SentClaims, claims_of_this_machine

APP = "replicas of app-1"


@pytest.fixture(params=["memory", "file"])
def claims(request, tmp_path):
    return SentClaims() if request.param == "memory" else SentClaims(tmp_path / "claims.sqlite")


def begun(claims, known=(), scope=APP):
    name = claims.begin(scope)
    claims.know(name, list(known))
    return name


def lost(claims, known=(), scope=APP):
    name = begun(claims, known, scope)
    claims.lost(name)
    return name


def test_what_is_new_belongs_to_the_only_one_that_may_have_made_it(claims):
    claimant = lost(claims)

    assert claims.assign(claimant, ["a"]) == "a"
    assert claims.assign(claimant, ["a", "b"]) == "a", "once and for all"


def test_nothing_new_is_nobodys(claims):
    assert claims.assign(lost(claims), []) is None


def test_fewer_than_claimants_is_unknown(claims):
    one, other = lost(claims), lost(claims)

    assert claims.assign(one, ["a"]) is None
    assert claims.assign(other, ["a"]) is None


def test_more_than_claimants_is_unknown(claims):
    assert claims.assign(lost(claims), ["a", "b"]) is None


def test_as_many_as_claimants_are_given_one_to_each(claims):
    names = [lost(claims) for _ in range(3)]

    assert {claims.assign(name, ["a", "b", "c"]) for name in names} == {"a", "b", "c"}


def test_nothing_is_given_while_another_is_in_flight(claims):
    claimant, other = lost(claims), begun(claims)

    assert claims.assign(claimant, ["a"]) is None

    claims.answered(other, "b")
    assert claims.assign(claimant, ["a", "b"]) == "a"


def test_what_was_refused_has_made_nothing(claims):
    claimant, other = lost(claims), begun(claims)
    claims.withdraw(other)

    assert claims.assign(claimant, ["a"]) == "a"


def test_one_that_was_answered_without_a_name_may_have_made_it(claims):
    claimant, other = lost(claims), begun(claims)
    claims.answered(other)

    assert claims.assign(claimant, ["a"]) is None
    assert claims.assign(claimant, ["a", "b"]) in {"a", "b"}


def test_one_that_was_answered_before_this_began_is_no_rival(claims):
    claims.answered(begun(claims))

    assert claims.assign(lost(claims, known=["a"]), ["b"]) == "b"


def test_one_that_began_before_and_is_in_flight_still_is_a_rival(claims):
    other = begun(claims)
    claimant = lost(claims)

    assert claims.assign(claimant, ["a"]) is None
    claims.answered(other)
    assert claims.assign(claimant, ["a"]) is None, (
        "its doing may not have shown when this one began"
    )


def test_what_the_service_says_outweighs_what_was_inferred(claims):
    claimant = lost(claims)
    assert claims.assign(claimant, ["a"]) == "a"
    other = begun(claims)

    claims.answered(other, "a")

    assert claims.assign(claimant, ["a"]) is None
    assert claims.assign(claimant, ["a", "b"]) == "b"


def test_another_scope_is_none_of_its_business(claims):
    claimant = lost(claims)
    lost(claims, scope="replicas of app-2")
    other = begun(claims, scope="history of 1")

    assert claims.assign(claimant, ["a"]) == "a"
    claims.withdraw(other)


def test_one_that_nobody_knows_gets_nothing(claims):
    assert claims.assign("nobody", ["a"]) is None
    claims.lost("nobody")
    claims.withdraw("nobody")
    claims.answered("nobody", "a")
    assert claims.assign(lost(claims), ["a"]) == "a", "and takes nothing"


def test_what_a_later_one_has_found_there_is_what_earlier_ones_made(claims):
    first = lost(claims)

    second = lost(claims, known=["a"])

    assert claims.assign(second, ["b"]) == "b"
    assert claims.assign(first, ["a", "b"]) == "a"


def test_a_name_is_never_given_twice_however_many_ask_at_once(claims):
    names = [lost(claims) for _ in range(12)]
    new = [str(number) for number in range(12)]
    ready = threading.Barrier(len(names))

    def ask(name):
        ready.wait(20)
        return claims.assign(name, new)

    with ThreadPoolExecutor(len(names)) as pool:
        given = list(pool.map(ask, names))

    assert sorted(given, key=int) == new


def test_two_processes_share_one_file(tmp_path):
    path = tmp_path / "claims.sqlite"
    claimant = lost(SentClaims(path))
    code = (
        "import sys, pathlib; from cvm_notebook.api.claims import SentClaims\n"
        "claims = SentClaims(pathlib.Path(sys.argv[1])); name = claims.begin(sys.argv[2])\n"
        "claims.know(name, []); claims.lost(name); print(claims.assign(name, ['a', 'b']))\n"
    )

    other = subprocess.run(
        [sys.executable, "-c", code, str(path), APP],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    ).stdout.strip()

    assert {SentClaims(path).assign(claimant, ["a", "b"]), other} == {"a", "b"}
    assert SentClaims(path).assign(claimant, ["a"]) != other


@pytest.mark.parametrize(("sent", "new"), [(False, ["a"]), (True, ["a", "b"])])
def test_what_a_killed_process_has_begun_blocks_nobody(tmp_path, sent, new):
    """Killed before it could send, it has made nothing; after that, it may have made one."""
    path = tmp_path / "claims.sqlite"
    claims = SentClaims(path)
    name = claims.begin(APP)
    claims.know(name, [])
    claims.lost(name)
    code = (
        "import os, signal, sys, pathlib\n"
        "from cvm_notebook.api.claims import SentClaims\n"
        "claims = SentClaims(pathlib.Path(sys.argv[1])); name = claims.begin(sys.argv[2])\n"
        "if sys.argv[3] == 'True': claims.know(name, [])\n"
        "print('begun', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path), APP, str(sent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "begun\n"
        assert claims.assign(name, new) is None  # it lives, and may send yet
        other.kill()
        other.wait(30)

    assert claims.assign(name, new) in new
    assert not list(tmp_path.glob("*.lock"))


def test_what_is_older_than_a_day_is_forgotten(tmp_path):
    path = tmp_path / "claims.sqlite"
    old = lost(SentClaims(path))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE claim SET at = datetime('now', '-2 days')")
    database.close()

    assert SentClaims(path).assign(old, ["a"]) is None


# --- where they are kept --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder for temporary files of a machine on which nothing was done yet."""
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "_shared", None)
    return tmp_path / f"cvm-notebook-{os.getuid()}"


def shared():
    """Whether the claims are shared with other processes."""
    return claims_of_this_machine()._path is not None


def test_they_are_in_a_folder_of_this_user_alone(folder):
    assert shared()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert claims_of_this_machine() is claims_of_this_machine()


def test_a_folder_that_others_can_write_to_is_not_used(folder):
    folder.mkdir()
    folder.chmod(0o777)

    assert not shared()


def test_a_link_in_its_place_is_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)

    assert not shared()
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_its_place_is_left_alone(folder):
    folder.write_text("mine")

    assert not shared()
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("content", [b"no database at all, and longer than a header of one" * 4])
def test_a_database_that_is_broken_is_done_without(folder, content):
    folder.mkdir(mode=0o700)
    (folder / "sent-claims.sqlite").write_bytes(content)

    assert not shared()
    assert claims_of_this_machine().assign(lost(claims_of_this_machine()), ["a"]) == "a"


def test_a_database_of_another_make_is_done_without(folder):
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "sent-claims.sqlite") as database:
        database.execute("CREATE TABLE claim (something TEXT)")
    database.close()

    assert not shared()


def test_a_database_that_breaks_later_raises_nothing_but_what_sqlite_says(folder):
    claims = claims_of_this_machine()
    claimant = lost(claims)
    Path(folder / "sent-claims.sqlite").write_bytes(b"gone bad " * 1000)

    with pytest.raises(sqlite3.Error):
        claims.assign(claimant, ["a"])
