"""Evidence is real but for its root: dcap-qvl accepts it, logs add up, and it says what it is."""

import hashlib
import json
import ssl
import time
from datetime import UTC, datetime

import local_evidence as evidence
import pytest
import requests
from cryptography import x509
from dstack_sdk import get_compose_hash
from dstack_sdk.dstack_client import replay_rtmr
from local_evidence import attested, collateral, gateway, quote_of, started

from cvm_notebook.local.attestation.attester import Attester, mr_config_id
from cvm_notebook.local.attestation.collateral import issued_on
from cvm_notebook.local.core import keys
from cvm_notebook.local.core.catalogue import IMAGES, NODES
from cvm_notebook.local.evidence import tls

V4, V5 = 3, 21
NEEDS_CONFIGURATION, OUT_OF_DATE, WITH_GPUS = 7, 18, 26
IMAGE = {"lite": "dstack-0.6.0", "legacy": "dstack-0.5.9", "dev": "dstack-dev-0.6.0"}


@pytest.fixture
def one(quoting_cloud, connect):
    return connect(quoting_cloud)


@pytest.fixture(scope="module")
def root(quoting_cloud):
    return evidence.root_der(quoting_cloud.root_path)


@pytest.fixture
def running(one):
    return started(one, "attests", teepod_id=V4)


@pytest.fixture
def document(one, running):
    return attested(one, running["id"])


def test_it_says_plainly_that_there_is_no_hardware(document):
    assert "LocalCloud" in document["notice"]
    first = next(event for event in document["tcb_info"]["event_log"] if event["imr"] == 3)
    assert bytes.fromhex(first["event_payload"]).decode() == document["notice"]
    for certificate in document["app_certificates"]:
        assert "not hardware" in certificate["issuer"]["organization"]


@pytest.mark.parametrize(
    ("node", "status", "advisories"),
    [
        (V4, "UpToDate", []),
        (V5, "UpToDate", []),
        (NEEDS_CONFIGURATION, "ConfigurationNeeded", ["LOCAL-SA-00007"]),
        (OUT_OF_DATE, "OutOfDate", ["LOCAL-SA-00006"]),
    ],
)
def test_dcap_qvl_vouches_for_a_quote_and_for_what_its_machine_is_worth(
    one, root, node, status, advisories
):
    cvm = started(one, f"on-node-{node}", teepod_id=node)
    quote = quote_of(attested(one, cvm["id"]))
    found = evidence.claims(quote, collateral(one, quote), root)
    assert (found["tcb"]["status"], found["tcb"]["advisory_ids"]) == (status, advisories)
    assert evidence.Td(quote).version == NODES[node].quote_version
    pck = found["platform"]["pck"]
    assert bytes(pck["ppid"]).hex() == NODES[node].ppid
    assert bytes(pck["fmspc"]).hex().upper() == NODES[node].fmspc


def test_no_other_root_vouches_for_it_and_no_byte_of_it_can_be_changed(one, root, document):
    quote = quote_of(document)
    signed = collateral(one, quote)
    assert evidence.refusal(quote, signed, root) is None
    assert evidence.refusal(quote, signed, None) is not None  # None: Intel's
    other = Attester(b"\x01" * 32)
    assert evidence.refusal(quote, signed, _der(other.root_pem)) is not None
    for place in range(0, 1218, 13):
        changed = bytearray(quote)
        changed[place] ^= 1
        assert evidence.refusal(bytes(changed), signed, root), place


def test_collateral_is_good_from_a_day_ago_for_a_month(one, root, document):
    quote = quote_of(document)
    signed = collateral(one, quote)
    begins = issued_on(time.time()).timestamp()
    day = 86_400
    assert evidence.refusal(quote, signed, root, int(begins) - 1) is not None
    assert evidence.refusal(quote, signed, root, int(begins)) is None
    assert evidence.refusal(quote, signed, root, int(begins) + 30 * day - 1) is None
    assert evidence.refusal(quote, signed, root, int(begins) + 30 * day + 1) is not None


