"""LocalCloud's evidence and each of its faults, by a verifier that shares no code with it."""

from dataclasses import replace

import pytest
from helpers import OWN_PORT

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
    with new_cloud(seed="empty", speed=200, balance="10000000") as running:
        yield running


@pytest.fixture(autouse=True)
def _no_fault_is_left(cloud_of_quotes):
    yield
    cloud_of_quotes.clear_faults()


@pytest.fixture(scope="module")
def client(cloud_of_quotes):
    with cvm.Client(cloud_of_quotes.api_key, cloud_of_quotes.url) as made:
        yield made


def started(client, name, **more):
    """The record of a CVM that runs, on an up-to-date machine by default."""
    asked = {"compose_file": COMPOSE, "teepod_id": 3, **more}
    provision = client.provision_cvm(name=name, **asked)
    created = client.commit_cvm_provision(provision)
    client.watch_cvm_state(created.id, target="running")
    return client.get_cvm_info(created.id)


def at(cloud, record, path):
    """The address of what a CVM itself answers."""
    return f"{cloud.url.replace('/api/v1', '/gateway')}/{record.app_id}-{path}"


@pytest.fixture(scope="module")
def guests(client, cloud_of_quotes):
    """A CVM on a node for each version, and the policy that it passes, nonce included."""
    made = {}
    for version, node in NODES.items():
        record = started(client, f"quoted-v{version}", teepod_id=node)
        image = cvm.learn_image(cvm.verify(client, record), name="its image")
        made[version] = (
            record,
            cvm.Policy(
                app=COMPOSE, images=[image], quote_url=at(cloud_of_quotes, record, "8080/quote")
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
    verdict = cvm.verify(client, record, policy=policy, refresh=True)
    row = cvm.attestation_frame(
        client, record, policy=replace(policy, quote_url=None), refresh=True
    ).iloc[0]
    cloud_of_quotes.clear_faults()
    assert [c.name for c in verdict if c.outcome == "fail"] == [FAULTS[fault]], verdict
    if fault != "replayed_quote":
        assert (row["verdict"], row[FAULTS[fault]]) == ("FAILED", "fail")
    assert cvm.verify(client, record, policy=policy, refresh=True).ok


def test_without_collateral_it_is_partial(client, cloud_of_quotes, guests):
    record, policy = guests[4]
    cloud_of_quotes.inject({"kind": "no_collateral", "times": 100})
    verdict = cvm.verify(client, record, policy=policy, refresh=True)
    assert (verdict.word, verdict.ok, verdict["hardware"].outcome) == ("PARTIAL", False, "skip")


def test_a_certificate_binds_its_key(client, cloud_of_quotes, guests):
    record, policy = guests[5]
    served = at(cloud_of_quotes, record, "443s/certificate")
    verdict = cvm.verify(client, record, policy=replace(policy, quote_url=None, endpoint=served))
    assert verdict.ok, verdict


def test_a_forged_key_is_refused_and_nothing_is_sent(client, cloud_of_quotes, guests):
    record, _ = guests[4]
    cloud_of_quotes.inject({"kind": "env_key_forged", "times": 100})
    cloud_of_quotes.clear_requests()
    with pytest.raises(NotTrustedError):
        client.update_envs(record.id, env={"A": "secret value"})
    assert {request["method"] for request in cloud_of_quotes.requests()} == {"GET"}


def test_no_root_is_taken_from_the_server(client, guests):
    record, policy = guests[4]
    verdict = cvm.verify(client, record, policy=replace(policy, root="intel"))
    assert verdict.summary.startswith("FAILED at hardware")


# --- images, forms of the log, GPUs ------------------------------------------------------------


def test_its_images_are_known_where_its_root_is_trusted(client, cloud_of_quotes, guests):
    record, _ = guests[4]
    fresh = cvm.Policy(quote_url=at(cloud_of_quotes, record, "8080/quote"))
    served, computed = (cvm.verify(client, record, policy=p)["image"] for p in (None, fresh))
    assert (served.outcome, computed.outcome) == ("pass", "pass")
    assert served.reason.startswith("dstack-0.6.0, by MRTD, RTMR1 and RTMR2")
    assert computed.reason.startswith("dstack-0.6.0, recomputed from its metadata")
    assert "of which nothing was ever built" in served.reason
    names = [image.name for image in cvm.known_images(dev=None)]
    assert "dstack-0.6.0" not in names, "what was never built is not listed"


def test_a_policy_for_the_service_can_be_tried_here(client):
    record = started(client, "of-0-5-9", image="dstack-0.5.9")
    for name, outcome in (("dstack-0.5.9", "pass"), ("dstack-0.5.8", "fail")):
        verdict = cvm.verify(client, record, policy=cvm.Policy(app=COMPOSE, images=[name]))
        assert (verdict["image"].outcome, verdict.word) == (
            outcome,
            "SIMULATED" if outcome == "pass" else "FAILED",
        )


def test_a_development_image_is_refused_unless_it_is_allowed(client):
    record = started(client, "of-dev", image="dstack-dev-0.6.0")
    refused = cvm.verify(client, record)["image"]
    assert (refused.outcome, "development image" in refused.reason) == ("fail", True)
    allowed = cvm.verify(client, record, policy=cvm.Policy(dev_images=True))["image"]
    assert allowed.outcome == "pass"


@pytest.mark.parametrize("fault", ["dev_image", "other_image"])
def test_another_image_is_not_taken_for_a_known_one(client, cloud_of_quotes, guests, fault):
    record, _ = guests[5]
    cloud_of_quotes.inject({"kind": fault})
    check = cvm.verify(client, record)["image"]
    assert check.outcome == {"dev_image": "fail", "other_image": "skip"}[fault], check


@pytest.mark.parametrize(
    ("form", "version"), [({"image": "dstack-0.5.9"}, None), ({}, None), ({}, 2)]
)
def test_each_form_of_a_log_adds_up(client, cloud_of_quotes, form, version):
    compose = {"docker_compose_file": COMPOSE} | ({"event_log_version": 2} if version else {})
    name = f"logs-{'legacy' if form else 'lite'}-{version or 1}"
    record = started(client, name, compose_file=compose, **form)
    url = at(cloud_of_quotes, record, "8080/quote")
    whole = cvm.verify(client, record, policy=cvm.Policy(app=COMPOSE))
    fresh = cvm.verify(client, record, policy=cvm.Policy(app=COMPOSE, quote_url=url))
    bound = cvm.verify(
        client,
        record,
        policy=cvm.Policy(app=COMPOSE, endpoint=at(cloud_of_quotes, record, "443s/certificate")),
    )
    for verdict in (whole, fresh, bound):
        assert verdict.ok, verdict
        runtime = [event for event in verdict.evidence.log if event.register == 3]
        assert {event.version for event in runtime} == {version}
    stripped = [
        all(event.digest is None for event in verdict.evidence.log if event.register == 3)
        for verdict in (whole, fresh, bound)
    ]
    assert stripped == ([False] * 3 if form else [False, True, True])


@pytest.mark.parametrize("node", [27, 26])
def test_gpus_are_attested_or_missed_on_quotes_of_both_versions(client, cloud_of_quotes, node):
    more = {"instance_type": "h100.small", "image": "dstack-nvidia-0.6.0", "teepod_id": node}
    record = started(client, f"has-gpus-{node}", **more)
    policy = cvm.Policy(app=COMPOSE, gpus=1)
    good = cvm.verify(client, record, policy=policy)
    assert good.ok, good
    assert good.evidence.report.version == {27: 4, 26: 5}[node]
    cloud_of_quotes.inject({"kind": "gpu_missing"})
    verdict = cvm.verify(client, record, policy=policy)
    assert [check.name for check in verdict if check.outcome == "fail"] == ["gpu"]


@pytest.mark.parametrize("service", ["kms_guest_agent_info", "gateway_guest_agent_info"])
def test_what_the_cvms_rely_on_can_be_verified_too(client, guests, service):
    record, _ = guests[4]
    shown = client.get_app_attestations(record.app_id)[service]
    verdict = cvm.verify(client, record, evidence=shown, policy=cvm.Policy(require={"image"}))
    assert (verdict.ok, verdict.word) == (True, "SIMULATED"), verdict
    assert verdict["image"].reason.startswith("dstack-0.6.0, recomputed from its metadata")


def test_one_cloud_after_another_at_one_address_is_judged_by_its_own_collateral(new_cloud):
    for _ in range(2):
        with (
            new_cloud(seed="empty", speed=200, port=OWN_PORT) as cloud,
            cvm.Client(cloud.api_key, cloud.url) as client,
        ):
            assert cvm.verify(client, started(client, "alone")).word == "SIMULATED"
