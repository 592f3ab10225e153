"""The form and the login in a real JupyterLab: by mouse, and by keyboard alone."""

import re

from helpers import until
from playwright.sync_api import expect

CELL = """import cvm_notebook as cvm
client = cvm.connect()
form = cvm.ProvisionForm(client)
form"""
COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
VALUE = "sentinel-of-the-form-5b1f"


IN_SIGHT = """bar => { const [{ bottom }, frame] = [bar, bar.closest('.cvm-form-frame')]
    .map(one => one.getBoundingClientRect());
    return Math.abs(bottom - frame.bottom) < 2 && bottom <= innerHeight; }"""


def form_in(lab):
    return lab.page.get_by_role("region", name="New CVM")


def in_sight(form):
    """The bar of the form stands within the window, at the bottom of the form's frame."""
    bar = form.locator(".cvm-two")
    until(lambda: bar.evaluate(IN_SIGHT))


def fill(form, name, compose=COMPOSE):
    form.get_by_label("Name", exact=True).fill(name)
    form.get_by_role("textbox", name="Compose file", exact=True).fill(compose)


def test_the_form_is_filled_and_sent_by_keyboard_alone(lab):
    page = lab.open("form-keys.ipynb", [CELL]).run_all().page
    form = form_in(lab)
    form.get_by_text("live").wait_for()
    form.get_by_label("Name", exact=True).focus()
    keys = page.keyboard
    keys.type("form-keys")
    editor = form.get_by_role("textbox", name="Compose file", exact=True)
    for _ in range(3):  # what was half typed may still have a button that corrects it
        keys.press("Tab")
        if editor.evaluate("one => one === document.activeElement"):
            break
    keys.type("services:\nweb:\nimage: nginx:1.27\n")  # a new line is indented as it belongs
    keys.type("ports")
    form.get_by_text("← missing").wait_for()  # half typed
    keys.type(":")
    expect(editor).to_have_value(COMPOSE.partition(" ['80")[0])
    keys.press("Enter")
    keys.type('- "80:80"')
    keys.press("Shift+Tab")
    expect(editor).to_have_value(re.compile('ports:\n    - "80:80"$'))
    keys.press("ControlOrMeta+z")
    expect(editor).to_have_value(re.compile('ports:\n      - "80:80"$'))
    form.get_by_text("1 service").wait_for()
    keys.press("Escape")
    keys.press("Tab")
    expect(editor).not_to_be_focused()
    script = form.get_by_label("Pre-launch script")
    script.focus()
    keys.type("true\n")
    expect(script).to_have_value("true\n")
    form.get_by_role("radio", checked=True).focus()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    form.get_by_text("0.23 USD/h").wait_for()
    keys.press("Tab")  # region or node; letters of a name count together for a second
    region = page.locator("select:focus")
    for _ in range(40):
        if region.evaluate("one => one.selectedOptions[0].text") == "Any node in US-EAST-1":
            break
        keys.press("ArrowDown")
    for _ in range(40):
        keys.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Check price and placement":
            break
    in_sight(form)
    keys.press("Enter")
    form.get_by_text("Placed on").wait_for()
    page.wait_for_function("document.activeElement.textContent === 'Deploy (0.23 USD/h)'")
    in_sight(form)
    keys.press("Enter")
    form.get_by_role("link", name="https://").wait_for()
    in_sight(form)
    printed = lab.kernel("print(form.instance_type, form.region, form.phase)")
    assert printed.split() == ["tdx.large", "US-EAST-1", "running"]


def test_errors_stand_beside_their_fields_and_without_its_kernel_the_form_is_inert(lab):
    lab.open("form-wrong.ipynb", [CELL]).run_all()
    form = form_in(lab)
    form.get_by_text("live").wait_for()
    lab.screenshot("form-empty")
    taken = lab.kernel("print(client.list_cvms()[0].name)").strip()
    fill(form, taken, COMPOSE.replace("image:", "image"))
    form.get_by_text("Did you mean `image: nginx:1.27`?").wait_for()
    form.locator(".cvm-number-wrong", has_text="3").wait_for()
    lab.screenshot("form-slip", form)
    form.get_by_role("button", name="Line 3", exact=True).click()
    lab.page.wait_for_function("getSelection().toString().trim() === 'image nginx:1.27'")
    form.get_by_role("button", name="Correct it").click()
    form.get_by_text("1 service").wait_for()
    editor = form.get_by_role("textbox", name="Compose file", exact=True)
    expect(editor).to_have_value(COMPOSE)
    form.get_by_text("anyone with the app id can read logs").wait_for()
    form.get_by_role("switch", name="Public logs").uncheck(force=True)
    form.get_by_text("Logs are private").wait_for()
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_text("ERR-01-004").wait_for()
    lab.page.wait_for_function("document.activeElement.getAttribute('aria-invalid') === 'true'")
    expect(form.get_by_label("Name", exact=True)).to_have_value(taken)
    assert lab.in_both_themes(".cvm-form", "form-wrong") == []
    lab.shutdown()
    form.get_by_text("disconnected: re-run the cell").wait_for(timeout=25_000)
    expect(form.get_by_role("button", name="Check price and placement")).to_be_disabled()


