"""Scripts and style sheets of the widgets, joined from the files of this package; no build step."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from cvm_notebook.api.status import MOVING, STATUSES
from cvm_notebook.api.verbs import SPECS, Verb

# what destroys stands last
BUTTONS: Final[Mapping[Verb, str]] = {
    verb: spec.label
    for verb, spec in sorted(SPECS.items(), key=lambda item: item[1].goal == "gone")
    if spec.label
}


@cache
def module(*names: str) -> str:
    """Return scripts joined to one ES module, with what they know of statuses and verbs.

    Each is named by its folder in `widgets`: ``"base/logs"``.
    """
    moving = json.dumps([status for status in STATUSES if status in MOVING])
    known = f"const MOVING = new Set({moving}), VERBS = {json.dumps(list(BUTTONS.items()))};\n"
    return known + _joined([f"{name}.js" for name in ("base/common", "base/view_model", *names)])


@cache
def style(*names: str) -> str:
    """Return style sheets joined to one."""
    return _joined([f"{name}.css" for name in ("base/common", *names)])


def _joined(names: list[str]) -> str:
    widgets = files("cvm_notebook.widgets")
    return "\n".join((widgets / name).read_text("utf-8") for name in names)
