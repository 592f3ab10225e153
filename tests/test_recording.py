"""doctor --record: shapes and words of answers, and nothing that could name anybody."""

import json
import os
import stat

import pytest
from helpers import COMPOSE
from hypothesis import given
from hypothesis import strategies as st

from cvm_notebook import Client
from cvm_notebook.api.secret import Secret
from cvm_notebook.cli.recording import Recording, differences, record, recorded
from cvm_notebook.cli.shapes import UNKNOWN, known_fields, range_of, shape_of, types_of

PLANTED = (
    "Ana Example",
    "anna-q",
    "ana@example.com",
    "phak_0123456789abcdef",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "ssh-ed25519 AAAAC3Nza ana@laptop",
    "SHA256:PLANTEDFINGERPRINT",
    "192.168.17.4",
    "17.4.2.1",
    "fe80::1ff:fe23:4567:890a",
    "https://ana.example.com/?token=PLANTED",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "b" * 64,
    "123e4567-e89b-42d3-a456-556642440000",
    "cvm_pLaNtEd1",
    "+49 151 12345678",
    "4915112345678",
    "1987-06-05",
    "1987-06-05T04:03:02Z",
    "dstack-of-ana-0.5.8",
    "tdx.small.ana",
    "first line\nsecond line",
    "ERR-03-001 of ana",
    "日本 花子",
    "\x1b[31mred",
)


@pytest.mark.parametrize("secret", PLANTED)
def test_a_secret_in_any_field_does_not_survive(secret):
    whole = dict.fromkeys(known_fields(), secret)
    answer = {
        **whole,
        "items": [whole, {"details": {"field": secret}}, [secret, [secret]]],
        "data": {name: {"value": secret, name: [secret]} for name in known_fields()},
        secret: secret,
        f"x_{secret}": {secret: {"status": secret}},
    }

    shape = json.dumps(shape_of(answer), ensure_ascii=False)

    assert secret not in shape.replace(UNKNOWN, "")
    assert json.dumps(secret)[1:-1] not in shape


# what of a text may stay: only what was chosen by the service
@given(st.text(min_size=1), st.sampled_from(sorted(known_fields())))
def test_a_text_stays_only_where_it_is_a_fixed_word_of_its_field(text, field):
    (kind,) = shape_of({field: text})[field]

    if repr(text) in kind:
        assert text.isascii()
        assert len(text) <= 20
        assert "@" not in text
    assert shape_of({"name": text})["name"][0] in FORMS


FORMS = {
    f"text: {form}"
    for form in (
        *("any", "empty", "uuid", "decimal", "hex digits", "https address", "http address"),
        *("e-mail address", "SSH fingerprint", "several lines", "time", "date"),
        *(f"{n} hex digits" for n in (40, 64, 96)),
        *(f"id {kind}_" for kind in ("cvm", "usr", "wks", "kms", "kc", "gn", "prj", "pm")),
        *(f"id {kind}_" for kind in ("rev", "key", "sshkey")),
    )
}


def test_a_phone_number_is_a_range_and_no_number():
    assert range_of(4915112345678) == "1,000,000 up"
    assert range_of(9_999_999) == "1,000,000 to 9,999,999"
    assert [range_of(n) for n in (-1, 0, 7, 10, 999)] == [
        "below 0",
        "0",
        "1 to 9",
        "10 to 99",
        "100 to 999",
    ]


def test_words_and_types_stay_and_lists_are_taken_together():
    cvms = [
        {"status": "running", "vcpu": 2, "instance_id": None, "public_logs": True},
        {"status": "stopped", "vcpu": 16, "instance_id": "b" * 40, "storage_fs": "zfs"},
    ]

    assert shape_of({"items": cvms}) == {
        "": ("object",),
        "items": ("list: 1 to 9",),
        "items[]": ("object",),
        "items[].instance_id": ("null", "text: 40 hex digits"),
        "items[].public_logs": ("boolean: true",),
        "items[].status": ("text: 'running'", "text: 'stopped'"),
        "items[].storage_fs": ("text: 'zfs'",),
        "items[].vcpu": ("integer: 1 to 9", "integer: 10 to 99"),
    }
    assert types_of(("null", "text: 40 hex digits", "text: any")) == {"null", "text"}


def test_what_is_nested_without_end_and_has_names_without_end_is_bounded():
    deep: object = "ana"
    for _ in range(200):
        deep = {"items": [deep]}
    assert "nested deeper" in shape_of(deep).popitem()[1]
    assert len(shape_of({f"name{n}": n for n in range(10_000)})) == 2  # all are one other name


def recording(**shapes):
    made = Recording()
    for call, answer in shapes.items():
        made.add(f"GET /{call}", 200, shape_of(answer))
    return made


