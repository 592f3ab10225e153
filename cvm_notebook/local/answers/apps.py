"""Models of the answers about apps, for the OpenAPI description."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.answers.cvms import CvmInfo
from cvm_notebook.local.core.catalogue import IMAGES, INSTANCE_TYPES, KMS_SLUG, NODES
from cvm_notebook.local.core.clock import iso
from cvm_notebook.local.core.database import Cvm, Revision
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.identifiers import WHOLE, hashid, hex40


class Profile(BaseModel):
    """The public profile of an app."""

    display_name: str | None
    avatar_url: str | None
    description: str | None
    custom_domain: str | None


class LegacyAppCvm(BaseModel):
    """A CVM as lists of apps had it in 2025."""

    vm_uuid: str | None
    app_id: str
    name: str
    status: str
    vcpu: int
    memory: int
    disk_size: int
    teepod_id: int
    teepod_name: str
    region_identifier: str | None
    kms_type: str | None
    instance_type: str | None
    listed: bool | None
    base_image: str | None
    instance_id: str | None


class App(BaseModel):
    """An app and its CVMs."""

    id: str
    name: str
    app_id: str
    app_provision_type: str | None
    app_icon_url: str | None
    created_at: str
    kms_type: str
    profile: Profile | None
    current_cvm: CvmInfo | LegacyAppCvm | None
    cvms: list[CvmInfo | LegacyAppCvm]
    cvm_count: int


class Apps(BaseModel):
    """A page of apps."""

    dstack_apps: list[App]
    page: int
    page_size: int
    total: int
    total_pages: int


class FilterOptions(BaseModel):
    """The options of filtering the list of apps."""

    statuses: list[str]
    image_versions: list[str]
    instance_types: list[str]
    kms_slugs: list[str]
    kms_types: list[str]
    regions: list[str]
    nodes: list[str]


class RevisionItem(BaseModel):
    """A compose file a CVM has had."""

    revision_id: str
    app_id: str
    vm_uuid: str
    compose_hash: str
    created_at: str
    trace_id: str | None
    operation_type: str
    triggered_by: dict[str, Any] | None
    cvm: dict[str, Any] | None
    workspace: dict[str, Any] | None


class RevisionDetail(RevisionItem):
    """The same with the compose file."""

    compose_file: dict[str, Any] | str | None
    encrypted_env: str
    user_config: str


class Revisions(BaseModel):
    """A page of revisions, newest first."""

    revisions: list[RevisionItem]
    total: int
    page: int
    page_size: int
    total_pages: int


class RedeployedCvm(BaseModel):
    """A CVM that is being redeployed, and the operation that does it."""

    vm_uuid: str
    correlation_id: str


class Redeployed(BaseModel):
    """The answer to a redeployment, which goes on in the background."""

    status: str
    message: str | None
    correlation_id: str | None
    cvms: list[RedeployedCvm]


class AllowlistDevice(BaseModel):
    """A machine, and the app's CVMs on it."""

    device_id: str
    node_name: str | None
    cvm_ids: list[int | str]
    allowed_onchain: bool
    status: str


class DeviceAllowlist(BaseModel):
    """On which machines an app may run."""

    is_onchain_kms: bool
    allow_any_device: bool | None
    chain_id: int | None
    app_contract_address: str | None
    devices: list[AllowlistDevice]


class IsAllowed(BaseModel):
    """Whether a compose file may run on a machine."""

    app_contract_address: str
    compose_hash: str
    device_id: str
    compose_hash_allowed: bool
    allow_any_device: bool
    device_id_allowed: bool | None
    is_allowed: bool
    error: str | None


class CvmIsAllowed(IsAllowed):
    """The same for a CVM."""

    cvm_id: int | str | None


