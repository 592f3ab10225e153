"""Slips in a compose file are recognised on their line, and what is proposed was tried."""

import pytest

from cvm_notebook.api.compose.corrections import Correction, correction_of, line_of, misspelt_in
from cvm_notebook.api.compose.validation import read_compose_file

WEB = "services:\n  web:\n    image: nginx:1.27\n"
SLIPS = {
    "no colon": (WEB.replace("image:", "image"), 3, "image: nginx:1.27", 'missing ":"'),
    "no colon before more": (
        WEB.replace("image:", "image") + "    ports:\n      - '80:80'\n",
        3,
        "image: nginx:1.27",
        'missing ":"',
    ),
    "no space": (WEB.replace("image: ", "image:"), 3, "image: nginx:1.27", "missing space"),
    "equals": (WEB.replace("image:", "image ="), 3, "image: nginx:1.27", '"="'),
    "misspelt": (WEB.replace("image", "imgae"), 3, "image: nginx:1.27", "no key `imgae`"),
    "misspelt at the top": (WEB.replace("services", "serivces"), 1, "services:", "`serivces`"),
    "a tab": (WEB.replace("    image", "\timage"), 3, "image: nginx:1.27", "a tab"),
    "no colon after a service": (WEB.replace("web:", "web"), 2, "web:", 'missing ":"'),
    "no colon at the top": (WEB.replace("services:", "services"), 1, "services:", 'missing ":"'),
    "no colon before a list": (WEB + "    ports\n      - '80:80'\n", 4, "ports:", 'missing ":"'),
    "no colon far in": (
        WEB + "    environment:\n      A b\n      C: d\n",
        5,
        "A: b",
        'missing ":"',
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_corrected_on_its_line_and_the_file_is_taken(name):
    text, line, meant, why = SLIPS[name]
    found = correction_of(text)
    assert (found.line, found.text.strip()) == (line, meant)
    assert why in found.why
    assert str(found) == f"Did you mean `{meant}`?"
    read_compose_file(found.applied(text))  # refused it would raise
    changed = zip(text.split("\n"), found.applied(text).split("\n"), strict=True)
    assert [n for n, (was, now) in enumerate(changed, 1) if was != now] == [line]


@pytest.mark.parametrize(
    "text",
    [
        WEB,
        "",
        "just words",
        "services:\n  a: [\n",
        WEB.replace("nginx:1.27", "{{ image }}"),
        "services:\n  web:\n    im\n",  # half typed
        WEB.replace("image:", "image") + "#" * 40_000,
    ],
)
def test_what_is_no_slip_is_not_guessed_at(text):
    assert correction_of(text) is None


def test_of_several_slips_the_first_is_corrected_first():
    text = WEB.replace("web:", "web").replace("image:", "image")
    first = correction_of(text)
    assert (first.line, first.text) == (2, "  web:")
    second = correction_of(first.applied(text))
    assert (second.line, second.text) == (3, "    image: nginx:1.27")


def test_a_key_that_docker_compose_would_refuse_is_named_in_a_file_that_is_taken():
    text = WEB + "    prots:\n      - '80:80'\n    x-note: 1\n    qqq: 1\nvolume:\n  data:\n"
    assert misspelt_in(text) == (
        Correction(4, "    ports:", "Docker Compose has no key `prots`"),
        Correction(8, "volumes:", "Docker Compose has no key `volume`"),
    )


def test_keys_that_are_none_of_a_service_are_not_judged():
    inside = "    environment:\n      prots: 1\n    labels:\n      imgae: x\n"
    assert misspelt_in(f"{WEB}{inside}    command: |\n      prots:\n") == ()


def test_the_line_is_that_at_which_a_problem_begins():
    assert (line_of("line 12: no"), line_of("Line 3: no"), line_of("it is empty")) == (12, 3, None)
