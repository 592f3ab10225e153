"""drift_frame: what is not as declared, and nothing else; names of variables and never values."""

import hashlib

import pandas as pd
import pandera.pandas as pa
import pytest

from cvm_notebook import Client
from cvm_notebook.api.compose.hashing import compose_hash
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import NodeRef, OsInfo, Resource
from cvm_notebook.frames import fleet_frame
from cvm_notebook.frames.reports.declared import read_declaration
from cvm_notebook.frames.reports.drift import DRIFT, _script, drift_frame
from cvm_notebook.live.store.records import Provenance, Row

TEXT = pd.StringDtype()
SCHEMA = pa.DataFrameSchema(
    {
        "declared": pa.Column(TEXT, nullable=True),
        "live": pa.Column(TEXT, nullable=True),
        "kind": pa.Column(pd.CategoricalDtype(["missing", "extra", "different"])),
        "severity": pa.Column(pd.CategoricalDtype(["low", "medium", "high"])),
        "checked_at": pa.Column(pd.DatetimeTZDtype("us", "UTC")),
        "name": pa.Column(TEXT, nullable=True),
    },
    index=pa.MultiIndex([pa.Index(TEXT, name="cvm_id"), pa.Index(TEXT, name="field")], unique=True),
    strict=True,
    ordered=True,
)
COMPOSE = """\
services:
  web:
    image: nginx:1.29
    environment:
      - TOKEN
      - MODE=fast
      - URL=https://$HOST/${ROOT_PATH:-x}?price=$$5
  db:
    image: postgres:18
    environment:
      PASSWORD:
      USER: admin
"""
ENVS = {"TOKEN", "HOST", "ROOT_PATH", "PASSWORD"}
ONE, TWO = "cvm_00000001", "cvm_00000002"


def text_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def runs(make):
    """Make a row of a CVM that runs a compose file."""

    def runs(number=1, text=COMPOSE, images=("nginx:1.29", "postgres:18"), envs=None, **record):
        whole = None if envs is None else {"allowed_envs": list(envs), "docker_compose_file": text}
        services = ({"name": "web", "image": images[0]}, {"name": "db", "image": images[1]})
        fields = {
            "docker_compose_hash": text_hash(text),
            "services": services,
            "compose_file": whole,
        }
        return make.row(number, record=fields | record)

    return runs


def drifted(snapshot, expected):
    """Return what drifted: (cvm, field) -> (declared, live, kind, severity)."""
    frame = drift_frame(snapshot, expected)
    SCHEMA.validate(frame)
    rows = frame[["declared", "live", "kind", "severity"]].astype(object).itertuples()
    return {row[0]: tuple(None if pd.isna(cell) else cell for cell in row[1:]) for row in rows}


# --- a compose file -----------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [str, lambda path: path, lambda path: path.read_text()])
def test_what_runs_the_file_has_not_drifted(make, runs, tmp_path, as_path):
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    expected = as_path(tmp_path / "docker-compose.yml")
    assert drifted(make.snapshot(runs(1), runs(2, envs=ENVS)), expected) == {}


@pytest.mark.parametrize("live", [COMPOSE, COMPOSE.replace("\n", "\r\n")])
@pytest.mark.parametrize("declared", [COMPOSE, COMPOSE.replace("\n", "\r\n")])
def test_line_ends_are_no_drift(make, runs, tmp_path, live, declared):
    path = tmp_path / "docker-compose.yml"
    path.write_bytes(declared.encode())
    for expected in (declared, path, str(path), path.read_text()):
        assert drifted(make.snapshot(runs(1, text=live, envs=ENVS)), expected) == {}


def test_a_variable_with_a_default_may_be_given_and_need_not(make, runs):
    for envs in (ENVS, ENVS - {"ROOT_PATH"}):
        assert drifted(make.snapshot(runs(1, envs=envs)), COMPOSE) == {}


def test_a_file_on_one_line_is_no_path(make, runs):
    text = '{"services": {"web": {"image": "nginx:1.29"}, "db": {"image": "postgres:18"}}}'
    assert drifted(make.snapshot(runs(1, text=text)), text) == {}


