"""Checks of an update before it is sent: its fields, and what of them the record shows later."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cvm_notebook.api import checks
from cvm_notebook.api.compose.validation import check_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.validation import Check
from cvm_notebook.text import clean_text

SIZE: Final = ("instance_type", "vcpu", "memory", "disk_size")
VISIBILITY: Final = ("public_logs", "public_sysinfo", "public_tcbinfo")
_SHUTDOWN_S: Final = (10, 1200)  # as published
MODIFIERS: Final = frozenset({"shutdown_timeout", "allow_force_stop"})
UPDATE: Final[dict[str, Check]] = {
    "docker_compose_file": lambda field, value: check_compose_file(value, field),
    "pre_launch_script": validation.script,
    "allowed_envs": validation.env_names,
    "encrypted_env": validation.encrypted_env,
    **{name: validation.PROVISION[name] for name in SIZE},
    "gpus": validation.sendable,
    "image": checks.text,
    **dict.fromkeys(VISIBILITY, checks.boolean),
    "user_config": validation.user_config,
    "shutdown_timeout": lambda field, value: checks.integer(field, value, *_SHUTDOWN_S, "seconds"),
    "allow_force_stop": checks.boolean,
}


def update_request(fields: Mapping[str, Any], verb: str = "update_cvm") -> dict[str, Any]:
    """Return the body of an update: the fields that are not None, each checked.

    Raises
    ------
    InvalidInput
        A field is unknown or out of bounds, or nothing would change.
    """
    body = checked_fields(fields, verb)
    if not body.keys() - MODIFIERS:
        raise InvalidInput(verb, "nothing to change was given", f"Give {', '.join(UPDATE)}.")
    return body


def checked_fields(fields: Mapping[str, Any], verb: str) -> dict[str, Any]:
    """Return the fields of an update that are not None, each checked; raises as `update_request`.

    Unlike a provision, an update would be carried out without what the service does not know.
    """
    body = validation.checked(fields, UPDATE, verb)
    unknown = [clean_text(name, 40) for name in body if name not in UPDATE]
    if unknown:
        raise InvalidInput(
            ", ".join(unknown[:5]), f"{verb} takes no such field", f"It takes {', '.join(UPDATE)}."
        )
    return body


def allowed_after(allowed: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the names that may have values once these replace them, in an order that lasts.

    The order counts in the compose hash: what stays keeps its place.
    """
    wanted = list(names)
    kept = [name for name in allowed if name in wanted]
    return kept + [name for name in wanted if name not in kept]


def shown_by(cvm: Cvm) -> dict[str, object]:
    """Return what a record says of all that an update changes, by the names of its fields."""
    size = cvm.resource
    memory = size.memory_in_gb if size is not None else None
    return {
        "compose_hash": (cvm.compose_hash or "").removeprefix("0x").lower() or None,
        "instance_type": size.instance_type if size is not None else None,
        "vcpu": size.vcpu if size is not None else None,
        "memory": None if memory is None else round(memory * 1024),
        "disk_size": size.disk_in_gb if size is not None else None,
        "image": cvm.os.name if cvm.os is not None else None,
        **{name: getattr(cvm, name) for name in VISIBILITY},
        "listed": cvm.listed,
    }
