"""Plan frames: the dry run of a verb on each CVM of a frame, and its outcome."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm, HourlyRate
from cvm_notebook.api.status import status_of
from cvm_notebook.frames.convert import as_text, conform
from cvm_notebook.frames.reports.operations import STATES
from cvm_notebook.frames.schema import (
    DURATION,
    FLAG,
    INTEGER,
    MONEY,
    TEXT,
    Field,
    Table,
    fixed,
    require,
)
from cvm_notebook.live.operations.preconditions import VERBS, Verb, check_verb
from cvm_notebook.live.plans.data import NEVER, UpdatedField
from cvm_notebook.live.plans.dry_run import PlanRow
from cvm_notebook.live.plans.outcome import OutcomeRow
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Row, Snapshot

if TYPE_CHECKING:
    from cvm_notebook.live.engine import FleetEngine

_VERB: Final = fixed((*VERBS, "other"))
_PLAN_ID: Final = "plan_id"
_OUTCOMES: Final = (*STATES, "refused", "skipped")


class Planned(NamedTuple):
    """A row of a plan, and the status it was planned with, where that is known."""

    row: PlanRow
    status: str | None = None


PLAN: Final[Table[Planned]] = Table(
    "plan/1",
    (Field("cvm_id", TEXT, lambda p: p.row.cvm_id, "the CVM"),),
    (
        Field("name", TEXT, lambda p: p.row.name, "its name"),
        Field("verb", _VERB, lambda p: p.row.verb, "what would be asked of it"),
        Field("allowed", FLAG, lambda p: p.row.allowed, "whether it may be asked as things stand"),
        Field(
            "reason",
            TEXT,
            lambda p: p.row.reason or None,
            "why not, or why nothing would be sent",
        ),
        Field("effect", TEXT, lambda p: p.row.effect, "what it would do, in words"),
        Field(
            "rate_change_usd_h",
            MONEY,
            lambda p: p.row.rate_change_usd_h,
            "by how much the price an hour would change; missing where no price is known",
        ),
        Field(
            "needs_confirm",
            FLAG,
            lambda p: p.row.needs_confirm,
            "whether it is sent only with the plan's phrase",
        ),
        Field("sends", FLAG, lambda p: p.row.sends, "whether anything would be sent for it"),
        Field("revision", INTEGER, lambda p: p.row.revision or None, "of the row planned with"),
        Field("status", TEXT, lambda p: p.status, "its status as it was planned with"),
    ),
)
OUTCOME: Final[Table[OutcomeRow]] = Table(
    "outcome/2",
    (Field("cvm_id", TEXT, lambda o: o.cvm_id, "the CVM"),),
    (
        Field("name", TEXT, lambda o: o.name, "its name"),
        Field("verb", _VERB, lambda o: o.verb, "what was asked of it"),
        Field(
            "state",
            fixed(_OUTCOMES),
            lambda o: o.state,
            "as of an operation; planned: not sent yet; refused: not possible, and not sent; "
            "skipped: there was nothing to do",
        ),
        Field("reason", TEXT, lambda o: o.reason or None, "why"),
        Field("hint", TEXT, lambda o: o.hint, "what to do"),
        Field("operation_id", TEXT, lambda o: o.operation_id, "the entry in the ledger"),
        Field("attempts", INTEGER, lambda o: o.attempts, "calls that were sent"),
        Field("http_status", INTEGER, lambda o: o.http_status, "of the last answer"),
        Field("error_code", TEXT, lambda o: o.error_code, "the service's code"),
        Field(
            "elapsed",
            DURATION,
            lambda o: None if o.elapsed is None else timedelta(seconds=o.elapsed),
            "from asking to the end, or until now",
        ),
    ),
)


@PLAN.documents
def plan_frame(rows: Iterable[PlanRow]) -> pd.DataFrame:
    """List what a plan would do, one CVM a row; `Plan.rows` gives the rows."""
    return PLAN.frame(Planned(row) for row in checks.members("rows", rows, PlanRow))


@OUTCOME.documents
def outcome_frame(rows: Iterable[OutcomeRow]) -> pd.DataFrame:
    """List what became of a plan, one CVM a row; an `Outcome` gives the rows."""
    return OUTCOME.frame(checks.members("rows", rows, OutcomeRow))


def plan_of(fleet: pd.DataFrame, verb: str) -> pd.DataFrame:
    """Plan a verb for the CVMs of a fleet frame; nothing is sent. See `plan_frame`.

    The change of the price is known where the frame has ``rate_compute_usd_h`` and
    ``rate_disk_usd_h``, as ``columns="wide"`` gives it.
    """
    frame = conform(fleet)
    word = "status_raw" if "status_raw" in frame else "status"
    require(frame, [word], "a plan")
    if frame.index.has_duplicates or frame.index.hasnans:
        raise InvalidInput("frame", "has a CVM twice, or one without an id", "Keep one of each.")
    shown = [_row_of(cells) for cells in _records(frame)]
    status = {row.id: row.status for row in shown}
    made = Plan(shown, check_verb(verb))
    planned = PLAN.frame(Planned(row, status[row.cvm_id]) for row in made.rows())
    planned.attrs[_PLAN_ID] = made.id  # parts of it are parts of the same plan
    return planned


def _records(frame: pd.DataFrame) -> Iterable[Mapping[str, str | None]]:
    wanted = ["name", "status", "status_raw", "in_progress", "revision"]
    wanted += [f"rate_{of}usd_h" for of in ("", "compute_", "disk_")]
    columns = {name: as_text(frame[name]) for name in wanted if name in frame}
    for at, cvm_id in enumerate(frame.index):
        yield {"cvm_id": cvm_id, **{name: cells[at] for name, cells in columns.items()}}


def _row_of(cells: Mapping[str, str | None]) -> Row:
    """Rebuild a row from a line of a fleet frame, with the fields that a plan needs."""
    rate = HourlyRate(
        total=cells.get("rate_usd_h"),
        compute=cells.get("rate_compute_usd_h"),
        disk=cells.get("rate_disk_usd_h"),
    )
    return Row(
        cvm=Cvm(id=cells["cvm_id"], name=cells.get("name"), hourly_rate=rate),
        status=cells.get("status_raw") or cells.get("status"),
        in_progress=cells.get("in_progress") == "true",
        revision=int(cells.get("revision") or 0),
        seen=NEVER,
    )


# --- doing it -----------------------------------------------------------------------------------


def phrase_of(plan: pd.DataFrame) -> str | None:
    """Return what `execute` wants as ``confirm``; None where nothing needs to be confirmed."""
    _check_plan(plan)
    if not plan["needs_confirm"].fillna(value=True).any():
        return None
    return f"{_verb_of(plan)} {int(plan['sends'].sum())}"


def execute(plan: pd.DataFrame, fleet: "FleetEngine", **terms: Any) -> pd.DataFrame:
    """Send what a frame of a plan says; see `DataFrame.cvm.execute`."""
    _check_plan(plan)
    if plan.empty:  # of a choice that chose none: a job that runs every night goes on
        return outcome_frame(())
    shown = _shown(plan, fleet.snapshot(), fleet.store.log())
    known = plan.attrs.get(_PLAN_ID)
    made = Plan(
        shown,
        _verb_of(plan),
        operations=fleet.operator,
        id=known if isinstance(known, str) else None,
    )
    return outcome_frame(made.execute(**terms).rows)


def _check_plan(plan: pd.DataFrame) -> None:
    require(plan, [field.name for field in PLAN.fields], "a plan")
    if plan.index.name != PLAN.index[0].name or plan.index.has_duplicates:
        raise InvalidInput("frame", "is not a plan: cvm_id is not its index", "Plan anew.")


def _verb_of(plan: pd.DataFrame) -> Verb:
    verbs = list(plan["verb"].dropna().unique())
    if len(verbs) != 1:
        problem = f"has {len(verbs)} verbs" if verbs else "plans nothing"
        raise InvalidInput("frame", problem, "Execute one verb at a time.")
    return check_verb(str(verbs[0]))


def _shown(plan: pd.DataFrame, now: Snapshot, log: Log) -> list[Row]:
    """Return the rows as the plan showed them: what has changed since is refused one by one."""
    present = {row.id: row for row in now.rows}
    past = {(c.after.id, c.after.revision): c.after for c in log.changes if c.after is not None}
    cells = zip(
        plan.index, *(as_text(plan[name]) for name in ("name", "revision", "status")), strict=True
    )
    found = []
    for cvm_id, name, revision, status in cells:
        row = present.get(cvm_id)
        if row is None:  # gone: the plan's own words are all there is
            row = Row(cvm=Cvm(id=cvm_id, name=name), status=status, seen=NEVER)
        elif status is not None:
            same = status_of(row.status) == status_of(status)
            row = row if same else replace(row, status=status)
        elif revision is None or int(revision) != row.revision:
            then = past.get((cvm_id, int(revision or 0)))
            row = replace(row, status=None) if then is None else then
        found.append(row)
    return found


# --- updates -----------------------------------------------------------------------------------

ACTIONS: Final = ("create", "update", "replicate", "delete", "nothing", "refused")


@runtime_checkable
class AppliedStep(Protocol):
    """One step for a declared app, as this module needs it; `ApplyPlan.steps` has them."""

    @property
    def name(self) -> str:
        """The CVM's name."""

    @property
    def action(self) -> str:
        """The action."""

    @property
    def cvm_id(self) -> str | None:
        """The CVM, where it is there."""

    @property
    def changes(self) -> str:
        """The fields that would change."""

    @property
    def restarts(self) -> bool:
        """Whether it restarts."""

    @property
    def rate_before_usd_h(self) -> Decimal | None:
        """The price of an hour now."""

    @property
    def rate_after_usd_h(self) -> Decimal | None:
        """The price of an hour then."""

    @property
    def needs_confirm(self) -> bool:
        """Whether it is sent only with the plan's phrase."""

    @property
    def reason(self) -> str:
        """The reason of a refusal, or a warning."""


