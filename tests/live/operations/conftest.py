"""A bench for operations: a LocalCloud that may be broken, a client, a store, and a ledger."""

import time
from itertools import count

import pytest

from cvm_notebook.api.client import Client
from cvm_notebook.live.operations import Operations
from cvm_notebook.live.store import FleetStore
from cvm_notebook.local import LocalCloud

COMPOSE = "services:\n  app:\n    image: nginx:1.27\n"
_numbers = count(1)


@pytest.fixture(scope="module")
def shared_cloud():
    with LocalCloud(seed="empty", speed=500) as cloud:
        yield cloud


class Bench:
    """A cloud and one kernel that works on it."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.faults = []
        self._open = []
        self.client = self.new_client()
        self.store = FleetStore()
        self.operations = self.new_operations(self.client, self.store)

    def new_client(self, **settings):
        client = Client(api_key=self.cloud.api_key, base_url=self.cloud.url, **settings)
        self._open.append(client)
        return client

    def new_operations(self, client=None, store=None, hooks=None, **settings):
        client = client or self.new_client()
        made = Operations(
            client, store or self.store, hooks, on_fault=self.faults.append, **settings
        )
        self._open.append(made)
        return made

    def delete(self, cvm_id):
        """Delete a CVM past all operations, and wait until it is gone."""
        self.client.delete_cvm(cvm_id)
        self.client.watch_cvm_state(cvm_id, target="deleted")

    def make(self, number=1, status="running"):
        """Make CVMs, wait until they are so, list the fleet, and return their rows."""
        names = [f"work-{next(_numbers)}" for _ in range(number)]
        for name in names:
            provision = self.client.provision_cvm(name=name, compose_file=COMPOSE)
            self.client.commit_cvm_provision(provision)
        for name in names:
            self.client.watch_cvm_state(name, target="running")
            if status == "stopped":
                self.client.stop_cvm(name)
                self.client.watch_cvm_state(name, target="stopped")
        self.list()
        self.cloud.clear_requests()
        return [self.row(name) for name in names]

    def list(self, store=None):
        asked = time.monotonic()
        cvms = self.client.list_cvms()
        (store or self.store).replace(cvms, received=time.monotonic(), asked=asked)

    def row(self, name):
        return self.store.snapshot().find(name)

    def sent(self, method, ending=""):
        """Count the requests of a method whose path ends so."""
        return sum(
            r["method"] == method and r["path"].partition("?")[0].endswith(ending)
            for r in self.cloud.requests()
        )

    def break_it(self, kind, **more):
        self.cloud.inject({"kind": kind, **more})

    def close(self):
        self.cloud.clear_faults()
        for one in reversed(self._open):
            one.close()


@pytest.fixture
def bench(shared_cloud):
    """A kernel of the test's own on a cloud that the module shares."""
    shared_cloud.clear_faults()
    shared_cloud.clear_requests()
    made = Bench(shared_cloud)
    yield made
    made.close()


@pytest.fixture
def new_bench(new_cloud):
    """Make benches on clouds of their own, of any speed."""
    made = []

    def make(**settings):
        made.append(Bench(new_cloud(seed="empty", **settings).start()))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.cloud.close()
