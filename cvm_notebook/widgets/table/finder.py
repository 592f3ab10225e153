"""Finder: the filter of a table, run again and again; results are sent when they differ."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.query import search
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.text import clean_text

_EVERY_S: Final = 1.0
_LONGEST: Final = 2_000


class Finder:
    """Searches a fleet again and again for the same text. Only the UI thread calls it.

    Parameters
    ----------
    numbers
        Returns the numbers by which the views know CVMs.
    """

    def __init__(self, numbers: Callable[[Sequence[str]], list[int]]) -> None:
        self._numbers = numbers
        self._found: Any = None
        self._at = 0.0

    def anew(self) -> None:
        """Return what is found next, also where it is unchanged."""
        self._found, self._at = None, 0.0

    def changed_result(self, text: str, take: Callable[[], Snapshot]) -> dict[str, Any] | None:
        """Return what is found now; None where it is unchanged, or was looked for a moment ago.

        Parameters
        ----------
        text
            Words or a condition; nothing is looked for where it is empty.
        take
            Takes a snapshot of the store.
        """
        text = text.strip()[:_LONGEST]
        if not text or time.monotonic() - self._at < _EVERY_S:
            return None
        self._at = time.monotonic()
        try:
            query = search(text)
            rows = query.rows(take())
        except CvmError as error:
            found: Any = clean_text(error, 600)
            result = {"text": text, "error": found}
        else:
            found = self._numbers([row.id for row in rows])
            result = {"text": text, "ks": found, "ordered": query.ordered}
        if found == self._found:
            return None
        self._found = found
        return result

    def columns(self, text: str) -> frozenset[str]:
        """Return the columns that a text names; none where it cannot be understood."""
        try:
            return search(text[:_LONGEST]).columns
        except CvmError:
            return frozenset()
