"""fleet_frame: one schema for every input, nothing invented, nothing leaked."""

import contextlib
import datetime as dt
import sqlite3
import subprocess
import sys
import textwrap
from decimal import Decimal, localcontext

import msgspec
import pandas as pd
import pandera.pandas as pa
import pytest
from full_cvm import full_cvm
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import (
    Cvm,
    Endpoint,
    HourlyRate,
    KmsInfo,
    Progress,
    Resource,
)
from cvm_notebook.api.status import STATUSES
from cvm_notebook.frames import fleet_columns, fleet_frame
from cvm_notebook.live.columns import FRAMED

SEEN = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
TEXT = pd.StringDtype()
MONEY = "float64"
DECIMALS = "decimal128(18, 6)[pyarrow]"
MOMENT = pd.DatetimeTZDtype("us", "UTC")


def words(*categories):
    return pd.CategoricalDtype(list(categories))


# the schema as users hold it, written down a second time: a change of it must be meant
DTYPES = {
    "name": TEXT,
    "app_id": TEXT,
    "vm_uuid": TEXT,
    "instance_id": TEXT,
    "status": words(
        *("provisioning", "starting", "running", "restarting", "stopping", "stopped"),
        *("shutting_down", "failed", "deleting", "gone", "unknown"),
    ),
    "status_raw": TEXT,
    "in_progress": "boolean",
    "operation": words(
        *("start", "stop", "shutdown", "restart", "delete", "replicate", "create", "other")
    ),
    "operation_since": MOMENT,
    "correlation_id": TEXT,
    "health": words("ok", "stale", "error", "unknown"),
    "error": TEXT,
    "instance_type": TEXT,
    "node": TEXT,
    "region": TEXT,
    "workspace": TEXT,
    "os": TEXT,
    "kms_type": words("phala", "ethereum", "base", "legacy", "unknown"),
    "creator": TEXT,
    "verified": words("VERIFIED", "PARTIAL", "SIMULATED", "FAILED"),
    "verified_at": MOMENT,
    "vcpu": "Int64",
    "memory_gb": "Float64",
    "disk_gb": "Int64",
    "gpus": "Int64",
    "replicas": "Int64",
    "cpu": "Float64",
    "mem": "Float64",
    "idle_for": "Float64",
    "metrics": words("known", "private", "failed", "unknown"),
    "is_dev": "boolean",
    "listed": "boolean",
    "public_logs": "boolean",
    "public_sysinfo": "boolean",
    "public_tcbinfo": "boolean",
    "gateway_enabled": "boolean",
    "compose_hash": TEXT,
    "os_image_hash": TEXT,
    "rate_usd_h": MONEY,
    "rate_compute_usd_h": MONEY,
    "rate_disk_usd_h": MONEY,
    "charged_usd_h": MONEY,
    "billing_period": words("skip", "hourly", "monthly", "unknown"),
    "created_at": MOMENT,
    "updated_at": MOMENT,
    "deleted_at": MOMENT,
    "observed_at": MOMENT,
    "age_s": "Float64",
    "source": words("list", "get", "batch", "stream", "action"),
    "uptime_s": "Int64",
    "url": TEXT,
    "endpoints": "Int64",
    "revision": "Int64",
    "os_version": TEXT,
    "base_image": TEXT,
    "chain_id": "Int64",
    "gateway_domain": TEXT,
    "custom_domain": TEXT,
    "app_url": TEXT,
    "storage_fs": TEXT,
    "secure_time": "boolean",
    "node_id": "Int64",
    "node_status": TEXT,
    "runner": TEXT,
    "project_type": TEXT,
    "docker_compose_hash": TEXT,
}
SCHEMA = pa.DataFrameSchema(
    {
        name: pa.Column(dtype, nullable=name not in ("status", "health", "observed_at", "source"))
        for name, dtype in DTYPES.items()
        if dtype != MONEY  # pandera knows no decimals of Arrow; test_dtypes_* compare them
    },
    index=pa.Index(
        TEXT, pa.Check(lambda ids: ids.dropna().is_unique), name="cvm_id", nullable=True
    ),
    strict=False,
    ordered=True,
)


def full(number=0, **changes):
    """A CVM of which the service reported everything, all of one app."""
    return full_cvm(number, **{"app_id": "a" * 40} | changes)


def cell(column, **changes):
    return fleet_frame([full(**changes)], columns=[column], observed_at=SEEN)[column].iloc[0]


