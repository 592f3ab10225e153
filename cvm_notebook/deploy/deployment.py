"""Deployment of a CVM: provision, encrypt, commit, follow; each request is sent once."""

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
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.apply.scaling import replicate
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.error_fields import (
    GENERAL,
    Errors,
    error_payload,
    errors_by_field,
    needs_provision,
)
from cvm_notebook.deploy.spec import Values, keys_on_chain
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.workers import Workers

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

Phase: TypeAlias = Literal[
    "fill", "provisioning", "provisioned", "committing", "booting", "running", "failed"
]
HELD: Final = timedelta(days=14)  # as documented; the service does not say it
_MAY_PROVISION: Final = frozenset({"fill", "provisioned"})
_UNDER_WAY: Final = frozenset({"committing", "booting"})
_OVER: Final = frozenset({"running", "failed"})
_LABELS: Final = {"teepod_id": "node", "allowed_envs": "environment names"}


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The answer to step one, with the request that it answers; frozen.

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

    @classmethod
    def request(
        cls,
        client: "Client",
        values: Values,
        env_names: tuple[str, ...],
        *,
        script: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> "Provisioned":
        """Send step one; nothing runs yet, and nothing costs.

        Parameters
        ----------
        script
            What runs before the containers start.
        more
            Fields of the request beside the values.

        Raises
        ------
        CvmError
            It was refused, or could not be committed from here.
        """
        body = {**values.body(env_names), **(more or {})}
        if script:
            body["compose_file"]["pre_launch_script"] = script
        client.check_workspace()
        answer = client.provision_cvm(body)
        if (answer.kms_info or {}).get("chain_id"):
            raise keys_on_chain("node")
        return cls(answer, body, env_names, datetime.now(UTC))

    def commit(self, operations: OperationService, env: Mapping[str, Secret]) -> Operation:
        """Encrypt the environment, and submit step two.

        Raises
        ------
        NotTrustedError
            The key that would encrypt the environment is not signed by its key service.
        CvmError
            The environment cannot be encrypted, or nothing may be submitted.
        """
        answer, kms = self.answer, self.answer.kms_info or {}
        params: dict[str, Any] = {"app_id": answer.app_id, "compose_hash": answer.compose_hash}
        params["name"] = self.body.get("name") or answer.app_id
        if env:
            pubkey = operations.client.get_checked_env_key(
                answer.app_id,
                kms=_text(answer.kms_contract_id or answer.kms_id),
                expected=answer.app_env_encrypt_pubkey or _text(kms.get("encrypted_env_pubkey")),
                signer=_text(kms.get("k256_pubkey")),
            )
            params["encrypted_env"] = encrypt_env(pubkey, env)
            params["env_keys"] = list(env)
        return operations.submit("commit", None, params=params)

    @property
    def until(self) -> datetime:
        """The time until which it can be committed."""
        return self.at + HELD

    def changed(self, body: Mapping[str, Any]) -> list[str]:
        """Return the names of the fields that differ by now."""
        before, after = _flat(self.body), _flat(body)
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return [_LABELS.get(name, name.replace("_", " ")) for name in names]


class Deployment:
    """Deployment in the background: a state machine whose requests are sent by workers.

    Safe to use from any thread.

    Parameters
    ----------
    operations
        Gives the operations that follow the commit.
    changed
        Called, from any thread, after every change.
    provisioned
        The answer to step one, where it was sent already.
    """

    def __init__(
        self,
        client: "Client",
        env: EnvTable,
        *,
        operations: Callable[[], OperationService],
        workers: Workers,
        changed: Callable[[], object],
        provisioned: Provisioned | None = None,
    ) -> None:
        self.client = client
        self._env = env
        self._operations = operations
        self._workers = workers
        self._changed = changed
        self._lock = threading.RLock()
        self._unsubscribe: Callable[[], None] | None = None
        self._replicas = 1
        self.phase: Phase = "fill" if provisioned is None else "provisioned"
        self.provisioned = provisioned
        self.operation: Operation | None = None
        self.replicas: tuple[Operation, ...] = ()
        self.cvm: Cvm | None = None
        self.errors: Errors = {}

    @property
    def name(self) -> str:
        """The name that was sent with step one; empty before."""
        return "" if self.provisioned is None else str(self.provisioned.body.get("name") or "")

    # --- step one ---------------------------------------------------------------------------------

    def provision(self, values: Values) -> bool:
        """Send step one; False when that is not possible now, such as twice."""
        with self._lock:
            if self.phase not in _MAY_PROVISION:
                return False
            before, self.phase, self.errors = self.phase, "provisioning", {}
        self._changed()
        back = partial(self._back_from, "provisioning", before)
        self._workers.do(_or_else(back, partial(self._provision, values, before)))
        return True

    def _back_from(self, phase: Phase, before: Phase) -> None:
        """Reset the phase after its task has crashed."""
        with self._lock:
            if self.phase != phase or (phase == "committing" and self.operation is not None):
                return
            self.phase = before
        self._changed()

    def _provision(self, values: Values, before: Phase) -> None:
        provisioned = None
        errors = _payloads(values.problems()) | self._missing_values()
        if not errors:
            try:
                provisioned = Provisioned.request(self.client, values, self._env.names)
            except CvmError as error:
                errors = errors_by_field(error)
        with self._lock:
            self.errors = errors
            self.phase = before if provisioned is None else "provisioned"
            if provisioned is not None:
                self.provisioned, self.operation = provisioned, None
        self._changed()

    def _missing_values(self) -> Errors:
        missing, used = self._env.missing, self._env.used
        if not missing:
            return {}
        problem = f"{', '.join(used)}: already used" if used else f"{', '.join(missing)}: no value"
        remedy = f"Enter it{' again' if used else ''}, or remove the variable."
        return {"env": error_payload(InvalidInput("env", problem, remedy))}

    # --- step two ---------------------------------------------------------------------------------

    def commit(self, values: Values, *, as_provisioned: bool = False) -> bool:
        """Send step two; False when that is not possible now, such as twice.

        Parameters
        ----------
        as_provisioned
            Ignore what was changed since; else such a change is an error.
        """
        with self._lock:
            provisioned = self.provisioned
            if self.phase != "provisioned" or provisioned is None:
                return False
            self.errors = self._obstacles(provisioned, values, as_provisioned=as_provisioned)
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

    def _obstacles(
        self, provisioned: Provisioned, values: Values, *, as_provisioned: bool
    ) -> Errors:
        wrong = values.problems()
        errors = _payloads({k: v for k, v in wrong.items() if k == "replicas"})
        changed = provisioned.changed(values.body(self._env.names))
        if changed and not as_provisioned:
            problem = f"changed since it was checked: {', '.join(changed)}"
            remedy = "Re-check, or deploy the version checked earlier."
            errors[GENERAL] = error_payload(InvalidInput("", problem, remedy))
        elif set(self._env.names) != set(provisioned.env_names):
            problem = "the names are not those that were checked"
            errors["env"] = error_payload(InvalidInput("env", problem, "Re-check."))
        else:
            errors |= self._missing_values()
        return errors

    def _commit(self, provisioned: Provisioned) -> None:
        try:
            operations = self._operations()
            operation = provisioned.commit(operations, self._env.values())
        except CvmError as error:
            self._refused(error)
            return
        unsubscribe = operations.attach(self._record_changed)
        with self._lock:
            self._end_watch()
            self.operation, self._unsubscribe = operation, unsubscribe
        self._record_changed(operation.record)  # what happened before it was attached

    def _refused(self, error: CvmError | None, note: str = "") -> None:
        """Go back to the step where it can be corrected; all values stay."""
        with self._lock:
            self.errors = errors_by_field(error or CvmError(note))
            if needs_provision(error):
                self.phase, self.provisioned = "fill", None
            else:
                self.phase = "provisioned"
        self._changed()

    # --- following the commit ---------------------------------------------------------------------

    def _record_changed(self, record: OperationRecord) -> None:
        # on whatever thread made the change
        with self._lock:
            operation = self.operation
            is_commit = operation is not None and record.id == operation.id
            replica = any(record.id == one.id for one in self.replicas)
        if is_commit and operation is not None:
            self._advance(operation)
        elif replica:
            self._changed()
            self._end_when_done()

    def _advance(self, operation: Operation) -> None:
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
        """Read the endpoints of the new CVM, and submit its replicas."""
        try:
            self.cvm = self.client.get_cvm_info(cvm_id)
            operations = self._replicate(self.cvm, self._replicas - 1)
        except CvmError as error:
            with self._lock:
                self.errors = errors_by_field(error)
        else:
            with self._lock:
                self.replicas = operations
        self._changed()
        self._end_when_done()

    def _replicate(self, cvm: Cvm, number: int) -> tuple[Operation, ...]:
        """Submit replicas: now that the first one runs, a mistake in it is not paid for again."""
        return replicate(self._operations(), cvm, number) if number > 0 else ()

    def start_over(self) -> bool:
        """Begin another deployment with the same values; False while one is under way."""
        with self._lock:
            if self.phase not in _OVER | {"provisioned"}:
                return False
            self._end_watch()
            self.phase, self.provisioned, self.operation = "fill", None, None
            self.cvm, self.replicas, self.errors = None, (), {}
        self._changed()
        return True

    def forgive(self, field: str) -> None:
        """Drop the error of a field that is being edited."""
        with self._lock:
            self.errors = {k: v for k, v in self.errors.items() if k not in {field, GENERAL}}

    def close(self) -> None:
        """Stop following; operations go on."""
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
        try:
            task()
        except BaseException:
            back()
            raise

    return run


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _payloads(errors: Mapping[str, CvmError]) -> Errors:
    return {field: error_payload(error, field) for field, error in errors.items()}


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**body, **body["compose_file"]}
    flat["compose_file"] = flat.pop("docker_compose_file")
    flat.pop("env_keys", None)
    return flat
