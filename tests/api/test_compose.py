"""The compose hash and the encryption of environments, against dstack-sdk 0.5."""

import contextlib
import copy
import json

import dstack_sdk
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.compose import compose_hash, encrypt_env, parse_env_file
from cvm_notebook.api.errors import InvalidInput
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
    theirs = dstack_sdk.get_compose_hash(copy.deepcopy(app_compose), normalize)
    assert compose_hash(app_compose, normalize) == theirs


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
    theirs = dstack_sdk.encrypt_env_vars_sync([dstack_sdk.EnvVar(*i) for i in env.items()], pubkey)
    ours = encrypt_env(pubkey, env)
    assert decrypt(private, ours) == decrypt(private, theirs)
    assert len(ours) == len(theirs)
    expected = {"env": [{"key": k, "value": v} for k, v in env.items()]}
    assert json.loads(decrypt(private, ours)) == expected


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
        [("A", "SENTINEL"), ("A", "x")],
    ],
)
def test_names_and_values_that_no_environment_has_are_refused_unseen(env, keys):
    with pytest.raises(InvalidInput) as caught:
        encrypt_env(keys[1], env)
    assert "SENTINEL" not in str(caught.value)


# --- .env files ---------------------------------------------------------------------------------


def read(text):
    return {name: value.reveal() for name, value in parse_env_file(text).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n\n# only a comment", {}),
        ("A=1", {"A": "1"}),
        ("\ufeffA=1\r\nB=2\r", {"A": "1", "B": "2"}),
        ("export A = x y  ", {"A": "x y"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=  # none", {"A": ""}),
        ("A=x # told\nB=x#kept", {"A": "x", "B": "x#kept"}),
        ("A='a # \\n $B' # c", {"A": "a # \\n $B"}),
        ('A="a\\nb\\"\\\\c"', {"A": 'a\nb"\\c'}),
        ('A="line 1\nline 2"\nB=2', {"A": "line 1\nline 2", "B": "2"}),
        ("A='line 1\n=x'\nB=2", {"A": "line 1\n=x", "B": "2"}),
        ("A=a=b==", {"A": "a=b=="}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=$(rm -rf /)`id`${B}", {"A": "$(rm -rf /)`id`${B}"}),
        ("  A=it's\n", {"A": "it's"}),
    ],
)
def test_an_env_file_is_read_as_text_only(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SENTINEL", 1),
        ("A=1\n\nSENTINEL x=1", 3),
        ("A='SENTINEL", 1),
        ('A="SENTINEL\nB=1\n', 1),
        ("A='SENTINEL' more", 1),
        ("=SENTINEL", 1),
        ("B=1\n1A=SENTINEL", 2),
        ("A.B=SENTINEL", 1),
    ],
)
def test_a_line_that_is_none_is_named_but_its_value_is_not_shown(text, line):
    with pytest.raises(InvalidInput, match=rf"^line {line}:") as caught:
        parse_env_file(text)
    assert "SENTINEL" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_hangs_or_breaks_the_reader(text):
    with contextlib.suppress(InvalidInput):
        read(text)


def _quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@settings(deadline=None)
@given(ENV)
def test_quoted_values_come_back_as_they_were(env):
    text = "".join(f"{name}={_quoted(value)}\n" for name, value in env.items())
    expected = {k: v.replace("\r\n", "\n").replace("\r", "\n") for k, v in env.items()}
    assert read(text) == expected


def test_a_large_text_is_read_in_one_go():
    text = "A='" + "x" * 200_000 + "'\n" + "B=1\n" * 2000
    assert {name: len(value) for name, value in read(text).items()} == {"A": 200_000, "B": 1}
    with pytest.raises(InvalidInput):
        read('A="' + "\\" * 100_001)
