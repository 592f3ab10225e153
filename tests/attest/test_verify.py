"""cvm.verify and the frame, by a real client over real HTTP: evidence, collateral, fresh quotes."""

import json
from datetime import timedelta

import pytest
from issuer import COMPOSE, DEV, LITE, NOW, PKI, Cvm, Pki
from service import Service, TlsServer
from test_checks import policy

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import CredentialsError, InvalidInput, NotFoundError
from cvm_notebook.attest.collateral import CACHE, CollateralCache, CollateralSource, ends_at
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import CHECK_NAMES

FLEET = {"web-1": Cvm(), "web-2": Cvm(version=5), "bad-1": Cvm(image=DEV)}


@pytest.fixture
def service():
    CACHE.clear()
    made = Service(FLEET)
    yield made
    made.close()
    CACHE.clear()


@pytest.fixture
def client(service):
    with cvm.Client("phak_test", service.url) as made:
        yield made


def test_a_cvm_is_verified_by_its_name(service, client):
    verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW)
    assert (verdict.name, verdict.cvm_id, verdict.word, verdict.ok) == (
        "web-1", "cvm_web-1", "SIMULATED", True,
    )  # fmt: skip
    assert verdict.until == NOW + timedelta(29)
    assert service.count("/apps/") == 1
    assert service.count("/attestation") == 2  # of the app, and collateral
    assert not [path for path in service.asked if "verify" in path]


def test_the_cvms_own_answer_is_asked_where_the_apps_has_nothing(service, client):
    service.missing = {"/apps/"}
    assert cvm.verify(client, "web-1", policy=policy(), at=NOW).ok
    assert service.count("/cvms/web-1") + service.count("/cvms/cvm_web-1/attestation") == 2


def test_what_cannot_be_had_fails_and_says_why(service, client):
    service.missing = {"/apps/", "/attestation"}
    verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW)
    assert verdict.summary.startswith("FAILED at hardware: there is no evidence: it could not be")
    with pytest.raises(NotFoundError):
        cvm.verify(client, "nobody")


def test_collateral_is_fetched_once_for_a_kind_of_machine(service, client):
    for name in FLEET:
        cvm.verify(client, name, policy=policy(), at=NOW)
    assert service.count("collateral") == 1
    service.collateral = PKI.collateral(NOW + timedelta(40))
    assert cvm.verify(client, "web-1", policy=policy(), at=NOW + timedelta(40)).ok  # has ended
    assert service.count("collateral") == 2


def test_collateral_is_had_again_when_asked(service, client):
    assert cvm.verify(client, "web-1", policy=policy(), at=NOW).ok
    service.collateral = PKI.collateral(NOW, revoked=(109,))
    assert cvm.verify(client, "web-1", policy=policy(), at=NOW).ok
    revoked = cvm.verify(client, "web-1", policy=policy(), at=NOW, refresh=True)
    assert revoked.summary.startswith("FAILED at hardware")
    assert cvm.verify(client, "web-2", policy=policy(), at=NOW).failed_at.name == "hardware"
    assert service.count("collateral") == 2


def test_without_collateral_the_verdict_is_partial_and_asks_are_few(service, client):
    service.missing = {"collateral"}
    frame = cvm.attestation_frame(client, policy=policy(), progress=False)
    assert set(frame["hardware"]) == {"skip"}
    assert service.count("collateral") <= 3
    verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW)
    assert (verdict.word, verdict.ok) == ("PARTIAL", False)
    assert "not found" in verdict["hardware"].reason


def test_collateral_is_had_from_a_pccs_that_is_named(service, client):
    verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW, pccs=service.origin)
    assert verdict.ok, verdict
    assert verdict.evidence.collateral == PKI.collateral()
    assert service.count("/attestations/collateral") == 0
    assert {"fmspc=5E5700000001", "ca=platform"} <= {
        part for path in service.asked for part in path.replace("&", "?").split("?")
    }
    with pytest.raises(InvalidInput):
        cvm.verify(client, "web-1", pccs="http://example.com")


def test_collateral_of_another_kind_of_machine_is_not_kept_for_this_one(service, client):
    service.collateral = service.collateral | {
        "tcb_info": service.collateral["tcb_info"].replace("5E5700000001", "5E5700000002")
    }
    for _ in range(2):
        verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW)
        assert verdict.summary.startswith("FAILED at hardware")
    assert service.count("collateral") == 2


