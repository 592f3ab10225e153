"""Sections of a form's state, as plain data for its views; each is sent when it has changed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.status import BOOT_STEPS
from cvm_notebook.deploy.deployment import Deployment, Provisioned
from cvm_notebook.deploy.error_fields import Errors, error_payload
from cvm_notebook.deploy.spec import MOST_REPLICAS, VISIBILITY, Values
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.text import clean_text

_BOOT: Final = (*BOOT_STEPS, "done")
_LONGEST_DIFF: Final = 400  # lines
_EMPTY: Final = frozenset({"name", "compose_file"})  # that these are missing is no error at once


@dataclass(frozen=True, slots=True)
class Look:
    """What a closer look at the compose file has shown; frozen.

    Attributes
    ----------
    services
        Names and images.
    variables
        What it takes from its environment.
    problem
        Why it is no compose file.
    diff
        How it differs from what was provisioned, line by line.
    """

    services: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ()
    problem: CvmError | None = None
    diff: tuple[str, ...] = ()

    @classmethod
    def at(cls, text: str, provisioned: Provisioned | None) -> "Look":
        """Look at a compose text. Takes a moment where it is large."""
        diff = _diff(provisioned, text)
        if not text.strip():
            return cls(diff=diff)
        try:
            found = read_compose_file(text, "compose_file")
        except CvmError as error:
            return cls(problem=error.with_traceback(None), diff=diff)
        images = found.images.items()
        services = tuple((clean_text(n, 60), clean_text(image, 120)) for n, image in images)
        return cls(services, tuple(sorted(found.variables.needed)), None, diff)


def _diff(provisioned: Provisioned | None, text: str) -> tuple[str, ...]:
    if provisioned is None:
        return ()
    was = provisioned.body["compose_file"]["docker_compose_file"]
    if was == text:
        return ()
    lines = difflib.unified_diff(
        was.splitlines(), text.splitlines(), "provisioned", "as it is now", n=2, lineterm=""
    )
    return tuple(line for line, _ in zip(lines, range(_LONGEST_DIFF), strict=False))


def field_errors(values: Values, look: Look, answered: Errors) -> dict[str, dict[str, Any]]:
    """Return what is wrong, by field: what is typed, then what was answered to it."""
    wrong = {
        field: error
        for field, error in values.problems().items()
        if field != "compose_file" and (field not in _EMPTY or getattr(values, field).strip())
    }
    if look.problem is not None:
        wrong["compose_file"] = look.problem
    return {
        **{field: error_payload(error, field) for field, error in wrong.items()},
        **answered,
    }


def values_section(values: Values) -> dict[str, Any]:
    """Return the values of the fields, but for the compose file's text."""
    fields = {name: getattr(values, name) for name in _SMALL}
    return {
        "values": fields,
        "switches": [[name, label] for name, label in VISIBILITY.items()],
        "most": MOST_REPLICAS,
    }


_SMALL: Final = tuple(name for name in Values.__dataclass_fields__ if name != "compose_file")


def step_section(
    steps: Deployment, values: Values, names: tuple[str, ...], look: Look
) -> dict[str, Any]:
    """Return where the two steps stand."""
    provisioned, operation = steps.provisioned, steps.operation
    step: dict[str, Any] = {"phase": steps.phase}
    if provisioned is not None:
        over = steps.phase not in {"provisioned", "provisioning", "committing"}
        changed = [] if over else provisioned.changed(values.body(names))
        step["provision"] = {
            "rows": facts_of(provisioned),
            "until": ms(provisioned.until),
            "changed": changed,
            "diff": [] if over else list(look.diff),
        }
    if operation is not None and steps.phase in {"committing", "booting", "running", "failed"}:
        step["boot"] = boot_section(operation)
    if steps.cvm is not None:
        endpoints = [[e.app, e.instance] for e in steps.cvm.endpoints or ()]
        step["endpoints"] = [[clean_text(u, 300) for u in pair if u] for pair in endpoints]
    step["replicas"] = [as_text(one.record) for one in steps.replicas]
    return step


def facts_of(provisioned: Provisioned) -> list[list[str]]:
    """Return the answer to step one as names and values."""
    answer = provisioned.answer
    node = answer.node_id if answer.node_id is not None else answer.teepod_id
    facts: Sequence[tuple[str, object]] = (
        ("app id", answer.app_id),
        ("compose hash", answer.compose_hash),
        ("instance type", answer.instance_type),
        ("node", node),
        ("OS image hash", answer.os_image_hash),
        ("device", answer.device_id),
    )
    return [[name, clean_text(value, 140)] for name, value in facts if value not in (None, "")]


def boot_section(operation: Operation) -> dict[str, Any]:
    """Return how far an operation is, and how far its CVM has booted."""
    record = operation.record
    at = _BOOT.index(record.progress) if record.progress in _BOOT else -1
    if record.state == "reached":
        at = len(_BOOT)
    marks = [
        [name, "done" if i < at else "now" if i == at else "next"] for i, name in enumerate(_BOOT)
    ]
    return {
        "text": as_text(record, named=False),
        "state": record.state,
        "status": clean_text(record.status or "", 40),
        "steps": marks,
        "since": ms(record.asked_at),
        "until": ms(record.ended_at) if record.ended_at is not None else None,
        "id": record.made_id,
        "request_id": record.request_id,
    }


def ms(moment: datetime) -> int:
    """Return a moment in milliseconds."""
    return int(moment.timestamp() * 1000)


def static_rows(
    values: Values, names: Sequence[str], steps: Deployment, price: str
) -> list[tuple[str, str]]:
    """Return what was filled in and what came of it, for where nothing is live; nothing secret."""
    place = f"node {values.node_id}" if values.node_id is not None else values.region
    switches = [label for name, label in VISIBILITY.items() if getattr(values, name)]
    rows = [
        ("name", values.name),
        ("compose file", f"{len(values.compose_file.splitlines())} lines"),
        ("instance type", values.instance_type),
        ("where", place or "the service chooses"),
        ("disk", f"{values.disk_size} GB" if values.disk_size else "as the instance type has it"),
        ("image", values.image or "the newest that fits"),
        ("environment", ", ".join(names)),
        ("visible", "; ".join(switches)),
        ("replicas", str(values.replicas)),
        ("price", price),
        ("step", steps.phase),
    ]
    if steps.provisioned is not None:
        rows += [(name, value) for name, value in facts_of(steps.provisioned)[:2]]
    if steps.operation is not None:
        rows.append(("commit", as_text(steps.operation.record, named=False)))
    rows += [("replica", as_text(one.record)) for one in steps.replicas]
    return [(name, value) for name, value in rows if value]
