"""The form, as a front end and as Python use it, on a real LocalCloud."""

import gc
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from importlib.resources import files

import pytest
from helpers import HANGS, LONG_PATIENCE, collected, settled, until

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.deploy import deployment as form_steps
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.widgets.form import sections as form_view
from cvm_notebook.widgets.form.form import ProvisionForm
from cvm_notebook.widgets.form.starts import Start, Starts

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
SENTINEL = "sentinel-4f1c9a-value"
FORTNIGHT = 15 * 86_400


@pytest.fixture(scope="module")
def shared(new_cloud):
    with new_cloud(seed="empty", speed=400) as cloud:
        yield cloud


@pytest.fixture
def bench(wire, shared):
    """A form's front end: what a person does with the form, and what comes of it."""
    shared.clear_faults()
    shared.clear_requests()
    made = Bench(wire, shared)
    yield made
    shared.clear_faults()
    made.close()


class Bench:
    numbers = iter(range(10_000))

    def __init__(self, wire, cloud):
        self.wire, self.cloud = wire, cloud
        self._open = []
        self.clicks = 0
        self.form = None

    def client(self, key=None):
        client = Client(api_key=key or self.cloud.api_key, base_url=self.cloud.url)
        self._open.append(client)
        return client

    def make(self, client=None, **given):
        self.form = ProvisionForm(client or self.client(), **given)
        self._open.append(self.form)
        self.boot = self.opened()
        self.token = self.boot["token"]
        return self.form

    def opened(self):
        """Return what is drawn first; it rides beside the state in a buffer."""
        ((buffer,),) = [
            buffers
            for model, kind, _, buffers in self.wire.log
            if (model, kind) == (self.form.model_id, "comm_open")
        ]
        return json.loads(bytes(buffer))

    def filled(self, client=None, **given):
        name = f"form-app-{next(self.numbers)}"
        return self.make(client, **{"name": name, "compose_file": COMPOSE, **given})

    def say(self, kind, **more):
        self.wire.say(self.form, {"kind": kind, "token": self.token, **more})

    def click(self, kind, **more):
        self.clicks += 1
        self.say(kind, click=f"click-{self.clicks}", **more)

    def until(self, true):
        """Wait for something that a message to the view goes with."""
        with self.wire._changed:
            assert self.wire._changed.wait_for(true, LONG_PATIENCE), (self.form, self.form.errors)

    def reach(self, *phases):
        self.until(lambda: self.form.phase in phases)
        return self.form

    def provisioned(self):
        assert self.form.send_provision()
        return self.reach("provisioned", "fill")

    def committed(self, **how):
        assert self.form.send_commit(**how), self.form.errors
        return self.reach("running", "failed", "provisioned", "fill")

    def section(self, section):
        """Return a section of the state that the view has."""
        return self.wire.state(self.form)[section]

    def sent(self, method, ending):
        return sum(
            r["method"] == method and r["path"].partition("?")[0].endswith(ending)
            for r in self.cloud.requests()
        )

    def close(self):
        for one in reversed(self._open):
            one.close()


# --- the way --------------------------------------------------------------------------------------


def test_an_empty_form_leads_to_a_cvm_that_runs(bench):
    form = bench.make()
    bench.say("hello")
    bench.say("set", values={"name": "form-whole", "instance_type": "tdx.medium"}, edits={})
    bench.say("set", values={"compose_file": COMPOSE}, edits={"compose_file": 3})
    bench.say("env", name="TOKEN", value=SENTINEL)
    bench.click("provision")
    bench.reach("provisioned")
    assert form.provision.app_id
    bench.until(lambda: bench.section("edits") == {"compose_file": 3})
    bench.click("commit")
    bench.reach("running")
    bench.until(lambda: bench.section("step").get("endpoints"))
    made = bench.client().get_cvm_info(form.cvm_id)
    assert (made.name, made.status) == ("form-whole", "running")
    assert made.resource.instance_type == "tdx.medium"
    assert form.operation.state == "reached"
    ((url, _instance),) = bench.section("step")["endpoints"]
    assert url.startswith("https://")
    assert [mark for _name, mark in bench.section("step")["boot"]["steps"]] == ["done"] * 9


