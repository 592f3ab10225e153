"""Errors the API answers with: raise ``ApiError`` or ``coded(...)`` anywhere in a handler.

``ApiError(404, "No such key.")`` answers ``{"detail": "No such key."}``.
``coded("ERR-03-001", "...")`` answers the structured envelope with the status of its code.
``documented(404, 409)`` gives the ``responses=`` of a route for the OpenAPI description;
``api_router`` gives those that every route may answer with.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

STATUS_BY_CODE: dict[str, int] = {
    "ERR-01-001": 400,  # NODE_NOT_FOUND
    "ERR-01-002": 400,  # COMPOSE_FILE_REQUIRED
    "ERR-01-003": 400,  # INVALID_COMPOSE_FILE
    "ERR-01-004": 409,  # DUPLICATE_CVM_NAME
    "ERR-01-005": 465,  # HASH_REGISTRATION_REQUIRED
    "ERR-01-006": 466,  # HASH_INVALID_OR_EXPIRED
    "ERR-01-007": 467,  # TX_VERIFICATION_FAILED
    "ERR-01-008": 468,  # HASH_NOT_ALLOWED
    "ERR-02-001": 400,  # INSTANCE_TYPE_NOT_FOUND
    "ERR-02-002": 400,  # RESOURCE_NOT_AVAILABLE
    "ERR-02-003": 400,  # INSUFFICIENT_VCPU
    "ERR-02-004": 400,  # INSUFFICIENT_MEMORY
    "ERR-02-005": 400,  # INSUFFICIENT_SLOTS
    "ERR-02-006": 400,  # GPU_ALLOCATION_ERROR
    "ERR-02-007": 400,  # INSUFFICIENT_GPU
    "ERR-02-008": 400,  # INVALID_REQUEST
    "ERR-02-009": 400,  # INCOMPATIBLE_CONFIG
    "ERR-02-010": 400,  # IMAGE_NOT_FOUND
    "ERR-02-011": 400,  # KMS_NOT_FOUND
    "ERR-02-012": 400,  # TEEPOD_NOT_ACCESSIBLE
    "ERR-02-013": 400,  # OS_IMAGE_NOT_COMPATIBLE
    "ERR-02-014": 400,  # NODE_CAPACITY_NOT_CONFIGURED
    "ERR-02-015": 400,  # QUOTA_EXCEEDED
    "ERR-03-001": 404,  # CVM_NOT_FOUND
    "ERR-03-002": 409,  # MULTIPLE_CVMS_SAME_NAME
    "ERR-03-006": 400,  # REPLICA_IMAGE_NOT_AVAILABLE
    "ERR-03-007": 409,  # CVM_APP_ID_CONFLICT
    "ERR-03-008": 404,  # replica source not accessible
    "ERR-03-009": 400,  # replica needs compose_hash
    "ERR-03-010": 409,  # several CVMs for one identifier
    "ERR-04-001": 403,  # INSUFFICIENT_BALANCE
    "ERR-04-002": 403,  # MAX_CVM_LIMIT
    "ERR-04-003": 403,  # RESOURCE_LIMIT_EXCEEDED
    "ERR-05-001": 403,  # TOKEN_LIMIT_EXCEEDED
    "ERR-05-002": 429,  # TOKEN_RATE_LIMIT
}
"""HTTP status of each structured code."""


class ApiError(Exception):
    """An answer with an error status.

    Parameters
    ----------
    status
        HTTP status.
    detail
        What to say; for structured errors the message.
    body
        A structured body (``request_id`` is added), or None for ``{"detail": detail}``.
    headers
        Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.body = body
        self.headers = headers


def detail(field: str, value: Any, message: str) -> dict[str, Any]:
    """Return one entry for ``details`` of a structured error."""
    return {"field": field, "value": value, "message": message}


def coded(
    code: str,
    message: str,
    *,
    details: Sequence[dict[str, Any]] = (),
    suggestions: Sequence[str] = (),
    status: int | None = None,
) -> ApiError:
    """Return a structured error, ready to be raised."""
    body = {
        "error_code": code,
        "message": message,
        "details": list(details),
        "suggestions": list(suggestions),
        "links": [],
    }
    return ApiError(status or STATUS_BY_CODE[code], message, body=body)


def busy() -> ApiError:
    """Return the 409 of a CVM that is in the middle of another operation."""
    # Word for word as the service says it: clients look for it before they try again.
    return ApiError(409, "Another operation is already in progress")


def unknown_token(token: str) -> ApiError:
    """Return the refusal of a commit token: LocalCloud, on no chain, has never given one out."""
    problem = "unknown or expired" if token else "required"
    return coded(
        "ERR-01-006",
        "The commit token is invalid or has expired.",
        details=[detail("token", None, problem)],
        suggestions=["Prepare the change again and use the token that comes back."],
    )


class PlainError(BaseModel):
    """``{"detail": text}``."""

    detail: str


class ErrorDetail(BaseModel):
    """One field of a structured error."""

    field: str | None = None
    value: Any = None
    message: str | None = None


class ErrorLink(BaseModel):
    """A link to further reading."""

    url: str
    label: str


class StructuredError(BaseModel):
    """An error with a code of the service's catalogue."""

    error_code: str
    message: str
    details: list[ErrorDetail]
    suggestions: list[str]
    links: list[ErrorLink]
    request_id: str


class InvalidField(BaseModel):
    """One finding of the request's validation."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class ValidationFailed(BaseModel):
    """The body of a 422 answer."""

    detail: list[InvalidField]


_TEXTS: Final = {
    400: "Refused as it is",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    409: "In conflict with what is there",
    413: "The body is too large",
    422: "The request is not of the right form",
    429: "Too many requests or streams",
    465: "The compose hash must be registered on chain first",
    466: "The compose hash is unknown or has expired",
    503: "The database is busy with other requests",
}
_PLAIN: Final = frozenset({401, 413, 429, 503})
_DOCUMENTED: Final = (PlainError, StructuredError, ValidationFailed)
_REF_TEMPLATE: Final = "#/components/schemas/{model}"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` of a route that may answer with these error statuses.

    Given as schemas and not as models: FastAPI would make a validator of each model for each route,
    which took longer than all the rest of starting a server.
    """
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    models: tuple[type[BaseModel], ...] = (PlainError, StructuredError)
    if status in _PLAIN:
        models = (PlainError,)
    elif status == 422:  # noqa: PLR2004 - a status
        models = (ValidationFailed,)
    schemas = [{"$ref": _REF_TEMPLATE.format(model=model.__name__)} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {
        "description": _TEXTS[status],
        "content": {"application/json": {"schema": schema}},
    }


def documented_422() -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` of a route that answers 422 for what the schema allows, too."""
    both = _documented(409)["content"]["application/json"]["schema"]["anyOf"]
    only = _documented(422)["content"]["application/json"]["schema"]
    schema = {"anyOf": [only, *both]}
    return {422: {"description": _TEXTS[422], "content": {"application/json": {"schema": schema}}}}


def documented_schemas() -> dict[str, Any]:
    """Return the schemas that `documented` refers to, for the description's components."""
    _, described = models_json_schema(
        [(model, "serialization") for model in _DOCUMENTED], ref_template=_REF_TEMPLATE
    )
    schemas: dict[str, Any] = described["$defs"]
    return schemas