def test_another_file_is_recognised_by_its_hash_and_its_images(make, runs):
    live = runs(1, text="other", images=("nginx:1.28", "postgres:18"))
    assert drifted(make.snapshot(live), COMPOSE) == {
        (ONE, "docker_compose_hash"): (text_hash(COMPOSE), text_hash("other"), "different", "high"),
        (ONE, "image.web"): ("nginx:1.29", "nginx:1.28", "different", "high"),
    }


def test_services_that_came_or_went_are_listed(make, runs):
    services = ({"name": "web", "image": "nginx:1.29"}, {"name": "miner", "image": "xmr:1"})
    found = drifted(make.snapshot(runs(1, services=services)), COMPOSE)
    assert found == {
        (ONE, "image.db"): ("postgres:18", None, "missing", "high"),
        (ONE, "image.miner"): (None, "xmr:1", "extra", "high"),
    }


def test_variables_are_compared_by_name_where_the_app_compose_is_known(make, runs):
    found = drifted(make.snapshot(runs(1, envs={"TOKEN", "HOST", "ROOT_PATH", "OLD"})), COMPOSE)
    assert found == {
        (ONE, "env.PASSWORD"): ("needed", None, "missing", "high"),
        (ONE, "env.OLD"): (None, "allowed", "extra", "low"),
    }


def test_no_value_of_a_variable_is_shown(make, runs):
    text = COMPOSE.replace("MODE=fast", "MODE=hunter2-secret")
    frame = drift_frame(make.snapshot(runs(1, envs={"X"})), text)
    assert len(frame)
    assert "hunter2" not in frame.to_csv()


def test_odd_answers_of_the_service_harm_nothing(make, runs):
    rows = [
        runs(1, services=(None, "web", {"name": 3}, {"image": "x"})),
        runs(2, services=None, docker_compose_hash=None),
    ]
    found = drifted(make.snapshot(*rows), COMPOSE)
    assert {field for cvm, field in found if cvm == TWO} == {"docker_compose_hash"}


# --- a mapping ----------------------------------------------------------------------------------


def test_a_mapping_names_what_is_declared_of_whom(make, runs):
    snapshot = make.snapshot(runs(1), runs(2, text="other"), runs(3))
    found = drifted(snapshot, {"web-1": COMPOSE, TWO: COMPOSE, "web-4": COMPOSE})
    assert found == {
        (TWO, "docker_compose_hash"): (text_hash(COMPOSE), text_hash("other"), "different", "high"),
        ("web-4", "cvm"): ("web-4", None, "missing", "high"),
        ("cvm_00000003", "cvm"): (None, "web-3", "extra", "medium"),
    }


@pytest.mark.parametrize(
    ("declared", "field", "found"),
    [
        ({"instance_type": "tdx.large"}, "instance_type", ("tdx.large", "tdx.small", "medium")),
        ({"region": "eu-west-1"}, "region", ("eu-west-1", "us-west-1", "medium")),
        ({"os": "dstack-0.5.9"}, "os", ("dstack-0.5.9", "dstack-0.5.8", "high")),
        ({"replicas": 2}, "replicas", ("2", "1", "medium")),
        ({"compose_hash": "f" * 64}, "compose_hash", ("f" * 64, "d" * 64, "high")),
    ],
)
def test_any_part_can_be_declared(make, declared, field, found):
    declared_as, live, severity = found
    assert drifted(make.snapshot(make.row(1)), {"web-1": declared}) == {
        (ONE, field): (declared_as, live, "different", severity)
    }


def test_what_is_as_declared_is_no_drift(make, runs):
    declared = {
        "compose": COMPOSE,
        "instance_type": "tdx.small",
        "region": "US-WEST-1",
        "os": "dstack-0.5.8",
        "replicas": 1,
        "envs": ["ONLY_THIS"],
    }
    snapshot = make.snapshot(runs(1, envs=["ONLY_THIS"]))
    assert drifted(snapshot, {"web-1": declared}) == {}


def test_replicas_are_held_to_what_is_declared_of_one(make, runs):
    app = {"app_id": "a" * 40}
    snapshot = make.snapshot(runs(1, **app), runs(2, text="old", **app))
    found = drifted(snapshot, {"web-1": {"compose": COMPOSE, "replicas": 3}})
    assert set(found) == {
        *((cvm, "replicas") for cvm in (ONE, TWO)),
        (TWO, "docker_compose_hash"),
    }
    assert drifted(snapshot, {"web-1": COMPOSE, "web-2": {}}) == {}
    by_app = drifted(snapshot, {"a" * 40: COMPOSE})
    assert set(by_app) == {(TWO, "docker_compose_hash")}


