"""The minimum term of rented GPUs: until when computing costs the same, whatever is done."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cvm_notebook.api.models.base import instant
from cvm_notebook.api.models.cvm import Cvm, GpuRentalOrder
from cvm_notebook.text import counted

_LEAST: Final = timedelta(hours=24)  # the documentation of the service: GPUs for at least a day
_LONGEST: Final = 36_500  # days; more is no commitment


class Term(NamedTuple):
    """Until when computing is charged, and why."""

    until: datetime
    reason: str

    @property
    def text(self) -> str:
        """The term in words, for what would be stopped or deleted."""
        return f"computing costs the same until {self.until:%Y-%m-%d %H:%M} UTC: {self.reason}"


def term_of(cvm: Cvm, now: datetime) -> Term | None:
    """Return the minimum term a CVM is in; None where there is none, or it is over.

    An order of rental with ``commitment_days`` binds for these from its activation. Other GPUs are
    charged for at least 24 hours from when the CVM was made, or its order activated.
    """
    order = cvm.gpu_rental_order
    if order is not None and not _has_ended(order):
        start = instant(order.activated_at) or instant(order.hourly_billing_start_time)
        days = order.commitment_days
        if start is not None and days is not None and 0 < days <= _LONGEST:
            name = f" (order {order.order_id})" if order.order_id else ""
            return _still(
                start + timedelta(days=days), f"rented for {counted(days, 'day')}{name}", now
            )
    else:
        start = None
    gpus = cvm.resource.gpus if cvm.resource is not None else None
    start = start or cvm.created
    if start is None or not (gpus or (order is not None and not _has_ended(order))):
        return None
    return _still(start + _LEAST, "GPUs are charged for at least 24 hours", now)


def _has_ended(order: GpuRentalOrder) -> bool:
    return any((order.completed_at, order.cancelled_at, order.decoupled_at))


def _still(until: datetime, reason: str, now: datetime) -> Term | None:
    return Term(until, reason) if until > now else None
