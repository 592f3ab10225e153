"""What table and dashboard say while the service cannot be reached, and Retry now."""

import pytest
from helpers import commit, settled

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.widgets.dashboard.dashboard import Dashboard


@pytest.fixture
def client(new_cloud):
    with new_cloud(seed="empty", speed=500) as cloud:
        client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
        commit(client, "web-1")
        client.cloud = cloud
        yield client
        client.close()


def offline(wire, widget, right=lambda _: True):
    """Return the first health that was ever sent, and is offline and so."""
    for after in range(200):
        health = wire.wait(widget, "pulse", after=after, within=60)["health"]
        if health["state"] == "offline" and right(health):
            return health
    pytest.fail("it was never sent")


def test_a_view_is_sent_since_when_of_when_and_when_it_is_tried_next(wire, fleet, client):
    table = fleet.table(columns=["name", "status"])
    board = Dashboard(fleet, table)
    settled()
    client.cloud.inject({"kind": "reset", "route": "*", "times": 10_000})
    fleet.refresh()
    for view in (table, board):
        health = offline(wire, view, lambda health: health["next"])
        assert 0 <= health["lasts"] < 60
        assert 0 < health["next"] <= 60
        assert 0 <= health["age"] < 60
        assert health["cause"]
        assert "next" in offline(wire, view, lambda health: health["next"] is None)
    client.cloud.clear_faults()
    board.close()


def test_retry_now_asks_for_the_list_and_says_why_it_cannot(wire, fleet, monkeypatch):
    table = fleet.table(columns=["name", "status"])
    asked = []

    def refresh():
        asked.append("refresh")
        raise CvmError("this fleet is closed")

    monkeypatch.setattr(fleet, "refresh", refresh)
    wire.say(table, {"kind": "refresh", "token": table._token, "n": 1})
    assert wire.wait(table, "notice")["text"] == "this fleet is closed."
    assert asked == ["refresh"]
