"""A CVM of which the service said everything, for the tests of frames."""

from typing import Any

import msgspec

from cvm_notebook.api.models.cvm import (
    Cvm,
    Endpoint,
    Gateway,
    HourlyRate,
    KmsInfo,
    NodeRef,
    OsInfo,
    Resource,
    UserRef,
    WorkspaceRef,
)


def full_cvm(number: int = 0, **changes: Any) -> Cvm:
    """A CVM of which the service said everything."""
    whole = Cvm(
        id=f"cvm_{number:08d}",
        name=f"web-{number}",
        app_id=f"{number:040x}",
        vm_uuid=f"00000000-0000-4000-8000-{number:012d}",
        instance_id="b" * 40,
        resource=Resource(
            instance_type="tdx.small",
            vcpu=1,
            memory_in_gb=2.0,
            disk_in_gb=20,
            gpus=0,
            billing_period="hourly",
        ),
        node_info=NodeRef(id=18, name="prod9", region="us-west-1", status="ONLINE"),
        os=OsInfo(name="dstack-0.5.8", version="0.5.8", is_dev=False, os_image_hash="c" * 64),
        kms_type="phala",
        kms_info=KmsInfo(chain_id=8453),
        status="running",
        in_progress=False,
        compose_hash="d" * 64,
        docker_compose_hash="e" * 64,
        gateway=Gateway(base_domain="example.net", cname="shop.example.com"),
        endpoints=(Endpoint(app="https://web.example.net"),),
        public_logs=True,
        public_sysinfo=True,
        public_tcbinfo=True,
        gateway_enabled=True,
        secure_time=False,
        listed=False,
        storage_fs="zfs",
        workspace=WorkspaceRef(name="Team"),
        creator=UserRef(username="ana"),
        created_at="2026-05-01T10:00:00.250000+00:00",
        updated_at="2026-05-02T10:00:00Z",
        project_type="user",
        app_url="https://web.example.net",
        base_image="dstack-0.5.8",
        runner="docker-compose",
        hourly_rate=HourlyRate(total="0.060780", compute="0.058000", disk="0.002780"),
    )
    return msgspec.structs.replace(whole, **changes)
