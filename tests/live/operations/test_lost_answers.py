"""A table: each verb, each way to lose its answer, by a client alone or by the ledger.

Whatever happens to the answer: it is carried out once at most, exactly once where it says that it
was reached, and it says so for what this very request has done.
"""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import pytest
from helpers import COMPOSE, LONG_PATIENCE, NIGHTLY

from cvm_notebook.api.claims import SentClaims
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError, NotFoundError, TransportError
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.resources.intent import may_have_begun
from cvm_notebook.api.verbs import SPECS, VERBS
from cvm_notebook.live.operations.context import OperationSettings

TIMEOUT = Timeout(5.0, 4.0, 60.0)
SLOW = 5.0  # how late an answer is that comes too late
SETTLE = 8.0
AT_ONCE = 16  # as many as a busy machine answers within the timeouts
GRACE = 20.0  # real seconds beyond what is allowed: the machine may be busy
JUDGED = sorted({spec.judged_by for spec in SPECS.values()})
EFFECTS = {  # what the service calls it in a CVM's history
    "start": {"power_on"},
    "stop": {"power_off"},
    "shutdown": {"shutdown"},
    "restart": {"restart", "force_restart"},
    "redeploy": {"compose_update"},
    "update": {"compose_update"},
}
NEWER = COMPOSE.replace("1.27", "1.28")
_numbers = count(1)


@dataclass
class Cell:
    """One verb whose answer is lost in one way, and what became of it."""

    verb: str
    way: str
    row: object = None
    provision: object = None
    revision: str = ""
    before: frozenset = frozenset()
    state: str = ""
    made_id: str | None = None
    correlation_id: str | None = None
    attempts: int | None = None
    error: CvmError | None = None
    wrong: list = field(default_factory=list)

    @property
    def request(self):
        if self.verb == "commit":
            return "POST", "/cvms"
        if self.verb == "delete":
            return "DELETE", f"/cvms/{self.row.id}"
        if self.verb == "update":
            return "PATCH", f"/cvms/{self.row.id}"
        if self.verb == "redeploy":
            return "POST", f"/cvms/{self.row.id}/revisions/{self.revision}/redeploy"
        word = "replicas" if self.verb == "replicate" else self.verb
        return "POST", f"/cvms/{self.row.id}/{word}"

    @property
    def there(self):
        """What its client is asked with."""
        return self.provision if self.verb == "commit" else self.row.id

    def effects(self, client):
        """Return the names of all that may be its doing."""
        if self.verb == "delete":
            return _gone(client, self.row.id)
        if SPECS[self.verb].creates:
            app_id = self.provision.app_id if self.verb == "commit" else self.row.app_id
            try:
                return frozenset(cvm.id for cvm in client.get_app_cvms(app_id))
            except NotFoundError:
                return frozenset()
        history = client.list_operations(self.row.id, limit=100)
        return frozenset(
            one.correlation_id for one in history if one.operation_type in EFFECTS[self.verb]
        )


def _gone(client, cvm_id):
    try:
        client.get_cvm_info(cvm_id)
    except NotFoundError:
        return frozenset({cvm_id})
    return frozenset()


def cells_of(verbs, ways, holder):
    """Return the cells of the table that this holder fills.

    Where verbs share how they are judged, the other holder has every second cell: so each verb
    meets each way, and each holder meets both. By night both have all.
    """
    table = [
        (verb, way, one + two) for one, verb in enumerate(verbs) for two, way in enumerate(ways)
    ]
    shared = len(verbs) > 1 and not NIGHTLY
    mine = ["client", "ledger"].index(holder)
    return [Cell(verb, way) for verb, way, place in table if not shared or place % 2 == mine]


def laid_out(bench, gateway, cells):
    """Make a CVM for each cell, note what is there, and have the gateway lose the answer."""
    on_cvms = [cell for cell in cells if cell.verb != "commit"]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: _made(bench.client), on_cvms))
        stopped = [name for name, cell in zip(names, on_cvms, strict=True) if cell.verb == "start"]
        list(pool.map(bench.client.stop_cvm, stopped))
        for name in stopped:
            bench.client.watch_cvm_state(name, target="stopped")
    for cell in cells:
        if cell.verb == "commit":
            name = f"lost-{next(_numbers)}"
            cell.provision = bench.client.provision_cvm(name=name, compose_file=COMPOSE)
    bench.list()
    for cell, name in zip(on_cvms, names, strict=True):
        cell.row = bench.row(name)
    for cell in cells:
        if cell.verb == "redeploy":
            cell.revision = bench.client.get_app_revisions(cell.row.app_id)[0].revision_id
    for cell in cells:
        cell.before = cell.effects(bench.client)
        if cell.verb != "commit":
            gateway.lose(*cell.request, cell.way)
    return cells


