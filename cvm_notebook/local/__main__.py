"""Run the server as LocalCloud's child: settings from the environment, its life from a pipe.

Standard input is held open by the parent: when it ends, the parent has ended, and so does this
process. Standard output gets one line of JSON when connections are accepted.
"""

import gc
import json
import os
import select
import shutil
import signal
import sys
import threading
from pathlib import Path

from cvm_notebook.local.core.schema import DatabaseVersionError
from cvm_notebook.local.core.settings import SCRATCH_NAME, Settings
from cvm_notebook.local.root_file import NAME, write_root
from cvm_notebook.local.server import end_when, run


def _until_orphaned() -> None:
    """Return when the parent is gone: its pipe has ended, or this process has a new parent."""
    if sys.platform == "win32":
        while os.read(0, 1024):
            pass
        return
    parent = os.getppid()
    # A process forked off the parent may hold its end of the pipe open; hence the second look.
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1024):
            return


def _tell_ready(port: int, root: str) -> None:
    if SCRATCH_NAME in os.environ:
        write_root(Path(os.environ[SCRATCH_NAME]) / NAME, root)
    gc.freeze()  # what was imported stays: no need to look through it again and again
    gc.enable()
    sys.stdout.write(json.dumps({"port": port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until the parent ends; then remove what was not to be kept."""
    orphaned = threading.Event()

    def over() -> None:
        _until_orphaned()
        orphaned.set()

    def tidy_up() -> None:
        if orphaned.is_set() and SCRATCH_NAME in os.environ:
            shutil.rmtree(os.environ[SCRATCH_NAME], ignore_errors=True)

    # uvicorn ends by the signal it was sent, which must not skip what is left to do here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if hasattr(signal, "SIGCHLD"):  # inherited as ignored, it would hide the end of a worker
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_when(over, tidy_up)
    code: object = 0
    try:
        run(Settings.from_environment(), _tell_ready)
    except SystemExit as stop:
        code = stop.code or 0
    except DatabaseVersionError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    finally:
        tidy_up()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to be done, and to take thousands of modules apart takes a while.
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
