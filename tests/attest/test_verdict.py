"""Verdict and bundle: the word, the checklist, and the same verdict again from a file."""

import json
import pickle
from datetime import timedelta

import pytest
from issuer import LITE, NOW, PKI, Cvm
from test_checks import policy

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm as Record
from cvm_notebook.attest.checks.check import Check
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import CHECK_NAMES, Policy
from cvm_notebook.attest.verdict import Verdict, VerificationFailed
from cvm_notebook.attest.verify import verdict_of

RECORD = Record(name="agent-<alpha>", id="cvm_1")


def verdict(evidence=None, by=None, at=NOW):
    return verdict_of(RECORD, Evidence.of(evidence or Cvm().evidence()), by or policy(), at)


def made_of(by, **outcomes):
    """A verdict whose checks came out like this; the others passed."""
    checks = tuple(
        Check(name, outcomes.get(name, "pass"), "a reason", "do it") for name in CHECK_NAMES
    )
    return Verdict(name="x", checks=checks, at=NOW, policy=by, evidence=Evidence())


INTEL = Policy(root="intel")


@pytest.mark.parametrize(
    ("by", "outcomes", "word", "ok"),
    [
        (INTEL, {}, "VERIFIED", True),
        (INTEL, {"endpoint": "skip", "gpu": "skip", "key_provider": "info"}, "VERIFIED", True),
        (INTEL, {"app": "skip"}, "PARTIAL", False),
        (INTEL, {"app": "info"}, "PARTIAL", False),
        (INTEL, {"hardware": "skip", "tcb": "skip", "debug": "skip"}, "PARTIAL", False),
        (INTEL, {"gpu": "fail"}, "FAILED", False),
        (Policy(root="intel", require=()), {"app": "skip"}, "VERIFIED", True),
        (Policy(root="intel", require=()), {"tcb": "skip"}, "PARTIAL", True),
        (Policy(root="intel", gpus=8), {"gpu": "skip"}, "PARTIAL", False),
        (policy(), {}, "SIMULATED", True),
        (policy(), {"app": "skip"}, "SIMULATED", False),
        (policy(), {"log": "skip"}, "PARTIAL", False),
        (policy(), {"app": "fail", "image": "fail"}, "FAILED", False),
    ],
)
def test_the_word_follows_from_the_checks(by, outcomes, word, ok):
    found = made_of(by, **outcomes)
    assert (found.word, found.ok) == (word, ok)
    assert found.summary.startswith(word)
    if ok:
        found.raise_for_status()
    else:
        with pytest.raises(VerificationFailed) as caught:
            found.raise_for_status()
        assert caught.value.verdict is found
        assert word in str(caught.value)


def test_a_failure_says_where():
    found = verdict(Cvm(status="OutOfDate").evidence())
    assert found.summary.startswith("FAILED at tcb: OutOfDate")
    assert found.failed_at is found["tcb"]


def test_it_is_shown_as_a_checklist_and_escaped():
    found = verdict(Cvm(compose="<b>", config=bytes(48)).evidence())
    shown, html = repr(found), found._repr_html_()
    for check in found.checks:
        assert check.title in shown
        assert check.title in html
    assert "agent-&lt;alpha&gt;" in html
    assert "<alpha>" not in html
    assert html.count("<tr>") == 11
    assert "2026-06-15 12:00 UTC by this machine's clock" in shown
    assert "can be repeated until 2026-07-14" in shown


def test_reasons_are_clean_text():
    check = Check("app", "fail", "red\x1b[31m\nline\u202e" + "x" * 1000)
    assert check.reason.isprintable()
    assert len(check.reason) <= 400


def test_its_frame_has_a_row_for_each_check():
    frame = verdict().frame()
    assert list(frame.index) == list(CHECK_NAMES)
    assert frame.loc["app", "outcome"] == "pass"
    assert frame.attrs["cvm"]["word"] == "SIMULATED"


def test_it_crosses_a_process():
    found = verdict()
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    error = pickle.loads(pickle.dumps(VerificationFailed(found)))
    assert error.verdict.word == "SIMULATED"