class CvmsAreAllowed(BaseModel):
    """The same for all CVMs of an app; without a chain there is nothing to ask."""

    is_onchain: bool
    results: list[CvmIsAllowed]
    total: int
    allowed_count: int
    denied_count: int
    error_count: int
    skipped_cvm_ids: list[int | str]


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the list of apps: those with a CVM that fits all of them."""

    search: str | None = None
    status: Sequence[str] = ()
    listed: bool | None = None
    base_image: str | None = None
    instance_type: str | None = None
    kms_slug: str | None = None
    kms_type: str | None = None
    node: str | None = None
    region: str | None = None


def find_apps(session: Session, shapes: Shapes, wanted: Filters) -> list[str]:
    """Return the ids of the apps that fit, the newest first."""
    conditions = _conditions(shapes, wanted)
    newest = func.max(Cvm.id).desc()
    if not wanted.status:
        query = select(Cvm.app_id).where(*conditions).group_by(Cvm.app_id).order_by(newest)
        return list(session.scalars(query))
    # A status stands in no column: it is computed from the newest operation.
    columns = (Cvm.app_id, Cvm.op_kind, Cvm.op_began_at, Cvm.op_origin, Cvm.op_final)
    rest = (Cvm.op_error, Cvm.op_correlation_id)
    rows: Any = session.execute(select(*columns, *rest).where(*conditions).order_by(Cvm.id.desc()))
    statuses = {status.lower() for status in wanted.status}
    return list(dict.fromkeys(row.app_id for row in rows if shapes.view(row).status in statuses))


def _conditions(shapes: Shapes, wanted: Filters) -> list[ColumnElement[bool]]:
    conditions = [Cvm.workspace_id == shapes.caller.workspace.id, Cvm.deleted_at.is_(None)]
    if wanted.search:
        text = wanted.search.lower()
        by_id = Cvm.app_id.startswith(hex40(text) or text.removeprefix("app_"), autoescape=True)
        by_name = func.lower(Cvm.name).contains(text, autoescape=True)
        conditions.append(or_(by_name, by_id, Cvm.vm_uuid == text))
    if wanted.listed is not None:
        conditions.append(Cvm.listed.is_(wanted.listed))
    equal = ((Cvm.image, wanted.base_image), (Cvm.instance_type, wanted.instance_type))
    conditions += [column == value for column, value in equal if value]
    if wanted.kms_type:
        conditions.append(Cvm.kms_type == wanted.kms_type.lower())
    if wanted.kms_slug not in (None, "", KMS_SLUG):
        conditions.append(Cvm.id < 0)
    if wanted.node or wanted.region:
        conditions.append(Cvm.node_id.in_(_nodes(wanted.node, wanted.region)))
    return conditions


def _nodes(name: str | None, region: str | None) -> list[int]:
    return [
        node.id
        for node in NODES.values()
        if name in (None, "", node.name) and region in (None, "", node.region)
    ]


def cvms_of(
    session: Session, shapes: Shapes, app_ids: Iterable[str], *, whole: bool = False
) -> dict[str, list[Cvm]]:
    """Return the live CVMs of apps, the newest first."""
    query = select(Cvm).where(
        Cvm.workspace_id == shapes.caller.workspace.id,
        Cvm.app_id.in_(list(app_ids)),
        Cvm.deleted_at.is_(None),
    )
    if whole:
        query = query.options(*WHOLE)
    found: dict[str, list[Cvm]] = {}
    for cvm in session.scalars(query.order_by(Cvm.id.desc())):
        found.setdefault(cvm.app_id, []).append(cvm)
    return found


def one_app(session: Session, shapes: Shapes, text: str, *, whole: bool = False) -> list[Cvm]:
    """Return the live CVMs of the app that ``text`` means, or raise 404."""
    app_id = hex40(text)
    found = cvms_of(session, shapes, [app_id], whole=whole) if app_id else {}
    if not app_id or app_id not in found:
        raise ApiError(404, f"There is no app {text[:80]!r} in this workspace.")
    return found[app_id]


def known_app(session: Session, shapes: Shapes, text: str) -> str:
    """Return the id of an app that is there or was, or raise 404."""
    app_id = hex40(text)
    own = (Revision.workspace_id == shapes.caller.workspace.id, Revision.app_id == app_id)
    if app_id is None or session.scalar(select(Revision.id).where(*own).limit(1)) is None:
        raise ApiError(404, f"There is no app {text[:80]!r} in this workspace.")
    return app_id


def format_app(shapes: Shapes, cvms: list[Cvm]) -> dict[str, Any]:
    """Format an app by its CVMs, the newest first."""
    first = cvms[-1]
    spelled = [spell_cvm(shapes, cvm) for cvm in cvms]
    return {
        "id": hashid("prj", first.id),
        "name": first.name,
        "app_id": first.app_id,
        "app_provision_type": "user",
        "app_icon_url": None,
        "created_at": iso(first.created_at),
        "kms_type": first.kms_type,
        "profile": {
            "display_name": first.name,
            "avatar_url": None,
            "description": None,
            "custom_domain": None,
        },
        "current_cvm": spelled[0],
        "cvms": spelled,
        "cvm_count": len(spelled),
    }


def spell_cvm(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Format a CVM as a part of an app."""
    if not shapes.caller.legacy:
        return shapes.info(cvm)
    node = NODES[cvm.node_id]
    return {
        "vm_uuid": cvm.vm_uuid,
        "app_id": cvm.app_id,
        "name": cvm.name,
        "status": shapes.view(cvm).status,
        "vcpu": cvm.vcpu,
        "memory": cvm.memory,
        "disk_size": cvm.disk_size,
        "teepod_id": node.id,
        "teepod_name": node.name,
        "region_identifier": node.region,
        "kms_type": cvm.kms_type,
        "instance_type": cvm.instance_type,
        "listed": cvm.listed,
        "base_image": cvm.image,
        "kms_slug": KMS_SLUG,
        "kms_id": None,
        "instance_id": shapes.instance_id(cvm),
        "machine_info": None,
        "updated_at": iso(cvm.updated_at),
    }


def filter_options(session: Session, shapes: Shapes) -> dict[str, list[str]]:
    """Return what the workspace's apps can be filtered by."""
    columns = (Cvm.op_kind, Cvm.op_began_at, Cvm.op_origin, Cvm.op_final, Cvm.op_error)
    what = (Cvm.op_correlation_id, Cvm.image, Cvm.instance_type, Cvm.kms_type, Cvm.node_id)
    rows: Any = session.execute(
        select(*columns, *what).where(*_conditions(shapes, Filters()))
    ).all()
    kinds = {row.instance_type for row in rows}
    nodes = [node for node in NODES.values() if node.id in {row.node_id for row in rows}]
    images = {row.image for row in rows}
    return {
        "statuses": sorted({shapes.view(row).status for row in rows}),
        "image_versions": [name for name in IMAGES if name in images],
        "instance_types": [name for name in INSTANCE_TYPES if name in kinds],
        "kms_slugs": [KMS_SLUG] if rows else [],
        "kms_types": sorted({row.kms_type for row in rows}),
        "regions": list(dict.fromkeys(node.region for node in nodes)),
        "nodes": [node.name for node in nodes],
    }
