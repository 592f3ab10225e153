"""Answers about CVMs in the shapes of 2026 (``shapes_legacy`` has those of 2025).

``shapes = Shapes(ctx, caller)``, then ``shapes.action(cvm)`` (record of an action, "VM"),
``shapes.info(cvm)`` (one of a list), ``shapes.detail(cvm)`` (with its compose file; load the
row with ``find_cvm(..., whole=True)``), ``shapes.state(cvm)``, ``shapes.batch_status(cvm)``,
``shapes.node_ref(node)``, ``shapes.workspace_ref()``, ``shapes.user_ref(id)``. Each takes a
``Cvm`` or a row with its columns, and spells what the caller's version of the API wants.
"""

from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from typing import Any

from cvm_notebook.local.core.catalogue import IMAGES, KMS_NUMBER, KMS_SLUG, NODES, Node
from cvm_notebook.local.core.clock import human, iso, iso_or_none
from cvm_notebook.local.core.context import Caller, Context
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.identifiers import hashid, log_token, visible_instance_id
from cvm_notebook.local.core.keys import env_public_key, signer_public_key
from cvm_notebook.local.engine.billing import term_ends_at
from cvm_notebook.local.engine.lifecycle import View, view_of

FEATURES = ("kms", "tproxy-net")
_MICROS = 1_000_000


@lru_cache(maxsize=16_384)
def env_pubkey(secret: bytes, app_id: str) -> str:
    """Return the key an app's environment is encrypted for, remembered: deriving it is slow."""
    return env_public_key(secret, app_id)


@lru_cache(maxsize=4)
def kms_pubkey(secret: bytes) -> str:
    """Return the key that the key management service signs with, remembered."""
    return signer_public_key(secret)


def dollars(micros: int) -> str:
    """Format an amount as the API does."""
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), _MICROS)
    return f"{sign}{whole}.{rest:06d}"


@cache
def node_ref(node: Node) -> dict[str, Any]:
    """Return a node as a part of other answers."""
    device = {
        "device_id": node.device_id,
        "algorithm_version": "v1",
        "os_image_ids": [],
        "enabled": True,
    }
    return {
        "object_type": "node",
        "id": node.id,
        "name": node.name,
        "region": node.region,
        "device_id": node.device_id,
        "device_ids": [device],
        "ppid": node.ppid,
        "status": node.status,
        "version": node.version,
    }