def test_replicas_follow_when_the_first_one_runs(bench):
    form = bench.filled(replicas=3)
    bench.provisioned()
    bench.committed()
    bench.until(lambda: len(form.replications) == 2)
    for operation in form.replications:
        operation.wait(LONG_PATIENCE)
    cvms = bench.client().get_app_cvms(form.provision.app_id)
    assert [cvm.status for cvm in cvms] == ["running"] * 3
    assert bench.sent("POST", "/cvms") == 1
    assert bench.sent("POST", "/replicas") == 2


def test_a_fleet_sees_the_commit_through_and_is_not_kept(bench):
    client = bench.client()
    fleet = Fleet(client)
    form = bench.filled(client, fleet=fleet)
    store, seen = fleet.store, threading.Event()
    subscription = store.subscribe(lambda _: store.get(form.cvm_id or "") and seen.set())
    bench.provisioned()
    bench.committed()
    assert seen.wait(LONG_PATIENCE)
    subscription.close()
    assert fleet.operator.get(form.operation.id) is form.operation
    fleet.close()
    kept = weakref.ref(fleet)
    del fleet
    gc.collect()
    assert collected(kept)


def test_the_price_is_known_before_anything_is_sent(bench):
    form = bench.filled(replicas=2, disk_size=40)
    bench.until(lambda: bench.section("price")["hour"] is not None)
    assert bench.section("price")["hour"] == "0.12712"  # 2 * (0.058 + 40 * 0.000139)
    assert {card["id"] for card in bench.section("catalogue")["types"]} >= {
        "tdx.small",
        "h200.small",
    }
    assert any(node["left"].endswith("slots") for node in bench.section("catalogue")["nodes"])
    assert form.phase == "fill"
    assert bench.sent("POST", "") == 0


def test_a_boot_that_fails_is_shown_and_the_form_can_begin_again(bench):
    form = bench.filled(compose_file=COMPOSE.replace("nginx:1.27", "example/does-not-exist:1"))
    bench.provisioned()
    bench.committed()
    assert form.phase == "failed"
    bench.until(lambda: "did not come up" in bench.section("step")["boot"]["text"])
    assert form.start_over()
    assert form.phase == "fill"
    assert form.compose_file.count("does-not-exist") == 1


def test_the_python_it_shows_does_the_same(bench):
    form = bench.filled(env={"A": "1"}, disk_size=30)
    bench.provisioned()
    code = form.request.replace(f'"{form.name}"', f'"{form.name}-too"')
    keys = {"PHALA_CLOUD_API_PREFIX": bench.cloud.url, "PHALA_CLOUD_API_KEY": bench.cloud.api_key}
    more = "\nprint(provision.compose_hash, client.get_cvm_info(made.id).resource.disk_in_gb)"
    done = subprocess.run(
        [sys.executable, "-c", code + more],
        env={**os.environ, **keys, "A": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == [form.provision.compose_hash, "30"], done.stderr[-2000:]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("name", {"name": "x"}, "too short"),
        ("name", {"name": ""}, "Enter a name"),
        ("compose_file", {"compose_file": ""}, "Add a compose file"),
        ("compose_file", {"compose_file": "services:\n  a: [\n"}, "line 3"),
        ("compose_file", {"compose_file": "a: 1\n"}, "no services"),
        ("disk_size", {"disk_size": 3}, "out of range"),
        ("replicas", {"replicas": 0}, "out of range"),
        ("instance_type", {"instance_type": "tdx.none"}, "no instance type"),
        ("node", {"node_id": 999}, "no node"),
        ("node", {"node_id": 7, "instance_type": "tdx.8xlarge", "disk_size": 20}, None),
        ("node", {"region": "EU-NOWHERE"}, "No teepod found"),
        ("image", {"image": "dstack-0"}, "no image"),
    ],
)
def test_an_error_stands_beside_the_field_that_it_names(bench, field, given, message):
    form = bench.filled(env={"A": SENTINEL}, **given)
    if message is None:  # the node is small: somebody else has taken it
        bench.client().commit_cvm_provision(
            bench.client().provision_cvm(
                name=f"{form.name}-first",
                compose_file=COMPOSE,
                node_id=7,
                instance_type="tdx.small",
            )
        )
        message = "left"
    before = form.model.values
    bench.provisioned()
    assert form.phase == "fill"
    assert message in form.errors[field]
    assert "general" not in form.errors
    assert form.model.values == before
    assert form.env_names == ("A",)


