"""The card's Python half: what goes to the front end, what is taken from it, what is left."""

import gc
import itertools
import json
import time
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from helpers import collected, settled, until

import cvm_notebook as cvm
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.guest import Certificate, CvmAttestation, SystemInfo, TcbInfo
from cvm_notebook.api.status import BOOT_STEPS
from cvm_notebook.attest.evidence.consistency import judge_attestation
from cvm_notebook.live.store.figures import Sample
from cvm_notebook.live.store.records import Provenance, Row
from cvm_notebook.widgets.base import mimebundle, view
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.card import card as card_module
from cvm_notebook.widgets.card.card import CvmCard, card_of
from cvm_notebook.widgets.card.details import _evidence_words, fetch
from cvm_notebook.widgets.card.sections import card_state

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"


@pytest.fixture
def client(cloud):
    """A client of a workspace of the test's own, with one CVM that runs."""
    workspace = cloud.new_workspace()
    client = cvm.Client(api_key=workspace["api_key"], base_url=cloud.url)
    client.commit_cvm_provision(client.provision_cvm(name="carded", compose_file=COMPOSE))
    yield client
    client.close()


@pytest.fixture
def card(fleet):
    card = fleet["carded"].card()
    card._clicks.undo = 0.0
    yield card
    card.close()


class Front:
    """A front end of the card: keeps what was sent to it, and sends what a view sends."""

    def __init__(self, wire, card):
        self.wire, self.card, self.clicks = wire, card, itertools.count()
        self.boot = json.loads(card._boot)
        self.token = self.boot["token"]

    def say(self, kind, **content):
        self.wire.say(self.card, {"kind": kind, "token": self.token, **content})

    def press(self, verb):
        self.say("act", verb=verb, click=f"{verb}-{next(self.clicks)}")

    def verbs(self):
        """Return what each button says: whether it may be pressed, and why or why not."""
        return {verb: tuple(verdict) for verb, verdict in self.state()["verbs"].items()}

    def state(self):
        """Return what it would draw now."""
        return self.wire.state(self.card)

    def until(self, right):
        """Wait until what it would draw is right; return it."""
        return self.wire.until(self.card, right)


@pytest.fixture
def front(wire, card):
    front = Front(wire, card)
    front.say("hello")
    wire.wait(card, "snapshot")
    return front


# --- what is shown --------------------------------------------------------------------------------


def test_the_first_state_rides_in_the_opening_so_that_a_busy_kernel_shows_it(wire, fleet, card):
    boot = Front(wire, card).boot
    assert boot["kind"] == "snapshot"
    assert boot["set"]["name"] == "carded"
    assert boot["set"]["status"] == "running"
    assert boot["age"] < 60
    facts = {label: value for label, value, _ in boot["set"]["facts"]}
    assert facts["compose hash"] == fleet["carded"].cvm.compose_hash
    assert facts["cost"].endswith("USD/h")
    assert all(url.startswith("https://") for url in boot["set"]["endpoints"])


def test_a_change_is_sent_as_a_patch_of_what_changed(wire, client, fleet, card, front):
    client.stop_cvm("carded")
    state = front.until(lambda state: state["status"] == "stopped")
    patches = wire.sent(card, "patch")
    assert patches
    assert all("endpoints" not in patch["set"] for patch in patches)
    assert any("→ stopped" in text for _, text, *_ in state["events"])
    assert not state["running"]


def test_a_card_that_is_gone_says_so_and_its_buttons_say_why(fleet, client, card, front):
    client.delete_cvm("carded")
    fleet.refresh()
    state = front.until(lambda state: state["gone"])
    assert (state["name"], state["status"]) == ("carded", "gone")
    assert not state["gone"]["by_you"]
    assert {"size", "app", "id"} <= {label for label, *_ in state["facts"]}
    settled()
    verbs = front.verbs()
    assert not any(allowed for allowed, _ in verbs.values())
    assert "no longer in the fleet" in verbs["start"][1]


def test_a_boot_is_shown_as_the_services_own_steps():
    seen = Provenance(0.0, datetime.now(UTC), "get")
    row = Row(
        cvm=Cvm(id="cvm_1", name="x"), status="starting", in_progress=True,
        boot_progress="requesting app keys", seen=seen,
    )  # fmt: skip
    steps = card_state(row)["steps"]
    assert steps["words"] == list(BOOT_STEPS)
    assert steps["words"][steps["at"]] == "requesting app keys"
    odd = Row(cvm=Cvm(id="cvm_1"), status="starting", boot_progress="warming up", seen=seen)
    assert card_state(odd)["steps"] == {"words": ["warming up"], "at": 0, "failed": False}


