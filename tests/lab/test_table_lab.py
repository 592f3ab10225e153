"""The live table in real front ends: what is seen, what a click does, and what happens without."""

import csv
import json
import re

import pytest
from helpers import until
from playwright.sync_api import expect

BEGIN = "import cvm_notebook as cvm\nclient = cvm.connect()\nfleet = cvm.Fleet(client)\nfleet"
COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
PATIENCE = 40_000


@pytest.fixture
def cloud(cvm_cloud, cvm_client):
    """A cloud of the test's own, with a few CVMs that run."""
    for name in ("alpha", "bravo", "charlie", "delta"):
        offer = cvm_client.provision_cvm(name=name, compose_file=COMPOSE)
        cvm_client.commit_cvm_provision(offer)
    cvm_cloud.advance(600)  # they have booted
    cvm_cloud.client = cvm_client
    return cvm_cloud


@pytest.fixture
def table(lab, cloud):
    """The table of that cloud, displayed; the page it is in."""
    lab.open("table.ipynb", [BEGIN], cloud=cloud).run_all()
    row(lab.page, "alpha").wait_for(timeout=PATIENCE)
    live(lab.page)
    return lab.page


def grid(page):
    return page.get_by_role("grid").first


def row(page, name):
    return page.locator(".cvm-space .cvm-row:not([hidden])").filter(has_text=name)


def place(page, name):
    """Return where a row is; while it is drawn anew it is nowhere."""
    places = []

    def found():
        places.append(row(page, name).bounding_box())
        return places[-1]

    until(found)
    return places[-1]


def live(page):
    """Wait until the first table in it is live."""
    page.locator('.cvm-health[data-state="live"]').first.wait_for(timeout=PATIENCE)


def shows(page, name, status):
    row(page, name).locator(f'[data-status="{status}"]').wait_for(timeout=PATIENCE)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).first.click()


def state(cloud, name):
    return cloud.client.get_cvm_state(name).status


def done(lab):
    """Wait until nothing that was asked for is under way."""
    lab.kernel("[op.wait(20) for op in fleet.operator.alive()]")


def posts(cloud, path):
    return [
        one for one in cloud.requests() if one["method"] == "POST" and one["path"].endswith(path)
    ]


def late(cloud, path):
    """Have the next of these answered late: until then it is seen to be under way."""
    cloud.inject({"kind": "late", "route": f"POST /cvms/*{path}", "arg": 3, "times": 1})


# --- what is seen ---------------------------------------------------------------------------------


MARKS = {"VERIFIED": "✓", "PARTIAL": "◐", "SIMULATED": "⚠", "FAILED": "✗"}
PROVEN = dict(zip(("alpha", "bravo", "charlie", "delta"), MARKS, strict=True))
ATTESTED = f"""
from datetime import UTC, datetime
from cvm_notebook.live.store.records import Trust
now = datetime.now(UTC)
fleet.table(columns=["status", "verified", "verified_at", "region"], undo=0)
fleet.store.attest({{
    fleet[name].id: Trust(word=word, summary=word, at=now, until=None, checks=())
    for name, word in {PROVEN!r}.items()
}})
"""


def test_rows_marks_questions_and_failures_are_readable_by_everybody_in_both_themes(
    lab, table, cloud
):
    def readable(name):
        found = lab.in_both_themes(".cvm-table", name, table.locator(".cvm-table").first)
        assert found == [], name

    lab.kernel(ATTESTED)
    for name, word in PROVEN.items():
        cell = row(table, name).locator(f'[data-trust="{word}"]')
        cell.wait_for(timeout=PATIENCE)
        expect(cell).to_have_text(f"{MARKS[word]}{word}", use_inner_text=True)
    row(table, "bravo").click()
    readable("table")
    press(table, "Delete")
    table.get_by_role("alertdialog").wait_for()
    readable("table-confirm")
    table.keyboard.press("Escape")
    cloud.inject({"kind": "status", "arg": 422, "route": "POST /cvms/*/stop", "times": 1})
    row(table, "alpha").click()
    press(table, "Stop")
    failed = table.locator(".cvm-toasts").get_by_role("alert")
    failed = failed.filter(has_text="Stop of alpha failed")
    failed.wait_for()
    readable("table-toast-failed")
    failed.get_by_role("button", name="Retry").click()
    shows(table, "alpha", "stopped")
    failed.wait_for(state="detached")
    table.get_by_role("searchbox").first.fill("verified = 'FAILED'")
    row(table, "alpha").wait_for(state="hidden", timeout=PATIENCE)
    expect(row(table, "delta")).to_be_visible()


