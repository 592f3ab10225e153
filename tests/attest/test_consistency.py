"""judge_attestation: what fits is separated from what does not, and nothing is called verified."""

import hashlib
import json

import msgspec
import pytest
from dstack_sdk.dstack_client import replay_rtmr

from cvm_notebook import Client
from cvm_notebook.api.models.guest import Certificate, CvmAttestation, EventLog, TcbInfo
from cvm_notebook.attest.evidence.consistency import judge_attestation

COMPOSE = "services:\n  web:\n    image: nginx:1.29\n"
APP = json.dumps({"docker_compose_file": COMPOSE, "runner": "docker-compose"})
KIND = 0x08000001


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def event(name, payload="", **changes):
    measured = b":".join((KIND.to_bytes(4, "little"), name.encode(), bytes.fromhex(payload)))
    digest = hashlib.sha384(measured).hexdigest()
    fields = {"imr": 3, "event_type": KIND, "digest": digest, "event": name}
    return EventLog(**fields | {"event_payload": payload} | changes)


LOG = (event("compose-hash", sha256(APP)), event("os-image-hash", "ab" * 32))


def attestation(log=LOG, rtmr3="", **changes):
    """What a CVM shows when all is well, but for the changes."""
    replayed = replay_rtmr([one.digest for one in log]) if rtmr3 == "" else rtmr3
    fields = {"mrtd": "cd" * 48, "rtmr3": replayed, "event_log": log, "app_compose": APP}
    return CvmAttestation(tcb_info=TcbInfo(**fields | changes))


def test_what_a_cvm_shows_is_hashed_and_added_up(cloud):
    with Client(cloud.api_key, cloud.url) as client:
        made = client.commit_cvm_provision(
            client.provision_cvm(name="attested", compose_file=COMPOSE)
        )
        client.watch_cvm_state(made.id, target="running")
        cvm = client.get_cvm_info(made.id)
        shown = client.get_cvm_attestation(made.id)

    found = judge_attestation(shown)

    assert (found.checked, found.why) == ("hash_matched", "")
    assert found.compose_hash_live == found.compose_hash_expected == cvm.compose_hash
    assert found.os_image_hash == cvm.os.os_image_hash
    assert found.event_count == len(shown.tcb_info.event_log)
    assert found.cert_not_after is not None
    assert found.quote_present is True


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"compose_hash": sha256(APP)},
        {"compose_hash": f"0x{sha256(APP).upper()}"},
        {"docker_compose_hash": sha256(COMPOSE)},
    ],
)
def test_the_expected_file_matches(expected):
    assert judge_attestation(attestation(), **expected).checked == "hash_matched"


@pytest.mark.parametrize(
    ("shown", "expected", "why"),
    [
        (attestation(), {"compose_hash": "0" * 64}, "another compose file"),
        (attestation(), {"docker_compose_hash": "0" * 64}, "another Docker Compose file"),
        (attestation(app_compose=APP + " "), {}, "not the one that was measured"),
        (attestation(app_compose=APP + " "), {"compose_hash": sha256(APP)}, "not the one"),
        (attestation(rtmr3="00" * 48), {}, "does not add up"),
        (attestation(log=(event("compose-hash", "00" * 32), *LOG)), {}, "not the one that"),
        (CvmAttestation(error="The CVM is not running."), {}, "not running"),
    ],
)
def test_what_does_not_fit_has_failed(shown, expected, why):
    found = judge_attestation(shown, **expected)
    assert found.checked == "failed"
    assert why in found.why


def stripped(one):
    """An event as lite evidence shows it: the verifier is to count its digest itself."""
    return msgspec.structs.replace(one, digest="")


def second(one):
    """An event as guests of version 2 measure it: its canonical JSON."""
    fields = {"name": one.event, "payload": one.event_payload, "type": one.event_type}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return msgspec.structs.replace(one, digest=hashlib.sha384(text.encode()).hexdigest())


