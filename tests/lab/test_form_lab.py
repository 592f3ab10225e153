"""The form in a real JupyterLab: from nothing to a CVM that runs, by mouse, and by keyboard alone."""

import re

import pytest

pytestmark = pytest.mark.lab

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
