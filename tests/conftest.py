"""Fixtures that every room's tests may use: a LocalCloud, real, in a process of its own."""

from collections.abc import Iterator

import pytest

from cvm_notebook.local import LocalCloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    """One LocalCloud for the whole session: it begins empty, and boots take a fraction of a second.

    Tests share it: name what you make, and don't count what others made.
    """
    with LocalCloud(seed="empty", speed=200) as running:
        yield running


@pytest.fixture
def fresh_cloud() -> Iterator[LocalCloud]:
    """A LocalCloud of the test's own, empty; use it to count, to inject faults, to move time."""
    with LocalCloud(seed="empty", speed=200) as running:
        yield running
