"""Facets: the values that a column has in the fleet, with how often, to be filtered by."""

from collections import Counter
from typing import Any, Final

from cvm_notebook.live.columns import SEARCHED, Context
from cvm_notebook.live.store.records import Snapshot, name_of_app
from cvm_notebook.text import clean_text

FACETS: Final = ("region", "instance_type", "app_id")
_VALUE_CHARS: Final = 80


def facet_of(snapshot: Snapshot, name: str) -> list[dict[str, Any]]:
    """Return the values of a column, most frequent first: what each is, is called, and counts."""
    read, context = SEARCHED[name].value, Context(snapshot)
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for row in snapshot:
        value = read(row, context)
        if value is None:
            continue
        counts[value] += 1
        called = (row.name or row.id) if name == "app_id" else value
        names[value] = name_of_app((names.get(value, called), called))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], names[item[0]]))
    return [
        {"value": value, "label": clean_text(names[value], _VALUE_CHARS), "count": count}
        for value, count in ordered
    ]