# --- one schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 10_000])
def test_dtypes_and_order_are_the_same_for_any_number_of_rows(rows):
    frame = fleet_frame([full(n) for n in range(rows)], columns="wide")
    assert list(frame.columns) == list(DTYPES)
    assert {n: d for n, d in DTYPES.items() if frame[n].dtype != d} == {}
    assert frame.index.dtype == TEXT
    assert frame.index.name == "cvm_id"
    assert len(frame) == rows
    SCHEMA.validate(frame)


def _some_of(struct, values):
    """Build structs of a type in which any subset of the fields is missing."""
    fields = {name: st.none() | st.just(value) for name, value in values.items()}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: struct(**given))


def _nested(name, value):
    if isinstance(value, msgspec.Struct):
        return st.none() | _some_of(type(value), msgspec.structs.asdict(value))
    if name == "endpoints":
        return st.none() | st.lists(st.sampled_from([Endpoint(), *value]), max_size=3).map(tuple)
    return st.none() | st.just(value)


CVMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            name: _nested(name, value)
            for name, value in msgspec.structs.asdict(
                full(progress=Progress(started_at="2026-05-02T10:00:00Z", correlation_id="f" * 32))
            ).items()
        },
    ).map(lambda given: Cvm(**given)),
    max_size=4,
)


@settings(max_examples=examples(20), deadline=None)
@given(CVMS)
def test_dtypes_are_the_same_whatever_is_missing(cvms):
    frame = fleet_frame(cvms, columns="wide")
    assert dict(frame.dtypes) == dict(fleet_frame([], columns="wide").dtypes)
    SCHEMA.validate(frame)


@settings(max_examples=examples(20), deadline=None)
@given(CVMS)
def test_narrow_is_a_part_of_wide_and_so_is_any_choice(cvms):
    wide = fleet_frame(cvms, columns="wide", observed_at=SEEN)
    pd.testing.assert_frame_equal(
        fleet_frame(cvms, observed_at=SEEN), wide[[c.name for c in FRAMED.values() if c.narrow]]
    )
    for column in wide.columns.drop("age_s"):  # the one that tells the time of the call
        alone = fleet_frame(cvms, columns=[column], observed_at=SEEN)
        pd.testing.assert_series_equal(alone[column], wide[column])


def test_what_is_not_reported_is_missing_and_never_zero_or_empty():
    frame = fleet_frame([Cvm(id="cvm_1")], columns="wide")
    filled = frame.notna().iloc[0]
    assert sorted(filled[filled].index) == ["age_s", "health", "observed_at", "source", "status"]
    assert frame.status.iloc[0] == frame.health.iloc[0] == "unknown"


def test_every_column_of_a_whole_cvm_is_filled():
    frame = fleet_frame(
        [
            full(
                status="starting",
                in_progress=True,
                progress=Progress(started_at="2026-05-02T10:00:00Z", correlation_id="f" * 32),
                deleted_at="2026-05-03T10:00:00Z",
            )
        ],
        columns="wide",
        revision=7,
    )
    empty = frame.isna().iloc[0]
    # what no list tells: the batch status does, a verification, and the guests
    unlisted = ["error", "uptime_s", "verified", "verified_at"]
    assert sorted(empty[empty].index) == sorted([*unlisted, "cpu", "mem", "idle_for", "metrics"])


def test_narrow_is_what_fits_beside_a_notebook():
    assert [c.name for c in FRAMED.values() if c.narrow] == [
        *("name", "status", "instance_type", "node", "region", "gpus"),
        *("rate_usd_h", "created_at"),
    ]


def test_a_column_chosen_stands_where_it_was_asked_for():
    frame = fleet_frame([full()], columns=["region", "name"])
    assert list(frame.columns) == ["region", "name"]


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (["nmae"], "name"),
        (["memory"], "memory_gb"),
        (["cvm_id"], "the index"),
        (["name", "name"], "twice"),
        ("narow", '"narrow"'),
        ("name", "list of column names"),
        (["\u202e"], "fleet_columns()"),
    ],
)
def test_a_wrong_column_is_refused_with_what_was_meant(columns, hint):
    with pytest.raises(InvalidInput) as refused:
        fleet_frame([full()], columns=columns)
    assert hint in str(refused.value)
    assert refused.value.field == "columns"


@pytest.mark.parametrize("bad", [{"money": "cents"}, {"source": "rumour"}])
def test_other_bad_arguments_are_refused(bad):
    with pytest.raises(InvalidInput) as refused:
        fleet_frame([], **bad)
    assert refused.value.field in bad


