"""Cells of the fleet table as text and back, and any frame of it brought to the exact dtypes."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.frames import arrays
from cvm_notebook.frames.fleet import fleet_frame
from cvm_notebook.frames.schema import COUNT, INSTANT, ArrayKind, kind_of
from cvm_notebook.live import columns
from cvm_notebook.live.columns import FRAMED, SEARCHED
from cvm_notebook.text import clean_text

INDEX: Final = columns.INDEX.name

Texts = Sequence[str | None]

_KINDS: Final[Mapping[str, ArrayKind]] = {c.name: kind_of(c) for c in SEARCHED.values()}
_EXACT: Final = fleet_frame((), columns="wide")  # has the dtypes of a frame of the fleet
_INT64: Final = range(-(2**63), 2**63)
_FLAGS: Final = {"true": True, "false": False}


def conform(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the exact dtypes of the fleet table, and ``cvm_id`` as its index.

    Raises
    ------
    InvalidInput
        It has no ``cvm_id``, a column that the fleet table has not, or a value that its column
        cannot hold.
    """
    checks.instance("frame", frame, pd.DataFrame, "Give a frame of fleet_frame or Fleet.")
    if frame.index.name != INDEX:
        if INDEX not in frame.columns:
            raise InvalidInput("frame", f"has no {INDEX}", "Give a frame of fleet_frame or Fleet.")
        frame = frame.set_index(INDEX)
    check_columns(frame.columns)
    index = frame.index
    if index.dtype != _EXACT.index.dtype:
        index = pd.Index(build(INDEX, as_text(index.to_series())), name=INDEX)
    data = {name: _exact(name, frame[name]) for name in frame.columns}
    return pd.DataFrame(data, index=index, copy=False)


def check_columns(names: pd.Index) -> None:
    """Refuse names that are no columns of the fleet table, or occur twice."""
    strange = [clean_text(name, 60) for name in names if name not in FRAMED]
    if strange:
        raise InvalidInput(
            "frame",
            f"the fleet table has no column {', '.join(strange[:5])}",
            "Drop what is not of the fleet table: frame.drop(columns=[...]).",
        )
    if not names.is_unique:
        twice = ", ".join(sorted(set(names[names.duplicated()])))
        raise InvalidInput("frame", f"has twice: {twice}")


def require_unique(frame: pd.DataFrame, name: str = "frame") -> None:
    """Refuse a frame that holds a CVM twice, as two frames that were joined do."""
    ids = pd.Index(frame[INDEX]) if INDEX in frame.columns else frame.index
    twice = ids[ids.duplicated()].dropna()
    if len(twice):
        remedy = "Keep one row of each CVM: frame[~frame.index.duplicated()]."
        raise InvalidInput(name, f"has {clean_text(next(iter(twice)), 60)} twice", remedy)


def _exact(name: str, column: "pd.Series[Any]") -> Any:
    wanted = _EXACT[name].dtype
    if column.dtype == wanted and not pd.api.types.is_object_dtype(wanted):
        return column.array
    return build(name, as_text(column))


def build(name: str, texts: Texts) -> Any:
    """Build the array of a column from its cells as text; no cell is lost without a word."""
    kind = _KINDS[name]
    read = _READERS.get(kind.dtype)
    values = texts if read is None else [None if t is None else read(t) for t in texts]
    make: Callable[[Any], Any] = _MAKERS.get(id(kind)) or kind.build
    made = make(values)
    lost = np.asarray(pd.isna(made)) & np.array([t is not None for t in texts], dtype=bool)
    if lost.any():
        bad = clean_text(texts[int(lost.argmax())], 60)
        raise InvalidInput(name, f"{bad!r} is not {kind.dtype}", "Correct it, or leave it empty.")
    return made


def as_text(column: "pd.Series[Any]") -> list[str | None]:
    """Return the cells as text that `build` reads back; None for what is missing."""
    cells, missing = column.astype(object).tolist(), column.isna().tolist()
    if isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):  # text already
        return [None if lacks else cell for cell, lacks in zip(cells, missing, strict=True)]
    return [None if lacks else _word(cell) for cell, lacks in zip(cells, missing, strict=True)]


def word(cell: object) -> str | None:
    """Return one cell as text, as `as_text` does."""
    return None if cell is None else _word(cell)


def _word(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return repr(float(cell))
    if isinstance(cell, Decimal):
        return format(cell, "f")
    return cell.isoformat() if isinstance(cell, pd.Timestamp) else str(cell)


def _integer(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number in _INT64 else None


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "Int64": _integer,
    "Float64": _real,
    "boolean": lambda text: _FLAGS.get(text.lower()),
}
# these two are not built from what their cells hold
_MAKERS: Final[Mapping[int, Callable[[Any], Any]]] = {
    id(COUNT): arrays.integer,
    id(INSTANT): arrays.moment,
}