def test_an_app_compose_is_declared_by_its_hash(make, runs):
    app_compose = {"runner": "docker-compose", "docker_compose_file": COMPOSE, "name": ""}
    live = runs(1, compose_hash=compose_hash(app_compose))
    assert drifted(make.snapshot(live), {"web-1": app_compose}) == {}
    changed = {**app_compose, "pre_launch_script": "curl evil"}
    found = drifted(make.snapshot(live), {"web-1": changed})
    assert set(found) == {(ONE, "compose_hash")}


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"web": 3}, "web: int is not a declaration"),
        ({"web": {"cpu": 3}}, "web: cpu cannot be declared"),
        (3, "expected: int is not a declaration"),
        ({"web": "services:\n"}, "web: .*no services|services is empty"),
        ("services:\n  a: !!python/object:os.system x\n", "tag"),
        ("services:\n  web:\n    image: {{ image }}\n", "line 3: a mapping stands where a name"),
        ("none.yml", "none.yml cannot be read"),
        ("no-such-file", "no-such-file cannot be read"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_name(make, expected, message):
    with pytest.raises(InvalidInput, match=message):
        drift_frame(make.snapshot(), expected)


def test_a_file_that_is_no_text_is_refused(make, tmp_path):
    (tmp_path / "compose.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"compose\.yml is not a text"):
        drift_frame(make.snapshot(), tmp_path / "compose.yml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        drift_frame(make.snapshot(), tmp_path / "none.yml")


# --- a frame ------------------------------------------------------------------------------------


def test_a_fleet_has_not_drifted_from_itself(make):
    rows = [make.row(n) for n in range(3)]
    taken = make.snapshot(*rows)
    assert drifted(taken, fleet_frame(taken, columns="wide")) == {}


def test_a_frame_of_an_earlier_day_tells_what_changed_hands(make):
    monday = fleet_frame([make.cvm(1), make.cvm(2), make.cvm(3)], columns="wide")
    changed = {
        "resource": Resource(instance_type="tdx.large", vcpu=4, memory_in_gb=2.0, disk_in_gb=20),
        "os": OsInfo(name="dstack-0.5.8", is_dev=True),
        "status": "stopped",
        "public_logs": False,
    }
    found = drifted(make.snapshot(make.row(2, record=changed), make.row(4), make.row(1)), monday)
    assert found == {
        (TWO, "os_image_hash"): ("c" * 64, None, "missing", "high"),
        (TWO, "instance_type"): ("tdx.small", "tdx.large", "different", "medium"),
        (TWO, "vcpu"): ("1", "4", "different", "medium"),
        (TWO, "gpus"): ("0", None, "missing", "medium"),
        (TWO, "public_logs"): ("true", "false", "different", "medium"),
        ("cvm_00000003", "cvm"): ("web-3", None, "missing", "high"),
        ("cvm_00000004", "cvm"): (None, "web-4", "extra", "medium"),
    }


def test_only_what_the_frame_has_and_says_is_declared(make):
    narrow = fleet_frame([make.cvm(1, node_info=NodeRef(region=None))])
    moved = make.row(1, record={"kms_type": "base", "node_info": NodeRef(region="eu")})
    assert drifted(make.snapshot(moved), narrow) == {}


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_schema_is_the_same_for_any_number_of_rows(make, count):
    none = fleet_frame([])
    found = drifted(make.snapshot(*(make.row(n) for n in range(count))), none)
    assert len(found) == count


def test_when_it_was_checked_is_when_the_snapshot_was_taken(make):
    frame = drift_frame(make.snapshot(make.row(1)), {"web-1": {"region": "eu"}})
    assert frame["checked_at"].iloc[0] == pd.Timestamp(make.noon)


def test_every_column_stands_in_the_docstring():
    for column, row in DRIFT.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in drift_frame.__doc__


# --- a real service -----------------------------------------------------------------------------


def test_it_holds_for_what_a_service_really_answers(make, cloud):
    seen = Provenance(1.0, make.noon, "get")
    with Client(cloud.api_key, cloud.url) as client:
        made = client.provision_cvm(
            name="drift-test",
            compose_file={"docker_compose_file": COMPOSE, "allowed_envs": sorted(ENVS)},
        )
        client.commit_cvm_provision(made)
        info = client.get_cvm_info("drift-test")
        listed = next(c for c in client.list_cvms() if c.name == "drift-test")
        app_compose = client.get_cvm_compose_file("drift-test")
        client.delete_cvm("drift-test")
    for record in (info, listed):
        taken = make.snapshot(Row.of_cvm(record, seen))
        assert drifted(taken, COMPOSE) == {}
        assert drifted(taken, {"drift-test": app_compose}) == {}
        changed = drifted(taken, COMPOSE.replace("1.29", "1.30"))
        assert {field for _, field in changed} == {"docker_compose_hash", "image.web"}


def test_names_of_variables_are_read_where_a_list_leaves_them_out_once_for_each_hash(
    make, fresh_cloud
):
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        for name in ("env-1", "env-2", "env-3"):
            envs = ["TOKEN", "OLD"] if name == "env-3" else ["TOKEN"]
            whole = {"docker_compose_file": COMPOSE, "allowed_envs": envs, "name": "same"}
            client.commit_cvm_provision(client.provision_cvm(name=name, compose_file=whole))
        listed = client.list_cvms()
        taken = make.snapshot(
            *(Row.of_cvm(one, Provenance(1.0, make.noon, "list")) for one in listed)
        )
        names = {one.id: one.name for one in listed}
        fresh_cloud.clear_requests()

        frame = drift_frame(
            taken, {name: {"envs": ["TOKEN"]} for name in names.values()}, client=client
        )
        paths = [one["path"] for one in fresh_cloud.requests()]
        drift_frame(taken, {"env-1": {"os": "dstack-0.5.8"}}, client=client)
        unasked = len(fresh_cloud.requests()) == len(paths)

        client.delete_cvm("env-3")
        client.watch_cvm_state("env-3", target="deleted")
        gone = drift_frame(taken, {"env-3": {"envs": ["OTHER"]}}, client=client)

    assert {(names[i], field, frame.loc[(i, field), "kind"]) for i, field in frame.index} == {
        ("env-3", "env.OLD", "extra")
    }
    assert len({one.compose_hash for one in listed}) == len(paths) == 2
    assert unasked
    assert "env.OTHER" not in gone.index.get_level_values("field")


@pytest.mark.parametrize(
    ("live", "drift"),
    [
        ("official", []),
        ("older", [("pre_launch_script_status", "official", "older", "high")]),
        ("modified", [("pre_launch_script_status", "official", "modified", "high")]),
        (None, [("pre_launch_script_status", "official", "not told", "low")]),
    ],
)
def test_a_script_is_held_to_whose_it_should_be_and_an_unknown_one_does_not_agree(live, drift):
    declared = read_declaration({"pre_launch_script_status": "official"}, "web")

    assert list(_script(declared, live)) == drift
    assert list(_script(read_declaration({"os": "x"}, "web"), live)) == []


def test_a_status_that_no_script_has_is_refused(make):
    with pytest.raises(InvalidInput, match=r"web-1.pre_launch_script_status.*official, older"):
        drift_frame(make.snapshot(), {"web-1": {"pre_launch_script_status": "new"}})


def test_the_status_of_a_script_is_asked_of_the_service_where_it_is_declared(make, cloud):
    with Client(cloud.api_key, cloud.url) as client:
        client.commit_cvm_provision(client.provision_cvm(name="script-1", compose_file=COMPOSE))
        one = client.get_cvm_info("script-1")
        taken = make.snapshot(Row.of_cvm(one, Provenance(1.0, make.noon, "list")))
        expected = {"script-1": {"pre_launch_script_status": "official"}}

        frame = drift_frame(taken, expected, client=client)
        unasked = drift_frame(taken, expected)

    live = frame.loc[(one.id, "pre_launch_script_status"), "live"]
    assert live in {"not told", "none", "modified"}  # it has no script of the service's own
    assert unasked.loc[(one.id, "pre_launch_script_status"), "live"] == "not told"
