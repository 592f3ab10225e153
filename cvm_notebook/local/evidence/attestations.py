"""Serve the service's operations with evidence: of CVMs, of apps, and of quotes by their checksum.

But for that of one CVM they need no key, as on the service.
"""

import binascii
import json
import re
import time
from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request, Response

from cvm_notebook.local.answers import attestations as answers
from cvm_notebook.local.answers.cvm_views import node_ref
from cvm_notebook.local.attestation import kept_quotes
from cvm_notebook.local.attestation.attester import NOTICE, attester_of
from cvm_notebook.local.attestation.certificates import Chain
from cvm_notebook.local.attestation.quote_fields import MOST_BYTES, fields_of
from cvm_notebook.local.attestation.tampering import Tampered, Tampering
from cvm_notebook.local.core.catalogue import KMS_SLUG, NODES
from cvm_notebook.local.core.clock import iso_or_none
from cvm_notebook.local.core.context import Auth, Context, Ctx, clock_now, json_answer
from cvm_notebook.local.core.database import Cvm, Quote
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import find_cvm
from cvm_notebook.local.routing import api_router

router = api_router(tags=["attestations"])

AppId = Annotated[str, Path(max_length=500)]
Checksum = Annotated[str, Path(max_length=200)]
_FOUND = documented(404)
_NO_CONTRACT = ""
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_BOUNDARY: Final = re.compile(r'multipart/form-data\s*;.*boundary="?([^";]+)"?', re.IGNORECASE)
_NAMED: Final = re.compile(rb'name="(file|hex)"')


@router.get("/cvms/{cvm_id}/attestation", response_model=answers.Attestation, responses=_FOUND)
def cvm_attestation(ctx: Ctx, caller: Auth, tampered: Tampered, cvm_id: AppId) -> Response:
    """Give what shows what a CVM runs, under LocalCloud's own root: it is no hardware."""
    with ctx.database.read() as session:
        cvm = find_cvm(session, caller.workspace.id, cvm_id, whole=True)
    answer, chain = answers.attested(ctx, cvm, caller.now, tampered.of(cvm))
    kept_quotes.note(ctx.database, _issued([(cvm, chain)]))
    return json_answer(answer)


@router.get("/apps/{app_id}/attestations", response_model=answers.AppAttestation, responses=_FOUND)
def app_attestations(ctx: Ctx, request: Request, tampered: Tampered, app_id: AppId) -> Response:
    """Give what the CVMs of an app attest, and the services that they rely on; no key is needed."""
    found, now = _cvms_of_app(ctx, app_id)
    shown = [answers.instance(ctx, cvm, now, tampered.of(cvm)) for cvm in found]
    own = [(cvm, chain) for cvm, (_, chain) in zip(found, shown, strict=True)]
    kept_quotes.note(ctx.database, [*_issued(own), *answers.service_quotes(ctx)])
    answer = {
        "app_id": found[0].app_id,
        "contract_address": _NO_CONTRACT,
        "kms_info": {
            "contract_address": _NO_CONTRACT,
            "chain_id": None,
            "version": "v0.5.9",
            "url": f"{request.url.scheme}://{request.url.netloc}/api/v1/kms/{KMS_SLUG}",
            "gateway_app_id": None,
            "gateway_app_url": _NO_CONTRACT,
            "kms_type": found[0].kms_type,
        },
        "instances": [instance for instance, _ in shown],
        "qemu_version": None,
        "notice": NOTICE,
    }
    return json_answer(answer | answers.services(ctx))


@router.get(
    "/apps/{app_id}/attestations/tcb-evaluation",
    response_model=answers.TcbEvaluations,
    responses=_FOUND,
)
def tcb_evaluation(ctx: Ctx, app_id: AppId) -> Response:
    """Say what the machines of an app's running CVMs are worth; no key is needed."""
    found, now = _cvms_of_app(ctx, app_id)
    running = [cvm for cvm in found if answers.runs(ctx, cvm, now)]
    return json_answer(
        {
            "app_id": found[0].app_id,
            "update": "early",
            "instances": [answers.evaluation(ctx, cvm, now) for cvm in running],
        }
    )


def _cvms_of_app(ctx: Context, app_id: str) -> tuple[list[Cvm], float]:
    with ctx.database.read() as session:
        found, now = answers.cvms_of_app(session, app_id), clock_now(session)
    if not found:
        raise ApiError(404, f"There is no app {app_id[:80]!r}.")
    return found, now


def _issued(shown: Iterable[tuple[Cvm, Chain | None]]) -> list[kept_quotes.Issued]:
    whose = [(cvm, chain) for cvm, chain in shown if chain is not None]
    return [kept_quotes.Issued(one.evidence.quote, cvm.node_id, cvm.id) for cvm, one in whose]


async def _sent(request: Request) -> bytes:
    return await request.body()


_FORM: Final = {"type": "object", "properties": {"hex": {"type": "string"}}, "required": ["hex"]}


