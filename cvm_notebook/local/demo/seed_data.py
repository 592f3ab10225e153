"""Describe the demo fleet: apps people would run, where their CVMs are, what became of them."""

from dataclasses import dataclass, field
from typing import Final

Services = dict[str, dict[str, object]]

_POSTGRES: Final[dict[str, object]] = {
    "image": "postgres:17-alpine",
    "environment": {"POSTGRES_PASSWORD": "${DB_PASSWORD}"},
    "volumes": ["pgdata:/var/lib/postgresql/data"],
}
_REDIS: Final[dict[str, object]] = {"image": "redis:7.4-alpine", "command": "redis-server"}


@dataclass(frozen=True, slots=True)
class One:
    """One CVM of an app.

    Parameters
    ----------
    name
        What it is called.
    node, size, image
        Where it runs, how large it is, and which system it boots.
    age
        Days since it was made.
    past
        What was done to it since, in order, evenly over its life.
    final, error
        How its newest operation ended, when not as it should.
    ago
        Seconds since its newest operation began; None: when the order of its past says.
    disk
        GB; None is what is usual for its size.
    """

    name: str
    node: int
    size: str = "tdx.small"
    image: str = "dstack-0.6.0"
    age: float = 20
    past: tuple[str, ...] = ()
    final: str | None = None
    error: str | None = None
    ago: float | None = None
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class App:
    """An app: its services, the names of its secrets, its CVMs."""

    name: str
    services: Services
    cvms: tuple[One, ...]
    secrets: tuple[str, ...] = ()
    private: bool = False
    pre_launch: str | None = None
    volumes: tuple[str, ...] = field(default=())


GPU_IMAGE: Final = "dstack-nvidia-0.6.0"
_STOP: Final = ("shutdown",)
_NIGHT: Final = ("shutdown", "power_on")
_CARED: Final = ("compose_update", "restart", "env_update", "compose_update")