UPDATE: Final[Table[UpdatedField]] = Table(
    "update/1",
    (Field("field", TEXT, lambda c: c.field, "what would be otherwise"),),
    (
        Field("before", TEXT, lambda c: c.before, "as it is; of texts, how long they are"),
        Field("after", TEXT, lambda c: c.after, "as it would be"),
    ),
)
APPLY: Final[Table[AppliedStep]] = Table(
    "apply/1",
    (Field("name", TEXT, lambda s: s.name, "the CVM's name; of a copy, its app's"),),
    (
        Field("action", fixed(ACTIONS), lambda s: s.action, "what would be done"),
        Field("cvm_id", TEXT, lambda s: s.cvm_id, "the CVM, where it is there"),
        Field("changes", TEXT, lambda s: s.changes or None, "which fields would be otherwise"),
        Field("restarts", FLAG, lambda s: s.restarts, "whether it restarts"),
        Field("rate_before_usd_h", MONEY, lambda s: s.rate_before_usd_h, "the price an hour now"),
        Field("rate_after_usd_h", MONEY, lambda s: s.rate_after_usd_h, "the price an hour then"),
        Field(
            "needs_confirm",
            FLAG,
            lambda s: s.needs_confirm,
            "whether it is sent only with the plan's phrase",
        ),
        Field("reason", TEXT, lambda s: s.reason or None, "why not, or what to be careful of"),
    ),
)


@UPDATE.documents
def update_frame(fields: Iterable[UpdatedField]) -> pd.DataFrame:
    """List the fields of a CVM that an update would change; `UpdatePreview.fields` gives them."""
    return UPDATE.frame(checks.members("fields", fields, UpdatedField))


@APPLY.documents
def apply_frame(steps: Iterable[AppliedStep]) -> pd.DataFrame:
    """List what `Fleet.apply` would do, one app a row; `ApplyPlan.steps` gives them."""
    return APPLY.frame(checks.members("steps", steps, AppliedStep))  # type: ignore[type-abstract]