@router.post(
    "/attestations/verify",
    response_model=answers.QuoteView,
    responses=documented(400),
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": _FORM}}}},
)
def publish_quote(
    ctx: Ctx, request: Request, tampered: Tampered, body: Annotated[bytes, Depends(_sent)]
) -> Response:
    """Take a quote, as a file or as hex, and show it to everybody from now on; no key is needed.

    The answer says whether it was issued here. Whoever wants it verified verifies it.
    """
    quote = _quote_in(request.headers.get("content-type", ""), body)
    try:
        fields_of(quote)
    except ValueError as error:
        raise ApiError(400, f"Invalid quote: {error}.") from None
    with ctx.database.write() as session:
        kept = kept_quotes.publish(session, quote, time.time())
        cvm = session.get(Cvm, kept.cvm_id) if kept.cvm_id is not None else None
    return json_answer(answers.quote_view(kept, _collateral(ctx, kept, cvm, tampered)))


def _quote_in(content_type: str, body: bytes) -> bytes:
    """Return the quote in a request: a form's field ``file`` or ``hex``, or JSON's ``hex``."""
    form = _BOUNDARY.match(content_type)
    if form is None:
        try:
            return _from_hex(json.loads(body)["hex"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ApiError(400, 'Send {"hex": "..."}, or a form with a file.') from None
    for part in body.split(b"--" + form[1].encode("latin-1")):
        head, _, content = part.partition(b"\r\n\r\n")
        named = _NAMED.search(head)
        content = content.removesuffix(b"\r\n")
        if named is not None and content:
            return content if named[1] == b"file" else _from_hex(content.decode("latin-1"))
    raise ApiError(400, "The form has neither a file nor hex.")


def _from_hex(text: object) -> bytes:
    digits = _HEX.fullmatch(text.strip()) if isinstance(text, str) else None
    if digits is None or len(digits[1]) > 2 * MOST_BYTES:
        raise ApiError(400, "Invalid quote: it is not hexadecimal, or too long.")
    return binascii.unhexlify(digits[1])


@router.get("/attestations/recent", response_model=list[answers.RecentQuote])
def recent_quotes(
    ctx: Ctx,
    skip: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """List the quotes that were published, the newest first; no key is needed."""
    with ctx.database.read() as session:
        found = kept_quotes.published(session, skip, limit)
    return json_answer(
        [{"checksum": one.checksum, "uploaded_at": iso_or_none(one.published_at)} for one in found]
    )


@router.get(
    "/attestations/view/{checksum}", response_model=answers.QuoteView, responses=documented(404)
)
def view_quote(ctx: Ctx, tampered: Tampered, checksum: Checksum) -> Response:
    """Show a quote that was published, field by field; no key is needed."""
    kept, cvm = _known(ctx, checksum, published=True)
    return json_answer(answers.quote_view(kept, _collateral(ctx, kept, cvm, tampered)))


@router.get(
    "/attestations/collateral/{checksum}",
    response_model=answers.Collateral,
    responses=documented(404),
)
def quote_collateral(ctx: Ctx, tampered: Tampered, checksum: Checksum) -> Response:
    """Give what a quote of this LocalCloud is judged by; no key is needed."""
    kept, cvm = _known(ctx, checksum)
    made = _collateral(ctx, kept, cvm, tampered)
    if made is None:
        raise ApiError(404, "There is no collateral for this quote.")
    return json_answer(made)


def _raw(ctx: Context, checksum: str) -> Response:
    kept, _ = _known(ctx, checksum, published=True)
    named = {"Content-Disposition": f'attachment; filename="{kept.checksum}.bin"'}
    return Response(kept.quote, media_type="application/octet-stream", headers=named)


_BINARY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}


@router.get(
    "/attestations/raw/{checksum}",
    response_class=Response,
    responses=_BINARY | documented(404),
)
def raw_quote(ctx: Ctx, checksum: Checksum) -> Response:
    """Give the bytes of a quote that was published; no key is needed."""
    return _raw(ctx, checksum)


@router.head("/attestations/raw/{checksum}", response_class=Response, responses=documented(404))
def has_raw_quote(ctx: Ctx, checksum: Checksum) -> Response:
    """Say whether a quote was published, and how long it is; no key is needed."""
    return _raw(ctx, checksum)


@router.get("/attestations/ppids", response_model=list[str])
def list_ppids() -> Response:
    """List the PPIDs of the nodes; no key is needed."""
    return json_answer([node.ppid for node in NODES.values()])


@router.get("/attestations/device_ids", response_model=list[str])
def list_device_ids() -> Response:
    """List the device ids of the nodes; no key is needed."""
    return json_answer([node.device_id for node in NODES.values()])


@router.get("/attestations/nodes", response_model=list[answers.NodeRef])
def list_nodes() -> Response:
    """List the nodes; no key is needed."""
    return json_answer([node_ref(node) for node in NODES.values()])


def _known(ctx: Context, checksum: str, *, published: bool = False) -> tuple[Quote, Cvm | None]:
    with ctx.database.read() as session:
        found = kept_quotes.by_checksum(session, checksum)
        if found is None or (published and found.quote is None):
            raise ApiError(404, f"There is no quote {checksum[:80]!r}.")
        cvm = session.get(Cvm, found.cvm_id) if found.cvm_id is not None else None
    return found, cvm


def _collateral(
    ctx: Context, kept: Quote, cvm: Cvm | None, tampered: Tampering
) -> dict[str, str] | None:
    faults = tampered.of(cvm)
    if kept.node_id is None or "no_collateral" in faults:
        return None
    attester = attester_of(ctx.secret, faults)
    # The machine's own time, which the owner of LocalCloud does not move: it is the verifier's.
    return attester.collateral(NODES[kept.node_id], time.time(), faults)
