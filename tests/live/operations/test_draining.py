"""What was asked for is sent before the end, or the program prints how much of it was not."""

import re
import signal

import pytest
from helpers import until

from cvm_notebook.api.errors.tree import WatchTimeout
from cvm_notebook.fleet.fleet import Fleet

START = """
client = cvm.Client()
NAMES = os.environ["NAMES"].split()
def wait_for_ctrl_c():
    import time
    print("waiting", flush=True)
    for _ in range(2000):
        time.sleep(0.05)  # a signal right before a wait is seen at its end alone
"""
WITHOUT = """
fleet = cvm.Fleet(client)
for name in NAMES: fleet[name].{ask}
{end}
"""
WITH = """
with cvm.Fleet(client) as fleet:
    for name in NAMES: fleet[name].{ask}
    {end}
"""


@pytest.fixture
def script(bench, kernels):
    """Run a script on so many CVMs that run; what was sent is counted by the cloud."""

    def run(code, number=1, *, slow=0.0, **words):
        rows = bench.make(number)
        if slow:
            bench.break_it("latency", arg=slow, times=None)
        kernel = kernels.start(
            START + code.format(**{"ask": "stop()", "end": "pass", **words}),
            NAMES=" ".join(row.name for row in rows),
            PHALA_CLOUD_API_PREFIX=bench.cloud.url,
            PHALA_CLOUD_API_KEY=bench.cloud.api_key,
        )
        kernel.rows = rows
        return kernel

    return run


def asked(bench):
    """Count what was asked of CVMs."""
    return sum(bench.sent("POST", f"/{verb}") for verb in ("stop", "restart", "replicas")) + (
        bench.sent("DELETE")
    )


def without_bar(err):
    """Leave the bar out, which is shown where it takes a second."""
    return re.sub(r"sending: .*", "", err).strip()


@pytest.mark.parametrize("slow", [0.0, 0.3])
@pytest.mark.parametrize("code", [WITHOUT, WITH], ids=["without", "with"])
@pytest.mark.parametrize("ask", ["stop()", "restart()", "delete()", "stop(delay=60)"])
def test_what_the_last_line_of_a_script_asks_for_is_sent(bench, script, code, ask, slow):
    kernel = script(code, slow=slow, ask=ask)

    assert kernel.end() == 0
    assert without_bar(kernel.err) == ""
    assert asked(bench) == 1


@pytest.mark.parametrize("slow", [0.0, 0.3])
@pytest.mark.parametrize("code", [WITHOUT, WITH], ids=["without", "with"])
def test_ten_that_the_last_lines_of_a_script_ask_for_are_sent(bench, script, code, slow):
    kernel = script(code, 10, slow=slow)

    assert kernel.end() == 0
    assert "cancelled" not in kernel.err
    assert asked(bench) == 10


@pytest.mark.parametrize(("end", "status"), [("sys.exit()", 0), ("sys.exit(3)", 3)])
def test_sys_exit_is_an_end_as_any_other(bench, script, end, status):
    kernel = script(WITHOUT, end=end)

    assert kernel.end() == status
    assert asked(bench) == 1
    assert without_bar(kernel.err) == ""


# A delay keeps them from being sent before the end.
@pytest.mark.parametrize("slow", [0.0, 0.3])
@pytest.mark.parametrize("code", [WITHOUT, WITH], ids=["without", "with"])
@pytest.mark.parametrize("number", [1, 3])
def test_an_error_cancels_what_waits_and_says_how_many(bench, script, code, slow, number):
    kernel = script(code, number, slow=slow, ask="stop(delay=60)", end="raise ValueError('mine')")

    assert kernel.end() == 1
    assert "ValueError: mine" in kernel.err
    was = "1 operation was" if number == 1 else "3 operations were"
    assert f"{was} cancelled before being sent: stop {kernel.rows[0].name}" in kernel.err
    assert kernel.err.count("cancelled before being sent") == 1, "once"
    assert asked(bench) == 0


