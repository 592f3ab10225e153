"""Finding the API key: argument, environment, profile or keyring, and the address it belongs to.

====================  ============================================================================
The key is from       It goes to
====================  ============================================================================
a login in this       the address that was logged in to: another one that is asked for has its own
process
the argument,         the base_url argument, else PHALA_CLOUD_API_PREFIX, else the default
the environment,
Colab, a prompt
a profile             the profile's own address only: another one that is asked for is refused
the keyring           as the first, but a key is stored under its address and found by it only
====================  ============================================================================

So a profile's address never receives a key of the environment, nor the other way round.
"""

import getpass
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvm_notebook.api.auth.address import DEFAULT_BASE_URL, check_base_url
from cvm_notebook.api.auth.profiles import Profile, credentials_path, read_profile
from cvm_notebook.api.errors.tree import CredentialsError, InvalidInput
from cvm_notebook.api.secret import Secret

KEY_VARIABLE: Final = "PHALA_CLOUD_API_KEY"
ADDRESS_VARIABLE: Final = "PHALA_CLOUD_API_PREFIX"
KEYRING_SERVICE: Final = "cvm-notebook"
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key, where it came from in words, the address it goes to, and its workspace if known.

    ``root_of_trust`` is the file of the development root that a profile names.
    """

    secret: Secret
    source: str
    base_url: str
    workspace: str | None = None
    root_of_trust: Path | None = None


def ask(question: str) -> str | None:
    """Ask for a key without showing or storing it; None where nobody can answer."""
    if not _can_ask():
        return None
    try:
        return getpass.getpass(question)
    except (EOFError, NotImplementedError):  # a kernel without a front end has no stdin
        return None


def _can_ask() -> bool:
    """Return whether a prompt hides what is typed: in a terminal, or in a Jupyter kernel."""
    # another thread may be importing IPython just now
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if "ipykernel" in sys.modules and get_ipython is not None:
        return get_ipython() is not None
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def find_api_key(
    api_key: str | Secret | None = None,
    profile: str | None = None,
    *,
    base_url: str | None = None,
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    prompt: Callable[[str], str | None] | None = ask,
) -> Credentials:
    """Find the key: argument, login, environment, profile, keyring, Colab, prompt; the first wins.

    Parameters
    ----------
    api_key, profile, base_url
        What was asked for. A profile that is named here goes before all but the argument.
    env, home
        The environment and the home folder; this process's when None.
    prompt
        Asks as a last resort; None never asks.

    Raises
    ------
    CredentialsError
        There is no key, it cannot be one, its file is not safe, or it may not go to the address.
    InvalidInput
        The address is not one that a key may be sent to.
    """
    env = os.environ if env is None else env
    if api_key is not None and profile is not None:
        raise CredentialsError("Both api_key and profile were given.", hint="Give one of them.")
    address = _address(base_url, env)
    if api_key is not None:
        return Credentials(check_api_key(api_key, "api_key"), "the api_key argument", address.url)
    if profile is not None:
        path = credentials_path(env, home)
        return _of_profile(read_profile(path, _name(profile)), path, address)
    looked = ["the api_key argument"]
    for find in (_from_login, _from_environment, _from_current_profile, _from_keyring, _from_colab):
        found = find(env, home, address)
        if isinstance(found, Credentials):
            return found
        looked.append(found)
    if prompt is not None:
        typed = prompt(f"API key for {address.url} (not shown, not stored): ")
        if typed is not None:
            return Credentials(check_api_key(typed, "the prompt"), "the prompt", address.url)
        looked.append("a prompt (nobody can answer here)")
    raise CredentialsError(
        f"Not signed in: there is no API key for {address.url}. Looked in: {'; '.join(looked)}.",
        hint=f"Set {KEY_VARIABLE}, or run `phala login`. connect('local') needs no key.",
    )


_login: Credentials | None = None


def remember(found: Credentials | None) -> None:
    """Use this key in this process from now on, where none is named; None forgets it."""
    global _login  # noqa: PLW0603 - one login a process: whoever connects later means it
    _login = found


# --- where it goes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Address:
    url: str
    asked_by: str | None  # who asked for it; None when it is the default


def _address(base_url: str | None, env: Mapping[str, str]) -> _Address:
    if base_url is not None:
        return _Address(check_base_url(base_url), "base_url")
    if env.get(ADDRESS_VARIABLE, "").strip():
        return _Address(check_base_url(env[ADDRESS_VARIABLE], ADDRESS_VARIABLE), ADDRESS_VARIABLE)
    return _Address(DEFAULT_BASE_URL, None)


def _name(profile: object) -> str:
    if not isinstance(profile, str):
        problem = f"it is {type(profile).__name__}, not the name of a profile"
        raise InvalidInput("profile", problem, 'Give a text, as in profile="work".')
    return profile


def _of_profile(profile: Profile, path: Path, address: _Address) -> Credentials:
    """Pair a profile's key with its own address, and refuse any other."""
    source = f"profile {profile.name!r} of {path}"
    own = profile.api_prefix
    url = DEFAULT_BASE_URL if own is None else check_base_url(own, f"api_prefix of {source}")
    if address.asked_by is not None and address.url != url:
        raise CredentialsError(
            f"The key of {source} belongs to {url}, but {address.asked_by} asks for {address.url}.",
            hint=f"Give the key for that address by api_key or {KEY_VARIABLE}, "
            f"or leave {address.asked_by} out.",
        )
    secret = check_api_key(profile.token, source)
    return Credentials(secret, source, url, profile.workspace, profile.root_of_trust)


