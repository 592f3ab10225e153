"""Whom a rule is about: a search, conditions, or some CVMs by name; asked anew at each look."""

from collections.abc import Iterable, Mapping

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.live.query import search, where
from cvm_notebook.live.rules.autostop import Chooser
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.text import clean_text

_NAMED = 5
_CHARS = 200
_REMEDY = "Give a search, such as \"name like 'dev-%'\"; all that run are: status = running."


def chooser(
    said: str | Mapping[str, object] | Iterable[Ref], snapshot: Snapshot
) -> tuple[str, Chooser]:
    """Return whom a rule is about, in words, and what finds them in a snapshot.

    Raises
    ------
    InvalidInput
        It is empty, cannot be understood, or names a CVM that is not there.
    """
    if isinstance(said, str):
        query = search(checks.text("where", said))
        return f"({clean_text(said, _CHARS)})", query.rows
    if isinstance(said, Mapping):
        conditions = dict(said)
        if not conditions:
            raise InvalidInput("where", "it is empty", _REMEDY)
        where(snapshot, **conditions)  # refuses what cannot be asked
        text = ", ".join(f"{name}={value!r}" for name, value in conditions.items())
        return f"({clean_text(text, _CHARS)})", lambda now: where(now, **conditions)
    rows = [snapshot.find(ref) for ref in checks.several("where", said)]
    if not rows:
        raise InvalidInput("where", "it is empty", _REMEDY)
    chosen = {row.id for row in rows}
    names = [row.name or row.id for row in rows[:_NAMED]]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    text = clean_text(", ".join(names) + more, _CHARS)
    return text, lambda now: tuple(row for row in now.rows if row.id in chosen)
