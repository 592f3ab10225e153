"""Every error that the package raises, by name: ``except cvm.errors.QueryError``.

All but `LocalCloudError` are CvmErrors. Those that come from the live fleet, frames, magics or
LocalCloud are loaded when they are first used.
"""

from cvm_notebook._lazy import lazy_names
from cvm_notebook.api.errors import (
    ApiError,
    AuthError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    CvmError,
    DeadlineExceeded,
    DecodeError,
    Detail,
    InvalidInput,
    Link,
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
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cvm_notebook.frames.gates import GatesFailed
    from cvm_notebook.live.ledger_database import LedgerError
    from cvm_notebook.live.lookup import AmbiguousCvm, UnknownCvm
    from cvm_notebook.live.plan import NotConfirmed
    from cvm_notebook.live.preconditions import Refused, RowChanged
    from cvm_notebook.live.query import QueryError
    from cvm_notebook.local.folders import LocalCloudError
    from cvm_notebook.magics_verbs import NotAllDone

_HOMES = {
    "AmbiguousCvm": "live.lookup",
    "GatesFailed": "frames.gates",
    "LedgerError": "live.ledger_database",
    "LocalCloudError": "local.folders",
    "NotAllDone": "magics_verbs",
    "NotConfirmed": "live.plan",
    "QueryError": "live.query",
    "Refused": "live.preconditions",
    "RowChanged": "live.preconditions",
    "UnknownCvm": "live.lookup",
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
    "WatchTimeout",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES, "cvm_notebook")
