"""The models: tolerant of what the service leaves out or adds, exact about what is wrong."""

import datetime as dt
import json
import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cvm_notebook.api import models
from cvm_notebook.api.errors.tree import DecodeError
from cvm_notebook.api.models import decode as sharing
from cvm_notebook.api.models.actions import (
    CvmAction,
    CvmState,
    CvmStatus,
    Page,
    Provision,
    decode_page,
    decode_state,
    decode_statuses,
)
from cvm_notebook.api.models.base import instant, money
from cvm_notebook.api.models.catalogue import (
    AvailableNodes,
    InstanceType,
    QuotaMetric,
    Quotas,
    decode_current_user,
)
from cvm_notebook.api.models.cvm import Cvm, HourlyRate
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.guest import CvmContainers

STRUCTS = [
    kind
    for kind in (getattr(models, name) for name in models.__all__)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]
NEEDS_ROWS = {"Page": "items", "AppPage": "dstack_apps", "AppRevisions": "revisions"} | {
    "OperationPage": "items"
}

ROW = {
    "id": "cvm_1",
    "name": "web-1",
    "status": "running",
    "vm_uuid": "0b9e2b6e-6f0b-4d55-8f0e-0d0f3c1b7c11",
    "resource": {"instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2, "gpus": 0},
    "node_info": {"object_type": "node", "id": 3, "name": "prod3", "device_ids": []},
    "endpoints": [{"app": "https://a", "instance": "https://b"}],
    "hourly_rate": {"total": "0.060780", "compute": "0.058", "disk": "0.00278"},
    "created_at": "2026-03-01T10:00:00.123456+00:00",
}


def page(*rows, **more):
    body = {"items": rows, "total": len(rows), "page": 1, "page_size": 100, "pages": 1, **more}
    return json.dumps(body).encode()


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_missing_null_and_unknown_members_are_taken_by_every_model(kind):
    rows = NEEDS_ROWS.get(kind.__name__)
    needed = {rows: []} if rows else {}
    nulls = {name: None for name in kind.__struct_fields__ if name != rows}
    nulls = {name: None for name in nulls if name not in ("raw", "status")} | needed
    for body in (needed, nulls, {**needed, "a_new_field": {"deep": [1]}, "__class__": "x"}):
        decode(json.dumps(body).encode(), kind, "a test")


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_every_model_is_frozen_and_given_by_name(kind):
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.kw_only if hasattr(kind.__struct_config__, "kw_only") else True
    if kind.__name__ not in NEEDS_ROWS:
        with pytest.raises(AttributeError):
            kind().anything = 1


def test_a_row_is_read_with_its_parts():
    [cvm] = decode_page(page(ROW))[0].items
    assert (cvm.id, cvm.name, cvm.status) == ("cvm_1", "web-1", "running")
    assert (cvm.resource.memory_in_gb, cvm.node_info.name) == (2.0, "prod3")
    assert cvm.hourly_rate.total_usd == Decimal("0.06078")
    assert cvm.created == dt.datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=dt.UTC)
    assert cvm.updated is None
    assert cvm.endpoints[0].instance == "https://b"
    assert cvm.features is None


def test_an_unknown_status_is_kept_in_the_service_s_word():
    assert decode_page(page({**ROW, "status": "Hibernating"}))[0].items[0].status == "Hibernating"


def test_one_wrong_row_costs_that_row_only_and_is_named_by_its_place():
    wrong = {**ROW, "id": "cvm_2", "resource": {"vcpu": "2"}}
    read, faults = decode_page(page(ROW, wrong, {**ROW, "id": "cvm_3"}, total=3))
    assert [cvm.id for cvm in read.items] == ["cvm_1", "cvm_3"]
    assert (read.total, read.pages) == (3, 1)
    [fault] = faults
    assert fault.path == "$.items[1].resource.vcpu"
    assert "GET /cvms/paginated" in str(fault)
    assert "$.items[1].resource.vcpu" in str(fault)


