"""The card's Revisions tab, and its way to the form, on a real LocalCloud."""

import json

import pytest
from helpers import LONG_PATIENCE

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.catalogue import AppRevision
from cvm_notebook.live.plans.revisions import Content
from cvm_notebook.widgets.card import revisions
from cvm_notebook.widgets.card.revisions import compared

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"
OTHER = "services:\n  web:\n    image: nginx:1.28\n"


@pytest.fixture(scope="module")
def shared(new_cloud):
    with new_cloud(seed="empty", speed=400) as cloud:
        yield cloud


@pytest.fixture
def tab(wire, shared):
    """The tab of a CVM that runs the second revision of its app, which takes a variable more."""
    shared.clear_faults()
    key = shared.new_workspace()["api_key"]
    with cvm.Client(api_key=key, base_url=shared.url) as client:
        offer = client.provision_cvm(name="web-app", compose_file=COMPOSE)
        made = client.commit_cvm_provision(offer)
        client.watch_cvm_state(made.id, target="running")
        client.update_cvm(made.id, compose_file=OTHER, env={"TOKEN": "1"})
        client.watch_cvm_state(made.id, target="running")
        with cvm.Fleet(client) as fleet:
            fleet.snapshot()
            yield Tab(wire, fleet)
    shared.clear_faults()


class Tab:
    """The Revisions tab of a CVM's card, as a front end has it."""

    def __init__(self, wire, fleet):
        self.wire, self.fleet, self.card = wire, fleet, fleet["web-app"].card()
        self.token = json.loads(self.card._boot)["token"]
        self.say("hello")

    def say(self, kind, **more):
        self.wire.say(self.card, {"kind": kind, "token": self.token, **more})

    def do(self, what, **more):
        self.say("revisions", do=what, **more)

    def until(self, right):
        state = self.wire.until(self.card, lambda state: right(state["revisions"]))
        return state["revisions"]

    def listed(self):
        self.do("list")
        return self.until(lambda now: now["rows"] and not now["busy"])["rows"]

    def asked(self):
        """Ask to go back to the first revision; return the question."""
        *_, first = self.listed()
        self.do("ask", revision=first["id"], click="one")
        return self.until(lambda now: now["question"] and not now["busy"])["question"]

    def answer(self, **fields):
        self.do("answer", click="one", **fields)


def redeployed(cloud):
    return [one for one in cloud.requests() if one["path"].endswith("/redeploy")]


def test_nothing_is_fetched_until_somebody_looks(tab, shared):
    shared.clear_requests()
    state = tab.wire.until(tab.card, lambda state: state["stats"]["meters"])["revisions"]
    assert (state["rows"], state["busy"]) == (None, "")
    assert not [one for one in shared.requests() if "revisions" in one["path"]]


def test_revisions_are_listed_and_two_of_them_compared(tab):
    newest, first = tab.listed()
    assert (newest["runs"], first["runs"]) == (True, False)
    assert (newest["kind"], first["kind"]) == ("compose update", "create")
    assert newest["who"]
    assert newest["hash"] == tab.fleet["web-app"].cvm.compose_hash
    tab.do("compare", a=first["id"], b=newest["id"])
    compared = tab.until(lambda now: now["compared"])["compared"]
    assert "+    image: nginx:1.28" in compared["diff"]
    assert ["allowed_envs", "", "TOKEN"] in compared["facts"]
    tab.do("compare", a=newest["id"], b=newest["id"])
    compared = tab.until(lambda now: now["compared"] and now["pair"][0] == newest["id"])
    assert compared["compared"] == {"facts": [], "diff": [], "more": 0}
    tab.do("compare", a="rev_nobody", b="../../x")  # none that was listed
    tab.listed()
    assert tab.wire.state(tab.card)["revisions"]["pair"] == [newest["id"]] * 2


