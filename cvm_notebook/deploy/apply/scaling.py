"""Scaling: counting an app's instances, planning the steps to the declared number, sending them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Self

from cvm_notebook.api.errors.tree import CvmError, NotFoundError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.rental import term_of
from cvm_notebook.api.verbs import Verb
from cvm_notebook.deploy.apply.steps import AppliedApp, ApplyStep
from cvm_notebook.deploy.declaration import AppDeclaration
from cvm_notebook.deploy.updating import error_text
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.store.observation import Observation, Reading
from cvm_notebook.live.store.records import Provenance, Row

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_LEAVING: Final = frozenset({"deleting", "gone"})
_COPIED: Final = ("running", "stopped")  # the former first
_CHANGING: Final = frozenset({"commit", "update", "redeploy", "start", "restart"})
_GIVEN_UP: Final = timedelta(seconds=OperationSettings().reach)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """The instances of an app that is there, beside what is declared of their number.

    Attributes
    ----------
    rows
        As the service lists them, the oldest first, without those that are on their way out.
    making
        How many are being made and not listed: asked for, or sent and not answered, by whatever
        kernel shares the ledger.
    leaving
        Whether any is on its way out.
    named
        What is declared, by whatever it is called there.
    """

    app: AppDeclaration
    rows: tuple[Row, ...]
    making: int = 0
    leaving: bool = False
    named: frozenset[str] = frozenset()

    @classmethod
    def read(
        cls,
        client: "Client",
        operations: OperationService,
        app: AppDeclaration,
        app_id: str,
        named: frozenset[str],
    ) -> Self:
        """Read them from the service, and add them to the fleet.

        Raises
        ------
        CvmError
            They cannot be read.
        """
        began = operations.clock.monotonic()
        try:
            found = {cvm.id: cvm for cvm in client.get_app_cvms(app_id) if cvm.id}
        except NotFoundError:
            found = {}
        rows = [_row_of(operations, cvm, began) for cvm in found.values()]
        stay = [row for row in rows if not _leaves(operations, row, found[row.id])]
        asked = [
            one
            for one in making(operations, "replicate")
            if one.cvm_id in found and one.made_id not in found
        ]
        return cls(
            app=app,
            rows=tuple(sorted(stay, key=_age)),
            making=len(asked),
            leaving=len(stay) < len(rows),
            named=named,
        )

    @property
    def missing(self) -> int:
        """The number of instances to make; those under way count as there."""
        wanted = self.app.replicas
        return 0 if wanted is None else max(0, wanted - len(self.rows) - self.making)

    @property
    def excess(self) -> int:
        """The number of instances too many; those under way do not count yet."""
        wanted = self.app.replicas
        return 0 if wanted is None else max(0, len(self.rows) - wanted)

    @property
    def surplus(self) -> tuple[Row, ...]:
        """The instances to delete, the newest first; fewer than `excess` where some are kept."""
        kept = self._kept
        spare = [row for row in reversed(self.rows) if row.id not in kept]
        return tuple(spare[: self.excess])

    @property
    def _kept(self) -> frozenset[str]:
        """The instances never deleted: one named by its id, and one by which the app is found."""
        others = self.named - {self.app.name}
        kept = {row.id for row in self.rows if row.id in self.named or row.name in others}
        called = [row.id for row in self.rows if row.name == self.app.name]
        return frozenset(kept | set(called[:1]))

    def steps(self, operations: OperationService, updates: Sequence[ApplyStep]) -> list[ApplyStep]:
        """Return the steps to the number that is declared.

        Parameters
        ----------
        updates
            The steps of those that stay, which come first.
        """
        if any(step.action == "refused" for step in updates):
            return []  # what stays is not as declared: it is neither copied nor thinned out
        if self.missing:
            return list(self._copied(operations, updates))
        surplus = self.surplus
        if len(surplus) < self.excess:
            why = (
                f"it has {len(self.rows)} instances, not {self.app.replicas}, and "
                f"{self.excess - len(surplus)} of those to delete are declared themselves"
            )
            return [_refused(self.app, why)]
        now = operations.clock.now()
        return [self._deletion(row, now) for row in surplus]

    def _copied(
        self, operations: OperationService, updates: Sequence[ApplyStep]
    ) -> Iterator[ApplyStep]:
        changed = {step.cvm_id: step for step in updates}
        source = self._source(operations)
        if source is None:
            doing = ", ".join(
                f"'{seen.name}' is {seen.doing}" for seen in map(Reading.of_row, self.rows)
            )
            why = f"none of its instances can be copied now: {doing}"
            yield _refused(self.app, f"{why}. Apply again once one runs")
            return
        rate = None if source.cvm.hourly_rate is None else source.cvm.hourly_rate.total_usd
        if source.id in changed:
            rate = changed[source.id].rate_after_usd_h
        yield from copies(self.app, self.missing, rate, source)

    def _source(self, operations: OperationService) -> Row | None:
        """Return what is copied: one that is at rest, or will be by what was asked for here."""
        for phase in _COPIED:
            for row in self.rows:
                if Reading.of_row(row).phase == phase and not Reading.of_row(row).busy:
                    return row
        return next((row for row in self.rows if _changing(operations, row.id)), None)

    def _deletion(self, row: Row, now: datetime) -> ApplyStep:
        """Plan to delete one; in the minimum term of GPUs computing is paid all the same."""
        rate, term = row.cvm.hourly_rate, term_of(row.cvm, now)
        after = _NOTHING if term is None else rate.compute_usd if rate is not None else None
        wanted = (
            f"{self.app.replicas} of {len(self.rows)} instances are declared: it goes, its disk too"
        )
        return ApplyStep(
            name=row.name or row.id,
            action="delete",
            cvm_id=row.id,
            rate_before_usd_h=None if rate is None else rate.total_usd,
            rate_after_usd_h=after,
            reason="; ".join([wanted, *([term.text] if term is not None else [])]),
            declaration=self.app,
            row=row,
        )


def copies(
    app: AppDeclaration, number: int, rate: Decimal | None, source: Row | None = None
) -> list[ApplyStep]:
    """Return a step for each further instance; without `source`, copies of what is made first."""
    what = "the first, once it runs" if source is None else f"'{source.name or source.id}'"
    step = ApplyStep(
        name=app.name,
        action="replicate",
        rate_after_usd_h=rate,
        reason=f"one more instance, a copy of {what}",
        declaration=app,
        row=source,
    )
    return [step] * number


def making(operations: OperationService, verb: Verb) -> list[OperationRecord]:
    """Return what is being made, or may be: by this kernel, or one that shares its ledger."""
    here = [one.record for one in operations.alive() if one.verb == verb]
    since = operations.clock.now() - _GIVEN_UP
    return here + [
        one
        for one in operations.database.records()
        if one.verb == verb and not one.done and one.asked_at > since
    ]


def _refused(app: AppDeclaration, why: str) -> ApplyStep:
    return ApplyStep(name=app.name, action="refused", reason=why, declaration=app)


def _age(row: Row) -> tuple[datetime, str]:
    return row.cvm.created or _NEVER, row.id


def _row_of(operations: OperationService, cvm: Cvm, asked: float | None = None) -> Row:
    """Return the fleet's row of a CVM whose record was read just now, telling the fleet of it."""
    now, store = operations.clock.monotonic(), operations.store
    store.patch([Observation.of_cvm(cvm, received=now, asked=asked)])
    seen = Provenance(now, operations.clock.now(), "get", asked)
    return store.get(cvm.id or "") or Row.of_cvm(cvm, seen)


