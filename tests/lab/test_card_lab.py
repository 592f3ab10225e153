"""The card of one CVM in real front ends: what is seen, what a click does, what happens without."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.cvm_cloud(speed=20)  # a boot can be watched

BEGIN = (
    "import cvm_notebook as cvm\nclient = cvm.connect()\nfleet = cvm.Fleet(client)\nfleet['my-app']"
)
COMPOSE = (
    "services:\n  web:\n    image: nginx:1.27\n    ports:\n      - 80:80\n"
    "  db:\n    image: postgres:17\n"
)
PATIENCE = 40_000


@pytest.fixture
def cloud(cvm_cloud, cvm_client):
    """A cloud of the test's own, with one CVM that runs."""
    cvm_client.commit_cvm_provision(cvm_client.provision_cvm(name="my-app", compose_file=COMPOSE))
    cvm_cloud.advance(600)  # it has booted
    cvm_cloud.client = cvm_client
    return cvm_cloud


@pytest.fixture
def card(lab, cloud):
    """The card of that CVM, displayed and live."""
    lab.open("card.ipynb", [BEGIN], cloud=cloud).run_all()
    return live(lab.page)


def live(page):
    card = page.locator('.cvm-card[data-live="true"]').first
    card.wait_for(timeout=PATIENCE)
    return card


def shows(card, status):
    card.locator(f'.cvm-big[data-status="{status}"]').wait_for(timeout=PATIENCE)


def press(card, name):
    card.get_by_role("button", name=name, exact=True).click()


def tab(card, name):
    card.get_by_role("tab", name=name).click()
    return card.get_by_role("tabpanel", name=name)


# --- what is seen ---------------------------------------------------------------------------------


BUSY = """
import time
from datetime import UTC, datetime, timedelta
from cvm_notebook.live.store.figures import Sample
info = fleet.store.figures.sample(fleet["my-app"].id).info
fleet.store.figures.forget([fleet["my-app"].id])
for ago in range(3_000, -1, -60):
    at = datetime.now(UTC) - timedelta(seconds=ago)
    busy = 1 + ago % 7
    info = msgspec.structs.replace(
        info, loadavg_one=busy, loadavg_five=busy, loadavg_fifteen=busy,
        used_memory=info.total_memory * (3_200 - ago) // 4_000,
    )
    fleet.store.measure([
        Sample.of(fleet["my-app"].id, info, at=at, received=time.monotonic() - ago)
    ])
"""


def test_every_tab_is_readable_by_everybody_in_both_themes(lab, card, cloud):
    card.locator(".cvm-meter").first.wait_for(timeout=PATIENCE)
    idle = {f"/sysinfo/loadavg_{minutes}": 2 for minutes in ("one", "five", "fifteen")}
    cloud.inject({"kind": "rewrite", "route": "GET /cvms/*/stats", "arg": idle, "times": None})
    lab.kernel("import msgspec\n" + BUSY)
    card.get_by_text("Idle for 50 min").wait_for(timeout=PATIENCE)
    costs = card.locator(".cvm-card-costs").inner_text()
    assert [one.split()[-1] for one in costs.split(" · ")] == ["USD/h", "today", costs.split()[-1]]
    assert costs.endswith("/month")
    seen = {
        "Overview": card.get_by_role("meter", name="memory"),
        "Logs": card.get_by_text("start worker process").first,
        "Metrics": card.get_by_role("img", name="CPU from"),
        "Activity": card.get_by_role("cell", name="create"),
        "Compose": card.get_by_text("The compose file matches the CVM's hash"),
        "Trust": card.get_by_role("row", name="pass event log fits"),
    }
    trust = tab(card, "Trust")
    press(trust, "Verify now")
    seen["Trust"].wait_for(timeout=PATIENCE)
    trust.get_by_text("Measurements and certificates").click()
    trust.get_by_text("No signature is checked for this list").wait_for(timeout=PATIENCE)
    for theme, rules in (("light", None), ("dark", ["color-contrast"])):  # colours differ alone
        lab.theme(theme)
        for name, sign in seen.items():
            tab(card, name)
            sign.wait_for(timeout=PATIENCE)
            lab.screenshot(f"card-{name.lower()}-{theme}", card)
            assert lab.axe(".cvm-card", rules=rules) == []
    metrics = tab(card, "Metrics")
    charts_are_read_by_the_keyboard(lab, metrics, card)
    press(metrics, "Auto-stop after 1 h idle")
    metrics.get_by_text("shuts down my-app after 1 h").wait_for(timeout=PATIENCE)
    press(metrics, "Cancel auto-stop")
    metrics.get_by_role("button", name="Auto-stop after 1 h idle").wait_for(timeout=PATIENCE)

    hostile_texts_stay_texts_on_every_surface(lab, card)


