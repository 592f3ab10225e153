"""The store's rules."""

from cvm_notebook.live.rows import Fact
from cvm_notebook.live.store import FleetStore


def test_a_relist_computes_what_came_changed_and_went(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1), make_cvm(2), make_cvm(3)], received=1.0)
    changes = store.replace([make_cvm(4), make_cvm(1), make_cvm(2, status="stopped")], received=2.0)
    assert {(c.kind, c.row.name) for c in changes} == {
        ("added", "web-4"),
        ("changed", "web-2"),
        ("removed", "web-3"),
    }
    assert [r.name for r in store.snapshot()] == ["web-4", "web-1", "web-2"]


def test_unchanged_rows_keep_their_identity_over_a_relist(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1)], received=1.0)
    before = store.snapshot()
    assert store.replace([make_cvm(1)], received=2.0) == ()
    after = store.snapshot()
    assert after.rows[0] is before.rows[0]
    assert after.rows[0].observed_at == 2.0
    assert after.revision == before.revision


def test_a_fact_patches_its_row(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1)], received=1.0)
    (change,) = store.patch(
        [Fact(id="cvm_00000001", status="stopping", received=2.0, source="stream")]
    )
    assert (change.before.status, change.after.status) == ("running", "stopping")
