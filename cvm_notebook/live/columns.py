"""The columns of a fleet, each declared once: for search, frames, the table, exports and documents.

Whoever shows or searches a fleet reads these. A frame reads a column at a time (`Column.path`, or
`Column.read` where it is computed), a search a row at a time (`Column.value`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum, auto
from functools import cached_property, lru_cache
from math import isfinite
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal

from cvm_notebook.api.models.base import instant, money, seconds_of, shown
from cvm_notebook.api.models.cvm import (
    Gateway,
    HourlyRate,
    KmsInfo,
    NodeRef,
    OsInfo,
    Resource,
    UserRef,
    WorkspaceRef,
    first_https,
)
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
from cvm_notebook.attest.words import WORDS
from cvm_notebook.live.store.figures import FIGURE_STATES, Figures
from cvm_notebook.live.store.observation import health_of_row, operation_of_row
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text

# what stands in for a nested object that is missing or null: each of its fields is None
EMPTY: Final = MappingProxyType(
    {
        "gateway": Gateway(),
        "hourly_rate": HourlyRate(),
        "kms_info": KmsInfo(),
        "node_info": NodeRef(),
        "os": OsInfo(),
        "resource": Resource(),
        "creator": UserRef(),
        "workspace": WorkspaceRef(),
    }
)
_RATE: Final = HourlyRate()
_FREE: Final = Decimal(0)


class Kind(Enum):
    """The kind of a column's values."""

    TEXT = auto()
    WORDS = auto()  # of a fixed list
    INTEGER = auto()
    COUNT = auto()  # how often the value of `path` occurs
    REAL = auto()
    MONEY = auto()  # US dollars
    FLAG = auto()
    TIME = auto()  # ISO 8601 text of the service
    INSTANT = auto()  # a datetime of this machine's clock

    @property
    def is_text(self) -> bool:
        """Whether its values are compared as text."""
        return self in {Kind.TEXT, Kind.WORDS}

    @property
    def is_time(self) -> bool:
        """Whether its values are compared as times."""
        return self in {Kind.TIME, Kind.INSTANT}

    @property
    def is_number(self) -> bool:
        """Whether its values are compared as numbers."""
        return self in {Kind.INTEGER, Kind.COUNT, Kind.REAL, Kind.MONEY}