def charts_are_read_by_the_keyboard(lab, panel, card):
    card.evaluate("card => { card.style.inlineSize = '700px'; }")
    panel.get_by_role("group", name="Charts.").focus()
    lab.page.keyboard.press("End")
    panel.get_by_text(re.compile(r"CPU [\d.]+ % \([\d.]+ of 1 vCPU\) · Memory")).wait_for()
    lab.screenshot("card-metrics-read", card)
    last = panel.get_by_role("status").first.inner_text()
    lab.page.keyboard.press("ArrowLeft")
    expect(panel.get_by_role("status").first).not_to_have_text(last, use_inner_text=True)
    assert card.get_by_role("img", name="Memory from").evaluate(
        "svg => svg.getBoundingClientRect().width <= svg.closest('.cvm-card').clientWidth"
    )
    card.evaluate("card => { card.style.inlineSize = ''; }")


HOSTILE = r"""
from dataclasses import replace
import msgspec
from cvm_notebook.api.models.cvm import Endpoint, OsInfo
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Trust, TrustCheck
from datetime import UTC, datetime
import time
evil = '<img src=x onerror="window.pwned=1">'
was = fleet["my-app"].row
card = fleet[was.id].card()
fleet._reflector.close()
cvm_ = msgspec.structs.replace(
    was.cvm, name=evil, app_id=evil, compose_hash="</script><script>window.pwned=1</script>",
    os=OsInfo(name="[x](javascript:window.pwned=1)"), status=evil,
    endpoints=(
        Endpoint(app="javascript:window.pwned=1"), Endpoint(app="http://evil.example/"),
        Endpoint(app="https://user:pw@plain.example/"), Endpoint(app="data:text/html,x"),
        Endpoint(app="https://fine.example/" + evil),
    ),
)
fleet.store.replace([cvm_], received=time.monotonic())
fleet.store.patch([Observation(id=was.id, status=evil, boot_error=evil, boot_progress=evil,
    received=time.monotonic() + 1, source="stream")])
fleet.store.attest({was.id: Trust(word=evil, summary=evil, at=datetime.now(UTC), until=None,
    checks=(TrustCheck(evil, evil, evil, evil, evil),))})
card._logs.stop()
from cvm_notebook.api.resources.logs import LogLine
for text in (evil, "\x1b[31m" + evil, "\x1b]8;;https://evil.example\x1b\\link", "a" * 100000,
             "\u202egnp", "{{7*7}} ${x} $\\href{x}$"):
    card._logs._take(card._logs._run, LogLine(text, evil))
card._logs.flush()
card._say({"kind": "details", "what": "compose", "check": {"ok": None, "text": evil},
    "facts": [[evil, evil]], "texts": [[evil, evil]]})
card._say({"kind": "details", "what": "operations",
    "rows": [[0, evil, evil, 1.0, evil, evil]]})
card._say({"kind": "notice", "text": evil})
"""


def hostile_texts_stay_texts_on_every_surface(lab, card):
    tab(card, "Logs")
    card.get_by_text("start worker process").first.wait_for(timeout=PATIENCE)
    lab.kernel(HOSTILE)
    panel = card.get_by_role("tabpanel", name="Logs")
    panel.get_by_text("(100000 characters)").wait_for(timeout=PATIENCE)
    for name in ("Overview", "Activity", "Compose", "Environment", "Trust", "Logs"):
        tab(card, name)
    expect(card.locator(".cvm-name")).to_have_text(
        '<img src=x onerror="window.pwned=1">', use_inner_text=True
    )
    expect(card.locator("img, script, iframe")).to_have_count(0)
    assert lab.page.evaluate("window.pwned") is None
    links = card.get_by_role("link", include_hidden=True)
    hosts = [link.get_attribute("href").split("/")[2] for link in links.all()]
    assert hosts == ["plain.example", "fine.example"]  # without the user and the password
    tab(card, "Overview")
    lab.screenshot("card-hostile", card)


