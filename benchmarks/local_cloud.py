"""Measure LocalCloud: single requests with 10,000 CVMs, commits, and 64 clients at once.

Run it as ``python benchmarks/local_cloud.py``. Single requests are measured at the server (from the
request's arrival to the answer's last byte, as the server notes it) and at a client over real HTTP;
commits with 1,000 and 100,000 CVMs; the load on SQLite with one worker and, where ``pgserver`` is
installed, on PostgreSQL with two. The exit code is 1 when a goal is missed.
"""

import argparse
import contextlib
import http.client
import json
import random
import statistics
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import insert

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.core.database import Cvm, Database
from cvm_notebook.local.core.identifiers import new_instance_id, new_uuid
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.placement import Size, columns_of_size

SERVER_MS = 30.0
OVER_SERVER_MS = 3.0
OVER_SERVER_TIMES = 2.0
COMMIT_TIMES = 2.0
LOAD_P99_SECONDS = 1.5
COMPOSE = "services:\n  app:\n    image: nginx:latest\n    ports: ['80:80']\n"
BATCH = 2_000
PARTS = ("requests", "commits", "load", "postgres")


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
        for first in range(0, count, BATCH):
            rows = [_row(number) for number in range(first, min(first + BATCH, count))]
            session.execute(insert(Cvm), [shared | row for row in rows])
    target.close()


def _row(number: int) -> dict[str, object]:
    return {
        "name": f"bench-{number:06d}",
        "app_id": new_instance_id(),
        "vm_uuid": new_uuid(),
        "instance_id": new_instance_id(),
        "node_id": (3, 5, 6)[number % 3],
        "op_correlation_id": new_uuid(),
    }


class Client:
    """One kept connection."""

    def __init__(self, cloud: LocalCloud) -> None:
        parts = urlsplit(cloud.url)
        self._prefix = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        self._headers = {"X-API-Key": cloud.api_key, "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Return status and body of an answer, whatever it says."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, self._prefix + path, text, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def __call__(self, method: str, path: str, body: object = None) -> bytes:
        status, data = self.ask(method, path, body)
        if status != 200:
            raise SystemExit(f"{method} {path} answered {status}: {data[:200]!r}")
        return data

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def filled(count: int, **options: object) -> Iterator[LocalCloud]:
    """Give a LocalCloud on SQLite that holds so many CVMs."""
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'bench.sqlite'}"
        with LocalCloud(seed="empty", database=database, balance="100000000", **options) as cloud:
            fill(database, count)
            yield cloud


