"""A fleet frame goes into a file and comes back as it was, and the file does no harm."""

import csv
import datetime as dt
import json
import pathlib

import msgspec
import pandas as pd
import pytest
from helpers import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm, HourlyRate, NodeRef, OsInfo, Progress, Resource
from cvm_notebook.frames import fleet_frame
from cvm_notebook.frames.io import read_fleet, write_fleet

FORMATS = ["parquet", "csv", "json"]
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\uff1d1",
    "\u3000@x",
    "%1|x",
    "|calc",
]
every_format = pytest.mark.parametrize("ending", FORMATS)

TEXTS = st.none() | st.text(max_size=12) | st.sampled_from(["", "'", "''=", "NA", "nan", *FORMULAS])
MOMENTS = st.none() | st.datetimes(timezones=st.just(dt.UTC)).map(lambda at: at.isoformat())
FLAGS = st.none() | st.booleans()
COUNTS = st.none() | st.integers(-(2**53), 2**53)
MONEY = st.none() | st.decimals(-999_999, 999_999, places=6).map(str)


def _struct(kind, **fields):
    return st.none() | st.builds(kind, **fields)


CVMS = st.lists(
    st.builds(
        Cvm,
        id=TEXTS,
        name=TEXTS,
        app_id=TEXTS,
        status=TEXTS | st.sampled_from(["running", "stopped"]),
        in_progress=FLAGS,
        listed=FLAGS,
        created_at=MOMENTS,
        progress=_struct(Progress, started_at=MOMENTS, correlation_id=TEXTS),
        node_info=_struct(NodeRef, id=COUNTS, region=TEXTS),
        os=_struct(OsInfo, name=TEXTS, is_dev=FLAGS),
        kms_type=TEXTS | st.sampled_from(["phala", "base"]),
        resource=_struct(
            Resource,
            vcpu=COUNTS,
            memory_in_gb=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        ),
        hourly_rate=_struct(HourlyRate, total=MONEY, compute=MONEY),
    ),
    max_size=5,
)


def frame_of(cvms):
    return fleet_frame(cvms, columns="wide", revision=3)


def there_and_back(frame, path):
    assert write_fleet(frame, path) == pathlib.Path(path)
    return read_fleet(path)


@every_format
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cvms=CVMS)
def test_a_frame_comes_back_as_it_was(tmp_path, ending, cvms):
    frame = frame_of(cvms)
    pd.testing.assert_frame_equal(there_and_back(frame, tmp_path / f"fleet.{ending}"), frame)


@every_format
@pytest.mark.parametrize("columns", ["narrow", ["region", "name"], ["created_at"], []])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_columns_and_any_number_of_rows_come_back(make, tmp_path, ending, columns, rows):
    frame = fleet_frame([make.cvm(n) for n in range(rows)], columns=columns)
    pd.testing.assert_frame_equal(there_and_back(frame, tmp_path / f"fleet.{ending}"), frame)


@every_format
def test_a_live_fleet_comes_back_too(make, tmp_path, ending):
    taken = make.snapshot(make.row(1, uptime="1d 2h", error="=no answer"), make.row(2))
    frame = fleet_frame(taken, columns="wide")
    pd.testing.assert_frame_equal(there_and_back(frame, tmp_path / f"fleet.{ending}"), frame)


@every_format
def test_a_part_of_a_fleet_keeps_its_replicas(make, tmp_path, ending):
    frame = fleet_frame([make.cvm(1, app_id="a"), make.cvm(2, app_id="a")], columns="wide").iloc[:1]
    assert list(there_and_back(frame, tmp_path / f"f.{ending}")["replicas"]) == [2]


@every_format
def test_money_as_float_comes_back_exact(make, tmp_path, ending):
    frame = fleet_frame([make.cvm()], money="float")
    back = there_and_back(frame, tmp_path / f"fleet.{ending}")
    pd.testing.assert_series_equal(back["rate_usd_h"], fleet_frame([make.cvm()])["rate_usd_h"])


@every_format
def test_a_name_of_a_megabyte_comes_back(make, tmp_path, ending):
    frame = fleet_frame([make.cvm(name="\u20ac" * 1_000_000)])
    assert there_and_back(frame, tmp_path / f"fleet.{ending}")["name"].iloc[0][-1] == "\u20ac"


# --- formulas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULAS)
def test_a_csv_holds_no_formula_and_gives_the_name_back(make, tmp_path, name):
    frame = fleet_frame([make.cvm(name=name)])
    path = write_fleet(frame, tmp_path / "fleet.csv")
    with path.open(newline="") as file:
        cells = next(csv.DictReader(file))
    assert cells["name"] == "'" + name
    assert read_fleet(path)["name"].iloc[0] == name


def test_no_text_cell_of_a_csv_begins_as_a_formula(make, tmp_path):
    hostile = make.cvm()
    for name in hostile.__struct_fields__:
        if isinstance(getattr(hostile, name), str):
            hostile = msgspec.structs.replace(hostile, **{name: "=1+1"})
    path = write_fleet(frame_of([hostile]), tmp_path / "fleet.csv")
    with path.open(newline="") as file:
        cells = next(csv.DictReader(file))
    assert "'=1+1" in cells.values()
    assert not [cell for cell in cells.values() if cell[:1] in "=+-@" and cell]


def test_amounts_below_zero_are_numbers_and_stay_so(make, tmp_path):
    frame = fleet_frame([make.cvm(hourly_rate=HourlyRate(total="-0.5"))])
    path = write_fleet(frame, tmp_path / "fleet.csv")
    assert ",-0.5," in path.read_text()