@pytest.mark.parametrize(
    "bad",
    [
        b"NaN",
        b"5",
        b"null",
        b"[]",
        b'"x"',
        b'{"resource":{"vcpu":NaN}}',
        b'{"resource":{"memory_in_gb":1e400}}',
        b'{"resource":{"vcpu":' + b"9" * 5000 + b"}}",
        b'{"resource":{"vcpu":' + b"9" * 30 + b"}}",
        b'{"resource":{"vcpu":true}}',
        b'{"new":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"new":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"name":"\\ud800"}',
        b'{"name":"\xff\xfe"}',
        b'{"name": "a" "b"}',
        b'{"items": [1, {"]": "}"}], "name": 5}',
        b'{"endpoints":[{"app":1}]}',
        b"",
    ],
)
def test_a_broken_row_never_hurts_its_neighbours(bad):
    good = json.dumps({**ROW, "name": '"]}, {[ \\" tricky'}).encode()
    body = b'{"more": {"items": ["x"]}, "items" : [%s , %s,%s], "total": 3}' % (good, bad, good)
    read, faults = decode_page(body)
    assert [cvm.id for cvm in read.items] == ["cvm_1", "cvm_1"]
    assert read.items[1].name == '"]}, {[ \\" tricky'
    assert len(faults) == 1
    assert faults[0].path.startswith("$.items[1]")
    assert len(str(faults[0])) < 500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"<html>sign in</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"items": null}',
        b'{"items": {}}',
        b'{"items": "x"}',
        b'{"items": [{"id": "cvm_1"}, {"id": "cvm',
        b'{"items": [{"id": "cvm_1"}]',
        b'{"items": [], "total": "many"}',
        b'{"items": [5]',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"items": [{"id": "a"}]} trailing',
        b"\x1f\x8b\x08 not json",
    ],
)
def test_what_is_no_page_is_an_error_and_never_a_shorter_list(body):
    with pytest.raises(DecodeError) as caught:
        decode_page(body)
    assert caught.value.where == "GET /cvms/paginated"
    assert str(caught.value).isprintable()


def test_html_and_an_empty_answer_are_named():
    for body, word in ((b" <!doctype html>", "HTML"), (b"", "empty")):
        with pytest.raises(DecodeError, match=word):
            decode(body, Cvm, "GET /cvms/x")


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b'{"items":[}')
@example(b'{"items":[]}}')
@example(b'{"items":["')
def test_any_bytes_end_in_a_page_or_a_decode_error(body):
    try:
        read, faults = decode_page(body)
    except DecodeError:
        return
    assert isinstance(read, Page)
    assert all(isinstance(fault, DecodeError) for fault in faults)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"new": TREES}, optional={"name": TREES}), max_size=6))
def test_row_by_row_agrees_with_the_page_as_a_whole(rows):
    read, faults = decode_page(json.dumps({"items": rows}).encode())
    kept = [r for r in rows if r.get("name") is None or isinstance(r["name"], str)]
    kept = [r.get("name") for r in kept if _valid(r)]
    assert [cvm.name for cvm in read.items] == kept
    assert len(read.items) + len(faults) == len(rows)


def _valid(row):
    """Whether msgspec reads what json wrote: not a lone surrogate, not a number past a double."""
    try:
        msgspec.json.decode(json.dumps(row))
    except msgspec.DecodeError:
        return False
    return True


def test_equal_parts_of_rows_are_kept_once_and_read_the_same():
    full = {
        **ROW,
        "os": {"name": "dstack-0.5.7", "os_image_hash": "ab" * 32},
        "workspace": {"id": "wks_1", "name": "team"},
        "creator": {"id": "usr_1", "username": "ana"},
        "node_info": {**ROW["node_info"], "device_id": "d3"},
        "gateway": {"base_domain": "x.example", "cname": None},
        "features": ["kms", "tproxy-net"],
        "manifest_version": 2,
        "base_image": None,
    }
    body = page(full, {**full, "id": "cvm_2"})
    one, two = decode_page(body)[0].items
    for name in ("node_info", "os", "workspace", "creator", "gateway", "features", "status"):
        assert getattr(one, name) is getattr(two, name)
    assert one.hourly_rate.total is two.hourly_rate.total
    assert (one, two) == decode(body, Page[Cvm], "x").items


