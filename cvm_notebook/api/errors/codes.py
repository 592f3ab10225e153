"""The service's error codes: a constant, a sentence and a next step for each.

``error.error_code == error_codes.CVM_APP_ID_CONFLICT`` tells one refusal from another.
"""

from typing import Final, NamedTuple


class Code(NamedTuple):
    """Message and hint of an error code, for when the service itself gives none."""

    name: str
    sentence: str
    next_step: str


# 01: before a CVM is made, and compose hashes
NODE_NOT_FOUND: Final = "ERR-01-001"
COMPOSE_FILE_REQUIRED: Final = "ERR-01-002"
INVALID_COMPOSE_FILE: Final = "ERR-01-003"
DUPLICATE_CVM_NAME: Final = "ERR-01-004"
HASH_REGISTRATION_REQUIRED: Final = "ERR-01-005"
HASH_INVALID_OR_EXPIRED: Final = "ERR-01-006"
TX_VERIFICATION_FAILED: Final = "ERR-01-007"
HASH_NOT_ALLOWED: Final = "ERR-01-008"
# 02: the inventory of nodes, images and GPUs
INSTANCE_TYPE_NOT_FOUND: Final = "ERR-02-001"
RESOURCE_NOT_AVAILABLE: Final = "ERR-02-002"
INSUFFICIENT_VCPU: Final = "ERR-02-003"
INSUFFICIENT_MEMORY: Final = "ERR-02-004"
INSUFFICIENT_SLOTS: Final = "ERR-02-005"
GPU_ALLOCATION_ERROR: Final = "ERR-02-006"
INSUFFICIENT_GPU: Final = "ERR-02-007"
INVALID_REQUEST: Final = "ERR-02-008"
INCOMPATIBLE_CONFIG: Final = "ERR-02-009"
IMAGE_NOT_FOUND: Final = "ERR-02-010"
KMS_NOT_FOUND: Final = "ERR-02-011"
TEEPOD_NOT_ACCESSIBLE: Final = "ERR-02-012"
OS_IMAGE_NOT_COMPATIBLE: Final = "ERR-02-013"
NODE_CAPACITY_NOT_CONFIGURED: Final = "ERR-02-014"
QUOTA_EXCEEDED: Final = "ERR-02-015"
GPU_DEVICE_IN_USE: Final = "ERR-02-016"  # our name: the official SDK has none
# 03: what is done to CVMs
CVM_NOT_FOUND: Final = "ERR-03-001"
MULTIPLE_CVMS_SAME_NAME: Final = "ERR-03-002"
CVM_NOT_IN_WORKSPACE: Final = "ERR-03-003"
CVM_NOT_IN_YOUR_WORKSPACE: Final = "ERR-03-004"  # our name
CVM_ACCESS_DENIED: Final = "ERR-03-005"
REPLICA_IMAGE_NOT_AVAILABLE: Final = "ERR-03-006"
CVM_APP_ID_CONFLICT: Final = "ERR-03-007"
REPLICA_SOURCE_NOT_ACCESSIBLE: Final = "ERR-03-008"  # our name
REPLICA_NEEDS_COMPOSE_HASH: Final = "ERR-03-009"  # our name
MULTIPLE_CVMS_FOR_IDENTIFIER: Final = "ERR-03-010"  # our name
# 04: the workspace and its balance
INSUFFICIENT_BALANCE: Final = "ERR-04-001"
MAX_CVM_LIMIT: Final = "ERR-04-002"
RESOURCE_LIMIT_EXCEEDED: Final = "ERR-04-003"
# 05: API keys
TOKEN_LIMIT_EXCEEDED: Final = "ERR-05-001"  # noqa: S105 - a code, not a token
TOKEN_RATE_LIMIT: Final = "ERR-05-002"  # noqa: S105 - a code, not a token
# 06: sign-in
OAUTH_EMAIL_INVALID: Final = "ERR-06-001"
PERMISSION_DENIED: Final = "ERR-06-006"

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    NODE_NOT_FOUND: (
        "The node does not exist.",
        "Choose one of client.get_available_nodes(), or leave the node out.",
    ),
    COMPOSE_FILE_REQUIRED: ("The compose file is missing.", "Give compose_file."),
    INVALID_COMPOSE_FILE: (
        "The compose file was not accepted.",
        "Correct it; `docker compose config` shows most mistakes.",
    ),
    DUPLICATE_CVM_NAME: (
        "A CVM of this name exists in the workspace.",
        "Choose another name, or delete the CVM that has it.",
    ),
    HASH_REGISTRATION_REQUIRED: (
        "The compose hash must be registered on chain first.",
        "Register the hash with the app's contract, then send again with the transaction hash.",
    ),
    HASH_INVALID_OR_EXPIRED: (
        "The compose hash is unknown or has expired.",
        "Provision again and commit what it answers; a provision lives 14 days.",
    ),
    TX_VERIFICATION_FAILED: (
        "The transaction could not be verified on chain.",
        "Wait for its confirmation, check the hash and the chain, then send again.",
    ),
    HASH_NOT_ALLOWED: (
        "The app's contract does not allow this compose hash.",
        "Allow the hash in the contract, then send again.",
    ),
    INSTANCE_TYPE_NOT_FOUND: (
        "The instance type does not exist.",
        "Choose one of client.list_instance_types().",
    ),
    RESOURCE_NOT_AVAILABLE: (
        "No node has room for this CVM.",
        "Choose a smaller type or another region, or try later.",
    ),
    INSUFFICIENT_VCPU: (
        "The node has too few free vCPUs.",
        "Ask for fewer, or choose another node.",
    ),
    INSUFFICIENT_MEMORY: (
        "The node has too little free memory.",
        "Ask for less, or choose another node.",
    ),
    INSUFFICIENT_SLOTS: ("The node has no free CVM slot.", "Choose another node."),
    GPU_ALLOCATION_ERROR: (
        "The GPUs could not be allocated.",
        "Try again, or choose another node.",
    ),
    INSUFFICIENT_GPU: (
        "The node has too few free GPUs.",
        "Ask for fewer, or choose another node.",
    ),
    INVALID_REQUEST: ("The request was not accepted.", "Correct the fields named in details."),
    INCOMPATIBLE_CONFIG: (
        "The settings do not go together.",
        "Check node, image, KMS and instance type against each other.",
    ),
    IMAGE_NOT_FOUND: ("The OS image does not exist.", "Choose one of client.list_os_images()."),
    KMS_NOT_FOUND: (
        "The node has no such KMS.",
        "Choose another node or KMS; client.get_available_nodes() lists both.",
    ),
    TEEPOD_NOT_ACCESSIBLE: (
        "The workspace may not use this node.",
        "Choose one of client.get_available_nodes().",
    ),
    OS_IMAGE_NOT_COMPATIBLE: (
        "The OS image does not run here.",
        "Choose an image that the node lists; a GPU needs an image for GPUs.",
    ),
    NODE_CAPACITY_NOT_CONFIGURED: ("The node is not set up to take CVMs.", "Choose another node."),
    QUOTA_EXCEEDED: (
        "The workspace's quota is used up.",
        "Delete what is not needed; client.get_workspace_quotas() shows what is left.",
    ),
    GPU_DEVICE_IN_USE: ("The GPU is in use by another CVM.", "Choose another node or GPU."),
    CVM_NOT_FOUND: (
        "There is no such CVM.",
        "client.list_cvms() shows what this key sees; it may be gone or in another workspace.",
    ),
    MULTIPLE_CVMS_SAME_NAME: ("Several CVMs have this name.", "Use the id (cvm_...) instead."),
    CVM_NOT_IN_WORKSPACE: (
        "The CVM is not in this workspace.",
        "Use a key of the workspace that owns it.",
    ),
    CVM_NOT_IN_YOUR_WORKSPACE: (
        "The CVM is not in your workspace.",
        "Use a key of the workspace that owns it.",
    ),
    CVM_ACCESS_DENIED: (
        "There is no such CVM, or this key may not see it.",
        "client.list_cvms() shows what this key sees.",
    ),
    REPLICA_IMAGE_NOT_AVAILABLE: (
        "The target node lacks the CVM's OS image.",
        "Choose another node, or give an os_image that it has.",
    ),
    CVM_APP_ID_CONFLICT: (
        "The app id is committed already, with another compose hash.",
        "Provision again for a new app id, or update the existing CVM instead.",
    ),
    REPLICA_SOURCE_NOT_ACCESSIBLE: (
        "The CVM to copy was not found, or this key may not see it.",
        "client.list_cvms() shows what this key sees.",
    ),
    REPLICA_NEEDS_COMPOSE_HASH: (
        "The app runs several compose files, so a replica needs a compose hash.",
        "Give the compose_hash of the CVM to copy.",
    ),
    MULTIPLE_CVMS_FOR_IDENTIFIER: (
        "Several CVMs answer to this identifier.",
        "Use the id (cvm_...) instead; client.get_app_cvms(app_id) lists an app's CVMs.",
    ),
    INSUFFICIENT_BALANCE: ("The balance does not cover this.", "Add credit to the workspace."),
    MAX_CVM_LIMIT: (
        "The workspace has as many CVMs as its tier allows.",
        "Delete one, or change the tier.",
    ),
    RESOURCE_LIMIT_EXCEEDED: (
        "This would pass the workspace's resource limit.",
        "Ask for less, or free some; client.get_workspace_quotas() shows what is left.",
    ),
    TOKEN_LIMIT_EXCEEDED: (
        "The account has as many API keys as it may.",
        "Revoke one that is not used.",
    ),
    TOKEN_RATE_LIMIT: ("API keys were made too quickly.", "Wait, then make the key."),
    OAUTH_EMAIL_INVALID: (
        "The sign-in's mail address was not accepted.",
        "Sign in with an account that has a verified address.",
    ),
    PERMISSION_DENIED: (
        "This key may not do that.",
        "Ask an owner of the workspace for the right, or use another key.",
    ),
}

CODES: Final[dict[str, Code]] = {
    value: Code(name, *_TEXTS[value])
    for name, value in list(globals().items())
    if isinstance(value, str) and value.startswith("ERR-")
}
