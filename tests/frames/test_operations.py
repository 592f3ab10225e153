"""operations_frame: the ledger, one operation a row, in the words of its schema."""

import dataclasses
import datetime as dt

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import VERB_WORDS

from cvm_notebook.frames.reports.operations import OPERATIONS, operations_frame
from cvm_notebook.live.operations.record import OperationRecord

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
DTYPES = {
    "asked_at": MOMENT,
    "sent_at": MOMENT,
    "accepted_at": MOMENT,
    "reached_at": MOMENT,
    "cvm_id": TEXT,
    "name": TEXT,
    "verb": pd.CategoricalDtype(VERB_WORDS),
    "target": TEXT,
    "state": pd.CategoricalDtype(
        ["planned", "asked", "sent", "accepted", "reached", "failed", "unknown", "cancelled"]
    ),
    "attempts": "Int64",
    "http_status": "Int64",
    "error_code": TEXT,
    "hint": TEXT,
    "request_id": TEXT,
    "correlation_id": TEXT,
    "who": TEXT,
    "elapsed": "timedelta64[us]",
    "error": TEXT,
    "note": TEXT,
    "reason": TEXT,
    "made_id": TEXT,
    "done": "boolean",
    "recovered": "boolean",
}
ALWAYS = {"asked_at", "verb", "state", "attempts", "done", "recovered"}
SCHEMA = pa.DataFrameSchema(
    {name: pa.Column(dtype, nullable=name not in ALWAYS) for name, dtype in DTYPES.items()},
    index=pa.Index(TEXT, name="operation_id", unique=True),
    strict=True,
    ordered=True,
)
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def record(number=0, **changes):
    asked = OperationRecord(
        id=f"op_{number:04d}",
        verb="stop",
        cvm_id="cvm_1",
        name="web",
        target="stopped",
        asked_at=NOON,
        asked=100.0,
    )
    return dataclasses.replace(asked, **changes)


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_the_schema_is_the_same_for_any_number_of_operations(count):
    frame = operations_frame(record(n) for n in range(count))
    SCHEMA.validate(frame)
    assert len(frame) == count


def test_what_has_not_happened_yet_is_missing():
    row = operations_frame([record()]).iloc[0]
    filled = {name for name, cell in row.items() if not pd.isna(cell)}
    assert filled == ALWAYS | {"cvm_id", "name", "target"}
    assert row["state"] == "asked"


def test_a_whole_record_fills_every_column():
    frame = operations_frame(
        [
            record(
                verb="replicate",
                state="reached",
                done=True,
                note="made by another",
                attempts=2,
                sent_at=NOON,
                accepted_at=NOON,
                reached_at=NOON + dt.timedelta(seconds=3),
                ended=103.25,
                http_status=200,
                error_code="ERR-03-007",
                error="it failed first",
                hint="Look at it.",
                request_id="req_1",
                correlation_id="f" * 32,
                made_id="cvm_2",
                who="environment",
                recovered=True,
                reason="rule-1: it was idle",
            )
        ]
    )
    SCHEMA.validate(frame)
    assert frame.notna().all(axis=None)
    assert frame["state"].iloc[0] == "reached"
    assert frame["elapsed"].iloc[0] == pd.Timedelta("3.25s")
    assert frame["reached_at"].iloc[0] == pd.Timestamp(NOON) + pd.Timedelta("3s")


@pytest.mark.parametrize(
    ("state", "word"),
    [(s, s) for s in ("asked", "sent", "accepted", "failed", "unknown", "cancelled")]
    + [("reached", "reached")],
)
def test_every_state_has_its_word(state, word):
    assert operations_frame([record(state=state)])["state"].iloc[0] == word


def test_how_long_it_took_is_by_the_monotonic_clock():
    back = NOON - dt.timedelta(hours=8)
    frame = operations_frame([record(ended=101.5, ended_at=back, reached_at=back)])
    assert frame["elapsed"].iloc[0] == pd.Timedelta("1.5s")


def test_every_column_stands_in_the_docstring():
    for column, row in OPERATIONS.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in operations_frame.__doc__
