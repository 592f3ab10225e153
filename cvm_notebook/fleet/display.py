"""WidgetDisplay: a mixin that displays a widget, in Jupyter and in marimo."""

from abc import ABC, abstractmethod
from typing import Any

from cvm_notebook._lazy import LOADING


class WidgetDisplay(ABC):
    """A mixin for what is displayed by a live widget, with a static snapshot beside it."""

    @abstractmethod
    def _repr_mimebundle_(self) -> dict[str, Any]:
        """Return the snapshot, and the widget where there is a front end."""

    @abstractmethod
    def _widget(self) -> Any:
        """Return the widget."""

    def _ipython_display_(self) -> None:
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import display_in_jupyter  # noqa: PLC0415

        display_in_jupyter(self._repr_mimebundle_())

    def _display_(self) -> Any:  # marimo asks for it
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import displayed  # noqa: PLC0415 - widgets on demand

        return displayed(self._repr_mimebundle_(), self._widget)
