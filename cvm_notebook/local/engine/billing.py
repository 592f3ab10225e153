"""Billing: the cost of a CVM, and the balance of a workspace.

``balance(session, workspace_id, now)`` in millionths of a dollar: deposits of the ledger minus
what all CVMs have cost up to the last full minute. Computing costs from a CVM's start until it
has stopped, its disk until it is deleted. Nothing is booked by a clock: ``accrue`` closes the
account up to now whenever something changes, and the rest is computed when asked.
"""

from sqlalchemy import BigInteger, Double, case, cast, func, select, update
from sqlalchemy.orm import Session, object_session

from cvm_notebook.local.core.catalogue import (
    DISK_GB_HOUR_MICROS,
    INSTANCE_TYPES,
    VCPU_HOUR_MICROS,
)
from cvm_notebook.local.core.database import Cvm, LedgerEntry, Workspace
from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.core.usage import MeteredSpan, WorkspaceUsage

_MB_PER_VCPU = 2048
_HOUR = 3600.0
_DAY = 86_400.0
_SLACK_SECONDS = 120.0
_ROUNDED_UP = 1 + 1e-9


def compute_rate(instance_type: str | None, vcpu: int, memory: int) -> int:
    """Return the price of an hour of running; a free size costs as its larger side."""
    if instance_type is not None:
        return INSTANCE_TYPES[instance_type].hourly_micros
    return VCPU_HOUR_MICROS * max(vcpu, -(-memory // _MB_PER_VCPU))


def disk_rate(disk_size: int) -> int:
    """Return the price of an hour of having this disk (GB)."""
    return DISK_GB_HOUR_MICROS * disk_size


def metered(cvm: Cvm, now: float) -> MeteredSpan:
    """Return what a CVM has cost since its account was last closed."""
    begin, end = cvm.billed_from, max(now, cvm.billed_from)
    active_until = max(begin, end if cvm.active_until is None else min(end, cvm.active_until))
    storage = (end - begin) * cvm.disk_rate / _HOUR
    total = int(storage + (active_until - begin) * cvm.compute_rate / _HOUR)
    return MeteredSpan(
        workspace_id=cvm.workspace_id,
        app_id=cvm.app_id,
        cvm_id=cvm.id,
        begins_at=begin,
        ends_at=end,
        active_until=active_until,
        compute=total - int(storage),
        storage=int(storage),
    )


def cost_between(cvm: Cvm, now: float) -> int:
    """Return what a CVM has cost since its account was last closed, millionths of a dollar."""
    span = metered(cvm, now)
    return span.compute + span.storage


def accrue(cvm: Cvm, now: float) -> None:
    """Close a CVM's account up to now; to be called before its rates or its state change."""
    span = metered(cvm, now)
    book(cvm, span)
    cvm.billed_from = span.ends_at


def book(cvm: Cvm, span: MeteredSpan) -> None:
    """Charge a CVM, and keep what for."""
    cvm.accrued += span.compute + span.storage
    session = object_session(cvm)
    if session is not None and span.compute + span.storage:
        session.add(span)


def cost(cvm: Cvm, now: float) -> int:
    """Return what a CVM has cost in all."""
    return cvm.accrued + (0 if cvm.deleted_at is not None else cost_between(cvm, now))


def term_ends_at(cvm: Cvm) -> float | None:
    """Return until when the GPUs of a CVM cost the same, whatever it does; None without GPUs."""
    return None if cvm.rental is None else cvm.rental["begins_at"] + cvm.rental["days"] * _DAY


def begin_term(cvm: Cvm, now: float) -> None:
    """Begin the least time for which GPUs are charged, where the CVM has some."""
    cvm.rental = {"begins_at": now, "days": 1, "managed": False} if cvm.gpus else None


def stop_computing(cvm: Cvm, at: float) -> None:
    """Let computing cost nothing from a moment on, or from the end of the term of its GPUs."""
    cvm.active_until = max(at, term_ends_at(cvm) or at)


def leave_term(cvm: Cvm, now: float, rate: int) -> None:
    """Charge at once what the rest of a term costs more than at this rate. The account is closed.

    ``rate`` is what computing will cost from now on, in millionths of a dollar per hour.
    """
    rest = max(0.0, (term_ends_at(cvm) or now) - now)
    owed = int(max(0, cvm.compute_rate - rate) * rest / _HOUR)
    session = object_session(cvm)
    if session is None or not owed:
        return
    span = metered(cvm, now)
    span.compute, span.storage = owed, 0
    book(cvm, span)
    # The ceiling of what was spent knows nothing of what is charged ahead of time.
    session.execute(
        update(WorkspaceUsage)
        .where(WorkspaceUsage.workspace_id == cvm.workspace_id)
        .values(checked_spent=WorkspaceUsage.checked_spent + owed)
    )


def check_unmanaged(cvm: Cvm) -> None:
    """Raise 403 when an order of GPUs says what becomes of the CVM."""
    if cvm.rental is not None and cvm.rental["managed"]:
        raise ApiError(403, "CVM managed by on-demand GPU rental")


def check_active(workspace: Workspace) -> None:
    """Raise when a workspace is suspended: it can look, stop and delete, and nothing else."""
    if workspace.suspended_at is not None:
        raise coded(
            "ERR-04-001",
            f"Workspace {workspace.slug} is suspended.",
            details=[detail("billing_status", "suspended", "unpaid")],
            suggestions=["Pay what is owed in the dashboard, or ask the owner of the workspace."],
        )


def spent(session: Session, workspace_id: int, now: float) -> int:
    """Return what all CVMs of a workspace have cost, up to the last full minute."""
    moment = now // 60 * 60
    seconds = case((Cvm.billed_from < moment, moment - Cvm.billed_from), else_=0.0)
    ends = case((Cvm.active_until < moment, Cvm.active_until), else_=moment)
    active = case((Cvm.billed_from < ends, ends - Cvm.billed_from), else_=0.0)
    running = (seconds * Cvm.disk_rate + active * Cvm.compute_rate) / _HOUR
    owed = Cvm.accrued + case((Cvm.deleted_at.is_(None), running), else_=0.0)
    total = session.scalar(
        select(func.sum(cast(owed, Double))).where(Cvm.workspace_id == workspace_id)
    )
    settled = session.scalar(select(Workspace.settled).where(Workspace.id == workspace_id))
    return int(total or 0) + int(settled or 0)


def spent_at_most(session: Session, workspace_id: int, now: float) -> float:
    """Return a ceiling of what a workspace has spent, without looking at its CVMs."""
    kept = session.execute(
        select(
            WorkspaceUsage.peak_rate, WorkspaceUsage.checked_at, WorkspaceUsage.checked_spent
        ).where(WorkspaceUsage.workspace_id == workspace_id)
    ).one_or_none()
    if kept is None:
        return float(
            session.scalar(select(Workspace.settled).where(Workspace.id == workspace_id)) or 0
        )
    since = max(0.0, now - kept.checked_at)
    most: float = (kept.checked_spent + kept.peak_rate * since / _HOUR) * _ROUNDED_UP + 1
    return most


def _remember(session: Session, workspace_id: int, now: float, spending: int) -> None:
    """Keep what was spent by now, from which the ceiling goes on."""
    # Added up to the last full minute; others may have deleted CVMs since this request came in.
    slack = WorkspaceUsage.peak_rate * (_SLACK_SECONDS / _HOUR)
    session.execute(
        update(WorkspaceUsage)
        .where(WorkspaceUsage.workspace_id == workspace_id)
        .values(
            checked_at=now // 60 * 60,
            checked_spent=spending + slack,
            peak_rate=WorkspaceUsage.rate,
        )
    )


def deposited(session: Session, workspace_id: int) -> int:
    """Return what has been paid in."""
    total = session.scalar(
        select(cast(func.sum(LedgerEntry.amount), BigInteger)).where(
            LedgerEntry.workspace_id == workspace_id
        )
    )
    return int(total or 0)


def balance(session: Session, workspace_id: int, now: float) -> int:
    """Return what is left, in millionths of a dollar; it may be negative."""
    return deposited(session, workspace_id) - spent(session, workspace_id, now)


def check_balance(
    session: Session, workspace_id: int, now: float, *, status: int | None = None
) -> None:
    """Raise ERR-04-001 when nothing is left. Needs a write session."""
    paid_in = deposited(session, workspace_id)
    if paid_in > spent_at_most(session, workspace_id, now):
        return
    spending = spent(session, workspace_id, now)
    _remember(session, workspace_id, now, spending)
    if paid_in <= spending:
        raise no_balance(paid_in - spending, status)


def no_balance(left: int, status: int | None = None) -> ApiError:
    """Return the error of a workspace without money."""
    return coded(
        "ERR-04-001",
        f"The workspace's balance is {left / 1_000_000:.2f} dollars.",
        suggestions=["Top the balance up, or delete CVMs that are not needed."],
        status=status,
    )
