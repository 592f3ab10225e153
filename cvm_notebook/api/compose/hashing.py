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

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text

# --- the hash ----------------------------------------------------------------------------------


def compose_hash(app_compose: Mapping[str, Any], normalize: bool = False) -> str:
    """Return the SHA-256, in hex, by which the service and the chain know an app's compose.

    It is taken over JSON with the keys sorted at every level, no spaces, text as UTF-8, and null
    for what is not a number. Members that are None do not count.

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
    _check_mapping(app_compose)
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
    kept = {k: v for k, v in kept.items() if v is not None and not str(k).startswith("_")}
    try:
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return _sha256(text)
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"it cannot be written as JSON ({clean_text(error, 120)})"
        raise InvalidInput("app_compose", problem, "Give what JSON can hold.") from None


def _check_mapping(app_compose: object) -> None:
    if not isinstance(app_compose, Mapping):
        problem = f"it is {type(app_compose).__name__}, not a mapping"
        raise InvalidInput("app_compose", problem, "Give what get_cvm_compose_file returned.")


def text_hashes(text: str) -> tuple[str, str, str]:
    """Return the SHA-256, in hex, of a text as it is, and with either kind of line ends."""
    unix = text.replace("\r\n", "\n")
    one, two, three = (text, unix, unix.replace("\n", "\r\n"))
    return _sha256(one), _sha256(two), _sha256(three)


def _sha256(text: str) -> str:
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

# what a CVM takes: beyond this it does not boot
MOST_ENVS: Final = 1024
_LONGEST_NAME: Final = 255
_LONGEST_VALUE: Final = 128 * 1024  # bytes
_LONGEST_ENV: Final = 1024 * 1024  # bytes of all names and values

Env = Mapping[str, str | Secret] | Iterable[tuple[str, str | Secret]]


def is_env_name(name: str) -> bool:
    """Return whether an environment variable may have this name; its length is not looked at."""
    return _ENV_NAME.fullmatch(name) is not None


def check_env_name(name: object, field: str = "env") -> str:
    """Return a name an environment variable may have, or refuse it."""
    if not isinstance(name, str) or not is_env_name(name):
        # What stands behind a = is a value that was put with its name.
        shown = clean_text(name.partition("=")[0], 40) if isinstance(name, str) else None
        described = repr(shown) if shown is not None else type(name).__name__
        remedy = "Use letters, digits and _, not beginning with a digit."
        raise InvalidInput(field, f"{described} is not a name of an environment variable", remedy)
    _check_name_length(name, field)
    return name


def _check_name_length(name: str, field: str) -> None:
    if len(name) > _LONGEST_NAME:
        problem = f"a name has {len(name):,} characters; a CVM takes {_LONGEST_NAME}"
        raise InvalidInput(field, problem, "Give it a shorter name.")


def check_env_value(name: str, value: object, field: str | None = None) -> None:
    """Refuse a value that no environment variable of a CVM can have; it is not shown."""
    where = name if field is None else field
    _check_name_length(name, where)
    if not isinstance(value, str | Secret):
        wrong_type = f"its value is {type(value).__name__}, not text"
        raise InvalidInput(where, wrong_type, "Give a str or a Secret.")
    problem = _problem_of(value.reveal() if isinstance(value, Secret) else value)
    if problem is not None:
        raise InvalidInput(where, f"its value {problem}", "Give UTF-8 text of at most 128 KiB.")


def _problem_of(value: str) -> str | None:
    """Return what is wrong with a value: no frame that holds it is kept by an error."""
    if "\0" in value:
        return "holds a NUL, which no environment can"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    if size > _LONGEST_VALUE:
        return f"has {size / 1024:,.1f} KiB; a CVM takes {_LONGEST_VALUE // 1024}"
    return None


def check_env(env: Mapping[str, str | Secret | None], field: str = "env") -> None:
    """Refuse an environment that is too large for a CVM; None is a value that is not known yet."""
    check_env_count(len(env), field)
    size = sum(_size(name) + _size(value or "") for name, value in env.items())
    if size > _LONGEST_ENV:
        problem = (
            f"names and values have {size / 1024:,.0f} KiB; a CVM takes {_LONGEST_ENV >> 10:,}"
        )
        raise InvalidInput(field, problem, "Put data into the image.")


def _size(text: str | Secret) -> int:
    plain = text.reveal() if isinstance(text, Secret) else text
    return len(plain.encode("utf-8", "replace"))


def check_env_count(count: int, field: str) -> None:
    """Refuse more variables than a CVM takes."""
    if count > MOST_ENVS:
        problem = f"it has {count:,} variables; a CVM takes {MOST_ENVS:,}"
        raise InvalidInput(field, problem, "Give fewer.")


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

    plain, app_key = _plain_env(env), _key_bytes(pubkey)
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(app_key))
    except ValueError as error:  # a point of low order: anyone could read what it encrypts
        raise InvalidInput("pubkey", "it is not a safe key", _PUBKEY_REMEDY) from error
    iv = secrets.token_bytes(_IV_BYTES)
    sealed = AESGCM(shared).encrypt(iv, plain, None)
    return (ephemeral.public_key().public_bytes_raw() + iv + sealed).hex()


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


def env_pairs(env: object) -> list[tuple[Any, Any]]:
    """Return names with their values; what is no pair is not shown, for it may be a value."""
    if isinstance(env, Mapping):
        return list(env.items())
    remedy = "Give a dict of names and values."
    if isinstance(env, str | bytes) or not isinstance(env, Iterable):
        raise InvalidInput("env", f"it is {type(env).__name__}, not a mapping", remedy)
    try:
        return [(name, value) for name, value in env]
    except (TypeError, ValueError):
        problem = "it holds something else than pairs of name and value"
        raise InvalidInput("env", problem, remedy) from None


def _plain_env(env: Env) -> bytes:
    """Return the JSON that is encrypted, as dstack-sdk writes it, byte for byte."""
    found: dict[str, Secret] = {}
    for name, value in env_pairs(env):
        check_env_name(name)
        if name in found:
            raise InvalidInput(name, "it is given twice", "Give it once.")
        check_env_value(name, value)
        found[name] = value if isinstance(value, Secret) else Secret(value)
    check_env(found)
    env_list = [{"key": k, "value": v.reveal()} for k, v in found.items()]
    return json.dumps({"env": env_list}).encode()