def test_the_documented_columns_are_the_columns():
    table = fleet_columns()
    wide = fleet_frame([], columns="wide")
    assert list(table.index) == list(wide.columns) == list(FRAMED)
    assert list(table.index[table["narrow"]]) == list(fleet_frame([]).columns)
    named = {n: str(d) for n, d in wide.dtypes.items() if str(d) != "category"}
    assert {n: table["dtype"][n] for n in named} == named
    assert all(c.doc and not c.doc.endswith(".") for c in FRAMED.values())


# --- rows ---------------------------------------------------------------------------------------


def test_the_index_is_unique_and_the_last_of_two_counts():
    frame = fleet_frame([full(1), full(2), full(1, status="stopped")])
    assert list(frame.index) == ["cvm_00000002", "cvm_00000001"]
    assert list(frame.status) == ["running", "stopped"]


def test_cvms_without_an_id_are_kept():
    frame = fleet_frame([Cvm(name="a"), Cvm(name="b"), full(1)])
    assert sorted(frame.name) == ["a", "b", "web-1"]


def test_any_iterable_will_do():
    assert len(fleet_frame(full(n) for n in range(3))) == 3


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "operation", "health"),
    [
        ("running", "running", None, "ok"),
        ("Running", "running", None, "ok"),
        ("provisioning", "provisioning", "create", "ok"),
        ("creating", "provisioning", "create", "ok"),
        ("starting", "starting", "start", "ok"),
        ("updating", "restarting", "other", "ok"),
        ("restarting", "restarting", "restart", "ok"),
        ("stopping", "stopping", "stop", "ok"),
        ("shutting_down", "shutting_down", "shutdown", "ok"),
        ("exited", "stopped", None, "ok"),
        ("error", "failed", None, "error"),
        ("removing", "deleting", "delete", "ok"),
        ("terminated", "gone", None, "ok"),
        ("hibernating", "unknown", None, "unknown"),
        (None, "unknown", None, "unknown"),
    ],
)
def test_the_servers_word_is_sorted_and_kept(word, status, operation, health):
    row = fleet_frame([full(status=word)], columns="wide").astype(object).iloc[0]
    assert row["status"] == status
    assert row["health"] == health
    assert (None if pd.isna(row["operation"]) else row["operation"]) == operation
    assert (None if pd.isna(row["status_raw"]) else row["status_raw"]) == word


def test_something_under_way_without_a_word_for_it_is_other():
    assert cell("operation", status="running", in_progress=True) == "other"


def test_every_status_can_be_compared_and_counted_though_it_does_not_occur():
    counts = fleet_frame([full()]).status.value_counts()
    assert set(counts.index) == set(STATUSES)


def test_a_new_word_of_a_closed_set_is_unknown():
    assert cell("kms_type", kms_type="moonbeam") == "unknown"


# --- money --------------------------------------------------------------------------------------


def test_sums_of_money_are_exact():
    rate = HourlyRate(total="0.1", compute="0.1", disk="0")
    cvms = [full(n, hourly_rate=rate) for n in range(10_000)]
    assert fleet_frame(cvms, money="decimal")["rate_usd_h"].sum() == Decimal(1000)
    assert fleet_frame(cvms)["rate_usd_h"].sum() == pytest.approx(1000)


@pytest.mark.parametrize(
    ("total", "amount"),
    [
        ("0.058000", Decimal("0.058")),
        ("1e-3", Decimal("0.001")),
        ("-0.5", Decimal("-0.5")),
        ("0.0000005", Decimal("0.000000")),  # six places, half to even
        ("0.0000015", Decimal("0.000002")),
        ("999999999998", Decimal(999999999998)),
        (0.058, Decimal("0.058")),
        (3, Decimal(3)),
    ],
)
def test_an_amount_is_kept_to_six_places(total, amount):
    cvms = [full(hourly_rate=HourlyRate(total=total))]
    assert fleet_frame(cvms, money="decimal")["rate_usd_h"].iloc[0] == amount
    assert fleet_frame(cvms)["rate_usd_h"].iloc[0] == float(amount)  # the nearest float


@pytest.mark.parametrize(
    "total", ["", "free", "NaN", "-Infinity", "1e999999999", "1,23", "1" * 13, "0x10", "\ud800"]
)
def test_what_is_no_amount_is_missing_and_harms_no_other_row(total):
    frame = fleet_frame([full(1), full(2, hourly_rate=HourlyRate(total=total))])
    assert frame["rate_usd_h"].iloc[0] == 0.06078
    assert pd.isna(frame["rate_usd_h"].iloc[1])


