"""Fixtures that every room's tests may use: a LocalCloud, real, and a line to it that goes bad."""

import asyncio
import contextlib
import fcntl
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import markers
import platformdirs
import pytest
import trustme
import urllib3  # noqa: F401 - binds a socket when it is imported, which no unit test may
from forked_kernels import KernelFork
from helpers import HANGS, LONG_PATIENCE, PYTHON_PATH, TESTS, examples, until
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.forkserver import ForkServer

settings.register_profile("tests", max_examples=examples(100), deadline=None)
settings.load_profile("tests")

_SDK = "0.2.0"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, and not a second


def pytest_configure() -> None:
    """Make this process, and those it will start, what tests rely on."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # may be inherited as ignored: no exit codes
    there = os.environ.get("PYTHONPATH", "")
    if not there.startswith(PYTHON_PATH):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [PYTHON_PATH, there]))
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see tests/lean


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers a core and one more, as most tests wait for a server; none for a file alone."""
    files = {arg.partition("::")[0] for arg in config.args}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    most = cores if config.option.markexpr == "unit" else 2 * cores + 1
    if all(Path(file).is_file() for file in files):
        return min(len(files), most) if len(files) > 1 else 0
    return most


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no module in vain where unit tests alone are asked for."""
    if config.option.markexpr != "unit" or not collection_path.is_relative_to(TESTS):
        return None
    place = collection_path.relative_to(TESTS).as_posix()
    return True if place == "lab" or place in markers.NO_UNIT else None


class _Scheduler(LoadScopeScheduling):  # type: ignore[misc] # untyped
    """Gives a module to one worker, for its fixtures, and what opens browsers to two.

    These are as many as a small machine has cores: more of them would wait for one another until
    they are late.
    """

    def _split_scope(self, nodeid: str) -> str:
        module: str = nodeid.partition("::")[0]
        return markers.BROWSERS.get(module.removeprefix("tests/"), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Return what decides which worker runs what."""
    return _Scheduler(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Have the garbage collector pass by what is imported: each look through it takes 0.3 s."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and begin with those that take longest, or others wait for them at the end.

    A test is `unit` unless it asks for a LocalCloud, opens a browser, takes seconds, or is known to
    start threads, processes or servers of its own (`tests/markers.py`).
    """
    for item in items:
        module = _module(item)
        places = {module, f"{module}::{item.nodeid.partition('::')[2].partition('[')[0]}"}
        slow = not places.isdisjoint(markers.SLOW)
        if module.startswith("lab/"):
            slow = True
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(400))
        elif "_cvm_fork_server" in getattr(item, "fixturenames", ()) or places & markers.CLOUD:
            item.add_marker(pytest.mark.cloud)
        elif not slow and places.isdisjoint(markers.PROCESS):
            item.add_marker(pytest.mark.unit)
        if slow:
            item.add_marker(pytest.mark.slow)
    first = {module: place for place, module in enumerate(markers.FIRST)}
    items.sort(key=lambda item: first.get(_module(item), len(first)))


def _module(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else ""


@pytest.fixture(autouse=True)
def _unit_is_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold unit tests to what their marker says."""
    if request.node.get_closest_marker("unit") is None:
        yield
        return

    # one of its own: the fixture `monkeypatch` is to end before what a test has patched ends
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (threading.Thread, "start"),
            (subprocess, "Popen"),
            (os, "fork"),
            (socket.socket, "connect"),
            (socket.socket, "bind"),
        ):
            patch.setattr(owner, name, _refused_here(getattr(owner, name)))
        yield


def _refused_here(original: Callable[..., object]) -> Callable[..., object]:
    """Refuse it to this thread; threads that an earlier test has left go on as they are."""
    here = threading.current_thread()

    def refuse(*args: object, **named: object) -> object:
        if threading.current_thread() is here:
            pytest.fail("a unit test starts no thread or process, and opens no socket")
        return original(*args, **named)

    return refuse


