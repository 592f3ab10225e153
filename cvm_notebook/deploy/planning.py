"""Planning to apply: compare what is declared with what runs; nothing is sent."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.prefetch import PageFetcher
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


_AT_ONCE: Final = 8


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
    named, found = frozenset(one.name for one in declared), _Found(fleet.snapshot())
    meant = {app.name: found.meant(app.name, named) for app in declared}
    whole = {name: rows for name, rows in meant.items() if len({r.app_id for r in rows}) == 1}
    records = _read_all(fleet.client, [row.id for rows in whole.values() for row in rows])
    steps: list[ApplyStep] = []
    for app in declared:
        rows = whole.get(app.name, [])
        if not meant[app.name]:
            steps.append(_creation(fleet.client, app))
        elif not rows:
            why = "several CVMs have this name: declare them by their ids"
            steps.append(ApplyStep(name=app.name, action="refused", reason=why, declaration=app))
        number = len(rows)
        steps += [
            _change(fleet, app, row, records[row.id], number, resend=resend_env) for row in rows
        ]
    return ApplyPlan(steps, fleet.operator)


class _Found:
    """The CVMs of a snapshot, by all that they are called, and by their apps."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._called: dict[str, dict[str, Row]] = {}
        self._of_app: dict[str, list[Row]] = {}
        for row in snapshot:
            for key in {row.name, row.id, row.app_id} - {None}:
                self._called.setdefault(str(key), {})[row.id] = row
            self._of_app.setdefault(row.app_id or row.id, []).append(row)

    def meant(self, key: str, declared: frozenset[str]) -> list[Row]:
        """Return the CVMs of a name, and those of their app that are not declared themselves."""
        named = self._called.get(key, {})
        apps = dict.fromkeys(row.app_id or row.id for row in named.values())
        others = [
            row
            for app in apps
            for row in self._of_app[app]
            if row.id not in named and not {row.name, row.id} & declared
        ]
        return [*named.values(), *others]


def _read_all(client: "Client", ids: Sequence[str]) -> dict[str, Cvm]:
    """Read the whole records of CVMs, eight at a time."""
    each = list(dict.fromkeys(ids))

    def fetch(at: int) -> tuple[Cvm, bool]:
        return read_whole(client, each[at]), False

    return dict(zip(each, PageFetcher(fetch, 0, len(each) - 1, _AT_ONCE), strict=True))


def _change(
    fleet: HasFleet, app: AppDeclaration, row: Row, cvm: Cvm, instances: int, *, resend: bool
) -> ApplyStep:
    """Plan for a CVM that is there."""
    sent = sent_before(fleet.operator)
    whole = app.after(sent.declared(row.id))
    env = whole.changes.env
    send = resend or (env is not None and sent.differs(row.id, env))
    around = Surroundings.read(fleet.client, cvm) if resizes(cvm, whole.changes) else None
    compared = sent.knows(row.id)
    preview = preview_of(cvm, whole.changes, around, send_env=send, values_known=compared)
    refused = next(_problems(app, cvm, preview, instances), None)
    if refused is not None:
        return replace(_step(row, preview), action="refused", reason=refused, declaration=app)
    return replace(_step(row, preview), declaration=app)


def _step(row: Row, preview: UpdatePreview) -> ApplyStep:
    return ApplyStep(
        name=row.name or row.id,
        action="update" if preview.differs else "nothing",
        cvm_id=row.id,
        preview=preview,
        rate_after_usd_h=preview.usd_h_after,
        reason="; ".join((*preview.obstacles, *preview.dangers, *preview.notes)),
        row=row,
    )


def _problems(
    app: AppDeclaration, cvm: Cvm, preview: UpdatePreview, instances: int
) -> Iterator[str]:
    """Say why what is declared cannot be brought about, as far as that is certain."""
    node = cvm.node_info
    region = (node.region if node is not None else None) or ""
    if app.region and not region.casefold().startswith(app.region.casefold()):
        yield f"it is in {region or 'no known region'}, and a CVM does not move: make another one"
    if app.node_id is not None and node is not None and node.id != app.node_id:
        yield f"it is on node {node.id}, and a CVM does not move: make another one"
    if app.replicas is not None and app.replicas != instances:
        yield f"it has {instances} instances, not {app.replicas}: replicate or delete some"
    env = app.changes.env
    missing = app.envs - (set(env) if env is not None else set(preview.allowed))
    if missing:
        yield f"{', '.join(sorted(missing))} have no values: declare env or env_file"
    if app.compose_hash is not None:
        then = preview.hash_after if preview.differs else preview.hash_before
        if then != app.compose_hash.removeprefix("0x").lower():
            yield f"its compose hash would be {then or 'another one'}, not the declared one"
    yield from (said for said in preview.obstacles if "only grows" in said)


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
    steps = [_step(row, previewed(fleet.client, row.id, changes)) for row in rows]
    return ApplyPlan(steps, fleet.operator, word="update", careful=True)
