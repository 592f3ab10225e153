"""Changing: the steps from what runs over a preview to an update, in the background."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.error_fields import GENERAL, Errors, error_payload, errors_by_field
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import check_confirmed, previewed, read_whole, submitted
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.records import Provenance, Row
from cvm_notebook.live.workers import Workers

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

ChangePhase: TypeAlias = Literal[
    "reading", "unread", "fill", "previewing", "previewed", "sending", "updating", "done", "failed"
]
Given: TypeAlias = Mapping[str, Any]  # what is to be otherwise, by the names of `Changes`
_MAY_PREVIEW: Final = frozenset({"fill", "previewed"})
_SENT: Final = frozenset({"sending", "updating"})


class Changing:
    """A state machine whose requests are sent by workers: read, preview, update, follow.

    The update is sent once, and only as it was previewed: what runs is read again before, and where
    the preview is another one by then, that is shown instead. Safe to use from any thread.

    Parameters
    ----------
    operations
        Gives the operations that carry the update out.
    taken
        Called on a worker with what runs, each time that it was read.
    reached
        Called, from any thread, when the update is done.
    changed
        Called, from any thread, after every change.
    """

    def __init__(
        self,
        client: "Client",
        cvm_id: str,
        *,
        operations: Callable[[], OperationService],
        workers: Workers,
        taken: Callable[[Cvm], object],
        reached: Callable[[], object],
        changed: Callable[[], object],
    ) -> None:
        self.client = client
        self._cvm_id = cvm_id
        self._operations = operations
        self._workers = workers
        self._taken = taken
        self._reached = reached
        self._changed = changed
        self._lock = threading.RLock()
        self._unsubscribe: Callable[[], None] | None = None
        self._given: Given = {}
        self.phase: ChangePhase = "unread"
        self.cvm: Cvm | None = None
        self.preview: UpdatePreview | None = None
        self.operation: Operation | None = None
        self.errors: Errors = {}

    def read(self) -> bool:
        """Read what runs; False while something is under way."""
        with self._lock:
            if self.phase in {"reading", "previewing"} | _SENT:
                return False
            self._end_watch()
            self.phase, self.errors = "reading", {}
            self.preview, self.operation = None, None
        self._changed()
        self._do(self._read, "reading", "unread")
        return True

    def look(self, given: Given) -> bool:
        """Ask for a preview of changes; False when that is not possible now."""
        with self._lock:
            if self.phase not in _MAY_PREVIEW:
                return False
            self.phase, self.errors = "previewing", {}
        self._changed()
        self._do(partial(self._look, dict(given)), "previewing", "fill")
        return True

    def send(self, given: Given, confirm: str | None) -> bool:
        """Send the update that was previewed; False when that is not possible now.

        Parameters
        ----------
        confirm
            The preview's phrase, where it has one.
        """
        with self._lock:
            preview = self.preview
            if self.phase != "previewed" or preview is None:
                return False
            self.errors = self._obstacles(preview, given, confirm)
            if not self.errors:
                self.phase, self.operation = "sending", None
        self._changed()
        if self.errors:
            return False
        self._do(partial(self._send, preview, dict(given)), "sending", "previewed")
        return True

    def is_stale(self, given: Given) -> bool:
        """Return whether the preview is one of other changes than these."""
        return self.preview is not None and dict(given) != self._given

    def forgive(self, field: str) -> None:
        """Drop the error of a field that is being edited."""
        with self._lock:
            self.errors = {k: v for k, v in self.errors.items() if k not in {field, GENERAL}}

    def close(self) -> None:
        """Stop following; operations go on."""
        with self._lock:
            self._end_watch()

    # --- on a worker ------------------------------------------------------------------------------

    def _do(self, task: Callable[[], None], phase: ChangePhase, back: ChangePhase) -> None:
        """Run a task; reset the phase where it crashes."""

        def run() -> None:
            try:
                task()
            finally:
                with self._lock:
                    if self.phase == phase and (phase != "sending" or self.operation is None):
                        self.phase = back
                self._changed()

        self._workers.do(run)

    def _read(self) -> None:
        try:
            cvm = read_whole(self.client, self._cvm_id)
        except CvmError as error:
            self.errors = {GENERAL: error_payload(error)}
            return
        self.cvm = cvm
        self._taken(cvm)
        with self._lock:
            self.phase = "fill"

    def _look(self, given: Given) -> None:
        try:
            preview = previewed(self.client, self._cvm_id, Changes.read(given))
        except CvmError as error:
            self.errors = errors_by_field(error)
            return
        with self._lock:
            self.preview, self._given, self.phase = preview, given, "previewed"

    def _obstacles(self, preview: UpdatePreview, given: Given, confirm: str | None) -> Errors:
        try:
            if self.is_stale(given):
                problem = "changed since it was previewed"
                raise InvalidInput("", problem, "Preview it again, then send it.")
            if not preview.differs:
                raise InvalidInput("", "nothing differs, and nothing is sent", "Change something.")
            check_confirmed(preview.phrase, confirm, preview.dangers)
        except CvmError as error:
            return {GENERAL: error_payload(error)}
        return {}

    def _send(self, shown: UpdatePreview, given: Given) -> None:
        try:
            preview = previewed(self.client, self._cvm_id, Changes.read(given))
            if preview != shown:
                with self._lock:
                    self.preview, self.phase = preview, "previewed"
                problem = "nothing was sent: what runs, or its surroundings, changed since"
                raise InvalidInput("", problem, "Look at the new preview, then send it.")
            operations = self._operations()
            operation = submitted(operations, self._row(operations), preview)
        except CvmError as error:
            self.errors = errors_by_field(error)
            return
        unsubscribe = operations.attach(self._record_changed)
        with self._lock:
            self._end_watch()
            self.operation, self._unsubscribe = operation, unsubscribe
        self._record_changed(operation.record)  # what happened before it was attached

    def _row(self, operations: OperationService) -> Row:
        known = operations.store.get(self._cvm_id)
        if known is not None:
            return known
        assert self.cvm is not None  # noqa: S101 - it was read before it was previewed
        seen = Provenance(operations.clock.monotonic(), operations.clock.now(), "get")
        return Row.of_cvm(self.cvm, seen)

    # --- following the update ---------------------------------------------------------------------

    def _record_changed(self, record: OperationRecord) -> None:
        # on whatever thread made the change
        with self._lock:
            operation = self.operation
            if operation is None or record.id != operation.id or self.phase not in _SENT:
                return
            record = operation.record
            if record.accepted_at is not None or record.state == "unknown":
                self.phase = "updating"
            if record.state == "reached":
                self.phase = "done"
            elif record.done:
                refused = record.accepted_at is None and record.state != "unknown"
                self.phase = "previewed" if refused else "failed"
                self.errors = errors_by_field(operation.error or CvmError(record.note or "failed"))
            if record.done:
                self._end_watch()
        if record.state == "reached":
            self._reached()
        self._changed()

    def _end_watch(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
