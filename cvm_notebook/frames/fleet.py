"""The fleet frame: a DataFrame of CVMs whose columns and dtypes never depend on the data."""

import difflib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeVar

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import SOURCES
from cvm_notebook.api.times import moment_of
from cvm_notebook.frames import arrays
from cvm_notebook.frames.reading import ListingInfo, RowChunk
from cvm_notebook.frames.schema import MONEY, ArrayKind, Money, kind_of, kind_of_money
from cvm_notebook.live.columns import FRAMED, INDEX, Column, Context
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.text import clean_text, quoted

T = TypeVar("T")

SCHEMA: Final = "fleet/1"
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Same:
    """One value, the same for every row."""

    value: object


def fleet_frame(
    cvms: Iterable[Cvm] | Snapshot,
    columns: Literal["narrow", "wide"] | Sequence[str] = "narrow",
    *,
    money: Money = "float",
    observed_at: date | str | None = None,
    source: str = "list",
    revision: int | None = None,
) -> pd.DataFrame:
    """Put CVMs into a DataFrame, one row each, indexed by ``cvm_id``.

    Columns, their order and their dtypes are the same for no CVM and for ten thousand; what the
    service did not say is missing, never zero or empty. `fleet_columns` lists every column.

    Parameters
    ----------
    cvms
        As `Client.list_cvms` returns them, or `Client.iter_cvms` yields them, which needs less
        memory. Of several with one id the last counts. Or a Snapshot of a live fleet, of which
        each row has its newest status, and a time, an age and a source of its own.
    columns
        ``"narrow"`` for reading, ``"wide"`` for everything, or the names wanted, in that order.
    money
        ``"float"``: ``float64``, so that ``nlargest``, ``describe`` and ``to_sql`` work.
        ``"decimal"``: exact, of six places (``decimal128(18, 6)[pyarrow]``; Decimal objects where
        pyarrow is missing).
    observed_at
        When the CVMs were read; now when None. Without a time zone it is this machine's local time.
        This and the next two are for CVMs: a Snapshot knows them.
    source
        Which call reported them: list, get, batch, stream or action.
    revision
        The store's revision of these rows, if there is a store.

    Returns
    -------
    pandas.DataFrame
        ``attrs["cvm"]`` repeats schema, source, revision and time, as a courtesy.

    Raises
    ------
    InvalidInput
        A column that does not exist (the message has the closest names), or another bad argument.

    Examples
    --------
    >>> fleet = fleet_frame(client.list_cvms(), columns="wide")
    >>> float(fleet.set_index("name").loc["my-app", "rate_usd_h"])
    0.06078
    """
    wanted = _choose(columns)
    amounts = kind_of_money(money)
    if isinstance(cvms, Snapshot):
        context = Context(cvms)
        ids, values = _read(cvms.rows, wanted, partial(RowChunk.of_rows, context=context))
        provenance = _about(cvms)
    else:
        if not isinstance(source, str) or source not in SOURCES:
            problem = f"{clean_text(repr(source), 60)} is none of {', '.join(SOURCES)}"
            raise InvalidInput("source", problem)
        seen, age = _observation(observed_at)
        listing = ListingInfo(seen, age, source, revision)
        ids, values = _read(_cvms(cvms), wanted, partial(RowChunk.of_cvms, listing=listing))
        provenance = {"source": source, "revision": revision, "as_of": seen.isoformat()}
    # what has been built is let go at once: ten thousand names need not be there twice
    data = {c.name: _build(c, values.pop(c.name), len(ids), amounts) for c in wanted}
    index = pd.Index(arrays.text(ids), name=INDEX.name)
    frame = pd.DataFrame(data, index=index, copy=False)
    frame.attrs["cvm"] = {"schema": SCHEMA, **provenance}
    return frame


def _about(snapshot: Snapshot) -> dict[str, object]:
    """Return what the frame of a snapshot says of it, as a courtesy."""
    return {
        "source": "live",
        "revision": snapshot.revision,
        "as_of": snapshot.taken_at.isoformat(),
        "complete": snapshot.complete,
        "health": str(snapshot.health),
    }


