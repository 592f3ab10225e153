"""What became of an operation: judged from what is seen of its CVM, and read back when in doubt.

Reading is all that is done here: nothing is ever sent a second time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors import NotFoundError
from cvm_notebook.api.models import Cvm, CvmAction
from cvm_notebook.api.words import Phase
from cvm_notebook.live.preconditions import Verb
from cvm_notebook.live.seen import Seen

_HISTORY: Final = 10  # operations of a CVM that are looked at
_RESTARTS: Final = frozenset({"restart", "force_restart", "reboot"})
_GOALS: Final[Mapping[Verb, Phase]] = {
    "start": "running",
    "stop": "stopped",
    "shutdown": "stopped",
    "restart": "running",
    "delete": "gone",
    "replicate": "running",
    "commit": "running",
}
_UNDER_WAY: Final[Mapping[Verb, frozenset[Phase]]] = {
    "start": frozenset({"starting"}),
    "stop": frozenset({"stopping"}),
    "shutdown": frozenset({"shutting_down", "stopping"}),
    "restart": frozenset({"restarting"}),
    "delete": frozenset({"deleting"}),
    "replicate": frozenset({"provisioning", "starting"}),
    "commit": frozenset({"provisioning", "starting"}),
}
_DOWN: Final[frozenset[Phase]] = frozenset({"stopping", "shutting_down", "stopped"})


@dataclass(frozen=True, slots=True)
class Turn:
    """How an operation that was accepted stands."""

    kind: Literal["going", "reached", "failed"]
    why: str = ""


_GOING: Final = Turn("going")


def target_of(verb: Verb) -> str:
    """Return the status a verb leads to."""
    return _GOALS[verb]


def is_under_way(verb: Verb, seen: Seen) -> bool:
    """Tell whether the CVM is on its way to the verb's target."""
    return seen.phase in _UNDER_WAY[verb]


def has_begun(verb: Verb, seen: Seen) -> bool:
    """Tell whether the CVM's status shows that this was done, or is being done."""
    if is_under_way(verb, seen):
        return True
    # What runs may not have been restarted yet; every other goal is as good as its way.
    return verb != "restart" and seen.phase == _GOALS[verb] and not seen.in_progress


def turn_of(verb: Verb, seen: Seen, *, begun: bool) -> Turn:
    """Judge an accepted operation by what its CVM does: pure.

    Parameters
    ----------
    begun
        Whether the CVM was seen on its way to the target since.
    """
    phase, goal = seen.phase, _GOALS[verb]
    if phase == goal and not seen.in_progress and (begun or verb != "restart"):
        return Turn("reached")
    if phase == goal or phase in _UNDER_WAY[verb] or verb == "delete":
        return _GOING
    if phase in {"gone", "deleting"}:
        return Turn("failed", f"'{seen.name}' was deleted meanwhile")
    if goal == "running":
        return _turn_of_boot(seen, begun=begun)
    if begun and phase in {"starting", "running"}:
        return Turn("failed", f"'{seen.name}' was started again meanwhile")
    return _GOING


