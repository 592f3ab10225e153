"""Serve what can be rented: nodes, instance types, images and KMS."""

import hashlib
from typing import Annotated, Any

from fastapi import Path, Query, Response
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import catalogue as answers
from cvm_notebook.local.answers.cvm_views import Shapes, dollars
from cvm_notebook.local.attestation.attester import KMS
from cvm_notebook.local.core.catalogue import (
    IMAGES,
    INSTANCE_TYPES,
    KMS_NUMBER,
    KMS_SLUG,
    NODES,
    TIERS,
    Image,
    InstanceType,
    Node,
)
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Auth, Caller, Ctx, json_answer, page_of
from cvm_notebook.local.core.database import Workspace
from cvm_notebook.local.core.errors import ApiError, documented
from cvm_notebook.local.core.identifiers import app_id_of, hashid, hex40
from cvm_notebook.local.core.keys import (
    ca_public_key,
    env_public_key,
    env_signature,
    signer_public_key,
)
from cvm_notebook.local.engine.placement import Usage, node_usage
from cvm_notebook.local.routing import api_router

router = api_router(tags=["catalogue"])

_CHAINS = {"ethereum": 1, "base": 8453}
_CONTRACTS_FROM = "2026-06-23"
# The official JavaScript client speaks older versions and refuses further fields of a key.
_TIMED_FROM = "2026-05-22"

Page = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=100)]
Name = Annotated[str, Path(max_length=200)]


def _instance_type(kind: InstanceType) -> dict[str, Any]:
    # Nothing more: the official JavaScript client refuses further fields here.
    return {
        "id": kind.id,
        "name": kind.name,
        "description": kind.description,
        "vcpu": kind.vcpu,
        "memory_mb": kind.memory_mb,
        "hourly_rate": dollars(kind.hourly_micros),
        "requires_gpu": kind.gpus > 0,
        "default_disk_size_gb": kind.default_disk_gb,
        "family": kind.family,
    }


def _of_family(family: str) -> list[dict[str, Any]]:
    return [_instance_type(kind) for kind in INSTANCE_TYPES.values() if kind.family == family]


@router.get("/instance-types", response_model=answers.Families)
def list_instance_types() -> Response:
    """List all instance types by family; no key is needed."""
    families = dict.fromkeys(kind.family for kind in INSTANCE_TYPES.values())
    groups = [(family, _of_family(family)) for family in families]
    result = [{"name": name, "items": items, "total": len(items)} for name, items in groups]
    return json_answer({"result": result})


@router.get("/instance-types/{family}", response_model=answers.Family, responses=documented(404))
def list_family(family: Name) -> Response:
    """List the instance types of one family; no key is needed."""
    items = _of_family(family.lower())
    if not items:
        raise ApiError(404, f"There is no family {family[:40]!r} of instance types.")
    return json_answer({"items": items, "total": len(items), "family": family.lower()})


@router.get("/os-images", response_model=answers.Images)
def list_os_images(
    _caller: Auth, page: Page = 1, page_size: PageSize = 20, is_dev: bool | None = None
) -> Response:
    """List operating system images, newest first."""
    newest_first = sorted(IMAGES.values(), key=lambda image: image.version, reverse=True)
    found = [_image(one) for one in newest_first if is_dev is None or one.is_dev is is_dev]
    return json_answer(_paged(found, page, page_size))


def _image(image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "slug": image.slug,
        "version": ".".join(map(str, image.version)),
        "os_image_hash": image.os_image_hash,
        "is_dev": image.is_dev,
        "requires_gpu": image.requires_gpu,
    }


def _paged(found: list[Any], page: int, page_size: int) -> dict[str, Any]:
    begin = (page - 1) * page_size
    return page_of(found[begin : begin + page_size], len(found), page, page_size)


@router.get("/teepods/available", response_model=answers.AvailableNodes)
def list_available_nodes(ctx: Ctx, caller: Auth, v03x_only: bool = False) -> Response:
    """List the nodes a CVM can go to, and what is left on each."""
    with ctx.database.read() as session:
        nodes = [] if v03x_only else _nodes(session)
    shapes = Shapes(ctx, caller)
    return json_answer(_offer(caller) | {"nodes": nodes, "kms_list": [shapes.kms_ref()]})


def _offer(caller: Caller) -> dict[str, Any]:
    tier = TIERS[caller.workspace.tier]
    public = sum(node.gpus for node in NODES.values())
    return {
        "tier": caller.workspace.tier,
        "capacity": {
            "max_instances": tier.instances,
            "max_vcpu": tier.vcpu,
            "max_memory": tier.memory_gb * 1024 if tier.memory_gb > 0 else -1,
            "max_disk": tier.disk_gb,
        },
        "gpu_availability": {
            "has_reserved_gpus": False,
            "reserved_gpu_count": 0,
            "has_public_gpus": public > 0,
            "public_gpu_count": public,
        },
    }


