"""The answer to the first of the two steps to a CVM."""

from typing import Any

from cvm_notebook.local.answers.cvm_views import Shapes, env_pubkey, kms_pubkey
from cvm_notebook.local.core.catalogue import IMAGES, NODES
from cvm_notebook.local.core.database import Provision


def provisioned(shapes: Shapes, kept: Provision) -> dict[str, Any]:
    """Format a plan that is kept."""
    node = NODES[kept.plan["node_id"]]
    pubkey = env_pubkey(shapes.ctx.secret, kept.app_id)
    return {
        "app_id": kept.app_id,
        "app_env_encrypt_pubkey": pubkey,
        "compose_hash": kept.compose_hash,
        "kms_info": shapes.kms_ref() | {"k256_pubkey": kms_pubkey(shapes.ctx.secret)},
        "fmspc": node.fmspc,
        "device_id": node.device_id,
        "os_image_hash": IMAGES[kept.plan["image"]].os_image_hash,
        "instance_type": kept.plan["instance_type"],
        "node_id": node.id,
        "teepod_id": node.id,
        "kms_id": shapes.kms_ref()["id"],
        "kms_contract_id": None,
        "gateway_app_id": None,
    }
