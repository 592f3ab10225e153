"""Client: the CVM API with one method per endpoint."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import cvm_notebook
from cvm_notebook.api import checks
from cvm_notebook.api.auth.credentials import Credentials, find_api_key
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryKind, RetryPolicy
from cvm_notebook.api.http.transport import Reply, Request, Transport, query, to_json
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.lifecycle import Lifecycle
from cvm_notebook.api.resources.logs import Logs
from cvm_notebook.api.resources.updates import Updates
from cvm_notebook.api.resources.webhooks import Webhooks
from cvm_notebook.api.secret import Secret
from cvm_notebook.api.workspace.apps import Apps
from cvm_notebook.api.workspace.logins import Logins
from cvm_notebook.api.workspace.networks import Networks
from cvm_notebook.api.workspace.upkeep import Upkeep
from cvm_notebook.text import clean_text, quoted

VERSIONS = ("2026-01-21", "2026-05-22", "2026-06-23")
_LONGEST_TIMEOUT = 86_400.0
_DEFAULT_TIMEOUT = Timeout()


class Client(Lifecycle, Logs, Updates, Webhooks, Logins, Networks, Upkeep, Apps):
    """The CVM API over HTTP. Safe to use from any thread.

    Parameters
    ----------
    api_key
        Where it is not given: ``PHALA_CLOUD_API_KEY``, then the profile in
        ``~/.phala-cloud/credentials.json``, then the system's keyring, then a prompt.
    base_url
        Where it is not given: ``PHALA_CLOUD_API_PREFIX``, then the profile's, then Phala Cloud.
        Only https, or this machine.
    profile
        Name of a profile of the Phala CLI; the current one when not given.
    version
        API version, a date; one of `VERSIONS`.
    timeout
        Seconds for a whole call, retries included, or a `Timeout` with connect, read and total.
    read_only
        Refuse, before sending, every call that would change something.

    Raises
    ------
    CredentialsError
        No key was found, or where it was found is not safe.
    InvalidInput
        A base URL that is neither https nor on this machine, an unknown version, a timeout that is
        not positive.

    Examples
    --------
    >>> client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
    >>> client.get_cvm_info("my-app").status
    'running'
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        profile: str | None = None,
        version: str = VERSIONS[-1],
        timeout: float | Timeout = _DEFAULT_TIMEOUT,
        *,
        read_only: bool = False,
    ) -> None:
        version = checks.one_of("version", version, VERSIONS)
        self._credentials: Credentials = find_api_key(
            api_key=api_key, base_url=base_url, profile=profile
        )
        self._transport = Transport(
            self._credentials.base_url,
            self._credentials.secret,
            version=version,
            user_agent=_user_agent(),
            timeout=_timeout(timeout),
            read_only=checks.boolean("read_only", read_only),
        )

    @property
    def base_url(self) -> str:
        """The address of the API, up to ``/api/v1``."""
        return self._transport.base_url

    @property
    def read_only(self) -> bool:
        """Whether calls that change something are refused."""
        return self._transport.read_only

    @property
    def key_source(self) -> str:
        """The source of the key, in words; never the key."""
        return self._credentials.source

    @property
    def root_of_trust(self) -> Path | None:
        """The file with a development root that its profile names; None is Intel's root."""
        return self._credentials.root_of_trust

    # --- what has no method ------------------------------------------------------------------

    def get(self, path: str, **params: object) -> Any:
        """GET any path below the base URL, and return its JSON.

        Examples
        --------
        >>> client.get("/cvms/paginated", page_size=1)["page_size"]
        1
        """
        return self._transport.call(
            Request(RetryKind.READ, "GET", _path(path) + query(**params)), _json(f"GET {path}")
        )

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """POST to any path, and return its JSON; never sent twice once it may have arrived."""
        return self._other("POST", path, body)

    def put(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """PUT to any path, as `post`."""
        return self._other("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """PATCH any path, as `post`."""
        return self._other("PATCH", path, body)

    def delete(self, path: str) -> Any:
        """DELETE any path, as `post`."""
        return self._other("DELETE", path, None)

    def _other(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        content = None if body is None else to_json(validation.sendable("body", body))
        return self._transport.call(
            Request(RetryKind.UPDATE, method, _path(path), content), _json(f"{method} {path}")
        )

    # --- its own life ------------------------------------------------------------------------

    def alike(self) -> Self:
        """Return the same client with connections of its own: what `abort` does stays with it."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._transport = self.apart(RetryPolicy())
        return other

    def abort(self) -> None:
        """End for good: every call under way fails at once."""
        self._transport.abort()

    def close(self) -> None:
        """End the idle connections; the client can still be used."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        mode = ", read-only" if self.read_only else ""
        return f"<Client of {self.base_url}{self._who()}, key from {self.key_source}{mode}>"

    def _who(self) -> str:
        """Return the user and workspace of the key, as far as they were requested."""
        if self._user is None or self._user.user is None or self._user.workspace is None:
            return ""
        user, workspace = self._user.user.username, self._user.workspace.name
        return f", {clean_text(user, 60)} in workspace {clean_text(workspace, 60)!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "A Client is not pickled: it holds a key and connections. Make one in each process."
        )


def _json(where: str) -> Any:
    def read(reply: Reply) -> Any:
        return decode(reply.body, Any, where) if reply.body.strip() else None

    return read


def _user_agent() -> str:
    return f"cvm-notebook/{cvm_notebook.__version__} python/{platform.python_version()}"


def _path(path: str) -> str:
    """Refuse a path that would leave the base URL."""
    path = checks.text("path", path)
    steps = path.partition("?")[0].split("/")
    if not path.startswith("/") or ".." in steps or not path.isprintable():
        problem = f"{quoted(path)} is not below the base URL"
        raise InvalidInput("path", problem, "Begin it with one '/'.")
    return path


def _timeout(timeout: float | Timeout) -> Timeout:
    parts = timeout if isinstance(timeout, Timeout) else (timeout,)
    seconds = [checks.seconds("timeout", one) for one in parts]
    if not all(0 < one <= _LONGEST_TIMEOUT for one in seconds):
        problem = f"{clean_text(repr(timeout), 80)} is not a time to wait"
        raise InvalidInput("timeout", problem, "Give seconds above 0, of a day at most.")
    if isinstance(timeout, Timeout):
        return Timeout(*seconds)
    (total,) = seconds
    return Timeout(min(_DEFAULT_TIMEOUT.connect, total), total, total)
