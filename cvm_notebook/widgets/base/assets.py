"""Scripts and style sheets of the widgets, joined from the files of this package; no build step."""

from functools import cache
from importlib.resources import files


@cache
def module(*names: str) -> str:
    """Return scripts joined to one ES module: what the later ones use stands in the first.

    Each is named by its folder in `widgets`: ``"base/logs"``.
    """
    return _joined([f"{name}.js" for name in ("base/common", "base/view_model", *names)])


@cache
def style(*names: str) -> str:
    """Return style sheets joined to one."""
    return _joined([f"{name}.css" for name in ("base/common", *names)])


def _joined(names: list[str]) -> str:
    widgets = files("cvm_notebook.widgets")
    return "\n".join((widgets / name).read_text("utf-8") for name in names)
