"""Notebooks in a real JupyterLab, Run All; and the report as a browser opens it.

The one in which somebody types a secret is run in test_secrets_lab.
"""

import argparse
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from helpers import picture, until
from playwright.sync_api import expect

from cvm_notebook.cli import report as cli_report

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40_000
DRAWN = "one => one.complete && one.naturalWidth > 400"


def test_cost_and_idle_draws_its_pictures(lab):
    notebook = nbformat.read(ROOT / "notebooks" / "05_cost_and_idle.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, lab.server.folder / "05_cost_and_idle.ipynb")
    page = lab.open("05_cost_and_idle.ipynb").run_all().page  # fails when a cell raises
    outputs = [one for cell in lab.cells() for one in cell.get("outputs", [])]
    assert not [one for one in outputs if one.get("name") == "stderr"]
    pictures = page.locator(".jp-OutputArea-output img")
    expect(pictures).to_have_count(2)
    for one in pictures.all():
        until(lambda one=one: one.evaluate(DRAWN))
    assert "stops now" in json.dumps(outputs)


def test_a_notebook_as_it_is_committed_shows_its_plan_and_its_picture(lab):
    shutil.copy(ROOT / "notebooks" / "07_bulk_operations.ipynb", lab.server.folder)
    page = lab.open("07_bulk_operations.ipynb").page
    page.set_viewport_size({"width": 1400, "height": 6000})  # JupyterLab draws what can be seen
    page.get_by_text("restart 5 of 6 CVMs, 1 refused").wait_for(timeout=PATIENCE)
    drawn = page.locator(".jp-OutputArea-output img")
    drawn.wait_for(timeout=PATIENCE)
    until(lambda: drawn.evaluate(DRAWN))
    page.set_viewport_size({"width": 1400, "height": 1000})


@pytest.fixture
def reported(lab_cloud, tmp_path, monkeypatch):
    """A report of a fleet that breaks a limit."""
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", lab_cloud.url)
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", lab_cloud.api_key)
    output = tmp_path / "report.html"
    asked = argparse.Namespace(output=output, target=None, parameters=["max_failed=0", "attest=3"])
    assert cli_report.report(asked) == cli_report.GATES_FAILED
    return output


def test_the_report_is_a_page_that_asks_for_nothing_and_runs_nothing(reported, browser):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    requests, blocked = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: blocked.append((request.url, request.failure)))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(reported.as_uri())
        page.get_by_role("alert").get_by_text("1 of 5 gates failed: failed").wait_for()
        bars = page.get_by_role("img", name="CVMs by status: of each region")
        until(lambda bars=bars: bars.evaluate(DRAWN))
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        picture(page, f"report-{scheme}")
    assert {url for url in requests if not url.startswith("data:")} == {reported.as_uri()}

    bad = (
        "<script>document.title = 'run'</script><img src='https://192.0.2.1/x.png' "
        "onerror=\"document.title = 'run'\"><link rel=stylesheet href='https://192.0.2.1/x.css'>"
    )
    reported.write_text(reported.read_text().replace("</main>", f"{bad}</main>"))
    page.goto(reported.as_uri())
    page.wait_for_load_state("load")
    assert page.title() == "Fleet report"
    assert sorted(blocked) == [
        ("https://192.0.2.1/x.css", "csp"),
        ("https://192.0.2.1/x.png", "csp"),
    ]
    context.close()
