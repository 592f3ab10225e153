"""ChangeForm: a form that changes a CVM: what runs, what would be otherwise, then one update."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.store.observers import weakly
from cvm_notebook.text import html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.form.change_state import ChangeState
from cvm_notebook.widgets.form.changing import ChangePhase
from cvm_notebook.widgets.form.fields import FormView

if TYPE_CHECKING:
    from cvm_notebook.deploy.preview import UpdatePreview
    from cvm_notebook.live.operations.operation import Operation


class ChangeForm(FormView):
    """A form filled with what a CVM runs: change it, look at the preview, send it once.

    Environment variables stay as they are until one is given or taken out. Then all of them are
    replaced, as the service has it: those that are not given again are lost, and the preview says
    which.

    Parameters
    ----------
    fleet
        Whose CVM it is, and who sees the update through; kept until it is closed.
    cvm_id
        The CVM.
    env
        Environment variables that replace all that are there.
    **fields
        What is filled in already, on top of what runs: ``compose_file`` (a text, or a path),
        ``pre_launch_script``, ``instance_type``, ``disk_size`` (GB), ``image``, ``public_logs``,
        ``public_sysinfo``, ``public_tcbinfo``, ``listed``.

    Raises
    ------
    InvalidInput
        There is no such field, its value is of another kind, or the file cannot be read.

    Examples
    --------
    >>> form = fleet["my-app"].change(disk_size=40)
    >>> form.close()
    """

    _esm = module(
        "base/secret",
        "base/choices",
        "base/diff",
        "form/form_store",
        "form/compose_editor",
        "form/form_parts",
        "form/form",
        "form/change_parts",
        "form/change",
    )
    _css = style("base/secret", "base/choices", "base/diff", "form/form")

    model: ChangeState

    def __init__(
        self, fleet: FleetEngine, cvm_id: str, *, env: Env | None = None, **fields: object
    ) -> None:
        self.cvm_id = cvm_id
        row = fleet.known(cvm_id)
        name = row.name if row is not None and row.name else cvm_id
        changed, crashed = weakly(self._mark), weakly(self.failed)
        super().__init__(
            ChangeState(
                fleet.client,
                fleet,
                cvm_id,
                name=name,
                env=env,
                fields=fields,
                changed=changed,
                crashed=crashed,
            )
        )

    # --- for Python -------------------------------------------------------------------------------

    def send_preview(self) -> bool:
        """Ask what the update would change, cost, restart and lose; nothing is changed.

        Returns
        -------
        bool
            Whether it was begun: not while something is under way, or before what runs is read.
        """
        return self.model.steps.look(self.model.changes)

    def send_update(self, *, confirm: str | None = None) -> bool:
        """Send the update as it was previewed.

        Parameters
        ----------
        confirm
            The preview's `phrase`, where it has one.

        Returns
        -------
        bool
            Whether it was begun: not before a preview, when something was changed since, twice, or
            without the phrase; see `errors`.
        """
        return self.model.steps.send(self.model.changes, confirm)

    def keep_env(self) -> None:
        """Let the environment variables be as they are."""
        self.model.keep_env()
        self._mark()

    def start_over(self) -> bool:
        """Read what runs again; False while something is under way. What is typed stays."""
        return self.model.steps.read()

    @property
    def phase(self) -> ChangePhase:
        """The phase, from ``reading`` over ``previewed`` to ``done`` or ``failed``."""
        return self.model.steps.phase

    @property
    def preview(self) -> "UpdatePreview | None":
        """The last preview; None before."""
        return self.model.steps.preview

    @property
    def operation(self) -> "Operation | None":
        """The update, from asking to its end; None before it was asked."""
        return self.model.steps.operation

    # --- messages of a view -----------------------------------------------------------------------

    def _on_preview(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.send_preview()
            self._mark()

    def _on_update(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            typed = message.get("confirm")
            self.send_update(confirm=typed if isinstance(typed, str) and typed else None)
            self._mark()

    def _on_again(self, message: Mapping[str, Any]) -> None:
        if self._recent.is_new(message.get("click")):
            self.start_over()
            self._mark()

    def _on_env_keep(self, _message: Mapping[str, Any]) -> None:
        if not self.model.is_locked:
            self.keep_env()

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<ChangeForm of {self.model.name!r}: {self.phase}>"

    def _static(self) -> dict[str, str]:
        rows = self.model.rows()
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        title = f"Change of {self.model.name}, as filled in at {now}; re-run the cell to go on"
        return {
            "text/plain": text_table(title, ("", ""), rows),
            "text/html": html_table(title, ("", ""), rows),
        }
