"""Sections of a form's state, as plain data for its views; each is sent when it has changed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cvm_notebook.api.compose.corrections import (
    Correction,
    correction_of,
    line_of,
    misspelt_in,
)
from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.status import BOOT_STEPS
from cvm_notebook.deploy.deployment import Deployment, Provisioned
from cvm_notebook.deploy.error_fields import Errors, error_payload
from cvm_notebook.deploy.pricing import Catalogue, Price
from cvm_notebook.deploy.spec import MEANING, MOST_REPLICAS, VISIBILITY, Values, name_near
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.text import clean_text, counted
from cvm_notebook.widgets.base.view import ms

_BOOT: Final = (*BOOT_STEPS, "done")
_LONGEST_DIFF: Final = 400  # lines
_EMPTY: Final = frozenset({"name", "compose_file"})  # that these are missing is no error at once


@dataclass(frozen=True, slots=True)
class Look:
    """The analysis of a compose file; frozen.

    Attributes
    ----------
    services
        Names and images.
    variables, optional
        What it takes from its environment: what must be given, and what has a default.
    problem
        Why it is not a compose file.
    fix
        What was probably meant, where a slip is recognised.
    remarks
        Keys that Docker Compose would refuse, with those that they nearly are.
    diff
        How it differs from what was provisioned, line by line.
    """

    services: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ()
    problem: CvmError | None = None
    diff: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fix: Correction | None = None
    remarks: tuple[Correction, ...] = ()

    @classmethod
    def at(cls, text: str, provisioned: Provisioned | None) -> "Look":
        """Look at a compose text. Takes a moment where it is large."""
        diff = _diff(provisioned, text)
        if not text.strip():
            return cls(diff=diff)
        try:
            found = read_compose_file(text, "compose_file")
        except CvmError as error:
            return cls(problem=error.with_traceback(None), diff=diff, fix=correction_of(text))
        images = found.images.items()
        services = tuple((clean_text(n, 60), clean_text(image, 120)) for n, image in images)
        return cls(
            services,
            tuple(sorted(found.variables.needed)),
            diff=diff,
            optional=tuple(sorted(found.variables.optional)),
            remarks=misspelt_in(text),
        )


def _diff(provisioned: Provisioned | None, text: str) -> tuple[str, ...]:
    if provisioned is None:
        return ()
    was = provisioned.body["compose_file"]["docker_compose_file"]
    if was == text:
        return ()
    lines = difflib.unified_diff(
        was.splitlines(), text.splitlines(), "checked", "as it is now", n=2, lineterm=""
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
    payloads = {field: error_payload(error, field) for field, error in wrong.items()}
    if "compose_file" in payloads and look.problem is not None:
        payloads["compose_file"] |= _on_its_line(look)
    if "name" in payloads and (near := name_near(values.name)) is not None:
        payloads["name"]["use"] = near
    return {**answered, **payloads}


def _on_its_line(look: Look) -> dict[str, Any]:
    """Return where the compose file is wrong, and how that line was probably meant."""
    fix = look.fix
    if fix is None:
        return {"line": line_of(getattr(look.problem, "problem", ""))}
    return {
        "text": f"Line {fix.line}: {fix.why}.",
        "suggestions": [str(fix)],
        "line": fix.line,
        "fix": [fix.line, fix.why, fix.text],
    }


def values_section(values: Values) -> dict[str, Any]:
    """Return the values of the fields, but for the compose file's text."""
    fields = {name: getattr(values, name) for name in _SMALL}
    return {
        "values": fields,
        "switches": [[name, label, *MEANING[name]] for name, label in VISIBILITY.items()],
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


def offered(steps: Deployment, catalogue: Catalogue, price: Price) -> dict[str, Any]:
    """Return what the answer to step one means in words: the place, the price, the hash."""
    provisioned = steps.provisioned
    if provisioned is None:
        return {}
    answer = provisioned.answer
    node_id = answer.node_id if answer.node_id is not None else answer.teepod_id
    node = next((one for one in catalogue.nodes if one.id == node_id), None)
    named = [node.name, node.region_identifier] if node is not None else [node_id]
    place = ", ".join(clean_text(one, 60) for one in named if one not in (None, ""))
    return {
        "place": place,
        "hash": clean_text(answer.compose_hash or "", 80),
        "hour": price.payload()["hour"],
    }


def facts_of(provisioned: Provisioned) -> list[list[str]]:
    """Return the answer to step one as names and values."""
    answer = provisioned.answer
    node = answer.node_id if answer.node_id is not None else answer.teepod_id
    facts: Sequence[tuple[str, object]] = (
        ("name", provisioned.body.get("name")),
        ("app id", answer.app_id),
        ("compose hash", answer.compose_hash),
        ("size", answer.instance_type),
        ("node", node),
        ("OS image hash", answer.os_image_hash),
        ("device", answer.device_id),
        ("variables", ", ".join(provisioned.env_names)),
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


def static_rows(
    values: Values, names: Sequence[str], steps: Deployment, price: str
) -> list[tuple[str, str]]:
    """Return what was filled in and what came of it, for where nothing is live; nothing secret."""
    place = f"node {values.node_id}" if values.node_id is not None else values.region
    switches = [label.lower() for name, label in VISIBILITY.items() if getattr(values, name)]
    rows = [
        ("name", values.name),
        ("compose file", counted(len(values.compose_file.splitlines()), "line")),
        ("size", values.instance_type),
        ("place", place or "any region"),
        ("disk", f"{values.disk_size} GB" if values.disk_size else "default for this size"),
        ("OS", values.image or "latest compatible"),
        ("environment", ", ".join(names)),
        ("visibility", ", ".join(switches)),
        ("CVMs", str(values.replicas)),
        ("price", price),
        ("step", steps.phase),
    ]
    if steps.provisioned is not None:
        facts = facts_of(steps.provisioned)
        rows += [(name, value) for name, value in facts if name in {"app id", "compose hash"}]
    if steps.operation is not None:
        rows.append(("deployment", as_text(steps.operation.record, named=False)))
    rows += [("replica", as_text(one.record)) for one in steps.replicas]
    return [(name, value) for name, value in rows if value]
