"""Gates: each limit is judged exactly, all that fail are named, and a wrong limit is refused."""

import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pandera.pandas as pa
import pytest

from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.cvm import HourlyRate, NodeRef, OsInfo
from cvm_notebook.frames import GatesFailed, assert_fleet, drift_frame, fleet_frame, gates_frame
from cvm_notebook.frames.reports.attestation import ATTESTATION
from cvm_notebook.live.store.records import Trust

SCHEMA = pa.DataFrameSchema(
    {
        "passed": pa.Column(pd.BooleanDtype()),
        "limit": pa.Column(pd.StringDtype()),
        "found": pa.Column(pd.StringDtype()),
        "cvms": pa.Column(pd.Int64Dtype()),
        "who": pa.Column(pd.StringDtype(), nullable=True),
    },
    index=pa.Index(pd.StringDtype(), name="gate", unique=True),
    strict=True,
    ordered=True,
)


@pytest.fixture
def snapshot(make):
    """Four CVMs: two run, one of them with an image for debugging; one is stopped, one failed."""
    dear = HourlyRate(total="3.5695", compute="3.5", disk="0.0695")
    dev = OsInfo(name="dstack-dev-0.5.8", version="0.5.8", is_dev=True)
    east = NodeRef(id=21, name="use2", region="US-EAST-1", status="ONLINE")
    return make.snapshot(
        make.row(1, record={"hourly_rate": dear, "name": "gpu"}),
        make.row(2, record={"os": dev, "name": "dev"}),
        make.row(3, record={"status": "stopped", "node_info": east, "name": "idle"}),
        make.row(4, record={"status": "error", "name": "broken"}),
    )


@pytest.fixture
def fleet(snapshot):
    return fleet_frame(snapshot, columns="wide")


def judged(frame, **limits):
    gates = gates_frame(frame, **limits)
    SCHEMA.validate(gates)
    (gate,) = gates.itertuples()
    return gate


# 3.5695 + 0.06078 run; of the stopped and of the failed one the disk of 0.00278 is charged
@pytest.mark.parametrize(
    ("limits", "passed", "found", "who"),
    [
        ({"max_rate_usd_h": "3.63584"}, True, "3.63584 USD/h", "gpu 3.5695"),
        ({"max_rate_usd_h": Decimal("3.635839")}, False, "3.63584 USD/h", "gpu 3.5695"),
        ({"max_rate_usd_h": 3}, False, "3.63584 USD/h", "and 1 more"),
        ({"max_idle_usd_h": 0.00556}, True, "0.00556 USD/h", "idle 0.00278, broken 0.00278"),
        ({"max_idle_usd_h": 0}, False, "0.00556 USD/h", "idle 0.00278"),
        ({"max_cvms": 4}, True, "4", "gpu, dev, idle and 1 more"),
        ({"max_cvms": 3}, False, "4", "gpu"),
        ({"max_status": {"failed": 0}}, False, "1", "broken"),
        ({"max_status": {"error": 1}}, True, "1", "broken"),
        ({"max_status": {"deleting": 0}}, True, "0", None),
        ({"max_dev": 0}, False, "1", "dev"),
        ({"max_dev": 1}, True, "1", "dev"),
        ({"regions": ["US-WEST-1"]}, False, "1 elsewhere", "idle"),
        ({"regions": ["us-west-1", "us-east-1"]}, True, "0 elsewhere", None),
    ],
)
def test_each_limit_is_judged_to_the_last_digit(fleet, limits, passed, found, who):
    gate = judged(fleet, **limits)
    assert (gate.passed, gate.found) == (passed, found)
    assert pd.isna(gate.who) if who is None else who in gate.who


def test_what_has_no_price_is_named_and_not_counted(make):
    frame = fleet_frame(make.snapshot(make.row(1, record={"hourly_rate": None})), columns="wide")
    gate = judged(frame, max_rate_usd_h=1)
    assert gate.passed
    assert gate.who == "1 without a price are not counted"


def test_drift_is_counted_the_worst_first(snapshot, fleet):
    drift = drift_frame(snapshot, {"gpu": {"instance_type": "tdx.large", "os": "other"}})
    assert not judged(fleet, drift=drift, max_drift=len(drift) - 1).passed
    assert judged(fleet, drift=drift, max_drift=len(drift)).who.startswith("gpu: os")


def test_an_attestation_that_failed_is_named(fleet):
    frame = ATTESTATION.frame([])
    assert judged(fleet, attestation=frame).passed
    row = {name: [pd.NA] for name in frame.columns} | {"checked": ["failed"]}
    failed = pd.DataFrame(row, index=pd.Index(fleet.index[:1], name="cvm_id"))
    gate = judged(fleet, attestation=failed)
    assert (gate.passed, gate.who) == (False, "gpu")


def test_an_attestation_that_could_not_be_checked_has_not_failed_and_is_counted(fleet):
    columns = ATTESTATION.frame([]).columns
    row = {name: [pd.NA] for name in columns} | {"checked": ["fetched"]}
    frame = pd.DataFrame(row, index=pd.Index(fleet.index[:1], name="cvm_id"))
    gate = judged(fleet, attestation=frame)
    assert (gate.passed, gate.who) == (True, "1 could not be checked")


