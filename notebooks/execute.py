"""Run the notebooks anew against a fresh LocalCloud and write them back as executed.

    python notebooks/execute.py [NOTEBOOK...]      all of them without a name
    python notebooks/execute.py --commit           and commit what changed

What is written depends on the sources and on what the cells showed, on nothing else: no widget
state or view (its snapshot is an output of its own), no execution times, a fixed kernel name, cell
ids by position.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout, installed or not

from cvm_notebook import Client, LocalCloud  # noqa: E402

CELL_WITHIN = 60
PORT = 18787  # always the same: notebooks show the address
MOVING = {"provisioning", "starting", "restarting", "stopping", "shutting_down", "in_progress"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Take out what differs from run to run without meaning anything."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for position, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{position:02d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        outputs = cell.get("outputs", [])
        outputs[:] = [one for one in outputs if WIDGET_VIEW not in one.get("data", {})]


def settle(cloud: LocalCloud) -> None:
    """Wait until nothing moves: some CVMs of the demo fleet are in the middle of something."""
    with Client(cloud.api_key, cloud.url) as client:
        for cvm in client.list_cvms():
            if cvm.status in MOVING:
                client.watch_cvm_state(cvm, target="running")


def execute(path: Path, env: Mapping[str, str]) -> None:
    """Execute one notebook and write it back, tidied."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_WITHIN,
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**os.environ, **env})
    tidy(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all beside this file")
    parser.add_argument("--commit", action="store_true", help="commit the notebooks afterwards")
    options = parser.parse_args()
    paths = options.notebooks or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        with LocalCloud(seed="demo", port=PORT) as cloud:
            settle(cloud)
            env = {
                "PHALA_CLOUD_API_PREFIX": cloud.url,
                "PHALA_CLOUD_API_KEY": cloud.api_key,
                "CVM_NOTEBOOK_LOCAL_ROOT": str(cloud.root_path),
                "PYTHONPATH": str(ROOT),
            }
            execute(path, env)
        print(f"executed {path.name}")
    if options.commit:
        message = ["-m", "Execute the notebooks anew"]
        subprocess.run(["git", "commit", *message, "--", *paths], check=True, cwd=HERE)


if __name__ == "__main__":
    sys.exit(main())
