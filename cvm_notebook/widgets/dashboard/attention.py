"""The attention list: failed and idle CVMs, drift, credit, stopped CVMs; pure, by a snapshot."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from cvm_notebook.api.money import total
from cvm_notebook.api.status import status_of
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.live.columns import SEARCHED, Context, charged_usd, figures_of
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.store.records import Row, Snapshot, name_of_app
from cvm_notebook.text import age_words, clean_text, without_zeros
from cvm_notebook.widgets.table.measuring import ALL_MEASURED

IDLE_S: Final = 1800
ENDS_SOON_DAYS: Final = 7
_DAY_H: Final = 24
_NAMED: Final = 3
_NAME_CHARS: Final = 60
_WHY_CHARS: Final = 120
_APPS: Final = 30  # in a filter; more would be no text that anybody reads
_PLANNED: Final = 200
_NOTHING: Final = Decimal(0)

Key: TypeAlias = Literal["failed", "idle", "drift", "credit", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One thing that needs attention.

    Attributes
    ----------
    count, usd_h
        How many CVMs, or apps, and what they are charged an hour.
    title, more
        It in a few words, and what else there is to know.
    query
        The condition that shows these CVMs alone in the table; empty where none does.
    """

    key: Key
    count: int
    title: str
    more: str = ""
    usd_h: Decimal | None = None
    query: str = ""

    def spec(self) -> dict[str, Any]:
        """Return it as the view draws it."""
        money = None if self.usd_h is None else without_zeros(self.usd_h)
        return {
            "key": self.key,
            "title": self.title,
            "more": self.more,
            "usd": money,
            "shows": bool(self.query),
        }


def concerns(snapshot: Snapshot, credit: Decimal | None = None) -> tuple[Concern, ...]:
    """Return what needs attention, the worst first.

    Parameters
    ----------
    credit
        What the workspace has left, in US dollars; None where that is not known.
    """
    found = (_failed(snapshot), _credit(snapshot, credit), _idle(snapshot), _drift(snapshot))
    return tuple(one for one in (*found, _stopped(snapshot)) if one is not None)


def idle_rows(snapshot: Snapshot) -> list[Row]:
    """Return the CVMs that were idle for half an hour, the dearest first."""
    context, idle_for = Context(snapshot), SEARCHED["idle_for"].value
    rows = [row for row in snapshot if (idle_for(row, context) or _NOTHING) >= IDLE_S]
    return sorted(rows, key=lambda row: -(charged_usd(row) or _NOTHING))


def stop_plan(snapshot: Snapshot) -> dict[str, Any]:
    """Return what stopping each idle CVM would save; nothing is asked of anybody."""
    idle = idle_rows(snapshot)
    rows = idle[:_PLANNED]
    plan, context = Plan(rows, "stop"), Context(snapshot)
    idle_for = SEARCHED["idle_for"].value
    return {
        "rows": [
            {
                "id": row.id,
                "name": clean_text(row.name or row.id, _NAME_CHARS),
                "type": clean_text(SEARCHED["instance_type"].value(row, context) or "", 40),
                "idle": age_words(float(idle_for(row, context) or 0)),
                "saves": _saving(planned.rate_change_usd_h),
                "note": clean_text(planned.reason or planned.term or _unseen(row), 200),
                "sends": planned.sends,
            }
            for row, planned in zip(rows, plan.rows(), strict=True)
        ],
        "of": len(idle),
    }


def unmeasured(snapshot: Snapshot) -> int:
    """Return how many running CVMs may idle unseen: of a large fleet not all are measured."""
    context = Context(snapshot)
    running = _of_status(snapshot, "running")
    if len(running) <= ALL_MEASURED:
        return 0
    known = (figures_of(row, context) for row in running)
    return sum(one is None or not one.is_fresh(context.now) for one in known)


def _saving(change: Decimal | None) -> str | None:
    return None if change is None else without_zeros(-change if change else _NOTHING)


def _unseen(row: Row) -> str:
    gpus = row.cvm.resource.gpus if row.cvm.resource else None
    return "GPU load is not measured" if gpus else ""


