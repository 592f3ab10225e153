"""The official JS SDK and the CLI, unmodified, change what runs on LocalCloud.

They are Node packages: these tests run where CVM_NOTEBOOK_JS names a folder into which
``npm install phala @phala/cloud`` was done, as `.ci/run` does.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

FOLDER = os.environ.get("CVM_NOTEBOOK_JS", "")
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not FOLDER, reason="no CVM_NOTEBOOK_JS: Node packages are no extra")

RUNS = "services:\n  app:\n    image: nginx:1.25\n"
CHANGED = (
    "services:\n  app:\n    image: nginx:1.26\n    environment:\n      - GREETING=${GREETING}\n"
)


@pytest.fixture
def node(cloud, tmp_path):
    """Run a Node program in a home of its own; returns what it printed."""
    settings = {
        "URL": cloud.url,
        "KEY": cloud.api_key,
        "PHALA_CLOUD_API_PREFIX": cloud.url,
        "PHALA_CLOUD_API_KEY": cloud.api_key,
        "HOME": str(tmp_path),
    }

    def run(program, *arguments):
        done = subprocess.run(
            ["node", str(program), *arguments],
            env=os.environ | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_sdk_changes_what_runs_in_each_of_its_ways(node, tmp_path):
    (tmp_path / "node_modules").symlink_to(Path(FOLDER) / "node_modules")
    program = tmp_path / "official_sdk.mjs"  # packages are looked for beside it
    program.write_text((HERE / "official_sdk.mjs").read_text())
    assert json.loads(node(program, "official-js")) == {
        "docker_compose": "1.26",
        "script": "echo hello\n",
        "info": [2, 4, False],
        "patch": [False, "1.27"],
        "compose_file": "1.28",
        "envs": "in_progress",
        "allowed": ["GREETING"],
        "instances": 3,
        "newest": True,
    }


def test_the_cli_deploys_updates_resizes_and_adds_instances(node, connect, cloud, tmp_path):
    (tmp_path / "runs.yml").write_text(RUNS)
    (tmp_path / "changed.yml").write_text(CHANGED)

    def phala(*words):
        printed = node(Path(FOLDER) / "node_modules/phala/dist/index.js", *words, "--json")
        return json.loads(printed[printed.index("{") :]) if "{" in printed else {}

    name = ["--cvm-id", "official-cli"]
    size = ["-t", "tdx.small"]
    secret = ["-e", "GREETING=hello"]
    assert phala("deploy", "-n", "official-cli", "-c", "runs.yml", *size, *secret, "--wait")[
        "success"
    ]
    assert phala("deploy", *name, "-c", "changed.yml", *secret, "--wait")["success"]
    phala("envs", "update", "official-cli", "-e", "GREETING=again")
    connect(cloud).watch("official-cli", "running")
    sizes = ["--vcpu", "2", "--memory", "4096"]
    assert phala("cvms", "resize", "official-cli", *sizes, "-r", "true", "--yes")["success"]
    connect(cloud).watch("official-cli", "running")
    runs = phala("cvms", "get", "official-cli")
    assert runs["compose_file"]["docker_compose_file"] == CHANGED
    assert runs["compose_file"]["allowed_envs"] == ["GREETING"]
    assert (runs["resource"]["vcpu"], runs["resource"]["memory_in_gb"]) == (2, 4)
    assert phala("cvms", "replicate", "official-cli", "--node-id", "5")["success"]
    added = phala("instances", "add", "--app-id", runs["app_id"], "--node-id", "6")
    assert added["app_id"] == runs["app_id"]
    assert phala("cvms", "restart", "official-cli")["success"]
    instances = connect(cloud).get(f"/apps/{runs['app_id']}/cvms").json()
    assert len(instances) == 3
    assert {one["compose_hash"] for one in instances} == {runs["compose_hash"]}
