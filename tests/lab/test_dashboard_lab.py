"""The dashboard as it is shipped: in JupyterLab, whole and in every look."""

import re
import shutil
from pathlib import Path

import pytest
from helpers import until
from playwright.sync_api import expect

from cvm_notebook import Client

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40_000


@pytest.fixture
def shipped(lab):
    """The notebook of the repository, where the server finds it."""
    shutil.copy(ROOT / "notebooks" / "dashboard.ipynb", lab.server.folder)
    return "dashboard.ipynb"


def tab(page, name):
    tabs = page.get_by_role("tablist", name="About this fleet")
    tabs.first.get_by_role("tab", name=re.compile(rf"^{name}( \(\d+\))?$")).click()


def live(page):
    page.locator('.cvm-health[data-state="live"]').first.wait_for(timeout=60_000)
    page.locator(".cvm-space .cvm-row").first.wait_for(timeout=PATIENCE)


def test_from_a_row_to_its_card_its_stop_and_its_costs(new_cloud, lab, shipped):
    with new_cloud(seed="demo", speed=100) as cloud:
        page = lab.open(shipped, cloud=cloud).run_all().page
        live(page)
        needs_attention(page)
        page.locator(".cvm-find").fill("agent-echo")
        page.locator(".cvm-space .cvm-row:not([hidden])").filter(has_text="agent-echo").click()
        card = page.locator(".cvm-card")
        card.get_by_role("heading", name="agent-echo").wait_for(timeout=PATIENCE)
        expect(page.locator(".cvm-attention")).to_be_hidden()
        card.get_by_role("button", name="Stop", exact=True).click()
        card.locator('.cvm-status[data-status="stopped"]').wait_for(timeout=PATIENCE)
        with Client(cloud.api_key, cloud.url) as client:
            assert client.get_cvm_state("agent-echo").status == "stopped"
        tab(page, "Activity")
        line = page.get_by_role("row").filter(has_text="agent-echo").filter(has_text="stop")
        line.get_by_role("button", name="agent-echo").wait_for(timeout=PATIENCE)
        a_failure_is_retried(page, lab)
        tab(page, "Costs")
        costs_add_up(page)
        tab(page, "Fleet")
        the_idle_ones_are_stopped(page, lab)
        tab(page, "Deploy")
        page.locator(".cvm-form").get_by_text("You pay nothing until you deploy").wait_for()


def needs_attention(page):
    """What is wrong is shown where the card would be, and Show writes the table's filter."""
    board = page.locator(".cvm-attention")
    failed = board.get_by_role("listitem").filter(has_text="failed")
    failed.wait_for(timeout=PATIENCE)
    failed.get_by_role("button", name=re.compile("^Show")).click()
    page.get_by_text("showing 2 of").wait_for(timeout=PATIENCE)
    expect(page.locator(".cvm-find")).to_have_value("status = 'failed'")
    page.wait_for_function("() => document.activeElement?.getAttribute('role') === 'grid'")


FAILED = """
op = board.fleet['agent-delta'].restart().wait(20)
client.start_cvm('agent-delta')
board.fleet.wait('agent-delta', status='running', progress=False)
print(op.state)"""


def a_failure_is_retried(page, lab):
    """The tab counts what failed, and Retry asks once more."""
    assert lab.kernel(FAILED, within=60).strip() == "failed"
    tabs = page.get_by_role("tablist", name="About this fleet")
    tabs.get_by_role("tab", name="Activity (1)").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Retry restart agent-delta").click()
    done = page.get_by_role("row").filter(has_text="restart").filter(has_text="done")
    done.wait_for(timeout=PATIENCE)
    tabs.get_by_role("tab", name="Activity", exact=True).wait_for(timeout=PATIENCE)


IDLE = """
import time
from cvm_notebook.live.store.figures import Sample
now, wall = board.fleet.now(), time.time()
ids = [board.fleet[name].id for name in ('agent-bravo', 'agent-charlie')]
for later in (10, 910, 1810, 2710):
    board.fleet.store.measure(
        [Sample(i, wall + later, now + later, (0.01, 0.01, 0.01), 0.1, 1e6) for i in ids]
    )"""


def the_idle_ones_are_stopped(page, lab):
    """Three clicks: the plan, its button, and yes."""
    lab.kernel(IDLE + "\nboard._clicks.undo = 600")
    page.locator(".cvm-dashboard-back").click()
    page.get_by_role("button", name="Review plan…").click(timeout=PATIENCE)
    page.get_by_role("button", name="Stop 2 CVMs…").click()
    question = page.locator(".cvm-dashboard-foot .cvm-confirm")
    question.get_by_role("textbox").fill("stop 2")
    lab.screenshot("dashboard-plan")
    question.get_by_role("button", name="Stop 2 CVMs").click()
    page.get_by_role("heading", name="Needs attention").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Undo", exact=True).first.click()
    tab(page, "Activity")
    page.get_by_role("row").filter(has_text="cancelled").nth(1).wait_for(timeout=PATIENCE)