def _made(client):
    name = f"lost-{next(_numbers)}"
    client.commit_cvm_provision(client.provision_cvm(name=name, compose_file=COMPOSE))
    client.watch_cvm_state(name, target="running")
    return name


def by_client(cell, client):
    """Ask with a client alone."""
    try:
        if cell.verb == "commit":
            answer = client.commit_cvm_provision(cell.provision)
        elif cell.verb == "update":
            answer = client.update_cvm(cell.there, compose_file=NEWER)
            cell.correlation_id = answer.correlation_id
        elif cell.verb == "redeploy":
            answer = client.redeploy_cvm_revision(cell.there, revision_id=cell.revision)
            cell.correlation_id = answer.correlation_id
        else:
            answer = getattr(client, f"{cell.verb}_cvm")(cell.there)
    except CvmError as error:
        cell.error = error
        cell.state = "unknown" if may_have_begun(error) else "failed"
        if isinstance(error, TransportError):
            cell.attempts = error.attempts
    else:
        cell.state = "reached"
        cell.made_id = answer.id if SPECS[cell.verb].creates else None


def by_ledger(cell, operations):
    """Ask with a ledger, and see it to its end."""
    params = {
        "commit": cell.provision,
        "update": {"docker_compose_file": NEWER},
        "redeploy": {"revision_id": cell.revision},
    }.get(cell.verb)
    op = operations.submit(cell.verb, cell.row, params=params)
    op.wait(TIMEOUT.total + SETTLE + GRACE)
    cell.state, cell.made_id, cell.error = op.state, op.made_id, op.error
    cell.correlation_id, cell.attempts = op.correlation_id, op.attempts
    if op.record != operations.get(op.id).record:
        cell.wrong.append("the ledger has another record of it")


def judged(cell, client, requests, undone):
    """Return what is wrong about a cell."""
    new = cell.effects(client) - cell.before
    say = cell.wrong.append
    if len(new) > 1:
        say(f"carried out {len(new)} times")
    if cell.way in undone and requests == 1 and new:
        say("done, though the service did nothing")
    if cell.state == "reached":
        if len(new) != 1:
            say(f"reached, but carried out {len(new)} times")
        if SPECS[cell.verb].creates and cell.made_id not in new:
            say(f"it takes {cell.made_id} for its own, and made {sorted(new)}")
        counted = SPECS[cell.verb].judged_by == "history"
        if counted and cell.correlation_id and cell.correlation_id not in new:
            say("what it took for its own is another one")
    elif new:
        say(f"lost: it is {cell.state} ({cell.error}), and was carried out")
    if cell.state not in {"reached", "unknown", "failed"}:
        say(f"it ended as {cell.state!r}")
    if cell.attempts is not None and cell.attempts != requests:
        say(f"{cell.attempts} attempts are counted, and {requests} requests arrived")
    if cell.verb != "commit" and requests != 1:
        say(f"{requests} requests for one wish")
    return [f"{cell.verb} / {cell.way}: {what}" for what in cell.wrong]


def committed(bench, lay_gateway, cells, holder):
    """Commits share one path: each goes by a gateway of its own."""

    def commit(cell, gateway):
        gateway.lose(*cell.request, cell.way)
        with Client(api_key=bench.cloud.api_key, base_url=gateway.url, timeout=TIMEOUT) as client:
            if holder == "client":
                by_client(cell, client)
            else:
                settings = OperationSettings(settle=SETTLE, look=0.2)
                by_ledger(cell, bench.new_operations(client, settings=settings))
            gateway.rest()
        return cell, gateway.count(*cell.request)

    gateways = [lay_gateway(bench.cloud.port, slow=SLOW) for _ in cells]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(commit, cells, gateways))


