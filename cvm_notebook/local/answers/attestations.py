"""Models of the answers with evidence, for the OpenAPI description, and how they are made."""

import hashlib
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from cvm_notebook.local.attestation.attester import (
    GATEWAY,
    KMS,
    NOTICE,
    Faults,
    Guest,
    mr_config_id,
    vm_config,
)
from cvm_notebook.local.attestation.certificates import Chain
from cvm_notebook.local.attestation.guests import certified, guest_of, service_certified
from cvm_notebook.local.attestation.kept_quotes import Issued
from cvm_notebook.local.attestation.pki import PCE_SVN
from cvm_notebook.local.attestation.quote_fields import fields_of
from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.clock import iso_or_none
from cvm_notebook.local.core.context import Context
from cvm_notebook.local.core.database import Cvm, Quote
from cvm_notebook.local.core.identifiers import WHOLE, hex40, visible_instance_id
from cvm_notebook.local.engine.lifecycle import view_of

OFFLINE = "The CVM is not running."
_TCB_BYTES = 16


class Attestation(BaseModel):
    """The attestation of a CVM."""

    is_online: bool
    is_public: bool
    error: str | None
    name: str | None
    app_certificates: list[dict[str, Any]] | None
    tcb_info: dict[str, Any] | None
    compose_file: str | None
    notice: str


class AttestationInstance(BaseModel):
    """The attestation of one CVM of an app."""

    vm_uuid: str | None
    name: str | None
    instance_id: str | None
    status: str | None
    image_version: str | None
    quote: str | None
    ppid: str | None
    ppid_sha256: str | None
    device_id: str | None
    fmspc: str | None
    tee_tcb_svn: str | None
    mr_config_id: str | None
    cpusvn: str | None
    pcesvn: int | None
    tcb_info: dict[str, Any] | None
    app_certificates: list[dict[str, Any]] | None
    compose_file: str | None
    eventlog: list[dict[str, Any]]
    error: str | None


class AppAttestation(BaseModel):
    """The attestations of an app's CVMs, with those of the services that they rely on."""

    app_id: str | None
    contract_address: str | None
    kms_info: dict[str, Any] | None
    instances: list[AttestationInstance]
    kms_guest_agent_info: dict[str, Any] | None
    gateway_guest_agent_info: dict[str, Any] | None
    qemu_version: str | None
    notice: str


class TcbEvaluation(BaseModel):
    """The TCB evaluation of a CVM's machine."""

    vm_uuid: str | None
    name: str | None
    instance_id: str | None
    status: str | None
    image_version: str | None
    ppid: str
    device_id: str | None
    evaluation_update: str
    evaluation_ok: bool | None
    evaluation_status: str | None
    error: str | None


class TcbEvaluations(BaseModel):
    """The TCB evaluations of the machines of an app's CVMs."""

    app_id: str
    update: str
    instances: list[TcbEvaluation]


class Collateral(BaseModel):
    """The collateral of a quote."""

    pck_crl_issuer_chain: str
    root_ca_crl: str | None
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str


class QuoteView(BaseModel):
    """A quote that a user has published."""

    id: str
    success: bool
    proof_of_cloud: bool
    quote: dict[str, Any] | None
    checksum: str | None
    can_download: bool | None
    uploaded_at: str | None
    verified_at: str | None
    quote_collateral: Collateral | None
    node_provider: dict[str, Any] | None
    notice: str


class NodeRef(BaseModel):
    """A machine, as other answers refer to it."""

    object_type: str
    id: int | None
    name: str | None
    region: str | None
    device_id: str | None
    ppid: str | None
    status: str | None
    version: str | None


class RecentQuote(BaseModel):
    """A quote in the list of those that were published."""

    checksum: str
    uploaded_at: str | None


def runs(ctx: Context, cvm: Cvm, now: float) -> bool:
    """Tell whether a CVM can attest anything now."""
    view = view_of(cvm, now, ctx.settings.speed)
    return view.running_since is not None and visible_instance_id(cvm, now) is not None


def attested(
    ctx: Context, cvm: Cvm, now: float, faults: Faults
) -> tuple[dict[str, Any], Chain | None]:
    """Format a CVM's attestation, and give what it shows. Needs the compose file."""
    running = runs(ctx, cvm, now)
    chain = certified(ctx.secret, cvm, faults) if running else None
    answer = {
        "is_online": running,
        "is_public": cvm.public_tcbinfo,
        "error": None if running else OFFLINE,
        "name": cvm.name,
        "app_certificates": chain.described() if chain else None,
        "tcb_info": chain.evidence.tcb_info() if chain and cvm.public_tcbinfo else None,
        "compose_file": guest_of(cvm).app_compose,
        "notice": NOTICE,
    }
    return answer, chain


