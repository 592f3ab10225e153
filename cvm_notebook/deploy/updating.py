"""Updating a CVM: read what runs, show what would change, send it once."""

import hashlib
import hmac
import secrets
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.update_request import SIZE
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.preview import UpdatePreview, app_compose_of, preview_of
from cvm_notebook.deploy.size import Size, Surroundings
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.plan import NotConfirmed
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


class SentBefore:
    """A record of what this kernel has sent to CVMs: declared fields, and digests of values.

    Values of variables cannot be read back from a CVM. A keyed digest tells whether they are those
    that were sent last; it is never written anywhere, and its key ends with the kernel.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._declared: dict[str, frozenset[str]] = {}
        self._digests: dict[str, tuple[bytes, Operation]] = {}

    def declared(self, cvm_id: str) -> frozenset[str]:
        """Return the fields that were declared of a CVM when it was applied last."""
        return self._declared.get(cvm_id, frozenset())

    def declare(self, cvm_id: str, fields: frozenset[str]) -> None:
        """Note the fields that are declared of a CVM."""
        self._declared[cvm_id] = fields

    def note_env(self, cvm_id: str, env: Mapping[str, Secret], operation: Operation) -> None:
        """Note the variables that an operation gives to a CVM."""
        self._digests[cvm_id] = self._digest(env), operation

    def note_copy(self, cvm_id: str, source: str, operation: Operation) -> None:
        """Note that an operation gives a CVM the values of another, as far as those are known."""
        if self.knows(source):
            self._digests[cvm_id] = self._digests[source][0], operation

    def note_other(self, cvm_id: str, operation: Operation) -> None:
        """Note that an operation gives a CVM values that are not known here."""
        self._digests[cvm_id] = b"", operation

    def knows(self, cvm_id: str) -> bool:
        """Return whether the values that a CVM has are known: those that were sent and taken."""
        found = self._digests.get(cvm_id)
        if found is None:
            return False
        record = found[1].record
        return not record.done or record.accepted_at is not None or record.state == "reached"

    def differs(self, cvm_id: str, env: Mapping[str, Secret]) -> bool:
        """Return whether a CVM is known to have other values than these."""
        if not self.knows(cvm_id):
            return False
        return not hmac.compare_digest(self._digests[cvm_id][0], self._digest(env))

    def _digest(self, env: Mapping[str, Secret]) -> bytes:
        found = hmac.new(self._key, digestmod=hashlib.sha256)
        for name in sorted(env):
            for part in (name, env[name].reveal()):
                data = part.encode("utf-8", "replace")
                found.update(len(data).to_bytes(8, "big") + data)
        return found.digest()


_sent: Final[weakref.WeakKeyDictionary[OperationService, SentBefore]] = weakref.WeakKeyDictionary()


def sent_before(operations: OperationService) -> SentBefore:
    """Return what was sent by a fleet's operations."""
    return _sent.setdefault(operations, SentBefore())


def read_whole(client: "Client", cvm_id: str) -> Cvm:
    """Return a CVM's record with its app compose.

    Raises
    ------
    CvmError
        It cannot be read.
    """
    found = client.get_cvm_info(cvm_id)
    if app_compose_of(found):
        return found
    return msgspec.structs.replace(found, compose_file=client.get_cvm_compose_file(cvm_id))


def previewed(
    client: "Client", cvm_id: str, changes: Changes, *, send_env: bool = True
) -> UpdatePreview:
    """Read a CVM, and say what changes would do to it; nothing is sent.

    Raises
    ------
    CvmError
        It cannot be read.
    """
    cvm = read_whole(client, cvm_id)
    around = Surroundings.read(client, cvm) if resizes(cvm, changes) else None
    return preview_of(cvm, changes, around, send_env=send_env)


def resizes(cvm: Cvm, changes: Changes) -> bool:
    """Return whether changes ask for another size than a CVM has."""
    now = Size.of(cvm)
    wanted = {name: getattr(changes, name) for name in SIZE}
    return any(value not in {None, getattr(now, name)} for name, value in wanted.items())


def submitted(
    operations: OperationService,
    row: Row,
    preview: UpdatePreview,
    *,
    delay: float = 0.0,
    plan: str | None = None,
    sealed: Mapping[str, object] | None = None,
) -> Operation:
    """Ask for the update that was previewed; what differs in nothing is reached at once.

    Parameters
    ----------
    sealed
        What `Client.sealed_env` gave, where it was asked before.

    Raises
    ------
    NotTrustedError
        The key that would encrypt the environment is not signed by its key service.
    """
    params: dict[str, Any] = dict(preview.body)
    if preview.env is not None and sealed is None:
        sealed = operations.client.sealed_env(row.id, preview.env, allowed=preview.allowed)
    params |= sealed or {}
    if preview.listed is not None:
        params["listed"] = preview.listed
    if preview.hash_after not in {None, preview.hash_before}:
        params["expected_hash"] = preview.hash_after
    under_way = [one for one in operations.alive(row.id) if one.verb == "update"]
    if not params and under_way:
        return under_way[-1]  # it is what brings about what was asked for
    operation = operations.submit("update", row, params=params, delay=delay, plan=plan)
    if preview.env is not None:
        sent_before(operations).note_env(row.id, preview.env, operation)
    return operation


def check_confirmed(
    phrase: str | None,
    confirm: str | None,
    dangers: tuple[str, ...],
    hint: str = "Look at it with dry_run=True, then give the phrase.",
) -> None:
    """Refuse what needs a phrase and was not given it.

    Raises
    ------
    NotConfirmed
        The phrase is missing or another one; nothing was sent.
    """
    if phrase is None or (isinstance(confirm, str) and confirm == phrase):
        return
    given = "" if confirm is None else f", and not {clean_text(repr(confirm), 80)}"
    raise NotConfirmed(
        f"nothing was sent: {'; '.join(dangers) or 'several CVMs would change'}. "
        f"It takes confirm={phrase!r}{given}",
        hint=hint,
    )


def error_text(error: CvmError) -> str:
    """Return an error as a reason in a table."""
    return f"{error.message} {error.hint or ''}".strip()