def test_a_key_is_given_in_the_login_and_is_nowhere_in_the_notebook(lab, lab_cloud):
    key = lab_cloud.new_workspace("Login")["api_key"]
    cells = [
        "import os; del os.environ['PHALA_CLOUD_API_KEY']; os.environ['PHALA_CLOUD_DIR'] = '/none'",
        "import cvm_notebook as cvm\naccount = cvm.login()\naccount",
    ]
    lab.open("login.ipynb", cells).run_all()
    box = lab.page.get_by_role("region", name="Sign in to Phala Cloud")
    box.get_by_text("Not signed in to Phala Cloud").wait_for()
    lab.screenshot("login-out", box)
    box.get_by_label("API key").fill("phak_wrong")
    box.get_by_role("button", name="Sign in").click()
    box.get_by_text("Invalid or expired token").wait_for()
    box.get_by_label("API key").fill(key)
    box.get_by_role("button", name="Sign in").click()
    box.get_by_text("Login, ENTERPRISE").wait_for()
    lab.screenshot("login-in", box)
    assert lab.axe(".cvm-login") == []
    assert lab.kernel("print(cvm.connect().get_current_user().workspace.name)").strip() == "Login"
    assert key not in str(lab.save().notebook_json())


def test_a_template_a_copy_and_what_is_made_of_an_empty_form_up_to_its_card(lab):
    deploy = "fleet = cvm.Fleet(client)\nform = fleet.deploy()"
    cell = CELL.replace("form = cvm.ProvisionForm(client)", deploy)
    form = form_in(lab.open("form-made.ipynb", [cell]).run_all())
    form.get_by_text("live").wait_for()
    a_template_asks_for_its_value_and_a_copy_can_be_undone(lab, form)
    what_is_typed_is_placed_deployed_and_shown(lab, form)
    assert VALUE not in str(lab.save().notebook_json())


def a_template_asks_for_its_value_and_a_copy_can_be_undone(lab, form):
    form.get_by_role("button", name="Jupyter").click()
    form.get_by_text("Enter a value for JUPYTER_TOKEN.").wait_for()
    form.get_by_role("button", name="Enter a value for JUPYTER_TOKEN").click()
    lab.page.keyboard.type(VALUE)
    lab.page.keyboard.press("Enter")
    form.get_by_text("••••").wait_for()
    form.get_by_role("button", name="Copy of a CVM").click()
    choice = form.get_by_role("combobox", name="CVM to copy")
    choice.wait_for()
    first = choice.locator("option").nth(1).text_content()
    choice.select_option(label=first)
    form.get_by_text(f"Copied from {first}").wait_for()
    form.get_by_role("button", name="Undo").click()
    form.get_by_text("Undone.").wait_for()
    expect(form.get_by_role("textbox", name="Compose file", exact=True)).to_have_value(
        re.compile("jupyter")
    )


def what_is_typed_is_placed_deployed_and_shown(lab, form):
    fill(form, "form-made", COMPOSE + "    environment:\n      - TOKEN\n")
    form.get_by_role("button", name="Remove JUPYTER_TOKEN").click()
    form.get_by_text("1 service").wait_for()
    form.get_by_role("radio", name=re.compile("^tdx.medium")).check()
    form.get_by_role("button", name="TOKEN", exact=True).click()
    form.get_by_label("Value of the variable").fill(VALUE)
    form.get_by_role("button", name="Add", exact=True).click()
    form.get_by_role("button", name="Remove TOKEN").wait_for()
    form.get_by_text("0.12 USD/h").wait_for()
    lab.screenshot("form-filled", form)
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_role("button", name="Back").click()
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_text("Placed on").wait_for()
    lab.screenshot("form-provisioned", form)
    form.get_by_role("button", name="Deploy (0.12 USD/h)").click()
    boots = form.get_by_text("requesting app keys")
    boots.or_(form.get_by_text("form-made is running")).first.wait_for()
    in_sight(form)
    lab.screenshot("form-booting", form)
    form.get_by_text("form-made is running").wait_for()
    form.get_by_role("link", name="https://").wait_for()
    in_sight(form)
    form.get_by_role("button", name="Logs", exact=True).click()
    form.locator(".cvm-log .cvm-line").first.wait_for()
    lab.screenshot("form-running", form)
    made = lab.kernel("print(form.cvm_id, client.get_cvm_info(form.cvm_id).status, form.phase)")
    assert made.split()[1:] == ["running", "running"]
    form.get_by_role("button", name="Open card").click()
    form.get_by_role("heading", name="form-made", exact=True).wait_for()
    lab.screenshot("form-card", form)
    assert lab.axe(".cvm-form-frame") == []
