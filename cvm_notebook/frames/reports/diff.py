"""The diff of two fleet frames: CVMs that came or went, and each field that changed."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from cvm_notebook.frames.convert import as_text, conform, require_unique
from cvm_notebook.frames.schema import TEXT, Field, Table, fixed
from cvm_notebook.live.columns import FRAMED

COMPARED: Final = tuple(name for name, column in FRAMED.items() if column.compared)
KINDS: Final = ("added", "removed", "changed")
WHOLE: Final = "cvm"  # the field of a row that came or went


class Difference(NamedTuple):
    """One row of a diff."""

    cvm_id: str
    field: str
    name: str | None
    kind: str
    before: str | None
    after: str | None


DIFF: Final[Table[Difference]] = Table(
    "diff/1",
    (
        Field("cvm_id", TEXT, lambda d: d.cvm_id, "the CVM"),
        Field("field", TEXT, lambda d: d.field, "what differs; cvm when all of it came or went"),
    ),
    (
        Field("name", TEXT, lambda d: d.name, "the CVM's name, the newest that is known"),
        Field("kind", fixed(KINDS), lambda d: d.kind, "added, removed or changed"),
        Field("before", TEXT, lambda d: d.before, "as it was; of a whole CVM, its status"),
        Field("after", TEXT, lambda d: d.after, "as it is; of a whole CVM, its status"),
    ),
)


@DIFF.documents
def diff(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Compare two frames of the fleet, by ``cvm_id`` and by each column that both have.

    Not compared is what tells of our reading (``observed_at``, ``age_s``, ``source``,
    ``revision``, and ``health``, which grows stale) and of our verifying (``verified``,
    ``verified_at``), and ``uptime_s`` and ``replicas``. The server's own word for a status is
    compared where our word for it is the same.

    Examples
    --------
    >>> monday = fleet.frame("wide")
    >>> diff(monday, monday).empty
    True
    """
    old, new = _keyed(before, "before"), _keyed(after, "after")
    found = [*_gone(old, new, "removed"), *_changed(old, new), *_gone(new, old, "added")]
    return DIFF.frame(found)


def _keyed(frame: pd.DataFrame, which: str) -> pd.DataFrame:
    """Return the frame in its exact dtypes; each CVM in it must have an id of its own."""
    frame = conform(frame)
    frame = frame[frame.index.notna()]
    require_unique(frame, which)
    return frame


def _gone(old: pd.DataFrame, new: pd.DataFrame, kind: str) -> Iterator[Difference]:
    """Yield the CVMs that only the first frame has."""
    rest = old.iloc[np.flatnonzero(new.index.get_indexer(old.index) < 0)]
    status, name = _texts(rest, "status"), _texts(rest, "name")
    for at, cvm_id in enumerate(rest.index):
        sides = (status[at], None) if kind == "removed" else (None, status[at])
        yield Difference(cvm_id, WHOLE, name[at], kind, *sides)


def _changed(old: pd.DataFrame, new: pd.DataFrame) -> list[Difference]:
    """Return what differs in the CVMs that both frames have, CVM by CVM."""
    if not old.index.equals(new.index):
        place = new.index.get_indexer(old.index)
        old, new = old.iloc[np.flatnonzero(place >= 0)], new.iloc[place[place >= 0]]
    names = _texts(new if "name" in new else old, "name")
    found: list[tuple[int, Difference]] = []
    for field in COMPARED:
        if field not in old or field not in new:
            continue
        unlike = differs(old[field], new[field])
        if field == "status_raw" and "status" in old and "status" in new:
            unlike &= ~differs(old["status"], new["status"])
        where = [int(at) for at in np.flatnonzero(unlike)]
        sides = zip(as_text(old[field].iloc[where]), as_text(new[field].iloc[where]), strict=True)
        for at, (was, is_) in zip(where, sides, strict=True):
            found.append((at, Difference(old.index[at], field, names[at], "changed", was, is_)))
    return [difference for _, difference in sorted(found, key=lambda pair: pair[0])]


def differs(old: "pd.Series[Any]", new: "pd.Series[Any]") -> Any:
    """Tell where two columns of one dtype differ; missing is equal to missing."""
    lacks, lacking = old.isna().to_numpy(), new.isna().to_numpy()
    unequal = pd.Series(old.array != new.array, dtype="boolean").fillna(False).to_numpy(dtype=bool)
    return (unequal & ~lacks & ~lacking) | (lacks != lacking)


def _texts(frame: pd.DataFrame, column: str) -> list[str | None]:
    return as_text(frame[column]) if column in frame else [None] * len(frame)
