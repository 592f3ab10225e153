"""Starts: the templates and CVMs from which a form for a new CVM can be filled."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.deploy.preview import app_compose_of
from cvm_notebook.deploy.size import Size
from cvm_notebook.deploy.spec import VISIBILITY, Values
from cvm_notebook.deploy.templates import TEMPLATES, Template
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_MOST_CVMS: Final = 500  # in one list to choose from
_LONGEST_STEM: Final = 50
_SOURCES: Final = [[one.key, one.title, one.about] for one in TEMPLATES.values()]


@dataclass(frozen=True, slots=True)
class Start:
    """Initial values of a form, from a template or a CVM; frozen.

    Attributes
    ----------
    fields
        Values by field, but for the name.
    env_names
        The variables that are to be given a value.
    name
        Proposed for the CVM.
    message
        For the user, once the form is filled in.
    """

    fields: Mapping[str, Any]
    env_names: tuple[str, ...]
    name: str
    message: str

    @classmethod
    def of_template(cls, template: Template) -> "Start":
        """Return the start from a template."""
        names = template.env_names
        wants = f" Enter a value for {', '.join(names)}." if names else ""
        message = f"Filled in from the template {template.title}.{wants}"
        return cls(template.fields(), names, template.name, message)

    @classmethod
    def of_cvm(cls, cvm: Cvm) -> "Start":
        """Return the start from a CVM, without values of variables, which cannot be read back."""
        values = values_of(cvm)
        names = tuple(clean_text(n, 200) for n in app_compose_of(cvm).get("allowed_envs") or ())
        fields = {name: getattr(values, name) for name in _COPIED}
        if not values.instance_type:  # a size of its own
            del fields["instance_type"]
        place = cvm.node_info.region if cvm.node_info is not None else None
        fields |= {"region": place or "", "node_id": None}
        shown = clean_text(cvm.name or cvm.id or "", 80)
        wants = f" Values are not copied: enter {', '.join(names)}." if names else ""
        message = f"Copied from {shown}.{wants}"
        stem = re.sub(r"-copy(-\d+)?$", "", cvm.name or "cvm")[:_LONGEST_STEM].rstrip("-")
        return cls(fields, names, f"{stem}-copy", message)


_COPIED: Final = ("compose_file", "pre_launch_script", "instance_type", "disk_size", *VISIBILITY)


def values_of(cvm: Cvm) -> Values:
    """Return what runs as the values of a form."""
    compose, size = app_compose_of(cvm), Size.of(cvm)
    visibility = {
        name: compose.get(name, getattr(cvm, name)) for name in VISIBILITY if name != "listed"
    }
    switches: dict[str, Any] = {**visibility, "listed": cvm.listed}
    return replace(
        Values(),
        compose_file=str(compose.get("docker_compose_file") or ""),
        pre_launch_script=str(compose.get("pre_launch_script") or ""),
        instance_type=size.instance_type or "",
        disk_size=size.disk_size,
        image=(cvm.os.name if cvm.os is not None else None) or "",
        **{name: value for name, value in switches.items() if value is not None},
    )


@dataclass(slots=True)
class Starts:
    """The start a form was filled from, and the values that it replaced. Its owner locks it.

    Attributes
    ----------
    cvms
        Ids and names of the CVMs that can be copied; None before they were asked for.
    proposed
        The name that was filled in with the last start: the next one may replace it.
    before
        The values and names of variables that the last start replaced, while that can be undone.
    """

    cvms: tuple[tuple[str, str], ...] | None = None
    proposed: str = ""
    message: str = ""
    problem: str = ""
    is_reading: bool = False
    before: tuple[Values, tuple[str, ...]] | None = field(default=None)

    def name_for(self, start: Start, now: str) -> str:
        """Return the name to fill in; a typed name stays."""
        if now.strip() and now != self.proposed:
            return now
        taken = {name for _, name in self.cvms or ()}
        names = [start.name, *(f"{start.name}-{n}" for n in range(2, len(taken) + 3))]
        return next(name for name in names if name not in taken)

    def payload(self) -> dict[str, Any]:
        """Return the state for a view."""
        return {
            "templates": _SOURCES,
            "cvms": self.cvms,
            "message": self.message,
            "problem": self.problem,
            "reading": self.is_reading,
            "undo": self.before is not None,
        }


def copyable(client: "Client", fleet: FleetEngine | None) -> tuple[tuple[str, str], ...]:
    """Return the CVMs that can be copied, by name: those that are known, else they are listed.

    Raises
    ------
    CvmError
        They cannot be listed.
    """
    known: Iterable[tuple[str | None, str | None]] = ()
    if fleet is not None:
        known = ((row.id, row.name) for row in fleet.store.snapshot())
    named = {cvm_id: name or cvm_id for cvm_id, name in known if cvm_id}
    if not named:
        named = {one.id: one.name or one.id for one in client.list_cvms() if one.id}
    if not named:
        raise CvmError("There is no CVM to copy yet", hint="Start from a template.")
    pairs = sorted(((i, clean_text(n, 80)) for i, n in named.items()), key=lambda pair: pair[1])
    return tuple(pairs[:_MOST_CVMS])
