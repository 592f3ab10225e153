"""Reading the columns of a fleet from many CVMs at once: a list for each, what they share once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import repeat
from types import MappingProxyType
from typing import Any, Self

from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.live.columns import EMPTY, Column, Context, Kind
from cvm_notebook.live.store.figures import Figures
from cvm_notebook.live.store.records import Row, operation_in


@dataclass(frozen=True, slots=True)
class ListingInfo:
    """The provenance of a list of CVMs: when and how it was read."""

    seen_at: datetime
    age_s: float
    source: str
    revision: int | None


class ListedCvm:
    """A CVM of a list, with those attributes of a live Row that columns are computed from."""

    __slots__ = ("_listing", "cvm", "in_progress", "operation", "status")
    boot_error = error = trust = uptime = None  # a list does not say

    def __init__(self, cvm: Cvm, listing: ListingInfo) -> None:
        self._listing = listing
        self.cvm = cvm
        self.status = cvm.status
        self.in_progress = cvm.in_progress
        self.operation = operation_in(cvm) if cvm.progress is not None else None

    @property
    def seen_at(self) -> datetime:
        """The time at which the list was read."""
        return self._listing.seen_at

    @property
    def source(self) -> str:
        """The call that the list came by."""
        return self._listing.source

    @property
    def revision(self) -> int | None:
        """The store's revision, if there is a store."""
        return self._listing.revision

    def age(self, _now: float) -> float:
        """Return the seconds since the list was read."""
        return self._listing.age_s


class RowChunk:
    """Some rows of a frame; each of their nested objects is looked up once for all columns."""

    def __init__(
        self,
        cvms: Sequence[Cvm],
        context: Any,
        rows: Sequence[Row] | None = None,
        listing: ListingInfo | None = None,
    ) -> None:
        self._context = context
        self._live = rows
        self._listing = listing
        self._parts: dict[str, Sequence[Any]] = {"cvm": cvms}

    @classmethod
    def of_rows(cls, rows: Sequence[Row], context: Context) -> Self:
        """Take rows of a live fleet."""
        return cls([row.cvm for row in rows], context, rows=rows)

    @classmethod
    def of_cvms(cls, cvms: Sequence[Cvm], listing: ListingInfo) -> Self:
        """Make the rows of a list of CVMs."""
        return cls(cvms, _NoContext(), listing=listing)

    @property
    def ids(self) -> list[str | None]:
        """The key of each CVM."""
        if self._live is not None:
            return [row.id or None for row in self._live]
        return [cvm.id for cvm in self._parts["cvm"]]

    @cached_property
    def _rows(self) -> Sequence[Any]:
        if self._live is not None:
            return self._live
        listing = self._listing
        assert listing is not None  # noqa: S101 - there are rows, or a listing
        return [ListedCvm(cvm, listing) for cvm in self._parts["cvm"]]

    def shares(self, column: Column) -> bool:
        """Whether a column has one value for all rows."""
        return column.observed and self._live is None

    def values(self, column: Column, most: int | None = None) -> list[Any]:
        """Return the values of a column, as the service reported them; of `most` rows at most."""
        if column.read is not None and column.kind is not Kind.COUNT:
            read, context = column.read, self._context
            return list(map(read, self._rows[:most], repeat(context)))
        parent, _, name = column.path.rpartition(".")
        found = _attributes(name)(self._part(parent, column)[:most])
        if column.parse is None or column.kind is Kind.WORDS:  # whose array is built by it
            return found
        return list(map(column.parse, found))

    def _part(self, path: str, column: Column) -> Sequence[Any]:
        """Return the objects that a path leads to, empty ones in place of what is missing."""
        if not path:
            # what a record says itself, a live row may know better
            of_live_row = self._live is not None or column.observed
            return self._rows if of_live_row else self._parts["cvm"]
        found = self._parts.get(path)
        if found is None:
            name = path.removeprefix("cvm.")
            empty = EMPTY[name]
            parts = _attributes(name)(self._parts["cvm"])
            found = self._parts[path] = [part or empty for part in parts]
        return found


@cache
def _attributes(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what reads an attribute of many objects.

    Compiled, as namedtuple is: in a comprehension, the interpreter reads an attribute that stands
    in the code in less than half of the time that attrgetter takes.
    """
    read: Callable[[Sequence[Any]], list[Any]] = eval(  # noqa: S307 - our own attribute names
        f"lambda objects: [one.{name} for one in objects]"
    )
    return read


class _NoContext:
    """The context of a list: its rows have an age of their own, and nothing was measured."""

    now = 0.0
    figures: Mapping[str, Figures] = MappingProxyType({})
