"""A table of one thing a row, declared as data: its columns, and the frame made of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.frames import arrays
from cvm_notebook.live import columns
from cvm_notebook.live.columns import Column
from cvm_notebook.text import clean_text

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class ArrayKind:
    """The kind of a column: how its array is built, and its dtype."""

    dtype: str
    build: Callable[[Sequence[Any]], Any]


def fixed(
    categories: tuple[str, ...], parse: Callable[[str | None], str | None] | None = None
) -> ArrayKind:
    """Return the kind of a categorical; its last category stands for any other text."""
    return ArrayKind(f"category({', '.join(categories)})", arrays.category(categories, parse))


TEXT: Final = ArrayKind("string", arrays.text)
INTEGER: Final = ArrayKind("Int64", arrays.integer)
COUNT: Final = ArrayKind("Int64", arrays.count)
REAL: Final = ArrayKind("Float64", arrays.real)
FLAG: Final = ArrayKind("boolean", arrays.flag)
MOMENT: Final = ArrayKind("datetime64[us, UTC]", arrays.moment)
INSTANT: Final = ArrayKind("datetime64[us, UTC]", arrays.instant)
DURATION: Final = ArrayKind("timedelta64[us]", arrays.duration)
MONEY: Final = ArrayKind("float64", arrays.money)
EXACT_MONEY: Final = ArrayKind("decimal128(18, 6)[pyarrow]", arrays.exact_money)


Money: TypeAlias = Literal["float", "decimal"]
"""How a frame holds amounts."""


def kind_of_money(money: Money) -> ArrayKind:
    """Return how amounts are built.

    Raises
    ------
    InvalidInput
        It is neither ``"float"`` nor ``"decimal"``.
    """
    kinds: dict[object, ArrayKind] = {"float": MONEY, "decimal": EXACT_MONEY}
    if not isinstance(money, str) or money not in kinds:
        shown = clean_text(repr(money), 40)
        raise InvalidInput("money", f"{shown} is neither 'float' nor 'decimal'")
    return kinds[money]


_OF_COLUMNS: Final = {
    columns.Kind.TEXT: TEXT,
    columns.Kind.INTEGER: INTEGER,
    columns.Kind.COUNT: COUNT,
    columns.Kind.REAL: REAL,
    columns.Kind.MONEY: MONEY,
    columns.Kind.FLAG: FLAG,
    columns.Kind.TIME: MOMENT,
    columns.Kind.INSTANT: INSTANT,
}


@cache
def kind_of(column: Column) -> ArrayKind:
    """Return how a column of the fleet is built."""
    if column.kind is columns.Kind.WORDS:
        return fixed(column.words, column.parse)
    return _OF_COLUMNS[column.kind]


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One column of a table, or one level of its index."""

    name: str
    kind: ArrayKind
    read: Callable[[T], Any]
    doc: str


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """A table whose columns and dtypes never depend on what is in it."""

    schema: str
    index: tuple[Field[T], ...]
    fields: tuple[Field[T], ...]

    def frame(self, items: Iterable[T], *, money: Money = "float", **attrs: object) -> pd.DataFrame:
        """Build the frame, one row an item; `attrs` are repeated in ``attrs["cvm"]``."""
        amounts = kind_of_money(money)
        rows = list(items)
        data = {
            f.name: (amounts if f.kind is MONEY else f.kind).build([f.read(row) for row in rows])
            for f in self.fields
        }
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
