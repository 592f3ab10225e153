"""Planning to apply: compare what is declared with what runs; nothing is sent."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.money import exact
from cvm_notebook.deploy.apply import ApplyPlan, ApplyStep, values_of
from cvm_notebook.deploy.declaration import AppDeclaration, Changes
from cvm_notebook.deploy.preview import UpdatePreview, preview_of
from cvm_notebook.deploy.pricing import DISK_USD_GB_H
from cvm_notebook.deploy.size import Surroundings
from cvm_notebook.deploy.updating import previewed, read_whole, resizes, sent_before
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.records import Row, Snapshot

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


class HasFleet(Protocol):
    """A fleet, as far as applying needs one."""

    @property
    def client(self) -> "Client":
        """Who reads."""

    @property
    def operator(self) -> OperationService:
        """Who sends."""

    def snapshot(self) -> Snapshot:
        """Return the fleet as it is known now."""


def plan_apply(
    fleet: HasFleet, declared: Sequence[AppDeclaration], *, resend_env: bool = False
) -> ApplyPlan:
    """Compare declarations with what runs, and plan what would make them true; nothing is sent.

    Raises
    ------
    CvmError
        A CVM cannot be read.
    """
    snapshot, names = fleet.snapshot(), {one.name for one in declared}
    steps: list[ApplyStep] = []
    for app in declared:
        rows = _meant(snapshot, app.name, names)
        if not rows:
            steps.append(_creation(fleet.client, app))
        elif len({row.app_id for row in rows}) > 1:
            why = "several CVMs have this name: declare them by their ids"
            steps.append(ApplyStep(name=app.name, action="refused", reason=why, declaration=app))
        else:
            count = len(rows)
            steps += [_change(fleet, app, row, count, resend_env=resend_env) for row in rows]
    return ApplyPlan(steps, fleet.operator)


def _meant(snapshot: Snapshot, key: str, declared: set[str]) -> list[Row]:
    """Return the CVMs of a name, and those of their app that are not declared themselves."""
    named = [row for row in snapshot if key in {row.name, row.id, row.app_id}]
    apps = {row.app_id for row in named} - {None}
    others = [
        row
        for row in snapshot
        if row not in named and row.app_id in apps and not {row.name, row.id} & declared
    ]
    return named + others


def _change(
    fleet: HasFleet, app: AppDeclaration, row: Row, instances: int, *, resend_env: bool
) -> ApplyStep:
    """Plan for a CVM that is there."""
    client, sent = fleet.client, sent_before(fleet.operator)
    cvm = read_whole(client, row.id)
    whole = app.after(sent.declared(row.id))
    env = whole.changes.env
    send = resend_env or (env is not None and sent.differs(row.id, env))
    preview = preview_of(cvm, whole.changes, send_env=send)
    if resizes(cvm, whole.changes):
        preview = preview_of(cvm, whole.changes, Surroundings.read(client, cvm), send_env=send)
    if env is not None and sent.knows(row.id):
        preview = replace(preview, notes=())
    step = ApplyStep(
        name=row.name or row.id,
        action="update" if preview.differs else "nothing",
        cvm_id=row.id,
        preview=preview,
        rate_after_usd_h=preview.usd_h_after,
        reason="; ".join((*preview.obstacles, *preview.dangers, *preview.notes)),
        declaration=app,
        row=row,
    )
    problem = _problem(app, cvm, preview, instances)
    return step if problem is None else replace(step, action="refused", reason=problem)


def _problem(app: AppDeclaration, cvm: Cvm, preview: UpdatePreview, instances: int) -> str | None:
    """Return why what is declared cannot be brought about, as far as that is certain."""
    node = cvm.node_info
    region = (node.region if node is not None else None) or ""
    if app.region and not region.casefold().startswith(app.region.casefold()):
        return f"it is in {region or 'no known region'}, and a CVM does not move: make another one"
    if app.node_id is not None and node is not None and node.id != app.node_id:
        return f"it is on node {node.id}, and a CVM does not move: make another one"
    if app.replicas is not None and app.replicas != instances:
        return f"it has {instances} instances, not {app.replicas}: replicate or delete some"
    env = app.changes.env
    has = set(env) if env is not None else set(preview.allowed)
    if app.envs - has:
        return f"{', '.join(sorted(app.envs - has))} have no values: declare env or env_file"
    if app.compose_hash is not None:
        then = preview.hash_after if preview.differs else preview.hash_before
        if then != app.compose_hash.removeprefix("0x").lower():
            return f"its compose hash would be {then or 'another one'}, not the declared one"
    return next((said for said in preview.obstacles if "only grows" in said), None)


def _creation(client: "Client", app: AppDeclaration) -> ApplyStep:
    """Plan for a CVM that is not there."""
    step = ApplyStep(name=app.name, action="create", declaration=app)
    problems = values_of(app).problems()
    named = set(app.changes.env or ())
    if app.envs - named:
        missing = ", ".join(sorted(app.envs - named))
        problems["env"] = InvalidInput("env", f"{missing} have no values", "Declare env.")
    if app.replicas not in {None, 1}:
        why = InvalidInput("replicas", "a new app has one instance", "Replicate it when it runs.")
        problems["replicas"] = why
    if problems:
        return replace(step, action="refused", reason=str(next(iter(problems.values()))))
    return replace(step, rate_after_usd_h=_rate(client, app))


@exact
def _rate(client: "Client", app: AppDeclaration) -> Decimal | None:
    wanted = values_of(app).instance_type
    kind = next((one for one in client.list_instance_types() if one.id == wanted), None)
    if kind is None or kind.hourly_rate is None:
        return None
    return kind.hourly_rate + DISK_USD_GB_H * (
        app.changes.disk_size or kind.default_disk_size_gb or 0
    )


def plan_updates(fleet: HasFleet, rows: Sequence[Row], changes: Changes) -> ApplyPlan:
    """Plan the same changes of several CVMs; more than one of them wants the phrase.

    Raises
    ------
    CvmError
        A CVM cannot be read.
    """
    steps = []
    for row in rows:
        preview = previewed(fleet.client, row.id, changes)
        steps.append(
            ApplyStep(
                name=row.name or row.id,
                action="update" if preview.differs else "nothing",
                cvm_id=row.id,
                preview=preview,
                rate_after_usd_h=preview.usd_h_after,
                reason="; ".join((*preview.obstacles, *preview.dangers, *preview.notes)),
                row=row,
            )
        )
    return ApplyPlan(steps, fleet.operator, word="update", careful=True)