@pytest.fixture
def press_ctrl_c() -> Iterator[Callable[[], None]]:
    """Press Ctrl-C, from any thread: SIGINT for this one.

    It is taken for the test's time, also where it is inherited as ignored, as a script does to what
    it runs in the background.
    """
    here = threading.main_thread().ident
    assert here is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(here, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cloud(new_cloud: Callable[..., LocalCloud]) -> Iterator[LocalCloud]:
    """One LocalCloud for the whole session: it begins empty, and boots take a fraction of a second.

    Tests share it: name what you make, and don't count what others made.
    """
    with new_cloud(seed="empty", speed=200) as running:
        yield running


@pytest.fixture(scope="session")
def new_cloud(_cvm_fork_server: ForkServer | None) -> Callable[..., LocalCloud]:
    """Make a LocalCloud that is not started yet; quickly, where processes can be forked."""
    return LocalCloud if _cvm_fork_server is None else _cvm_fork_server.cloud


@pytest.fixture
def fresh_cloud(new_cloud: Callable[..., LocalCloud]) -> Iterator[LocalCloud]:
    """A LocalCloud of the test's own, empty; use it to count, to inject faults, to move time."""
    with new_cloud(seed="empty", speed=200) as running:
        yield running


class Line:
    """A TCP proxy before a port of this machine: what it carries can be made to go wrong.

    Attributes
    ----------
    url
        The API's prefix by way of this line.
    accepted
        How many connections were made to it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay = 0.0
        self._left: int | None = None
        self.accepted = 0
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="line")
        self._thread.start()
        assert listening.wait(HANGS)

    def stall(self) -> None:
        """Carry nothing more, and tell nobody: connections stand, also new ones."""
        self._do(self._flows.clear)

    def flow(self) -> None:
        """Carry on with all that was held up."""
        self._do(self._flows.set)

    def delay(self, seconds: float) -> None:
        """Hold each piece of an answer up for so long."""
        self._delay = seconds

    def cut_after(self, count: int | None) -> None:
        """Reset a connection when it has carried so many bytes of answers; None is never."""
        self._left = count

    def reset(self) -> None:
        """Reset every connection that stands."""
        self._do(lambda: [self._break(writer) for writer in list(self._writers)])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(HANGS)
        assert not self._thread.is_alive()

    def _do(self, act: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(HANGS)

    def _run(self, listening: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._task = self._loop.create_task(self._serve(listening))
            with contextlib.suppress(asyncio.CancelledError):
                runner.get_loop().run_until_complete(self._task)
            for writer in list(self._writers):
                self._break(writer)

    async def _serve(self, listening: threading.Event) -> None:
        async with await asyncio.start_server(self._carry, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
            listening.set()
            await asyncio.Event().wait()

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.accepted += 1
        ends = [back]
        self._writers.add(back)
        try:
            far, there = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(there)
            self._writers.add(there)
            await asyncio.gather(self._ask(near, there), self._answer(far, back))
        except OSError:
            for end in ends:
                self._break(end)
        finally:
            self._writers.difference_update(ends)
            for end in ends:
                end.close()

    async def _ask(self, near: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while piece := await near.read(65536):
            await self._flows.wait()
            there.write(piece)
        there.close()

    async def _answer(self, far: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        carried = 0
        while piece := await far.read(65536):
            await asyncio.sleep(self._delay)
            await self._flows.wait()
            if self._left is not None and carried + len(piece) > self._left:
                back.write(piece[: self._left - carried])
                await back.drain()
                raise ConnectionResetError
            carried += len(piece)
            back.write(piece)
        back.close()

    @staticmethod
    def _break(writer: asyncio.StreamWriter) -> None:
        plain = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


@pytest.fixture
def lay_line() -> Iterator[Callable[[int], Line]]:
    """Lay lines to ports of this machine: ``lay_line(cloud.port)``."""
    made: list[Line] = []

    def lay(port: int) -> Line:
        made.append(Line(port))
        return made[-1]

    yield lay
    for line in made:
        line.close()


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that refuses every connection; it is held, or another test might be given it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port to which a connection neither comes about nor fails: its queue is full for ever."""
    with socket.socket() as deaf, contextlib.ExitStack() as queue:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        yield deaf.getsockname()[1]


@pytest.fixture(scope="session")
def _kernel_fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelFork]:
    fork = KernelFork(tmp_path_factory.mktemp("kernels"), os.environ)
    yield fork
    fork.close()


