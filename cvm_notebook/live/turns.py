"""When each CVM last changed in a way that matters to a wish, and from what."""

from cvm_notebook.api.errors import CvmError
from cvm_notebook.live.preconditions import RowChanged
from cvm_notebook.live.rows import Gap, Row
from cvm_notebook.live.seen import Seen
from cvm_notebook.live.store import Batch, FleetStore


class Turns:
    """Remembers the newest change of status of each CVM; the store tells it of all changes.

    A row gets a new revision with every minute of uptime. Whoever saw an older one still saw the
    truth, unless the status has changed since.
    """

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._newest: dict[str, tuple[int, Seen]] = {}

    def changed(self, batch: Batch) -> None:
        """Hear of the store's changes."""
        for change in () if isinstance(batch, Gap) else batch:
            if change.after is None:
                self._newest.pop(change.row.id, None)
            elif change.before is not None:
                before, after = Seen.of_row(change.before), Seen.of_row(change.after)
                if (before.phase, before.in_progress) != (after.phase, after.in_progress):
                    self._newest[change.row.id] = change.revision, before

    def since(self, row: Row | None, revision: int | None) -> CvmError | None:
        """Return how a CVM has turned since a revision that was shown, or None."""
        if row is None or revision is None:
            return None
        at, before = self._newest.get(row.id, (0, None))
        if before is None or at <= revision:
            return None
        now = self._store.get(row.id)
        is_now = f", and is {Seen.of_row(now).doing} now" if now is not None else ""
        return RowChanged(
            f"'{before.name}' was {before.doing} when it was shown{is_now}",
            hint="Look at it as it is now, then ask again.",
        )
