"""Declarations of apps: what can be declared, where it is read from, and what is refused."""

import pytest
from helpers import COMPOSE

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.declaration import read_app, read_apps
from cvm_notebook.frames.reports.declared import read_declaration


def test_an_app_is_declared_by_keywords():
    [app] = read_apps(None, {"name": "web-1", "compose_file": COMPOSE, "env": {"A": "1"}})
    assert (app.name, app.changes.compose_file) == ("web-1", COMPOSE)
    assert app.changes.env == {"A": Secret("1")}
    assert app.declared == {"compose_file", "env"}


def test_what_drift_compares_with_can_be_applied():
    declared = {
        "web-1": COMPOSE,
        "web-2": {"compose": COMPOSE, "os": "dstack-0.5.7", "envs": ["A"], "replicas": 1},
        "web-3": {"runner": "docker-compose", "docker_compose_file": COMPOSE, "public_logs": False},
    }
    for one in declared.values():
        read_declaration(one, "x")
    one, two, three = read_apps(declared, {})
    assert one.changes.compose_file == two.changes.compose_file == COMPOSE
    assert (two.changes.image, two.envs, two.replicas) == ("dstack-0.5.7", {"A"}, 1)
    assert three.changes.public_logs is False


def test_what_can_be_applied_is_compared_by_drift():
    declared = {
        "compose_file": COMPOSE,
        "env": {"A": "1"},
        "instance_type": "tdx.small",
        "disk_size": 20,
        "vcpu": 1,
        "memory": 2048,
        "image": "dstack-0.5.7",
        "public_logs": False,
        "listed": True,
        "pre_launch_script": "true\n",
    }
    assert read_app("web-1", declared).changes.vcpu == 1
    found = read_declaration(declared, "web-1")
    assert found.envs == {"A"}
    assert {"os", "disk_gb", "vcpu", "memory_gb", "public_logs", "listed"} <= found.fields.keys()


def test_a_file_declares_several_apps_beside_their_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "x")
    (tmp_path / "compose.yml").write_text(COMPOSE)
    (tmp_path / "web.env").write_text("A=1\nB=2\n")
    file = tmp_path / "apps.yaml"
    file.write_text(
        "web-1:\n  compose_file: compose.yml\n  env_file: web.env\n  env: [FROM_HERE]\n"
        "web-2:\n  compose: |\n    services:\n      a:\n        image: nginx\n  disk_size: 40\n"
    )
    for path in (file, str(file)):
        one, two = read_apps(path, {})
        assert one.changes.compose_file == COMPOSE
        assert set(one.changes.env) == {"A", "B", "FROM_HERE"}
        assert two.changes.disk_size == 40


def test_what_was_declared_once_goes_back_to_its_default():
    app = read_app("web-1", {"compose_file": COMPOSE})
    later = app.after(frozenset({"env", "public_logs", "disk_size", "compose_file"}))
    assert (later.changes.env, later.changes.public_logs) == ({}, True)
    assert later.changes.disk_size is None
    assert app.after(frozenset()) is app


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (5, "not a declaration"),
        ({"color": "red"}, "cannot be declared"),
        ({"compose": COMPOSE, "compose_file": COMPOSE}, "twice"),
        ({"compose_file": COMPOSE, "env": {"A": 1}}, "not text"),
        ({"compose_file": COMPOSE, "env": ["NOT_SET_ANYWHERE"]}, "not set"),
        ({"compose_file": COMPOSE, "replicas": "two"}, "whole number"),
        ({"compose_file": "version: 3"}, "services"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_its_name(declared, problem):
    with pytest.raises(InvalidInput, match=problem):
        read_app("web-1", declared)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n- b\n", "not a mapping"),
        ("a: [", "YAML|line"),
        ("a: !!python/object:os.system {}\n", "cannot be read|tag"),
    ],
)
def test_a_file_that_declares_nothing_is_refused(tmp_path, text, problem):
    file = tmp_path / "apps.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=problem):
        read_apps(file, {})


def test_one_app_and_several_are_not_declared_at_once():
    with pytest.raises(InvalidInput, match="beside a whole declaration"):
        read_apps({"web-1": COMPOSE}, {"name": "web-2"})
    with pytest.raises(InvalidInput, match="name"):
        read_apps(None, {"compose_file": COMPOSE})
