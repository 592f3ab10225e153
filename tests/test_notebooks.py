"""The notebooks run from top to bottom against LocalCloud, and are committed as executed."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST = ROOT / "notebooks" / "01_first_cvm.ipynb"
WITHIN = 60

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def env(fresh_cloud, tmp_path):
    """The environment of a kernel that finds the cloud of this test and nothing of this user."""
    return {
        **os.environ,
        "PHALA_CLOUD_API_PREFIX": fresh_cloud.url,
        "PHALA_CLOUD_API_KEY": fresh_cloud.api_key,
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(tmp_path),
    }


def run(path, env):
    """Execute a notebook in a kernel and return it with the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=WITHIN, store_widget_state=False)
    began = time.monotonic()
    client.execute(env=env, cwd=str(path.parent))
    return notebook, time.monotonic() - began


def said(notebook):
    """Everything the cells of a notebook showed, as one text."""
    return "".join(
        output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )


def our_requests(cloud, method, pattern):
    return [
        entry
        for entry in cloud.requests()
        if entry["method"] == method and re.search(pattern, entry["path"])
    ]


def test_the_first_notebook_takes_a_cvm_through_its_whole_life(fresh_cloud, env):
    notebook, took = run(FIRST, env)
    assert took < WITHIN
    for method, path in (
        ("POST", r"/cvms/provision$"),
        ("POST", r"/cvms$"),
        ("GET", r"/state"),
        ("POST", r"/stop$"),
        ("POST", r"/start$"),
        ("POST", r"/restart$"),
        ("POST", r"/replicas$"),
        ("DELETE", r"/cvms/"),
    ):
        assert our_requests(fresh_cloud, method, path), (method, path)
    assert fresh_cloud.api_key not in json.dumps(notebook)
    assert "nothing" in notebook.cells[-1].outputs[-1]["text"]


def test_it_runs_twice_in_one_workspace_and_leaves_nothing(env):
    from cvm_notebook import Client

    with Client(env["PHALA_CLOUD_API_KEY"], env["PHALA_CLOUD_API_PREFIX"]) as client:
        before = {c.id for c in client.list_cvms()}
        run(FIRST, env)
        run(FIRST, env)
        left = {c.id for c in client.list_cvms() if c.status != "deleting"}
    assert left <= before


def test_its_last_cell_may_be_run_again(env):
    notebook = nbformat.read(FIRST, as_version=4)
    last = notebook.cells[-1]
    notebook.cells = [c for c in notebook.cells if "replicate_cvm" not in c.source]
    again = nbformat.v4.new_code_cell(last.source)
    notebook.cells.append(again)
    NotebookClient(notebook, timeout=WITHIN, store_widget_state=False).execute(env=env)
    assert "deleted" not in said(nbformat.v4.new_notebook(cells=[again]))


def test_connect_local_starts_a_cloud_where_none_runs(env, tmp_path):
    for name in ("PHALA_CLOUD_API_PREFIX", "PHALA_CLOUD_API_KEY"):
        del env[name]
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        env[name] = str(tmp_path)
    notebook, took = run(FIRST, env)
    assert took < WITHIN
    assert "127.0.0.1" in said(notebook)


def test_papermill_runs_it_with_a_parameter(env, tmp_path):
    out = tmp_path / "out.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(FIRST), str(out), "-p", "target", "local"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    executed = nbformat.read(out, as_version=4)
    injected = [c for c in executed.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert [c.source for c in injected] == ['# Parameters\ntarget = "local"\n']
    assert env["PHALA_CLOUD_API_KEY"] not in out.read_text()


@every_notebook
def test_it_is_committed_as_executed_without_an_error(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    assert not [o for c in code for o in c.outputs if o.get("name") == "stderr"]


@every_notebook
def test_it_holds_no_key_no_widget_state_and_no_trace_of_a_machine(path):
    text = path.read_text()
    assert not re.search(r"phak_[A-Za-z0-9_-]{8,}", text)
    assert "widget-state" not in text
    assert not re.search(r"/(home|root|tmp|Users|work|opt)/", text)
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(set(c["metadata"]) <= {"tags"} for c in notebook["cells"])
    assert [c["id"] for c in notebook["cells"]] == [
        f"cell-{n:02d}" for n in range(1, len(notebook["cells"]) + 1)
    ]


@every_notebook
def test_its_parameters_can_be_set_from_outside(path):
    tagged = [
        c.source
        for c in nbformat.read(path, as_version=4).cells
        if "parameters" in c.metadata.get("tags", [])
    ]
    assert len(tagged) == 1
    assert tagged[0].startswith('target = "local"')
