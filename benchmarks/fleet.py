"""Measure the live fleet with 10,000 CVMs, beside the official SDK doing the same work.

    python benchmarks/fleet.py                   the whole run (some 9 minutes)
    python benchmarks/fleet.py --quick           fewer repetitions and stops (some 3 minutes)
    python benchmarks/fleet.py --only lists,stops

Ends with 1 when a goal is missed. With the outside kit (see README.md) its stub is the service;
without it LocalCloud is, and what needs the stub is left out, which the table says.
"""

import argparse
import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud import fill
from run import KIT, ROOT, official_sdk

CELLS = Path(__file__).with_name("fleet_cells.py")
WHOLE = {"reps": 5, "relists": 3, "events": 900, "seconds": 240, "stops": 1000}
QUICK = {"reps": 2, "relists": 2, "events": 300, "seconds": 120, "stops": 200}
PACE = 20.0  # stops, and events, a second
LATENCY = 0.05
TAKES = 1.5  # seconds, of a stop
AT_ONCE = 8
STREAMS = 4


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    ours: float | None
    unit: str
    goal: float | None = None
    official: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.ours is not None and self.ours > self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"<= {self.goal:g}"
        verdict = "" if self.goal is None else "MISS" if self.missed else "ok"
        if self.ours is None:
            verdict = "-"
        ratio = self.ours / self.official if self.ours is not None and self.official else None
        cells = (_figure(self.ours), self.unit, goal, verdict, _figure(self.official))
        form = "{:>9} {:5} {:>8} {:5} {:>9}"
        return f"{self.what:48}{form.format(*cells)} {_figure(ratio):>7}  {self.note}".rstrip()


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


# --- the service -----------------------------------------------------------------------------


class Stub:
    """The kit's stub server, every CVM of it running."""

    def __init__(self, kit: Path, count: int) -> None:
        arguments = ["--port", "0", "--n", str(count), "--die-with-parent"]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(kit / "stub_server.py"), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TRUTH_IDS": str(count)},
        )
        port = json.loads(self.process.stdout.readline())["port"]
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self.where = {"url": f"http://127.0.0.1:{port}/api/v1", "key": "bench", "count": count}
        self.ids = self("truth")["ids"]
        self.calm()

    def __call__(self, path: str, **body: object) -> dict[str, Any]:
        self._connection.request("POST", f"/_control/{path}", json.dumps(body))
        return json.loads(self._connection.getresponse().read())

    def calm(self) -> None:
        """Let all run, and forget what was counted."""
        self("reset")
        self("config", latency_ms=0, action_ms=0)
        self("set_status", ids=self.ids, status="running")

    def slow(self) -> None:
        """Answer late, and take a while for what is asked."""
        self.calm()
        self("config", latency_ms=LATENCY * 1000, action_ms=TAKES * 1000)

    def stopped(self) -> tuple[int, int]:
        """How many stops came, and how many of these were repeated."""
        stats = self("stats")
        return stats["actions"], stats["actions_dup"]

    def close(self) -> None:
        self._connection.close()
        self.process.terminate()
        self.process.wait(10)


class Local:
    """A LocalCloud with as many CVMs, all running."""

    def __init__(self, count: int) -> None:
        from cvm_notebook.local import LocalCloud

        self._folder = tempfile.TemporaryDirectory()
        database = f"sqlite:///{Path(self._folder.name) / 'bench.sqlite'}"
        self._cloud = LocalCloud(seed="empty", database=database, balance="100000000").start()
        fill(database, count)
        self.where = {"url": self._cloud.url, "key": self._cloud.api_key, "count": count}

    def calm(self) -> None:
        self._cloud.clear_faults()
        self._cloud.clear_requests()

    def slow(self) -> None:
        self.calm()
        for route in ("action", "POST /cvms/batch-stop"):
            fault = {"kind": "latency", "route": route, "arg": LATENCY, "times": None}
            self._cloud.inject(fault)

    def stopped(self) -> tuple[int, int]:
        asked = [r["path"] for r in self._cloud.requests() if r["path"].endswith("/stop")]
        return len(asked), len(asked) - len(set(asked))

    def close(self) -> None:
        self._cloud.close()
        self._folder.cleanup()


def json_megabytes(where: dict[str, Any]) -> float:
    """The size of the list, all pages together."""
    host = where["url"].split("/")[2]
    connection = http.client.HTTPConnection(host)
    size = 0
    for page in range(1, math.ceil(where["count"] / 100) + 1):
        path = f"/api/v1/cvms/paginated?page={page}&page_size=100"
        connection.request("GET", path, headers={"X-API-Key": where["key"]})
        size += len(connection.getresponse().read())
    connection.close()
    return size / 1e6


# --- the cells -------------------------------------------------------------------------------


