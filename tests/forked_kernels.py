"""Kernels in a third of the time: forked from a process that has imported what they all import.

`KernelFork` gives them to whoever starts the kernel ``python3``. It has two programs: ``serve
SOCKET`` imports, then forks a kernel for each connection; ``run SOCKET FILE`` is what Jupyter
starts and signals: it hands over its environment, its folder and its standard streams, sends
signals on, and ends as the kernel ends. When it is killed, so is the kernel.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


class KernelFork:
    """The process that kernels are forked from, and the kernelspec that has it do so.

    Attributes
    ----------
    environment
        What a process, or those that it starts, needs to find this kernelspec.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        place, folder = home / "kernels", home / "data" / "kernels" / "python3"
        folder.mkdir(parents=True)
        argv = [sys.executable, "-SE", __file__, "run", str(place), "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))
        self.environment = {
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_PREFER_ENV_PATH": "0",  # those of this folder are found first
        }
        with (home / "kernels.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "serve", str(place)],
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def close(self) -> None:
        """Fork no more; kernels that run go on."""
        self._process.kill()
        self._process.wait()


def serve(path: str) -> None:
    """Fork a kernel for each connection, until this process is ended.

    matplotlib is left to the kernels: it asks for its backend when it is imported.
    """
    import ipywidgets  # noqa: F401
    from ipykernel import ipkernel, kernelapp, zmqshell  # noqa: F401

    import cvm_notebook.fleet.fleet
    import cvm_notebook.frames
    import cvm_notebook.widgets.dashboard.dashboard  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen(64)
        while True:
            line, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                watch(line)
            line.close()


def watch(line: socket.socket) -> None:
    """Fork the kernel, say its pid and how it ended; end it when nobody listens any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    body, streams, _, _ = socket.recv_fds(line, 1_000_000, 3)
    job = json.loads(body)
    kernel = os.fork()
    if kernel == 0:
        line.close()
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
            os.close(stream)
        be_kernel(job)
    for stream in streams:
        os.close(stream)
    line.sendall(f"{kernel}\n".encode())
    if os.fork() == 0:
        line.recv(1)  # its end: whoever Jupyter has started is gone
        try:
            os.kill(kernel, signal.SIGKILL)
        finally:
            os._exit(0)
    _, status = os.waitpid(kernel, 0)
    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def be_kernel(job: dict) -> None:
    """Run ipykernel as `python -m ipykernel_launcher` does."""
    import ipywidgets
    from ipykernel import kernelapp

    os.setsid()
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    os.environ.pop("JPY_PARENT_PID", None)  # it is no child of ours; we end by the line
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["ipykernel_launcher", *job["options"]]
    sys.path[0] = ""
    # as its import does in a kernel: pages ask there for the state of all widgets at once
    ipywidgets.register_comm_target()
    kernelapp.launch_new_instance()
    os._exit(0)


def run(path: str, connection: str, *options: str) -> int:
    """Have a kernel forked, and be its stand-in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        end = time.monotonic() + 100
        while line.connect_ex(path) and time.monotonic() < end:
            time.sleep(0.1)  # it imports
        job = {
            "options": ["-f", connection, *options],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        socket.send_fds(line, [json.dumps(job).encode()], [0, 1, 2])
        answers = line.makefile()
        kernel = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda caught, _: send_on(kernel, caught))
        code = int(answers.readline() or "1")
    return code if code >= 0 else 128 - code


def send_on(kernel: int, number: int) -> None:
    """Send the kernel a signal, unless it has just ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(kernel, number)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    sys.exit(run(*sys.argv[2:]))
