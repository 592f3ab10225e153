"""LocalCloud: our own server of the Phala Cloud CVM API, SQLite underneath.

``with LocalCloud() as cloud: ...`` runs it in a process of its own; ``serve(...)`` runs it here,
in the foreground; ``root_of(url)`` finds the root of its evidence. All are loaded when they are
asked for: importing this package costs nothing.
"""

from typing import TYPE_CHECKING

from cvm_notebook._lazy import lazy_names

if TYPE_CHECKING:
    from cvm_notebook.local.cloud import LocalCloud as LocalCloud
    from cvm_notebook.local.core.settings import LocalCloudError as LocalCloudError
    from cvm_notebook.local.root_file import root_of as root_of
    from cvm_notebook.local.server import serve as serve

_HOMES = {
    "LocalCloud": "cloud",
    "LocalCloudError": "core.settings",
    "root_of": "root_file",
    "serve": "server",
}

__all__ = ["LocalCloud", "LocalCloudError", "root_of", "serve"]

if not TYPE_CHECKING:  # for a type checker, a name that is not above is a mistake
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES)
