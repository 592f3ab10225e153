"""The nine checks: each thing that goes wrong fails the check that should see it, and no other."""

import hashlib
import json
from datetime import timedelta

import issuer
import pytest
from issuer import APP, DEV, KMS_ID, LEGACY, LITE, NOW, PKI, Cvm, Image, Pki, gpu_event, h384

from cvm_notebook.attest.checks.judge import judge
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.images import MeasuredImage
from cvm_notebook.attest.policy.policy import CHECK_NAMES, Policy

OTHER = APP.replace("nginx", "caddy")


def trusted(image=LEGACY, **changes):
    fields = {
        "name": image.name,
        "mrtd": (image.firmware[0].hex(),),
        "rtmr1": Cvm(image=image).registers["rtmr1"].hex(),
        "rtmr2": Cvm(image=image).registers["rtmr2"].hex(),
    }
    return MeasuredImage(**fields | changes)


def policy(**changes):
    fields = {"images": [trusted(), trusted(LITE)], "app": issuer.COMPOSE, "root": PKI.root_pem}
    return Policy(**fields | {"key_provider": KMS_ID} | changes)


def outcomes(evidence, by=None, at=NOW):
    evidence = Evidence.of(evidence) if isinstance(evidence, dict) else evidence
    found = judge(evidence, by or policy(), at)
    assert tuple(check.name for check in found.checks) == CHECK_NAMES
    return {check.name: check for check in found.checks}


def failures(evidence, by=None, at=NOW):
    return {n for n, check in outcomes(evidence, by, at).items() if check.outcome == "fail"}


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("image", [LEGACY, LITE])
@pytest.mark.parametrize("log_version", [1, 2])
def test_what_is_as_it_should_be_passes(version, image, log_version):
    found = outcomes(Cvm(version, image, log_version=log_version).evidence())
    passed = {name for name, check in found.items() if check.outcome == "pass"}
    assert passed == {"hardware", "tcb", "debug", "log", "image", "app", "key_provider"}
    assert {found["endpoint"].outcome, found["gpu"].outcome} == {"skip"}
    assert "no hardware" in found["hardware"].reason


DEBUG = 1 << 28 | 1
FAULTS = {
    "debug": (Cvm(attributes=DEBUG), {}, "debug"),
    "migratable": (Cvm(attributes=1 << 28 | 1 << 29), {}, "debug"),
    "memory accesses can be interrupted": (Cvm(attributes=0), {}, "debug"),
    "a module that Intel has not signed": (Cvm(signer=b"\1" * 48), {}, "hardware"),
    "a service TD": (Cvm(service=b"\1" * 48), {}, "debug"),
    "out of date": (Cvm(status="OutOfDate"), {}, "tcb"),
    "revoked": (Cvm(status="Revoked"), {}, "tcb"),
    "needs hardening": (Cvm(status="SWHardeningNeeded"), {}, "tcb"),
    "its machine's key was revoked": (
        Cvm(), {"collateral": PKI.collateral(revoked=(109,))}, "hardware",
    ),
    "expired collateral": (Cvm(), {"collateral": PKI.collateral(NOW - timedelta(60))}, "hardware"),
    "future collateral": (Cvm(), {"collateral": PKI.collateral(NOW + timedelta(9))}, "hardware"),
    "another root": (Cvm(pki=Pki("Other Root")), {}, "hardware"),
    "an altered log": (Cvm(), {"event_log": Cvm().log[:-2] + Cvm().log[-1:]}, "log"),
    "no end of the boot": (Cvm(unfinished=True), {}, "log"),
    "a name twice": (Cvm(more=(("compose-hash", b"X" * 32),)), {}, "log"),
    "another app": (Cvm(compose=OTHER), {}, "app"),
    "another app than it shows": (Cvm(compose=OTHER, shown_compose=APP), {}, "app"),
    "another app than it was started with": (Cvm(config=b"\1" + b"X" * 32 + bytes(15)), {}, "app"),
    "a name after the boot": (
        Cvm(compose=OTHER, shown_compose=APP, config=bytes(48),
            late=(("compose-hash", Cvm().compose_hash),)), {}, "app",
    ),
    "another image": (Cvm(image=Image(kernel=h384(b"other"))), {}, "image"),
    "a development image": (Cvm(image=DEV), {}, "image"),
    "another image than it describes": (
        Cvm(image=Image(lite=True, kernel=h384(b"x"))), {"vm_config": Cvm(image=LITE).vm_config},
        "image",
    ),
}  # fmt: skip


