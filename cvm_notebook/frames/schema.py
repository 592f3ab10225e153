"""A table of one thing a row, declared as data: its columns, and the frame made of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import pandas as pd

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import shown
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.status import (
    BILLING_PERIODS,
    HEALTHS,
    KMS_TYPES,
    OPERATIONS,
    SOURCES,
    STATUSES,
)
from cvm_notebook.frames import arrays
from cvm_notebook.frames.rows import Rows, Same

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Kind:
    """How a column is built from what was read, and what dtype comes of it."""

    dtype: str
    build: Callable[[Sequence[Any]], Any]


def fixed(words: tuple[str, ...]) -> Kind:
    """Return the kind of a category of these words, of which the last stands for all others."""
    return Kind(f"category({', '.join(words)})", arrays.category(words))


TEXT: Final = Kind("string", arrays.text)
INTEGER: Final = Kind("Int64", arrays.integer)
COUNT: Final = Kind("Int64", arrays.count)
REAL: Final = Kind("Float64", arrays.real)
FLAG: Final = Kind("boolean", arrays.flag)
MOMENT: Final = Kind("datetime64[us, UTC]", arrays.moment)
INSTANT: Final = Kind("datetime64[us, UTC]", arrays.instant)
DURATION: Final = Kind("timedelta64[us]", arrays.duration)
MONEY: Final = Kind("decimal128(18, 6)[pyarrow]", arrays.money)
FLOAT_MONEY: Final = Kind("Float64", arrays.money_as_float)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the fleet table."""

    name: str
    kind: Kind
    read: Callable[[Rows], Sequence[Any] | Same]
    doc: str
    narrow: bool = False

    def build(self, values: Sequence[Any] | Same, length: int, money: Kind) -> Any:
        """Build the column's array of what was read; `money` says how amounts are held."""
        kind = money if self.kind is MONEY else self.kind
        if isinstance(values, Same):
            return kind.build([values.value]).repeat(length)
        return kind.build(values)


def _narrow(
    name: str, kind: Kind, read: Callable[[Rows], Sequence[Any] | Same], doc: str
) -> Column:
    return Column(name, kind, read, doc, narrow=True)


