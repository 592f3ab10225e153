"""Desired state: the changes of one CVM, and declarations of apps, also read from YAML."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from cvm_notebook.api import checks
from cvm_notebook.api.compose.env_file import parse_env_file
from cvm_notebook.api.compose.hashing import check_env, check_env_name, check_env_value
from cvm_notebook.api.compose.validation import LARGEST_BYTES, names_a_file, read_text_file
from cvm_notebook.api.compose.yaml_tree import read_yaml
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.cvm_ref import near_miss
from cvm_notebook.api.resources.update_request import checked_fields
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes to one CVM; None stays as it is.

    Attributes
    ----------
    compose_file
        The text of a Docker Compose file.
    env
        All environment variables: they replace those that are there.
    memory, disk_size
        In MB and GB.
    """

    compose_file: str | None = field(default=None, repr=False)
    pre_launch_script: str | None = field(default=None, repr=False)
    env: Mapping[str, Secret] | None = None
    instance_type: str | None = None
    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    image: str | None = None
    public_logs: bool | None = None
    public_sysinfo: bool | None = None
    public_tcbinfo: bool | None = None
    listed: bool | None = None
    user_config: str | None = field(default=None, repr=False)
    shutdown_timeout: int | None = None
    allow_force_stop: bool | None = None

    @classmethod
    def read(cls, given: Mapping[str, object], what: str = "update") -> Self:
        """Check what was given.

        Parameters
        ----------
        given
            By the names of the attributes; ``compose_file`` may be a path, too.

        Raises
        ------
        InvalidInput
            A field is unknown or cannot be; nothing was sent.
        """
        known = [one.name for one in fields(cls)]
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                meant = near_miss(str(name), known)
                remedy = f"Did you mean {meant}?" if meant else f"It takes {', '.join(known)}."
                problem = f"{what} takes no such field"
                raise InvalidInput(clean_text(name, 60), problem, remedy)
            if value is not None:
                found[name] = value
        if "compose_file" in found:
            found["compose_file"] = compose_text("compose_file", found["compose_file"])
        if "env" in found:
            found["env"] = sealed_values("env", found["env"])
        if "listed" in found:
            found["listed"] = checks.boolean("listed", found["listed"])
        return cls(**{**found, **_sent(found, what)})

    @property
    def wire(self) -> dict[str, Any]:
        """The fields that are sent as they are, by the names of the API."""
        return {
            _ON_THE_WIRE.get(one.name, one.name): getattr(self, one.name)
            for one in fields(self)
            if one.name not in _APART and getattr(self, one.name) is not None
        }


_APART: Final = frozenset({"env", "listed"})
_ON_THE_WIRE: Final = {"compose_file": "docker_compose_file"}