def test_figures_are_fetched_while_it_is_looked_at_and_not_otherwise(cloud, fleet, card, front):
    front.until(lambda state: state["stats"]["meters"])
    assert stats_calls(cloud)
    front.say("bye")
    settled()
    assert fleet.poll._wanted_ids() == frozenset()
    front.say("alive")
    settled()
    assert fleet.poll._wanted_ids() == {card.cvm_id}


def stats_calls(cloud):
    return [one for one in cloud.requests() if one["path"].endswith("/stats")]


# --- what is clicked ------------------------------------------------------------------------------


def test_a_button_stops_the_cvm_and_says_how_it_goes_under_it(client, card, front):
    assert front.verbs()["stop"][0]
    front.press("stop")
    state = front.until(lambda state: state["ops"].get("stop", {}).get("state") == "reached")
    assert state["ops"]["stop"]["steps"] == [True] * 4
    assert client.get_cvm_state("carded").status == "stopped"
    front.until(lambda state: any(by_you for *_, by_you in state["events"]))
    verbs = front.until(lambda state: state["verbs"]["start"][0])["verbs"]
    assert not verbs["stop"][0]
    assert "already stopped" in verbs["stop"][1]


def test_a_stop_can_be_taken_back_for_a_few_seconds(wire, client, card, front):
    card._clicks.undo = 60.0
    front.press("stop")
    asked = wire.wait(card, "asked")
    assert asked["undo"] == 60.0
    front.say("undo", ops=asked["ops"])
    assert wire.wait(card, "undone")["text"].startswith("Undone: ")
    assert client.get_cvm_state("carded").status == "running"


def test_a_double_click_makes_one_replica(cloud, card, front, client, monkeypatch):
    monkeypatch.setattr(card_module, "_TWICE_S", 600.0)
    for _ in range(3):
        front.press("replicate")
    front.until(lambda state: state["ops"].get("replicate", {}).get("done"))
    assert len(client.list_cvms()) == 2


def test_a_deletion_wants_its_answer_to_the_letter(wire, fleet, card, front):
    front.press("delete")
    question = wire.wait(card, "confirm")
    assert question["phrase"] == "carded"
    ticked = len(question["sentences"])
    front.say("confirmed", click=question["click"], typed="Carded", ticked=ticked)
    assert "exactly" in wire.wait(card, "refused")["text"]
    front.say("confirmed", click=question["click"], typed="carded", ticked=ticked)
    assert front.until(lambda state: state["gone"])["gone"]["by_you"]
    assert "carded" not in fleet


def test_a_view_of_another_time_may_look_and_not_act(wire, client, card, front):
    for kind, content in (
        ("act", {"verb": "stop", "click": "1", "revision": 0}),
        ("fetch", {"what": "compose"}),
        ("log", {"do": "read", "tail": 10}),
    ):
        wire.say(card, {"kind": kind, "token": "forged", **content})
        wire.say(card, {"kind": kind, **content})
    settled()
    assert client.get_cvm_state("carded").status == "running"
    assert not wire.sent(card, "details")
    assert not wire.sent(card, "log")


@pytest.mark.parametrize(
    "message",
    [
        [], "x", None, 7, {}, {"kind": None}, {"kind": []}, {"kind": "fetch", "what": []},
        {"kind": "fetch", "what": "__class__"}, {"kind": "log", "do": {}},
        {"kind": "log", "do": "read", "tail": "10", "container": 5},
        {"kind": "log", "do": "ack", "n": "x"}, {"kind": "confirmed", "click": []},
        {"kind": "undo", "ops": "x"}, {"kind": "act", "verb": "explode", "click": "c"},
    ],
)  # fmt: skip
def test_nonsense_from_a_front_end_does_no_harm(wire, card, front, message):
    if isinstance(message, dict):
        message = {"token": front.token, **message}
    wire.say(card, message)
    settled()
    assert not [one for one in wire.sent(card, "notice") if one.get("fault")]


# --- what it costs, and idles ---------------------------------------------------------------------


def test_what_it_costs_is_shown_and_what_was_spent_today_goes_on(wire, card, front):
    state = front.state()
    assert state["money"]["hour"] > state["money"]["saves"] > 0
    message = wire.sent(card, "snapshot")[-1]
    assert message["today"] >= 0
    assert message["today_at"] <= message["at"]


