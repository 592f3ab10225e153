"""A fork server for LocalClouds: each starts in a process of its own, in a fifth of the time.

Nearly all of a start is importing. A fork server is one process that has imported everything and
holds no thread, no database and no port; it forks a server for each LocalCloud that asks, which
differs in nothing from one that was started as always. It is for tests, which want a cloud each,
and for Linux, where forking such a process is safe.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from cvm_notebook.local.cloud import ROOT, LocalCloud, kill
from cvm_notebook.local.core.settings import SCRATCH_NAME, LocalCloudError

SUPPORTED: Final = sys.platform == "linux" and hasattr(os, "memfd_create")
_PATIENCE: Final = 60.0
_WORD: Final = 4096  # no message on the line is longer
_PROGRAM: Final = (
    f"import gc, sys; gc.disable(); sys.path.append({ROOT!r}); "
    "from cvm_notebook.local.forkserver import serve_forks; serve_forks(int(sys.argv[1]))"
)


class ForkServer:
    """The process that forks; a context manager.

    It comes up while its user goes on; the first cloud to start waits for it.
    """

    def __init__(self) -> None:
        self._line, child_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._line.settimeout(_PATIENCE)
        self._ready = False
        with child_end:
            self._process = subprocess.Popen(  # noqa: S603 - our own module and interpreter
                [sys.executable, "-P", "-c", _PROGRAM, str(child_end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[child_end.fileno()],
                start_new_session=True,  # Ctrl-C is for the test run, and not for the fork server
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the fork server, and with it whatever it has forked."""
        self._line.shutdown(socket.SHUT_RDWR)  # forked copies of us may hold it open
        self._line.close()
        self._process.wait()

    def cloud(self, **options: Any) -> LocalCloud:
        """Return a LocalCloud, not yet started, that will be forked here."""
        return _ForkedCloud(self, **options)

    def fork(self, facts: Mapping[str, str], log: int) -> "Forked":
        """Fork a server that finds `facts` in its environment and writes to `log`.

        Raises
        ------
        ModuleNotFoundError
            Something that LocalCloud needs is not installed; its `name` says what.
        LocalCloudError
            The fork server has ended.
        """
        if not self._ready:
            missing = self._word()
            if missing:
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
            self._ready = True
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        life, living = os.pipe()
        facts_fd = os.memfd_create("facts")  # in memory alone, for there is a key among them
        given = [facts_fd, stdin, stdout, log, living]
        try:
            os.write(facts_fd, json.dumps(dict(facts)).encode())
            socket.send_fds(self._line, [b"fork"], given)
            pid = int(self._word())
        finally:
            for descriptor in (facts_fd, stdin, stdout, living):
                os.close(descriptor)
        return Forked(pid, to_stdin, from_stdout, life)

    def _word(self) -> str:
        try:
            word = self._line.recv(_WORD)
        except TimeoutError:
            word = b""
        if not word:
            raise LocalCloudError("The process that starts LocalClouds has ended.")
        return word.decode().strip()


class Forked:
    """A process that was forked by a fork server, with as much of Popen as LocalCloud looks at."""

    def __init__(self, pid: int, stdin: int, stdout: int, life: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        # a pipe on which nothing is sent: its end is the end of the process
        self._life = os.fdopen(life, "rb")

    def poll(self) -> int | None:
        """Return None while it runs, else 0: how it ended its parent alone could know."""
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired("LocalCloud", timeout or 0)
        return 0

    def kill(self) -> None:
        """End it by force, with whatever it has started."""
        kill(self)

    def _ended(self, timeout: float | None) -> bool:
        if not self._life.closed and select.select([self._life], [], [], timeout)[0]:
            self._life.close()
        return self._life.closed


class _ForkedCloud(LocalCloud):
    def __init__(self, fork_server: ForkServer, **options: Any) -> None:
        super().__init__(**options)
        self._fork_server = fork_server
        self._owner = os.getpid()

    def _launch(self) -> Forked:
        facts = {SCRATCH_NAME: str(self._scratch)}
        self._settings.export(facts)
        with self.log_path.open("ab") as log:
            return self._fork_server.fork(facts, log.fileno())

    def close(self) -> None:
        """End the server at once: nothing that it holds is to be kept."""
        if self._process is not None and self.alive and os.getpid() == self._owner:
            kill(self._process)
        super().close()


def serve_forks(descriptor: int) -> None:
    """Import all of the server, then fork one for each request on the line, until it ends."""
    with socket.socket(fileno=descriptor) as line:
        try:
            from cvm_notebook.local import app  # noqa: F401, PLC0415 - this is the point
            from cvm_notebook.local.demo import seed  # noqa: F401, PLC0415
        except ModuleNotFoundError as error:
            line.send(str(error.name).encode())
            return
        gc.freeze()  # nor shall a server look through it: what it does not touch stays shared
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no exit status is read
        line.send(b"\n")
        while True:
            asked, given, _, _ = socket.recv_fds(line, _WORD, 5)
            if not asked:
                return
            pid = os.fork()
            if pid == 0:
                line.close()
                _serve(*given)
            for each in given:
                os.close(each)
            line.send(str(pid).encode())


def _serve(facts_fd: int, stdin: int, stdout: int, log: int, living: int) -> NoReturn:
    """Be the server; `living` is held open until the end and closed by nobody."""
    from cvm_notebook.local.__main__ import main  # noqa: PLC0415 - imported already

    del living
    os.setsid()
    with os.fdopen(facts_fd, "rb") as facts:
        facts.seek(0)
        os.environ.update(json.load(facts))
    for place, descriptor in enumerate((stdin, stdout, log)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    main()
    raise AssertionError("a server ends its own process")
