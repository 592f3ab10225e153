"""What is done at the end of the interpreter has one order, whatever was registered first."""

import subprocess
import sys

import pytest

ORDER = ["HALT", "SEND", "VIEWS", "STREAMS", "THREADS", "SERVER"]
SCRIPT = """
from cvm_notebook.live.at_exit import Stage, at_exit
def end(name):
    print(name, flush=True)
    if name == {fails!r}:
        raise ValueError("mine")
for name in {registered!r}:
    at_exit(Stage[name], lambda name=name: end(name))
"""


@pytest.mark.parametrize("registered", [ORDER, ORDER[::-1], ORDER[3:] + ORDER[:3]])
@pytest.mark.parametrize("fails", ["", "SEND"])
def test_stages_are_reached_in_their_order_though_one_fails(registered, fails):
    script = SCRIPT.format(registered=registered, fails=fails)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout.split() == ORDER
    assert ("ValueError: mine" in ended.stderr) == bool(fails)


# Modules of ours that have something to do at the end, imported in either order.
@pytest.mark.parametrize(
    "modules",
    [
        ["cvm_notebook.live.workers", "cvm_notebook.live.operations.service"],
        ["cvm_notebook.live.operations.service", "cvm_notebook.live.workers"],
        ["cvm_notebook.connection", "cvm_notebook.fleet.fleet", "cvm_notebook.live.workers"],
        ["cvm_notebook.widgets.base.ui_thread", "cvm_notebook.rollouts.runner"],
    ],
)
def test_no_module_of_ours_has_an_end_of_its_own(modules):
    """`atexit` calls what was registered last first: imports would decide."""
    script = """
import atexit, sys
ours = []
register = atexit.register
def note(function, *args, **kwargs):
    if (function.__module__ or "").startswith("cvm_notebook"):
        ours.append(function.__module__)
    return register(function, *args, **kwargs)
atexit.register = note
for name in sys.argv[1:]:
    __import__(name)
print(*ours)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *modules],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["cvm_notebook.live.at_exit"]


SLOW = """
import threading, time
from cvm_notebook.live.at_exit import Stage, at_exit
from cvm_notebook.live import workers  # which waits for threads
from cvm_notebook.live.completion import _pool
workers._ENDS_IN = {ends_in}
begun = threading.Event()
def busy(_):
    begun.set()
    threading.Event().wait({seconds})
    print("done", flush=True)
_pool.put(busy, None)
begun.wait()
began = time.monotonic()
at_exit(Stage.SERVER, lambda: print(time.monotonic() - began < 30, flush=True))
"""


@pytest.mark.parametrize(
    ("seconds", "ends_in", "printed"), [(0.5, 50.0, ["done", "True"]), (100, 2.0, ["True"])]
)
def test_threads_that_call_observers_are_waited_for_and_not_for_ever(seconds, ends_in, printed):
    ended = subprocess.run(
        [sys.executable, "-c", SLOW.format(seconds=seconds, ends_in=ends_in)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.split() == printed
