"""LocalCloud: our own server of the Phala Cloud CVM API, SQLite underneath.

``with LocalCloud() as cloud: ...`` runs it in a process of its own; ``serve(...)`` runs it here,
in the foreground. Both are loaded when they are asked for: importing this package costs nothing.
"""

from typing import TYPE_CHECKING

from cvm_notebook._lazy import lazy_names

if TYPE_CHECKING:
    from cvm_notebook.local.cloud import LocalCloud as LocalCloud
    from cvm_notebook.local.core.settings import LocalCloudError as LocalCloudError
    from cvm_notebook.local.server import serve as serve

_HOMES = {"LocalCloud": "cloud", "LocalCloudError": "core.settings", "serve": "server"}

__all__ = ["LocalCloud", "LocalCloudError", "serve"]

if not TYPE_CHECKING:  # for a type checker, a name that is not above is a mistake
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES)