# reports of version 4 have no service TD
CASES = [(fault, v) for fault in FAULTS for v in (4, 5) if (fault, v) != ("a service TD", 4)]


@pytest.mark.parametrize(("fault", "version"), CASES)
def test_a_fault_fails_its_check_alone(fault, version):
    cvm, changes, name = FAULTS[fault]
    found = failures(cvm.having(version=version).evidence(**changes))
    assert found
    assert found <= set(name.split())


@pytest.mark.parametrize("fault", ["expired collateral", "another root"])
def test_nothing_passes_beside_hardware_that_failed(fault):
    cvm, changes, _ = FAULTS[fault]
    found = outcomes(cvm.evidence(**changes))
    assert {found[name].outcome for name in CHECK_NAMES[1:]} == {"skip"}


def test_nothing_of_a_log_passes_that_does_not_fit():
    found = outcomes(Cvm().evidence(event_log=Cvm().log[:-1]))
    assert found["log"].outcome == "fail"
    assert {found[n].outcome for n in ("image", "app", "key_provider", "gpu")} == {"skip"}
    assert found["hardware"].outcome == "pass"


def test_without_collateral_hardware_is_not_judged():
    found = outcomes(Cvm().evidence(collateral=None))
    assert found["hardware"].outcome == found["tcb"].outcome == found["debug"].outcome == "skip"
    assert issuer.FMSPC.hex().upper() in found["hardware"].reason
    assert "pccs=" in found["hardware"].todo
    assert found["log"].outcome == "pass"


def test_without_the_extra_hardware_is_not_judged(monkeypatch):
    monkeypatch.setattr("cvm_notebook.attest.quotes.is_installed", lambda: False)
    found = outcomes(Cvm().evidence())
    assert [found[name].outcome for name in CHECK_NAMES[:4]] == ["skip", "skip", "skip", "pass"]
    assert found["hardware"].todo == "Run pip install 'cvm-notebook[attest]'"


@pytest.mark.parametrize("name", PKI.collateral())
def test_collateral_that_lacks_a_part_fails_and_says_which(name):
    for value in (None, 3, ""):
        found = outcomes(Cvm().evidence(collateral=PKI.collateral() | {name: value}))
        assert (found["hardware"].outcome, name in found["hardware"].reason) == ("fail", True)


# --- TCB ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "changes", "outcome"),
    [
        ("SWHardeningNeeded", {"tcb": {"UpToDate", "SWHardeningNeeded"}}, "pass"),
        ("OutOfDate", {"tcb": {"OutOfDate"}}, "pass"),
        ("OutOfDate", {"grace": "101d"}, "pass"),
        ("OutOfDate", {"grace": "100d"}, "fail"),
        ("OutOfDate", {"grace": timedelta.max}, "pass"),
        ("SWHardeningNeeded", {"grace": "999d"}, "fail"),
        ("OutOfDate", {"tcb": {"OutOfDate"}, "advisories_refused": {"TEST-SA-00016"}}, "fail"),
        ("OutOfDate", {"tcb": {"OutOfDate"}, "advisories_refused": {"TEST-SA-00008"}}, "pass"),
        ("UpToDate", {"min_evaluation": 20}, "pass"),
        ("UpToDate", {"min_evaluation": 21}, "fail"),  # of both documents the lower number counts
        ("UpToDate", {"tcb": set()}, "fail"),
    ],
)
def test_the_policy_judges_the_tcb(status, changes, outcome):
    check = outcomes(Cvm(status=status).evidence(), policy(**changes))["tcb"]
    assert check.outcome == outcome, check.reason
    assert status in check.reason


@pytest.mark.parametrize(
    ("at", "hardware"),
    [
        (NOW - timedelta(days=1, seconds=1), "fail"),
        (NOW - timedelta(days=1) + timedelta(seconds=1), "pass"),
        (NOW + timedelta(days=28), "pass"),
        (NOW + timedelta(days=29, seconds=1), "fail"),
        (NOW + timedelta(days=9999), "fail"),
    ],
)
def test_collateral_is_good_from_its_first_to_its_last_second(at, hardware):
    check = outcomes(Cvm().evidence(), at=at)["hardware"]
    assert check.outcome == hardware, check.reason


