"""Serve a CVM's network: ports on its host, the services it uses, the firewall, own domains."""

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field, StringConstraints

from cvm_notebook.local.answers import network as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm
from cvm_notebook.local.engine import operations, ports
from cvm_notebook.local.engine.lifecycle import ALIVE
from cvm_notebook.local.engine.requests import PortEntry
from cvm_notebook.local.routing import api_router

router = api_router(tags=["network"], responses=documented(404, 409))

CvmId = Annotated[str, Path(max_length=500)]
Url = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s\x00]+$")]
_MOST = 10


class NewPorts(BaseModel):
    """All ports that a CVM shall have on its host."""

    ports: list[PortEntry] = Field(max_length=100)


class NewNetworkConfig(BaseModel):
    """The request for other services of a CVM; what is left out stays as it is."""

    kms_urls: list[Url] | None = Field(default=None, max_length=_MOST)
    gateway_urls: list[Url] | None = Field(default=None, max_length=_MOST)
    restart: bool = False


class DomainQuestion(BaseModel):
    """A domain, and the port that it shall lead to."""

    domain: str = Field(min_length=1, max_length=253, pattern=r"^[^\x00]*$")
    port: int = Field(ge=1, le=65535)


class DomainQuestions(BaseModel):
    """Domains to look at."""

    domains: list[DomainQuestion] = Field(max_length=100)


@router.get("/cvms/{cvm_id}/ports", response_model=list[answers.MappedPort])
def list_ports(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """List the ports that a CVM has on its host."""
    cvm = _read(ctx, caller, cvm_id)
    return json_answer([answers.mapped(cvm, port) for port in ports.mappings(cvm)])


@router.put("/cvms/{cvm_id}/ports", response_model=list[answers.MappedPort])
def replace_ports(ctx: Ctx, caller: Auth, cvm_id: CvmId, body: NewPorts) -> Response:
    """Replace the ports that a CVM has on its host; it goes on as it is."""
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        operations.check_stays(cvm)
        if body.ports and not NODES[cvm.node_id].firewall:
            raise ApiError(400, _reason(cvm))
        ports.replace(session, cvm, body.ports)
        cvm.updated_at = caller.now
    return json_answer([answers.mapped(cvm, port) for port in cvm.ports])


@router.get("/cvms/{cvm_id}/firewall-status", response_model=answers.Firewall)
def firewall_status(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Say whether ports of a CVM can be opened on its node."""
    cvm = _read(ctx, caller, cvm_id)
    available = NODES[cvm.node_id].firewall
    return json_answer({"available": available, "reason": None if available else _reason(cvm)})


def _reason(cvm: Cvm) -> str:
    return f"Node {NODES[cvm.node_id].name} has no firewall that opens ports."


@router.get("/cvms/{cvm_id}/network-config", response_model=answers.NetworkConfig)
def get_network_config(ctx: Ctx, caller: Auth, cvm_id: CvmId) -> Response:
    """Say which services a CVM uses, and its ports."""
    return json_answer(_config(ctx, caller, _read(ctx, caller, cvm_id)))


@router.patch("/cvms/{cvm_id}/network-config", response_model=answers.NetworkConfig)
def change_network_config(
    ctx: Ctx, caller: Auth, cvm_id: CvmId, body: NewNetworkConfig
) -> Response:
    """Change which services a CVM uses; it takes note when it restarts."""
    changes = body.model_dump(exclude={"restart"}, exclude_none=True)
    if not changes:
        raise ApiError(400, "Nothing to change was given.")
    with ctx.database.write() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, for_change=True)
        view = operations.check_idle(cvm, caller.now, ctx.settings.speed)
        cvm.network = (cvm.network or {}) | changes
        cvm.updated_at = caller.now
        if body.restart and view.status in ALIVE:
            operations.begin(session, ctx, caller, cvm, "restart")
    return json_answer(_config(ctx, caller, cvm))


def _config(ctx: Context, caller: Caller, cvm: Cvm) -> dict[str, Any]:
    own = cvm.network or {}
    gateway = f"https://gateway.{NODES[cvm.node_id].domain}"
    return {
        "kms_urls": own.get("kms_urls", [Shapes(ctx, caller).kms_ref()["url"]]),
        "gateway_urls": own.get("gateway_urls", [gateway] if cvm.gateway_enabled else []),
        "ports": ports.mappings(cvm),
    }


@router.post("/cvms/{cvm_id}/customize-domain-diagnose", response_model=answers.Diagnosis)
def diagnose_domains(ctx: Ctx, caller: Auth, cvm_id: CvmId, body: DomainQuestions) -> Response:
    """Say whether domains lead to a CVM, by their names alone: no DNS is asked."""
    cvm = _read(ctx, caller, cvm_id)
    results = [answers.diagnosis(cvm, one.domain, one.port) for one in body.domains]
    return json_answer({"results": results})


def _read(ctx: Context, caller: Caller, cvm_id: str) -> Cvm:
    with ctx.database.read() as session:
        return find_cvm(session, caller.workspace.id, cvm_id)
