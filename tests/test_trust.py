"""What was proven of CVMs: in the fleet, its frame, its table and its gates; and in which words."""

import json
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
from helpers import COMPOSE, claims
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import cvm_notebook as cvm
from cvm_notebook.attest.policy.policy import CHECK_NAMES
from cvm_notebook.attest.verdict import VerificationFailed
from cvm_notebook.frames import gates_frame
from cvm_notebook.live.static_view import show
from cvm_notebook.live.store.figures import FigureHistory
from cvm_notebook.live.trust import verify_row
from cvm_notebook.widgets.table.patches import PatchFeed
from cvm_notebook.widgets.table.presentation import COLUMNS, columns_of

NODES = {"quoted-v4": 3, "quoted-v5": 21}  # whose machines make quotes of that version
FAULTS = {
    "debug": "debug",
    "tcb_outdated": "tcb",
    "tcb_revoked": "tcb",
    "pck_revoked": "hardware",
    "collateral_expired": "hardware",
    "other_root": "hardware",
    "other_compose": "app",
    "other_image": "image",
    "dev_image": "image",
    "log_shortened": "log",
    "event_after_ready": "app",
    "duplicate_event": "log",
}


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=200) as running:
        yield running


@pytest.fixture(scope="module")
def client(cloud):
    with cvm.Client(cloud.api_key, cloud.url) as made:
        for name, node in NODES.items():
            offer = made.provision_cvm(name=name, compose_file=COMPOSE, teepod_id=node)
            made.commit_cvm_provision(offer)
        for name in NODES:
            made.watch_cvm_state(name, target="running")
        yield made


@pytest.fixture(scope="module")
def policy(client):
    """What both of them pass, but for the root."""
    images = [cvm.learn_image(cvm.verify(client, name), name=f"image of {name}") for name in NODES]
    return cvm.Policy(app=COMPOSE, images=images)


@pytest.fixture
def fleet(client, cloud):
    with cvm.Fleet(client) as made:
        yield made
        cloud.clear_faults()


def table_of(fleet):
    """The table's first message with the columns of trust, as a front end gets it."""
    feed = PatchFeed(columns_of(["verified", "verified_at"]), FigureHistory())
    return json.loads(json.dumps(feed.message(fleet.store.snapshot)))


def test_all_of_them_are_verified_at_once_and_shown_everywhere(fleet, policy):
    frame = fleet.verify(policy)
    assert frame["ok"].tolist() == [True, True]
    assert frame["verdict"].tolist() == ["SIMULATED", "SIMULATED"]
    assert (frame["verdict_age"] >= pd.Timedelta(0)).all()
    assert (frame["repeatable_until"] > frame["checked_at"]).all()
    wide = fleet.frame("wide")
    assert wide["verified"].tolist() == ["SIMULATED", "SIMULATED"]
    assert wide["verified_at"].tolist() == frame["checked_at"].loc[wide.index].tolist()
    assert fleet.search("verified = 'simulated'").names == fleet.where(verified="SIMULATED").names
    assert len(fleet.search("verified is null or verified_at < '1h ago'")) == 0
    assert {row.trust.word for row in fleet.snapshot()} == {"SIMULATED"}
    assert fleet.drift(wide).empty
    assert fleet.drift(wide.drop(columns=["verified", "verified_at"])).empty
    assert wide.cvm.diff(wide.assign(verified=pd.NA)).empty
    comes_back = pd.read_csv(StringIO(wide.to_csv()))
    assert comes_back["verified"].tolist() == ["SIMULATED", "SIMULATED"]


def test_a_selection_and_a_handle_verify_their_own(fleet, policy):
    some = fleet.where(name="*-v4").verify(policy)
    assert some.index.tolist() == [fleet["quoted-v4"].id]
    assert fleet["quoted-v5"].row.trust is None
    verdict = fleet["quoted-v5"].verify(policy)
    kept = fleet["quoted-v5"].row.trust
    assert (kept.word, kept.summary, kept.at) == (verdict.word, verdict.summary, verdict.at)
    assert [(c.name, c.outcome, c.reason) for c in kept.checks] == [
        (c.name, c.outcome, c.reason) for c in verdict
    ]
    assert kept.until == verdict.until


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_check_in_verdict_frame_and_table(cloud, fleet, policy, fault):
    cloud.inject({"kind": fault, "times": 100})
    frame = fleet.verify(policy, refresh=True)
    for name in NODES:
        row = frame.loc[fleet[name].id]
        assert [one for one in CHECK_NAMES if row[one] == "fail"] == [FAULTS[fault]]
        assert fleet[name].row.trust.summary.startswith(f"FAILED at {FAULTS[fault]}: ")
    assert frame["verdict"].tolist() == ["FAILED", "FAILED"]
    assert fleet.frame("wide")["verified"].tolist() == ["FAILED", "FAILED"]
    assert table_of(fleet)["cols"]["verified"] == ["FAILED", "FAILED"]
    assert len(fleet.search("verified = 'FAILED'")) == 2
    with pytest.raises(cvm.GatesFailed, match="quoted-v4 FAILED"):
        cvm.assert_fleet(fleet.frame("wide"), verified="SIMULATED")