@pytest.mark.parametrize("code", [WITHOUT, WITH], ids=["without", "with"])
def test_ctrl_c_cancels_what_waits_and_says_how_many(bench, script, code):
    kernel = script(code, 2, ask="stop(delay=60)", end="wait_for_ctrl_c()")
    kernel.wait_for_line("waiting")
    kernel.send(signal.SIGINT)

    kernel.end()

    assert "KeyboardInterrupt" in kernel.err
    assert "2 operations were cancelled before being sent" in kernel.err
    assert asked(bench) == 0


def test_sys_exit_within_a_with_block_does_not_drop_what_waits(bench, script):
    kernel = script(WITH, 2, ask="stop(delay=60)", end="sys.exit(3)")

    assert kernel.end() == 3
    assert asked(bench) == 2


def test_ctrl_c_while_what_waits_is_sent_ends_the_program_and_says_how_many(bench, script):
    bench.break_it("latency", route="action", arg=8.0, times=None)
    kernel = script(WITH, 20, end="print('leaving', flush=True)")
    kernel.wait_for_line("leaving")
    until(lambda: asked(bench) > 0)
    kernel.send(signal.SIGINT)

    kernel.end()

    assert "KeyboardInterrupt" in kernel.err
    assert "cancelled before being sent" in kernel.err
    assert asked(bench) < 20


# --- in a notebook --------------------------------------------------------------------------------


@pytest.fixture
def fleet(bench):
    made = Fleet(bench.client)
    yield made
    bench.cloud.clear_faults()
    made.close()


@pytest.mark.parametrize("slow", [0.0, 0.3])
def test_close_with_wait_sends_what_waits(bench, fleet, slow):
    rows = bench.make(10)
    if slow:
        bench.break_it("latency", arg=slow, times=None)
    ops = [fleet[row.id].stop(delay=30.0 * (number % 2)) for number, row in enumerate(rows)]

    fleet.close(wait=True)

    assert all(op.attempts == 1 for op in ops)
    assert asked(bench) == 10


def test_close_without_wait_cancels_and_says_what(bench, fleet, caplog):
    rows = bench.make(2)
    ops = [fleet[row.id].stop(delay=30) for row in rows]

    fleet.close()

    assert {op.state for op in ops} == {"cancelled"}
    assert f"2 operations were cancelled before being sent: stop {rows[0].name}" in caplog.text
    assert asked(bench) == 0


def test_drain_names_what_has_no_answer_in_time(bench, lay_line):
    rows = bench.make(3)
    line = lay_line(bench.cloud.port)
    with Fleet(bench.new_client(line.url)) as fleet:
        assert len(fleet) >= 3
        line.stall()
        ops = [fleet[row.id].stop() for row in rows]

        with pytest.raises(WatchTimeout) as late:
            fleet.drain(0.5, progress=False)

        assert "3 operations have no answer after 0.5 s" in late.value.message
        assert all(f"stop {row.name}" in late.value.message for row in rows)
        assert all(op.state in {"asked", "sent"} for op in ops)
        line.flow()


def test_drain_sends_what_is_delayed_at_once(bench, fleet):
    (row,) = bench.make()
    op = fleet[row.id].stop(delay=60)

    fleet.drain(30, progress=False)

    assert op.state in {"accepted", "reached"}
    assert asked(bench) == 1
    fleet.drain(30, progress=False)
    assert asked(bench) == 1


def test_an_error_within_a_with_block_tells_of_what_was_cancelled(bench):
    rows = bench.make(7)

    def fail():
        with Fleet(bench.client) as fleet:
            for row in rows:
                fleet[row.id].stop(delay=60)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as raised:
        fail()

    (note,) = raised.value.__notes__
    assert note.startswith("7 operations were cancelled before being sent: stop ")
    assert note.endswith("and 2 more")
    assert asked(bench) == 0


def test_a_close_that_is_interrupted_cancels_the_rest(bench, fleet, monkeypatch):
    rows = bench.make(2)
    ops = [fleet[row.id].stop(delay=60) for row in rows]

    def interrupted(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("cvm_notebook.live.operations.draining._wait", interrupted)
    monkeypatch.setattr(fleet.operator, "send_now", lambda _operation: None)
    with pytest.raises(KeyboardInterrupt):
        fleet.close(wait=True)

    assert {op.state for op in ops} == {"cancelled"}
