"""Everyday jobs in the table of the demo fleet, and how many clicks each takes at most.

Others have tests of their own: deploying with a wrong compose file that is mended
(test_form_lab), losing and regaining the service, the restart of a kernel, and a notebook that is
opened again (test_table_lab).
"""

import re

import pytest
from playwright.sync_api import expect

from cvm_notebook import Client

BEGIN = "import cvm_notebook as cvm\nfleet = cvm.Fleet(cvm.connect())\nfleet"
PATIENCE = 40_000


# rows are drawn with the next frame; a click on one that goes then would wait for it
DRAWN = """() => new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(null))))"""


class Hand:
    """Does what a user does with a mouse, and counts it; typing is free."""

    def __init__(self, page):
        self.page, self.clicks = page, 0

    def click(self, role, name, within=None):
        (within or self.page).get_by_role(role, name=name).first.click()
        self.clicks += 1

    def search(self, text):
        """Begin another job: nothing is selected."""
        clear = self.page.get_by_role("button", name="Clear", exact=True).first
        if clear.is_visible():
            clear.click()
        self.page.get_by_role("searchbox").fill(text)
        self.page.evaluate(DRAWN)

    def tick(self, name):
        self.row(name).get_by_role("checkbox").click()
        self.clicks += 1

    def row(self, name):
        rows = self.page.locator(".cvm-space .cvm-row:not([hidden])").filter(has_text=name)
        rows.first.wait_for(timeout=PATIENCE)
        return rows.first

    def spent(self):
        clicks, self.clicks = self.clicks, 0
        return clicks


@pytest.fixture
def demo(new_cloud):
    with new_cloud(seed="demo", speed=100) as cloud, Client(cloud.api_key, cloud.url) as client:
        cloud.client = client
        yield cloud


def test_everyday_jobs_take_a_few_clicks(lab, demo):
    page = lab.open("jobs.ipynb", [BEGIN], cloud=demo).run_all().page
    hand, client = Hand(page), demo.client
    the_most_expensive_idle_one_is_stopped(page, hand, client)
    assert hand.spent() <= 4
    logs_are_read(page, hand)
    assert hand.spent() <= 2
    lab.kernel("fleet.table(undo=600)")
    a_stop_is_taken_back(page, hand, client)
    lab.kernel("fleet.table(undo=5)")
    assert hand.spent() <= 3
    another_is_made(page, hand, client)
    assert hand.spent() <= 2
    several_are_stopped(page, hand, client)
    assert hand.spent() <= 5
    one_is_deleted(page, hand, client)
    assert hand.spent() <= 6


def the_most_expensive_idle_one_is_stopped(page, hand, client):
    name = "llama-chat-a"
    hand.search("cpu < 15%")  # as it and some others are at all hours
    hand.row(name)  # it is measured while somebody looks
    hand.click("button", "USD", page.get_by_role("columnheader", name="USD/h"))
    page.locator('.cvm-head [aria-sort="descending"]').wait_for(timeout=PATIENCE)
    expect(page.locator(".cvm-space .cvm-row:not([hidden])").first).to_contain_text(name)
    hand.tick(name)
    hand.click("button", re.compile("^Stop$"))
    client.watch_cvm_state(name, target="stopped")


def logs_are_read(page, hand):
    hand.search("agent-echo")
    hand.click("button", "Menu of agent-echo", hand.row("agent-echo"))
    hand.click("menuitem", re.compile("^Logs"))
    page.get_by_role("log").locator(".cvm-line").first.wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Close", exact=True).first.click()


def a_stop_is_taken_back(page, hand, client):
    hand.search("jupyter-ana")
    hand.tick("jupyter-ana")
    hand.click("button", re.compile("^Stop$"))
    hand.click("button", re.compile("^Undo$"))
    page.get_by_text("Undone: jupyter-ana keeps running.").first.wait_for(timeout=PATIENCE)
    assert client.get_cvm_state("jupyter-ana").status == "running"


def another_is_made(page, hand, client):
    before = len(client.list_cvms())
    hand.search("agent-echo")
    hand.click("button", "Menu of agent-echo", hand.row("agent-echo"))
    hand.click("menuitem", re.compile("^Replicate"))
    page.get_by_role("button", name=f"All {before + 1}", exact=True).wait_for(timeout=PATIENCE)
    assert len(client.list_cvms()) == before + 1


def several_are_stopped(page, hand, client):
    """The tick of all, Stop, what it means, and yes; the phrase is typed."""
    hand.search("shop-api-prod")
    hand.row("shop-api-prod")
    hand.click("checkbox", re.compile("all", re.IGNORECASE), page.locator(".cvm-head"))
    hand.click("button", re.compile("^Stop$"))
    confirmed(page, hand, re.compile(r"stop \d+"))
    for name in ("shop-api-prod-east", "shop-api-prod-west"):
        client.watch_cvm_state(name, target="stopped")


def one_is_deleted(page, hand, client):
    before = len(client.list_cvms())
    hand.search("rag-demo-next")
    hand.click("button", "Menu of rag-demo-next", hand.row("rag-demo-next"))
    hand.click("menuitem", re.compile("Delete"))
    confirmed(page, hand, "rag-demo-next")
    page.get_by_role("button", name=f"All {before - 1}", exact=True).wait_for(timeout=PATIENCE)
    assert "rag-demo-next" not in [one.name for one in client.list_cvms()]


def confirmed(page, hand, phrase):
    """Tick what it means, type the phrase, and press the button that names it."""
    dialog = page.get_by_role("alertdialog")
    dialog.wait_for(timeout=PATIENCE)
    for box in dialog.get_by_role("checkbox").all():
        box.click()
        hand.clicks += 1
    words = dialog.inner_text()
    typed = phrase if isinstance(phrase, str) else phrase.search(words).group()
    dialog.get_by_role("textbox").fill(typed)
    dialog.locator("button").filter(has_not_text="Cancel").first.click()
    hand.clicks += 1
