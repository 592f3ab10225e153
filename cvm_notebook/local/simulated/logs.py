"""Write the logs of a CVM: lines that are a pure function of the CVM and the moment.

Nothing is stored. Line ``n`` of a log stands at a moment that can be computed, so the last lines
of a log that has been running for a year cost no more than those of a minute.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, Final

from cvm_notebook.local.core.catalogue import NODES
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.engine.lifecycle import (
    BOOT_STEPS,
    STARTING,
    operation_of,
    plan,
    view,
)
from cvm_notebook.local.simulated.log_texts import HEARTBEATS, KERNEL, SHUTDOWN, STAGES, program_of

LONGEST: Final = 10_000
"""As many lines are given at once at most."""
_HEARTBEAT_SECONDS: Final = 90.0
_STARTUP_GAP: Final = 0.35
_KERNEL_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log: its time, its stream (stdout or stderr), and its text."""

    at: float
    channel: str
    text: str


def _written(at: float, channel: str, text: str) -> Line:
    # In microseconds, as printed: a query for what came after a line does not repeat that line.
    return Line(round(at, 6), channel, text)


@dataclass(frozen=True, slots=True)
class Times:
    """The times at which a CVM last began to boot, was up, began to stop, and had stopped."""

    boot_at: float | None
    up_at: float | None
    going_down_at: float | None
    down_at: float | None
    booting: float
    """How long a boot takes."""


def times_of(cvm: Cvm, now: float, speed: float) -> Times:
    """Read out of a CVM's newest operation when its logs begin and end."""
    operation = operation_of(cvm)
    planned = plan(operation.kind, operation.origin)
    seen = view(operation, now, speed)
    booting = STARTING.seconds / speed
    if STARTING in planned.phases:
        failed = seen.ends_at if operation.final not in (None, "running") else None
        up_at = None if failed else seen.ends_at
        return Times(seen.ends_at - booting, up_at, failed, failed, booting)
    if cvm.first_boot_at is None:
        return Times(None, None, None, None, booting)
    boot_at = cvm.first_boot_at - booting
    return Times(boot_at, cvm.first_boot_at, operation.began_at, seen.ends_at, booting)


class Log:
    """One log, from which any part can be read: a beginning, what goes on and on, and an end."""

    def __init__(self, head: Iterable[Line], rhythm: "Rhythm | None", tail: list[Line]) -> None:
        self._head = sorted(head, key=lambda line: line.at)
        self._rhythm = rhythm
        self._tail = tail

    def read(self, after: float, until: float, count: int = LONGEST) -> list[Line]:
        """Give the lines written after one moment and up to another, at most the last ``count``."""
        newest_first = takewhile(lambda line: line.at > after, self._backwards(until))
        return list(islice(newest_first, min(count, LONGEST)))[::-1]

    def _backwards(self, until: float) -> Iterator[Line]:
        yield from (line for line in reversed(self._tail) if line.at <= until)
        if self._rhythm is not None:
            yield from self._rhythm.backwards(until)
        yield from (line for line in reversed(self._head) if line.at <= until)


