"""ApplyStep and AppliedApp: one step of a plan, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from cvm_notebook.deploy.declaration import AppDeclaration
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import error_text
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import usd

Action = Literal["create", "update", "replicate", "delete", "nothing", "refused"]
ACTIONS: Final[Mapping[Action, str]] = {
    "create": "create",
    "update": "update",
    "replicate": "add as copies",
    "delete": "delete",
    "nothing": "leave as they are",
    "refused": "refuse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStep:
    """One step of a plan: the action for one CVM.

    Attributes
    ----------
    action
        ``create``, ``update``, ``replicate`` (one more instance, a copy of `row`), ``delete`` (one
        instance too many), ``nothing`` (it is as declared) or ``refused``.
    preview
        Of an update.
    reason
        Why not, or what to be careful of.
    row
        The CVM, or the one that is copied.
    """

    name: str
    action: Action
    cvm_id: str | None = None
    preview: UpdatePreview | None = None
    rate_before_usd_h: Decimal | None = None
    rate_after_usd_h: Decimal | None = None
    reason: str = ""
    declaration: AppDeclaration | None = field(default=None, repr=False)
    row: Row | None = field(default=None, repr=False)

    @property
    def app(self) -> str | None:
        """The name under which it is declared; None of a CVM that is not."""
        return None if self.declaration is None else self.declaration.name

    @property
    def changes(self) -> str:
        """The fields that would change."""
        return ", ".join(one.field for one in self.preview.fields) if self.preview else ""

    @property
    def restarts(self) -> bool:
        """Whether it restarts."""
        return self.preview is not None and self.action == "update" and self.preview.restarts

    @property
    def dangers(self) -> tuple[str, ...]:
        """The reasons why it is sent only with the plan's phrase."""
        if self.action == "delete":
            return ("it and its disk would be deleted, for good",)
        return self.preview.dangers if self.action == "update" and self.preview else ()

    @property
    def needs_confirm(self) -> bool:
        """Whether it is sent only with the plan's phrase."""
        return bool(self.dangers)

    @property
    def scales(self) -> bool:
        """Whether it changes how many instances there are of an app that is there."""
        return self.action in {"replicate", "delete"}

    @property
    def sends(self) -> bool:
        """Whether anything would be sent for it."""
        return self.action in {"create", "update"} or self.scales

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells that are shown, under `HEAD`."""
        rates = usd(self.rate_before_usd_h) or "", usd(self.rate_after_usd_h) or ""
        restarts = "yes" if self.restarts else "no" if self.action == "update" else ""
        what = "; ".join(part for part in (self.changes, self.reason) if part)
        return (self.name, self.action, what, restarts, *rates)


HEAD: Final = ("name", "action", "what", "restarts", "USD/h now", "then")


@dataclass(frozen=True, slots=True)
class AppliedApp:
    """The result of a step; `reason` says why there is no operation."""

    step: ApplyStep
    operation: Operation | None = None
    reason: str = ""

    @property
    def state(self) -> str:
        """As of an operation; or ``nothing`` or ``refused``."""
        if self.operation is not None:
            return self.operation.state
        return "refused" if self.reason else "nothing"

    @property
    def why(self) -> str:
        """The details beyond the state, in words."""
        if self.operation is None:
            return self.reason
        error = self.operation.error
        return self.operation.note if error is None else error_text(error)
