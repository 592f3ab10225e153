"""Models of maintenance: scripts, operations, and the instance id on record."""

from cvm_notebook.api.models.base import Int, Model, Rows, Tidy


class ScriptStatus(Model, frozen=True, kw_only=True, gc=False):
    """Whether the pre-launch script of a CVM is the service's own, and the newest of it."""

    current_hash: str | None = None
    latest_official_hash: str | None = None
    is_official: bool | None = None
    is_latest: bool | None = None
    can_upgrade: bool | None = None

    @property
    def word(self) -> str | None:
        """``official``, ``older``, ``modified``; ``none`` without a script; None if not sent."""
        if self.is_official is None:
            return None
        if not self.is_official:
            return "none" if self.current_hash is None else "modified"
        return "older" if self.is_latest is False else "official"


class CancelledOperation(Model, frozen=True, kw_only=True, gc=False):
    """Whether an operation under way was cancelled."""

    cancelled: bool | None = None
    correlation_id: str | None = None


class InstanceIdRefresh(Model, frozen=True, kw_only=True, gc=False):
    """Whether the instance id on record was brought in line with the node's and the gateway's."""

    cvm_id: str | int | None = None
    identifier: str | None = None
    status: str | None = None
    old_instance_id: str | None = None
    new_instance_id: str | None = None
    source: str | None = None
    verified_with_gateway: bool | None = None
    reason: str | None = None


class InstanceIdRefreshes(Tidy, frozen=True, kw_only=True, gc=False):
    """The result of refreshing many instance ids."""

    total: Int | None = None
    scanned: Int | None = None
    updated: Int | None = None
    unchanged: Int | None = None
    skipped: Int | None = None
    conflicts: Int | None = None
    errors: Int | None = None
    items: Rows[InstanceIdRefresh] = ()