class Cell:
    """A process that measures; ``get`` waits for the next thing it says."""

    def __init__(self, name: str, side: str, spec: dict[str, Any]) -> None:
        path = os.pathsep.join(map(str, (ROOT, official_sdk())))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(CELLS), name, side, json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self._name = f"{name}, {side}"

    def get(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"cell {self._name} ended with {self._process.wait()}")
        return json.loads(line)

    def send(self, line: str = "") -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.communicate(timeout=60)


@contextmanager
def cell(name: str, side: str, spec: dict[str, Any]) -> Iterator[Cell]:
    one = Cell(name, side, spec)
    try:
        yield one
    finally:
        one.end()


class Bench:
    """The cells against one service, and the lines that follow from them."""

    def __init__(self, service: Stub | Local, settings: dict[str, Any], sides: list[str]) -> None:
        self._service = service
        self._settings = settings
        self._sides = sides
        self._spec = service.where | settings

    def lists(self) -> Iterator[Line]:
        """The first list beside the same list again, and their memory."""
        size = json_megabytes(self._service.where)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in self._sides}
        self._service.calm()
        for _ in range(self._settings["reps"]):
            for side, found in runs.items():
                with cell("list", side, self._spec) as one:
                    found.append(one.get())
        first = {s: [_median(r["first"][i] for r in runs[s]) for i in (0, 1)] for s in runs}
        again = {
            s: [_median(a[i] for r in runs[s] for a in r["again"]) for i in (0, 1)] for s in runs
        }
        for i, kind in enumerate(("wall", "CPU")):
            yield self._line(f"first list, {kind}", {s: 1e3 * first[s][i] for s in runs}, "ms")
            yield self._line(f"unchanged list, {kind}", {s: 1e3 * again[s][i] for s in runs}, "ms")
            ratios = {
                s: _median(_median(a[i] for a in r["again"]) / r["first"][i] for r in runs[s])
                for s in runs
            }
            yield self._line(f"unchanged / first, {kind}", ratios, "x", 0.35)
        for key, what in (("peak_first", "first list"), ("peak", "first list, statuses, relists")):
            peaks = {s: _median(r[key] for r in runs[s]) / size for s in runs}
            note = f"JSON {size:.1f} MB"
            yield self._line(f"peak memory / JSON, {what}", peaks, "x", 3.0, note)

    def stream(self) -> Iterator[Line]:
        """From the service's write of an event to the observer's call."""
        what = "stream byte -> subscriber, {}"
        if not isinstance(self._service, Stub):
            yield Line(what.format("p50, p99"), None, "ms", 3.0, note="needs the kit")
            return
        self._service.calm()
        lags = {side: getattr(self, f"_lags_{side}")() for side in self._sides}
        note = f"{len(lags['ours'])} events, {STREAMS} streams"
        for share, goal in ((0.5, 3.0), (0.99, 20.0)):
            found = {side: _percentile(values, share) for side, values in lags.items()}
            yield self._line(what.format(f"p{share * 100:g}"), found, "ms", goal, note)

    def _lags_ours(self) -> list[float]:
        ids = self._service.ids[: STREAMS * 10 : 10]
        pushed: dict[str, list[tuple[str, int]]] = {one: [] for one in ids}
        with cell("stream", "ours", self._spec | {"ids": ids}) as one:
            one.get()
            while self._service("stats")["streams"] < STREAMS:
                time.sleep(0.1)
            for number in range(self._settings["events"]):
                cvm_id, round_ = ids[number % STREAMS], number // STREAMS
                status = ("stopped", "running")[round_ % 2]
                at = self._service("transition", id=cvm_id, status=status)["pushed_at_ns"]
                pushed[cvm_id].append((status, at))
                time.sleep(1 / PACE)
            time.sleep(0.5)
            one.send()
            received = one.get()["received"]
        lags = []
        for cvm_id, sent in pushed.items():
            assert [s for s, _ in sent] == [s for s, _ in received[cvm_id]], "events were lost"
            lags += [(h - p) / 1e6 for (_, p), (_, h) in zip(sent, received[cvm_id], strict=True)]
        return lags

    def _lags_official(self) -> list[float]:
        lags = []
        with cell("stream", "official", self._spec) as one:
            one.get()
            for number in range(self._settings["events"] // STREAMS):
                cvm_id = self._service.ids[number]
                armed = {"after_connect_ms": 20, "reset_to": "starting"}
                self._service("transition", id=cvm_id, status="stopped", **armed)
                one.send(f"{cvm_id} stopped")
                lags.append(one.get()["lag"])
        return lags

    def idle(self) -> Iterator[Line]:
        """What a fleet costs in which nothing happens: lists and sweeps included."""
        self._service.calm()
        counted = isinstance(self._service, Stub)
        with cell("idle", "ours", self._spec) as one:
            one.get()
            before = self._service("stats")["routes"] if counted else {}
            found = {"ours": one.get()["percent"]}
            after = self._service("stats")["routes"] if counted else {}
        asked = {k: after.get(k, 0) - before.get(k, 0) for k in ("list", "status")}
        note = f"{self._settings['seconds']} s: {asked['list']} pages, {asked['status']} batches"
        if "official" in self._sides and counted:
            with cell("idle", "official", self._spec) as one:
                cost = one.get()
            seconds = sum(cost[f"cpu_per_{kind}"] * count for kind, count in asked.items())
            found["official"] = 100 * seconds / self._settings["seconds"]
        yield self._line("idle fleet, CPU of a core", found, "%", 0.5, note if counted else "")

    def stops(self) -> Iterator[Line]:
        """Stops through a plan, at a rate and without one."""
        stops = self._settings["stops"]
        for rate, at_once in ((PACE, AT_ONCE), (None, 16), (None, 32)):
            bound = max(stops / (rate or math.inf), math.ceil(stops / at_once) * LATENCY)
            times = 1 if rate is not None else 3  # a rate evens out what the machine does besides
            runs = self._stop_in_turn(times, rate, at_once)
            pace = f"{rate:g}/s" if rate else "no rate"
            name = f"{stops} stops, {pace}, {at_once} at once / bound"
            found = {s: _median(run["wall"] for run in runs[s]) / bound for s in runs}
            goal = None if rate is None else 1.10  # the goal is for a rate that is kept
            yield self._line(name, found, "x", goal, f"bound {bound:.2f} s")
            cpu = {s: 1e3 * _median(run["cpu"] for run in runs[s]) / stops for s in runs}
            yield self._line("    CPU a stop", cpu, "ms")

    def _stop_in_turn(self, times: int, rate: float | None, at_once: int):
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in self._sides}
        for _ in range(times):
            for side, found in runs.items():
                found.append(self._stop(side, rate, at_once))
        return runs

    def _stop(self, side: str, rate: float | None, at_once: int, *, together: bool = False):
        time.sleep(2 * TAKES)  # what was asked of it before is over
        self._service.slow()
        terms = {"rate": rate, "at_once": at_once, "together": together}
        with cell("stops", side, self._spec | terms) as one:
            one.get()
            one.send()
            run = one.get()
            came = self._service.stopped()
        stops = self._settings["stops"]
        assert run["done"] == stops, run
        assert together or came == (stops, 0), came
        return run

    def batch(self) -> Iterator[Line]:
        """Stops with up to fifty in a request; LocalCloud's, as the stub has no such call."""
        stops = self._settings["stops"]
        bound = stops / PACE
        run = self._stop("ours", PACE, AT_ONCE, together=True)
        name = f"{stops} stops in batches, {PACE:g}/s / bound"
        note = f"bound {bound:.2f} s; LocalCloud; the SDK has no batch"
        yield Line(name, run["wall"] / bound, "x", 1.10, note=note)

    @staticmethod
    def _line(
        what: str, found: dict[str, float], unit: str, goal: float | None = None, note: str = ""
    ) -> Line:
        return Line(what, found["ours"], unit, goal, found.get("official"), note)


