"""Say what a CVM is doing: a pure function of its last operation, when it began, and now.

``view(operation, now, speed)`` is the only place where a status comes from. Nothing ticks, so two
workers can't disagree and a test moves the clock instead of sleeping.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

BOOT_STEPS = (
    "setting up dstack-gateway",
    "setting up docker",
    "initializing data disk",
    "mounting data disk",
    "requesting app keys",
    "init-script",
    "pre-launch",
    "starting containers",
)
"""What ``boot_progress`` says while a CVM starts; afterwards it says ``done``."""

SHUTDOWN_STEPS = ("stopping containers", "unmounting data disk", "powering off")
"""What ``shutdown_progress`` says while a CVM shuts down."""

STABLE = frozenset({"running", "stopped", "exited", "error"})
"""Statuses a CVM stays in."""

ALIVE = frozenset({"running"})
"""Stable statuses in which it computes (and so costs compute)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of an operation."""

    status: str
    seconds: float
    steps: tuple[str, ...] = ()


PROVISIONING = Phase("provisioning", 20)
STARTING = Phase("starting", 45, BOOT_STEPS)
STOPPING = Phase("stopping", 6)
SHUTTING_DOWN = Phase("shutting_down", 24, SHUTDOWN_STEPS)
RESTARTING = Phase("restarting", 24, SHUTDOWN_STEPS)
FORCED = Phase("restarting", 5)
UPDATING = Phase("updating", 15)
DELETING = Phase("deleting", 25)


@dataclass(frozen=True, slots=True)
class Plan:
    """The course of an operation: its phases, and the status it ends in."""

    phases: tuple[Phase, ...]
    final: str


_UPDATES = ("compose_update", "env_update", "resize", "image_update")
_BOOT = Plan((PROVISIONING, STARTING), "running")

PLANS: Mapping[str, Plan] = {
    "create": _BOOT,
    "replicate": _BOOT,
    "power_on": Plan((STARTING,), "running"),
    "power_off": Plan((STOPPING,), "stopped"),
    "shutdown": Plan((SHUTTING_DOWN,), "stopped"),
    "restart": Plan((RESTARTING, STARTING), "running"),
    "force_restart": Plan((FORCED, STARTING), "running"),
    "delete": Plan((DELETING,), "deleted"),
} | dict.fromkeys(_UPDATES, Plan((UPDATING, STARTING), "running"))
"""What each kind of operation does to a CVM that runs."""

KINDS = tuple(PLANS)
"""All kinds of operations, as history names them."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The newest thing done to a CVM.

    Parameters
    ----------
    kind
        A key of ``PLANS``.
    began_at
        Seconds since 1970.
    origin
        The stable status it began from; ``""`` for a new CVM.
    final
        Where it ends instead of where it should (``error``, ``exited``).
    error
        What boot_error says then.
    correlation_id
        Its name in the API.
    """

    kind: str
    began_at: float
    origin: str = ""
    final: str | None = None
    error: str | None = None
    correlation_id: str = ""


class HasOperation(Protocol):
    """A CVM's row, or any part of it that holds its newest operation."""

    op_kind: str
    op_began_at: float
    op_origin: str
    op_final: str | None
    op_error: str | None
    op_correlation_id: str


@dataclass(frozen=True, slots=True)
class View:
    """The state of a CVM at one moment.

    ``target`` is where the operation leads, ``since`` when the present status began, ``ends_at``
    when the operation ends or has ended, ``running_since``/``exited_at`` are set when it runs/has
    stopped.
    """

    status: str
    in_progress: bool
    target: str
    since: float
    ends_at: float
    boot_progress: str | None = None
    boot_error: str | None = None
    shutdown_progress: str | None = None
    running_since: float | None = None
    exited_at: float | None = None


def plan(kind: str, origin: str) -> Plan:
    """Return what an operation does; an update doesn't start what was stopped."""
    if kind in _UPDATES and origin not in ALIVE:
        return Plan((UPDATING,), origin)
    return PLANS[kind]


def duration(operation: Operation, speed: float) -> float:
    """Return how long an operation takes, in seconds."""
    phases = plan(operation.kind, operation.origin).phases
    return sum(phase.seconds for phase in phases) / speed


def target(operation: Operation) -> str:
    """Return the status the operation is meant to reach."""
    return plan(operation.kind, operation.origin).final


def boots(operation: Operation) -> bool:
    """Tell whether the CVM boots in the course of this operation."""
    return target(operation) in ALIVE


def view(operation: Operation, now: float, speed: float) -> View:
    """Say what a CVM does at ``now``."""
    planned = plan(operation.kind, operation.origin)
    ends_at = operation.began_at + duration(operation, speed)
    if now >= ends_at:
        return _ended(operation, planned, ends_at)
    since = operation.began_at
    phase = planned.phases[0]
    for phase in planned.phases:
        if now < since + phase.seconds / speed:
            break
        since += phase.seconds / speed
    step = _step(phase, (now - since) * speed)
    return View(
        status=phase.status,
        in_progress=True,
        target=planned.final,
        since=since,
        ends_at=ends_at,
        boot_progress=step if phase.steps is BOOT_STEPS else None,
        shutdown_progress=step if phase.steps is SHUTDOWN_STEPS else None,
    )


def _step(phase: Phase, elapsed: float) -> str | None:
    if not phase.steps:
        return None
    place = int(max(0.0, elapsed) / phase.seconds * len(phase.steps))
    return phase.steps[min(place, len(phase.steps) - 1)]


def _ended(operation: Operation, planned: Plan, ends_at: float) -> View:
    status = operation.final or planned.final
    runs = status in ALIVE
    down = STOPPING in planned.phases or SHUTTING_DOWN in planned.phases
    return View(
        status=status,
        in_progress=False,
        target=planned.final,
        since=ends_at,
        ends_at=ends_at,
        boot_progress="done" if runs or status == "exited" else None,
        boot_error=operation.error,
        shutdown_progress=SHUTDOWN_STEPS[-1] if down else None,
        running_since=ends_at if runs else None,
        exited_at=None if runs else ends_at,
    )


def operation_of(cvm: HasOperation) -> Operation:
    """Return the operation that stands in a CVM's row."""
    return Operation(
        kind=cvm.op_kind,
        began_at=cvm.op_began_at,
        origin=cvm.op_origin,
        final=cvm.op_final,
        error=cvm.op_error,
        correlation_id=cvm.op_correlation_id,
    )


def view_of(cvm: HasOperation, now: float, speed: float) -> View:
    """Say what the CVM of this row does at ``now``."""
    return view(operation_of(cvm), now, speed)