def cvms_of_app(session: Session, text: str) -> list[Cvm]:
    """Return the live CVMs of an app, whoever has it, the newest first."""
    query = select(Cvm).where(Cvm.app_id == hex40(text), Cvm.deleted_at.is_(None))
    return list(session.scalars(query.options(*WHOLE).order_by(Cvm.id.desc())))


def instance(
    ctx: Context, cvm: Cvm, now: float, faults: Faults
) -> tuple[dict[str, Any], Chain | None]:
    """Format what one CVM of an app attests, and give what it shows."""
    node = NODES[cvm.node_id]
    chain = certified(ctx.secret, cvm, faults) if runs(ctx, cvm, now) else None
    shown = chain.evidence if chain and cvm.public_tcbinfo else None
    svn = fields_of(chain.evidence.quote)["body"]["tee_tcb_svn"] if chain else None
    answer = {
        "vm_uuid": cvm.vm_uuid,
        "name": cvm.name,
        "instance_id": visible_instance_id(cvm, now),
        "status": view_of(cvm, now, ctx.settings.speed).status,
        "image_version": cvm.image,
        "quote": chain.evidence.quote.hex() if chain else None,
        "ppid": node.ppid,
        "ppid_sha256": hashlib.sha256(bytes.fromhex(node.ppid)).hexdigest(),
        "device_id": node.device_id,
        "fmspc": node.fmspc,
        "tee_tcb_svn": svn,
        "mr_config_id": mr_config_id(bytes.fromhex(cvm.compose_hash)).hex(),
        "cpusvn": svn[:2] * _TCB_BYTES if svn else None,
        "pcesvn": PCE_SVN if chain else None,
        "tcb_info": shown.tcb_info() if shown else None,
        "app_certificates": chain.described() if chain else None,
        "compose_file": guest_of(cvm).app_compose,
        "eventlog": shown.log if shown else [],
        "error": None if chain else OFFLINE,
    }
    return answer, chain


def services(ctx: Context) -> dict[str, Any]:
    """Format what the KMS and the gateway attest of themselves."""
    return {
        "kms_guest_agent_info": _service(ctx, KMS),
        "gateway_guest_agent_info": _service(ctx, GATEWAY),
    }


def service_quotes(ctx: Context) -> list[Issued]:
    """Return the quotes of KMS and gateway."""
    chains = [(guest, service_certified(ctx.secret, guest)) for guest in (KMS, GATEWAY)]
    return [Issued(chain.evidence.quote, guest.node.id) for guest, chain in chains]


def _service(ctx: Context, guest: Guest) -> dict[str, Any]:
    chain = service_certified(ctx.secret, guest)
    return {
        "app_id": guest.app_id,
        "instance_id": guest.instance_id,
        "device_id": guest.node.device_id,
        "app_certificates": chain.described(),
        "tcb_info": chain.evidence.tcb_info(),
        "vm_config": vm_config(guest),
    }


def evaluation(ctx: Context, cvm: Cvm, now: float) -> dict[str, Any]:
    """Format what the machine of a CVM is worth."""
    node = NODES[cvm.node_id]
    return {
        "vm_uuid": cvm.vm_uuid,
        "name": cvm.name,
        "instance_id": visible_instance_id(cvm, now),
        "status": view_of(cvm, now, ctx.settings.speed).status,
        "image_version": cvm.image,
        "ppid": node.ppid,
        "device_id": node.device_id,
        "evaluation_update": "early",
        "evaluation_ok": node.tcb == "UpToDate",
        "evaluation_status": node.tcb,
        "error": None,
    }


def quote_view(kept: Quote, collateral: dict[str, str] | None) -> dict[str, Any]:
    """Format a published quote, and whether LocalCloud has issued it: it is no hardware's."""
    assert kept.quote is not None  # noqa: S101 - it was published
    ppid = NODES[kept.node_id].ppid if kept.node_id is not None else ""
    return {
        "id": kept.checksum,
        "success": kept.node_id is not None,
        "proof_of_cloud": False,
        "quote": fields_of(kept.quote),
        "checksum": kept.checksum,
        "can_download": True,
        "uploaded_at": iso_or_none(kept.published_at),
        "verified_at": None,
        "quote_collateral": collateral,
        "node_provider": {"proof_of_cloud": False, "provider": None, "ppid": ppid},
        "notice": NOTICE,
    }
