"""Say how busy a CVM is: figures that move, each a pure function of the CVM and the moment."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cvm_notebook.local.core.catalogue import IMAGES
from cvm_notebook.local.core.database import Cvm

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_TAU: Final = 2 * math.pi
_WARM_UP_SECONDS: Final = 300.0
_SYSTEM_MEMORY: Final = 180 * _MIB
_SYSTEM_DISK: Final = 2 * _GIB


@dataclass(frozen=True, slots=True)
class Usage:
    """The resource usage of a running CVM at one moment; sizes in bytes."""

    cpu_percent: float
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    egress: int
    load: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Character:
    """The constants of a CVM's simulated load: its level, and the phases of its waves."""

    cpu: float
    memory: float
    disk: float
    egress_per_second: float
    phases: tuple[float, float, float]


def usage(cvm: Cvm, now: float, up: float) -> Usage:
    """Say what a CVM uses that has been running for ``up`` seconds."""
    character = _character(cvm.vm_uuid)
    memory_total = cvm.memory * _MIB
    disk_total = cvm.disk_size * _GIB
    warm = 1 - math.exp(-max(up, 0.0) / _WARM_UP_SECONDS)
    swing = 0.05 * _wave(character.phases[1], now, 1_900)
    memory = _SYSTEM_MEMORY + (memory_total - _SYSTEM_MEMORY) * warm * (character.memory + swing)
    disk = _SYSTEM_DISK + (disk_total - _SYSTEM_DISK) * character.disk * _filling(up)
    return Usage(
        cpu_percent=round(100 * _cpu(character, now), 2),
        memory_used=int(memory),
        memory_total=memory_total,
        disk_used=int(disk),
        disk_total=disk_total,
        egress=int(character.egress_per_second * _swung(up)),
        load=tuple(  # type: ignore[arg-type]  # three in, three out
            round(cvm.vcpu * _mean_cpu(character, now, minutes), 2) for minutes in (1, 5, 15)
        ),
    )


def resource_usage(cvm: Cvm, now: float, up: float) -> dict[str, Any]:
    """Format the use of a running CVM as a batch status does."""
    used = usage(cvm, now, up)
    return {
        "cpu_percent": used.cpu_percent,
        "memory_used_bytes": used.memory_used,
        "memory_total_bytes": used.memory_total,
        "egress_bytes": used.egress,
    }


def system_info(cvm: Cvm, now: float, up: float) -> dict[str, Any]:
    """Format the use of a running CVM as its guest agent does; loads are in hundredths."""
    used = usage(cvm, now, up)
    free = used.memory_total - used.memory_used
    one, five, fifteen = (round(100 * load) for load in used.load)
    return {
        "os_name": "DStack",
        "os_version": ".".join(map(str, IMAGES[cvm.image].version)),
        "kernel_version": "6.9.0-dstack",
        "cpu_model": _CPU_MODELS[cvm.gpus > 0],
        "num_cpus": cvm.vcpu,
        "total_memory": used.memory_total,
        "available_memory": free,
        "used_memory": used.memory_used,
        "free_memory": free * 3 // 4,
        "total_swap": 0,
        "used_swap": 0,
        "free_swap": 0,
        "uptime": int(up),
        "loadavg_one": one,
        "loadavg_five": five,
        "loadavg_fifteen": fifteen,
        "disks": [
            {
                "name": "data" if cvm.storage_fs == "zfs" else "/dev/vdb",
                "mount_point": "/tapp",
                "total_size": used.disk_total,
                "free_size": used.disk_total - used.disk_used,
            }
        ],
    }


_CPU_MODELS: Final[Mapping[bool, str]] = {
    False: "INTEL(R) XEON(R) GOLD 6554S (simulated by LocalCloud)",
    True: "INTEL(R) XEON(R) PLATINUM 8558 (simulated by LocalCloud)",
}


@lru_cache(maxsize=16_384)
def _character(vm_uuid: str) -> _Character:
    dice = hashlib.sha256(f"character:{vm_uuid}".encode()).digest()
    return _Character(
        # Most machines idle, a few are hot: squaring makes it so.
        cpu=0.02 + 0.75 * (dice[0] / 255) ** 2,
        memory=0.12 + 0.7 * dice[1] / 255,
        disk=0.05 + 0.8 * dice[2] / 255,
        egress_per_second=200 + 40_000 * (dice[3] / 255) ** 3,
        phases=(dice[4] / 255 * _TAU, dice[5] / 255 * _TAU, dice[6] / 255 * _TAU),
    )


def _cpu(character: _Character, now: float) -> float:
    daily = 0.25 * math.sin(_TAU * now / 86_400 + character.phases[0])
    minutes = 0.3 * _wave(character.phases[1], now, 610)
    seconds = 0.2 * _wave(character.phases[2], now, 47)
    return min(1.0, max(0.002, character.cpu * (1 + daily + minutes + seconds)))


def _mean_cpu(character: _Character, now: float, minutes: int) -> float:
    return sum(_cpu(character, now - 60 * minutes * part / 4) for part in range(4)) / 4


def _wave(phase: float, now: float, period: float) -> float:
    """Swing between -1 and 1, less regularly than a sine."""
    turn = _TAU * now / period
    return (math.sin(turn + phase) + math.sin(2.7 * turn + 3 * phase)) / 2


def _swung(up: float) -> float:
    """Grow like ``up``, faster and slower by turns, but never back: an integral of 1 + sin/2."""
    speed = _TAU / 3_600
    return max(up, 0.0) + (1 - math.cos(speed * max(up, 0.0))) / (2 * speed)


def _filling(up: float) -> float:
    """Tell how much of its usual disk a CVM has filled: half at once, the rest in a week."""
    return 0.5 + 0.5 * min(1.0, max(up, 0.0) / (7 * 86_400))
