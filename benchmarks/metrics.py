"""What measuring the guests of a live fleet costs: requests a second, and the share of a core.

    python benchmarks/metrics.py [--count 40] [--seconds 120]

A LocalCloud holds so many running CVMs. The CPU of this process is taken for as long twice: while
the fleet is kept live, and while the figures of all that run are measured besides; the difference
is the poll's. Ends with 1 when a goal is missed. The goals are for 40 CVMs.
"""

import argparse
import os
import time
from pathlib import Path

from local_cloud import filled

PER_SECOND = 2.0
OF_A_CORE = 0.01
CONNECTED = 60.0


def cpu_of(seconds: float) -> float:
    """Return the share of a core that this process takes in so many seconds."""
    before, began = os.times(), time.monotonic()
    time.sleep(seconds)
    after, took = os.times(), time.monotonic() - began
    return (after.user + after.system - before.user - before.system) / took


def threads() -> int:
    """Return how many threads this process has."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def line(what: str, value: float, form: str, limit: float | None = None) -> bool:
    """Print a line; return whether its goal is missed."""
    missed = limit is not None and value > limit
    goal = "" if limit is None else f"<= {limit:{form}} {'MISS' if missed else 'ok'}"
    print(f"{what:56}{value:>10{form}}   {goal}".rstrip())
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="running CVMs (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="of each part (%(default)s)")
    options = parser.parse_args()

    import cvm_notebook as cvm

    with (
        filled(options.count) as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        cvm.Fleet(client) as fleet,
    ):
        print(f"{len(fleet.where(status='running'))} running CVMs")
        cpu_of(5.0)  # the first list is over
        live = cpu_of(options.seconds)
        began = time.monotonic()
        handle = fleet.measure()
        all_known = fleet.poll.ready(CONNECTED)
        first = time.monotonic() - began
        cloud.clear_requests()
        both = cpu_of(options.seconds)
        asked = [one["path"] for one in cloud.requests() if one["path"].endswith("/stats")]
        handle.close()
        missed = line("first figures of all, seconds", first, ".2f")
        missed |= line("requests a second", len(asked) / options.seconds, ".2f", PER_SECOND)
        line("share of a core: kept live", live, ".2%")
        line("share of a core: kept live and measured", both, ".2%")
        missed |= line("share of a core: the poll", both - live, ".2%", OF_A_CORE)
        line("threads while it rests", threads(), "d")
    return int(missed or not all_known)


if __name__ == "__main__":
    raise SystemExit(main())