def test_tabs_and_what_is_proven_go_by_the_keyboard_though_a_message_is_lost(lab, card, cloud):
    card.get_by_role("tab", name="Overview").focus()
    for key, name in (("ArrowLeft", "Activity"), ("Home", "Overview"), ("ArrowRight", "Logs")):
        lab.page.keyboard.press(key)
        chosen = card.get_by_role("tab", name=name, selected=True)
        expect(chosen).to_be_focused()
    expect(card.get_by_role("tabpanel")).to_have_count(1)
    badge, keys = card.locator(".cvm-trust"), lab.page.keyboard
    expect(badge).to_have_text(re.compile(r"not verified yet$"), use_inner_text=True)
    badge.focus()
    keys.press("Enter")
    trust = card.get_by_role("tabpanel", name="Trust")
    trust.get_by_text("Not verified yet.").wait_for()
    assert not [one for one in cloud.requests() if "attestation" in one["path"]]
    keys.press("Tab")
    keys.press("Space")
    trust.get_by_role("row", name="fresh, and bound").wait_for(timeout=PATIENCE)
    trust.locator('[aria-busy="false"] button:text("Verify now"):focus').wait_for(timeout=PATIENCE)
    expect(trust.get_by_role("row")).to_have_count(1 + 9)
    assert trust.get_by_role("columnheader").all_inner_texts()[0] == "Result"
    expect(badge).to_contain_text("⚠", use_inner_text=True)
    expect(badge).to_contain_text("SIMULATED", use_inner_text=True)
    assert "verified" not in trust.inner_text().lower()
    keys.press("Tab")
    keys.press("Enter")
    trust.get_by_role("definition").first.wait_for(timeout=PATIENCE)
    lab.kernel("fleet['my-app'].card()._n += 1")  # as if a message had been lost
    cloud.client.stop_cvm("my-app")  # it was a verdict on that boot
    card.locator('.cvm-trust[data-word=""]').wait_for(timeout=PATIENCE)
    trust.get_by_text("Only a CVM that runs").wait_for(timeout=PATIENCE)
    shows(card, "stopped")  # the whole was asked for
    assert lab.cells()[0]["cell_type"] == "code"  # the keys did not reach the notebook


@pytest.mark.cvm_cloud(speed=1)  # a boot goes on until time is moved
def test_a_boot_is_shown_step_by_step_and_ends_in_its_endpoints(lab, cloud):
    broken = COMPOSE.replace("postgres:17", "ghcr.io/none/does-not-exist:1")
    cloud.client.commit_cvm_provision(
        cloud.client.provision_cvm(name="broken", compose_file=broken)
    )
    cloud.client.stop_cvm("my-app")
    cloud.advance(600)
    cloud.client.watch_cvm_state("my-app", target="stopped")
    lab.open("boot.ipynb", [BEGIN, "fleet['broken']"], cloud=cloud).run_all()
    a_failed_boot_leads_to_its_log(lab, lab.page.get_by_role("region", name="CVM broken"))
    card = live(lab.page)
    press(card, "Start")
    card.locator('.cvm-steps [data-step="now"]').wait_for(timeout=PATIENCE)
    lab.screenshot("card-booting", card)
    cloud.advance(600)
    shows(card, "running")
    expect(card.locator('.cvm-op-line[data-verb="start"]')).to_have_text(
        "✓\nstart: done", use_inner_text=True
    )  # for 20 s
    card.locator(".cvm-steps").wait_for(state="hidden")
    expect(card.get_by_role("link").first).to_have_attribute("href", re.compile(r"^https://"))


def a_failed_boot_leads_to_its_log(lab, card):
    step = card.locator('.cvm-steps [data-step="failed"]')
    step.wait_for(timeout=PATIENCE)
    expect(step).to_contain_text("starting containers", use_inner_text=True)
    expect(card.locator('.cvm-steps [data-step="done"]')).to_have_count(7)
    card.locator(".cvm-boot-line").get_by_text("failed to start").wait_for(timeout=PATIENCE)
    lab.screenshot("card-failed", card)
    press(card, "Show the boot log")
    line = card.locator('.cvm-line[data-level="error"]').first
    line.wait_for(timeout=PATIENCE)
    expect(card.get_by_label("Which log")).to_have_value("serial")
    tab(card, "Metrics").get_by_text("Not running: no metrics.").wait_for(timeout=PATIENCE)
    assert lab.axe(".cvm-card") == []


OTHER = COMPOSE.replace("1.27", "1.28")


