"""Requests of each operation of the service's published description that LocalCloud serves."""

import base64
import hashlib
import json
import secrets
import uuid

from helpers import until

HOOK_URL = "http://127.0.0.1:9/hook"
COMPOSE = "services:\n  app:\n    image: nginx:latest\n"
LATER = "2999-01-01T00:00:00Z"
NOWHERE = "0" * 64
APP_COMPOSE = {
    "name": "whole",
    "docker_compose_file": COMPOSE,
    "allowed_envs": ["TOKEN"],
    "bash_script": "true",
    "init_script": "true",
    "pre_launch_script": "true",
    "default_gateway_domain": "example.org",
    "features": ["kms", "tproxy-net"],
    "gateway_enabled": True,
    "kms_enabled": True,
    "local_key_provider_enabled": False,
    "manifest_version": 2,
    "no_instance_id": False,
    "public_logs": True,
    "public_sysinfo": True,
    "public_tcbinfo": True,
    "runner": "docker-compose",
    "salt": "pepper",
    "secure_time": False,
    "storage_fs": "zfs",
    "tproxy_enabled": True,
}
PROVISION = {
    "compose_file": APP_COMPOSE,
    "vcpu": 2,
    "memory": 4096,
    "disk_size": 40,
    "image": "dstack-0.5.9",
    "prefer_dev": False,
    "region": "us-west-1",
    "listed": False,
    "kms": "phala",
    "kms_id": "phala-prod",
    "env_keys": ["TOKEN"],
    "ports": [{"host_port": 0, "vm_port": 22, "protocol": "tcp"}],
    "encrypted_env": "00",
    "user_config": "{}",
    "hugepages": False,
    "pin_numa": False,
    "kms_urls": [],
    "gateway_urls": [],
    "experimental_vpc_server_app_id": None,
}
COMMIT = {
    "encrypted_env": "00",
    "env_keys": ["TOKEN"],
    "kms_id": "phala-prod",
    "contract_address": "0x" + "0" * 40,
    "deployer_address": "0x" + "0" * 40,
}
ELIZA = {"characterfile": "{}", "env_keys": ["TOKEN"]}
UPDATE = {
    "docker_compose_file": COMPOSE.replace("nginx", "redis"),
    "pre_launch_script": "true",
    "allowed_envs": ["TOKEN"],
    "public_logs": False,
    "public_sysinfo": False,
    "public_tcbinfo": False,
    "encrypted_env": "00",
    "user_config": "{}",
    "vcpu": 2,
    "memory": 4096,
    "disk_size": 40,
    "image": "dstack-0.5.8",
    "shutdown_timeout": 60,
    "allow_force_stop": True,
}
REPLICA = {"node_id": 6, "teepod_id": 6, "encrypted_env": "00"}
PAGE = {"page": 1, "page_size": 10}
TOKEN = {"token": "t", "compose_hash": NOWHERE, "transaction_hash": "0x0"}


def ssh_key():
    parts = (b"ssh-ed25519", secrets.token_bytes(32))
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