def test_going_back_is_asked_for_with_what_is_lost_and_sent_once(tab, shared):
    question = tab.asked()
    assert question["lost"] == ["TOKEN"]
    assert question["phrase"] == "web-app"
    assert "-    image: nginx:1.28" in question["diff"]
    shared.clear_requests()
    tab.answer(yes=True, typed="web")
    assert "exactly" in tab.until(lambda now: now["error"])["error"]
    assert not redeployed(shared)
    for _ in range(2):  # a double click is one
        tab.answer(yes=True, typed="web-app")
    state = tab.until(lambda now: len(now["rows"]) == 3)  # read again when it is done
    assert state["question"] is None
    assert len(redeployed(shared)) == 1
    client = tab.fleet.client
    (record,) = [one for one in tab.fleet.operator.records() if one.verb == "redeploy"]
    assert record.state == "reached"
    assert client.get_cvm_compose_file("web-app")["docker_compose_file"] == COMPOSE
    state = tab.until(lambda now: now["rows"][0]["runs"])
    assert not state["rows"][1]["runs"]


def test_a_change_that_ends_while_the_list_cannot_be_read_is_read_afterwards(tab, monkeypatch):
    redeploy = revisions.redeployed
    monkeypatch.setattr(
        revisions, "redeployed", lambda *given: redeploy(*given).wait(LONG_PATIENCE)
    )
    tab.asked()
    tab.answer(yes=True, typed="web-app")
    tab.until(lambda now: len(now["rows"]) == 3)


def test_no_is_no(tab, shared):
    tab.asked()
    shared.clear_requests()
    tab.answer(yes=False)
    tab.until(lambda now: now["question"] is None)
    tab.answer(yes=True, typed="web-app")
    tab.do("list")
    tab.until(lambda now: now["busy"] == "")
    assert not redeployed(shared)


def test_an_answer_that_is_lost_is_read_back_and_nothing_sent_again(tab, shared):
    tab.asked()
    shared.clear_requests()
    shared.inject({"kind": "reset_after", "route": "POST /cvms/*/revisions/*/redeploy", "times": 1})
    tab.answer(yes=True, typed="web-app")
    tab.until(lambda now: len(now["rows"]) == 3)
    (record,) = [one for one in tab.fleet.operator.records() if one.verb == "redeploy"]
    assert record.state == "reached"
    assert len(redeployed(shared)) == 1


def test_what_changed_since_the_question_is_not_gone_back_from(tab, shared):
    tab.asked()
    client = tab.fleet.client
    client.update_docker_compose("web-app", COMPOSE.replace("1.27", "1.29"))
    client.watch_cvm_state("web-app", target="running")
    shared.clear_requests()
    tab.answer(yes=True, typed="web-app")
    assert "has changed since" in tab.until(lambda now: now["error"])["error"]
    assert not redeployed(shared)


def test_the_card_opens_the_form_once_and_ends_it_with_itself(tab):
    for _ in range(2):
        tab.say("change", view="v1")
    tab.do("list")
    tab.until(lambda now: now["rows"])  # what was sent before was taken
    form = tab.card._form
    tab.wire.until(form, lambda state: state["step"]["phase"] == "fill")
    messages = [one for one in tab.wire.sent(tab.card) if one["kind"] == "change"]
    assert messages[0] == {"kind": "change", "view": "v1", "form": form.model_id}
    assert {one["form"] for one in messages} == {form.model_id}
    tab.card.close()
    assert form.comm is None


@pytest.mark.parametrize("content", [None, "no json", "[1]", ["x"], 3])
def test_a_revision_without_an_app_compose_says_so(content):
    with pytest.raises(CvmError, match="no compose file"):
        Content.of(AppRevision(compose_file=content)).app_compose()
    assert Content.of(AppRevision(compose_file='{"runner": "x"}')).app_compose() == {"runner": "x"}


def test_what_the_service_says_is_cleaned_before_it_is_compared():
    before = {"docker_compose_file": "a\u202e\n", "allowed_envs": ["A\x1b[2J"], "public_logs": True}
    after = {"docker_compose_file": "b\n", "allowed_envs": None, "public_logs": False}
    found = compared(before, after)
    assert "\u202e" not in str(found)
    assert "\x1b" not in str(found)
    assert ["public_logs", "yes", "no"] in found["facts"]
