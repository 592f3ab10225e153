"""A plain HTTP client for LocalCloud's own tests: requests, and nothing of this package."""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.core.context import clock_now
from cvm_notebook.local.core.database import Cvm, Database
from cvm_notebook.local.core.usage import WorkspaceUsage
from cvm_notebook.local.engine import billing, placement
from cvm_notebook.local.engine.placement import Usage

COMPOSE = "services:\n  app:\n    image: nginx:latest\n    ports:\n      - '80:80'\n"


class Api:
    """What a client of the API does, in short; every method returns the bare response."""

    def __init__(self, url: str, key: str, version: str | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["X-API-Key"] = key
        if version is not None:
            self.session.headers["X-Phala-Version"] = version

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self("POST", path, json=body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self("PATCH", path, json=body, **more)

    def provision(self, name: str, compose: str = COMPOSE, **more: Any) -> requests.Response:
        body = {"name": name, "compose_file": {"docker_compose_file": compose}, **more}
        return self.post("/cvms/provision", body)

    def commit(self, provisioned: dict[str, Any]) -> requests.Response:
        wanted = {key: provisioned[key] for key in ("app_id", "compose_hash")}
        return self.post("/cvms", wanted)

    def create(self, name: str | None = None, **more: Any) -> dict[str, Any]:
        """Provision and commit; return the record."""
        provisioned = self.provision(name or new_name(), **more)
        assert provisioned.status_code == 200, provisioned.text
        made = self.commit(provisioned.json())
        assert made.status_code == 200, made.text
        record: dict[str, Any] = made.json()
        return record

    def status(self, cvm_id: str) -> str:
        answer = self.get(f"/cvms/{cvm_id}/state")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])

    def delete(self, cvm_id: str) -> None:
        """Delete a CVM and wait until it is gone."""
        answer = self("DELETE", f"/cvms/{cvm_id}")
        assert answer.status_code == 204, answer.text
        watched = self.get(f"/cvms/{cvm_id}/state", params={"target": "deleted"}, stream=True)
        assert watched.status_code == 404 or events_of(watched)[-1][0] == "complete"

    def balance(self) -> float:
        return float(self.get("/auth/me").json()["credits"]["balance"])

    def balance_and(self, read: Callable[[], Any]) -> tuple[float, Any]:
        """Return the balance and what is read in the same minute: both change by the minute."""
        balance = self.balance()
        while True:
            found, after = read(), self.balance()
            if after == balance:
                return balance, found
            balance = after

    def watch(self, cvm_id: str, target: str, **query: Any) -> list[tuple[str, Any]]:
        """Read a state stream to its end, as pairs of event and data."""
        answer = self.get(f"/cvms/{cvm_id}/state", params={"target": target, **query}, stream=True)
        assert answer.status_code == 200, answer.text
        return events_of(answer)

    def close(self) -> None:
        self.session.close()


def events_of(answer: requests.Response) -> list[tuple[str, Any]]:
    """Parse a whole event stream."""
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def new_name() -> str:
    """Make a name that no other test uses."""
    return f"cvm-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def connect() -> Iterator[Callable[..., Api]]:
    """Give clients of a cloud: ``connect(cloud)``, ``connect(cloud, version=..., key=...)``."""
    made: list[Api] = []

    def make(cloud: LocalCloud, *, key: str | None = None, version: str | None = None) -> Api:
        api = Api(cloud.url, key or cloud.api_key, version)
        made.append(api)
        return api

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(cloud: LocalCloud, connect: Callable[..., Api]) -> Api:
    """A client of the shared cloud."""
    return connect(cloud)


@pytest.fixture
def own(cloud: LocalCloud, connect: Callable[..., Api]) -> Api:
    """A client of the shared cloud, as a user with a workspace of the test's own."""
    return connect(cloud, key=cloud.new_workspace()["api_key"])


@pytest.fixture
def fresh(fresh_cloud: LocalCloud, connect: Callable[..., Api]) -> Api:
    """A client of a cloud of the test's own."""
    return connect(fresh_cloud)


