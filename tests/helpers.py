"""Constants and waits that several test modules share; fixtures are in the conftests."""

import contextlib
import gc
import html
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from playwright.sync_api import Locator, Page

    from cvm_notebook.api.client import Client
    from cvm_notebook.api.models.actions import CvmAction
    from cvm_notebook.live.workers import Workers
    from cvm_notebook.local import LocalCloud

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
LEAN = TESTS / "lean"
PYTHON_PATH = os.pathsep.join([str(LEAN), str(ROOT)])
"""PYTHONPATH of whatever a test starts; in the environment of the tests already."""
NIGHTLY = bool(os.environ.get("CVM_NOTEBOOK_NIGHTLY"))
PATIENCE = 5.0  # real seconds
LONG_PATIENCE = 60.0
HANGS = 15.0
"""Seconds after which something has hung; a busy machine is late by less."""
OWN_PORT = 10_000 + os.getpid() % 10_000
"""Below those that connections and servers on port 0 are given, and no other worker's."""
COMPOSE = "services:\n  app:\n    image: nginx:1.27\n"

VERB_WORDS = (
    *("start", "stop", "shutdown", "restart", "redeploy", "update", "delete"),
    *("replicate", "commit", "other"),
)
"""Categories of a frame's column ``verb``, in their order."""


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait until something is so; what other processes do does not say when."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        pause.wait(0.02)


def busy(workers: "Workers") -> int:
    """Return how many threads of a pool do something, or will: of what waits for them, too."""
    with workers._lock:
        return len(workers._threads) - workers._idle + len(workers._ready)


def commit(client: "Client", name: str, **more: Any) -> "CvmAction":
    """Make a CVM, and return it as the service does: it is on its way."""
    return client.commit_cvm_provision(
        client.provision_cvm(name=name, **{"compose_file": COMPOSE, **more})
    )


def run_all(client: "Client", *names: str) -> None:
    """Make CVMs, and wait until they run."""
    for name in names:
        commit(client, name)
    for name in names:
        client.watch_cvm_state(name, target="running")


def changes_sent(cloud: "LocalCloud") -> list[tuple[str, str]]:
    """Return what was sent to a cloud that changes anything: method and path."""
    sent = [(str(r["method"]), str(r["path"])) for r in cloud.requests()]
    return [(how, path) for how, path in sent if how != "GET" and "/status/batch" not in path]


def settled() -> None:
    """Wait until the UI thread has done what was asked of it before."""
    from cvm_notebook.widgets.base.ui_thread import ui_thread  # widgets are not for every test

    done = threading.Event()
    assert ui_thread.post(done.set)
    assert done.wait(HANGS)


def collected(reference: Callable[[], object]) -> bool:
    """Return whether what a weak reference was to goes; a thread may hold it for a moment."""
    with contextlib.suppress(AssertionError):
        until(lambda: gc.collect() is not None and reference() is None, HANGS)
    return reference() is None


def picture(seen: "Page | Locator", name: str, *, always: bool = False) -> None:
    """Keep a picture to be looked at in lab/screenshots, where CVM_NOTEBOOK_PICTURES=1 asks."""
    if always or os.environ.get("CVM_NOTEBOOK_PICTURES"):
        seen.screenshot(path=TESTS / "lab" / "screenshots" / f"{name}.png", animations="disabled")


@contextlib.contextmanager
def new_kernel() -> Iterator["BlockingKernelClient"]:
    """A kernel of its own, by its client.

    It listens on files: ports are chosen before they are bound, and may be somebody else's by then.
    """
    from jupyter_client.manager import KernelManager  # takes a while to import

    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        manager.start_kernel()
        client: BlockingKernelClient = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(LONG_PATIENCE)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.context.destroy(linger=0)


def examples(number: int, *, least: int = 8) -> int:
    """Return how many examples of so many a property is tried with: by night all, by day a few."""
    return number if NIGHTLY else max(number // 4, least)


def claims(text: str) -> list[str]:
    """Where a text says that something is verified; a column's name and `not verified` do not."""
    plain = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return re.findall(r".{0,30}(?<!not )\bverified\b(?!_at).{0,10}", plain, re.IGNORECASE)
