"""Closing of widgets with their parts, after removing them from whatever shows or links them.

A front end that is loaded again asks for the state of every widget in one message. A living widget
that refers to a closed one cannot send its state, and then none of the notebook is shown.
"""

from collections.abc import Iterable
from typing import Any

import ipywidgets
from ipywidgets.widgets.widget import _instances


def is_open(widget: ipywidgets.Widget) -> bool:
    """Whether a widget is open: neither we nor its host have closed its comm.

    marimo closes what a cell has made when that cell runs again.
    """
    return widget.comm is not None and not getattr(widget.comm, "_closed", False)


class ClosesWhole:
    """Mixin of a widget: `close` ends its parts too, and whatever shows it lets go of it first."""

    def close(self) -> None:
        """End it, and the widgets it made; a second time does nothing."""
        if self.comm is None:  # type: ignore[attr-defined]
            return
        parts = tuple(self._parts())
        _detach(self)
        super().close()  # type: ignore[misc]
        close_widgets(parts)
        _close_looks(self)

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        """Return the widgets that it made, containers before their children."""
        return ()


def close_widgets(widgets: Iterable[ipywidgets.Widget]) -> None:
    """Close widgets with their layouts and styles; boxes are given before what is in them."""
    for widget in widgets:
        if isinstance(widget, ClosesWhole):
            widget.close()
        elif widget.comm is not None:
            _detach(widget)
            widget.close()
            _close_looks(widget)


def _detach(widget: Any) -> None:
    """Take a widget out of the boxes that show it, and end the links to it."""
    for other in list(_instances.values()):
        if isinstance(other, ipywidgets.widgets.widget_link.Link):
            if any(end and end[0] is widget for end in (other.source, other.target)):
                other.close()
        elif isinstance(other, ipywidgets.Box) and any(one is widget for one in other.children):
            _take_out(other, widget)


def _take_out(box: ipywidgets.Box, widget: Any) -> None:
    # what others have closed is a hole, too
    living = [child is not widget and child.comm is not None for child in box.children]
    kept = [at for at, lives in enumerate(living) if lives]
    titles = getattr(box, "titles", None)
    box.children = tuple(box.children[at] for at in kept)
    if titles is not None:
        box.titles = tuple(titles[at] for at in kept)


def _close_looks(widget: Any) -> None:
    """Close a widget's layout and style, unless another widget has the same."""
    for name in ("layout", "style"):
        look = getattr(widget, name, None)
        if isinstance(look, ipywidgets.Widget) and look.comm is not None and not _shared(look):
            _detach(look)
            look.close()


def _shared(look: ipywidgets.Widget) -> bool:
    return any(
        getattr(other, name, None) is look
        for other in list(_instances.values())
        for name in ("layout", "style")
    )