class World:
    """What requests are about, made when it is asked for."""

    def __init__(self, cloud, api):
        self.cloud, self.api = cloud, api
        self.cvm, self.hook = {}, None

    def new(self):
        """Make a CVM that runs, and make it the one that is meant from now on."""
        self.cvm = self.api.create()
        self.settle()
        if self.hook is not None:
            self.api("DELETE", f"/workspace/webhooks/{self.hook}")
        self.hook = self.new_hook()
        return self

    def settle(self):
        self.cloud.advance(600)

    def plan(self, path="/cvms/provision", **body):
        answer = self.api.post(path, {"name": self.name, **body}).json()
        return {"app_id": answer["app_id"], "compose_hash": answer["compose_hash"]}

    @property
    def name(self):
        return f"cvm-{uuid.uuid4().hex[:12]}"

    @property
    def quote(self):
        found = self.api.get(f"/apps/{self.cvm['app_id']}/attestations").json()["instances"]
        return found[0]["quote"]

    @property
    def values(self):
        """The parameters of paths, by their name."""
        made = self.cvm
        return {
            "cvm_id": lambda: made["vm_uuid"],
            "app_id": lambda: made["app_id"],
            "vm_uuid": lambda: made["vm_uuid"],
            "revision_id": lambda: self._revisions()[0]["revision_id"],
            "compose_hash": lambda: self._revisions()[0]["compose_hash"],
            "checksum": lambda: self._published()["checksum"],
            "key_id": self._key,
            "webhook_id": lambda: self.hook,
            "event_id": self._told,
            "kms_id": lambda: "phala-prod",
            "chain": lambda: "base",
            "family": lambda: "cpu",
        }

    def _revisions(self):
        return self.api.get(f"/apps/{self.cvm['app_id']}/revisions").json()["revisions"]

    def _published(self):
        return self.api.post("/attestations/verify", {"hex": self.quote}).json()

    def _key(self):
        return self.api.post("/user/ssh-keys", {"name": "key", "public_key": ssh_key()}).json()[
            "id"
        ]

    def whole_compose(self):
        found = self.api.get(f"/cvms/{self.cvm['vm_uuid']}/compose_file").json()
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return {"compose_file": found, "compose_hash": hashlib.sha256(text.encode()).hexdigest()}

    def next_app(self):
        return self.api.get("/kms/phala/next_app_id").json()["app_ids"][0]

    def planned_compose(self):
        path = f"/cvms/{self.cvm['vm_uuid']}/compose_file/provision"
        answer = self.api.post(path, {"name": "", "docker_compose_file": UPDATE_TEXT}).json()
        return {"compose_hash": answer["compose_hash"], "update_env_vars": True}

    def new_hook(self):
        """Make a webhook, of an address at which nobody listens."""
        body = {"url": HOOK_URL, "events": ["cvm.update.pending_approval"]}
        return self.api.post("/workspace/webhooks", body).json()["id"]

    def _told(self):
        """The id of a webhook that was told something, and of what it was told."""
        path = f"/workspace/webhooks/{self.hook}"
        self.api.post(f"{path}/test")
        for enabled in (False, True):  # what waits for one that is disabled has failed
            self.api("PUT", path, json={"enabled": enabled})
        until(lambda: self.api.get(f"{path}/deliveries").json())
        return self.api.get(f"{path}/deliveries").json()[0]["event_id"]

    def cvm_hash(self):
        return self._revisions()[0]["compose_hash"]


UPDATE_TEXT = UPDATE["docker_compose_file"]
COMPOSE_ONLY = {"docker_compose_file": COMPOSE}
PROVISION_SIZED = {"compose_file": {"name": "", **COMPOSE_ONLY}, "disk_size": 20}
ON_GPU = {
    "vcpu": 24,
    "memory": 196608,
    "gpus": {"gpus": [{"slot": "0000:01:00.0"}], "attach_mode": "listed"},
}


def body(**said):
    """A request with this body; what is to be called is called with the world first."""
    return {"json": said}


def called(make):
    """A request whose body depends on what is there."""
    return {"make": make}


