"""Whether anybody looks: a view is served while its front end gives signs of life."""

import contextlib
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.reflector.interest import InterestHandle

# A busy kernel hears nothing until its cell ends; a closed browser tab says no farewell.
LEASE_S: Final = 600.0


class Presence:
    """Keeps a fleet live while a view is looked at. Only the bridge's thread calls it.

    Parameters
    ----------
    fleet
        What is kept live; held weakly.
    """

    def __init__(self, fleet: FleetEngine) -> None:
        self._fleet = weakref.ref(fleet)
        self._handle: InterestHandle | None = None
        self._until = 0.0

    @property
    def seen(self) -> bool:
        """Whether somebody looks, as far as is known."""
        return time.monotonic() < self._until

    def heard(self) -> bool:
        """Note a sign of life; return whether it is the first after a silence."""
        first = not self.seen
        self._until = time.monotonic() + LEASE_S
        fleet = self._fleet()
        if self._handle is None and fleet is not None:
            with contextlib.suppress(CvmError):  # the fleet is closed: what it knew can be seen
                self._handle = fleet.interest()
        return first

    def gone(self) -> None:
        """Note that nobody looks any more."""
        self._until = 0.0
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def check(self) -> bool:
        """Return whether somebody looks; end the interest when nobody did for long."""
        if not self.seen:
            self.gone()
        return self.seen


_VIEW: Final = "application/vnd.jupyter.widget-view+json"


def with_widget(static: Mapping[str, str], make: Callable[[], Any]) -> dict[str, Any]:
    """Return what is displayed: the static text and html, and the widget where one can live.

    Parameters
    ----------
    static
        What is seen without a kernel: on GitHub, by nbconvert, in a mail.
    make
        Makes the widget, or returns the one there is.
    """
    if not has_kernel():
        return dict(static)
    widget = make()
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {**static, _VIEW: view}


def has_kernel() -> bool:
    """Whether this process is a kernel, to which a front end may speak."""
    # another thread may be importing it just now, and then there is no kernel either
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


@cache
def module(*names: str) -> str:
    """Return scripts joined to one ES module: what the later ones use stands in the first.

    Each is named by its folder in `widgets`: ``"base/logs"``.
    """
    return _joined([f"{name}.js" for name in ("base/common", *names)])


@cache
def style(*names: str) -> str:
    """Return style sheets joined to one."""
    return _joined([f"{name}.css" for name in ("base/common", *names)])


def _joined(names: list[str]) -> str:
    widgets = files("cvm_notebook.widgets")
    return "\n".join((widgets / name).read_text("utf-8") for name in names)
