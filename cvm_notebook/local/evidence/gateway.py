"""Stand in for what CVMs would answer at their own addresses, had they any.

What on the service is ``https://{id}-{port}.{domain}/path`` is ``/gateway/{id}-{port}/path`` here,
where the id is that of an app or of an instance. On port 8090 the guest agent answers; on any other
a sidecar that quotes a nonce, and shows the certificate with which the app would serve TLS.
"""

import json
import re
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import or_, select
from starlette.concurrency import run_in_threadpool

from cvm_notebook.local.answers.attestations import OFFLINE, runs
from cvm_notebook.local.attestation import kept_quotes
from cvm_notebook.local.attestation.attester import (
    Evidence,
    attester_of,
    gpu_evidence,
)
from cvm_notebook.local.attestation.guests import certified, guest_of
from cvm_notebook.local.attestation.tampering import Tampered
from cvm_notebook.local.core.context import Context, Ctx, clock_now, json_answer
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.identifiers import WHOLE
from cvm_notebook.local.core.keys import cvm_key
from cvm_notebook.local.evidence.tls import TlsListeners
from cvm_notebook.local.routing import ApiRoute

# The addresses of CVMs are no part of the API.
router = APIRouter(prefix="/gateway", include_in_schema=False, route_class=ApiRoute)

Address = Annotated[str, Path(max_length=100)]
_ADDRESS: Final = re.compile(r"([0-9a-f]{40})-([0-9]{1,5})s?")
_AGENT: Final = "8090"
_NONCE: Final = re.compile(r"(?:[0-9a-fA-F]{2}){1,64}")


@router.get("/{address}/prpc/Info")
@router.post("/{address}/prpc/Info")
def agent_info(ctx: Ctx, tampered: Tampered, address: Address) -> Response:
    """Answer as the guest agent: the certificate, and the measurements unless they are private."""
    cvm = _reached(ctx, address, agent=True)
    faults = tampered.of(cvm)
    chain = certified(ctx.secret, cvm, faults)
    _note(ctx, cvm, chain.evidence)
    shown = chain.evidence if cvm.public_tcbinfo else None
    guest = chain.evidence.guest
    key_provider = next(
        event["event_payload"] for event in chain.evidence.log if event["event"] == "key-provider"
    )
    return json_answer(
        {
            "app_id": cvm.app_id,
            "instance_id": cvm.instance_id,
            "app_cert": chain.pem,
            "tcb_info": json.dumps(shown.tcb_info()) if shown else "",
            "app_name": cvm.name,
            "device_id": guest.node.device_id,
            "mr_aggregated": chain.evidence.report.aggregated.hex(),
            "os_image_hash": guest.image.os_image_hash,
            "key_provider_info": bytes.fromhex(key_provider).decode(),
            "compose_hash": cvm.compose_hash,
            "vm_config": shown.vm_config if shown else "",
            "cloud_vendor": "LocalCloud",
            "cloud_product": "LocalCloud",
        }
    )


@router.get("/{address}/quote")
def sidecar_quote(
    ctx: Ctx,
    tampered: Tampered,
    address: Address,
    nonce: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Quote a nonce of up to 64 bytes, in hex: made now, for who asks."""
    cvm = _reached(ctx, address)
    if not _NONCE.fullmatch(nonce):
        raise ApiError(400, "Give a nonce of 1 to 64 bytes, in hexadecimal.")
    faults = tampered.of(cvm)
    asked = bytes.fromhex(nonce).ljust(64, b"\0")
    evidence = attester_of(ctx.secret, faults).attest(guest_of(cvm), asked, faults)
    _note(ctx, cvm, evidence)
    return json_answer(
        {
            "quote": evidence.quote.hex(),
            "event_log": json.dumps(evidence.handed_on),
            "report_data": asked.hex(),
            "vm_config": evidence.vm_config,
        }
    )


@router.get("/{address}/certificate")
def tls_certificate(ctx: Ctx, tampered: Tampered, address: Address) -> Response:
    """Show the certificate with which the app would serve TLS itself (RA-TLS)."""
    cvm = _reached(ctx, address)
    chain = certified(ctx.secret, cvm, tampered.of(cvm))
    _note(ctx, cvm, chain.evidence)
    return Response(chain.pem, media_type="application/x-pem-file")


@router.get("/{address}/tls")
async def tls_address(request: Request, ctx: Ctx, tampered: Tampered, address: Address) -> Response:
    """Say where that certificate is served by TLS: on a port of its own, opened when asked for."""
    cvm = await run_in_threadpool(_reached, ctx, address)
    chain = await run_in_threadpool(certified, ctx.secret, cvm, tampered.of(cvm))
    await run_in_threadpool(_note, ctx, cvm, chain.evidence)
    listeners: TlsListeners = request.app.state.tls
    port = await listeners.port_of(chain, cvm_key(ctx.secret, cvm.vm_uuid), ctx.settings.host)
    host = request.url.hostname or ctx.settings.host
    return json_answer({"url": f"https://{f'[{host}]' if ':' in host else host}:{port}"})


@router.get("/{address}/gpu")
def sidecar_gpu(ctx: Ctx, address: Address) -> Response:
    """Hand on what was learnt of the GPUs at the boot; its hash was measured."""
    return json_answer({"attestation": gpu_evidence(guest_of(_reached(ctx, address)))})


def _reached(ctx: Context, address: str, *, agent: bool = False) -> Cvm:
    """Return the running CVM at an address, with its compose file."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None or (parts[2] == _AGENT) is not agent:
        raise ApiError(404, f"Nothing answers this at {address[:80]!r}.")
    query = select(Cvm).where(
        or_(Cvm.app_id == parts[1], Cvm.instance_id == parts[1]), Cvm.deleted_at.is_(None)
    )
    with ctx.database.read() as session:
        now = clock_now(session)
        found = session.scalars(query.options(*WHOLE).order_by(Cvm.id)).all()
    if not found:
        raise ApiError(404, f"There is no app or instance {parts[1]}.")
    for cvm in found:
        if cvm.gateway_enabled and runs(ctx, cvm, now):
            return cvm
    raise ApiError(502, OFFLINE)


def _note(ctx: Context, cvm: Cvm, evidence: Evidence) -> None:
    kept_quotes.note(ctx.database, [kept_quotes.Issued(evidence.quote, cvm.node_id, cvm.id)])
