"""The keys LocalCloud hands out are those the official SDK can use and check."""

import asyncio
import time

import pytest
from dstack_sdk import (
    EnvVar,
    encrypt_env_vars,
    verify_env_encrypt_public_key,
    verify_env_encrypt_public_key_legacy,
)

from cvm_notebook.local.core import keys

SECRET = bytes(range(32))
APP = "6ac7025962880888123456789abcdef012345678"


@pytest.mark.parametrize("secret", [SECRET, b"\x01" * 32, b"another root", b"\xff" * 32])
@pytest.mark.parametrize("app_id", [APP, "00" * 20, "ff" * 20])
def test_official_sdk_recovers_our_signer(secret, app_id):
    now = int(time.time())
    public = bytes.fromhex(keys.env_public_key(secret, app_id))
    signature = bytes.fromhex(keys.env_signature(secret, app_id, now))
    signer = verify_env_encrypt_public_key(public, signature, app_id, now)
    assert signer == "0x" + keys.signer_public_key(secret)


def test_official_sdk_recovers_our_signer_without_a_timestamp():
    public = bytes.fromhex(keys.env_public_key(SECRET, APP))
    signature = bytes.fromhex(keys.env_signature(SECRET, APP))
    with pytest.deprecated_call():
        signer = verify_env_encrypt_public_key_legacy(public, signature, APP)
    assert signer == "0x" + keys.signer_public_key(SECRET)


def test_signature_of_another_app_recovers_another_signer():
    now = int(time.time())
    public = bytes.fromhex(keys.env_public_key(SECRET, APP))
    signature = bytes.fromhex(keys.env_signature(SECRET, "11" * 20, now))
    signer = verify_env_encrypt_public_key(public, signature, APP, now)
    assert signer != "0x" + keys.signer_public_key(SECRET)


def test_what_the_official_sdk_encrypts_is_read():
    variables = {"PASSWORD": "hünter2", "EMPTY": "", "URL": "postgres://a:b@c/d?e=f"}
    listed = [EnvVar(key=name, value=value) for name, value in variables.items()]
    encrypted = asyncio.run(encrypt_env_vars(listed, keys.env_public_key(SECRET, APP)))
    assert keys.decrypt_env(SECRET, APP, encrypted) == variables


@pytest.mark.parametrize("encrypted", ["xyz", "", "00" * 59, "00" * 80, "ab" * 200])
def test_what_is_not_encrypted_for_the_app_is_refused(encrypted):
    with pytest.raises(keys.EnvError):
        keys.decrypt_env(SECRET, APP, encrypted)


def test_variables_for_another_app_are_refused():
    public = keys.env_public_key(SECRET, "11" * 20)
    encrypted = asyncio.run(encrypt_env_vars([EnvVar(key="A", value="b")], public))
    with pytest.raises(keys.EnvError, match="not encrypted for app"):
        keys.decrypt_env(SECRET, APP, encrypted)


@pytest.mark.parametrize(
    ("nonce", "address"),
    [  # The example of the Ethereum yellow-paper folklore: a deployer's first four contracts.
        (0, "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
        (1, "343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
        (2, "f778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
        (3, "fffd933a0bc612844eaf0c6fe3e5b8e9b6c1d19c"),
    ],
)
def test_app_address_is_the_address_of_a_created_contract(nonce, address):
    assert keys.app_address("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", nonce) == address


def test_app_addresses_of_large_nonces_differ():
    deployer = keys.deployer_address(SECRET, 1)
    addresses = {keys.app_address(deployer, nonce) for nonce in (127, 128, 255, 256, 65535, 65536)}
    assert len(addresses) == 6
    assert all(len(address) == 40 for address in addresses)


def test_keys_of_two_secrets_and_two_apps_differ():
    made = {keys.env_public_key(s, a) for s in (SECRET, b"x" * 32) for a in (APP, "11" * 20)}
    assert len(made) == 4
