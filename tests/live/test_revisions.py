"""Versions of an app: what going back means, whatever was done and undone before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cvm_notebook as cvm
from cvm_notebook.api.models.catalogue import AppRevision
from cvm_notebook.live.plans.revisions import AppHistory, Content

HASHES = {name: name * 64 for name in "abcd"}


def history(*made, sealed=None):
    """Make a history of ``"a1"``: the hash a, given to the CVM 1; the oldest first."""
    revisions = [
        AppRevision(revision_id=f"rev_{n}", vm_uuid=f"vm-{vm}", compose_hash=HASHES[name])
        for n, (name, vm) in enumerate(made)
    ]
    contents = {
        one.revision_id: Content({"docker_compose_file": made[n][0]}, (sealed or {}).get(n, "x"))
        for n, one in enumerate(revisions)
    }
    return AppHistory(revisions[::-1], contents)


def names(found):
    return "".join(version.compose_hash[0] for version in found.versions), found.at


@pytest.mark.parametrize(
    ("made", "versions", "at"),
    [
        (["a1"], "a", 0),
        (["a1", "a2", "b1", "b2"], "ab", 1),
        (["a1", "b1", "a1"], "ab", 0),
        (["a1", "b1", "a1", "b1"], "ab", 1),
        (["a1", "b1", "a1", "c1"], "ac", 1),
        (["a1", "b1", "c1", "a1", "b1"], "abc", 1),
        (["a1", "b1", "c1", "a1", "d1"], "ad", 1),
    ],
)
def test_going_back_makes_no_version_and_going_on_drops_what_was_left_behind(made, versions, at):
    assert names(history(*made)) == (versions, at)


def test_one_back_is_the_version_before_the_newest_change_however_often_it_is_asked():
    assert history("a1", "b1").find(-1).compose_hash == HASHES["a"]
    assert history("a1", "b1", "a1").find(-1).compose_hash == HASHES["a"]
    assert history("a1", "b1", "c1", "b1").find(-2).compose_hash == HASHES["a"]


def test_a_half_rolled_update_and_a_half_rolled_rollback_go_back_to_the_same():
    updating = history("a1", "a2", "b1")
    going_back = history("a1", "a2", "b1", "b2", "a1")
    assert updating.find(-1).compose_hash == going_back.find(-1).compose_hash == HASHES["a"]
    assert [updating.has(f"vm-{vm}", updating.find(-1)) for vm in "12"] == [False, True]
    assert [going_back.has(f"vm-{vm}", going_back.find(-1)) for vm in "12"] == [True, False]


def test_what_shares_a_hash_is_distinguished_by_its_variables():
    found = history("a1", "a1", sealed={0: "old", 1: "new"})
    assert names(found) == ("aa", 1)
    assert found.find(-1).revision_id == "rev_0"
    assert not found.has("vm-1", found.find(-1))
    back = history("a1", "a1", "a1", sealed={0: "old", 1: "new", 2: "old"})
    assert names(back) == ("aa", 0)
    assert back.has("vm-1", back.find(-1))


def test_the_history_of_one_cvm_knows_nothing_of_its_brothers():
    assert names(history("a1", "a2", "b1", "c2").of("vm-2")) == ("ac", 1)


def test_a_revision_is_named_by_its_id_or_its_hash():
    found = history("a1", "b1", "c1")
    assert found.find("rev_1").compose_hash == HASHES["b"]
    assert found.find("0x" + HASHES["b"]).revision_id == "rev_1"


@pytest.mark.parametrize("revision", [0, 1, -3, True, "", "rev_9", None, 1.5])
def test_what_is_no_revision_is_refused(revision):
    with pytest.raises(cvm.InvalidInput, match="revision"):
        history("a1", "b1").find(revision)


def test_what_changed_is_reported_of_each_cvm_by_itself():
    newest, first, brother = history("a1", "a2", "b1").changes()[:3]
    assert newest.changes == ("compose_file",)
    assert "+b" in newest.diff
    assert first.changes == brother.changes == ("made",)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123")), max_size=30))
def test_the_newest_revision_is_where_it_stands_and_one_back_is_another_one(made):
    found = history(*(name + vm for name, vm in made))
    if not made:
        assert found.now is None
        return
    assert found.now.compose_hash == HASHES[made[-1][0]]
    assert found.has(f"vm-{made[-1][1]}", found.now)
    assert len({version.key for version in found.versions}) == len(found.versions)
    if len(found.versions) > 1:
        target = found.find(-1)
        undone = history(*(name + vm for name, vm in made), target.compose_hash[0] + "1")
        assert undone.find(-1).key[0] == target.key[0]


class Reads:
    """A service with revisions, which counts what is read of it."""

    def __init__(self, found):
        self.found, self.read = found, []

    def get_app_revisions(self, _app_id):
        return list(self.found.revisions)

    def get_app_revision(self, _app_id, revision_id):
        self.read.append(revision_id)
        return AppRevision(revision_id=revision_id, compose_file={"runner": revision_id})


def test_one_that_is_named_is_read_alone_with_what_the_cvm_has_now():
    service = Reads(history("a1", "a2", "b1", "b2", "a1", "c1", "a2"))

    found = AppHistory.near(service, "app", "rev_2", "vm-1")

    assert sorted(service.read) == ["rev_2", "rev_5"]
    assert set(found.contents) == {"rev_2", "rev_5"}
    service.read.clear()
    AppHistory.near(service, "app", "rev_2", "vm-1", found.contents)
    assert service.read == []
    with pytest.raises(cvm.InvalidInput, match="not a revision"):
        AppHistory.near(service, "app", "rev_9", "vm-1")
