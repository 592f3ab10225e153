"""The driver itself: what shall fail a test does."""

import pytest

SENDS = (
    "fetch('http://192.0.2.1/x').catch(() => 0)",
    "new Image().src = 'https://example.com/pixel.png'",
    "new WebSocket('ws://192.0.2.1/x')",
)
CELLS = ["from ipywidgets import HTML\nHTML('<img src=\"data:,\">')", "1 / 0"]


def test_what_shall_fail_a_test_does(lab):
    lab.open("fails.ipynb", CELLS).run_cell(0)
    lab.page.locator(".jp-OutputArea-output img").wait_for(state="attached")
    (found,) = lab.in_both_themes(".jp-OutputArea-output", "fails")
    assert found.startswith("critical: image-alt")
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        lab.run_all()
    with pytest.raises(AssertionError, match="NameError"):
        lab.kernel("nothing_of_this_name")

    for script in SENDS:  # what leaves this machine
        with lab.page.expect_event("console", lambda message: "ERR_PROXY" in message.text):
            lab.page.evaluate(f"() => {{ {script} }}")
        with pytest.raises(AssertionError, match="a page asked for"):
            lab.verdict()
    with lab.page.expect_event("pageerror"):
        lab.page.evaluate("() => { setTimeout(() => { throw new Error('of this page') }) }")
    with pytest.raises(AssertionError, match="of this page"):
        lab.verdict()
