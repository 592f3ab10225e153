"""Measure the fleet table with 10,000 rows in a real JupyterLab, beside itables and ipydatagrid.

    pip install -e ".[bench]"
    python benchmarks/table.py                   the whole run (some 3 minutes)
    python benchmarks/table.py --quick           one round
    python benchmarks/table.py --rows 1000

All three show the same columns of the same fleet, in turn, in one page of headless Chromium. Ends
with 1 when a goal is missed.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 8
TABLES = {
    "ours": "table = FleetTable(fleet)\ntable",
    "itables": "table = ITable(frame, maxBytes=0)\ntable",
    "ipydatagrid": "table = DataGrid(frame, base_column_size=160)\ntable",
}
PREPARE = """
import threading, time
import msgspec
import cvm_notebook as cvm
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.widgets.table.presentation import USUAL
from cvm_notebook.widgets.table.table import FleetTable
from itables.widget import ITable
from ipydatagrid import DataGrid

client = cvm.connect()
fleet = cvm.Fleet(client)
one = fleet.snapshot().rows[0].cvm
fleet._reflector.close()  # the rows are ours: no service says otherwise
rows = {rows}
fleet.store.replace(
    [
        msgspec.structs.replace(one, id=f"cvm_{{n:05}}", vm_uuid=f"u{{n}}", name=f"row-{{name:05}}")
        for n, name in enumerate(n * 7919 % rows for n in range(rows))  # in no order
    ],
    received=time.monotonic(),
)
frame = cvm.fleet_frame([row.cvm for row in fleet.store.snapshot()], columns="wide")
frame = frame[[name for name in USUAL if name in frame.columns]].astype(str).reset_index(drop=True)
share = max(1, rows // 100)
sent = {{}}

def others(turn):
    return [(turn * 37 + n * 101) % (rows - 1) + 1 for n in range(share - 1)]

def change_ours(turn):
    now = time.monotonic()
    word = "stopping" if turn % 2 else "running"
    words = {{0: f"mark-{{turn}}", **dict.fromkeys(others(turn), word)}}
    fleet.store.patch(
        [
            Observation(id=f"cvm_{{n:05}}", status=word, received=now, source="batch")
            for n, word in words.items()
        ]
    )

def changed_frame(turn):
    new = frame.copy()
    status = new.columns.get_loc("status")
    new.iloc[others(turn), status] = str(turn)
    new.iloc[0, status] = f"mark-{{turn}}"
    return new

def change_itables(turn):
    table.update(changed_frame(turn), maxBytes=0)

def change_ipydatagrid(turn):
    table.data = changed_frame(turn)

def run(change, turns, first):
    for turn in range(first, first + turns):
        sent[turn] = time.time() * 1000
        change(turn)
        time.sleep(max(0, 1 - (time.time() - sent[turn] / 1000)))
"""
# What is drawn is seen in the page's text, or on its way to a canvas; what comes is counted.
WATCH = """
window.came = { messages: 0, pulses: 0, bytes: 0 };
window.drawn = '';
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
    window.drawn += text + '\\n';
    return fillText.call(this, text, ...rest);
};
const Native = window.WebSocket;
window.WebSocket = class extends Native {
    constructor(...given) {
        super(...given);
        this.addEventListener('message', ({ data }) => {
            const head = typeof data === 'string' ? data.slice(0, 4000)
                : new TextDecoder().decode(data.slice(0, 4000));
            // the first is its own kind, the next that of the message it answers
            const [, kind] = head.match(/"msg_type": ?"(\\w+)"/) ?? [];
            if (kind !== 'comm_msg' && kind !== 'comm_open') return;
            window.came.bytes += data.byteLength ?? data.length;
            if (/"kind": ?"pulse"/.test(head)) window.came.pulses++; else window.came.messages++;
        });
    }
};
window.appears = (text) => new Promise((yes) => {
    const began = performance.now();
    const look = () => {
        const shown = [...document.querySelectorAll('.jp-OutputArea-output')];
        if (window.drawn.includes(text) || shown.some((one) => one.textContent.includes(text)))
            yes(Date.now());
        else if (performance.now() - began > 90000) yes(Infinity);
        else requestAnimationFrame(look);
    };
    look();
});
"""
STEPS = """async (words) => {
    const root = document.querySelector('.cvm-table'), grid = root.querySelector('[role=grid]');
    const frame = () => new Promise(requestAnimationFrame);
    const painted = async () => { await frame(); await frame(); };
    const rows = () => [...root.querySelectorAll('.cvm-space .cvm-row:not([hidden])')]
        .map((one) => one.textContent.match(/row-\\d+/)[0]).sort().join();
    const step = async (act) => {
        const before = rows(), began = performance.now();
        act();
        while (rows() === before && performance.now() - began < 5000)
            await frame();
        const took = performance.now() - began;
        await painted();
        return rows() === before ? Infinity : took;
    };
    const find = root.querySelector('input[type=search]');
    const search = (text) => () => { find.value = text; find.dispatchEvent(new Event('input')); };
    const name = root.querySelector('.cvm-head [data-name=name]');
    const took = { scroll: [], sort: [], filter: [] };
    for (let n = 1; n <= 8; n++)
        took.scroll.push(await step(() => { grid.scrollTop = n * grid.scrollHeight / 9; }));
    grid.scrollTop = 0; await painted();
    const head = name.querySelector('button') ?? name;
    for (let n = 0; n < 3; n++) took.sort.push(await step(() => head.click()));
    for (const text of words)
        took.filter.push(await step(search(text)));
    return { ...took, nodes: root.querySelectorAll('*').length } }"""


def driver() -> ModuleType:
    """Return what drives JupyterLab in the tests."""
    sys.path.append(str(ROOT / "tests"))  # as pytest does
    spec = importlib.util.spec_from_file_location("driver", ROOT / "tests" / "lab" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(rows: int) -> list[str]:
    """Return what is typed into the filter: each leaves fewer rows, but for the last two."""
    zeros = "0" * (5 - len(str(rows - 1)))
    return [f"-{zeros}{digits}" for digits in ("1", "12", "123", "12")] + [""]


def first_paint(lab: Any) -> float:
    """Return the ms from running a cell to its first row."""
    lab.page.evaluate("() => { window.drawn = '' }")
    began = lab.page.evaluate("() => Date.now()")
    lab.run_cell(1, wait=False)
    shown = lab.page.evaluate("() => window.appears('row-00000')")
    return float(shown - began)


def updates(lab: Any, name: str, first: int) -> dict[str, float]:
    """Return messages and bytes a second, and the ms from the kernel to the text."""
    lab.page.wait_for_timeout(2000)
    lab.page.evaluate("() => { window.came = { messages: 0, pulses: 0, bytes: 0 } }")
    lab.page.evaluate(
        """({ first, turns }) => { window.marks = Promise.all(Array.from({ length: turns },
            (_, n) => window.appears(`mark-${first + n}`))) }""",
        {"first": first, "turns": SECONDS},
    )
    given = f"change_{name}, {SECONDS}, {first}"
    lab.kernel(f"threading.Thread(target=run, args=({given}), daemon=True).start()")
    shown = lab.page.evaluate("() => window.marks")
    came = lab.page.evaluate("() => window.came")
    sent = lab.kernel("import json\nprint(json.dumps(list(sent.values())))")
    delays = [there - was for there, was in zip(shown, json.loads(sent)[-SECONDS:], strict=True)]
    return {
        "messages": came["messages"] / SECONDS,
        "pulses": came["pulses"] / SECONDS,
        "bytes": came["bytes"] / SECONDS,
        "latency": statistics.median(delays),
    }


def measure(lab: Any, rows: int, rounds: int) -> dict[str, Any]:
    """Return what was measured: lists by table, over the rounds."""
    found: dict[str, Any] = {name: {"paint": [], "latency": []} for name in TABLES}
    for number in range(rounds):
        turn = number % len(TABLES)
        # another one first each round: it may find a colder page
        for name, cell in [*TABLES.items()][turn:] + [*TABLES.items()][:turn]:
            lab.open(f"{name}-{number}.ipynb", [PREPARE.format(rows=rows), cell])
            lab.run_cell(0)
            found[name]["paint"].append(first_paint(lab))
            seen = updates(lab, name, first=1000 * (number + 1))
            found[name]["latency"].append(seen.pop("latency"))
            found[name] |= seen
            if name == "ours":
                found["steps"] = lab.page.evaluate(STEPS, words(rows))
            lab.tidy(failed=False)
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, Any]) -> bool:
    """Print the figures; return whether each goal is met."""
    paint = {name: statistics.median(found[name]["paint"]) for name in TABLES}
    delay = {name: statistics.median(found[name]["latency"]) for name in TABLES}
    steps = found["steps"]
    lines = [
        ("first paint, of itables'", paint["ours"] / paint["itables"], "x", 0.35),
        ("first paint, of ipydatagrid's", paint["ours"] / paint["ipydatagrid"], "x", 0.5),
        ("1 % a second: messages", found["ours"]["messages"], "/s", 1.0),
        ("1 % a second: bytes", found["ours"]["bytes"] / 1000, "kB/s", 10.0),
        ("kernel -> text, of ipydatagrid's", delay["ours"] / delay["ipydatagrid"], "x", 0.1),
        *(
            (f"{kind}, slowest step", max(steps[kind]), "ms", 100.0)
            for kind in ("scroll", "sort", "filter")
        ),
        ("DOM nodes", steps["nodes"], "", 2000.0),
    ]
    print(f"{'':16}{'first paint':>14}{'kernel -> text':>16}{'messages/s':>12}{'kB/s':>10}")
    for name in TABLES:
        row = found[name]
        figures = f"{paint[name]:>11.0f} ms{delay[name]:>13.0f} ms{row['messages']:>12.2f}"
        print(f"{name:16}{figures}{row['bytes'] / 1000:>10.1f}")
    print(f"(and {found['ours']['pulses']:.2f} pulses a second of ours, whose bytes are counted)\n")
    for what, figure, unit, goal in lines:
        verdict = "ok" if figure <= goal else "MISS"
        print(f"{what:36}{figure:>9.3g} {unit:5}<= {goal:<6g}{verdict}")
    return all(figure <= goal for _, figure, _, goal in lines)


def main() -> int:
    """Measure, print, and return the exit code."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--quick", action="store_true", help="one round")
    options = asked.parse_args()
    missing = [name for name in ("itables", "ipydatagrid") if not importlib.util.find_spec(name)]
    if missing:
        print(f"{' and '.join(missing)} missing: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    with driver().session(Path(tempfile.mkdtemp(prefix="cvm-notebook-table-"))) as lab:
        lab.context("lab").add_init_script(WATCH)
        found = measure(lab, options.rows, 1 if options.quick else options.rounds)
    return 0 if report(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
