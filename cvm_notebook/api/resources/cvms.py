"""Everything that is only read: CVMs one by one and as a fleet, and what surrounds them."""

import time
import warnings
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, DecodeError, WorkspaceSuspended
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.prefetch import MOST_PAGES, PAGE_SIZE, PageFetcher, pages_of, window_for
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Reply, Request, query, to_json
from cvm_notebook.api.models.actions import (
    CvmState,
    CvmStatus,
    Page,
    decode_page,
    decode_state,
    decode_statuses,
)
from cvm_notebook.api.models.catalogue import (
    App,
    AppPage,
    AppRevision,
    AppRevisions,
    AvailableNodes,
    CurrentUser,
    EnvPubkey,
    InstanceType,
    InstanceTypeFamilies,
    NextAppId,
    NextAppIds,
    OsImage,
    Quotas,
    Workspace,
    WorkspacePage,
    decode_current_user,
)
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.guest import (
    CvmAttestation,
    CvmContainers,
    CvmNetwork,
    CvmStats,
    Operation,
    OperationPage,
)
from cvm_notebook.api.resources.base import Endpoints
from cvm_notebook.api.resources.cvm_ref import Ref, cvm_path, path_segment, split
from cvm_notebook.api.times import moment_of
from cvm_notebook.text import clean_text

BATCH_SIZE = 100
_PAGES_AT_ONCE = 16
_ASIDE = 5.0  # seconds for what is only read so that an error can say what to do
_KMS_VERSION = "2026-05-22"  # later versions speak of KMS contracts instead of servers


