"""Apps beside their CVMs: metered use, what waits on chain, who may run what, key services."""

from datetime import date
from typing import Any, Final

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.transport import query
from cvm_notebook.api.models.actions import Page
from cvm_notebook.api.models.apps import (
    Allowance,
    Allowances,
    AppFilterOptions,
    AppKmsInfo,
    AppUsage,
    DeviceAllowlist,
    PendingUpdate,
    PendingUpdatePreview,
    PendingUpdates,
    TcbEvaluation,
    UsageRecord,
)
from cvm_notebook.api.models.catalogue import App, AppRevision, KmsContract
from cvm_notebook.api.models.kms import ChainKms, KmsInspection, KmsNodes
from cvm_notebook.api.money import total
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.api.times import moment_of

_PAGE: Final = 1000  # records of use at once; the service sends up to 5,000
_MOST_RECORDS: Final = 1_000_000


class Apps(Endpoints):
    """Reading calls; `Reads` has those that list apps, their CVMs and their revisions."""

    def get_app(self, app_id: str) -> App:
        """Return one app with its CVMs."""
        return self._read(f"/apps/{path_segment(app_id)}", App)

    def get_app_revision(self, app_id: str, revision_id: str) -> AppRevision:
        """Return one version of an app with its compose file; `get_app_revisions` lists them."""
        path = f"/apps/{path_segment(app_id)}/revisions/{path_segment(revision_id)}"
        return self._read(path, AppRevision)

    def get_app_filter_options(self) -> AppFilterOptions:
        """Return the words by which apps can be filtered."""
        return self._read("/apps/filter-options", AppFilterOptions)

    def get_app_usage(
        self, app_id: str, *, start: str | date | None = None, end: str | date | None = None
    ) -> AppUsage:
        """Return the metered use of an app: what its CVMs were charged, entry by entry.

        Parameters
        ----------
        start, end
            Of what time; without a time zone it is this machine's local time. The service takes
            the last seven days when they are not given.

        Returns
        -------
        AppUsage
            All records of that time; ``total_cost`` is the sum of the amounts that are known.

        Raises
        ------
        InvalidInput
            The end is not after the start; nothing was sent.
        """
        since = None if start is None else moment_of("start", start)
        until = None if end is None else moment_of("end", end)
        if since is not None and until is not None and until <= since:
            raise InvalidInput("end", "it is not after the start", "Give a later time.")
        window = given(start_date=since and since.isoformat(), end_date=until and until.isoformat())
        path, deadline = f"/apps/{path_segment(app_id)}/usage", self._deadline()
        found: dict[UsageRecord, None] = {}  # what is metered while paging moves others on
        for offset in range(0, _MOST_RECORDS, _PAGE):
            there = query(**window, limit=_PAGE, offset=offset or None)
            page = self._read(path + there, AppUsage, deadline=deadline)
            found.update(dict.fromkeys(page.usage))
            if len(page.usage) < _PAGE:  # `total` may be that of the page
                break
        cost = total(record.cost for record in found)
        return AppUsage(usage=tuple(found), total=len(found), total_cost=cost)

    # --- on chain ----------------------------------------------------------------------------

    def list_pending_updates(self, app_id: str) -> list[PendingUpdate]:
        """Return what was signed on chain for the CVMs of an app and is not applied yet."""
        path = f"/apps/{path_segment(app_id)}/pending-updates"
        return list(self._read(path, PendingUpdates).items)

    def preview_pending_update(
        self, app_id: str, vm_uuid: str, compose_hash: str
    ) -> PendingUpdatePreview:
        """Return what a pending update would change; a signer reads this before signing."""
        digits = validation.hexadecimal("compose_hash", compose_hash)
        which = f"{path_segment(vm_uuid)}/{path_segment(digits)}"
        path = f"/apps/{path_segment(app_id)}/pending-updates/{which}/preview"
        return self._read(path, PendingUpdatePreview)

    def get_app_kms_info(self, app_id: str) -> AppKmsInfo:
        """Return whether an app's keys are kept on a chain, and who decides about them there."""
        return self._read(f"/apps/{path_segment(app_id)}/kms-info", AppKmsInfo)

    def get_device_allowlist(self, app_id: str) -> DeviceAllowlist:
        """Return the nodes that an app's contract lets its CVMs run on."""
        return self._read(f"/apps/{path_segment(app_id)}/device-allowlist", DeviceAllowlist)

    def check_app_allowed(
        self,
        app_id: str,
        compose_hash: str,
        *,
        node_id: int | None = None,
        device_id: str | None = None,
        chain_id: int | None = None,
    ) -> Allowance:
        """Ask whether an app's contract lets a compose hash run, on a node where one is named."""
        body = given(
            compose_hash=validation.hexadecimal("compose_hash", compose_hash),
            node_id=None if node_id is None else checks.integer("node_id", node_id),
            device_id=None if device_id is None else validation.hexadecimal("device_id", device_id),
            chain_id=None if chain_id is None else checks.integer("chain_id", chain_id),
        )
        return self._ask(f"/apps/{path_segment(app_id)}/is-allowed", Allowance, body)

    def check_app_cvms_allowed(self, app_id: str) -> Allowances:
        """Ask the same of each CVM of an app, as it runs now."""
        return self._ask(f"/apps/{path_segment(app_id)}/cvms/is-allowed", Allowances, {})

    def get_tcb_evaluation(self, app_id: str) -> TcbEvaluation:
        """Return the service's judgement of the platforms of an app, by Intel's newest collateral.

        It is what the service says. `cvm.verify` asks no service whether to believe a CVM.
        """
        path = f"/apps/{path_segment(app_id)}/attestations/tcb-evaluation"
        return self._read(path, TcbEvaluation)

    # --- key services --------------------------------------------------------------------------

    def list_kms(self) -> list[KmsContract]:
        """Return the key services there are."""
        return self._every("/kms", Page[KmsContract], lambda page: (page.items, page.pages))

    def get_kms(self, kms: str = "phala") -> KmsContract:
        """Return one key service, by its slug or id."""
        return self._read(f"/kms/{path_segment(kms)}", KmsContract)

    def list_kms_nodes(self, kms: str = "phala") -> list[dict[str, Any]]:
        """Return the servers that stand for a key service, as sent."""
        return list(self._read(f"/kms/{path_segment(kms)}/nodes", KmsNodes).items)

    def inspect_kms(self, kms: str) -> KmsInspection:
        """Return what a key service says of itself: versions, measurements, its contract."""
        return self._read(f"/kms/{path_segment(kms)}/info", KmsInspection)

    def get_chain_kms(self, chain: str) -> ChainKms:
        """Return the key services on a chain, such as ``"base"``, and what they allow."""
        return self._read(f"/kms/on-chain/{path_segment(checks.text('chain', chain))}", ChainKms)