class Shapes:
    """Spells CVMs for one caller at one moment."""

    def __init__(self, ctx: Context, caller: Caller, now: float | None = None) -> None:
        self.ctx = ctx
        self.caller = caller
        self.now = caller.now if now is None else now

    def view(self, cvm: Cvm) -> View:
        """Say what the CVM does now."""
        return view_of(cvm, self.now, self.ctx.settings.speed)

    def instance_id(self, cvm: Cvm) -> str | None:
        """Return the instance id once it is known."""
        return visible_instance_id(cvm, self.now)

    def node_ref(self, node: Node) -> dict[str, Any]:
        """Return a node as a part of other answers."""
        return node_ref(node)

    @cached_property
    def _workspace_ref(self) -> dict[str, Any]:
        workspace = self.caller.workspace
        return {
            "object_type": "workspace",
            "id": hashid("wks", workspace.id),
            "name": workspace.name,
            "slug": workspace.slug,
            "avatar_url": None,
        }

    def workspace_ref(self) -> dict[str, Any]:
        """Return the caller's workspace as a part of other answers."""
        return self._workspace_ref

    def user_ref(self, user_id: int) -> dict[str, Any]:
        """Return a user of this workspace as a part of other answers."""
        user = self.caller.user
        name = user.username if user.id == user_id else None
        return {
            "object_type": "user",
            "id": hashid("usr", user_id),
            "username": name,
            "avatar_url": None,
        }

    def kms_ref(self) -> dict[str, Any]:
        """Return the key management service in the form of lists and legacy answers."""
        return {
            "id": hashid("kms", KMS_NUMBER),
            "slug": KMS_SLUG,
            "url": f"{self.caller.origin}/api/v1/kms/{KMS_SLUG}",
            "version": "v0.5.9",
            "chain_id": None,
            "kms_contract_address": None,
            "gateway_app_id": None,
        }

    def kms_info(self, cvm: Cvm) -> dict[str, Any]:
        """Return what a CVM says about its key management service."""
        return {
            "chain_id": None,
            "dstack_kms_address": None,
            "dstack_app_address": None,
            "deployer_address": None,
            "rpc_endpoint": None,
            "encrypted_env_pubkey": env_pubkey(self.ctx.secret, cvm.app_id),
            "k256_pubkey": kms_pubkey(self.ctx.secret),
        }

    def log_urls(self, cvm: Cvm) -> dict[str, str]:
        """Return where the CVM's logs are read, each URL with its own token."""
        base = f"{self.caller.origin}/logs/{cvm.vm_uuid}"
        token = log_token(self.ctx.secret, cvm.vm_uuid)
        return {
            "serial": f"{base}/vm?token={token}&ch=serial",
            "stdout": f"{base}/vm?token={token}&ch=stdout",
            "stderr": f"{base}/vm?token={token}&ch=stderr",
            "container_log_base": f"{base}/containers",
        }

    def endpoints(self, cvm: Cvm) -> list[dict[str, str]]:
        """Return the public addresses of the ports the services publish."""
        instance_id = self.instance_id(cvm)
        if instance_id is None or not cvm.gateway_enabled:
            return []
        domain = NODES[cvm.node_id].domain
        ports = [port for service in cvm.services for port in service.get("ports", ())]
        return [
            {
                "app": f"https://{cvm.app_id}-{port}.{domain}",
                "instance": f"https://{instance_id}-{port}.{domain}",
            }
            for port in dict.fromkeys(ports)
        ]

    def app_url(self, cvm: Cvm) -> str:
        """Return the address of the dashboard inside the CVM."""
        return f"https://{cvm.app_id}-8090.{NODES[cvm.node_id].domain}"

    def action(self, cvm: Cvm) -> dict[str, Any]:
        """Return the record that answers an action."""
        anonymous = self.caller.version == "2026-01-21"
        node = NODES[cvm.node_id]
        return {
            "id": self._action_id(cvm),
            "name": cvm.name,
            "status": self.view(cvm).status,
            "teepod_id": node.id,
            "teepod": {"id": node.id, "name": node.name},
            "user_id": None if anonymous else self._user_id(cvm),
            "app_id": cvm.app_id,
            "vm_uuid": cvm.vm_uuid,
            "instance_id": self.instance_id(cvm),
            "app_url": self.app_url(cvm),
            "base_image": cvm.image,
            "vcpu": cvm.vcpu,
            "memory": cvm.memory,
            "disk_size": cvm.disk_size,
            "manifest_version": 2,
            "version": "1.0.0",
            "runner": "docker-compose",
            "docker_compose_file": None,
            "features": list(FEATURES),
            "created_at": iso(cvm.created_at),
            "encrypted_env_pubkey": env_pubkey(self.ctx.secret, cvm.app_id),
        }

    def _action_id(self, cvm: Cvm) -> int | str:
        if self.caller.version >= "2026-05-22":
            return hashid("cvm", cvm.id)
        return cvm.id if self.caller.legacy else 0

    def _user_id(self, cvm: Cvm) -> int | str:
        return cvm.creator_id if self.caller.legacy else hashid("usr", cvm.creator_id)

    def info(self, cvm: Cvm) -> dict[str, Any]:
        """Return a CVM as lists have it."""
        view = self.view(cvm)
        node = NODES[cvm.node_id]
        facts = {
            "id": hashid("cvm", cvm.id),
            "name": cvm.name,
            "app_id": cvm.app_id,
            "vm_uuid": cvm.vm_uuid,
            "instance_id": self.instance_id(cvm),
            "resource": _resource(cvm),
            "node_info": self.node_ref(node),
            "os": _os(cvm.image),
            "kms_type": cvm.kms_type,
            "kms_info": self.kms_info(cvm),
            "status": view.status,
            "in_progress": view.in_progress,
            "progress": _progress(cvm, view),
            "compose_hash": cvm.compose_hash,
            "docker_compose_hash": cvm.docker_compose_hash,
            "pre_launch_script_hash": cvm.pre_launch_script_hash,
            "gateway": {"base_domain": node.domain, "cname": f"_.{node.domain}"},
            "logs": self.log_urls(cvm),
            "services": cvm.services,
            "endpoints": self.endpoints(cvm),
            "public_logs": cvm.public_logs,
            "public_sysinfo": cvm.public_sysinfo,
            "public_tcbinfo": cvm.public_tcbinfo,
            "gateway_enabled": cvm.gateway_enabled,
            "secure_time": cvm.secure_time,
            "listed": cvm.listed,
            "storage_fs": cvm.storage_fs,
            "workspace": self.workspace_ref(),
            "creator": self.user_ref(cvm.creator_id),
            "created_at": iso(cvm.created_at),
            "deleted_at": iso_or_none(cvm.deleted_at),
            "project_type": "user",
        }
        if self.caller.version >= "2026-06-23":
            facts |= self._newest_fields(cvm)
        return facts

    def _newest_fields(self, cvm: Cvm) -> dict[str, Any]:
        return {
            "updated_at": iso(cvm.updated_at),
            "app_url": self.app_url(cvm),
            "base_image": cvm.image,
            "features": FEATURES,
            "runner": "docker-compose",
            "manifest_version": "2",
            "hourly_rate": {
                "total": dollars(cvm.compute_rate + cvm.disk_rate),
                "compute": dollars(cvm.compute_rate),
                "disk": dollars(cvm.disk_rate),
            },
            "billing_interval": "minute",
            "gpu_rental_order": self._rental_order(cvm),
        }

    def _rental_order(self, cvm: Cvm) -> dict[str, Any] | None:
        """Return the order that a CVM's GPUs are rented by; None where they are not."""
        ends_at = term_ends_at(cvm)
        if cvm.rental is None or ends_at is None or not cvm.rental["managed"]:
            return None
        began = iso(cvm.rental["begins_at"])
        is_over = self.now >= ends_at
        return {
            "order_id": hashid("gro", cvm.id),
            "status": "completed" if is_over else "active",
            "pricing_plan": "committed",
            "commitment_days": cvm.rental["days"],
            "agreed_hourly_rate": dollars(cvm.compute_rate),
            "hourly_billing_start_time": began,
            "activated_at": began,
            "completed_at": iso(ends_at) if is_over else None,
            "cancelled_at": None,
            "decoupled_at": None,
            "sku_code": cvm.instance_type,
            "sku_display_name": cvm.instance_type,
        }

    def detail(self, cvm: Cvm) -> dict[str, Any]:
        """Return a CVM with everything."""
        return self.info(cvm) | {"compose_file": cvm.compose_file}

    def state(self, cvm: Cvm) -> dict[str, Any]:
        """Return what /state says; what isn't known is left out (some clients refuse null)."""
        view = self.view(cvm)
        facts = {
            "id": hashid("cvm", cvm.id),
            "instance_id": self.instance_id(cvm),
            "name": cvm.name,
            "status": view.status,
            "derived_status": view.status,
            "vm_uuid": cvm.vm_uuid,
            "uptime": self.uptime(view),
            "exited_at": iso_or_none(view.exited_at),
            "boot_progress": view.boot_progress,
            "boot_error": view.boot_error,
            "shutdown_progress": view.shutdown_progress,
        }
        return {key: value for key, value in facts.items() if value is not None}

    def uptime(self, view: View) -> str:
        """Say for how long it has been running."""
        if view.running_since is None:
            return ""
        return human(self.now - view.running_since)

    def batch_status(self, cvm: Cvm) -> dict[str, Any]:
        """Return one CVM's part of a batch status."""
        view = self.view(cvm)
        facts: dict[str, Any] = {
            "vm_uuid": cvm.vm_uuid,
            "status": view.status,
            "uptime": self.uptime(view),
            "in_progress": view.in_progress,
            "boot_progress": view.boot_progress,
            "boot_error": view.boot_error,
            "shutdown_progress": view.shutdown_progress,
            "events": [],
        }
        kind = cvm.op_kind if view.in_progress else None
        began = iso(cvm.op_began_at) if view.in_progress else None
        correlation = cvm.op_correlation_id if view.in_progress else None
        if self.caller.version < "2026-05-22":
            return facts | {
                "operation_type": kind,
                "operation_started_at": began,
                "correlation_id": correlation,
            }
        operation = None
        if view.in_progress:
            operation = {
                "type": kind,
                "phase": view.status,
                "started_at": began,
                "correlation_id": correlation,
            }
        return facts | {"operation": operation, "resource_usage": None}


def _progress(cvm: Cvm, view: View) -> dict[str, Any] | None:
    if not view.in_progress:
        return None
    return {
        "target": view.target,
        "started_at": iso(cvm.op_began_at),
        "correlation_id": cvm.op_correlation_id,
    }


def _resource(cvm: Cvm) -> dict[str, Any]:
    return {
        "instance_type": cvm.instance_type,
        "vcpu": cvm.vcpu,
        "memory_in_gb": cvm.memory / 1024,
        "disk_in_gb": cvm.disk_size,
        "gpus": cvm.gpus,
        "compute_billing_price": dollars(cvm.compute_rate),
        "billing_period": "hourly",
    }


_OS: Mapping[str, dict[str, Any]] = {
    image.name: {
        "name": image.name,
        "version": ".".join(map(str, image.version)),
        "is_dev": image.is_dev,
        "os_image_hash": image.os_image_hash,
    }
    for image in IMAGES.values()
}


def _os(image: str) -> dict[str, Any]:
    return _OS[image]
