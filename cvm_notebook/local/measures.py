"""Spell what is measured at a CVM: its load, its network, its containers, its attestation."""

import hashlib
from typing import Any

from cvm_notebook.local import attestation, stats
from cvm_notebook.local.clock import human, iso
from cvm_notebook.local.db import Cvm
from cvm_notebook.local.identifiers import log_token
from cvm_notebook.local.lifecycle import View
from cvm_notebook.local.shapes import FEATURES, Shapes

_HANDSHAKE_SECONDS = 120
_OFFLINE = "The CVM is not running."


def system_info(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Spell the load."""
    view = shapes.view(cvm)
    up = _up(shapes, view)
    shown = up is not None and cvm.public_sysinfo
    return _online(up, public=cvm.public_sysinfo) | {
        "sysinfo": stats.system_info(cvm, shapes.now, up) if shown and up is not None else None,
        "status": view.status,
        "in_progress": view.in_progress,
        "boot_progress": view.boot_progress,
        "boot_error": view.boot_error,
    }


def network(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Spell the network: the address inside, the latest handshake, the addresses outside."""
    up = _up(shapes, shapes.view(cvm))
    answer = _online(up, public=True)
    if up is None:
        return answer | {"internal_ip": None, "latest_handshake": None, "public_urls": None}
    shaken = shapes.now - up % _HANDSHAKE_SECONDS
    return answer | {
        "internal_ip": f"10.4.{cvm.id // 250 % 250}.{2 + cvm.id % 250}",
        "latest_handshake": iso(shaken),
        "public_urls": shapes.endpoints(cvm),
    }


def composition(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Spell the containers. Needs the compose file."""
    up = _up(shapes, shapes.view(cvm))
    shown = up is not None and cvm.public_sysinfo
    return _online(up, public=cvm.public_sysinfo) | {
        "docker_compose_file": cvm.compose_file.get("docker_compose_file"),
        "manifest_version": cvm.compose_file.get("manifest_version"),
        "version": "1.0.0",
        "runner": cvm.compose_file.get("runner"),
        "features": cvm.compose_file.get("features") or list(FEATURES),
        "containers": [_container(shapes, cvm, service, up) for service in cvm.services]
        if shown and up is not None
        else None,
    }


def _container(shapes: Shapes, cvm: Cvm, service: dict[str, Any], up: float) -> dict[str, Any]:
    name = service["name"]
    token = log_token(shapes.ctx.secret, cvm.vm_uuid)
    url = f"{shapes.log_urls(cvm)['container_log_base']}/{name}?token={token}"
    return {
        "id": hashlib.sha256(f"container:{cvm.vm_uuid}/{name}".encode()).hexdigest(),
        "names": [f"/dstack-{name}-1"],
        "image": service["image"] or f"dstack-{name}",
        "image_id": "sha256:" + hashlib.sha256(service["image"].encode()).hexdigest(),
        "command": None,
        "created": int(shapes.now - up),
        "state": "running",
        "status": f"Up {human(up)}",
        "log_endpoint": url if cvm.public_logs else None,
    }


def attested(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Spell the attestation. Needs the compose file."""
    up = _up(shapes, shapes.view(cvm))
    instance_id = shapes.instance_id(cvm)
    answer = _online(up, public=cvm.public_tcbinfo) | {
        "name": cvm.name,
        "app_certificates": None,
        "tcb_info": None,
        "compose_file": attestation.app_compose(cvm.compose_file),
        "notice": attestation.NOTICE,
    }
    if up is None or instance_id is None:
        return answer
    answer["app_certificates"] = attestation.certificates(shapes.ctx.secret, cvm)
    if cvm.public_tcbinfo:
        answer["tcb_info"] = attestation.tcb_info(cvm, instance_id)
    return answer


def _up(shapes: Shapes, view: View) -> float | None:
    """Return for how long the CVM has been running; None when it isn't."""
    return None if view.running_since is None else max(0.0, shapes.now - view.running_since)


def _online(up: float | None, *, public: bool) -> dict[str, Any]:
    return {
        "is_online": up is not None,
        "is_public": public,
        "error": None if up is not None else _OFFLINE,
    }
