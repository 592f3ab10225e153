"""Intent: one request that changes a CVM, sent at most once, and the reconciling of its result.

There is one rule for an answer that is lost, and it is here: the request is not idempotent, so it
is reconciled with what the service shows, and not sent again. The exception is a commit, which is
idempotent by the service's promise. Client and live fleet use the same intent, so they cannot come
to different conclusions.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from cvm_notebook.api.claims import SentClaims, claims_of_this_machine
from cvm_notebook.api.errors.tree import (
    ConflictError,
    CvmError,
    DecodeError,
    NotFoundError,
    ServerError,
    TransportError,
    UnsafeRedirect,
)
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Reply, Request, Transport, query, to_json
from cvm_notebook.api.models.actions import CvmAction, UpdateAccepted
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.decode import decode, decode_accepted
from cvm_notebook.api.models.guest import OperationPage
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.api.resources.update_request import shown_by
from cvm_notebook.api.status import phase_of
from cvm_notebook.api.verbs import SPECS, Verb

T = TypeVar("T")

# An operation may show a moment after it was asked for.
_LOOKS: Final = (0.3, 0.7, 1.5)
_HISTORY: Final = 20  # entries of a CVM's history that are compared


@dataclass(frozen=True, slots=True)
class SettleResult:
    """The result of reading back after an answer was lost.

    Attributes
    ----------
    begun
        It shows that the request was carried out.
    cvm
        The record that was read, of the CVM it was asked of or that it made; None when it is gone.
    gone
        The CVM is not there any more.
    correlation_id
        The service's name for what it does about it.
    """

    begun: bool
    cvm: Cvm | None = None
    gone: bool = False
    correlation_id: str | None = None


class Intent:
    """A change of one CVM: `prepare` it, `send` it once, and `read_back` what became of it.

    Not safe to use from several threads at once.

    Parameters
    ----------
    transport
        The way to the service; may be replaced, as when a key was rotated.
    verb
        What is done.
    cvm
        The identifier of the CVM; None for a commit.
    request
        What is sent.
    app_id, compose_hash
        Of the app, where they are known: of a commit both are.
    vm_uuid
        Of the CVM, where it is known.
    before
        A request that may be sent any number of times, and is before the other.

    Attributes
    ----------
    attempts
        How often it was sent, as far as its bytes may have left this machine.
    known
        What was there of its kind before it was sent; None where that could not be read.
    claimant
        Its name among the `SentClaims` of this machine.
    shows
        Of an update: what the CVM's record shows once it was carried out, and did not show before.
    accepted
        The service's answer to an update or a redeployment.
    is_instant
        It is done once it is answered, and nothing goes on.
    """

    def __init__(
        self,
        transport: Transport,
        verb: Verb,
        cvm: str | None,
        request: Request,
        *,
        app_id: str | None = None,
        compose_hash: str | None = None,
        vm_uuid: str | None = None,
        shows: Mapping[str, object] | None = None,
        before: Request | None = None,
    ) -> None:
        self.transport = transport
        self.verb: Verb = verb
        self.spec = SPECS[verb]
        self.cvm = cvm
        self.app_id = app_id
        self.compose_hash = compose_hash
        self.vm_uuid = vm_uuid
        self.attempts = 0
        self.known: frozenset[str] | None = None
        self.claimant: str | None = None
        self.shows = dict(shows or {})
        self.accepted: UpdateAccepted | None = None
        self.is_instant = False
        self._new: list[str] = []  # in the history, since before it was sent
        self._request = request
        self._before = before

    def resume(
        self,
        known: Iterable[str] | None,
        claimant: str | None,
        shows: Mapping[str, object] | None = None,
    ) -> None:
        """Take up what another kernel has prepared and sent; it cannot be sent again."""
        self.shows = dict(shows or {})
        self.known = None if known is None else frozenset(known)
        self.claimant = claimant
        self._claims(lambda claims, name: claims.lost(name))

    # --- before ------------------------------------------------------------------------------

    def prepare(self, deadline: Deadline | None = None) -> None:
        """Read what would look like its doing afterwards; only what is counted needs it.

        A restart ends where it began, and replicas look alike: what shows them is what
        is new in the CVM's history, or among the app's CVMs.

        Raises
        ------
        NotFoundError, AuthError, TransportError
            The CVM cannot be read, so nothing could be sent to it, either.
        """
        self.transport.check_may_send(self._request)
        if not self.spec.is_counted:
            return
        try:
            self._resolve(deadline)
            self.claimant = self._begin()
            there = self._there(deadline)
        except (ServerError, DecodeError):
            # The service does not say; the change itself may be possible all the same.
            self.withdraw()
            return
        except BaseException:
            self.withdraw()
            raise
        self.known = frozenset(there)
        self._claims(lambda claims, name: claims.know(name, there))

    def _begin(self) -> str | None:
        try:
            return claims_of_this_machine().begin(self._scope)
        except (OSError, sqlite3.Error):
            return None  # what becomes of a lost answer will not be known

    def withdraw(self) -> None:
        """Withdraw its claims: the request is not sent."""
        self._claims(lambda claims, name: claims.withdraw(name))
        self.claimant = None

    @property
    def _scope(self) -> str:
        """The scope of its claims, in words that are unique everywhere."""
        if self.spec.creates:
            return f"replicas of {self.app_id}"
        # the history distinguishes restarts from updates
        return f"{'updates' if self.spec.changes_record else 'history'} of {self.vm_uuid}"

    def _resolve(self, deadline: Deadline | None) -> None:
        """Find out which CVM of which app it is, where only an identifier is known."""
        wanted, self.shows = self.shows, {}
        if wanted or (self.app_id if self.spec.creates else self.vm_uuid) is None:
            found = self._cvm(deadline)
            self.cvm = found.id if isinstance(found.id, str) else self.cvm
            self.app_id, self.vm_uuid = found.app_id, found.vm_uuid
            now = shown_by(found)
            if any(now[name] != value for name, value in wanted.items()):
                self.shows = wanted

    # --- sending -----------------------------------------------------------------------------

    def send(self, deadline: Deadline | None = None) -> CvmAction | None:
        """Send it, and return the service's answer; None where the service answers nothing.

        Raises
        ------
        CvmError
            It was refused, or (see `may_have_begun`) no answer came.
        """
        try:
            if self._before is not None:
                self.transport.send(self._before, deadline=deadline)
            answer = self.transport.call(
                self._request,
                self._decode,
                self._settle_commit if self.verb == "commit" else None,
                deadline=deadline,
                on_sent=self._count,
            )
        except CvmError as error:
            lost = may_have_begun(error)
            self._claims(lambda c, name: c.lost(name) if lost else c.withdraw(name))
            raise
        except BaseException:
            self._claims(lambda claims, name: claims.lost(name))
            raise
        answer = self._with_id(answer, deadline)
        made = answer.id if answer is not None and self.spec.creates else None
        if self.accepted is not None:
            made = self.accepted.correlation_id
        self._claims(lambda c, name: c.answered(name, made if isinstance(made, str) else None))
        return answer

    def run(self, deadline: Deadline | None = None) -> CvmAction | None:
        """Prepare it, send it, and read back what became of it when no answer comes.

        Raises
        ------
        CvmError
            It was refused, or nobody can tell what became of it: then the error is that of the
            answer, and `may_have_begun` is true of it.
        """
        limit = deadline or Deadline(self.transport.timeout.total)
        self.prepare(limit)
        try:
            return self.send(limit)
        except CvmError as error:
            if not may_have_begun(error):
                raise
            found = self._look(error, limit)
            if found is None:
                raise
            if self.spec.changes_record:
                self.accepted = UpdateAccepted(
                    status="in_progress", correlation_id=found.correlation_id
                )
            return _as_action(found)

    def _count(self) -> None:
        self.attempts += 1

    def _decode(self, reply: Reply) -> CvmAction | None:
        if self.verb == "delete":
            return None
        if self.spec.changes_record:
            self.accepted = decode_accepted(reply.body, UpdateAccepted, self._request.where)
            return None
        # the result must name the CVM that was made; other verbs need no name
        read = decode if self.spec.creates else decode_accepted
        return read(reply.body, CvmAction, self._request.where)

    def _with_id(self, answer: CvmAction | None, deadline: Deadline | None) -> CvmAction | None:
        """Return the answer with the id of the CVM: API version 2026-01-21 answers with 0."""
        if answer is None or isinstance(answer.id, str) or not answer.vm_uuid:
            return answer
        if not self.spec.creates:
            return answer
        try:
            found = self._get(f"/cvms/{path_segment(answer.vm_uuid)}", Cvm, deadline)
        except CvmError:
            return msgspec.structs.replace(answer, id=answer.vm_uuid)
        return msgspec.structs.replace(answer, id=found.id)

    # --- after an answer was lost --------------------------------------------------------------

    def read_back(self, deadline: Deadline | None = None) -> SettleResult:
        """Read what became of it; nothing is sent.

        Raises
        ------
        CvmError
            Reading failed, too.
        """
        if self.verb == "commit":
            return self._read_commit(deadline)
        if self.spec.judged_by == "new_cvm":
            return self._read_replica(deadline)
        try:
            cvm = self._cvm(deadline)
        except NotFoundError:
            return SettleResult(begun=self.spec.goal == "gone", gone=True)
        correlation_id = cvm.progress.correlation_id if cvm.progress else None
        if self.spec.judged_by == "history":
            correlation_id = self._made(deadline)
            begun = correlation_id is not None or self._is_shown(cvm)
            return SettleResult(begun, cvm, correlation_id=correlation_id)
        phase = phase_of(cvm.status)
        there = phase == self.spec.goal and not cvm.in_progress
        return SettleResult(
            phase in self.spec.under_way or there, cvm, correlation_id=correlation_id
        )

    def _look(self, error: CvmError, deadline: Deadline) -> SettleResult | None:
        """Look a few times; None when nothing of it is to be seen."""
        for pause in _LOOKS:
            if self.transport.pause(min(pause, deadline.remaining())) or deadline.expired:
                return None
            try:
                found = self.read_back(deadline)
            except CvmError:
                raise error from None
            if found.begun:
                return found
        return None

    def _settle_commit(self, error: CvmError, deadline: Deadline) -> CvmAction | None:
        """Return the CVM of the commit, None when it can be sent again; a conflict is raised."""
        found = self._look(error, deadline)
        if found is not None:
            return _as_action(found)
        if isinstance(error, ConflictError) or deadline.expired:
            raise error
        return None

    def _read_commit(self, deadline: Deadline | None) -> SettleResult:
        wanted = _bare(self.compose_hash)
        for cvm in self._cvms_of_app(_bare(self.app_id), deadline):
            if _bare(cvm.compose_hash) == wanted:
                return _evidence_of(cvm)
        return SettleResult(begun=False)

    def _read_replica(self, deadline: Deadline | None) -> SettleResult:
        made = self._made(deadline)
        if made is None:
            return SettleResult(begun=False)
        return _evidence_of(self._get(f"/cvms/{path_segment(made)}", Cvm, deadline))

    def _is_shown(self, cvm: Cvm) -> bool:
        """Tell whether a record shows what an update was to bring about.

        Only where the history has nothing new that might be somebody's: there it is decided.
        """
        now = shown_by(cvm)
        shown = bool(self.shows) and all(now[k] == value for k, value in self.shows.items())
        return shown and not self._new

    def _made(self, deadline: Deadline | None) -> str | None:
        """Return what of that which is new is this one's doing, where that can be known."""
        self._new = []
        if self.known is None or self.claimant is None:
            return None
        self._new = new = [one for one in self._there(deadline) if one not in self.known]
        return self._claims(lambda claims, name: claims.assign(name, new)) if new else None

    def _claims(self, do: Callable[[SentClaims, str], T]) -> T | None:
        """Do something with its claim; None where there is none, or it cannot be had."""
        if self.claimant is None:
            return None
        try:
            return do(claims_of_this_machine(), self.claimant)
        except (OSError, sqlite3.Error):
            return None

    # --- reading -----------------------------------------------------------------------------

    def _there(self, deadline: Deadline | None) -> list[str]:
        """Return the names of all that may be its doing: CVMs, or entries of the history."""
        if self.spec.creates:
            found = self._cvms_of_app(self.app_id or "", deadline)
            return [cvm.id for cvm in found if cvm.id]
        path = f"/cvms/{path_segment(self.cvm or '')}/operations?limit={_HISTORY}"
        page = self._get(path, OperationPage, deadline)
        return [
            one.correlation_id
            for one in page.items
            if one.correlation_id and one.operation_type in self.spec.history
        ]

    def _cvm(self, deadline: Deadline | None) -> Cvm:
        return self._get(f"/cvms/{path_segment(self.cvm or '')}", Cvm, deadline)

    def _cvms_of_app(self, app_id: str, deadline: Deadline | None) -> list[Cvm]:
        try:
            return self._get(f"/apps/{path_segment(app_id)}/cvms", list[Cvm], deadline)
        except NotFoundError:
            return []

    def _get(self, path: str, kind: type[T], deadline: Deadline | None) -> T:
        request = Request(RetryKind.READ, "GET", path)
        reply = self.transport.send(request, deadline=deadline)
        return decode(reply.body, kind, request.where)


