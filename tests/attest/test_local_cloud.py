"""LocalCloud's evidence and each of its faults, by a verifier that shares no code with it."""

from dataclasses import replace

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import NotTrustedError

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"
NODES = {4: 3, 5: 21}  # a node whose machine makes quotes of that version
FAULTS = {
    "debug": "debug",
    "tcb_outdated": "tcb",
    "tcb_revoked": "tcb",
    "pck_revoked": "hardware",
    "collateral_expired": "hardware",
    "other_root": "hardware",
    "replayed_quote": "endpoint",
    "other_compose": "app",
    "other_image": "image",
    "dev_image": "image",
    "log_shortened": "log",
    "event_after_ready": "app",
    "duplicate_event": "log",
}


@pytest.fixture(scope="module")
def cloud_of_quotes(new_cloud):
    with new_cloud(seed="empty", speed=200) as running:
        yield running


@pytest.fixture(scope="module")
def client(cloud_of_quotes):
    with cvm.Client(cloud_of_quotes.api_key, cloud_of_quotes.url) as made:
        yield made


@pytest.fixture(scope="module")
def guests(client, cloud_of_quotes):
    """A CVM on a node for each version, and the policy that it passes, nonce included."""
    gateway = cloud_of_quotes.url.replace("/api/v1", "/gateway")
    made = {}
    for version, node in NODES.items():
        provision = client.provision_cvm(
            name=f"quoted-v{version}", compose_file=COMPOSE, teepod_id=node
        )
        created = client.commit_cvm_provision(provision)
        client.watch_cvm_state(created.id, target="running")
        record = client.get_cvm_info(created.id)
        image = cvm.learn_image(cvm.verify(client, record), name="its image")
        made[version] = (
            record,
            cvm.Policy(
                app=COMPOSE, images=[image], quote_url=f"{gateway}/{record.app_id}-8080/quote"
            ),
        )
    return made


@pytest.mark.parametrize("version", NODES)
def test_all_is_well_and_simulated(client, guests, version):
    record, policy = guests[version]
    verdict = cvm.verify(client, record, policy=policy)
    assert verdict.evidence.report.version == version
    assert (verdict.ok, verdict.word) == (True, "SIMULATED"), verdict
    assert verdict["endpoint"].outcome == "pass"


@pytest.mark.parametrize("version", NODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_check_and_no_other(client, cloud_of_quotes, guests, version, fault):
    record, policy = guests[version]
    cloud_of_quotes.inject({"kind": fault, "times": 100})
    try:
        verdict = cvm.verify(client, record, policy=policy, refresh=True)
        row = cvm.attestation_frame(
            client, record, policy=replace(policy, quote_url=None), refresh=True
        ).iloc[0]
    finally:
        cloud_of_quotes.clear_faults()
    assert [c.name for c in verdict if c.outcome == "fail"] == [FAULTS[fault]], verdict
    if fault != "replayed_quote":
        assert (row["verdict"], row[FAULTS[fault]]) == ("FAILED", "fail")
    assert cvm.verify(client, record, policy=policy, refresh=True).ok


def test_without_collateral_it_is_partial(client, cloud_of_quotes, guests):
    record, policy = guests[4]
    cloud_of_quotes.inject({"kind": "no_collateral", "times": 100})
    try:
        verdict = cvm.verify(client, record, policy=policy, refresh=True)
    finally:
        cloud_of_quotes.clear_faults()
    assert (verdict.word, verdict.ok, verdict["hardware"].outcome) == ("PARTIAL", False, "skip")


def test_a_certificate_binds_its_key(client, cloud_of_quotes, guests):
    record, policy = guests[5]
    gateway = cloud_of_quotes.url.replace("/api/v1", "/gateway")
    served = f"{gateway}/{record.app_id}-443s/certificate"
    verdict = cvm.verify(client, record, policy=replace(policy, quote_url=None, endpoint=served))
    assert verdict.ok, verdict


def test_a_forged_key_is_refused_and_nothing_is_sent(client, cloud_of_quotes, guests):
    record, _ = guests[4]
    cloud_of_quotes.inject({"kind": "env_key_forged", "times": 100})
    cloud_of_quotes.clear_requests()
    try:
        with pytest.raises(NotTrustedError):
            client.update_envs(record.id, env={"A": "secret value"})
    finally:
        cloud_of_quotes.clear_faults()
    assert {request["method"] for request in cloud_of_quotes.requests()} == {"GET"}


def test_no_root_is_taken_from_the_server(client, guests):
    record, policy = guests[4]
    verdict = cvm.verify(client, record, policy=replace(policy, root="intel"))
    assert verdict.summary.startswith("FAILED at hardware")