def costs_add_up(page):
    """The picture is drawn of numbers that the keyboard reads, and its table has the same sum."""
    plot = page.get_by_role("slider", name=re.compile("^Cost over time"))
    plot.locator("path.cvm-cost-area").first.wait_for(timeout=PATIENCE)
    expect(plot.locator("path.cvm-cost-area")).to_have_count(6)  # five apps, and all others
    plot.focus()
    page.keyboard.press("Home")
    expect(plot).to_have_attribute("aria-valuenow", "0")
    expect(plot).to_have_attribute("aria-valuetext", re.compile("USD/h"))
    total, rate = page.locator(".cvm-costs tfoot td").nth(1), page.locator(".cvm-rate")
    # as the table's strip, which is drawn at other times
    until(lambda: rate.text_content() == f"{total.text_content()} USD/h")
    page.get_by_role("button", name="30 days").click()
    page.get_by_role("columnheader", name="USD in 30 days").wait_for(timeout=PATIENCE)
    page.get_by_text("Values over time").click()
    expect(page.get_by_role("region", name="Values over time").get_by_role("row")).to_have_count(31)


def test_the_keyboard_opens_rows_and_jupyters_shortcuts_work(lab, shipped):
    page = lab.open(shipped).run_all().page
    live(page)
    a_row_that_is_opened_by_the_keyboard_brings_its_card_to_the_front(lab, page)
    page.locator(".cvm-find").fill("")
    shortcuts_work_while_a_view_has_the_focus_and_the_command_mode_is_not(lab, page)


def a_row_that_is_opened_by_the_keyboard_brings_its_card_to_the_front(lab, page):
    page.locator(".cvm-find").fill("name = 'agent-charlie'")
    page.get_by_text("showing 1 of").wait_for(timeout=PATIENCE)
    page.get_by_role("grid").focus()
    page.keyboard.press("Enter")
    name = page.locator(".cvm-card").get_by_role("heading", name="agent-charlie")
    name.wait_for(timeout=PATIENCE)
    page.wait_for_function("() => document.activeElement.textContent === 'agent-charlie'")
    page.locator(".cvm-card").wait_for()
    expect(page.locator(".cvm-table-details")).to_be_hidden()
    lab.screenshot("dashboard-opened")


SAVED = """name => [...window.jupyterapp.shell.widgets('main')]
    .find(one => one.context?.path === name).context.model.dirty === false"""


def shortcuts_work_while_a_view_has_the_focus_and_the_command_mode_is_not(lab, page):
    first = page.locator(".cvm-space .cvm-row").first
    expect(first).not_to_contain_text("agent-charlie")  # whose card is there already
    first.click()
    before = page.get_by_role("heading", name="agent-charlie")
    card = page.locator('.cvm-card[data-live="true"]').filter(has_not=before)
    card.wait_for(timeout=PATIENCE)  # with the one before, its focus would go
    cells = len(lab.cells())
    places = (
        page.get_by_role("grid"),
        page.locator(".cvm-find"),
        page.locator(".cvm-card").get_by_role("tab", name="Overview"),
        page.locator(".cvm-card").get_by_role("button", name="Replicate"),
        page.locator(".cvm-form").get_by_label("Name", exact=True),
    )
    for place in places:
        if place == places[-1]:
            tab(page, "Deploy")
        place.focus()
        lab._in_page("panel.context.model.dirty = true; return null")
        page.keyboard.press("ControlOrMeta+s")
        page.wait_for_function(SAVED, arg=lab.name, timeout=PATIENCE)
        place.focus()
        page.keyboard.press("ControlOrMeta+Shift+c")
        page.locator(".jp-ModalCommandPalette").wait_for()
        page.keyboard.press("Escape")
        page.locator(".jp-ModalCommandPalette").wait_for(state="hidden")
        place.focus()
        for key in "ddxxba":  # x selects in a grid; twice, and all is as it was
            page.keyboard.press(key)
        assert len(lab.cells()) == cells
    expect(page.locator(".cvm-find")).to_have_value("ddxxba")
    page.evaluate(
        "() => { window.keys = []; document.addEventListener('keydown', e => keys.push(e.key)); }"
    )
    page.locator(".cvm-find").focus()
    for key in ("a", "Backspace", "z", "Shift+z", "x"):  # they edit the field, and no notebook
        page.keyboard.press(key if len(key) > 7 else f"ControlOrMeta+{key}")
    assert set(page.evaluate("keys")) <= {"Control", "Meta", "Shift"}
    assert len(lab.cells()) == cells
