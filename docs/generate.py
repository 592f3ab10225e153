"""Pages that stand in no file: made of the code and the notebooks, so that they cannot go stale.

Pure functions from what there is to Markdown; `hooks.py` puts the pages into the site.
"""

import argparse
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import DictLoader
from nbconvert import MarkdownExporter

import cvm_notebook.frames
from cvm_notebook.api.errors.codes import CODES
from cvm_notebook.cli import main as cli
from cvm_notebook.frames.schema import Table, kind_of
from cvm_notebook.live.columns import FRAMED, INDEX
from cvm_notebook.local.faults.kinds import EVIDENCE, ROUTES, RULES
from cvm_notebook.magics.arguments import help_text, verbs

ROOT = Path(__file__).resolve().parents[1]

# --- tables --------------------------------------------------------------------------------------


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: object) -> str:
    """Write something as code; nothing where it is empty."""
    return f"`{text}`" if str(text) else ""


# --- the reference -------------------------------------------------------------------------------

_GROUPS = {
    "01": "Before a CVM is made, and compose hashes",
    "02": "Nodes, images and GPUs",
    "03": "What is done to CVMs",
    "04": "The workspace and its purse",
    "05": "API keys",
    "06": "Sign-in",
}


def error_codes() -> str:
    """List every error code of the service, what it means and what to do."""
    page = """\
# Error codes

The service names most refusals by a code. An error that is raised here carries it as `error_code`,
says it in its text, and has a next step: the service's own where it gives one, else the one below.
[Errors](errors.md) shows the classes.

Compare with the names of `cvm.error_codes`, as in
`error.error_code == cvm.error_codes.CVM_APP_ID_CONFLICT`.
"""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for value, known in CODES.items():
        row = (code(value), code(known.name), known.sentence, known.next_step)
        groups.setdefault(value.split("-")[1], []).append(row)
    for group, rows in groups.items():
        page += f"\n## {_GROUPS[group]}\n\n"
        page += table(("code", "name", "what happened", "what to do"), rows) + "\n"
    return page


def schemas() -> str:
    """List the columns of every frame, their dtypes and meanings."""
    page = """\
# Schemas of the frames

Columns, their order and their dtypes never depend on the data: a frame of no CVM has the same ones
as a frame of ten thousand. What the service did not say is missing (`<NA>`), never zero or empty.
Times are UTC. Amounts are US dollars as `float64`; `money="decimal"` gives `decimal128(18, 6)` of
pyarrow, or Decimal objects where that is not installed. A category holds a fixed set of words.

`frame.attrs["cvm"]` repeats the name of the schema. [Frames](frames.md) has the functions.

## fleet_frame

The fleet, one row each. `fleet.frame()` and `cvm.fleet_frame()` show the narrow columns;
`columns="wide"` gives all of them, and a list of names gives those.

"""
    rows = [
        (code(c.name), *_kind(kind_of(c).dtype, c.doc), "narrow" if c.narrow else "")
        for c in FRAMED.values()
    ]
    index = (f"{code(INDEX.name)} (index)", code("string"), "the CVM", "narrow")
    page += table(("column", "dtype", "meaning", "view"), [index, *rows]) + "\n"
    for made in frames():
        page += f"\n## {made.name}\n\n{made.summary}\n\n"
        rows = [
            (
                code(f.name) + (" (index)" if f in made.table.index else ""),
                *_kind(f.kind.dtype, f.doc),
            )
            for f in made.table.index + made.table.fields
        ]
        page += table(("column", "dtype", "meaning"), rows) + "\n"
    return page


def _kind(dtype: str, meaning: str) -> tuple[str, str]:
    """Return the dtype for a narrow column, and the meaning with the words of a category."""
    if not dtype.startswith("category("):
        return code(dtype), meaning
    words = dtype.removeprefix("category(").removesuffix(")").split(", ")
    return code("category"), f"{meaning}: {', '.join(map(code, words))}"


@dataclass(frozen=True)
class Frame:
    """A frame: its schema, and the function that makes it."""

    name: str
    summary: str
    table: Table[Any]


