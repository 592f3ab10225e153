"""What a fleet should be: read from a compose file, or from what is declared of each CVM."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from cvm_notebook.api.checks import several
from cvm_notebook.api.compose import compose_hash
from cvm_notebook.api.compose_file import check_compose_file
from cvm_notebook.api.errors import InvalidInput, clean_text

Compose: TypeAlias = str | os.PathLike[str]
Declaration: TypeAlias = Compose | Mapping[str, Any]

_REFERENCE: Final = re.compile(r"\$(?:\$|\{(\w+)[^}]*\}|([A-Za-z_]\w*))")
_KEYS: Final = ("compose", "compose_hash", "os", "instance_type", "region", "replicas", "envs")


@dataclass(frozen=True, slots=True)
class Declared:
    """What one CVM, or each of an app, should be; None where nothing is declared.

    Attributes
    ----------
    fields
        Columns of the fleet table, as text.
    images
        The image of each service.
    envs
        Names of environment variables; never values.
    """

    fields: Mapping[str, str]
    images: Mapping[str, str] | None = None
    envs: frozenset[str] | None = None


def read_declaration(said: object, where: str) -> Declared:
    """Read what is declared of a CVM.

    Raises
    ------
    InvalidInput
        It is nothing that can be declared; the message says what can.
    """
    if isinstance(said, str | os.PathLike):
        return _of_compose(said, where)
    if not isinstance(said, Mapping):
        problem = f"{type(said).__name__} is no declaration"
        raise InvalidInput(where, problem, "Give a compose file, or a mapping.")
    if "docker_compose_file" in said or "runner" in said:
        return _of_app_compose(said, where)
    unknown = [clean_text(key, 40) for key in said if key not in _KEYS]
    if unknown:
        problem = f"{', '.join(unknown[:5])} cannot be declared"
        raise InvalidInput(where, problem, f"Declare {', '.join(_KEYS)}.")
    fields = {key: str(said[key]) for key in _KEYS[1:-1] if said.get(key) is not None}
    compose = said.get("compose")
    base = Declared({}) if compose is None else read_declaration(compose, where)
    envs = base.envs if said.get("envs") is None else _names(f"{where}.envs", said["envs"])
    return Declared({**base.fields, **fields}, base.images, envs)


def _names(where: str, said: object) -> frozenset[str]:
    return frozenset(map(str, several(where, said, "names")))


def _of_compose(said: Compose, where: str) -> Declared:
    """Read a compose file: its text, or its path."""
    if isinstance(said, str) and "\n" in said:
        return _of_text(said, where)
    try:
        return _of_text(Path(said).read_bytes().decode(), where)
    except UnicodeDecodeError:
        raise InvalidInput(where, f"{clean_text(Path(said).name, 80)} is no text") from None
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        problem = f"{clean_text(said, 80)!r} cannot be read: {clean_text(why, 80)}"
        raise InvalidInput(
            where, problem, "Give the path of a compose file, or its text."
        ) from None


def _of_text(text: object, where: str) -> Declared:
    checked = check_compose_file(text, where)
    import yaml  # noqa: PLC0415 - dear to import, needed by this function only

    try:
        services: dict[str, Any] = yaml.safe_load(checked)["services"]
    except ValueError as error:  # such as the 31st of June
        raise InvalidInput(where, f"it cannot be read: {clean_text(error, 120)}") from None
    images = {str(name): str(service.get("image") or "") for name, service in services.items()}
    envs = {a or b for a, b in _REFERENCE.findall(checked) if a or b}
    envs |= {name for service in services.values() for name in _passed_on(service)}
    digest = hashlib.sha256(checked.encode()).hexdigest()
    return Declared({"docker_compose_hash": digest}, images, frozenset(envs))


def _passed_on(service: Mapping[str, Any]) -> list[str]:
    """Return the variables of a service that are named without a value: they come from outside."""
    environment = service.get("environment") or []
    if isinstance(environment, Mapping):
        return [str(name) for name, value in environment.items() if value is None]
    entries = environment if isinstance(environment, list) else []
    return [str(entry) for entry in entries if "=" not in str(entry)]


def _of_app_compose(said: Mapping[str, Any], where: str) -> Declared:
    text = said.get("docker_compose_file")
    inner = Declared({}) if text is None else _of_text(text, where)
    allowed = said.get("allowed_envs")
    envs = inner.envs if allowed is None else _names(f"{where}.allowed_envs", allowed)
    whole = {"compose_hash": compose_hash({"runner": "docker-compose", **said})}
    return Declared({**inner.fields, **whole}, inner.images, envs)