def test_of_a_debug_cvm_the_tcb_is_not_judged():
    found = outcomes(Cvm(attributes=DEBUG).evidence())
    assert found["hardware"].outcome == "pass"
    assert found["tcb"].outcome == "skip"


# --- log and image -----------------------------------------------------------------------------


def strip(log, *, firmware=False):
    """A log as certificates have it: without digests of runtime events, or no firmware."""
    kept = [one for one in log if one["imr"] == 3 or not firmware or one["event_type"] == 10]
    return [one | {"digest": ""} if one["imr"] == 3 else one for one in kept]


@pytest.mark.parametrize("log_version", [1, 2])
def test_a_stripped_log_is_computed(log_version):
    cvm = Cvm(log_version=log_version)
    assert not failures(cvm.evidence(event_log=strip(cvm.log)))


def test_a_lite_image_is_known_by_a_log_without_the_firmware():
    cvm = Cvm(image=LITE)
    found = outcomes(cvm.evidence(event_log=strip(cvm.log, firmware=True)))
    assert (found["log"].outcome, found["image"].outcome) == ("pass", "pass")
    assert "stripped" in found["log"].reason


def test_another_image_is_not_known_by_a_log_without_the_firmware():
    cvm = Cvm()
    found = outcomes(cvm.evidence(event_log=strip(cvm.log, firmware=True)))
    assert (found["log"].outcome, found["image"].outcome) == ("pass", "skip")


def test_a_log_that_is_newer_than_its_quote_is_read_to_there():
    cvm = Cvm(late=(("mine", b"1"),))
    later = issuer.runtime("compose-hash", b"X" * 32)
    found = outcomes(cvm.evidence(event_log=[*cvm.log, later, later]))
    assert found["log"].outcome == found["app"].outcome == "pass"
    assert "2 came after the quote" in found["log"].reason
    assert "1 of the app" in found["log"].reason


def test_a_log_is_not_cut_before_the_boot_has_ended():
    cvm = Cvm()
    early = Cvm(unfinished=True)
    assert failures(cvm.evidence(quote=early.quote.hex())) == {"log"}


def test_events_that_do_not_say_what_was_measured_are_no_place_to_hide():
    """An event in RTMR3 of another kind would be believed, and the name of what it was, lost."""
    cvm = Cvm(compose=OTHER, shown_compose=APP, config=bytes(48), late=(
        ("compose-hash", Cvm().compose_hash), ("system-ready", b""),
    ))  # fmt: skip
    hidden = [
        one | {"event_type": 5, "event": ""} if at in hide else one
        for hide in [{22, len(cvm.log) - 3}]
        for at, one in enumerate(cvm.log)
    ]
    assert hidden[22]["event_payload"] == cvm.compose_hash.hex()
    assert failures(cvm.evidence(event_log=hidden)) == {"log"}


@pytest.mark.parametrize("memory", [1 << 31, 0xB0000000, 64 << 30])
def test_lite_registers_follow_from_metadata_and_memory(memory):
    assert not failures(Cvm(image=LITE, memory=memory).evidence())


def test_a_lite_image_is_trusted_by_its_hash_too():
    named = trusted(os_image_hash=hashlib.sha256(LITE.checksums).hexdigest(), rtmr2="00" * 48)
    found = outcomes(Cvm(image=LITE).evidence(), policy(images=[named]))["image"]
    assert found.outcome == "pass"


def test_a_hash_that_is_only_named_is_not_believed():
    named = trusted(os_image_hash="4f" * 32, rtmr2="00" * 48)
    found = outcomes(Cvm().evidence(vm_config={"os_image_hash": "4f" * 32}), policy(images=[named]))
    assert found["image"].outcome == "fail"


def test_a_development_image_needs_leave():
    images = [trusted(DEV, dev=True)]
    evidence = Cvm(image=DEV).evidence()
    assert failures(evidence, policy(images=images)) == {"image"}
    assert failures(evidence, policy(images=images, dev_images=True)) == set()