# --- what pandas itself wrote -------------------------------------------------------------------


def test_pandas_own_parquet_is_read_whole(make, tmp_path):
    frame = frame_of([make.cvm(1), make.cvm(2, name="")])
    frame.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_fleet(tmp_path / "a.parquet"), frame)
    frame.reset_index().to_parquet(tmp_path / "b.parquet", index=False)
    pd.testing.assert_frame_equal(read_fleet(tmp_path / "b.parquet"), frame)


def test_pandas_own_csv_is_read(make, tmp_path):
    frame = frame_of([make.cvm(1), make.cvm(2)])
    frame.to_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(read_fleet(tmp_path / "a.csv"), frame)


@pytest.mark.filterwarnings("ignore:'epoch' date format")  # until pandas 4 it is what one gets
@pytest.mark.parametrize("date_format", ["epoch", "iso"])
def test_pandas_own_json_is_read_to_the_millisecond(make, tmp_path, date_format):
    frame = frame_of([make.cvm(1, created_at="2026-05-01T10:00:00.123456Z"), make.cvm(2)])
    frame.to_json(tmp_path / "a.json", date_format=date_format)
    back = read_fleet(tmp_path / "a.json")
    assert dict(back.dtypes) == dict(frame.dtypes)
    assert back["created_at"].iloc[0] == pd.Timestamp("2026-05-01T10:00:00.123Z")
    moments = list(frame.select_dtypes("datetimetz").columns)
    pd.testing.assert_frame_equal(back.drop(columns=moments), frame.drop(columns=moments))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fleet.xlsx", r"\.xlsx is none of \.parquet, \.csv, \.json"),
        ("fleet", "no ending is none of"),
        ("fleet.pkl", "none of"),
    ],
)
def test_another_format_is_refused_before_anything_is_written(make, tmp_path, name, message):
    with pytest.raises(InvalidInput, match=message):
        write_fleet(fleet_frame([make.cvm()]), tmp_path / name)
    with pytest.raises(InvalidInput, match=message):
        read_fleet(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@every_format
def test_a_column_of_ones_own_is_refused_by_name_and_the_old_file_stays(make, tmp_path, ending):
    path = tmp_path / f"fleet.{ending}"
    frame = fleet_frame([make.cvm()])
    before = write_fleet(frame, path).read_bytes()
    with pytest.raises(InvalidInput, match="no column saving"):
        write_fleet(frame.assign(saving=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@every_format
def test_what_cannot_be_written_leaves_nothing_behind(make, tmp_path, ending):
    (tmp_path / f"fleet.{ending}").mkdir()
    with pytest.raises(OSError, match=r"fleet"):
        write_fleet(fleet_frame([make.cvm()]), tmp_path / f"fleet.{ending}")
    assert [p.name for p in tmp_path.iterdir()] == [f"fleet.{ending}"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is not a readable CSV file"),
        ("a.csv", "name\nweb\n", "has no column cvm_id"),
        ("a.csv", "cvm_id,size\nx,1\n", "no column size"),
        ("a.csv", "cvm_id,vcpu\nx,many\n", "vcpu: 'many' is not Int64"),
        ("a.csv", "cvm_id,vcpu\nx,1e999\n", "'1e999' is not Int64"),
        ("a.csv", "cvm_id,vcpu\nx," + "9" * 5000 + "\n", "is not Int64"),
        ("a.csv", "cvm_id,listed\nx,perhaps\n", "'perhaps' is not boolean"),
        ("a.csv", "cvm_id,rate_usd_h\nx,NaN\n", "'NaN' is not float64"),
        ("a.csv", 'cvm_id,rate_usd_h\nx,"1,23"\n', "'1,23' is not float64"),
        ("a.csv", "cvm_id,created_at\nx,now\n", "'now' is not datetime"),
        ("a.json", "{", "is not a readable JSON file"),
        ("a.json", "[" * 100_000, "is not a readable JSON file"),
        ("a.json", "[]", "is not a readable fleet"),
        ("a.json", "3", "is not a readable fleet"),
        ("a.json", '{"rows": 3}', "is not a readable fleet"),
        ("a.json", '{"rows": [3], "columns": []}', "is not a readable fleet"),
        ("a.json", '{"rows": [{"name": {}}], "columns": ["name"]}', "is not a readable fleet"),
        ("a.json", '{"__class__": {"x": "y"}}', "no column __class__"),
        ("a.parquet", "PAR1 no PAR1", "is not a readable Parquet file"),
    ],
)
def test_a_file_of_something_else_is_refused_in_words(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_fleet(tmp_path / name)


@every_format
def test_a_file_that_is_not_there_is_not_found(tmp_path, ending):
    with pytest.raises(FileNotFoundError):
        read_fleet(tmp_path / f"fleet.{ending}")


def test_json_is_one_line_a_cvm(make, tmp_path):
    path = write_fleet(fleet_frame([make.cvm(1), make.cvm(2)]), tmp_path / "f.json")
    document = json.loads(path.read_text())
    assert (document["schema"], len(document["rows"])) == ("fleet/1", 2)
    assert document["rows"][0]["rate_usd_h"] == "0.06078"
    assert len(path.read_text().splitlines()) == 4


def test_correctness_does_not_hang_on_attrs(make, tmp_path):
    frame = fleet_frame([make.cvm()])
    frame.attrs.clear()
    back = there_and_back(frame, tmp_path / "f.csv")
    assert back.attrs == {"cvm": {"schema": "fleet/1"}}
    pd.testing.assert_frame_equal(back, frame)