def test_a_name_that_is_taken_is_reported_with_code_advice_and_request(bench):
    bench.filled(name="form-taken")
    bench.provisioned()
    bench.committed()
    form = bench.filled(name="form-taken")
    bench.provisioned()
    bench.until(lambda: "name" in bench.section("errors"))
    error = bench.section("errors")["name"]
    assert error["code"] == "ERR-01-004"
    assert error["request_id"]
    assert error["suggestions"] == ["Choose another name, or delete the CVM that has it."]
    form.name = "form-not-taken"
    assert not form.errors


def test_a_provision_that_has_expired_goes_back_to_step_one_with_all_that_was_typed(
    new_cloud, wire
):
    with new_cloud(seed="empty", speed=400) as cloud:
        bench = Bench(wire, cloud)
        form = bench.filled(env={"A": SENTINEL})
        bench.provisioned()
        before = form.model.values
        cloud.advance(FORTNIGHT)
        bench.committed()
        assert form.phase == "fill"
        assert form.provision is None
        assert "expired" in form.errors["general"]
        assert form.model.values == before
        bench.provisioned()
        bench.committed()
        assert form.phase == "running", form.errors
        bench.close()


def test_a_quota_that_is_used_up_goes_back_to_step_one(bench):
    account = bench.cloud.new_workspace("Small", tier="LEVEL_1")
    key = account if isinstance(account, str) else account["api_key"]
    client = bench.client(key)
    form = bench.filled(client, instance_type="tdx.xlarge")
    bench.provisioned()
    for name in ("first", "second"):
        other = client.provision_cvm(
            name=f"quota-{name}", compose_file=COMPOSE, instance_type="tdx.xlarge"
        )
        client.commit_cvm_provision(other)
    bench.committed()
    assert form.phase == "fill"
    assert "allows" in form.errors["general"]
    assert form.compose_file == COMPOSE


def test_a_failure_of_the_service_leaves_step_two_as_it_is(bench):
    form = bench.filled(env={"A": SENTINEL})
    bench.provisioned()
    slow_down = {"kind": "status", "route": "commit", "arg": 429, "times": 40, "retry_after": 0}
    bench.cloud.inject(slow_down)
    bench.committed()
    assert form.phase == "provisioned"
    assert form.errors["general"]
    bench.cloud.clear_faults()
    bench.committed()
    assert form.phase == "running"


def test_a_forged_key_encrypts_nothing(bench):
    bench.cloud.clear_requests()
    bench.cloud.inject({"kind": "env_key_forged"})
    form = bench.filled(env={"A": SENTINEL})
    bench.provisioned()
    bench.committed()
    assert form.phase == "provisioned"
    assert "nothing was encrypted or sent" in form.errors["general"]
    assert bench.sent("POST", "/cvms") == 0
    bench.cloud.clear_faults()
    bench.provisioned()
    bench.committed()
    assert form.phase == "running"


def test_what_was_changed_after_step_one_is_shown_and_not_committed_unasked(bench):
    form = bench.filled()
    bench.provisioned()
    form.compose_file = COMPOSE.replace("1.27", "1.28")
    bench.until(lambda: bench.section("step").get("provision", {}).get("diff"))
    assert bench.section("step")["provision"]["changed"] == ["compose file"]
    assert "+    image: nginx:1.28" in bench.section("step")["provision"]["diff"]
    assert not form.send_commit()
    assert "changed since" in form.errors["general"]
    assert bench.sent("POST", "/cvms") == 0
    bench.committed(as_provisioned=True)
    made = bench.client().get_cvm_docker_compose(form.cvm_id)
    assert "1.27" in made


