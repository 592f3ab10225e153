"""ApplyPlan and Applied: the steps that make declarations true, and what they came to."""

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.deploy.apply.creating import created
from cvm_notebook.deploy.apply.scaling import scale
from cvm_notebook.deploy.apply.steps import ACTIONS, HEAD, AppliedApp, ApplyStep
from cvm_notebook.deploy.updating import check_confirmed, error_text, sent_before, submitted
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Refused
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.text import clean_text, html_table, table_bundle, text_table

if TYPE_CHECKING:
    import pandas as pd

_ANSWER_S = 120.0  # longer than any call of the client's


class ApplyPlan:
    """A dry run of applying declarations, one step a CVM; nothing is sent before `execute`.

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
        """The number of CVMs for which something would be sent."""
        return sum(step.sends for step in self.steps)

    @property
    def phrase(self) -> str | None:
        """The phrase for ``confirm`` of `execute`; None where nothing needs to be confirmed."""
        needs = any(step.needs_confirm for step in self.steps)
        return f"{self._word} {self.sends}" if needs or (self._careful and self.sends > 1) else None

    def frame(self) -> "pd.DataFrame":
        """Return the steps as a DataFrame; see `apply_frame`."""
        with LOADING:
            from cvm_notebook.frames.reports.plan import apply_frame  # noqa: PLC0415 - pandas on demand

        return apply_frame(self.steps)

    def execute(self, *, confirm: str | None = None, wait: bool = False) -> "Applied":
        """Send what was planned; what fails is in the result, and is not raised.

        Instances are added and deleted once what is sent to the others of their app has come to its
        end, also without `wait`: a copy is to be of what is declared. Where one of these fails
        their number stays as it is.

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
        dangers = tuple(f"{step.name}: {danger}" for step in self.steps for danger in step.dangers)
        check_confirmed(self.phrase, confirm, dangers)
        self._executed = True
        scaled = {step.app for step in self.steps if step.scales}
        found: dict[int, AppliedApp] = {}
        for at, step in enumerate(self.steps):
            if not step.scales:
                found[at] = AppliedApp(step, *self._begun(step))
        for row in found.values():
            self._followed(row, wait=wait or row.step.app in scaled)
        for app in [app for app in dict.fromkeys(s.app for s in self.steps) if app in scaled]:
            before = [row for row in found.values() if row.step.app == app]
            places = [at for at, s in enumerate(self.steps) if s.scales and s.app == app]
            steps = [self.steps[at] for at in places]
            found |= zip(places, scale(self._operations, steps, before), strict=True)
        for row in found.values():
            if row.step.scales:
                self._followed(row, wait=wait)
        return Applied(tuple(found[at] for at in range(len(self))))

    def _followed(self, row: AppliedApp, *, wait: bool) -> None:
        if row.operation is None:
            return
        if wait:
            row.operation.wait()  # the tracker gives up on it after its own time
        else:
            row.operation.wait(_ANSWER_S, until="accepted")
        self._noted(row.step, row.operation)

    def _begun(self, step: ApplyStep) -> tuple[Operation | None, str]:
        """Ask for a step; return its operation, or why there is none."""
        declared, row, preview = step.declaration, step.row, step.preview
        try:
            if step.action == "create" and declared is not None:
                return created(self._operations, declared), ""
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
        if declared is None or cvm_id is None or step.action in {"refused", "delete"}:
            return
        sent = sent_before(self._operations)
        sent.declare(cvm_id, declared.declared)
        if made is None or operation is None:
            return
        if operation.verb == "replicate":
            sent.note_copy(made, operation.cvm_id or "", operation)
        elif declared.changes.env is not None:
            sent.note_env(made, declared.changes.env, operation)

    @property
    def title(self) -> str:
        """The summary, in a line."""
        if not self.sends and not any(step.action == "refused" for step in self.steps):
            return f"{len(self)} as declared: nothing differs, and nothing would be sent"
        counts = {name: sum(s.action == name for s in self.steps) for name in ACTIONS}
        summary = ", ".join(
            f"{number} to {ACTIONS[name]}" for name, number in counts.items() if number
        )
        confirm = f"; confirm={self.phrase!r}" if self.phrase is not None else ""
        return f"{summary}; nothing was sent{confirm}"

    def __repr__(self) -> str:
        return f"<ApplyPlan: {self.title}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        cells = [step.cells for step in self.steps]
        previews = [step.preview for step in self.steps if step.sends and step.preview is not None]
        text = [text_table(self.title, HEAD, cells), *map(str, previews)]
        parts = [html_table(self.title, HEAD, cells)]
        for preview in previews:
            shown = preview._repr_mimebundle_()["text/html"]
            name = html.escape(clean_text(preview.name, 80))
            parts.append(f"<details><summary>{name}</summary>{shown}</details>")
        return {"text/plain": "\n\n".join(text), "text/html": "".join(parts)}


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying, CVM by CVM: partial failure is a result."""

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
        """The apps that failed, were refused, or have an unknown result."""
        bad = {"failed", "refused", "unknown", "cancelled"}
        return tuple(row for row in self.rows if row.state in bad)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def _table_rows(self) -> list[tuple[str, str, str]]:
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
        return text_table(self._title, ("name", "action", ""), self._table_rows())

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return table_bundle(self._title, ("name", "action", ""), self._table_rows())
