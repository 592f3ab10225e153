"""The command line as a user meets it: processes, ports, signals, and what it prints."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from helpers import HANGS, LONG_PATIENCE

from cvm_notebook.cli import doctor

COMMAND = [sys.executable, "-m", "cvm_notebook.cli.main"]
SENTINEL = "phak_sentinel-that-must-not-be-seen"
BLOCK_EXTRAS = """
import sys
for name in ("fastapi", "sqlalchemy", "uvicorn", "sse_starlette", "jupyterlab", "nbclient",
             "nbformat", "platformdirs", "matplotlib", "rich", "ipykernel", "keyring"):
    sys.modules[name] = None
sys.argv = ["cvm-notebook", *sys.argv[1:]]
from cvm_notebook.cli.main import main
sys.exit(main())
"""


def of_a_stranger(home: Path) -> dict[str, str]:
    """Return an environment that knows no key and keeps its files in a home of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PHALA_", "XDG_", "JUPYTER", "IPYTHON", "CVM_NOTEBOOK"))
        and not name.upper().endswith("_PROXY")
    }
    return {**kept, "HOME": str(home), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def home(tmp_path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def env(home) -> dict[str, str]:
    return of_a_stranger(home)


def run(*words: str, env: dict[str, str], **more) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *words]
    options = {"env": env, "capture_output": True, "text": True, "timeout": 100, **more}
    return subprocess.run(command, check=False, **options)


# What is ignored here is ignored by what is run in its place, as in the background of a script.
IGNORING = """
import os, signal, sys
for name in sys.argv[1].split(","):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Started:
    """A command that runs until it is sent a signal; what it prints is read as it comes."""

    def __init__(self, words: list[str], env: dict[str, str], cwd: Path, ignoring: str) -> None:
        wrapped = [sys.executable, "-c", IGNORING, ignoring] if ignoring else []
        self.process = subprocess.Popen(
            [*wrapped, *COMMAND, *words],
            env=env,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.text = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                self.text += line
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, pattern: str, seconds: float = 150) -> re.Match[str]:
        def seen() -> re.Match[str] | None:
            return re.search(pattern, self.text)

        with self._more:
            self._more.wait_for(lambda: seen() or self.process.poll() is not None, seconds)
        found = seen()
        assert found, f"{pattern!r} was not printed:\n{self.text}"
        return found

    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def command_lines(self) -> list[str]:
        """What the processes of the family are called, but for those that end meanwhile."""
        found = []
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(" ".join(process.cmdline()))
        return found

    def interrupt(self, number: int = signal.SIGINT, presses: int = 1) -> None:
        """Press Ctrl-C, and wait until all processes of the family are gone; none may hang."""
        _, *children = self.family()
        self.process.send_signal(number)
        for _ in range(1, presses):
            self.wait_for("Ending ")
            self.process.send_signal(number)
        self.process.wait(LONG_PATIENCE)  # psutil would take the exit code of our own child away
        _, alive = psutil.wait_procs(children, timeout=LONG_PATIENCE)
        assert not alive, alive
        self._reader.join(HANGS)
        self.process.stdout.close()


@contextlib.contextmanager
def beginning(folder: Path, env: dict[str, str]) -> Iterator:
    """Begin commands in a folder; those that still run afterwards are killed."""
    started: list[Started] = []

    def begin(*words: str, ignoring: str = "") -> Started:
        started.append(Started(list(words), env, folder, ignoring))
        return started[-1]

    try:
        yield begin
    finally:
        for one in started:
            if one.process.poll() is None:
                for process in one.family():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                one.process.wait()
            one.process.stdout.close()


@pytest.fixture
def start(env, tmp_path) -> Iterator:
    with beginning(tmp_path, env) as begin:
        yield begin


def get(url: str, **headers: str):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=names)
    with urllib.request.urlopen(request, timeout=LONG_PATIENCE) as answer:
        return json.load(answer)


def write_notebook(path: Path, *cells: str) -> None:
    import nbformat  # slowly imported

    content = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(content, path)


# --- words -----------------------------------------------------------------------------------


def test_help_names_every_command(env):
    done = run("--help", env=env)
    assert done.returncode == 0
    for name in ("demo", "cloud", "report", "doctor"):
        assert re.search(rf"^ +{name} ", done.stdout, re.MULTILINE)
        assert run(name, "--help", env=env).stdout.startswith(f"usage: cvm-notebook {name}")


# Python's own way out of an ASCII terminal, the mode of UTF-8, is shut.
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("command", [[], ["demo"], ["cloud"], ["report"], ["doctor"]])
def test_help_is_printed_where_there_is_only_ascii(env, command):
    done = run(*command, "--help", env={**env, **ASCII})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert not re.search(r"\\[ux]", done.stdout)  # nor does it need to be escaped
    assert run(*command, "--help", env=env).stdout == done.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("demo", "Open JupyterLab on the dashboard"),
        ("cloud", "Serve LocalCloud, the same API as Phala Cloud, until Ctrl-C."),
    ],
)
def test_names_in_a_help_keep_their_capitals(env, command, says):
    assert says in " ".join(run(command, "--help", env=env).stdout.split())


def test_doctor_as_json_can_be_read_where_there_is_only_ascii(env, home):
    folder = home / "\u00e9"
    done = run("doctor", "--json", env={**env, **ASCII, "PHALA_CLOUD_DIR": str(folder)})
    assert done.returncode == 1
    assert "credentials.json" in findings(done)["profiles"]["text"]


def test_a_reader_that_goes_away_is_no_failure_of_the_command(env):
    read, write = os.pipe()
    os.close(read)
    done = run("doctor", env=env, capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND"),
        (["demo", "--port", "99999"], "'99999' is not a port; give a number from 0 to 65535"),
        (["cloud", "--speed", "0"], "'0' is not a speed; give a number above 0"),
        (["cloud", "--seed", "some"], "invalid choice: 'some'"),
        (["cloud", "--host", "a..b"], "'a..b' is not a host; 127.0.0.1 is this machine"),
    ],
)
def test_a_wrong_word_is_named_with_exit_code_2(env, words, message):
    done = run(*words, env=env)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "extra"), [("demo", "demo"), ("cloud", "local")])
def test_a_command_without_its_extra_says_which_line_installs_it(env, command, extra):
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_EXTRAS, command],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f'-m pip install "cvm-notebook[{extra}]"' in done.stderr
    assert "fastapi" in done.stderr
    assert "Traceback" not in done.stderr


# --- demo ------------------------------------------------------------------------------------


def below_those_of_others(bound: socket.socket) -> int:
    """Bind a port after which others are free, also in the seconds until the next one is bound.

    Connections, and servers of other tests, are given ports from 32768 on.
    """
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with contextlib.suppress(OSError):
            bound.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Started]:
    """A demo whose port was taken; SIGTERM ends it, and all that it has started."""
    folder = tmp_path_factory.mktemp("demo")
    with socket.socket() as taken, beginning(folder, of_a_stranger(folder)) as begin:
        port = below_those_of_others(taken)
        taken.listen()
        demo = begin("demo", "--no-browser", "--port", str(port))
        demo.wait_for(rf"port {port} is taken; using \d+")
        url = demo.wait_for(
            r"(http://127\.0\.0\.1:(\d+))/lab/tree/00_start_here\.ipynb\?token=(\S+)"
        )
        assert int(url[2]) > port
        demo.url, demo.token, demo.folder = url[1], url[3], folder
        yield demo
        demo.interrupt(signal.SIGTERM)
        assert demo.process.returncode == 0
        assert "Traceback" not in demo.text


def test_demo_opens_jupyterlab_on_the_dashboard(demo):
    answer = get(
        f"{demo.url}/api/contents/00_start_here.ipynb", Authorization=f"token {demo.token}"
    )
    assert answer["type"] == "notebook"
    assert answer["writable"]
    assert (demo.folder / "cvm-notebooks" / "00_start_here.ipynb").is_file()
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        get(f"{demo.url}/api/contents")
    refused.value.close()


def is_kernel(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "ipykernel" in " ".join(process.cmdline())
    return False


def test_demo_hands_the_key_to_kernels_alone(demo):
    before = {process.pid for process in demo.family()}
    request = urllib.request.Request(
        f"{demo.url}/api/kernels",
        data=b"{}",
        headers={"Authorization": f"token {demo.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=LONG_PATIENCE):
        pass
    born = [process for process in demo.family() if process.pid not in before]
    (kernel,) = [process for process in born if is_kernel(process)]
    key = kernel.environ()["PHALA_CLOUD_API_KEY"]
    assert kernel.environ()["PHALA_CLOUD_API_PREFIX"] in demo.text
    assert get(kernel.environ()["PHALA_CLOUD_API_PREFIX"] + "/auth/me", X_API_Key=key)
    assert key not in demo.text
    assert "PHALA_CLOUD_API_KEY" not in psutil.Process(demo.process.pid).environ()
    assert not [line for line in demo.command_lines() if key in line or demo.token in line]


def test_demo_writes_no_setting_of_the_user(demo):
    left = [path.relative_to(demo.folder) for path in demo.folder.rglob("*") if path.is_file()]
    assert not [str(path) for path in left if "settings" in str(path) or "config" in str(path)]


def test_demo_run_prints_what_the_first_tutorial_shows(env, tmp_path):
    done = run("demo", "--run", "--speed", "200", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"01_first_cvm\.ipynb: \d+ cells ran without an error in [\d.]+ s", done.stdout
    )
    assert re.search(r"^  \[1\] .* \d+\.\d\d s$", done.stdout, re.MULTILINE)
    assert "running" in done.stdout
    assert "\x1b" not in done.stdout


def test_demo_keeps_an_edited_notebook_and_fails_when_it_fails(env, tmp_path):
    folder = tmp_path / "caf\u00e9 \u2603"
    folder.mkdir()
    edited = folder / "01_first_cvm.ipynb"
    write_notebook(edited, "print('as I left it: na\u00efve \u2713')", "1 / 0", "print('never')")
    before = edited.read_bytes()
    done = run("demo", "--run", "--dir", str(folder), env={**env, **ASCII})
    assert done.returncode == 1, done.stderr
    assert "your edited copies were kept: 01_first_cvm.ipynb" in done.stdout
    assert "as I left it: na\\xefve \\u2713" in done.stdout
    assert done.stdout.isascii()  # what the terminal cannot show is escaped
    assert "failed in code cell 2: ZeroDivisionError: division by zero" in done.stdout
    assert "never\n" not in done.stdout
    assert edited.read_bytes() == before


def test_demo_says_which_folder_it_cannot_write(env, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = run("demo", "--run", "--dir", str(blocked), env=env)
    assert done.returncode == 1
    assert f"Cannot copy the notebooks to {blocked}" in done.stderr
    assert "--dir FOLDER" in done.stderr


# --- signals that are inherited as ignored ------------------------------------------------------

BACKGROUND = "SIGINT,SIGQUIT,SIGTERM,SIGCHLD"


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_a_cloud_in_the_background_of_a_script_can_be_ended(start, number, workers):
    words = ("cloud", "--port", "0", "--seed", "empty", "--workers", workers)
    cloud = start(*words, ignoring=BACKGROUND)
    cloud.wait_for("Ctrl-C")
    cloud.interrupt(number)
    assert "Traceback" not in cloud.text


def test_a_demo_in_the_background_of_a_script_can_be_ended(start):
    demo = start("demo", "--no-browser", ignoring=BACKGROUND)
    demo.wait_for("Ctrl-C")
    demo.interrupt(presses=2)  # the impatient press twice
    assert demo.process.returncode == 0
    assert "Traceback" not in demo.text


def test_ctrl_c_ends_a_run_and_its_kernel(start, tmp_path):
    write_notebook(tmp_path / "01_first_cvm.ipynb", "print('begun')", "import time; time.sleep(60)")
    demo = start("demo", "--run", "--dir", str(tmp_path), ignoring=BACKGROUND)
    demo.wait_for("begun")
    demo.interrupt()
    assert demo.process.returncode == 130
    assert "Traceback" not in demo.text


def test_a_cloud_under_nohup_outlives_its_terminal(start):
    cloud = start("cloud", "--port", "0", "--seed", "empty", ignoring="SIGHUP")
    url = cloud.wait_for(r"http://127\.0\.0\.1:\d+")[0]
    cloud.wait_for("Ctrl-C")
    cloud.process.send_signal(signal.SIGHUP)
    assert get(f"{url}/_local/health")
    cloud.interrupt()


# --- cloud -----------------------------------------------------------------------------------


def test_cloud_serves_until_ctrl_c_and_says_how_to_connect(start, tmp_path):
    cloud = start(
        "cloud", "--port", "0", "--seed", "empty", "--database", f"sqlite:///{tmp_path}/c.sqlite"
    )
    url = cloud.wait_for(r"http://127\.0\.0\.1:\d+/api/v1")[0]
    key = cloud.wait_for(r"phak_\S+")[0]
    cloud.wait_for("Ctrl-C")
    assert get(f"{url}/auth/me", X_API_Key=key)
    assert cloud.text.count(key) == 1
    assert "PHALA_CLOUD_API_PREFIX" in cloud.text
    assert "beyond this machine" not in cloud.text
    cloud.interrupt()
    assert "Traceback" not in cloud.text


def test_cloud_warns_when_it_is_bound_beyond_this_machine(start, tmp_path):
    cloud = start(
        *("cloud", "--host", "0.0.0.0", "--port", "0", "--seed", "empty"),
        *("--database", f"sqlite:///{tmp_path}/c.sqlite"),
    )
    cloud.wait_for("beyond this machine")
    cloud.wait_for("Ctrl-C")
    cloud.interrupt()


def test_cloud_says_that_its_port_is_taken(env):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("cloud", "--port", port, "--seed", "empty", env=env)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} is taken" in done.stderr
    assert "--port N" in done.stderr
    assert "Traceback" not in done.stderr


def test_cloud_names_the_fault_it_does_not_know(env, tmp_path):
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "gremlins"}]')
    done = run("cloud", "--faults", str(faults), env=env)
    assert done.returncode == 1
    assert "--faults: kind: " in done.stderr
    assert "Traceback" not in done.stderr


def test_cloud_keeps_the_password_of_a_database_that_does_not_answer(env, refusing_port):
    url = f"postgresql+psycopg://ana:{SENTINEL}@127.0.0.1:{refusing_port}/cloud"
    done = run("cloud", "--port", "0", "--database", url, env=env)
    assert done.returncode == 1
    assert "the database cannot be used" in done.stderr
    assert SENTINEL not in done.stdout + done.stderr


# --- doctor ----------------------------------------------------------------------------------


@pytest.fixture
def connected(env, cloud) -> dict[str, str]:
    return {**env, "PHALA_CLOUD_API_PREFIX": cloud.url, "PHALA_CLOUD_API_KEY": cloud.api_key}


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {found["name"]: found for found in json.loads(done.stdout)["findings"]}


def test_doctor_finds_a_working_connection_healthy(connected):
    done = run("doctor", env=connected)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nHealthy.\n" in done.stdout
    assert "cvm.dashboard(cvm.connect())" in done.stdout
    assert "PHALA_CLOUD_API_KEY" in done.stdout
    assert connected["PHALA_CLOUD_API_PREFIX"] in done.stdout
    assert re.search(r"GET /auth/me +200 in \d+ ms", done.stdout)
    assert re.search(r"clock +within \d+ s", done.stdout)


def test_doctor_says_the_same_as_json(connected):
    done = run("doctor", "--json", env=connected)
    answer = json.loads(done.stdout)
    assert answer["healthy"] is True
    assert findings(done)["GET /auth/me"]["state"] == "ok"
    assert findings(done)["pandas"]["state"] == "ok"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_doctor_shows_neither_the_key_nor_the_home_folder(connected, cloud, home, form):
    for key in (cloud.api_key, SENTINEL):
        done = run("doctor", *form, env={**connected, "PHALA_CLOUD_API_KEY": key})
        assert key not in done.stdout + done.stderr
        assert str(home) not in done.stdout + done.stderr


def test_doctor_records_what_the_service_answers_to_a_private_file(connected, cloud, tmp_path):
    file = tmp_path / "record.json"

    done = run("doctor", "--record", str(file), env=connected)

    assert done.returncode == 0, done.stderr
    assert f"{file} has their fields" in done.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert cloud.api_key not in file.read_text()


@pytest.mark.parametrize(
    ("version", "state", "text"),
    [
        ("6.29.5", "ok", "clicks are handled after the running cell"),
        ("7.1.0", "warning", "loses what threads show"),
        ("7.3.0", "warning", "may stop taking what pages send"),
        ("7.4.0", "ok", "clicks are handled at once"),
        ("7.10.1", "ok", "clicks are handled at once"),
    ],
)
def test_doctor_knows_what_a_kernel_does_with_clicks(version, state, text):
    found = doctor._kernel("Notebook", version)
    assert (found.state, text in found.text) == (state, True)


def test_doctor_says_that_the_key_was_refused(connected):
    done = run("doctor", "--json", env={**connected, "PHALA_CLOUD_API_KEY": SENTINEL})
    assert done.returncode == 1
    refused = findings(done)["GET /auth/me"]
    assert refused["state"] == "problem"
    assert "401" in refused["text"]


def test_doctor_says_that_nothing_answers(connected, refusing_port):
    url = f"http://127.0.0.1:{refusing_port}/api/v1"
    done = run("doctor", env={**connected, "PHALA_CLOUD_API_PREFIX": url})
    assert done.returncode == 1
    assert "\n1 problem: GET /auth/me.\n" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_says_where_a_key_can_come_from_when_there_is_none(env):
    done = run("doctor", env=env)
    assert done.returncode == 1
    assert "PHALA_CLOUD_API_KEY" in done.stdout
    *_, verdict, first, last = done.stdout.splitlines()
    assert verdict == "1 problem: key."
    assert "cvm.login() asks for one" in first
    assert last.strip() == "To try it without a key: cvm-notebook demo"


def test_doctor_knows_a_local_cloud_that_runs(env, home, cloud):
    folder = home / ".local" / "share" / "cvm-notebook" / "local" / "running"
    folder.mkdir(parents=True)
    facts = {"pid": os.getpid(), "url": cloud.url, "api_key": cloud.api_key}
    (folder / "1.json").write_text(json.dumps(facts))
    (folder / "1.json").chmod(0o600)
    done = run("doctor", env=env)
    assert done.returncode == 1
    assert re.search(rf"LocalCloud +runs at {cloud.url}", done.stdout)
    assert done.stdout.rstrip().endswith("To check it: cvm-notebook doctor --local")
    done = run("doctor", "--local", "--json", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert findings(done)["GET /auth/me"]["state"] == "ok"
    assert "key" not in findings(done)
    assert cloud.api_key not in done.stdout
    assert json.loads(done.stdout)["next"] == [
        'In a notebook: import cvm_notebook as cvm; cvm.dashboard(cvm.connect("local"))'
    ]


def test_doctor_says_how_to_start_a_local_cloud_where_none_runs(env):
    done = run("doctor", "--local", env=env)
    assert done.returncode == 1
    assert "1 problem: LocalCloud." in done.stdout
    assert "cvm-notebook demo starts one" in done.stdout
    assert run("doctor", "--local", "--profile", "x", env=env).returncode == 2


def test_doctor_refuses_a_credentials_file_that_others_can_read(env, home):
    folder = home / ".phala-cloud"
    folder.mkdir()
    profile = {"token": SENTINEL, "api_prefix": "https://cloud.example/api/v1"}
    content = {"schema_version": 1, "current_profile": "work", "profiles": {"work": profile}}
    (folder / "credentials.json").write_text(json.dumps(content))
    (folder / "credentials.json").chmod(0o644)
    done = run("doctor", env=env)
    assert done.returncode == 1
    assert "chmod 600" in done.stdout
    assert SENTINEL not in done.stdout + done.stderr


def test_doctor_needs_the_core_install_alone(connected):
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_EXTRAS, "doctor"],
        env=connected,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class _Strange(BaseHTTPRequestHandler):
    """A service whose clock is an hour ahead of ours, and that repeats a key it refuses."""

    def do_GET(self) -> None:
        key = self.headers["X-API-Key"]
        body = json.dumps({"detail": f"the key {key} is not known"}).encode()
        self.send_response_only(401 if key == SENTINEL else 200)
        late = datetime.now(UTC) + timedelta(hours=1)
        self.send_header("Date", format_datetime(late, usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def strange(env) -> Iterator[dict[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Strange) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/api/v1"
        yield {**env, "PHALA_CLOUD_API_PREFIX": url, "PHALA_CLOUD_API_KEY": "phak_another-key"}
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_doctor_masks_a_key_that_the_service_repeats(strange, form):
    done = run("doctor", *form, env={**strange, "PHALA_CLOUD_API_KEY": SENTINEL})
    assert done.returncode == 1
    assert "is not known" in done.stdout
    assert SENTINEL not in done.stdout + done.stderr


def test_doctor_warns_of_a_clock_that_is_wrong(strange):
    done = run("doctor", "--json", env=strange)
    assert findings(done)["clock"]["state"] == "warning"
    text = findings(done)["clock"]["text"]
    # a whole hour, but for half of the time that a busy machine takes to answer
    assert int(re.match(r"(\d+) s behind the service", text)[1]) == pytest.approx(3600, abs=30)
    assert done.returncode == 0
