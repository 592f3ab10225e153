"""The notebooks run from top to bottom against LocalCloud, and are committed as executed."""

import functools
import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from cvm_notebook import Client

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITHIN = 60
BUSY = {"provisioning", "starting", "restarting", "stopping", "shutting_down"}
# what changes nothing, though it is posted
READS = re.compile(r"GET .*|POST .*/status/batch")
READ_ONLY = {
    *("05_cost_and_idle", "06_drift_and_attestation", "08_verify", "90_fleet_report", "dashboard")
}
SECRET = "sentinel-4f1c9e"
# what a notebook is about, as requests; nothing where it has a cloud of its own
ASKS = {
    "00_start_here": (
        *("POST .*/cvms/provision", "POST .*/cvms", "POST .*/stop", "DELETE .*/cvms/[^/]+"),
    ),
    "01_first_cvm": (
        *("POST .*/cvms/provision", "POST .*/cvms", "GET .*/state", "POST .*/stop"),
        *("POST .*/start", "POST .*/restart", "POST .*/replicas", "DELETE .*/cvms/[^/]+"),
    ),
    "02_live_fleet": ("POST .*/batch-stop", "POST .*/start"),
    "03_explore_with_pandas": ("POST .*/stop", "POST .*/start"),
    "04_deploy": ("POST .*/cvms/provision", "POST .*/cvms", "DELETE .*/cvms/[^/]+"),
    "05_cost_and_idle": ("GET .*/stats",),
    "06_drift_and_attestation": ("GET .*/attestation", "GET .*/compose_file"),
    "08_verify": ("GET .*/apps/.*/attestations", "GET .*/attestations/collateral/.*"),
    "09_change_and_roll_back": (
        *("PATCH .*/cvms/[^/]+", "POST .*/replicas", "GET .*/apps/.*/revisions"),
        *("POST .*/revisions/[^/]+/redeploy", "DELETE .*/cvms/[^/]+"),
    ),
    "90_fleet_report": (
        "GET .*/attestations",
        "GET .*/attestations/collateral/.*",
        "GET .*/operations",
    ),
}
SAYS = {
    "00_start_here": ("left of this notebook: nothing",),
    "01_first_cvm": ("same software: True", "left of this notebook: nothing"),
    # some have stopped by the time that it is shown
    "02_live_fleet": (re.compile(r"<Outcome: (3 (accepted|reached)|[12] \w+, [12] \w+)>"),),
    "04_deploy": ("starting containers", "['API_TOKEN']", "left of this notebook: nothing"),
    "05_cost_and_idle": ("stops now", " saved"),
    "06_drift_and_attestation": ("env.FEATURE_FLAG", "its own: hash_matched", "another's: failed"),
    "07_bulk_operations": (
        *("confirm='restart 3'", "'failed': 2", "'refused': 1", "<Outcome: 2 reached>"),
        *("3 requests for 3 CVMs, though 3 answers were lost", "plan.resume() sends the rest"),
        "left of this notebook: nothing",
    ),
    "08_verify": (
        *("SIMULATED (7 pass", "FAILED at app: its Docker Compose file is not the declared one"),
        *("fail → pass (ConfigurationNeeded", "FAILED at bundle: app_compose altered"),
        "not verified, nor simulated: 5",
    ),
    "09_change_and_roll_back": (
        *("TOKEN would be lost", "Nothing differed, and nothing was sent", "3 of 3 as wanted"),
        *("2 untouched. Stopped: roll-shop", "Rollback of roll-shop: 1 of 1 as wanted"),
        *("0 of 3 to change", "left of this notebook: nothing"),
    ),
    "90_fleet_report": ("✓", "failed to start containers", "SIMULATED"),
}

# what they are run with on the demo's fleet; all others with target=None
GIVEN = {
    # what a person is shown stays, unless it is asked for
    **{stem: {"clean_up": True} for stem in ("00_start_here", "04_deploy")},
    "05_cost_and_idle": {},
    "06_drift_and_attestation": {},
    "07_bulk_operations": {"count": 4, "prefix": "few"},  # on a cloud of its own
    "90_fleet_report": {},
}
# what they are run with where there is no CVM at all; tests/test_report.py does so with the report
PARAMETERS = {
    "05_cost_and_idle": {"target": None, "idle_below": 0.5},
    "06_drift_and_attestation": {"target": None},
}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def run(notebook, folder):
    """Execute a notebook in a kernel."""
    client = NotebookClient(notebook, timeout=WITHIN, store_widget_state=False)
    client.execute(cwd=str(folder))
    return notebook


def run_with(given, notebook, cloud, folder):
    """Execute a notebook by papermill with these parameters, and look that it has got them."""
    before, after = folder / "in.ipynb", folder / "out.ipynb"
    nbformat.write(notebook, before)
    executed = papermill.execute_notebook(
        *(str(before), str(after), given),
        kernel_name="python3",
        cwd=str(folder),
        progress_bar=False,
        execution_timeout=WITHIN,
    )
    injected = [
        cell.source
        for cell in executed.cells
        if "injected-parameters" in cell.metadata.get("tags", [])
    ]
    assert len(injected) == bool(given)
    for name, value in given.items():
        assert f"{name} = {value!r}".replace("'", '"') in injected[0]
    assert cloud.api_key not in after.read_text()
    return executed