NOTHING: Final = Log([], None, [])


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Lines that come again and again, from one moment to another."""

    seed: str
    texts: tuple[str, ...]
    begins: float
    ends: float | None
    seconds: float
    channel: str = "stdout"

    def backwards(self, until: float) -> Iterator[Line]:
        """Give the lines up to a moment, the newest first."""
        end = until if self.ends is None else min(until, self.ends)
        newest = math.floor((end - self.begins) / self.seconds)
        for number in range(newest, 0, -1):
            line = self._line(number)
            if line.at <= end:
                yield line

    def _line(self, number: int) -> Line:
        dice = hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=8).digest()
        late = dice[0] / 256 * 0.9 * self.seconds
        numbers = {name: int.from_bytes(dice[i : i + 2]) % 1000 for name, i in _NUMBERS}
        text = self.texts[dice[7] % len(self.texts)].format(n=number, **numbers)
        return _written(self.begins + number * self.seconds + late, self.channel, text)


_NUMBERS: Final = (("a", 1), ("b", 3), ("c", 5))


def serial(cvm: Cvm, times: Times, environment: str = "none") -> Log:
    """Give the console of the machine, which says what it found in its environment."""
    if times.boot_at is None:
        return NOTHING
    facts = _facts(cvm) | {"environment": environment}
    head = list(_spread(KERNEL, times.boot_at, times.booting * _KERNEL_SHARE, facts))
    stage = times.booting / len(BOOT_STEPS)
    for place, step in enumerate(BOOT_STEPS):
        begins = times.boot_at + max(place * stage, times.booting * _KERNEL_SHARE)
        head += _spread((f"boot: {step}", *STAGES[step]), begins, stage / 2, facts)
    for place, service in enumerate(cvm.services):
        at = times.boot_at + times.booting * (0.94 + 0.05 * place / len(cvm.services))
        text = f"app-compose.sh: Container dstack-{service['name']}-1  Started"
        head.append(_written(at, "stdout", text))
    if times.up_at is None:
        reason = cvm.op_error or "stopped before it was up"
        down = times.down_at if times.down_at is not None else times.boot_at + times.booting
        return Log([line for line in head if line.at < down], None, _failure(down, reason))
    head.append(_written(times.up_at, "stdout", "boot: done"))
    rhythm = Rhythm(
        f"serial:{cvm.vm_uuid}", HEARTBEATS, times.up_at, times.going_down_at, _HEARTBEAT_SECONDS
    )
    return Log(head, rhythm, _going_down(times, facts))


def agent(cvm: Cvm, times: Times, channel: str) -> Log:
    """Give what the supervisor of the machine writes to its stdout or stderr."""
    if times.boot_at is None:
        return NOTHING
    if channel == "stderr":
        reason = cvm.op_error if times.up_at is None and times.down_at is not None else None
        failure = _failure(times.down_at or times.boot_at, reason) if reason else []
        return Log([], None, [_written(line.at, channel, line.text) for line in failure])
    head = [_written(times.boot_at, channel, f"supervisor: starting CVM {cvm.name}")]
    if times.up_at is not None:
        head.append(_written(times.up_at, channel, f"supervisor: CVM {cvm.name} is up"))
    tail = []
    if times.going_down_at is not None and times.down_at is not None:
        tail = [
            _written(times.going_down_at, channel, f"supervisor: stopping CVM {cvm.name}"),
            _written(times.down_at, channel, "supervisor: qemu exited with status 0"),
        ]
    return Log(head, None, tail)


def container(cvm: Cvm, service: dict[str, Any], times: Times) -> Log:
    """Give what one container writes."""
    if times.boot_at is None or times.up_at is None:
        return NOTHING
    program = program_of(service["image"] or service["name"])
    channel = "stderr" if program.stderr else "stdout"
    begins = times.boot_at + 0.95 * times.booting
    seed = f"{cvm.vm_uuid}/{service['name']}"
    facts = {"a": 3, "b": 5, "c": 7, "n": 1}
    head = [
        _written(line.at, channel, line.text)
        for line in _spread(program.starts, begins, _STARTUP_GAP * len(program.starts), facts)
    ]
    first = head[-1].at
    down_at = times.going_down_at
    rhythm = Rhythm(seed, program.goes_on, first, down_at, program.seconds, channel)
    if down_at is None:
        return Log(head, rhythm, [])
    end = _written(down_at, channel, "received SIGTERM, shutting down")
    return Log([line for line in head if line.at < down_at], rhythm, [end])


def _facts(cvm: Cvm) -> dict[str, Any]:
    node = NODES[cvm.node_id]
    return {
        "vcpu": cvm.vcpu,
        "memory_kb": cvm.memory * 1024,
        "disk": cvm.disk_size,
        "disk_blocks": cvm.disk_size * (1 << 21),
        "name": cvm.name,
        "app": cvm.app_id,
        "compose": cvm.compose_hash,
        "domain": node.domain,
        "fs": cvm.storage_fs,
        "octet": cvm.id % 250,
    }


def _spread(
    texts: tuple[str, ...], begins: float, seconds: float, facts: dict[str, Any]
) -> Iterator[Line]:
    for place, text in enumerate(texts):
        yield _written(begins + seconds * place / len(texts), "stdout", text.format(**facts))


def _failure(at: float, reason: str) -> list[Line]:
    return [
        _written(at, "stdout", f"app-compose.sh: error: {reason}"),
        _written(at, "stdout", "systemd[1]: app-compose.service: Failed with result 'exit-code'."),
    ]


def _going_down(times: Times, facts: dict[str, Any]) -> list[Line]:
    if times.going_down_at is None or times.down_at is None:
        return []
    seconds = times.down_at - times.going_down_at
    return list(_spread(SHUTDOWN, times.going_down_at, seconds, facts))
