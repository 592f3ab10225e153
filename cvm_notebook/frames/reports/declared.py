"""The desired state of a fleet, from a compose file or from declarations of CVMs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from cvm_notebook.api.checks import several
from cvm_notebook.api.compose.hashing import compose_hash, text_hashes
from cvm_notebook.api.compose.validation import (
    LARGEST_BYTES,
    names_a_file,
    read_compose_file,
    read_text_file,
)
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

Compose: TypeAlias = str | os.PathLike[str]
Declaration: TypeAlias = Compose | Mapping[str, Any]

SCRIPT: Final = "pre_launch_script_status"
SCRIPT_STATUSES: Final = ("official", "older", "modified", "none")
_FIELDS: Final = ("compose_hash", "os", "instance_type", "region", "replicas")
# What `Fleet.apply` takes beside them, and the column of the fleet that shows it.
_COLUMNS: Final[Mapping[str, str]] = {
    **{name: name for name in (*_FIELDS, "vcpu", "listed")},
    **{f"public_{name}": f"public_{name}" for name in ("logs", "sysinfo", "tcbinfo")},
    SCRIPT: SCRIPT,  # of which the service is asked
    "image": "os",
    "disk_size": "disk_gb",
    "memory": "memory_gb",
}
_UNSEEN: Final = frozenset(  # what the fleet does not show
    {"pre_launch_script", "shutdown_timeout", "allow_force_stop", "node_id"} | {"env_file"}
)
_KEYS: Final = ("compose", *_FIELDS, SCRIPT, "envs")
_KNOWN: Final = frozenset({*_KEYS, *_COLUMNS, *_UNSEEN, "compose_file", "env"})


@dataclass(frozen=True, slots=True)
class Declared:
    """The desired state of one CVM, or of each of an app; None where nothing is declared.

    Attributes
    ----------
    fields
        Columns of the fleet table, as text.
    images
        The image of each service.
    envs
        Names of the environment variables that are needed; never values.
    optional_envs
        Names of those that may be given.
    same
        Further values of a field that mean the same: the hash of a compose file with the other
        line ends.
    """

    fields: Mapping[str, str]
    images: Mapping[str, str] | None = None
    envs: frozenset[str] | None = None
    optional_envs: frozenset[str] = frozenset()
    same: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def agrees(self, name: str, live: str | None) -> bool:
        """Return whether a field is live as it is declared."""
        is_ = (live or "").casefold()
        return is_ == self.fields[name].casefold() or is_ in self.same.get(name, frozenset())


def read_declaration(declaration: object, where: str) -> Declared:
    """Read what is declared of a CVM.

    Raises
    ------
    InvalidInput
        It is nothing that can be declared; the message says what can.
    """
    if isinstance(declaration, str | os.PathLike):
        return _of_compose(declaration, where)
    if not isinstance(declaration, Mapping):
        problem = f"{type(declaration).__name__} is not a declaration"
        raise InvalidInput(where, problem, "Give a compose file, or a mapping.")
    if "docker_compose_file" in declaration or "runner" in declaration:
        return _of_app_compose(declaration, where)
    unknown = [clean_text(key, 40) for key in declaration if key not in _KNOWN]
    if unknown:
        problem = f"{', '.join(unknown[:5])} cannot be declared"
        raise InvalidInput(where, problem, f"Declare {', '.join(_KEYS)}.")
    fields = {
        column: _text(key, declaration[key])
        for key, column in _COLUMNS.items()
        if declaration.get(key) is not None
    }
    if fields.get(SCRIPT, SCRIPT_STATUSES[0]) not in SCRIPT_STATUSES:
        problem = f"{clean_text(fields[SCRIPT], 40)} is not a status of a script"
        raise InvalidInput(f"{where}.{SCRIPT}", problem, f"One of {', '.join(SCRIPT_STATUSES)}.")
    compose = declaration.get("compose", declaration.get("compose_file"))
    base = Declared({}) if compose is None else read_declaration(compose, where)
    named = declaration.get("envs", declaration.get("env"))
    if named is not None:
        envs = _names(f"{where}.envs", list(named) if isinstance(named, Mapping) else named)
        base = replace(base, envs=envs, optional_envs=frozenset())
    return replace(base, fields={**base.fields, **fields})


def _text(key: str, value: object) -> str:
    """Return a value as the fleet frame shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if key == "memory" and isinstance(value, int):
        return f"{value / 1024}"
    return str(value)


def _names(where: str, names: object) -> frozenset[str]:
    return frozenset(map(str, several(where, names, "names")))


def _of_compose(compose: Compose, where: str) -> Declared:
    """Read a compose file: its text, or its path."""
    if (
        isinstance(compose, str)
        and not names_a_file(compose)
        and ("\n" in compose or ":" in compose)
    ):
        return _of_text(compose, where)
    return _of_text(read_text_file(where, os.fspath(compose), LARGEST_BYTES), where)


def _of_text(text: object, where: str) -> Declared:
    found = read_compose_file(text, where)
    needed, optional = found.variables
    hashes = text_hashes(str(text))
    return Declared(
        {_TEXT_HASH: hashes[0]}, found.images, needed, optional, {_TEXT_HASH: frozenset(hashes)}
    )


_TEXT_HASH: Final = "docker_compose_hash"


def _of_app_compose(app_compose: Mapping[str, Any], where: str) -> Declared:
    text = app_compose.get("docker_compose_file")
    inner = Declared({}) if text is None else _of_text(text, where)
    allowed = app_compose.get("allowed_envs")
    if allowed is not None:
        envs = _names(f"{where}.allowed_envs", allowed)
        inner = replace(inner, envs=envs, optional_envs=frozenset())
    whole = {"compose_hash": compose_hash({"runner": "docker-compose", **app_compose})}
    return replace(inner, fields={**inner.fields, **whole})
