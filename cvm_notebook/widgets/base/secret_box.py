"""SecretBox: a field whose text goes to the kernel once, and is never a part of any saved state."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import ipywidgets
import traitlets

from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.closing import ClosesWhole, close_widgets
from cvm_notebook.widgets.base.view import LiveView, Message


class SecretBox(LiveView):
    """A masked field; what is typed is handed over in one message and the field is emptied.

    Parameters
    ----------
    label
        What is asked for.
    then
        Called with what is given, on the UI thread; returns what to show beside the field, or None.

    Examples
    --------
    >>> box = SecretBox("Password of the database")
    >>> box.secret is None
    True
    """

    _esm = module("base/secret", "base/secret_box")
    _css = style("base/secret", "base/secret_box")
    _FAULT = ": nothing was taken."
    label = traitlets.Unicode("API key").tag(sync=True)
    button = traitlets.Unicode("Use").tag(sync=True)

    def __init__(
        self,
        label: str = "API key",
        *,
        button: str = "Use",
        then: Callable[[Secret], str | None] | None = None,
    ) -> None:
        self._secret: Secret | None = None
        self._then = then
        self._text: str | None = None
        super().__init__(boot=False, label=label, button=button)

    @property
    def secret(self) -> Secret | None:
        """The secret that was entered last; None while there is none."""
        return self._secret

    def clear(self) -> None:
        """Forget it."""
        self._secret = None
        self.say(None)

    def say(self, text: str | None) -> None:
        """Say something beside the field; None says whether there is one."""
        self._text = text
        self._mark()

    def _state(self) -> Message:
        return {"text": self._status()}

    def _on_secret(self, message: Mapping[str, Any]) -> None:
        value = message.get("value")
        if isinstance(value, Secret) and value:
            self._secret = value
            self._text = None if self._then is None else self._then(value)
            self._mark()

    def _status(self) -> str:
        if self._text is not None:
            return clean_text(self._text)
        return "in this kernel's memory only" if self._secret else "not set"

    def __repr__(self) -> str:
        return f"<SecretBox {clean_text(self.label, 60)!r}: {self._status()}>"


class SecretBoxes(ClosesWhole, ipywidgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A box for each of several values.

    Parameters
    ----------
    names
        What is asked for.
    then
        Returns what is called with each name and value as it is given, or None when nobody waits
        for them any more.
    """

    def __init__(
        self, names: Iterable[str], then: Callable[[], Callable[[str, Secret], str | None] | None]
    ) -> None:
        boxes = [SecretBox(f"Value of {name}", then=partial(_given, then, name)) for name in names]
        super().__init__(boxes)
        self._boxes = tuple(boxes)

    def say(self, text: str) -> None:
        """Say something beside each field."""
        for box in self._boxes:
            box.say(text)

    def make_room(self, widget: ipywidgets.Widget) -> None:
        """End the boxes, and show something else in their place."""
        if self.comm is not None:  # else it was closed, and its boxes with it
            self.set_trait("children", (widget,))
            close_widgets(self._boxes)

    def _parts(self) -> Iterable[ipywidgets.Widget]:
        return self._boxes


def _given(
    then: Callable[[], Callable[[str, Secret], str | None] | None], name: str, value: Secret
) -> str | None:
    waiting = then()
    return "not taken: run the cell again" if waiting is None else waiting(name, value)
