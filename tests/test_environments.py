"""The environment of a CVM: what is given arrives in the guest, or is refused before it is sent."""

import asyncio

import pytest
from dstack_sdk import EnvVar, encrypt_env_vars

import cvm_notebook as cvm
from cvm_notebook.api.compose.hashing import check_env_value
from cvm_notebook.api.errors.tree import ApiError, InvalidInput

COMPOSE = "services:\n  web:\n    image: nginx:1\n"
SENTINEL = "sentinel-7d01-value"
ENV = {"DB_PASSWORD": SENTINEL, "TOKEN": SENTINEL}
KIB = 1024


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=400) as running:
        yield running


@pytest.fixture
def client(cloud):
    cloud.clear_requests()
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture
def name(request):
    return "env-" + str(abs(hash(request.node.name)) % 10**12)


def guest_says(client, made):
    """Return what the CVM's boot says of its environment."""
    client.watch_cvm_state(made, target="running")
    (line,) = [
        line.text
        for line in client.get_cvm_logs(made.id, channel="serial")
        if "environment: " in line.text
    ]
    return line.partition("environment: ")[2]


def test_what_is_named_in_env_keys_arrives(client, name):
    offer = client.provision_cvm(name=name, compose_file=COMPOSE, env_keys=list(ENV))
    assert offer.allowed_envs == tuple(ENV)
    sealed = cvm.encrypt_env(offer.app_env_encrypt_pubkey, ENV)
    made = client.commit_cvm_provision(offer, encrypted_env=sealed, env_keys=list(ENV))
    assert guest_says(client, made) == "DB_PASSWORD, TOKEN"
    assert client.get_cvm_compose_file(made.id)["allowed_envs"] == list(ENV)


def test_names_of_the_app_compose_and_of_env_keys_are_joined(client, name):
    compose = {"docker_compose_file": COMPOSE, "allowed_envs": ["A", "TOKEN"]}
    offer = client.provision_cvm(name=name, compose_file=compose, env_keys=list(ENV))
    assert offer.allowed_envs == ("A", "TOKEN", "DB_PASSWORD")
    assert compose["allowed_envs"] == ["A", "TOKEN"]


def test_a_guest_drops_what_its_app_compose_does_not_name(client, name):
    compose = {"name": "", "docker_compose_file": COMPOSE, "allowed_envs": ["TOKEN"]}
    body = {"name": name, "compose_file": compose, "env_keys": list(ENV)}
    offer = client.post("/cvms/provision", body)
    sealed = cvm.encrypt_env(offer["app_env_encrypt_pubkey"], ENV)
    pair = {"app_id": offer["app_id"], "compose_hash": offer["compose_hash"]}
    made = client.commit_cvm_provision(pair, encrypted_env=sealed, env_keys=list(ENV))
    assert guest_says(client, made) == ("TOKEN; dropped, as allowed_envs lacks them: DB_PASSWORD")


def test_a_name_that_was_not_provisioned_is_refused_before_it_is_sent(client, cloud, name):
    offer = client.provision_cvm(name=name, compose_file=COMPOSE, env_keys=["TOKEN"])
    sealed = cvm.encrypt_env(offer.app_env_encrypt_pubkey, ENV)
    with pytest.raises(InvalidInput, match="DB_PASSWORD: not provisioned"):
        client.commit_cvm_provision(offer, encrypted_env=sealed, env_keys=list(ENV))
    assert [r["method"] for r in cloud.requests()] == ["POST"]


def test_an_update_of_the_environment_brings_its_names_along(client, name):
    made = client.commit_cvm_provision(client.provision_cvm(name=name, compose_file=COMPOSE))
    client.watch_cvm_state(made, target="running")
    client.update_envs(made, env=ENV)
    assert guest_says(client, made) == "DB_PASSWORD, TOKEN"


TOO_MUCH = {
    "value": {"A": SENTINEL + "x" * (128 * KIB - len(SENTINEL) + 1)},
    "bytes": {"A": SENTINEL + "\u00e9" * (64 * KIB)},
    "name": {"A" * 256: SENTINEL},
    "count": {f"A{n}": SENTINEL for n in range(1025)},
    "all": {f"A{n}": SENTINEL * 5 * KIB for n in range(11)},
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_more_than_a_cvm_takes_is_refused_by_the_client_and_by_localcloud(client, cloud, kind):
    env = TOO_MUCH[kind]
    name = f"much-{kind}"
    allowed = {"docker_compose_file": COMPOSE, "name": "", "allowed_envs": list(env)}
    offer = client.post("/cvms/provision", {"name": name, "compose_file": allowed})
    cloud.clear_requests()
    with pytest.raises(InvalidInput) as refused:
        cvm.encrypt_env(offer["app_env_encrypt_pubkey"], env)
    assert SENTINEL not in str(refused.value)
    if kind in {"name", "count"}:
        with pytest.raises(InvalidInput):
            client.provision_cvm(name=name, compose_file=COMPOSE, env_keys=list(env))
    assert cloud.requests() == []
    pairs = [EnvVar(key=key, value=value) for key, value in env.items()]
    sealed = asyncio.run(encrypt_env_vars(pairs, offer["app_env_encrypt_pubkey"]))
    body = {"app_id": offer["app_id"], "compose_hash": offer["compose_hash"]}
    with pytest.raises(ApiError) as answered:
        client.post("/cvms", {**body, "encrypted_env": sealed})
    assert answered.value.status == 422
    assert SENTINEL not in str(answered.value)


def test_as_much_as_a_cvm_takes_is_taken(client, name):
    env = {f"A{n}": "x" * 128 * KIB for n in range(7)} | {f"B{n}": "" for n in range(1017)}
    env["A" * 255] = env.pop("B0")
    offer = client.provision_cvm(name=name, compose_file=COMPOSE, env_keys=list(env))
    sealed = cvm.encrypt_env(offer.app_env_encrypt_pubkey, env)
    made = client.commit_cvm_provision(offer, encrypted_env=sealed)
    client.watch_cvm_state(made, target="running")


def test_half_a_character_and_a_nul_are_no_value():
    for value in ("a\ud800", "a\0", cvm.Secret("a\ud800")):
        with pytest.raises(InvalidInput, match="its value holds"):
            check_env_value("A", value)