def test_collateral_is_by_the_machines_own_clock(clocked_cloud, clocked):
    cvm = clocked.create()
    clocked_cloud.advance(400 * 86_400)
    quote = quote_of(attested(clocked, cvm["id"]))
    root = evidence.root_der(clocked_cloud.root_path)
    assert evidence.refusal(quote, collateral(clocked, quote), root) is None


def test_collateral_is_issued_at_midnight_of_the_day_before():
    at = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    assert issued_on(at.timestamp()) == datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize("kind", IMAGE)
def test_the_log_adds_up_to_the_registers_of_the_quote(one, kind):
    cvm = started(one, f"of-image-{kind}", teepod_id=V4, image=IMAGE[kind])
    document = attested(one, cvm["id"])
    tcb, quote = document["tcb_info"], quote_of(document)
    log = tcb["event_log"]
    assert [event["imr"] for event in log].count(0) == 13
    assert [event["imr"] for event in log if event["imr"] in {1, 2}] == [1, 1, 1, 2, 2, 1, 1]
    assert evidence.misfits(quote, log) == []
    td = evidence.Td(quote)
    assert (tcb["mrtd"], tcb["rtmr3"]) == (td.mr_td.hex(), td.rtmrs[3].hex())
    assert td.mr_config_id[:33] == b"\x01" + bytes.fromhex(cvm["compose_hash"])
    events = evidence.boot_events(log)
    assert ("mr-kms" in events) is (kind == "legacy")
    assert json.loads(events["key-provider"][0])["name"] == "kms"


def test_the_official_sdk_replays_its_event_log(document):
    tcb = document["tcb_info"]
    digests = [event["digest"] for event in tcb["event_log"] if event["imr"] == 3]
    assert replay_rtmr(digests) == tcb["rtmr3"]


def test_the_compose_file_that_it_shows_has_the_hash_that_it_measured(running, document):
    tcb = document["tcb_info"]
    shown, events = tcb["app_compose"], evidence.boot_events(tcb["event_log"])
    assert hashlib.sha256(shown.encode()).digest() == events["compose-hash"][0]
    assert get_compose_hash(json.loads(shown)) == running["compose_hash"]
    assert events["app-id"] == [bytes.fromhex(running["app_id"])]
    assert events["instance-id"] == [bytes.fromhex(running["instance_id"])]


@pytest.mark.parametrize("size", ["tdx.small", "tdx.large"])
def test_registers_of_a_lite_image_follow_from_its_document(one, quoting_cloud, size):
    cvm = started(one, f"lite-{size.replace('.', '-')}", instance_type=size, image=IMAGE["lite"])
    info = gateway(quoting_cloud, f"{cvm['app_id']}-8090", "/prpc/Info").json()
    document = attested(one, cvm["id"])
    log, td = document["tcb_info"]["event_log"], evidence.Td(quote_of(document))
    computed = evidence.lite_registers(info["vm_config"], log)
    assert computed == [td.mr_td, *td.rtmrs[:3]]
    assert json.loads(info["vm_config"])["os_image_hash"] == cvm["os"]["os_image_hash"]


def test_images_of_a_version_share_their_firmware_and_twins_their_kernel(one):
    shown = {}
    for kind, image in IMAGE.items():
        cvm = started(one, f"of-image-{kind}", teepod_id=V4, image=image)
        shown[kind] = attested(one, cvm["id"])["tcb_info"]
    lite, dev, legacy = (shown[kind] for kind in ("lite", "dev", "legacy"))
    assert (lite["mrtd"], lite["rtmr1"]) == (dev["mrtd"], dev["rtmr1"])
    assert lite["rtmr2"] != dev["rtmr2"]
    assert lite["mrtd"] != legacy["mrtd"]


