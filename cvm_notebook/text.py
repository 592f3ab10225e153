"""Small tables as text and as static html; whatever comes from the service is escaped here."""

import html
from collections.abc import Sequence
from decimal import Decimal

from cvm_notebook.api.errors.envelope import clean_text
from cvm_notebook.api.money import without_zeros
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.store.records import Row, Snapshot

_WIDEST = 64  # a hash, whole


def text_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in plain text, its columns aligned."""
    cells = [[clean_text(cell, _WIDEST) for cell in row] for row in rows]
    lines = [list(head), *cells] if any(head) else cells
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(head))]
    body = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([clean_text(title), *body])


def html_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in html, without script or style of its own."""
    top = "".join(f'<th scope="col">{_safe(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f"<table><caption>{_safe(title, 600)}</caption>{thead}<tbody>{body}</tbody></table>"


def _safe(text: str, limit: int = _WIDEST) -> str:
    return html.escape(clean_text(text, limit))


def age_words(seconds: float) -> str:
    """Return an age in one unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def usd(amount: Decimal | None) -> str | None:
    """Return a price without needless zeros; None stays None."""
    return None if amount is None else without_zeros(amount)


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
