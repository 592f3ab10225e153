"""Names of a package that are loaded when they are first used (PEP 562), from any thread.

Two threads that begin an import at different places of one cycle would each wait for the other;
Python then gives one of them a module that is half made. So no module of this package imports,
while it is loaded, what leads back to it; and libraries, whose own cycles cannot be mended here,
are loaded by one thread at a time. So is what loads pandas: at the end of an import Python takes
the package out of `sys.modules` for a moment, and an import from it in another thread would fail.
"""

from __future__ import annotations

# Nothing else: this is loaded by every `import cvm_notebook`, and threading and typing are slow.
from _thread import RLock
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Held while a lazy name is loaded. Reentrant: what is loaded may use a lazy name itself.
LOADING = RLock()


def loaded(home: str, name: str) -> object:
    """Return what a module of this package holds, loaded now: what no layer below may import.

    Parameters
    ----------
    home
        The module, relative to the package.
    """
    with LOADING:
        holder: object = getattr(import_module(f"cvm_notebook.{home}"), name)
    return holder


def lazy_names(
    module: str, public: Iterable[str], homes: Mapping[str, str], package: str | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a module.

    Parameters
    ----------
    module
        Its name.
    public
        What ``dir()`` lists.
    homes
        Each lazy name and the module that holds it, relative to the package: ``"api.client"``. A
        dot at the end says that the name stands for the module itself: ``"api.models."``.
    package
        To which `homes` are relative; the module itself when not given.
    """
    root = package or module

    def __getattr__(name: str) -> object:  # noqa: N807 - it becomes the module's
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        with LOADING:
            holder = import_module(f"{root}.{home.rstrip('.')}")
        value: object = holder if home.endswith(".") else getattr(holder, name)
        vars(import_module(module))[name] = value
        return value

    listed = list(public)
    return __getattr__, lambda: list(listed)
