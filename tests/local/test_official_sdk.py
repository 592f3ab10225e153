"""The official Python SDK, unmodified, runs the lifecycle and its updates against LocalCloud."""

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import PYTHON_PATH, until

LIFECYCLE = """
import json, os, sys
from phala_cloud import create_client

client = create_client(api_key=os.environ["KEY"], base_url=os.environ["URL"])
name = sys.argv[1]
seen = {}
me = client.get_current_user()
seen["user"] = me.user.username
planned = client.provision_cvm({
    "name": name,
    "compose_file": {"docker_compose_file": "services:\\n  app:\\n    image: nginx:latest\\n"},
    "vcpu": 2, "memory": 2048, "disk_size": 20, "teepod_id": 3,
})
pair = {"app_id": planned.app_id, "compose_hash": planned.compose_hash, "transaction_hash": "0x0"}
made = client.commit_cvm_provision(pair)
seen["again"] = client.commit_cvm_provision(pair).id == made.id

def watch(target, **who):
    return client.watch_cvm_state({**(who or {"id": name}), "target": target, "timeout": 60})

seen["running"] = watch("Running").status
seen["identifiers"] = [
    client.get_cvm_info({key: name}).id == made.id for key in ("id", "app_id", "cvm_id")
]
detail = client.get_cvm_info({"id": made.id})
seen["detail"] = [detail.status, detail.resource["vcpu"], bool(detail.instance_id)]
seen["stop"] = client.stop_cvm({"id": name}).status
watch("stopped")
seen["start"] = client.start_cvm({"id": name}).status
watch("running")
seen["restart"] = client.restart_cvm({"id": name, "force": True}).status
watch("running")
seen["shutdown"] = client.shutdown_cvm({"id": name}).status
watch("stopped")
client.start_cvm({"uuid": detail.vm_uuid})
watch("running")
replica = client.replicate_cvm({"id": name, "node_id": 5})
watch("running", id=replica.id)
seen["replica"] = replica.id != made.id
page = client.get_cvm_list({"page": 1, "page_size": 100})
seen["listed"] = {made.id, replica.id} <= {item.id for item in page.items}
batch = client.get_cvm_status_batch({"vmUuids": [detail.vm_uuid]})
seen["batch"] = batch[detail.vm_uuid].status
seen["compose"] = client.get_cvm_docker_compose({"id": made.id})
seen["script"] = client.get_cvm_pre_launch_script({"id": made.id})
update = client.update_cvm_envs({"id": made.id, "encrypted_env": "00"})
seen["update"] = update.status
watch("running", id=made.id)
seen["nodes"] = len(client.get_available_nodes().nodes) > 0
for one in (replica, made):
    client.delete_cvm({"id": one.id})
try:
    client.commit_cvm_provision({"app_id": "app-123", "compose_hash": "0xabc",
                                 "transaction_hash": "0xdef"})
except Exception as error:
    seen["unknown"] = [type(error).__name__, error.error_code]
print(json.dumps(seen))
"""

DELETION = """
import json, os, sys
from phala_cloud import create_client

client = create_client(api_key=os.environ["KEY"], base_url=os.environ["URL"])
name = sys.argv[1]
client.delete_cvm({"id": name})
seen = {"deleted": client.watch_cvm_state({"id": name, "target": "deleted", "timeout": 60}).status}
try:
    client.get_cvm_info({"id": name})
except Exception as error:
    seen["gone"] = [type(error).__name__, error.error_code]
print(json.dumps(seen))
"""

