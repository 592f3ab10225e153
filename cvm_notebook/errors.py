"""Every error that the package raises, by name: ``except cvm.errors.QueryError``.

All but `LocalCloudError` are CvmErrors. Those that come from the live fleet, frames, magics or
LocalCloud are loaded when they are first used.
"""

from cvm_notebook._lazy import lazy_names
from cvm_notebook.api.errors.envelope import Detail as Detail
from cvm_notebook.api.errors.envelope import Link as Link
from cvm_notebook.api.errors.tree import ApiError as ApiError
from cvm_notebook.api.errors.tree import AuthError as AuthError
from cvm_notebook.api.errors.tree import ConfigurationError as ConfigurationError
from cvm_notebook.api.errors.tree import ConflictError as ConflictError
from cvm_notebook.api.errors.tree import CredentialsError as CredentialsError
from cvm_notebook.api.errors.tree import CvmError as CvmError
from cvm_notebook.api.errors.tree import DeadlineExceeded as DeadlineExceeded
from cvm_notebook.api.errors.tree import DecodeError as DecodeError
from cvm_notebook.api.errors.tree import InvalidInput as InvalidInput
from cvm_notebook.api.errors.tree import NotFoundError as NotFoundError
from cvm_notebook.api.errors.tree import NotTrustedError as NotTrustedError
from cvm_notebook.api.errors.tree import RateLimited as RateLimited
from cvm_notebook.api.errors.tree import ReadOnly as ReadOnly
from cvm_notebook.api.errors.tree import ResourceAuthError as ResourceAuthError
from cvm_notebook.api.errors.tree import ResourceConflict as ResourceConflict
from cvm_notebook.api.errors.tree import ResourceError as ResourceError
from cvm_notebook.api.errors.tree import ResourceNotFound as ResourceNotFound
from cvm_notebook.api.errors.tree import ResourceRateLimited as ResourceRateLimited
from cvm_notebook.api.errors.tree import ResourceServerError as ResourceServerError
from cvm_notebook.api.errors.tree import ServerError as ServerError
from cvm_notebook.api.errors.tree import TargetUnreachable as TargetUnreachable
from cvm_notebook.api.errors.tree import TransportError as TransportError
from cvm_notebook.api.errors.tree import TruncatedResponse as TruncatedResponse
from cvm_notebook.api.errors.tree import UnsafeRedirect as UnsafeRedirect
from cvm_notebook.api.errors.tree import WatchTimeout as WatchTimeout
from cvm_notebook.api.errors.tree import WorkspaceSuspended as WorkspaceSuspended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cvm_notebook.api.webhook_signature import WebhookRejected as WebhookRejected
    from cvm_notebook.attest.verdict import VerificationFailed as VerificationFailed
    from cvm_notebook.frames.reports.gates import GatesFailed as GatesFailed
    from cvm_notebook.live.operations.database import LedgerError as LedgerError
    from cvm_notebook.live.operations.preconditions import Refused as Refused
    from cvm_notebook.live.operations.preconditions import RowChanged as RowChanged
    from cvm_notebook.live.plans.plan import NotConfirmed as NotConfirmed
    from cvm_notebook.live.query import QueryError as QueryError
    from cvm_notebook.live.store.index import AmbiguousCvm as AmbiguousCvm
    from cvm_notebook.live.store.index import UnknownCvm as UnknownCvm
    from cvm_notebook.local.core.settings import LocalCloudError as LocalCloudError
    from cvm_notebook.magics.apply import NotAllApplied as NotAllApplied
    from cvm_notebook.magics.verbs import NotAllDone as NotAllDone

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

if not TYPE_CHECKING:
    __all__ = list(_HOMES)
    __all__ += [name for name, kind in list(vars().items()) if isinstance(kind, type)]
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES, "cvm_notebook")
