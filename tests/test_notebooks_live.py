"""The notebooks about fleets do what they say, and leave the fleet as they found it."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from cvm_notebook import Client, LocalCloud

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = [ROOT / "notebooks" / f"{n}.ipynb" for n in ("02_live_fleet", "03_explore_with_pandas")]
BUSY = {"provisioning", "starting", "restarting", "stopping", "shutting_down"}


def statuses(client):
    return {cvm.name: cvm.status for cvm in client.list_cvms()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_twice_and_leaves_the_fleet_as_it_was(path, tmp_path):
    with LocalCloud(seed="demo", speed=200) as cloud, Client(cloud.api_key, cloud.url) as client:
        env = {
            **os.environ,
            "PHALA_CLOUD_API_PREFIX": cloud.url,
            "PHALA_CLOUD_API_KEY": cloud.api_key,
            "PYTHONPATH": str(ROOT),
            "IPYTHONDIR": str(tmp_path),
        }
        before = statuses(client)
        for _ in range(2):
            notebook = nbformat.read(path, as_version=4)
            notebook.cells[1].source = "target = None"
            run = NotebookClient(notebook, timeout=60, store_widget_state=False)
            run.execute(env=env, cwd=str(tmp_path))
            assert not [
                o for c in notebook.cells for o in c.get("outputs", ()) if o.get("name") == "stderr"
            ]
            assert cloud.api_key not in nbformat.writes(notebook)
        asked = [r for r in cloud.requests() if r["method"] == "POST"]
        after = statuses(client)
    settled = {name for name in before if not {before[name], after.get(name)} & BUSY}
    assert {name: after.get(name) for name in settled} == {name: before[name] for name in settled}
    assert after.keys() == before.keys()
    for verb in ("stop", "start"):
        assert [r for r in asked if r["path"].endswith(verb) or "batch" in r["path"]], verb
    assert list(tmp_path.glob("*.parquet")) == []
