"""LocalCloud: start the server in a process of its own, talk to it, end it."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.error import URLError
from urllib.parse import urlsplit

from cvm_notebook.local.control_requests import (
    direct_opener,
    fault_mappings,
    path_part,
    send,
)
from cvm_notebook.local.core.settings import (
    SCRATCH_NAME,
    LocalCloudError,
    Settings,
    is_loopback,
    kept_key,
    read_running,
    sqlite_url,
)
from cvm_notebook.local.root_file import NAME, remember_root

_START_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_END_SECONDS = 6.0
_TAIL_LINES = 20
ROOT = str(Path(__file__).parents[2])
# As "python -m cvm_notebook.local", but found also where this package is on the path of this
# process alone; and never mistaking a file of the user's folder for a module (-P).
# What is imported is no garbage: to look for some meanwhile would take a fifth of the start.
_CHILD = (
    f"import gc, sys; gc.disable(); sys.path.append({ROOT!r}); "
    "from cvm_notebook.local.__main__ import main; main()"
)


class Process(Protocol):
    """The part of a server's process that LocalCloud uses."""

    @property
    def pid(self) -> int: ...  # noqa: D102 - as subprocess.Popen's
    @property
    def stdin(self) -> IO[bytes] | None: ...  # noqa: D102
    @property
    def stdout(self) -> IO[bytes] | None: ...  # noqa: D102
    def poll(self) -> int | None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102


