"""The client against a LocalCloud: each call of the documentation, as it is written there."""

import inspect
import threading
from decimal import Decimal

import pytest
from helpers import HANGS, until

import cvm_notebook as cvm
from cvm_notebook.api.models.actions import HashRequired, UpdateAccepted

COMPOSE = "services:\n  app:\n    image: nginx:latest"


def test_the_documented_life_of_a_cvm(client):
    result = client.provision_cvm(
        {
            "name": "my-cvm",
            "compose_file": {"docker_compose_file": COMPOSE},
            "vcpu": 2,
            "memory": 2048,
            "disk_size": 20,
            "teepod_id": 3,
        }
    )
    assert len(result.compose_hash) == 64
    committed = client.commit_cvm_provision(
        {
            "app_id": result.app_id,
            "compose_hash": result.compose_hash,
            "transaction_hash": "0xdef",
        }
    )
    state = client.watch_cvm_state(
        {"id": "my-cvm", "target": "Running", "timeout": 120, "max_retries": 3}
    )
    assert state.status == "Running"
    assert client.get_cvm_info({"id": committed.id}).node_info.id == 3

    assert client.stop_cvm({"id": "my-cvm"}).status == "stopping"
    assert client.watch_cvm_state({"id": "my-cvm", "target": "stopped"}).status == "stopped"
    assert client.start_cvm({"id": "my-cvm"}).status == "starting"
    client.watch_cvm_state({"id": "my-cvm", "target": "running"})
    assert client.restart_cvm({"id": "my-cvm", "force": True}).status == "restarting"
    client.watch_cvm_state({"id": "my-cvm", "target": "running"})
    assert client.shutdown_cvm({"id": "my-cvm"}).status == "shutting_down"
    client.watch_cvm_state({"id": "my-cvm", "target": "stopped"})

    replica = client.replicate_cvm({"id": "my-cvm", "node_id": 5})
    assert replica.app_id == result.app_id
    assert replica.id != committed.id
    assert len(client.get_app_cvms(result.app_id)) == 2
    assert client.delete_cvm({"id": replica.id}) is None
    assert client.delete_cvm({"id": "my-cvm"}) is None
    client.watch_cvm_state({"id": committed.id, "target": "deleted"})
    with pytest.raises(cvm.NotFoundError):
        client.get_cvm_info({"id": "my-cvm"})


@pytest.mark.parametrize("field", ["id", "app_id", "cvm_id", "name", "uuid", "instance_id"])
def test_any_field_may_hold_any_identifier(client, field, running):
    info = client.get_cvm_info(running)
    for value in (info.id, info.app_id, info.vm_uuid, info.instance_id, info.name):
        assert client.get_cvm_info({field: value}).id == info.id
        assert client.get_cvm_info(**{field: value}).id == info.id


@pytest.fixture(scope="module")
def running(cloud, make):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client:
        return make(client)


def test_what_a_call_returned_is_an_identifier(client, running):
    info = client.get_cvm_info(running)
    assert client.get_cvm_info(info) == info
    assert client.get_cvm_state(info).status == "running"
    assert client.start_cvm(info).status == "running"  # a running one stays as it is


def test_commit_is_idempotent_and_another_hash_is_a_conflict(client):
    made = client.provision_cvm(name="idem-potent", compose_file=COMPOSE)
    first = client.commit_cvm_provision(made)
    again = client.commit_cvm_provision(app_id=made.app_id, compose_hash=made.compose_hash)
    assert again.id == first.id
    with pytest.raises(cvm.ResourceError) as caught:
        client.commit_cvm_provision(app_id=made.app_id, compose_hash="0" * 64)
    assert caught.value.error_code == cvm.error_codes.CVM_APP_ID_CONFLICT
    assert isinstance(caught.value, cvm.ConflictError)
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    client.delete_cvm(first)


def test_an_unknown_provision_cannot_be_committed(client):
    with pytest.raises(cvm.ResourceError) as caught:
        client.commit_cvm_provision(app_id="a" * 40, compose_hash="b" * 64)
    assert caught.value.error_code == cvm.error_codes.HASH_INVALID_OR_EXPIRED