def _nodes(session: Session) -> list[dict[str, Any]]:
    used = node_usage(session)
    return [_node(node, used.get(node.id, Usage())) for node in NODES.values()]


def _node(node: Node, used: Usage) -> dict[str, Any]:
    free = max(0, node.vcpu - used.vcpu)
    return {
        "teepod_id": node.id,
        "name": node.name,
        "listed": True,
        "resource_score": round(free / node.vcpu, 4),
        "remaining_vcpu": free,
        "remaining_memory": max(0, node.memory - used.memory),
        "remaining_cvm_slots": max(0, node.slots - used.instances),
        "images": [
            {
                "name": image.name,
                "is_dev": image.is_dev,
                "version": image.version,
                "os_image_hash": image.os_image_hash,
            }
            for image in node.images
        ],
        "support_onchain_kms": node.onchain,
        "fmspc": node.fmspc,
        "device_id": node.device_id,
        "dedicated_for_team_id": None,
        "region_identifier": node.region,
        "default_kms": KMS_SLUG,
        "kms_list": [KMS_SLUG],
    }


@router.get("/teepods/cvm-create-resources", response_model=answers.CreateResources)
def create_resources(ctx: Ctx, caller: Auth) -> Response:
    """Give everything a form for a new CVM needs, and what goes with what."""
    with ctx.database.read() as session:
        nodes = _nodes(session)
    images = [image.name for image in IMAGES.values()]
    kms_id, contract_id = hashid("kms", KMS_NUMBER), hashid("kc", KMS_NUMBER)
    kms = Shapes(ctx, caller).kms_ref() | {
        "kms_type": "phala",
        "kms_contract_id": contract_id,
        "supported_os_images": images,
    }
    relations = [
        {
            "teepod_id": node.id,
            "kms_id": kms_id,
            "kms_type": "phala",
            "kms_contract_id": contract_id,
            "kms_contract_address": None,
            "supported_os_images": [image.name for image in node.images],
        }
        for node in NODES.values()
    ]
    graph = {
        "nodes": nodes,
        "kms_nodes": [kms],
        "node_kms_relations": relations,
        "gateway_nodes": [_gateway(node, contract_id) for node in NODES.values()],
        "instance_types": [
            _form_type(place, kind) for place, kind in enumerate(INSTANCE_TYPES.values())
        ],
    }
    return json_answer(_offer(caller) | graph)


def _gateway(node: Node, contract_id: str) -> dict[str, Any]:
    return {
        "id": hashid("gn", node.id),
        "teepod_id": node.id,
        "kms_contract_id": contract_id,
        "rpc_url": f"https://gateway.{node.domain}",
        "domain_suffix": node.domain,
        "enabled": True,
    }


def _form_type(place: int, kind: InstanceType) -> dict[str, Any]:
    return {
        "id": kind.id,
        "name": kind.name,
        "vcpu": kind.vcpu,
        "memory_mb": kind.memory_mb,
        "default_disk_size_gb": kind.default_disk_gb,
        "requires_gpu": kind.gpus > 0,
        "requires_gpu_count": kind.gpus,
        "family": kind.family,
        "display_order": place,
    }


@router.get("/kms", response_model=answers.KmsPage)
def list_kms(
    ctx: Ctx,
    caller: Auth,
    page: Page = 1,
    page_size: PageSize = 20,
    is_onchain: bool | None = None,
) -> Response:
    """List key management services; there is one, and it is on no chain."""
    found = [] if is_onchain else [_kms(ctx, caller)]
    return json_answer(_paged(found, page, page_size))


def _kms(ctx: Ctx, caller: Caller) -> dict[str, Any]:
    if caller.version < _CONTRACTS_FROM:
        return Shapes(ctx, caller).kms_ref()
    return {
        "id": hashid("kc", KMS_NUMBER),
        "slug": KMS_SLUG,
        "label": "LocalCloud's own, on no chain",
        "contract_address": "0x" + "0" * 40,
        "chain_id": 0,
        "k256_pubkey": signer_public_key(ctx.secret),
        "ca_pubkey": ca_public_key(ctx.secret),
        "node_count": len(NODES),
    }


@router.get("/kms/phala/next_app_id", response_model=answers.NextAppIds)
def next_app_ids(
    ctx: Ctx, caller: Auth, counts: Annotated[int, Query(ge=1, le=20)] = 1
) -> Response:
    """Predict the next app ids of the workspace and the nonces that belong to them."""
    with ctx.database.read() as session:
        workspace = session.get_one(Workspace, caller.workspace.id)
        first = workspace.next_nonce
    predicted = [
        {"app_id": app_id_of(ctx.secret, caller.workspace.id, nonce), "nonce": nonce}
        for nonce in range(first, first + counts)
    ]
    return json_answer({"app_ids": predicted})


