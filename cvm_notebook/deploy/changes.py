"""Changes: what is to be different in a CVM that exists, checked before anything is asked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from cvm_notebook.api.compose.hashing import check_env, check_env_name, check_env_value
from cvm_notebook.api.compose.validation import LARGEST_BYTES, names_a_file, read_text_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import near_miss
from cvm_notebook.api.resources.update_request import update_request
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be different; None stays as it is.

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
MODIFIERS: Final = frozenset({"shutdown_timeout", "allow_force_stop"})


def _sent(found: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Check what is sent as it is, by the checks of the client."""
    sent = {_ON_THE_WIRE.get(k, k): v for k, v in found.items() if k not in _APART}
    if not sent.keys() - MODIFIERS:  # nothing that the client would take by itself
        sent["public_logs"] = True
        checked = update_request(sent, what)
        del checked["public_logs"]
    else:
        checked = update_request(sent, what)
    ours = {theirs: name for name, theirs in _ON_THE_WIRE.items()}
    return {ours.get(name, name): value for name, value in checked.items()}


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
