"""ProvisionForm: a form that deploys a CVM in two steps, provision and commit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.deploy.deployment import Phase
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.text import html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.view import weakly
from cvm_notebook.widgets.form.fields import FormField, FormView
from cvm_notebook.widgets.form.state import ProvisionState

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.api.models.actions import Provision
    from cvm_notebook.live.operations.operation import Operation


class ProvisionForm(FormView):
    """A form for a new CVM: what it shall be, its price, then provision and commit.

    What is typed stays, whatever the service answers; values of environment variables go to the
    kernel once, and are kept there until they are encrypted and committed.

    Parameters
    ----------
    client
        Whose workspace it is.
    fleet
        Shows the new CVM, and sees the commit through; held weakly.
    env
        Environment variables: names and values; a value may be a Secret.
    **fields
        What is filled in already: ``name``, ``compose_file`` (a text, or a path),
        ``pre_launch_script``, ``instance_type``, ``region`` or ``node_id``, ``disk_size`` (GB),
        ``image``, ``public_logs``, ``public_sysinfo``, ``public_tcbinfo``, ``listed``,
        ``replicas``.

    Raises
    ------
    InvalidInput
        There is no such field, its value is of another kind, or the file cannot be read. So are
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
        "form/form_store",
        "form/form_parts",
        "form/form",
        "form/deploy",
    )
    _css = style("base/secret", "base/choices", "base/diff", "form/form")
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
        **fields: object,
    ) -> None:
        changed, crashed = weakly(self._mark), weakly(self.failed)
        super().__init__(
            ProvisionState(client, fleet, env, fields, changed=changed, crashed=crashed)
        )

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

    def start_over(self) -> bool:
        """Begin another CVM with what is filled in; False while one is under way."""
        return self.model.steps.start_over()

    @property
    def phase(self) -> Phase:
        """Where it stands, from ``fill`` over ``provisioned`` to ``running`` or ``failed``."""
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