@pytest.fixture(scope="session")
def clocked_cloud(new_cloud: Callable[..., LocalCloud]) -> Iterator[LocalCloud]:
    """One LocalCloud whose clock tests move forward; slow, so that nothing ends by itself."""
    with new_cloud(seed="empty", speed=1, balance="10000000") as running:
        yield running


@pytest.fixture
def clocked(clocked_cloud: LocalCloud, connect: Callable[..., Api]) -> Api:
    """A client of the cloud whose clock is moved."""
    return connect(clocked_cloud)


@pytest.fixture(scope="module")
def quoting_cloud(new_cloud: Callable[..., LocalCloud]) -> Iterator[LocalCloud]:
    """A cloud of a module's own, rich enough for GPUs, whose evidence it looks at and alters."""
    with new_cloud(seed="empty", speed=200, balance="10000000") as running:
        yield running


_SUMS = (
    func.count(Cvm.id),
    func.sum(Cvm.vcpu),
    func.sum(Cvm.memory),
    func.sum(Cvm.disk_size),
    func.sum(Cvm.gpus),
)


def _added_up(session, column):
    rows = session.execute(
        select(column, *_SUMS).where(Cvm.deleted_at.is_(None)).group_by(column)
    ).all()
    return {key: Usage(*map(int, sums)) for key, *sums in rows}


def _assert_kept(url):
    """Compare what is kept with what adding up gives."""
    database = Database(url)
    with database.read() as session:
        now = clock_now(session)
        held = placement.node_usage(session).items()
        nodes = {key: usage for key, usage in held if usage != Usage()}
        assert nodes == _added_up(session, Cvm.node_id)
        by_workspace = _added_up(session, Cvm.workspace_id)
        rate = select(func.sum(Cvm.compute_rate + Cvm.disk_rate)).where(Cvm.deleted_at.is_(None))
        for kept in session.scalars(select(WorkspaceUsage)):
            number = kept.workspace_id
            held = placement.workspace_usage(session, number)
            assert held == by_workspace.get(number, Usage())
            assert kept.rate == (session.scalar(rate.where(Cvm.workspace_id == number)) or 0)
            assert kept.peak_rate >= kept.rate
            most = billing.spent_at_most(session, number, now)
            assert most >= billing.spent(session, number, now)
    database.close()


def _walk(api, cloud, dice, steps):
    """Do things to CVMs at random."""
    made = []
    for _ in range(steps):
        chance = dice.random()
        if chance < 0.35 or not made:
            size = dice.choice([{}, {"vcpu": 3, "memory": 4096}, {"instance_type": "tdx.medium"}])
            made.append(api.create(disk_size=dice.randrange(20, 60), **size)["id"])
            continue
        one = dice.choice(made)
        if chance < 0.5:
            api.post(f"/cvms/{one}/{dice.choice(['stop', 'start', 'shutdown'])}")
        elif chance < 0.65:
            api.patch(f"/cvms/{one}/resources", {"vcpu": dice.randrange(1, 9)})
        elif chance < 0.75:
            answer = api.post(f"/cvms/{one}/replicas", {"node_id": dice.choice([3, 5, 21])})
            made += [answer.json()["id"]] if answer.ok else []
        elif chance < 0.9:
            assert api("DELETE", f"/cvms/{one}").status_code == 204
            made.remove(one)
        else:
            cloud.advance(dice.choice([1, 100, 5_000]))


@pytest.fixture
def walk_and_add_up(connect: Callable[..., Api]) -> Callable[..., None]:
    """Do things at random in two workspaces, and compare what is kept with the sums of it."""

    def act(cloud: LocalCloud, rounds: int, steps: int) -> None:
        dice = random.Random(23)
        apis = [connect(cloud, key=cloud.new_workspace()["api_key"]) for _ in range(2)]
        for _ in range(rounds):
            for api in apis:
                _walk(api, cloud, dice, steps)
            _assert_kept(cloud._settings.database)

    return act
