"""Planning to apply: compare what is declared with what runs; nothing is sent."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.prefetch import side_by_side
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.deploy.apply.creating import creation
from cvm_notebook.deploy.apply.plan import ApplyPlan
from cvm_notebook.deploy.apply.scaling import Instances
from cvm_notebook.deploy.apply.steps import ApplyStep
from cvm_notebook.deploy.declaration import AppDeclaration, Changes
from cvm_notebook.deploy.preview import UpdatePreview, preview_of
from cvm_notebook.deploy.size import Surroundings
from cvm_notebook.deploy.updating import previewed, read_whole, resizes, sent_before
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.store.records import Row, Snapshot

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


def plan_apply(
    fleet: FleetEngine, declared: Sequence[AppDeclaration], *, resend_env: bool = False
) -> ApplyPlan:
    """Compare declarations with what runs, and plan what would make them true; nothing is sent.

    Raises
    ------
    CvmError
        A CVM cannot be read.
    """
    named, found = frozenset(one.name for one in declared), _Found(fleet.snapshot())
    meant = {app.name: found.meant(app.name, named) for app in declared}
    scaled = _instances(fleet, declared, meant, named)
    gone = {row.id for whole in scaled.values() for row in whole.surplus}
    stay = {name: _staying(rows, scaled.get(name), named, gone) for name, rows in meant.items()}
    records = _read_all(fleet.client, [row.id for rows in stay.values() for row in rows])
    steps: list[ApplyStep] = []
    for app in declared:
        whole, rows = scaled.get(app.name), stay[app.name]
        if len({row.app_id for row in meant[app.name]}) > 1:
            steps.append(_refused(app, "several CVMs have this name: declare them by their ids"))
        elif not rows and whole is not None and whole.leaving:
            steps.append(_refused(app, "it is being deleted: apply again once it is gone"))
        elif not rows:
            steps += creation(fleet.operator, app)
        else:
            these = [_change(fleet, app, row, records[row.id], resend=resend_env) for row in rows]
            steps += these + (whole.steps(fleet.operator, these) if whole is not None else [])
    return ApplyPlan(steps, fleet.operator)


def _instances(
    fleet: FleetEngine,
    declared: Sequence[AppDeclaration],
    meant: Mapping[str, Sequence[Row]],
    named: frozenset[str],
) -> dict[str, Instances]:
    """Read the instances of each app whose number is declared, once an app."""
    found: dict[str, Instances] = {}
    by_app: dict[str, AppDeclaration] = {}
    sent = sent_before(fleet.operator)
    for one in declared:
        rows = meant[one.name]
        apps = {row.app_id for row in rows} - {None}
        earlier = frozenset[str]().union(*(sent.declared(row.id) for row in rows))
        app = replace(one, replicas=one.number_after(earlier))
        if app.replicas is None or len(apps) != 1:
            continue
        app_id = str(*apps)
        first = by_app.setdefault(app_id, app)
        if first.replicas != app.replicas:
            problem = f"{app.replicas} instances are declared, and {first.replicas} by {first.name}"
            raise InvalidInput(f"{app.name}.replicas", problem, "It is one app: declare it once.")
        if first is app:
            found[app.name] = Instances.read(fleet.client, fleet.operator, app, app_id, named)
    return found


def _staying(
    rows: Sequence[Row], whole: Instances | None, named: frozenset[str], surplus: Container[str]
) -> Sequence[Row]:
    """Return what is to be as declared: without what would be deleted, with what is new."""
    if len({row.app_id for row in rows}) > 1:
        return ()
    own = {row.id for row in rows}
    return [
        row
        for row in (rows if whole is None else whole.rows)
        if row.id not in surplus and (row.id in own or not {row.name, row.id} & named)
    ]


def _refused(app: AppDeclaration, why: str) -> ApplyStep:
    return ApplyStep(name=app.name, action="refused", reason=why, declaration=app)


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
    return dict(zip(each, side_by_side(each, partial(read_whole, client)), strict=True))


def _change(
    fleet: FleetEngine, app: AppDeclaration, row: Row, cvm: Cvm, *, resend: bool
) -> ApplyStep:
    """Plan for a CVM that is there."""
    sent = sent_before(fleet.operator)
    whole = app.after(sent.declared(row.id))
    env = whole.changes.env
    send = resend or (env is not None and sent.differs(row.id, env))
    around = Surroundings.read(fleet.client, cvm) if resizes(cvm, whole.changes) else None
    compared = sent.knows(row.id)
    preview = preview_of(cvm, whole.changes, around, send_env=send, values_known=compared)
    refused = next(_problems(app, cvm, preview), None)
    if refused is not None:
        return replace(_step(row, preview), action="refused", reason=refused, declaration=app)
    return replace(_step(row, preview), declaration=app)


def _step(row: Row, preview: UpdatePreview) -> ApplyStep:
    return ApplyStep(
        name=row.name or row.id,
        action="update" if preview.differs else "nothing",
        cvm_id=row.id,
        preview=preview,
        rate_before_usd_h=preview.usd_h_before,
        rate_after_usd_h=preview.usd_h_after,
        reason="; ".join((*preview.obstacles, *preview.dangers, *preview.notes)),
        row=row,
    )


def _problems(app: AppDeclaration, cvm: Cvm, preview: UpdatePreview) -> Iterator[str]:
    """Say why what is declared cannot be brought about, as far as that is certain."""
    node = cvm.node_info
    region = (node.region if node is not None else None) or ""
    if app.region and not region.casefold().startswith(app.region.casefold()):
        yield f"it is in {region or 'no known region'}, and a CVM does not move: make another one"
    if app.node_id is not None and node is not None and node.id != app.node_id:
        yield f"it is on node {node.id}, and a CVM does not move: make another one"
    env = app.changes.env
    missing = app.envs - (set(env) if env is not None else set(preview.allowed))
    if missing:
        yield f"{', '.join(sorted(missing))} have no values: declare env or env_file"
    if app.compose_hash is not None:
        then = preview.hash_after if preview.differs else preview.hash_before
        if then != bare_digits(app.compose_hash):
            yield f"its compose hash would be {then or 'another one'}, not the declared one"
    yield from (obstacle for obstacle in preview.obstacles if "only grows" in obstacle)


def plan_updates(fleet: FleetEngine, rows: Sequence[Row], changes: Changes) -> ApplyPlan:
    """Plan the same changes of several CVMs; more than one of them wants the phrase.

    Raises
    ------
    CvmError
        A CVM cannot be read.
    """
    steps = [_step(row, previewed(fleet.client, row.id, changes)) for row in rows]
    return ApplyPlan(steps, fleet.operator, word="update", careful=True)
