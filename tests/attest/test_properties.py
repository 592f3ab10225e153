"""No altered evidence passes the check that covers what was altered.

What may differ: padding after a quote's signed data, the lengths and the type of what follows the
report, and of its certificates the line ends and the root, as the root comes from the verifier
(trap 8). The two chains of issuers of the CRLs are not read, but for the certificate that signed.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuer import APP, COMPOSE, LITE, NOW, PKI, Cvm
from test_checks import outcomes, policy

from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.quotes import COLLATERAL_FIELDS

CVMS = {version: Cvm(version=version, image=LITE) for version in (4, 5)}
EVIDENCE = {version: Evidence.of(cvm.evidence()) for version, cvm in CVMS.items()}
POLICY = policy()
UNREAD = {"pck_crl_issuer_chain"}
CHAINS = {"tcb_info_issuer_chain", "qe_identity_issuer_chain"}
LOG = json.dumps(CVMS[4].log)


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def covered(version):
    """The bytes of a quote that are covered: up to the certificates, which are signed apart.

    Nobody signs the length of what follows the report, the type of what certifies its key, and the
    length of the certificates.
    """
    report, chain = len(EVIDENCE[version].report.signed), CVMS[version].quote.index(b"-----BEGIN")
    key = report + 4 + 64 + 64  # the length, a signature and the key that made it
    bare = {*range(report, report + 4), *range(key, key + 2), *range(chain - 4, chain)}
    return sorted({*range(chain)} - bare)


@given(version=st.sampled_from([4, 5]), data=st.data())
def test_no_bit_of_a_quote_can_be_flipped(version, data):
    bit = 8 * data.draw(st.sampled_from(covered(version))) + data.draw(st.integers(0, 7))
    evidence = EVIDENCE[version].having(quote=flipped(CVMS[version].quote, bit))
    assert outcomes(evidence, POLICY)["hardware"].outcome == "fail"


@pytest.mark.parametrize("version", [4, 5])
def test_no_byte_of_the_report_can_be_changed(version):
    quote = CVMS[version].quote
    for place in range(0, 48 + 584, 7):
        changed = quote[:place] + bytes([quote[place] ^ 0xFF]) + quote[place + 1 :]
        evidence = EVIDENCE[version].having(quote=changed)
        assert outcomes(evidence, POLICY)["hardware"].outcome == "fail", place


@pytest.mark.parametrize("tail", [b"", b"\0" * 500, b"junk"])
def test_what_follows_the_signed_data_is_nothing(tail):
    """Quotes are not unique bytes: whoever counts them counts what is signed."""
    evidence = EVIDENCE[4].having(quote=CVMS[4].quote.rstrip(b"\0") + b"\0" + tail)
    assert outcomes(evidence, POLICY)["hardware"].outcome == "pass"
    assert evidence.report.signed == EVIDENCE[4].report.signed


@given(st.sampled_from(sorted({*COLLATERAL_FIELDS} - UNREAD - CHAINS)), st.data())
def test_no_bit_of_collateral_can_be_flipped(name, data):
    whole = EVIDENCE[4].collateral
    if name in {"tcb_info", "qe_identity"}:
        place = data.draw(st.integers(0, len(whole[name]) - 1))
        other = data.draw(st.characters(codec="ascii").filter(lambda c: c != whole[name][place]))
        text = whole[name][:place] + other + whole[name][place + 1 :]
    else:
        raw = bytes.fromhex(whole[name])
        text = flipped(raw, data.draw(st.integers(0, 8 * len(raw) - 1))).hex()
    evidence = EVIDENCE[4].having(collateral={**whole, name: text})
    assert outcomes(evidence, POLICY)["hardware"].outcome == "fail"


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_the_certificate_that_signs_collateral_is_the_roots(name):
    whole = EVIDENCE[4].collateral
    other = {**whole, name: whole["pck_crl_issuer_chain"]}
    assert outcomes(EVIDENCE[4].having(collateral=other), POLICY)["hardware"].outcome == "fail"


def test_a_chain_beside_the_quotes_own_is_not_taken():
    """dcap-qvl would take it instead of the quote's: a member of collateral that nobody signed."""
    whole = EVIDENCE[4].collateral | {"pck_certificate_chain": "nonsense"}
    assert outcomes(EVIDENCE[4].having(collateral=whole), POLICY)["hardware"].outcome == "pass"


@given(st.integers(0, len(LOG) - 1), st.characters(codec="ascii", categories=["L", "N", "P"]))
def test_no_character_of_a_log_can_be_changed_to_another_meaning(place, other):
    """What still passes says the same: other spellings of hex, or fields that are not read."""
    text = LOG[:place] + other + LOG[place + 1 :]
    found = outcomes(EVIDENCE[4].having(event_log=text), POLICY)
    if found["log"].outcome == "pass":
        log, original = EVIDENCE[4].having(event_log=text).log, EVIDENCE[4].log
        assert log.payloads == original.payloads
        for register in range(4):
            one, two = log.of(register), original.of(register)
            assert [e.measured for e in one] == [e.measured for e in two]


@given(st.data())
def test_no_event_can_be_left_out_moved_or_repeated(data):
    log = list(CVMS[4].log)
    at = data.draw(st.integers(0, len(log) - 1))
    how = data.draw(st.sampled_from(["leave out", "repeat", "swap"]))
    if how == "leave out":
        del log[at]
    elif how == "repeat":
        at = min(at, len(log) - 2)  # what repeats the last is newer than the quote, and no matter
        log.insert(at, log[at])
    else:
        peers = [n for n, e in enumerate(log) if e["imr"] == log[at]["imr"] and e != log[at]]
        other = data.draw(st.sampled_from(peers))
        log[at], log[other] = log[other], log[at]
    found = outcomes(EVIDENCE[4].having(event_log=log), POLICY)
    assert found["log"].outcome == "fail"


@given(st.integers(0, len(APP) - 1), st.characters(codec="utf-8"))
def test_no_character_of_the_app_compose_can_be_changed(place, other):
    text = APP[:place] + other + APP[place + 1 :]
    found = outcomes(EVIDENCE[4].having(app_compose=text), policy(app=COMPOSE))
    assert found["app"].outcome == ("pass" if text == APP else "fail")


@given(st.binary(max_size=300))
def test_any_bytes_are_judged_without_an_error(data):
    text = data.decode("latin-1")
    for covered, changed in (
        ("hardware", {"quote": data}),
        ("hardware", {"quote": CVMS[4].quote[:600] + data}),
        ("log", {"event_log": text}),
        ("image", {"vm_config": text}),
        ("hardware", {"collateral": dict.fromkeys(COLLATERAL_FIELDS, text)}),
    ):
        found = outcomes(EVIDENCE[4].having(**changed), POLICY, NOW)
        # a skip where nothing is shown; without a configuration, registers name the image
        assert found[covered].outcome != "pass" or changed == {"vm_config": ""}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
EVENTS = st.lists(
    st.dictionaries(
        st.sampled_from(["imr", "event_type", "digest", "event", "event_payload", "version"]), JSON
    ),
    max_size=4,
)


@given(EVENTS | JSON, JSON, JSON)
def test_any_json_is_judged_without_an_error(log, config, collateral):
    evidence = Evidence.of(CVMS[4].evidence(event_log=log, vm_config=config, collateral=collateral))
    outcomes(evidence, POLICY)


def test_the_root_is_the_verifiers():
    assert outcomes(EVIDENCE[4], policy(root="intel"))["hardware"].outcome == "fail"
    assert outcomes(EVIDENCE[4], policy(root=PKI.root_pem))["hardware"].outcome == "pass"
