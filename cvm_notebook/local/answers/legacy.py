"""Answers about CVMs in the shapes of API version 2025-10-28: numeric ids, ``hosted`` items."""

from typing import Any

from cvm_notebook.local.answers.cvm_views import Shapes, env_pubkey
from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.clock import iso_or_none
from cvm_notebook.local.core.database import Cvm


def legacy_item(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Return a CVM as legacy lists have it."""
    view = shapes.view(cvm)
    node = NODES[cvm.node_id]
    return {
        "hosted": {
            "id": cvm.vm_uuid,
            "name": cvm.name,
            "status": view.status,
            "uptime": shapes.uptime(view),
            "app_url": shapes.app_url(cvm),
            "app_id": cvm.app_id,
            "instance_id": shapes.instance_id(cvm),
            "configuration": {
                "name": cvm.name,
                "image": cvm.image,
                "compose_file": None,
                "vcpu": cvm.vcpu,
                "memory": cvm.memory,
                "disk_size": cvm.disk_size,
                "ports": cvm.ports,
                "app_id": cvm.app_id,
            },
            "exited_at": iso_or_none(view.exited_at),
            "boot_progress": view.boot_progress,
            "boot_error": view.boot_error,
            "shutdown_progress": view.shutdown_progress,
            "image_version": cvm.image,
            "events": [],
        },
        "name": cvm.name,
        "managed_user": {
            "id": cvm.creator_id,
            "username": shapes.user_ref(cvm.creator_id)["username"] or "",
        },
        "node": {"id": node.id, "name": node.name, "region_identifier": node.region},
        "listed": cvm.listed,
        "status": view.status,
        "in_progress": view.in_progress,
        "dapp_dashboard_url": shapes.app_url(cvm),
        "syslog_endpoint": _without_channel(shapes.log_urls(cvm)["serial"]),
        "allow_upgrade": True,
        "project_id": None,
        "project_type": "user",
        "billing_period": "hourly",
        "kms_info": shapes.kms_ref(),
        "contract_address": None,
        "deployer_address": None,
        "vcpu": cvm.vcpu,
        "memory": cvm.memory,
        "disk_size": cvm.disk_size,
        "gateway_domain": node.domain,
        "public_urls": shapes.endpoints(cvm),
    }


def legacy_detail(shapes: Shapes, cvm: Cvm) -> dict[str, Any]:
    """Return a CVM with everything, as it was in 2025."""
    view = shapes.view(cvm)
    node = NODES[cvm.node_id]
    return shapes.action(cvm) | {
        "teepod": {"id": node.id, "name": node.name, "region_identifier": node.region},
        "in_progress": view.in_progress,
        "listed": cvm.listed,
        "project_id": None,
        "project_type": "user",
        "instance_type": cvm.instance_type,
        "public_sysinfo": cvm.public_sysinfo,
        "public_logs": cvm.public_logs,
        "dapp_dashboard_url": shapes.app_url(cvm),
        "syslog_endpoint": _without_channel(shapes.log_urls(cvm)["serial"]),
        "kms_info": shapes.kms_ref()
        | {"encrypted_env_pubkey": env_pubkey(shapes.ctx.secret, cvm.app_id)},
        "contract_address": None,
        "deployer_address": None,
        "scheduled_delete_at": iso_or_none(cvm.scheduled_delete_at),
        "public_urls": shapes.endpoints(cvm),
        "gateway_domain": node.domain,
    }


def _without_channel(url: str) -> str:
    """Leave the channel to the client, which appends it."""
    return url.removesuffix("&ch=serial")
