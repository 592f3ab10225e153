"""The form that changes a CVM, as a front end and as Python use it, on a real LocalCloud."""

import json

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import InvalidInput

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"
OTHER = "services:\n  web:\n    image: nginx:1.28\n"
SCRIPT = "#!/bin/sh\necho before\n"
SENTINEL = "sentinel-4f1c9a-value"


@pytest.fixture(scope="module")
def shared(new_cloud):
    with new_cloud(seed="empty", speed=400) as cloud:
        yield cloud


@pytest.fixture
def fleet(shared):
    """A fleet of a workspace of the test's own, with one CVM that has two variables."""
    shared.clear_faults()
    key = shared.new_workspace()["api_key"]
    with cvm.Client(api_key=key, base_url=shared.url) as client:
        compose = {
            "docker_compose_file": COMPOSE,
            "pre_launch_script": SCRIPT,
            "allowed_envs": ["A", "B"],
        }
        offer = client.provision_cvm(name="web-app", compose_file=compose, env_keys=["A", "B"])
        sealed = cvm.encrypt_env(offer.app_env_encrypt_pubkey, {"A": "1", "B": "2"})
        made = client.commit_cvm_provision(offer, encrypted_env=sealed, env_keys=["A", "B"])
        client.watch_cvm_state(made.id, target="running")
        with cvm.Fleet(client) as fleet:
            fleet.snapshot()
            yield fleet
    shared.clear_faults()


class Bench:
    """A form's front end."""

    def __init__(self, wire, fleet, **fields):
        self.wire, self.fleet = wire, fleet
        self.form = fleet["web-app"].change(**fields)
        ((buffer,),) = [
            buffers
            for model, kind, _, buffers in wire.log
            if (model, kind) == (self.form.model_id, "comm_open")
        ]
        self.token = json.loads(bytes(buffer))["token"]
        self.clicks = 0
        self.say("hello")
        self.reach("fill")

    def say(self, kind, **more):
        self.wire.say(self.form, {"kind": kind, "token": self.token, **more})

    def click(self, kind, **more):
        self.clicks += 1
        self.say(kind, click=f"click-{self.clicks}", **more)

    def until(self, right):
        return self.wire.until(self.form, right)

    def reach(self, *phases):
        return self.until(lambda state: state["step"]["phase"] in phases)

    def typed(self, **values):
        self.say("set", values=values, edits=dict.fromkeys(values, 1))

    def previewed(self):
        self.click("preview")
        return self.reach("previewed")["step"]["preview"]


@pytest.fixture
def bench(wire, fleet):
    bench = Bench(wire, fleet)
    yield bench
    bench.form.close()


def patches(cloud):
    return [one for one in cloud.requests() if one["method"] == "PATCH"]


def test_it_opens_filled_with_what_runs(bench):
    state = bench.until(lambda state: state["catalogue"]["state"] == "ready")
    assert state["of"] == "web-app"
    assert state["compose"] == COMPOSE
    shown = state["fields"]["values"]
    assert (shown["pre_launch_script"], shown["instance_type"]) == (SCRIPT, "tdx.small")
    assert shown["image"] == bench.fleet["web-app"].cvm.os.name
    assert shown["disk_size"] == 20
    assert state["env"] == {
        "rows": [["A", False], ["B", False]],
        "problem": None,
        "without": "kept",
    }
    assert bench.form.model.changes == {}


def test_a_change_is_previewed_sent_once_and_followed(bench, shared):
    bench.typed(compose_file=OTHER, disk_size=40)
    preview = bench.previewed()
    shared.clear_requests()
    assert (preview["restarts"], preview["differs"], preview["stale"]) == (True, True, False)
    facts = {name: (before, after) for name, before, after in preview["facts"]}
    assert facts["disk_size"] == ("20", "40")
    assert {"compose_file", "compose hash", "USD/h while it runs"} <= facts.keys()
    assert "+    image: nginx:1.28" in preview["diff"]
    assert (preview["phrase"], preview["env"]) == (None, [[], [], []])
    for _ in range(2):  # a double click is one
        bench.say("update", click="once", confirm="")
    state = bench.reach("done")
    assert len(patches(shared)) == 1
    assert state["step"]["boot"]["state"] == "reached"
    now = bench.fleet.client.get_cvm_info(bench.form.cvm_id)
    assert now.resource.disk_in_gb == 40
    assert now.compose_hash == bench.form.preview.hash_after
    assert bench.form.operation.state == "reached"
    bench.click("again")
    state = bench.reach("fill")
    assert (state["compose"], state["fields"]["values"]["disk_size"]) == (OTHER, 40)
    assert bench.form.model.changes == {}