def intent_of(
    transport: Transport,
    verb: Verb,
    cvm: str | None,
    body: Mapping[str, Any] | None = None,
    *,
    app_id: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    expected_hash: str | None = None,
    listed: bool | None = None,
) -> Intent:
    """Return the intent of a verb, with the request that it sends.

    Parameters
    ----------
    expected_hash
        The compose hash that an update or a redeployment leads to, where that is known.
    listed
        Of an update: whether the directory of apps is to list it; sent before the update.
    """
    content = None if body is None else to_json(body)
    if verb == "commit":
        request = Request(RetryKind.COMMIT, "POST", "/cvms", content)
        app, compose = str((body or {})["app_id"]), str((body or {})["compose_hash"])
        return Intent(transport, verb, None, request, app_id=app, compose_hash=compose)
    path = f"/cvms/{path_segment(cvm or '')}"
    if verb == "update":
        return _update(
            transport, cvm, body, headers=headers, expected_hash=expected_hash, listed=listed
        )
    if verb == "redeploy":
        return _redeployment(transport, cvm, body or {}, expected_hash)
    if verb == "delete":
        request = Request(RetryKind.UPDATE, "DELETE", path)
    else:
        word = "replicas" if verb == "replicate" else verb
        request = Request(RetryKind.UPDATE, "POST", f"{path}/{word}", content)
    return Intent(transport, verb, cvm, request, app_id=app_id)


