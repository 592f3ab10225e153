"""Python script of a deployment; it holds no value of the environment."""

import json
from collections.abc import Sequence
from typing import Any, Final

from cvm_notebook.deploy.spec import Values

_COMPOSE: Final = "COMPOSE"


def as_python(values: Values, env_names: Sequence[str]) -> str:
    """Return a cell that provisions, commits and waits; no key and no value is in it."""
    lines = ["import os", ""] if env_names else []
    lines += ["import cvm_notebook as cvm", ""]
    lines += ["client = cvm.connect()"]
    lines += [f"{_COMPOSE} = {block(values.compose_file)}"]
    lines += ["provision = client.provision_cvm(", *_arguments(values, tuple(env_names)), ")"]
    lines += _commit(env_names)
    lines += ['client.watch_cvm_state(made.id, target="running")']
    if values.replicas > 1:
        lines += [f"for _ in range({values.replicas - 1}):", "    client.replicate_cvm(made.id)"]
    return "\n".join(lines) + "\n"


def _arguments(values: Values, env_names: tuple[str, ...]) -> list[str]:
    body = values.body(env_names)
    compose: dict[str, Any] = body.pop("compose_file")
    del compose["docker_compose_file"]
    lines = [f"    name={literal(body.pop('name', ''))},", "    compose_file={"]
    lines += [f'        "docker_compose_file": {_COMPOSE},']
    lines += [f'        "{key}": {literal(value)},' for key, value in compose.items()]
    lines += ["    },"]
    return lines + [f"    {key}={literal(value)}," for key, value in body.items()]


def _commit(env_names: Sequence[str]) -> list[str]:
    if not env_names:
        return ["made = client.commit_cvm_provision(provision)"]
    env = ", ".join(f'"{name}": os.environ["{name}"]' for name in env_names)
    return [
        f"env = {{{env}}}",
        "key = client.get_checked_env_key(",
        "    provision.app_id, expected=provision.app_env_encrypt_pubkey",
        ")",
        "made = client.commit_cvm_provision(",
        "    provision,",
        "    encrypted_env=cvm.encrypt_env(key, env),",
        "    env_keys=list(env),",
        ")",
    ]


def literal(value: object) -> str:
    """Return a text or a list of texts in double quotes, anything else as Python has it."""
    return json.dumps(value) if isinstance(value, str | list) else repr(value)


def block(text: str) -> str:
    """Return a text as a literal that reads as the file does, where Python can spell it so."""
    plain = '"""' not in text and "\\" not in text and not text.endswith('"')
    if "\n" not in text or not plain or not text.replace("\n", "").isprintable():
        return repr(text)
    return f'"""\\\n{text}"""'
