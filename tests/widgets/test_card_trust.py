"""The card's Trust tab: verified when it is asked for, by real evidence and with each fault."""

import json

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.live.trust import verify_row
from cvm_notebook.widgets.card import trust as trust_module
from cvm_notebook.widgets.card.trust import why_not

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"
PLACES = {
    "proven": {"teepod_id": 3},
    "has-gpus": {"instance_type": "h100.small", "image": "dstack-nvidia-0.6.0"},
}
FAULTS = {  # which check of which CVM fails
    "debug": ("proven", "debug"),
    "tcb_outdated": ("proven", "tcb"),
    "tcb_revoked": ("proven", "tcb"),
    "pck_revoked": ("proven", "hardware"),
    "collateral_expired": ("proven", "hardware"),
    "other_root": ("proven", "hardware"),
    "replayed_quote": ("proven", "endpoint"),
    "other_compose": ("proven", "app"),
    "other_image": ("proven", "image"),
    "dev_image": ("proven", "image"),
    "log_shortened": ("proven", "log"),
    "event_after_ready": ("proven", "app"),
    "duplicate_event": ("proven", "log"),
    "gpu_missing": ("has-gpus", "gpu"),
}


@pytest.fixture(scope="module")
def client(cloud):
    """A client of a workspace of this module's own, with a CVM for each of the places."""
    key = cloud.new_workspace()["api_key"]
    with cvm.Client(api_key=key, base_url=cloud.url) as client:
        for name, place in PLACES.items():
            offer = client.provision_cvm(name=name, compose_file=COMPOSE, **place)
            made = client.commit_cvm_provision(offer)
            client.watch_cvm_state(made.id, target="running")
        yield client


@pytest.fixture(scope="module")
def policies(client, cloud):
    """What each of them passes."""
    made = {}
    gateway = cloud.url.replace("/api/v1", "/gateway")
    for name in PLACES:
        verdict = cvm.verify(client, name)
        app_id = client.get_cvm_info(name).app_id
        made[name] = cvm.Policy(
            app=COMPOSE,
            images=[cvm.learn_image(verdict, name=f"that of {name}")],
            quote_url=f"{gateway}/{app_id}-8080/quote",
            gpus=1 if name == "has-gpus" else None,
        )
    return made


@pytest.fixture
def faults(cloud):
    yield cloud
    cloud.clear_faults()


class Tab:
    """The Trust tab of a CVM's card, as a front end has it."""

    def __init__(self, wire, card):
        self.wire, self.card = wire, card
        self.token = json.loads(card._boot)["token"]
        self.say("hello")

    def say(self, kind):
        self.wire.say(self.card, {"kind": kind, "token": self.token})

    def verify(self):
        """Press "Verify now"; return the state once it has ended."""
        before = self.wire.state(self.card)["verify"]["ended"]
        self.say("verify")
        return self.until(lambda state: state["verify"]["ended"] > before)

    def until(self, right):
        return self.wire.until(self.card, right)


@pytest.fixture
def tab(wire, fleet):
    return Tab(wire, fleet["proven"].card())


def outcomes(state):
    return {name: outcome for name, _, outcome, *_ in state["trust"]["checks"]}


def test_nothing_is_verified_until_it_is_asked_for(cloud, tab):
    cloud.clear_requests()
    state = tab.until(lambda state: state["stats"]["meters"])
    assert state["trust"] is None
    assert not [one for one in cloud.requests() if "attestation" in one["path"]]
    state = tab.verify()
    assert (state["trust"]["word"], state["verify"]["busy"]) == ("SIMULATED", False)
    assert list(outcomes(state)) == [
        "hardware", "tcb", "debug", "log", "image", "app", "key_provider", "endpoint", "gpu",
    ]  # fmt: skip
    assert state["trust"]["at"] < state["trust"]["until"]
    assert state["trust"]["by"] == "by the default policy"
    assert next(text for _, text, *_ in state["events"]) == "trust: SIMULATED"


