"""CVMs, rows, changes and snapshots for the tests of frames, each as full as need be."""

import datetime as dt
import types

import pytest
from full_cvm import full_cvm

from cvm_notebook.live.store.records import Change, Health, Provenance, Row, Snapshot

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
MONOTONIC = 1000.0


def row(number=0, *, at=NOON, received=MONOTONIC, source="list", record=None, **changes):
    """A row of it; `record` holds changes of the CVM, the rest are of the row."""
    known = full_cvm(number, **(record or {}))
    fields = {"status": known.status, "revision": 1} | changes
    return Row(cvm=known, seen=Provenance(received, at, source), **fields)


def snapshot(*rows, at=NOON, monotonic=MONOTONIC, revision=1, state="live"):
    """A snapshot of rows."""
    health = Health(state, at)
    return Snapshot(
        revision=revision, rows=tuple(rows), taken_at=at, monotonic=monotonic, health=health
    )


def change(before, after, *, seq=1, at=NOON, **changes):
    """A change from one row to another."""
    fields = {"revision": seq, "source": "list", "received": MONOTONIC, "lag_ms": 0.5} | changes
    return Change(seq=seq, before=before, after=after, at=at, **fields)


@pytest.fixture(scope="session")
def make():
    """Makers of what frames are made of."""
    return types.SimpleNamespace(
        cvm=full_cvm, row=row, snapshot=snapshot, change=change, noon=NOON, monotonic=MONOTONIC
    )
