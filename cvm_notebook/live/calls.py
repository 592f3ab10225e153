"""Make the one call that an operation stands for, here or in another process, and judge its end."""

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from cvm_notebook.api.client import Client
from cvm_notebook.api.credentials import find_api_key
from cvm_notebook.api.errors import (
    ConflictError,
    CvmError,
    DecodeError,
    NotFoundError,
    ResourceConflict,
    ServerError,
    TransportError,
    UnsafeRedirect,
)
from cvm_notebook.api.models import CvmAction, Provision
from cvm_notebook.live.preconditions import Verb
from cvm_notebook.live.reconcile import as_answer, read_back

End: TypeAlias = Literal["refused", "gone", "busy", "unknown"]
_CLIENTS_KEPT: Final = 4


def params_of(given: Mapping[str, Any] | Provision | None) -> Mapping[str, Any]:
    """Return what a call takes beside the CVM; of a provision, what its commit needs."""
    if isinstance(given, Provision):
        return {"app_id": given.app_id, "compose_hash": given.compose_hash}
    return dict(given or {})


def call(
    client: Client, verb: Verb, cvm_id: str | None, params: Mapping[str, Any]
) -> CvmAction | None:
    """Send it, and return the service's answer; raises as the client's own method does."""
    if verb == "commit":
        return client.commit_cvm_provision(dict(params))
    if verb == "replicate":
        return client.replicate_cvm(cvm_id, **params)
    if verb == "restart":
        return client.restart_cvm(cvm_id, **params)
    if verb == "delete":
        client.delete_cvm(cvm_id)
        return None
    act = {"start": client.start_cvm, "stop": client.stop_cvm, "shutdown": client.shutdown_cvm}
    return act[verb](cvm_id)


def end_of(error: CvmError) -> End:
    """Judge how a call ended that raised.

    ``refused`` did nothing, ``gone`` has no CVM, ``busy`` met another operation; after ``unknown``
    the service may have acted.
    """
    if isinstance(error, NotFoundError):
        return "gone"
    if isinstance(error, ConflictError) and not isinstance(error, ResourceConflict):
        return "busy"
    if isinstance(error, UnsafeRedirect):
        return "refused"
    if isinstance(error, TransportError):
        return "unknown" if error.sent else "refused"
    return "unknown" if isinstance(error, ServerError | DecodeError | LostError) else "refused"


class LostError(CvmError):
    """Who was to send it has died, or lost it: it may have been sent."""


# --- in another process -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What another process needs to make a call: where and what, and how to find the key.

    The key itself is not in it: each process finds its own, in its environment or its profile.
    """

    operation_id: str
    base_url: str
    profile: str | None
    verb: Verb
    cvm_id: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    known: frozenset[str] = frozenset()


def run_job(job: Job) -> CvmAction | None:
    """Make the call of a job, unless it was made: an executor may run a job again.

    Dask does so when a worker dies; so it is looked first whether it has begun.
    """
    client = _client_for(job.base_url, job.profile)
    found = read_back(client, job.verb, job.cvm_id, job.params, job.known)
    if found.begun:
        return None if found.cvm is None else as_answer(found.cvm)
    return call(client, job.verb, job.cvm_id, job.params)


_clients: OrderedDict[tuple[int, str, str | None], Client] = OrderedDict()
_clients_lock = threading.Lock()


def _client_for(base_url: str, profile: str | None) -> Client:
    """Return this process's client for an address; never asks for a key."""
    key = (os.getpid(), base_url, profile)
    with _clients_lock:
        if key in _clients:
            _clients.move_to_end(key)
            return _clients[key]
        found = find_api_key(base_url=base_url, profile=profile, prompt=None)
        _clients[key] = Client(api_key=found.secret, base_url=found.base_url)
        while len(_clients) > _CLIENTS_KEPT:
            _clients.popitem(last=False)[1].close()
        return _clients[key]


@atexit.register
def close_clients() -> None:
    """Close this process's clients."""
    with _clients_lock:
        while _clients:
            _clients.popitem()[1].close()