def _turn_of_boot(seen: Seen, *, begun: bool) -> Turn:
    if seen.phase == "failed":
        why = seen.boot_error or f"its status is {seen.status}"
        return Turn("failed", f"'{seen.name}' did not come up: {why}")
    if begun and seen.phase in _DOWN:
        return Turn("failed", f"'{seen.name}' was stopped meanwhile: it is {seen.doing}")
    return _GOING


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What reading back has shown.

    Attributes
    ----------
    begun
        It shows that the request was carried out.
    cvm
        The record that was read, of the CVM it was asked of or that it made; None when it is gone.
    gone
        The CVM is not there any more.
    correlation_id
        The service's name for what it does about it.
    """

    begun: bool
    cvm: Cvm | None = None
    gone: bool = False
    correlation_id: str | None = None


def known_before(client: Client, verb: Verb, cvm_id: str, app_id: str | None) -> frozenset[str]:
    """Read, before it is sent, what would look like its doing afterwards.

    A restart ends where it began, and a replica looks like its brothers: they are told by what is
    new in the CVM's history, or among the app's CVMs. Nobody's clock is asked.
    """
    if verb == "restart":
        done = client.list_operations(cvm_id, limit=_HISTORY)
        return frozenset(one.correlation_id for one in done if one.correlation_id)
    if verb == "replicate":
        app = app_id or client.get_cvm_info(cvm_id).app_id or ""
        return frozenset(one.id for one in client.get_app_cvms(app) if one.id)
    return frozenset()


def read_back(
    client: Client,
    verb: Verb,
    cvm_id: str | None,
    params: Mapping[str, Any],
    known: frozenset[str] | None,
    *,
    app_id: str | None = None,
) -> Evidence:
    """Read what became of something that was sent and not answered.

    Parameters
    ----------
    known
        What `known_before` returned.
    app_id
        Of the CVM, where it is known: a replica is found by it though its source is gone.

    Raises
    ------
    CvmError
        Reading failed, too.
    """
    if verb == "commit":
        return _of_commit(client, str(params.get("app_id")), str(params.get("compose_hash")))
    assert cvm_id is not None  # noqa: S101 - only a commit has no CVM yet
    known = None if known is None else known | {cvm_id}
    replica = _replica_in(client, app_id, known) if verb == "replicate" else None
    if replica is not None:
        return replica
    try:
        cvm = client.get_cvm_info(cvm_id)
    except NotFoundError:
        return Evidence(begun=verb == "delete", gone=True)
    if verb == "replicate":
        found = None if app_id else _replica_in(client, cvm.app_id, known)
        return found or Evidence(begun=False)
    seen = Seen.of_cvm(cvm)
    correlation_id = seen.correlation_id
    begun = has_begun(verb, seen)
    if verb == "restart" and not begun and known is not None:
        correlation_id = _new_restart(client, cvm_id, known)
        begun = correlation_id is not None
    return Evidence(begun=begun, cvm=cvm, correlation_id=correlation_id)


def _new_restart(client: Client, cvm_id: str, known: frozenset[str]) -> str | None:
    for one in client.list_operations(cvm_id, limit=_HISTORY):
        if one.operation_type in _RESTARTS and one.correlation_id not in known:
            return one.correlation_id
    return None


def _of_commit(client: Client, app_id: str, compose_hash: str) -> Evidence:
    wanted = _bare(compose_hash)
    for cvm in _cvms_of(client, _bare(app_id)):
        if _bare(cvm.compose_hash or "") == wanted:
            return Evidence(begun=True, cvm=cvm, correlation_id=Seen.of_cvm(cvm).correlation_id)
    return Evidence(begun=False)


def _replica_in(
    client: Client, app_id: str | None, known: frozenset[str] | None
) -> Evidence | None:
    """Return the newest CVM of an app that was not known before, if there is one."""
    if known is None or app_id is None:
        return None
    new = [cvm for cvm in _cvms_of(client, app_id) if cvm.id not in known]
    if not new:
        return None
    newest = max(new, key=lambda cvm: cvm.created_at or "")
    return Evidence(begun=True, cvm=newest, correlation_id=Seen.of_cvm(newest).correlation_id)


def _cvms_of(client: Client, app_id: str) -> list[Cvm]:
    try:
        return client.get_app_cvms(app_id)
    except NotFoundError:
        return []


def _bare(digits: str) -> str:
    for prefix in ("app_", "0x", "sha256:"):
        digits = digits.removeprefix(prefix)
    return digits.lower()


def as_answer(cvm: Cvm) -> CvmAction:
    """Return the record that the lost answer would have held, as far as reading gives it."""
    return CvmAction(
        id=cvm.id,
        name=cvm.name,
        status=cvm.status,
        app_id=cvm.app_id,
        vm_uuid=cvm.vm_uuid,
        instance_id=cvm.instance_id,
        created_at=cvm.created_at,
    )
