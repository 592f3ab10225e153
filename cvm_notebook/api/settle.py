"""Find out, by reading only, what became of a request that was sent and not answered.

Each function returns what the request led to, None when nothing began, or raises the error it was
given where reading cannot tell: the outcome is then unknown, and the error says that the request
was sent.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from cvm_notebook.api.decode import decode
from cvm_notebook.api.errors import ConflictError, CvmError, NotFoundError
from cvm_notebook.api.identity import path_segment
from cvm_notebook.api.models import Cvm, CvmAction, OperationPage
from cvm_notebook.api.retry import Kind
from cvm_notebook.api.transport import Request, Transport
from cvm_notebook.api.values import instant
from cvm_notebook.api.words import phase_of

T = TypeVar("T")

# An operation may show a moment after it was asked for.
_LOOKS = (0.3, 0.7, 1.5)
_CLOCK_SLACK = 2.0
_HISTORY = 10
_BEGUN = {
    "start": {"starting", "running"},
    "stop": {"stopping", "stopped"},
    "shutdown": {"shutting_down", "stopped"},
    "restart": {"restarting"},
}
_OPERATIONS = {
    "start": {"power_on", "start"},
    "stop": {"power_off", "stop"},
    "shutdown": {"shutdown", "power_off"},
    "restart": {"restart", "force_restart", "reboot"},
}


class Settler:
    """Reads back for one request; made before it is sent, so that it knows when that was."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = time.monotonic()

    def action(self, cvm: str, verb: str) -> Callable[[CvmError], CvmAction | None]:
        """For start, stop, shutdown, restart: the status or the history shows that it began."""

        def look(_error: CvmError) -> CvmAction | None:
            found, _now = self._get(f"/cvms/{path_segment(cvm)}", Cvm)
            if phase_of(found.status) in _BEGUN[verb] or self._in_history(cvm, verb):
                return _as_action(found)
            return None

        return self._looking(look)

    def delete(self, cvm: str) -> Callable[[CvmError], bool | None]:
        """For delete: it is gone, or going."""

        def look(_error: CvmError) -> bool | None:
            try:
                found, _now = self._get(f"/cvms/{path_segment(cvm)}", Cvm)
            except NotFoundError:
                return True
            return True if phase_of(found.status) == "deleting" else None

        return self._looking(look)

    def commit(self, app_id: str, compose_hash: str) -> Callable[[CvmError], CvmAction | None]:
        """For commit: the app has a CVM with this compose hash.

        Nothing found is as good as nothing begun: the service answers a second commit of the same
        pair with the CVM of the first. A conflict that is not ours is raised as it came.
        """

        def look(error: CvmError) -> CvmAction | None:
            found, _now = self._cvms_of(app_id)
            for cvm in found:
                if cvm.compose_hash == compose_hash:
                    return _as_action(cvm)
            if isinstance(error, ConflictError):
                raise error
            return None

        return self._looking(look)

    def replicate(self, cvm: str) -> Callable[[CvmError], CvmAction | None]:
        """For replicate: the app has a CVM that is younger than the request.

        Where there is none nobody knows, and the error is raised: a replica sent twice would be
        paid for twice.
        """

        def look(_error: CvmError) -> CvmAction | None:
            source, _now = self._get(f"/cvms/{path_segment(cvm)}", Cvm)
            found, now = self._cvms_of(source.app_id or "")
            new = [c for c in found if c.id != source.id and self._is_since(c.created_at, now)]
            return _as_action(new[0]) if new else None

        settle = self._looking(look)

        def settle_or_raise(error: CvmError) -> CvmAction:
            found = settle(error)
            if found is None:
                raise error
            return found

        return settle_or_raise

    # --- reading -----------------------------------------------------------------------------

    def _looking(self, look: Callable[[CvmError], T | None]) -> Callable[[CvmError], T | None]:
        def settle(error: CvmError) -> T | None:
            for pause in _LOOKS:
                time.sleep(pause)
                try:
                    found = look(error)
                except CvmError as failed:
                    if failed is error:
                        raise
                    raise error from None  # reading fails too: unknown
                if found is not None:
                    return found
            return None

        return settle

    def _get(self, path: str, kind: type[T]) -> tuple[T, datetime]:
        """Return what is there, and the service's own time."""
        reply = self._transport.send(Request(Kind.READ, "GET", path))
        return decode(reply.body, kind, f"GET {path}"), _date(reply.headers.get("date", ""))

    def _cvms_of(self, app_id: str) -> tuple[list[Cvm], datetime]:
        try:
            return self._get(f"/apps/{path_segment(app_id)}/cvms", list[Cvm])
        except NotFoundError:
            return [], datetime.now(UTC)

    def _in_history(self, cvm: str, verb: str) -> bool:
        """Whether it has begun since: others may have begun something else meanwhile."""
        path = f"/cvms/{path_segment(cvm)}/operations?limit={_HISTORY}"
        page, now = self._get(path, OperationPage)
        return any(
            operation.operation_type in _OPERATIONS[verb]
            and self._is_since(operation.started_at, now)
            for operation in page.items
        )

    def _is_since(self, moment: str | None, now: datetime) -> bool:
        """Whether a moment lies after our request, judged by the service's own clock."""
        at = instant(moment)
        elapsed = time.monotonic() - self._sent
        return at is not None and (now - at).total_seconds() <= elapsed + _CLOCK_SLACK


def _as_action(cvm: Cvm) -> CvmAction:
    """Return the record that the lost answer would have held, as far as reading gives it."""
    return CvmAction(
        id=cvm.id,
        name=cvm.name,
        status=cvm.status,
        app_id=cvm.app_id,
        vm_uuid=cvm.vm_uuid,
        instance_id=cvm.instance_id,
        created_at=cvm.created_at,
    )


def _date(header: str) -> datetime:
    """Return the time of a ``Date`` header; this machine's where there is none."""
    try:
        return parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return datetime.now(UTC)