def test_a_legacy_image_has_no_document(one, quoting_cloud):
    cvm = started(one, "of-image-legacy", teepod_id=V4, image=IMAGE["legacy"])
    config = json.loads(
        gateway(quoting_cloud, f"{cvm['app_id']}-8090", "/prpc/Info").json()["vm_config"]
    )
    assert (config["image"], "tdx_measurement" in config) == ("dstack-0.5.9", False)


def test_gpus_are_measured_where_the_image_does_so(one, quoting_cloud):
    cvm = started(one, "has-gpus", instance_type="h200.small", image="dstack-nvidia-0.6.0")
    document = attested(one, cvm["id"])
    events = evidence.boot_events(document["tcb_info"]["event_log"])
    state = json.loads(events["gpu-attestation"][0])
    shown = gateway(quoting_cloud, f"{cvm['app_id']}-80", "/gpu").json()["attestation"]
    assert state["evidence_sha256"] == hashlib.sha256(shown.encode()).hexdigest()
    assert (state["devices"], state["cc_mode"], state["devtools"]) == (1, "on", False)
    assert evidence.misfits(quote_of(document), document["tcb_info"]["event_log"]) == []


@pytest.mark.parametrize("node", [V4, V5])
def test_a_sidecar_quotes_the_nonce_that_it_is_asked_for(one, quoting_cloud, root, node):
    cvm = started(one, f"on-node-{node}", teepod_id=node)
    nonce = hashlib.sha256(b"fresh").hexdigest()
    for address in (cvm["app_id"], cvm["instance_id"]):
        answer = gateway(quoting_cloud, f"{address}-8080", "/quote", nonce=nonce).json()
        quote = bytes.fromhex(answer["quote"])
        assert evidence.Td(quote).report_data == bytes.fromhex(nonce).ljust(64, b"\0")
        assert evidence.refusal(quote, collateral(one, quote), root) is None
        log = json.loads(answer["event_log"])
        assert {event["digest"] for event in log if event["imr"] == 3} == {""}  # stripped
        assert evidence.misfits(quote, log) == []
    for bad in ("", "0", "zz", "00" * 65):
        assert (
            gateway(quoting_cloud, f"{cvm['app_id']}-8080", "/quote", nonce=bad).status_code == 400
        )


def test_a_tls_certificate_has_the_quote_that_vouches_for_its_key(
    one, quoting_cloud, root, running
):
    shown = gateway(quoting_cloud, f"{running['app_id']}-443s", "/certificate").content
    leaf, issuer = x509.load_pem_x509_certificates(shown)
    quote = evidence.quote_in(leaf)
    assert evidence.Td(quote).report_data == evidence.bound_key(leaf)
    assert evidence.refusal(quote, collateral(one, quote), root) is None
    leaf.verify_directly_issued_by(issuer)
    described = attested(one, running["id"])["app_certificates"]
    assert int(described[0]["serial_number"], 16) == leaf.serial_number
    assert [one["is_ca"] for one in described] == [False, True]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_that_certificate_is_served_by_tls(one, quoting_cloud, running):
    address = f"{running['app_id']}-443s"
    url = gateway(quoting_cloud, address, "/tls").json()["url"]
    assert gateway(quoting_cloud, address, "/tls").json()["url"] == url
    port = int(url.rpartition(":")[2])
    served = ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
    assert gateway(quoting_cloud, address, "/certificate").text.startswith(served)
    assert "No container runs" in requests.get(url, verify=False, timeout=30).text


def test_so_many_certificates_are_served_at_once_and_no_more(one, quoting_cloud, running):
    first = gateway(quoting_cloud, f"{running['instance_id']}-443s", "/tls").json()["url"]
    port = int(first.rpartition(":")[2])
    for number in range(tls.MOST):
        cvm = started(one, f"serves-tls-{number}", teepod_id=V4)
        assert gateway(quoting_cloud, f"{cvm['app_id']}-443s", "/tls").status_code == 200
    with pytest.raises(ConnectionRefusedError):
        ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
    again = gateway(quoting_cloud, f"{running['instance_id']}-443s", "/tls").json()["url"]
    assert ssl.get_server_certificate(("127.0.0.1", int(again.rpartition(":")[2])), timeout=30)


