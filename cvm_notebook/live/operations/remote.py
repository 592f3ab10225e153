"""What a call takes beside the CVM, and how one that raised has ended."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from cvm_notebook.api.errors.tree import ConflictError, CvmError, NotFoundError, ResourceConflict
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.resources.intent import may_have_begun

CallEnd: TypeAlias = Literal["refused", "gone", "busy", "unknown"]


def params_of(given: Mapping[str, Any] | Provision | None) -> Mapping[str, Any]:
    """Return what a call takes beside the CVM; of a provision, what its commit needs."""
    if isinstance(given, Provision):
        return {"app_id": given.app_id, "compose_hash": given.compose_hash}
    return dict(given or {})


def end_of(error: CvmError) -> CallEnd:
    """Judge how a call ended that raised.

    ``refused`` did nothing, ``gone`` has no CVM, ``busy`` met another operation; after ``unknown``
    the service may have acted.
    """
    if isinstance(error, NotFoundError):
        return "gone"
    if isinstance(error, ConflictError) and not isinstance(error, ResourceConflict):
        return "busy"
    return "unknown" if may_have_begun(error) else "refused"
