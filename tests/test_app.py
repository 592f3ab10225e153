"""An app of a live fleet: rolling updates, with faults at every step, and going back."""

import json
import signal
import threading
from functools import partial

import pytest
from helpers import COMPOSE, HANGS, until

import cvm_notebook as cvm
from cvm_notebook.live.operations import service
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.plans.plan import NotConfirmed

NEWER = COMPOSE.replace("1.27", "1.28")
BROKEN = COMPOSE.replace("nginx:1.27", "does-not-exist")
INSTANCES = 3
QUICK = partial(OperationSettings, settle=3.0, look=0.1)  # what is lost is settled sooner


class Place:
    """A workspace with an app of three instances, and the truth about it."""

    def __init__(self, cloud, client, fleet, workspace):
        self.cloud, self.client, self.fleet, self.workspace = cloud, client, fleet, workspace
        self.app = fleet.app("roll-1")

    @property
    def ids(self):
        return [row.id for row in self.app.instances.rows]

    def requests(self, *ends):
        """Count the changes that were sent, by the CVM."""
        found = dict.fromkeys(self.ids, 0)
        for one in self.cloud.requests():
            parts = one["path"].partition("?")[0].split("/")
            change = one["method"] == "PATCH" or parts[-1] in ends
            if change and "cvms" in parts and (cvm_id := parts[parts.index("cvms") + 1]) in found:
                found[cvm_id] += 1
        return list(found.values())

    def updated(self, text):
        """Count, by the CVM, how often it was given that compose file."""
        wanted = {
            one.compose_hash
            for one in self.client.get_app_revisions(self.app.id)
            if self.client.get_app_revision(self.app.id, one.revision_id).compose_file[
                "docker_compose_file"
            ]
            == text
        }
        made = self.client.get_app_revisions(self.app.id)
        return [
            sum(r.compose_hash in wanted and r.vm_uuid == row.vm_uuid for r in made)
            for row in self.app.instances.rows
        ]

    def statuses(self):
        return [one.status for one in self.client.get_app_cvms(self.app.id)]

    def most_down(self):
        """Return how many instances were down at once, at most, by their histories."""
        moves = []
        for cvm_id in self.ids:
            down = False
            for one in reversed(self.client.list_operations(cvm_id, limit=100)):
                if one.operation_type in {"create", "replicate"}:
                    continue
                moves.append((one.started, 0 if down else 1))
                down = one.status == "failed" or one.completed is None
                if not down:
                    moves.append((one.completed, -1))
        now = worst = 0
        for _, step in sorted(moves, key=lambda move: (move[0], move[1])):
            now += step
            worst = max(worst, now)
        return worst

    def fail(self, cvm_id):
        path = f"workspaces/{self.workspace}/cvms/{cvm_id}/fail"
        self.cloud._control("POST", path, {"error": "failed to start containers"})


@pytest.fixture(scope="module")
def shared(new_cloud):
    with new_cloud(seed="empty", speed=300) as cloud:
        yield cloud


@pytest.fixture
def place(shared, monkeypatch):
    monkeypatch.setattr(service, "OperationSettings", QUICK)
    shared.clear_faults()
    made = shared.new_workspace()
    with (
        cvm.Client(api_key=made["api_key"], base_url=shared.url) as client,
        cvm.Fleet(client) as fleet,
    ):
        app = {"name": "roll-1", "compose_file": COMPOSE, "env": {"A": "1"}}
        assert fleet.apply(**app, wait=True).ok
        for operation in fleet["roll-1"].replicate(count=INSTANCES - 1):
            operation.result(60)
        assert len(fleet.app("roll-1")) == INSTANCES
        shared.clear_requests()
        yield Place(shared, client, fleet, made["slug"])


def update(place, text=NEWER, **more):
    return place.app.update(compose_file=text, confirm="update 3", progress=False, **more)


def rolled(place, rollout):
    """Check that it is as it should be when all has come to its end."""
    assert rollout.state == "done", str(rollout)
    assert place.statuses() == ["running"] * INSTANCES
    assert place.updated(NEWER) == [1] * INSTANCES
    assert place.most_down() == 1
    assert not place.fleet.operator.alive()


# --- as it should go -----------------------------------------------------------------------------


def test_each_instance_is_changed_once_and_one_at_a_time(place):
    plan = place.app.update(compose_file=NEWER, dry_run=True)
    assert (plan.state, plan.phrase, plan.sends) == ("planned", "update 3", 3)
    assert "1.28" in plan._repr_mimebundle_()["text/html"]
    with pytest.raises(NotConfirmed, match="update 3"):
        place.app.update(compose_file=NEWER)
    assert place.requests() == [0, 0, 0]

    rollout = update(place)

    rolled(place, rollout)
    assert place.requests() == [1, 1, 1]
    assert set(rollout.frame()["state"]) == {"reached"}
    assert "3 of 3 as wanted" in repr(rollout)
    again = place.app.update(compose_file=NEWER, progress=False)
    assert [row.state for row in again] == ["kept"] * 3
    assert place.requests() == [1, 1, 1]


