"""The widgets' ES modules and style sheets: written by hand, joined here, without a build step."""

from functools import cache
from importlib.resources import files


@cache
def module(*names: str) -> str:
    """Return scripts joined to one ES module: what the later ones use stands in the first."""
    return _joined([f"{name}.js" for name in ("common", *names)])


@cache
def style(*names: str) -> str:
    """Return style sheets joined to one."""
    return _joined([f"{name}.css" for name in ("common", *names)])


def _joined(names: list[str]) -> str:
    static = files(__package__) / "static"
    return "\n".join((static / name).read_text("utf-8") for name in names)