def test_scroll_selection_and_focus_survive_hundreds_of_patches(lab, cloud):
    feed = """
from dataclasses import replace
from cvm_notebook.live.store.observation import Observation
import msgspec, time
one = fleet.snapshot().rows[0]
many = [
    msgspec.structs.replace(one.cvm, id=f"cvm_{i:04}", vm_uuid=f"u{i}", name=f"many-{i:04}")
    for i in range(500)
]
fleet._reflector.close()
fleet.store.replace(many, received=time.monotonic())
"""
    lab.open("patches.ipynb", [BEGIN, feed], cloud=cloud).run_all()
    page = lab.page
    row(page, "many-0003").wait_for(timeout=PATIENCE)
    grid(page).evaluate("grid => { grid.scrollTop = 3000; }")
    row(page, "many-0103").wait_for()
    row(page, "many-0103").click()
    grid(page).focus()
    lab.kernel(
        """
words = ("running", "stopped")
def observed(i, word):
    now = time.monotonic()
    return Observation(id=f"cvm_{i:04}", status=word, received=now, source="batch")
for turn in range(300):
    fleet.store.patch([observed((turn * 7 + j) % 500, words[turn % 2]) for j in range(5)])
    time.sleep(0.003)
fleet.store.patch([observed(103, "stopping")])
"""
    )
    shows(page, "many-0103", "stopping")
    assert grid(page).evaluate("grid => grid.scrollTop") == 3000
    expect(row(page, "many-0103")).to_have_attribute("aria-selected", "true")
    expect(grid(page)).to_be_focused()
    assert page.locator(".cvm-space .cvm-row").count() < 60
    shown = page.evaluate(
        """() => [...document.querySelectorAll('.cvm-space .cvm-row:not([hidden])')].map(row =>
            [row.querySelector('[aria-colindex="2"]').textContent,
             row.querySelector('[data-status]').dataset.status])"""
    )
    statuses = "{row.name: row.status for row in fleet.store.snapshot()}"
    known = json.loads(lab.kernel(f"import json\nprint(json.dumps({statuses}))"))
    assert {name: known[name] for name, _ in shown} == dict(shown)
    lab.kernel(
        """
for turn in range(200):  # some of these come between the frame of the rows and that of the head
    fleet.store.replace(many[: 250 * (1 + turn % 2)], received=time.monotonic())
    time.sleep(0.004)
"""
    )
    page.get_by_role("button", name="All 500", exact=True).wait_for(timeout=PATIENCE)


AT_ONCE = """() => {
    window.itsTimeout = AbortSignal.timeout;
    window.itsLate = 0;
    AbortSignal.timeout = () => {
        const late = new AbortController();
        queueMicrotask(() => { late.abort(); window.itsLate += 1; }); // before any module is there
        return late.signal;
    } }"""