INDEX: Final = "cvm_id"
FLEET: Final = (
    # who
    _narrow("name", TEXT, lambda r: [c.name for c in r.cvms], "the CVM's name"),
    Column("app_id", TEXT, lambda r: [c.app_id for c in r.cvms], "the app it is an instance of"),
    Column("vm_uuid", TEXT, lambda r: [c.vm_uuid for c in r.cvms], "the VM's UUID"),
    Column(
        "instance_id",
        TEXT,
        lambda r: [c.instance_id for c in r.cvms],
        "the instance; missing until the first boot",
    ),
    # state
    _narrow("status", fixed(STATUSES), lambda r: r.statuses, "its status, in fixed words"),
    Column("status_raw", TEXT, lambda r: r.words, "its status, in the server's own word"),
    Column(
        "in_progress",
        FLAG,
        lambda r: r.in_progress,
        "whether an operation is under way",
    ),
    Column(
        "operation",
        fixed(OPERATIONS),
        lambda r: r.operations,
        "what is being done to it, as the service or its status tells",
    ),
    Column(
        "operation_since",
        MOMENT,
        lambda r: r.operations_since,
        "when the operation began",
    ),
    Column(
        "correlation_id",
        TEXT,
        lambda r: r.correlation_ids,
        "the operation's id in the service's records",
    ),
    Column(
        "health",
        fixed(HEALTHS),
        lambda r: r.healths,
        "error when it failed, unknown when its status is, stale when the row is old, else ok",
    ),
    Column(
        "error", TEXT, lambda r: r.errors, "why it failed, or was not read; a list does not say"
    ),
    # what and where
    _narrow("instance_type", TEXT, lambda r: [x.instance_type for x in r.resource], "as tdx.small"),
    _narrow("node", TEXT, lambda r: [n.name for n in r.node], "the machine it runs on"),
    _narrow("region", TEXT, lambda r: [n.region for n in r.node], "the node's region"),
    Column("workspace", TEXT, lambda r: [w.name for w in r.workspace], "the workspace's name"),
    Column("os", TEXT, lambda r: [o.name for o in r.os], "the guest image's name"),
    Column(
        "kms_type",
        fixed(KMS_TYPES),
        lambda r: [c.kms_type for c in r.cvms],
        "who keeps its keys",
    ),
    Column("creator", TEXT, lambda r: [u.username for u in r.creator], "who made it"),
    # size
    Column("vcpu", INTEGER, lambda r: [x.vcpu for x in r.resource], "virtual CPUs"),
    Column("memory_gb", REAL, lambda r: [x.memory_in_gb for x in r.resource], "memory in GB"),
    Column("disk_gb", INTEGER, lambda r: [x.disk_in_gb for x in r.resource], "disk in GB"),
    _narrow("gpus", INTEGER, lambda r: [x.gpus for x in r.resource], "GPUs"),
    Column(
        "replicas",
        COUNT,
        lambda r: [c.app_id for c in r.cvms],
        "CVMs of its app in this frame, itself too",
    ),
    # switches
    Column(
        "is_dev", FLAG, lambda r: [o.is_dev for o in r.os], "whether the image is for debugging"
    ),
    Column("listed", FLAG, lambda r: [c.listed for c in r.cvms], "whether the public may find it"),
    Column("public_logs", FLAG, lambda r: [c.public_logs for c in r.cvms], "logs open to all"),
    Column(
        "public_sysinfo",
        FLAG,
        lambda r: [c.public_sysinfo for c in r.cvms],
        "system figures open to all",
    ),
    Column(
        "public_tcbinfo",
        FLAG,
        lambda r: [c.public_tcbinfo for c in r.cvms],
        "measurements open to all",
    ),
    Column(
        "gateway_enabled",
        FLAG,
        lambda r: [c.gateway_enabled for c in r.cvms],
        "whether the gateway leads to it",
    ),
    # what it runs
    Column(
        "compose_hash",
        TEXT,
        lambda r: [c.compose_hash for c in r.cvms],
        "SHA-256 of the app's compose document",
    ),
    Column(
        "os_image_hash", TEXT, lambda r: [o.os_image_hash for o in r.os], "the guest image's hash"
    ),
    # money
    _narrow(
        "rate_usd_h",
        MONEY,
        lambda r: [x.total for x in r.rate],
        "price in US dollars an hour of running, also of one that is stopped",
    ),
    Column(
        "rate_compute_usd_h", MONEY, lambda r: [x.compute for x in r.rate], "of it, for compute"
    ),
    Column("rate_disk_usd_h", MONEY, lambda r: [x.disk for x in r.rate], "of it, for the disk"),
    Column(
        "billing_period",
        fixed(BILLING_PERIODS),
        lambda r: [x.billing_period for x in r.resource],
        "how its price is charged",
    ),
    # when
    _narrow("created_at", MOMENT, lambda r: [c.created_at for c in r.cvms], "when it was made"),
    Column("updated_at", MOMENT, lambda r: [c.updated_at for c in r.cvms], "when it last changed"),
    Column("deleted_at", MOMENT, lambda r: [c.deleted_at for c in r.cvms], "when it was deleted"),
    Column("observed_at", INSTANT, lambda r: r.times, "when we read it"),
    Column("age_s", REAL, lambda r: r.ages, "seconds from our reading it to this frame"),
    Column("source", fixed(SOURCES), lambda r: r.sources, "which call told us"),
    Column("uptime_s", INTEGER, lambda r: r.uptimes, "seconds since boot; a list does not say"),
    Column("url", TEXT, lambda r: r.urls, "its first https address, without query"),
    Column("endpoints", INTEGER, lambda r: r.endpoint_counts, "how many addresses it has"),
    Column("revision", INTEGER, lambda r: r.revisions, "our revision at which the row changed"),
    # the rest that the service tells of every CVM
    Column("os_version", TEXT, lambda r: [o.version for o in r.os], "the guest image's version"),
    Column("base_image", TEXT, lambda r: [c.base_image for c in r.cvms], "the image asked for"),
    Column("chain_id", INTEGER, lambda r: [k.chain_id for k in r.kms], "the KMS contract's chain"),
    Column(
        "gateway_domain",
        TEXT,
        lambda r: [g.base_domain for g in r.gateway],
        "the domain its addresses are under",
    ),
    Column("custom_domain", TEXT, lambda r: [g.cname for g in r.gateway], "the user's own domain"),
    Column("app_url", TEXT, lambda r: [shown(c.app_url) for c in r.cvms], "the app's address"),
    Column("storage_fs", TEXT, lambda r: [c.storage_fs for c in r.cvms], "the disk's file system"),
    Column(
        "secure_time",
        FLAG,
        lambda r: [c.secure_time for c in r.cvms],
        "whether it boots with verified time",
    ),
    Column("node_id", INTEGER, lambda r: [n.id for n in r.node], "the node's number"),
    Column("node_status", TEXT, lambda r: [n.status for n in r.node], "the node's own status"),
    Column("runner", TEXT, lambda r: [c.runner for c in r.cvms], "what runs the app in it"),
    Column("project_type", TEXT, lambda r: [c.project_type for c in r.cvms], "kind of project"),
    Column(
        "docker_compose_hash",
        TEXT,
        lambda r: [c.docker_compose_hash for c in r.cvms],
        "hash of the Docker Compose text alone",
    ),
)
FLEET_BY_NAME: Final = {column.name: column for column in FLEET}
NARROW: Final = tuple(column.name for column in FLEET if column.narrow)
WIDE: Final = tuple(FLEET_BY_NAME)


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One column of a table, or one level of its index."""

    name: str
    kind: Kind
    read: Callable[[T], Any]
    doc: str


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """A table whose columns and dtypes never depend on what is in it."""

    schema: str
    index: tuple[Field[T], ...]
    fields: tuple[Field[T], ...]

    def frame(self, items: Iterable[T], **attrs: object) -> pd.DataFrame:
        """Build the frame, one row an item; `attrs` are repeated in ``attrs["cvm"]``."""
        rows = list(items)
        data = {f.name: f.kind.build([f.read(row) for row in rows]) for f in self.fields}
        levels = [f.kind.build([f.read(row) for row in rows]) for f in self.index]
        frame = pd.DataFrame(data, index=index_of(levels, [f.name for f in self.index]), copy=False)
        frame.attrs["cvm"] = {"schema": self.schema, **attrs}
        return frame

    def describe(self) -> pd.DataFrame:
        """List the levels of the index and the columns: dtype and meaning."""
        fields = self.index + self.fields
        return pd.DataFrame(
            {
                "dtype": [f.kind.dtype for f in fields],
                "index": [f in self.index for f in fields],
                "meaning": [f.doc for f in fields],
            },
            index=pd.Index([f.name for f in fields], name="column"),
        )

    def documents(self, function: F) -> F:
        """Write the columns into a function's docstring; to be used as a decorator."""
        if function.__doc__ is not None:  # python -OO has none
            fields = self.index + self.fields
            lines = [f"    {f.name} : {f.kind.dtype}\n        {f.doc}" for f in fields]
            title = "Index and columns"
            head = f"\n\n    {title}\n    {'-' * len(title)}\n"
            function.__doc__ = function.__doc__.rstrip() + head + "\n".join(lines) + "\n    "
        return function


def index_of(levels: Sequence[Any], names: Sequence[str]) -> Any:
    """Make an index of one or several arrays."""
    if len(levels) == 1:
        return pd.Index(levels[0], name=names[0])
    return pd.MultiIndex.from_arrays(list(levels), names=list(names))


def require(frame: pd.DataFrame, names: Iterable[str], purpose: str) -> None:
    """Refuse a frame that lacks columns, naming them."""
    checks.instance("frame", frame, pd.DataFrame)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InvalidInput(
            "frame",
            f"has no column {' and no column '.join(missing)}, which {purpose} needs",
            'A frame with columns="wide" has every column.',
        )