def fleet_columns() -> pd.DataFrame:
    """List the columns of `fleet_frame`: dtype, whether narrow has it, meaning."""
    return pd.DataFrame(
        {
            "dtype": [kind_of(c).dtype for c in FRAMED.values()],
            "narrow": [c.narrow for c in FRAMED.values()],
            "meaning": [c.doc for c in FRAMED.values()],
        },
        index=pd.Index(list(FRAMED), name="column"),
    )


def _choose(columns: object) -> list[Column]:
    if isinstance(columns, str):
        if columns not in {"narrow", "wide"}:
            raise InvalidInput(
                "columns",
                f"{quoted(columns, 40)} is not a view",
                'Give "narrow", "wide", or a list of column names.',
            )
        return [c for c in FRAMED.values() if c.narrow or columns == "wide"]
    names = checks.several("columns", columns, "column names")
    for name in names:
        if not isinstance(name, str) or name not in FRAMED:
            problem = f"there is no column {clean_text(repr(name), 60)}"
            raise InvalidInput("columns", problem, _remedy(name))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput("columns", f"named twice: {', '.join(twice)}")
    return [FRAMED[name] for name in names]


def _remedy(name: object) -> str:
    if isinstance(name, str) and name == INDEX.name:
        return f"{name} is the index; frame.reset_index() makes it a column."
    close = difflib.get_close_matches(str(name), list(FRAMED), n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}? fleet_columns() lists them all."
    return "fleet_columns() lists them all."


def _read(
    things: Iterable[T], wanted: list[Column], chunk_of: Callable[[list[T]], RowChunk]
) -> tuple[list[str | None], dict[str, Any]]:
    """Return the ids and the values of each column.

    A few CVMs at a time: they are read while the processor still has them at hand, and those of an
    iterator are let go before the next are made.
    """
    ids: list[str | None] = []
    values: dict[str, Any] = {column.name: [] for column in wanted}
    source = iter(things)
    while some := list(islice(source, _AT_ONCE)):
        chunk = chunk_of(some)
        ids += chunk.ids
        for column in wanted:
            if chunk.shares(column):
                values[column.name] = Same(chunk.values(column, 1)[0])
            else:
                values[column.name] += chunk.values(column)
    last = {id_: at for at, id_ in enumerate(ids) if id_ is not None}
    if len(last) + ids.count(None) < len(ids):
        keep = [at for at, id_ in enumerate(ids) if id_ is None or last[id_] == at]
        ids = [ids[at] for at in keep]
        for name, found in values.items():
            if not isinstance(found, Same):
                values[name] = [found[at] for at in keep]
    return ids, values


def _build(column: Column, values: Any, length: int, amounts: ArrayKind) -> Any:
    """Build the array of a column; `amounts` says how sums of money are held."""
    kind = amounts if kind_of(column) is MONEY else kind_of(column)
    if isinstance(values, Same):
        return kind.build([values.value]).repeat(length)
    return kind.build(values)


def _cvms(cvms: object) -> Iterator[Cvm]:
    """Yield the CVMs; what is none is refused."""
    if isinstance(cvms, str | bytes | Mapping) or not isinstance(cvms, Iterable):
        problem = f"it is {type(cvms).__name__}, not CVMs"
        raise InvalidInput("cvms", problem, "Give client.list_cvms(), or fleet.snapshot().")
    for cvm in cvms:
        record = cvm if isinstance(cvm, Cvm) else getattr(cvm, "cvm", None)  # of a handle
        if not isinstance(record, Cvm):
            raise InvalidInput("cvms", f"{type(cvm).__name__} is not a Cvm")
        yield record


def _observation(observed_at: date | str | None) -> tuple[datetime, float]:
    """Return when the rows were read, in UTC, and how many seconds ago that is."""
    now = time.time()
    if observed_at is None:
        return datetime.fromtimestamp(now, UTC), 0.0
    seen = moment_of("observed_at", observed_at)
    return seen, max(0.0, now - seen.timestamp())
