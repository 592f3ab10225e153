"""Nodes, sizes, images and quotas: the schema of each, and no limit is not minus one."""

import msgspec
import pandas as pd
import pandera.pandas as pa
import pytest

from cvm_notebook import Client
from cvm_notebook.api.models.catalogue import InstanceType, Node, OsImage, QuotaMetric, Quotas
from cvm_notebook.frames.reports import inventory as catalogue

TEXT = pd.StringDtype()
MONEY = "float64"
SCHEMAS = {
    "nodes": {
        "name": TEXT,
        "region": TEXT,
        "listed": "boolean",
        "free_vcpu": "Float64",
        "free_memory_gb": "Float64",
        "free_slots": "Float64",
        "unlimited": "boolean",
        "score": "Float64",
        "images": "Int64",
        "onchain_kms": "boolean",
        "default_kms": TEXT,
        "fmspc": TEXT,
        "device_id": TEXT,
    },
    "instance_types": {
        "name": TEXT,
        "family": TEXT,
        "vcpu": "Int64",
        "memory_gb": "Float64",
        "disk_gb": "Int64",
        "needs_gpu": "boolean",
        "rate_usd_h": MONEY,
        "description": TEXT,
    },
    "images": {
        "name": TEXT,
        "version": TEXT,
        "is_dev": "boolean",
        "needs_gpu": "boolean",
        "os_image_hash": TEXT,
    },
    "quotas": {
        "limit": "Int64",
        "remaining": "Int64",
        "used": "Int64",
        "unlimited": "boolean",
        "unit": TEXT,
        "workspace": TEXT,
        "tier": TEXT,
        "as_of": pd.DatetimeTZDtype("us", "UTC"),
    },
}
INDEX = {"nodes": "Int64", "instance_types": TEXT, "images": TEXT, "quotas": TEXT}
EMPTY = {
    "nodes": Node(),
    "instance_types": InstanceType(),
    "images": OsImage(),
}


def check(name, frame):
    dtypes = SCHEMAS[name]
    assert list(frame.columns) == list(dtypes)
    assert {n: d for n, d in dtypes.items() if frame[n].dtype != d} == {}
    assert frame.index.dtype == INDEX[name]
    pa.DataFrameSchema(
        {n: pa.Column(d, nullable=True) for n, d in dtypes.items() if d != MONEY},
        index=pa.Index(INDEX[name], unique=True, nullable=True),
        ordered=True,
    ).validate(frame)


@pytest.fixture
def client(cloud):
    with Client(cloud.api_key, cloud.url) as client:
        yield client


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_the_service_lists_has_the_schema(client, name):
    frame = getattr(catalogue, f"{name}_frame")(client)
    check(name, frame)
    assert len(frame)
    assert frame.notna().any(axis=None)


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("name", EMPTY)
def test_the_schema_is_the_same_when_nothing_is_reported(name, rows):
    table = getattr(catalogue, name.upper())
    check(name, table.frame([EMPTY[name]] * rows) if rows < 2 else table.frame([EMPTY[name]]))


def test_prices_are_exact(client):
    frame = catalogue.instance_types_frame(client)
    assert frame.loc["tdx.small", "rate_usd_h"] == 0.058
    assert frame.loc["tdx.small", "memory_gb"] == 2


def test_a_family_is_a_part_of_all(client):
    whole = catalogue.instance_types_frame(client)
    family = whole["family"].iloc[0]
    part = catalogue.instance_types_frame(client, family)
    pd.testing.assert_frame_equal(part, whole[whole["family"] == family])


def test_no_limit_is_missing_and_shown_as_unlimited():
    answer = Quotas(
        quotas=msgspec.convert(
            {
                "vm_slots": {"limit": -1, "remaining": -1},
                "vcpu": {"limit": 16, "remaining": 5},
                "memory_mb": {"limit": 0, "remaining": 0},
            },
            Quotas.__annotations__["quotas"].__args__[0],
        )
    )
    frame = catalogue.QUOTAS.frame(catalogue._quotas(answer))
    check("quotas", frame)
    slots, vcpu, memory, disk = (frame.loc[n] for n in ("vm_slots", "vcpu", "memory", "disk"))
    assert pd.isna(slots["limit"])
    assert pd.isna(slots["remaining"])
    assert slots["unlimited"]
    assert (vcpu["limit"], vcpu["remaining"], vcpu["used"], vcpu["unlimited"]) == (16, 5, 11, False)
    assert (memory["limit"], memory["used"], memory["unlimited"]) == (0, 0, False)
    assert pd.isna(disk["unlimited"])


def test_a_node_without_limits_is_unlimited_and_not_full():
    frame = catalogue.NODES.frame([Node(teepod_id=1, remaining_vcpu=-1, remaining_memory=4096)])
    row = frame.loc[1]
    assert pd.isna(row["free_vcpu"])
    assert row["free_memory_gb"] == 4
    assert row["unlimited"]


def test_of_two_of_one_key_the_last_counts():
    frame = catalogue.NODES.frame([Node(teepod_id=1, name="old"), Node(teepod_id=1, name="new")])
    assert list(catalogue._unique(frame)["name"]) == ["new"]


def test_overused_quotas_do_not_lose_their_use():
    metric = QuotaMetric(limit=8, remaining=-1)
    quota = catalogue._Quota("vcpu", "virtual CPUs", metric, Quotas())
    assert catalogue._used(quota) == 9


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_stands_in_the_docstring(name):
    text = getattr(catalogue, f"{name}_frame").__doc__
    described = getattr(catalogue, name.upper()).describe()
    assert list(described.index[~described["index"]]) == list(SCHEMAS[name])
    for column, row in described.iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in text
