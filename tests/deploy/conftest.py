"""An empty workspace for each test of applying, on a LocalCloud that the module shares."""

import pytest

import cvm_notebook as cvm


@pytest.fixture(scope="module")
def shared(new_cloud):
    with new_cloud(seed="empty", speed=1000) as cloud:
        yield cloud


@pytest.fixture
def place(shared):
    """An empty workspace: a fleet, and the cloud."""
    shared.clear_faults()
    shared.clear_requests()
    key = shared.new_workspace()["api_key"]
    with cvm.Client(api_key=key, base_url=shared.url) as client, cvm.Fleet(client) as fleet:
        yield fleet, shared
    shared.clear_faults()
