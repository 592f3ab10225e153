"""What surrounds CVMs: logins, ports, names, deletions to come, apps, key services."""

import base64
import datetime as dt
import json

import pytest
from helpers import COMPOSE, LONG_PATIENCE

from cvm_notebook import Client
from cvm_notebook.api.errors.tree import (
    ApiError,
    CvmError,
    InvalidInput,
    NotFoundError,
    TransportError,
    WorkspaceSuspended,
)
from cvm_notebook.api.models.apps import AppUsage
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.network import DomainDiagnosis, PortMapping
from cvm_notebook.api.models.ssh import CvmSshKeys
from cvm_notebook.api.models.upkeep import ScriptStatus
from cvm_notebook.api.resources import cvms
from cvm_notebook.api.workspace.public_key import read_public_key


def public_key(seed=b"k", comment="ana@laptop"):
    """A public key of the right form, as `ssh-keygen` writes it."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + (seed * 32)[:32]
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}".strip()


@pytest.fixture
def nobody():
    """A client of no service: what is refused before it is sent needs none."""
    with Client("phak_nobody", "http://127.0.0.1:9/api/v1") as made:
        yield made


REFUSED = {
    "a port of 0": lambda c: c.update_ports("web-1", ports=[0]),
    "a port of 65536": lambda c: c.update_ports("web-1", ports=["65536"]),
    "a protocol that is none": lambda c: c.update_ports("web-1", ports=["53/sctp"]),
    "a port as a word": lambda c: c.update_ports("web-1", ports=["ssh"]),
    "a port twice": lambda c: c.update_ports("web-1", ports=[80, "80/tcp"]),
    "one port instead of several": lambda c: c.update_ports("web-1", ports="80"),
    "no change of the network": lambda c: c.update_network_config("web-1"),
    "a gateway without TLS": lambda c: c.update_network_config(
        "web-1", gateway_urls=["http://gateway.example.com"]
    ),
    "a key service with a password": lambda c: c.update_network_config(
        "web-1", kms_urls=["https://ana:secret@kms.example.com"]
    ),
    "no domain": lambda c: c.diagnose_domains("web-1", domains=[]),
    "a domain with a path": lambda c: c.diagnose_domains("web-1", domains=["example.com/a"]),
    "a domain with a space": lambda c: c.diagnose_domains("web-1", domains=["exa mple.com"]),
    "a domain at a port that is none": lambda c: c.diagnose_domains("web-1", domains=["a.b.io:x"]),
    "a name that is none": lambda c: c.rename_cvm("web-1", "a b"),
    "listed in words": lambda c: c.update_listed("web-1", listed="yes"),
    "a deletion that has passed": lambda c: c.schedule_delete("web-1", at="2020-01-01T00:00Z"),
    "a deletion at no time": lambda c: c.schedule_delete("web-1", at="soon"),
    "no CVM": lambda c: c.list_ports(),
    "an empty name of a key": lambda c: c.add_ssh_key(" ", public_key()),
    "a long name of a key": lambda c: c.add_ssh_key("k" * 101, public_key()),
    "a key that is none": lambda c: c.add_ssh_key("laptop", "ssh-ed25519 AAAA"),
    "two keys at once": lambda c: c.add_ssh_key("laptop", f"{public_key()}\n{public_key(b'l')}"),
    "a GitHub name with a slash": lambda c: c.import_github_ssh_keys("ana/repos"),
    "ids of keys as a text": lambda c: c.update_cvm_ssh_keys("web-1", ssh_key_ids="key_1"),
    "a use that ends before it begins": lambda c: c.get_app_usage(
        "a" * 40, start="2026-06-02T00:00Z", end="2026-06-01T00:00Z"
    ),
    "a hash that is none": lambda c: c.check_app_allowed("a" * 40, "not-a-hash"),
    "more refreshes than the service takes": lambda c: c.refresh_instance_ids(limit=501),
    "a contract that is none": lambda c: c.commit_cvm_provision(
        app_id="a" * 40, compose_hash="b" * 64, contract_address="0x12", deployer_address="0x12"
    ),
    "a contract without who deployed it": lambda c: c.commit_cvm_provision(
        app_id="a" * 40, compose_hash="b" * 64, contract_address="0x" + "1" * 40
    ),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_before_anything_is_sent(nobody, call):
    with pytest.raises(InvalidInput) as caught:  # a TransportError would say that it was sent
        call(nobody)

    assert "secret" not in str(caught.value)


def test_a_private_key_is_refused_and_not_shown(nobody):
    private = (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"
    )

    with pytest.raises(InvalidInput, match="private key") as caught:
        nobody.add_ssh_key("laptop", private)

    assert "b3BlbnNzaC1rZXk" not in str(caught.value)


def test_a_public_key_is_read_as_ssh_keygen_reads_it():
    options = f'from="10.0.0.1",no-pty {public_key()}'

    read = read_public_key(options)

    assert read == read_public_key(public_key())
    assert read.key_type == "ssh-ed25519"
    assert read.comment == "ana@laptop"
    # what `ssh-keygen -lf` says of the same line
    assert read.fingerprint == "SHA256:sArVyTbDlP2ByuRNM59Xf/iwOUmdy69sxylyNl3iUQQ"
    assert read_public_key("# a comment") is None
    assert read_public_key("") is None


# --- answers -------------------------------------------------------------------------------------


def test_the_status_of_a_script_has_one_word():
    answer = {"current_hash": "a" * 64, "latest_official_hash": "b" * 64, "can_upgrade": False}

    def word(**more):
        return decode(json.dumps({**answer, **more}), ScriptStatus, "GET").word

    assert word(is_official=True, is_latest=True) == "official"
    assert word(is_official=True, is_latest=False) == "older"
    assert word(is_official=False, is_latest=False) == "modified"
    assert word(is_official=False, is_latest=False, current_hash=None) == "none"
    assert word() is None


def test_what_is_wrong_with_a_domain_is_shown_in_a_line_each():
    record = {"record_type": "CNAME", "query_name": "app.example.com", "expected_value": "x.net"}
    body = {
        "domain": "app.example.com",
        "port": 443,
        "is_valid": False,
        "records": [
            {**record, "actual_value": None, "is_valid": False},
            {**record, "is_valid": True},
        ],
        "caa_check": {"caa_records": [], "is_match": False, "expected_uri": "https://acme/1"},
    }

    found = decode(json.dumps(body), DomainDiagnosis, "POST")

    assert found.problems == (
        "CNAME app.example.com: nothing is there, and x.net is needed",
        "CAA: https://acme/1 may not certify it",
    )


def test_costs_of_use_are_exact_and_null_lists_are_empty():
    body = {"usage": [{"cost": 0.1, "billing_hour": "2026-06-01T10:00:00Z"}], "total_cost": "0.10"}

    usage = decode(json.dumps(body), AppUsage, "GET")

    assert str(usage.usage[0].cost) == "0.1"
    assert str(usage.total_cost) == "0.10"
    assert usage.usage[0].hour == dt.datetime(2026, 6, 1, 10, tzinfo=dt.UTC)
    assert decode('{"usage": null}', AppUsage, "GET").usage == ()
    assert decode('{"keys": null}', CvmSshKeys, "GET").keys == ()


def test_a_port_has_a_description():
    port = PortMapping(vm_port=22, host_port=20022, protocol="tcp", host_address="0.0.0.0")

    assert port.said == "22/tcp on 0.0.0.0:20022"


# --- against LocalCloud --------------------------------------------------------------------------


def test_keys_of_the_account_come_and_go(client):
    added = client.add_ssh_key("laptop", public_key(b"1"))

    assert added.fingerprint == read_public_key(public_key(b"1")).fingerprint
    assert added.id in {key.id for key in client.list_ssh_keys()}
    client.delete_ssh_key(added)
    assert added.id not in {key.id for key in client.list_ssh_keys()}
    with pytest.raises(NotFoundError):
        client.delete_ssh_key(added.id)


def test_what_github_would_answer_is_refused_in_words(client):
    with pytest.raises(ApiError, match="GitHub"):
        client.import_github_ssh_keys("ana")
    with pytest.raises(ApiError, match="GitHub"):
        client.sync_github_ssh_keys()


def test_a_cvm_is_renamed_listed_and_its_deletion_put_off(client, make):
    name = make(client)
    cvm = client.get_cvm_info(name)

    client.rename_cvm(cvm, f"{name}-new")
    assert client.get_cvm_info(cvm.id).name == f"{name}-new"
    assert client.update_listed(cvm, listed=True).name == f"{name}-new"
    assert client.get_cvm_info(cvm.id).listed is True
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
    assert client.schedule_delete(cvm, at=later).vm_uuid == cvm.vm_uuid
    assert client.schedule_delete(cvm, at=None).vm_uuid == cvm.vm_uuid
    assert client.refresh_instance_id(cvm, dry_run=True).status in {"unchanged", "skipped"}
    assert client.refresh_instance_ids([cvm], missing_only=False).scanned == 1
    assert client.list_available_os_images(cvm)
    assert client.get_cvm_user_config(cvm).ssh_authorized_keys is not None


def test_a_name_that_another_has_is_refused(client, make):
    one, other = make(client), make(client)

    with pytest.raises(CvmError, match=other):
        client.rename_cvm(one, other)

    assert client.get_cvm_info(one).name == one


def test_a_rename_that_may_have_arrived_is_not_sent_again(caller, broken, make):
    name = make(caller)
    broken.inject({"kind": "reset_after", "route": "PATCH /cvms/*/name"})

    with pytest.raises(TransportError) as caught:
        caller.rename_cvm(name, f"{name}-new")

    assert caught.value.sent
    assert len([r for r in broken.requests() if r["path"].endswith("/name")]) == 1


def test_key_services_and_apps_are_read(client, make):
    name = make(client)
    app_id = client.get_cvm_info(name).app_id

    kms = client.list_kms()
    assert client.get_kms(kms[0].id).id == kms[0].id
    assert client.list_kms_nodes()
    assert client.get_app(app_id).app_id == app_id
    assert client.get_app_filter_options().statuses
    (first,) = client.get_app_revisions(app_id)
    assert client.get_app_revision(app_id, first.revision_id).compose_hash == first.compose_hash


def test_a_commit_takes_what_a_key_service_on_a_chain_needs(client):
    provision = client.provision_cvm(name="chain-one", compose_file=COMPOSE)

    made = client.commit_cvm_provision(
        provision,
        contract_address="0x" + "1" * 40,
        deployer_address="0x" + "2" * 40,
        transaction_hash="0x" + "3" * 64,
    )

    assert made.name == "chain-one"


def test_networks_are_read_and_changed(client, make):
    cvm = client.get_cvm_info(make(client))

    config = client.get_network_config(cvm)
    assert config.kms_urls
    wanted = ["https://gateway.example.com"]
    assert client.update_network_config(cvm, gateway_urls=wanted).gateway_urls == tuple(wanted)
    assert client.get_network_config(cvm).kms_urls == config.kms_urls
    (found,) = client.diagnose_domains(cvm, domains=["app.example.com"])
    assert (found.domain, found.port) == ("app.example.com", 443)
    assert found.is_valid or found.problems


def test_what_goes_on_is_listed_and_can_be_cancelled(client, make):
    name = make(client)

    assert client.get_operation_status(name)["in_progress"] is False
    assert client.cancel_operation(name).cancelled is False


def test_what_is_on_a_chain_is_read(client, make):
    app_id = client.get_cvm_info(make(client)).app_id

    assert client.get_app_kms_info(app_id).is_onchain_kms is False
    assert client.get_device_allowlist(app_id).is_onchain_kms is False
    assert client.list_pending_updates(app_id) == []
    assert client.get_app_usage(app_id).total is not None
    assert client.inspect_kms("phala").endpoint
    assert client.check_app_cvms_allowed(app_id).is_onchain is False


def test_a_suspended_workspace_is_reported_before_anything_is_sent(fresh_cloud, monkeypatch):
    monkeypatch.setattr(cvms, "_ASIDE", LONG_PATIENCE)
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        client.check_workspace()
        fresh_cloud.suspend()
        fresh_cloud.clear_requests()

        with pytest.raises(WorkspaceSuspended, match=r"suspended.*nothing was sent.*Pay what") as e:
            client.check_workspace()

        assert {r["method"] for r in fresh_cloud.requests()} == {"GET"}
        assert isinstance(e.value, CvmError)
        with pytest.raises(ApiError, match="suspended"):  # what does not ask first is refused
            client.provision_cvm(name="one-more", compose_file=COMPOSE)


def test_a_workspace_that_cannot_be_read_is_no_reason_to_refuse(caller, broken):
    broken.inject({"kind": "status", "arg": 500, "route": "GET /workspaces", "times": 9})

    caller.check_workspace()
