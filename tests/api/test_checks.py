"""What is refused before anything is sent, and the words of the refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.compose.validation import check_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.resources import validation

COMPOSE = "services:\n  app:\n    image: nginx:latest"
BOMB = (
    "a: &a [x, x]\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
    )
    + COMPOSE
)


def provision(**fields):
    return validation.provision_request({"name": "my-cvm", "compose_file": COMPOSE, **fields})


def test_the_request_of_the_documentation_is_sent_as_it_stands():
    request = {
        "name": "my-cvm",
        "compose_file": {"docker_compose_file": COMPOSE},
        "vcpu": 2,
        "memory": 2048,
        "disk_size": 20,
        "teepod_id": 3,
    }
    sent = validation.provision_request(request)
    assert sent == {**request, "compose_file": {"docker_compose_file": COMPOSE, "name": ""}}
    assert "name" not in request["compose_file"]


def test_a_docker_compose_text_becomes_an_app_compose():
    assert provision()["compose_file"] == {"docker_compose_file": COMPOSE, "name": ""}


def test_the_node_goes_by_either_name_and_none_is_left_out():
    assert provision(node_id=3)["teepod_id"] == 3
    assert "node_id" not in provision(node_id=3, teepod_id=3)
    assert provision(diskSize=20, region=None, vcpu=None).keys() == {
        "name",
        "compose_file",
        "disk_size",
    }
    with pytest.raises(InvalidInput, match="differs from teepod_id"):
        provision(node_id=3, teepod_id=4)


def test_a_field_of_the_future_passes_and_a_slip_does_not():
    assert provision(quantum_bits=5)["quantum_bits"] == 5
    for slip, meant in (("memroy", "memory"), ("Vcpu", "vcpu"), ("instance_typ", "instance_type")):
        with pytest.raises(InvalidInput, match=f"Did you mean {meant}"):
            provision(**{slip: 1})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, "name: a CVM needs it"),
        ({"compose_file": None}, "compose_file: a CVM needs it"),
        ({"compose_file": {}}, "has no docker_compose_file"),
        ({"compose_file": {"services": {}}}, "yaml.safe_dump"),
        ({"compose_file": 5}, "it is int"),
        ({"memory": -1}, "Give a whole number of MB from 1 up"),
        ({"memory": 2}, "for 2 GB give 2048"),
        ({"memory": 2048.0}, "not a whole number"),
        ({"memory": "2048"}, "'2048', not a whole number"),
        ({"vcpu": True}, "True, not a whole number"),
        ({"vcpu": 0}, "from 1 up"),
        ({"disk_size": -20}, "of GB from 1 up"),
        ({"teepod_id": "prod3"}, "teepod_id"),
        ({"listed": "yes"}, "not True or False"),
        ({"region": "  "}, "it is empty"),
        ({"region": 5}, "it is 5, not a text"),
        ({"disk_size": 20, "diskSize": 30}, "was given it twice"),
        ({"nonce": 1}, "app_id: it is missing, though nonce is given"),
        ({"app_id": "ab"}, "nonce: it is missing, though app_id is given"),
        ({"env_keys": ["A", "B=C"]}, "'B' is not a name"),
        ({"env_keys": "ABC"}, "not a list of names"),
        ({"encrypted_env": "KEY=SENTINEL"}, "not an encrypted environment"),
        ({"encrypted_env": {"KEY": "SENTINEL"}}, "not an encrypted environment"),
        ({"compose_file": {"docker_compose_file": COMPOSE, "allowed_envs": ["1"]}}, "allowed_envs"),
        (
            {"compose_file": {"docker_compose_file": COMPOSE, "pre_launch_script": "#" * 204_800}},
            "with its pre-launch script it has 200 KiB",
        ),
    ],
)
def test_a_provision_that_cannot_work_is_refused_with_the_fix(fields, message):
    with pytest.raises(InvalidInput) as caught:
        provision(**fields)
    assert message in str(caught.value)
    assert "SENTINEL" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("abcd", "too short"),
        ("a" * 64, "too long"),
        ("1abcd", "begin with a letter"),
        ("-abcd", "begin with a letter"),
        ("ab--cd", "two dashes"),
        ("abcde-", "ends with a dash"),
        ("my app", "holds a space"),
        ("my_app", "holds '_'"),
        ("prod\u0430", "holds U+0430"),
        ("a\u202ebcdef", "holds U+202E"),
        ("<img src=x>", "holds"),
        ("", "empty"),
        (5, "not a text"),
        (None, "not a text"),
    ],
)
def test_a_name_is_refused_for_what_is_wrong_with_it(name, problem):
    with pytest.raises(InvalidInput) as caught:
        validation.cvm_name("name", name)
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.from_regex(r"[a-zA-Z](?!.*--)([a-zA-Z0-9-]*[a-zA-Z0-9])?", fullmatch=True))
def test_every_name_the_service_takes_is_taken(name):
    if 5 <= len(name) <= 63:
        assert validation.cvm_name("name", name) == name


def test_a_commit_takes_a_provision_a_mapping_and_keywords():
    expected = {"app_id": "a1", "compose_hash": "b2"}
    made = Provision(app_id="a1", compose_hash="b2", node_id=3)
    assert validation.commit_request(made, {}) == expected
    assert validation.commit_request(expected, {"transaction_hash": None}) == expected
    assert validation.commit_request(None, {"appId": "a1", "composeHash": "b2"}) == expected
    documented = {"app_id": "app-123", "compose_hash": "0xabc...", "transaction_hash": "0xdef..."}
    assert validation.commit_request(documented, {}) == documented
    assert validation.commit_request(made, {"env_keys": ("A", "A")})["env_keys"] == ["A"]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (None, {}),
        ({"app_id": "a"}, {}),
        (Provision(app_id="a"), {}),
        ("a", {}),
        (5, {}),
        ({"app_id": "a", "compose_hash": ""}, {}),
        ({"app_id": "a", "compose_hash": "b", "transaction_hsh": "c"}, {}),
    ],
)
def test_a_commit_without_its_two_parts_is_refused(request_, fields):
    with pytest.raises(InvalidInput):
        validation.commit_request(request_, fields)


def test_a_watch_keeps_to_the_bounds_of_the_service():
    wish = {
        "target": " Running ",
        "timeout": 120,
        "maxRetries": 0,
        "retry_delay": 1,
        "interval": None,
    }
    assert validation.watch_request(wish) == {
        "target": "Running",
        "timeout": 120,
        "max_retries": 0,
        "retry_delay": 1.0,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"target": None},
        {"target": ""},
        {"target": 5},
        {"interval": 4},
        {"interval": 31},
        {"interval": 5.5},
        {"timeout": 9},
        {"timeout": 601},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"retry_delay": -0.1},
        {"retry_delay": float("nan")},
        {"retry_delay": float("inf")},
        {"retry_delay": "5"},
        {"retry_delay": True},
    ],
)
def test_a_watch_out_of_bounds_is_refused_by_its_field(fields):
    [field] = fields
    with pytest.raises(InvalidInput) as caught:
        validation.watch_request({"target": "running", **fields})
    assert caught.value.field == field


def test_a_replica_names_what_it_changes():
    assert validation.replica_request({}) == {}
    assert validation.replica_request({"teepod_id": 5}) == {"node_id": 5}
    with pytest.raises(InvalidInput):
        validation.replica_request({"node_id": 5, "teepod_id": 6})


# --- compose files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        COMPOSE,
        "services: {app: {build: .}}",
        "x-base: &base\n  image: nginx\nservices:\n  a:\n    <<: *base\n  b:\n    <<: [*base]\n",
        "services:\n  a:\n    image: !!str nginx\n    command: ! 'x'\n",
        "---\n" + COMPOSE + "\nvolumes:\n  data:\n",
        "services: &s\n  a: {image: x}\nx-again: *s\n",
    ],
)
def test_a_file_that_docker_could_run_is_taken_unchanged(text):
    assert check_compose_file(text) is text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "NoneType, not the text"),
        ({"services": {}}, "dict, not the text"),
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("docker-compose.yml", "read_text()"),
        ("just words", "a text, not a mapping"),
        ("- a\n- b", "a list, not a mapping"),
        ("version: '3'", "has no services"),
        ("services:", "services is empty"),
        ("services: []", "line 1: services is a list"),
        ("services: a", "line 1: services is a text"),
        (
            "services:\n  web:\n    image: x\n  db: nginx",
            "line 4: the service 'db' is not a mapping",
        ),
        ("services:\n  web:\n    ports: ['80']", "line 3: the service 'web' has neither image nor"),
        ("services:\n  web:\n    image: x\n   y: z", "line 4: "),
        ("services:\n\tweb: x", "line 2: "),
        ("services:\n  web:\n    image: 'x", "line "),
        (COMPOSE + "\n---\na: 1", "line 4: expected a single document"),
        (
            "a: !!python/object/apply:os.system ['id']\n" + COMPOSE,
            "line 1: the tag !!python/object",
        ),
        ("a: !<tag:yaml.org,2002:python/name:os.system> x\n" + COMPOSE, "the tag !!python/name"),
        ("a: !vault x\n" + COMPOSE, "line 1: the tag !vault"),
        ("a: *missing\n" + COMPOSE, "undefined alias"),
        (BOMB, "aliases or nesting"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n" + COMPOSE, "aliases or nesting"),
        ("services:\n  web: &w\n    <<: *w\n    image: x", "aliases or nesting"),
        ("a: &a [*a]\n" + COMPOSE, "aliases or nesting"),
        (COMPOSE + "#" * 204_800, "KiB; the service takes 200"),
        (COMPOSE + "\0", "line 3: U+0000 is not YAML"),
        (COMPOSE + "\ud800", "line 3: U+D800, a lone surrogate, is not a text"),
    ],
)
def test_a_file_that_cannot_run_is_refused_by_its_line(text, message):
    with pytest.raises(InvalidInput) as caught:
        check_compose_file(text, "compose_file")
    assert message in str(caught.value)
    assert caught.value.field == "compose_file"
    assert len(str(caught.value)) < 400


def refusal(text):
    try:
        check_compose_file(text)
    except InvalidInput as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.text(max_size=80) | st.text("{}[]:&*!<- \n\tabservics", max_size=60))
def test_no_text_makes_the_check_fail_otherwise(text):
    assert refusal(text).isprintable()