def test_as_many_as_may_be_are_down_at_once(place):
    sent, both, together = set(), threading.Event(), []

    def hold(record):  # the first one, until the second is sent as well
        if record.state == "sent" and record.id not in sent:
            sent.add(record.id)
            if len(sent) == 2:
                both.set()
            together.append(both.wait(HANGS))

    end = place.fleet.operator.attach(hold)
    assert update(place, max_unavailable=2).ok
    end()
    assert together == [True] * INSTANCES
    assert place.most_down() <= 2
    assert place.updated(NEWER) == [1, 1, 1]


def test_what_is_stopped_is_changed_and_stays_stopped(place):
    place.fleet[place.ids[0]].stop().result(60)
    rollout = update(place)
    assert rollout.ok
    assert sorted(place.statuses()) == ["running", "running", "stopped"]
    assert place.updated(NEWER) == [1, 1, 1]


def test_an_instance_counts_when_its_verdict_is_good(place):
    # the nodes that LocalCloud puts replicas on are of different levels
    levels = {"UpToDate", "ConfigurationNeeded", "SWHardeningNeeded", "OutOfDate"}
    good = cvm.Policy(tcb=levels)
    rollout = update(place, verify=good)
    assert rollout.ok, str(rollout)
    assert {row.verdict for row in rollout} == {"SIMULATED"}

    place.cloud.inject({"kind": "debug", "cvm": place.ids[1]})
    stopped = update(place, BROKEN.replace("does-not-exist", "nginx:1.29"), verify=good)
    assert stopped.state == "stopped"
    assert [row.state for row in stopped] == ["reached", "failed", "planned"]
    assert "FAILED" in stopped.why


# --- faults at every step ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "step"),
    [(kind, step) for kind in ("reset_after", "status") for step in range(INSTANCES)]
    + [("reset", 1), ("garbage", 2)],
)
def test_a_fault_at_any_step_doubles_nothing_and_leaves_nothing_unknown(place, kind, step):
    arg = {"arg": 400} if kind == "status" else {}
    place.cloud.inject({"kind": kind, "route": "update", "skip": step, **arg})

    rollout = update(place)

    if kind == "reset_after":  # it was done, and is read back
        rolled(place, rollout)
        assert place.requests() == [1, 1, 1]
        return
    assert rollout.state == "stopped"
    assert [row.finished for row in rollout] == [n < step for n in range(INSTANCES)]
    assert place.requests() == [int(n <= step) for n in range(INSTANCES)]
    assert rollout.stopped_at == rollout.rows[step].name
    assert rollout.stopped_at in repr(rollout)
    place.cloud.clear_faults()
    rolled(place, rollout.resume(progress=False))
    assert not [row for row in rollout if row.state == "unknown"]


def failing(place, step):
    """Let the boot of the instance fail that is changed at a step."""
    seen = []

    def hook(record):
        if record.state == "accepted" and record.verb == "update" and record.id not in seen:
            seen.append(record.id)
            if len(seen) == step + 1:
                place.fail(record.cvm_id)

    return place.fleet.operator.attach(hook)


@pytest.mark.parametrize("step", range(INSTANCES))
def test_a_boot_that_fails_stops_it_and_the_rest_runs_on(place, step):
    end = failing(place, step)
    rollout = update(place)
    end()

    assert rollout.state == "stopped"
    assert [row.state for row in rollout] == ["reached"] * step + ["failed"] + ["planned"] * (
        INSTANCES - step - 1
    )
    assert "failed to start containers" in rollout.why
    assert place.statuses().count("running") == INSTANCES - 1

    rolled(place, rollout.resume(progress=False))
    assert place.requests() == [1, 1, 1]


def test_what_failed_is_taken_back_and_the_rest_was_never_touched(place):
    rollout = update(place, BROKEN)
    assert [row.state for row in rollout] == ["failed", "planned", "planned"]

    back = rollout.rollback(progress=False)

    assert back.ok, str(back)
    assert len(back) == 1
    assert place.statuses() == ["running"] * INSTANCES
    assert place.updated(BROKEN) == [1, 0, 0]
    assert place.requests("redeploy") == [2, 0, 0]
    assert place.most_down() == 1
    assert list(place.app.hashes.values()) == [3]


