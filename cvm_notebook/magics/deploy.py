"""``%%cvm deploy``: from a Docker Compose file in a cell to a CVM, in the API's two steps."""

import html
import os
import threading
import weakref
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.auth.credentials import ask
from cvm_notebook.api.compose.env_file import parse_env_file
from cvm_notebook.api.compose.hashing import check_env, check_env_name, check_env_value, encrypt_env
from cvm_notebook.api.compose.validation import check_compose_file, read_text_file
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.pricing import Catalogue, Price, month_of
from cvm_notebook.deploy.spec import Values
from cvm_notebook.fleet import Fleet
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.magics.session import Notebook
from cvm_notebook.magics.verbs import see
from cvm_notebook.selection import CvmHandle
from cvm_notebook.text import clean_text, html_table, text_table, usd
from cvm_notebook.widgets.base.ui_thread import bridge
from cvm_notebook.widgets.base.view import with_widget

if TYPE_CHECKING:
    from cvm_notebook.widgets.base.secret_box import SecretBoxes

_LONGEST_FILE: Final = 1 << 20
_REFUSED: Final = frozenset({"failed", "cancelled"})


def deploy(
    notebook: Notebook, asked: Namespace, compose: str
) -> "Offer | Deployment | Operation | CvmHandle":
    """Make a CVM of a compose file; or show what it would be, without making it.

    Everything is checked before anything is sent, and the place is found before a secret is asked
    for. The commit is sent once.
    """
    # the first line of the cell is the magic's: with one before them, lines are those of the cell
    check_compose_file(f"\n{compose}", "the cell")
    values = Values(
        name=asked.name, compose_file=compose, instance_type=asked.type, region=asked.region
    )
    for wrong in values.problems().values():
        raise wrong
    env = _environment(asked.env, asked.env_file)
    missing = [name for name, value in env.items() if value is None]
    way = notebook.asks_by(wait=asked.wait) if missing and not asked.dry_run else None
    if missing and not asked.dry_run and way is None:
        problem = "not set in the environment, and nobody can be asked for it here"
        remedy = "Set it where the kernel is started, or name a file by --env-file."
        raise InvalidInput(", ".join(missing), problem, remedy)
    fleet = notebook.fleet()
    provision = fleet.client.provision_cvm(values.body(tuple(env)))
    if asked.dry_run:
        return Offer.of(fleet, values, provision, tuple(env))
    deployment = Deployment(fleet, values.name, provision, env)
    if way == "box":
        return deployment
    for name in missing:
        deployment.give(name, _typed(name))
    return deployment.commit(wait=asked.wait)