@pytest.mark.parametrize("field", ["kms", "kms_id", "kms_contract", "transaction_hash"])
def test_keys_on_a_chain_are_refused_by_name_before_anything_is_sent(bench, field):
    with pytest.raises(InvalidInput, match="only CVMs whose keys Phala manages") as refused:
        ProvisionForm(bench.client(), **{field: "base"})
    assert refused.value.field == field
    assert "client.commit_cvm_provision()" in refused.value.hint
    with pytest.raises(InvalidInput, match="keys Phala manages"):
        bench.filled().fill(**{field: "base"})


def test_the_form_offers_no_keys_on_a_chain(bench):
    form = bench.filled()
    bench.until(lambda: bench.section("catalogue")["state"] == "ready")
    assert not {"kms", "transaction_hash"} & bench.section("fields")["values"].keys()
    assert not hasattr(form, "kms")
    assert "transaction" not in form.request
    script = (files("cvm_notebook.widgets") / "form" / "form.js").read_text()
    assert not re.search(r"kms|transaction|on.chain", script, re.IGNORECASE)


def test_where_the_service_puts_the_keys_on_a_chain_step_one_says_so(bench):
    change = {"/kms_info/chain_id": 8453}
    bench.cloud.inject({"kind": "rewrite", "route": "provision", "arg": change})
    form = bench.filled()
    bench.provisioned()
    assert (form.phase, form.provision) == ("fill", None)
    assert "managed on a blockchain" in form.errors["node"]
    assert not form.send_commit()
    bench.cloud.clear_faults()
    bench.provisioned()
    bench.committed()
    assert form.phase == "running"


@pytest.mark.parametrize("status", [465, 467, 468])
def test_a_commit_that_wants_a_transaction_goes_back_to_step_one(bench, status):
    form = bench.filled()
    bench.provisioned()
    bench.cloud.inject({"kind": "status", "route": "commit", "arg": status, "times": 1})
    bench.committed()
    assert form.phase == "fill"
    assert form.errors["general"]
    bench.provisioned()
    bench.committed()
    assert form.phase == "running"


def test_a_catalogue_that_cannot_be_read_can_be_asked_for_again(bench):
    fault = {"kind": "status", "route": "GET /instance-types", "arg": 403, "times": None}
    bench.cloud.inject(fault)
    bench.filled()
    bench.until(lambda: bench.section("catalogue")["state"] == "failed")
    assert bench.section("catalogue")["error"]["code"] == "HTTP 403"
    bench.cloud.clear_faults()
    bench.say("reload")
    bench.until(lambda: bench.section("catalogue")["state"] == "ready")


def test_a_field_that_there_is_not_is_refused_with_the_nearest(bench):
    with pytest.raises(InvalidInput, match="Did you mean disk_size"):
        ProvisionForm(bench.client(), disk_sise=3)
    with pytest.raises(InvalidInput, match="not a whole number"):
        bench.filled().fill(disk_size="20")


def test_a_form_that_was_refused_ends_without_a_second_error(bench, monkeypatch):
    unseen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: unseen.append(error.exc_value))
    with pytest.raises(InvalidInput):
        ProvisionForm(bench.client(), disk_sise=3)
    gc.collect()
    assert unseen == []


# --- once -----------------------------------------------------------------------------------------


def test_double_clicks_send_once(bench, monkeypatch):
    provision, clicked = Client.provision_cvm, threading.Event()

    def held(*given):
        assert clicked.wait(HANGS)
        return provision(*given)

    monkeypatch.setattr(Client, "provision_cvm", held)
    bench.filled()
    for _ in range(3):
        bench.click("provision")
    bench.say("provision", click="click-1")
    settled()
    clicked.set()
    bench.reach("provisioned")
    for _ in range(3):
        bench.click("commit")
    bench.say("commit", click="click-4")
    bench.reach("running")
    bench.click("commit")
    bench.click("provision")
    bench.until(lambda: bench.section("step")["phase"] == "running")
    assert bench.sent("POST", "/cvms/provision") == 1
    assert bench.sent("POST", "/cvms") == 1