def test_an_image_that_nobody_named_and_nobody_knows_is_not_judged():
    check = outcomes(Cvm().evidence(), policy(images=None))["image"]
    assert (check.outcome, "learn_image" in check.todo) == ("skip", True)


@pytest.mark.parametrize("place", [1, 2, 7, 11, 12])
def test_the_firmware_is_the_one_of_every_machine(place):
    cvm = Cvm()
    log = [dict(one) for one in cvm.log]
    log[place]["digest"] = "11" * 48
    rtmr0 = issuer.extend(bytes.fromhex(one["digest"]) for one in log if one["imr"] == 0)
    report = issuer.td_report(
        cvm.registers | {"rtmr0": rtmr0}, config=b"\1" + cvm.compose_hash + bytes(15)
    )
    assert failures(cvm.evidence(event_log=log, quote=issuer.quote(report).hex())) == {"image"}


# --- app, keys, GPUs ---------------------------------------------------------------------------


@pytest.mark.parametrize("app", [APP, json.loads(APP), hashlib.sha256(APP.encode()).hexdigest()])
def test_the_app_is_declared_in_several_ways(app):
    expected = "fail" if isinstance(app, dict) else "pass"  # dumped again it has other bytes
    assert outcomes(Cvm().evidence(), policy(app=app))["app"].outcome == expected


def test_an_app_that_is_not_declared_is_skipped():
    check = outcomes(Cvm().evidence(), policy(app=None))["app"]
    assert (check.outcome, "Policy(app=" in check.todo) == ("skip", True)


def test_images_without_a_digest_are_named():
    loose = APP.replace("nginx@sha256:" + "ab" * 32, "nginx:1.29")
    check = outcomes(Cvm(compose=loose).evidence(), policy(app=loose))["app"]
    assert (check.outcome, "nginx:1.29" in check.reason) == ("pass", True)


def test_the_binding_of_version_2_and_3_is_computed():
    from Crypto.Hash import keccak

    whole = Cvm().compose_hash + b"A" * 20 + b"\2" + bytes.fromhex(KMS_ID)
    digest = keccak.new(digest_bits=256, data=whole).digest()
    assert not failures(Cvm(config=b"\2" + digest + bytes(15)).evidence())
    assert failures(Cvm(config=b"\2" + digest[::-1] + bytes(15)).evidence()) == {"app"}
    document = json.dumps({"version": 3, "compose_hash": Cvm().compose_hash.hex()})
    third = hashlib.sha256(b"dstack-mr-config-v3:\0" + document.encode()).digest()
    evidence = Cvm(config=b"\3" + third + bytes(15)).evidence
    assert not failures(evidence(vm_config={"mr_config": document}))
    assert failures(evidence(vm_config={"mr_config": document + " "})) == {"app"}
    assert failures(Cvm(config=b"\4" + bytes(47)).evidence()) == {"app"}


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [(KMS_ID, "pass"), ("0x" + KMS_ID.upper(), "pass"), ("kms", "pass"), ("any", "info"),
     ("local-sgx", "fail"), ("12", "fail"), (None, "skip")],
)  # fmt: skip
def test_who_can_derive_its_keys(wanted, outcome):
    assert (
        outcomes(Cvm().evidence(), policy(key_provider=wanted))["key_provider"].outcome == outcome
    )


POLICY_HASH = ("gpu-policy-hash", hashlib.sha256(b"{}").digest())


@pytest.mark.parametrize(
    ("more", "gpus", "shown", "outcome"),
    [
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, "nvidia"))], 8, "nvidia", "pass"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, "nvidia"))], 8, None, "pass"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, "nvidia"))], None, None, "info"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, "nvidia"))], 8, "nvidia\n", "fail"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(7))], 8, None, "fail"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, cc_mode="off"))], 8, None, "fail"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(8, devtools=True))], 8, None, "fail"),
        ([POLICY_HASH, ("gpu-attestation", gpu_event(True))], 1, None, "fail"),
        ([POLICY_HASH, ("gpu-attestation", b"no json")], 8, None, "fail"),
        ([("gpu-policy-hash", b"X" * 32), ("gpu-attestation", gpu_event(8))], 8, None, "fail"),
        ([POLICY_HASH], 8, None, "fail"),
        ([], 8, None, "skip"),
    ],
)
def test_gpus_are_judged_by_the_event_of_the_boot(more, gpus, shown, outcome):
    evidence = Cvm(more=tuple(more)).evidence(gpu_info=shown)
    check = outcomes(evidence, policy(gpus=gpus))["gpu"]
    assert check.outcome == outcome, check.reason