@pytest.fixture
def forked_kernels(_kernel_fork: KernelFork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel python3 start quickly, for this process and those that it starts."""
    if hasattr(os, "fork"):
        for name, value in _kernel_fork.environment.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def kernel_cloud(
    cvm_cloud: LocalCloud, tmp_path: Path, forked_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> LocalCloud:
    """A cloud of the test's own, which kernels find, and nothing of this user."""
    for name, value in {
        "PHALA_CLOUD_API_PREFIX": cvm_cloud.url,
        "PHALA_CLOUD_API_KEY": cvm_cloud.api_key,
        "CVM_NOTEBOOK_LOCAL_ROOT": str(cvm_cloud.root_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }.items():
        monkeypatch.setenv(name, value)
    return cvm_cloud


_KERNELS = """
import json, os, signal, sys
import numpy, pandas, tqdm.auto
import cvm_notebook as cvm
import cvm_notebook.fleet.fleet, cvm_notebook.frames.reports.operations
import cvm_notebook.live.operations.service, cvm_notebook.live.plans.runner

for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        break
else:
    os._exit(0)
folder = job["folder"]
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
kernel = os.fork()
if kernel:
    with open(folder + "/pid.new", "w") as file:
        file.write(str(kernel))
    os.rename(folder + "/pid.new", folder + "/pid")
    _, status = os.waitpid(kernel, 0)
    with open(folder + "/code.new", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(status)))
    os.rename(folder + "/code.new", folder + "/code")
    os._exit(0)
for place, name in enumerate(("/dev/null", folder + "/out", folder + "/err")):
    opened = os.open(name, os.O_RDONLY if not place else os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(opened, place)
    os.close(opened)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(job["environment"])
given = {"cvm": cvm, "json": json, "sys": sys, "os": os, "__name__": "__main__"}
exec(compile(job["code"], "cell", "exec"), given)
"""


class Kernel:
    """An interpreter that runs a cell in a process of its own, and can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pid = int(self._read("pid"))

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._text("out")

    @property
    def err(self) -> str:
        """What it has printed on stderr."""
        return self._text("err")

    @property
    def ended(self) -> bool:
        return (self._folder / "code").exists()

    def wait_for_line(self, word: str) -> str:
        """Wait until it has printed a line with this word, and return the line."""

        def line() -> str | None:
            lines = self.out.rpartition("\n")[0].splitlines()
            return next((one for one in lines if word in one), None)

        until(lambda: line() or self.ended)
        found = line()
        assert found is not None, self.err or "it has ended without a word"
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if not self.ended:
                os.kill(self.pid, number)

    def end(self) -> int:
        """Wait until it has ended, and return its exit code."""
        return int(self._read("code"))

    def _text(self, name: str) -> str:
        path = self._folder / name
        return path.read_text() if path.exists() else ""

    def _read(self, name: str) -> str:
        until((self._folder / name).exists)
        return (self._folder / name).read_text()


class Kernels:
    """Starts kernels quickly: it forks them from one that has imported the package."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = 0
        self._made: list[Kernel] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", _KERNELS],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def start(self, code: str, **environment: str) -> Kernel:
        """Run a cell in a new kernel, with these variables in its environment."""
        self._numbers += 1
        folder = self._folder / f"kernel-{self._numbers}"
        folder.mkdir()
        job = {"folder": str(folder), "code": code, "environment": environment}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._made.append(Kernel(folder))
        return self._made[-1]

    def clear(self) -> None:
        """End those that are left."""
        for kernel in self._made:
            kernel.send(signal.SIGKILL)
            kernel.end()
        self._made.clear()

    def close(self) -> None:
        self.clear()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(LONG_PATIENCE)


@pytest.fixture(scope="session")
def _all_kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    made = Kernels(tmp_path_factory.mktemp("kernels"))
    yield made
    made.close()


@pytest.fixture
def kernels(_all_kernels: Kernels) -> Iterator[Kernels]:
    """Start kernels: ``kernels.start("print(1)").end()``."""
    yield _all_kernels
    _all_kernels.clear()


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The official Python SDK, installed once: the folder to put on a program's path.

    Without its dependencies: they are here, but for one that does not build on Python 3.11.
    """
    folder = platformdirs.user_cache_path("cvm-notebook") / f"phala-cloud-{_SDK}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the workers installs it, the others wait
        if not done.exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"]
            subprocess.run(
                [*command, "--target", str(folder), f"phala-cloud=={_SDK}"], check=True, timeout=110
            )
            done.touch()
    return folder


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Somebody who certifies servers, and whom nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def nothing_leaks() -> Iterator[None]:
    """Threads and file descriptors, sockets among them, are no more after a test than before."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    _passes(lambda: not [name for name in _left(threads) if name.startswith("cvm-")], HANGS)
    assert not [name for name in _left(threads) if name.startswith("cvm-")]
    # a server of the tests' own may end later on a busy machine
    _passes(lambda: not _left(threads) and _open_files() <= files, LONG_PATIENCE)
    assert not _left(threads)
    assert _open_files() <= files


def _passes(gone: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    pause = threading.Event()  # a thread that ends does not say so
    while not gone() and time.monotonic() < end:
        gc.collect()
        pause.wait(0.01)


def _left(before: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread not in before]


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set this machine's zone; Berlin's clock was set forward 2026-03-29, and back 2026-10-25."""
    before = os.environ.get("TZ")

    def set_zone(name: str = "Europe/Berlin") -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    set_zone()
    yield set_zone
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()
