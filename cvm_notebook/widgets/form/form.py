"""ProvisionForm: a form that deploys a CVM in two steps, provision and commit."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cvm_notebook._lazy import loaded
from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.deploy.deployment import Phase
from cvm_notebook.deploy.templates import template_of
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.store.observers import Callbacks, weakly
from cvm_notebook.text import html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.log_tail import LogTail
from cvm_notebook.widgets.form.fields import FormField, FormView
from cvm_notebook.widgets.form.provision_state import ProvisionState
from cvm_notebook.widgets.form.starts import Start

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.api.models.actions import Provision
    from cvm_notebook.live.operations.operation import Operation


class ProvisionForm(FormView):
    """A form for a new CVM: fill it in, check price and placement, deploy, and see it boot.

    It deploys in two steps: the check provisions, which costs nothing; deploying commits what was
    checked. Each is sent once. It can be begun with a template, or as a copy of a CVM.

    What is typed stays, whatever the service answers; values of environment variables go to the
    kernel once, and are kept there until they are encrypted and committed.

    Parameters
    ----------
    client
        Whose workspace it is.
    fleet
        Shows the new CVM, and sees the commit through; kept until it is closed, or the form is.
    env
        Environment variables: names and values; a value may be a Secret.
    template
        What to begin with: ``"nginx"``, ``"jupyter"``, ``"vllm"`` or ``"postgres"``.
    **fields
        What is filled in already: ``name``, ``compose_file`` (a text, or a path),
        ``pre_launch_script``, ``instance_type``, ``region`` or ``node_id``, ``disk_size`` (GB),
        ``image``, ``public_logs``, ``public_sysinfo``, ``public_tcbinfo``, ``listed``,
        ``replicas``.

    Raises
    ------
    InvalidInput
        There is no such field or template, its value is of another kind, or the file cannot be
        read. So are
        ``kms`` and ``transaction_hash``: a CVM whose keys are managed on a blockchain is made with
        the client.

    Examples
    --------
    >>> form = cvm.ProvisionForm(client, name="form-app", compose_file=compose)
    >>> form.send_provision()
    True
    """

    _esm = module(
        "base/secret",
        "base/choices",
        "base/diff",
        "base/log_find",
        "base/logs",
        "form/form_store",
        "form/compose_editor",
        "form/form_parts",
        "form/form_start",
        "form/form",
        "form/deploy",
    )
    _css = style("base/secret", "base/choices", "base/diff", "base/logs", "form/form")
    _WORKERS = 2  # a log, and which logs there are
    model: ProvisionState

    name = FormField[str]()
    region = FormField[str]()
    node_id = FormField[int | None]()
    replicas = FormField[int]()

    def __init__(
        self,
        client: "Client",
        *,
        fleet: FleetEngine | None = None,
        env: Env | None = None,
        template: str | None = None,
        **fields: object,
    ) -> None:
        changed, crashed = weakly(self._mark), weakly(self.failed)
        state = ProvisionState(client, fleet, env, fields, changed=changed, crashed=crashed)
        if template is not None:
            state.start(Start.of_template(template_of(template)), over=fields)
        self._when_opened = Callbacks[[str]]()
        workers = self._crew("cvm-form-logs")
        self._logs = LogTail(weakly(self._client), workers, self._say, weakly(self._mark))
        super().__init__(state)

    # --- for Python -------------------------------------------------------------------------------

    def send_provision(self) -> bool:
        """Send step one; nothing runs yet, and nothing costs.

        Returns
        -------
        bool
            Whether it was begun: not while something is under way, or when a CVM was made.
        """
        return self.model.steps.provision(self.model.values)

    def send_commit(self, *, as_provisioned: bool = False) -> bool:
        """Send step two: the CVM is made, and paid for.

        Parameters
        ----------
        as_provisioned
            Leave aside what was changed after step one; else such a change is an error.

        Returns
        -------
        bool
            Whether it was begun: not before step one, twice, or with something to be mended; see
            `errors`.
        """
        return self.model.steps.commit(self.model.values, as_provisioned=as_provisioned)

    def use_template(self, template: str) -> bool:
        """Fill the form from a template; `undo_start` takes it back.

        Parameters
        ----------
        template
            ``"nginx"``, ``"jupyter"``, ``"vllm"`` or ``"postgres"``.

        Returns
        -------
        bool
            False while something is under way.

        Raises
        ------
        InvalidInput
            There is no such template.
        """
        return self.model.start(Start.of_template(template_of(template)))

    def copy_of(self, cvm_id: str) -> None:
        """Fill the form from a CVM in the background: never with values of its variables.

        Parameters
        ----------
        cvm_id
            The CVM's id.
        """
        self.model.copy(cvm_id)

    def undo_start(self) -> bool:
        """Take the last template or copy back; False when something was filled in since."""
        return self.model.undo_start()

    def on_open(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Register a callback that shows the new CVM's card; else the form shows it.

        Parameters
        ----------
        callback
            Called with the CVM's id, on the UI thread. Without one, the form shows the CVM's card
            beneath itself.

        Returns
        -------
        callable
            Removes the callback.
        """
        return self._when_opened.add(callback)

    def start_over(self) -> bool:
        """Begin another CVM with what is filled in; False while one is under way."""
        return self.model.steps.start_over()

    @property
    def phase(self) -> Phase:
        """The phase, from ``fill`` over ``provisioned`` to ``running`` or ``failed``."""
        return self.model.steps.phase

    @property
    def provision(self) -> "Provision | None":
        """The answer to step one; None before, and when the service holds it no longer."""
        provisioned = self.model.steps.provisioned
        return None if provisioned is None else provisioned.answer

    @property
    def operation(self) -> "Operation | None":
        """The commit, from asking to running; None before it was asked."""
        return self.model.steps.operation

    @property
    def replications(self) -> "tuple[Operation, ...]":
        """The operations that make the replicas; they begin when the first CVM runs."""
        return self.model.steps.replicas

    @property
    def cvm_id(self) -> str | None:
        """The id of the CVM that was made; None before."""
        operation = self.model.steps.operation
        return None if operation is None else operation.made_id

    # --- messages of a view -----------------------------------------------------------------------

    def _on_provision(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.send_provision()
            self._mark()

    def _on_commit(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.send_commit(as_provisioned=message.get("as_provisioned") is True)
            self._mark()

    def _on_again(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.start_over()
            self._mark()

    def _on_template(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            with suppress(InvalidInput):  # no front end of this form sends another
                self.use_template(str(message.get("key", "")))

    def _on_undo_start(self, _message: Mapping[str, Any]) -> None:
        self.undo_start()

    def _on_cvms(self, _message: Mapping[str, Any]) -> None:
        self.model.list_cvms()

    def _on_copy(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.copy_of(str(message.get("cvm", "")))

    def _on_card(self, message: Mapping[str, Any]) -> None:
        """Show the card of the CVM that was made: elsewhere, or in the view that asks."""
        fleet, cvm_id = self.model.fleet, self.cvm_id
        if fleet is None or cvm_id is None or fleet.known(cvm_id) is None:
            self._say({"kind": "notice", "text": "This CVM is not in the fleet."})
            return
        self._when_opened(cvm_id)
        if not self._when_opened:
            card_of: Any = loaded("widgets.card.card", "card_of")  # which shows forms itself
            card = self._host(card_of(fleet, cvm_id))
            self._say({"kind": "card", "view": message.get("view"), "card": card})

    def _on_log(self, message: Mapping[str, Any]) -> None:
        if self.cvm_id is not None:
            self._logs.receive(message, self.cvm_id)

    def _client(self) -> "Client":
        return self.model.client

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed, and what was read of a log; see `View`."""
        self._logs.flush()
        super().flush()

    def _release(self) -> None:
        self._logs.stop()
        super()._release()

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        made = f", CVM {self.cvm_id}" if self.cvm_id else ""
        return f"<ProvisionForm of {self.name or 'a new CVM'!r}: {self.phase}{made}>"

    def _static(self) -> dict[str, str]:
        rows = self.model.rows()
        now = datetime.now(UTC)
        title = f"New CVM, as filled in at {now:%Y-%m-%d %H:%M:%S} UTC; re-run the cell to go on"
        return {
            "text/plain": text_table(title, ("", ""), rows),
            "text/html": html_table(title, ("", ""), rows),
        }
