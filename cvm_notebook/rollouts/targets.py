"""Targets of a rolling change: the same changes for each instance, or a revision."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from cvm_notebook.api.client import Client
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.update_request import VISIBILITY
from cvm_notebook.api.status import phase_of
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.preview import UpdatePreview, preview_of
from cvm_notebook.deploy.size import Surroundings
from cvm_notebook.deploy.updating import read_whole, resizes, sent_before, submitted
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.data import UpdatedField
from cvm_notebook.live.plans.revisions import AppHistory, AppVersion, Content
from cvm_notebook.live.store.records import Row

_PARTS: Final = {"docker_compose_file": "compose_file", "pre_launch_script": "pre_launch_script"}


class Target(Protocol):
    """The target of one instance."""

    word: str

    def preview(self, client: Client, cvm: Cvm, history: AppHistory) -> UpdatePreview:
        """Say what it would change of a CVM as its record is now; nothing is sent."""

    def submit(
        self, operations: OperationService, client: Client, row: Row, cvm: Cvm, seen: UpdatePreview
    ) -> Operation:
        """Ask for it."""


class UpdateTarget:
    """The same changes of each instance.

    Variables are encrypted once for each key, so that all instances of an app get the same text,
    and its revisions show that they have the same values.
    """

    word = "update"

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self._sealed: dict[str | None, object] = {}

    def preview(self, client: Client, cvm: Cvm, history: AppHistory) -> UpdatePreview:
        """Say what it would change of a CVM; values count as new where this kernel sent none."""
        del history
        around = Surroundings.read(client, cvm) if resizes(cvm, self.changes) else None
        return preview_of(cvm, self.changes, around)

    def submit(
        self, operations: OperationService, client: Client, row: Row, cvm: Cvm, seen: UpdatePreview
    ) -> Operation:
        """Ask for the update.

        Raises
        ------
        NotTrustedError
            The key that would encrypt the environment is not signed by its key service.
        """
        sealed: dict[str, object] | None = None
        if seen.env is not None:
            key = cvm.kms_info.encrypted_env_pubkey if cvm.kms_info is not None else None
            sealed = dict(client.sealed_env(row.id, seen.env, allowed=seen.allowed))
            sealed["encrypted_env"] = self._sealed.setdefault(key, sealed["encrypted_env"])
        return submitted(operations, row, seen, sealed=sealed)


class RevisionTarget:
    """A version that the app has had, for each instance; or of each instance one of its own.

    Parameters
    ----------
    version
        Of all instances.
    own
        Of each CVM, where they differ.
    """

    word = "rollback"

    def __init__(
        self,
        app_id: str,
        version: AppVersion | None = None,
        own: Mapping[str, AppVersion] | None = None,
    ) -> None:
        self._app_id = app_id
        self._version = version
        self._own = dict(own or {})

    def version(self, cvm_id: str) -> AppVersion | None:
        """Return the version that a CVM is taken to."""
        return self._own.get(cvm_id, self._version)

    def preview(self, client: Client, cvm: Cvm, history: AppHistory) -> UpdatePreview:
        """Say what it would change of a CVM: what a revision holds, and nothing else."""
        version = self.version(cvm.id or "")
        if version is None:
            return UpdatePreview(cvm_id=cvm.id or "", name=cvm.name or "", word=self.word)
        content = history.content_of(client, self._app_id, version)
        if not version.key[1]:  # it was alone with its hash when it was found
            version = replace(version, key=(version.key[0], content.sealed))
        seen = replace(preview_of(cvm, _changes_to(content)), word=self.word, notes=(), body={})
        now = bare_digits(cvm.compose_hash)
        if now == version.compose_hash and history.has(cvm.vm_uuid, version):
            return replace(seen, fields=(), diff=(), restarts=False)
        return _with_variables(seen, cvm, content, version)

    def submit(
        self, operations: OperationService, client: Client, row: Row, cvm: Cvm, seen: UpdatePreview
    ) -> Operation:
        """Ask for the redeployment; what differs in nothing is reached at once."""
        del client, cvm
        return redeployed(operations, row, seen, self.version(row.id))


def rollback_of(
    client: Client,
    row: Row,
    revision: int | str,
    known: Mapping[str, Content] | None = None,
) -> tuple[AppVersion, UpdatePreview]:
    """Find a revision of a CVM, and say what going there would change; nothing is sent.

    Parameters
    ----------
    known
        Contents of revisions that were read before.

    Raises
    ------
    InvalidInput
        There is none.
    CvmError
        It cannot be read.
    """
    cvm = read_whole(client, row.id)
    app_id = cvm.app_id or row.app_id or ""
    # a number counts the CVM's own; an id or a hash may be of a brother
    if isinstance(revision, int):
        history = AppHistory.read(client, app_id, known).of(cvm.vm_uuid)
    else:
        history = AppHistory.near(client, app_id, revision, cvm.vm_uuid, known)
    version = history.find(revision)
    return version, RevisionTarget(app_id, version).preview(client, cvm, history)


def redeployed(
    operations: OperationService,
    row: Row,
    seen: UpdatePreview,
    version: AppVersion | None,
    *,
    delay: float = 0.0,
) -> Operation:
    """Ask for the redeployment that was previewed; what differs in nothing is reached at once."""
    params: dict[str, Any] = {}
    if seen.differs and version is not None:
        params["revision_id"] = version.revision_id
        if seen.hash_after not in {None, seen.hash_before}:
            params["expected_hash"] = seen.hash_after
    operation = operations.submit("redeploy", row, params=params, delay=delay)
    if params:
        sent_before(operations).note_other(row.id, operation)
    return operation


def _changes_to(content: Content) -> Changes:
    """Return what takes an app compose to that of a revision, variables aside."""
    compose = content.app_compose()
    texts: dict[str, Any] = {field: str(compose.get(name) or "") for name, field in _PARTS.items()}
    visibility = {name: compose[name] for name in VISIBILITY if isinstance(compose.get(name), bool)}
    return Changes(**texts, **visibility)


def _with_variables(
    seen: UpdatePreview, cvm: Cvm, content: Content, version: AppVersion
) -> UpdatePreview:
    """Add what becomes of the variables: those of the revision replace what is there."""
    lost = tuple(name for name in seen.allowed if name not in content.variables)
    added = tuple(name for name in content.variables if name not in seen.allowed)
    fields = seen.fields
    if lost or added or not fields:
        names = ", ".join(seen.allowed) or None, ", ".join(content.variables) or None
        fields = (*fields, UpdatedField("env", *names))
    dangers = (f"{', '.join(lost)} would be lost: the revision has no such variables",)
    return replace(
        seen,
        fields=fields,
        hash_after=version.compose_hash,
        restarts=phase_of(cvm.status) == "running",
        env_added=added,
        env_kept=tuple(name for name in content.variables if name in seen.allowed),
        env_lost=lost,
        dangers=dangers if lost else (),
    )