def frames() -> Iterator[Frame]:
    """Yield every table that is declared in the frames' room."""
    for found in pkgutil.walk_packages(cvm_notebook.frames.__path__, "cvm_notebook.frames."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if isinstance(value, Table) and value.schema.split("/")[0] in _makers(module):
                maker = _makers(module)[value.schema.split("/")[0]]
                summary = (inspect.getdoc(maker) or "").splitlines()[0]
                yield Frame(maker.__name__, summary, value)


def _makers(module: object) -> dict[str, Callable[..., object]]:
    """Return the functions of a module by the name of the schema they make."""
    return {
        name.removesuffix("_frame"): value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == getattr(module, "__name__", "")
    }


def command_line() -> str:
    """Say what the command takes, as its parsers do."""
    page = "# Command line\n\n" + _help(parser := cli._parser())  # noqa: SLF001 - as it is
    for name, command in commands(parser).items():
        page += f"\n## cvm-notebook {name}\n\n{_help(command)}"
    return page


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            return dict(action.choices)
    return {}


def _help(parser: argparse.ArgumentParser) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "84"  # not as wide as the terminal that happens to build
    try:
        return f"```text\n{parser.format_help()}```\n"
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def faults() -> str:
    """List what LocalCloud can be made to do wrong."""
    kinds = [
        (code(kind), rule.does, code("" if rule.default is None else repr(rule.default)))
        for kind, rule in RULES.items()
        if kind not in EVIDENCE
    ]
    evidence = [(code(kind), rule.does) for kind, rule in RULES.items() if kind in EVIDENCE]
    routes = [(code(name), ", ".join(map(code, texts))) for name, texts in ROUTES.items()]
    return f"""\
# Faults of LocalCloud

A fault is a mapping, given to `cloud.inject(...)`, to `LocalCloud(faults=[...])`, or in a JSON or
YAML file to `cvm-notebook cloud --faults FILE`. It has a `kind`; a `route` says which requests it
meets, `times` how many of them (once by default; null is all until it is cleared), and `skip` how
many pass before. What else a kind needs is its `arg`.

## Kinds

{table(("kind", "what happens", "arg, if not given"), kinds)}

## Kinds of evidence

They alter what CVMs [attest](../explanation/localcloud.md#what-its-cvms-attest), and hold until
they are cleared unless `times` says otherwise; several can hold at once. `cvm` names the CVM whose
evidence it is, by its name or any of its ids.

{table(("kind", "what happens"), evidence)}

**Collateral is kept by who verifies** until its first document ends, so `pck_revoked`,
`collateral_expired` and `no_collateral` are met only by who asks for it again: `refresh=True` of
`cvm.verify`, `attestation_frame` and `fleet.verify`. What a fault has served is kept, too, that of
`other_root` among it: ask again once more after it was cleared.

## Routes

A name, or `"METHOD /path"` below the API's prefix, where `*` is one segment or any method, `**` is
any rest, and `?name=value` must be asked.

{table(("name", "requests"), routes)}
"""


def magics() -> str:
    """Say what the magics take, as their parsers do."""
    page = """\
# Magics

`%load_ext cvm_notebook` adds them. They act on the variable `fleet` of the notebook, and return
what the methods of a [fleet](fleet.md) do: `op = %cvm stop web-1` is an [operation](operations.md).
[Use the magics](../how-to/magics.md) shows them at work.
"""
    for verb in verbs():
        sign = "%%" if verb == "deploy" else "%"
        page += f"\n## {sign}cvm {verb}\n\n```text\n{help_text(verb).rstrip()}\n```\n"
    return page


REFERENCE: dict[str, Callable[[], str]] = {
    "reference/error-codes.md": error_codes,
    "reference/schemas.md": schemas,
    "reference/command-line.md": command_line,
    "reference/faults.md": faults,
    "reference/magics.md": magics,
}

# --- the notebooks -------------------------------------------------------------------------------

_TEMPLATE = """\
{%- extends 'markdown/index.md.j2' -%}
{%- block output_group -%}
{% if cell.outputs %}<div class="outputs" markdown="1">
{{ super() }}
</div>
{% endif %}
{%- endblock output_group -%}
{% block stream %}
```text
{{ output.text | strip_ansi | trim('\\n') }}
```
{% endblock stream %}
{% block data_text scoped %}
```text
{{ output.data['text/plain'] | trim('\\n') }}
```
{% endblock data_text %}
{% block data_html scoped %}
<div class="frame" tabindex="0" markdown="0">{{ output.data['text/html'] | one_block }}</div>
{% endblock data_html %}
"""


@dataclass(frozen=True)
class Page:
    """A notebook as a page: its Markdown, and the pictures beside it by their names."""

    title: str
    text: str
    pictures: dict[str, bytes]


def notebooks() -> list[Path]:
    """Return the notebooks in the order in which they are read: the numbered ones first."""
    return sorted(
        (ROOT / "notebooks").glob("*.ipynb"), key=lambda path: (path.stem >= "a", path.stem)
    )


def notebook(path: Path) -> Page:
    """Write a notebook, as it is committed with its outputs, as a page."""
    exporter = MarkdownExporter(
        extra_loaders=[DictLoader({"page.md.j2": _TEMPLATE})],
        template_file="page.md.j2",
        filters={"one_block": _one_block},
    )
    text, about = exporter.from_notebook_node(
        nbformat.read(path, as_version=4), resources={"unique_key": path.stem}
    )
    title, _, rest = text.lstrip().partition("\n")
    head = (
        f"The notebook [{path.name}]({path.name}){{ download }}, as it was executed against "
        "LocalCloud. `cvm-notebook demo` opens it.\n{ .about }"
    )
    return Page(title.removeprefix("# "), f"{title}\n\n{head}\n{rest}", about.get("outputs", {}))


def _one_block(html: str) -> str:
    """Keep html together: an empty line would end it, and the theme has the style."""
    bare = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"\n\s*", "\n", bare).strip()


def tutorial() -> str:
    """List the notebooks: the first page of the tutorial."""
    listed = "\n".join(_entry(path) for path in notebooks())
    return f"""\
# Tutorial

Each page is a notebook, with what its cells showed when it was last executed. Read them here, or
run them: this opens JupyterLab on the first one, with a cloud of its own on your machine. You need
no account.

```bash
cvm-notebook demo
```

{listed}

Every notebook has one cell of parameters. `target = "local"` is LocalCloud; `target = None` is
Phala Cloud, with your own key and for money.
"""


def _entry(path: Path) -> str:
    """Return a notebook's title, with what it says first."""
    title, _, words = nbformat.read(path, as_version=4).cells[0].source.partition("\n")
    paragraph = " ".join(words.strip().partition("\n\n")[0].split())
    return f"- [{title.removeprefix('# ')}]({path.stem}.md): {paragraph}"
