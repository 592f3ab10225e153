"""SecretBox: a field whose text goes to the kernel once, and is never a part of any saved state."""

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import anywidget
import ipywidgets
import traitlets

from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.closing import ClosesWhole, close_widgets
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread

_LONGEST: Final = 1 << 20
_SECRETS: Final = frozenset({"value", "text"})


def _hide(record: logging.LogRecord) -> bool:
    """Take the message out of the comm library's note of it, which it makes at DEBUG."""
    if isinstance(record.args, tuple) and str(record.msg).startswith("handle_msg"):
        record.args = (*record.args[:-1], "its content is not logged: it may be secret")
    return True


logging.getLogger("Comm").addFilter(_hide)


def seal(content: object) -> dict[str, Any]:
    """Return a message of a front end with what may be secret in it as Secrets.

    It is done first, in the handler: what goes further may be shown in a traceback.
    """
    if not isinstance(content, Mapping):
        return {}
    return {str(key): _sealed(str(key), value) for key, value in content.items()}


def _sealed(key: str, value: object) -> object:
    if key not in _SECRETS or not isinstance(value, str):
        return value
    return Secret(value) if len(value) <= _LONGEST else None


class SecretBox(ClosesWhole, anywidget.AnyWidget):
    """A masked field; what is typed is handed over in one message and the field is emptied.

    Parameters
    ----------
    label
        What is asked for.
    then
        Called with what is given, on the UI thread; returns what is said of it, or None.

    Examples
    --------
    >>> box = SecretBox("Password of the database")
    >>> box.secret is None
    True
    """

    _esm = module("base/secret", "base/secret_box")
    _css = style("base/secret", "base/secret_box")
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
        super().__init__(label=label, button=button)
        self.on_msg(partial(_received, weakref.ref(self)))

    @property
    def secret(self) -> Secret | None:
        """What was given last; None while nothing was."""
        return self._secret

    def clear(self) -> None:
        """Forget it."""
        self._secret = None
        self.say(None)

    def say(self, text: str | None) -> None:
        """Say something beside the field; None says whether there is one."""
        self._text = text
        self.pulse()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Say whether there is one; see `View`."""
        self.pulse()

    def pulse(self) -> None:
        """Say whether there is one; see `View`."""
        publish(self, {"kind": "state", "text": self._said()})

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        publish(self, {"kind": "state", "text": f"{type(error).__name__}: nothing was taken."})

    def _take(self, content: Mapping[str, Any]) -> None:
        value = content.get("value")
        if content.get("kind") == "secret" and isinstance(value, Secret) and value:
            self._secret = value
            self._text = None if self._then is None else self._then(value)
        self.pulse()

    def _said(self) -> str:
        if self._text is not None:
            return clean_text(self._text)
        return "in this kernel's memory only" if self._secret else "not set"

    def __repr__(self) -> str:
        return f"<SecretBox {clean_text(self.label, 60)!r}: {self._said()}>"


def _received(
    me: "weakref.ref[SecretBox]", _widget: object, content: object, _buffers: object
) -> None:
    box, sealed = me(), seal(content)
    if box is not None:
        ui_thread.post(partial(box._take, sealed), box)  # noqa: SLF001 - its own handler


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
        boxes = [SecretBox(f"Value of {name}", then=partial(_told, then, name)) for name in names]
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


def _told(
    then: Callable[[], Callable[[str, Secret], str | None] | None], name: str, value: Secret
) -> str | None:
    waiting = then()
    return "not taken: run the cell again" if waiting is None else waiting(name, value)
