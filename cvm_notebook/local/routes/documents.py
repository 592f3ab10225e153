"""Serve what a CVM was given: compose file, script, user config; and the images it could have."""

import json
from typing import Any

from fastapi import Response

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.core.catalogue import NODES, Image
from cvm_notebook.local.core.context import Auth, Caller, Context, Ctx, json_answer
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.errors import documented
from cvm_notebook.local.core.identifiers import find_cvm
from cvm_notebook.local.engine.compose import canonical, measured
from cvm_notebook.local.routing import api_router

router = api_router(tags=["CVMs"], responses=documented(404, 409))


def _whole(ctx: Context, caller: Caller, text: str) -> Cvm:
    with ctx.database.read() as session:
        return find_cvm(session, caller.workspace.id, text, whole=True)


def _text_answer(media_type: str, schema: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": schema}}}}


@router.get("/cvms/{cvm_id}/compose_file", response_model=dict[str, Any])
def get_compose_file(ctx: Ctx, caller: Auth, cvm_id: str, raw: str | None = None) -> Response:
    """Return the app compose; with ``raw``, the very bytes whose SHA-256 is the compose hash."""
    app_compose = _whole(ctx, caller, cvm_id).compose_file
    if raw is None or raw.lower() in {"false", "0", ""}:
        return json_answer(app_compose)
    return Response(canonical(measured(app_compose)).encode(), media_type="application/json")


@router.get(
    "/cvms/{cvm_id}/docker-compose.yml",
    response_class=Response,
    responses=_text_answer("text/yaml", {}),
)
def get_docker_compose(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Return the docker compose file."""
    text = _whole(ctx, caller, cvm_id).compose_file.get("docker_compose_file")
    return Response(text or "\n", media_type="text/yaml")


@router.get(
    "/cvms/{cvm_id}/pre-launch-script",
    response_class=Response,
    responses=_text_answer("text/plain", {"type": "string"}),
)
def get_pre_launch_script(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Return the script that runs before the containers; a bare line end when there is none."""
    text = _whole(ctx, caller, cvm_id).compose_file.get("pre_launch_script")
    return Response(text or "\n", media_type="text/plain")


@router.get("/cvms/{cvm_id}/user_config", response_model=answers.UserConfig)
def get_user_config(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Return host name and SSH keys, from the user config the CVM was given."""
    cvm = _whole(ctx, caller, cvm_id)
    config = _mapping(cvm.user_config)
    hostname, keys = config.get("hostname"), config.get("ssh_authorized_keys")
    domain = config.get("default_gateway_domain") or cvm.compose_file.get("default_gateway_domain")
    return json_answer(
        {
            "hostname": hostname if isinstance(hostname, str) else cvm.name,
            "ssh_authorized_keys": [str(key) for key in keys] if isinstance(keys, list) else [],
            "default_gateway_domain": domain if isinstance(domain, str) else None,
        }
    )


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        parsed = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


@router.get("/cvms/{cvm_id}/available-os-images", response_model=list[answers.OsImageChoice])
def get_available_os_images(ctx: Ctx, caller: Auth, cvm_id: str) -> Response:
    """Return the images the CVM can change to, by version, newest first."""
    cvm = _whole(ctx, caller, cvm_id)
    fitting = [image for image in NODES[cvm.node_id].images if image.requires_gpu is (cvm.gpus > 0)]
    versions = sorted({image.version for image in fitting}, reverse=True)
    return json_answer([_choice(cvm, version, fitting) for version in versions])


def _choice(cvm: Cvm, version: tuple[int, int, int], images: list[Image]) -> dict[str, Any]:
    choice: dict[str, Any] = {"version": list(version), "prod": None, "dev": None}
    for image in images:
        if image.version == version:
            choice["dev" if image.is_dev else "prod"] = {
                "name": image.name,
                "slug": image.slug,
                "os_image_hash": image.os_image_hash,
                "is_current": image.name == cvm.image,
            }
    return choice
