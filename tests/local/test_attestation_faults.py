"""Each fault of evidence fails what it is about, and nothing else: on quotes of both versions."""

import hashlib

import local_evidence as evidence
import pytest
import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from local_evidence import attested, gateway, quote_of, started

from cvm_notebook.local.core.keys import keccak256
from cvm_notebook.local.faults.kinds import EVIDENCE, Kind

NODES = {"v4": 3, "v5": 21}
FAILS = {
    Kind.DEBUG: {"debug"},
    Kind.TCB_OUTDATED: {"tcb"},
    Kind.TCB_REVOKED: {"tcb"},
    Kind.PCK_REVOKED: {"hardware"},
    Kind.COLLATERAL_EXPIRED: {"hardware"},
    Kind.OTHER_ROOT: {"hardware"},
    Kind.REPLAYED_QUOTE: {"nonce", "key"},
    Kind.OTHER_COMPOSE: {"app"},
    Kind.OTHER_IMAGE: {"image"},
    Kind.DEV_IMAGE: {"image"},
    Kind.LOG_SHORTENED: {"log"},
    Kind.EVENT_AFTER_READY: {"app"},
    Kind.DUPLICATE_EVENT: {"app"},
    Kind.GPU_MISSING: set(),  # there are none
    Kind.NO_COLLATERAL: {"collateral"},
}
WORDS = {
    Kind.DEBUG: "Debug mode is enabled",
    Kind.TCB_REVOKED: "TCB status is invalid: Revoked",
    Kind.PCK_REVOKED: "Failed to verify certificate chain",
    Kind.COLLATERAL_EXPIRED: "TCBInfo expired",
}
NONCE = hashlib.sha256(b"asked for now").digest()


@pytest.fixture
def forged(quoting_cloud, connect):
    yield connect(quoting_cloud)
    quoting_cloud.clear_faults()


@pytest.fixture
def judge(quoting_cloud, forged):
    """Say what of a CVM's evidence fails, given the registers of its image."""
    root = evidence.root_der(quoting_cloud.root_path)

    def failed(cvm, known):
        document = attested(forged, cvm["id"])
        quote, tcb = quote_of(document), document["tcb_info"]
        fresh = gateway(quoting_cloud, f"{cvm['app_id']}-80", "/quote", nonce=NONCE.hex()).json()
        td = evidence.Td(quote)
        found = _of_hardware(forged, quote, root)
        if evidence.misfits(quote, tcb["event_log"]):
            return found | {"log"}
        events = evidence.boot_events(tcb["event_log"])
        compose = hashlib.sha256(tcb["app_compose"].encode()).digest()
        if events["compose-hash"] != [compose] or td.mr_config_id[1:33] != compose:
            found.add("app")
        if image_of(td) != known:
            found.add("image")
        fresh_td = evidence.Td(bytes.fromhex(fresh["quote"]))
        if fresh_td.report_data != NONCE.ljust(64, b"\0"):
            found.add("nonce")
        if td.report_data != _boot_key(quoting_cloud, cvm):
            found.add("key")
        return found

    return failed


def _of_hardware(api, quote, root):
    checksum = hashlib.sha256(quote).hexdigest()
    answer = api.get(f"/attestations/collateral/{checksum}")
    if answer.status_code == 404:
        return {"collateral"}
    try:
        status = evidence.claims(quote, answer.json(), root)["tcb"]["status"]
    except ValueError as error:
        words = str(error).removeprefix("Verification failed: ")
        kinds = {WORDS[Kind.DEBUG]: "debug", WORDS[Kind.TCB_REVOKED]: "tcb"}
        return {kinds.get(words, "hardware")}
    return set() if status == "UpToDate" else {"tcb"}


def _boot_key(cloud, cvm):
    shown = gateway(cloud, f"{cvm['app_id']}-443s", "/certificate").content
    return evidence.bound_key(x509.load_pem_x509_certificate(shown))


def image_of(td):
    return (td.mr_td, td.rtmrs[1], td.rtmrs[2])


def test_every_fault_of_evidence_is_tried():
    assert set(FAILS) == EVIDENCE


@pytest.mark.parametrize("version", NODES)
@pytest.mark.parametrize("kind", FAILS)
def test_a_fault_fails_what_it_is_about_and_nothing_else(
    quoting_cloud, forged, judge, kind, version
):
    cvm = started(forged, f"judged-{version}", teepod_id=NODES[version])
    known = image_of(evidence.Td(quote_of(attested(forged, cvm["id"]))))
    assert judge(cvm, known) == set()
    quoting_cloud.inject({"kind": kind})
    assert judge(cvm, known) == FAILS[kind]
    quoting_cloud.clear_faults()
    assert judge(cvm, known) == set()


@pytest.mark.parametrize("version", NODES)
@pytest.mark.parametrize("kind", WORDS)
def test_dcap_qvl_says_why(quoting_cloud, forged, kind, version):
    cvm = started(forged, f"judged-{version}", teepod_id=NODES[version])
    quoting_cloud.inject({"kind": kind})
    quote = quote_of(attested(forged, cvm["id"]))
    signed = evidence.collateral(forged, quote)
    refused = evidence.refusal(quote, signed, evidence.root_der(quoting_cloud.root_path))
    assert WORDS[kind] in refused


