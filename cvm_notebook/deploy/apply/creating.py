"""Steps that create declared apps which have no CVM yet."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.money import exact
from cvm_notebook.api.resources.update_request import VISIBILITY
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.apply.scaling import copies, making
from cvm_notebook.deploy.apply.steps import ApplyStep
from cvm_notebook.deploy.declaration import AppDeclaration
from cvm_notebook.deploy.deployment import Provisioned
from cvm_notebook.deploy.pricing import DISK_USD_GB_H
from cvm_notebook.deploy.spec import Values
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.service import OperationService

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


def creation(operations: OperationService, app: AppDeclaration) -> list[ApplyStep]:
    """Plan for an app that is not there: its first CVM, and the copies of that."""
    step = ApplyStep(name=app.name, action="create", declaration=app)
    if any(one.name == app.name for one in making(operations, "commit")):
        why = "it is being made already: apply again once it is there"
        return [replace(step, action="nothing", reason=why)]
    problems = values_of(app).problems()
    named = set(app.changes.env or ())
    if app.envs - named:
        missing = ", ".join(sorted(app.envs - named))
        problems["env"] = InvalidInput("env", f"{missing} have no values", "Declare env.")
    if problems:
        return [replace(step, action="refused", reason=str(next(iter(problems.values()))))]
    rate = _rate(operations.client, app)
    first = replace(step, rate_after_usd_h=rate)
    return [first, *copies(app, (app.replicas or 1) - 1, rate)]


def created(operations: OperationService, app: AppDeclaration) -> Operation:
    """Provision and commit a new CVM.

    Raises
    ------
    CvmError
        It was refused.
    """
    changes = app.changes
    more = {name: getattr(changes, name) for name in ("vcpu", "memory")}
    env: Mapping[str, Secret] = changes.env or {}
    provisioned = Provisioned.request(
        operations.client,
        values_of(app),
        tuple(env),
        script=changes.pre_launch_script or "",
        more={name: value for name, value in more.items() if value is not None},
    )
    return provisioned.commit(operations, env)


def values_of(app: AppDeclaration) -> Values:
    """Return the fields of a deployment."""
    changes = app.changes
    names = ("instance_type", "image", "disk_size", "listed", *VISIBILITY)
    chosen = {name: getattr(changes, name) for name in names if getattr(changes, name) is not None}
    if changes.vcpu or changes.memory:
        chosen.setdefault("instance_type", "")
    return Values(
        name=app.name,
        compose_file=changes.compose_file or "",
        region=app.region,
        node_id=app.node_id,
        **chosen,
    )


@exact
def _rate(client: "Client", app: AppDeclaration) -> Decimal | None:
    wanted = values_of(app).instance_type
    kind = next((one for one in client.list_instance_types() if one.id == wanted), None)
    if kind is None or kind.hourly_rate is None:
        return None
    return kind.hourly_rate + DISK_USD_GB_H * (
        app.changes.disk_size or kind.default_disk_size_gb or 0
    )