# --- freshness and endpoint --------------------------------------------------------------------


def test_a_quote_of_the_boot_is_never_fresh():
    check = outcomes(Cvm(data=b"anything").evidence())["endpoint"]
    assert (check.outcome, "sidecar" in check.todo) == ("skip", True)


def test_a_quote_for_a_nonce_is_fresh_and_one_for_another_is_not():
    assert (
        outcomes(Cvm(data=b"mine").evidence(), policy(nonce=b"mine"))["endpoint"].outcome == "pass"
    )
    assert failures(Cvm(data=b"mine2").evidence(), policy(nonce=b"mine")) == {"endpoint"}


def test_the_nonce_is_read_in_the_quote_and_not_beside_it():
    evidence = Cvm(data=b"old").evidence(report_data=b"mine".ljust(64, b"\0").hex())
    assert failures(evidence, policy(nonce=b"mine")) == {"endpoint"}


def test_the_key_that_is_served_is_the_one_in_the_quote():
    bound = hashlib.sha512(b"ratls-cert:" + issuer.public_key()).digest()
    by = policy(endpoint="https://app.example")
    good = Evidence.of(Cvm(data=bound).evidence())
    assert outcomes(good.having(served_key=issuer.public_key()), by)["endpoint"].outcome == "pass"
    assert failures(good.having(served_key=issuer.public_key("other")), by) == {"endpoint"}
    assert failures(good, by) == {"endpoint"}


def test_a_sidecar_that_answered_nothing_fails():
    evidence = Evidence.of(Cvm().evidence()).having(error="connection refused")
    check = outcomes(evidence, policy(quote_url="https://app.example/quote"))["endpoint"]
    assert (check.outcome, "connection refused" in check.reason) == ("fail", True)


# --- what is malformed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "check", "named"),
    [
        ({"quote": "no hex"}, "hardware", "quote"),
        ({"quote": ""}, "hardware", "quote"),
        ({"quote": "0400"}, "hardware", "quote"),
        ({"quote": Cvm().quote[:700].hex()}, "hardware", "quote"),
        ({"quote": Cvm().quote.hex() * 40}, "hardware", "quote"),
        ({"event_log": "{"}, "log", "event_log"),
        ({"event_log": "{}"}, "log", "event_log"),
        ({"event_log": [3]}, "log", "event_log[0]"),
        ({"event_log": [{"imr": 4, "event_type": 1}]}, "log", "event_log[0].imr"),
        ({"event_log": [{"imr": True, "event_type": 1}]}, "log", "event_log[0].imr"),
        ({"event_log": [{"imr": 1, "event_type": "1"}]}, "log", "event_log[0].event_type"),
        ({"event_log": [{"imr": 1, "event_type": 1, "digest": "x"}]}, "log", "event_log[0].digest"),
        ({"event_log": [{"imr": 3, "event_type": 1, "event": "\ud800"}]}, "log", "[0].event"),
        ({"event_log": Cvm().log * 1000}, "log", "event_log"),
        ({"event_log": "[" * 200_000}, "log", "event_log"),
        ({"event_log": " " * (2 << 20)}, "log", "event_log"),
        ({"app_compose": "\ud800"}, "app", "app_compose"),
        ({"app_compose": " " * (2 << 20)}, "app", "app_compose"),
        ({"vm_config": "no json"}, "image", "vm_config"),
        ({"vm_config": {"tdx_measurement": 3, "memory_size": 1 << 32}}, "image", "vm_config"),
        ({"vm_config": {"tdx_measurement": {}, "memory_size": "x"}}, "image", "memory_size"),
        ({"vm_config": {"tdx_measurement": {}, "memory_size": 1 << 32}}, "image", "checksum_file"),
    ],
)  # fmt: skip
def test_malformed_evidence_fails_and_names_the_field(changes, check, named):
    found = outcomes(Cvm().evidence(**changes))[check]
    assert found.outcome == "fail"
    assert named in found.reason
