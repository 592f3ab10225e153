"""What a stranger sees: `cvm-notebook demo`, the first notebook in a real JupyterLab, Run All."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 90
RUNS_WITHIN = 180_000  # milliseconds, as playwright counts


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
        told = []
        for line in process.stdout:
            told.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/lab\S+", line):
                yield address[0]
                break
        else:
            pytest.fail("the demo ended without an address:\n" + "".join(told))
    finally:
        late.cancel()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.stdout.close()


def test_run_all_in_jupyterlab_shows_the_life_of_a_cvm(demo, page):
    page.goto(demo)
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.get_by_role("heading", name="Your first CVM").wait_for(timeout=1000 * STARTS_WITHIN)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(
        timeout=1000 * STARTS_WITHIN
    )

    # nothing of what was committed shall pass for a result of this run
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    notebook.locator(".jp-OutputArea-output").first.wait_for(state="detached")

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    ended = notebook.get_by_text("left of this notebook: nothing", exact=False)
    ended.wait_for(timeout=RUNS_WITHIN)

    shown = page.evaluate(
        """() => [...document.querySelectorAll('.jp-NotebookPanel .jp-OutputArea-output')]
                 .map(output => output.textContent).join('\\n')"""
    )
    for word in ("compose hash", "provisioning", "running", "stopped", "same software: True"):
        assert word in shown, f"{word!r} is not among the results"
    fleet = notebook.locator("table.dataframe", has=page.get_by_text("rate_usd_h", exact=True))
    assert fleet.first.locator("tbody tr").count() == 8
    picture = notebook.locator(".jp-OutputArea-output img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 400")
    assert notebook.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    assert "Traceback" not in shown
