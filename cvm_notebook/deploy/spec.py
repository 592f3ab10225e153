"""Fields of a deployment: their values, their checks, and the request they make."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cvm_notebook.api import checks
from cvm_notebook.api.compose.validation import LARGEST_BYTES, check_compose_file, read_text_file
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.cvm_ref import near_miss
from cvm_notebook.text import clean_text

MOST_REPLICAS: Final = 20
LEAST_DISK_GB: Final = 20
VISIBILITY: Final = {
    "public_logs": "Public logs",
    "public_sysinfo": "Public metrics",
    "public_tcbinfo": "Public measurements",
    "listed": "Listed app",
}
MEANING: Final = {  # of each switch, on and off
    "public_logs": (
        "Logs are public: anyone with the app id can read logs.",
        "Logs are private: they cannot be read with the app id.",
    ),
    "public_sysinfo": (
        "Metrics are public: anyone with the app id can read CPU, memory and disk use.",
        "Metrics are private: they are not shown here either.",
    ),
    "public_tcbinfo": (
        "Measurements (TCB information) are public: anyone can check what the CVM runs.",
        "Measurements (TCB information) are private: others cannot check what the CVM runs.",
    ),
    "listed": (
        "Listed in Phala's public directory of apps.",
        "Not listed in Phala's public directory of apps.",
    ),
}
_ON_CHAIN: Final = frozenset({"kms", "kms_id", "kms_contract", "transaction_hash"})
_SHORTEST_NAME: Final = 5
_LONGEST: Final = 2 * LARGEST_BYTES  # more is cut off unread: the service takes half of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values of the fields; frozen. Empty is nothing chosen.

    Attributes
    ----------
    instance_type, region, node_id, image
        Chosen by the service where nothing is.
    disk_size
        In GB; the instance type's own where it is None.
    replicas
        How many CVMs in total, the first one counted.
    """

    name: str = ""
    compose_file: str = ""
    pre_launch_script: str = ""
    instance_type: str = "tdx.small"
    region: str = ""
    node_id: int | None = None
    disk_size: int | None = None
    image: str = ""
    public_logs: bool = True
    public_sysinfo: bool = True
    public_tcbinfo: bool = True
    listed: bool = False
    replicas: int = 1

    def with_(self, field: str, value: object) -> "Values":
        """Return them with one of them changed.

        Raises
        ------
        InvalidInput
            There is no such field, or the value is of another kind.
        """
        if field in _ON_CHAIN:
            raise keys_on_chain(field)
        kind = KINDS.get(field)
        if kind is None:
            meant = near_miss(field, KINDS)
            raise InvalidInput(
                clean_text(field, 60),
                "the form has no such field",
                f"Did you mean {meant}?" if meant else f"It has {', '.join(KINDS)}.",
            )
        return dataclasses.replace(self, **{field: kind(field, value)})

    def body(self, env_names: tuple[str, ...]) -> dict[str, Any]:
        """Return the body of the request for `Client.provision_cvm`."""
        compose: dict[str, Any] = {"docker_compose_file": self.compose_file}
        if self.pre_launch_script:
            compose["pre_launch_script"] = self.pre_launch_script
        if env_names:
            compose["allowed_envs"] = list(env_names)
        for switch in ("public_logs", "public_sysinfo", "public_tcbinfo"):
            compose[switch] = getattr(self, switch)
        chosen = {
            "name": self.name.strip(),
            "compose_file": compose,
            "instance_type": self.instance_type,
            "teepod_id": self.node_id,
            "region": self.region if self.node_id is None else None,
            "disk_size": self.disk_size,
            "image": self.image,
            "env_keys": list(env_names),
        }
        kept = {field: value for field, value in chosen.items() if value not in (None, "", [])}
        return {**kept, "listed": self.listed}

    def problems(self) -> dict[str, CvmError]:
        """Return the errors by field that the client itself would raise."""
        found: dict[str, CvmError] = {}
        for field, check in _CHECKS.items():
            try:
                check(field, getattr(self, field))
            except CvmError as error:
                found[field] = error
        return found


def keys_on_chain(field: str = "") -> InvalidInput:
    """Return the error for a CVM whose keys are managed on a blockchain."""
    return InvalidInput(
        field,
        "only CVMs whose keys Phala manages can be made here; where they are managed on a "
        "blockchain, the compose hash must be registered there between the two steps",
        "Call client.provision_cvm() with kms=, register the hash, and give the transaction_hash "
        "to client.commit_cvm_provision().",
    )


def _text(field: str, value: object) -> str:
    if isinstance(value, str):
        return value[:_LONGEST]
    raise InvalidInput(field, f"it is {type(value).__name__}, not a text")


def _whole(field: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidInput(field, f"it is {type(value).__name__}, not a whole number")


def _whole_or_none(field: str, value: object) -> int | None:
    return None if value is None else _whole(field, value)


def _compose(field: str, value: object) -> str:
    """Return a compose text: the one that is given, or that of the file that is named."""
    if isinstance(value, os.PathLike):
        return read_compose(str(value))
    return _text(field, value)


KINDS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "name": _text,
    "compose_file": _compose,
    "pre_launch_script": _text,
    "instance_type": _text,
    "region": _text,
    "node_id": _whole_or_none,
    "disk_size": _whole_or_none,
    "image": _text,
    **dict.fromkeys(VISIBILITY, checks.boolean),
    "replicas": _whole,
}


def read_compose(path: str) -> str:
    """Return the text of a compose file on the kernel's machine.

    Raises
    ------
    InvalidInput
        It cannot be read, or is too large to be one.
    """
    return read_text_file("compose_file", path, LARGEST_BYTES)


def check_compose(field: str, value: object) -> None:
    """Refuse what is no compose file, an empty one too."""
    if isinstance(value, str) and not value.strip():
        raise InvalidInput(field, "Add a compose file", "Paste it, upload it, or give its path.")
    check_compose_file(value, field)


def check_name(field: str, value: object) -> None:
    """Refuse a name that the service would not take."""
    if isinstance(value, str) and not value.strip():
        raise InvalidInput(field, "Enter a name", "5 to 63 letters, digits and single dashes.")
    try:
        validation.cvm_name(field, value)
    except InvalidInput as error:
        near = name_near(value) if isinstance(value, str) else None
        if near is None:
            raise
        raise InvalidInput(field, error.problem, f'Use "{near}"?') from None


def name_near(name: str) -> str | None:
    """Return a name that the service would take and that is near to one; None where none is."""
    near = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower().lstrip("0123456789-")[:63]
    if not near:
        return None
    return near.rstrip("-") if len(near) >= _SHORTEST_NAME else f"{near}-app"


def _check_disk(field: str, value: object) -> None:
    if value is not None:
        checks.integer(field, value, LEAST_DISK_GB, unit="GB")


_CHECKS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "name": check_name,
    "compose_file": check_compose,
    "pre_launch_script": validation.script,
    "disk_size": _check_disk,
    "replicas": lambda field, value: checks.integer(field, value, 1, MOST_REPLICAS),
}