@contextlib.contextmanager
def filled_postgres(count: int, workers: int) -> Iterator[LocalCloud]:
    """Give a LocalCloud on a PostgreSQL server of its own that holds so many CVMs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that servers don't have
        import pgserver
    with tempfile.TemporaryDirectory() as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            with LocalCloud(
                seed="empty", database=url, workers=workers, balance="100000000"
            ) as cloud:
                fill(url, count)
                yield cloud
        finally:
            server.cleanup()


# --- single requests


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


def requests(count: int, rounds: int) -> int:
    """Print what single requests take, and return how many goals were missed."""
    with filled(count) as cloud:
        client = Client(cloud)
        print(f"{count} CVMs{'':12}{'server ms':>10}{'client ms':>10}{'kB':>8}   goals")
        missed = 0
        for name, (ask, has_goal) in _kinds(client, count).items():
            server, seen, size = measure(cloud, ask, rounds)
            over = seen - server <= OVER_SERVER_MS and seen <= server * OVER_SERVER_TIMES
            goals = [goal(over, f"client over server <= {OVER_SERVER_MS:g} ms, <= 2 times")]
            if has_goal:
                goals.append(goal(server <= SERVER_MS, f"server <= {SERVER_MS:g} ms"))
            missed += sum("MISSED" in one for one in goals)
            text = "; ".join(goals)
            print(f"{name:22}{server:10.2f}{seen:10.2f}{size / 1000:8.1f}   {text}")
        client.close()
    return missed


def _kinds(client: Client, count: int) -> dict[str, tuple[Callable[[], bytes], bool]]:
    middle, last = max(1, count // 200), -(-count // 100)
    page = json.loads(client("GET", f"/cvms/paginated?page={middle}&page_size=100"))["items"]
    uuids = {"vm_uuids": [item["vm_uuid"] for item in page]}

    def get(path: str) -> Callable[[], bytes]:
        return lambda: client("GET", path)

    return {
        "page of 100, first": (get("/cvms/paginated?page_size=100"), True),
        "page of 100, middle": (get(f"/cvms/paginated?page={middle}&page_size=100"), True),
        "page of 100, last": (get(f"/cvms/paginated?page={last}&page_size=100"), True),
        "batch status of 100": (lambda: client("POST", "/status/batch", uuids), True),
        "one CVM by id": (get(f"/cvms/{page[0]['id']}"), False),
        "one CVM by name": (get(f"/cvms/{page[0]['name']}"), False),
        "one state": (get(f"/cvms/{page[0]['id']}/state"), False),
    }


def goal(met: bool, text: str) -> str:
    return f"{text}: {'met' if met else 'MISSED'}"


# --- commits


def commits(rounds: int) -> int:
    """Print what a commit takes in small and large fleets; return how many goals were missed."""
    small, large = 1_000, 100_000
    seen: dict[int, list[float]] = {small: [], large: []}
    with filled(small) as few, filled(large) as many:
        clients = {small: Client(few), large: Client(many)}
        # In turn, so that a slow minute of the machine hits both.
        for number in range(rounds + 5):
            for count, client in clients.items():
                seen[count].append(_commit_seconds(client, f"commit-{number}"))
        for client in clients.values():
            client.close()
    taken = {count: statistics.median(each[5:]) * 1000 for count, each in seen.items()}
    for count, ms in taken.items():
        print(f"commit with {count:7} CVMs{ms:10.2f} ms at the client")
    times = taken[large] / taken[small]
    verdict = goal(times <= COMMIT_TIMES, f"{times:.2f} times; <= {COMMIT_TIMES:g} times")
    print(verdict)
    return int("MISSED" in verdict)


def _commit_seconds(client: Client, name: str) -> float:
    plan = json.loads(client("POST", "/cvms/provision", _wish(name)))
    began = time.perf_counter()
    client("POST", "/cvms", {key: plan[key] for key in ("app_id", "compose_hash")})
    return time.perf_counter() - began


def _wish(name: str) -> dict[str, object]:
    return {"name": name, "compose_file": {"docker_compose_file": COMPOSE}}


# --- load


@dataclass
class Load:
    """What many clients have met together."""

    seconds: float
    uuids: list[str]
    names: list[str]
    seen: list[tuple[str, int, float]] = field(default_factory=list)

    def client(self, cloud: LocalCloud, number: int) -> None:
        """Be one client until the time is over: mostly reads, and changes of CVMs of its own."""
        dice, client, own = random.Random(number), Client(cloud), _Own(number)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            kind, method, path, body = self._next(dice, own)
            began = time.perf_counter()
            status, data = client.ask(method, path, body)
            self.seen.append((kind, status, time.perf_counter() - began))
            own.answered(kind, status, data)
        client.close()

    def _next(self, dice: random.Random, own: "_Own") -> tuple[str, str, str, object]:
        chance = dice.random()
        if chance < 0.25:
            page = dice.randrange(1, 1 + len(self.uuids) // 100)
            return "page", "GET", f"/cvms/paginated?page={page}&page_size=100", None
        if chance < 0.45:
            return "batch", "POST", "/status/batch", {"vm_uuids": dice.sample(self.uuids, 100)}
        if chance < 0.70:
            return "get", "GET", f"/cvms/{dice.choice(self.names)}", None
        return own.change(dice)


class _Own:
    """The CVMs that one client makes, and its next change."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._made = 0
        self._plan: dict[str, str] | None = None
        self._cvms: list[str] = []

    def change(self, dice: random.Random) -> tuple[str, str, str, object]:
        if self._plan is not None:
            return "commit", "POST", "/cvms", self._plan
        if len(self._cvms) < 3 or dice.random() < 0.3:
            self._made += 1
            wish = _wish(f"load-{self._number}-{self._made}")
            return "provision", "POST", "/cvms/provision", wish
        if len(self._cvms) > 6:
            return "delete", "DELETE", f"/cvms/{self._cvms.pop(0)}", None
        return "stop", "POST", f"/cvms/{dice.choice(self._cvms)}/stop", None

    def answered(self, kind: str, status: int, data: bytes) -> None:
        if kind == "provision" and status == 200:
            plan = json.loads(data)
            self._plan = {key: plan[key] for key in ("app_id", "compose_hash")}
        elif kind == "commit":
            self._plan = None
            if status == 200:
                self._cvms.append(json.loads(data)["id"])