CHANGES = """
import json, os, sys
from phala_cloud import create_client

client = create_client(api_key=os.environ["KEY"], base_url=os.environ["URL"])
name = sys.argv[1]
seen = {}

def compose(version):
    return f"services:\\n  app:\\n    image: nginx:{version}\\n"

def settled():
    client.watch_cvm_state({"id": name, "target": "running", "timeout": 60})

def image():
    settled()
    return client.get_cvm_docker_compose({"id": name}).rpartition(":")[2].strip()

planned = client.provision_cvm({
    "name": name, "compose_file": {"docker_compose_file": compose("1.25")},
    "instance_type": "tdx.small",
})
pair = {"app_id": planned.app_id, "compose_hash": planned.compose_hash}
client.commit_cvm_provision(pair)
settled()
answer = client.update_docker_compose({"id": name, "docker_compose_file": compose("1.26")})
seen["docker_compose"] = [answer.status, image()]
client.update_pre_launch_script({"id": name, "pre_launch_script": "echo hello\\n"})
settled()
seen["script"] = client.get_cvm_pre_launch_script({"id": name})
client.update_cvm_resources({"id": name, "vcpu": 2, "memory": 4096, "allow_restart": True})
settled()
client.update_cvm_visibility({"id": name, "public_sysinfo": False, "public_logs": False})
settled()
now = client.get_cvm_info({"id": name})
seen["info"] = [now.resource["vcpu"], now.resource["memory_in_gb"], now.public_logs]
done = client.patch_cvm({"id": name, "docker_compose_file": compose("1.27"), "public_logs": True})
seen["patch"] = [done["requires_on_chain_hash"], image()]
runs = client.get_cvm_compose_file({"id": name}).model_dump(exclude_none=True)
plan = client.provision_cvm_compose_file_update({
    "id": name, "app_compose": runs | {"docker_compose_file": compose("1.28")},
})
client.commit_cvm_compose_file_update({"id": name, "compose_hash": plan.compose_hash})
seen["compose_file"] = image()
client.update_os_image({"id": name, "os_image_name": "dstack-0.5.9"})
settled()
seen["image"] = client.get_cvm_info({"id": name}).os["name"]
made = client.get_app_revisions({"app_id": planned.app_id})
newest = client.get_app_revision_detail({
    "app_id": planned.app_id, "revision_id": made.revisions[0].revision_id,
})
seen["revisions"] = [made.total, newest.compose_file["docker_compose_file"] == compose("1.28")]
print(json.dumps(seen))
"""


@pytest.fixture
def run(sdk, cloud):
    """Run a program that uses the SDK and return what it printed as JSON."""
    path = f"{sdk}{os.pathsep}{PYTHON_PATH}"

    def run_it(program, *arguments, cloud=cloud):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *arguments],
            env=os.environ | {"PYTHONPATH": path, "URL": cloud.url, "KEY": cloud.api_key},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_it


def test_the_sdk_runs_the_whole_lifecycle(run):
    seen = run(LIFECYCLE, "official-sdk-one")
    assert seen == {
        "user": "you",
        "again": True,
        "running": "Running",
        "identifiers": [True, True, True],
        "detail": ["running", 2, True],
        "stop": "stopping",
        "start": "starting",
        "restart": "restarting",
        "shutdown": "shutting_down",
        "replica": True,
        "listed": True,
        "batch": "running",
        "compose": "services:\n  app:\n    image: nginx:latest\n",
        "script": "\n",
        "update": "in_progress",
        "nodes": True,
        "unknown": ["ResourceError", "ERR-01-006"],
    }


def test_the_sdk_watches_a_deletion_to_its_end(run, clocked_cloud, clocked):
    name = clocked.create()["name"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, DELETION, name, cloud=clocked_cloud)
        until(lambda: clocked_cloud.open_streams() or running.done())
        clocked_cloud.advance(30)
        seen = running.result()
    assert seen == {"deleted": "deleted", "gone": ["ResourceError", "ERR-03-001"]}


def test_the_sdk_changes_what_runs_in_each_of_its_ways(run):
    seen = run(CHANGES, "official-sdk-two")
    assert seen == {
        "docker_compose": ["in_progress", "1.26"],
        "script": "echo hello\n",
        "info": [2, 4, False],
        "patch": [False, "1.27"],
        "compose_file": "1.28",
        "image": "dstack-0.5.9",
        "revisions": [5, True],  # made, and four that changed the compose file or the script
    }
