"""connect(): one way in, to Phala Cloud or to a LocalCloud on this machine; and signing in."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cvm_notebook.api.auth import credentials
from cvm_notebook.api.auth.credentials import Credentials, find_api_key
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.catalogue import CurrentUser
from cvm_notebook.api.secret import Secret
from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.text import trimmed

if TYPE_CHECKING:
    from cvm_notebook.local import LocalCloud

_LOGIN: Final = "the login in this process (in memory only)"

_lock = threading.Lock()
_own: "LocalCloud | None" = None


def connect(target: str | None = None, *, read_only: bool = False) -> Client:
    """Return a client of Phala Cloud, or of a LocalCloud, that has asked who it is.

    Parameters
    ----------
    target
        ``"local"`` for a LocalCloud: the one that runs already (of ``cvm-notebook demo`` or
        ``cloud``), or one of this process, started with a demo fleet and ended with it. Otherwise
        the name of a profile of the Phala CLI, or None for the key and the address that `Client`
        finds.
    read_only
        Refuse every call that would change something.

    Raises
    ------
    CredentialsError
        No key was found.
    AuthError
        The service does not know the key.
    TransportError
        The service cannot be reached.
    InvalidInput
        LocalCloud is not installed.
    CvmError
        LocalCloud could not be started.

    Examples
    --------
    >>> client = cvm.connect("local")
    >>> client.get_cvm_state("my-app").status
    'running'
    """
    target = trimmed(target) if isinstance(target, str) else target
    if isinstance(target, str) and target == "local":
        url, key = _local()
        client = Client(api_key=key, base_url=url, read_only=read_only)
    else:
        client = Client(profile=target, read_only=read_only)
    client.get_current_user()  # a wrong key raises here, and not in a later cell
    return client


def typed_key(key: Secret, base_url: str | None = None) -> Credentials:
    """Return the credentials of a typed key, for this address, or the default one.

    Raises
    ------
    CredentialsError
        It cannot be a key.
    """
    found = find_api_key(api_key=key, base_url=base_url, prompt=None)
    return replace(found, source=_LOGIN)


def sign_in(
    found: Credentials, *, keep: bool = True, read_only: bool = False
) -> tuple[Client, CurrentUser]:
    """Return a client with a key that the service knows, and whose key it is.

    Parameters
    ----------
    keep
        Use it in this process from now on, where none is named.
    read_only
        As of `Client`.

    Raises
    ------
    CvmError
        The service does not know the key, or cannot be reached; what is in use stays.
    """
    client = Client(api_key=found.secret, base_url=found.base_url, read_only=read_only)
    try:
        user = client.get_current_user()
    except CvmError:
        client.close()
        raise
    if keep:
        credentials.remember(found)
    return client, user


def _local() -> tuple[str, str]:
    """Return address and key of a LocalCloud, started here if none runs."""
    global _own  # noqa: PLW0603 - one server a process, however often connect is called
    try:
        # an extra, not always there
        from cvm_notebook.local import LocalCloud, LocalCloudError  # noqa: PLC0415
    except ImportError as error:
        raise InvalidInput(
            "connect",
            f"LocalCloud needs {error.name!r}, which is not installed",
            "pip install 'cvm-notebook[local]'",
        ) from None
    with _lock:
        if _own is not None and _own.alive:
            return _own.url, _own.api_key
        running = LocalCloud.running()
        if running is not None:
            return running
        try:
            _own = LocalCloud(seed="demo").start()
        except LocalCloudError as error:
            raise CvmError(str(error)) from None
        at_exit(Stage.SERVER, _own.close)
        return _own.url, _own.api_key
