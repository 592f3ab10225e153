"""Run the server in this process: listen, prepare the database, serve until stopped."""

import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from cvm_notebook.local.attestation.attester import attester_of
from cvm_notebook.local.core.settings import Settings, default_database, kept_key, write_running
from cvm_notebook.local.demo.bootstrap import prepare
from cvm_notebook.local.faults.connection import BACKLOG, FaultyProtocol, PausableServer, listen
from cvm_notebook.local.faults.spec import load_faults

_APP = "cvm_notebook.local.app:from_environment"
_GRACE_SECONDS = 2

Ready = Callable[[str, str], None]
"""Called with the URL and the API key once connections are accepted."""


def serve(
    host: str = "127.0.0.1",
    port: int = 8787,
    database: str | None = None,
    *,
    speed: float = 20.0,
    seed: str = "empty",
    faults: str | Path | Sequence[dict[str, Any]] | None = None,
    workers: int = 1,
    ready: Ready | None = None,
    **more: Any,
) -> None:
    """Serve in the foreground until interrupted; the data is kept.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    database
        SQLAlchemy URL; None is a SQLite file in the user's data folder.
    speed
        Divides the durations of transitions.
    seed
        ``"empty"`` or ``"demo"``; has an effect on a new database only.
    faults
        A file of faults, or the faults themselves.
    workers
        Processes that serve; use PostgreSQL for more than a few.
    ready
        Called with the URL and the API key as soon as connections are accepted.
    more
        Further fields of ``Settings``: tier, balance, provision_days, rate_limit, allowed_hosts.

    Raises
    ------
    LocalCloudError
        Its data cannot be kept in the user's data folder.
    OSError
        It cannot listen there.
    """
    url = database or default_database()
    settings = Settings(
        host=host,
        port=port,
        database=url,
        speed=speed,
        seed=seed,
        faults=tuple(fault.model_dump(mode="json") for fault in load_faults(faults or ())),
        workers=workers,
        api_key=kept_key(url),
        control_token=secrets.token_urlsafe(24),
        **more,
    )

    written: list[Path] = []

    def announce(bound: int, root: str) -> None:
        address = api_url(host, bound)
        facts = {
            "url": address,
            "api_key": settings.api_key,
            "control_token": settings.control_token,
            "pid": os.getpid(),
        }
        written.extend(write_running(facts, root))
        if ready is not None:
            ready(address, settings.api_key)

    try:
        run(settings, announce)
    finally:
        for path in written:
            path.unlink(missing_ok=True)


def api_url(host: str, port: int) -> str:
    """Return the API's prefix as a client on this machine reaches it."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    bracketed = f"[{reached}]" if ":" in reached else reached
    return f"http://{bracketed}:{port}/api/v1"


def run(settings: Settings, ready: Callable[[int, str], None]) -> None:
    """Serve with these settings.

    ``ready`` gets the port and the root of all evidence (PEM) when connections are accepted.
    """
    listener = listen(settings.host, settings.port)
    root = attester_of(prepare(settings)).root_pem
    settings.export()
    config = uvicorn.Config(
        _APP,
        factory=True,
        http=FaultyProtocol,
        ws="none",
        workers=settings.workers,
        access_log=False,
        log_level="error",  # not each request that makes no sense: who sends them would fill it
        server_header=False,
        date_header=False,  # it would not know of a clock that was moved
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=75,
        backlog=BACKLOG,
    )
    port = listener.getsockname()[1]
    if settings.workers > 1:
        ready(port, root)
        Multiprocess(config, sockets=[listener]).run()
    else:
        PausableServer(config, lambda: ready(port, root)).run(sockets=[listener])


def end_with_parent() -> None:
    """In a worker process: end when the process that started it has died, however it died."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_when(lambda: wait([parent.sentinel]))


def end_when(over: Callable[[], object], lastly: Callable[[], object] | None = None) -> None:
    """End this process in good order when ``over`` returns, and soon by force, after ``lastly``."""

    def watch() -> None:
        over()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS + 2)
        if lastly is not None:
            lastly()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
