"""Small changes to one CVM, and what it is doing: name, listing, deletion to come, operations."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.models.actions import CvmAction
from cvm_notebook.api.models.guest import CvmOsImage
from cvm_notebook.api.models.upkeep import (
    CancelledOperation,
    InstanceIdRefresh,
    InstanceIdRefreshes,
    ScriptStatus,
)
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import Ref, cvm_path, split
from cvm_notebook.api.secret import sealed
from cvm_notebook.api.times import moment_of

_MOST_REFRESHED = 500


class Upkeep(Endpoints):
    """None of these restarts a CVM, and each holds at once."""

    def rename_cvm(self, cvm: Ref = None, new_name: str = "", /, **identifier: object) -> None:
        """Give a CVM another name; its id, its app and its addresses stay.

        Raises
        ------
        InvalidInput
            The service takes no such name; nothing was sent.
        BusinessError
            Another CVM of the workspace has it.

        Examples
        --------
        >>> client.rename_cvm("web-1", "web-one")
        >>> client.rename_cvm("web-one", "web-1")
        """
        path = cvm_path(cvm, identifier, "rename_cvm", "/name")
        body = {"name": validation.cvm_name("new_name", new_name)}
        self._send(RetryKind.UPDATE, "PATCH", path, body)

    def schedule_delete(
        self, cvm: Ref = None, /, *, at: str | date | None, **identifier: object
    ) -> CvmAction:
        """Have the service delete a CVM and its disk at a time to come, or no longer.

        Parameters
        ----------
        at
            When; without a time zone it is this machine's local time. None takes it back.

        Raises
        ------
        InvalidInput
            It is not a time, or has passed: the CVM would be deleted at once. Nothing was sent.

        Examples
        --------
        >>> client.schedule_delete("web-2", at=None).name
        'web-2'
        """
        path = cvm_path(cvm, identifier, "schedule_delete", "/scheduled-delete")
        when = None if at is None else moment_of("at", at)
        if when is not None and when <= datetime.now(UTC):
            problem = f"{when:%Y-%m-%d %H:%M} UTC has passed"
            raise InvalidInput("at", problem, "delete_cvm deletes it now.")
        body = {"scheduled_delete_at": None if when is None else when.isoformat()}
        return self._change(RetryKind.UPDATE, "PATCH", path, CvmAction, body)

    def cancel_operation(self, cvm: Ref = None, /, **identifier: object) -> CancelledOperation:
        """Cancel what a CVM is in the middle of; ``cancelled`` is False where that is nothing.

        It falls back to what it was before: its state says how that ended.
        """
        path = cvm_path(cvm, identifier, "cancel_operation", "/operations/cancel")
        return self._change(RetryKind.UPDATE, "POST", path, CancelledOperation)

    def get_operation_status(self, cvm: Ref = None, /, **identifier: object) -> dict[str, Any]:
        """Return what a CVM is in the middle of, as sent: the description gives it no shape."""
        path = cvm_path(cvm, identifier, "get_operation_status", "/operation-status")
        answer: dict[str, Any] = sealed(self._read(path, dict[str, Any] | None) or {})  # type: ignore[arg-type]
        return answer

    def list_available_os_images(
        self, cvm: Ref = None, /, **identifier: object
    ) -> list[CvmOsImage]:
        """Return the OS images that a CVM may change to."""
        path = cvm_path(cvm, identifier, "list_available_os_images", "/available-os-images")
        return self._read(path, list[CvmOsImage])

    def get_pre_launch_script_status(
        self, cvm: Ref = None, /, **identifier: object
    ) -> ScriptStatus:
        """Return whether the pre-launch script of a CVM is the service's own, and the newest.

        The published description (2026-04) does not have this call; the official JavaScript SDK of
        July 2026 makes it.
        """
        below = "/pre-launch-script/upgrade-status"
        return self._read(
            cvm_path(cvm, identifier, "get_pre_launch_script_status", below), ScriptStatus
        )

    # --- the instance id on record -----------------------------------------------------------

    def refresh_instance_id(
        self,
        cvm: Ref = None,
        /,
        *,
        overwrite: bool = False,
        dry_run: bool = False,
        **identifier: object,
    ) -> InstanceIdRefresh:
        """Bring the instance id on record in line with what node and gateway say.

        Parameters
        ----------
        overwrite
            Also where there is another one on record.
        dry_run
            Only say what would be done.
        """
        path = cvm_path(cvm, identifier, "refresh_instance_id", "/instance-id")
        body = {
            "overwrite": checks.boolean("overwrite", overwrite),
            "dry_run": checks.boolean("dry_run", dry_run),
        }
        return self._change(RetryKind.UPDATE, "PATCH", path, InstanceIdRefresh, body)

    def refresh_instance_ids(
        self,
        cvms: Iterable[Ref] | None = None,
        *,
        running_only: bool = True,
        missing_only: bool = True,
        overwrite: bool = False,
        limit: int = 100,
        dry_run: bool = False,
    ) -> InstanceIdRefreshes:
        """Bring the instance ids of many CVMs in line; of the whole workspace when none is named.

        Parameters
        ----------
        cvms
            Which; up to 500.
        running_only, missing_only
            Only those that run; only those without one on record.
        overwrite, dry_run
            As of `refresh_instance_id`.
        limit
            The most to look at.
        """
        listed = None if cvms is None else checks.several("cvms", cvms)
        ids = listed and [split(one, {}, "refresh_instance_ids")[0] for one in listed]
        flags = {
            "running_only": running_only,
            "missing_only": missing_only,
            "overwrite": overwrite,
            "dry_run": dry_run,
        }
        body = given(
            cvm_ids=ids,
            limit=checks.integer("limit", limit, most=_MOST_REFRESHED),
            **{name: checks.boolean(name, value) for name, value in flags.items()},
        )
        path = "/cvms/instance-ids"
        return self._change(RetryKind.UPDATE, "PATCH", path, InstanceIdRefreshes, body)
