"""The system's keyring, where the keyring extra is installed."""

import pytest

from cvm_notebook.api.auth.address import DEFAULT_BASE_URL
from cvm_notebook.api.auth.credentials import find_api_key
from cvm_notebook.api.errors.tree import CredentialsError

keyring = pytest.importorskip("keyring", reason="needs the keyring extra")
backend = pytest.importorskip("keyring.backend")
OTHER = "https://other.example/api/v1"


class Ring(backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.held = {}

    def get_password(self, service, username):
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        self.held[service, username] = password


class Locked(Ring):
    """A keyring that nobody can open."""

    def get_password(self, service, username):
        raise keyring.errors.KeyringLocked(f"{service} {username}")


@pytest.fixture
def use():
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def find(home, **args):
    return find_api_key(env={}, home=home, prompt=None, **args)


def test_a_key_is_found_by_its_address_only(tmp_path, use):
    use(Ring())
    keyring.set_password("cvm-notebook", DEFAULT_BASE_URL, "phak_ring")
    found = find(tmp_path)
    assert (found.secret.reveal(), found.base_url) == ("phak_ring", DEFAULT_BASE_URL)
    assert found.source == "the keyring (service cvm-notebook)"
    with pytest.raises(CredentialsError, match=f"nothing for {OTHER}"):
        find(tmp_path, base_url=OTHER)


def test_one_that_cannot_be_opened_is_passed_over_and_reported(tmp_path, use):
    use(Locked())
    with pytest.raises(CredentialsError, match="KeyringLocked"):
        find(tmp_path)
    with pytest.raises(CredentialsError) as caught:
        find_api_key(env={}, home=tmp_path, prompt=lambda _: "not a key")
    assert "the prompt holds a space" in str(caught.value)
