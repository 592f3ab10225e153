"""The compose hash and the encryption of environments, against dstack-sdk 0.5."""

import copy
import json

import dstack_sdk
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.compose.hashing import compose_hash, encrypt_env
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
TREE = st.recursive(
    LEAF, lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT, x, max_size=3), max_leaves=8
)
COMPOSE = st.fixed_dictionaries(
    {"runner": st.sampled_from(["docker-compose", "bash", "other"]) | st.integers()},
    optional={
        "name": TEXT,
        "docker_compose_file": TEXT | st.none(),
        "bash_script": TEXT | st.none(),
        "pre_launch_script": TEXT | st.none(),
        "docker_config": st.fixed_dictionaries(
            {}, optional={name: TEXT | st.none() for name in ("registry", "username", "token_key")}
        ),
        "allowed_envs": st.lists(TEXT, max_size=3),
        "features": st.lists(TEXT, max_size=3),
        "manifest_version": st.integers(0, 3),
        "salt": TREE,
        "_private": TREE,
        "zusätzlich": TREE,
        "number": st.floats(),
    },
)


@settings(deadline=None)
@given(COMPOSE, st.booleans())
def test_the_hash_is_dstack_sdk_s(app_compose, normalize):
    # Theirs takes members out of what it is given.
    reference = dstack_sdk.get_compose_hash(copy.deepcopy(app_compose), normalize)
    assert compose_hash(app_compose, normalize) == reference


def test_the_hash_leaves_what_it_is_given_as_it_is():
    app_compose = {
        "runner": "bash",
        "docker_config": {"registry": None},
        "docker_compose_file": "x",
    }
    before = copy.deepcopy(app_compose)
    compose_hash(app_compose, normalize=True)
    assert app_compose == before


def test_the_hash_of_a_known_compose_stays():
    known = {
        "manifest_version": 2,
        "name": "",
        "runner": "docker-compose",
        "docker_compose_file": "services:\n  app:\n    image: nginx:latest",
    }
    assert compose_hash(known) == dstack_sdk.get_compose_hash(dict(known))
    assert compose_hash(dict(reversed(known.items()))) == compose_hash(known)


@pytest.mark.parametrize("app_compose", [{}, {"runner": None}])
def test_a_compose_without_a_runner_is_refused(app_compose):
    with pytest.raises(InvalidInput, match="docker-compose"):
        compose_hash(app_compose)


# --- encryption ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys():
    private = X25519PrivateKey.generate()
    return private, private.public_key().public_bytes_raw().hex()


def decrypt(private, sealed):
    """Read as a CVM does: public key, nonce, ciphertext and tag."""
    data = bytes.fromhex(sealed)
    shared = private.exchange(X25519PublicKey.from_public_bytes(data[:32]))
    return AESGCM(shared).decrypt(data[32:44], data[44:], None)


ENV = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True),
    st.text(max_size=30).filter(lambda s: "\0" not in s),
    max_size=5,
)


@settings(deadline=None)
@given(ENV)
def test_what_is_encrypted_is_byte_for_byte_dstack_sdk_s(env):
    private = X25519PrivateKey.generate()
    pubkey = private.public_key().public_bytes_raw().hex()
    reference = dstack_sdk.encrypt_env_vars_sync(
        [dstack_sdk.EnvVar(*i) for i in env.items()], pubkey
    )
    encrypted = encrypt_env(pubkey, env)
    assert decrypt(private, encrypted) == decrypt(private, reference)
    assert len(encrypted) == len(reference)
    expected = {"env": [{"key": k, "value": v} for k, v in env.items()]}
    assert json.loads(decrypt(private, encrypted)) == expected


def test_secrets_pairs_and_a_prefixed_key_are_taken(keys):
    private, pubkey = keys
    plain = b'{"env": [{"key": "A", "value": "1"}, {"key": "B", "value": "2"}]}'
    for env in (
        {"A": Secret("1"), "B": "2"},
        [("A", "1"), ("B", Secret("2"))],
        iter([("A", "1"), ("B", "2")]),
    ):
        assert decrypt(private, encrypt_env(" 0x" + pubkey.upper(), env)) == plain


def test_each_encryption_is_another(keys):
    assert encrypt_env(keys[1], {"A": "1"}) != encrypt_env(keys[1], {"A": "1"})


@pytest.mark.parametrize(
    ("pubkey", "problem"),
    [
        ("", "64 hex digits"),
        ("ab" * 31, "64 hex digits"),
        ("zz" * 32, "64 hex digits"),
        ("0x0x" + "ab" * 31, "64 hex digits"),
        (b"ab" * 32, "bytes, not str"),
        (None, "NoneType, not str"),
        ("00" * 32, "not a safe key"),
    ],
)
def test_a_key_that_is_none_or_unsafe_is_refused(pubkey, problem):
    with pytest.raises(InvalidInput, match=problem):
        encrypt_env(pubkey, {"A": "1"})


@pytest.mark.parametrize(
    "env",
    [
        {"A=B": "SENTINEL"},
        {"A\nB": "SENTINEL"},
        {"1A": "SENTINEL"},
        {"": "SENTINEL"},
        {5: "SENTINEL"},
        {"A": 5},
        {"A": None},
        {"A": b"SENTINEL"},
        {"A": "SENTINEL\0"},
        {"A": "SENTINEL\ud800"},
        {"A": "SENTINEL" * 16_385},
        {"A": "\u00e9SENTINEL" * 13_108},
        {"A" * 256: "SENTINEL"},
        {f"A{n}": "SENTINEL" for n in range(1025)},
        {f"A{n}": "SENTINEL" * 16_384 for n in range(9)},
        {"A=SENTINEL": "SENTINEL"},
        [("A", "SENTINEL"), ("A", "x")],
    ],
)
def test_names_and_values_that_no_environment_has_are_refused_unseen(env, keys):
    with pytest.raises(InvalidInput) as caught:
        encrypt_env(keys[1], env)
    assert "SENTINEL" not in str(caught.value)


def test_as_much_as_a_cvm_takes_is_taken(keys):
    whole = [{f"A{n}": "x" for n in range(1024)}, {"A" * 255: "x" * (128 << 10)}]
    for env in whole:
        sealed = json.loads(decrypt(keys[0], encrypt_env(keys[1], env)))
        assert {pair["key"]: pair["value"] for pair in sealed["env"]} == env
