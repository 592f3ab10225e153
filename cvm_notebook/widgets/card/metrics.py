"""Metrics in a card: meters of the present, charts of the past."""

from math import isfinite
from typing import Any, Final

from cvm_notebook.api.models.guest import SystemInfo
from cvm_notebook.live.store.figures import FRESH, Figures, FigureState, Point
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.text import clean_text

IDLE_AFTER_S: Final = 1_800.0  # as the table counts
_GIB: Final = 2**30
_CHARS: Final = 200
_DISKS: Final = 4
_PRIVATE: Final = "No metrics: system info is private for this app."


def meters_of(info: SystemInfo) -> list[dict[str, Any]]:
    """Return a guest's figures as meters: what is used of how much, 0 to 1, and in words."""
    meters = [_load(info), _memory(info)]
    for disk in info.disks[:_DISKS]:
        total, free = disk.total_size, disk.free_size
        if total and free is not None:
            place = clean_text(disk.mount_point or disk.name or "", 30)
            meters.append(_bytes(f"disk {place}".strip(), total - free, total))
    return [one for one in meters if one]


def stats_state(store: FleetStore, cvm_id: str, now: float) -> dict[str, Any]:
    """Return the meters of a running CVM, or why there are none, and of when they are.

    Returns
    -------
    dict
        ``meters``; ``error`` in words, or None; ``state`` of the figures; ``at`` in milliseconds,
        which changes with each measurement.
    """
    figures, sample = store.figures.latest.get(cvm_id), store.figures.sample(cvm_id)
    fresh = sample is not None and sample.info is not None and now - sample.received <= FRESH
    return {
        "meters": meters_of(sample.info) if fresh and sample and sample.info else [],
        "error": _why(figures),
        "state": "unknown" if figures is None else figures.state,
        "at": None if sample is None else int(sample.at * 1000),
    }


def _why(figures: Figures | None) -> str | None:
    if figures is None or figures.state == "known":
        return None
    if figures.state == "private":
        return _PRIVATE
    return f"Could not read metrics: {clean_text(figures.why, _CHARS)}" if figures.why else None


def idle_for(figures: Figures | None, now: float) -> int | None:
    """Return for how many seconds a CVM is idle, where that is long; else None."""
    if figures is None or figures.idle_for is None or not figures.is_fresh(now):
        return None
    return int(figures.idle_for) if figures.idle_for >= IDLE_AFTER_S else None


def history(store: FleetStore, cvm_id: str) -> dict[str, Any]:
    """Return all that is kept of how busy a CVM was, and of how much there is.

    Returns
    -------
    dict
        ``points``, the oldest first: milliseconds since 1970, CPU, memory and disk as shares or
        None, and whether the time before was observed; ``sizes``: vCPUs, and bytes of memory and
        disk.
    """
    sample = store.figures.sample(cvm_id)
    info = sample.info if sample is not None else None
    disks = [] if info is None else [one.total_size or 0 for one in info.disks]
    state: FigureState = "unknown"
    if (figures := store.figures.latest.get(cvm_id)) is not None:
        state = figures.state
    return {
        "points": [_point(one) for one in store.figures.points(cvm_id)],
        "sizes": {
            "cpu": None if info is None else info.num_cpus,
            "memory": None if info is None else info.total_memory,
            "disk": sum(disks) or None,
        },
        "state": state,
    }


def _point(point: Point) -> list[Any]:
    shares = [_share(one) for one in (point.cpu, point.memory, point.disk)]
    return [int(point.at * 1000), *shares, point.covers > 0]


def _share(value: float) -> float | None:
    return round(value, 4) if isfinite(value) else None


def _load(info: SystemInfo) -> dict[str, Any] | None:
    load, cpus = info.load(), info.num_cpus
    if load is None or not cpus:
        return None
    words = f"{load:.2f} of {cpus} vCPU" + ("s" if cpus != 1 else "")
    return {"label": "CPU load", "part": min(1.0, load / cpus), "text": words}


def _memory(info: SystemInfo) -> dict[str, Any] | None:
    used, total = info.memory_used, info.total_memory
    return _bytes("memory", used, total) if total and used is not None else None


def _bytes(label: str, used: int, total: int) -> dict[str, Any]:
    part = min(1.0, max(0.0, used / total))
    text = f"{used / _GIB:.1f} of {total / _GIB:.1f} GB"
    return {"label": label, "part": round(part, 3), "text": text}