def test_variables_that_are_not_given_again_are_lost_only_with_the_phrase(bench, shared):
    bench.say("env", name="A", value=SENTINEL)
    bench.until(lambda state: state["env"]["without"] == "lost")
    preview = bench.previewed()
    assert preview["env"] == [[], ["A"], ["B"]]
    assert preview["phrase"] == "update 1"
    assert "B would be lost" in preview["dangers"][0]
    shared.clear_requests()
    for typed in ("", "update 2"):
        bench.click("update", confirm=typed)
        state = bench.until(lambda state: "general" in state["errors"])
        assert state["step"]["phase"] == "previewed"
    assert not patches(shared)
    assert state["env"]["rows"] == [["A", True], ["B", False]]  # nothing typed is lost
    bench.click("update", confirm=preview["phrase"])
    state = bench.reach("done")
    assert state["env"]["rows"] == [["A", False]]
    assert state["env"]["without"] == "kept"
    compose = bench.fleet.client.get_cvm_compose_file(bench.form.cvm_id)
    assert compose["allowed_envs"] == ["A"]
    shown = [bench.form.get_state(), bench.form._repr_mimebundle_(), bench.form.request]
    sent = json.dumps(patches(shared), default=str)
    assert SENTINEL not in str(shown) + sent + str(bench.wire.state(bench.form))


def test_variables_can_be_left_as_they_are_again(bench):
    bench.say("env_remove", name="B")
    bench.until(lambda state: state["env"]["without"] == "lost")
    bench.say("env_keep")
    state = bench.until(lambda state: state["env"]["without"] == "kept")
    assert [name for name, _ in state["env"]["rows"]] == ["A", "B"]
    assert bench.previewed()["differs"] is False
    assert not bench.form.send_update()
    assert "nothing differs" in bench.form.errors["general"]


def test_what_changed_since_the_preview_is_not_sent(bench, shared):
    bench.typed(disk_size=40)
    bench.previewed()
    bench.typed(disk_size=50)
    assert bench.until(lambda state: state["step"]["preview"]["stale"])
    shared.clear_requests()
    assert not bench.form.send_update()
    assert "changed since it was previewed" in bench.form.errors["general"]
    assert not patches(shared)


def test_what_runs_is_read_again_before_it_is_sent(bench, shared):
    bench.typed(disk_size=40)
    bench.previewed()
    client = bench.fleet.client
    client.update_cvm("web-app", disk_size=30)  # somebody else
    client.watch_cvm_state("web-app", target="running")
    shared.clear_requests()
    bench.click("update")
    state = bench.until(lambda state: "general" in state["errors"])
    assert "nothing was sent" in state["errors"]["general"]["text"]
    facts = {name: (before, after) for name, before, after in state["step"]["preview"]["facts"]}
    assert facts["disk_size"] == ("30", "40")
    assert not patches(shared)
    bench.click("update")
    bench.reach("done")
    assert len(patches(shared)) == 1


def test_nothing_typed_is_lost_on_an_error(bench, shared):
    bench.typed(compose_file=OTHER)
    bench.say("env", name="A", value="3")
    bench.say("env", name="B", value="4")
    bench.previewed()
    client = bench.fleet.client
    shared.inject({"kind": "status", "arg": 400, "route": "PATCH /cvms/*", "times": 1})
    bench.click("update")
    state = bench.until(lambda state: state["errors"])
    assert state["step"]["phase"] == "previewed"
    assert state["compose"] == OTHER
    assert state["env"]["rows"] == [["A", True], ["B", True]]
    bench.click("update")
    bench.reach("done")
    assert client.get_cvm_compose_file(bench.form.cvm_id)["docker_compose_file"] == OTHER


def test_an_invalid_field_has_its_error_beside_it(bench):
    bench.typed(compose_file="services: [")
    bench.until(lambda state: "compose_file" in state["errors"])
    bench.click("preview")
    bench.until(lambda state: "general" not in state["errors"])
    assert bench.reach("fill")["errors"].keys() == {"compose_file"}
    with pytest.raises(InvalidInput, match="replicas"):
        bench.form.fill(replicas=2)
    with pytest.raises(InvalidInput, match="Did you mean disk_size"):
        bench.fleet["web-app"].change(disksize=40)


def test_fields_given_from_python_stand_on_top_of_what_runs(wire, fleet):
    bench = Bench(wire, fleet, disk_size=40, public_logs=False)
    state = bench.until(lambda state: state["step"]["phase"] == "fill")
    assert state["compose"] == COMPOSE
    assert bench.form.model.changes == {"disk_size": 40, "public_logs": False}
    assert (
        'fleet["web-app"].update(\n    disk_size=40,\n    public_logs=False,\n)' in state["request"]
    )
    compile(state["request"], "cell", "exec")
    assert "Change of web-app" in bench.form._repr_mimebundle_()["text/plain"]
    assert repr(bench.form) == "<ChangeForm of 'web-app': fill>"
    bench.form.close()


def test_what_cannot_be_read_can_be_read_again(wire, fleet, shared):
    shared.inject({"kind": "status", "arg": 403, "route": "GET /cvms/*", "times": 1})
    form = fleet["web-app"].change()
    boot = json.loads(form._boot)
    wire.say(form, {"kind": "hello", "token": boot["token"]})
    wire.until(form, lambda state: state["step"]["phase"] == "unread")
    wire.until(form, lambda state: "general" in state["errors"])
    assert form.start_over()
    wire.until(form, lambda state: state["step"]["phase"] == "fill")
    form.close()