def looked_at(lab, name, target, card):
    """Nobody is kept out in either theme, wide or narrow."""
    lab.page.set_viewport_size({"width": 1400, "height": 2600})
    assert lab.in_both_themes(".cvm-card", name, target) == []
    card.evaluate("card => { card.style.inlineSize = '460px'; }")
    lab.screenshot(f"{name}-narrow", target)
    assert lab.axe(".cvm-card") == []
    card.evaluate("card => { card.style.inlineSize = ''; }")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_cvm_is_changed_and_taken_back_by_the_keyboard(lab, card, cloud):
    keys = lab.page.keyboard
    card.get_by_role("button", name="Change this CVM").focus()
    keys.press("Enter")
    form = card.get_by_role("region", name="Change my-app")
    compose = form.get_by_role("textbox", name="Compose file", exact=True)
    compose.and_(form.locator(":enabled:read-write")).wait_for(timeout=PATIENCE)
    expect(compose).to_have_value(re.compile("nginx:1.27"))
    expect(card.locator(".cvm-changing:focus-within")).to_have_count(1)
    compose.fill(OTHER)
    form.get_by_label("Disk, GB").fill("40")
    form.get_by_label("Name of a variable").fill("TOKEN")
    keys.press("Enter")
    form.get_by_role("cell", name="TOKEN", exact=True).wait_for(timeout=PATIENCE)
    form.get_by_role("button", name="Preview").focus()
    keys.press("Enter")
    form.get_by_role("row", name="disk size 20 40").wait_for(timeout=PATIENCE)
    lab.page.wait_for_function("document.activeElement.textContent.startsWith('Send')")
    looked_at(lab, "change-preview", form.get_by_role("group", name="Step 2"), card)
    form.get_by_role("button", name="Send").focus()
    keys.press("Enter")
    form.get_by_text("2 · What was sent").wait_for(timeout=PATIENCE)
    form.get_by_role("button", name="Change it again").wait_for(timeout=PATIENCE)
    lab.screenshot("change-done", card.locator(".cvm-changing"))
    card.get_by_role("button", name="Close the form").focus()
    keys.press("Enter")
    expect(card.get_by_role("button", name="Change this CVM")).to_be_focused()

    revisions = tab(card, "Revisions")
    revisions.get_by_text("nginx:1.28").wait_for(timeout=PATIENCE)  # the newest two, compared
    newest = revisions.get_by_role("radio", name="First").first
    newest.focus()
    keys.press("ArrowDown")
    first = revisions.get_by_role("row", name="create")
    first.get_by_role("button", name="Go back").focus()
    keys.press("Enter")
    question = revisions.get_by_role("alertdialog")
    question.get_by_text("Lost: TOKEN").wait_for(timeout=PATIENCE)
    looked_at(lab, "card-revisions", card, card)
    expect(question.get_by_role("button", name="Go back")).to_be_disabled()
    question.get_by_role("textbox").focus()
    keys.type("my-app")
    keys.press("Enter")
    card.locator('.cvm-op-line[data-verb="redeploy"][data-state="reached"]').wait_for(
        timeout=PATIENCE
    )
    revisions.locator("tr").nth(1).get_by_text("runs now").wait_for(timeout=PATIENCE)
    now = cloud.client.get_cvm_compose_file("my-app")
    assert (now["docker_compose_file"], now["allowed_envs"]) == (COMPOSE, [])


# --- what is done ---------------------------------------------------------------------------------


def test_a_stop_is_taken_back_then_done_and_a_deletion_leaves_a_card_that_says_gone(
    lab, card, cloud
):
    lab.kernel("fleet['my-app'].card()._clicks.undo = 600")
    a_stop_is_taken_back_within_its_seconds(card, cloud)
    a_stop_has_its_progress_under_the_button(card, cloud)
    a_deletion_by_the_keyboard_alone_leaves_a_card_that_says_gone(lab, card, cloud)


def a_stop_is_taken_back_within_its_seconds(card, cloud):
    press(card, "Stop")
    press(card, "Undo")
    card.get_by_text("keeps running.").wait_for(timeout=PATIENCE)
    assert cloud.client.get_cvm_state("my-app").status == "running"
    assert not [one for one in cloud.requests() if one["path"].endswith("/stop")]


def a_stop_has_its_progress_under_the_button(card, cloud):
    press(card, "Stop")
    card.get_by_text("Stopping my-app in").wait_for()
    press(card, "Do it now")
    line = card.locator('.cvm-op-line[data-verb="stop"]')
    line.and_(card.locator('[data-state="reached"]')).wait_for(timeout=PATIENCE)
    # the line is there for 20 s
    notch = line.evaluate("one => parseFloat(one.style.getPropertyValue('--cvm-at'))")
    shows(card, "stopped")
    assert cloud.client.get_cvm_state("my-app").status == "stopped"
    stop = card.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_disabled()
    expect(stop).to_have_attribute("title", re.compile("already stopped"))
    box, at = stop.bounding_box(), card.locator(".cvm-ops").bounding_box()["x"]
    assert box["x"] <= at + notch <= box["x"] + box["width"]


