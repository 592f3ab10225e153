"""plot_fleet draws what the frame says, for every reader."""

import subprocess
import sys

import matplotlib as mpl
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm, NodeRef
from cvm_notebook.api.status import STATUSES
from cvm_notebook.frames import fleet_frame
from cvm_notebook.frames.plots import _PAINT, plot_fleet


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def cvms(*pairs):
    return [
        Cvm(id=f"cvm_{n}", status=status, node_info=region and NodeRef(region=region))
        for n, (status, region) in enumerate(pairs)
    ]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bars(ax):
    ax.figure.draw_without_rendering()
    names = [t.get_text() for t in ax.get_yticklabels()]
    return {
        (names[round(bar.get_y() + bar.get_height() / 2)], container.get_label()): bar.get_width()
        for container in ax.containers
        for bar in container
        if bar.get_width()
    }


def test_each_piece_is_as_long_as_its_count_and_named_by_its_word():
    ax = plot_fleet(
        fleet_frame(
            cvms(("running", "us"), ("running", "us"), ("stopped", "us"), ("shutting_down", "eu"))
        )
    )
    assert bars(ax) == {
        ("us", "running (2)"): 2,
        ("us", "stopped (1)"): 1,
        ("eu", "shutting down (1)"): 1,
    }
    assert legend(ax) == ["running (2)", "stopped (1)", "shutting down (1)"]
    assert ax.get_title(loc="left") == "4 CVMs by region and status"


def test_cvms_without_a_region_or_with_a_new_status_are_counted():
    ax = plot_fleet(fleet_frame(cvms(("provisioning", None), ("hibernating", "us"))))
    assert bars(ax) == {
        ("no region yet", "provisioning (1)"): 1,
        ("us", "unknown (1)"): 1,
    }


def test_an_empty_fleet_says_so():
    ax = plot_fleet(fleet_frame([]))
    assert [text.get_text() for text in ax.texts] == ["no CVMs"]


def test_a_region_is_text_and_no_formula():
    ax = plot_fleet(fleet_frame(cvms(("running", r"$\frac{1}{0}$ and a name without end"))))
    ax.figure.draw_without_rendering()  # matplotlib raises where a formula is wrong
    assert len(ax.get_yticklabels()[0].get_text()) < 30


def test_every_status_has_a_look_of_its_own():
    assert set(_PAINT) == set(STATUSES)
    assert len(set(_PAINT.values())) == len(STATUSES)


def test_it_draws_on_the_axes_it_is_given():
    _, axes = plt.subplots()
    assert plot_fleet(fleet_frame([]), ax=axes) is axes


def test_a_frame_without_the_columns_is_refused():
    with pytest.raises(InvalidInput, match="region"):
        plot_fleet(fleet_frame([], columns=["status"]))


def test_matplotlib_is_loaded_when_a_picture_is_drawn_and_not_before():
    program = (
        "import sys, cvm_notebook; cvm_notebook.plot_fleet; assert 'matplotlib' not in sys.modules;"
        "sys.modules['matplotlib'] = None;"
        "cvm_notebook.plot_fleet(cvm_notebook.fleet_frame([]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install matplotlib" in run.stderr.splitlines()[-1]