def test_under_a_development_root_nothing_says_that_it_is_verified(tab, policies):
    tab.card.policy = policies["proven"]
    state = tab.verify()
    assert set(outcomes(state).values()) <= {"pass", "skip"}
    assert outcomes(state)["app"] == "pass"
    assert state["trust"]["by"] == "by the policy of this card"
    assert "verified" not in json.dumps(state["trust"]).lower()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_shows_the_check_that_it_fails(wire, fleet, faults, policies, fault):
    name, check = FAULTS[fault]
    tab = Tab(wire, fleet[name].card())
    tab.card.policy = policies[name]
    faults.inject({"kind": fault})
    state = tab.verify()
    failed = [name for name, outcome in outcomes(state).items() if outcome == "fail"]
    assert (state["trust"]["word"], failed) == ("FAILED", [check]), state["trust"]["summary"]
    assert state["trust"]["summary"].startswith(f"FAILED at {check}: ")
    faults.clear_faults()
    assert tab.verify()["trust"]["word"] == "SIMULATED"  # and it asks for collateral again


def test_without_collateral_it_is_partial_and_says_what_to_do(tab, faults):
    faults.inject({"kind": "no_collateral"})
    state = tab.verify()
    assert (state["trust"]["word"], outcomes(state)["hardware"]) == ("PARTIAL", "skip")
    todo = {name: todo for name, *_, todo in state["trust"]["checks"]}["hardware"]
    assert "pccs=" in todo


def test_what_was_verified_from_code_is_shown_until_it_is_stopped(client, fleet, tab):
    verify_row(fleet, fleet["proven"].row)
    state = tab.until(lambda state: state["trust"])
    assert state["trust"]["by"] == "asked for from code, by the policy given there"
    assert state["verify"]["why"] is None
    client.stop_cvm("proven")
    state = tab.until(lambda state: state["status"] == "stopped")
    assert state["trust"] is None
    assert state["verify"]["why"] == "Only a CVM that runs shows what it runs: start it first."
    client.start_cvm("proven")
    tab.until(lambda state: state["status"] == "running" and not state["verify"]["why"])


def test_a_verdict_on_what_it_no_longer_runs_is_not_kept(client, fleet, tab, monkeypatch):
    ask = client.get_app_attestations

    def stopped_meanwhile(app_id):
        answer = ask(app_id)
        client.stop_cvm("proven")
        fleet.wait("proven", status="stopped", progress=False)
        return answer

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(client, "get_app_attestations", stopped_meanwhile)
        state = tab.verify()
    assert state["trust"] is None
    assert "was not kept. Verify it again." in state["verify"]["error"]
    client.start_cvm("proven")
    tab.until(lambda state: state["status"] == "running")
    assert tab.verify()["verify"]["error"] is None


def test_why_it_could_not_be_verified_is_a_sentence_and_what_is_known_stays(tab, faults):
    known = tab.verify()["trust"]
    faults.inject({"kind": "status", "arg": 401, "route": "GET /apps/*/attestations"})
    state = tab.verify()
    assert "key" in state["verify"]["error"]
    assert "Traceback" not in state["verify"]["error"]
    assert state["trust"] == known
    assert tab.verify()["verify"]["error"] is None


def test_where_the_extra_is_missing_it_says_how_to_install_it(cloud, fleet, tab, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(trust_module, "is_installed", lambda: False)
        tab.card._mark()
        state = tab.until(lambda state: state["verify"]["why"])
        assert "pip install 'cvm-notebook[attest]'" in state["verify"]["why"]
        tab.card._verification.ask(tab.card._workers)
        assert not tab.card._verification._busy
    assert why_not(None) == "It is no longer in the fleet."


def test_a_double_click_verifies_once(tab):
    asked = []

    class Slow:
        do = asked.append

    tab.card._verification.ask(Slow)
    tab.card._verification.ask(Slow)
    assert tab.until(lambda state: state["verify"]["busy"])
    (only,) = asked
    only()
    assert tab.until(lambda state: not state["verify"]["busy"])["verify"]["ended"] == 1


def test_a_policy_that_is_none_is_refused(tab, policies):
    with pytest.raises(InvalidInput, match="policy"):
        tab.card.policy = {"app": COMPOSE}
    assert tab.card.policy is None
    assert f'fleet["{tab.card.cvm_id}"].card().policy' in tab.card._state()["verify"]["hint"]
    tab.card.policy = policies["proven"]
    state = tab.until(lambda state: "of this card" in state["verify"]["hint"])
    assert state["trust"] is None
