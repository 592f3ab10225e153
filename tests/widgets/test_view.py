"""The protocol of every widget: a snapshot, patches without a gap, and signs of life."""

import gc
import json
import sys
import threading
import types
import weakref

import pytest
from helpers import HANGS, collected, settled

from cvm_notebook.live.store.observers import weakly
from cvm_notebook.widgets.base import view as view_module
from cvm_notebook.widgets.base.ui_thread import ui_thread
from cvm_notebook.widgets.base.view import LiveView


class Counter(LiveView):
    """A view of two numbers, of which a front end may set one."""

    _esm = "export default {}"

    def __init__(self):
        self.numbers = {"one": 1, "two": 2}
        self.viewed = []
        super().__init__()

    def show(self, **numbers):
        self.numbers = {**self.numbers, **numbers}
        self._mark()

    def _state(self):
        return dict(self.numbers)

    def _viewed(self):
        self.viewed.append(True)

    def _unviewed(self):
        self.viewed.append(False)

    def _on_set(self, message):
        self.show(one=message["one"])


@pytest.fixture
def counter(wire):
    counter = Counter()
    settled()
    yield counter
    counter.close()


def say(wire, counter, kind, **content):
    wire.say(counter, {"kind": kind, "token": counter._token, **content})


def test_only_the_sections_that_changed_are_sent_and_messages_are_counted(wire, counter):
    counter.show(two=3)
    assert wire.wait(counter, "patch") == {"kind": "patch", "n": 2, "set": {"two": 3}}
    counter.show(two=3)
    counter.show(one=5)
    assert wire.wait(counter, "patch", after=1) == {"kind": "patch", "n": 3, "set": {"one": 5}}
    assert wire.state(counter) == {"one": 5, "two": 3}


def test_what_changes_while_a_view_is_made_is_a_patch_as_later(wire):
    made = threading.Event()
    ui_thread.post(lambda: made.wait(HANGS))
    counter = Counter()
    counter.show(two=3)
    counter.flush()
    made.set()
    assert wire.wait(counter, "patch") == {"kind": "patch", "n": 2, "set": {"two": 3}}
    assert not wire.sent(counter, "snapshot")


def test_one_that_is_closed_while_it_is_made_waits_for_nothing():
    made = threading.Event()
    ui_thread.post(lambda: made.wait(HANGS))
    counter = Counter()
    counter.close()
    made.set()
    settled()
    counter.flush()
    assert counter not in ui_thread._marked


def test_a_view_that_has_it_all_gets_a_pulse_and_one_with_a_gap_gets_everything(wire, counter):
    say(wire, counter, "hello", n=1)
    assert wire.wait(counter, "pulse")["n"] == 1
    assert not wire.sent(counter, "snapshot")
    say(wire, counter, "hello", n=7)
    assert wire.wait(counter, "snapshot")["set"] == {"one": 1, "two": 2}


def test_a_message_is_obeyed_with_the_token_of_the_widget_alone(wire, counter):
    wire.say(counter, {"kind": "set", "one": 9})
    wire.say(counter, {"kind": "set", "one": 9, "token": "of another kernel"})
    settled()
    assert counter.numbers["one"] == 1
    say(wire, counter, "set", one=9)
    wire.until(counter, lambda state: state["one"] == 9)


@pytest.mark.parametrize(
    "kind", ["msg", "trait_change", "forget", "mark", "close", "", None, [], 7]
)
def test_a_message_names_no_method_but_those_for_messages(wire, counter, kind):
    say(wire, counter, kind)
    settled()
    assert counter.comm is not None
    assert not wire.sent(counter, "notice")


def test_whoever_says_bye_is_sent_nothing_until_the_next_sign_of_life(wire, counter):
    say(wire, counter, "bye")
    settled()
    assert not counter.seen
    assert counter.viewed[-1] is False
    before = wire.sent(counter)
    counter.show(one=4)
    counter.flush()
    counter.pulse()
    assert wire.sent(counter) == before
    say(wire, counter, "alive")
    assert wire.wait(counter, "snapshot")["set"]["one"] == 4
    assert counter.viewed[-1] is True


def test_a_view_that_hears_nothing_is_not_flooded(wire, counter, monkeypatch):
    monkeypatch.setattr(view_module, "_SLOW_S", 60.0)
    for number in range(20):
        counter.show(one=number)
        ui_thread.post(counter.flush)
        settled()
    assert 0 < len(wire.sent(counter, "patch")) <= view_module._UNACKNOWLEDGED
    say(wire, counter, "ack", n=counter._n)
    counter.show(one=21)
    wire.until(counter, lambda state: state["one"] == 21)


def test_the_first_snapshot_is_what_a_saved_notebook_would_show(wire, counter):
    boot = json.loads(counter._boot)
    assert (boot["kind"], boot["n"], boot["set"]) == ("snapshot", 1, {"one": 1, "two": 2})


def test_what_is_subscribed_weakly_keeps_nothing_alive():
    class Subscriber:
        def notify(self, number):
            return number + 1

    subscriber = Subscriber()
    notify, kept = weakly(subscriber.notify), weakref.ref(subscriber)
    assert notify(1) == 2
    del subscriber
    gc.collect()
    assert collected(kept)
    assert notify(1) is None


def test_a_view_within_a_view_sends_and_receives_through_it(wire):
    outer, inner = Counter(), Counter()

    def passed_on(kind, after):
        """Return the first message of a kind that came through; pulses come at any time."""
        while (one := wire.wait(outer, "part", after=after)["message"])["kind"] != kind:
            after += 1
        return one

    part = {"kind": "part", "token": outer._token, "of": outer._host(inner)}
    wire.say(outer, {**part, "do": "open"})
    code = wire.wait(outer, "part")
    assert (code["of"], code["open"]["esm"]) == (inner.model_id, "export default {}")
    wire.say(outer, {**part, "message": {"kind": "hello"}})
    whole = passed_on("snapshot", 1)
    assert whole["set"] == {"one": 1, "two": 2}
    change = {"kind": "set", "one": 5, "token": whole["token"]}
    before = len(wire.sent(outer, "part"))
    wire.say(outer, {**part, "token": "another", "message": change})
    wire.say(outer, {**part, "of": "nobody", "message": change})
    wire.say(outer, {**part, "message": {**change, "token": "another"}})
    wire.say(outer, {**part, "message": change})
    assert passed_on("patch", before)["set"] == {"one": 5}
    wire.say(outer, {**part, "do": "close"})
    settled()
    before = len(wire.sent(outer, "part"))
    inner.show(two=6)
    settled()
    ui_thread.post(inner.flush, inner)
    settled()
    assert len(wire.sent(outer, "part")) == before
    outer.close()
    inner.close()


def test_what_is_secret_in_a_message_to_a_view_within_a_view_is_sealed():
    sealed = view_module.seal({"kind": "part", "message": {"kind": "secret", "value": "phak_x"}})
    assert "phak_x" not in repr(sealed)
    assert sealed["message"]["value"].reveal() == "phak_x"


def test_colab_is_asked_once_to_show_widgets_that_are_not_its_own(wire, monkeypatch):
    from anywidget import _util  # it is anywidget that asks; a later version might not

    asked = []
    output = types.ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: asked.append(True)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    _util.enable_custom_widget_manager_once.cache_clear()
    for _ in range(2):
        Counter().close()
    assert asked == [True]
    _util.enable_custom_widget_manager_once.cache_clear()
