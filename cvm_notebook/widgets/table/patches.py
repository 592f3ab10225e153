"""PatchFeed: a snapshot by columns for the table, then patches of the cells that changed."""

import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from cvm_notebook.api.money import exact, total
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.live.columns import FIGURES, Context, charged_usd, figures_of
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.store.figures import FigureHistory, Measured
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Gap, Row, Snapshot
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.text import clean_text, without_zeros
from cvm_notebook.widgets.table.presentation import Cell, TableColumn, since, spark

_NOTE_CHARS: Final = 120
_OP_CHARS: Final = 160
_HASH_CHARS: Final = 16  # of a compose hash: enough to tell two of one app apart
_OLD_S: Final = 150.0  # older than two resyncs: such a row tells its own age
_APART_S: Final = 5.0
_APART: Final = 200
_AGREE_MS: Final = 5_000  # two readings of one boot
_NOTHING: Final = Decimal(0)
Cells: TypeAlias = dict[str, Cell]
ByCell: TypeAlias = dict[str, tuple[list[int], list[Cell]]]


class PatchFeed:
    """Differences of the store from what views have. Safe to use from any thread.

    A view knows a row by a number: shorter than its id, and never used twice.

    Parameters
    ----------
    columns
        What is shown, beside what every row tells.
    figures
        How busy CVMs are.
    uuids
        Whether a row tells the uuid of its CVM, by which a console knows it.
    """

    def __init__(
        self, columns: Sequence[TableColumn], figures: FigureHistory, *, uuids: bool = False
    ) -> None:
        self._uuids = uuids
        self._figures = figures
        self._lock = threading.Lock()
        self.columns = tuple(columns)
        self._by_app = False
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._next = 0
        self._base = -1  # the store's revision of the last snapshot
        self._revision = self._latest = -1  # of what was sent, and of what has come
        self._changes: dict[str, tuple[Row | None, Row | None]] = {}
        self._operations: dict[str, str | None] = {}
        self._notified: set[str] = set()  # whose operation has changed since it was sent
        self._measured: dict[str, None] = {}  # whose figures are new
        self._boots: dict[int, int] = {}  # in ms, as sent beside patches
        self._lost = True
        self._rate = _NOTHING

    # notifications, from any thread

    def changed(self, batch: ChangeBatch) -> None:
        """Note changes of the store."""
        with self._lock:
            if isinstance(batch, Gap):
                self._lost = True
                return
            for change in batch:
                if change.revision > self._base:
                    self._latest = change.revision
                    before, _ = self._changes.get(change.row.id, (change.before, None))
                    self._changes[change.row.id] = before, change.after

    def operated(self, record: OperationRecord) -> None:
        """Note the state of an operation; one that ended well is removed."""
        cvm_id = record.cvm_id
        if cvm_id is None:
            return
        ended = record.state in {"reached", "cancelled"}
        shown = None if ended else clean_text(as_text(record, named=False), _OP_CHARS)
        with self._lock:
            self._operations[cvm_id] = shown
            self._notified.add(cvm_id)

    def measured(self, batch: Measured) -> None:
        """Note whose figures are new."""
        with self._lock:
            self._measured |= dict.fromkeys(batch.cvm_ids)

    def lose(self) -> None:
        """Send all of it again next time."""
        with self._lock:
            self._lost = True

    def show(self, columns: Sequence[TableColumn]) -> None:
        """Show other columns from the next message on."""
        with self._lock:
            self.columns = tuple(columns)
            self._lost = True

    def by_app(self, *, on: bool) -> None:
        """Tell of each row, too, what rows are grouped by, from the next message on."""
        with self._lock:
            self._by_app = on
            self._lost = True

    # messages

    def number(self, cvm_id: str) -> int | None:
        """Return the number by which the view knows a CVM."""
        return self._numbers.get(cvm_id)

    def ids(self, numbers: Sequence[object]) -> list[str]:
        """Return the CVMs that a view means; numbers it never got are left out."""
        known = self._ids
        return [known[k] for k in numbers if type(k) is int and k in known]

    def totals(self) -> dict[str, Cell]:
        """Return what all of them are charged an hour now, in USD."""
        return {"rate": without_zeros(self._rate)}

    def message(self, take: Callable[[], Snapshot]) -> dict[str, Any] | None:
        """Return what is new since the last time: a snapshot, a patch, or None.

        Parameters
        ----------
        take
            Takes a snapshot of the store.
        """
        with self._lock:
            if not (self._lost or self._changes or self._notified or self._measured):
                return None
            snapshot = take()
            content = self._snapshot(snapshot) if self._lost else self._patch(snapshot)
            self._lost = False
            self._changes.clear()
            self._notified.clear()
            self._measured.clear()
            return {**content, "revision": self._revision, "totals": self.totals()}

    def ages(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return how old the rows are: one age for most, and those that differ from it.

        No row may look fresher than it is, and thousands are confirmed together: the one age is the
        oldest of them. A row that is much older tells its own.
        """
        now = snapshot.monotonic
        ages = [(row.id, row.age(now)) for row in snapshot]
        common = max((age for _, age in ages if age <= _OLD_S), default=0.0)
        old = [(i, age) for i, age in ages if age > _OLD_S]
        fresh = [(i, age) for i, age in ages if common - age > _APART_S]
        apart = old + (fresh if len(fresh) <= _APART else [])
        own = {str(k): round(age) for i, age in apart if (k := self._numbers.get(i)) is not None}
        return {"common": round(common, 1), "own": own}

    def boots(self, rows: Sequence[Row], snapshot: Snapshot) -> dict[str, Any]:
        """Return since when some CVMs run, as far as that is not sent yet.

        An uptime that is sent for the first time, or anew, is no change of a row: no patch has it.
        """
        if all(column.kind != "since" for column in self.columns):
            return {}
        context, new = Context(snapshot), {}
        for row in rows:
            k, began = self._numbers.get(row.id), since(row, context)
            if k is None or began is None or abs(began - self._boots.get(k, 0)) <= _AGREE_MS:
                continue
            new[k] = began
        self._boots |= new
        return {"boots": {"ks": list(new), "at": list(new.values())}} if new else {}

    def _snapshot(self, snapshot: Snapshot) -> dict[str, Any]:
        context = Context(snapshot)
        self._base = self._revision = snapshot.revision
        ids = [row.id for row in snapshot]
        self._numbers = {i: self._numbers.get(i) or self._new() for i in ids}
        self._ids = {k: i for i, k in self._numbers.items()}
        self._rate = total(_burns(row) for row in snapshot)
        return {
            "kind": "snapshot",
            "ks": list(self._numbers.values()),
            "ids": ids,
            "cols": self._by_column(snapshot.rows, context),
        }

    def _by_column(self, rows: Sequence[Row], context: Context) -> dict[str, list[Cell]]:
        cells = [self._cells(row, context) for row in rows]
        names = cells[0] if cells else ()
        return {name: [cell[name] for cell in cells] for name in names}

    def _patch(self, snapshot: Snapshot) -> dict[str, Any]:
        context = Context(snapshot)
        self._revision = max(self._revision, self._latest)
        by_cell: ByCell = {}
        added: list[Row] = []
        removed: list[int] = []
        for cvm_id, (before, after) in self._changes.items():
            self._recount(before, after)
            k = self._numbers.get(cvm_id)
            if after is None:
                removed += self._forget(cvm_id)
            elif k is None or before is None:
                added.append(after)
            else:
                self._differences(by_cell, k, before, after, context)
        for cvm_id in self._notified:
            if (k := self._numbers.get(cvm_id)) is not None:
                _put(by_cell, "op", k, self._operations.get(cvm_id))
        self._put_figures(by_cell, snapshot, context)
        patch: dict[str, Any] = {"kind": "patch", "set": by_cell, "del": removed}
        if added:
            patch["add"] = self._added(added, snapshot, context)
        return patch

    def _differences(
        self, by_cell: ByCell, k: int, before: Row, after: Row, context: Context
    ) -> None:
        old = self._cells(before, context)
        for name, cell in self._cells(after, context).items():
            if name != "op" and cell != old[name]:
                _put(by_cell, name, k, cell)

    def _put_figures(self, by_cell: ByCell, snapshot: Snapshot, context: Context) -> None:
        """Put the cells of figures; they change without their rows."""
        shown = [column for column in self.columns if column.name in FIGURES]
        rows = {row.id: row for row in snapshot} if shown and self._measured else {}
        for cvm_id in self._measured.keys() & rows.keys():
            k, row = self._numbers.get(cvm_id), rows[cvm_id]
            if k is not None:
                for column in shown:
                    _put(by_cell, column.name, k, column.read(row, context))
                for name, cell in self._busyness(row, context).items():
                    _put(by_cell, name, k, cell)

    def _busyness(self, row: Row, context: Context) -> Cells:
        """Return how busy a CVM was lately, or why that is not known; and for how long it idles."""
        figures = figures_of(row, context)
        if figures is None or not figures.is_fresh(context.now):
            return {"spark": None if figures is None else figures.state, "idle": None}
        bars = spark(self._figures.recent(row.id), context.now)
        return {"spark": bars, "idle": None if figures.idle_for is None else int(figures.idle_for)}

    def _forget(self, cvm_id: str) -> list[int]:
        k = self._numbers.pop(cvm_id, None)
        self._operations.pop(cvm_id, None)
        if k is None:
            return []
        del self._ids[k]
        self._boots.pop(k, None)
        return [k]

    def _added(self, rows: list[Row], snapshot: Snapshot, context: Context) -> dict[str, Any]:
        new = {row.id for row in rows}
        rows = [row for row in snapshot if row.id in new]  # in the fleet's order
        for row in rows:
            k = self._new()
            self._numbers[row.id] = k
            self._ids[k] = row.id
        return {
            "ks": [self._numbers[row.id] for row in rows],
            "ids": [row.id for row in rows],
            "cols": self._by_column(rows, context),
        }

    @exact
    def _recount(self, before: Row | None, after: Row | None) -> None:
        for row, sign in ((before, -1), (after, 1)):
            if row is not None:
                self._rate += sign * _burns(row)

    def _cells(self, row: Row, context: Context) -> Cells:
        cells = {one.name: one.read(row, context) for one in self.columns if one.kind != "spent"}
        raw = clean_text(row.status, 60) if row.status else None
        cells["raw"] = None if raw == cells["status"] else raw
        cells["note"] = _note(row)
        cells["op"] = self._operations.get(row.id)
        if self._uuids:
            cells["_uuid"] = clean_text(row.vm_uuid, 80) if row.vm_uuid else None
        cells |= self._busyness(row, context)
        return cells | _grouping(row) if self._by_app else cells

    def _new(self) -> int:
        self._next += 1
        return self._next


def _put(by_cell: ByCell, name: str, k: int, cell: Cell) -> None:
    ks, cells = by_cell.setdefault(name, ([], []))
    ks.append(k)
    cells.append(cell)


def _note(row: Row) -> str | None:
    """Return what a person should know beside the status: an error, or how far it is."""
    progress = row.boot_progress or row.shutdown_progress
    if progress and not Reading.of_row(row).busy:
        progress = None
    note = row.boot_error or row.error or progress
    return clean_text(note, _NOTE_CHARS) if note else None


def _grouping(row: Row) -> Cells:
    """Return what a view groups by app, and sums up."""
    app, digits = row.app_id, bare_digits(row.cvm.compose_hash) or ""
    return {
        "_app": clean_text(app, 80) if app else None,
        "_hash": clean_text(digits[:_HASH_CHARS], _HASH_CHARS) or None,
        "_usd": without_zeros(_burns(row)),
    }


def _burns(row: Row) -> Decimal:
    """Return what a CVM is charged an hour now."""
    rate = charged_usd(row)
    return rate if rate is not None and rate.is_finite() else _NOTHING