def test_parts_that_only_look_alike_are_not_confused():
    def nodes(*seen):
        rows = [{"id": f"cvm_{i}", "node_info": node} for i, node in enumerate(seen)]
        return [cvm.node_info.status for cvm in decode_page(page(*rows))[0].items]

    on, off = ({"device_id": "d1", "name": "n", "status": s} for s in ("ONLINE", "OFFLINE"))
    assert nodes(on, off, off, on) == ["ONLINE", "OFFLINE", "OFFLINE", "ONLINE"]
    mixed = {"id": "cvm_1", "workspace": {"id": "x"}, "creator": {"id": "x"}, "os": {"name": "o"}}
    [cvm] = decode_page(page(mixed))[0].items
    assert [type(part).__name__ for part in (cvm.workspace, cvm.creator, cvm.os)] == [
        "WorkspaceRef",
        "UserRef",
        "OsInfo",
    ]


def test_what_is_kept_for_sharing_is_bounded():
    for start in range(0, 30_000, 1000):
        rows = [{"workspace": {"id": f"wks_{n}"}} for n in range(start, start + 1000)]
        decode_page(page(*rows))
    assert len(sharing._parts) <= 11_000


def test_a_lone_row_is_refused_by_its_place():
    with pytest.raises(DecodeError) as caught:
        decode(b'{"resource": {"vcpu": 1.5}}', Cvm, "GET /cvms/x")
    assert caught.value.path == "$.resource.vcpu"
    with pytest.raises(DecodeError, match="nested too deep"):
        decode(b'{"new": ' + b"[" * 100_000, Cvm, "GET /x")


def test_the_state_keeps_the_object_as_sent():
    state = decode_state(b'{"status": "running", "raw": 5, "new": [1], "uptime": null}', "a stream")
    assert (state.status, state.uptime) == ("running", None)
    assert state.raw == {"status": "running", "raw": 5, "new": [1], "uptime": None}
    assert CvmState().raw == {}


def test_a_batch_loses_only_what_is_wrong():
    body = b'{"a": {"status": "running"}, "b": null, "c": {"status": 5}, "d": {"status": NaN}}'
    statuses, faults = decode_statuses(body)
    assert {k: v.status for k, v in statuses.items()} == {"a": "running"}
    assert [fault.path for fault in faults] == ["$.c.status", "$.d"]
    assert decode_statuses(b'{"a": null, "b": {"status": "x"}}')[0].keys() == {"b"}
    assert [fault.path for fault in decode_statuses(b'{"a":}')[1]] == ["$.a"]
    for broken in (b"[]", b"", b'{"a": {"status": 5}', b'{"a": {"status": "x"}', b'{"a": 1} x'):
        with pytest.raises(DecodeError):
            decode_statuses(broken)


def test_the_operation_of_a_status_is_read_in_both_shapes():
    new = decode(b'{"operation": {"type": "resize", "phase": "boot"}}', CvmStatus, "x")
    old = decode(b'{"operation_type": "resize", "correlation_id": "c"}', CvmStatus, "x")
    assert (new.doing.type, old.doing.type, old.doing.correlation_id) == ("resize", "resize", "c")
    assert decode(b"{}", CvmStatus, "x").doing is None


def test_both_shapes_of_the_current_user_fold_into_one():
    nested = decode_current_user(
        b'{"user": {"username": "ana"}, "workspace": {"name": "w"}, "credits": {"balance": "1.50"}}'
    )
    flat = decode_current_user(b'{"username": "ana", "team_name": "w", "credits": 1.5}')
    for decoded in (nested, flat):
        assert (decoded.user.username, decoded.workspace.name) == ("ana", "w")
        assert decoded.credits.balance == Decimal("1.5")
    with pytest.raises(DecodeError):
        decode_current_user(b'{"user": 5, "workspace": {}}')


