"""Panel: a caption, a picture, a table of text: what else a dashboard shows, as one widget."""

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from cvm_notebook.text import clean_text, html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread

_CELL_CHARS = 300


class Panel(ClosesWhole, anywidget.AnyWidget):
    """Shows what it was told last; nothing of it is kept in a saved notebook but its title."""

    _esm = module("panel")
    _css = style("panel")
    title = traitlets.Unicode("").tag(sync=True)

    def __init__(self, title: str) -> None:
        self._said: dict[str, Any] = {
            "kind": "panel",
            "note": "",
            "head": [],
            "rows": [],
            "alt": "",
        }
        self._picture = b""
        super().__init__(title=title)
        self.on_msg(self._received)

    def show(
        self,
        *,
        note: str = "",
        head: Sequence[str] = (),
        rows: Sequence[Sequence[str]] = (),
        picture: bytes = b"",
        alt: str = "",
    ) -> None:
        """Show something else. May be called from any thread.

        Parameters
        ----------
        note
            A line under the title.
        head, rows
            A table of text; escaped by being text.
        picture, alt
            A PNG, and what it shows in words.
        """
        self._said = {
            "kind": "panel",
            "note": clean_text(note, 600),
            "head": list(head),
            "rows": [[clean_text(cell, _CELL_CHARS) for cell in row] for row in rows],
            "alt": alt,
        }
        self._picture = picture
        self._tell()

    def _tell(self) -> None:
        publish(self, self._said, [self._picture] if self._picture else None)

    def _received(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict) and content.get("kind") == "hello":
            ui_thread.post(self._tell)

    def __repr__(self) -> str:
        return f"<Panel {self.title!r}: {self._said['note'] or self._said['alt']}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        title = f"{self.title}. {self._said['note'] or self._said['alt']}"
        said = title, self._said["head"], self._said["rows"]
        return {**data, "text/html": html_table(*said), "text/plain": text_table(*said)}, metadata
