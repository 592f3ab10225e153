"""CVMs, rows, changes and snapshots for the tests of frames, each as full as need be."""

import datetime as dt
import types

import msgspec
import pytest

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
from cvm_notebook.live.store.records import Change, Health, Provenance, Row, Snapshot

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
MONOTONIC = 1000.0


def cvm(number=0, **changes):
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


def row(number=0, *, at=NOON, received=MONOTONIC, source="list", record=None, **changes):
    """A row of it; `record` holds changes of the CVM, the rest are of the row."""
    known = cvm(number, **(record or {}))
    fields = {"status": known.status, "revision": 1} | changes
    return Row(cvm=known, seen=Provenance(received, at, source), **fields)


def snapshot(*rows, at=NOON, monotonic=MONOTONIC, revision=1, state="live"):
    """A snapshot of rows."""
    health = Health(state, at)
    return Snapshot(
        revision=revision, rows=tuple(rows), taken_at=at, monotonic=monotonic, health=health
    )


def change(before, after, *, seq=1, at=NOON, **changes):
    """A change from one row to another."""
    fields = {"revision": seq, "source": "list", "received": MONOTONIC, "lag_ms": 0.5} | changes
    return Change(seq=seq, before=before, after=after, at=at, **fields)


@pytest.fixture(scope="session")
def make():
    """Makers of what frames are made of."""
    return types.SimpleNamespace(
        cvm=cvm, row=row, snapshot=snapshot, change=change, noon=NOON, monotonic=MONOTONIC
    )
