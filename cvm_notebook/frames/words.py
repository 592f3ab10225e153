"""The server's words for a CVM's state, sorted into the fixed words that frames count by."""

from typing import Final

STATUSES: Final = (
    "provisioning",
    "starting",
    "running",
    "restarting",
    "stopping",
    "stopped",
    "shutting_down",
    "failed",
    "deleting",
    "gone",
    "unknown",
)
OPERATIONS: Final = (
    "start",
    "stop",
    "shutdown",
    "restart",
    "delete",
    "replicate",
    "create",
    "other",
)
HEALTHS: Final = ("ok", "stale", "error", "unknown")
KMS_TYPES: Final = ("phala", "ethereum", "base", "legacy", "unknown")
BILLING_PERIODS: Final = ("skip", "hourly", "monthly", "unknown")
SOURCES: Final = ("list", "get", "batch", "stream", "action", "replay")

# the words the service uses beside ours; an update ends in a restart of the CVM
_STATUS_OF: Final = {status: status for status in STATUSES} | {
    "creating": "provisioning",
    "pending": "provisioning",
    "updating": "restarting",
    "exited": "stopped",
    "error": "failed",
    "create_failed": "failed",
    "removing": "deleting",
    "deleted": "gone",
    "removed": "gone",
    "terminated": "gone",
}
_OPERATION_OF: Final = {
    "provisioning": "create",
    "starting": "start",
    "restarting": "restart",
    "stopping": "stop",
    "shutting_down": "shutdown",
    "deleting": "delete",
}

# what the service calls what it does, where it says so itself
_OPERATION_OF_TYPE: Final = {operation: operation for operation in OPERATIONS} | {
    "power_on": "start",
    "power_off": "stop",
    "force_restart": "restart",
    "graceful_shutdown": "shutdown",
    **dict.fromkeys(("compose_update", "env_update", "resize", "image_update"), "other"),
}


def status_of(word: str | None) -> str:
    """Sort the server's word for a status; no word, or a new one, is ``unknown``."""
    if word is None:
        return "unknown"
    return _STATUS_OF.get(word) or _STATUS_OF.get(word.strip().lower(), "unknown")


def operation_of(word: str | None, *, in_progress: bool) -> str | None:
    """Name what is being done to a CVM in this status, or None when nothing is."""
    if word is not None and word.strip().lower() == "updating":
        return "other"
    return _OPERATION_OF.get(status_of(word)) or ("other" if in_progress else None)


def operation_of_type(word: str | None) -> str | None:
    """Sort the service's own word for an operation; None when it is no such word."""
    return None if word is None else _OPERATION_OF_TYPE.get(word.strip().lower())


def health_of(status: str) -> str:
    """Judge a status: ``error`` when it failed, ``unknown`` when the word is, else ``ok``."""
    return {"failed": "error", "unknown": "unknown"}.get(status, "ok")
