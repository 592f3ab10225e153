"""A fleet as text and as static html, for where there is no widget."""

from cvm_notebook.api.status import status_words
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import age_words, counted, table_bundle, usd


def show(snapshot: Snapshot, title: str | None = None, most: int = 50) -> dict[str, str]:
    """Return a snapshot as text and as html, with its time and the number of CVMs left out."""
    head = ("name", "status", "size", "node", "region", "USD/h", "updated")
    cells = [_cells(row, snapshot.monotonic) for row in snapshot.rows[:most]]
    left_out = len(snapshot) - len(cells)
    when = f"{snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    health = str(snapshot.health).rstrip(".")
    title = f"{title or counted(len(snapshot), 'CVM')}; {health}; snapshot of {when}"
    if left_out > 0:
        title = f"{title}; {left_out:,} not shown"
    return table_bundle(title, head, cells)


def show_one(row: Row, snapshot: Snapshot) -> dict[str, str]:
    """Return one CVM of a snapshot as text and as html."""
    facts = _facts(row, snapshot.monotonic)
    when = f"{snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    title = f"{row.name or row.id}: {status_words(row.status)}; snapshot of {when}"
    return table_bundle(title, ("", ""), facts)


def _cells(row: Row, now: float) -> tuple[str, ...]:
    cvm = row.cvm
    return (
        row.name or row.id,
        status_words(row.status),
        (cvm.resource.instance_type if cvm.resource else None) or "",
        (cvm.node_info.name if cvm.node_info else None) or "",
        (cvm.node_info.region if cvm.node_info else None) or "",
        usd(charged_usd(row)) or "",
        f"{age_words(row.age(now))} ago",
    )


def _facts(row: Row, now: float) -> list[tuple[str, ...]]:
    """Return what a person wants to know of one CVM; what is not known is left out."""
    cvm = row.cvm
    doing = row.operation.type if row.operation is not None else None
    urls = [e.app for e in cvm.endpoints or () if e.app]
    facts = [
        ("id", row.id),
        ("doing", doing or ("something" if row.in_progress else None)),
        ("boot", row.boot_progress),
        ("boot error", row.boot_error),
        ("size", cvm.resource.instance_type if cvm.resource else None),
        ("node", cvm.node_info.name if cvm.node_info else None),
        ("region", cvm.node_info.region if cvm.node_info else None),
        ("USD/h", usd(charged_usd(row))),
        ("endpoint", urls[0] if urls else None),
        ("compose hash", cvm.compose_hash),
        ("updated", f"{age_words(row.age(now))} ago"),
        ("could not refresh", row.error),
    ]
    return [(name, value) for name, value in facts if value]