@pytest.mark.parametrize(
    "log",
    [
        tuple(map(stripped, LOG)),
        (LOG[0], stripped(LOG[1])),
        (msgspec.structs.replace(LOG[0], digest=None),),
        tuple(map(second, LOG)),
        (LOG[0], second(LOG[1])),
        tuple(stripped(msgspec.structs.replace(second(one), version=2)) for one in LOG),
    ],
)
def test_stripped_logs_and_those_of_version_2_are_computed(log):
    forms = {1: lambda one: one, 2: second}
    whole = [forms[one.version or 1](one) if not one.digest else one for one in map(full, log)]
    found = judge_attestation(attestation(log, replay_rtmr([one.digest for one in whole])))
    assert (found.checked, found.why) == ("hash_matched", "")
    assert judge_attestation(attestation(log, "ab" * 48)).why == "its log does not add up to RTMR3"
    # whatever its form, it names another file than the one that was expected
    other = judge_attestation(attestation(log, "ab" * 48), compose_hash="0" * 64)
    assert other.checked == "failed"


def full(one):
    """The event with its digest, in the form of version 1 where it has none."""
    if one.digest or one.version == 2:
        return one
    return event(one.event, one.event_payload)


@pytest.mark.parametrize(
    "strange",
    [
        event("x", "", digest="12" * 48),
        event("x", "", event_type=5),
    ],
)
def test_a_log_in_a_form_that_is_not_read_here_is_not_checked_and_has_not_failed(strange):
    found = judge_attestation(attestation((*LOG, strange), "ab" * 48))
    assert found.checked == "fetched"
    assert "a form that is not read here" in found.why
    assert found.compose_hash_live == sha256(APP)
    other = judge_attestation(attestation((*LOG, strange), "ab" * 48), compose_hash="0" * 64)
    assert (other.checked, "another compose file" in other.why) == ("failed", True)


@pytest.mark.parametrize(
    "broken",
    [{"digest": "no hex"}, {"digest": "12" * 49}, {"event_payload": "no hex"}, {"imr": 9}],
)
def test_a_log_that_is_malformed_has_failed_and_says_where(broken):
    found = judge_attestation(
        attestation((LOG[0], event("x", ""), event("y", "", **broken)), "ab" * 48)
    )
    assert found.checked == "failed"
    assert f"event_log[2].{next(iter(broken))}" in found.why


def test_a_log_of_version_2_that_does_not_add_up_has_failed():
    found = judge_attestation(attestation(tuple(map(second, LOG)), "ab" * 48))
    assert (found.checked, found.why) == ("failed", "its log does not add up to RTMR3")


def test_digits_are_the_same_with_and_without_their_prefix():
    def spelt(digits):
        return f"0x{digits.upper()}"

    log = tuple(
        msgspec.structs.replace(
            one, digest=spelt(one.digest), event_payload=spelt(one.event_payload)
        )
        for one in LOG
    )
    rtmr3 = spelt(replay_rtmr([one.digest for one in LOG]))
    assert judge_attestation(attestation(log, rtmr3)).checked == "hash_matched"


@pytest.mark.parametrize(
    ("shown", "expected", "why"),
    [
        (CvmAttestation(), {}, "no log"),
        (attestation(log=()), {}, "no log"),
        (attestation(rtmr3=None), {}, "no RTMR3"),
        (attestation(app_compose=None), {}, "no compose file"),
        (attestation(app_compose=None), {"docker_compose_hash": sha256(COMPOSE)}, "no compose"),
        (attestation(log=(msgspec.structs.replace(LOG[0], imr=2),), rtmr3="0"), {}, "no log"),
    ],
)
def test_what_is_not_shown_is_not_judged(shown, expected, why):
    found = judge_attestation(shown, **expected)
    assert found.checked == "fetched"
    assert why in found.why


def test_the_expected_hash_needs_no_file_that_is_shown():
    found = judge_attestation(attestation(app_compose=None), compose_hash=sha256(APP))
    assert found.checked == "hash_matched"


def test_what_an_app_adds_to_the_log_does_not_hide_what_was_booted():
    later = event("compose-hash", "00" * 32)
    found = judge_attestation(attestation(log=(*LOG, later)))
    assert (found.checked, found.compose_hash_live) == ("hash_matched", sha256(APP))


def test_a_quote_is_reported_and_never_called_verified():
    whole = attestation()
    with_quote = msgspec.structs.replace(
        whole,
        app_certificates=(
            Certificate(quote="04" * 100, not_after="2027-01-01T00:00:00Z"),
            Certificate(not_after="2026-01-01T00:00:00Z"),
        ),
    )
    found = judge_attestation(with_quote)
    assert found.quote_present is True
    assert found.checked == "hash_matched"
    assert found.cert_not_after.year == 2026
    assert judge_attestation(whole).quote_present is None
