"""Our client as a target of the outside benchmark kit (see README.md here)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import cvm_notebook as cvm

IMPORT = "import cvm_notebook"
# the thirty columns that the kit asks of every target, by our names; "wide" has twice as many
WANTED = [
    *("name", "status_raw", "in_progress", "app_id", "vm_uuid", "instance_id", "instance_type"),
    *("vcpu", "memory_gb", "disk_gb", "gpus", "billing_period", "rate_usd_h", "node", "region"),
    *("os", "os_version", "kms_type", "chain_id", "gateway_domain", "app_url", "public_logs"),
    *("listed", "storage_fs", "workspace", "creator", "compose_hash", "created_at", "updated_at"),
]


class Target:
    """What the kit calls: each method is one line of what a user would write."""

    # the kit's name of a column -> the name in our frame, where the two differ
    COLUMNS: ClassVar = {
        "id": "cvm_id",
        "status": "status_raw",
        "memory_in_gb": "memory_gb",
        "disk_in_gb": "disk_gb",
        "hourly_rate": "rate_usd_h",
        "gateway": "gateway_domain",
    }

    def __init__(self, base_url: str, api_key: str) -> None:
        self.client = cvm.Client(base_url=f"{base_url}/api/v1", api_key=api_key)
        self.fleet_frame = cvm.fleet_frame  # loaded here, as the kit loads pandas before it counts

    def list_frame(self):
        return self.fleet_frame(self.client.iter_cvms(), columns=WANTED).reset_index()

    def list_items(self) -> Sequence[cvm.Cvm]:
        return self.client.list_cvms()

    def get(self, id: str) -> cvm.Cvm:  # noqa: A002 - the kit's name
        return self.client.get_cvm_info(id)

    def watch(self, id: str, target: str) -> cvm.CvmState:  # noqa: A002 - the kit's name
        return self.client.watch_cvm_state({"id": id, "target": target})

    def bulk(self, ids: Sequence[str], action: str, workers: int = 16) -> list[object]:
        call = getattr(self.client, f"{action}_cvm")
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(call, ids))

    def close(self) -> None:
        self.client.close()


def make(base_url: str, api_key: str) -> Target:
    return Target(base_url, api_key)