@pytest.mark.parametrize("kind", ["reset_after", "truncate", "late"])
def test_an_answer_that_is_lost_makes_no_second_cvm(bench, kind):
    more = {"arg": 0.3} if kind == "late" else {}
    for route in ("provision", "commit"):
        bench.cloud.inject({"kind": kind, "route": route, **more})
    form = bench.filled(env={"A": "1"})
    bench.click("provision")
    bench.click("provision")
    bench.reach("provisioned")
    bench.click("commit")
    bench.click("commit")
    bench.reach("running")
    assert bench.sent("POST", "/cvms") == 1
    same = [cvm for cvm in bench.client().list_cvms() if cvm.name == form.name]
    assert [cvm.id for cvm in same] == [form.cvm_id]


def test_a_view_of_another_time_can_do_nothing(bench):
    form = bench.filled()
    for kind in ("provision", "commit", "again", "reload"):
        bench.wire.say(form, {"kind": kind, "token": "another", "click": "x"})
    bench.wire.say(form, {"kind": "set", "token": "another", "values": {"name": "taken-over"}})
    bench.say("set", values={"name": 5, "replicas": "9", "__class__": 1}, edits={"name": "x"})
    bench.say("set", values=[1], edits=None)
    bench.say("provision", click=None)
    bench.wire.say(form, "nonsense")
    bench.say("env", name="A", value=5)
    bench.until(lambda: bench.section("env")["problem"])
    assert form.name.startswith("form-app-")
    assert form.replicas == 1
    assert bench.sent("POST", "") == 0


# --- secrets --------------------------------------------------------------------------------------


def test_no_value_of_a_variable_is_anywhere(bench):
    form = bench.filled()
    bench.say("env", name="ONE", value=f"{SENTINEL}-1")
    bench.say("env_file", text=f'TWO="{SENTINEL}-2"\nexport THREE={SENTINEL}-3\n')
    bench.until(lambda: bench.section("env")["rows"][-1:] == [["THREE", True]])
    bench.provisioned()
    bench.committed()
    bench.until(lambda: bench.section("env")["rows"][0] == ["ONE", False])
    shown = [form.get_state(), form._repr_mimebundle_(), form.request, repr(form), vars(form.model)]
    shown += [bench.wire.log, form.operation.params, form.operation.record, form.model.env]
    assert SENTINEL not in repr(shown)
    assert form.env_names == ("ONE", "TWO", "THREE")
    assert "ONE, TWO, THREE" in form._repr_mimebundle_()["text/plain"]
    assert form.start_over()
    form.name += "-too"
    bench.provisioned()
    assert "already used" in form.errors["env"]
    assert bench.section("env")["without"] == "used"


def test_a_bad_line_of_an_env_file_is_named_and_its_value_is_not(bench):
    bench.filled(env={"KEPT": "1"})
    bench.say("env_file", text=f"A=1\n# words\n{SENTINEL}\n")
    bench.until(lambda: bench.section("env")["problem"])
    assert bench.section("env")["problem"].startswith("line 3: it is not NAME=value")
    bench.say("env_file", text="# nothing is set here\n\n")
    bench.until(
        lambda: "it has no variables. Write NAME=value on" in bench.section("env")["problem"]
    )
    bench.say("env", name=f"A={SENTINEL}", value="1")
    bench.until(lambda: "'A' is not a name" in bench.section("env")["problem"])
    bench.say("env_file", text="".join(f"A{n}={SENTINEL}\n" for n in range(1024)))
    bench.until(lambda: "a CVM takes 1,024" in bench.section("env")["problem"])
    assert SENTINEL not in repr(bench.wire.log)
    assert bench.section("env")["rows"] == [["KEPT", True]]
    bench.say("env_remove", name="KEPT")
    bench.until(lambda: bench.section("env")["rows"] == [])


def test_a_compose_file_is_read_from_a_path_and_a_wrong_path_is_reported(bench, tmp_path):
    file = tmp_path / "compose.yml"
    file.write_text(COMPOSE.replace("web", "api") + "    environment: [TOKEN, 'B=${OTHER}']\n")
    form = bench.make(compose_file=str(file))
    bench.until(lambda: bench.section("seen")["services"])
    assert bench.section("seen")["services"] == (("api", "nginx:1.27"),)
    assert bench.section("seen")["wanted"] == ["OTHER", "TOKEN"]
    bench.say("path", path=str(tmp_path / "none.yml"))
    bench.until(lambda: "cannot be read" in form.errors.get("compose_file", ""))
    assert "api" in form.compose_file
    with pytest.raises(InvalidInput, match="cannot be read"):
        ProvisionForm(bench.client(), compose_file="none.yml")


