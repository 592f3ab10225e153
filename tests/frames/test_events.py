"""events_frame: one change a row, shown by its most telling field; nothing secret, one schema."""

import datetime as dt

import pandas as pd
import pandera.pandas as pa
import pytest

from cvm_notebook.api.models.actions import OperationStatus
from cvm_notebook.api.models.cvm import Endpoint, LogUrls, Resource
from cvm_notebook.api.status import SOURCES, STATUSES
from cvm_notebook.frames.reports.events import EVENTS, events_frame
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.store import FleetStore

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
KINDS = [
    *("added", "changed", "removed", "status", "progress", "fault", "healed", "operation"),
]
MAY_MISS = {"name", "before", "after", "status_from", "status_to", "correlation_id"} | {
    *("operation_id", "lag_ms", "also")
}
DTYPES = {
    "at": MOMENT,
    "received_at": MOMENT,
    "cvm_id": TEXT,
    "name": TEXT,
    "kind": pd.CategoricalDtype(KINDS),
    "field": TEXT,
    "before": TEXT,
    "after": TEXT,
    "status_from": pd.CategoricalDtype(list(STATUSES)),
    "status_to": pd.CategoricalDtype(list(STATUSES)),
    "source": pd.CategoricalDtype(list(SOURCES)),
    "correlation_id": TEXT,
    "operation_id": TEXT,
    "lag_ms": "Float64",
    "revision": "Int64",
    "also": TEXT,
}
SCHEMA = pa.DataFrameSchema(
    {name: pa.Column(dtype, nullable=name in MAY_MISS) for name, dtype in DTYPES.items()},
    index=pa.Index("Int64", name="seq", unique=True),
    strict=True,
    ordered=True,
)
DOING = OperationStatus(type="power_off", correlation_id="f" * 32)


def described(change):
    """What is shown of one change: kind, field, before, after and the other fields."""
    frame = events_frame([change])
    SCHEMA.validate(frame)
    row = frame.astype(object).iloc[0]
    return tuple(
        None if pd.isna(row[name]) else row[name]
        for name in ("kind", "field", "before", "after", "also")
    )


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_the_schema_is_the_same_for_any_number_of_changes(make, count):
    changes = [make.change(make.row(n), make.row(n, status="x"), seq=n) for n in range(count)]
    frame = events_frame(changes)
    SCHEMA.validate(frame)
    assert list(frame.index) == list(range(count))


def test_it_does_not_depend_on_what_is_missing(make):
    bare = make.row(record={"name": None, "hourly_rate": None}, status=None)
    SCHEMA.validate(events_frame([make.change(None, bare, lag_ms=None)]))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"status": "stopping"}, ("status", "status", "running", "stopping", None)),
        (
            {},
            {"status": "error", "boot_error": "no disk"},
            ("status", "status", "running", "error", "boot_error"),
        ),
        ({}, {"boot_error": "no disk"}, ("fault", "boot_error", None, "no disk", None)),
        ({}, {"error": "no answer"}, ("fault", "error", None, "no answer", None)),
        ({"error": "no answer"}, {}, ("healed", "error", "no answer", None, None)),
        (
            {},
            {"in_progress": True, "operation": DOING},
            ("operation", "operation", None, "power_off", None),
        ),
        ({"in_progress": True}, {}, ("operation", "operation", "under way", None, None)),
        (
            {"boot_progress": "init-script"},
            {"boot_progress": "done", "uptime": "1s"},
            ("progress", "boot_progress", "init-script", "done", "uptime"),
        ),
        (
            {},
            {"record": {"listed": True, "name": "new"}},
            ("changed", "name", "web-0", "new", "listed"),
        ),
        (
            {},
            {"record": {"resource": Resource(vcpu=2), "updated_at": "2026-06-01T00:00:00Z"}},
            (
                *("changed", "instance_type", "tdx.small", None),
                "vcpu, memory_gb, disk_gb, gpus, billing_period, updated_at",
            ),
        ),
        ({}, {"record": {"features": ("kms",)}}, ("changed", "record", None, None, None)),
    ],
)
def test_the_most_telling_field_is_shown_and_the_others_named(make, before, after, expected):
    assert described(make.change(make.row(**before), make.row(**after))) == expected


def test_what_came_and_went_is_shown_with_its_status(make):
    row = make.row()
    assert described(make.change(None, row)) == ("added", "cvm", None, "running", None)
    assert described(make.change(row, None)) == ("removed", "cvm", "running", None, None)


def test_statuses_are_in_fixed_words_and_the_servers_own_word_is_kept(make):
    frame = events_frame([make.change(make.row(status="Exited"), make.row(status="hibernating"))])
    assert frame["status_from"].iloc[0] == "stopped"
    assert frame["status_to"].iloc[0] == "unknown"
    assert frame["before"].iloc[0] == "Exited"


def test_times_source_and_lag_are_the_changes_own(make):
    late = make.noon + dt.timedelta(milliseconds=5)
    change = make.change(
        make.row(),
        make.row(status="stopped"),
        seq=7,
        at=make.noon,
        made_at=late,
        lag_ms=5.0,
        source="stream",
        operation_id="op_1",
        revision=41,
    )
    row = events_frame([change]).loc[7]
    assert row["received_at"] == pd.Timestamp(make.noon)
    assert row["at"] == pd.Timestamp(late)
    assert (row["lag_ms"], row["source"], row["operation_id"], row["revision"]) == (
        *(5.0, "stream", "op_1", 41),
    )


def test_an_operation_that_has_ended_keeps_its_correlation_id(make):
    busy = make.row(status="stopping", in_progress=True, operation=DOING)
    frame = events_frame([make.change(busy, make.row(status="stopped"))])
    assert frame["correlation_id"].iloc[0] == "f" * 32


def test_no_token_of_an_address_is_shown(make):
    secret = "token-3f9a"
    after = make.row(
        record={
            "endpoints": (Endpoint(app=f"https://u:{secret}@h.example/?key={secret}"),),
            "logs": LogUrls(serial=f"https://h.example/?token={secret}"),
            "app_url": f"https://h.example/#{secret}",
            "compose_file": {"env": secret},
        }
    )
    assert secret not in events_frame([make.change(make.row(), after)]).to_csv()


def test_what_a_store_really_tells_has_the_schema(make):
    store = FleetStore(SystemClock())
    store.replace([make.cvm(1), make.cvm(2)], received=1.0)
    store.patch([Observation(id="cvm_00000001", status="stopping", received=2.0, source="stream")])
    store.replace([make.cvm(2)], received=3.0)
    seen = []
    store.attach(seen.extend, since=0)
    frame = events_frame(seen)
    SCHEMA.validate(frame)
    assert list(frame["kind"]) == ["added", "added", "status", "removed"]
    assert (frame["lag_ms"] >= 0).all()


def test_every_column_stands_in_the_docstring():
    for column, row in EVENTS.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in events_frame.__doc__
