"""A clock that tests move, and records to fill a store with."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from cvm_notebook.api.models.cvm import Cvm, HourlyRate, NodeRef, Progress, Resource

_PATIENCE = 30.0  # real seconds for a woken thread to come to rest


class FakeClock:
    """Time that moves only by `advance`; threads that wait on it are woken in order.

    `advance` goes from deadline to deadline, and lets each woken thread come to rest (wait again,
    or end) before it goes on, so that a loop that waits 5 s runs twelve times in `advance(60)`.
    """

    def __init__(self, start=None):
        self._lock = threading.RLock()
        self._parked = threading.Condition(self._lock)
        self._monotonic = 1000.0
        self._wall = start or datetime(2026, 6, 23, 12, 0, tzinfo=UTC)
        self._waiting = {}  # thread -> (deadline, event)

    def monotonic(self):
        with self._lock:
            return self._monotonic

    def now(self):
        with self._lock:
            return self._wall

    def wait(self, event, seconds):
        me = threading.current_thread()
        # The event's own condition is held while time is looked at, so that no wake-up is lost.
        with event._cond:
            with self._lock:
                deadline = self._monotonic + max(seconds, 0.0)
                self._waiting[me] = (deadline, event)
                self._parked.notify_all()
            while not event._flag and self.monotonic() < deadline:
                event._cond.wait()
            with self._lock:
                self._waiting.pop(me, None)
            return event._flag

    @property
    def waiting(self):
        """How many threads wait on this clock."""
        with self._lock:
            return len(self._waiting)

    def settle(self, threads=1, timeout=_PATIENCE):
        """Wait (in real time) until that many threads wait on this clock."""
        with self._lock:
            return self._parked.wait_for(lambda: len(self._waiting) >= threads, timeout)

    def advance(self, seconds):
        """Let time pass, deadline by deadline."""
        target = self.monotonic() + seconds
        while True:
            with self._lock:
                due = [d for d, _ in self._waiting.values() if d <= target]
                self._to(max(self._monotonic, min(due, default=target)))
                woken = self._due()
            if not woken:
                return
            self._wake(woken)

    def jump(self, seconds):
        """Let time pass all at once, as when a laptop was asleep."""
        with self._lock:
            self._to(self._monotonic + seconds)
            woken = self._due()
        self._wake(woken)

    def set_wall(self, moment):
        """Set the wall clock; the monotonic one does not notice."""
        with self._lock:
            self._wall = moment

    def _to(self, moment):
        self._wall += timedelta(seconds=moment - self._monotonic)
        self._monotonic = moment

    def _due(self):
        return {t: e for t, (d, e) in self._waiting.items() if d <= self._monotonic}

    def _wake(self, woken):
        with self._lock:
            for thread in woken:
                self._waiting.pop(thread, None)
        for event in set(woken.values()):
            with event._cond:
                event._cond.notify_all()
        end = time.monotonic() + _PATIENCE
        with self._lock:
            for thread in woken:
                while thread.is_alive() and thread not in self._waiting:
                    if time.monotonic() > end:
                        return
                    self._parked.wait(0.01)  # a thread that ends does not say so


@pytest.fixture(autouse=True)
def _nothing_is_left(nothing_leaks):
    """Hold every test to it."""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make_cvm():
    """Make a record: `make_cvm(3, status="stopped")`."""
    return record


def record(
    number=0,
    *,
    status="running",
    region="us-west-1",
    node=None,
    instance_type="tdx.small",
    rate="0.058",
    vcpu=1,
    memory=2.0,
    gpus=0,
    progress=None,
    **more,
):
    fields = {
        "id": f"cvm_{number:08d}",
        "name": f"web-{number}",
        "app_id": f"{number:040x}",
        "vm_uuid": f"00000000-0000-4000-8000-{number:012d}",
        "instance_id": f"{number + 2**80:040x}",
        "status": status,
        "in_progress": progress is not None,
        "progress": progress and Progress(**progress),
        "node_info": NodeRef(id=1, name=node or f"node-{region}", region=region),
        "resource": Resource(
            instance_type=instance_type, vcpu=vcpu, memory_in_gb=memory, disk_in_gb=20, gpus=gpus
        ),
        "hourly_rate": HourlyRate(total=rate, compute=rate, disk="0.003"),
        "created_at": "2026-06-01T10:00:00Z",
        "updated_at": "2026-06-01T10:00:00Z",
    }
    return Cvm(**(fields | more))
