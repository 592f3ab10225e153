"""``cvm-notebook report``: the report of a fleet as one HTML page, from a shell or from cron."""

import argparse
import ast
import html
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from papermill.inspection import inspect_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from cvm_notebook.cli.notebook_runner import ANSI, execute, shipped
from cvm_notebook.files import target_of, write_file

OK: Final = 0
GATES_FAILED: Final = 1
COULD_NOT_RUN: Final = 2
_NOTEBOOK: Final = "90_fleet_report.ipynb"
_CELL_WITHIN: Final = 600
_NOT_IN_THE_PAGE: Final = (
    "about"  # the tag of cells that tell of the notebook, and not of the fleet
)
_STYLE: Final = Path(__file__).with_name("report.css")
# Against injection by names in the fleet: the page runs no script, and loads nothing.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


class _Refused(Exception):  # noqa: N818 - it ends the command with a line, and is no fault
    """The report cannot be made as it is asked for."""


def report(options: argparse.Namespace) -> int:
    """Make the report, write it, print its verdict in a line; return the exit code."""
    output: Path = options.output
    try:
        notebook = _notebook(options)
        failed = _run(notebook)
        page = _page(notebook, failed).encode(errors="xmlcharrefreplace")
    except _Refused as error:
        return _say(COULD_NOT_RUN, f"could not run: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _say(COULD_NOT_RUN, f"could not run: {where}{error.strerror or error}")
    try:
        write_file(output, page)
    except OSError as error:
        return _say(COULD_NOT_RUN, f"could not write {output}: {error.strerror or error}")
    if failed is not None:
        return _say(GATES_FAILED, f"{failed}; see {output}")
    return _say(OK, f"all gates passed; see {output}")


def _say(code: int, text: str) -> int:
    print(f"cvm-notebook report: {text}", file=sys.stderr)
    return code


# --- the notebook ---------------------------------------------------------------------------------


def _notebook(options: argparse.Namespace) -> Any:
    """Return the report's notebook with its parameters set; refuse what cannot be done."""
    if options.output.is_dir():
        raise _Refused(f"{options.output} is a folder; name a file in it")
    folder = target_of(options.output).parent
    if not folder.is_dir():
        raise _Refused(f"there is no folder {folder}")
    path = str(shipped() / _NOTEBOOK)
    known = inspect_notebook(path)
    given = {"target": options.target, **_parameters(options.parameters, known)}
    return parameterize_notebook(load_notebook_node(path), given)


def _parameters(pairs: Sequence[str], known: Mapping[str, object]) -> dict[str, Any]:
    """Read ``name=value``: the value as Python writes it, or else as a text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, is_pair, text = pair.partition("=")
        if not is_pair:
            raise _Refused(f"-p {pair} is not name=value")
        if name not in known:
            raise _Refused(f"the report has no parameter {name!r}, but {', '.join(known)}")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # as Python's documents say
            found[name] = text
    return found


def _run(notebook: Any) -> str | None:
    """Execute the notebook in place; return a line about failed gates, None when all passed."""
    try:
        execute(notebook, Path.cwd(), env={}, timeout=_CELL_WITHIN)
    except CellExecutionError as error:
        first, *_ = ANSI.sub("", str(error.evalue)).splitlines() or [""]
        if error.ename == "GatesFailed":
            return first
        raise _Refused(f"{error.ename}: {first}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise _Refused(str(error).strip().splitlines()[0]) from error
    return None


# --- the page -------------------------------------------------------------------------------------


def _page(notebook: Any, failed: str | None) -> str:
    """Return the results without the code, as a page that needs nothing beside itself."""
    shown = [
        cell for cell in notebook.cells if _NOT_IN_THE_PAGE not in cell.metadata.get("tags", [])
    ]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(
        nbformat.v4.new_notebook(cells=shown, metadata=notebook.metadata)
    )
    parameters: Mapping[str, Any] = notebook.metadata.papermill.parameters
    alert = f'<p class="failed" role="alert">{html.escape(failed)}</p>\n' if failed else ""
    title = str(parameters.get("title") or "Fleet report")
    return _PAGE.format(
        policy=html.escape(_POLICY),
        title=html.escape(title),
        style=_STYLE.read_text(encoding="utf-8"),
        body=alert + re.sub(r"\n{3,}", "\n\n", body),
    )
