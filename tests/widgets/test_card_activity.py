"""The card's tabs Activity and Environment: who asked for what, and names without values."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from helpers import commit, until

import cvm_notebook as cvm
from cvm_notebook.api.models.guest import Operation as HistoryEntry
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.widgets.card.activity import history_corrections, history_lines

COMPOSE = """services:
  web:
    image: nginx:1.27
    environment:
      - TOKEN=${TOKEN}
      - LEVEL=${LEVEL:-info}
      - HOST=${HOST}
"""
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def own_record(verb="stop", **fields):
    return OperationRecord(
        id="op_1", verb=verb, cvm_id="cvm_1", name="web-1", target="stopped", asked_at=NOON,
        asked=0.0, **{"sent_at": NOON, "accepted": 1.0, **fields},
    )  # fmt: skip


def entry(later=0.0, **fields):
    began = (NOON + timedelta(seconds=later)).isoformat()
    return HistoryEntry(**{"operation_type": "stop", "started_at": began, **fields})


@pytest.mark.parametrize(
    ("record", "recorded", "same"),
    [
        (own_record(correlation_id="c-1"), entry(900, correlation_id="c-1"), True),
        (own_record(correlation_id="c-1"), entry(correlation_id="c-2"), False),
        (own_record(), entry(20, correlation_id="c-2"), True),  # our record never got its id
        (own_record(), entry(40), False),
        (own_record(), entry(operation_type="start"), False),
        (own_record(accepted=None), entry(), False),  # it was refused: this one is somebody else's
        (own_record(), HistoryEntry(operation_type="stop"), False),
    ],
)
def test_what_we_asked_for_is_listed_once(record, recorded, same):
    assert (history_lines([recorded], [record]) == []) is same


def test_an_own_operation_is_one_entry_and_not_two():
    assert len(history_lines([entry(1), entry(2)], [own_record()])) == 1


def test_what_was_found_under_way_is_called_as_the_service_calls_it():
    made = entry(operation_type="create", correlation_id="c-1", triggered_by_username="ann")
    found = own_record("start", correlation_id="c-1", recovered=True)
    assert history_corrections([made], [found]) == {"op_1": {"verb": "create", "by": "ann"}}
    assert history_corrections([made], [own_record("start", correlation_id="c-1")]) == {}


def test_what_others_asked_for_says_who_when_and_what_came_of_it():
    fields = {"status": "failed", "error_message": "<b>no room", "triggered_by_username": "ann"}
    (line,) = history_lines([entry(duration_ms=1500, **fields)], [])
    assert (line["state"], line["words"], line["by"], line["took"]) == (
        "failed", "failed. <b>no room", "ann", 1.5,
    )  # fmt: skip
    assert line["at"] == NOON.timestamp() * 1000
    (going,) = history_lines([entry(status="in_progress")], [])
    assert (going["state"], going["words"]) == ("accepted", "in progress")


# --- in a card ------------------------------------------------------------------------------------


@pytest.fixture
def client(new_cloud):
    with new_cloud(seed="empty", speed=500) as cloud:
        client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
        client.cloud = cloud
        commit(client, "carded", compose_file=COMPOSE, env_keys=["TOKEN", "EXTRA"])
        yield client
        client.close()


@pytest.fixture
def card(fleet):
    return fleet["carded"].card()


@pytest.fixture
def say(wire, card):
    token = json.loads(bytes(card._boot))["token"]

    def say(kind, **content):
        wire.say(card, {"kind": kind, "token": token, "n": 1, **content})

    return say


def activity_lines(wire, card):
    lines = wire.state(card)["activity"]["lines"]
    return [(one["verb"], one["by"], one["state"]) for one in lines]


def test_the_ledger_and_the_services_history_are_one_list(wire, fleet, client, card, say):
    fleet["carded"].stop().wait(30)
    say("fetch", what="operations")
    assert "error" not in wire.wait(card, "details")
    # this cloud's clock is fast: its entry of our stop may be listed, too
    until(lambda: ("stop", "you", "reached") in activity_lines(wire, card))
    until(lambda: any(verb == "create" for verb, *_ in activity_lines(wire, card)))
    lines = activity_lines(wire, card)
    (made,) = [one for one in lines if one[0] == "create"]
    assert made[1:] == ("you", "reached")  # so is the user of a LocalCloud called


def test_what_failed_is_retried_from_the_card(wire, fleet, client, card, say):
    route = f"POST /cvms/{fleet['carded'].id}/stop"
    client.cloud.inject({"kind": "status", "arg": 422, "route": route, "times": 1})
    fleet["carded"].stop().wait(30)
    until(lambda: activity_lines(wire, card)[:1] == [("stop", "you", "failed")])
    (line,) = wire.state(card)["activity"]["lines"]
    assert line["retry"]
    say("retry", id=line["id"], click="r-1")
    operations = fleet.operator
    until(lambda: operations.records()[-1].delay > 0)  # with its time to take it back
    say("now", ops=[operations.records()[-1].id])
    until(lambda: activity_lines(wire, card)[:1] == [("stop", "you", "reached")])
    assert not any(one["retry"] for one in wire.state(card)["activity"]["lines"])


def test_a_history_that_cannot_be_read_leaves_what_we_know(wire, fleet, client, card, say):
    fleet["carded"].stop().wait(30)
    route = f"GET /cvms/{fleet['carded'].id}/operations"
    client.cloud.inject({"kind": "status", "arg": 403, "route": route, "times": 1})
    say("fetch", what="operations")
    assert wire.wait(card, "details")["error"]
    until(lambda: activity_lines(wire, card) == [("stop", "you", "reached")])


def test_names_of_variables_are_shown_and_how_they_are_used(wire, card, say):
    say("fetch", what="environment")
    assert wire.wait(card, "details")["rows"] == [
        ["TOKEN", True, "needed"],
        ["EXTRA", True, ""],
        ["HOST", False, "needed"],
        ["LEVEL", False, "default"],
    ]
