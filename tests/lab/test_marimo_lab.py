"""marimo: a fleet, a CVM, the form, the login and the dashboard are live, with what each opens."""

import os
import re
import subprocess
import sys
import threading

import pytest
from helpers import picture

from cvm_notebook import Client

STARTS_WITHIN = 90
PATIENCE = 40_000  # milliseconds, as playwright counts
NOTEBOOK = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import cvm_notebook as cvm
    client = cvm.connect()
    fleet = cvm.Fleet(client)
    return client, cvm, fleet


@app.cell
def _(fleet):
    fleet
    return


@app.cell
def _(fleet):
    fleet["observability"]
    return


@app.cell
def _(fleet):
    fleet.deploy(name="from-marimo")
    return


@app.cell
def _(cvm):
    cvm.login()
    return


@app.cell
def _(client, cvm):
    cvm.dashboard(client)
    return


@app.cell
def _(cvm):
    stranger = cvm.Fleet(cvm.Client(api_key="phak_wrong"))
    stranger
    return
"""


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="demo", speed=100) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def marimo(cloud, tmp_path_factory):
    """The address at which marimo serves the notebook as an app."""
    folder = tmp_path_factory.mktemp("marimo")
    (folder / "fleet.py").write_text(NOTEBOOK)
    serve = ["run", "--headless", "--no-token", "--host", "127.0.0.1", "fleet.py"]
    process = subprocess.Popen(
        [sys.executable, "-m", "marimo", *serve],
        env={
            **os.environ,
            "PHALA_CLOUD_API_PREFIX": cloud.url,
            "PHALA_CLOUD_API_KEY": cloud.api_key,
            "HOME": str(folder),
            "MARIMO_SKIP_UPDATE_CHECK": "1",
            "PYTHONUNBUFFERED": "1",
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(STARTS_WITHIN, process.kill)
    late.start()
    told = []
    for line in process.stdout:
        told.append(line)
        if port := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)", line):
            break
    else:
        pytest.fail("marimo ended without an address:\n" + "".join(told))
    late.cancel()
    rest = threading.Thread(target=process.stdout.read)  # or it would wait for a reader
    rest.start()
    yield f"http://127.0.0.1:{port[1]}"
    process.terminate()
    process.wait(10)
    rest.join()
    process.stdout.close()


def live(view):
    view.locator('.cvm-health[data-state="live"]').first.wait_for(timeout=PATIENCE)


def test_each_view_is_live_and_what_is_clicked_is_done(marimo, page, cloud):
    page.goto(marimo)
    page.locator(".cvm-dashboard .cvm-row").first.wait_for(timeout=PATIENCE)
    table_card_and_form_are_live_and_act(page, cloud)
    the_dashboard_shows_the_card_of_a_row_and_the_card_its_form(page)
    a_key_that_is_given_in_a_table_is_taken(page, cloud)
    picture(page, "marimo")


def table_card_and_form_are_live_and_act(app, cloud):
    table, card = app.locator(".cvm-table").first, app.locator(".cvm-card").first
    for view in (table, card, app.locator(".cvm-form").first, app.locator(".cvm-dashboard")):
        live(view)
    app.locator(".cvm-login").get_by_text("Signed in to Phala Cloud").wait_for(timeout=PATIENCE)
    card.get_by_role("button", name="Restart", exact=True).click()
    card.locator(".cvm-ops").get_by_text("restart: done").wait_for(timeout=PATIENCE)

    form = app.locator(".cvm-form").first
    form.get_by_role("button", name="nginx").click()
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_role("button", name="Deploy (").click()
    form.get_by_text("from-marimo is running").wait_for(timeout=PATIENCE)
    form.get_by_role("button", name="Open card").click()
    live(form.locator(".cvm-form-below .cvm-card"))

    table.locator(".cvm-find").fill("agent-echo")
    table.get_by_text("showing 1 of").wait_for(timeout=PATIENCE)
    table.locator(".cvm-space .cvm-row:not([hidden])").first.dblclick()
    details = table.locator(".cvm-table-details .cvm-card")
    live(details)
    details.get_by_role("button", name="Stop", exact=True).click()
    details.locator('.cvm-big[data-status="stopped"]').wait_for(timeout=PATIENCE)
    with Client(cloud.api_key, cloud.url) as client:
        assert client.get_cvm_state("agent-echo").status == "stopped"


def the_dashboard_shows_the_card_of_a_row_and_the_card_its_form(app):
    board = app.locator(".cvm-dashboard")
    for name in ("vault-sync-2", "vault-sync-1"):
        board.locator(".cvm-space .cvm-row:not([hidden])").filter(has_text=name).click()
        board.get_by_role("heading", name=name).wait_for(timeout=PATIENCE)
    card = board.locator(".cvm-card")
    live(card)
    card.get_by_role("button", name="Change this CVM").click()
    form = card.locator(".cvm-form")
    form.get_by_text("Nothing is sent before the preview").wait_for(timeout=PATIENCE)
    form.get_by_role("button", name="Preview", exact=True).click()
    form.get_by_text("Nothing differs").or_(form.get_by_text("nothing differs")).first.wait_for(
        timeout=PATIENCE
    )


def a_key_that_is_given_in_a_table_is_taken(app, cloud):
    box = app.locator(".cvm-sign-in:visible")
    box.get_by_text("Invalid or expired token").wait_for(timeout=PATIENCE)
    box.get_by_label("API key").fill(cloud.api_key)
    box.get_by_role("button", name="Sign in").click()
    box.wait_for(state="hidden", timeout=PATIENCE)
    stranger = app.locator(".cvm-table").last
    live(stranger)
    stranger.get_by_role("button", name=re.compile(r"^All \d\d$")).wait_for(timeout=PATIENCE)