def test_what_is_down_already_goes_first_and_costs_nothing(place):
    place.fail(place.ids[2])
    rollout = update(place)
    rolled(place, rollout)
    order = [one["path"].rpartition("/")[2] for one in place.cloud.requests() if is_patch(one)]
    assert order[0] == place.ids[2]


def is_patch(request):
    return request["method"] == "PATCH"


def test_there_is_no_room_while_another_instance_is_down(place):
    place.cloud.inject({"kind": "status", "route": "update", "skip": 1, "arg": 400})
    rollout = update(place)
    place.fail(place.ids[2])

    back = rollout.rollback(progress=False)

    assert back.state == "stopped"
    assert "max_unavailable=1 leaves no room" in back.why
    assert place.requests("redeploy") == [1, 1, 0]
    place.client.start_cvm(place.ids[2])
    assert back.resume(progress=False).ok
    assert place.requests("redeploy") == [2, 1, 0]


def test_what_somebody_else_is_doing_is_waited_for(place):
    place.client.restart_cvm(place.ids[1])
    rolled(place, update(place))


# --- interrupted ---------------------------------------------------------------------------------


def no_rollout_runs():
    return not [thread for thread in threading.enumerate() if thread.name == "cvm-rollout"]


def test_it_is_cancelled_between_two_and_gone_on_with(place):
    begun, cancelled = threading.Event(), threading.Event()

    def hold(record):
        if record.attempts:
            begun.set()
            cancelled.wait(HANGS)

    end = place.fleet.operator.attach(hold)
    rollout = update(place, wait=False)
    assert begun.wait(60)
    end()
    with pytest.raises(cvm.CvmError, match="under way"):
        place.app.resume(progress=False)
    rollout.cancel()
    cancelled.set()

    assert rollout.wait(60).state == "stopped"
    assert "cancelled" in rollout.why
    assert rollout.rows[2].state == "planned"
    rolled(place, rollout.resume(progress=False))
    assert place.requests() == [1, 1, 1]
    until(no_rollout_runs)


def test_it_ends_with_its_fleet(place):
    with cvm.Fleet(place.client) as other:
        place.cloud.inject({"kind": "hang", "route": "GET /apps/*/cvms", "skip": 2, "times": None})
        rollout = other.app("roll-1").update(
            compose_file=NEWER, confirm="update 3", wait=False, progress=False
        )
        other.close()
        assert rollout.wait(60).state == "stopped"
    assert "closed" in rollout.why
    until(no_rollout_runs)


def test_an_interruption_begins_nothing_new_and_says_how_to_go_on(place, press_ctrl_c):
    plan = place.app.update(compose_file=NEWER, dry_run=True)
    pressed, interrupted = [], threading.Event()

    def press(record):
        # "reached" where the service was done before its answer was looked at
        if record.state in {"accepted", "reached"} and not pressed:
            pressed.append(record.id)
            press_ctrl_c()
            interrupted.wait(HANGS)  # the update goes on when this returns

    end = place.fleet.operator.attach(press)

    def execute():
        try:
            plan.execute(confirm="update 3", progress=False)
        finally:
            interrupted.set()

    with pytest.raises(KeyboardInterrupt) as interrupt:
        execute()
    end()

    assert "resume() goes on" in interrupt.value.__notes__[0]
    assert plan.wait(60).state == "stopped"
    assert sum(place.requests()) == 1
    rolled(place, plan.resume(progress=False))
    assert place.requests() == [1, 1, 1]


KERNEL = """
import functools
from cvm_notebook.live.operations import service
service.OperationSettings = functools.partial(service.OperationSettings, settle=3.0, look=0.1)
with cvm.Fleet(cvm.Client()) as fleet:
    seen = []
    def tell(record):
        if record.state == "STATE" and record.id not in seen:
            seen.append(record.id)
            if len(seen) == STEP + 1:
                print("now", flush=True)
                import threading
                threading.Event().wait(100)  # until it is killed
    fleet.operator.attach(tell)
    fleet.app("roll-1").update(WHAT, confirm="update 3", progress=False)
"""


def killed(place, kernels, step, state, what):
    code = KERNEL.replace("STEP", str(step)).replace("STATE", state).replace("WHAT", what)
    kernel = kernels.start(
        code,
        PHALA_CLOUD_API_PREFIX=place.cloud.url,
        PHALA_CLOUD_API_KEY=place.client._credentials.secret.reveal(),
    )
    kernel.wait_for_line("now")
    kernel.send(signal.SIGKILL)
    kernel.end()