def test_an_idle_cvm_is_shown_and_a_rule_shuts_it_down_until_it_is_cancelled(fleet, card, front):
    front.until(lambda state: state["stats"]["at"])
    fleet.store.figures.forget([card.cvm_id])
    info = SystemInfo(num_cpus=2, loadavg_one=1, loadavg_five=1, loadavg_fifteen=1)
    for ago in (3_600, 2_700, 1_800, 900, 0):
        at = datetime.now(UTC) - timedelta(seconds=ago)
        fleet.store.measure([Sample.of(card.cvm_id, info, at=at, received=time.monotonic() - ago)])
    assert front.until(lambda state: state["idle"])["idle"] >= 3_599
    for _ in range(2):
        front.say("autostop", do="begin")
    (rule,) = front.until(lambda state: state["rules"])["rules"]
    assert rule["own"]
    assert "shuts down carded after 1 h" in rule["text"]
    assert "only while this kernel runs" in rule["text"]
    (active,) = fleet.rules()
    front.say("autostop", do="end", rule="rule-77")
    settled()
    assert active.active
    front.say("autostop", do="end", rule=rule["id"])
    front.until(lambda state: not state["rules"])
    assert not active.active


def other_is_there(fleet, name):
    fleet.refresh()
    until(lambda: name in fleet.snapshot())


def test_a_rule_of_others_is_shown_and_not_ended_here(fleet, client, card, front):
    client.commit_cvm_provision(client.provision_cvm(name="other", compose_file=COMPOSE))
    other_is_there(fleet, "other")
    fleet.wait("other", progress=False)  # or the rule is about one alone
    rule = fleet.autostop("status = running", schedule="Mon-Fri 20:00")
    ui_thread.post(card.pulse)
    (shown,) = front.until(lambda state: state["rules"])["rules"]
    assert not shown["own"]
    front.say("autostop", do="end", rule=shown["id"])
    settled()
    assert rule.active
    rule.cancel()
    ui_thread.post(card.pulse)
    front.until(lambda state: not state["rules"])


def test_charts_are_sent_when_they_are_looked_at(wire, card, front):
    at = front.until(lambda state: state["stats"]["at"])["stats"]["at"]
    front.say("metrics")
    message = wire.wait(card, "metrics")
    assert message["points"][-1][0] == at
    assert len(message["points"][-1]) == 5
    assert message["sizes"]["cpu"] == 1


def test_a_boot_that_failed_shows_the_line_of_its_log_once(wire, cloud, client, fleet):
    broken = COMPOSE.replace("nginx:1.27", "ghcr.io/none/does-not-exist:1")
    client.commit_cvm_provision(client.provision_cvm(name="broken", compose_file=broken))
    other_is_there(fleet, "broken")
    card = fleet["broken"].card()
    front = Front(wire, card)
    front.say("hello")
    state = front.until(lambda state: state["boot"] and state["boot"]["line"])
    assert "failed to start containers" in state["boot"]["line"]
    assert state["steps"]["words"][state["steps"]["at"]] == "starting containers"
    reads = len([one for one in cloud.requests() if one["path"].startswith("/logs/")])
    for _ in range(3):
        front.say("alive")
    settled()
    assert len([one for one in cloud.requests() if one["path"].startswith("/logs/")]) == reads
    card.close()


# --- what is fetched ------------------------------------------------------------------------------


def test_the_compose_file_is_hashed_here(wire, fleet, card, front):
    front.say("fetch", what="compose")
    message = wire.wait(card, "details")
    assert message["check"]["ok"] is True
    facts = dict(message["facts"])
    assert facts["hash of this file"] == fleet["carded"].cvm.compose_hash
    assert ["docker-compose.yml", COMPOSE] in message["texts"]


def test_another_compose_file_than_the_service_names_is_reported(client, fleet, card, front, wire):
    row = fleet["carded"].row
    other = replace(row, cvm=msgspec.structs.replace(row.cvm, compose_hash="0" * 64))
    assert fetch("compose", client, other)["check"]["ok"] is False
    assert "Mismatch" in fetch("attestation", client, other)["check"]["text"]


def test_measurements_are_never_called_verified(wire, card, front):
    front.say("fetch", what="attestation")
    message = wire.wait(card, "details")
    assert message["check"]["ok"] is None  # no tick: nothing is verified
    assert message["check"]["text"].startswith("Measurements are consistent: ")
    assert "no signature is checked for this list" in message["check"]["text"]
    assert "verified" not in str(message).replace("not verified", "")
    quoted = judge_attestation(
        CvmAttestation(app_certificates=(Certificate(quote="00ff"),), tcb_info=TcbInfo())
    )
    assert "no signature is checked for this list" in _evidence_words(quoted)
    assert _evidence_words(quoted).startswith("Not checked: ")


def test_how_it_is_reached_is_sent_with_the_time(wire, card, front):
    front.say("fetch", what="network")
    facts = {label: value for label, value, *_ in wire.wait(card, "details")["facts"]}
    assert facts["online"] == "yes"
    assert facts["last handshake with the gateway"] > 1.6e12


def test_what_cannot_be_fetched_is_a_line(wire, client, card, front):
    client.delete_cvm("carded")
    client.watch_cvm_state("carded", target="deleted")
    front.say("fetch", what="attestation")
    assert "Traceback" not in (error := wire.wait(card, "details")["error"])
    assert error