class Context:
    """The context of a row, on which computed columns may depend: the time, the other rows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.rows = snapshot.rows
        self.figures = snapshot.figures
        self.now = snapshot.monotonic
        self.taken_at = snapshot.taken_at

    @cached_property
    def of_app(self) -> Counter[str | None]:
        """The number of CVMs by app."""
        return Counter(row.cvm.app_id for row in self.rows)


Read = Callable[[Row, Context], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a fleet.

    Attributes
    ----------
    name, doc
        Its name in frames and searches, and its meaning.
    path
        Attributes that lead from a Row to the value, such as ``cvm.resource.vcpu``.
    read
        Computes the value from a row, where no path leads to it; of a `COUNT`, beside the path.
    words
        All the values there are, the last of which stands for new ones; of `WORDS` alone.
    parse
        Makes the value of what `path` leads to: of `WORDS`, one of the fixed ones.
    narrow
        The narrow frame has it.
    framed, tabled
        Frames have it; the table can show it.
    compared
        `diff` and `events` compare it: it tells of the CVM, and not of our reading.
    observed
        It tells of our reading: in a frame of records it is the same for each.
    unit
        Of a number: ``share`` may be written as ``10%``, ``seconds`` as ``30m``.
    label, width, style
        How the table heads and draws it: ``code``, ``link``, ``status``, ``age``, ``span``,
        ``share``, ``trust`` or by its kind.
    """

    name: str
    kind: Kind
    doc: str
    path: str = ""
    read: Read | None = None
    words: tuple[str, ...] = ()
    parse: Callable[[Any], Any] | None = None
    narrow: bool = False
    framed: bool = True
    tabled: bool = True
    compared: bool = True
    observed: bool = False
    unit: Literal["", "share", "seconds"] = ""
    label: str = ""
    width: int = 95
    style: str = ""
    value: Read = field(init=False, repr=False, compare=False)
    """The value that a row is searched by: of one type for each kind, None when it is missing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _typed(self))


def _typed(column: Column) -> Read:
    """Return a reader of a column, converted to the type by which its kind is compared."""
    read = column.read or _reader(column.path)
    of_kind: dict[Kind, Callable[[Any], Any]] = {
        Kind.REAL: _decimal,
        Kind.MONEY: _usd,
        Kind.TIME: instant,
    }
    convert = column.parse or of_kind.get(column.kind)
    if convert is None:
        return read
    return lambda row, context: convert(read(row, context))


def _reader(path: str) -> Read:
    """Return what follows a path from a row; what is missing on the way is None in the end."""
    parent, _, name = path.removeprefix("cvm.").rpartition(".")
    if not path.startswith("cvm."):
        of_row = attrgetter(path)
        return lambda row, _: of_row(row)
    of_part = attrgetter(name)
    if not parent:
        return lambda row, _: of_part(row.cvm)
    part, empty = attrgetter(parent), EMPTY[parent]
    return lambda row, _: of_part(part(row.cvm) or empty)


def _fixed(words: tuple[str, ...]) -> Callable[[str | None], str | None]:
    """Return what sorts a value into fixed words, the last of which is for new ones."""

    def sort(value: str | None) -> str | None:
        return value if value is None or value in words else words[-1]

    return sort


def _decimal(value: float | None) -> Decimal | None:
    # What is no number can be neither more nor less than one.
    return None if value is None or not isfinite(value) else Decimal(str(value))


@lru_cache(maxsize=1_000)
def _usd(value: str | float | Decimal | None) -> Decimal | None:
    return value if isinstance(value, Decimal) else money(value)


def _length(things: tuple[object, ...] | None) -> int | None:
    return None if things is None else len(things)


def charged_usd(row: Row) -> Decimal | None:
    """Return what a CVM is charged an hour as it is now, or None where the service does not say."""
    rate = row.cvm.hourly_rate or _RATE
    return charged(row.status, _usd(rate.total), _usd(rate.disk), _FREE)


def figures_of(row: Row, context: Context) -> Figures | None:
    """Return what is known of how busy a CVM is; nothing of one that does not run."""
    figures = context.figures.get(row.id) if context.figures else None  # of a list nothing is known
    return figures if figures is not None and status_of(row.status) == "running" else None


def _cpu(row: Row, context: Context) -> float | None:
    figures = figures_of(row, context)
    return figures.cpu if figures is not None and figures.is_fresh(context.now) else None


def _memory(row: Row, context: Context) -> float | None:
    figures = figures_of(row, context)
    return figures.memory if figures is not None and figures.is_fresh(context.now) else None


def _idle_for(row: Row, context: Context) -> float | None:
    figures = figures_of(row, context)
    return figures.idle_for if figures is not None and figures.is_fresh(context.now) else None


def _metrics(row: Row, context: Context) -> str | None:
    figures = figures_of(row, context)
    return figures.state if figures is not None else None


def _column(name: str, kind: Kind, where: str | Read, doc: str, **more: Any) -> Column:
    found = {"path": where} if isinstance(where, str) else {"read": where}
    return Column(name=name, kind=kind, doc=doc, **found, **more)


_OURS: Final = {"observed": True, "compared": False, "tabled": False}
_CODE: Final = {"style": "code", "width": 130}
_LARGE: Final = {"width": 80}
_PRICE: Final = {"width": 75}
_WHEN: Final = {"width": 150}

INDEX: Final = _column("cvm_id", Kind.TEXT, "id", "the CVM", label="id", **_CODE)
"""By which frames are indexed."""

_TEXT, _FLAG, _TIME = Kind.TEXT, Kind.FLAG, Kind.TIME
COLUMNS: Final = (
    # who
    _column("name", _TEXT, "cvm.name", "the CVM's name", narrow=True, width=140),
    _column("app_id", _TEXT, "cvm.app_id", "the app it is an instance of", **_CODE),
    _column("vm_uuid", _TEXT, "cvm.vm_uuid", "the VM's UUID", **_CODE),
    _column(
        "instance_id",
        _TEXT,
        "cvm.instance_id",
        "the instance; missing until the first boot",
        **_CODE,
    ),
    # state
    _column(
        "status",
        Kind.WORDS,
        "status",
        "its status, in fixed words",
        words=STATUSES,
        parse=status_of,
        narrow=True,
        width=170,
        style="status",
    ),
    _column("status_raw", _TEXT, "status", "its status, in the server's own word", tabled=False),
    _column("in_progress", _FLAG, "in_progress", "whether an operation is under way"),
    _column(
        "operation",
        Kind.WORDS,
        lambda row, _: operation_of_row(row),
        "what is being done to it, as the service or its status tells",
        words=OPERATIONS,
    ),
    _column(
        "operation_since",
        _TIME,
        lambda row, _: row.operation.started_at if row.operation else None,
        "when the operation began",
        **_WHEN,
    ),
    _column(
        "correlation_id",
        _TEXT,
        lambda row, _: row.operation.correlation_id if row.operation else None,
        "the operation's id in the service's records",
        **_CODE,
    ),
    _column(
        "health",
        Kind.WORDS,
        lambda row, context: health_of_row(row, context.now),
        "error when it failed, unknown when its status is, stale when the row is old, else ok",
        words=HEALTHS,
        compared=False,
        tabled=False,
    ),
    _column(
        "error",
        _TEXT,
        lambda row, _: row.boot_error or row.error,
        "why it failed, or was not read; a list does not say",
        observed=True,
        tabled=False,
    ),
    # what and where
    _column(
        "instance_type",
        _TEXT,
        "cvm.resource.instance_type",
        "as tdx.small",
        narrow=True,
        label="size",
    ),
    _column("node", _TEXT, "cvm.node_info.name", "the machine it runs on", narrow=True, width=65),
    _column("region", _TEXT, "cvm.node_info.region", "the node's region", narrow=True),
    _column("workspace", _TEXT, "cvm.workspace.name", "the workspace's name"),
    _column("os", _TEXT, "cvm.os.name", "the guest image's name"),
    _column(
        "kms_type",
        Kind.WORDS,
        "cvm.kms_type",
        "who keeps its keys",
        words=KMS_TYPES,
        parse=_fixed(KMS_TYPES),
    ),
    _column("creator", _TEXT, "cvm.creator.username", "who made it"),
    # what was proven
    _column(
        "verified",
        Kind.WORDS,
        lambda row, _: row.trust.word if row.trust else None,
        "what the last verification of what it runs now came to; nothing before that",
        words=WORDS,
        observed=True,
        compared=False,
        label="trust",
        width=110,
        style="trust",
    ),
    _column(
        "verified_at",
        Kind.INSTANT,
        lambda row, _: row.trust.at if row.trust else None,
        "when that was judged",
        observed=True,
        compared=False,
        label="judged",
        **_WHEN,
    ),
    # size
    _column("vcpu", Kind.INTEGER, "cvm.resource.vcpu", "virtual CPUs", **_LARGE),
    _column(
        "memory_gb",
        Kind.REAL,
        "cvm.resource.memory_in_gb",
        "memory in GB",
        label="memory GB",
        **_LARGE,
    ),
    _column(
        "disk_gb", Kind.INTEGER, "cvm.resource.disk_in_gb", "disk in GB", label="disk GB", **_LARGE
    ),
    _column("gpus", Kind.INTEGER, "cvm.resource.gpus", "GPUs", narrow=True, width=60),
    Column(
        name="replicas",
        kind=Kind.COUNT,
        doc="CVMs of its app in this frame, itself too",
        path="cvm.app_id",
        read=lambda row, context: row.cvm.app_id and context.of_app[row.cvm.app_id],
        compared=False,
        tabled=False,
    ),
    # how busy; there while the fleet's figures are measured
    _column(
        "cpu",
        Kind.REAL,
        _cpu,
        "its load of one minute as a share of its vCPUs, as last measured; above 1 more is wanted",
        unit="share",
        observed=True,
        compared=False,
        label="CPU",
        width=150,
        style="share",
    ),
    _column(
        "mem",
        Kind.REAL,
        _memory,
        "the share of its memory in use, as last measured",
        unit="share",
        observed=True,
        compared=False,
        label="memory",
        width=70,
        style="share",
    ),
    _column(
        "idle_for",
        Kind.REAL,
        _idle_for,
        "seconds for which it was seen under 10 % of CPU without a break; 0 while it is busy",
        unit="seconds",
        observed=True,
        compared=False,
        label="idle",
        width=70,
        style="span",
    ),
    _column(
        "metrics",
        Kind.WORDS,
        _metrics,
        "whether these are known, private, or could not be read; nothing where nobody asked",
        words=FIGURE_STATES,
        **_OURS,
    ),
    # switches
    _column("is_dev", _FLAG, "cvm.os.is_dev", "whether the image is for debugging"),
    _column("listed", _FLAG, "cvm.listed", "whether the public may find it"),
    _column("public_logs", _FLAG, "cvm.public_logs", "logs open to all"),
    _column("public_sysinfo", _FLAG, "cvm.public_sysinfo", "system figures open to all"),
    _column("public_tcbinfo", _FLAG, "cvm.public_tcbinfo", "measurements open to all"),
    _column("gateway_enabled", _FLAG, "cvm.gateway_enabled", "whether the gateway leads to it"),
    # what it runs
    _column(
        "compose_hash",
        _TEXT,
        "cvm.compose_hash",
        "SHA-256 of the app's compose document",
        **_CODE,
    ),
    _column("os_image_hash", _TEXT, "cvm.os.os_image_hash", "the guest image's hash", **_CODE),
    # money
    _column(
        "rate_usd_h",
        Kind.MONEY,
        "cvm.hourly_rate.total",
        "price in US dollars an hour of running, also of one that is stopped",
        narrow=True,
        label="USD/h running",
        **_PRICE,
    ),
    _column(
        "rate_compute_usd_h",
        Kind.MONEY,
        "cvm.hourly_rate.compute",
        "of it, for compute",
        **_PRICE,
    ),
    _column("rate_disk_usd_h", Kind.MONEY, "cvm.hourly_rate.disk", "of it, for the disk", **_PRICE),
    _column(
        "charged_usd_h",
        Kind.MONEY,
        lambda row, _: charged_usd(row),
        "what it is charged an hour as it is now: the disk alone while it is stopped",
        compared=False,
        label="USD/h",
        **_PRICE,
    ),
    _column(
        "billing_period",
        Kind.WORDS,
        "cvm.resource.billing_period",
        "how its price is charged",
        words=BILLING_PERIODS,
        parse=_fixed(BILLING_PERIODS),
    ),
    # when
    _column("created_at", _TIME, "cvm.created_at", "when it was made", narrow=True, **_WHEN),
    _column("updated_at", _TIME, "cvm.updated_at", "when it last changed", **_WHEN),
    _column("deleted_at", _TIME, "cvm.deleted_at", "when it was deleted", **_WHEN),
    _column("observed_at", Kind.INSTANT, "seen_at", "when we read it", **_OURS),
    _column(
        "age_s",
        Kind.REAL,
        lambda row, context: row.age(context.now),
        "seconds from our reading it to this frame",
        observed=True,
        compared=False,
        unit="seconds",
        label="seen",
        width=62,
        style="age",
    ),
    _column("source", Kind.WORDS, "source", "which call reported it", words=SOURCES, **_OURS),
    _column(
        "uptime_s",
        Kind.INTEGER,
        "uptime",
        "seconds since boot; a list does not say",
        parse=seconds_of,
        unit="seconds",
        observed=True,
        compared=False,
        label="uptime",
        width=70,
        style="since",
    ),
    _column(
        "url",
        _TEXT,
        "cvm.endpoints",
        "its first https address, without query",
        parse=first_https,
        label="endpoint",
        width=110,
        style="link",
    ),
    _column(
        "endpoints",
        Kind.INTEGER,
        "cvm.endpoints",
        "how many addresses it has",
        parse=_length,
        **_LARGE,
    ),
    _column("revision", Kind.INTEGER, "revision", "our revision at which the row changed", **_OURS),
    # the rest that the service tells of every CVM
    _column("os_version", _TEXT, "cvm.os.version", "the guest image's version"),
    _column("base_image", _TEXT, "cvm.base_image", "the image asked for"),
    _column(
        "chain_id", Kind.INTEGER, "cvm.kms_info.chain_id", "the KMS contract's chain", **_LARGE
    ),
    _column(
        "gateway_domain",
        _TEXT,
        "cvm.gateway.base_domain",
        "the domain its addresses are under",
    ),
    _column("custom_domain", _TEXT, "cvm.gateway.cname", "the user's own domain"),
    _column("app_url", _TEXT, "cvm.app_url", "the app's address", parse=shown),
    _column("storage_fs", _TEXT, "cvm.storage_fs", "the disk's file system"),
    _column("secure_time", _FLAG, "cvm.secure_time", "whether it boots with verified time"),
    _column("node_id", Kind.INTEGER, "cvm.node_info.id", "the node's number", **_LARGE),
    _column("node_status", _TEXT, "cvm.node_info.status", "the node's own status"),
    _column("runner", _TEXT, "cvm.runner", "what runs the app in it"),
    _column("project_type", _TEXT, "cvm.project_type", "kind of project"),
    _column(
        "docker_compose_hash",
        _TEXT,
        "cvm.docker_compose_hash",
        "hash of the Docker Compose text alone",
        **_CODE,
    ),
)
FRAMED: Final = {column.name: column for column in COLUMNS if column.framed}
"""The columns of frames, in their order."""
COST: Final = next(column for column in COLUMNS if column.name == "charged_usd_h")
UPTIME: Final = next(column for column in COLUMNS if column.name == "uptime_s")
SEARCHED: Final = {INDEX.name: INDEX, **FRAMED, COST.name: COST}
"""What a fleet is searched by."""
TABLED: Final = {column.name: column for column in (INDEX, *COLUMNS) if column.tabled}
"""What the table can show."""

CALLED: Final = {
    "cost": COST,
    "type": SEARCHED["instance_type"],
    **{one.label.lower(): one for one in TABLED.values() if one.label and " " not in one.label},
}
"""Columns by what the table's heads call them, in searches beside their names."""
FIGURES: Final = frozenset({"cpu", "mem", "idle_for", "metrics"})
"""Those that change without their rows."""

# What words without an operator are looked for in.
_HAYSTACK: Final = tuple(
    SEARCHED[name].value
    for name in (
        "name",
        "status",
        "status_raw",
        "error",
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


def _private(row: Row, context: Context) -> str | None:
    return "private" if _metrics(row, context) == "private" else None


def haystack(row: Row, context: Context) -> str:
    """Return all that a word may be found in, without regard to case."""
    return "\n".join([read(row, context) or "" for read in (*_HAYSTACK, _private)]).casefold()


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return a question after the nearest known names, or None when none is near."""
    near = get_close_matches(clean_text(name, 60).lower(), list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else None
