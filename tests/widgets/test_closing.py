"""What is closed is closed whole: a page that is loaded again still gets every living widget."""

import gc
import weakref

import comm
import ipywidgets
import pytest
from helpers import COMPOSE, collected, settled, until
from ipywidgets.widgets.widget import _instances

import cvm_notebook as cvm
from cvm_notebook.widgets.base.secret_box import SecretBox, SecretBoxes
from cvm_notebook.widgets.dashboard.dashboard import Dashboard, dashboard_of
from cvm_notebook.widgets.login import Account, Login

CVMS = ("web-1", "web-2")


def reloaded(wire):
    """Return the state of every living widget, as a page that is loaded again asks for it."""
    control = comm.create_comm(target_name="jupyter.widget.control")
    hello = {"metadata": {"version": "1.0.0"}, "content": {"data": {}}}
    ipywidgets.Widget.handle_control_comm_opened(control, hello)
    try:
        control.handle_msg({"content": {"data": {"method": "request_states"}}})
    finally:
        control.close()
    (message,) = [d for i, kind, d, _ in wire.log if i == control.comm_id and kind == "comm_msg"]
    assert set(message["states"]) == set(_instances)
    return message["states"]


def closings(wire):
    return [comm_id for comm_id, kind, _, _ in wire.log if kind == "comm_close"]


def made(kind, fleet):
    """Make a widget of a kind."""
    return {
        "table": fleet.table,
        "card": fleet["web-1"].card,
        "form": lambda: fleet.deploy(name="form-app", compose_file=COMPOSE),
        "login": lambda: Login(Account()),
        "secret box": lambda: SecretBox("Password"),
        "secret boxes": lambda: SecretBoxes(("A", "B"), lambda: None),
        "dashboard": lambda: Dashboard(fleet, fleet.table()),
    }[kind]()


KINDS = (*("table", "card", "form", "login", "secret box", "secret boxes", "dashboard"),)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_widget_made_is_closed_with_it_and_nothing_twice(wire, fleet, kind):
    other = ipywidgets.IntSlider()
    if kind == "dashboard":
        fleet.table()  # it is the fleet's, and stays
    before = set(_instances)
    widget = made(kind, fleet)
    assert len(_instances) > len(before)
    settled()
    widget.close()
    widget.close()
    settled()
    assert set(_instances) == before
    assert len(closings(wire)) == len(set(closings(wire)))
    assert other.model_id in reloaded(wire)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_showed_a_closed_widget_is_still_sent_whole(wire, fleet, kind):
    widget, other = made(kind, fleet), ipywidgets.IntSlider()
    box = ipywidgets.VBox([widget, other])
    tab = ipywidgets.Tab([widget, other, box], titles=("widget", "other", "both"))
    link = ipywidgets.jslink((other, "value"), (widget.layout, "height"))
    hidden = ipywidgets.jslink((widget, "tabbable"), (other, "disabled"))
    settled()
    widget.close()
    states = reloaded(wire)
    assert states[box.model_id]["state"]["children"] == [f"IPY_MODEL_{other.model_id}"]
    assert (tab.children, tab.titles) == ((other, box), ("other", "both"))
    assert link.comm is None
    assert hidden.comm is None


def test_a_look_that_another_widget_has_too_is_not_closed(wire, fleet):
    other = ipywidgets.IntSlider()
    table = fleet.table()
    table.layout = other.layout
    table.close()
    assert reloaded(wire)[other.model_id]["state"]["layout"] == f"IPY_MODEL_{other.layout.model_id}"


def test_a_dashboard_ends_the_fleet_that_was_made_for_it_and_no_other(client, wire, fleet):
    fleet["web-1"].card()
    dashboard_of(fleet, fleet.table(), owns_fleet=False).close()
    assert fleet.table().comm is not None
    assert fleet.health.state != "closed"
    before = set(_instances)
    own = cvm.dashboard(client)
    own.table.selected = (own.fleet["web-1"].id,)
    settled()
    own.close()
    assert own.fleet.health.state == "closed"
    assert set(_instances) == before
    reloaded(wire)


def test_a_cell_that_runs_again_closes_what_nobody_looks_at_and_a_second_window_keeps_its_own(
    client, wire
):
    other, counts = ipywidgets.IntSlider(), []
    first = cvm.dashboard(client)
    for _ in range(3):
        first.table.selected = (first.fleet["web-1"].id,)
        first.flush()
        wire.say(first, {"kind": "hello"})  # a second window shows it
        settled()
        second = cvm.dashboard(client)
        assert first.comm is not None
        assert other.model_id in reloaded(wire)
        wire.say(first, {"kind": "bye"})
        wire.say(second, {"kind": "bye"})
        settled()
        first = cvm.dashboard(client)
        assert second.comm is None
        assert other.model_id in reloaded(wire)
        counts.append(len(_instances))
    assert len(set(counts)) == 1
    first.close()
    reloaded(wire)


def test_a_dashboard_of_a_fleet_that_goes_on_runs_again(wire, fleet):
    first = cvm.dashboard(fleet)
    wire.say(first, {"kind": "bye"})
    settled()
    second = cvm.dashboard(fleet)
    assert first.comm is None
    assert fleet.health.state != "closed"
    assert len(fleet.table()._when_selected._calls) == 1  # the second's
    second.close()
    assert not fleet.table()._when_selected


def test_a_view_keeps_its_fleet_which_nobody_else_does_until_either_is_closed(client, wire):
    table, card, form = (
        cvm.Fleet(client).table(),
        cvm.Fleet(client)["web-1"].card(),
        cvm.Fleet(client).deploy(),
    )
    gc.collect()
    settled()
    kept = [weakref.ref(one) for one in (table._fleet(), card._fleet(), form.model.fleet)]
    assert all(one() is not None for one in kept)
    assert [one.comm is None for one in (table, card, form)] == [False] * 3
    kept[0]().close()
    for view in (card, form):
        view.close()
    settled()
    gc.collect()
    assert all(collected(one) for one in kept)


def test_a_fleet_that_nobody_holds_leaves_no_hole_in_a_box_of_the_users(client, wire):
    fleet = cvm.Fleet(client)
    fleet.snapshot()
    box = ipywidgets.VBox([fleet.table(), fleet["web-1"].card(), other := ipywidgets.IntSlider()])
    fleet.close()
    gone = weakref.ref(fleet)
    del fleet
    settled()
    gc.collect()
    assert collected(gone)
    until(lambda: box.children == (other,))
    settled()
    reloaded(wire)


def test_boxes_that_made_room_for_a_card_outlive_it(wire, fleet):
    boxes = SecretBoxes(("A",), lambda: lambda _name, _value: None)
    (box,) = boxes.children
    boxes.make_room(card := fleet["web-1"].card())
    assert box.comm is None
    boxes.say("sent")
    card.close()
    assert boxes.children == ()
    reloaded(wire)
    boxes.close()
    boxes.make_room(fleet["web-2"].card())
    assert boxes.children == ()


def test_a_table_that_was_closed_is_made_anew(wire, fleet):
    table = fleet.table()
    table.close()
    assert fleet.table() is not table
    assert fleet.table().comm is not None
    assert fleet.selection.names == []
