"""Measure LocalCloud with 10,000 CVMs: a page of 100, a batch status of 100, one CVM.

Run it as ``python benchmarks/local_cloud.py``; it prints medians at the server (from the request's
arrival to the answer's last byte, as the server notes it) and at a client over real HTTP.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.compose import AppCompose, columns_of, complete
from cvm_notebook.local.db import Cvm, Database
from cvm_notebook.local.identifiers import new_instance_id, new_uuid
from cvm_notebook.local.placement import Size, columns_of_size

LIMIT_MS = 30.0
COMPOSE = "services:\n  app:\n    image: nginx:latest\n    ports: ['80:80']\n"


def fill(database: str, count: int) -> None:
    """Put CVMs that have run for a day into the default workspace."""
    began = time.time() - 86_400
    shared = {
        **columns_of(complete(AppCompose(docker_compose_file=COMPOSE))),
        **columns_of_size(Size("tdx.small", 1, 2048, 20)),
        "workspace_id": 1,
        "creator_id": 1,
        "image": "dstack-0.5.9",
        "env_keys": [],
        "ports": [],
        "first_boot_at": began,
        "created_at": began,
        "updated_at": began,
        "billed_from": began,
        "op_kind": "create",
        "op_began_at": began,
        "op_origin": "",
    }
    target = Database(database)
    with target.write() as session:
        session.add_all(
            Cvm(
                **shared,
                name=f"bench-{number:05d}",
                app_id=new_instance_id(),
                vm_uuid=new_uuid(),
                instance_id=new_instance_id(),
                node_id=(3, 5, 6)[number % 3],
                op_correlation_id=new_uuid(),
            )
            for number in range(count)
        )
    target.close()


class Client:
    """One kept connection."""

    def __init__(self, cloud: LocalCloud) -> None:
        parts = urlsplit(cloud.url)
        self._prefix = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc)
        self._headers = {"X-API-Key": cloud.api_key, "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: object = None) -> bytes:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, self._prefix + path, text, self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path} answered {answer.status}: {data[:200]!r}")
        return data


def measure(cloud: LocalCloud, ask: Callable[[], bytes], rounds: int) -> tuple[float, float, int]:
    """Return the medians in ms at the server and at the client, and the answer's size."""
    for _ in range(5):
        size = len(ask())
    cloud.clear_requests()
    seen = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        seen.append(time.perf_counter() - began)
    served = [one["seconds"] for one in cloud.requests()]
    return statistics.median(served) * 1000, statistics.median(seen) * 1000, size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="CVMs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="requests of a kind (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'bench.sqlite'}"
        with LocalCloud(seed="empty", database=database, balance="100000000") as cloud:
            began = time.perf_counter()
            fill(database, options.count)
            print(f"{options.count} CVMs written in {time.perf_counter() - began:.1f} s\n")
            return report(cloud, options.count, options.rounds)


def report(cloud: LocalCloud, count: int, rounds: int) -> int:
    client = Client(cloud)
    middle = max(1, count // 200)
    page = json.loads(client("GET", f"/cvms/paginated?page={middle}&page_size=100"))["items"]
    uuids = [item["vm_uuid"] for item in page]
    kinds: dict[str, tuple[Callable[[], bytes], bool]] = {
        "page of 100, first": (lambda: client("GET", "/cvms/paginated?page_size=100"), True),
        "page of 100, middle": (
            lambda: client("GET", f"/cvms/paginated?page={middle}&page_size=100"),
            True,
        ),
        "page of 100, last": (
            lambda: client("GET", f"/cvms/paginated?page={-(-count // 100)}&page_size=100"),
            True,
        ),
        "batch status of 100": (
            lambda: client("POST", "/status/batch", {"vm_uuids": uuids}),
            True,
        ),
        "one CVM by id": (lambda: client("GET", f"/cvms/{page[0]['id']}"), False),
        "one CVM by name": (lambda: client("GET", f"/cvms/{page[0]['name']}"), False),
        "one state": (lambda: client("GET", f"/cvms/{page[0]['id']}/state"), False),
    }
    print(f"{'':22}{'server ms':>10}{'client ms':>10}{'kB':>8}   goal")
    missed = 0
    for name, (ask, has_goal) in kinds.items():
        server, seen, size = measure(cloud, ask, rounds)
        goal = ""
        if has_goal:
            missed += server > LIMIT_MS
            goal = f"<= {LIMIT_MS:g}: {'met' if server <= LIMIT_MS else 'MISSED'}"
        print(f"{name:22}{server:10.2f}{seen:10.2f}{size / 1000:8.1f}   {goal}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
