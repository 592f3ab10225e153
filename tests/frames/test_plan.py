"""Plans as frames: nothing is sent by planning, ids count and never positions, stale is refused."""

import itertools
import types
from decimal import Decimal

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import VERB_WORDS, run_all

from cvm_notebook import Client
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.frames import fleet_frame, plan_frame
from cvm_notebook.frames.reports.plan import OUTCOME, PLAN, outcome_frame
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.outcome import OutcomeRow
from cvm_notebook.live.plans.plan import NotConfirmed, Plan
from cvm_notebook.live.store.store import FleetStore

TEXT = pd.StringDtype()
MONEY = "float64"
VERB = pd.CategoricalDtype(VERB_WORDS)
DTYPES = {
    "plan": {
        "name": TEXT,
        "verb": VERB,
        "allowed": "boolean",
        "reason": TEXT,
        "effect": TEXT,
        "rate_change_usd_h": MONEY,
        "needs_confirm": "boolean",
        "sends": "boolean",
        "revision": "Int64",
        "status": TEXT,
    },
    "outcome": {
        "name": TEXT,
        "verb": VERB,
        "state": pd.CategoricalDtype(
            [
                *("planned", "asked", "sent", "accepted", "reached", "failed", "unknown"),
                *("cancelled", "refused", "skipped"),
            ]
        ),
        "reason": TEXT,
        "hint": TEXT,
        "operation_id": TEXT,
        "attempts": "Int64",
        "http_status": "Int64",
        "error_code": TEXT,
        "elapsed": "timedelta64[us]",
    },
}
_numbers = itertools.count()


def check(which, frame):
    dtypes = DTYPES[which]
    assert list(frame.columns) == list(dtypes)
    assert {n: d for n, d in dtypes.items() if frame[n].dtype != d} == {}
    pa.DataFrameSchema(
        {n: pa.Column(d, nullable=True) for n, d in dtypes.items() if d != MONEY},
        index=pa.Index(TEXT, name="cvm_id", unique=True),
        ordered=True,
    ).validate(frame)
    return frame


# --- planning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_schemas_are_the_same_for_any_number_of_rows(make, count):
    rows = [make.row(n) for n in range(count)]
    plan = Plan(rows, "stop")
    check("plan", plan_frame(plan.rows()))
    check("plan", fleet_frame(make.snapshot(*rows)).cvm.plan("stop"))
    check("outcome", outcome_frame(plan.outcome.rows))
    check(
        "outcome",
        outcome_frame(OutcomeRow(cvm_id=r.id, name="", verb="stop", state="reached") for r in rows),
    )


def test_the_plan_of_a_frame_is_the_plan_of_its_rows(make):
    rows = [
        *(make.row(n, status=status) for n, status in enumerate(("running", "stopped", "error"))),
        make.row(4, status="updating", in_progress=True),
        make.row(5, status="hibernating"),
        make.row(6, status="deleting", record={"hourly_rate": None}),
    ]
    frame = fleet_frame(make.snapshot(*rows), columns="wide")
    for verb in ("start", "stop", "shutdown", "restart", "delete", "replicate"):
        found = check("plan", frame.cvm.plan(verb))
        wanted = check("plan", plan_frame(Plan(rows, verb).rows()))
        pd.testing.assert_frame_equal(found.drop(columns="status"), wanted.drop(columns="status"))
        assert list(found["status"]) == [row.status for row in rows]


def test_what_it_saves_is_exact(make):
    rows = [make.row(1), make.row(2, status="stopped"), make.row(3)]
    plan = fleet_frame(make.snapshot(*rows), columns="wide").cvm.plan("stop")
    assert list(plan["rate_change_usd_h"]) == [-0.058, 0, -0.058]
    assert plan.cvm.rate_change == Decimal("-0.116")
    assert plan.cvm.phrase == "stop 2"


def test_a_narrow_frame_can_be_planned_but_has_no_prices(make):
    plan = fleet_frame(make.snapshot(make.row(1))).cvm.plan("stop")
    assert list(plan["allowed"]) == [True]
    assert plan["rate_change_usd_h"].isna().all()
    assert plan["revision"].isna().all()


def test_one_stop_needs_no_phrase_and_one_delete_does(make):
    frame = fleet_frame(make.snapshot(make.row(1)))
    assert frame.cvm.plan("stop").cvm.phrase is None
    assert frame.cvm.plan("delete").cvm.phrase == "delete 1"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda f: pd.concat([f, f]), "a CVM twice"),
        (lambda f: f.drop(columns=["status", "status_raw"]), "no column status"),
        (lambda f: f.assign(mine=1), "no column mine"),
    ],
)
def test_a_frame_that_cannot_be_planned_is_refused(make, frame, message):
    with pytest.raises(InvalidInput, match=message):
        frame(fleet_frame([make.cvm(1)], columns="wide")).cvm.plan("stop")


def test_a_verb_that_is_none_is_refused(make):
    with pytest.raises(InvalidInput, match="'obliterate' is not known"):
        fleet_frame([make.cvm(1)]).cvm.plan("obliterate")


@pytest.mark.parametrize("table", [PLAN, OUTCOME])
def test_every_column_stands_in_the_docstring(table):
    function = plan_frame if table is PLAN else outcome_frame
    for column, row in table.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in function.__doc__