def a_deletion_by_the_keyboard_alone_leaves_a_card_that_says_gone(lab, card, cloud):
    lab.kernel("fleet['my-app'].card()._clicks.undo = 0")
    page = lab.page
    card.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    question = card.get_by_role("alertdialog")
    question.wait_for(timeout=PATIENCE)
    lab.screenshot("card-delete", card)
    assert lab.axe(".cvm-card") == []
    for _ in range(question.get_by_role("checkbox").count()):
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
    page.keyboard.type("my-app")
    page.keyboard.press("Enter")
    shows(card, "gone")
    card.get_by_text("by you").first.wait_for(timeout=PATIENCE)
    expect(card.locator(".cvm-under")).to_have_text(
        re.compile(r"^Deleted at "), use_inner_text=True
    )
    expect(card.locator("dt").get_by_text("compose hash")).to_be_visible()
    lab.screenshot("card-deleted", card)
    assert lab.axe(".cvm-card") == []
    assert cloud.client.list_cvms() == []
    expect(card.get_by_role("button", name="Stop", exact=True)).to_be_disabled()


# --- logs, and without a kernel -------------------------------------------------------------------


LINES = r"""
from cvm_notebook.api.resources.logs import LogLine
card = fleet["my-app"].card()
def say(*texts):
    for text in texts:
        card._logs._take(card._logs._run, LogLine(text, "stdout"))
    card._mark()
"""


def test_logs_are_read_and_followed_and_without_its_kernel_the_card_is_inert(lab, card, cloud):
    logs_are_read_by_container_and_followed_until_stopped(lab, card)
    without_its_kernel_the_card_is_a_snapshot_and_its_buttons_are_inert(lab, card, cloud)


def logs_are_read_by_container_and_followed_until_stopped(lab, card):
    panel = tab(card, "Logs")
    panel.get_by_text("nginx/1.27", exact=False).first.wait_for(timeout=PATIENCE)  # by default
    which = panel.get_by_label("Which log")
    expect(which).to_have_value("c:dstack-web-1")
    expect(panel.locator(".cvm-line-time").first).to_be_visible()
    which.select_option(label="All containers")
    whose = panel.locator(".cvm-line-source")
    whose.get_by_text("dstack-db-1").first.wait_for(timeout=PATIENCE)
    whose.get_by_text("dstack-web-1").first.wait_for(timeout=PATIENCE)
    times = panel.locator(".cvm-line-time").evaluate_all("all => all.map(one => one.dateTime)")
    assert times == sorted(times)
    which.select_option(label="dstack-web-1")
    press(panel, "Follow")
    panel.locator('[data-state="following"]').wait_for(timeout=PATIENCE)
    lines = panel.locator(".cvm-line")
    before = lines.count()
    panel.page.wait_for_function(
        "before => document.querySelectorAll('.cvm-line').length > before",
        arg=before,
        timeout=PATIENCE,
    )
    following_waits_for_who_reads_further_up(lab, panel)
    press(panel, "Stop following")
    panel.locator('[data-state="stopped"]').wait_for(timeout=PATIENCE)
    what_is_found_is_counted_and_gone_through(lab, panel)
    an_expression_never_holds_up_the_page(lab, panel)
    with lab.page.expect_download() as saved:
        press(panel, "Download")
    assert saved.value.suggested_filename == "my-app-dstack-web-1.log"
    assert "a needle of hay" in Path(saved.value.path()).read_text()
    panel.get_by_label("Only lines since").fill("yesterday")
    panel.get_by_label("Only lines since").press("Enter")
    panel.get_by_text("'yesterday' is not a time").wait_for(timeout=PATIENCE)


