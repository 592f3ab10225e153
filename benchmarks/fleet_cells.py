"""The measured half of fleet.py: one cell in a process of its own, results as JSON lines.

    python benchmarks/fleet_cells.py CELL SIDE '{"url": ..., "key": ..., ...}'

CELL is a name of CELLS, SIDE is ``ours`` or ``official``. What goes before the measured part (the
imports, the first list of a cell that is about something else) is not counted.
"""

import gc
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HELD = 86_400.0  # seconds: a sweep that is not to fall into what is measured
PAGE = 100


class Span:
    """Wall and CPU seconds of a block, of all threads of this process."""

    def __enter__(self):
        gc.collect()
        self.cpu, self.wall = -time.process_time(), -time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


class Memory:
    """Megabytes (of 10^6 bytes) of this process over what it had at the start."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._start = self._read("VmRSS")

    def peak(self) -> float:
        return self._read("VmHWM") - self._start

    @staticmethod
    def _read(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def wait_for(what: Callable[[], bool], timeout: float = 60.0) -> None:
    ends = time.monotonic() + timeout
    while not what():
        if time.monotonic() > ends:
            raise SystemExit("waited for something that did not come")
        time.sleep(0.002)


def settle() -> None:
    """Wait until this process has nothing to do."""
    quiet = 0
    while quiet < 3:
        before = time.process_time()
        time.sleep(0.25)
        quiet = quiet + 1 if time.process_time() - before < 0.004 else 0


# --- the two sides ---------------------------------------------------------------------------


def our_fleet(spec, **settings):
    from cvm_notebook import Client
    from cvm_notebook.fleet.fleet import Fleet
    from cvm_notebook.live.reflector.reflector import ReflectorSettings

    client = Client(api_key=spec["key"], base_url=spec["url"])
    return Fleet(client, settings=ReflectorSettings(**settings))


def official_client(spec):
    import phala_cloud

    return phala_cloud.create_client(api_key=spec["key"], base_url=spec["url"])


def official_list(client) -> list:
    found, page, pages = [], 1, 1
    while page <= pages:
        answer = client.get_cvm_list({"page": page, "page_size": PAGE})
        found += answer.items
        page, pages = page + 1, answer.pages
    return found


# --- the list --------------------------------------------------------------------------------


def list_ours(spec) -> None:
    fleet = our_fleet(spec, sweep=HELD)
    memory = Memory()
    with Span() as first, fleet:
        rows = fleet.snapshot().rows
        first.__exit__()
        peak = memory.peak()
        some = rows[-1].id
        assert len(rows) == spec["count"], len(rows)
        del rows
        again = [relist(fleet, some) for _ in range(spec["relists"])]
        say(
            first=[first.wall, first.cpu],
            again=[[one.wall, one.cpu] for one in again],
            peak_first=peak,
            peak=memory.peak(),
        )


def relist(fleet, some: str) -> Span:
    """Have the list read again, with nothing changed; the store has it when a row says so."""
    settle()
    time.sleep(1.1)  # the least time between two lists: now a wish is granted at once
    began, revision = time.monotonic(), fleet.store.revision
    with Span() as span:
        fleet.refresh()
        wait_for(lambda: (seen := fleet.store.get(some).seen).source == "list" and seen[0] > began)
    assert fleet.store.revision == revision, "something changed"
    return span


def list_official(spec) -> None:
    client = official_client(spec)
    memory = Memory()
    with Span() as first:
        found = official_list(client)
    peak = memory.peak()
    assert len(found) == spec["count"], len(found)
    again = []
    for _ in range(spec["relists"]):
        with Span() as span:
            found = official_list(client)
        again.append([span.wall, span.cpu])
    say(first=[first.wall, first.cpu], again=again, peak_first=peak, peak=memory.peak())


# --- a stream --------------------------------------------------------------------------------


def stream_ours(spec) -> None:
    """Note when a subscriber is called with each change of a stream, until a line comes in."""
    received: dict[str, list[tuple[str, int]]] = {one: [] for one in spec["ids"]}

    def changed(batch) -> None:
        now = time.monotonic_ns()
        for change in batch:
            if change.source == "stream":
                received[change.row.id].append((change.after.status, now))

    with our_fleet(spec) as fleet:
        for one in spec["ids"]:
            fleet.follow(one)
        settle()
        with fleet.store.subscribe(changed), Span() as span:
            say(ready=True)
            sys.stdin.readline()
        say(received=received, cpu=span.cpu)


def stream_official(spec) -> None:
    """Watch to a target again and again: it reports no other state."""
    client = official_client(spec)
    say(ready=True)
    for line in sys.stdin:
        cvm_id, target = line.split()
        seen = client.watch_cvm_state({"id": cvm_id, "target": target, "interval": 5})
        say(lag=(time.monotonic_ns() - seen.model_dump()["pushed_at_ns"]) / 1e6)


# --- nothing to do ---------------------------------------------------------------------------


def idle_ours(spec) -> None:
    with our_fleet(spec) as fleet:
        fleet.snapshot()
        settle()
        say(ready=True)
        with Span() as span:
            time.sleep(spec["seconds"])
        say(percent=100 * span.cpu / span.wall, threads=threading.active_count())


def idle_official(spec) -> None:
    """What the same requests cost: one reading of the list, one of all statuses."""
    client = official_client(spec)
    with Span() as lists:
        found = official_list(client)
    uuids = [one.vm_uuid for one in found]
    with Span() as statuses:
        for first in range(0, len(uuids), PAGE):
            client.get_cvm_status_batch({"vm_uuids": uuids[first : first + PAGE]})
    requests = math.ceil(len(uuids) / PAGE)
    say(cpu_per_list=lists.cpu / requests, cpu_per_status=statuses.cpu / requests)


# --- a thousand stops ------------------------------------------------------------------------


def stops_ours(spec) -> None:
    with our_fleet(spec, sweep=HELD) as fleet:
        chosen = fleet.search(f"status = 'running' limit {spec['stops']}")
        settle()
        plan = chosen.plan("stop")
        say(ready=True)
        sys.stdin.readline()
        with Span() as span:
            outcome = plan.execute(
                confirm=plan.phrase,
                concurrency=spec["at_once"],
                rate=spec["rate"],
                together=spec["together"],
                progress=False,
            )
        say(wall=span.wall, cpu=span.cpu, outcome=str(outcome), done=accepted(outcome))


def accepted(outcome) -> int:
    return sum(row.state in {"accepted", "reached"} for row in outcome.rows)


def stops_official(spec) -> None:
    client = official_client(spec)
    ids = [one.id for one in official_list(client) if one.status == "running"][: spec["stops"]]
    say(ready=True)
    sys.stdin.readline()
    with Span() as span, ThreadPoolExecutor(spec["at_once"]) as pool:
        done = list(pool.map(lambda one: client.stop_cvm({"id": one}), paced(ids, spec["rate"])))
    say(wall=span.wall, cpu=span.cpu, outcome="", done=len(done))


def paced(ids: list[str], rate: float | None) -> Iterator[str]:
    """Yield the ids no faster than so many a second."""
    began = time.monotonic()
    for number, one in enumerate(ids):
        if rate is not None:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield one


CELLS = {
    "list": (list_ours, list_official),
    "stream": (stream_ours, stream_official),
    "idle": (idle_ours, idle_official),
    "stops": (stops_ours, stops_official),
}

if __name__ == "__main__":
    name, side, given = sys.argv[1:]
    CELLS[name][side == "official"](json.loads(given))
