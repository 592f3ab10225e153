"""An attestation has the right shape, its sums add up, and it says that it is none."""

import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from dstack_sdk import get_compose_hash
from dstack_sdk.dstack_client import replay_rtmr

from cvm_notebook.local.core import keys
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.simulated import attestation


@pytest.fixture
def running(api):
    made = api.create()
    api.watch(made["id"], "running")
    return api.get(f"/cvms/{made['id']}").json()


@pytest.fixture
def document(api, running):
    return api.get(f"/cvms/{running['id']}/attestation").json()


def test_it_says_plainly_that_there_is_no_hardware(document):
    assert "LocalCloud" in document["notice"]
    first = document["tcb_info"]["event_log"][0]
    assert bytes.fromhex(first["event_payload"]).decode() == document["notice"]
    for certificate in document["app_certificates"]:
        assert "not hardware" in certificate["issuer"]["organization"]
        assert certificate["quote"] is None


def test_the_official_sdk_replays_its_event_log(document):
    tcb = document["tcb_info"]
    assert replay_rtmr([event["digest"] for event in tcb["event_log"]]) == tcb["rtmr3"]


def test_the_compose_file_that_it_shows_has_the_hash_that_it_measured(running, document):
    tcb = document["tcb_info"]
    shown = tcb["app_compose"]
    events = {event["event"]: event["event_payload"] for event in tcb["event_log"]}
    assert hashlib.sha256(shown.encode()).hexdigest() == events["compose-hash"]
    assert get_compose_hash(json.loads(shown)) == running["compose_hash"] == events["compose-hash"]
    assert events["app-id"] == running["app_id"]
    assert events["instance-id"] == running["instance_id"]


@pytest.mark.parametrize("register", ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"])
def test_a_register_has_48_bytes(document, register):
    assert len(bytes.fromhex(document["tcb_info"][register])) == 48


def test_every_digest_is_that_of_its_event(document):
    for event in document["tcb_info"]["event_log"]:
        kind = event["event_type"].to_bytes(4, "little")
        parts = (kind, event["event"].encode(), bytes.fromhex(event["event_payload"]))
        assert hashlib.sha384(b":".join(parts)).hexdigest() == event["digest"]


def test_mr_config_id_holds_the_compose_hash():
    assert attestation.mr_config_id("ab" * 32) == "01" + "ab" * 32 + "00" * 15


def test_the_certificate_is_real_and_signed_by_its_issuer():
    secret = b"\x07" * 32
    cvm = Cvm(vm_uuid="11111111-2222-4333-8444-555555555555", app_id="ab" * 20, created_at=1.8e9)
    made, _ = attestation._chain(secret, cvm.vm_uuid, cvm.app_id, cvm.created_at)
    leaf = x509.load_pem_x509_certificate(made.public_bytes(Encoding.PEM))
    described, issuer = attestation.certificates(secret, cvm)
    assert int(described["serial_number"], 16) == leaf.serial_number
    assert described["sans"] == [f"{cvm.app_id}.localcloud.invalid"]
    assert (described["is_ca"], issuer["is_ca"]) == (False, True)
    keys.ca_key(secret).public_key().verify(
        leaf.signature, leaf.tbs_certificate_bytes, leaf.signature_algorithm_parameters
    )


def test_private_measurements_are_not_shown(api):
    body = {
        "name": "private-tcbinfo",
        "compose_file": {
            "docker_compose_file": "services: {a: {image: nginx}}",
            "public_tcbinfo": False,
        },
    }
    api.commit(api.post("/cvms/provision", body).json())
    api.watch("private-tcbinfo", "running")
    shown = api.get("/cvms/private-tcbinfo/attestation").json()
    assert (shown["is_online"], shown["is_public"], shown["tcb_info"]) == (True, False, None)