def load(cloud: LocalCloud, clients: int, seconds: float) -> int:
    """Print what many clients at once get, and return how many goals were missed."""
    client = Client(cloud)
    pages = [
        json.loads(client("GET", f"/cvms/paginated?page={page}&page_size=100"))["items"]
        for page in range(1, 21)
    ]
    items = [item for page in pages for item in page]
    client.close()
    run = Load(seconds, [item["vm_uuid"] for item in items], [item["name"] for item in items])
    threads = [
        threading.Thread(target=run.client, args=(cloud, number)) for number in range(clients)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return _report(run, took)


def _report(run: Load, took: float) -> int:
    print(f"{'':12}{'count':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}   statuses")
    for kind in ("page", "batch", "get", "provision", "commit", "stop", "delete"):
        one = [(status, seconds) for name, status, seconds in run.seen if name == kind]
        _line(kind, one)
    every = [(status, seconds) for _, status, seconds in run.seen]
    p99 = _line("all", every)
    failed = sum(status >= 500 for status, _ in every)
    verdicts = [
        f"{len(every) / took:.0f} requests/s",
        goal(failed == 0, f"{failed} answers of 500 and above"),
        goal(p99 <= LOAD_P99_SECONDS, f"p99 <= {LOAD_P99_SECONDS:g} s"),
    ]
    print("; ".join(verdicts))
    return sum("MISSED" in one for one in verdicts)


def _line(kind: str, answers: list[tuple[int, float]]) -> float:
    if not answers:
        return 0.0
    taken = sorted(seconds for _, seconds in answers)
    p99 = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
    statuses = dict(sorted(Counter(status for status, _ in answers).items()))
    figures = (taken[len(taken) // 2], p99, taken[-1])
    text = "".join(f"{figure * 1000:10.1f}" for figure in figures)
    print(f"{kind:12}{len(taken):8}{text}   {statuses}")
    return p99


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="CVMs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="requests of a kind (%(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="of the load (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of the load (%(default)s)")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas (%(default)s)")
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    if not wanted <= set(PARTS):
        parser.error(f"--only takes some of {', '.join(PARTS)}")
    missed = 0
    if "requests" in wanted:
        missed += requests(options.count, options.rounds)
    if "commits" in wanted:
        print()
        missed += commits(options.rounds)
    if "load" in wanted:
        print(f"\n{options.clients} clients, {options.count} CVMs, SQLite, one worker")
        with filled(options.count) as cloud:
            missed += load(cloud, options.clients, options.seconds)
    if "postgres" in wanted:
        print(f"\n{options.clients} clients, {options.count} CVMs, PostgreSQL, two workers")
        with filled_postgres(options.count, workers=2) as cloud:
            missed += load(cloud, options.clients, options.seconds)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
