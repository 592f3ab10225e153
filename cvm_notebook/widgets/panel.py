"""Panel: a caption, a picture and a table of text, as one widget; a dashboard shows several."""

from collections.abc import Sequence

import traitlets

from cvm_notebook.text import clean_text, html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.view import LiveView, Message

_CELL_CHARS = 300


class Panel(LiveView):
    """A panel of text and a picture; nothing of it is kept in a saved notebook but its title."""

    _esm = module("panel")
    _css = style("panel")
    _FAULT = " in this panel."
    title = traitlets.Unicode("").tag(sync=True)

    def __init__(self, title: str) -> None:
        self._shown: Message = {"note": "", "head": [], "rows": [], "alt": ""}
        self._picture = b""
        super().__init__(boot=False, title=title)

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
        self._shown = {
            "note": clean_text(note, 600),
            "head": list(head),
            "rows": [[clean_text(cell, _CELL_CHARS) for cell in row] for row in rows],
            "alt": alt,
        }
        self._picture = picture
        self._mark()

    def _state(self) -> Message:
        return self._shown

    def _buffers(self) -> list[bytes]:
        return [self._picture] if self._picture else []

    def __repr__(self) -> str:
        return f"<Panel {self.title!r}: {self._shown['note'] or self._shown['alt']}>"

    def _static(self) -> dict[str, str]:
        title = f"{self.title}. {self._shown['note'] or self._shown['alt']}"
        content = title, self._shown["head"], self._shown["rows"]
        return {"text/html": html_table(*content), "text/plain": text_table(*content)}
