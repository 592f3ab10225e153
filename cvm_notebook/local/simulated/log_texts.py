"""Templates of log lines: of a machine's boot, and of well-known images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KERNEL: Final = (
    "Linux version 6.9.0-dstack (localcloud) #1 SMP PREEMPT_DYNAMIC",
    "Command line: console=ttyS0 init=/init panic=1 systemd.unified_cgroup_hierarchy=0",
    "BIOS-provided physical RAM map:",
    "smpboot: Allowing {vcpu} CPUs, 0 hotplug CPUs",
    "Memory: {memory_kb}K available (16384K kernel code, 2048K rwdata)",
    "virtio_blk virtio1: [vdb] {disk_blocks} 512-byte logical blocks ({disk} GB)",
    "LocalCloud: this machine is simulated, no TDX module is present",
    "Run /init as init process",
    "systemd[1]: Detected virtualization kvm.",
    "systemd[1]: Hostname set to <{name}>.",
    "systemd[1]: Reached target Network is Online.",
    "systemd[1]: Starting App Compose Service...",
)
"""Before the stages of the boot."""

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "setting up dstack-gateway": (
        "dstack-prepare.sh: registering with the gateway at {domain}",
        "wireguard: WireGuard 1.0.0 loaded.",
        "dstack-prepare.sh: wg0 up with address 10.4.{octet}.2/32",
    ),
    "setting up docker": (
        "dockerd: Starting up",
        "dockerd: API listen on /run/docker.sock",
    ),
    "initializing data disk": ("dstack-prepare.sh: creating {fs} on /dev/vdb",),
    "mounting data disk": ("dstack-prepare.sh: /dev/vdb mounted on /tapp ({fs})",),
    "requesting app keys": (
        "dstack-prepare.sh: requesting keys of app {app}",
        "dstack-prepare.sh: compose hash {compose}",
        "dstack-prepare.sh: app keys received",
        "dstack-prepare.sh: environment: {environment}",
    ),
    "init-script": ("app-compose.sh: no init script",),
    "pre-launch": ("app-compose.sh: running pre-launch script", "app-compose.sh: done"),
    "starting containers": ("app-compose.sh: docker compose up --remove-orphans -d --build",),
}
"""By what boot_progress says meanwhile."""

HEARTBEATS: Final = (
    "dstack-guest-agent: GET /Info 200",
    "wireguard: wg0: handshake with peer 1 completed",
    "dstack-guest-agent: GET /Sysinfo 200",
    "systemd[1]: fstrim.service: Deactivated successfully.",
)
"""What a running machine writes now and then."""

SHUTDOWN: Final = (
    "systemd[1]: Stopping App Compose Service...",
    "app-compose.sh: docker compose stop",
    "systemd[1]: Unmounted /tapp.",
    "systemd[1]: Reached target System Power Off.",
    "reboot: Power down",
)


@dataclass(frozen=True, slots=True)
class Program:
    """Log templates of one kind of image; ``{n}`` counts, ``{a}`` to ``{c}`` are below 1,000."""

    images: tuple[str, ...]
    starts: tuple[str, ...]
    goes_on: tuple[str, ...]
    seconds: float
    """Between two lines."""
    stderr: bool = False


PROGRAMS: Final = (
    Program(
        ("postgres", "pgvector", "timescale"),
        (
            "PostgreSQL Database directory appears to contain a database; Skipping initialization",
            "LOG:  starting PostgreSQL 17.2 on x86_64-pc-linux-musl, compiled by gcc, 64-bit",
            'LOG:  listening on IPv4 address "0.0.0.0", port 5432',
            "LOG:  database system was shut down at startup",
            "LOG:  database system is ready to accept connections",
        ),
        (
            "LOG:  checkpoint starting: time",
            "LOG:  checkpoint complete: wrote {a} buffers (0.{b}%); write={c}.031 s, sync=0.004 s",
            "LOG:  duration: {a}.{b} ms  statement: SELECT count(*) FROM events WHERE id > {n}",
            "LOG:  connection received: host=172.18.0.4 port=4{a}",
        ),
        47,
        stderr=True,
    ),
    Program(
        ("redis", "valkey"),
        (
            "1:C * oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo",
            "1:M * Running mode=standalone, port=6379.",
            "1:M * Server initialized",
            "1:M * Ready to accept connections tcp",
        ),
        (
            "1:M * {a} changes in 300 seconds. Saving...",
            "1:M * Background saving started by pid {b}",
            "{b}:C * DB saved on disk",
            "1:M * Background saving terminated with success",
        ),
        75,
    ),
    Program(
        ("vllm", "sglang", "text-generation", "ollama", "llama"),
        (
            "INFO: Initializing an LLM engine with dtype=torch.bfloat16, tensor_parallel_size=1",
            "INFO: Loading model weights took 14.9{a} GB",
            "INFO: # GPU blocks: 27{a}, # CPU blocks: 2048",
            "INFO: Capturing CUDA graphs finished in 18 secs",
            "INFO: Application startup complete.",
            "INFO: Uvicorn running on http://0.0.0.0:8000",
        ),
        (
            "INFO: Avg prompt throughput: {a}.4 tokens/s, Running: 3 reqs, KV cache usage: 1{c}%",
            "INFO: Avg generation throughput: {b}.1 tokens/s, Pending: 0 reqs",
            'INFO: 172.18.0.1:4{a} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
            "INFO: Received request cmpl-{n}: max_tokens=512, temperature=0.7",
            'INFO: 172.18.0.1:5{b} - "GET /health HTTP/1.1" 200 OK',
        ),
        10,
    ),
    Program(
        ("nginx", "caddy", "traefik", "haproxy"),
        (
            "/docker-entrypoint.sh: Configuration complete; ready for start up",
            "[notice] 1#1: nginx/1.27.3",
            "[notice] 1#1: start worker processes",
            "[notice] 1#1: start worker process 29",
        ),
        (
            '10.4.0.1 - - "GET / HTTP/1.1" 200 {a} "-" "Mozilla/5.0"',
            '10.4.0.1 - - "GET /api/items/{n} HTTP/1.1" 200 {b} "-" "Mozilla/5.0"',
            '10.4.0.1 - - "POST /api/items HTTP/1.1" 201 {c} "-" "python-requests/2.32"',
            '10.4.0.1 - - "GET /favicon.ico HTTP/1.1" 404 153 "-" "Mozilla/5.0"',
        ),
        7,
    ),
    Program(
        ("jupyter",),
        (
            "[I ServerApp] jupyterlab | extension was successfully linked.",
            "[I ServerApp] Serving notebooks from local directory: /home/jovyan",
            "[I ServerApp] Jupyter Server 2.15.0 is running at: http://0.0.0.0:8888/lab",
        ),
        (
            "[I ServerApp] Saving file at /work/analysis-{a}.ipynb",
            "[I ServerApp] Kernel started: 5f2e{a}-0c{b}",
            "[I ServerApp] Starting buffering for 5f2e{a}:{n}",
        ),
        61,
        stderr=True,
    ),
    Program(
        ("prometheus", "grafana", "loki", "otel"),
        (
            'level=INFO msg="Starting Prometheus Server" version="3.1.0"',
            'level=INFO msg="TSDB started"',
            'level=INFO msg="Server is ready to receive web requests."',
        ),
        (
            'level=INFO msg="write block" mint={n} maxt={n} ulid=01J{a} duration=1.{b}s',
            'level=INFO msg="Head GC completed" duration={c}.{a}ms',
        ),
        120,
        stderr=True,
    ),
)

OTHER: Final = Program(
    (),
    ("starting", "configuration loaded", "listening on 0.0.0.0"),
    (
        "info: handled request {n} in {a} ms",
        "info: job {n} done, {b} rows in {c} ms",
        "info: cache hit ratio 0.{a}",
        "debug: heartbeat {n}",
    ),
    15,
)


def program_of(image: str) -> Program:
    """Choose how an image talks by what stands in its name."""
    name = image.lower()
    return next((one for one in PROGRAMS if any(word in name for word in one.images)), OTHER)