@functools.cache
def committed(path):
    """Return a notebook as it is in the repository; it is not to be changed."""
    return nbformat.read(path, as_version=4)


def output_of(notebook):
    """Everything the cells of a notebook showed, as one text."""
    return "".join(
        output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )


def prepared(path):
    """Return a notebook that deletes twice what it made, with a secret that can be looked for."""
    notebook = nbformat.read(path, as_version=4)
    again = [cell for cell in notebook.cells if "left of this notebook" in cell.source]
    for cell in again:
        place = notebook.cells.index(cell)
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(cell.source))
    for cell in notebook.cells:
        cell.source = cell.source.replace("secrets.token_urlsafe(24)", f'"{SECRET}"')
    return notebook


def statuses(cloud):
    with Client(cloud.api_key, cloud.url) as client:
        return {cvm.name: cvm.status for cvm in client.list_cvms()}


def asked(cloud):
    return [f"{one['method']} {one['path'].partition('?')[0]}" for one in cloud.requests()]


@every_notebook
@pytest.mark.cvm_cloud(seed="demo", speed=200)
def test_it_does_what_it_says_and_leaves_the_fleet_as_it_was(path, kernel_cloud, tmp_path):
    before = statuses(kernel_cloud)
    given = GIVEN.get(path.stem, {"target": None})
    notebook = run_with(given, prepared(path), kernel_cloud, tmp_path)
    requests = asked(kernel_cloud)
    after = statuses(kernel_cloud)

    settled = {name for name in before if not {before[name], after.get(name)} & BUSY}
    assert len(settled) > 30
    assert {name: after.get(name) for name in settled} == {name: before[name] for name in settled}
    assert {name for name in after if after[name] != "deleting"} == before.keys()
    for pattern in ASKS.get(path.stem, ()):
        assert [one for one in requests if re.fullmatch(pattern, one)], pattern
    if path.stem in READ_ONLY or path.stem not in ASKS:
        assert [one for one in requests if not READS.fullmatch(one)] == []

    text = output_of(notebook)
    for words in SAYS.get(path.stem, ()):
        assert re.search(words if isinstance(words, re.Pattern) else re.escape(words), text), words
    assert not [
        o for c in notebook.cells for o in c.get("outputs", ()) if o.get("name") == "stderr"
    ]
    assert kernel_cloud.api_key not in json.dumps(notebook)
    assert SECRET not in text
    assert list(tmp_path.glob("*.parquet")) == []


@pytest.mark.parametrize("stem", PARAMETERS)
@pytest.mark.cvm_cloud(speed=200)
def test_it_runs_with_its_parameters_where_there_is_no_cvm(stem, kernel_cloud, tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    run_with(PARAMETERS[stem], notebook, kernel_cloud, tmp_path)


def test_no_notebook_closes_a_fleet_whose_views_it_shows():
    for path in NOTEBOOKS:
        cells = [c for c in committed(path).cells if c.cell_type == "code"]
        shown = [
            cell
            for cell in cells
            if "snapshot of" in output_of(nbformat.v4.new_notebook(cells=[cell]))
        ]
        closes = [cell.source for cell in cells if "fleet.close()" in cell.source]
        assert not shown or not closes, path.stem


@pytest.mark.cvm_cloud(speed=200)
@pytest.mark.parametrize("stem", ["00_start_here", "04_deploy"])
def test_a_second_run_makes_no_fault_of_what_the_first_has_left(stem, kernel_cloud, tmp_path):
    given = {"target": None, **({"prefix": "of-a-test"} if stem == "04_deploy" else {})}
    for _ in range(2):  # the first where there is no CVM at all
        notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        executed = run_with(given, notebook, kernel_cloud, tmp_path)
    assert "left of this notebook: nothing" not in output_of(executed)
    assert statuses(kernel_cloud)


@pytest.mark.usefixtures("forked_kernels")
def test_connect_local_starts_a_cloud_where_none_runs(tmp_path, monkeypatch):
    for name in ("PHALA_CLOUD_API_PREFIX", "PHALA_CLOUD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    notebook = nbformat.read(ROOT / "notebooks" / "dashboard.ipynb", as_version=4)
    shown = nbformat.v4.new_code_cell("print(client.base_url, len(board.fleet.frame()))")
    notebook.cells.insert(-1, shown)
    run(notebook, tmp_path)
    assert re.search(r"http://127\.0\.0\.1:\d+/api/v1 40\n", output_of(notebook))


def test_of_simulated_cvms_nothing_is_shown_as_verified():
    cells = committed(ROOT / "notebooks" / "08_verify.ipynb").cells
    shown = output_of(nbformat.v4.new_notebook(cells=cells))
    assert "SIMULATED" in shown
    assert "no hardware" in shown
    assert not re.search(r"(?<!not )\bverified\b", shown, re.IGNORECASE)


@every_notebook
def test_it_is_committed_as_executed_without_an_error(path):
    notebook = committed(path)
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
    tagged = [c.source for c in committed(path).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].startswith('target = "local"')


@every_notebook
def test_what_it_shows_can_be_seen_without_a_kernel(path):
    outputs = [o for c in committed(path).cells for o in c.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "text/html" in kinds
    assert not {kind for kind in kinds if "widget" in kind or "javascript" in kind}
    if path.stem not in {"00_start_here", "dashboard"}:
        assert "image/png" in kinds
