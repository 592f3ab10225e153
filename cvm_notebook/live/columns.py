"""What a fleet is searched by: the columns of the fleet frame, read from a row without pandas."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum, auto
from functools import cached_property, lru_cache
from math import isfinite
from typing import Any, Final

from cvm_notebook.api.models.base import instant, money, seconds_of, shown
from cvm_notebook.api.models.cvm import HourlyRate, NodeRef, OsInfo, Resource, first_https
from cvm_notebook.api.status import (
    BILLING_PERIODS,
    HEALTHS,
    KMS_TYPES,
    OPERATIONS,
    SOURCES,
    STATUSES,
    charged,
    status_of,
)
from cvm_notebook.live.store.observation import health_of_row, operation_of_row
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text

_RESOURCE: Final = Resource()
_NODE: Final = NodeRef()
_OS: Final = OsInfo()
_RATE: Final = HourlyRate()
_FREE: Final = Decimal(0)


class Kind(Enum):
    """What values a field has, and how they are compared."""

    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    MOMENT = auto()


class Context:
    """What a field may depend on beside its row."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.rows = snapshot.rows
        self.now = snapshot.monotonic
        self.taken_at = snapshot.taken_at

    @cached_property
    def of_app(self) -> Counter[str | None]:
        """How many CVMs each app has."""
        return Counter(row.cvm.app_id for row in self.rows)