@pytest.mark.parametrize("judged_by", JUDGED)
@pytest.mark.parametrize("holder", ["client", "ledger"])
def test_what_is_asked_once_is_done_once_whatever_becomes_of_the_answer(
    bench, lay_gateway, monkeypatch, holder, judged_by
):
    # a client alone looks for long enough, too, where the service goes on late
    monkeypatch.setattr("cvm_notebook.api.resources.intent._LOOKS", (0.3, 0.7, 1.5, 5.0))
    gateway = lay_gateway(bench.cloud.port, slow=SLOW)
    verbs = [verb for verb in VERBS if SPECS[verb].judged_by == judged_by]
    cells = laid_out(bench, gateway, cells_of(verbs, lay_gateway.ways, holder))
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url, timeout=TIMEOUT)
    operations = bench.new_operations(
        client, workers=16, settings=OperationSettings(settle=SETTLE, look=0.2)
    )
    ask, what = (by_client, client) if holder == "client" else (by_ledger, operations)
    if judged_by == "compose_hash":
        asked = committed(bench, lay_gateway, cells, holder)
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda cell: ask(cell, what), cells))
        gateway.rest()
        asked = [(cell, gateway.count(*cell.request)) for cell in cells]
    operations.close()

    wrong = [
        problem
        for cell, requests in asked
        for problem in judged(cell, bench.client, requests, lay_gateway.undone)
    ]

    client.close()
    assert not wrong, "\n".join(["", *wrong])
    assert not bench.faults


def test_what_is_unknown_is_given_up_on_in_the_time_that_is_allowed(bench, lay_gateway, clock):
    (row,) = bench.make()
    gateway = lay_gateway(bench.cloud.port)
    gateway.lose("POST", f"/cvms/{row.id}/restart", "reset")
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url)
    bench.store.patch([])
    operations = bench.new_operations(client, clock=clock, settings=OperationSettings(settle=30.0))

    op = operations.submit("restart", row)
    passed = 0
    while op.state in {"asked", "sent"}:
        threading.Event().wait(0.01)
    for _ in range(2000):
        if op.done:
            break
        if clock.settle(1, 0.05):
            clock.advance(1)
            passed += 1
        threading.Event().wait(0.02)
    client.close()

    assert (op.state, op.done) == ("unknown", True)
    assert op.record.ended - op.record.sent <= 30.0 + 2 * OperationSettings().slowest
    assert gateway.count("POST", f"/cvms/{row.id}/restart") == 1


# --- what others do meanwhile ---------------------------------------------------------------------

OTHER = """
import sys
from cvm_notebook.api.client import Client
with Client(base_url=sys.argv[1]) as client:
    getattr(client, sys.argv[2])(sys.argv[3])
"""


def same_client(_bench, client, _gateway, call, cvm_id):
    getattr(client, call)(cvm_id)


def other_client(bench, _client, _gateway, call, cvm_id):
    getattr(bench.client, call)(cvm_id)


def other_address(bench, _client, gateway, call, cvm_id):
    with Client(api_key=bench.cloud.api_key, base_url=gateway.url) as other:
        getattr(other, call)(cvm_id)


def other_process(bench, _client, _gateway, call, cvm_id):
    import os

    subprocess.run(
        [sys.executable, "-c", OTHER, bench.cloud.url, call, cvm_id],
        env={**os.environ, "PHALA_CLOUD_API_KEY": bench.cloud.api_key},
        check=True,
        timeout=100,
    )


OTHERS = [same_client, other_client, other_address, other_process]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("call", ["replicate_cvm", "restart_cvm"])
def test_what_others_do_while_ours_is_lost_is_never_taken_for_ours(bench, lay_gateway, call, other):
    (row,) = bench.make()
    gateway, others = lay_gateway(bench.cloud.port), lay_gateway(bench.cloud.port)
    verb = call.removesuffix("_cvm")
    path = f"/cvms/{row.id}/{'replicas' if verb == 'replicate' else verb}"
    gateway.lose("POST", path, "reset")
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url)
    intent = client.intent(verb, row.id)
    intent.prepare()
    with pytest.raises(TransportError):
        intent.send()

    other(bench, client, others, call, row.id)

    bench.client.watch_cvm_state(row.id, target="running")
    found = intent.read_back()
    client.close()
    assert not found.begun, "another's is taken for ours"
    assert intent.attempts == 1


