"""JupyterLab as a child process: own settings, own port; its kernels end with it."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
from jupyter_core.paths import jupyter_config_dir

FIRST_PORT = 8888
PORTS_TRIED = 100
STARTS_WITHIN = 120.0
ENDS_WITHIN = 0.6

# no question about news, no news; all other settings of the user stay in force
QUIET = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}
}


class Lab:
    """JupyterLab server for the folder of one notebook, in a session of its own.

    Ctrl-C in the terminal reaches this program alone, which then ends the server and its kernels.
    Server settings come from a private folder; the user's own Lab settings (theme, shortcuts) stay
    in force and are never written by us.
    """

    def __init__(
        self, notebook: Path, env: Mapping[str, str], *, port: int | None, browser: bool
    ) -> None:
        self._notebook = notebook
        self._env = env
        self._browser = browser
        self._token = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._private = tempfile.TemporaryDirectory(prefix="cvm-notebook-")
        self.port = free_port(FIRST_PORT if port is None else port)

    @property
    def url(self) -> str:
        """The address that opens the notebook; it carries the token of this run."""
        return f"http://127.0.0.1:{self.port}/lab/tree/{self._notebook.name}?token={self._token}"

    def start(self) -> None:
        """Start JupyterLab and return when it answers."""
        private = Path(self._private.name)
        self._write_settings(private)
        settings = str(Path(jupyter_config_dir(), "lab", "user-settings"))
        env = {
            **os.environ,
            **self._env,
            "JUPYTERLAB_SETTINGS_DIR": os.environ.get("JUPYTERLAB_SETTINGS_DIR", settings),
            "JUPYTER_CONFIG_DIR": str(private),
            "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this Python, not a namesake elsewhere
        }
        self._log = (private / "jupyterlab.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-m", "jupyterlab", str(self._notebook)],
            env=env,
            cwd=self._notebook.parent,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_until_it_answers(self._process)

    def wait(self) -> int:
        """Wait for JupyterLab to end and return its exit code."""
        if self._process is None:
            raise RuntimeError("JupyterLab has not been started.")
        return self._process.wait()

    def close(self) -> None:
        """End JupyterLab and its kernels, politely at first and then by force."""
        if self._process is not None and self._process.poll() is None:
            server = psutil.Process(self._process.pid)
            family = [*server.children(recursive=True), server]
            server.terminate()
            for left in psutil.wait_procs(family, timeout=ENDS_WITHIN)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()
        self._private.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def last_lines(self, lines: int = 15) -> str:
        """Return the end of JupyterLab's log, without the token."""
        log = Path(self._private.name) / "jupyterlab.log"
        text = log.read_text(encoding="utf-8", errors="replace").replace(self._token, "****")
        return "\n".join(text.splitlines()[-lines:])

    def _write_settings(self, private: Path) -> None:
        (private / "lab").mkdir()
        (private / "lab" / "overrides.json").write_text(json.dumps(QUIET), encoding="utf-8")
        settings = {
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": self.port,
                "port_retries": 0,
                "open_browser": self._browser,
                "root_dir": str(self._notebook.parent),
                "allow_root": hasattr(os, "geteuid") and os.geteuid() == 0,
            },
            "IdentityProvider": {"token": self._token},
            "KernelManager": {"shutdown_wait_time": ENDS_WITHIN / 2},
            "LabApp": {
                "app_settings_dir": str(private / "lab"),
                "workspaces_dir": str(private / "workspaces"),
                "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
                "news_url": None,
            },
        }
        # a file of mode 0600 rather than arguments: every user of the machine can read those
        target = private / "jupyter_server_config.json"
        target.touch(mode=0o600)
        target.write_text(json.dumps(settings), encoding="utf-8")

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/status",
            headers={"Authorization": f"token {self._token}"},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise SystemExit(
                    f"JupyterLab ended with code {process.returncode} before it answered. "
                    f"Last lines of its log:\n{self.last_lines()}"
                )
            with contextlib.suppress(OSError), direct.open(request, timeout=2):
                return
            time.sleep(0.1)
        raise SystemExit(
            f"JupyterLab did not answer on port {self.port} within {STARTS_WITHIN:.0f} s. "
            f"Last lines of its log:\n{self.last_lines()}"
        )


def free_port(first: int) -> int:
    """Return `first`, or the next port that is free on the loopback (0: any)."""
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            # as the server itself will: an address of a moment ago (TIME_WAIT) may be used again
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit(
        f"No free port from {first} to {first + PORTS_TRIED - 1}. Give another: --port N"
    )
