"""The notebooks in a real JupyterLab, Run All; and the report as a browser opens it."""

import argparse
import json
from pathlib import Path

import nbformat
import pytest

from cvm_notebook import Client
from cvm_notebook.cli import report as cli_report

ROOT = Path(__file__).resolve().parents[2]
PICTURES = Path(__file__).parent / "screenshots"
PATIENCE = 40_000


@pytest.fixture
def opened(lab):
    """Open a notebook of the repository without its outputs, and run all of it."""

    def run(stem):
        notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, lab.server.folder / f"{stem}.ipynb")
        page = lab.open(f"{stem}.ipynb").run_all().page  # fails when a cell raises
        outputs = [one for cell in lab.cells() for one in cell.get("outputs", [])]
        assert not [one for one in outputs if one.get("name") == "stderr"]
        return page, json.dumps(outputs)

    return run


def test_deploy_draws_its_form_and_its_box_and_leaves_its_card_live(lab, opened, lab_cloud):
    page, said = opened("04_deploy")
    form = page.locator(".cvm-form")
    form.scroll_into_view_if_needed(timeout=PATIENCE)
    form.get_by_text("nothing is paid before the commit").wait_for(timeout=PATIENCE)
    assert form.get_by_label("Name", exact=True).input_value() == "hello-form"
    box = page.locator('.jp-OutputArea-output input[type="password"]').first
    box.wait_for(timeout=PATIENCE)
    card = page.locator(".cvm-card", has=page.get_by_role("heading", name="hello-calls"))
    card.locator('.cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)
    assert "Dry run: nothing runs" in said
    assert lab_cloud.api_key not in said
    with Client(lab_cloud.api_key, lab_cloud.url) as client:  # the cloud is shared with other tests
        for name in ("hello-calls", "hello-magic"):
            client.delete_cvm(name)


def test_cost_and_idle_draws_its_pictures(lab, opened):
    page, said = opened("05_cost_and_idle")
    pictures = page.locator(".jp-OutputArea-output img")
    assert pictures.count() == 2
    for picture in pictures.all():
        assert picture.evaluate("one => one.complete && one.naturalWidth > 400")
    assert "stops now" in said


def test_bulk_operations_end_an_interrupted_plan_and_leave_nothing(lab, opened):
    page, said = opened("07_bulk_operations")
    assert "plan.resume() sends the rest" in said
    assert "'failed': 2" in said
    assert "left of this notebook: nothing" in said
    plan = page.get_by_text("restart 5 of 6 CVMs, 1 refused")
    plan.scroll_into_view_if_needed(timeout=PATIENCE)
    assert page.locator(".jp-OutputArea-output img").count() == 1


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
        picture = page.get_by_role("img", name="CVMs by status: of each region")
        assert picture.evaluate("one => one.complete && one.naturalWidth > 400")
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        PICTURES.mkdir(exist_ok=True)
        page.screenshot(path=PICTURES / f"report-{scheme}.png", full_page=True)
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
