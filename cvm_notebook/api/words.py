"""The service's words for a CVM's state, sorted into the fixed words that people search by."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

Phase: TypeAlias = Literal[
    "provisioning",
    "starting",
    "running",
    "restarting",
    "updating",
    "stopping",
    "stopped",
    "shutting_down",
    "failed",
    "deleting",
    "gone",
    "unknown",
]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
MOVING: Final[frozenset[Phase]] = frozenset(
    {"provisioning", "starting", "restarting", "updating", "stopping", "shutting_down", "deleting"}
)
STATUSES: Final[tuple[str, ...]] = tuple(phase for phase in PHASES if phase != "updating")
# In the order in which a CVM reports them while it boots; then it says "done".
BOOT_STEPS: Final = (
    "setting up dstack-gateway",
    "setting up docker",
    "initializing data disk",
    "mounting data disk",
    "requesting app keys",
    "init-script",
    "pre-launch",
    "starting containers",
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
SOURCES: Final = ("list", "get", "batch", "stream", "action")

# the words the service uses beside ours
_PHASE_OF: Final[Mapping[str, Phase]] = {phase: phase for phase in PHASES} | {
    "creating": "provisioning",
    "pending": "provisioning",
    "in_progress": "updating",
    "exited": "stopped",
    "error": "failed",
    "create_failed": "failed",
    "removing": "deleting",
    "deleted": "gone",
    "removed": "gone",
    "terminated": "gone",
}
# an update ends in a restart of the CVM; what is merely in progress may be anything
_STATUS_OF: Final[Mapping[str, str]] = {
    **_PHASE_OF,
    "updating": "restarting",
    "in_progress": "unknown",
}
_OPERATION_OF: Final[Mapping[Phase, str]] = {
    "provisioning": "create",
    "starting": "start",
    "restarting": "restart",
    "updating": "other",
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
_HEALTH_OF: Final = {"failed": "error", "unknown": "unknown"}


def phase_of(word: str | None) -> Phase:
    """Sort the service's word for a status; no word, or a new one, is ``unknown``."""
    if word is None:
        return "unknown"
    return _PHASE_OF.get(word) or _PHASE_OF.get(word.strip().lower(), "unknown")


def status_of(word: str | None) -> str:
    """Sort it into the words of the fleet table, of which ``updating`` is none."""
    if word is None:
        return "unknown"
    return _STATUS_OF.get(word) or _STATUS_OF.get(word.strip().lower(), "unknown")


def operation_of(word: str | None, *, in_progress: bool, said: str | None = None) -> str | None:
    """Name what is being done to a CVM: as the service has `said`, or else as its status tells."""
    named = said and _OPERATION_OF_TYPE.get(said.strip().lower())
    return named or _OPERATION_OF.get(phase_of(word)) or ("other" if in_progress else None)


def health_of(status: str) -> str:
    """Judge a status: ``error`` when it failed, ``unknown`` when the word is, else ``ok``."""
    return _HEALTH_OF.get(status, "ok")
