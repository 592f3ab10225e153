"""diff: what came, what went, and each field that is different; nothing else."""

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm, HourlyRate, NodeRef, Resource
from cvm_notebook.frames import fleet_frame
from cvm_notebook.frames.reports.diff import COMPARED, DIFF, diff

TEXT = pd.StringDtype()
SCHEMA = pa.DataFrameSchema(
    {
        "name": pa.Column(TEXT, nullable=True),
        "kind": pa.Column(pd.CategoricalDtype(["added", "removed", "changed"])),
        "before": pa.Column(TEXT, nullable=True),
        "after": pa.Column(TEXT, nullable=True),
    },
    index=pa.MultiIndex([pa.Index(TEXT, name="cvm_id"), pa.Index(TEXT, name="field")], unique=True),
    strict=True,
    ordered=True,
)


def wide(*cvms):
    return fleet_frame(cvms, columns="wide")


def rows(frame):
    SCHEMA.validate(frame)
    return [
        tuple(None if pd.isna(cell) else cell for cell in row)
        for row in frame.astype(object).itertuples()
    ]


def test_a_changed_field_is_listed_with_both_sides(make):
    found = diff(wide(make.cvm(1), make.cvm(2)), wide(make.cvm(1, listed=True), make.cvm(2)))
    assert rows(found) == [(("cvm_00000001", "listed"), "web-1", "changed", "false", "true")]


def test_cvms_that_came_and_went_are_one_row_each_with_their_status(make):
    found = diff(wide(make.cvm(1)), wide(make.cvm(2, status="starting")))
    assert rows(found) == [
        (("cvm_00000001", "cvm"), "web-1", "removed", "running", None),
        (("cvm_00000002", "cvm"), "web-2", "added", None, "starting"),
    ]


def test_the_order_is_cvm_by_cvm_and_as_the_columns_stand(make):
    stopped = {"status": "stopped", "name": "new", "public_logs": False}
    found = diff(
        wide(make.cvm(1), make.cvm(2)), wide(make.cvm(2, **stopped), make.cvm(1, name="x"))
    )
    assert list(found.index) == [
        ("cvm_00000001", "name"),
        *(("cvm_00000002", f) for f in ("name", "status", "public_logs")),
    ]
    assert set(found["name"]) == {"x", "new"}


def test_the_servers_word_is_compared_where_the_status_is_the_same(make):
    found = diff(wide(make.cvm(1, status="stopped")), wide(make.cvm(1, status="Exited")))
    assert rows(found) == [
        (("cvm_00000001", "status_raw"), "web-1", "changed", "stopped", "Exited")
    ]


def test_missing_is_equal_to_missing_and_to_nothing_else(make):
    found = diff(wide(make.cvm(1, kms_type=None)), wide(make.cvm(1, kms_type=None, name=None)))
    assert rows(found) == [(("cvm_00000001", "name"), None, "changed", "web-1", None)]


def test_when_and_how_it_was_read_is_no_difference(make):
    early, late = make.row(1), make.row(1, received=1.0, source="stream", revision=9, uptime="5s")
    frames = [fleet_frame(make.snapshot(row), columns="wide") for row in (early, late)]
    assert diff(*frames).empty


def test_money_is_compared_as_amounts(make):
    plain = fleet_frame([make.cvm(1)], columns="wide", money="decimal")
    assert diff(plain, wide(make.cvm(1))).empty
    dearer = make.cvm(1, hourly_rate=HourlyRate(total="0.060781", compute="0.058", disk="0.00278"))
    assert rows(diff(plain, wide(dearer))) == [
        (("cvm_00000001", "rate_usd_h"), "web-1", "changed", "0.06078", "0.060781")
    ]


def test_only_columns_that_both_have_are_compared(make):
    narrow = fleet_frame([make.cvm(1)], columns=["name"])
    assert diff(narrow, wide(make.cvm(1, name="x", listed=True))).index.to_list() == [
        ("cvm_00000001", "name")
    ]
    assert diff(fleet_frame([], columns=["status"]), narrow)["after"].isna().all()


@pytest.mark.parametrize("count", [0, 1, 300])
def test_the_schema_is_the_same_for_any_number_of_rows(make, count):
    found = diff(wide(), wide(*(make.cvm(n) for n in range(count))))
    assert len(rows(found)) == count


def test_a_cvm_twice_is_refused_by_its_id(make):
    twice = pd.concat([wide(make.cvm(1)), wide(make.cvm(1))])
    with pytest.raises(InvalidInput, match=r"after: has cvm_00000001 twice"):
        diff(wide(), twice)


def test_another_frame_is_refused():
    with pytest.raises(InvalidInput, match="has no cvm_id"):
        diff(pd.DataFrame({"a": [1]}), wide())


def test_every_column_stands_in_the_docstring():
    for column, row in DIFF.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in diff.__doc__


FLEETS = st.lists(
    st.builds(
        Cvm,
        id=st.sampled_from("abcd"),
        name=st.none() | st.text(max_size=3),
        status=st.sampled_from(["running", "stopped"]) | st.none(),
        listed=st.none() | st.booleans(),
        created_at=st.none() | st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        node_info=st.none() | st.builds(NodeRef, id=st.none() | st.integers(0, 2)),
        resource=st.none() | st.builds(Resource, memory_in_gb=st.none() | st.just(2.0)),
        hourly_rate=st.none() | st.builds(HourlyRate, total=st.sampled_from(["1", "2", None])),
    ),
    max_size=4,
    unique_by=lambda c: c.id,
)


@settings(max_examples=examples(15), deadline=None)
@given(FLEETS, FLEETS)
def test_it_says_exactly_what_a_comparison_cell_by_cell_says(old, new):
    before, after = wide(*old), wide(*new)
    expected = {(i, "cvm") for i in set(before.index) ^ set(after.index)}
    for field in COMPARED:
        old_cells, new_cells = before[field].to_dict(), after[field].to_dict()
        for cvm_id in old_cells.keys() & new_cells.keys():
            was, is_ = old_cells[cvm_id], new_cells[cvm_id]
            if not (pd.isna(was) and pd.isna(is_)) and (pd.isna(was) or pd.isna(is_) or was != is_):
                expected.add((cvm_id, field))
    expected -= {(i, "status_raw") for i, field in expected if field == "status"}
    found = diff(before, after)
    assert set(found.index) == expected
    back = diff(after, before)
    swapped = found.rename(columns={"before": "after", "after": "before"})
    assert set(back.index) == expected
    pd.testing.assert_series_equal(
        back.sort_index()["before"], swapped.sort_index()["before"], check_names=False
    )
