"""Applying declarations: the steps that make them true, and what became of each."""

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.resources.update_request import VISIBILITY
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.declaration import AppDeclaration
from cvm_notebook.deploy.deployment import Provisioned
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.spec import Values
from cvm_notebook.deploy.updating import (
    check_confirmed,
    error_text,
    sent_before,
    submitted,
)
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Refused
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text, html_table, text_table, usd

if TYPE_CHECKING:
    import pandas as pd

Action = Literal["create", "update", "nothing", "refused"]
_ANSWER_S = 120.0  # longer than any call of the client's
_HEAD = ("name", "action", "changes", "restarts", "USD/h now", "then", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStep:
    """What would be done for one CVM.

    Attributes
    ----------
    action
        ``create``, ``update``, ``nothing`` (it is as declared) or ``refused``.
    preview
        Of an update.
    reason
        Why not, or what to be careful of.
    """

    name: str
    action: Action
    cvm_id: str | None = None
    preview: UpdatePreview | None = None
    rate_after_usd_h: Decimal | None = None
    reason: str = ""
    declaration: AppDeclaration | None = field(default=None, repr=False)
    row: Row | None = field(default=None, repr=False)

    @property
    def changes(self) -> str:
        """Which fields would be otherwise."""
        return ", ".join(one.field for one in self.preview.fields) if self.preview else ""

    @property
    def restarts(self) -> bool:
        """Whether it restarts."""
        return self.preview is not None and self.action == "update" and self.preview.restarts

    @property
    def rate_before_usd_h(self) -> Decimal | None:
        """The price of an hour now."""
        return None if self.preview is None else self.preview.usd_h_before

    @property
    def needs_confirm(self) -> bool:
        """Whether it is sent only with the plan's phrase."""
        return self.action == "update" and self.preview is not None and bool(self.preview.dangers)

    @property
    def sends(self) -> bool:
        """Whether anything would be sent for it."""
        return self.action in {"create", "update"}


class ApplyPlan:
    """What applying would do, one step a CVM; nothing is sent before `execute`.

    Parameters
    ----------
    steps
        In the order in which they are sent.
    operations
        Who sends.
    word
        What the phrase begins with.
    careful
        Whether several updates want the phrase, too.
    """

    def __init__(
        self,
        steps: Iterable[ApplyStep],
        operations: OperationService,
        *,
        word: str = "apply",
        careful: bool = False,
    ) -> None:
        self.steps = tuple(steps)
        self._operations = operations
        self._word = word
        self._careful = careful
        self._executed = False

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def sends(self) -> int:
        """How many CVMs something would be sent for."""
        return sum(step.sends for step in self.steps)

    @property
    def phrase(self) -> str | None:
        """What `execute` wants as ``confirm``; None where nothing needs to be confirmed."""
        needs = any(step.needs_confirm for step in self.steps)
        return f"{self._word} {self.sends}" if needs or (self._careful and self.sends > 1) else None

    def frame(self) -> "pd.DataFrame":
        """Return the steps as a DataFrame; see `apply_frame`."""
        from cvm_notebook.frames.reports.plan import apply_frame  # noqa: PLC0415 - pandas on demand

        return apply_frame(self.steps)

    def execute(self, *, confirm: str | None = None, wait: bool = False) -> "Applied":
        """Send what was planned; what fails is in the result, and is not raised.

        Parameters
        ----------
        confirm
            The plan's `phrase`.
        wait
            Until each CVM is where it should be; else until the service has answered.

        Raises
        ------
        NotConfirmed
            Something needs the phrase, and it was not given as it is.
        Refused
            The plan was executed already.
        """
        if self._executed:
            raise Refused("this plan was executed already", hint="Make a new one: apply again.")
        dangers = tuple(
            f"{step.name}: {said}"
            for step in self.steps
            if step.needs_confirm and step.preview is not None
            for said in step.preview.dangers
        )
        check_confirmed(self.phrase, confirm, dangers)
        self._executed = True
        rows = [AppliedApp(step, *self._begun(step)) for step in self.steps]
        for row in rows:
            if row.operation is not None:
                self._followed(row.step, row.operation, wait=wait)
        return Applied(tuple(rows))

    def _followed(self, step: ApplyStep, operation: Operation, *, wait: bool) -> None:
        if wait:
            operation.wait()
        else:
            operation.wait(_ANSWER_S, until="accepted")
        self._noted(step, operation)

    def _begun(self, step: ApplyStep) -> tuple[Operation | None, str]:
        """Ask for a step; return its operation, or why there is none."""
        declared, row, preview = step.declaration, step.row, step.preview
        try:
            if step.action == "create" and declared is not None:
                return _created(self._operations, declared), ""
            if step.action == "update" and row is not None and preview is not None:
                return submitted(self._operations, row, preview), ""
        except CvmError as error:
            return None, error_text(error)
        self._noted(step, None)
        return None, step.reason if step.action == "refused" else ""

    def _noted(self, step: ApplyStep, operation: Operation | None) -> None:
        """Remember what was declared, and the values that a new CVM was given."""
        declared = step.declaration
        made = operation.made_id if operation is not None else None
        cvm_id = step.cvm_id or made
        if declared is None or cvm_id is None or step.action == "refused":
            return
        sent = sent_before(self._operations)
        sent.declare(cvm_id, declared.declared)
        if made is not None and operation is not None and declared.changes.env is not None:
            sent.note_env(made, declared.changes.env, operation)

    @property
    def title(self) -> str:
        """What it would do, in a line."""
        if not self.sends and not any(step.action == "refused" for step in self.steps):
            return f"{len(self)} as declared: nothing differs, and nothing would be sent"
        counts = {name: sum(s.action == name for s in self.steps) for name in _ACTIONS}
        said = ", ".join(
            f"{number} to {_ACTIONS[name]}" for name, number in counts.items() if number
        )
        confirm = f"; confirm={self.phrase!r}" if self.phrase is not None else ""
        return f"{said}; nothing was sent{confirm}"

    def __repr__(self) -> str:
        return f"<ApplyPlan: {self.title}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        cells = [_cells(step) for step in self.steps]
        previews = [step.preview for step in self.steps if step.sends and step.preview is not None]
        text = [text_table(self.title, _HEAD, cells), *map(str, previews)]
        parts = [html_table(self.title, _HEAD, cells)]
        for preview in previews:
            shown = preview._repr_mimebundle_()["text/html"]
            name = html.escape(clean_text(preview.name, 80))
            parts.append(f"<details><summary>{name}</summary>{shown}</details>")
        return {"text/plain": "\n\n".join(text), "text/html": "".join(parts)}


_ACTIONS: Mapping[str, str] = {
    "create": "create",
    "update": "update",
    "nothing": "leave as they are",
    "refused": "refuse",
}


def _cells(step: ApplyStep) -> tuple[str, ...]:
    rates = usd(step.rate_before_usd_h) or "", usd(step.rate_after_usd_h) or ""
    restarts = "yes" if step.restarts else "no" if step.action == "update" else ""
    return (step.name, step.action, step.changes, restarts, *rates, step.reason)


@dataclass(frozen=True, slots=True)
class AppliedApp:
    """What became of a step; `reason` says why there is no operation."""

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
        """What is known beyond the state, in words."""
        if self.operation is None:
            return self.reason
        error = self.operation.error
        return self.operation.note if error is None else error_text(error)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying came to, CVM by CVM: partial failure is a result."""

    rows: tuple[AppliedApp, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[AppliedApp]:
        return iter(self.rows)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations that were asked for; none where nothing differed."""
        return tuple(row.operation for row in self.rows if row.operation is not None)

    @property
    def failed(self) -> tuple[AppliedApp, ...]:
        """What did not come to what was declared: failed, refused or unknown."""
        bad = {"failed", "refused", "unknown", "cancelled"}
        return tuple(row for row in self.rows if row.state in bad)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def _told(self) -> list[tuple[str, str, str]]:
        return [
            (
                row.step.name,
                row.step.action,
                row.reason if row.operation is None else as_text(row.operation.record, named=False),
            )
            for row in self.rows
        ]

    @property
    def _title(self) -> str:
        if not self.operations and self.ok:
            return "Nothing differed, and nothing was sent"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{len(self.operations)} of {len(self)} changed{failed}"

    def __repr__(self) -> str:
        return text_table(self._title, ("name", "action", ""), self._told())

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        table = html_table(self._title, ("name", "action", ""), self._told())
        return {"text/plain": repr(self), "text/html": table}


# --- making what is not there -------------------------------------------------------------------


def values_of(app: AppDeclaration) -> Values:
    """Return the fields of a deployment."""
    said = app.changes
    names = ("instance_type", "image", "disk_size", "listed", *VISIBILITY)
    chosen = {name: getattr(said, name) for name in names if getattr(said, name) is not None}
    if said.vcpu or said.memory:
        chosen.setdefault("instance_type", "")
    return Values(
        name=app.name,
        compose_file=said.compose_file or "",
        region=app.region,
        node_id=app.node_id,
        **chosen,
    )


def _created(operations: OperationService, app: AppDeclaration) -> Operation:
    """Provision and commit a new CVM.

    Raises
    ------
    CvmError
        It was refused.
    """
    said = app.changes
    more = {name: getattr(said, name) for name in ("vcpu", "memory")}
    env: Mapping[str, Secret] = said.env or {}
    provisioned = Provisioned.request(
        operations.client,
        values_of(app),
        tuple(env),
        script=said.pre_launch_script or "",
        more={name: value for name, value in more.items() if value is not None},
    )
    return provisioned.commit(operations, env)