APPS: Final[tuple[App, ...]] = (
    App(
        "shop-api",
        {
            "web": {"image": "nginx:1.27-alpine", "ports": ["443:443"], "depends_on": ["api"]},
            "api": {"image": "ghcr.io/acme/shop-api:2.14.0", "environment": ["DATABASE_URL"]},
            "db": _POSTGRES,
        },
        (
            One("shop-api-prod-west", 5, "tdx.xlarge", age=61, past=_CARED, disk=200),
            One("shop-api-prod-east", 21, "tdx.xlarge", age=58, past=_CARED[:3], disk=200),
            One("shop-api-staging", 6, "tdx.medium", age=33, past=_CARED + _NIGHT, disk=40),
        ),
        ("DATABASE_URL", "DB_PASSWORD", "STRIPE_KEY"),
        volumes=("pgdata",),
    ),
    App(
        "llama-chat",
        {
            "vllm": {
                "image": "vllm/vllm-openai:v0.11.0",
                "command": "--model meta-llama/Llama-3.3-70B-Instruct-FP8 --max-model-len 16384",
                "ports": ["8000:8000"],
                "environment": ["HF_TOKEN"],
            },
            "proxy": {"image": "caddy:2.8", "ports": ["443:443"]},
        },
        (
            One("llama-chat-a", 26, "h200.small", GPU_IMAGE, 24, _CARED[:2], disk=500),
            One("llama-chat-b", 26, "h200.small", GPU_IMAGE, 9, ("restart",), disk=500),
        ),
        ("HF_TOKEN", "API_TOKENS"),
    ),
    App(
        "embeddings",
        {
            "tei": {
                "image": "ghcr.io/huggingface/text-generation-inference:3.3",
                "ports": ["8080:80"],
            }
        },
        (One("embeddings-h100", 26, "h100.small", GPU_IMAGE, 17, ("compose_update",), disk=200),),
        ("HF_TOKEN",),
    ),
    App(
        "doc-ocr",
        {"ocr": {"image": "ghcr.io/acme/doc-ocr:0.9.2", "ports": ["9000:9000"]}, "queue": _REDIS},
        (
            One("doc-ocr-gpu", 26, "h100.small", GPU_IMAGE, 12, ("power_off",), disk=100),
            One("doc-ocr-batch", 7, "tdx.2xlarge", age=12, past=("restart", "resize")),
        ),
    ),
    App(
        "notebooks",
        {
            "lab": {
                "image": "quay.io/jupyter/scipy-notebook:2026-10-20",
                "ports": ["8888:8888"],
                "environment": ["JUPYTER_TOKEN"],
            }
        },
        (
            One("jupyter-ana", 5, "tdx.large", age=40, past=_NIGHT * 3, disk=80),
            One("jupyter-ben", 6, "tdx.medium", age=36, past=_NIGHT + _STOP, disk=80),
            One("jupyter-deniz", 7, "tdx.medium", age=4, past=_NIGHT, disk=60),
            One("jupyter-chloe", 18, "tdx.xlarge", age=15, past=_NIGHT, disk=120),
        ),
        ("JUPYTER_TOKEN",),
    ),
    App(
        "wallet-signer",
        {
            "signer": {"image": "ghcr.io/acme/signer:1.8.3", "ports": ["7443:7443"]},
            "cache": _REDIS,
        },
        (
            One("wallet-signer-1", 3, "tdx.medium", age=75, past=_CARED[:2]),
            One("wallet-signer-2", 7, "tdx.medium", age=75, past=_CARED[:2]),
            One("wallet-signer-3", 21, "tdx.medium", age=74, past=_CARED[:2]),
        ),
        ("SIGNER_SEED", "POLICY_URL"),
        private=True,
    ),
    App(
        "price-oracle",
        {"oracle": {"image": "ghcr.io/acme/price-oracle:5.0.1", "environment": ["RPC_URL"]}},
        (
            One("price-oracle-1", 5, age=50, past=("compose_update", "compose_update")),
            One("price-oracle-2", 6, age=50, past=("compose_update", "compose_update")),
            One("price-oracle-3", 18, age=50, past=("compose_update", "restart")),
            One(
                "price-oracle-4",
                21,
                age=50,
                past=("compose_update",),
                final="error",
                error="failed to start containers: ghcr.io/acme/price-oracle:5.0.1: unauthorized",
            ),
        ),
        ("RPC_URL", "FEED_KEY"),
    ),
    App(
        "feature-store",
        {
            "api": {"image": "feastdev/feature-server:0.54.0", "ports": ["6566:6566"]},
            "online": _REDIS,
            "offline": _POSTGRES,
        },
        (
            One("feature-store-prod", 7, "tdx.2xlarge", age=45, past=_CARED[:3], disk=300),
            One("feature-store-dev", 5, "tdx.medium", "dstack-dev-0.5.9", 21, _STOP, disk=60),
        ),
        ("DB_PASSWORD",),
        volumes=("pgdata",),
    ),
    App(
        "etl-nightly",
        {"job": {"image": "ghcr.io/acme/etl:2026.11", "restart": "no"}},
        (
            One("etl-nightly-orders", 6, "tdx.large", age=30, past=_NIGHT, final="exited"),
            One("etl-nightly-events", 6, "tdx.large", age=30, past=_NIGHT, final="exited"),
        ),
        ("WAREHOUSE_URL",),
        pre_launch="#!/bin/sh\necho 'fetching schema'\n",
    ),
    App(
        "fraud-scoring",
        {
            "scorer": {"image": "ghcr.io/acme/fraud:3.3.0", "ports": ["8443:8443"]},
            "cache": _REDIS,
        },
        (
            One("fraud-scoring-blue", 3, "tdx.xlarge", age=28, past=_CARED[:2]),
            One("fraud-scoring-green", 7, "tdx.xlarge", age=28, past=("compose_update",), ago=0.4),
        ),
        ("MODEL_KEY",),
        private=True,
    ),
    App(
        "agents",
        {
            "agent": {"image": "ghcr.io/acme/agent:0.21", "environment": ["OPENAI_API_KEY"]},
            "memory": {
                "image": "pgvector/pgvector:pg17",
                "volumes": ["pgdata:/var/lib/postgresql"],
            },
        },
        (
            One("agent-alpha", 3, age=18, past=("env_update",)),
            One("agent-bravo", 3, age=18, past=("env_update", "restart")),
            One("agent-charlie", 6, age=16),
            One("agent-foxtrot", 7, age=5),
            One("agent-delta", 18, age=11, past=("power_off",)),
            One("agent-echo", 21, age=6, past=("restart",), ago=0.2),
        ),
        ("OPENAI_API_KEY",),
        volumes=("pgdata",),
    ),
    App(
        "mpc-node",
        {"node": {"image": "ghcr.io/acme/mpc:1.2.0", "ports": ["30303:30303"]}},
        (
            One("mpc-node-west", 7, "tdx.large", "dstack-0.5.8", 90, ("image_update", "restart")),
            One("mpc-node-east", 21, "tdx.large", "dstack-0.5.8", 90, ("restart",)),
            One("mpc-node-backup", 18, "tdx.large", "dstack-0.5.8", 88, _STOP),
        ),
        ("NODE_KEY",),
    ),
    App(
        "observability",
        {
            "prometheus": {"image": "prom/prometheus:v3.1.0"},
            "grafana": {"image": "grafana/grafana:12.2.0", "ports": ["3000:3000"]},
            "loki": {"image": "grafana/loki:3.4.1"},
        },
        (One("observability", 6, "tdx.large", age=80, past=_CARED[:2], disk=250),),
        ("GF_ADMIN_PASSWORD",),
    ),
    App(
        "rag-demo",
        {
            "ui": {"image": "ghcr.io/open-webui/open-webui:0.6.30", "ports": ["3000:8080"]},
            "vectors": {"image": "qdrant/qdrant:v1.15.4"},
        },
        (
            One("rag-demo", 21, "tdx.medium", age=7, past=("compose_update",)),
            One("rag-demo-next", 21, "tdx.medium", age=0, ago=0.3),
        ),
    ),
    App(
        "vault-sync",
        {"vault": {"image": "hashicorp/vault:1.20", "ports": ["8200:8200"]}},
        (
            One("vault-sync-1", 7, "tdx.xlarge", age=66, past=_CARED[:2]),
            One("vault-sync-2", 21, "tdx.large", age=66, past=_CARED[:1]),
        ),
        ("UNSEAL_KEY",),
        private=True,
    ),
    App(
        "ci-runner",
        {"runner": {"image": "ghcr.io/acme/ci-runner:does-not-exist"}},
        (One("ci-runner-dev", 3, "tdx.large", "dstack-dev-0.5.9", 3),),
    ),
)
"""In all some forty CVMs. Node 7 is nearly full, and one image can't be pulled."""