class LocalCloud:
    """The Phala Cloud CVM API, served on this machine by a process of its own.

    Parameters
    ----------
    port
        Where to listen on the loopback interface; 0 takes a free port.
    seed
        ``"demo"`` begins with a fleet of some forty CVMs, ``"empty"`` with none.
    speed
        How many times faster than the real cloud CVMs boot and stop.
    database
        SQLAlchemy URL of a database to be kept; None uses one that is removed at the end.
    faults
        Faults that hold from the start; see ``inject``.
    workers
        Processes that serve the database.
    tier, balance
        Of the default workspace: its quotas, and its dollars.
    provision_days
        How long a provision can be committed.
    rate_limit
        Requests per minute a user may make; None is no limit.

    Attributes
    ----------
    url : str
        The API's prefix, ending in ``/api/v1``.
    api_key : str
        The key of the default workspace.
    port : int
        Where it listens.
    pid : int
        Its process.
    log_path : pathlib.Path
        What it has to say, until it is closed.
    root_path : pathlib.Path
        The root of all its evidence (PEM), until it is closed.

    Examples
    --------
    >>> with LocalCloud(seed="empty") as cloud:
    ...     Client(api_key=cloud.api_key, base_url=cloud.url).list_cvms()
    []
    """

    def __init__(  # noqa: PLR0917 - this order is documented
        self,
        port: int = 0,
        seed: str = "demo",
        speed: float = 20.0,
        database: str | None = None,
        faults: Iterable[Mapping[str, Any]] | None = None,
        workers: int = 1,
        *,
        tier: str = "ENTERPRISE",
        balance: str = "10000",
        provision_days: float = 14.0,
        rate_limit: int | None = None,
    ) -> None:
        self._scratch = _scratch_folder()
        self._end: weakref.finalize[..., LocalCloud] = weakref.finalize(
            self, shutil.rmtree, self._scratch, ignore_errors=True
        )
        self._settings = Settings(
            port=port,
            seed=seed,
            speed=speed,
            database=sqlite_url(self._scratch / "local.sqlite") if database is None else database,
            faults=fault_mappings(faults),
            workers=workers,
            tier=tier,
            balance=balance,
            provision_days=provision_days,
            rate_limit=rate_limit,
            api_key=f"phak_{secrets.token_urlsafe(32)}",
            control_token=secrets.token_urlsafe(24),
        )
        if database is not None:
            self._settings = replace(self._settings, api_key=kept_key(database))
        self.log_path = self._scratch / "log"
        self._process: Process | None = None
        self._port: int | None = None

    @property
    def api_key(self) -> str:
        """The API key of the default workspace."""
        return self._settings.api_key

    @property
    def port(self) -> int:
        """The port of the server."""
        if self._port is None:
            raise LocalCloudError("This LocalCloud isn't running. Call start() first.")
        return self._port

    @property
    def pid(self) -> int:
        """The number of its process."""
        if self._process is None:
            raise LocalCloudError("This LocalCloud isn't running. Call start() first.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """The API's prefix, ending in ``/api/v1``."""
        return f"{self._origin}/api/v1"

    @property
    def root_path(self) -> Path:
        """The file with the root under which it signs evidence, while it runs."""
        return self._scratch / NAME

    @property
    def _origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        """Say where it is; never the key."""
        where = f"at {self.url}" if self._port is not None else "not running"
        return f"<LocalCloud {where}, {self._settings.speed:g} times faster>"

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def start(self) -> Self:
        """Start the server and return when it answers.

        Raises
        ------
        LocalCloudError
            It did not come up; the error has the end of its log.
        """
        if self.alive:
            return self
        self.close()
        try:
            self._scratch.mkdir(mode=0o700, exist_ok=True)
            process = self._launch()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise self._failed(f"{where}{error.strerror or error}") from None
        self._process = process
        self._end = weakref.finalize(self, _end, process, self._scratch, os.getpid())
        self._port = self._await_port(process)
        remember_root(self.url, self.root_path)
        try:
            self._health()
        except OSError as error:
            why = error.reason if isinstance(error, URLError) else error
            raise self._failed(f"it does not answer ({why})") from None
        return self

    def _launch(self) -> Process:
        environment = dict(os.environ)
        self._settings.export(environment)
        environment[SCRATCH_NAME] = str(self._scratch)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                [sys.executable, "-P", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _await_port(self, process: Process) -> int:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        deadline = threading.Timer(_START_SECONDS, process.kill)
        deadline.daemon = True
        deadline.start()
        try:
            line = process.stdout.readline()
        finally:
            deadline.cancel()
            process.stdout.close()
        if not line:
            raise self._failed("its process has ended")
        return int(json.loads(line)["port"])

    def _failed(self, why: str) -> LocalCloudError:
        tail = self._tail()
        self.close()
        return LocalCloudError(f"LocalCloud did not start: {why}.{tail}")

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines:
                return " The end of its log:\n" + "\n".join(lines[-_TAIL_LINES:])
        return ""

    def close(self) -> None:
        """End the server and remove what is not to be kept; closing twice does no harm."""
        self._end()
        self._process = None
        self._port = None

    def inject(self, fault: Mapping[str, Any]) -> None:
        """Add a fault from now on; ``cvm_notebook.local.faults.kinds`` says what there is.

        This and the methods below raise a `ValueError` that says why, where it cannot be.
        """
        (given,) = fault_mappings([fault])
        self._control("POST", "faults", given)

    def clear_faults(self) -> None:
        """Take back all faults."""
        self._control("DELETE", "faults")

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests the server has seen, oldest first."""
        seen: list[dict[str, Any]] = self._control("GET", "requests")
        return seen

    def clear_requests(self) -> None:
        """Forget the requests the server has seen."""
        self._control("DELETE", "requests")

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward, so that a test need not wait."""
        self._control("POST", "advance", {"seconds": seconds})

    def open_streams(self) -> int:
        """Return how many state streams are open."""
        return int(self._control("GET", "streams")["open"])

    def new_workspace(
        self,
        name: str = "Another workspace",
        tier: str = "ENTERPRISE",
        balance: str = "10000",
        *,
        suspended: bool = False,
    ) -> dict[str, Any]:
        """Make another workspace and return its ``api_key``, ``slug`` and ``username``."""
        facts = {"name": name, "tier": tier, "balance": balance, "suspended": suspended}
        made: dict[str, Any] = self._control("POST", "workspaces", facts)
        return made

    def suspend(self, workspace: str = "default", *, suspended: bool = True) -> None:
        """Suspend a workspace, by its slug, or take that back."""
        self._control("PATCH", f"workspaces/{path_part(workspace)}", {"suspended": suspended})

    def rent(self, cvm_id: str, days: int, workspace: str = "default") -> None:
        """Let an order rent the GPUs of a CVM for so many days, from now on."""
        path = f"workspaces/{path_part(workspace)}/cvms/{path_part(cvm_id)}/rent"
        self._control("POST", path, {"days": days})

    def fail(self, cvm_id: str, error: str = "failed to start containers") -> None:
        """Let a CVM of the default workspace fail."""
        self._control("POST", f"workspaces/default/cvms/{path_part(cvm_id)}/fail", {"error": error})

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        return send(self._origin, self._settings.control_token, method, path, body)

    def _health(self) -> None:
        # Workers may still be importing: the first answer is a part of the start.
        with direct_opener().open(
            f"{self._origin}/_local/health", timeout=_START_SECONDS
        ) as answer:
            answer.read()

    @staticmethod
    def running() -> tuple[str, str] | None:
        """Return URL and key of a LocalCloud that runs already and answers, or None.

        Looked for in ``PHALA_CLOUD_API_PREFIX`` with ``PHALA_CLOUD_API_KEY`` (as ``cvm-notebook
        demo`` sets them), and in the files that each ``cvm-notebook cloud`` leaves while it runs;
        of several the one that was started last.
        """
        named = (os.environ.get("PHALA_CLOUD_API_PREFIX"), os.environ.get("PHALA_CLOUD_API_KEY"))
        kept = [(facts.get("url"), facts.get("api_key")) for facts in read_running()]
        for url, key in (named, *kept):
            if url and key and _is_local_cloud(url):
                return url, key
        return None


def _scratch_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="cvm-notebook-"))
    except OSError as error:
        why = error.strerror or error
        raise LocalCloudError(
            f"LocalCloud has no folder for temporary files: {why}. "
            "Set TMPDIR to a folder that you can write to."
        ) from None


def _is_local_cloud(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
        return False
    try:
        health = f"http://{parts.netloc}/_local/health"
        with direct_opener().open(health, timeout=_PROBE_SECONDS) as answer:
            facts = json.loads(answer.read(1000))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("service") == "LocalCloud"


def _end(process: Process, scratch: Path, owner: int) -> None:
    """End a server: let it go by its pipe, then by force. Forked copies of the owner don't."""
    if os.getpid() != owner:
        return
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        kill(process)
        process.wait()
    shutil.rmtree(scratch, ignore_errors=True)


def kill(process: Process) -> None:
    """End a server by force, with its workers."""
    if os.name == "posix":
        # Its workers are in its own session's group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