def test_evidence_under_another_root_is_whole(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    quoting_cloud.inject({"kind": "other_root"})
    quote = quote_of(attested(forged, cvm["id"]))
    signed = evidence.collateral(forged, quote)
    chain = signed["tcb_info_issuer_chain"].encode()
    root = evidence.der(x509.load_pem_x509_certificates(chain)[-1])
    assert evidence.refusal(quote, signed, root) is None
    assert evidence.refusal(quote, signed, evidence.root_der(quoting_cloud.root_path)) is not None


def test_an_image_that_nobody_knows_is_consistent_with_itself(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    quoting_cloud.inject({"kind": "other_image"})
    document = attested(forged, cvm["id"])
    info = gateway(quoting_cloud, f"{cvm['app_id']}-8090", "/prpc/Info").json()
    td = evidence.Td(quote_of(document))
    log = document["tcb_info"]["event_log"]
    assert evidence.lite_registers(info["vm_config"], log) == [td.mr_td, *td.rtmrs[:3]]


def test_a_development_image_is_the_one_that_others_run(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    dev = started(forged, "runs-dev", teepod_id=NODES["v4"], image="dstack-dev-0.6.0")
    quoting_cloud.inject({"kind": "dev_image"})
    shown = [image_of(evidence.Td(quote_of(attested(forged, one["id"])))) for one in (cvm, dev)]
    assert shown[0] == shown[1]


def test_what_an_app_adds_later_is_in_its_register_and_not_of_its_boot(quoting_cloud, forged):
    cvm = started(forged, "judged-v5", teepod_id=NODES["v5"])
    quoting_cloud.inject({"kind": "event_after_ready"})
    log = attested(forged, cvm["id"])["tcb_info"]["event_log"]
    assert (log[-1]["event"], log[-1]["event_payload"]) == ("compose-hash", cvm["compose_hash"])
    (boot,) = evidence.boot_events(log)["compose-hash"]
    assert boot.hex() != cvm["compose_hash"]


def test_what_was_not_measured_of_gpus_is_missed(quoting_cloud, forged):
    cvm = started(forged, "misses-gpus", instance_type="h100.small", image="dstack-nvidia-0.6.0")
    quoting_cloud.inject({"kind": "gpu_missing"})
    document = attested(forged, cvm["id"])
    log = document["tcb_info"]["event_log"]
    assert "gpu-attestation" not in evidence.boot_events(log)
    assert evidence.misfits(quote_of(document), log) == []


def test_a_fault_can_be_about_one_cvm(quoting_cloud, forged):
    cvms = [started(forged, f"judged-{one}", teepod_id=NODES[one]) for one in NODES]
    for name in (cvms[0]["name"], cvms[0]["id"], cvms[0]["app_id"], cvms[0]["vm_uuid"]):
        quoting_cloud.inject({"kind": "debug", "cvm": name})
        quotes = [quote_of(attested(forged, cvm["id"])) for cvm in cvms]
        assert [evidence.Td(quote).debug for quote in quotes] == [True, False]
        quoting_cloud.clear_faults()


def test_several_faults_hold_at_once_and_some_for_a_while(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    quoting_cloud.inject({"kind": "debug", "times": 1})
    quoting_cloud.inject({"kind": "log_shortened", "route": "GET /cvms/*/attestation"})
    quoting_cloud.inject({"kind": "latency", "arg": 0, "times": None})
    seen = []
    for _ in range(2):
        document = attested(forged, cvm["id"])
        quote, log = quote_of(document), document["tcb_info"]["event_log"]
        seen.append((evidence.Td(quote).debug, evidence.misfits(quote, log)))
    assert seen == [(True, [3]), (False, [3])]


def test_a_cvm_is_named_for_faults_of_evidence_alone(quoting_cloud):
    with pytest.raises(ValueError, match="cvm does not fit reset: it is for faults of evidence"):
        quoting_cloud.inject({"kind": "reset", "cvm": "judged-v4"})


def test_a_forged_key_does_not_fit_its_signature(quoting_cloud, forged):
    kms = forged.get("/kms").json()["items"][0]
    point = bytes.fromhex(kms["k256_pubkey"])
    signer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point)

    def fits(app_id, key):
        signed = bytes.fromhex(key["signature"])
        der = utils.encode_dss_signature(int.from_bytes(signed[:32]), int.from_bytes(signed[32:64]))
        message = b"dstack-env-encrypt-pubkey:" + bytes.fromhex(app_id + key["public_key"])
        try:
            signer.verify(der, keccak256(message), ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        except InvalidSignature:
            return False
        return True

    plan = forged.provision("has-secrets").json()
    path = f"/kms/phala/pubkey/{plan['app_id']}"
    genuine = forged.get(path).json()
    assert fits(plan["app_id"], genuine)
    assert genuine["public_key"] == plan["app_env_encrypt_pubkey"]
    quoting_cloud.inject({"kind": "env_key_forged"})
    other = forged.get(path).json()
    assert not fits(plan["app_id"], other)
    assert other["signature"] == genuine["signature"]
    again = forged.provision("has-secrets-too").json()
    assert again["app_env_encrypt_pubkey"] == other["public_key"]
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    assert cvm["kms_info"]["encrypted_env_pubkey"] == other["public_key"]


def test_a_quote_that_was_published_has_no_collateral_where_there_is_none(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    quote = quote_of(attested(forged, cvm["id"]))
    quoting_cloud.inject({"kind": "no_collateral"})
    url = f"{quoting_cloud.url}/attestations/verify"
    assert (
        requests.post(url, json={"hex": quote.hex()}, timeout=30).json()["quote_collateral"] is None
    )


def test_what_requests_have_met_is_seen(quoting_cloud, forged):
    cvm = started(forged, "judged-v4", teepod_id=NODES["v4"])
    quoting_cloud.clear_requests()
    quoting_cloud.inject({"kind": "debug"})
    gateway(quoting_cloud, f"{cvm['app_id']}-80", "/quote", nonce="00")
    (seen,) = quoting_cloud.requests()
    assert (seen["fault"], seen["status"]) == ("debug", 200)