def _leaves(operations: OperationService, row: Row, now: Cvm) -> bool:
    deleting = any(one.verb == "delete" for one in operations.alive(row.id))
    return deleting or not _LEAVING.isdisjoint(
        {Reading.of_row(row).phase, Reading.of_cvm(now).phase}
    )


def _changing(operations: OperationService, cvm_id: str) -> list[Operation]:
    """Return what was asked for here and changes a CVM, or makes it."""
    alive = operations.alive(cvm_id)
    return [
        one
        for one in alive
        if one.verb in _CHANGING or (one.verb == "replicate" and one.made_id == cvm_id)
    ]


# --- sending -------------------------------------------------------------------------------------


def scale(
    operations: OperationService, steps: Sequence[ApplyStep], before: Sequence[AppliedApp]
) -> list[AppliedApp]:
    """Send the steps that change the number of instances of one app; does I/O.

    Parameters
    ----------
    before
        What was done for the others of the app, each at its end: where one of these has failed,
        nothing is sent, and each step says why.
    """
    failed = next((row for row in before if row.state not in {"reached", "nothing"}), None)
    if failed is not None:
        step = failed.step
        why = f"not sent: the {step.action} of '{step.name}' is {failed.state}: {failed.why}"
        return [AppliedApp(step, reason=why) for step in steps]
    try:
        if steps[0].action == "delete":
            return [_deleted(operations, step) for step in steps]
        made = (row.operation.made_id for row in before if row.operation is not None)
        row = steps[0].row
        source = row.id if row is not None else next((one for one in made if one), "")
        asked = replicate(operations, _at_rest(operations, source), len(steps))
    except CvmError as error:
        return [AppliedApp(step, reason=f"not sent: {error_text(error)}") for step in steps]
    return [AppliedApp(step, one) for step, one in zip(steps, asked, strict=True)]


def _deleted(operations: OperationService, step: ApplyStep) -> AppliedApp:
    return AppliedApp(step, operations.submit("delete", step.row))


def _at_rest(operations: OperationService, cvm_id: str) -> Cvm:
    """Wait for what was asked of a CVM before, and read it.

    Raises
    ------
    CvmError
        That did not succeed, or somebody else is changing it.
    """
    for operation in _changing(operations, cvm_id):
        operation.result()
    cvm = operations.client.get_cvm_info(cvm_id)
    seen = Reading.of_cvm(cvm)
    if seen.busy:
        raise CvmError(f"'{seen.name}' is {seen.doing}", hint="Apply again once it has finished.")
    return cvm


def replicate(operations: OperationService, cvm: Cvm, number: int) -> tuple[Operation, ...]:
    """Ask for so many further instances of a CVM's app; its record was read just now."""
    if number < 1:
        return ()
    row = _row_of(operations, cvm)
    known = {record.id for record in operations.records()}
    asked: list[Operation] = []
    while len(asked) < number:
        one = operations.submit("replicate", row, again=True)
        if one.id not in known:  # else what an earlier kernel had asked for, which was counted
            asked.append(one)
    return tuple(asked)