def _failed(snapshot: Snapshot) -> Concern | None:
    rows = _of_status(snapshot, "failed")
    if not rows:
        return None
    why = [clean_text(row.boot_error or row.error or "", _WHY_CHARS) for row in rows[:_NAMED]]
    named = [
        f"{name}: {reason}" if reason else name
        for name, reason in zip(_names(rows), why, strict=True)
    ]
    more = _listed(named, len(rows), "; ")
    return Concern(
        key="failed",
        count=len(rows),
        title=f"{len(rows)} failed",
        more=more,
        usd_h=_charged(rows),
        query="status = 'failed'",
    )


def _credit(snapshot: Snapshot, credit: Decimal | None) -> Concern | None:
    rate = _charged(snapshot)
    if credit is None or not rate or credit / rate / _DAY_H >= ENDS_SOON_DAYS:
        return None
    hours = float(max(credit, _NOTHING) / rate)
    title = f"Credit ends in {age_words(hours * 3600)}" if hours else "No credit left"
    more = f"{credit:,.2f} USD left at {rate:,.2f} USD/h. Top up in Phala Cloud."
    return Concern(key="credit", count=1, title=title, more=more)


def _idle(snapshot: Snapshot) -> Concern | None:
    rows = idle_rows(snapshot)
    if not rows:
        return None
    more = f"{_listed(_names(rows), len(rows))}. Under 10 % of CPU for 30 min or longer."
    return Concern(
        key="idle",
        count=len(rows),
        title=f"{len(rows)} idle",
        more=more,
        usd_h=_charged(rows),
        query=f"idle_for >= {IDLE_S // 60}m",
    )


def _drift(snapshot: Snapshot) -> Concern | None:
    first: dict[str, str] = {}
    differ: dict[str, None] = {}
    for row in snapshot:
        app, digest = row.cvm.app_id, row.cvm.compose_hash
        if not app or not digest or first.setdefault(app, digest) == digest:
            continue
        if app not in differ and bare_digits(first[app]) != bare_digits(digest):
            differ[app] = None
    mixed = list(differ)
    if not mixed:
        return None
    shortest = [_name_of_app(snapshot, app) for app in mixed[:_NAMED]]
    only = f". Show filters by {_APPS} of them" if len(mixed) > _APPS else ""
    return Concern(
        key="drift",
        count=len(mixed),
        title=f"{len(mixed)} {'app' if len(mixed) == 1 else 'apps'} with mixed compose versions",
        more=_listed(shortest, len(mixed)) + only,
        query=_of_apps(mixed),
    )


def _name_of_app(snapshot: Snapshot, app: str) -> str:
    names = (row.name or row.id for row in snapshot if row.cvm.app_id == app)
    return clean_text(name_of_app(names), _NAME_CHARS)


def _of_apps(apps: list[str]) -> str:
    """Return the condition that shows these apps; ids that need quoting are left out."""
    plain = [app for app in apps[:_APPS] if "'" not in app and app.isprintable()]
    listed = ", ".join(f"'{app}'" for app in plain)
    return f"app_id in ({listed})" if plain else ""


def _stopped(snapshot: Snapshot) -> Concern | None:
    rows = [row for row in _of_status(snapshot, "stopped") if charged_usd(row)]
    if not rows:
        return None
    return Concern(
        key="stopped",
        count=len(rows),
        title=f"{len(rows)} stopped but billed",
        more="Their disks are charged until they are deleted.",
        usd_h=_charged(rows),
        query="status = 'stopped'",
    )


def _of_status(snapshot: Snapshot, status: str) -> list[Row]:
    return [row for row in snapshot if status_of(row.status) == status]


def _charged(rows: Iterable[Row]) -> Decimal:
    return total(map(charged_usd, rows))


def _names(rows: list[Row]) -> list[str]:
    return [clean_text(row.name or row.id, _NAME_CHARS) for row in rows[:_NAMED]]


def _listed(names: list[str], of: int, between: str = ", ") -> str:
    more = f" and {of - len(names)} more" if of > len(names) else ""
    return between.join(names) + more
