"""Plan: one verb for many CVMs; first a dry run, then sent with bounds, confirmed and resumable."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, Self

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.money import exact
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.ledger import intent_key
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Refused, Verb, check_verb
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.plans.data import HasOperations, as_json, from_json, rows_as_shown
from cvm_notebook.live.plans.dry_run import PlanRow, dry_run
from cvm_notebook.live.plans.outcome import Outcome, OutcomeRow
from cvm_notebook.live.plans.runner import ExecutionOptions, PlanRunner
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text, counted, signed

_NOTHING: Final = Decimal(0)


class NotConfirmed(Refused):
    """The phrase that confirms a destructive plan is missing or wrong; nothing was sent."""


class Plan:
    """A dry run of one verb over the rows of a snapshot; nothing is sent before `execute`.

    Parameters
    ----------
    rows
        The CVMs as they are shown; each once.
    verb
        What to do with them.
    operations
        Who sends; may be given to `execute` instead.
    params
        What the verb takes beside the CVM, such as ``force`` of a restart.
    id
        What makes it the same plan wherever it is executed: of each CVM of a plan, one operation
        is sent. A new one when not given.

    Examples
    --------
    >>> plan = fleet.where(name="my-app").plan("delete")
    >>> plan.phrase  # what execute(confirm=...) wants
    'delete 1'
    >>> plan.rows()[0].allowed
    True
    """

    def __init__(
        self,
        rows: Iterable[Row],
        verb: Verb,
        *,
        operations: OperationService | None = None,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - what it is called everywhere
    ) -> None:
        self.verb: Verb = check_verb(verb)
        self.id = id or f"plan_{secrets.token_hex(8)}"
        if self.verb == "commit":
            raise InvalidInput("verb", "a commit has no CVM to plan for", "Use operations.submit.")
        if SPECS[self.verb].changes_record and not params:
            problem = f"{self.verb} needs the changes to make"
            remedy = "Use update(..., dry_run=True), or rollback(..., dry_run=True)."
            raise InvalidInput("verb", problem, remedy)
        self._operations = operations
        self._params = dict(params or {})
        self._shown = {row.id: row for row in rows}
        now = datetime.now(UTC) if operations is None else operations.clock.now()
        self._rows = dry_run(self._shown.values(), self.verb, now)
        self._sent: dict[str, Operation] = {}
        self._elsewhere: dict[str, str] = {}  # of each CVM, the operation that another kernel sent
        self._terms: ExecutionOptions | None = None
        self._interrupted = False

    # --- the dry run -----------------------------------------------------------------------------

    def rows(self) -> tuple[PlanRow, ...]:
        """Return what would be done, in the order of the rows."""
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def sends(self) -> int:
        """The number of CVMs to which something would be sent."""
        return sum(row.sends for row in self._rows)

    @property
    def phrase(self) -> str | None:
        """The phrase for ``confirm`` of `execute`; None where nothing needs to be confirmed."""
        if not any(row.needs_confirm for row in self._rows):
            return None
        return f"{self.verb} {self.sends}"

    @property
    @exact
    def rate_change_usd_h(self) -> Decimal:
        """By how much the price per hour changes, as far as prices are known."""
        return sum((row.rate_change_usd_h or _NOTHING for row in self._rows), _NOTHING)

    # --- doing it --------------------------------------------------------------------------------

    def execute(
        self,
        operations: OperationService | None = None,
        *,
        confirm: str | None = None,
        concurrency: int = 8,
        rate: float | None = None,
        progress: bool = True,
        until: Literal["accepted", "reached"] = "accepted",
        together: bool = True,
    ) -> Outcome:
        """Send what was planned; what fails is in the outcome, and is not raised.

        Ctrl-C sends nothing new from that moment; `outcome` has what was done, and `resume` sends
        the rest. A restart or replication that is planned anew and executed after that goes on with
        the interrupted plan, too: no CVM is restarted or replicated twice. With a ledger in a file
        that holds beyond the end of the kernel.

        Parameters
        ----------
        operations
            Who sends, if the plan was not made with one.
        confirm
            The plan's `phrase`.
        concurrency
            The most requests, or with ``until="reached"`` CVMs, at once.
        rate
            The most CVMs a second.
        progress
            Show a bar.
        until
            When a row counts as done: ``"reached"`` waits until the CVM is where it should be.
        together
            Stop with one request for up to fifty CVMs, where that can be done.

        Raises
        ------
        NotConfirmed
            Something needs the phrase, and it was not given as it is.
        Refused
            The plan was executed already.
        WorkspaceSuspended
            It starts what a suspended workspace may not.
        """
        if self._terms is not None:
            raise Refused(
                "this plan was executed already",
                hint="resume() sends what was not sent; make a new plan to do it again.",
            )
        if self.phrase is not None and not (isinstance(confirm, str) and confirm == self.phrase):
            given = "" if confirm is None else f", and not {clean_text(repr(confirm), 80)}"
            rentals = "".join(f". Of {row.name!r} {row.term}" for row in self._rows if row.term)
            raise NotConfirmed(
                f"nothing was sent: to {self.verb} {counted(self.sends, 'CVM')} takes "
                f"confirm={self.phrase!r}{given}{rentals}",
                hint="Read the plan once more, then give the phrase.",
            )
        terms = ExecutionOptions(
            concurrency=concurrency,
            rate=rate,
            progress=progress,
            until=until,
            together=together,
        )
        self._operations = operations = operations or self._operations
        if operations is None:
            raise InvalidInput(
                "operations", "the plan has no service to send it", "Give operations=."
            )
        if self.sends and SPECS[self.verb].computes:
            operations.client.check_workspace()
        self._terms = terms
        return self._run(operations, terms)

    def resume(self, *, progress: bool | None = None) -> Outcome:
        """Send what was not sent before an interruption; nothing that was sent is sent again."""
        if self._terms is None or self._operations is None:
            raise Refused("this plan was not executed yet", hint="Use execute().")
        terms = self._terms
        if progress is not None:
            terms = replace(terms, progress=progress)
        return self._run(self._operations, terms)

    @property
    def outcome(self) -> Outcome:
        """The result of each row until now."""
        now = self._operations.clock.monotonic() if self._operations is not None else 0.0
        return Outcome(
            tuple(self._outcome_of(row, now) for row in self._rows), interrupted=self._interrupted
        )

    def _run(self, operations: OperationService, terms: ExecutionOptions) -> Outcome:
        database = operations.database
        key = intent_key(self.verb, None, {"cvms": sorted(self._shown), **self._params})
        self.id = database.begin_plan(self.id, key, counted=SPECS[self.verb].is_counted)
        self._find_sent(operations)
        left = [self._shown[row.cvm_id] for row in self._rows if self._is_left(row)]
        run = PlanRunner(operations, self.verb, self._params, terms, self.id)
        self._interrupted = True
        try:
            run.go(left, self._sent)
        except KeyboardInterrupt as interrupt:
            was = sum(one.attempts > 0 for one in self._sent.values())
            interrupt.add_note(
                f"{was} of {counted(self.sends, 'CVM')} had been sent to: plan.outcome has them, "
                "plan.resume() sends the rest."
            )
            raise
        self._interrupted = False
        self._find_sent(operations)
        database.finish_plan(self.id)
        return self.outcome

    def _find_sent(self, operations: OperationService) -> None:
        """Find the operations that this plan has already, of whatever kernel."""
        for cvm_id, operation_id in operations.database.sent_of_plan(self.id).items():
            operation = operations.get(operation_id)
            if operation is None:
                self._elsewhere[cvm_id] = operation_id
            else:
                self._sent[cvm_id] = operation

    def _is_left(self, row: PlanRow) -> bool:
        sent = self._sent.get(row.cvm_id)
        is_open = sent is None or sent.state == "cancelled"
        return row.allowed and row.sends and is_open and row.cvm_id not in self._elsewhere

    def _outcome_of(self, row: PlanRow, now: float) -> OutcomeRow:
        record = self._record_of(row.cvm_id)
        if record is not None:
            return OutcomeRow.of_record(row.cvm_id, record, now)
        state: Literal["planned", "refused", "skipped"] = "planned" if row.sends else "skipped"
        return OutcomeRow(
            cvm_id=row.cvm_id,
            name=row.name,
            verb=row.verb,
            state=state if row.allowed else "refused",
            reason=row.reason,
        )

    def _record_of(self, cvm_id: str) -> OperationRecord | None:
        """Return the record of a CVM's operation, of this kernel or of another one."""
        if cvm_id in self._elsewhere and self._operations is not None:
            return self._operations.database.record(self._elsewhere[cvm_id])
        operation = self._sent.get(cvm_id)
        return None if operation is None else operation.record

    # --- as data ---------------------------------------------------------------------------------

    def split(self, parts: int) -> tuple[Self, ...]:
        """Return the plan in parts of about the same size, each a plan of its own.

        Whatever runs them, here or on other machines, sends each of them once: see `to_json`.

        Raises
        ------
        InvalidInput
            `parts` is not a whole number from 1 up.
        """
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            shown = clean_text(repr(parts), 60)
            raise InvalidInput("parts", f"{shown} is not a number of parts", "From 1 up.")
        rows = list(self._shown.values())
        return tuple(
            type(self)(
                rows[first::parts],
                self.verb,
                operations=self._operations,
                params=self._params,
                id=f"{self.id}.{first + 1}-of-{parts}",
            )
            for first in range(min(parts, len(rows)))
        )

    def to_json(self) -> str:
        """Return the plan as data; `from_json` makes a plan of it again, in any process.

        It holds the CVMs' ids, names and statuses, and no key.
        """
        return as_json(self.id, self.verb, self._params, self._shown.values())

    @classmethod
    def from_json(cls, text: str, fleet: HasOperations) -> Self:
        """Return the plan of a JSON text, to be executed with the fleet of this process.

        The same plan is the same one in each process whose fleets share a ledger in a file: what
        one of them has sent for a CVM, no other sends again.

        Raises
        ------
        InvalidInput
            It is not a plan.
        """
        data = from_json(text)
        rows = rows_as_shown(data.rows, fleet.snapshot())
        return cls(rows, data.verb, operations=fleet.operator, params=data.params, id=data.id)

    def __repr__(self) -> str:
        refused = sum(not row.allowed for row in self._rows)
        parts = [f"{self.verb} {self.sends} of {counted(len(self), 'CVM')}"]
        if refused:
            parts.append(f"{refused} refused")
        if self.rate_change_usd_h:
            parts.append(f"{signed(self.rate_change_usd_h)} USD/h")
        if self.phrase is not None:
            parts.append(f"confirm={self.phrase!r}")
        return f"<Plan: {', '.join(parts)}>"
