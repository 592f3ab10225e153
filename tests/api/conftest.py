"""The client's fixtures: a client, CVMs to work on, and a LocalCloud that may be broken."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

import cvm_notebook as cvm

COMPOSE = "services:\n  app:\n    image: nginx:1.27\n    ports: ['80:80']\n"
_numbers = count(1)


@pytest.fixture(autouse=True)
def _nothing_is_left(nothing_leaks: None) -> None:
    """Hold every test to it."""


@pytest.fixture
def client(cloud: cvm.LocalCloud) -> Iterator[cvm.Client]:
    """A client of the LocalCloud that all tests share."""
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


@pytest.fixture(scope="session")
def _breakable(new_cloud: Callable[..., cvm.LocalCloud]) -> Iterator[cvm.LocalCloud]:
    with new_cloud(seed="empty", speed=300) as running:
        yield running


@pytest.fixture
def broken(_breakable: cvm.LocalCloud) -> Iterator[cvm.LocalCloud]:
    """A LocalCloud on which a test may inject faults, and count the requests that arrive."""
    _breakable.clear_faults()
    _breakable.clear_requests()
    yield _breakable
    _breakable.clear_faults()


@pytest.fixture
def caller(broken: cvm.LocalCloud) -> Iterator[cvm.Client]:
    """A client of its own, with its own retry budget, for a LocalCloud that may be broken."""
    with cvm.Client(api_key=broken.api_key, base_url=broken.url) as made:
        yield made


Make = Callable[[cvm.Client], str]


@pytest.fixture(scope="session")
def make() -> Make:
    """Make a CVM that runs; returns its name."""

    def made(client: cvm.Client, target: str = "running") -> str:
        name = f"test-{next(_numbers)}"
        provision = client.provision_cvm(name=name, compose_file=COMPOSE)
        client.commit_cvm_provision(provision)
        client.watch_cvm_state(name, target=target)
        return name

    return made
