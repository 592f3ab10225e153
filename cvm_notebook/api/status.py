"""One table of statuses: the service's words for each, what is charged, and what is going on."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

T = TypeVar("T")

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
Operation: TypeAlias = Literal[
    "start", "stop", "shutdown", "restart", "delete", "replicate", "create", "other"
]
OperationHealth: TypeAlias = Literal["ok", "stale", "error", "unknown"]


class StatusInfo(NamedTuple):
    """The row of one status.

    Attributes
    ----------
    moving
        It is a transition, and ends by itself.
    computing_charged
        Computing is charged: from the start until the CVM has stopped. An unknown status is taken
        for the dearest.
    disk_charged
        The disk is charged: until the CVM is deleted.
    operation
        What is being done to it, where the service does not say.
    doing
        The same in words.
    shown_as
        The word of the fleet frame, where that is another one.
    health
        What it says of a CVM.
    wire
        Other words of the service for it.
    """

    moving: bool
    computing_charged: bool
    disk_charged: bool
    operation: Operation | None = None
    doing: str | None = None
    shown_as: Phase | None = None
    health: OperationHealth = "ok"
    wire: tuple[str, ...] = ()


TABLE: Final[Mapping[Phase, StatusInfo]] = {
    # moving, computing charged, disk charged
    "provisioning": StatusInfo(
        True, False, True, "create", "being made", wire=("creating", "pending")
    ),
    "starting": StatusInfo(True, True, True, "start", "starting"),
    "running": StatusInfo(False, True, True),
    "restarting": StatusInfo(True, True, True, "restart", "restarting"),
    # an update ends in a restart of the CVM
    "updating": StatusInfo(True, True, True, "other", "being changed", shown_as="restarting"),
    "stopping": StatusInfo(True, True, True, "stop", "stopping"),
    "stopped": StatusInfo(False, False, True, wire=("exited",)),
    "shutting_down": StatusInfo(True, True, True, "shutdown", "shutting down"),
    "failed": StatusInfo(False, False, True, health="error", wire=("error", "create_failed")),
    "deleting": StatusInfo(True, False, True, "delete", "being deleted", wire=("removing",)),
    "gone": StatusInfo(False, False, False, wire=("deleted", "removed", "terminated")),
    "unknown": StatusInfo(False, True, True, health="unknown"),
}
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
STATUSES: Final[tuple[str, ...]] = tuple(phase for phase in PHASES if not TABLE[phase].shown_as)
MOVING: Final[frozenset[Phase]] = frozenset(phase for phase in PHASES if TABLE[phase].moving)
OPERATIONS: Final[tuple[str, ...]] = get_args(Operation)
HEALTHS: Final[tuple[str, ...]] = get_args(OperationHealth)

# what is merely in progress may be anything
_IN_PROGRESS: Final = "in_progress"
_PHASE_OF: Final[Mapping[str, Phase]] = {
    _IN_PROGRESS: "updating",
    **{phase: phase for phase in PHASES},
    **{word: phase for phase, info in TABLE.items() for word in info.wire},
}
_STATUS_OF: Final[Mapping[str, str]] = {
    **{word: TABLE[phase].shown_as or phase for word, phase in _PHASE_OF.items()},
    _IN_PROGRESS: "unknown",
}
_GIVEN: Final = tuple(word for word in _PHASE_OF if word not in {"unknown", _IN_PROGRESS})
# what the service calls what it does, where it says so itself
_OPERATION_OF_TYPE: Final = {operation: operation for operation in OPERATIONS} | {
    "power_on": "start",
    "power_off": "stop",
    "force_restart": "restart",
    "graceful_shutdown": "shutdown",
    **dict.fromkeys(("compose_update", "env_update", "resize", "image_update"), "other"),
}


def phase_of(word: str | None) -> Phase:
    """Return the status that a word of the service means; no word, or a new one, is ``unknown``."""
    if word is None:
        return "unknown"
    return _PHASE_OF.get(word) or _PHASE_OF.get(word.strip().lower(), "unknown")


def status_of(word: str | None) -> str:
    """Return the word of the fleet frame for it, of which ``updating`` is none."""
    if word is None:
        return "unknown"
    return _STATUS_OF.get(word) or _STATUS_OF.get(word.strip().lower(), "unknown")


def status_words(word: str | None) -> str:
    """Return a status for people, in the words of the table; one that is new in the service's."""
    known = status_of(word)
    return word or known if known == "unknown" else known.replace("_", " ")


def info_of(word: str | None) -> StatusInfo:
    """Return the row of a status."""
    return TABLE[phase_of(word)]


def same_status(word: str | None, target: str) -> bool:
    """Return whether a CVM whose status is `word` has the status that is wanted.

    Words that mean the same are the same, whatever their case: ``exited`` is ``stopped``. What the
    fleet frame shows as another status has that one, too: ``updating`` is ``restarting``.
    """
    if word is None:
        return False
    wanted = target.strip().lower()
    if word.strip().lower() == wanted:
        return True
    known = wanted in _PHASE_OF and wanted != "unknown"
    return known and (phase_of(word) == phase_of(wanted) or status_of(word) == wanted)


def is_status(target: str) -> bool:
    """Return whether a word is a status that a CVM can have."""
    return target.strip().lower() in _GIVEN


def closest_status(target: str) -> str | None:
    """Return the status that a word is nearly, or None."""
    near = get_close_matches(target.strip().lower(), _GIVEN, n=1, cutoff=0.6)
    return near[0] if near else None


def charged(word: str | None, total: T, disk: T, nothing: T) -> T:
    """Return which price is charged in a status: all of it, that of the disk alone, or nothing."""
    info = info_of(word)
    if info.computing_charged:
        return total
    return disk if info.disk_charged else nothing


@lru_cache(maxsize=1_000)
def operation_of(word: str | None, in_progress: bool | None, reported: str | None) -> str | None:
    """Name what is being done to a CVM: as `reported` by the service, or else by its status."""
    named = reported and _OPERATION_OF_TYPE.get(reported.strip().lower())
    return named or info_of(word).operation or ("other" if in_progress else None)


@lru_cache(maxsize=1_000)
def health_of(status: str | None) -> str:
    """Judge a status: ``error`` when it failed, ``unknown`` when the word is, else ``ok``."""
    return info_of(status).health


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
KMS_TYPES: Final = ("phala", "ethereum", "base", "legacy", "unknown")
BILLING_PERIODS: Final = ("skip", "hourly", "monthly", "unknown")
SOURCES: Final = ("list", "get", "batch", "stream", "action")