# --- what it is begun with ------------------------------------------------------------------------


def test_a_template_fills_the_form_and_asks_for_its_values(bench):
    form = bench.make(disk_size=30)
    bench.click("template", key="jupyter")
    bench.until(lambda: "jupyter" in bench.section("compose"))
    assert (form.name, form.instance_type, form.disk_size) == ("my-jupyter", "tdx.medium", 40)
    assert not form.public_logs
    assert bench.section("env") == {
        "rows": [["JUPYTER_TOKEN", False]],
        "problem": None,
        "without": "needed",
    }
    assert bench.section("starts")["message"].endswith("Enter a value for JUPYTER_TOKEN.")
    bench.provisioned()
    assert form.errors["env"] == "JUPYTER_TOKEN: no value"
    assert bench.sent("POST", "/cvms/provision") == 0
    bench.say("env", name="JUPYTER_TOKEN", value=SENTINEL)
    bench.until(lambda: bench.section("env")["rows"] == [["JUPYTER_TOKEN", True]])
    form.name = f"form-template-{next(bench.numbers)}"
    bench.provisioned()
    bench.committed()
    assert form.phase == "running"


def test_a_template_is_taken_back_with_what_was_typed_before(bench):
    form = bench.filled(env={"A": SENTINEL})
    before = form.model.values
    for key in ("jupyter", "jupyter", "postgres"):
        bench.click("template", key=key)
    bench.until(lambda: "postgres" in bench.section("compose"))
    assert form.name == before.name  # somebody typed it
    assert form.env_names == ("POSTGRES_PASSWORD", "A")  # what was given stays
    bench.say("undo_start")
    bench.until(lambda: "jupyter" in bench.section("compose"))
    assert form.env_names == ("JUPYTER_TOKEN", "A")
    bench.click("template", key="nginx")
    bench.until(lambda: bench.section("starts")["undo"])
    form.disk_size = 50
    bench.until(lambda: not bench.section("starts")["undo"])
    assert not form.undo_start()
    assert form.disk_size == 50
    bench.click("template", key="none-such")
    assert form.use_template("nginx")
    with pytest.raises(InvalidInput, match="no template 'ngnix'"):
        form.use_template("ngnix")


def test_what_is_given_stands_above_the_template(bench):
    form = bench.make(template="postgres", name="my-db-one", disk_size=80)
    assert (form.name, form.disk_size, form.instance_type) == ("my-db-one", 80, "tdx.medium")
    assert form.env_names == ("POSTGRES_PASSWORD",)
    with pytest.raises(InvalidInput, match="no template"):
        ProvisionForm(bench.client(), template="none-such")


def test_a_cvm_is_copied_without_a_value(bench):
    first = bench.filled(env={"TOKEN": SENTINEL}, instance_type="tdx.medium", disk_size=30)
    first.fill(region="US-EAST-1", public_logs=False, pre_launch_script="#!/bin/sh\necho\n")
    bench.provisioned()
    bench.committed()
    form = bench.make()
    bench.say("cvms")
    bench.until(lambda: bench.section("starts")["cvms"])
    named = {name: cvm_id for cvm_id, name in bench.section("starts")["cvms"]}
    assert named[first.name] == first.cvm_id
    bench.click("copy", cvm=first.cvm_id)
    bench.until(lambda: bench.section("starts")["undo"])
    assert form.name == f"{first.name}-copy"
    assert (form.compose_file, form.pre_launch_script) == (COMPOSE, "#!/bin/sh\necho\n")
    assert (form.instance_type, form.disk_size, form.region) == ("tdx.medium", 30, "US-EAST-1")
    assert (form.public_logs, form.public_sysinfo) == (False, True)
    assert bench.section("env")["rows"] == [["TOKEN", False]]
    assert "Values are not copied: enter TOKEN." in bench.section("starts")["message"]
    bench.say("env", name="TOKEN", value=SENTINEL)
    bench.until(lambda: bench.section("env")["rows"] == [["TOKEN", True]])
    bench.provisioned()
    bench.committed()
    assert bench.client().get_cvm_compose_file(form.cvm_id)["allowed_envs"] == ["TOKEN"]


