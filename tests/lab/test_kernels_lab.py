"""The widgets on each kind of kernel: they differ in where, and when, a click is run."""

import json
import subprocess
import sys

import pytest
from helpers import run_all, until

import cvm_notebook as cvm

PATIENCE = 40_000
# On this one clicks wait for the cell that runs; on the environment's own, python3, they run on a
# thread of their own. Those in between (7.0 to 7.3) may stop taking messages, and `doctor` says so.
OTHERS = {"ipykernel-6.29": "6.29"}
KERNELS = [*OTHERS, "python3"]


@pytest.fixture(scope="module")
def kernels(jupyter, tmp_path_factory):
    """Kernels of other versions, each with that package alone before the environment's own."""
    folders = {name: tmp_path_factory.mktemp(name) for name in OTHERS}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    pips = [
        subprocess.Popen(
            [*pip, "--target", str(folders[name]), f"ipykernel=={version}.*", "nest-asyncio"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, version in OTHERS.items()
    ]
    for name, one in zip(OTHERS, pips, strict=True):
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PYTHONPATH": f"{folders[name]}:{jupyter.env['PYTHONPATH']}"},
        }
        folder = jupyter.home / "data" / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))
    return {name: f"{version}." for name, version in OTHERS.items()}


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=100) as cloud:
        client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
        run_all(client, "alpha", "bravo", "charlie")
        cloud.client = client
        yield cloud


def restarts(cloud):
    return [
        one
        for one in cloud.requests()
        if one["method"] == "POST" and one["path"].endswith("/restart")
    ]


BEGIN = "import cvm_notebook as cvm\nclient = cvm.connect()\nfleet = cvm.Fleet(client)\nfleet"
SETTLED = """
import threading
enough = threading.Event()
asked = fleet.operator.records
end = fleet.operator.subscribe(lambda _: enough.set() if len(asked()) >= {count} else None)
len(asked()) >= {count} or enough.wait(20)  # a click is on its way from one thread to another
end()
[operation.wait(30) for operation in fleet.operator.alive()]
print(len(asked()))
"""


BUSY = """
import time
from pathlib import Path
end = time.monotonic() + 300
while not Path({over!r}).exists() and time.monotonic() < end:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("kernel", KERNELS)
def test_paint_and_clicks_under_a_busy_and_an_idle_kernel(lab, kernels, cloud, kernel, tmp_path):
    cloud.clear_requests()
    over = tmp_path / "over"
    cells = [BEGIN, "fleet['bravo']", BUSY.format(over=str(over))]
    page = lab.open(f"on-{kernel}.ipynb", cells, kernel=kernel, cloud=cloud).page
    version = lab.kernel("import ipykernel\nprint(ipykernel.__version__)")
    assert version.startswith(kernels.get(kernel, ""))
    assert kernel in kernels or not version.startswith(tuple(kernels.values()))

    # what is measured may come before the page listens; a busy kernel hears nobody who missed it
    cloud.inject({"kind": "latency", "route": "GET /cvms/*/stats", "arg": 15, "times": None})
    lab.run_all(wait=False)
    row = page.locator(".cvm-space .cvm-row").filter(has_text="alpha")
    row.wait_for(timeout=PATIENCE)
    page.locator('.cvm-table .cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)
    table, card = page.locator(".cvm-table"), page.locator(".cvm-card")
    card.get_by_text("running").first.wait_for(timeout=PATIENCE)
    page.locator('.cvm-card[data-live="true"]').wait_for(timeout=PATIENCE)
    cloud.clear_faults()

    row.click()
    table.get_by_role("button", name="Restart", exact=True).click()
    card.get_by_role("button", name="Restart").click()
    if kernel in kernels:
        for view in (table, card):
            view.get_by_text("Queued until the running cell").wait_for(timeout=PATIENCE)
        assert restarts(cloud) == []
    else:
        until(lambda: len(restarts(cloud)) == 2)
    assert lab.cells()[2]["execution_count"] is None  # it runs still
    over.touch()
    assert lab.kernel(SETTLED.format(count=2), within=60).strip() == "2"
    assert len(restarts(cloud)) == 2

    # now the kernel is idle
    other = page.locator(".cvm-space .cvm-row").filter(has_text="charlie")
    # until it is answered it is seen to be under way
    cloud.inject({"kind": "late", "route": "POST /cvms/*/restart", "arg": 3, "times": 1})
    other.click()
    table.get_by_role("button", name="Restart", exact=True).click()
    other.locator(".cvm-op").wait_for(timeout=PATIENCE)
    assert lab.kernel(SETTLED.format(count=3), within=60).strip() == "3"
    assert len(restarts(cloud)) == 3
