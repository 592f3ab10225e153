"""Errors by field: the field of a deployment that an error is about, and its text for a view."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from cvm_notebook.api.errors import codes
from cvm_notebook.api.errors.envelope import SERVER
from cvm_notebook.api.errors.tree import ApiError, CvmError, InvalidInput
from cvm_notebook.text import clean_text

Errors: TypeAlias = dict[str, dict[str, Any]]  # payloads by field
GENERAL: Final = "general"  # for what names no field

_FIELDS: Final = {
    "docker_compose_file": "compose_file",
    "compose": "compose_file",
    "allowed_envs": "env",
    "env_keys": "env",
    "encrypted_env": "env",
    "pubkey": "env",
    "teepod_id": "node",
    "node_id": "node",
    "region": "node",
    "vcpu": "instance_type",
    "memory": "instance_type",
    "prefer_dev": "image",
    "kms": "node",
    "kms_id": "node",
}
_SHOWN: Final = frozenset({
    "name", "compose_file", "pre_launch_script", "instance_type", "node", "disk_size", "image",
    "env", "replicas", "public_logs", "public_sysinfo", "public_tcbinfo", "listed",
})  # fmt: skip
_BY_CODE: Final = {
    codes.NODE_NOT_FOUND: "node",
    codes.COMPOSE_FILE_REQUIRED: "compose_file",
    codes.INVALID_COMPOSE_FILE: "compose_file",
    codes.DUPLICATE_CVM_NAME: "name",
    codes.INSTANCE_TYPE_NOT_FOUND: "instance_type",
    codes.RESOURCE_NOT_AVAILABLE: "instance_type",
    codes.INSUFFICIENT_VCPU: "node",
    codes.INSUFFICIENT_MEMORY: "node",
    codes.INSUFFICIENT_SLOTS: "node",
    codes.GPU_ALLOCATION_ERROR: "node",
    codes.INSUFFICIENT_GPU: "node",
    codes.IMAGE_NOT_FOUND: "image",
    codes.KMS_NOT_FOUND: "node",
    codes.TEEPOD_NOT_ACCESSIBLE: "node",
    codes.OS_IMAGE_NOT_COMPATIBLE: "image",
    codes.NODE_CAPACITY_NOT_CONFIGURED: "node",
    codes.GPU_DEVICE_IN_USE: "node",
}
_KEEPS: Final = frozenset({401, 403, 429})


def fields_of(error: CvmError) -> tuple[str, ...]:
    """Return the fields that an error is about, the general one where it names none."""
    if isinstance(error, InvalidInput):
        return (_field(error.field) or GENERAL,)
    if not isinstance(error, ApiError):
        return (GENERAL,)
    named = [field for detail in error.details if (field := _field(detail.field))]
    by_code = _BY_CODE.get(error.error_code or "")
    return tuple(dict.fromkeys(named or ([by_code] if by_code else [GENERAL])))


def errors_by_field(error: CvmError) -> Errors:
    """Return the payload of an error for each field that it is about."""
    return {field: error_payload(error, field) for field in fields_of(error)}


def error_payload(error: CvmError, field: str = GENERAL) -> dict[str, Any]:
    """Return an error for a view: its text, code, suggestions, links and request id."""
    payload: dict[str, Any] = {"text": _text_of(error, field)}
    if isinstance(error, ApiError):
        payload |= {
            "code": error.error_code or f"HTTP {error.status}",
            "request_id": error.request_id,
        }
        payload["suggestions"] = list(error.suggestions) or [error.hint or ""]
        payload["links"] = [[link.url, link.label] for link in error.links]
    elif error.hint:
        payload["suggestions"] = [clean_text(error.hint, 400)]
    return payload


def needs_provision(error: CvmError | None) -> bool:
    """Return whether step one must be sent again before a commit can succeed."""
    if not isinstance(error, ApiError):
        return False
    if (error.error_code or "").startswith("ERR-04"):
        return True  # the balance
    # after a refused key, too many requests, or a failure of the service the provision still holds
    return error.status not in _KEEPS and error.status < SERVER


def _text_of(error: CvmError, field: str) -> str:
    if isinstance(error, InvalidInput):
        return clean_text(error.problem, 600)
    if isinstance(error, ApiError):
        own = [d.message for d in error.details if _field(d.field) == field and d.message]
        if own and not error.error_code:  # a list of remarks: each has its own field
            return clean_text("; ".join(own), 600)
    return clean_text(error.message, 600)


def _field(named: str) -> str | None:
    """Return the form's field for a name in the request, such as compose_file.allowed_envs."""
    parts = named.split(".") if named else []
    return next(_known(reversed(parts)), None)


def _known(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        field = _FIELDS.get(part, part)
        if field in _SHOWN:
            yield field