# --- bundles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("changes", [{}, {"status": "OutOfDate"}, {"compose": "{}"}])
def test_a_bundle_gives_the_verdict_again(tmp_path, version, changes):
    cvm_ = Cvm(version=version, image=LITE, data=b"mine", **changes)
    found = verdict(cvm_.evidence(gpu_info="nvidia"), policy(nonce=b"mine"))
    found.bundle(tmp_path / "x.json")
    again = cvm.verify_bundle(tmp_path / "x.json")
    assert again.altered == ()
    assert (again.checks, again.policy, again.at) == (found.checks, found.policy, found.at)
    assert (again.word, again.summary, again.until) == (found.word, found.summary, found.until)
    again.bundle(tmp_path / "y.json")
    assert (tmp_path / "y.json").read_bytes() == (tmp_path / "x.json").read_bytes()


def test_a_bundle_keeps_what_was_served_and_asked(tmp_path):
    given = Evidence.of(Cvm().evidence()).having(served_key=b"\x30\x00", nonce=b"\1\2")
    found = verdict_of(RECORD, given, policy(), NOW)
    found.bundle(tmp_path / "x.json")
    again = cvm.verify_bundle(tmp_path / "x.json").evidence
    assert (again.served_key, again.nonce) == (b"\x30\x00", b"\1\2")


ALTERED = {
    "quote": lambda part: part[:-300] + ("0" if part[-300] != "0" else "1") + part[-299:],
    "collateral": lambda part: part | {"tcb_info": part["tcb_info"] + " "},
    "event_log": lambda part: part.replace("system-ready", "system-reedy"),
    "app_compose": lambda part: part + "\n",
    "vm_config": lambda part: part + " ",
    "policy": lambda part: part | {"tcb": ["OutOfDate", "UpToDate"]},
    "subject": lambda part: part | {"name": "another"},
    "at": lambda _: (NOW + timedelta(seconds=1)).isoformat(),
    "checks": lambda part: [*part[:-1], part[-1] | {"outcome": "pass"}],
    "nonce": lambda _: "00",
}


@pytest.mark.parametrize("part", ALTERED)
@pytest.mark.parametrize("careful", [False, True])
def test_an_altered_part_is_named(tmp_path, part, careful):
    """Also where its hash was altered with it, unless it is then just another bundle."""
    from cvm_notebook.attest.bundle import _digest

    path = tmp_path / "x.json"
    verdict().bundle(path)
    document = json.loads(path.read_text())
    document["parts"][part] = ALTERED[part](document["parts"][part])
    if careful:
        document["sha256"][part] = _digest(document["parts"][part])
    path.write_text(json.dumps(document))
    found = cvm.verify_bundle(path)
    if not careful:
        assert found.altered == (part,)
        assert found.summary.startswith(f"FAILED at bundle: {part}")
    elif part in {"collateral", "event_log", "app_compose"}:
        assert found.word == "FAILED"
    elif part == "checks":
        assert found.altered == ("checks",)
    if not careful or part in {"collateral", "event_log", "app_compose", "checks"}:
        assert not found.ok


def test_a_bundle_is_judged_by_another_policy_or_at_another_time(tmp_path):
    path = tmp_path / "x.json"
    verdict(Cvm(status="OutOfDate").evidence()).bundle(path)
    assert cvm.verify_bundle(path).summary.startswith("FAILED at tcb")
    assert cvm.verify_bundle(path, policy=policy(tcb={"OutOfDate"})).ok
    assert cvm.verify_bundle(path, policy=Policy()).is_simulated
    assert cvm.verify_bundle(path, policy=Policy(root="intel"))["hardware"].outcome == "fail"
    late = cvm.verify_bundle(path, at=NOW + timedelta(60))
    assert late.summary.startswith("FAILED at hardware")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": "x"}', "[" * 10_000,
     '{"format": "cvm-notebook attestation bundle/1"}',
     '{"format": "cvm-notebook attestation bundle/1", "parts": {}, "sha256": {}}',
     '{"format": "cvm-notebook attestation bundle/1", "parts": {"policy": 3}, "sha256": {}}',
     '{"format": "cvm-notebook attestation bundle/1", "parts": {"policy": {}}, "sha256": {}}'],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        cvm.verify_bundle(path)
    with pytest.raises(InvalidInput):
        cvm.verify_bundle(tmp_path / "none.json")


def test_a_bundle_of_a_development_root_stays_one(tmp_path):
    verdict().bundle(tmp_path / "x.json")
    assert PKI.root_pem in json.loads((tmp_path / "x.json").read_text())["parts"]["policy"]["root"]
    assert cvm.verify_bundle(tmp_path / "x.json").word == "SIMULATED"
