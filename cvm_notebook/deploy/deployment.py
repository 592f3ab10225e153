"""The two steps of a new CVM: provision, then commit; each sent once, however often asked."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from cvm_notebook.api.compose.hashing import encrypt_env
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.error_fields import GENERAL, fields_of, sends_back, told
from cvm_notebook.deploy.spec import Values, keys_on_chain
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import Operations
from cvm_notebook.live.store.observation import Fact
from cvm_notebook.live.store.records import Row, Sighting
from cvm_notebook.live.workers import Workers

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

Phase: TypeAlias = Literal[
    "fill", "provisioning", "provisioned", "committing", "booting", "running", "failed"
]
Errors: TypeAlias = dict[str, dict[str, Any]]
HELD: Final = timedelta(days=14)  # as documented; the service does not say it
_MAY_PROVISION: Final = frozenset({"fill", "provisioned"})
_UNDER_WAY: Final = frozenset({"committing", "booting"})
_OVER: Final = frozenset({"running", "failed"})
_LABELS: Final = {"teepod_id": "node", "allowed_envs": "environment names"}


@dataclass(frozen=True, slots=True)
class Provisioned:
    """An answer to step one, and what it was given for.

    Attributes
    ----------
    body
        What was sent.
    env_names
        The names that may be given values.
    at
        When it was answered, in UTC.
    """

    answer: Provision
    body: Mapping[str, Any]
    env_names: tuple[str, ...]
    at: datetime

    @property
    def until(self) -> datetime:
        """How long it can be committed."""
        return self.at + HELD

    def changed(self, body: Mapping[str, Any]) -> list[str]:
        """Return what is filled in otherwise by now, in words."""
        ours, theirs = _flat(self.body), _flat(body)
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        return [_LABELS.get(name, name.replace("_", " ")) for name in names]


class Steps:
    """Where a form stands. Safe to use from any thread; requests are sent by workers.

    Parameters
    ----------
    operator
        Gives the operations that see the commit through.
    changed
        Called, from any thread, whenever it stands otherwise.
    """

    def __init__(
        self,
        client: "Client",
        env: EnvTable,
        *,
        operator: Callable[[], Operations],
        workers: Workers,
        changed: Callable[[], object],
    ) -> None:
        self._client = client
        self._env = env
        self._operator = operator
        self._workers = workers
        self._changed = changed
        self._lock = threading.RLock()
        self._unsubscribe: Callable[[], None] | None = None
        self._replicas = 1
        self.phase: Phase = "fill"
        self.provisioned: Provisioned | None = None
        self.operation: Operation | None = None
        self.replicas: tuple[Operation, ...] = ()
        self.cvm: Cvm | None = None
        self.errors: Errors = {}

    # --- step one ---------------------------------------------------------------------------------

    def provision(self, values: Values) -> bool:
        """Ask for what is filled in; False when that is not possible now, such as twice."""
        with self._lock:
            if self.phase not in _MAY_PROVISION:
                return False
            before, self.phase, self.errors = self.phase, "provisioning", {}
        self._changed()
        back = partial(self._back_from, "provisioning", before)
        self._workers.do(_or_else(back, partial(self._provision, values, before)))
        return True

    def _back_from(self, phase: Phase, before: Phase) -> None:
        """Leave a phase that its task has crashed in: nobody else would."""
        with self._lock:
            if self.phase != phase or (phase == "committing" and self.operation is not None):
                return
            self.phase = before
        self._changed()

    def _provision(self, values: Values, before: Phase) -> None:
        names = self._env.names
        body = values.body(names)
        errors = _told_each(values.problems()) | self._missing_values()
        answer = None
        if not errors:
            try:
                answer = self._client.provision_cvm(body)
            except CvmError as error:
                errors = _errors(error)
        if answer is not None and (answer.kms_info or {}).get("chain_id"):
            errors, answer = {"node": told(keys_on_chain())}, None  # it could not be committed here
        with self._lock:
            self.errors = errors
            self.phase = before if answer is None else "provisioned"
            if answer is not None:
                self.provisioned = Provisioned(answer, body, names, datetime.now(UTC))
                self.operation = None
        self._changed()

    def _missing_values(self) -> Errors:
        missing = self._env.missing
        if not missing:
            return {}
        problem = f"{', '.join(missing)}: the value was used and not kept"
        remedy = "Give it again, or take the variable out."
        return {"env": told(InvalidInput("env", problem, remedy))}

    # --- step two ---------------------------------------------------------------------------------

    def commit(self, values: Values, *, as_provisioned: bool = False) -> bool:
        """Commit what was provisioned; False when that is not possible now, such as twice.

        Parameters
        ----------
        as_provisioned
            Leave aside what was changed since; else such a change is an error.
        """
        with self._lock:
            provisioned = self.provisioned
            if self.phase != "provisioned" or provisioned is None:
                return False
            self.errors = self._not_yet(provisioned, values, as_provisioned=as_provisioned)
            if not self.errors:
                self.phase, self.operation = "committing", None
                self._replicas = values.replicas
        self._changed()
        if self.errors:
            return False
        task = partial(self._commit, provisioned)
        back = partial(self._back_from, "committing", "provisioned")
        self._workers.do(_or_else(back, task))
        return True

    def _not_yet(self, provisioned: Provisioned, values: Values, *, as_provisioned: bool) -> Errors:
        """Return what must be mended before a commit."""
        wrong = values.problems()
        errors = _told_each({k: v for k, v in wrong.items() if k == "replicas"})
        changed = provisioned.changed(values.body(self._env.names))
        if changed and not as_provisioned:
            problem = f"changed since it was provisioned: {', '.join(changed)}"
            remedy = "Provision again, or commit as it was provisioned."
            errors[GENERAL] = told(InvalidInput("", problem, remedy))
        elif set(self._env.names) != set(provisioned.env_names):
            problem = "the names are not those that were provisioned"
            errors["env"] = told(InvalidInput("env", problem, "Provision again."))
        else:
            errors |= self._missing_values()
        return errors

    def _commit(self, provisioned: Provisioned) -> None:
        answer = provisioned.answer
        params: dict[str, Any] = {"app_id": answer.app_id, "compose_hash": answer.compose_hash}
        try:
            values = self._env.values()
            if values:
                pubkey = answer.app_env_encrypt_pubkey or (answer.kms_info or {}).get(
                    "encrypted_env_pubkey", ""
                )
                params["encrypted_env"] = encrypt_env(str(pubkey), values)
                params["env_keys"] = list(values)
            operator = self._operator()
            unsubscribe = operator.attach(self._told)
            operation = operator.submit("commit", None, params=params)
        except CvmError as error:
            self._refused(error)
            return
        with self._lock:
            self._end_watch()
            self.operation, self._unsubscribe = operation, unsubscribe
        self._told(operation.record)

    def _refused(self, error: CvmError | None, note: str = "") -> None:
        """Go back to where it can be mended; everything that was filled in stays."""
        with self._lock:
            self.errors = _errors(error or CvmError(note))
            if sends_back(error):
                self.phase, self.provisioned = "fill", None
            else:
                self.phase = "provisioned"
        self._changed()

    # --- what becomes of it -----------------------------------------------------------------------

    def _told(self, record: OperationRecord) -> None:
        """Hear of a change of an operation; on whatever thread made it."""
        with self._lock:
            operation = self.operation
            mine = operation is not None and record.id == operation.id
            replica = any(record.id == one.id for one in self.replicas)
        if mine and operation is not None:
            self._moved(operation)
        elif replica:
            self._changed()
            self._end_when_done()

    def _moved(self, operation: Operation) -> None:
        record = operation.record
        made = record.made_id is not None
        with self._lock:
            if self.phase not in _UNDER_WAY or operation is not self.operation:
                return
            if record.state == "reached":
                self.phase = "running"
            elif made:
                self.phase = "failed" if record.done else "booting"
            elif record.done:
                self._end_watch()
                self._refused(operation.error, record.note)
        if made:
            self._env.forget()  # what was encrypted for it is of no more use here
        if record.state == "reached":
            self._workers.do(partial(self._finish, record.made_id or ""))
        self._changed()
        self._end_when_done()

    def _finish(self, cvm_id: str) -> None:
        """Read where it can be reached, and ask for its replicas."""
        try:
            self.cvm = self._client.get_cvm_info(cvm_id)
            operations = self._replicate(self.cvm, self._replicas - 1)
        except CvmError as error:
            with self._lock:
                self.errors = _errors(error)
        else:
            with self._lock:
                self.replicas = operations
        self._changed()
        self._end_when_done()

    def _replicate(self, cvm: Cvm, number: int) -> tuple[Operation, ...]:
        """Ask for replicas: now that the first one runs, a mistake in it is not paid for again."""
        if number < 1:
            return ()
        operator = self._operator()
        now = operator.clock.monotonic()
        operator.store.patch([Fact.of_cvm(cvm, received=now)])
        seen = Sighting(now, operator.clock.now(), "get")
        row = operator.store.get(cvm.id or "") or Row.of_cvm(cvm, seen)
        return tuple(operator.submit("replicate", row, again=True) for _ in range(number))

    def start_over(self) -> bool:
        """Begin another one with what is filled in; False while one is under way."""
        with self._lock:
            if self.phase not in _OVER | {"provisioned"}:
                return False
            self._end_watch()
            self.phase, self.provisioned, self.operation = "fill", None, None
            self.cvm, self.replicas, self.errors = None, (), {}
        self._changed()
        return True

    def forgive(self, field: str) -> None:
        """Drop what was said of a field: it is being mended."""
        with self._lock:
            self.errors = {k: v for k, v in self.errors.items() if k not in {field, GENERAL}}

    def close(self) -> None:
        """Hear no more of operations; they go on."""
        with self._lock:
            self._end_watch()

    def _end_when_done(self) -> None:
        with self._lock:
            watched = [self.operation, *self.replicas]
            asked_all = self.cvm is not None or self.phase == "failed"
            if asked_all and all(one is None or one.done for one in watched):
                self._end_watch()

    def _end_watch(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None


def _or_else(back: Callable[[], None], task: Callable[[], None]) -> Callable[[], None]:
    """Return a task that calls `back` when it crashes."""

    def run() -> None:
        done = False
        try:
            task()
            done = True
        finally:
            if not done:
                back()

    return run


def _errors(error: CvmError) -> Errors:
    return {field: told(error, field) for field in fields_of(error)}


def _told_each(wrong: Mapping[str, CvmError]) -> Errors:
    return {field: told(error, field) for field, error in wrong.items()}


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request with its compose file's members beside the others, as the form has them."""
    flat = {**body, **body["compose_file"]}
    flat["compose_file"] = flat.pop("docker_compose_file")
    flat.pop("env_keys", None)
    return flat