def test_the_id_of_an_action_may_be_a_number():
    assert decode(b'{"id": 0, "user_id": null}', CvmAction, "x").id == 0
    assert decode(b'{"id": "cvm_1"}', CvmAction, "x").id == "cvm_1"


def test_null_lists_of_catalogue_answers_are_empty():
    nodes = decode(
        b'{"nodes": [{"teepod_id": 3, "images": null}], "kms_list": null}', AvailableNodes, ""
    )
    assert (nodes.nodes[0].id, nodes.nodes[0].images, nodes.kms_list) == (3, (), ())
    assert decode(b'{"containers": null}', CvmContainers, "").containers == ()


def test_an_endless_quota_says_so():
    answer = decode(b'{"quotas": {"vcpu": {"limit": -1, "remaining": -1}}}', Quotas, "")
    assert answer.quotas.vcpu.unlimited
    assert not QuotaMetric(limit=8).unlimited
    assert not QuotaMetric().unlimited


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.058000", Decimal("0.058")),
        (" 3.50 ", Decimal("3.5")),
        (3, Decimal(3)),
        (0.1, Decimal("0.1")),
        (1e-7, Decimal("1E-7")),
        ("-0", Decimal(0)),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("-inf", None),
        ("1e999999", None),
        ("1,23", None),
        ("1_000", None),
        ("\u0661", None),
        ("", None),
        ("$5", None),
        ("9" * 10_000, None),
        (float("nan"), None),
        (True, None),
        (None, None),
        ({}, None),
        ([], None),
    ],
)
def test_money_is_decimal_or_none_and_never_fails(value, expected):
    got = money(value)
    assert got == expected
    assert (got is None) == (expected is None)
    body = msgspec.json.encode(
        {"hourly_rate": None if isinstance(value, float) and math.isnan(value) else value}
    )
    assert decode(body, InstanceType, "x").hourly_rate == expected


def test_minus_zero_is_shown_as_zero():
    assert str(money("-0.00")) == "0"
    assert HourlyRate(total="-0").total_usd == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-01T10:00:00Z", (2026, 3, 1, 10)),
        ("2026-03-01T12:00:00+02:00", (2026, 3, 1, 10)),
        ("2026-03-01 10:00:00", (2026, 3, 1, 10)),
        ("2026-03-01T10:00:00.123456789Z", (2026, 3, 1, 10, 0, 0, 123456)),
        (1772359200, (2026, 3, 1, 10)),
        (1772359200000, (2026, 3, 1, 10)),
        ("1772359200000", (2026, 3, 1, 10)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("2026-06-30T23:59:60Z", None),
        ("yesterday", None),
        ("", None),
        (float("nan"), None),
        (1e300, None),
        (True, None),
        (None, None),
        ({}, None),
    ],
)
def test_time_is_aware_utc_or_none_and_never_fails(value, expected):
    got = instant(value)
    assert got == (None if expected is None else dt.datetime(*expected, tzinfo=dt.UTC))
    assert got is None or got.utcoffset() == dt.timedelta(0)


@settings(deadline=None)
@given(st.text(max_size=40) | st.floats() | st.integers())
def test_no_value_makes_money_or_time_fail(value):
    got = money(value)
    assert got is None or got.is_finite()
    when = instant(value)
    assert when is None or when.tzinfo is not None


def test_a_provision_keeps_what_the_commit_needs():
    provision = decode(
        b'{"app_id": "a", "compose_hash": "b", "kms_info": {"id": 5}}', Provision, "x"
    )
    assert (provision.app_id, provision.compose_hash, provision.kms_info) == ("a", "b", {"id": 5})
