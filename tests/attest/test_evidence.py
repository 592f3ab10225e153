"""Evidence: the forms in which people have it, and certificates that carry quotes."""

import json

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from issuer import APP, Cvm, certificate, public_key

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.guest import Certificate, CvmAttestation, EventLog, TcbInfo
from cvm_notebook.attest.evidence.certificates import find_quote, read_certificate
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence

CVM = Cvm()
QUOTE, SIGNED = CVM.quote, CVM.quote.rstrip(b"\0") + b"\0"
LOG = json.dumps(CVM.log)
OLD = certificate({"1": QUOTE, "2": LOG.encode()})
NEW = certificate({"8": b"\x00\x39\x4e" + QUOTE + b"stripped log and more"})
PEM = x509.load_der_x509_certificate(OLD).public_bytes(Encoding.PEM).decode()
SERVICE = {
    "app_certificates": [{"quote": None}, {"quote": QUOTE.hex()}],
    "tcb_info": {"event_log": CVM.log, "app_compose": APP},
}


@pytest.mark.parametrize(
    "source",
    [
        CVM.evidence(),
        json.dumps(CVM.evidence()),
        json.dumps(CVM.evidence()).encode(),
        SERVICE,
        {"quote": QUOTE.hex(), "eventlog": CVM.log, "tcb_info": json.dumps({"app_compose": APP})},
        {"attestation": (b"\x00\x39\x4e" + QUOTE).hex(), "event_log": LOG},
        {"app_cert": PEM, "tcb_info": json.dumps({"event_log": CVM.log})},
        QUOTE,
        QUOTE.hex(),
        "0x" + QUOTE.hex().upper() + "\n",
        OLD,
        NEW,
        PEM,
    ],
)
def test_evidence_is_read_in_the_forms_that_people_have(source):
    evidence = Evidence.of(source)
    assert evidence.report.signed == CVM.quote[:632]
    assert len(evidence.log) in {0, len(CVM.log)}
    assert Evidence.of(evidence) is evidence


@pytest.mark.parametrize(
    "content", [QUOTE, QUOTE.hex().encode(), OLD, json.dumps(SERVICE).encode()]
)
def test_evidence_is_read_from_a_file(tmp_path, content):
    path = tmp_path / "evidence"
    path.write_bytes(content)
    assert Evidence.of(path).report.signed == CVM.quote[:632]


def test_the_services_answer_as_a_model_is_read():
    attestation = CvmAttestation(
        app_certificates=(Certificate(quote=QUOTE.hex()),),
        tcb_info=TcbInfo(event_log=tuple(EventLog(**one) for one in CVM.log), app_compose=APP),
    )
    evidence = Evidence.of(msgspec.to_builtins(attestation))
    assert evidence.log.replay(evidence.report.rtmrs)[1] == ""
    assert evidence.compose == APP.encode()


@pytest.mark.parametrize(
    "source", [3, None, b"", b"nonsense", "{", "[]", b"-----BEGIN", b"\x30\x82no"]
)
def test_what_is_no_evidence_is_refused(source):
    with pytest.raises(InvalidInput):
        Evidence.of(source)


def test_a_certificate_of_either_form_carries_a_quote():
    found = read_certificate(OLD)
    assert (found.quote, found.event_log, found.public_key) == (QUOTE, LOG.encode(), public_key())
    assert read_certificate(NEW).quote == SIGNED
    assert read_certificate(NEW).event_log == b""


@pytest.mark.parametrize(
    "der", [b"", b"\x30\x00", certificate({}), certificate({"8": b"no quote"})]
)
def test_a_certificate_without_a_quote_is_malformed(der):
    with pytest.raises(MalformedEvidence):
        read_certificate(der)


def test_a_quote_is_found_by_its_header_and_cut_by_its_length():
    assert find_quote(b"x" * 99 + QUOTE + b"y" * 99) == SIGNED
    five = Cvm(version=5)
    assert find_quote(b"x" + five.quote) == five.quote[: five.quote.rindex(b"-\n") + 3]
    for broken in (b"", QUOTE[8:], QUOTE[:600], bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")):
        with pytest.raises(MalformedEvidence):
            find_quote(broken)


def test_a_machine_is_known_by_its_certificate():
    assert Evidence.of(QUOTE).report.platform == ("5E5700000001", "platform")
    assert Evidence.of(QUOTE[:1300] + bytes(4000)).report.platform is None


def test_the_aggregate_is_that_of_upstream():
    """The payload of ``mr-kms`` is this, of the key service's own quote."""
    report = Evidence.of(Cvm(config=bytes(48)).quote).report
    import hashlib

    whole = report.mr_td + b"".join(report.rtmrs)
    assert report.mr_aggregated == hashlib.sha256(whole).hexdigest()
    bound = Evidence.of(QUOTE).report
    parts = bound.mr_config_id + bound.mr_owner + bound.mr_owner_config
    whole = bound.mr_td + b"".join(bound.rtmrs) + parts
    assert bound.mr_aggregated == hashlib.sha256(whole).hexdigest()