def test_a_cvm_that_cannot_be_copied_is_reported_and_changes_nothing(bench):
    form = bench.filled()
    bench.click("copy", cvm="cvm_none0000")
    bench.until(lambda: bench.section("starts")["problem"])
    assert not bench.section("starts")["reading"]
    assert (form.compose_file, form.env_names) == (COMPOSE, ())


def test_the_name_of_a_copy_is_one_that_nobody_has():
    start = Start({}, (), "web-copy", "")
    starts = Starts(cvms=(("1", "web-copy"), ("2", "web-copy-2")))
    assert starts.name_for(start, "") == "web-copy-3"
    assert starts.name_for(start, "typed") == "typed"
    starts.proposed = "my-nginx"
    assert starts.name_for(start, "my-nginx") == "web-copy-3"


# --- slips ----------------------------------------------------------------------------------------


def test_a_slip_stands_at_its_line_with_what_was_meant(bench):
    bench.filled(compose_file=COMPOSE.replace("image:", "image"))
    bench.until(lambda: "compose_file" in bench.section("errors"))
    error = bench.section("errors")["compose_file"]
    assert error["fix"] == [3, 'missing ":"', "    image: nginx:1.27"]
    assert (error["line"], error["text"]) == (3, 'Line 3: missing ":".')
    assert error["suggestions"] == ["Did you mean `image: nginx:1.27`?"]
    odd = COMPOSE.replace("ports", "prots")
    bench.say("set", values={"compose_file": odd}, edits={})
    bench.until(lambda: bench.section("seen")["remarks"])
    ((line, why, meant, text),) = bench.section("seen")["remarks"]
    assert (line, text) == (4, "    ports: ['80:80']")
    assert "prots" in why
    assert meant == "Did you mean `ports: ['80:80']`?"
    assert "compose_file" not in bench.section("errors")


def test_a_name_that_is_refused_has_one_that_is_not_beside_it(bench):
    form = bench.filled(name="My App!")
    bench.until(lambda: "name" in bench.section("errors"))
    error = bench.section("errors")["name"]
    assert (error["use"], error["suggestions"]) == ("my-app", ['Use "my-app"?'])
    form.name = error["use"]
    assert "name" not in form.errors


def test_a_variable_with_a_default_is_not_asked_for(bench):
    bench.filled(compose_file=COMPOSE + "    environment: ['A=${A}', 'B=${B:-x}']\n")
    bench.until(lambda: bench.section("seen")["wanted"])
    assert (bench.section("seen")["wanted"], bench.section("seen")["optional"]) == (["A"], ["B"])


# --- what runs ------------------------------------------------------------------------------------


def test_the_answer_says_the_place_and_the_price_and_the_end_what_runs(bench):
    form = bench.filled(node_id=21)
    bench.until(lambda: bench.section("catalogue")["state"] == "ready")
    bench.provisioned()
    bench.until(lambda: "provision" in bench.section("step"))
    offer = bench.section("step")["provision"]
    assert (offer["place"], offer["hour"]) == ("use2, US-EAST-1", "0.06078")
    assert offer["hash"] == form.provision.compose_hash
    bench.committed()
    bench.until(lambda: bench.section("step")["phase"] == "running")
    step = bench.section("step")
    assert (step["made"], step["python"]) == (form.name, f'client.get_cvm_info("{form.name}")')
    assert not step["can_open"]
    bench.say("log", do="read", channel="serial", tail=100)
    bench.until(lambda: any(one.get("lines") for one in bench.wire.sent(form, "log")))


