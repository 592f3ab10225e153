"""Policy: immutable, one error for what is wrong, and the same by way of TOML."""

import dataclasses
import json
from datetime import timedelta

import pytest
from issuer import APP, COMPOSE, PKI, Cvm
from test_checks import trusted

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.policy.policy import CHECK_NAMES, Policy
from cvm_notebook.attest.policy.roots import root_der

FULL = {
    "tcb": {"UpToDate", "OutOfDate"},
    "advisories_refused": ["INTEL-SA-01313", "INTEL-DOC-1"],
    "grace": "30d",
    "min_evaluation": 19,
    "images": [trusted(), "dstack-0.5.9"],
    "dev_images": True,
    "app": COMPOSE,
    "key_provider": "any",
    "nonce": b"\x00mine\xff",
    "gpus": 8,
    "root": PKI.root_pem,
    "require": {"hardware"},
}


def test_a_policy_comes_back_from_toml_as_it_was(tmp_path):
    policy, path = Policy(**FULL), tmp_path / "policy.toml"
    policy.to_toml(path)
    assert Policy.from_toml(path) == policy
    assert Policy.from_dict(json.loads(json.dumps(policy.as_dict()))) == policy
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors save it
    assert Policy.from_toml(path) == policy
    Policy().to_toml(path)
    assert (path.read_text(), Policy.from_toml(path)) == ("\n", Policy())
    assert policy.grace_period == timedelta(30)
    assert policy.report_data == b"\x00mine\xff".ljust(64, b"\0")


def test_a_file_that_is_too_large_is_refused_and_never_a_part_of_it_taken(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("# a comment\n" * 100_000 + "min_evaluation = 19\n")
    for file in (path, "/dev/zero"):  # the latter has no end
        with pytest.raises(InvalidInput, match="more than 1 MiB"):
            Policy.from_toml(file)


def test_files_that_a_policy_names_lie_beside_it(tmp_path):
    (tmp_path / "app.yaml").write_text(COMPOSE)
    (tmp_path / "root.pem").write_text(PKI.root_pem)
    path = tmp_path / "policy.toml"
    path.write_text(
        'app = "app.yaml"\nroot = "root.pem"\ngrace = "1d"\nimages = ["dstack-0.5.9"]\n'
    )
    policy = Policy.from_toml(path)
    assert policy == Policy(
        app=COMPOSE, root=PKI.root_pem, grace=timedelta(1), images=["dstack-0.5.9"]
    )


def test_a_policy_is_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().gpus = 8
    tcb = {"UpToDate"}
    policy = Policy(tcb=tcb)
    tcb.add("OutOfDate")
    assert policy.tcb == {"UpToDate"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tcb": "UpToDate"}, "tcb"),
        ({"tcb": ["Revoked"]}, "tcb"),
        ({"tcb": [["x"]]}, "tcb"),
        ({"advisories_refused": ["all"]}, "advisories_refused"),
        ({"grace": "soon"}, "grace"),
        ({"grace": timedelta(-1)}, "grace"),
        ({"min_evaluation": "19"}, "min_evaluation"),
        ({"images": 3}, "images"),
        ({"images": ["dstack-9"]}, "images"),
        ({"images": [{"name": "x"}]}, "images"),
        ({"images": [{"mrtd": "00" * 48, "rtmr1": "00" * 48, "rtmr2": "zz" * 48}]}, "images"),
        ({"dev_images": "no"}, "dev_images"),
        ({"app": 3}, "app"),
        ({"app": "no-such-file.yaml"}, "app"),
        ({"app": "services: ["}, "app"),
        ({"key_provider": ""}, "key_provider"),
        ({"nonce": b""}, "nonce"),
        ({"nonce": bytes(64)}, "nonce"),
        ({"nonce": b"1" * 65}, "nonce"),
        ({"nonce": "no hex"}, "nonce"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"endpoint": "https://a@b"}, "endpoint"),
        ({"quote_url": "http://example.com/quote"}, "quote_url"),
        ({"quote_url": "http://localhost.example.com"}, "quote_url"),
        ({"nonce": b"1", "endpoint": "https://a"}, "endpoint"),
        ({"gpus": 0}, "gpus"),
        ({"root": "no-such-file.pem"}, "root"),
        ({"root": b"no certificate"}, "root"),
        ({"root": PKI.root_pem * 2}, "root"),
        ({"root": 3}, "root"),
        ({"require": ["everything"]}, "require"),
    ],
)
def test_what_is_wrong_is_refused_by_name(fields, field):
    with pytest.raises(InvalidInput) as caught:
        Policy(**fields)
    assert caught.value.field == field


def test_a_file_that_is_no_policy_is_refused(tmp_path):
    path = tmp_path / "policy.toml"
    for text in ("= 3", "grcae = 3", "grace = 3", "root = 3"):
        path.write_text(text)
        with pytest.raises(InvalidInput):
            Policy.from_toml(path)
    with pytest.raises(InvalidInput, match=r"is not a policy"):
        Policy.from_toml(tmp_path / "none.toml")


def test_what_is_asked_for_is_required():
    assert Policy(require=()).required == set()
    asked = Policy(require=(), gpus=1, app=APP, images=[], key_provider="kms", nonce=b"1")
    assert asked.required == {"gpu", "app", "image", "key_provider", "endpoint"}
    assert Policy(require=CHECK_NAMES, key_provider="any").required == set(CHECK_NAMES)


def test_a_root_is_intels_or_from_this_machine(tmp_path):
    der = root_der(PKI.root_pem)
    path = tmp_path / "root.pem"
    path.write_text(PKI.root_pem)
    assert {Policy(root=root).root for root in (PKI.root_pem, der, path, str(path))} == {
        PKI.root_pem
    }
    assert Policy(root="intel").under(PKI.root_pem).root_pem is None
    assert Policy().under(PKI.root_pem).root_pem == PKI.root_pem


def test_a_policy_is_shown_without_its_certificates():
    shown = repr(Policy(**FULL))
    assert "a development root" in shown
    assert "BEGIN" not in shown
    assert "dstack-0.5.9" in shown


def test_known_images_say_where_they_come_from():
    images = cvm.known_images(dev=None)
    assert len({(i.mrtd, i.rtmr1, i.rtmr2) for i in images}) == len(images) > 5
    assert all(image.provenance for image in images)
    assert all(image.dev == ("-dev-" in image.name) for image in images)
    assert not any(image.dev for image in cvm.known_images())
    assert "provenance" in repr(images)


def test_an_image_is_learned_from_evidence():
    image = cvm.learn_image(Cvm().evidence(), name="mine")
    assert (image.name, image.mrtd, image.rtmr2) == ("mine", trusted().mrtd, trusted().rtmr2)
    assert "first use" in image.provenance
    with pytest.raises(InvalidInput, match="quote"):
        cvm.learn_image({"quote": "00"}, name="none")
