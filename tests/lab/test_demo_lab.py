"""What a stranger sees: `cvm-notebook demo`, its notebook in a real JupyterLab, Run All."""

import contextlib
import os
import re
import subprocess
import sys
import threading

import pytest
from helpers import picture
from playwright.sync_api import expect

STARTS_WITHIN = 90
LOADS_WITHIN = 90_000  # milliseconds, as playwright counts
RUNS_WITHIN = 180_000


@pytest.fixture
def demo(tmp_path):
    """`cvm-notebook demo` as a user starts it; the address it prints."""
    env = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "HOME": str(tmp_path / "home"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
    }
    (tmp_path / "home").mkdir()
    command = ["demo", "--no-browser", "--port", "0", "--dir", str(tmp_path / "notebooks")]
    process = subprocess.Popen(
        [sys.executable, "-m", "cvm_notebook.cli.main", *command],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(STARTS_WITHIN, process.kill)
    late.start()
    try:
        output = []
        for line in process.stdout:
            output.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/lab\S+", line):
                yield address[0]
                break
        else:
            pytest.fail("the demo ended without an address:\n" + "".join(output))
    finally:
        late.cancel()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.stdout.close()


def test_run_all_in_jupyterlab_ends_in_a_dashboard_and_cards_that_are_live(demo, page):
    page.goto(demo, timeout=LOADS_WITHIN)
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.get_by_role("heading", name="Start here").wait_for(timeout=LOADS_WITHIN)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(
        timeout=LOADS_WITHIN
    )
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)  # it opens as it was left

    # nothing of what was committed shall pass for a result of this run
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    notebook.locator(".jp-OutputArea-output").first.wait_for(state="detached")

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    notebook.get_by_text("left of this notebook: hello").wait_for(timeout=RUNS_WITHIN)

    # Run All ends in views that go on
    for view in (".cvm-table", ".cvm-card"):
        badges = notebook.locator(f"{view} .cvm-health")
        badges.first.scroll_into_view_if_needed(timeout=LOADS_WITHIN)
        badges.and_(notebook.locator('[data-state="live"]')).first.wait_for(timeout=LOADS_WITHIN)
    card = notebook.locator(".cvm-card", has=page.get_by_role("heading", name="hello"))
    card.locator('.cvm-status[data-status="stopped"]').first.wait_for(timeout=LOADS_WITHIN)
    shown = page.evaluate(
        """() => [...document.querySelectorAll('.jp-NotebookPanel .jp-OutputArea-output')]
                 .map(output => output.textContent).join('\\n')"""
    )
    for word in ("closed", "gone", "Traceback"):
        assert word not in shown, word
    expect(notebook.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_have_count(0)
    notebook.get_by_role("heading", name="See the fleet").scroll_into_view_if_needed()
    picture(page, "demo")
