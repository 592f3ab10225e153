"""The kernel's end of widgets without a kernel: it keeps what is sent, and sends as a view does."""

import json
import threading
import time

import pytest
from helpers import LONG_PATIENCE, commit, settled

import cvm_notebook as cvm


class Wire:
    """What went over the comms of one test, from whatever thread.

    Attributes
    ----------
    log
        ``(widget's id, message type, data, buffers)``, in the order in which they were sent.
    """

    def __init__(self):
        self.log = []
        self._changed = threading.Condition()

    def note(self, comm_id, kind, data, buffers):
        with self._changed:
            self.log.append((comm_id, kind, data, buffers))
            self._changed.notify_all()

    @property
    def opened(self):
        """The ids of the models that were opened, oldest first."""
        return [comm_id for comm_id, kind, _, _ in self.log if kind == "comm_open"]

    def born(self, widget):
        """Return the state with which a widget was opened: what a saved notebook would hold."""
        (data,) = [d for i, kind, d, _ in self.log if i == widget.model_id and kind == "comm_open"]
        return data["state"]

    def updates(self, widget):
        """Return the changes of traits that were sent, oldest first."""
        return [data["state"] for data in self._data(widget, "update")]

    def sent(self, widget, kind=None):
        """Return the custom messages that were sent, oldest first; only those of a kind."""
        messages = [data["content"] for data in self._data(widget, "custom")]
        return messages if kind is None else [one for one in messages if one.get("kind") == kind]

    def wait(self, widget, kind, *, after=0, within=LONG_PATIENCE):
        """Return the custom message of a kind after the first so many; wait until it comes."""
        end = time.monotonic() + within
        with self._changed:
            while len(found := self.sent(widget, kind)) <= after:
                left = end - time.monotonic()
                assert left > 0, f"no message {kind!r}; there were {self.sent(widget)}"
                self._changed.wait(left)
        return found[after]

    def state(self, widget):
        """Return the state that a front end has by now: the first snapshot, and what came since."""
        opened = [b for i, kind, _, b in self.log if i == widget.model_id and kind == "comm_open"]
        state, n = {}, 0
        for message in [
            *(json.loads(bytes(b[0])) for b in opened if b and b[0]),
            *self.sent(widget),
        ]:
            if message["kind"] == "snapshot":
                state, n = dict(message["set"]), message["n"]
            elif message["kind"] == "patch":
                assert message["n"] == n + 1, "a message is missing"
                state, n = {**state, **message["set"]}, message["n"]
        return state

    def until(self, widget, right, within=LONG_PATIENCE):
        """Wait until the state that a front end has is right; return it."""
        with self._changed:
            there = self._changed.wait_for(lambda: right(self.state(widget)), within)
            assert there, self.sent(widget)
            return self.state(widget)

    def say(self, widget, content, buffers=()):
        """Let a front end send a custom message."""
        self._receive(widget, {"method": "custom", "content": content}, buffers)

    def set(self, widget, **state):
        """Let a front end set traits, as a forged or a reopened notebook would too."""
        self._receive(widget, {"method": "update", "state": state, "buffer_paths": []}, ())

    def _data(self, widget, method):
        return [
            data
            for comm_id, kind, data, _ in self.log
            if comm_id == widget.model_id and kind == "comm_msg" and data["method"] == method
        ]

    @staticmethod
    def _receive(widget, data, buffers):
        widget.comm.handle_msg({"content": {"data": data}, "buffers": list(buffers)})


@pytest.fixture
def wire(monkeypatch):
    """Record what widgets send. Those that the test made are closed after it."""
    import comm
    import ipywidgets
    from comm.base_comm import BaseComm

    wire = Wire()

    class Recorded(BaseComm):
        def publish_msg(self, msg_type, data=None, _metadata=None, buffers=None, **_):
            wire.note(self.comm_id, msg_type, data, buffers or [])

    manager = comm.CommManager()
    monkeypatch.setattr(comm, "create_comm", Recorded)
    monkeypatch.setattr(comm, "get_comm_manager", lambda: manager)
    before = set(ipywidgets.widgets.widget._instances)
    yield wire
    settled()  # a fleet that was collected has its views closed there
    for model_id in set(ipywidgets.widgets.widget._instances) - before:
        if widget := ipywidgets.widgets.widget._instances.get(model_id):
            widget.close()  # which may close others
    assert not manager.comms


@pytest.fixture
def client(cloud, request):
    """A client of a workspace of the test's own, with the CVMs that its module names."""
    with cvm.Client(api_key=cloud.new_workspace()["api_key"], base_url=cloud.url) as client:
        for name in request.module.CVMS:
            commit(client, name)
        yield client


@pytest.fixture
def fleet(client, wire):
    """A fleet of it, whose CVMs run."""
    with cvm.Fleet(client) as fleet:
        fleet.wait(status="running", progress=False)
        yield fleet