def test_amounts_do_not_depend_on_the_callers_decimal_context():
    with localcontext(prec=2):
        assert cell("rate_usd_h", hourly_rate=HourlyRate(total=12.345678)) == 12.345678


@pytest.mark.parametrize("status", ["running", "stopped", "exited", "starting", "failed", "new"])
def test_what_is_charged_now_is_a_column_and_adds_up_to_the_accessors_sum(status):
    cvms = [full(1, status=status), full(2, status=status)]
    frame = fleet_frame(cvms, columns="wide", money="decimal")
    assert frame["charged_usd_h"].sum() == frame.cvm.charged
    whole = frame["charged_usd_h"].iloc[0] == frame["rate_usd_h"].iloc[0]
    assert whole == (status in {"running", "starting", "new"})


def test_money_is_float_and_exact_where_it_is_asked_for():
    cvms = [full(1), full(2, hourly_rate=None)]
    frame, exact = (fleet_frame(cvms, columns="wide", money=kind) for kind in ("float", "decimal"))
    rates = ["rate_usd_h", "rate_compute_usd_h", "rate_disk_usd_h", "charged_usd_h"]
    assert set(map(str, frame[rates].dtypes)) == {"float64"}
    assert set(map(str, exact[rates].dtypes)) == {DECIMALS}
    assert frame["rate_usd_h"].iloc[0] == 0.06078
    assert exact["rate_usd_h"].iloc[0] == Decimal("0.06078")
    assert frame["rate_usd_h"].isna().iloc[1]
    assert list(frame.drop(columns=rates).dtypes) == list(exact.drop(columns=rates).dtypes)


def test_money_does_all_that_pandas_does_with_numbers():
    frame = fleet_frame([full(n) for n in range(4)], columns="wide")
    assert frame.nlargest(2, "rate_usd_h").shape[0] == 2
    assert frame["rate_usd_h"].cumsum().iloc[-1] == pytest.approx(4 * 0.06078)
    assert frame.describe(include="all").loc["mean", "rate_usd_h"] == pytest.approx(0.06078)
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        frame[["name", "rate_usd_h"]].to_sql("fleet", database)
        (found,) = database.execute("select sum(rate_usd_h) from fleet").fetchone()
    assert found == pytest.approx(4 * 0.06078)


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01T10:00:00", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01T10:00:00+05:30", "2026-05-01T04:30:00+00:00"),
        ("2026-05-01T10:00:00.123456789Z", "2026-05-01T10:00:00.123456+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_are_utc_to_the_microsecond(text, at):
    assert cell("created_at", created_at=text) == pd.Timestamp(at)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "today", "NaT", "never", "\ud800", "0", "-1", "1e9"),
        *("2026-13-01", "99999-01-01", "0000-01-01", "-2026-01-01"),
        *("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"),
    ],
)
def test_what_is_no_time_is_nat_and_harms_no_other_row(text):
    frame = fleet_frame([full(1), full(2, created_at=text)])
    assert frame["created_at"].iloc[0] == pd.Timestamp("2026-05-01T10:00:00.25Z")
    assert frame["created_at"].iloc[1] is pd.NaT


def test_when_and_how_it_was_read_stands_in_every_row():
    rome = dt.timezone(dt.timedelta(hours=2))
    frame = fleet_frame(
        [full(1), full(2)],
        columns=["observed_at", "age_s", "source", "revision"],
        observed_at=SEEN.astimezone(rome),
        source="stream",
        revision=41,
    )
    assert set(frame["observed_at"]) == {pd.Timestamp(SEEN)}
    assert (frame["age_s"] > 0).all()
    assert set(frame["source"]) == {"stream"}
    assert set(frame["revision"]) == {41}
    assert frame.attrs["cvm"] == {
        "schema": "fleet/1",
        "source": "stream",
        "revision": 41,
        "as_of": "2026-06-01T12:00:00+00:00",
    }


def test_a_time_of_reading_without_a_zone_is_utc_and_none_is_now():
    naive = fleet_frame([full()], columns=["observed_at"], observed_at=SEEN.replace(tzinfo=None))
    assert naive["observed_at"].iloc[0] == pd.Timestamp(SEEN)
    before = pd.Timestamp.now("UTC").floor("us")
    now = fleet_frame([full()], columns=["observed_at", "age_s"])
    assert before <= now["observed_at"].iloc[0] <= pd.Timestamp.now("UTC")
    assert now["age_s"].iloc[0] == 0


