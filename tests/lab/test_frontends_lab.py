"""Every front end: table, card, form, dashboard and login are live there, and do what is clicked.

One notebook with all of them for each front end, and one walk through it.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import COMPOSE, until
from playwright.sync_api import expect

from cvm_notebook import Client

PATIENCE = 60_000  # milliseconds, as playwright counts
STARTS_WITHIN = 90
PICTURES = Path(__file__).parent / "screenshots"
TALL = {"width": 1400, "height": 3600}  # nothing is out of sight: a notebook may leave that undrawn

TWICE = """() => [...document.querySelectorAll('.cvm [id]')].map(one => one.id)
    .filter((id, at, all) => all.indexOf(id) < at)"""


def cells(place):
    """Return the code of a notebook with each view, by what a selector finds when it is there."""
    begin = "import cvm_notebook as cvm\nclient = cvm.connect()\nfleet = cvm.Fleet(client)\nfleet"
    return {
        begin: ".cvm-table .cvm-health[data-state=live]",
        f'fleet["{place}-here"]': ".cvm-card[data-live=true]",
        f'fleet.deploy(name="{place}-made")': ".cvm-form button:text('nginx')",
        "cvm.login()": ".cvm-login[data-status=in]",
        "cvm.dashboard(client)": ".cvm-dashboard .cvm-health[data-state=live]",
    }


@pytest.fixture
def client(lab_cloud):
    with Client(lab_cloud.api_key, lab_cloud.url) as client:
        yield client


@pytest.fixture
def place(request, client):
    """The front end of the test, in the names of its CVMs; one of them runs already."""
    place = request.node.name.removeprefix("test_").replace("_", "-")
    offer = client.provision_cvm(name=f"{place}-here", compose_file=COMPOSE)
    client.commit_cvm_provision(offer)
    client.watch_cvm_state(f"{place}-here", target="running")
    return place


def row(view, name):
    return view.locator(f'.cvm-space .cvm-row:not([hidden]):has-text("{name}")').first


def shows(view, name, status):
    row(view, name).locator(f'[data-status="{status}"]').wait_for(timeout=PATIENCE)


def press(view, name):
    view.get_by_role("button", name=name, exact=True).first.click()


def serve_marimo(folder, cloud, codes):
    """Serve a notebook of these cells as an app of marimo; return the process and its address."""
    head = "import marimo\n\napp = marimo.App(width='full')\n"
    gives = "\n    return client, cvm, fleet\n"
    parts = [
        f"\n@app.cell\ndef _({'client, cvm, fleet' if at else ''}):\n    "
        + code.replace("\n", "\n    ")
        + ("\n    return\n" if at else gives)
        for at, code in enumerate(codes)
    ]
    (folder / "all.py").write_text(head + "".join(parts))
    serve = ["run", "--headless", "--no-token", "--host", "127.0.0.1", "all.py"]
    more = {
        "PHALA_CLOUD_API_PREFIX": cloud.url,
        "PHALA_CLOUD_API_KEY": cloud.api_key,
        "HOME": str(folder),
        "MARIMO_SKIP_UPDATE_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "marimo", *serve],
        env={**os.environ, **more},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(STARTS_WITHIN, process.kill)
    late.start()
    output = []
    for line in process.stdout:
        output.append(line)
        if found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)", line):
            break
    else:
        pytest.fail("marimo ended without an address:\n" + "".join(output))
    late.cancel()
    until(lambda: listens(int(found[1])))  # it tells its address before
    return process, f"http://127.0.0.1:{found[1]}"


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True


class Walk:
    """Through the views of one page, each live and each of use."""

    def __init__(self, page, cloud, client, place):
        self.page, self.cloud, self.client, self.place = page, cloud, client, place
        self.here, self.made = f"{place}-here", f"{place}-made"
        page.set_viewport_size(TALL)
        page.set_default_timeout(PATIENCE)
        self.table, self.card = page.locator(".cvm-table").first, page.locator(".cvm-card").first
        self.form, self.board = page.locator(".cvm-form").first, page.locator(".cvm-dashboard")
        self.login = page.locator(".cvm-login")

    def all(self):
        self.look()
        self.act()

    def look(self):
        self.each_is_live()
        self.what_happens_elsewhere_is_seen()

    def act(self):
        self.what_is_clicked_is_done()
        self.a_cvm_is_made()
        self.the_dashboard_shows_a_card()
        self.a_key_is_given_and_hidden()
        assert self.page.evaluate(TWICE) == []

    def each_is_live(self):
        for view in (self.table, self.card, self.form, self.board):
            view.locator('.cvm-health[data-state="live"]').first.wait_for()
        self.login.get_by_text("Signed in to a cloud on this machine").wait_for()

    def what_happens_elsewhere_is_seen(self):
        for view in (self.table, self.board):
            view.get_by_role("searchbox").first.fill(self.place)
            shows(view, self.here, "running")
        self.client.stop_cvm(self.here)
        for view in (self.table, self.board):
            shows(view, self.here, "stopped")
        self.card.locator('.cvm-big[data-status="stopped"]').wait_for()

    def what_is_clicked_is_done(self):
        row(self.table, self.here).click()
        press(self.table, "Start")
        self.client.watch_cvm_state(self.here, target="running")
        self.card.locator('.cvm-big[data-status="running"]').wait_for()
        press(self.card, "Restart")
        self.card.locator(".cvm-ops").get_by_text("restart: done").wait_for()

    def a_cvm_is_made(self):
        press(self.form, "nginx")
        press(self.form, "Check price and placement")
        self.form.get_by_role("button", name="Deploy (").click()
        self.form.get_by_text(f"{self.made} is running").wait_for()
        for view in (self.table, self.board):
            shows(view, self.made, "running")

    def the_dashboard_shows_a_card(self):
        row(self.board, self.made).click()
        self.board.get_by_role("heading", name=self.made, exact=True).wait_for()
        card = self.board.locator('.cvm-card[data-live="true"]')
        press(card, "Stop")
        card.locator('.cvm-big[data-status="stopped"]').wait_for()
        assert self.client.get_cvm_state(self.made).status == "stopped"

    def a_key_is_given_and_hidden(self):
        self.key = self.cloud.new_workspace(f"Of {self.place}")["api_key"]
        self.login.get_by_text("Use another key").click()
        box = self.login.get_by_label("API key")
        expect(box).to_have_attribute("type", "password")
        box.fill(self.key)
        press(self.login, "Sign in")
        self.login.get_by_text(f"Of {self.place}, ENTERPRISE").wait_for()
        expect(box).to_have_value("")
        assert self.key not in self.page.content()


def test_notebook_7(lab, lab_cloud, client, place):
    codes = [*cells(place), "import time\ntime.sleep(300)"]
    lab.open("all-notebook.ipynb", codes, "notebook")
    walk = Walk(lab.page, lab_cloud, client, place)
    lab.run_all(wait=False)
    walk.look()  # the kernel is busy, and its changes still come
    assert lab.cells()[-1]["execution_count"] is None
    lab._in_page("await panel.sessionContext.session.kernel.interrupt(); return null")
    walk.act()
    lab.screenshot("all-notebook")
    assert walk.key not in str(lab.save().notebook_json())


def test_nbclassic(lab, lab_cloud, client, place):
    walk = Walk(lab.classic("all-nbclassic.ipynb", cells(place)).page, lab_cloud, client, place)
    walk.all()
    lab.screenshot("all-nbclassic")


def test_voila(lab, lab_cloud, client, place):
    walk = Walk(lab.voila("all-voila.ipynb", cells(place)).page, lab_cloud, client, place)
    lab.shows(*(walk.page.locator(selector) for selector in cells(place).values()))
    walk.all()
    lab.screenshot("all-voila")
    expect(walk.page.locator(".jp-InputArea:visible")).to_have_count(0)  # an app, without its code
    walk.page.set_viewport_size({**TALL, "width": 700})
    lab.screenshot("all-voila-700")
    card, badge = (
        walk.board.locator(where).first.bounding_box()
        for where in (".cvm-card", ".cvm-card .cvm-health")
    )
    assert card["x"] + card["width"] - (badge["x"] + badge["width"]) < 40
    wide = walk.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"the page is {wide} px wider than a screen of 700"


@pytest.fixture
def marimo(tmp_path, lab_cloud, place):
    """The address of an app of marimo; it ends after the page, which would go on asking."""
    stranger = "stranger = cvm.Fleet(cvm.Client(api_key='phak_wrong'))\nstranger"
    process, address = serve_marimo(tmp_path, lab_cloud, [*cells(place), stranger])
    rest = threading.Thread(target=process.stdout.read)  # or it would wait for a reader
    rest.start()
    yield address
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()
    rest.join()
    process.stdout.close()


def test_marimo(marimo, page, lab_cloud, client, place):
    page.goto(marimo, timeout=PATIENCE)
    walk = Walk(page, lab_cloud, client, place)
    walk.all()
    what_a_view_opens_is_live(walk)
    a_key_that_is_given_in_a_table_is_taken(page, lab_cloud)
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / "all-marimo.png", animations="disabled")


def what_a_view_opens_is_live(walk):
    """Without a manager of widgets: what a view shows within it comes by way of that view."""
    press(walk.form, "Open card")
    walk.form.locator(".cvm-form-below .cvm-card[data-live=true]").wait_for()
    row(walk.table, walk.here).dblclick()
    walk.table.locator(".cvm-table-details .cvm-card[data-live=true]").wait_for()
    card = walk.board.locator(".cvm-card")
    card.get_by_role("button", name="Change this CVM").click()
    form = card.locator(".cvm-form")
    form.get_by_text("Nothing is sent before the preview").wait_for()
    press(form, "Preview")
    form.get_by_text(re.compile("nothing differs", re.IGNORECASE)).first.wait_for()


def a_key_that_is_given_in_a_table_is_taken(page, cloud):
    box = page.locator(".cvm-sign-in:visible")
    box.get_by_text("Invalid or expired token").wait_for()
    stranger = page.locator(".cvm-table").last
    expect(stranger.locator(".cvm-rate")).to_be_hidden()  # nothing is known: it is not 0.00 USD/h
    box.get_by_label("API key").fill(cloud.api_key)
    press(box, "Sign in")
    box.wait_for(state="hidden")
    stranger.locator(".cvm-rate").wait_for()
    stranger.locator(".cvm-health[data-state=live]").wait_for()
    stranger.get_by_role("button", name=re.compile(r"^All \d+$")).wait_for()


def test_two_windows(windows, lab_cloud, client, place):
    one, two = windows
    one.open("all-windows.ipynb", list(cells(place)))
    first = Walk(one.page, lab_cloud, client, place)
    one.run_all()
    first.each_is_live()
    two.open("all-windows.ipynb")
    second = Walk(two.page, lab_cloud, client, place)
    two.shows(second.table, second.card, second.form, second.login, second.board)
    second.each_is_live()
    what_is_done_in_one_is_seen_in_the_other(first, second)
    both_have_the_selection_of_who_clicked_last(first, second, one)
    for lab in windows:
        lab.screenshot(f"all-window-{windows.index(lab) + 1}")
    one.page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")
    first.table.wait_for(state="detached")
    client.stop_cvm(second.here)
    shows(second.table, second.here, "stopped")
    press(second.card, "Start")
    second.card.locator('.cvm-big[data-status="running"]').wait_for()


def what_is_done_in_one_is_seen_in_the_other(first, second):
    first.what_happens_elsewhere_is_seen()
    for view in (second.table, second.board):
        shows(view, first.here, "stopped")
    second.what_is_clicked_is_done()
    first.card.locator(".cvm-ops").get_by_text("restart: done").wait_for()
    shows(first.table, first.here, "running")
    first.a_cvm_is_made()
    second.form.get_by_text(f"{first.made} is running").wait_for()
    second.the_dashboard_shows_a_card()
    first.board.locator('.cvm-card .cvm-big[data-status="stopped"]').wait_for()
    first.a_key_is_given_and_hidden()
    second.login.get_by_text(f"Of {first.place}, ENTERPRISE").wait_for()
    assert first.key not in second.page.content()


def both_have_the_selection_of_who_clicked_last(first, second, lab):
    chosen = [first.here, first.made, first.here]
    for walk, name in zip((first, second, first), chosen, strict=True):
        row(walk.table, name).locator('[aria-colindex="4"]').click()
        for seen in (first, second):
            seen.table.locator(".cvm-row[aria-selected=true]").wait_for()
            seen.table.get_by_text("1 selected", exact=True).wait_for()
            row(seen.table, name).and_(seen.page.locator("[aria-selected=true]")).wait_for()
    assert lab.kernel("list(fleet.selection.names)") == str(chosen[-1:])