def proven(make, *words, running=True, ago=0.0):
    """A frame of CVMs of which that was proven: one for each word, by its place."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    status = {} if running else {"status": "stopped"}
    rows = [
        make.row(
            n,
            record={"name": f"{word or 'nothing'}-{n}".lower(), **status},
            trust=word and Trust(word=word, summary=word, at=at, until=None, checks=()),
        )
        for n, word in enumerate(words, start=1)
    ]
    return fleet_frame(make.snapshot(*rows), columns="wide")


@pytest.mark.parametrize(
    ("words", "asked", "passed", "who"),
    [
        (("VERIFIED",), True, True, None),
        (("VERIFIED",), "SIMULATED", True, None),
        (("SIMULATED",), "SIMULATED", True, None),
        (("SIMULATED",), True, False, "simulated-1 SIMULATED"),
        (("PARTIAL", "FAILED"), "SIMULATED", False, "failed-2 FAILED, partial-1 PARTIAL"),
        ((None, "VERIFIED"), True, False, "nothing-1 not verified"),
        ((), True, True, None),
    ],
)
def test_what_runs_must_have_been_verified(make, words, asked, passed, who):
    gate = judged(proven(make, *words), verified=asked)
    assert gate.passed == passed
    assert pd.isna(gate.who) if who is None else gate.who == who
    assert "VERIFIED" not in gate.Index + gate.limit + gate.found


def test_what_does_not_run_need_not_have_been_verified(make):
    frame = proven(make, None, "FAILED", running=False)
    assert_fleet(frame, verified=True, max_evidence_age="1s")


@pytest.mark.parametrize(
    ("words", "ago", "limit", "passed"),
    [
        (("VERIFIED",), 3_000, "1h", True),
        (("VERIFIED",), 4_000, "1h", False),
        (("FAILED",), 4_000, timedelta(hours=2), True),
        (("VERIFIED", None), 0, "1d", False),
    ],
)
def test_a_verdict_may_be_so_old_and_none_is_too_old(make, words, ago, limit, passed):
    gate = judged(proven(make, *words, ago=ago), max_evidence_age=limit)
    assert gate.passed == passed
    assert gate.found == f"{0 if passed else 1} older, or without"


def test_of_plain_records_nothing_is_proven(make):
    frame = fleet_frame([make.row(1).cvm], columns="wide")
    assert not judged(frame, verified=True).passed
    with pytest.raises(InvalidInput, match="has no column verified"):
        assert_fleet(frame.drop(columns="verified"), verified=True)


def test_all_that_fail_are_listed_a_line_each(fleet):
    limits = {"max_rate_usd_h": 1, "max_cvms": 9, "max_status": {"failed": 0, "stopped": 0}}
    with pytest.raises(GatesFailed) as caught:
        assert_fleet(fleet, **limits)
    error = caught.value
    first, *lines = str(error).splitlines()
    assert first == "3 of 4 gates failed: rate, failed, stopped"
    assert [line.split(":")[0] for line in lines] == ["- rate", "- failed", "- stopped"]
    assert "broken" in lines[1]
    assert list(error.frame.index) == ["rate", "failed", "stopped"]
    assert isinstance(error, AssertionError)
    assert isinstance(error, CvmError)
    assert error._render_traceback_() == [first, *lines]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_fleet_that_keeps_to_its_limits_passes(fleet):
    assert_fleet(fleet, max_rate_usd_h=4, max_status={"failed": 1}, max_dev=1, max_cvms=4)
    assert_fleet(fleet.iloc[:0], max_rate_usd_h=0, max_status={"failed": 0}, regions=[], max_dev=0)


def test_a_hostile_name_is_one_line_of_the_message(make):
    name = "x\n- rate: fine\x1b[31m" + "y" * 500
    frame = fleet_frame(make.snapshot(make.row(1, record={"name": name})), columns="wide")
    with pytest.raises(GatesFailed) as caught:
        assert_fleet(frame, max_cvms=0)
    assert len(str(caught.value).splitlines()) == 2
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "no limit was given"),
        ({"max_rate_usd_h": "dear"}, "max_rate_usd_h: 'dear' is not an amount"),
        ({"max_idle_usd_h": -1}, "max_idle_usd_h: '-1' is not an amount"),
        ({"max_rate_usd_h": True}, "'True' is not an amount"),
        ({"max_cvms": -1}, "'-1' is not a number of CVMs"),
        ({"max_dev": False}, "'False' is not a number of CVMs"),
        ({"max_status": {"hungry": 0}}, "'hungry' is not a status"),
        ({"max_status": {"failed": "no"}}, "failed: 'no' is not a number of CVMs"),
        ({"regions": "us-west-1"}, "not a list of regions"),
        ({"drift": pd.DataFrame()}, "is not a frame of drift"),
        ({"attestation": pd.DataFrame()}, "is not a frame of attestations"),
        ({"verified": False}, "no limit was given"),
        ({"verified": "yes"}, "verified: 'yes' is neither True nor 'SIMULATED'"),
        ({"verified": 1}, "verified: 1 is neither"),
        ({"max_evidence_age": "soon"}, "max_evidence_age: 'soon' is not a length of time"),
        ({"max_evidence_age": 0}, "max_evidence_age: 0 is not a length of time"),
    ],
)
def test_a_wrong_limit_is_refused_and_judges_nothing(fleet, limits, says):
    with pytest.raises(InvalidInput, match=says):
        assert_fleet(fleet, **limits)


def test_the_column_that_a_narrow_frame_lacks_is_named(snapshot):
    with pytest.raises(InvalidInput, match="rate_disk_usd_h"):
        gates_frame(fleet_frame(snapshot), max_rate_usd_h=1)