def test_every_reading_call_answers(client, running):
    info = client.get_cvm_info(running)
    assert client.get_cvm_stats(running).sysinfo.total_memory > 0
    assert client.get_cvm_network(running).is_online
    assert [c.image for c in client.get_cvm_containers(running).containers] == ["nginx:1.27"]
    assert client.get_cvm_attestation(running).tcb_info.mrtd
    document = client.get_cvm_compose_file(running)
    assert cvm.compose_hash(document) == info.compose_hash
    assert client.get_cvm_docker_compose(running) == document["docker_compose_file"]
    assert isinstance(client.get_cvm_pre_launch_script(running), str)
    assert client.list_operations(running)[0].operation_type == "create"
    assert client.get_current_user().credits.balance > Decimal(0)
    assert {n.id for n in client.get_available_nodes().nodes} >= {3, 5}
    prices = {t.id: t.hourly_rate for t in client.list_instance_types()}
    assert prices["tdx.small"] == Decimal("0.058")
    assert all(t.requires_gpu for t in client.list_instance_types("gpu"))
    assert client.list_os_images()
    own = client.get_current_user().workspace.slug
    assert own in [w.slug for w in client.list_workspaces()]
    assert client.get_workspace_quotas().team_slug == own
    assert len({i.app_id for i in client.next_app_ids(3)}) == 3
    assert len(client.get_app_env_pubkey(info.app_id).public_key) == 64
    assert info.app_id in [a.app_id for a in client.list_apps(search=running)]
    assert [c.id for c in client.get_app_cvms(info.app_id)] == [info.id]
    assert client.get_app_revisions(info.app_id)[0].compose_hash == info.compose_hash


def test_every_update_is_taken(client, make):
    name = make(client)

    def settled(answer):
        assert isinstance(answer, UpdateAccepted)
        assert answer.status == "in_progress"
        client.watch_cvm_state(name, target="running")

    settled(client.update_envs(name, env={"LOG_LEVEL": "debug", "TOKEN": cvm.Secret("t")}))
    settled(client.update_docker_compose(name, COMPOSE.replace("latest", "1.28")))
    assert "1.28" in client.get_cvm_docker_compose(name)
    settled(client.update_pre_launch_script(name, "echo hello\n"))
    assert client.get_cvm_pre_launch_script(name) == "echo hello\n"
    settled(client.update_resources(name, instance_type="tdx.medium"))
    assert client.get_cvm_info(name).resource.vcpu == 2
    image = next(i for i in client.list_os_images(is_dev=False) if not i.requires_gpu)
    settled(client.update_os_image(name, image.name))
    settled(client.update_visibility(name, public_logs=False))
    assert client.update_listed(name, listed=True).name == name
    info = client.get_cvm_info(name)
    assert (info.public_logs, info.public_sysinfo, info.listed) == (False, True, True)
    client.delete_cvm(name)


def test_all_of_a_cvm_is_changed_in_one_request_and_one_restart(caller, broken, make):
    name = make(caller)
    before = caller.get_cvm_info(name)
    broken.clear_requests()

    answer = caller.update_cvm(
        name,
        compose_file=COMPOSE.replace("latest", "1.28"),
        pre_launch_script="true\n",
        env={"TOKEN": "t", "LEVEL": "debug"},
        instance_type="tdx.medium",
        disk_size=40,
        public_logs=False,
        listed=True,
        shutdown_timeout=30,
        allow_force_stop=True,
    )

    assert answer.status == "in_progress"
    caller.watch_cvm_state(name, target="running")
    after = caller.get_cvm_info(name)
    changes = [r for r in broken.requests() if r["method"] == "PATCH"]
    assert [r["path"].rpartition("/")[2] for r in changes] == ["listed", name]
    compose = after.compose_file
    assert "1.28" in compose["docker_compose_file"]
    assert compose["pre_launch_script"] == "true\n"
    assert compose["allowed_envs"] == ["TOKEN", "LEVEL"]
    assert (after.resource.vcpu, after.resource.disk_in_gb) == (2, 40)
    assert (after.public_logs, after.listed) == (False, True)
    assert cvm.compose_hash(compose) == after.compose_hash != before.compose_hash
    newest = caller.list_operations(name, limit=5)
    assert [one.operation_type for one in newest] == ["compose_update", "create"]
    assert newest[0].correlation_id == answer.correlation_id


def test_variables_that_stay_keep_their_place_in_what_is_hashed(caller, make):
    name = make(caller)
    caller.update_cvm(name, env={"B": "1", "A": "2"})
    caller.watch_cvm_state(name, target="running")
    before = caller.get_cvm_info(name)

    caller.update_cvm(name, env={"A": "3", "B": "4"})

    caller.watch_cvm_state(name, target="running")
    assert caller.get_cvm_info(name).compose_hash == before.compose_hash


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to change"),
        ({"allow_force_stop": True}, "nothing to change"),
        ({"vcpus": 2}, "Did you mean vcpu"),
        ({"memory": 4}, "MB"),
        ({"compose_file": "version: 3"}, "services"),
        ({"compose_file": COMPOSE, "shutdown_timeout": 5}, "10 to 1200"),
        ({"public_logs": "yes"}, "True or False"),
        ({"env": {"A": "1"}, "encrypted_env": "ab" * 64}, "either"),
        ({"env": {"A=1": "1"}}, "not a name"),
        ({"user_config": {"a": 1}}, "not a text"),
    ],
)
def test_an_update_that_cannot_be_is_refused_before_anything_is_sent(
    caller, broken, fields, message
):
    with pytest.raises(cvm.InvalidInput, match=message):
        caller.update_cvm("some-cvm", **fields)
    assert not broken.requests()