def test_the_card_of_what_was_made_is_opened_there_or_elsewhere(bench):
    client = bench.client()
    fleet = Fleet(client)
    form = bench.filled(client, fleet=fleet)
    bench.say("card", view="one")
    bench.until(lambda: bench.wire.sent(form, "notice"))
    bench.provisioned()
    bench.committed()
    bench.until(lambda: bench.section("step").get("can_open"))
    assert bench.section("step")["python"] == f'fleet["{form.name}"]'
    bench.say("card", view="one")
    bench.until(lambda: bench.wire.sent(form, "card"))
    (message,) = bench.wire.sent(form, "card")
    assert message["view"] == "one"
    assert message["card"] in bench.wire.opened
    opened = []
    undo = form.on_open(lambda cvm_id: (opened.append(cvm_id), form._say({"kind": "seen"})))
    bench.say("card", view="one")
    bench.until(lambda: bench.wire.sent(form, "seen"))
    assert opened == [form.cvm_id]
    assert len(bench.wire.sent(form, "card")) == 1
    undo()
    fleet.close()


# --- its life -------------------------------------------------------------------------------------


def test_what_was_filled_in_is_no_part_of_a_saved_notebook_once_it_is_drawn(bench):
    form = bench.filled()
    assert form.name.encode() in bytes(form._boot)
    bench.say("ack")
    bench.until(lambda: not form._boot)
    bench.say("hello")
    bench.until(lambda: form.name in json.dumps(bench.wire.sent(form)))


def test_nothing_is_left_when_it_is_closed(bench, monkeypatch):
    def left():
        names = {thread.name for thread in threading.enumerate()}
        return {name for name in names if name.startswith(("cvm-form", "cvm-operat"))}

    # or threads that nobody closes end by themselves
    monkeypatch.setattr("cvm_notebook.live.workers._LINGER", 600.0)
    bench.filled(replicas=2)
    bench.provisioned()
    bench.committed()
    assert left()
    bench.form.close()
    until(lambda: not left())


# --- after an internal error ----------------------------------------------------------------------


def once(monkeypatch, where, name):
    """Make a function fail the next time as no `CvmError` does, and then work again."""
    work = getattr(where, name)

    def crash(*given, **more):
        monkeypatch.setattr(where, name, work)
        raise RuntimeError("an internal error")

    monkeypatch.setattr(where, name, crash)


def test_a_text_that_is_no_compose_file_has_its_error_at_its_line_until_it_is_mended(bench):
    form = bench.filled()
    bench.say("set", values={"compose_file": "services:\n  web:\n    image: {{ x }}\n"}, edits={})
    bench.until(lambda: "line 3: " in form.errors.get("compose_file", ""))
    bench.say("set", values={"compose_file": COMPOSE.replace("web", "api")}, edits={})
    bench.until(lambda: bench.section("seen")["services"] == (("api", "nginx:1.27"),))
    assert "compose_file" not in form.errors


def test_the_check_of_the_compose_file_outlives_a_crash(bench, monkeypatch):
    form = bench.filled()
    bench.until(lambda: bench.section("seen")["services"])
    once(monkeypatch, form_view, "read_compose_file")
    bench.say("set", values={"compose_file": COMPOSE.replace("web", "lost")}, edits={})
    bench.until(lambda: bench.wire.sent(form, "notice"))
    bench.say("set", values={"compose_file": COMPOSE.replace("web", "api")}, edits={})
    bench.until(lambda: bench.section("seen")["services"] == (("api", "nginx:1.27"),))


def test_a_step_that_crashes_can_be_taken_again(bench, monkeypatch):
    form = bench.filled(env={"ONE": SENTINEL})
    once(monkeypatch, Client, "provision_cvm")
    assert form.send_provision()
    bench.reach("fill")
    bench.provisioned()
    once(monkeypatch, form_steps, "encrypt_env")
    assert form.send_commit()
    bench.reach("provisioned")
    bench.committed()
    assert (form.phase, bench.sent("POST", "/cvms")) == ("running", 1)


def test_a_catalogue_whose_reading_crashed_can_be_asked_for_again(bench, monkeypatch):
    once(monkeypatch, Client, "list_instance_types")
    bench.filled()
    bench.until(lambda: bench.section("catalogue")["state"] == "failed")
    bench.say("reload")
    bench.until(lambda: bench.section("catalogue")["state"] == "ready")
