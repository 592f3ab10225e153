"""The form and the login in a real JupyterLab: by mouse, and by keyboard alone."""

import re

import pytest

CELL = """import cvm_notebook as cvm
client = cvm.connect()
form = cvm.ProvisionForm(client)
form"""
COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
VALUE = "sentinel-of-the-form-5b1f"


def form_in(lab):
    return lab.page.get_by_role("region", name="New CVM")


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
    keys.press("Tab")
    keys.insert_text(COMPOSE)
    form.get_by_text("1 service").wait_for()
    form.get_by_role("radio", checked=True).focus()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    form.get_by_text("0.23478 USD an hour").wait_for()
    keys.press("Tab")  # region or node
    keys.type("any node of US-E")
    for _ in range(30):
        keys.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Provision":
            break
    keys.press("Enter")
    form.get_by_text("compose hash", exact=True).wait_for()
    page.wait_for_function("document.activeElement.textContent.startsWith('Commit')")
    keys.press("Enter")
    form.get_by_role("link", name="https://").wait_for()
    said = lab.kernel("print(form.instance_type, form.region, form.phase)")
    assert said.split() == ["tdx.large", "US-EAST-1", "running"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_errors_stand_beside_their_fields_and_axe_finds_nothing(lab, theme):
    lab.open(f"form-wrong-{theme}.ipynb", [CELL]).run_all().theme(theme)
    form = form_in(lab)
    form.get_by_text("live").wait_for()
    lab.screenshot(f"form-empty-{theme}")
    taken = lab.kernel("print(client.list_cvms()[0].name)").strip()
    fill(form, taken, COMPOSE.replace("image", "imgae"))
    form.get_by_text("the service 'web' has neither image nor build").wait_for()
    form.get_by_role("button", name="line 3", exact=True).click()
    assert lab.page.evaluate("getSelection().toString()").strip() == "imgae: nginx:1.27"
    form.get_by_role("textbox", name="Compose file", exact=True).fill(COMPOSE)
    form.get_by_text("1 service").wait_for()
    form.get_by_role("button", name="Provision", exact=True).click()
    form.get_by_text("ERR-01-004").wait_for()
    lab.page.wait_for_function("document.activeElement.getAttribute('aria-invalid') === 'true'")
    assert form.get_by_label("Name", exact=True).input_value() == taken
    lab.screenshot(f"form-wrong-{theme}")
    assert lab.axe(".cvm-form") == []


def test_a_page_that_is_loaded_again_finds_what_was_typed(lab):
    lab.open("form-again.ipynb", [CELL]).run_all()
    fill(form_in(lab), "form-again")
    form_in(lab).get_by_text("1 service").wait_for()
    lab.reload(form_in(lab).get_by_text("live"))
    assert form_in(lab).get_by_label("Name", exact=True).input_value() == "form-again"


def test_without_its_kernel_the_form_is_inert(lab):
    lab.open("form-gone.ipynb", [CELL]).run_all()
    form = form_in(lab)
    form.get_by_text("live").wait_for()
    lab.shutdown()
    form.get_by_text("no kernel: re-run the cell to go on").wait_for(timeout=25_000)
    assert form.get_by_role("button", name="Provision", exact=True).is_disabled()


def test_a_key_is_given_in_the_login_and_is_nowhere_in_the_notebook(lab, lab_cloud):
    key = lab_cloud.new_workspace("Login")["api_key"]
    cells = [
        "import os; del os.environ['PHALA_CLOUD_API_KEY']; os.environ['PHALA_CLOUD_DIR'] = '/none'",
        "import cvm_notebook as cvm\naccount = cvm.login()\naccount",
    ]
    lab.open("login.ipynb", cells).run_all()
    box = lab.page.get_by_role("region", name="Sign in to Phala Cloud")
    box.get_by_text("Not signed in").wait_for()
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


def test_a_cvm_is_made_from_an_empty_form(lab):
    form = form_in(lab.open("form-made.ipynb", [CELL]).run_all())
    form.get_by_text("live").wait_for()
    fill(form, "form-made", COMPOSE + "    environment:\n      - TOKEN\n")
    form.get_by_text("1 service").wait_for()
    form.get_by_role("radio", name=re.compile("^tdx.medium")).check()
    form.get_by_role("button", name="TOKEN").click()
    form.get_by_label("Value of the variable").fill(VALUE)
    form.get_by_role("button", name="Add", exact=True).click()
    form.get_by_role("button", name="Remove TOKEN").wait_for()
    form.get_by_text("0.11878 USD an hour").wait_for()
    lab.screenshot("form-filled", form)
    form.get_by_role("button", name="Provision", exact=True).click()
    form.get_by_text("compose hash", exact=True).wait_for()
    lab.screenshot("form-provisioned", form)
    form.get_by_role("button", name="Commit: make the CVM").click()
    form.get_by_text("requesting app keys").wait_for()
    lab.screenshot("form-booting", form)
    form.get_by_role("link", name="https://").wait_for()
    lab.screenshot("form-running", form)
    lab.theme("dark")
    lab.screenshot("form-running-dark", form)
    lab.theme("light")
    made = lab.kernel("print(form.cvm_id, client.get_cvm_info(form.cvm_id).status, form.phase)")
    assert made.split()[1:] == ["running", "running"]
    assert VALUE not in str(lab.save().notebook_json())