def test_what_does_not_run_cannot_be_reached(one, quoting_cloud, running):
    stopped = started(one, "is-stopped")
    one.post(f"/cvms/{stopped['id']}/stop")
    one.watch(stopped["id"], "stopped")
    asked = {
        f"{stopped['app_id']}-8090": 502,
        f"{'0' * 40}-8090": 404,
        f"{running['app_id']}-80": 404,
        "nonsense": 404,
    }
    for address, status in asked.items():
        answer = gateway(quoting_cloud, address, "/prpc/Info")
        assert (answer.status_code, set(answer.json())) == (status, {"detail"})


def test_apps_show_the_same_without_a_key(one, quoting_cloud, root, running):
    answer = requests.get(f"{quoting_cloud.url}/apps/{running['app_id']}/attestations", timeout=30)
    shown = answer.json()
    (instance,) = shown["instances"]
    document = attested(one, running["id"])
    assert instance["quote"] == document["app_certificates"][0]["quote"]
    assert instance["eventlog"] == document["tcb_info"]["event_log"]
    node = NODES[V4]
    assert (instance["fmspc"], instance["ppid"]) == (node.fmspc, node.ppid)
    quote = bytes.fromhex(instance["quote"])
    assert bytes.fromhex(instance["tee_tcb_svn"]) == quote[48:64]
    assert evidence.Td(quote).mr_config_id.hex() == instance["mr_config_id"]
    kms = one.get("/kms").json()["items"][0]
    for name in ("kms_guest_agent_info", "gateway_guest_agent_info"):
        service = shown[name]
        log, own = service["tcb_info"]["event_log"], quote_of(service)
        assert evidence.misfits(own, log) == []
        registers = [evidence.Td(own).mr_td, *evidence.Td(own).rtmrs[:3]]
        assert evidence.lite_registers(service["vm_config"], log) == registers
    events = evidence.boot_events(instance["eventlog"])
    assert json.loads(events["key-provider"][0])["id"] == kms["ca_pubkey"]


def test_machines_are_judged_before_anybody_asks(one, quoting_cloud):
    cvm = started(one, f"on-node-{OUT_OF_DATE}", teepod_id=OUT_OF_DATE)
    url = f"{quoting_cloud.url}/apps/{cvm['app_id']}/attestations/tcb-evaluation"
    (found,) = requests.get(url, timeout=30).json()["instances"]
    assert (found["evaluation_ok"], found["evaluation_status"]) == (False, "OutOfDate")


def test_a_quote_that_is_published_can_be_read_by_all(one, quoting_cloud, document):
    quote = quote_of(document)
    checksum = hashlib.sha256(quote).hexdigest()
    url = f"{quoting_cloud.url}/attestations"
    assert requests.get(f"{url}/raw/{checksum}", timeout=30).status_code == 404
    sent = [
        requests.post(f"{url}/verify", json={"hex": f"0x{quote.hex()}"}, timeout=30),
        requests.post(f"{url}/verify", files={"file": ("quote.bin", quote)}, timeout=30),
        requests.post(f"{url}/verify", files={"hex": (None, quote.hex())}, timeout=30),
    ]
    for answer in sent:
        result = answer.json()
        assert (result["checksum"], result["success"]) == (checksum, True)
        assert (result["proof_of_cloud"], result["quote"]["verified"]) == (False, False)
        assert result["quote"]["body"]["rtmr3"] == document["tcb_info"]["rtmr3"]
        assert result["quote_collateral"] == collateral(one, quote)
    assert requests.get(f"{url}/raw/{checksum}", timeout=30).content == quote
    assert requests.head(f"{url}/raw/{checksum}", timeout=30).headers["content-length"] == str(
        len(quote)
    )
    assert requests.get(f"{url}/view/{checksum}", timeout=30).json()["checksum"] == checksum
    assert checksum in {q["checksum"] for q in requests.get(f"{url}/recent", timeout=30).json()}