def test_a_replayed_quote_fails_where_a_fresh_one_is_asked_for(cloud, fleet, policy):
    gateway = cloud.url.replace("/api/v1", "/gateway")
    cloud.inject({"kind": "replayed_quote", "times": 100})
    one = fleet["quoted-v4"]
    fresh = replace(policy, quote_url=f"{gateway}/{one.cvm.app_id}-8080/quote")
    assert one.verify(fresh).failed_at.name == "endpoint"
    assert one.row.trust.summary.startswith("FAILED at endpoint: ")
    with pytest.raises(cvm.InvalidInput, match="each CVM has its own"):
        fleet.verify(fresh)


def test_without_collateral_it_is_partial_everywhere(cloud, fleet, policy):
    cloud.inject({"kind": "no_collateral", "times": 100})
    assert fleet.verify(policy, refresh=True)["hardware"].tolist() == ["skip", "skip"]
    assert fleet.frame("wide")["verified"].tolist() == ["PARTIAL", "PARTIAL"]


def test_a_quote_is_of_one_boot(fleet, policy):
    fleet.verify(policy)
    fleet["quoted-v4"].restart().wait()
    assert fleet["quoted-v4"].status == "running"
    assert fleet["quoted-v4"].row.trust is None
    assert fleet["quoted-v5"].row.trust is not None
    assert fleet.where(verified=None).names == ["quoted-v4"]


def test_what_could_not_be_asked_leaves_the_row_as_it_was(cloud, fleet, policy):
    fleet.verify(policy)
    before = fleet["quoted-v4"].row.trust
    stranger = fleet["quoted-v4"].row
    cloud.inject({"kind": "status", "route": "*", "arg": 401, "times": 100})
    with pytest.raises(cvm.AuthError):
        verify_row(fleet, stranger, policy)
    cloud.clear_faults()
    assert fleet.known(stranger.id).trust == before


# --- gates ----------------------------------------------------------------------------------------


def test_simulated_is_accepted_only_where_it_is_asked_for(fleet, policy):
    fleet.verify(policy)
    frame = fleet.frame("wide")
    cvm.assert_fleet(frame, verified="SIMULATED", max_evidence_age="1d")
    with pytest.raises(cvm.GatesFailed, match="quoted-v4 SIMULATED"):
        cvm.assert_fleet(frame, verified=True)


# --- words ----------------------------------------------------------------------------------------


def cells(frame):
    """All cells of a frame and of its index, as text; no heading."""
    return "\n".join(map(str, [*frame.index, *frame.to_numpy(dtype=object).ravel()]))


def test_the_search_for_the_word_finds_it():
    assert claims("<b>VERIFIED</b>")
    assert claims("the CVM is verified.")
    assert not claims("not verified, verified_at, unverified, SIMULATED")


def test_under_a_development_root_nothing_that_is_shown_says_verified(fleet, policy):
    verdict = fleet["quoted-v4"].verify(policy)
    frame = fleet.verify(policy)
    assert verdict.ok
    assert frame["ok"].all()
    wide = fleet.frame("wide")
    gates = gates_frame(wide, verified="SIMULATED", max_evidence_age="1d", max_cvms=9)
    strict = gates_frame(wide, verified=True, max_evidence_age="1d")
    assert strict["passed"].tolist() == [False, True]
    with pytest.raises(cvm.GatesFailed) as failed:
        cvm.assert_fleet(wide, verified=True)
    table = table_of(fleet)
    shown = {
        "verdict": repr(verdict) + verdict._repr_html_(),
        "error": str(VerificationFailed(verdict)),
        "checks": cells(verdict.frame()),
        "frame": cells(frame) + str(frame.attrs),
        "fleet": cells(wide),
        "narrow": fleet.frame().to_html(),
        "table": json.dumps([*table["cols"].values(), [c.label for c in COLUMNS.values()]]),
        "gates": cells(gates) + cells(strict) + str(failed.value),
        "events": cells(fleet.events().drop(columns=["field", "also"])),
        "drift": cells(fleet.drift(wide)),
        "static": str(show(fleet.snapshot())),
    }
    assert {name: found for name, text in shown.items() if (found := claims(text))} == {}
    assert "SIMULATED" in shown["verdict"] + shown["frame"]
    assert "VERIFIED" not in table["cols"]["verified"]


def test_the_magic_shows_the_verdict_by_a_policy_in_a_file(fleet, policy, client, tmp_path):
    file = tmp_path / "policy.toml"
    policy.to_toml(file)
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.push({"fleet": fleet, "client": client})
    shell.run_line_magic("load_ext", "cvm_notebook")
    plain = shell.run_line_magic("cvm", "verify quoted-v4")
    strict = shell.run_line_magic("cvm", f"verify quoted-v4 --policy {file}")
    assert (plain.ok, strict.ok, strict.word) == (False, True, "SIMULATED")
    assert not claims(repr(plain) + repr(strict) + strict._repr_html_())
    assert fleet["quoted-v4"].row.trust.summary == strict.summary
