"""LocalCloud: our own server of the Phala Cloud CVM API, SQLite underneath.

``with LocalCloud() as cloud: ...`` runs it in a process of its own; ``serve(...)`` runs it here,
in the foreground. Both are loaded when they are asked for: importing this package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvm_notebook.local.process import LocalCloud, LocalCloudError
    from cvm_notebook.local.server import serve

_HOME = {"LocalCloud": "process", "LocalCloudError": "process", "serve": "server"}

__all__ = ["LocalCloud", "LocalCloudError", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only where it is needed

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