def test_its_log_is_read_when_it_is_asked_for(wire, card, front):
    front.say("log", do="read", channel="serial", tail=10)
    front.say("log", do="sources")
    for part in ("lines", "sources"):
        until(lambda part=part: any(one.get(part) for one in wire.sent(card, "log")))


# --- its life -------------------------------------------------------------------------------------


def test_displaying_a_cvm_a_hundred_times_leaks_nothing(wire, fleet, card):
    models = len(wire.opened)
    for _ in range(100):
        assert card_of(fleet, fleet["carded"].id) is card
        card._repr_mimebundle_()
    assert len(wire.opened) == models
    assert models < 20


def test_no_interest_and_no_traffic_when_nobody_looks(cloud, fleet, card, front):
    follows = fleet._reflector._interests._follows
    assert follows[card.cvm_id] == 1
    front.say("bye")
    settled()
    assert not follows[card.cvm_id]
    front.say("alive")
    settled()
    assert follows[card.cvm_id] == 1


def test_a_lease_ends_when_no_message_comes_and_the_next_one_renews_it(
    wire, fleet, card, front, monkeypatch
):
    follows = fleet._reflector._interests._follows
    with monkeypatch.context() as short:
        short.setattr(view, "LEASE_S", 0.0)
        front.say("alive")
        ui_thread.post(card.pulse)
        settled()
    assert not follows[card.cvm_id]
    before = len(wire.sent(card, "snapshot"))
    front.say("alive")
    wire.wait(card, "snapshot", after=before)
    assert follows[card.cvm_id] == 1


def test_a_card_ends_with_its_fleet_and_keeps_nothing_alive(client, wire):
    fleet = cvm.Fleet(client)
    card = fleet["carded"].card()
    front = Front(wire, card)
    front.say("hello")
    wire.wait(card, "snapshot")
    fleet.close()
    gone = weakref.ref(fleet)
    del fleet
    settled()
    gc.collect()
    assert collected(gone)
    until(lambda: card.comm is None)
    assert "closed" in repr(card)


def test_a_message_to_a_card_whose_fleet_has_ended_is_no_fault(client, wire):
    fleet = cvm.Fleet(client)
    card = fleet["carded"].card()
    front = Front(wire, card)
    settled()
    front.say("bye")
    settled()
    fleet.close()
    front.say("hello")
    wire.wait(card, "snapshot")
    settled()
    assert not wire.sent(card, "notice")
    card.close()


def test_a_closed_card_is_made_anew(wire, fleet, card):
    card.close()
    again = card_of(fleet, card.cvm_id)
    assert again is not card
    assert again.comm is not None


def test_no_state_that_is_saved_holds_the_key_or_a_token_of_the_logs(wire, client, fleet, card):
    logs = client.get_cvm_info("carded").logs
    token = logs.serial.reveal().partition("token=")[2].partition("&")[0]
    key = client._credentials.secret.reveal()
    everything = str(wire.log)
    assert token
    assert token not in everything
    assert key not in everything


def test_a_handle_shows_text_and_html_with_the_time_where_there_is_no_kernel(fleet):
    bundle = fleet["carded"]._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "snapshot of 2" in bundle["text/plain"]
    assert "<script" not in bundle["text/html"]


def test_a_handle_shows_its_card_where_there_is_a_kernel(fleet, monkeypatch, wire):
    monkeypatch.setattr(mimebundle, "has_kernel", lambda: True)
    bundle = fleet["carded"]._repr_mimebundle_()
    shown = bundle["application/vnd.jupyter.widget-view+json"]
    assert shown["model_id"] == fleet["carded"].card().model_id
    assert {"text/plain", "text/html"} < set(bundle)


def test_an_internal_error_is_a_line(wire, card, front, monkeypatch):
    def broken(*_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(card_module, "card_state", broken)
    ui_thread.post(card.flush, card)
    front.say("hello")
    message = wire.wait(card, "notice")
    assert message["fault"]
    assert "RuntimeError" in message["text"]


def test_the_class_is_shown_by_name(card):
    assert repr(card) == "<CvmCard of 'carded': running>"
    assert isinstance(card, CvmCard)


def test_of_a_closed_fleet_nothing_is_asked_and_the_buttons_say_why(
    wire, cloud, fleet, card, front
):
    form = fleet.deploy(name="of-a-closed-fleet")
    front.until(lambda state: state["verbs"]["stop"][0])
    fleet.close()
    verbs = front.until(lambda state: not state["verbs"]["stop"][0])["verbs"]
    assert all("this fleet is closed" in why for _, why in verbs.values())
    ui_thread.post(card.pulse)
    ui_thread.post(form.pulse)
    settled()
    wire.until(form, lambda state: state["closed"])
    form.close()