def test_collateral_that_has_no_end_is_not_kept():
    cache, collateral = CollateralCache(), PKI.collateral()
    source = CollateralSource(None, cache=cache)
    assert ends_at(collateral) == NOW + timedelta(29)
    for name in ("tcb_info", "qe_identity", "pck_crl", "root_ca_crl"):
        assert ends_at(collateral | {name: "{}"}) is None
    given = Evidence.of(Cvm().evidence())
    assert source.complete(given, NOW) is given
    assert source.complete(Evidence(quote="00"), NOW).collateral is None


def test_evidence_that_somebody_has_is_judged_without_asking_for_it(service, client):
    verdict = cvm.verify(client, "web-1", policy=policy(), at=NOW, evidence=Cvm().evidence())
    assert verdict.ok
    assert service.count("attestation") == 0


# --- fresh quotes ------------------------------------------------------------------------------


def test_a_sidecar_quotes_a_new_nonce_each_time(service, client):
    by = policy(quote_url=f"{service.origin}/quote")
    verdicts = [cvm.verify(client, "web-1", policy=by, at=NOW) for _ in range(2)]
    assert [verdict["endpoint"].outcome for verdict in verdicts] == ["pass", "pass"]
    assert all(verdict.ok for verdict in verdicts)
    assert verdicts[0].evidence.nonce != verdicts[1].evidence.nonce


def test_a_quote_that_was_made_before_is_not_fresh(service, client):
    service.cvms = {"web-1": Replaying()}
    by = policy(quote_url=f"{service.origin}/quote?")
    verdict = cvm.verify(client, "web-1", policy=by, at=NOW)
    assert verdict.summary.startswith("FAILED at endpoint")


class Replaying(Cvm):
    def having(self, **_):
        return self


def test_a_sidecar_that_fails_is_named(service, client):
    service.missing = {"/quote"}
    by = policy(quote_url=f"{service.origin}/quote")
    verdict = cvm.verify(client, "web-1", policy=by, at=NOW)
    assert "no quote was had from" in verdict.summary
    assert verdict["hardware"].outcome == "pass"


def test_the_key_of_a_tls_server_is_the_quotes(client, tmp_path):
    server = TlsServer(tmp_path)
    try:
        verdict = cvm.verify(client, "web-1", policy=policy(endpoint=server.url), at=NOW)
        assert verdict["endpoint"].outcome == "pass", verdict
        assert verdict.ok
        verdict.bundle(tmp_path / "x.json")
        assert cvm.verify_bundle(tmp_path / "x.json").ok
    finally:
        server.close()


def test_a_tls_server_with_another_key_than_the_quotes_fails(client, tmp_path):
    server = TlsServer(tmp_path, Cvm(data=b"another key"), served="stranger")
    try:
        verdict = cvm.verify(client, "web-1", policy=policy(endpoint=server.url), at=NOW)
        assert verdict.summary.startswith("FAILED at endpoint: the key that the endpoint serves")
    finally:
        server.close()


def test_a_certificate_that_is_only_shown_is_taken_under_a_development_root_alone(client, service):
    shown = f"{service.origin}/certificate"
    by = policy(endpoint=shown, root="intel")
    verdict = cvm.verify(client, "web-1", policy=by, at=NOW)
    assert verdict.ok is False
    assert "without TLS" in verdict.evidence.error
    assert service.count("/certificate") == 0


def test_no_tls_server_fails(client, deaf_port, service):
    for url in (service.origin.replace("http", "https"), "https://127.0.0.1:1"):
        verdict = cvm.verify(client, "web-1", policy=policy(endpoint=url), at=NOW)
        assert "no certificate with a quote was had" in verdict.summary


# --- roots -------------------------------------------------------------------------------------


@pytest.fixture
def profiles(tmp_path, monkeypatch, service):
    """The file of profiles, with one that names a root."""
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    for name in ("PHALA_CLOUD_API_KEY", "PHALA_CLOUD_API_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "root.pem").write_text(PKI.root_pem)
    profile = {"token": "phak_x", "api_prefix": service.url, "root_of_trust": "root.pem"}
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"current_profile": "dev", "profiles": {"dev": profile}}))
    path.chmod(0o600)
    return tmp_path