@pytest.mark.parametrize(
    ("call", "other"), [*zip(["replicate_cvm", "restart_cvm"] * 2, OTHERS, strict=True)]
)
def test_what_others_did_just_before_is_never_taken_for_ours(bench, lay_gateway, call, other):
    (row,) = bench.make()
    gateway, others = lay_gateway(bench.cloud.port), lay_gateway(bench.cloud.port)
    verb = call.removesuffix("_cvm")
    path = f"/cvms/{row.id}/{'replicas' if verb == 'replicate' else verb}"
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url)
    other(bench, client, others, call, row.id)
    bench.client.watch_cvm_state(row.id, target="running")
    gateway.lose("POST", path, "reset")
    intent = client.intent(verb, row.id)
    intent.prepare()
    with pytest.raises(TransportError):
        intent.send()

    found = intent.read_back()
    client.close()
    assert not found.begun, "another's is taken for ours"


def test_ours_is_known_when_others_are_answered_with_theirs(bench, lay_gateway):
    (row,) = bench.make()
    gateway = lay_gateway(bench.cloud.port)
    gateway.lose("POST", f"/cvms/{row.id}/replicas", "reset_after")
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url)
    intent = client.intent("replicate", row.id)
    intent.prepare()
    with pytest.raises(TransportError):
        intent.send()

    theirs = [bench.client.replicate_cvm(row.id).id for _ in range(2)]

    found = intent.read_back()
    client.close()
    assert found.begun
    assert found.cvm.id not in theirs


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("way", ["reset", "reset_after"])
def test_three_replicas_of_which_some_are_lost(bench, lost, way):
    (row,) = bench.make()
    bench.break_it(way, route="replicate", times=lost)
    settle = 2.0 if way == "reset" else LONG_PATIENCE  # what was done is found in the end
    operations = bench.new_operations(settings=OperationSettings(settle=settle, look=0.2))

    ops = [operations.submit("replicate", row, again=True) for _ in range(3)]
    for op in ops:
        op.wait(2 * LONG_PATIENCE)

    made = [op.made_id for op in ops if op.state == "reached"]
    new = {cvm.id for cvm in bench.client.get_app_cvms(row.app_id)} - {row.id}
    assert len(set(made)) == len(made), "one replica is taken for two"
    assert set(made) <= new
    if way == "reset":
        assert len(new) == len(made) == 3 - lost
    else:
        assert len(new) == len(made) == 3, "as many are new as were asked for"
    assert bench.sent("POST", "/replicas") == sum(op.attempts for op in ops) == 3


@pytest.mark.parametrize("later", [False, True])
def test_each_of_two_lost_ones_is_given_what_it_can_have_made(later):
    claims = SentClaims()
    first, second = claims.begin("replicas"), claims.begin("replicas")
    claims.know(first, [])
    claims.know(second, ["a"])  # made by the first, whose answer is awaited still
    for name in (first, second):
        claims.lost(name)
    if later:
        claims.know(claims.begin("replicas"), ["b", "a"])

    assert claims.assign(first, ["b", "a"]) == "a"
    assert claims.assign(second, ["b"]) == "b"


def test_a_plan_over_brothers_of_one_app_claims_each_replica_once(bench, lay_gateway):
    (row,) = bench.make()
    bench.client.watch_cvm_state(bench.client.replicate_cvm(row.id).id, target="running")
    bench.list()
    rows = [one for one in bench.store.snapshot() if one.app_id == row.app_id]
    gateway = lay_gateway(bench.cloud.port)
    gateway.lose("POST", f"/cvms/{rows[0].id}/replicas", "reset")
    client = Client(api_key=bench.cloud.api_key, base_url=gateway.url)
    operations = bench.new_operations(client, settings=OperationSettings(settle=2.0, look=0.2))

    ops = [operations.submit("replicate", one) for one in rows]
    states = sorted(op.wait(60).state for op in ops)
    client.close()

    assert states == ["reached", "unknown"]
    assert len(bench.client.get_app_cvms(row.app_id)) == 3


@pytest.mark.parametrize("call", ["replicate_cvm", "restart_cvm"])
def test_a_client_alone_does_not_take_the_one_before_for_this_one(bench, call):
    (row,) = bench.make()
    do = getattr(bench.client, call)
    first = do(row.id)
    bench.client.watch_cvm_state(row.id, target="running")
    bench.break_it("reset", route="replicate" if call == "replicate_cvm" else "action")

    with pytest.raises(TransportError) as lost:
        do(row.id)

    assert lost.value.sent
    assert lost.value.attempts == 1
    assert first.id