# --- executing ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_cloud(new_cloud):
    with new_cloud(seed="empty", speed=500) as cloud:
        yield cloud


@pytest.fixture
def live(own_cloud):
    """A fleet of three CVMs that run, on a cloud: what a Fleet gives to a plan, and no more."""
    names = [f"fleet-{next(_numbers)}" for _ in range(3)]
    with Client(own_cloud.api_key, own_cloud.url) as client:
        run_all(client, *names)
        store = FleetStore()

        def relist():
            cvms = [c for c in client.list_cvms() if c.name in names]
            store.replace(cvms, received=store.snapshot().monotonic)

        relist()
        with OperationService(client, store) as operations:
            yield types.SimpleNamespace(
                operator=operations,
                store=store,
                snapshot=store.snapshot,
                client=client,
                names=names,
                relist=relist,
                frame=lambda columns="wide": fleet_frame(store.snapshot(), columns=columns),
            )
        for name in names:
            if any(c.name == name and c.status != "deleting" for c in client.list_cvms()):
                client.delete_cvm(name)


def stops(cloud):
    return [r for r in cloud.requests() if r["method"] == "POST" and "stop" in r["path"]]


def states(outcome):
    check("outcome", outcome)
    return dict(zip(outcome["name"], outcome["state"].astype(str), strict=True))


@pytest.mark.parametrize("columns", ["narrow", "wide"])
def test_a_plan_is_sent_by_ids_and_not_by_position(live, columns):
    first, second, third = live.names
    frame = live.frame(columns)
    plan = frame.sort_values("name", ascending=False).cvm.plan("stop").iloc[[0, 2]]
    outcome = plan.cvm.execute(live, confirm="stop 2", progress=False, until="reached")
    assert states(outcome) == {third: "reached", first: "reached"}
    assert live.client.get_cvm_info(second).status == "running"
    assert live.client.get_cvm_info(first).status == "stopped"


def test_a_wrong_phrase_sends_nothing(live, own_cloud):
    before = len(stops(own_cloud))
    plan = live.frame().cvm.plan("stop")
    for phrase in (None, "stop 2", "STOP 3"):
        with pytest.raises(NotConfirmed, match="stop 3"):
            plan.cvm.execute(live, confirm=phrase, progress=False)
    assert len(stops(own_cloud)) == before


@pytest.mark.parametrize("columns", ["narrow", "wide"])
def test_what_changed_since_is_refused_row_by_row(live, columns):
    first, second, third = live.names
    plan = live.frame(columns).cvm.plan("stop")
    live.client.stop_cvm(first)
    live.client.watch_cvm_state(first, target="stopped")
    live.client.delete_cvm(third)
    live.client.watch_cvm_state(third, target="deleted")
    live.relist()
    outcome = plan.cvm.execute(live, confirm="stop 3", progress=False)
    found = states(outcome)
    assert (found[first], found[third]) == ("refused", "refused")
    assert found[second] in {"accepted", "reached"}
    reasons = dict(zip(outcome["name"], outcome["reason"], strict=True))
    assert "was running when it was shown" in reasons[first]
    assert "no longer in the fleet" in reasons[third]


def test_a_plan_expected_is_held_to_their_revisions(live):
    first, _second, third = live.names
    rows = {row.name: row for row in live.store.snapshot()}
    plan = plan_frame(Plan(rows.values(), "stop").rows())
    assert plan["status"].isna().all()
    live.client.stop_cvm(first)
    live.client.watch_cvm_state(first, target="stopped")
    live.relist()
    found = states(plan.cvm.execute(live, confirm="stop 3", progress=False))
    assert found[first] == "refused"
    assert found[third] in {"accepted", "reached"}


def test_executed_again_it_goes_on_with_what_is_left(live, own_cloud):
    plan = live.frame().cvm.plan("stop")
    part = plan.iloc[:1]
    part.cvm.execute(live, progress=False, until="reached")
    before = len(stops(own_cloud))
    again = states(plan.cvm.execute(live, confirm="stop 3", progress=False, until="reached"))
    # the first is reported as it was asked a moment ago, or as no longer what was shown
    assert again.pop(plan["name"].iloc[0]) in {"reached", "refused"}
    assert list(again.values()) == ["reached", "reached"]
    asked = "".join(r["path"] for r in stops(own_cloud)[before:])
    assert live.client.get_cvm_info(live.names[0]).id not in asked


def test_a_plan_of_no_cvms_is_done_and_says_so(live):
    plan = live.frame().iloc[:0].cvm.plan("stop")
    done = plan.cvm.execute(live, progress=False)
    whole = live.frame().iloc[:1].cvm.plan("start").cvm.execute(live, progress=False)
    assert len(done) == 0
    assert done.dtypes.equals(whole.dtypes)


def test_two_verbs_are_not_executed(live):
    frame = live.frame()
    both = pd.concat([frame.iloc[:1].cvm.plan("stop"), frame.iloc[1:].cvm.plan("restart")])
    with pytest.raises(InvalidInput, match="has 2 verbs"):
        both.cvm.execute(live, confirm="stop 3")
    with pytest.raises(InvalidInput, match="cvm_id is not its index"):
        both.reset_index().cvm.execute(live)
