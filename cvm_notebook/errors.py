"""Every error that the package raises, by name: ``except cvm.errors.QueryError``.

All but `LocalCloudError` are CvmErrors. Those that come from the live fleet, frames, magics or
LocalCloud are loaded when they are first used.
"""

from cvm_notebook._lazy import lazy_names
from cvm_notebook.api.errors.envelope import Detail, Link
from cvm_notebook.api.errors.tree import (
    ApiError,
    AuthError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    CvmError,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    NotFoundError,
    NotTrustedError,
    RateLimited,
    ReadOnly,
    ResourceAuthError,
    ResourceConflict,
    ResourceError,
    ResourceNotFound,
    ResourceRateLimited,
    ResourceServerError,
    ServerError,
    TargetUnreachable,
    TransportError,
    TruncatedResponse,
    UnsafeRedirect,
    WatchTimeout,
    WorkspaceSuspended,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cvm_notebook.api.webhook_signature import WebhookRejected
    from cvm_notebook.attest.verdict import VerificationFailed
    from cvm_notebook.frames.reports.gates import GatesFailed
    from cvm_notebook.live.operations.database import LedgerError
    from cvm_notebook.live.operations.preconditions import Refused, RowChanged
    from cvm_notebook.live.plans.plan import NotConfirmed
    from cvm_notebook.live.query import QueryError
    from cvm_notebook.live.store.index import AmbiguousCvm, UnknownCvm
    from cvm_notebook.local.core.settings import LocalCloudError
    from cvm_notebook.magics.apply import NotAllApplied
    from cvm_notebook.magics.verbs import NotAllDone

_HOMES = {
    "AmbiguousCvm": "live.store.index",
    "GatesFailed": "frames.reports.gates",
    "LedgerError": "live.operations.database",
    "LocalCloudError": "local.core.settings",
    "NotAllApplied": "magics.apply",
    "NotAllDone": "magics.verbs",
    "NotConfirmed": "live.plans.plan",
    "QueryError": "live.query",
    "Refused": "live.operations.preconditions",
    "RowChanged": "live.operations.preconditions",
    "UnknownCvm": "live.store.index",
    "VerificationFailed": "attest.verdict",
    "WebhookRejected": "api.webhook_signature",
}

__all__ = [
    "AmbiguousCvm",
    "ApiError",
    "AuthError",
    "ConfigurationError",
    "ConflictError",
    "CredentialsError",
    "CvmError",
    "DeadlineExceeded",
    "DecodeError",
    "Detail",
    "GatesFailed",
    "InvalidInput",
    "LedgerError",
    "Link",
    "LocalCloudError",
    "NotAllApplied",
    "NotAllDone",
    "NotConfirmed",
    "NotFoundError",
    "NotTrustedError",
    "QueryError",
    "RateLimited",
    "ReadOnly",
    "Refused",
    "ResourceAuthError",
    "ResourceConflict",
    "ResourceError",
    "ResourceNotFound",
    "ResourceRateLimited",
    "ResourceServerError",
    "RowChanged",
    "ServerError",
    "TargetUnreachable",
    "TransportError",
    "TruncatedResponse",
    "UnknownCvm",
    "UnsafeRedirect",
    "VerificationFailed",
    "WatchTimeout",
    "WebhookRejected",
    "WorkspaceSuspended",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES, "cvm_notebook")