def _update(
    transport: Transport,
    cvm: str | None,
    body: Mapping[str, Any] | None,
    *,
    headers: tuple[tuple[str, str], ...],
    expected_hash: str | None,
    listed: bool | None,
) -> Intent:
    path = f"/cvms/{path_segment(cvm or '')}"
    listing, listed_body = None, to_json({"listed": listed})
    if listed is not None:  # idempotent, and so may be repeated
        listing = Request(RetryKind.PROVISION, "PATCH", f"{path}/listed", listed_body)
    if listing is not None and not body and not headers:
        intent = Intent(transport, "update", cvm, listing, shows={"listed": listed})
        intent.is_instant = True
        return intent
    request = Request(RetryKind.UPDATE, "PATCH", path, to_json(body or {}), headers=headers)
    shown = {**(body or {}), "compose_hash": expected_hash}
    shows = {name: shown[name] for name in shown_by(Cvm()) if shown.get(name) is not None}
    return Intent(transport, "update", cvm, request, shows=shows, before=listing)


def _redeployment(
    transport: Transport, cvm: str | None, fields: Mapping[str, Any], expected_hash: str | None
) -> Intent:
    # what an earlier kernel has sent is read back, and not sent: of that no revision is kept
    revision = path_segment(str(fields.get("revision_id") or "unknown"))
    path = f"/cvms/{path_segment(cvm or '')}/revisions/{revision}/redeploy"
    path += query(transaction_hash=fields.get("transaction_hash"))
    shows = {} if expected_hash is None else {"compose_hash": expected_hash}
    return Intent(transport, "redeploy", cvm, Request(RetryKind.UPDATE, "POST", path), shows=shows)


def may_have_begun(error: CvmError) -> bool:
    """Tell whether the service may have acted on a request that ended in this error."""
    if isinstance(error, UnsafeRedirect):
        return False
    if isinstance(error, TransportError):
        return error.sent
    return isinstance(error, ServerError | DecodeError)


def _evidence_of(cvm: Cvm) -> SettleResult:
    doing = cvm.progress.correlation_id if cvm.progress else None
    return SettleResult(begun=True, cvm=cvm, correlation_id=doing)


def _as_action(found: SettleResult) -> CvmAction | None:
    return None if found.cvm is None else as_action(found.cvm)


def as_action(cvm: Cvm) -> CvmAction:
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


def _bare(digits: str | None) -> str:
    found = digits or ""
    for prefix in ("app_", "0x", "sha256:"):
        found = found.removeprefix(prefix)
    return found.lower()
