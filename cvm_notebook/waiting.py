"""Waiting until CVMs of a fleet have a status, by the store's own news."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from cvm_notebook.api.status import phase_of
from cvm_notebook.live.lookup import Index
from cvm_notebook.live.rows import Row, Snapshot
from cvm_notebook.live.store import Batch

if TYPE_CHECKING:
    from cvm_notebook.fleet import Fleet

_FOLLOWED: Final = 16


class Waiting:
    """Waits, by the store's own news, until CVMs have a status."""

    def __init__(
        self,
        fleet: "Fleet",
        ids: list[str],
        status: str,
        *,
        progress: bool,
        on_change: Callable[[Row], object] | None = None,
    ) -> None:
        self._fleet = fleet
        self._ids = ids
        self._status = status.lower()
        self._news = threading.Event()
        self._progress = progress and len(ids) > 1
        self._on_change = on_change
        self._told: dict[str, tuple[str | None, str | None]] = {}

    def __enter__(self) -> Self:
        self._subscription = self._fleet.store.subscribe(self._changed)
        # the reflector follows by itself what is in transition: only a few need more
        self._followed = self._ids if len(self._ids) <= _FOLLOWED else []
        self._fleet.keep_fresh(self._followed, on=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.keep_fresh(self._followed, on=False)
        self._subscription.close()

    def until(self, timeout: float) -> list[str]:
        """Return the ids that do not have the status when the time is up; none when all do."""
        from tqdm.auto import tqdm  # noqa: PLC0415 - only where a bar is shown

        ends = self._fleet.now() + timeout
        words = f"{len(self._ids)} CVMs {self._status}"
        with tqdm(total=len(self._ids), desc=words, disable=not self._progress) as bar:
            while True:
                self._news.clear()
                missing = [cvm_id for cvm_id in self._ids if not self._has_it(cvm_id)]
                bar.update(len(self._ids) - len(missing) - bar.n)
                self._tell()
                left = ends - self._fleet.now()
                if left <= 0 or all(self.is_lost(cvm_id) for cvm_id in missing):
                    return missing
                self._news.wait(left)

    def is_lost(self, cvm_id: str) -> bool:
        """Whether a CVM can no longer come to have the status by itself."""
        row = self._fleet.known(cvm_id)
        return row is None or (phase_of(row.status) == "failed" and not row.in_progress)

    def _has_it(self, cvm_id: str) -> bool:
        row = self._fleet.known(cvm_id)
        if row is None:
            return phase_of(self._status) == "gone"
        return (row.status or "").lower() == self._status

    def _tell(self) -> None:
        """Tell of what is otherwise than it was told, in the thread that waits."""
        if self._on_change is None:
            return
        for row in filter(None, map(self._fleet.known, self._ids)):
            now = (row.status, row.boot_progress)
            if self._told.get(row.id) != now:
                self._told[row.id] = now
                self._on_change(row)

    def _changed(self, _batch: Batch) -> None:
        self._news.set()


def id_of(fleet: "Fleet", snapshot: Snapshot, identifier: str, status: str) -> str:
    """Return the id of a CVM that is waited for; one that is gone already is known by the log.

    Raises
    ------
    UnknownCvm, AmbiguousCvm
        As of `Snapshot.find`.
    """
    if phase_of(status) == "gone" and identifier not in snapshot:
        gone = [change.row for change in fleet.store.log().changes if change.after is None]
        for row in Index(gone).matches(identifier)[-1:]:
            return row.id
    return snapshot.find(identifier).id


def as_it_is(snapshot: Snapshot, cvm_id: str) -> str:
    """Say what a CVM is, by name."""
    row = next((row for row in snapshot if row.id == cvm_id), None)
    return f"{cvm_id} (gone)" if row is None else f"{row.name or cvm_id} ({row.status})"