def test_a_profile_may_name_a_root(profiles):
    with cvm.Client(profile="dev") as client:
        assert cvm.verify(client, "web-1", policy=policy(root=None), at=NOW).word == "SIMULATED"
        intel = cvm.verify(client, "web-1", policy=policy(root="intel"), at=NOW)
        assert intel.summary.startswith("FAILED at hardware")
        (profiles / "root.pem").unlink()
        with pytest.raises(InvalidInput, match=r"root\.pem cannot be read"):
            cvm.verify(client, "web-1")


def test_without_a_root_on_disk_the_root_is_intels(client):
    verdict = cvm.verify(client, "web-1", policy=policy(root=None), at=NOW)
    assert verdict.policy.root == "intel"
    assert verdict.summary.startswith("FAILED at hardware")


def test_another_root_than_the_profiles_fails(profiles, service):
    (profiles / "root.pem").write_text(Pki("Other Root").root_pem)
    with cvm.Client(profile="dev") as client:
        verdict = cvm.verify(client, "web-1", policy=policy(root=None), at=NOW)
    assert verdict.summary.startswith("FAILED at hardware")


def test_wrong_arguments_are_refused_before_anything_is_asked(service, client):
    for wrong in (
        {"policy": {}},
        {"at": "now"},
        {"at": NOW.replace(tzinfo=None)},
        {"at": NOW - timedelta(90 * 365)},
        {"evidence": 3},
    ):
        with pytest.raises(InvalidInput):
            cvm.verify(client, "web-1", **wrong)
    assert service.asked == []
    with pytest.raises(CredentialsError):
        cvm.Client(profile="dev", api_key="x")


# --- the frame ---------------------------------------------------------------------------------


@pytest.fixture
def now(service):
    """Collateral of today: a frame judges by the clock."""
    from datetime import UTC, datetime

    service.collateral = PKI.collateral(datetime.now(UTC).replace(microsecond=0))


def test_a_frame_has_a_verdict_for_each_cvm(service, client, now):
    frame = cvm.attestation_frame(client, policy=policy(), progress=False)
    assert frame["verdict"].tolist() == ["SIMULATED", "SIMULATED", "FAILED"]
    assert frame["ok"].tolist() == [True, True, False]
    assert frame["image"].tolist() == ["pass", "pass", "fail"]
    assert set(CHECK_NAMES) <= set(frame.columns)
    assert frame["repeatable_until"].notna().all()
    assert (frame["verdict_age"] >= timedelta(0)).all()
    assert "FAILED at image" in frame.attrs["cvm"]["summary"]["cvm_bad-1"]
    assert frame["checked"].tolist() == ["hash_matched"] * 3
    assert service.count("collateral") == 1
    assert service.count("/apps/") == 2  # once for each app
    assert service.count("/attestation") == 2 + 1


def test_what_is_expected_of_each_is_its_app(service, client, now):
    expected = {"web-1": COMPOSE, "web-2": COMPOSE.replace("nginx", "caddy")}
    by = policy(app=None)
    frame = cvm.attestation_frame(client, policy=by, expected=expected, progress=False)
    assert frame["app"].tolist() == ["pass", "fail", "skip"]


def test_a_frame_without_a_policy_has_the_same_columns_and_no_verdict(service, client):
    plain = cvm.attestation_frame(client, progress=False)
    assert plain["verdict"].isna().all()
    assert plain["hardware"].isna().all()
    assert service.count("collateral") == service.count("/apps/") == 0
    judged = cvm.attestation_frame(client, "web-1", policy=policy())
    assert (plain.dtypes == judged.dtypes).all()


def test_a_policy_of_one_endpoint_is_not_for_many(client, service):
    for bound in ({"nonce": b"1"}, {"endpoint": "https://a"}, {"quote_url": "https://a"}):
        with pytest.raises(InvalidInput, match="each CVM has its own"):
            cvm.attestation_frame(client, policy=policy(**bound))
    assert service.asked == []


def test_a_lite_image_is_known_by_its_registers_where_no_metadata_is_shown(service, client):
    service.cvms = {"web-1": Cvm(image=LITE)}
    assert cvm.verify(client, "web-1", policy=policy(), at=NOW)["image"].outcome == "pass"
