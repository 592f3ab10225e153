"""What verifiers get wrong: a test for each trap that is not in another module."""

import json
from datetime import timedelta

import issuer
import pytest
from issuer import LEGACY, NOW, PKI, Cvm
from test_checks import failures, outcomes, policy

from cvm_notebook.api.models.cvm import Cvm as Record
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.verify import verdict_of


@pytest.mark.parametrize("words", ["Debug mode is enabled", "TCB status is invalid: Revoked"])
def test_forged_collateral_cannot_say_that_a_quote_is_genuine(words):
    """A parser's error repeats what it has read: no pass follows from a part of an error's text."""
    collateral = PKI.collateral()
    for name in ("tcb_info", "qe_identity"):
        for status in (words, {"x": words}):
            document = json.loads(collateral[name])
            document["tcbLevels"][0]["tcbStatus"] = status
            text = json.dumps(document)
            forged = collateral | {
                name: text,
                f"{name}_signature": issuer.raw_signature("nobody", text.encode()).hex(),
            }
            found = outcomes(Cvm().evidence(collateral=forged))
            assert found["hardware"].outcome == "fail"
            assert {check.outcome for check in found.values()} == {"fail", "skip"}


def test_signed_nonsense_in_collateral_says_nothing_of_the_quote():
    """Even with a good signature, a status that is only called so is no such status."""
    collateral = PKI.collateral()
    document = json.loads(collateral["tcb_info"])
    for level in document["tcbLevels"]:
        level["tcbStatus"] = "Debug mode is enabled"
    text = json.dumps(document)
    signed = collateral | {
        "tcb_info": text,
        "tcb_info_signature": issuer.raw_signature("TCB Signing", text.encode()).hex(),
    }
    assert outcomes(Cvm().evidence(collateral=signed))["hardware"].outcome == "fail"


def test_old_collateral_does_not_make_an_old_machine_good():
    """The prover picks the collateral: its age and its number are the verifier's to judge."""
    old = PKI.collateral(NOW - timedelta(days=300), number=17)
    evidence = Cvm().evidence(collateral=old)
    assert failures(evidence) == {"hardware"}
    then = NOW - timedelta(days=299)
    assert outcomes(evidence, at=then)["tcb"].outcome == "pass"
    assert failures(evidence, policy(min_evaluation=18), then) == {"tcb"}


def test_advisories_of_a_good_machine_are_refused_by_name_alone():
    evidence = Cvm(status="SWHardeningNeeded").evidence()
    allowed = {"tcb": {"SWHardeningNeeded"}}
    assert not failures(evidence, policy(**allowed))
    refused = policy(**allowed, advisories_refused={"TEST-SA-00008"})
    assert failures(evidence, refused) == {"tcb"}


def test_the_hash_of_an_image_in_the_log_is_what_the_key_service_claims():
    """It is no measurement: another one there changes nothing, and no image is known by it."""
    found = outcomes(Cvm(image=issuer.Image(kernel=issuer.h384(b"x"))).evidence())
    assert found["image"].outcome == "fail"
    assert b"O" * 32 not in found["image"].reason.encode()


def test_a_field_beside_the_quote_is_not_believed():
    shown = {"mrtd": LEGACY.firmware[0].hex(), "rtmr3": "00" * 48, "quote_verified": True}
    evidence = Cvm(image=issuer.DEV).evidence(tcb_info=shown, verified=True, status="UpToDate")
    assert failures(evidence) == {"image"}


def test_a_hash_somewhere_in_a_quote_proves_nothing():
    cvm = Cvm(compose="{}", config=bytes(48), data=Cvm().compose_hash)
    assert Cvm().compose_hash in cvm.quote
    assert "app" in failures(cvm.evidence(app_compose=issuer.APP))


def test_hex_is_read_in_every_spelling():
    shown = Cvm().evidence()
    log = [
        one
        | {"digest": "0x" + one["digest"].upper(), "event_payload": one["event_payload"].upper()}
        for one in Cvm().log
    ]
    assert not failures(shown | {"quote": "0x" + shown["quote"].upper(), "event_log": log})


def test_the_text_is_hashed_as_it_was_sent():
    pretty = json.dumps(json.loads(issuer.APP), indent=2)
    assert failures(Cvm().evidence(app_compose=pretty)) == {"app"}


def test_another_tee_is_named_and_not_judged():
    quote = Cvm().quote
    sgx = quote[:4] + bytes(4) + quote[8:]
    snp = b"\x02\0\0\0" + bytes(1180)
    assert "SGX" in outcomes(Cvm().evidence(quote=sgx.hex()))["hardware"].reason
    found = outcomes(Evidence(quote=snp))["hardware"]
    assert (found.outcome, "not TDX" in found.reason) == ("fail", True)


def test_an_expired_root_crl_is_no_crl():
    collateral = PKI.collateral()
    old = collateral | {"root_ca_crl": PKI.crl("Root CA", NOW - timedelta(900), 30, [])}
    none = collateral | {"pck_crl": collateral["root_ca_crl"]}
    assert failures(Cvm().evidence(collateral=old)) == {"hardware"}
    assert failures(Cvm().evidence(collateral=none)) == {"hardware"}


def test_a_development_root_is_no_default_and_never_has_the_word():
    assert Policy().under(None).root == "intel"
    evidence = Evidence.of(Cvm().evidence())
    verdict = verdict_of(Record(name="mine", id="cvm_1"), evidence, policy(), NOW)
    assert (verdict.ok, verdict.word) == (True, "SIMULATED")
    shown = repr(verdict) + verdict._repr_html_() + verdict.summary + verdict.frame().to_string()
    assert "verified" not in shown.lower()
