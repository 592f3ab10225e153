"""Three kernels on one workspace, and a service that fails at random: nothing twice, nothing lost.

It takes some seconds; ten minutes with ``CVM_NOTEBOOK_NIGHTLY=1``.
"""

import json
import os
import random
import threading
import time

import pytest
from helpers import commit

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import NotFoundError

SECONDS = 600.0 if os.environ.get("CVM_NOTEBOOK_NIGHTLY") == "1" else 8.0
SEED = random.SystemRandom().randrange(10_000)
LONG = 60.0
KERNELS, SHARED, ROUND = 3, 4, 4
SETTLE = 6.0
ROUTES = ("action", "replicate", "delete", "write", "read", "get", "list", "*")
FAULTS = (
    {"kind": "reset"},
    {"kind": "reset_after"},
    {"kind": "truncate"},
    {"kind": "hang"},
    {"kind": "late", "arg": 1.5},
    {"kind": "latency", "arg": 0.3},
    {"kind": "status", "arg": 500},
    {"kind": "status", "arg": 502},
    {"kind": "status", "arg": 503},
    {"kind": "status", "arg": 504},
    {"kind": "status", "arg": 429, "retry_after": 0},
)
KERNEL = """
import functools, random, time
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.live.operations import service
facts = json.loads(os.environ["FACTS"])
service.OperationSettings = functools.partial(
    service.OperationSettings, settle=facts["settle"], look=0.2
)
dice = random.Random(facts["seed"])
client = cvm.Client(timeout=Timeout(5.0, 1.0, 8.0))
ends = time.monotonic() + facts["seconds"]
replicas = []

def asked(fleet):
    verb = dice.choice(["restart", "replicate", "stop", "start", "restart", "replicate", "delete"])
    name = dice.choice(facts["names"])
    try:
        if verb == "delete":
            if not replicas:
                return None
            return fleet[replicas.pop()].delete()
        return getattr(fleet[name], verb)()
    except cvm.CvmError:
        return None

fleet = cvm.Fleet(client, ledger=facts["ledger"])
while time.monotonic() < ends:
    ops = {op.id: op for op in [asked(fleet) for _ in range(facts["round"])] if op is not None}
    for op in ops.values():
        op.wait(100)
        if op.made_id and op.state == "reached":
            replicas.append(op.made_id)
        print(json.dumps({"id": op.id, "verb": op.verb, "cvm": op.cvm_id, "state": op.state,
                          "made": op.made_id, "attempts": op.attempts, "note": op.note,
                          "correlation": op.correlation_id, "error": str(op.error)}), flush=True)
fleet.close()
print(json.dumps({"finished": True}), flush=True)
"""


@pytest.fixture
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=100) as running:
        yield running


@pytest.fixture
def client(cloud):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made:
        yield made


def made(client, number):
    name = f"soak-op-{number}"
    commit(client, name)
    client.watch_cvm_state(name, target="running")
    return client.get_cvm_info(name)


def break_at_random(cloud, until, dice):
    """Inject faults until something is so, then none."""
    pause = threading.Event()
    while not until():
        fault = {**dice.choice(FAULTS), "route": dice.choice(ROUTES), "skip": dice.randrange(3)}
        cloud.inject(fault)
        pause.wait(dice.uniform(0.02, 0.4))
    cloud.clear_faults()


def restarts(client, cvm_id):
    """Return the restarts in the history of a CVM."""
    found = client.list_operations(cvm_id, limit=1000)
    return [
        one.correlation_id for one in found if one.operation_type in {"restart", "force_restart"}
    ]


def asks(request):
    """Tell whether a request asks something of a CVM."""
    path = request["path"].partition("?")[0]
    verbs = ("/start", "/stop", "/restart", "/replicas")
    return request["method"] == "DELETE" or (request["method"] == "POST" and path.endswith(verbs))


def exists_or_existed(client, cvm_id, deleted):
    if cvm_id in deleted:
        return True
    try:
        return client.get_cvm_info(cvm_id).id == cvm_id
    except NotFoundError:
        return False


@pytest.mark.timeout(SECONDS + 300)
def test_what_is_reached_was_done_once_however_the_service_fails(
    cloud, client, kernels, tmp_path, request
):
    print(f"seed {SEED}")
    first = [made(client, number) for number in range(SHARED)]
    facts = {"names": [one.name for one in first], "seconds": SECONDS, "settle": SETTLE}
    facts |= {"round": ROUND}
    cloud.clear_requests()
    running = [
        kernels.start(
            KERNEL,
            FACTS=json.dumps(facts | {"seed": SEED + number, "ledger": str(tmp_path / "l.sqlite")}),
            PHALA_CLOUD_API_PREFIX=cloud.url,
            PHALA_CLOUD_API_KEY=cloud.api_key,
        )
        for number in range(KERNELS)
    ]
    ends = time.monotonic() + SECONDS
    break_at_random(cloud, lambda: time.monotonic() > ends, random.Random(SEED))

    by_id = {}
    for kernel in running:
        kernel.wait_for_line("finished")
        assert kernel.end() == 0, kernel.err
        for op in (json.loads(line) for line in kernel.out.splitlines() if '"id"' in line):
            # asked for again within the time of a double click, it is the same one, as it ended
            assert by_id.setdefault(op["id"], op) == op
    operations = list(by_id.values())

    replicas = [one["made"] for one in operations if one["verb"] == "replicate" and one["made"]]
    deleted = {one["cvm"] for one in operations if one["verb"] == "delete"}
    assert operations, "they did nothing"
    assert len(set(replicas)) == len(replicas), "one replica is taken for two"
    for made_id in replicas:
        assert exists_or_existed(client, made_id, deleted), made_id
    for one in first:
        reached = [
            op for op in operations
            if op["verb"] == "restart" and op["cvm"] == one.id and op["state"] == "reached"
            and op["attempts"] and not op["note"].startswith("joined")
            and "nothing was sent" not in op["note"]
        ]  # fmt: skip
        assert len(reached) <= len(restarts(client, one.id)), "more reached than were done"
    count = sum(op["verb"] == "replicate" and op["state"] != "failed" for op in operations)
    there = {cvm.id for cvm in client.list_cvms()} - {one.id for one in first}
    assert len(there | (deleted & set(replicas))) <= count, "a replica that nobody asked for"
    arrived = [one for one in cloud.requests() if asks(one)]
    if SECONDS < LONG:  # the cloud remembers the newest requests only
        assert sum(op["attempts"] for op in operations) == len(arrived)