class Reads(Endpoints):
    """Reading calls; none of them changes anything."""

    _user: CurrentUser | None = None

    # --- one CVM -----------------------------------------------------------------------------

    def get_cvm_info(self, cvm: Ref = None, /, **identifier: object) -> Cvm:
        """Return everything the service says of one CVM.

        Raises
        ------
        NotFoundError
            No CVM of this workspace has that identifier.
        ConflictError
            Several have it: replicas of one app, or two of one name.

        Examples
        --------
        >>> client.get_cvm_info({"id": "my-app"}).name
        'my-app'
        """
        return self._read(cvm_path(cvm, identifier, "get_cvm_info"), Cvm)

    def get_cvm_state(self, cvm: Ref = None, /, **identifier: object) -> CvmState:
        """Return the state of one CVM now; `watch_cvm_state` waits for one.

        Examples
        --------
        >>> client.get_cvm_state("my-app").status
        'running'
        """
        path = cvm_path(cvm, identifier, "get_cvm_state", "/state")
        request = Request(RetryKind.READ, "GET", path)
        return self._transport.call(request, lambda reply: decode_state(reply.body, f"GET {path}"))

    def get_cvm_stats(self, cvm: Ref = None, /, **identifier: object) -> CvmStats:
        """Return the guest's own figures: memory in bytes, load, disks."""
        return self._read(cvm_path(cvm, identifier, "get_cvm_stats", "/stats"), CvmStats)

    def get_cvm_network(self, cvm: Ref = None, /, **identifier: object) -> CvmNetwork:
        """Return how a CVM is reached."""
        return self._read(cvm_path(cvm, identifier, "get_cvm_network", "/network"), CvmNetwork)

    def get_cvm_containers(self, cvm: Ref = None, /, **identifier: object) -> CvmContainers:
        """Return the containers of a CVM."""
        path = cvm_path(cvm, identifier, "get_cvm_containers", "/composition")
        return self._read(path, CvmContainers)

    def get_cvm_attestation(self, cvm: Ref = None, /, **identifier: object) -> CvmAttestation:
        """Return the evidence of what a CVM runs: fetched, not verified."""
        path = cvm_path(cvm, identifier, "get_cvm_attestation", "/attestation")
        return self._read(path, CvmAttestation)

    def get_cvm_compose_file(self, cvm: Ref = None, /, **identifier: object) -> dict[str, object]:
        """Return the app-compose document of a CVM, the one that `compose_hash` hashes."""
        path = cvm_path(cvm, identifier, "get_cvm_compose_file", "/compose_file")
        return self._read(path, dict[str, object])

    def get_cvm_docker_compose(self, cvm: Ref = None, /, **identifier: object) -> str:
        """Return the Docker Compose file of a CVM, a YAML text."""
        return self._text(
            cvm_path(cvm, identifier, "get_cvm_docker_compose", "/docker-compose.yml")
        )

    def get_cvm_pre_launch_script(self, cvm: Ref = None, /, **identifier: object) -> str:
        """Return the script that runs before the containers of a CVM."""
        return self._text(
            cvm_path(cvm, identifier, "get_cvm_pre_launch_script", "/pre-launch-script")
        )

    def list_operations(
        self,
        cvm: Ref = None,
        /,
        *,
        limit: int = 50,
        since: str | date | None = None,
        **identifier: object,
    ) -> list[Operation]:
        """Return what was done to a CVM, the newest first.

        Parameters
        ----------
        limit
            The most to return.
        since
            Only what began then or later; without a time zone it is this machine's local time.
        """
        path = cvm_path(cvm, identifier, "list_operations", "/operations")
        start = None if since is None else moment_of("since", since).isoformat()
        limit = checks.integer("limit", limit)
        found: list[Operation] = []
        deadline = self._deadline()
        cursor: str | None = None
        while len(found) < limit:
            size = min(limit - len(found), 500)
            asked = query(limit=size, cursor=cursor, start_time=start)
            page = self._read(path + asked, OperationPage, deadline=deadline)
            found += page.items
            cursor = page.next_cursor
            if cursor is None or not page.items:
                break
        return found[:limit]

    # --- the fleet ---------------------------------------------------------------------------

    def list_cvms(
        self, *, family: str | None = None, instance_types: Iterable[str] | None = None
    ) -> list[Cvm]:
        """Return every CVM of the workspace, in the service's order, each once.

        All pages are fetched, side by side as far as it helps. A row that cannot be read costs that
        row and gives a warning; a page that cannot be had costs the call, since half a fleet looks
        like a whole one.

        Parameters
        ----------
        family
            ``"cpu"`` or ``"gpu"``; both when not given.
        instance_types
            Only these.

        Examples
        --------
        >>> "my-app" in [cvm.name for cvm in client.list_cvms()]
        True
        """
        return list(self._cvms(family, instance_types, self._deadline()))

    def iter_cvms(
        self, *, family: str | None = None, instance_types: Iterable[str] | None = None
    ) -> Iterator[Cvm]:
        """Yield what `list_cvms` returns, each page as it comes; the timeout is for each page."""
        return self._cvms(family, instance_types, None)

    def _cvms(
        self,
        family: str | None,
        instance_types: Iterable[str] | None,
        deadline: Deadline | None,
    ) -> Iterator[Cvm]:
        seen: set[str | None] = set()
        kinds = (
            None
            if instance_types is None
            else [
                checks.text("instance_types", one)
                for one in checks.several("instance_types", instance_types, "instance types")
            ]
        )
        for page in self._cvm_pages(family, kinds, deadline):
            for cvm in page.items:
                # a CVM made or deleted while paging moves others to the next page
                if cvm.id not in seen:
                    seen.add(cvm.id)
                    yield cvm

    def _cvm_pages(
        self, family: str | None, instance_types: list[str] | None, deadline: Deadline | None
    ) -> Iterator[Page[Cvm]]:
        def path(number: int) -> str:
            return "/cvms/paginated" + query(
                page=number, page_size=PAGE_SIZE, family=family, instance_types=instance_types
            )

        def fetch(number: int) -> tuple[bytes, bool]:
            request = Request(RetryKind.READ, "GET", path(number))
            reply = self._transport.call(request, _whole_page, deadline=deadline)
            return reply.body, reply.slowed

        began = time.monotonic()
        body, _ = fetch(1)
        arrived = time.monotonic()
        page = _page(body)
        window = window_for(arrived - began, time.monotonic() - arrived, _PAGES_AT_ONCE)
        yield page
        number, last = 2, pages_of(page)
        while page.items and number <= last:
            for body in PageFetcher(fetch, number, last, window):
                page = _page(body)
                if not page.items:
                    break  # the fleet ends earlier than was announced
                yield page
            number, last = last + 1, pages_of(page)

    def get_cvm_status_batch(self, vm_uuids: Iterable[Ref]) -> dict[str, CvmStatus]:
        """Return the status of many CVMs, by uuid; in requests of a hundred, a few at once.

        Parameters
        ----------
        vm_uuids
            Their uuids, or the CVMs themselves: ``list(fleet)``, ``frame["vm_uuid"]``.

        Returns
        -------
        dict of str to CvmStatus
            In the order asked; a CVM that the service says nothing of is left out.
        """
        listed = checks.several("vm_uuids", vm_uuids)
        uuids = [uuid for one in listed if (uuid := _uuid_of(one)) is not None]
        chunks = [uuids[i : i + BATCH_SIZE] for i in range(0, len(uuids), BATCH_SIZE)]
        found: dict[str, CvmStatus] = {}
        deadline = self._deadline()
        fetcher = PageFetcher(lambda i: self._status_of(chunks[i], deadline), 0, len(chunks) - 1, 4)
        for part, faults in fetcher:
            found.update(part)
            _warn(faults)
        return found

    def _status_of(
        self, uuids: list[str], deadline: Deadline
    ) -> tuple[tuple[dict[str, CvmStatus], tuple[DecodeError, ...]], bool]:
        path = "/status/batch"
        # One slow node makes the service answer late: as late as the whole call allows.
        connect, _, total = self._transport.timeout
        timeout = Timeout(connect, total, total)
        body = to_json({"vm_uuids": uuids})
        request = Request(RetryKind.READ, "POST", path, body, timeout=timeout)
        return self._transport.call(
            request,
            lambda reply: (decode_statuses(reply.body, f"POST {path}"), reply.slowed),
            deadline=deadline,
        )

    # --- the account -------------------------------------------------------------------------

    def get_current_user(self) -> CurrentUser:
        """Return whose key this is, for which workspace, with what credit in dollars.

        Examples
        --------
        >>> client.get_current_user().workspace.role
        'owner'
        """
        return self._me(None)

    def _me(self, deadline: Deadline | None) -> CurrentUser:
        request = Request(RetryKind.READ, "GET", "/auth/me")
        self._user = self._transport.call(
            request, lambda reply: decode_current_user(reply.body), deadline=deadline
        )
        return self._user

    def list_workspaces(self) -> list[Workspace]:
        """Return the workspaces of the key's owner."""
        return self._workspaces(self._deadline())

    def _workspaces(self, deadline: Deadline) -> list[Workspace]:
        found: list[Workspace] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = self._read(
                "/workspaces" + query(cursor=cursor), WorkspacePage, deadline=deadline
            )
            found += page.data
            cursor = page.pagination.next_cursor if page.pagination else None
            if not cursor or not page.data:
                break
        return found

    def check_workspace(self) -> None:
        """Refuse what a suspended workspace cannot do, before anything of it is sent.

        What cannot be read within seconds is no reason to refuse: then the service will.

        Raises
        ------
        WorkspaceSuspended
            The service says that the key's workspace is suspended.
        """
        deadline = Deadline(min(_ASIDE, self._transport.timeout.total))
        try:
            found = self._workspaces(deadline)
            unpaid = [one for one in found if one.billing_status == "suspended"]
            if unpaid and len(found) > 1:
                own = (self._user or self._me(deadline)).workspace
                unpaid = [one for one in unpaid if own is not None and own.id == one.id]
        except CvmError:
            return
        for one in unpaid:
            raise WorkspaceSuspended(
                f"The workspace {clean_text(one.name or one.slug, 60)!r} is suspended: it can "
                "look, stop and delete; nothing was sent",
                hint="Pay what it owes in the dashboard of the service, or ask its owner to.",
            )

    def get_workspace_quotas(self, workspace: str | None = None) -> Quotas:
        """Return the limits of a workspace, by its slug; of the key's own when not given."""
        deadline = self._deadline()
        if workspace is None:
            own = self._me(deadline).workspace
            workspace = own.slug if own is not None else None
            if workspace is None:
                raise CvmError(
                    "The service does not say which workspace this key is for",
                    hint="Name it: client.get_workspace_quotas('my-team').",
                )
        return self._read(
            f"/workspaces/{path_segment(workspace)}/quotas", Quotas, deadline=deadline
        )

    # --- the catalogue -----------------------------------------------------------------------

    def get_available_nodes(self) -> AvailableNodes:
        """Return the nodes this workspace may use, and what they have left."""
        return self._read("/teepods/available", AvailableNodes)

    def list_instance_types(self, family: str | None = None) -> list[InstanceType]:
        """Return the sizes of CVM there are, with their price per hour in dollars.

        Parameters
        ----------
        family
            Only these, for example ``"cpu"``.

        Examples
        --------
        >>> client.list_instance_types()[0].id
        'tdx.small'
        """
        if family is not None:
            family = checks.text("family", family)
        families = self._read("/instance-types", InstanceTypeFamilies).result
        return [kind for f in families if family in (None, f.name, f.family) for kind in f.items]

    def list_os_images(self, *, is_dev: bool | None = None) -> list[OsImage]:
        """Return the OS images there are."""
        return self._every(
            "/os-images", Page[OsImage], lambda page: (page.items, page.pages), is_dev=is_dev
        )

    # --- apps --------------------------------------------------------------------------------

    def next_app_ids(self, counts: int = 1) -> list[NextAppId]:
        """Return the app ids that come next, 1 to 20, each with its nonce."""
        asked = query(counts=checks.integer("counts", counts, most=20))
        return list(self._read("/kms/phala/next_app_id" + asked, NextAppIds).app_ids)

    def get_app_env_pubkey(self, app_id: str, kms: str = "phala") -> EnvPubkey:
        """Return the key for which the environment variables of an app are encrypted."""
        path = f"/kms/{path_segment(kms)}/pubkey/{path_segment(app_id)}"
        return self._read(path, EnvPubkey, version=_KMS_VERSION)

    def list_apps(self, search: str | None = None) -> list[App]:
        """Return the apps of the workspace; each has one or more CVMs.

        Parameters
        ----------
        search
            Only those whose name or id holds this.
        """
        return self._every(
            "/apps", AppPage, lambda page: (page.dstack_apps, page.total_pages), search=search
        )

    def get_app_cvms(self, app_id: str) -> list[Cvm]:
        """Return the CVMs of an app: the first and its replicas."""
        return self._read(f"/apps/{path_segment(app_id)}/cvms", list[Cvm])

    def get_app_revisions(self, app_id: str) -> list[AppRevision]:
        """Return the versions of an app, the newest first."""
        path = f"/apps/{path_segment(app_id)}/revisions"
        return self._every(path, AppRevisions, lambda page: (page.revisions, page.total_pages))


def _whole_page(reply: Reply) -> Reply:
    """Raise for a truncated page, by its last byte alone, so that the request is retried."""
    if not reply.body.rstrip().endswith(b"}"):
        decode(reply.body, Page[Cvm], "GET /cvms/paginated")
    return reply


def _page(body: bytes) -> Page[Cvm]:
    page, faults = decode_page(body)
    _warn(faults)
    return page


def _uuid_of(ref: Any) -> str | None:
    """Return the uuid of a CVM, as its record, its handle or a text has it; None for none."""
    record = getattr(ref, "cvm", ref)
    if record is None or isinstance(record, Cvm):
        return None if record is None else record.vm_uuid
    empty = isinstance(record, str) and not record
    return None if empty else split(record, {}, "get_cvm_status_batch")[0]


def _warn(faults: Iterable[DecodeError]) -> None:
    for fault in faults:
        warnings.warn(str(fault), stacklevel=4)