def test_what_is_no_quote_is_refused_and_a_foreign_one_fails(quoting_cloud, document):
    url = f"{quoting_cloud.url}/attestations/verify"
    for bad in ({"hex": "00"}, {"hex": "zz"}, {"hex": 5}, {}, [], "x"):
        assert requests.post(url, json=bad, timeout=30).status_code == 400
    assert requests.post(url, files={"other": b"x"}, timeout=30).status_code == 400
    foreign = bytearray(quote_of(document))
    foreign[700] ^= 1
    result = requests.post(url, json={"hex": foreign.hex()}, timeout=30).json()
    assert (result["success"], result["quote_collateral"]) == (False, None)


def test_machines_are_listed_without_a_key(quoting_cloud):
    found = {
        name: requests.get(f"{quoting_cloud.url}/attestations/{name}", timeout=30).json()
        for name in ("ppids", "device_ids", "nodes")
    }
    assert found["ppids"] == [node["ppid"] for node in found["nodes"]]
    assert found["device_ids"] == [node["device_id"] for node in found["nodes"]]


def test_mr_config_id_holds_the_compose_hash():
    assert mr_config_id(b"\xab" * 32).hex() == "01" + "ab" * 32 + "00" * 15


def test_the_same_secret_makes_the_same_evidence():
    first, second = Attester(b"\x07" * 32), Attester(b"\x07" * 32)
    assert first.root_pem == second.root_pem
    now = time.time()
    for node in NODES.values():
        assert first.collateral(node, now) == second.collateral(node, now)
    assert Attester(b"\x08" * 32).root_pem != first.root_pem


def test_names_say_that_they_are_not_intels():
    root = x509.load_pem_x509_certificate(Attester(b"\x07" * 32).root_pem.encode())
    assert "not Intel" in root.subject.rfc4514_string()


def test_hashes_of_lite_images_are_those_of_their_checksum_files():
    hashes = {image.os_image_hash for image in IMAGES.values()}
    assert len(hashes) == len(IMAGES)
    assert all(len(bytes.fromhex(one)) == 32 for one in hashes)


def test_certificates_are_signed_by_the_kms(one, quoting_cloud, running):
    shown = gateway(quoting_cloud, f"{running['app_id']}-8090", "/prpc/Info").json()["app_cert"]
    _, issuer = x509.load_pem_x509_certificates(shown.encode())
    kms = one.get("/kms").json()["items"][0]
    assert keys.ca_public_key(b"\0" * 32) != kms["ca_pubkey"]
    assert evidence.spki(issuer) == kms["ca_pubkey"]


def test_private_measurements_are_not_shown(one, quoting_cloud):
    body = {
        "name": "private-tcbinfo",
        "compose_file": {
            "docker_compose_file": "services: {a: {image: nginx}}",
            "public_tcbinfo": False,
        },
    }
    made = one.commit(one.post("/cvms/provision", body).json()).json()
    one.watch("private-tcbinfo", "running")
    shown = attested(one, "private-tcbinfo")
    assert (shown["is_online"], shown["is_public"], shown["tcb_info"]) == (True, False, None)
    info = gateway(quoting_cloud, f"{made['app_id']}-8090", "/prpc/Info").json()
    assert (info["tcb_info"], info["vm_config"]) == ("", "")
    (instance,) = one.get(f"/apps/{made['app_id']}/attestations").json()["instances"]
    assert (instance["tcb_info"], instance["eventlog"]) == (None, [])


def _der(pem):
    return evidence.der(x509.load_pem_x509_certificate(pem.encode()))