def _median(values) -> float:
    return statistics.median(values)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


# --- the run ---------------------------------------------------------------------------------


def lines(options: argparse.Namespace) -> Iterator[Line]:
    settings = (QUICK if options.quick else WHOLE) | (
        {"reps": options.reps} if options.reps else {}
    )
    sides = ["ours"] + ["official"] * (official_sdk() / "phala_cloud").is_dir()
    has_kit = (options.kit / "stub_server.py").is_file()
    wanted = options.only.split(",")
    service = Stub(options.kit, options.count) if has_kit else Local(options.count)
    try:
        bench = Bench(service, settings, sides)
        for name in ("lists", "stream", "idle", "stops"):
            if name in wanted:
                yield from getattr(bench, name)()
    finally:
        service.close()
    if "batch" in wanted:
        local = Local(settings["stops"])
        try:
            yield from Bench(local, settings, ["ours"]).batch()
        finally:
            local.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the kit (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and stops")
    parser.add_argument("--count", type=int, default=10_000, help="CVMs (%(default)s)")
    parser.add_argument("--reps", type=int, help="repetitions of the lists")
    parser.add_argument("--only", default="lists,stream,idle,stops,batch", help="%(default)s")
    options = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        print("The peak of memory is read from Linux's /proc, which is not here.", file=sys.stderr)
        return 2
    print(f"{'':48}{'ours':>9} {'':5} {'goal':>8} {'':5} {'official':>9} {'ratio':>7}")
    missed = 0
    for line in lines(options):
        print(line, flush=True)
        missed += line.missed
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
