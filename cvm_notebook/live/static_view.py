"""A fleet as text and as static html: what is shown where no widget lives."""

from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import age_words, html_table, text_table, usd


def show(snapshot: Snapshot, title: str | None = None, most: int = 50) -> dict[str, str]:
    """Return a snapshot as text and as html, with its time, and what is not shown said."""
    head = ("name", "status", "type", "node", "region", "USD/h", "seen")
    cells = [_cells(row, snapshot.monotonic) for row in snapshot.rows[:most]]
    left_out = len(snapshot) - len(cells)
    when = f"{snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    title = f"{title or f'{len(snapshot)} CVMs'}; {snapshot.health}; snapshot of {when}"
    if left_out > 0:
        title = f"{title}; {left_out} not shown"
    return {
        "text/plain": text_table(title, head, cells),
        "text/html": html_table(title, head, cells),
    }


def _cells(row: Row, now: float) -> tuple[str, ...]:
    cvm = row.cvm
    return (
        row.name or row.id,
        row.status or "",
        (cvm.resource.instance_type if cvm.resource else None) or "",
        (cvm.node_info.name if cvm.node_info else None) or "",
        (cvm.node_info.region if cvm.node_info else None) or "",
        usd(charged_usd(row)) or "",
        f"{age_words(row.age(now))} ago",
    )
