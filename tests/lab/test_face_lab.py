"""What the table and the dashboard do when the service, CVMs or space are missing."""

import re

import pytest
from helpers import run_all
from playwright.sync_api import expect

from cvm_notebook import Client

PATIENCE = 60_000
TABLE = "import cvm_notebook as cvm\nclient = cvm.connect()\nfleet = cvm.Fleet(client)\nfleet"
BOARD = "import cvm_notebook as cvm\nboard = cvm.dashboard(cvm.connect())\nboard"
# as if this LocalCloud were the service itself
SERVICE = """import cvm_notebook.api.auth.address as address
address.DEFAULT_BASE_URL = cvm.connect().base_url
"""


@pytest.fixture
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=500) as cloud:
        yield cloud


@pytest.fixture
def two(cloud):
    """A cloud with two CVMs that run."""
    with Client(cloud.api_key, cloud.url) as client:
        run_all(client, "web-one", "web-two")
    return cloud


def live(page):
    page.locator('.cvm-health[data-state="live"]').first.wait_for(timeout=PATIENCE)


def test_a_bar_counts_down_by_itself_while_the_service_cannot_be_reached(lab, two):
    page = lab.open("offline.ipynb", [TABLE], cloud=two).run_all().page
    live(page)
    two.inject({"kind": "reset", "route": "*", "times": 10_000})
    lab.kernel("fleet.refresh()")
    bar = page.get_by_role("group", name="Not connected")
    bar.get_by_text(re.compile(r"^Not connected for \d\d:\d\d, data of \d\d:\d\d\. ")).wait_for(
        timeout=PATIENCE
    )
    bar.get_by_text(re.compile(r"Retrying in [1-9]")).wait_for(timeout=PATIENCE)
    text = bar.locator("[aria-hidden=true]").nth(1)
    texts = text.evaluate(
        """bar => new Promise(done => {
            const seen = new Set([bar.textContent]);
            new MutationObserver(() => {
                seen.add(bar.textContent);
                if (seen.size > 2) done([...seen]);
            }).observe(bar, { childList: true, characterData: true, subtree: true });
        })"""
    )
    assert len(texts) == 3
    lab.screenshot("offline-light", page.locator(".cvm-table"))
    assert lab.axe(".cvm-table") == []
    lab.theme("dark")
    lab.screenshot("offline-dark", page.locator(".cvm-table"))
    assert lab.axe(".cvm-table") == []
    bar.get_by_role("button", name="Retry now").click(timeout=PATIENCE)
    two.clear_faults()
    bar.wait_for(state="hidden", timeout=PATIENCE)
    live(page)


def test_a_row_is_opened_in_the_console_of_the_service_and_of_no_other_cloud(lab, two):
    cells = ["import cvm_notebook as cvm\n" + SERVICE, TABLE]
    page = lab.open("console.ipynb", cells, cloud=two).run_all().page
    live(page)
    page.evaluate("() => { window.open = (...given) => { window.opened = given; } }")
    page.get_by_role("button", name="Menu of web-one").click()
    page.get_by_role("menuitem", name="Open in console").click()
    uuid = lab.kernel("print(fleet['web-one'].row.vm_uuid)").strip()
    address, target, how = page.evaluate("window.opened")
    assert address == f"https://cloud.phala.com/dashboard/cvms/{uuid}"
    assert (target, how) == ("_blank", "noopener,noreferrer")
    lab.kernel("address.DEFAULT_BASE_URL = 'https://elsewhere.example'")
    lab.run_cell(1)
    live(page)
    page.get_by_role("button", name="Menu of web-one").click()
    page.get_by_role("menuitem", name="Copy id").wait_for()
    expect(page.get_by_role("menuitem", name="Open in console")).to_have_count(0)
    page.keyboard.press("Escape")


def test_an_empty_fleet_says_how_to_begin(lab, cloud):
    page = lab.open("empty.ipynb", [TABLE, BOARD], cloud=cloud)
    page = lab.run_cell(0).page
    live(page)
    table = page.locator(".cvm-table")
    deploy = table.get_by_role("button", name="Deploy your first CVM")
    deploy.wait_for(timeout=PATIENCE)
    expect(table.get_by_text("explore a demo fleet")).to_have_count(
        0
    )  # it is on this machine already
    deploy.click()
    table.get_by_text("fleet.deploy()", exact=True).wait_for()
    copy = table.get_by_role("button", name="Copy fleet.deploy()")
    expect(copy).to_be_focused()
    lab.screenshot("empty-table", table)
    assert lab.axe(".cvm-table") == []
    lab.run_cell(1)
    board = page.locator(".cvm-dashboard")
    first = board.get_by_role("button", name="Deploy your first CVM")
    first.wait_for(timeout=PATIENCE)
    lab.screenshot("empty-dashboard", board)
    first.click()
    expect(board.get_by_role("tab", name="Deploy")).to_have_attribute("aria-selected", "true")
    board.locator(".cvm-form").get_by_label("Name", exact=True).wait_for(timeout=PATIENCE)


def test_table_and_card_share_the_width_as_wanted_and_the_card_slides_where_it_is_narrow(lab, two):
    page = lab.open("split.ipynb", [BOARD], cloud=two).run_all().page
    live(page)
    edge = page.get_by_role("separator", name="Width of the table")
    table = page.locator(".cvm-dashboard .cvm-table")

    def wide():
        return table.bounding_box()["width"]

    before = wide()
    edge.focus()
    page.keyboard.press("ArrowLeft")
    expect(edge).to_have_attribute("aria-valuenow", "58")
    assert wide() < before
    page.keyboard.press("Home")
    expect(edge).to_have_attribute("aria-valuenow", "30")
    expect(edge).to_have_attribute("aria-valuemin", "30")
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 303, box["y"] + 40, steps=3)
    page.mouse.up()
    dragged = wide()
    assert dragged > before * 30 / 60 + 250
    page.locator(".cvm-space .cvm-row").first.click()
    page.locator(".cvm-card").wait_for(timeout=PATIENCE)
    assert wide() == dragged, "it is remembered"
    page.set_viewport_size({"width": 1100, "height": 1000})
    edge.wait_for(state="hidden")
    side = page.locator(".cvm-dashboard-side")
    side.evaluate(
        "one => Promise.all(one.getAnimations().map(each => each.finished)).then(() => 0)"
    )
    card = side.bounding_box()
    under = table.bounding_box()
    assert card["x"] > under["x"]
    assert card["x"] + card["width"] <= under["x"] + under["width"] + 1
    assert card["y"] < under["y"] + under["height"], "it lies over the table, and not under it"
    lab.screenshot("dashboard-slid", page.locator(".cvm-dashboard"))
    assert lab.axe(".cvm-dashboard") == []
    page.locator(".cvm-card").get_by_role("tab", name="Overview").focus()
    page.keyboard.press("Escape")
    page.locator(".cvm-card").wait_for(state="hidden", timeout=PATIENCE)
    page.wait_for_function("() => document.activeElement?.getAttribute('role') === 'grid'")
    page.set_viewport_size({"width": 1400, "height": 1000})
