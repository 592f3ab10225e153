"""The key that encrypts environment variables: signed by the key service, or nothing is sent."""

import pytest
from Crypto.Hash import keccak
from hypothesis import given
from hypothesis import strategies as st

import cvm_notebook as cvm
from cvm_notebook.api.compose.env_keys import EnvKeyAnswer, check_env_key
from cvm_notebook.api.compose.keccak import keccak256
from cvm_notebook.api.errors.tree import NotTrustedError
from cvm_notebook.local.core import keys

SECRET, APP, AT = b"s" * 32, "a1" * 20, 1_800_000_000
SIGNER = keys.signer_public_key(SECRET)
KEY = keys.env_public_key(SECRET, APP)
OLD = EnvKeyAnswer(KEY, keys.env_signature(SECRET, APP))
TIMED = EnvKeyAnswer(KEY, "00" * 65, keys.env_signature(SECRET, APP, AT), AT)
COMPOSE = "services:\n  web:\n    image: nginx:1.29\n    environment: [A]\n"


@given(st.binary(max_size=300))
def test_keccak_is_ethereums(data):
    assert keccak256(data) == keccak.new(digest_bits=256, data=data).digest()


@pytest.mark.parametrize("answer", [OLD, TIMED, OLD._replace(public_key="0x" + KEY.upper())])
@pytest.mark.parametrize("app", [APP, f"0x{APP}", f"app_{APP}"])
def test_a_signed_key_is_trusted(answer, app):
    assert check_env_key(answer, app, SIGNER, KEY, AT + 60) == ""


@pytest.mark.parametrize(
    ("answer", "changes", "why"),
    [
        (OLD._replace(public_key="11" * 32), {}, "another key"),
        (OLD._replace(public_key="11" * 32), {"expected": None}, "has not signed"),
        (OLD._replace(public_key=None), {}, "gives no key"),
        (OLD._replace(public_key="no hex"), {}, "gives no key"),
        (OLD._replace(signature=None), {}, "has not signed"),
        (OLD._replace(signature="00" * 65), {}, "has not signed"),
        (OLD._replace(signature="ff" * 65), {}, "has not signed"),
        (OLD, {"app_id": "b2" * 20}, "has not signed"),
        (OLD, {"app_id": "x"}, "gives no key"),
        (OLD, {"signer": keys.signer_public_key(b"t" * 32)}, "has not signed"),
        (OLD, {"signer": None}, "no public key"),
        (OLD, {"signer": "02" + "ff" * 32}, "has not signed"),
        (TIMED, {"now": AT + 7200}, "another time"),
        (TIMED, {"now": AT - 7200}, "another time"),
        (TIMED._replace(timestamp=AT + 1), {}, "has not signed"),
        (TIMED._replace(timestamp=None), {}, "has not signed"),
        (TIMED._replace(timestamp=-1), {"now": 0}, "has not signed"),
    ],
)
def test_a_key_that_is_not_signed_is_not_trusted(answer, changes, why):
    given_ = {"app_id": APP, "signer": SIGNER, "expected": KEY, "now": AT} | changes
    assert why in check_env_key(answer, **given_)


@pytest.fixture
def forged(fresh_cloud):
    """A cloud whose answers about keys can be made false, and a client of it."""
    with cvm.Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        yield fresh_cloud, client


def made(client):
    provision = client.provision_cvm(
        name="sealed", compose_file={"docker_compose_file": COMPOSE, "allowed_envs": ["A"]},
        env_keys=["A"],
    )  # fmt: skip
    return provision, client.commit_cvm_provision(provision)


def test_variables_are_sealed_for_a_signed_key(forged):
    _, client = forged
    provision, created = made(client)
    key = client.get_checked_env_key(provision.app_id, expected=provision.app_env_encrypt_pubkey)
    assert key == provision.app_env_encrypt_pubkey
    client.watch_cvm_state(created.id, target="running")
    assert client.update_envs(created.id, env={"A": "1"}).status == "in_progress"


def test_nothing_is_sent_for_a_key_that_is_not_signed(forged):
    cloud, client = forged
    provision, created = made(client)
    client.watch_cvm_state(created.id, target="running")
    other = client.provision_cvm(name="other", compose_file=COMPOSE)
    cloud.clear_requests()
    with pytest.raises(NotTrustedError) as caught:
        client.get_checked_env_key(provision.app_id, expected=other.app_env_encrypt_pubkey)
    assert caught.value.sent is False
    with pytest.raises(NotTrustedError):
        client.get_checked_env_key(provision.app_id, signer=SIGNER)
    with pytest.raises(NotTrustedError):
        client.get_checked_env_key(provision.app_id, kms="nobody")
    with pytest.raises(NotTrustedError):
        client.get_checked_env_key(None)
    assert {request["method"] for request in cloud.requests()} == {"GET"}


def test_an_update_is_refused_before_it_is_sent(forged):
    cloud, client = forged
    _, created = made(client)
    client.watch_cvm_state(created.id, target="running")
    cloud.inject({"kind": "status", "arg": 404, "route": "GET /kms/*/pubkey/*"})
    cloud.clear_requests()
    with pytest.raises(NotTrustedError, match="nothing was encrypted or sent"):
        client.update_envs(created.id, env={"A": "secret value"})
    assert {request["method"] for request in cloud.requests()} == {"GET"}
