"""PlanRow: the effect of a verb on one CVM, judged without a request."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from cvm_notebook.api.money import exact
from cvm_notebook.api.rental import Term, term_of
from cvm_notebook.api.status import charged
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.live.operations.preconditions import Precheck, Verb, precheck
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One row of a plan: the effect on one CVM.

    Attributes
    ----------
    allowed, reason
        Whether it may be asked, and why not, or why nothing would be sent.
    effect
        What it does, in words.
    rate_change_usd_h
        By how much the price per hour changes; None where the service gives no price.
    needs_confirm
        Whether it is sent only with the plan's phrase.
    sends
        Whether anything would be sent for it.
    revision
        The store's revision of the row that was planned with.
    term
        Until when its GPUs cost the same, whatever is done, and why; empty where they do not.
    """

    cvm_id: str
    name: str
    verb: Verb
    allowed: bool
    reason: str
    effect: str
    rate_change_usd_h: Decimal | None
    needs_confirm: bool
    sends: bool
    revision: int
    term: str = ""


def dry_run(rows: Iterable[Row], verb: Verb, now: datetime) -> tuple[PlanRow, ...]:
    """Return what a verb would do to each CVM, in their order: pure."""
    judged = [(row, Reading.of_row(row)) for row in rows]
    checks = [precheck(verb, seen) for _, seen in judged]
    several = sum(check.sends for check in checks) > 1
    when = SPECS[verb].confirm
    confirmed = when == "always" or (when == "several" and several)
    ends = SPECS[verb].price.startswith("-")
    terms = [
        term_of(row.cvm, now) if ends and c.sends else None
        for (row, _), c in zip(judged, checks, strict=True)
    ]
    return tuple(
        PlanRow(
            cvm_id=row.id,
            name=seen.name,
            verb=verb,
            allowed=check.allowed,
            reason=check.reason,
            effect=check.effect if term is None else f"{check.effect}; {term.text}",
            rate_change_usd_h=_rate_change(verb, row, seen, check, term),
            needs_confirm=(confirmed and check.sends) or term is not None,
            sends=check.sends,
            revision=row.revision,
            term="" if term is None else term.text,
        )
        for (row, seen), check, term in zip(judged, checks, terms, strict=True)
    )


@exact
def _rate_change(
    verb: Verb, row: Row, seen: Reading, check: Precheck, term: Term | None
) -> Decimal | None:
    """Return what the verb does to the price per hour: computing is paid while it runs.

    In the minimum term of GPUs it is paid whether it runs or not.
    """
    price = SPECS[verb].price
    if not check.sends or not price:
        return _NOTHING
    rate = row.cvm.hourly_rate
    compute = rate.compute_usd if rate is not None else None
    disk = _NOTHING if rate is None or price.endswith("compute") else rate.disk_usd
    if compute is None or disk is None:
        return None
    runs = charged(seen.status, compute, _NOTHING, _NOTHING)
    if price == "+compute":
        return compute - runs
    saved = _NOTHING if term is not None else runs
    return compute + disk if price == "+total" else -saved - disk