# --- hostile values -----------------------------------------------------------------------------


@settings(max_examples=examples(80), deadline=None)
@given(st.text())
def test_any_text_survives_as_text(name):
    encodable = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert cell("name", name=name) == encodable


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "a\x00b", "\u202etxt", "$x_1$"]
)
def test_hostile_names_are_data(name):
    assert cell("name", name=name) == name


def test_half_a_surrogate_pair_is_replaced():
    assert cell("name", name="a\ud800b") == "a\ufffdb"


def test_a_number_beyond_64_bits_is_missing():
    frame = fleet_frame([full(1), full(2, resource=Resource(vcpu=2**70))], ["vcpu"])
    assert frame["vcpu"].iloc[0] == 1
    assert frame["vcpu"].isna().iloc[1]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://web.example.net/a/b", "https://web.example.net/a/b"),
        ("https://web.example.net/?token=s3cret", "https://web.example.net/"),
        ("https://web.example.net/#s3cret", "https://web.example.net/"),
        ("https://ana:s3cret@web.example.net/@home", "https://web.example.net/@home"),
    ],
)
def test_an_address_tells_no_secret(url, shown):
    assert cell("url", endpoints=(Endpoint(app=url),)) == shown
    assert cell("app_url", app_url=url) == shown


def test_the_address_is_the_first_of_https():
    endpoints = (
        Endpoint(app="http://a"),
        Endpoint(instance="https://b"),
        Endpoint(app="https://c"),
    )
    assert cell("url", endpoints=endpoints) == "https://b"
    assert cell("endpoints", endpoints=endpoints) == 3
    assert pd.isna(cell("url", endpoints=(Endpoint(app="javascript:alert(1)"),)))


def test_logs_and_environments_are_in_no_column():
    from cvm_notebook.api.models.cvm import LogUrls

    secret = "s3cret-in-a-log-url"
    cvm = full(
        logs=LogUrls(serial=secret, stdout=secret, stderr=secret, container_log_base=secret),
        compose_file={"env": secret},
        kms_info=KmsInfo(encrypted_env_pubkey=secret),
    )
    assert secret not in fleet_frame([cvm], columns="wide").to_csv()


# --- without pyarrow ----------------------------------------------------------------------------


def test_without_pyarrow_the_schema_holds_and_money_is_decimal():
    """In a Python that really cannot import pyarrow: text and money are Python objects."""
    program = """
        import sys
        sys.modules["pyarrow"] = None  # from here on, importing it fails
        from decimal import Decimal
        import pandas as pd
        from cvm_notebook.api.models.cvm import Cvm, HourlyRate, Resource
        from cvm_notebook.frames import fleet_frame

        def frame(*rates):
            return fleet_frame(
                [
                    Cvm(id=f"cvm_{n}", name="a\\ud800", hourly_rate=HourlyRate(total=rate),
                        resource=Resource(vcpu=2**70 if n else 1), created_at="2026-05-01")
                    for n, rate in enumerate(rates)
                ],
                columns="wide",
                money="decimal",
            )

        some, none = frame("0.1", None, "free", "0.2", 0.0000015), frame()
        assert list(some.dtypes) == list(none.dtypes)
        assert some["rate_usd_h"].dtype == object
        assert list(some["rate_usd_h"]) == [
            Decimal("0.100000"), None, None, Decimal("0.200000"), Decimal("0.000002")
        ]
        assert some["rate_usd_h"].sum() == Decimal("0.300002")
        assert some["vcpu"].dtype == "Int64" and some["vcpu"].isna().sum() == 4
        assert some["created_at"].dtype == pd.DatetimeTZDtype("us", "UTC")
        assert isinstance(some["name"].dtype, pd.StringDtype)
        floats = fleet_frame([Cvm(id="x", hourly_rate=HourlyRate(total="0.1"))])
        assert floats["rate_usd_h"].dtype == "float64" and floats["rate_usd_h"].iloc[0] == 0.1
        print(*(f"{n}={d}" for n, d in none.dtypes.items()), sep="\\n")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    here = fleet_frame([], columns="wide").dtypes
    money = {"rate_usd_h", "rate_compute_usd_h", "rate_disk_usd_h", "charged_usd_h"}
    expected = {n: "object" if n in money else str(d) for n, d in here.items()}
    assert dict(pair.split("=", 1) for pair in run.stdout.splitlines()) == expected