@router.get("/kms/on-chain/{chain}", response_model=answers.OnChain)
def on_chain(_caller: Auth, chain: Name) -> Response:
    """Describe the KMS contracts of a chain: LocalCloud is connected to none, so there are none."""
    number = _CHAINS.get(chain.lower())
    if number is None:
        raise ApiError(400, f"chain is {chain[:40]!r}; give {' or '.join(_CHAINS)}.")
    return json_answer({"chain_name": chain.lower(), "chain_id": number, "contracts": []})


@router.get(
    "/kms/{kms_id}", response_model=answers.Kms | answers.KmsContract, responses=documented(404)
)
def get_kms(ctx: Ctx, caller: Auth, kms_id: Name) -> Response:
    """Describe a key management service."""
    _known_kms(kms_id)
    return json_answer(_kms(ctx, caller))


@router.get("/kms/{kms_id}/info", response_model=answers.KmsInspection, responses=documented(404))
def inspect_kms(ctx: Ctx, caller: Auth, kms_id: Name) -> Response:
    """Look into a key management service: what it says of itself, and the nodes that use it."""
    _known_kms(kms_id)
    ref = Shapes(ctx, caller).kms_ref()
    keys = {"k256_pubkey": signer_public_key(ctx.secret), "ca_pubkey": ca_public_key(ctx.secret)}
    rpc = {
        "version": ref["version"],
        "is_dev": False,
        "chain_id": None,
        "kms_contract_address": None,
        "gateway_app_id": None,
        "bootstrap_info": keys | {"quote_length": 0, "eventlog_length": 0},
        "version_synced": True,
    }
    facts = {
        "id": ref["id"],
        "slug": ref["slug"],
        "endpoint": ref["url"],
        "kms_type": "phala",
        "db_version": ref["version"],
        "rpc": rpc,
        "rpc_error": None,
        "guest_agent": _guest_agent(),
        "guest_agent_error": None,
        "teepods": [_inspected(node, ref["url"]) for node in NODES.values()],
        "on_chain": None,
    }
    return json_answer(facts)


def _guest_agent() -> dict[str, Any]:
    image = KMS.image
    return {
        "device_id": KMS.node.device_id,
        "mr_aggregated": None,
        "os_image_hash": image.os_image_hash,
        "instance_id": KMS.instance_id,
        "app_id": KMS.app_id,
        "mr_key_provider": None,
        "compose_hash": hashlib.sha256(KMS.app_compose.encode()).hexdigest(),
    }


def _inspected(node: Node, kms_url: str) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "teepod_version_db": node.version,
        "teepod_version_real": node.version,
        "kms_url": kms_url,
        "kms_urls": [kms_url],
        "available_os_images": [
            {
                "name": image.name,
                "version": ".".join(map(str, image.version)),
                "is_dev": image.is_dev,
            }
            for image in node.images
        ],
        "error": None,
    }


@router.get("/kms/{kms_id}/nodes", response_model=answers.KmsNodes, responses=documented(404))
def kms_nodes(ctx: Ctx, caller: Auth, kms_id: Name) -> Response:
    """List the servers of a key management service."""
    _known_kms(kms_id)
    ref = Shapes(ctx, caller).kms_ref()
    node = {name: ref[name] for name in ("id", "slug", "url", "version")} | {"kms_type": "phala"}
    return json_answer({"items": [node], "total": 1})


@router.get(
    "/kms/{kms_id}/pubkey/{app_id}", response_model=answers.EnvPubkey, responses=documented(404)
)
def env_pubkey(ctx: Ctx, caller: Auth, kms_id: Name, app_id: Name) -> Response:
    """Give the key an app's environment is encrypted for, with who vouches for it, and when."""
    _known_kms(kms_id)
    digits = hex40(app_id)
    if digits is None:
        raise ApiError(400, f"app_id is {app_id[:80]!r}; give 40 hexadecimal digits.")
    answer: dict[str, Any] = {
        "public_key": env_public_key(ctx.secret, digits),
        "signature": env_signature(ctx.secret, digits),
    }
    if caller.version >= _TIMED_FROM:
        # The time is the machine's: who reads the signature compares it with a clock of their own.
        timestamp = int(machine_now())
        signature = env_signature(ctx.secret, digits, timestamp)
        answer |= {"signature_v1": signature, "timestamp": timestamp}
    return json_answer(answer)


def _known_kms(text: str) -> None:
    known = {KMS_SLUG, "phala", hashid("kms", KMS_NUMBER), hashid("kc", KMS_NUMBER)}
    if text not in known:
        raise ApiError(404, f"There is no KMS {text[:80]!r}.")
