"""Compose files and environments: the check, the hash, and the encryption of what is secret.

The hash and the encryption are those of dstack-sdk 0.5.4 (its ``get_compose_hash`` and
``encrypt_env_vars``), rewritten here and compared with it in the tests.
"""

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cvm_notebook.api.envelopes import clean_text
from cvm_notebook.api.errors import InvalidInput
from cvm_notebook.api.secret import Secret

# --- the hash ----------------------------------------------------------------------------------


def compose_hash(app_compose: Mapping[str, Any], normalize: bool = False) -> str:
    """Return the SHA-256, in hex, by which the service and the chain know an app's compose.

    It is taken over JSON with the keys sorted at every level, no spaces, text as UTF-8, and null
    for what is no number. Members that are None do not count.

    Parameters
    ----------
    app_compose
        The app compose: ``runner``, ``docker_compose_file`` and so on.
    normalize
        Leave out what the runner does not use, and an empty ``pre_launch_script``.

    Examples
    --------
    >>> compose_hash({"runner": "docker-compose", "name": ""})[:16]
    '6e5b2842c5c6b0ea'
    """
    if app_compose.get("runner") is None:
        raise InvalidInput("runner", "an app compose needs it", 'Give runner="docker-compose".')
    kept = {name: _member(name, value) for name, value in app_compose.items()}
    kept["runner"] = str(kept["runner"])
    if normalize:
        unused = {"bash": "docker_compose_file", "docker-compose": "bash_script"}
        kept.pop(unused.get(kept["runner"], ""), None)
        if not kept.get("pre_launch_script"):
            kept.pop("pre_launch_script", None)
    # A private or absent member is none, at this level only.
    kept = {k: v for k, v in kept.items() if v is not None and not k.startswith("_")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _member(name: str, value: Any) -> Any:
    if name == "docker_config" and isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items() if v is not None}
    return _finite(value)


def _finite(value: Any) -> Any:
    """Replace NaN and the infinities, which JSON cannot say, by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


# --- environment variables ---------------------------------------------------------------------

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_BYTES: Final = 32
_IV_BYTES: Final = 12

Env = Mapping[str, str | Secret] | Iterable[tuple[str, str | Secret]]


def check_env_name(name: object, field: str = "env") -> str:
    """Return a name an environment variable may have, or refuse it."""
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
        shown = repr(clean_text(name, 40)) if isinstance(name, str) else type(name).__name__
        raise InvalidInput(
            field,
            f"{shown} is no name of an environment variable",
            "Use letters, digits and _, not beginning with a digit.",
        )
    return name


def encrypt_env(pubkey: str, env: Env) -> str:
    """Encrypt environment variables for one app; only its CVMs can read them.

    X25519 with a key made for this call, then AES-256-GCM under the shared secret.

    Parameters
    ----------
    pubkey
        64 hex digits: ``app_env_encrypt_pubkey`` of a Provision, or ``kms_info`` of a CVM.
    env
        Names and values; a value may be a Secret.

    Returns
    -------
    str
        Hex, as ``encrypted_env`` takes it. Each call gives another.
    """
    # Dear to import, and needed by this function only.
    from cryptography.hazmat.primitives.asymmetric.x25519 import (  # noqa: PLC0415 - see above
        X25519PrivateKey,
        X25519PublicKey,
    )
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

    plain, theirs = _plain_env(env), _key_bytes(pubkey)
    ours = X25519PrivateKey.generate()
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:  # a point of low order: anyone could read what it encrypts
        raise InvalidInput("pubkey", "it is not a safe key", _PUBKEY_REMEDY) from error
    iv = secrets.token_bytes(_IV_BYTES)
    sealed = AESGCM(shared).encrypt(iv, plain, None)
    return (ours.public_key().public_bytes_raw() + iv + sealed).hex()


_PUBKEY_REMEDY: Final = "Give app_env_encrypt_pubkey of the provision: 64 hex digits."


def _key_bytes(pubkey: object) -> bytes:
    if not isinstance(pubkey, str):
        problem = f"it is {type(pubkey).__name__}, not str"
        raise InvalidInput("pubkey", problem, _PUBKEY_REMEDY)
    digits = pubkey.strip().removeprefix("0x")
    if len(digits) != 2 * _KEY_BYTES or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        problem = f"it is not {2 * _KEY_BYTES} hex digits"
        raise InvalidInput("pubkey", problem, _PUBKEY_REMEDY)
    return bytes.fromhex(digits)


def _plain_env(env: Env) -> bytes:
    """Return the JSON that is encrypted, as dstack-sdk writes it, byte for byte."""
    pairs = env.items() if isinstance(env, Mapping) else env
    found: dict[str, str] = {}
    for name, value in pairs:
        check_env_name(name)
        if name in found:
            raise InvalidInput(name, "it is given twice", "Give it once.")
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str):
            problem = f"its value is {type(text).__name__}, not text"
            raise InvalidInput(name, problem, "Give a str or a Secret.")
        if "\0" in text:
            raise InvalidInput(name, "its value holds a NUL, which no environment can", None)
        found[name] = text
    return json.dumps({"env": [{"key": k, "value": v} for k, v in found.items()]}).encode()


# The quoted forms may span lines; the bare one ends before a comment.
_ENV_LINE: Final = re.compile(
    r"""
    (?: [^\S\n]* (?:\#[^\n]*)? (?:\n|\Z)                     # blank, or a comment
    |   [^\S\n]* (?:export[^\S\n]+)? (?P<name>[^\s=\#'"]+) [^\S\n]* =
        [^\S\n]* (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)"
                   | (?P<bare>[^\n'"][^\n]*)? )
        [^\S\n]* (?:\#[^\n]*)? (?:\n|\Z) )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse_env_file(text: str) -> dict[str, Secret]:
    r"""Read the text of a ``.env`` file. Nothing in it is run or replaced.

    ``NAME=value`` on a line, ``export`` and comments allowed. In double quotes ``\n`` is a new
    line; in single quotes nothing is special; both may span lines. A later line wins.

    Raises
    ------
    InvalidInput
        A line is not of that form. It names the line, never what stands on it.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found: dict[str, Secret] = {}
    at, line = 0, 1
    while at < len(text):
        match = _ENV_LINE.match(text, at)
        if match is None or match.end() == at:
            raise InvalidInput(
                f"line {line}", "it is not NAME=value", "Check its '=' and that its quotes end."
            )
        if match["name"] is not None:
            found[check_env_name(match["name"], f"line {line}")] = Secret(_env_value(match))
        at, line = match.end(), line + match[0].count("\n")
    return found


def _env_value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(
            r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match["double"], flags=re.DOTALL
        )
    bare = match["bare"] or ""
    return re.split(r"(?:^|\s)#", bare, maxsplit=1)[0].strip()
