"""The driver itself: each front end runs a cell, shows a widget, and hears a click."""

import pytest

CELLS = [
    """
import anywidget, traitlets

class Counter(anywidget.AnyWidget):
    _esm = '''export default () => ({ render({ model, el }) {
        const button = document.createElement("button");
        button.textContent = `clicked ${model.get("n")}`;
        button.onclick = () => model.send({ kind: "click" });
        model.on("change:n", () => { button.textContent = `clicked ${model.get("n")}`; });
        el.append(button);
    } })'''
    n = traitlets.Int(0).tag(sync=True)

counter = Counter()
counter.on_msg(lambda widget, content, buffers: setattr(widget, "n", widget.n + 1))
counter
""",
    """
import cvm_notebook as cvm
len(cvm.connect("local").list_cvms())
""",
]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_click_reaches_the_kernel_and_comes_back(lab, app):
    page = lab.open(f"counter-{app}.ipynb", CELLS, app).run_all().page
    page.get_by_role("button", name="clicked 0").click()
    page.get_by_role("button", name="clicked 1").wait_for()
    assert lab.kernel("counter.n") == "1"
    assert int(lab.cells()[1]["outputs"][0]["data"]["text/plain"]) > 8
    lab.save()
    assert lab.notebook_json()["cells"][1]["execution_count"] == 2


def test_voila_shows_the_same(lab):
    page = lab.voila("counter-voila.ipynb", CELLS).page
    page.get_by_role("button", name="clicked 0").click(timeout=30_000)
    page.get_by_role("button", name="clicked 1").wait_for()


def test_themes_pictures_and_axe(lab):
    lab.open(
        "themes.ipynb", ["from ipywidgets import HTML\nHTML('<img src=\"data:,\">')"]
    ).run_all()
    for kind in ("dark", "light"):
        assert lab.theme(kind).screenshot(f"fixture-{kind}").stat().st_size > 10_000
    (found,) = lab.axe(".jp-OutputArea-output")
    assert found.startswith("critical: image-alt")


def test_a_cell_that_raises_fails_its_test(lab):
    lab.open("raises.ipynb", ["1 / 0"])
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        lab.run_all()
    with pytest.raises(AssertionError, match="NameError"):
        lab.kernel("nothing_of_this_name")


@pytest.mark.parametrize(
    "script",
    [
        "fetch('http://192.0.2.1/x').catch(() => 0)",
        "new Image().src = 'https://example.com/pixel.png'",
        "new WebSocket('ws://192.0.2.1/x')",
    ],
)
def test_what_leaves_this_machine_is_noticed(lab, script):
    lab.open("outside.ipynb", ["1"])
    with lab.page.expect_event("console", lambda said: "ERR_PROXY" in said.text):
        lab.page.evaluate(f"() => {{ {script} }}")
    with pytest.raises(AssertionError, match="a page asked for"):
        lab.verdict()


def test_what_a_page_throws_is_noticed(lab):
    lab.open("throws.ipynb", ["1"])
    with lab.page.expect_event("pageerror"):
        lab.page.evaluate("() => { setTimeout(() => { throw new Error('of ours') }) }")
    with pytest.raises(AssertionError, match="of ours"):
        lab.verdict()
