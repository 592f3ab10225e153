"""Notebook runner: executes a notebook without a browser, and prints its outputs as text."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

import cvm_notebook

CELL_WITHIN = 120
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def shipped() -> Path:
    """Return the folder of the notebooks: inside the wheel, or beside the package in a checkout."""
    package = Path(cvm_notebook.__file__).parent
    packed = package / "_notebooks"
    return packed if packed.is_dir() else package.parent / "notebooks"


class _Printer:
    """Printer of each cell as it ends: its first line, its duration, its outputs."""

    def __init__(self) -> None:
        self._began = 0.0
        self.cells = 0

    def start(self, cell: Any, cell_index: int) -> None:
        del cell_index
        self._began = time.monotonic()
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("#"):
                    print(f"\n{line.lstrip('# ')}")

    def executed(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        del cell_index, execute_reply
        self.cells += 1
        lines = cell.source.strip().splitlines() or [""]
        label = next((line for line in lines if line and not line.startswith("#")), lines[0])
        took = time.monotonic() - self._began
        print(f"  [{self.cells}] {label[:72]:<72} {took:6.2f} s", flush=True)
        for output in cell.outputs:
            for line in output_text(output).splitlines():
                print(f"      {line}", flush=True)


def output_text(output: Any) -> str:
    """Return the output of a cell as plain text; a picture by its kind alone."""
    if output.output_type == "stream":
        return ANSI.sub("", output.text)
    if output.output_type == "error":
        return ANSI.sub("", "\n".join(output.traceback))
    data = output.data
    pictures = [kind for kind in data if kind.startswith("image/")]
    if pictures:
        return f"[a picture: {', '.join(pictures)}]"
    return ANSI.sub("", data.get("text/plain", f"[{', '.join(data)}]"))


def run_notebook(notebook: Path, env: Mapping[str, str]) -> int:
    """Run `notebook` in its folder, print its outputs, and return 0 when every cell succeeded.

    The file itself stays as it is.
    """
    content = nbformat.read(notebook, as_version=4)
    printer = _Printer()
    began = time.monotonic()
    try:
        execute(
            content,
            notebook.parent,
            env=env,
            timeout=CELL_WITHIN,
            on_cell_start=printer.start,
            on_cell_executed=printer.executed,
        )
    except CellExecutionError as error:
        return _failed(notebook, printer.cells, f"{error.ename}: {ANSI.sub('', error.evalue)}")
    except (CellTimeoutError, DeadKernelError) as error:
        return _failed(notebook, printer.cells + 1, str(error).strip())
    took = time.monotonic() - began
    print(f"\n{notebook.name}: {printer.cells} cells ran without an error in {took:.1f} s")
    return 0


def execute(content: Any, folder: Path, *, env: Mapping[str, str], **options: Any) -> None:
    """Execute a notebook in place; Ctrl-C ends the run and its kernel at once.

    Parameters
    ----------
    env
        Variables of the kernel, beside those of this process.
    **options
        Of `nbclient.NotebookClient`.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this Python, not a namesake
    client = NotebookClient(
        content,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # its warnings would stand between the results
        resources={"metadata": {"path": str(folder)}},
        **options,
    )
    try:
        asyncio.run(_execute(client, {**os.environ, **env}))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _execute(client: NotebookClient, env: Mapping[str, str]) -> None:
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        client.shutdown_kernel = "immediate"
        run.cancel()

    def take_signals(notebook: Any) -> None:
        # nbclient has set handlers of its own by now, which end the kernel under the running cell
        del notebook
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C reaches the kernel too
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop)

    client.on_notebook_start = take_signals
    run = asyncio.ensure_future(client.async_execute(env=env))
    try:
        await run
    except DeadKernelError as error:  # what nbclient makes of a run that is cancelled
        if stopped.is_set():
            raise asyncio.CancelledError from error
        raise


def _failed(notebook: Path, cell: int, why: str) -> int:
    print(f"\n{notebook.name}: failed in code cell {cell}: {why}")
    return 1