# --- where it comes from: each returns the credentials, or what it looked at --------------------


def _from_login(
    _env: Mapping[str, str], _home: Path | None, address: _Address
) -> Credentials | str:
    """Look at what was remembered; it goes to its own address only."""
    if _login is None:
        return "a login in this process (there was none)"
    if address.asked_by is not None and address.url != _login.base_url:
        return f"the login in this process (it is for {_login.base_url})"
    return _login


def _from_environment(
    env: Mapping[str, str], _home: Path | None, address: _Address
) -> Credentials | str:
    value = env.get(KEY_VARIABLE, "")
    if not value.strip():
        return f"{KEY_VARIABLE} (not set)"
    source = f"the environment variable {KEY_VARIABLE}"
    return Credentials(check_api_key(value, source), source, address.url)


def _from_current_profile(
    env: Mapping[str, str], home: Path | None, address: _Address
) -> Credentials | str:
    try:
        path = credentials_path(env, home)
    except CredentialsError:
        return "the profiles (no home folder is known)"
    if not os.path.lexists(path):
        return f"{path} (no such file)"
    profile = read_profile(path, None)
    return _of_profile(profile, path, address) if profile else f"{path} (no current profile)"


def _from_keyring(
    _env: Mapping[str, str], _home: Path | None, address: _Address
) -> Credentials | str:
    """Look in the system's keyring: service cvm-notebook, user name the address."""
    if importlib.util.find_spec("keyring") is None:
        return "the keyring (package keyring is not installed)"
    try:  # it reads settings of its own, in the home folder
        import keyring  # noqa: PLC0415 - an extra, and slow to import
        from keyring.errors import KeyringError  # noqa: PLC0415 - as above
    except (ImportError, OSError, RuntimeError) as error:
        return f"the keyring ({type(error).__name__})"
    try:
        value = keyring.get_password(KEYRING_SERVICE, address.url)
    except (KeyringError, OSError, RuntimeError) as error:
        return f"the keyring ({type(error).__name__})"
    if not value:
        return f"the keyring (nothing for {address.url})"
    source = f"the keyring (service {KEYRING_SERVICE})"
    return Credentials(check_api_key(value, source), source, address.url)


def _from_colab(
    _env: Mapping[str, str], _home: Path | None, address: _Address
) -> Credentials | str:
    if "google.colab" not in sys.modules:
        return "Colab's secrets (not in Colab)"
    colab: Any = importlib.import_module("google.colab.userdata")
    try:
        value: str | None = colab.get(KEY_VARIABLE)
    except (colab.SecretNotFoundError, colab.NotebookAccessError) as error:
        return f"Colab's secret {KEY_VARIABLE} ({type(error).__name__})"
    if not value:
        return f"Colab's secret {KEY_VARIABLE} (empty)"
    source = f"Colab's secret {KEY_VARIABLE}"
    return Credentials(check_api_key(value, source), source, address.url)


# --- what may be a key -------------------------------------------------------------------------


def check_api_key(value: object, source: str) -> Secret:
    """Return the key, without space around it; one that cannot be a header is refused unseen.

    Raises
    ------
    CredentialsError
        It says what is wrong, and never the value.
    """
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise CredentialsError(f"The API key from {source} is {type(text).__name__}, not text.")
    key = text.strip()
    problem = next(_problems(key), None)
    if problem is not None:
        raise CredentialsError(
            f"The API key from {source} {problem}.", hint="Give the key alone, as it was issued."
        )
    return Secret(key)


def _problems(key: str) -> Iterator[str]:
    """Yield what keeps the text from being a key."""
    if not key:
        yield "is empty"
    if key.lower().startswith(("bearer ", "bearer:", "x-api-key:", "authorization:")):
        yield "begins with the name of a header or with 'Bearer'"
    if key[:1] in "\"'`" or key[-1:] in "\"'`":
        yield "has quotes around it"
    if any(ord(c) < 32 or ord(c) == 127 for c in key):  # noqa: PLR2004 - ASCII's control characters
        yield "holds a line break or another control character"
    if any(c.isspace() for c in key):
        yield "holds a space"
    if not key.isascii():
        yield "holds characters that no key has"
    if len(key) > _LONGEST:
        yield f"has {len(key):,} characters, which no key has"