def following_waits_for_who_reads_further_up(lab, panel):
    box = panel.get_by_role("log")
    lab.kernel(LINES + "say(*(f'INFO: filler {n}' for n in range(60)))")
    panel.get_by_text("filler 59").wait_for(timeout=PATIENCE)
    box.evaluate("box => { box.scrollTop = 0; }")
    panel.locator(".cvm-log-state").get_by_text("⏸ paused").wait_for(timeout=PATIENCE)
    lab.kernel(
        "say('WARN: a needle of hay', 'ERROR: no needle', 'debug: x', 'a Needle', 'a' * 60 + '!')"
    )
    more = panel.locator(".cvm-log-end")
    more.get_by_text("new lines").wait_for(timeout=PATIENCE)
    expect(more).to_contain_text("⏸ paused", use_inner_text=True)
    expect(panel.get_by_text("a needle of hay")).to_have_count(0)
    assert box.evaluate("box => box.scrollTop") == 0
    more.click()
    panel.get_by_text("a needle of hay").wait_for(timeout=PATIENCE)
    panel.locator('.cvm-line[data-level="error"]').get_by_text("no needle").wait_for()
    expect(more).to_be_hidden()
    expect(panel.locator(".cvm-log-state")).to_contain_text("following", use_inner_text=True)


def what_is_found_is_counted_and_gone_through(lab, panel):
    find, hits = panel.get_by_role("searchbox", name="Find in log"), panel.locator(".cvm-log-hits")
    find.fill("needle")
    hits.get_by_text("/3").wait_for(timeout=PATIENCE)
    lab.screenshot("card-logs-found", panel)
    assert lab.axe(".cvm-card") == []
    now = panel.locator("mark.cvm-log-current")
    at = int(hits.inner_text().partition("/")[0])
    find.press("Enter")
    expect(hits).to_have_text(f"{at % 3 + 1}/3", use_inner_text=True)
    find.press("Shift+Enter")
    expect(hits).to_have_text(f"{at}/3", use_inner_text=True)
    expect(now).to_have_text(re.compile("^needle$", re.IGNORECASE))
    panel.get_by_label("Only matches").check()
    expect(panel.locator(".cvm-line:visible")).to_have_count(3)
    panel.get_by_label("Only matches").uncheck()


def an_expression_never_holds_up_the_page(lab, panel):
    find, hits = panel.get_by_role("searchbox", name="Find in log"), panel.locator(".cvm-log-hits")
    panel.get_by_role("button", name="Regular expression").click()
    find.fill("(needle|hay)$")
    hits.get_by_text("/3").wait_for(timeout=PATIENCE)
    find.fill("(needle")
    panel.get_by_text("Not a regular expression").wait_for(timeout=PATIENCE)
    find.fill("(a+)+$")  # which would take years
    panel.get_by_text("This expression takes too long").wait_for(timeout=PATIENCE)
    find.fill("[Nn]eedle")
    hits.get_by_text("/3").wait_for(timeout=PATIENCE)
    find.press("Escape")
    expect(panel.locator("mark")).to_have_count(0)


def without_its_kernel_the_card_is_a_snapshot_and_its_buttons_are_inert(lab, card, cloud):
    card.evaluate("card => { card.dataset.marked = 'yes'; }")
    lab.shutdown()
    gone = lab.page.locator('.cvm-card[data-marked="yes"][data-live="false"]')
    gone.wait_for(timeout=25_000)
    lab.screenshot("card-snapshot", gone)
    expect(gone.locator(".cvm-health")).to_contain_text("re-run the cell", use_inner_text=True)
    expect(gone.locator(".cvm-actions")).to_have_attribute("inert", "")
    compose = tab(gone, "Compose")
    compose.get_by_text("Not fetched: the kernel does not answer.").wait_for()
    assert cloud.client.get_cvm_state("my-app").status == "running"


# --- what is left behind --------------------------------------------------------------------------


def test_displaying_it_again_makes_no_more_models_and_closing_it_ends_its_traffic(lab, cloud):
    before = "import ipywidgets\nprint(len(ipywidgets.widgets.widget._instances))"
    lab.open("again.ipynb", [BEGIN, "fleet['my-app']"], cloud=cloud).run_all()
    live(lab.page)
    models = lab.kernel(before)
    for _ in range(5):
        lab.run_cell(1)
    lab.page.locator('.cvm-card[data-live="true"]').nth(1).wait_for(timeout=PATIENCE)
    assert lab.kernel(before) == models
    expect(lab.page.locator(".cvm-card")).to_have_count(2)

    follows = "fleet['my-app'].card()._following"
    assert lab.kernel(f"print({follows})").strip() == "True"
    lab._in_page(
        "await window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs'); return null"
    )
    lab.page.locator(".cvm-card").first.wait_for(state="detached", timeout=PATIENCE)
    wait = (
        "import time\nend = time.monotonic() + 25\n"
        f"while {follows} and time.monotonic() < end: time.sleep(0.05)\nprint({follows})"
    )
    assert lab.kernel(wait).strip() == "False"
