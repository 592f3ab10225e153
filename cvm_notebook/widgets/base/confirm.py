"""Confirmation of destructive actions: what is lost, and what must be typed and ticked."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final, Self

from cvm_notebook.live.columns import SEARCHED, Context, charged_usd
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import age_words, clean_text, usd

_TYPABLE: Final = 63
_SHOWN: Final = 50
_NAMED: Final = 5
_NOTHING: Final = Decimal(0)
_MONTH_H: Final = 730
_HEAD: Final = ("name", "status", "USD/h", "disk", "total", "updated", "id", "app", "endpoint")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One question, and what counts as yes.

    Attributes
    ----------
    phrase
        What must be typed, exactly: the name of one CVM, or ``delete 12`` for several.
    sentences
        Each must be ticked.
    head, items
        What it is about: a table of the CVMs, up to fifty.
    """

    verb: Verb
    title: str
    phrase: str
    sentences: tuple[str, ...]
    head: tuple[str, ...]
    items: tuple[tuple[str, ...], ...]
    summary: str

    @classmethod
    def of(cls, plan: Plan, snapshot: Snapshot) -> Self | None:
        """Return what must be asked before a plan; None when it needs no asking."""
        if plan.phrase is None:
            return None
        ids = {row.cvm_id for row in plan.rows() if row.sends}
        rows = [row for row in snapshot if row.id in ids]
        context = Context(snapshot)
        one = rows[0] if len(rows) == 1 else None
        what = f"'{clean_text(one.name or one.id, 80)}'" if one else f"{len(rows)} CVMs"
        return cls(
            verb=plan.verb,
            title=f"{plan.verb.capitalize()} {what}?",
            phrase=_typable(one, snapshot) if one else plan.phrase,
            sentences=(
                *_terms(plan),
                *(_sentences(rows, snapshot) if plan.verb == "delete" else ()),
            ),
            **_table_of([_facts(row, context) for row in rows[:_SHOWN]]),
            summary=_summary(plan, len(rows)),
        )

    def refusal(self, typed: str, ticked: int) -> str | None:
        """Return why what was typed and ticked is no yes; None when it is."""
        if typed != self.phrase:
            return f'Nothing was sent: type "{self.phrase}" exactly.'
        if ticked != len(self.sentences):
            boxes = {1: "the box", 2: "both boxes"}.get(len(self.sentences), "all boxes")
            return f"Nothing was sent: tick {boxes}."
        return None

    def spec(self, click: str) -> dict[str, Any]:
        """Return it as the views draw it."""
        return {"kind": "confirm", "click": click, **asdict(self)}


def _typable(row: Row, snapshot: Snapshot) -> str:
    """Return what names one CVM and can be typed: look-alikes and twins go by their id."""
    name = row.name or ""
    plain = name.isascii() and name.isprintable() and name == name.strip()
    twins = sum(other.name == name for other in snapshot)
    return name if plain and 0 < len(name) <= _TYPABLE and twins == 1 else row.id


def _sentences(rows: list[Row], snapshot: Snapshot) -> tuple[str, ...]:
    ids = {row.id for row in rows}
    living = {row.app_id for row in snapshot if row.id not in ids}
    last = sorted({row.name or row.id for row in rows if row.app_id and row.app_id not in living})
    size = sum(row.cvm.resource.disk_in_gb or 0 for row in rows if row.cvm.resource)
    disk = f"disk{'s' if len(rows) > 1 else ''}" + (f" ({size} GB)" if size else "")
    sentences = [f"All data on the {disk} will be lost."]
    if last:
        names = ", ".join(clean_text(name, 60) for name in last[:_NAMED])
        more = f" and {len(last) - _NAMED} more" if len(last) > _NAMED else ""
        one = len(last) == 1
        sentences.append(
            f"{'This is the last CVM' if one else 'These are the last CVMs'} of {names}{more}."
        )
    return tuple(sentences)


def _terms(plan: Plan) -> Iterator[str]:
    """Say of which CVMs computing is paid all the same."""
    bound = [row for row in plan.rows() if row.term]
    for row in bound[:_NAMED]:
        of = f"Of {clean_text(row.name, 60)} " if len(plan.rows()) > 1 else ""
        sentence = f"{of}{clean_text(row.term, 200)}."
        yield sentence[:1].upper() + sentence[1:]
    if len(bound) > _NAMED:
        yield f"And so it is with the GPUs of {len(bound) - _NAMED} more."


def _facts(row: Row, context: Context) -> tuple[str, ...]:
    def read(name: str) -> str:
        value = SEARCHED[name].value(row, context)
        return "" if value is None else clean_text(value, 120)

    rate = usd(charged_usd(row)) or ""
    disk = read("disk_gb")
    return (
        clean_text(row.name or row.id, 80),
        read("status_raw"),
        rate,
        f"{disk} GB" if disk else "",
        read("replicas") or "1",
        f"{age_words(row.age(context.now))} ago",
        row.id,
        read("app_id"),
        read("url"),
    )


def _table_of(items: list[tuple[str, ...]]) -> dict[str, tuple[Any, ...]]:
    """Return the head and the rows of a table, without columns in which there is nothing."""
    used = [at for at in range(len(_HEAD)) if any(cells[at] for cells in items)]
    return {
        "head": tuple(_HEAD[at] for at in used),
        "items": tuple(tuple(cells[at] for at in used) for cells in items),
    }


def _summary(plan: Plan, count: int) -> str:
    hidden = f"{count - _SHOWN} more are not shown here." if count > _SHOWN else ""
    return " ".join(
        part for part in (hidden, _money(plan.rate_change_usd_h), _skipped(plan)) if part
    )


def _money(change: Decimal) -> str:
    """Return what is saved, or paid more, an hour and a month; two digits of it are enough."""
    if change == _NOTHING:
        return ""
    hour, month = abs(change), abs(change) * _MONTH_H
    shown = f"{hour:.2f}" if hour >= Decimal("0.1") else f"{float(hour):.2g}"
    return f"{'Saves' if change < 0 else 'Adds'} {shown} USD/h ({month:,.0f} USD/month)."


def _skipped(plan: Plan) -> str:
    """Return which CVMs nothing is sent to, and why."""
    left = [row for row in plan.rows() if not row.sends]
    if not left:
        return ""
    reasons = "; ".join(clean_text(row.reason or row.name, 120) for row in left[:_NAMED])
    more = f" {len(left) - _NAMED} more will be skipped, too." if len(left) > _NAMED else ""
    return f"{reasons} and will be skipped.{more}"
