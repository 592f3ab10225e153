"""Genuine evidence, at its own instants: where the folder that holds it is named, and not here.

It belongs to others and is no part of this project. `CVM_NOTEBOOK_EVIDENCE` names the folder (`.ci/
run` sets it where there is one); without it this module has no tests, so that none is skipped.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.models.cvm import Cvm as Record
from cvm_notebook.attest.checks.judge import judge
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.lite import recompute
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.quotes import QuoteClaims, verify_quote
from cvm_notebook.attest.verify import verdict_of

FOLDER = os.environ.get("CVM_NOTEBOOK_EVIDENCE", "")
INTEL = Policy(root="intel")
SAMPLES, DSTACK, EXAMPLES = (
    Path(FOLDER) / name for name in ("dcap-qvl", "dstack", "dstack-examples")
)
FIRST = datetime(2025, 6, 19, 10, 33, tzinfo=UTC)
NEAR = datetime(2025, 9, 3, tzinfo=UTC)
FIFTH = datetime(2026, 2, 18, 12, tzinfo=UTC)


def read(path):
    return json.loads(path.read_text())


def outcomes(evidence, at, policy=INTEL):
    return {check.name: check for check in judge(evidence, policy, at).checks}


def of(folder, quote, collateral):
    content = (folder / quote).read_bytes()
    text = content.decode() if quote.endswith((".hex", ".txt")) else content
    return Evidence.of(text).having(collateral=read(folder / collateral))


if FOLDER:

    @pytest.mark.parametrize("at", [FIRST, FIRST + timedelta(29)])
    def test_a_quote_of_2025_is_up_to_date_at_its_time(at):
        found = outcomes(of(SAMPLES, "tdx_quote", "tdx_quote_collateral.json"), at)
        assert [found[name].outcome for name in ("hardware", "tcb", "debug")] == ["pass"] * 3
        assert found["tcb"].reason.startswith("UpToDate")

    @pytest.mark.parametrize("at", [FIRST - timedelta(1), FIRST + timedelta(31), FIFTH])
    def test_it_is_refused_before_and_after(at):
        found = outcomes(of(SAMPLES, "tdx_quote", "tdx_quote_collateral.json"), at)
        assert found["hardware"].outcome == "fail"
        assert {found[name].outcome for name in found if name != "hardware"} == {"skip"}

    def test_another_quote_of_2025_is_up_to_date():
        found = outcomes(of(SAMPLES / "near", "quote_hex.txt", "quote_collateral.json"), NEAR)
        assert [found[name].outcome for name in ("hardware", "tcb", "debug")] == ["pass"] * 3

    def test_a_machine_older_than_every_known_level_is_refused():
        evidence = of(SAMPLES, "tdx_quote_outdated", "tdx_quote_outdated_collateral.json")
        found = outcomes(evidence, FIFTH)
        assert evidence.report.version == 5
        assert (found["hardware"].outcome, found["hardware"].reason) == (
            "fail",
            "No matching TCB level found",
        )

    def test_a_quote_of_sgx_verifies_and_is_no_cvm():
        quote = (SAMPLES / "sgx_quote").read_bytes()
        collateral = read(SAMPLES / "sgx_quote_collateral.json")
        claims = verify_quote(quote, collateral, FIRST + timedelta(1), None)
        assert isinstance(claims, QuoteClaims)
        assert claims.status == "ConfigurationAndSWHardeningNeeded"
        assert claims.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
        found = outcomes(Evidence(quote=quote, collateral=collateral), FIRST + timedelta(1))
        assert "SGX" in found["hardware"].reason

    def test_evidence_of_dstack_0_5_passes_as_far_as_it_goes(tmp_path):
        shown = read(DSTACK / "quote-report.json")
        collateral = read(SAMPLES / "tdx_quote_outdated_collateral.json")
        evidence = Evidence.of(shown | {"collateral": collateral})
        image = cvm.learn_image(evidence, name="what it ran")
        policy = Policy(root="intel", nonce="1234", images=[image])
        found = outcomes(evidence, FIFTH, policy)
        passed = {name for name, check in found.items() if check.outcome == "pass"}
        assert passed == {"hardware", "tcb", "debug", "log", "image", "endpoint"}
        verdict = verdict_of(Record(name="genuine"), evidence, policy, FIFTH)
        verdict.bundle(tmp_path / "x.json")
        again = cvm.verify_bundle(tmp_path / "x.json")
        assert (again.checks, again.altered) == (verdict.checks, ())
        app = evidence.log.payloads["compose-hash"].hex()
        whole = Policy(root="intel", nonce="1234", images=[image], app=app)
        assert verdict_of(Record(name="genuine"), evidence, whole, FIFTH).word == "VERIFIED"

    def test_lite_registers_follow_from_metadata():
        evidence = Evidence.of(read(DSTACK / "tdx-lite-getquote.json"))
        report = evidence.report
        lite = recompute(evidence.configuration, evidence.log)
        assert report.mr_td in lite.mr_tds
        assert (lite.rtmr0, lite.rtmr1, lite.rtmr2) == report.rtmrs[:3]
        found = outcomes(evidence, FIFTH, Policy(images=[cvm.learn_image(evidence, name="x")]))
        assert (found["log"].outcome, found["image"].outcome) == ("pass", "pass")
        assert found["hardware"].outcome == "skip"

    def test_the_quote_in_a_versioned_attestation_is_the_same():
        one = Evidence.of(read(DSTACK / "tdx-lite-attestation.json")).report
        assert one.signed == Evidence.of(read(DSTACK / "tdx-lite-getquote.json")).report.signed

    def test_a_log_of_dstack_0_3_adds_up():
        shown = read(EXAMPLES / "report.json")
        compose = (EXAMPLES / "app-compose.json").read_text()
        evidence = Evidence.of(shown | {"app_compose": compose})
        found = outcomes(evidence, FIRST, Policy(app=compose, root="intel"))
        assert found["log"].outcome == "pass"
        assert "13 + 5 + 2 + 8 events" in found["log"].reason
        assert (found["app"].outcome, "base-notebook" in found["app"].reason) == ("pass", True)

    @pytest.mark.parametrize("name", ["tdx-quote.hex", "quote-from-tappd.hex"])
    def test_quotes_without_collateral_are_not_judged(name):
        found = outcomes(Evidence.of(SAMPLES / name), FIRST)
        assert found["hardware"].outcome == "skip"
        assert "FMSPC" in found["hardware"].reason

    def test_each_byte_of_a_report_counts():
        evidence = of(SAMPLES, "tdx_quote", "tdx_quote_collateral.json")
        quote = evidence.quote
        for place in range(0, 632, 5):
            changed = quote[:place] + bytes([quote[place] ^ 1]) + quote[place + 1 :]
            found = outcomes(evidence.having(quote=changed), FIRST)
            assert found["hardware"].outcome == "fail", place