def _sent(found: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Check what is sent as it is, by the checks of the client."""
    sent = {_ON_THE_WIRE.get(k, k): v for k, v in found.items() if k not in _APART}
    fields = {wire_name: name for name, wire_name in _ON_THE_WIRE.items()}
    return {fields.get(name, name): v for name, v in checked_fields(sent, what).items()}


def compose_text(field: str, value: object) -> str:
    """Return a compose file as text, read where a path is given."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and names_a_file(value)):
        return read_text_file(field, os.fspath(value), LARGEST_BYTES)
    if not isinstance(value, str):
        problem = f"it is {type(value).__name__}, not a compose file"
        raise InvalidInput(field, problem, "Give its text, or its path.")
    return value


def sealed_values(field: str, env: object) -> dict[str, Secret]:
    """Return environment variables as Secrets, each checked; an error shows no value."""
    found: dict[str, Secret] = {}
    for name, value in checks.mapping(field, env).items():
        check_env_name(name, field)
        if not isinstance(value, str | Secret):
            problem = f"its value is {type(value).__name__}, not text"
            raise InvalidInput(str(name), problem, "Give a str or a Secret.")
        secret = value if isinstance(value, Secret) else Secret(value)
        check_env_value(name, secret)
        found[name] = secret
    check_env(found, field)
    return found


# --- apps ---------------------------------------------------------------------------------------

_ALIASES: Final = {"compose": "compose_file", "os": "image"}
_ELSEWHERE: Final = ("region", "node_id", "envs", "replicas", "compose_hash", "env_file")
# no record has the user configuration, so it cannot be compared
_CHANGES: Final = tuple(one.name for one in fields(Changes) if one.name != "user_config")
KEYS: Final = (*_CHANGES, *_ALIASES, *_ELSEWHERE)
# What a field is that was declared once and is not any more, as far as a new CVM has one.
DEFAULTS: Final[Mapping[str, Any]] = {
    "pre_launch_script": "",
    "env": {},
    "instance_type": "tdx.small",
    "public_logs": True,
    "public_sysinfo": True,
    "public_tcbinfo": True,
    "listed": False,
}
_MOST_APPS: Final = 500
MOST_INSTANCES: Final = 100  # a slip of the keyboard must not cost a fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDeclaration:
    """The desired state of one app; what is not declared is left as it is.

    Attributes
    ----------
    name
        The CVM's name; of one that is there its id or app id as well.
    region, node_id
        Where a new one is put; one that is there does not move.
    envs
        Names of variables that it must allow; their values are not declared.
    replicas
        How many instances there are to be.
    compose_hash
        What must hold afterwards.
    """

    name: str
    changes: Changes
    region: str = ""
    node_id: int | None = None
    envs: frozenset[str] = frozenset()
    replicas: int | None = None
    compose_hash: str | None = None

    @property
    def declared(self) -> frozenset[str]:
        """The fields that are declared."""
        names = {name for name in _CHANGES if getattr(self.changes, name) is not None}
        return frozenset(names if self.replicas is None else names | {"replicas"})

    def after(self, earlier: frozenset[str]) -> "AppDeclaration":
        """Return it with the defaults of what was declared earlier and is not any more."""
        gone = {name: DEFAULTS[name] for name in earlier - self.declared if name in DEFAULTS}
        if self.changes.vcpu or self.changes.memory:
            gone.pop("instance_type", None)
        return replace(self, changes=replace(self.changes, **gone)) if gone else self

    def number_after(self, earlier: frozenset[str]) -> int | None:
        """Return how many instances there are to be: one, where it is not declared any more."""
        return 1 if self.replicas is None and "replicas" in earlier else self.replicas


def read_apps(given: object, named: Mapping[str, object]) -> list[AppDeclaration]:
    """Read what should be applied.

    Parameters
    ----------
    given
        A mapping from names to what is declared of them, or the path of a YAML file with one.
    named
        Instead: the fields of one app, with its ``name``.

    Raises
    ------
    InvalidInput
        It is nothing that can be applied; the message says what can. Nothing was sent.
    """
    if given is None:
        if named.get("name") is None:
            raise InvalidInput("name", "an app needs one", "Give name=, or a mapping of names.")
        rest = {key: value for key, value in named.items() if key != "name"}
        return [read_app(checks.text("name", named["name"]), rest)]
    if any(value is not None for value in named.values()):
        keys = ", ".join(key for key, value in named.items() if value is not None)
        raise InvalidInput(keys, "it stands beside a whole declaration", "Put it into that.")
    folder: Path | None = None
    if isinstance(given, str | os.PathLike):
        path = Path(os.fspath(given))
        given, folder = _of_file(path), path.parent
    apps = checks.mapping("declared", given)
    if len(apps) > _MOST_APPS:
        raise InvalidInput("declared", f"it has {len(apps)} apps", f"Up to {_MOST_APPS} fit.")
    return [read_app(str(name), declared, folder) for name, declared in apps.items()]


def read_app(name: str, declared: object, folder: Path | None = None) -> AppDeclaration:
    """Read what is declared of one app; files are those of `folder`, where there is one.

    Raises
    ------
    InvalidInput
        It cannot be declared.
    """
    where = clean_text(name, 60)
    if isinstance(declared, str | os.PathLike):
        declared = {"compose_file": declared}
    if not isinstance(declared, Mapping):
        problem = f"{type(declared).__name__} is not a declaration"
        raise InvalidInput(where, problem, "Give a compose file, or a mapping.")
    if "docker_compose_file" in declared or "runner" in declared:
        declared = _of_app_compose(declared)
    found = _spelled(where, declared)
    if isinstance(found.get("compose_file"), Mapping):  # an app compose, as drift takes it
        inner = _of_app_compose(found.pop("compose_file"))
        found = {**inner, **found}
    if found.get("compose_file") is not None:
        found["compose_file"] = compose_text(
            f"{where}.compose_file", _within(folder, found["compose_file"])
        )
    env = _env(where, found.pop("env", None), found.pop("env_file", None), folder)
    elsewhere: dict[str, Any] = {key: found.pop(key) for key in _ELSEWHERE if key in found}
    return AppDeclaration(
        name=name,
        changes=Changes.read({**found, "env": env}, f"the declaration of {where}"),
        **_checked(where, elsewhere),
    )


def _spelled(where: str, declared: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in declared.items():
        name = _ALIASES.get(key, key)
        if key not in KEYS:
            problem = f"{clean_text(key, 40)} cannot be declared"
            raise InvalidInput(where, problem, f"Declare {', '.join(KEYS)}.")
        if value is None:
            continue
        if name in found:
            raise InvalidInput(f"{where}.{name}", "it is given twice", "Give it once.")
        found[name] = value
    return found


def _checked(where: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(declared)
    if "envs" in found:
        found["envs"] = frozenset(validation.env_names(f"{where}.envs", found["envs"]))
    for name, most in (("replicas", MOST_INSTANCES), ("node_id", None)):
        if name in found:
            found[name] = checks.integer(f"{where}.{name}", found[name], most=most)
    for name in ("region", "compose_hash"):
        if name in found:
            found[name] = checks.text(f"{where}.{name}", found[name])
    return found


def _of_app_compose(app_compose: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an app compose can be applied."""
    names = ("pre_launch_script", "public_logs", "public_sysinfo", "public_tcbinfo")
    found = {name: app_compose[name] for name in names if app_compose.get(name) is not None}
    found["compose_file"] = app_compose.get("docker_compose_file")
    return found | (
        {"envs": app_compose["allowed_envs"]} if app_compose.get("allowed_envs") else {}
    )


def _within(folder: Path | None, named: object) -> object:
    """Return a path that a file names as seen from that file."""
    if folder is None or not isinstance(named, str) or "\n" in named.strip():
        return named
    return folder / named


def _env(where: str, env: object, file: object, folder: Path | None) -> Mapping[str, Secret] | None:
    """Return the variables: of a file of them, with values, or by name from this environment."""
    if env is None and file is None:
        return None
    found: dict[str, Secret] = {}
    if file is not None:
        path = _within(folder, os.fspath(file) if isinstance(file, os.PathLike) else file)
        found |= parse_env_file(read_text_file(f"{where}.env_file", str(path), LARGEST_BYTES))
    if isinstance(env, Mapping):
        return found | sealed_values(f"{where}.env", env)
    for name in validation.env_names(f"{where}.env", env) if env is not None else ():
        if name not in os.environ:
            problem = "it is not set in the environment"
            raise InvalidInput(
                name, problem, "Set it where the kernel is started, or use env_file."
            )
        found[name] = Secret(os.environ[name])
    return found


def _of_file(path: Path) -> object:
    """Read a YAML file; its size and its nesting are bounded before it is built."""
    text = read_text_file("declared", str(path), LARGEST_BYTES)
    read_yaml(text, path.name)  # refuses what is too deep, aliased too often, or no YAML
    import yaml  # noqa: PLC0415 - slow to import, needed by this function only

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = f"it cannot be read: {clean_text(error, 200)}"
        raise InvalidInput(path.name, problem, "Write it as plain YAML.") from None
