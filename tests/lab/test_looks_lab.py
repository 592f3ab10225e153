"""Every view in every look: themes, forced colours, narrow, and magnified to twice the size."""

import pytest

PATIENCE = 60_000
CELL = """
import cvm_notebook as cvm
from IPython.display import display
client = cvm.connect()
fleet = cvm.Fleet(client)
board = cvm.dashboard(fleet)
display(fleet.table(), fleet["agent-charlie"].card(), cvm.ProvisionForm(client), board)
"""
CARD_TABS = (
    *("Overview", "Logs", "Metrics", "Compose"),
    *("Environment", "Trust", "Revisions", "Activity"),
)
BOARD_TABS = ("fleet", "costs", "activity", "new")
COLOURS = ["color-contrast"]
LOOKS = {  # width and height in CSS pixels, and what is checked where not all can have changed
    "light": (1400, 1900, None),
    "dark": (1400, 1900, COLOURS),
    "dark high contrast": (1400, 1900, COLOURS),
    "forced": (1400, 1900, COLOURS),
    "700px": (700, 1900, None),
    "zoom200": (700, 500, ["scrollable-region-focusable"]),  # of a screen of 1400 by 1000
}
# what can have the focus, in sight, and shows nothing when it has
UNSEEN = """root => {
    const all = root.querySelectorAll('button, input, select, textarea, a[href], [tabindex="0"]');
    const found = [];
    for (const el of all) {
        if (el.disabled || el.inert || el.closest('[inert]') || !el.checkVisibility()) continue;
        el.focus({ focusVisible: true, preventScroll: true });
        if (document.activeElement !== el) continue;
        const places = [el, el.nextElementSibling]; // it may be shown around it, or beside it
        for (let up = el.parentElement; up && up !== root; up = up.parentElement) places.push(up);
        const shows = one => one && getComputedStyle(one).outlineStyle !== 'none';
        if (!places.some(shows)) found.push(el.outerHTML.slice(0, 120));
    }
    return found;
}"""
WIDER = "root => [root, root.parentElement].map(one => one.scrollWidth - one.clientWidth)"


@pytest.fixture
def page(lab):
    page = lab.open("looks.ipynb", [CELL]).run_all().page
    page.locator('.cvm-health[data-state="live"]').first.wait_for(timeout=PATIENCE)
    yield page
    page.emulate_media(forced_colors="none")
    page.set_viewport_size({"width": 1400, "height": 1000})


def look_as(lab, page, look):
    width, height, _ = LOOKS[look]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(forced_colors="active" if look == "forced" else "none")
    lab.theme(look if look.startswith("dark") else "light")


def views(page):
    """Go through all views and their tabs: a name, the element, and what of it is new."""
    outside = ":not(.cvm-dashboard *)"
    panel = "> [role=tabpanel]:not([hidden])"
    yield "table", *2 * (f".cvm-table{outside}",)
    card = f".cvm-card{outside}"
    for name in CARD_TABS:
        page.locator(card).get_by_role("tab", name=name, exact=True).click()
        waiting = page.locator(f"{card} {panel}").get_by_text("fetching…")
        waiting.first.wait_for(state="hidden", timeout=PATIENCE)
        yield f"card-{name}", card, card if name == "Overview" else f"{card} {panel}"
    yield "form", *2 * (f".cvm-form{outside}",)
    board = ".cvm-dashboard"
    for name in BOARD_TABS:
        page.locator(f"{board} > .cvm-tabs [data-tab={name}]").click()
        yield f"dashboard-{name}", board, f"{board} {panel}"
    page.locator(f"{board} > .cvm-tabs [data-tab=fleet]").click()
    page.locator(f"{board} .cvm-space .cvm-row").first.click()
    page.locator(f"{board} .cvm-card").wait_for(timeout=PATIENCE)
    yield "dashboard-card", board, f"{board} .cvm-card"
    page.locator(".cvm-dashboard-back").click()


def test_every_view_can_be_read_and_used_in_every_look(lab, page):
    wrong = []
    for look in LOOKS:
        look_as(lab, page, look)
        for name, whole, part in views(page):
            view = page.locator(whole)
            view.scroll_into_view_if_needed()
            seen = None if look == "zoom200" else view  # most of it is not in sight then
            lab.screenshot(f"looks-{look}-{name}".lower().replace(" ", "-"), seen)
            wrong += [f"{look} {name}: {one}" for one in lab.axe(part, rules=LOOKS[look][2])]
            if look == "forced":
                unseen = page.locator(part).evaluate(UNSEEN)
                wrong += [f"{name}: no focus is seen in {one}" for one in unseen]
            if max(view.evaluate(WIDER)) > 0:
                wrong.append(f"{look} {name}: it is wider than its place")
    assert not wrong, "\n".join(wrong)