# --- what it would be ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """What a dry run found: the answer to step one. Nothing runs, and nothing is paid for.

    Attributes
    ----------
    provision
        The service's answer; `Client.commit_cvm_provision` takes it.
    usd_h
        US dollars an hour; None where the catalogue does not say.
    """

    provision: Provision
    rows: tuple[tuple[str, str], ...]
    usd_h: Any

    @classmethod
    def of(
        cls, fleet: Fleet, values: Values, provision: Provision, env: tuple[str, ...]
    ) -> "Offer":
        """Look up what the service does not say with its answer: the price, and the place."""
        catalogue = Catalogue.read(fleet.client)
        price = Price.of(catalogue, values)
        hour = price.hour
        cost = "not known" if hour is None else f"{usd(hour)} USD/h, {month_of(hour)} USD a month"
        node_id = provision.node_id if provision.node_id is not None else provision.teepod_id
        node = next((one for one in catalogue.nodes if one.id == node_id), None)
        place = str(node_id) if node is None else f"{node.name}, {node.region_identifier}"
        said = (
            ("name", values.name),
            ("type", provision.instance_type or values.instance_type),
            ("price", cost),
            ("disk", f"{price.disk_gb} GB" if price.disk_gb else ""),
            ("node", place if node_id is not None else ""),
            ("compose hash", provision.compose_hash or ""),
            ("app id", provision.app_id or ""),
            ("environment", ", ".join(env)),
        )
        rows = tuple((name, clean_text(value, 80)) for name, value in said if value)
        return cls(provision, rows, hour)

    def __repr__(self) -> str:
        return self._repr_mimebundle_()["text/plain"]

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        title = "Dry run: nothing runs, and nothing is paid for. Without --dry-run it is made."
        return {
            "text/plain": text_table(title, ("", ""), self.rows),
            "text/html": html_table(title, ("", ""), self.rows),
        }


# --- the environment -----------------------------------------------------------------------------


def _environment(named: list[str], file: str | None) -> dict[str, Secret | None]:
    """Return the variables that are asked for, with the values that are known here."""
    env: dict[str, Secret | None] = dict(_of_file(file)) if file is not None else {}
    for name in named:
        if "=" in name:
            raise InvalidInput(
                "--env",
                "a value on this line would be saved in the notebook and in the history",
                "Give the name alone: the value is that of the environment, or is asked for. "
                "If it was a real secret, take it out of the cell and make a new one.",
            )
        check_env_name(name, "--env")
        if name in env:
            raise InvalidInput(name, "it is given twice", "Give it once, by --env or --env-file.")
        value = os.environ.get(name)
        if value is not None:
            check_env_value(name, value)
        env[name] = Secret(value) if value is not None else None
    check_env(env, "--env")
    return env


def _of_file(path: str) -> Mapping[str, Secret]:
    """Read a file of variables; an error names the file and the line, and no value."""
    text = read_text_file("--env-file", path, _LONGEST_FILE)
    try:
        return parse_env_file(text)
    except InvalidInput as error:
        line = "" if error.field == ".env" else f", {error.field}"
        raise InvalidInput(f"{clean_text(path, 120)}{line}", error.problem, error.remedy) from None


def _typed(name: str) -> Secret:
    typed = ask(f"Value of {name} (not shown, not stored): ")
    if not typed:
        raise InvalidInput(name, "no value was given", "Run the cell again. Nothing was made.")
    return Secret(typed)


# --- step two ------------------------------------------------------------------------------------


class Deployment:
    """A CVM that is provisioned, and made when the last value of its environment is given.

    Attributes
    ----------
    name, provision
        What it will be called, and the answer to step one.
    operation
        The commit; None before.
    """

    def __init__(
        self, fleet: Fleet, name: str, provision: Provision, env: Mapping[str, Secret | None]
    ) -> None:
        self.name = name
        self.provision = provision
        self.operation: Operation | None = None
        self._fleet = fleet
        self._env = dict(env)
        self._lock = threading.Lock()
        self._boxes: SecretBoxes | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The variables without a value."""
        return tuple(name for name, value in self._env.items() if value is None)

    def give(self, name: str, value: Secret) -> None:
        """Give the value of a variable; a commit that is under way has it no more."""
        check_env_value(name, value)
        self._env[name] = value

    def commit(self, *, wait: bool) -> Operation | CvmHandle:
        """Make the CVM, and see it to the service's answer, or until it runs."""
        operation = see(self._fleet, self._submitted(), wait=wait, name=self.name)
        if wait and operation.made_id is not None:
            return CvmHandle(self._fleet, operation.made_id)
        return operation

    def _submitted(self) -> Operation:
        """Send step two, once: again only when it was refused."""
        with self._lock:
            if self.operation is not None and self.operation.state not in _REFUSED:
                return self.operation
            values = {name: value for name, value in self._env.items() if value is not None}
            told = self.provision
            params: dict[str, Any] = {"app_id": told.app_id, "compose_hash": told.compose_hash}
            if values:
                pubkey = told.app_env_encrypt_pubkey or (told.kms_info or {}).get(
                    "encrypted_env_pubkey", ""
                )
                params["encrypted_env"] = encrypt_env(str(pubkey), values)
                params["env_keys"] = list(values)
            self.operation = self._fleet.operator.submit("commit", None, params=params)
            return self.operation

    # --- by boxes ---------------------------------------------------------------------------------

    def _given(self, name: str, value: Secret) -> str | None:
        """Take what was typed into a box; return what is said there. On the bridge's thread."""
        try:
            self.give(name, value)
            if self.missing:
                return None
            operation = self._submitted()
        except CvmError as error:
            return str(error)
        if self._unsubscribe is None:
            self._unsubscribe = self._fleet.operator.attach(self._told)
        self._told(operation.record)
        return f"sent; {self.name} is being made"

    def _told(self, record: OperationRecord) -> None:
        """Hear what becomes of the commit; on whatever thread made the change."""
        mine = self.operation is not None and self.operation.id == record.id
        if not mine or (record.made_id is None and not record.done):
            return
        with self._lock:
            unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:  # else it was heard of already
            unsubscribe()
            bridge.post(partial(self._ended, record))

    def _ended(self, record: OperationRecord) -> None:
        """Show the CVM that was made in the place of the boxes, or why there is none."""
        if record.made_id is not None:
            self._env = dict.fromkeys(self._env)  # the values are of no more use here
        if self._boxes is not None and record.made_id is not None:
            self._boxes.make_room(CvmHandle(self._fleet, record.made_id).card())
        elif self._boxes is not None:
            self._boxes.say(as_text(record, named=False))

    def __repr__(self) -> str:
        if self.operation is not None:
            return f"<Deployment of {self.name!r}: {as_text(self.operation.record, named=False)}>"
        return f"<Deployment of {self.name!r}: waits for {', '.join(self.missing)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        if self.operation is not None:
            made = self.operation.made_id
            shown = CvmHandle(self._fleet, made) if made is not None else self.operation
            return shown._repr_mimebundle_()
        text = (
            f"{self.name} is made as soon as {', '.join(self.missing)} is given, in a box that "
            "only a notebook with widgets shows. With --wait it is asked for at a prompt."
        )
        static = {"text/plain": text, "text/html": f"<p>{html.escape(text)}</p>"}
        return with_widget(static, self._asking)

    def _asking(self) -> "SecretBoxes":
        from cvm_notebook.widgets.base.secret_box import SecretBoxes  # noqa: PLC0415 - widgets on demand

        if self._boxes is None or self._boxes.comm is None:  # none yet, or they were closed
            # ipywidgets keeps every box for ever, and would keep the fleet with it
            self._boxes = SecretBoxes(self.missing, weakref.WeakMethod(self._given))
        return self._boxes
