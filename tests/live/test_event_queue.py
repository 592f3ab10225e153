"""The queue of events keeps the last word of each."""

from itertools import product

import pytest

from cvm_notebook.live.reflector.event_queue import EventQueue
from cvm_notebook.live.reflector.events import Follow, Refresh


def taken(queue):
    return list(iter(queue.take, None))


@pytest.mark.parametrize("switched", list(product([True, False], repeat=4)))
def test_of_contrary_events_the_last_is_taken_last(switched):
    queue = EventQueue()
    for on in switched:
        queue.put(Follow("cvm_1", on))
        queue.put(Follow("cvm_2"))
    events = [event for event in taken(queue) if event.cvm_id == "cvm_1"]
    assert events[-1].on == switched[-1]
    assert len(events) == len(set(switched))


def test_an_event_that_waits_already_is_taken_once():
    queue = EventQueue()
    for _ in range(3):
        queue.put(Refresh())
    assert taken(queue) == [Refresh()]
