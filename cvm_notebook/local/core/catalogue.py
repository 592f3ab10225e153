"""The catalogue: instance types, nodes, images, tiers, prices.

Constants only. ``INSTANCE_TYPES["tdx.small"]``, ``NODES[5]``, ``IMAGES["dstack-0.5.9"]``,
``TIERS["PRO"]``. Money is in millionths of a dollar.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cvm_notebook.local.core.image_parts import ImageParts, checksum_file, parts_of


def _digits(text: str, count: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:count]


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A size of CVM; ``hourly_micros`` is its price per hour of running."""

    id: str
    family: str
    vcpu: int
    memory_mb: int
    hourly_micros: int
    gpus: int = 0
    default_disk_gb: int = 20

    @property
    def name(self) -> str:
        """The display name."""
        family, _, size = self.id.partition(".")
        return f"{family.upper()} {size.replace('.', ' ')}"

    @property
    def description(self) -> str:
        """Its size in words."""
        text = f"{self.vcpu} vCPU, {self.memory_mb // 1024} GB memory"
        return f"{text}, {self.gpus} GPU" if self.gpus else text


_TYPES = (
    InstanceType("tdx.small", "cpu", 1, 2048, 58_000),
    InstanceType("tdx.medium", "cpu", 2, 4096, 116_000),
    InstanceType("tdx.large", "cpu", 4, 8192, 232_000),
    InstanceType("tdx.xlarge", "cpu", 8, 16384, 464_000),
    InstanceType("tdx.2xlarge", "cpu", 16, 32768, 928_000),
    InstanceType("tdx.4xlarge", "cpu", 32, 65536, 1_856_000),
    InstanceType("tdx.8xlarge", "cpu", 64, 131072, 3_712_000),
    InstanceType("h100.small", "gpu", 16, 131072, 2_800_000, gpus=1, default_disk_gb=100),
    InstanceType("h200.small", "gpu", 24, 196608, 3_500_000, gpus=1, default_disk_gb=100),
    InstanceType("h200.8x.large", "gpu", 192, 1572864, 23_040_000, gpus=8, default_disk_gb=100),
)
INSTANCE_TYPES: Mapping[str, InstanceType] = {one.id: one for one in _TYPES}
DEFAULT_INSTANCE_TYPE = "tdx.small"

VCPU_HOUR_MICROS = 58_000
"""Price of one vCPU (with its 2 GB) where no instance type was named."""
DISK_GB_HOUR_MICROS = 139
"""Price of a GB of disk per hour, running or not."""


@dataclass(frozen=True, slots=True)
class Image:
    """An operating system image of CVMs."""

    name: str
    version: tuple[int, int, int]
    is_dev: bool = False
    requires_gpu: bool = False

    @property
    def slug(self) -> str:
        """Its unique name."""
        return f"{self.name}-{self.os_image_hash[:8]}"

    @property
    def lite(self) -> bool:
        """Whether it carries a document of its digests, as from 0.6 on."""
        return self.version >= (0, 6, 0)

    @property
    def parts(self) -> ImageParts:
        """The digests of what it consists of."""
        return parts_of(self.name, ".".join(map(str, self.version)))

    @property
    def os_image_hash(self) -> str:
        """Its 64 hex digits: of the checksum file, where it has one."""
        if self.lite:
            return hashlib.sha256(checksum_file(self.parts)).hexdigest()
        return _digits(f"image:{self.name}", 64)


def _images() -> dict[str, Image]:
    versions = ((0, 5, 4), (0, 5, 7), (0, 5, 8), (0, 5, 9), (0, 6, 0))
    found = []
    for version in versions:
        spelled = ".".join(map(str, version))
        found.append(Image(f"dstack-{spelled}", version))
        found.append(Image(f"dstack-dev-{spelled}", version, is_dev=True))
        found.append(Image(f"dstack-nvidia-{spelled}", version, requires_gpu=True))
        found.append(Image(f"dstack-nvidia-dev-{spelled}", version, is_dev=True, requires_gpu=True))
    return {image.name: image for image in found}


IMAGES: Mapping[str, Image] = _images()


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that runs CVMs, and what it has to give."""

    id: int
    name: str
    region: str
    vcpu: int
    memory: int
    """MB."""
    slots: int
    gpus: int = 0
    oldest_image: tuple[int, int, int] = (0, 5, 4)
    status: str = "ONLINE"
    version: str = "0.5.9"
    onchain: bool = False
    tcb: str = "UpToDate"
    """What its microcode and TDX module are worth, in Intel's words."""
    quote_version: int = 4
    firewall: bool = True
    """Whether it opens ports of CVMs."""

    @property
    def device_id(self) -> str:
        """64 hex digits."""
        return _digits(f"device:{self.name}", 64)

    @property
    def ppid(self) -> str:
        """32 hex digits."""
        return _digits(f"ppid:{self.name}", 32)

    @property
    def fmspc(self) -> str:
        """12 hex digits."""
        return _digits(f"fmspc:{self.region}", 12).upper()

    @property
    def domain(self) -> str:
        """Under which its gateway publishes."""
        return f"dstack-pha-{self.name}.phala.network"

    @property
    def images(self) -> tuple[Image, ...]:
        """The images it can run."""
        return tuple(
            image
            for image in IMAGES.values()
            if image.version >= self.oldest_image and (self.gpus > 0 or not image.requires_gpu)
        )


_NODES = (
    Node(3, "prod3", "US-WEST-1", 20_000, 40_960_000, 10_000, onchain=True),
    Node(5, "prod5", "US-WEST-1", 20_000, 40_960_000, 10_000),
    Node(6, "prod6", "US-WEST-1", 20_000, 40_960_000, 10_000),
    Node(7, "prod7", "US-WEST-1", 64, 131_072, 16, onchain=True, tcb="ConfigurationNeeded"),
    Node(
        18,
        "prod9",
        "US-WEST-1",
        4_096,
        8_388_608,
        2_048,
        oldest_image=(0, 5, 8),
        onchain=True,
        tcb="OutOfDate",
    ),
    Node(21, "use2", "US-EAST-1", 4_096, 8_388_608, 2_048, quote_version=5),
    Node(26, "gpu1", "US-EAST-1", 512, 4_194_304, 64, gpus=16, quote_version=5, firewall=False),
    Node(27, "gpu2", "US-WEST-1", 512, 4_194_304, 64, gpus=16),
)
NODES: Mapping[int, Node] = {node.id: node for node in _NODES}
"""Nodes by id; prod7 is small, so that a full node can be met. Those in the west quote in version
4, those in the east in version 5; prod7 needs configuration, prod9 is out of date."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier: the limits of a workspace; -1 is without limit."""

    instances: int
    vcpu: int
    memory_gb: int
    disk_gb: int


TIERS: Mapping[str, Tier] = {
    "LEVEL_1": Tier(8, 16, 32, 160),
    "LEVEL_2": Tier(16, 32, 64, 1_000),
    "PRO": Tier(64, 256, 512, 8_000),
    "ENTERPRISE": Tier(-1, -1, -1, -1),
}

KMS_SLUG = "phala-prod"
KMS_NUMBER = 1
KMS_TYPES = ("phala", "ethereum", "base", "legacy")
MIN_DISK_GB = 20