def test_differences_are_of_types_and_not_of_what_is_in_a_workspace():
    there = recording(cvms={"items": [{"vcpu": 1, "name": "a", "tier": None}], "total": 1})
    local = recording(cvms={"items": [{"vcpu": 900, "name": "b", "tier": "PRO"}], "total": 70})

    assert list(differences(there, local)) == ["LocalCloud answers in the same shapes."]


def test_each_difference_is_reported_in_a_line():
    there = recording(cvms={"items": [{"vcpu": "1", "slug": "x"}]}, apps={})
    local = recording(cvms={"items": [{"vcpu": 1}], "total": 1}, kms={})

    assert list(differences(there, local)) == [
        "GET /apps: 200 there, no answer on LocalCloud",
        "GET /cvms 200 items[].slug: only there",
        "GET /cvms 200 items[].vcpu: text there, integer on LocalCloud",
        "GET /cvms 200 total: only on LocalCloud",
        "GET /kms: no answer there, 200 on LocalCloud",
        "5 differences.",
    ]


def test_of_an_empty_list_and_of_null_nothing_is_reported():
    there = recording(cvms={"items": [], "progress": None})
    local = recording(cvms={"items": [{"name": "a"}], "progress": {"target": "running"}})

    assert list(differences(there, local)) == ["LocalCloud answers in the same shapes."]


# --- against LocalCloud --------------------------------------------------------------------------

MARK = "planted"  # in each value that a user can choose


@pytest.fixture
def planted(fresh_cloud):
    """A LocalCloud on which all that a user can name has the mark in it."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
    compose = f"{COMPOSE}    environment:\n      - {MARK.upper()}_TOKEN={MARK}\n"
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        client.add_ssh_key(f"{MARK} laptop", f"{key} {MARK}@laptop")
        app = {
            "docker_compose_file": compose.replace("nginx", f"{MARK}/nginx"),
            "pre_launch_script": f"#!/bin/sh\necho {MARK}\n",
            f"{MARK}_field": MARK,
        }
        asked = {"name": f"{MARK}-one", "compose_file": app, "env_keys": [f"{MARK.upper()}_ENV"]}
        client.commit_cvm_provision(client.provision_cvm(asked))
        client.watch_cvm_state(f"{MARK}-one", target="running")
        client.stop_cvm(f"{MARK}-one")
    return fresh_cloud


def test_of_localcloud_nothing_planted_survives_and_the_file_is_private(
    planted, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", planted.api_key)
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", planted.url)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    file = tmp_path / "record.json"
    file.write_text("older")
    file.chmod(0o644)

    code = record(None, file, against_local=False)

    text = file.read_text()
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert MARK not in text.lower()
    for secret in (planted.api_key, planted.url, "127.0.0.1", str(tmp_path), "nginx"):
        assert secret not in text + printed.out.replace(str(file), "")
    made = json.loads(text)
    assert made["service"] == "another address"
    assert made["calls"]["GET /cvms/{cvm_id}"]["200"]["status"].startswith("text: 'stop")
    assert made["calls"]["GET /cvms/{cvm_id}"]["404"]["error_code"] == "text: 'ERR-03-001'"
    assert made["calls"]["GET /user/ssh-keys"]["200"]["[].name"] == "text: any"


def test_nothing_is_changed_by_a_recording(planted):
    planted.clear_requests()

    made = recorded(planted.url, Secret(planted.api_key))

    asked = {(r["method"], r["path"].rpartition("/")[2]) for r in planted.requests()}
    assert {method for method, _ in asked} == {"GET", "POST"}
    assert {last for method, last in asked if method == "POST"} == {"batch"}
    assert not made.lost
    assert list(differences(made, made)) == ["LocalCloud answers in the same shapes."]


def test_without_a_key_nothing_is_written(tmp_path, monkeypatch, capsys, cloud):
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_wrong")
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    file = tmp_path / "record.json"

    assert record(None, file, against_local=False) == 1

    assert not file.exists()
    assert "nothing was recorded" in capsys.readouterr().err


def test_beside_localcloud_each_difference_is_printed(planted, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", planted.api_key)
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", planted.url)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))

    assert record(None, None, against_local=True) == 0

    printed = capsys.readouterr().out
    # a field that only this app compose has is reported, and not named
    assert "GET /cvms/{cvm_id}/compose_file 200 <another name>: only there\n" in printed
    assert MARK not in printed.lower()
    assert " there, " not in printed  # no type is another, and no call is answered by one alone
    assert printed.endswith(" differences.\n")


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_file_that_cannot_be_written_is_reported(planted, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", planted.api_key)
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", planted.url)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))

    assert record(None, tmp_path / "no" / "folder" / "r.json", against_local=False) == 1

    assert "No such file" in capsys.readouterr().err