def test_a_page_that_was_too_slow_for_anywidget_is_live_all_the_same(lab, cloud):
    """It gives a module two seconds to load, and hands no message to one that was late."""
    page = lab.open("slow.ipynb", [BEGIN, "fleet['bravo']"], cloud=cloud).page
    page.evaluate(AT_ONCE)
    try:
        lab.run_all()
        page.locator('.cvm-table .cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)
        page.locator('.cvm-card[data-live="true"]').wait_for(timeout=PATIENCE)
        cloud.client.stop_cvm("bravo")
        page.locator('.cvm-card .cvm-big[data-status="stopped"]').wait_for(timeout=PATIENCE)
        assert page.evaluate("() => window.itsLate") >= 2  # that of the table, and of the card
    finally:
        page.evaluate("() => { AbortSignal.timeout = window.itsTimeout }")


LOSE = """() => { window.itsSend = WebSocket.prototype.send;
    WebSocket.prototype.send = () => {} }"""
FOUND = "() => { WebSocket.prototype.send = window.itsSend }"
MISSED = """
import threading, time
from pathlib import Path
def miss():
    while not Path({deaf!r}).exists():
        time.sleep(0.05)
    card._n += 5
threading.Thread(target=miss, daemon=True).start()
"""


def test_a_view_that_lost_messages_and_is_not_heard_is_not_called_live(lab, cloud, tmp_path):
    """Messages of the kernel still come, and say nothing of what was lost."""
    code = "card = fleet['bravo'].card()\ncard"
    page = lab.open("unheard.ipynb", [BEGIN, code], cloud=cloud).run_all().page
    card = page.locator(".cvm-card")
    card.locator('.cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)
    deaf = tmp_path / "deaf"
    lab.kernel(MISSED.format(deaf=str(deaf)))
    page.evaluate(LOSE)
    deaf.touch()
    try:
        card.locator('.cvm-health[data-state="gone"]').wait_for(timeout=PATIENCE)
        card.locator("[inert]").get_by_text("Shut down", exact=True).wait_for()
    finally:
        page.evaluate(FOUND)
    card.locator('.cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)


ELSEWHERE = """const kernel = panel.sessionContext.session.kernel;
    const { content } = await kernel.requestCreateSubshell({}).done;
    const other = kernel.clone({ subshellId: content.subshell_id });
    await other.info;
    const ended = new Promise(done => other.disposed.connect(done));
    await other.requestExecute({ code: 'fleet.table().pulse()' }).done;
    other.dispose();
    await ended; return null"""


def test_a_console_of_the_kernel_that_was_closed_takes_no_view_with_it(lab, table, cloud):
    """ipykernel 7.4 hands what pages send to the subshell that was answered last."""
    lab._in_page(ELSEWHERE)  # as JupyterLab's "New Subshell Console for Notebook"
    late(cloud, "/restart")
    row(table, "alpha").click()
    press(table, "Restart")
    row(table, "alpha").locator(".cvm-op").wait_for(timeout=PATIENCE)
    until(lambda: len(posts(cloud, "/restart")) == 1)


# --- searching and choosing -----------------------------------------------------------------------


def test_rows_are_searched_for_and_saved_and_columns_make_a_view(lab, table, cloud, tmp_path):
    what_is_shown_is_saved_as_csv_that_no_spreadsheet_runs(table)
    words_conditions_and_facets_filter_and_a_wrong_one_says_where(lab, table)
    a_click_on_the_name_of_a_column_leaves_the_list_open(table)
    columns_are_found_moved_reset_and_saved_as_a_view(lab, table, tmp_path)
    table.keyboard.press("Escape")
    table.get_by_role("searchbox").fill("")
    a_change_made_elsewhere_is_seen_and_counted(lab, table, cloud)


def what_is_shown_is_saved_as_csv_that_no_spreadsheet_runs(table):
    press(table, "Export")
    with table.expect_download() as saved:
        table.get_by_role("menuitem", name="Save 4 CVMs as CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert {one["name"] for one in rows} == {"alpha", "bravo", "charlie", "delta"}
    assert {one["status"] for one in rows} == {"running"}


def words_conditions_and_facets_filter_and_a_wrong_one_says_where(lab, table):
    find, beside = table.get_by_role("searchbox"), table.get_by_role("button", name="Region ▾")
    at = beside.bounding_box()
    find.fill("brav")
    row(table, "alpha").wait_for(state="hidden")
    expect(row(table, "bravo")).to_be_visible()
    table.get_by_text("showing 1 of 4").wait_for()
    assert beside.bounding_box() == at  # nothing moves under the pointer
    find.fill("name in ('alpha', 'delta') order by name desc")
    row(table, "bravo").wait_for(state="hidden")
    row(table, "delta").wait_for()
    names = table.locator(".cvm-space .cvm-row:visible").all_inner_texts()
    assert [name.split()[0] for name in names] == ["delta", "alpha"]
    find.fill("stats = 'running'")
    wrong = table.locator(".cvm-table-wrong")
    wrong.wait_for()
    expect(wrong).to_contain_text("Did you mean status", use_inner_text=True)
    find.fill("alp or brav order by name limit 9")
    row(table, "delta").wait_for(state="hidden")
    table.get_by_role("button", name="Type ▾").click()
    values = table.get_by_role("group", name="Filter by type")
    values.get_by_role("checkbox", name="tdx.small 4").check()
    expect(find).to_have_value("(alp or brav) and type = 'tdx.small' order by name limit 9")
    lab.screenshot("table-facet", table.locator(".cvm-table").first)
    assert lab.axe(".cvm-table") == []
    table.keyboard.press("Escape")
    find.fill("type in ('tdx.large', \"tdx.small\") and name = 'delta'")
    table.get_by_role("button", name="Type: 2 ▾").click()
    expect(values.get_by_role("checkbox", name="tdx.small 4")).to_be_checked()
    values.get_by_role("checkbox", name="tdx.small 4").uncheck()
    expect(find).to_have_value("type = 'tdx.large' and name = 'delta'")
    table.get_by_text("No matches.").wait_for()
    table.keyboard.press("Escape")
    table.get_by_role("button", name="Clear filter").click()
    row(table, "bravo").wait_for()
    expect(find).to_have_value("")


def a_click_on_the_name_of_a_column_leaves_the_list_open(table):
    press(table, "Columns")
    columns = table.get_by_role("group", name="Columns")
    columns.get_by_text("Name", exact=True).click(force=True)  # it is disabled
    columns.get_by_role("checkbox", name="vcpu").check()
    columns.get_by_text("Memory GB", exact=True).click()
    expect(columns).to_be_visible()
    for name in ("vcpu", "Memory GB"):
        table.get_by_role("columnheader", name=name).wait_for()
    table.locator(".cvm-space .cvm-row:visible").first.get_by_role("gridcell").nth(12).wait_for()
    press(table, "Reset")
    table.get_by_role("columnheader", name="vcpu").wait_for(state="detached")
    table.keyboard.press("Escape")
    columns.wait_for(state="hidden")


def columns_are_found_moved_reset_and_saved_as_a_view(lab, table, tmp_path):
    lab.kernel(f"import os; os.environ['PHALA_CLOUD_DIR'] = {str(tmp_path)!r}")
    press(table, "Columns")
    columns = table.get_by_role("group", name="Columns")
    columns.get_by_role("searchbox", name="Find a column").fill("node")
    columns.get_by_role("checkbox", name="vcpu").wait_for(state="hidden")
    columns.get_by_role("checkbox", name="Node", exact=True).check()
    heads = table.get_by_role("columnheader")
    table.get_by_role("columnheader", name="Node", exact=True).wait_for()
    usual = [one for one in heads.all_inner_texts() if one]
    columns.get_by_role("button", name="Further left: Node").click()
    table.wait_for_function(
        "() => document.querySelector('.cvm-head').children[10].dataset.name === 'node'"
    )
    moved = [one for one in heads.all_inner_texts() if one]
    assert sorted(moved) == sorted(usual)
    assert moved != usual
    table.keyboard.press("Escape")
    table.get_by_role("searchbox").fill("name like '%a'")
    row(table, "bravo").wait_for(state="hidden")
    table.get_by_role("columnheader", name="name").get_by_role("button").click()
    table.locator('.cvm-head [data-name="name"][aria-sort="ascending"]').wait_for()
    until(lambda: "%a" in lab.kernel("fleet.table().query"))  # it is sent when the hand rests
    press(table, "View: Default ▾")
    table.get_by_role("menuitem", name="Save as…").click()
    table.keyboard.type("my view")
    table.keyboard.press("Enter")
    table.get_by_role("button", name="View: my view ▾").click()
    lab.screenshot("table-views", table.locator(".cvm-table").first)
    table.get_by_role("menuitem", name="Default").click()
    table.get_by_role("columnheader", name="Node", exact=True).wait_for(state="detached")
    row(table, "bravo").wait_for()
    expect(table.locator('.cvm-head [aria-sort="ascending"]')).to_have_count(0)
    lab.kernel("fleet.view('MY VIEW') is fleet.table()")
    table.get_by_role("columnheader", name="Node", exact=True).wait_for()
    row(table, "bravo").wait_for(state="hidden")
    table.locator('.cvm-head [data-name="name"][aria-sort="ascending"]').wait_for()
    expect(table.get_by_role("searchbox")).to_have_value("name like '%a'")
    press(table, "Columns")
    press(table, "Reset")
    table.get_by_role("columnheader", name="Node", exact=True).wait_for(state="detached")


def a_change_made_elsewhere_is_seen_and_counted(lab, table, cloud):
    cloud.client.stop_cvm("bravo")
    lab.kernel("fleet.refresh()")
    shows(table, "bravo", "stopped")
    table.get_by_role("button", name="Running 3", exact=True).wait_for()
    table.get_by_role("button", name="Stopped 1", exact=True).click()
    row(table, "alpha").wait_for(state="hidden")
    expect(table.get_by_role("searchbox")).to_have_value("status = 'stopped'")
    table.get_by_role("button", name="Stopped 1", exact=True).click()
    row(table, "alpha").wait_for()


# --- looking closer -------------------------------------------------------------------------------


def test_figures_logs_the_card_and_the_app_of_a_cvm_are_shown_where_the_table_is(lab, table, cloud):
    how_busy_cvms_are_is_measured_while_the_table_is_seen(lab, table)
    rows_have_two_lines_where_the_page_is_narrow(lab, table)
    logs_are_shown_under_the_table(lab, table)
    enter_and_a_double_click_show_the_card_under_the_table(lab, table)
    press(table, "Close the details")
    press(table, "Clear")
    cvms_stand_under_their_apps_by_the_keyboard(lab, table, cloud)


def how_busy_cvms_are_is_measured_while_the_table_is_seen(lab, table):
    cell = row(table, "alpha").locator(".cvm-kind-share").first
    cell.filter(has_text=re.compile(r"\d+ %")).wait_for(timeout=PATIENCE)
    expect(cell.locator(".cvm-spark")).to_have_text(re.compile(r"\S"))
    assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth")  # nothing is cut off
    lab.screenshot("table-busy", table.locator(".cvm-table").first)
    lab.kernel("from cvm_notebook.widgets.table import measuring; measuring.ALL_MEASURED = 0")
    measured = "print(fleet.table()._measuring.handle.cvm_ids is None)"
    by_cpu = table.get_by_role("columnheader", name="CPU").get_by_role("button")
    for down in ("descending", "ascending"):  # those in sight would stay the only ones with figures
        by_cpu.click()
        table.locator(f'.cvm-head [aria-sort="{down}"]').wait_for()
        until(lambda: lab.kernel(measured).strip() == "True")
    by_cpu.click()
    until(lambda: lab.kernel(measured).strip() == "False")
    lab.kernel("measuring.ALL_MEASURED = 60")


def rows_have_two_lines_where_the_page_is_narrow(lab, table):
    table.set_viewport_size({"width": 640, "height": 1000})
    table.locator(".cvm-narrow").wait_for()
    assert place(table, "alpha")["height"] == 52
    lab.screenshot("table-narrow", table.locator(".cvm-table").first)
    assert lab.axe(".cvm-table") == []
    table.set_viewport_size({"width": 1400, "height": 1000})
    table.locator(".cvm-narrow").wait_for(state="detached")


def logs_are_shown_under_the_table(lab, table):
    row(table, "alpha").click()
    press(table, "Logs")
    table.get_by_role("heading", name="Logs of alpha").wait_for()
    table.get_by_role("log").locator(".cvm-line").first.wait_for(timeout=PATIENCE)
    lab.screenshot("table-logs", table.locator(".cvm-table").first)
    press(table, "Close")
    table.get_by_role("log").wait_for(state="hidden")


def enter_and_a_double_click_show_the_card_under_the_table(lab, table):
    grid(table).focus()
    table.keyboard.press("ArrowDown")
    table.keyboard.press("Enter")
    details = table.get_by_role("region", name="Details of one CVM")
    details.get_by_role("heading", name="Details of").wait_for(timeout=PATIENCE)
    details.locator('.cvm-card[data-live="true"]').wait_for(timeout=PATIENCE)
    table.wait_for_function("() => document.activeElement.matches('.cvm-card h3')")
    assert lab.axe(".cvm-table") == []
    lab.screenshot("table-details")
    press(table, "Close the details")
    details.wait_for(state="hidden")
    expect(grid(table)).to_be_focused()
    row(table, "bravo").locator('[aria-colindex="3"]').dblclick()
    details.get_by_role("heading", name="Details of bravo").wait_for(timeout=PATIENCE)
    details.get_by_role("heading", name="bravo", exact=True).wait_for(timeout=PATIENCE)
    expect(table.get_by_text("1 selected", exact=True)).to_be_visible()


def cvms_stand_under_their_apps_by_the_keyboard(lab, table, cloud):
    twin = cloud.client.replicate_cvm("alpha")
    cloud.client.watch_cvm_state(twin.id, target="running")
    cloud.client.update_docker_compose(twin.id, COMPOSE.replace("1.27", "1.28"))
    cloud.client.watch_cvm_state(twin.id, target="running")
    lab.kernel("fleet.refresh()")
    press(table, "By app")
    tree, keys = table.get_by_role("treegrid"), table.keyboard
    group = tree.get_by_role("row", level=1).filter(has_text="alpha")
    group.get_by_text("2 versions").wait_for(timeout=PATIENCE)
    expect(group).to_contain_text("alpha 2 CVMs · 2 running · 0.12156 USD/h", use_inner_text=True)
    expect(tree.get_by_role("row", level=1)).to_have_count(4)
    expect(tree.get_by_role("row", level=2)).to_have_count(5)
    tree.focus()
    group.click()  # it folds, and is the row that keys are for
    keys.press("ArrowRight")
    keys.press("Space")
    table.get_by_text("2 selected", exact=True).wait_for()
    keys.press("ArrowLeft")
    group.and_(table.locator('[aria-expanded="false"]')).wait_for()
    expect(tree.get_by_role("row", level=2)).to_have_count(3)
    assert table.get_by_text("2 selected", exact=True).is_visible()  # what is folded is there still
    assert lab.axe(".cvm-table") == []
    keys.press("ArrowRight")
    group.and_(table.locator('[aria-expanded="true"]')).wait_for()
    keys.press("ArrowDown")
    keys.press("ArrowLeft")  # up to the group again
    table.locator(".cvm-group.cvm-active").wait_for()
    lab.screenshot("table-by-app", table.locator(".cvm-table").first)
    press(table, "By app")
    grid(table).wait_for()
    expect(table.locator(".cvm-group:visible")).to_have_count(0)


# --- acting ---------------------------------------------------------------------------------------


OLDER = """
import threading, time
from cvm_notebook.widgets.base.ui_thread import ui_thread
table = fleet.table()
threading.Timer(1.5, table._show_selection).start()
ui_thread.post(lambda: time.sleep(3), table)
"""


def test_what_is_selected_by_hand_is_known_and_acted_on_once(lab, cloud):
    page = lab.open("pick.ipynb", [BEGIN, OLDER], cloud=cloud).run_cell(0).page
    row(page, "alpha").wait_for(timeout=PATIENCE)
    live(page)
    a_selection_by_hand_outlives_older_messages_about_it(lab, page)
    a_selection_by_hand_is_explored_in_the_next_cell(lab, page)
    lab.kernel("fleet.table(undo=600)")
    a_stop_can_be_taken_back(lab, page, cloud)
    what_becomes_of_a_click_is_shown_over_the_rows(lab, page)
    lab.kernel("fleet.table(undo=0)")
    actions_wait_while_the_filter_hides_what_is_selected_and_the_bar_says_so(lab, page)
    each_action_goes_from_the_click_to_the_service(lab, page, cloud)
    press(page, "Replicate")
    page.get_by_role("button", name="All 5", exact=True).wait_for(timeout=PATIENCE)
    assert len(cloud.client.list_cvms()) == 5


def a_selection_by_hand_outlives_older_messages_about_it(lab, page):
    lab.run_cell(1)  # the click is taken after the past was sent
    row(page, "alpha").click()
    page.get_by_text("1 selected", exact=True).wait_for()
    page.wait_for_timeout(2_000)
    assert page.get_by_text("1 selected", exact=True).is_visible()  # and not only again, later
    lab.kernel(  # the widgets' own thread settles what has come
        "end = time.monotonic() + 10\n"
        "while not fleet.selection.names and time.monotonic() < end: time.sleep(0.02)"
    )
    assert lab.kernel("list(fleet.selection.names)") == "['alpha']"


REVERSED = """
import threading, time
from cvm_notebook.widgets.base.ui_thread import ui_thread
fleet.table().query = 'order by name desc'
time.sleep(0.3)
sent = threading.Event()
ui_thread.post(sent.set)
sent.wait(10)
"""


def test_a_click_is_for_the_row_that_was_pressed(lab, table):
    """While the pointer is down the rows stay where they are; at most for three seconds."""

    def alpha_is_first():
        return place(table, "alpha")["y"] < place(table, "delta")["y"]

    def pressed():
        lab.kernel("fleet.table().query, fleet.selection = 'order by name', []")
        until(alpha_is_first)
        row(table, "alpha").hover()
        table.mouse.down()
        began = table.evaluate("performance.now()")
        lab.kernel(REVERSED)
        stays = alpha_is_first()
        table.mouse.up()
        return table.evaluate("performance.now()") - began < 2_500, stays

    for _ in range(10):
        in_time, stays = pressed()
        if in_time:
            break
    assert stays
    table.get_by_text("1 selected", exact=True).wait_for()
    expect(row(table, "alpha")).to_have_attribute("aria-selected", "true")
    until(lambda: not alpha_is_first())


def a_selection_by_hand_is_explored_in_the_next_cell(lab, page):
    row(page, "charlie").click(modifiers=["ControlOrMeta"])
    page.get_by_text("2 selected", exact=True).wait_for()
    both = "sorted(fleet.selection.frame()['name'])"
    until(lambda: lab.kernel(both) == "['alpha', 'charlie']")  # it is sent when the hand rests
    lab.kernel("fleet.selection = fleet.where(name='d*')")
    page.get_by_text("1 selected", exact=True).wait_for()
    expect(row(page, "delta")).to_have_attribute("aria-selected", "true")


def a_stop_can_be_taken_back(lab, page, cloud):
    row(page, "alpha").click()
    press(page, "Stop")
    press(page, "Undo")
    page.get_by_role("status").get_by_text("Undone: alpha keeps running.").wait_for()
    assert state(cloud, "alpha") == "running"
    assert posts(cloud, "/stop") == []
    assert lab.kernel("fleet.operations()['state'].tolist()") == "['cancelled']"


def what_becomes_of_a_click_is_shown_over_the_rows(lab, page):
    first = place(page, "alpha")
    row(page, "delta").click()
    press(page, "Stop")
    toasts = page.locator(".cvm-toasts")
    toasts.get_by_text("Stopping delta").wait_for()
    assert place(page, "alpha") == first  # nothing moves under the pointer
    bar = page.get_by_role("toolbar", name="What to do with the selected CVMs").bounding_box()
    one = toasts.locator(".cvm-toast", has_text="Stopping").bounding_box()
    assert one["y"] + one["height"] <= bar["y"]
    lab.screenshot("table-toast", page.locator(".cvm-table").first)
    press(page, "Do it now")
    toasts.get_by_role("status").get_by_text("Stopped delta").wait_for()  # for a few seconds
    shows(page, "delta", "stopped")


def actions_wait_while_the_filter_hides_what_is_selected_and_the_bar_says_so(lab, page):
    row(page, "alpha").click()
    row(page, "bravo").click(modifiers=["ControlOrMeta"])
    page.get_by_role("searchbox").fill("brav")
    page.get_by_text("2 selected, 1 of them hidden by the filter", exact=True).wait_for()
    restart = page.get_by_role("button", name="Restart", exact=True)
    expect(restart).to_be_disabled()
    expect(restart).to_have_attribute("title", re.compile(r"^alpha hidden by the filter"))
    press(page, "Clear")
    page.get_by_text("1 selected", exact=True).wait_for()
    restart.dblclick()  # which is one wish
    until(lambda: "'bravo'" in lab.kernel(ASKED))
    done(lab)
    assert lab.kernel(ASKED) == "['bravo']"
    page.get_by_role("searchbox").fill("charl")
    page.get_by_text("1 selected, hidden by the filter", exact=True).wait_for()
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_disabled()
    press(page, "Show")
    page.get_by_text("1 selected", exact=True).wait_for()
    row(page, "alpha").wait_for()


ASKED = "[record.name for record in fleet.operator.records() if record.verb == 'restart']"


def each_action_goes_from_the_click_to_the_service(lab, page, cloud):
    row(page, "alpha").click()
    for verb in ("Stop", "Start", "Restart", "Shut down"):
        path = "/" + verb.lower().replace(" ", "")
        already = len(posts(cloud, path))
        press(page, verb)
        until(lambda path=path, already=already: len(posts(cloud, path)) > already)
        done(lab)
        after = "running" if verb in {"Start", "Restart"} else "stopped"
        shows(page, "alpha", after)
        assert state(cloud, "alpha") == after
        assert len(posts(cloud, path)) == already + 1


def test_the_keyboard_alone_finds_acts_and_deletes(lab, table, cloud):
    escape_keeps_what_was_to_be_deleted(table, cloud)
    press(table, "Clear")
    lab.kernel("fleet.table(undo=0)")
    a_row_has_a_menu_and_letters_for_the_hand_that_stays_on_the_keys(lab, table, cloud)
    find_stop_and_delete(table, cloud)


def escape_keeps_what_was_to_be_deleted(table, cloud):
    row(table, "alpha").click()
    press(table, "Delete")
    dialog = table.get_by_role("alertdialog")
    dialog.get_by_role("textbox").fill("alpha")
    expect(
        dialog.get_by_role("button", name=re.compile("Delete"))
    ).to_be_disabled()  # nothing is ticked
    table.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert len(cloud.client.list_cvms()) == 4


def a_row_has_a_menu_and_letters_for_the_hand_that_stays_on_the_keys(lab, table, cloud):
    grid(table).focus()
    keys = table.keyboard
    keys.press("/")
    assert table.evaluate("() => document.activeElement.type") == "search"
    keys.type("bravo")
    row(table, "alpha").wait_for(state="hidden")
    keys.press("ArrowDown")
    keys.press("x")
    table.get_by_text("1 selected", exact=True).wait_for()
    keys.press("m")
    menu = table.get_by_role("menu")
    menu.get_by_role("menuitem", name="Open Enter").wait_for()
    assert lab.axe(".cvm-table") == []
    keys.press("Escape")
    menu.wait_for(state="hidden")
    expect(grid(table)).to_be_focused()
    keys.press("s")
    shows(table, "bravo", "stopped")
    row(table, "bravo").get_by_role("button", name="Menu of bravo").click()
    menu.get_by_role("menuitem", name="Start", exact=True).click()
    shows(table, "bravo", "running")
    row(table, "bravo").click(button="right")
    menu.get_by_role("menuitem", name="Copy endpoint").click()  # which no column shows
    table.locator(".cvm-visually-hidden", has_text="The endpoint copied").wait_for()
    keys.press("Control+s")  # stays the notebook's own
    assert len(posts(cloud, "/stop")) == 1


def find_stop_and_delete(table, cloud):
    keys = table.keyboard
    press(table, "Clear")
    table.get_by_role("searchbox").fill("")
    row(table, "alpha").wait_for()  # keys are for the rows that are drawn
    table.get_by_role("searchbox").focus()
    keys.type("charlie")
    row(table, "alpha").wait_for(state="hidden")
    keys.press("ArrowDown")
    keys.press("Space")
    table.get_by_text("1 selected", exact=True).wait_for()
    for _ in range(12):
        keys.press("Tab")
        if table.evaluate("() => document.activeElement.textContent") == "Stop":
            break
    keys.press("Enter")
    shows(table, "charlie", "stopped")
    for _ in range(8):
        keys.press("Tab")
        if table.evaluate("() => document.activeElement.textContent") == "Delete":
            break
    keys.press("Enter")
    table.get_by_role("alertdialog", name="Delete 'charlie'?").wait_for()
    for _ in range(2):
        keys.press("Space")
        keys.press("Tab")
    keys.type("charlie")
    keys.press("Enter")
    table.get_by_role("button", name="All 3", exact=True).wait_for(timeout=PATIENCE)
    assert {one.name for one in cloud.client.list_cvms()} == {"alpha", "bravo", "delta"}


# --- when something is not there ------------------------------------------------------------------


LOSSY = """
import cvm_notebook.widgets.base.view as view_module
was, lost = view_module.publish, []
def lossy(widget, content, buffers=None):
    if content["kind"] == "patch" and len(lost) < 1:
        lost.append(content)
    else:
        was(widget, content, buffers)
view_module.publish = lossy
"""


def test_without_news_service_or_kernel_the_table_says_so_and_keeps_what_it_knew(lab, table, cloud):
    messages_that_are_lost_are_noticed_and_asked_for_again(lab, table, cloud)
    the_badge_says_offline_and_recovers(lab, table, cloud)
    expect(lab.page.locator(".cvm-static")).to_be_hidden()  # there is the live one
    lab.save()
    a_page_without_a_kernel_shows_the_last_snapshot(lab)
    after_a_restart_of_the_kernel_nothing_is_shown_as_live(lab, table, cloud)
    without_its_kernel_the_table_is_a_snapshot_and_its_buttons_are_inert(lab, table)
    a_notebook_that_is_opened_again_without_its_kernel_shows_the_snapshot(lab)


def messages_that_are_lost_are_noticed_and_asked_for_again(lab, table, cloud):
    lab.kernel(LOSSY)
    for name in ("alpha", "bravo"):
        cloud.client.stop_cvm(name)
        lab.kernel("fleet.refresh()")
        shows(table, name, "stopped")
    assert lab.kernel("len(lost)") == "1"


def the_badge_says_offline_and_recovers(lab, table, cloud):
    cloud.inject({"kind": "reset", "route": "*", "times": 10_000})
    lab.kernel("fleet.refresh()")
    table.locator('.cvm-health[data-state="offline"]').wait_for(timeout=30_000)
    expect(table.locator(".cvm-health")).to_have_text(
        re.compile(r"offline since \d\d:\d\d"), use_inner_text=True
    )
    cloud.clear_faults()
    lab.kernel("fleet.refresh()")
    table.locator('.cvm-health[data-state="live"]').wait_for(timeout=30_000)


def a_page_without_a_kernel_shows_the_last_snapshot(lab):
    page = lab.html()
    assert "alpha" in page.content()
    assert re.search(r"snapshot of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page.content())
    page.close()
    outputs = lab.notebook_json()["cells"][0]["outputs"]
    assert "<script" not in json.dumps(outputs)
    assert "widgets" not in lab.notebook_json()["metadata"]


# how long the badge is wrong, from when Jupyter tells the page that its kernel is restarted
RESTART = """const kernel = panel.sessionContext.session.kernel;
    const badge = panel.node.querySelector('.cvm-table .cvm-health');
    const restarting = new Promise(done => kernel.statusChanged.connect((_, status) => {
        if (status === 'restarting') done(performance.now()); }));
    const gone = new Promise(done => new MutationObserver(() => {
        if (badge.dataset.state === 'gone') done(performance.now()); })
        .observe(badge, { attributes: true }));
    const late = new Promise(done => setTimeout(done, 30_000, null));
    const both = Promise.all([restarting, gone]).then(([from, to]) => to - from);
    await kernel.restart();
    return await Promise.race([both, late])"""


def after_a_restart_of_the_kernel_nothing_is_shown_as_live(lab, table, cloud):
    waited = lab._in_page(RESTART)
    assert waited is not None  # ms, on the page's clock
    assert waited < 8_000  # of the 16 s of silence after which nobody is there any more
    table.locator('.cvm-health[data-state="gone"]').wait_for(timeout=10_000)
    lab._connect()
    lab.use(cloud).run_all()
    live(table)


def without_its_kernel_the_table_is_a_snapshot_and_its_buttons_are_inert(lab, table):
    row(table, "alpha").click()
    lab.save().shutdown()
    gone = table.locator('.cvm-health[data-state="gone"]')
    gone.wait_for(timeout=25_000)
    expect(gone).to_have_text(
        re.compile(r"disconnected: data of \d\d:\d\d:\d\d; re-run the cell"), use_inner_text=True
    )
    expect(table.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    expect(row(table, "alpha")).to_be_visible()


def a_notebook_that_is_opened_again_without_its_kernel_shows_the_snapshot(lab):
    snapshot = lab.page.locator(".cvm-static")
    lab._reloaded = True
    lab.page.reload(timeout=PATIENCE)
    snapshot.wait_for(timeout=PATIENCE)
    expect(snapshot).to_have_text(
        re.compile(r"\d CVMs; live; snapshot of \d{4}-\d\d-\d\d"), use_inner_text=True
    )
    expect(snapshot).to_contain_text("alpha", use_inner_text=True)
    lab.screenshot("table-opened-again")


FORM = "form = cvm.ProvisionForm(client)\nform"
MINE = "import ipywidgets\nmine = ipywidgets.IntSlider(description='mine')\nmine"
BOARD = "board = cvm.dashboard(client)\nboard"


def test_two_views_agree_and_a_page_that_is_loaded_again_finds_them_and_all_others(lab, cloud):
    cells = [BEGIN, "fleet", MINE, BOARD, "board.close()", BOARD, FORM]
    page = lab.open("views.ipynb", cells, cloud=cloud).run_cell(0).run_cell(1).page
    page.set_viewport_size({"width": 1400, "height": 4000})  # JupyterLab draws what can be seen
    tables = page.locator(".cvm-table")
    tables.nth(1).wait_for(timeout=PATIENCE)
    live(page)
    first, second = tables.nth(0), tables.nth(1)
    two_views_agree_and_a_cell_that_runs_again_leaks_nothing(lab, first, second)
    what_is_searched_for_is_the_same_in_every_view(lab, first, second)
    for number in range(2, len(cells)):
        lab.run_cell(number)
    board = page.locator(".cvm-dashboard")
    live(board)
    board.locator(".cvm-space .cvm-row").first.click()
    board.locator(".cvm-card").first.wait_for(timeout=PATIENCE)
    lab.run_cell(5)  # nobody looks at the first one any more: it is closed
    live(board)
    form = page.get_by_role("region", name="New CVM")
    form.get_by_label("Name", exact=True).fill("form-again")
    form.get_by_role("textbox", name="Compose file", exact=True).fill(COMPOSE)
    form.get_by_text("1 service").wait_for()

    shown = first.get_by_text("showing 1 of 4")
    others = page.locator(".widget-slider"), board.locator(".cvm-row"), form.get_by_text("live")
    lab.reload(shown, *others)
    expect(first.get_by_role("searchbox")).to_have_value(re.compile("alpha"))
    row(first, "delta").and_(page.locator("[aria-selected=true]")).wait_for()
    expect(form.get_by_label("Name", exact=True)).to_have_value("form-again")
    live(first)
    live(board)
    cloud.client.stop_cvm("delta")
    lab.kernel("fleet.refresh()")
    shows(first, "delta", "stopped")
    lab.run_cell(4)
    board.wait_for(state="detached", timeout=PATIENCE)
    page.set_viewport_size({"width": 1400, "height": 1000})


def two_views_agree_and_a_cell_that_runs_again_leaks_nothing(lab, first, second):
    row(first, "delta").click()
    second.locator("[aria-selected=true]").filter(has_text="delta").wait_for()
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    before = lab.kernel(count)
    for _ in range(5):
        lab.run_cell(1)
    assert lab.kernel(count) == before
    expect(lab.page.locator(".cvm-table")).to_have_count(2)


def what_is_searched_for_is_the_same_in_every_view(lab, first, second):
    first.get_by_role("searchbox").fill("name = 'bravo'")
    for view in (first, second):
        view.get_by_text("showing 1 of 4").wait_for()
        expect(view.get_by_role("searchbox")).to_have_value("name = 'bravo'")
    second.get_by_role("searchbox").fill("")
    first.get_by_text("showing 1 of 4").wait_for(state="hidden")
    expect(first.get_by_role("searchbox")).to_have_value("")
    until(lambda: lab.kernel("fleet.table().query") == "''")  # it is sent when the hand rests
    lab.kernel("fleet.table().query = \"name like '%a' and name != 'alpha'\"")
    first.get_by_text("showing 1 of 4").wait_for()
    expect(second.get_by_role("searchbox")).to_have_value(re.compile("alpha"))