def test_the_other_side_of_465_is_an_answer():
    error = cvm.ApiError.from_response(
        465,
        {},
        b'{"error_code": "ERR-01-005", "message": "register it", "details": '
        b'[{"field": "compose_hash", "value": "ab", "message": ""}]}',
        method="PATCH",
        path="/cvms/x/envs",
    )
    assert HashRequired.from_error(error).compose_hash == "ab"


def test_ids_of_a_list_are_unique_and_pages_are_joined(broken, caller):
    key = broken.new_workspace("many")["api_key"]
    with cvm.Client(api_key=key, base_url=broken.url) as many:
        for number in range(7):
            many.commit_cvm_provision(
                many.provision_cvm(name=f"page-{number}", compose_file=COMPOSE)
            )
        everything = many.list_cvms()
        assert len({c.id for c in everything}) == len(everything) == 7
        assert [c.id for c in many.iter_cvms()] == [c.id for c in everything]
        statuses = many.get_cvm_status_batch(everything)
        assert list(statuses) == [c.vm_uuid for c in everything]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.provision_cvm(name="1-bad", compose_file=COMPOSE), "begin with a letter"),
        (lambda c: c.provision_cvm(name="no-compose"), "compose_file"),
        (lambda c: c.provision_cvm(name="not-yaml", compose_file="a: [b"), "line "),
        (lambda c: c.provision_cvm(name="no-services", compose_file="a: b"), "no services"),
        (
            lambda c: c.provision_cvm(name="memory", compose_file=COMPOSE, memory=-1),
            "memory: -1 is out of range",
        ),
        (lambda c: c.provision_cvm(name="typing", compose_file=COMPOSE, memroy=2048), "memory"),
        (lambda c: c.watch_cvm_state("x", target="running", interval=3), "5 to 30"),
        (lambda c: c.watch_cvm_state("x"), "target"),
        (lambda c: c.start_cvm({"idd": "x"}), "idd"),
        (lambda c: c.start_cvm({"id": "x", "app_id": "y"}), "different identifiers"),
        (lambda c: c.start_cvm(), "start_cvm"),
        (lambda c: c.start_cvm(""), "empty"),
        (lambda c: c.get("cvms"), "base URL"),
        (lambda c: c.get("/cvms/../../secret"), "base URL"),
        (lambda c: c.update_envs("x"), "env"),
        (lambda c: c.list_operations("x", limit=0), "limit"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(broken, caller, call, says):
    with pytest.raises(cvm.InvalidInput) as caught:
        call(caller)
    assert says in str(caught.value)
    assert broken.requests() == []


def test_a_read_only_client_changes_nothing(broken, caller):
    watching = cvm.Client(api_key=broken.api_key, base_url=broken.url, read_only=True)
    changing = [
        lambda: watching.provision_cvm(name="never-made", compose_file=COMPOSE),
        lambda: watching.commit_cvm_provision(app_id="a" * 40, compose_hash="b" * 64),
        lambda: watching.start_cvm("x"),
        lambda: watching.delete_cvm("x"),
        lambda: watching.replicate_cvm("x"),
        lambda: watching.update_docker_compose("x", COMPOSE),
        lambda: watching.post("/cvms/batch-stop", {"cvm_ids": []}),
        lambda: watching.delete("/cvms/x"),
    ]
    for change in changing:
        with pytest.raises(cvm.ReadOnly, match="read-only"):
            change()
    assert broken.requests() == []
    assert watching.list_cvms() is not None
    # what asks by POST and changes nothing is a read
    assert watching.get_cvm_status_batch(["0" * 32]) == {}


def test_every_method_of_the_client_says_what_it_does():
    for name, method in inspect.getmembers(cvm.Client, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


def test_the_key_is_in_no_text_of_the_client(cloud, client):
    texts = [
        repr(client),
        str(client),
        f"{client}",
        repr(vars(client)),
        repr(vars(client._transport)),
    ]
    texts.append(repr(vars(client._transport._exchange)))
    assert not any(cloud.api_key in text for text in texts)
    with pytest.raises(TypeError, match="not pickled"):
        __import__("pickle").dumps(client)


def test_a_client_may_be_used_by_many_threads(client, running):
    names = []

    def work():
        names.extend(client.get_cvm_info(running).name for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [running] * 160


def test_a_list_leaves_no_thread_behind(client):
    before = set(threading.enumerate())
    client.list_cvms()
    until(lambda: not set(threading.enumerate()) - before, HANGS)