@pytest.mark.parametrize(
    ("step", "state"), [(0, "sent"), (0, "accepted"), (1, "accepted"), (2, "reached")]
)
def test_another_kernel_goes_on_where_one_was_killed(place, kernels, step, state):
    killed(place, kernels, step, state, f"compose_file={json.dumps(NEWER)}")
    left = INSTANCES - sum(place.updated(NEWER))

    plan = place.app.update(compose_file=NEWER, dry_run=True)
    assert plan.sends == left
    rollout = plan.execute(confirm=plan.phrase, progress=False)

    rolled(place, rollout)
    assert place.requests() == [1, 1, 1]


def test_variables_that_a_killed_kernel_has_rolled_to_some_are_rolled_to_the_rest(place, kernels):
    killed(place, kernels, 1, "accepted", 'env={"A": "2"}')
    assert sum(place.requests()) == 2

    rollout = place.app.resume(progress=False)

    assert [row.state for row in rollout] == ["kept", "kept", "reached"]
    assert place.requests("redeploy") == [1, 1, 1]
    newest = {}
    for one in reversed(place.client.get_app_revisions(place.app.id)):
        newest[one.vm_uuid] = place.client.get_app_revision(place.app.id, one.revision_id)
    assert len({one.encrypted_env for one in newest.values()}) == 1
    assert place.app.resume(progress=False).ok
    assert place.requests("redeploy") == [1, 1, 1]


# --- going back ----------------------------------------------------------------------------------


def test_an_app_goes_back_once_however_often_it_is_asked(place):
    assert update(place).ok
    place.cloud.clear_requests()
    with pytest.raises(NotConfirmed, match="rollback 3"):
        place.app.rollback()

    back = place.app.rollback(confirm="rollback 3", progress=False)

    assert back.ok, str(back)
    assert place.requests("redeploy") == [1, 1, 1]
    assert place.app.rollback(progress=False).ok
    assert place.requests("redeploy") == [1, 1, 1]
    assert "1.27" in place.client.get_cvm_docker_compose(place.ids[1])
    changes = place.app.revisions()["changes"]
    assert list(changes[:3]) == ["compose_file"] * 3
    oldest = place.app.revisions().index[-1]
    newer = place.app.revisions().index[3]
    assert "+    image: nginx:1.28" in place.app.diff(oldest, newer)


def test_the_values_of_variables_go_back_too(place):
    first = {
        one.vm_uuid: place.client.get_app_revision(place.app.id, one.revision_id).encrypted_env
        for one in place.client.get_app_revisions(place.app.id)
    }
    rollout = place.app.update(env={"A": "2"}, confirm="update 3", progress=False)
    assert rollout.ok
    assert place.app.rollback(confirm="rollback 3", progress=False).ok
    newest = place.client.get_app_revisions(place.app.id)[0]
    found = place.client.get_app_revision(place.app.id, newest.revision_id)
    assert found.encrypted_env == first[newest.vm_uuid]
    # what is declared is not what runs, although no name differs
    again = place.fleet.apply(name="roll-1", compose_file=COMPOSE, env={"A": "2"}, dry_run=True)
    assert again.steps[0].action == "update"


def test_one_cvm_goes_back_by_itself(place):
    handle = place.fleet[place.ids[0]]
    handle.update(compose_file=NEWER).result(60)

    preview = handle.rollback(dry_run=True)
    assert [one.field for one in preview.fields] == ["compose_file"]
    operation = handle.rollback()
    operation.result(60)
    assert (operation.verb, operation.state, operation.attempts) == ("redeploy", "reached", 1)
    again = handle.rollback().wait(60)
    assert again.state == "reached"
    assert "nothing was sent" in again.note
    assert place.requests("redeploy") == [2, 0, 0]


def test_a_lost_variable_wants_the_phrase(place):
    one = place.fleet[place.ids[0]]
    one.update(env={"A": "1", "B": "2"}).result(60)
    with pytest.raises(NotConfirmed, match=r"B would be lost.*confirm='rollback 1'"):
        one.rollback()
    assert one.rollback(confirm="rollback 1").wait(60).state == "reached"
    assert place.client.get_cvm_compose_file(one.id)["allowed_envs"] == ["A"]


def test_an_app_is_found_by_what_its_instances_are_called(place):
    app = place.app
    for called in (app.id, f"app_{app.id}", place.ids[1], "roll-1"):
        assert place.fleet.app(called).id == app.id
    assert len(app) == INSTANCES
    assert app.rate_usd_h == sum(row.cvm.hourly_rate.total_usd for row in app.instances.rows)
    with pytest.raises(cvm.NotFoundError):
        place.fleet.app("nobody")
    with pytest.raises(cvm.InvalidInput, match="max_unavailable"):
        app.update(compose_file=NEWER, max_unavailable=0)
    with pytest.raises(cvm.InvalidInput, match="no such field"):
        app.update(compose=NEWER)