Read = Callable[[Row, Context], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a row is searched by; None is what is missing.

    Attributes
    ----------
    words
        All the values there are, where these are fixed.
    sort
        Brings another word for a value into the fixed ones.
    """

    name: str
    kind: Kind
    read: Read
    words: tuple[str, ...] = ()
    sort: Callable[[str], str] | None = None


def _text(name: str, read: Read) -> Field:
    return Field(name, Kind.TEXT, read)


def _number(name: str, read: Read) -> Field:
    return Field(name, Kind.NUMBER, read)


def _flag(name: str, read: Read) -> Field:
    return Field(name, Kind.FLAG, read)


def _moment(name: str, read: Callable[[Row], object]) -> Field:
    return Field(name, Kind.MOMENT, lambda row, _: instant(read(row)))


def _fixed(words: tuple[str, ...]) -> Callable[[object], str | None]:
    """Return what sorts a value into fixed words, the last of which is for new ones."""

    def sort(value: object) -> str | None:
        return None if value is None else (value if value in words else "unknown")

    return sort


_billing_period = _fixed(BILLING_PERIODS)
_kms_type = _fixed(KMS_TYPES)


def _decimal(value: float | None) -> Decimal | None:
    # What is no number can be neither more nor less than one.
    return None if value is None or not isfinite(value) else Decimal(str(value))


@lru_cache(maxsize=1_000)
def _usd(value: str | float | None) -> Decimal | None:
    return money(value)


def charged_usd(row: Row) -> Decimal | None:
    """Return what a CVM is charged an hour as it is now, or None where the service does not say."""
    rate = row.cvm.hourly_rate or _RATE
    return charged(row.status, _usd(rate.total), _usd(rate.disk), _FREE)


FIELDS: Final = {
    field.name: field
    for field in (
        _text("cvm_id", lambda r, _: r.id),
        _text("name", lambda r, _: r.cvm.name),
        _text("app_id", lambda r, _: r.cvm.app_id),
        _text("vm_uuid", lambda r, _: r.cvm.vm_uuid),
        _text("instance_id", lambda r, _: r.cvm.instance_id),
        Field("status", Kind.TEXT, lambda r, _: status_of(r.status), STATUSES, status_of),
        _text("status_raw", lambda r, _: r.status),
        _flag("in_progress", lambda r, _: r.in_progress),
        Field("operation", Kind.TEXT, lambda r, _: operation_of_row(r), OPERATIONS),
        _moment("operation_since", lambda r: r.operation and r.operation.started_at),
        _text("correlation_id", lambda r, _: r.operation and r.operation.correlation_id),
        Field("health", Kind.TEXT, lambda r, x: health_of_row(r, x.now), HEALTHS),
        _text("error", lambda r, _: r.boot_error or r.error),
        _text("instance_type", lambda r, _: (r.cvm.resource or _RESOURCE).instance_type),
        _text("node", lambda r, _: (r.cvm.node_info or _NODE).name),
        _text("region", lambda r, _: (r.cvm.node_info or _NODE).region),
        _text("workspace", lambda r, _: r.cvm.workspace and r.cvm.workspace.name),
        _text("os", lambda r, _: (r.cvm.os or _OS).name),
        Field("kms_type", Kind.TEXT, lambda r, _: _kms_type(r.cvm.kms_type), KMS_TYPES),
        _text("creator", lambda r, _: r.cvm.creator and r.cvm.creator.username),
        _number("vcpu", lambda r, _: (r.cvm.resource or _RESOURCE).vcpu),
        _number("memory_gb", lambda r, _: _decimal((r.cvm.resource or _RESOURCE).memory_in_gb)),
        _number("disk_gb", lambda r, _: (r.cvm.resource or _RESOURCE).disk_in_gb),
        _number("gpus", lambda r, _: (r.cvm.resource or _RESOURCE).gpus),
        _number("replicas", lambda r, x: r.cvm.app_id and x.of_app[r.cvm.app_id]),
        _flag("is_dev", lambda r, _: (r.cvm.os or _OS).is_dev),
        _flag("listed", lambda r, _: r.cvm.listed),
        _flag("public_logs", lambda r, _: r.cvm.public_logs),
        _flag("public_sysinfo", lambda r, _: r.cvm.public_sysinfo),
        _flag("public_tcbinfo", lambda r, _: r.cvm.public_tcbinfo),
        _flag("gateway_enabled", lambda r, _: r.cvm.gateway_enabled),
        _text("compose_hash", lambda r, _: r.cvm.compose_hash),
        _text("os_image_hash", lambda r, _: (r.cvm.os or _OS).os_image_hash),
        _number("rate_usd_h", lambda r, _: _usd((r.cvm.hourly_rate or _RATE).total)),
        _number("rate_compute_usd_h", lambda r, _: _usd((r.cvm.hourly_rate or _RATE).compute)),
        _number("rate_disk_usd_h", lambda r, _: _usd((r.cvm.hourly_rate or _RATE).disk)),
        Field(
            "billing_period",
            Kind.TEXT,
            lambda r, _: _billing_period((r.cvm.resource or _RESOURCE).billing_period),
            BILLING_PERIODS,
        ),
        _moment("created_at", lambda r: r.cvm.created_at),
        _moment("updated_at", lambda r: r.cvm.updated_at),
        _moment("deleted_at", lambda r: r.cvm.deleted_at),
        Field("observed_at", Kind.MOMENT, lambda r, _: r.seen_at),
        _number("age_s", lambda r, x: _decimal(r.age(x.now))),
        Field("source", Kind.TEXT, lambda r, _: r.source, SOURCES),
        _number("uptime_s", lambda r, _: seconds_of(r.uptime)),
        _text("url", lambda r, _: first_https(r.cvm.endpoints)),
        _number("endpoints", lambda r, _: _length(r.cvm.endpoints)),
        _number("revision", lambda r, _: r.revision),
        _text("os_version", lambda r, _: (r.cvm.os or _OS).version),
        _text("base_image", lambda r, _: r.cvm.base_image),
        _number("chain_id", lambda r, _: r.cvm.kms_info and r.cvm.kms_info.chain_id),
        _text("gateway_domain", lambda r, _: r.cvm.gateway and r.cvm.gateway.base_domain),
        _text("custom_domain", lambda r, _: r.cvm.gateway and r.cvm.gateway.cname),
        _text("app_url", lambda r, _: shown(r.cvm.app_url)),
        _text("storage_fs", lambda r, _: r.cvm.storage_fs),
        _flag("secure_time", lambda r, _: r.cvm.secure_time),
        _number("node_id", lambda r, _: (r.cvm.node_info or _NODE).id),
        _text("node_status", lambda r, _: (r.cvm.node_info or _NODE).status),
        _text("runner", lambda r, _: r.cvm.runner),
        _text("project_type", lambda r, _: r.cvm.project_type),
        _text("docker_compose_hash", lambda r, _: r.cvm.docker_compose_hash),
    )
}

# What words without an operator are looked for in.
_HAYSTACK: Final = tuple(
    FIELDS[name].read
    for name in (
        "name",
        "status",
        "region",
        "node",
        "instance_type",
        "cvm_id",
        "app_id",
        "vm_uuid",
        "instance_id",
        "workspace",
        "creator",
        "os",
    )
)


def haystack(row: Row, context: Context) -> str:
    """Return all that a word may be found in, without regard to case."""
    return "\n".join([read(row, context) or "" for read in _HAYSTACK]).casefold()


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return a question after the nearest known names, or None when none is near."""
    near = get_close_matches(clean_text(name, 60).lower(), list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else None


def _length(things: tuple[object, ...] | None) -> int | None:
    return None if things is None else len(things)