HOW = {"shutdown_timeout", "allow_force_stop"}  # no change by themselves
NOBODY = {"user_id": "usr_00000000"}
PLAIN = [{}]
REQUESTS = {
    "POST /cvms/provision": [
        called(lambda w: {"name": w.name, "compose_file": {"name": "", **COMPOSE_ONLY}}),
        called(lambda w: {"name": w.name, "instance_type": "tdx.small", **PROVISION_SIZED}),
        called(lambda w: {"name": w.name, "teepod_id": 3, **w.next_app(), **PROVISION}),
        called(lambda w: {"name": w.name, "compose_file": APP_COMPOSE, **ON_GPU}),
    ],
    "POST /cvms": [
        called(lambda w: w.plan(compose_file={"name": "", **COMPOSE_ONLY})),
        called(lambda w: w.plan(compose_file=APP_COMPOSE) | COMMIT),
    ],
    "GET /cvms": [{"params": {"teepod_id": 5} | NOBODY}, {}],
    "GET /cvms/paginated": [{"params": PAGE | {"teepod_id": 5} | NOBODY}, {}],
    "GET /cvms/{cvm_id}": PLAIN,
    "DELETE /cvms/{cvm_id}": PLAIN,
    "PATCH /cvms/{cvm_id}": [
        body(**UPDATE),
        body(gpus={"gpus": [], "attach_mode": "listed"}),
        *(body(**{name: value}) for name, value in UPDATE.items() if name not in HOW),
    ],
    "POST /cvms/{cvm_id}/replicas": [
        {},
        body(**REPLICA),
        called(lambda w: {"compose_hash": w.whole_compose()["compose_hash"]}),
    ],
    "POST /cvms/provision/eliza": [
        called(lambda w: {"name": w.name, **ELIZA}),
        called(
            lambda w: {
                "name": w.name,
                "teepod_id": 3,
                "image": "dstack-0.5.9",
                "kms_id": "phala-prod",
                **ELIZA,
            }
        ),
    ],
    "POST /cvms/eliza": [
        called(lambda w: w.plan("/cvms/provision/eliza", **ELIZA)),
        called(lambda w: w.plan("/cvms/provision/eliza", **ELIZA) | COMMIT),
    ],
    "POST /cvms/workload": [
        called(
            lambda w: {
                "name": w.name,
                "instance_type": "h200.small",
                "model_id": "org/model",
                "scheduled_delete_at": LATER,
            }
        )
    ],
    "GET /cvms/{cvm_id}/compose_file": [{}, {"params": {"raw": "true"}}],
    "PATCH /cvms/{cvm_id}/compose_file": [
        called(lambda w: w.planned_compose() | {"encrypted_env": "00", "env_keys": ["TOKEN"]})
    ],
    "POST /cvms/{cvm_id}/compose_file": [
        called(World.whole_compose),
        called(lambda w: w.whole_compose() | {"encrypted_env": "00", "env_keys": ["TOKEN"]}),
    ],
    "POST /cvms/{cvm_id}/compose_file/provision": [
        body(name="", **COMPOSE_ONLY),
        body(update_env_vars=True, **APP_COMPOSE),
    ],
    "GET /cvms/{cvm_id}/docker-compose.yml": PLAIN,
    "PATCH /cvms/{cvm_id}/docker-compose": [{"data": UPDATE_TEXT}],
    "GET /cvms/{cvm_id}/pre-launch-script": PLAIN,
    "PATCH /cvms/{cvm_id}/pre-launch-script": [{"data": "true"}],
    "GET /cvms/{cvm_id}/available-os-images": PLAIN,
    "PATCH /cvms/{cvm_id}/os-image": [body(os_image_name="dstack-0.5.8")],
    "PATCH /cvms/{cvm_id}/envs": [
        body(encrypted_env="00"),
        body(encrypted_env="00", env_keys=["A"], compose_hash=NOWHERE, transaction_hash="0x0"),
    ],
    "POST /cvms/{cvm_id}/revisions/{revision_id}/redeploy": [
        {},
        {"params": {"transaction_hash": "0x0"}},
    ],
    "PATCH /cvms/instance-ids": [
        called(
            lambda w: {
                "cvm_ids": [w.cvm["vm_uuid"]],
                "running_only": False,
                "missing_only": False,
                "overwrite": True,
                "limit": 10,
                "dry_run": True,
            }
        ),
        {},
    ],
    "PATCH /cvms/{cvm_id}/instance-id": [{}, body(overwrite=True, dry_run=True)],
    "GET /cvms/{cvm_id}/stats": PLAIN,
    "GET /cvms/{cvm_id}/network": PLAIN,
    "GET /cvms/{cvm_id}/attestation": PLAIN,
    "GET /cvms/{cvm_id}/user_config": PLAIN,
    "POST /cvms/{cvm_id}/start": PLAIN,
    "POST /cvms/{cvm_id}/stop": PLAIN,
    "POST /cvms/{cvm_id}/shutdown": PLAIN,
    "POST /cvms/{cvm_id}/restart": [{}, body(force=True)],
    "GET /cvms/{cvm_id}/operations": [
        {},
        {
            "params": {
                "limit": 5,
                "cursor": "1.5_1",
                "start_time": "2020-01-01T00:00:00Z",
                "end_time": LATER,
                "operation_types": ["create"],
            }
        },
    ],
    "POST /cvms/{cvm_id}/operations/cancel": PLAIN,
    "GET /cvms/{cvm_id}/operation-status": PLAIN,
    "PATCH /cvms/{cvm_id}/name": [called(lambda w: {"name": w.name})],
    "PATCH /cvms/{cvm_id}/listed": [body(listed=False)],
    "PATCH /cvms/{cvm_id}/scheduled-delete": [
        body(scheduled_delete_at=LATER),
        body(scheduled_delete_at=None),
    ],
    "POST /cvms/batch-stop": [called(lambda w: {"cvm_ids": [w.cvm["vm_uuid"]]})],
    "POST /status/batch": [called(lambda w: {"vm_uuids": [w.cvm["vm_uuid"]]})],
    "GET /cvms/{cvm_id}/state": [
        {},
        {"params": {"target": "running", "interval": 5, "timeout": 10}},
    ],
    "GET /cvms/{cvm_id}/network-config": PLAIN,
    "PATCH /cvms/{cvm_id}/network-config": [
        body(kms_urls=["https://kms.example.org"]),
        body(gateway_urls=["https://gateway.example.org"], restart=True),
    ],
    "GET /cvms/{cvm_id}/ports": PLAIN,
    "PUT /cvms/{cvm_id}/ports": [body(ports=[{"vm_port": 22}, {"vm_port": 9, "protocol": "udp"}])],
    "GET /cvms/{cvm_id}/firewall-status": PLAIN,
    "GET /cvms/{cvm_id}/commit-update": [{"params": {"token": "t"}}],
    "POST /cvms/{cvm_id}/commit-update": [{"params": {"token": "t"}}, body(**TOKEN)],
    "POST /cvms/{cvm_id}/commit-replica": [{"params": {"token": "t"}}, body(**TOKEN)],
    "POST /cvms/{cvm_id}/customize-domain-diagnose": [
        body(domains=[{"domain": "app.valid.test", "port": 80}, {"domain": "x.org", "port": 1}])
    ],
    "GET /kms": [{}, {"params": PAGE | {"is_onchain": "false"}}],
    "GET /kms/{kms_id}": PLAIN,
    "GET /kms/{kms_id}/info": PLAIN,
    "GET /kms/{kms_id}/pubkey/{app_id}": PLAIN,
    "GET /kms/phala/next_app_id": [{}, {"params": {"counts": 2}}],
    "GET /kms/on-chain/{chain}": PLAIN,
    "GET /apps": [
        {},
        {
            "params": PAGE
            | {
                "search": "cvm",
                "status": ["running"],
                "listed": "true",
                "base_image": "dstack-0.5.9",
                "instance_type": "tdx.small",
                "kms_slug": "phala-prod",
                "kms_type": "phala",
                "node": "prod5",
                "region": "US-WEST-1",
            }
        },
    ],
    "GET /apps/filter-options": PLAIN,
    "GET /apps/{app_id}": PLAIN,
    "GET /apps/{app_id}/cvms": PLAIN,
    "POST /apps/{app_id}/cvms/{vm_uuid}/replicas": [
        {},
        body(**REPLICA),
        called(lambda w: {"compose_hash": w.whole_compose()["compose_hash"]}),
    ],
    "POST /apps/{app_id}/instances": [
        body(),
        body(pre_launch_script="true", docker_compose_file=UPDATE_TEXT, **REPLICA),
        called(lambda w: {"compose_hash": w.cvm_hash(), "transaction_hash": "already-registered"}),
    ],
    "GET /apps/{app_id}/device-allowlist": PLAIN,
    "GET /apps/{app_id}/attestations": PLAIN,
    "GET /apps/{app_id}/attestations/tcb-evaluation": PLAIN,
    "GET /apps/{app_id}/revisions": [{}, {"params": PAGE}],
    "GET /apps/{app_id}/revisions/{revision_id}": [{}, {"params": {"raw_compose_file": "true"}}],
    "POST /apps/{app_id}/revisions/{revision_id}/redeploy": [
        {"params": {"transaction_hash": "0x0"}},
        called(lambda w: {"vm_uuids": [w.cvm["vm_uuid"]]}),
    ],
    "GET /apps/{app_id}/usage": [
        {},
        {
            "params": {
                "start_date": "2020-01-01T00:00:00Z",
                "end_date": LATER,
                "limit": 5,
                "offset": 1,
            }
        },
    ],
    "POST /apps/{app_id}/is-allowed": [
        called(
            lambda w: {
                "compose_hash": w.cvm_hash(),
                "node_id": 5,
                "device_id": NOWHERE,
                "chain_id": 8453,
            }
        )
    ],
    "POST /apps/{app_id}/cvms/is-allowed": PLAIN,
    "GET /apps/{app_id}/kms-info": PLAIN,
    "GET /apps/{app_id}/pending-updates": PLAIN,
    "GET /apps/{app_id}/pending-updates/{vm_uuid}/{compose_hash}/preview": PLAIN,
    "GET /instance-types": PLAIN,
    "GET /instance-types/{family}": PLAIN,
    "POST /attestations/verify": [
        {"files": lambda w: {"hex": (None, w.quote)}},
        {"files": lambda w: {"file": ("quote.bin", bytes.fromhex(w.quote))}},
    ],
    "GET /attestations/recent": [{}, {"params": {"skip": 1, "limit": 5}}],
    "GET /attestations/view/{checksum}": PLAIN,
    "GET /attestations/collateral/{checksum}": PLAIN,
    "GET /attestations/raw/{checksum}": PLAIN,
    "GET /attestations/ppids": PLAIN,
    "GET /attestations/device_ids": PLAIN,
    "GET /attestations/nodes": PLAIN,
    "GET /workspace/webhooks": PLAIN,
    "POST /workspace/webhooks": [
        body(url=HOOK_URL, events=["cvm.created"]),
        body(url=HOOK_URL, events=["cvm.created"], name="mine", secret="a" * 32),
    ],
    "GET /workspace/webhooks/{webhook_id}": PLAIN,
    "PUT /workspace/webhooks/{webhook_id}": [
        body(url=HOOK_URL, events=["cvm.deleted"], name="yours", enabled=False)
    ],
    "DELETE /workspace/webhooks/{webhook_id}": PLAIN,
    "POST /workspace/webhooks/{webhook_id}/reveal-secret": PLAIN,
    "POST /workspace/webhooks/{webhook_id}/rotate-secret": PLAIN,
    "POST /workspace/webhooks/{webhook_id}/test": PLAIN,
    "GET /workspace/webhooks/{webhook_id}/deliveries": [{}, {"params": {"limit": 5, "offset": 1}}],
    "POST /workspace/webhooks/{webhook_id}/deliveries/{event_id}/resend": PLAIN,
    "GET /workspace/webhooks/{webhook_id}/stats": PLAIN,
    "GET /user/ssh-keys": PLAIN,
    "POST /user/ssh-keys": [called(lambda _: {"name": "key", "public_key": ssh_key()})],
    "DELETE /user/ssh-keys/{key_id}": PLAIN,
    "POST /user/ssh-keys/github-profile": [body(github_username="octocat")],
    "POST /user/ssh-keys/github-sync": PLAIN,
}
"""Requests of each operation that is served, which the description allows."""
