"""``cvm-notebook demo``: a LocalCloud, the notebooks in a folder, JupyterLab on the dashboard."""

import argparse
import contextlib
import json
import signal
from pathlib import Path

from cvm_notebook.cli.jupyterlab import Lab
from cvm_notebook.cli.notebook_runner import shipped
from cvm_notebook.files import write_file
from cvm_notebook.local import LocalCloud, LocalCloudError

OPENED = "00_start_here.ipynb"
TUTORIAL = "01_first_cvm.ipynb"  # what it says can be read without a browser


def demo(options: argparse.Namespace) -> int:
    """Start the cloud, copy the notebooks, open one or run one; return the exit code."""
    folder = _folder(options.dir)
    kept = copy_notebooks(folder)
    print(f"Notebooks    {folder}")
    if kept:
        print(f"             your edited copies were kept: {', '.join(kept)}")
        print("             (remove a file there to get it fresh the next time)")
    with _start_cloud(options.speed) as cloud:
        print(f"LocalCloud   {cloud.url}   (boots and stops {options.speed:g} times faster)")
        # for the kernels alone: neither this shell nor a file gets the key
        env = {
            "PHALA_CLOUD_API_PREFIX": cloud.url,
            "PHALA_CLOUD_API_KEY": cloud.api_key,
            "CVM_NOTEBOOK_LOCAL_ROOT": str(cloud.root_path),
        }
        if options.run:
            from cvm_notebook.cli.notebook_runner import run_notebook  # noqa: PLC0415 - nbformat takes a second

            return run_notebook(folder / TUTORIAL, env)
        return _open_lab(folder / OPENED, env, options)


def _folder(named: Path) -> Path:
    """Return the whole path; that of a folder that was removed has none, nor ~ without a home."""
    try:
        return named.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SystemExit(
            f"Cannot find the folder {named}: {why}. Give its whole path: --dir FOLDER"
        ) from error


def _start_cloud(speed: float) -> LocalCloud:
    try:
        return LocalCloud(seed="demo", speed=speed).start()
    except LocalCloudError as error:
        raise SystemExit(str(error)) from error


def _open_lab(notebook: Path, env: dict[str, str], options: argparse.Namespace) -> int:
    lab = Lab(notebook, env, port=options.port, browser=not options.no_browser)
    if options.port and lab.port != options.port:
        print(f"             port {options.port} is taken; using {lab.port}")
    with lab:
        try:
            print(f"JupyterLab   {lab.url}")
            print(
                "             Press Ctrl-C here to stop everything.", flush=True
            )  # and from now on
            code = lab.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut the end short
            print("\nEnding JupyterLab, its kernels and LocalCloud.", flush=True)
            return 0
        if code != 0:
            print(f"JupyterLab ended with code {code}. Last lines of its log:\n{lab.last_lines()}")
        return code


def copy_notebooks(folder: Path) -> list[str]:
    """Copy the notebooks into `folder` and return the names of those kept because they differ."""
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in sorted(shipped().glob("*.ipynb")):
            target = folder / notebook.name
            content = as_opened(notebook.read_bytes())
            if not target.exists():
                write_file(target, content)  # whole: a part of one would be kept for ever
            elif not target.is_file() or _cells(target.read_bytes()) != _cells(content):
                kept.append(notebook.name)
    except OSError as error:
        raise SystemExit(
            f"Cannot copy the notebooks to {folder}: {error.strerror}. "
            "Choose a folder you can write to: --dir FOLDER"
        ) from error
    return kept


def as_opened(content: bytes) -> bytes:
    """Return a notebook with what a front end notes of its kernel in it.

    Without that it is "modified" as soon as it is opened, and asks to be saved.
    """
    from ipykernel.ipkernel import IPythonKernel  # noqa: PLC0415 - half a second
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # noqa: PLC0415 - as it is

    notebook = json.loads(content)
    metadata = notebook["metadata"]
    metadata["language_info"] = IPythonKernel.language_info
    with contextlib.suppress(NoSuchKernel):  # the front end will ask for another one
        spec = KernelSpecManager().get_kernel_spec(metadata["kernelspec"]["name"])
        metadata["kernelspec"]["display_name"] = spec.display_name
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode() + b"\n"


def _cells(content: bytes) -> object:
    """Return what a notebook says, whatever kernel it was opened with; None for what is none."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return json.loads(content)["cells"]
    return None
