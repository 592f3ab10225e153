"""Every block of code in the README and the documentation is true; nothing public is left out.

What is done with a block goes by its language, and there are no others:

- ``python``: run, those of a page in order and in one namespace, as cells of IPython, against a
  LocalCloud with the demo fleet. `cvm.connect()` finds it by the environment.
- ``ipython``: the same; the name says that there are magics in it.
- ``bash``: its commands are read by those who take them: `cvm-notebook` by its own parsers, `pip`
  for extras that exist. With a ``text`` right below it is run.
- ``text``: right below one of these it is what that shows, where ``...`` stands for anything;
  elsewhere it is a picture.
- ``yaml``, ``json``, ``toml``: read.
"""

import doctest
import gc
import importlib.util
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import cvm_notebook as cvm
from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.codes import CODES
from cvm_notebook.cli import main as cli
from cvm_notebook.live.columns import FRAMED
from cvm_notebook.magics import arguments as magics_words

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(ROOT.glob("*.md"))
BY_ITS_OWN_TEST = {"docs/how-to/test-with-localcloud.md"}  # tests/test_testing_plugin.py
PAGES = {
    name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if (name := path.relative_to(ROOT).as_posix()) not in BY_ITS_OWN_TEST
}
FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
RUN = {"python", "ipython"}
READ = {"yaml": yaml.safe_load, "json": json.loads, "toml": tomllib.loads}
# what is no part of the project, and nothing to be checked here
FOREIGN = {"cd", "git", "jupyter", "phala", "pre-commit", "pytest", "voila"}


class Block(NamedTuple):
    """A block of code, the language it is in, and what the page shows as its result."""

    language: str
    code: str
    shows: str | None


def blocks(text: str) -> list[Block]:
    found = [*FENCE.finditer(text)]
    read: list[Block] = []
    for at, one in enumerate(found):
        after = found[at + 1] if at + 1 < len(found) else None
        below = after and after[2] == "text" and not text[one.end() : after.start()].strip()
        read.append(Block(one[2], textwrap.dedent(one[3]), after[3] if after and below else None))
    return read


def of(language: str, text: str) -> list[str]:
    return [block.code for block in blocks(text) if block.language == language]


# --- what is run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(new_cloud) -> Iterator[cvm.LocalCloud]:
    with new_cloud(seed="demo", speed=200) as cloud:
        yield cloud


@pytest.fixture
def reader(tmp_path, monkeypatch) -> Callable[[cvm.LocalCloud], None]:
    """Be somebody in a folder of their own who has the address of a cloud, and its key."""

    def of(cloud: cvm.LocalCloud) -> None:
        for name, value in {
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "PHALA_CLOUD_API_PREFIX": cloud.url,
            "PHALA_CLOUD_API_KEY": cloud.api_key,
            "MPLBACKEND": "agg",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)

    return of


@pytest.fixture
def shell(tmp_path) -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.warn_venv = False  # whichever one the shell of who runs this is in
    shell = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    try:
        yield shell
    finally:
        for fleet in [one for one in gc.get_objects() if type(one) is cvm.Fleet]:
            fleet.close()  # also those that a page has given no name, as a dashboard's
        shell.restore_sys_module_state()
        InteractiveShell.clear_instance()


def _cell(shell: InteractiveShell, code: str) -> str:
    """Run a cell and return what it shows, as text."""
    with capture_output() as shown:
        result = shell.run_cell(code)
    result.raise_error()
    return re.sub(r"^Out\[\d+\]: ?\n?", "", shown.stdout, flags=re.MULTILINE)


def _shell(code: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(text: str, shell: InteractiveShell) -> str:
    """Run the blocks of a page, compare their output with the page's, and return all of it."""
    checker, shown = doctest.OutputChecker(), []
    for block in blocks(text):
        if block.language in RUN:
            shown.append(_cell(shell, block.code))
        elif block.language == "bash" and block.shows is not None:
            shown.append(_shell(block.code))
        else:
            continue
        if block.shows is not None:
            same = checker.check_output(block.shows, shown[-1], doctest.ELLIPSIS)
            assert same, f"{block.code}\n--- page\n{block.shows}--- shown\n{shown[-1]}"
    return "".join(shown)


@pytest.mark.parametrize(
    "page", [name for name, text in PAGES.items() if any(b.language in RUN for b in blocks(text))]
)
def test_the_code_of_a_page_runs_from_top_to_bottom_and_shows_what_it_says(
    page, shell, reader, demo
):
    reader(demo)
    _run(PAGES[page], shell)


def test_the_code_of_the_readme_runs_from_top_to_bottom(shell, reader, cloud):
    reader(cloud)  # it stops what the pages take to be running
    shown = _run(README, shell)
    assert "running" in shown
    assert "no-such-cvm" in shown  # the error that the README shows


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_every_block_is_in_a_language_that_is_checked(page):
    text = README if page == "README.md" else PAGES[page]
    found = blocks(text)
    assert text.count("```") == 2 * len(found)  # none is open, or of another form
    for block in found:
        assert block.language in {*RUN, *READ, "bash", "text"}, block
        if block.language in READ:
            assert READ[block.language](block.code) is not None


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a text: those of its blocks, and ours where its prose names them."""
    for line in "\n".join(of("bash", text)).replace("\\\n", " ").splitlines():
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        for joint, command in itertools.groupby(words, {"&&", ";", "|", "&"}.__contains__):
            if not joint:
                yield list(command)
    prose = FENCE.sub("", text)
    yield from (shlex.split(found) for found in re.findall(r"`(cvm-notebook [^`]+)`", prose))


def _refusal(arguments: list[str]) -> object:
    try:
        cli._parser().parse_args(arguments)
    except SystemExit as end:  # of --help, too
        return end.code or None
    return None


def _check(command: list[str]) -> None:
    program, *arguments = command
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if program == "cvm-notebook":
        assert _refusal(arguments) is None, command
    elif program == "pip":
        assert arguments[0] == "install"
        extras = [e for a in arguments for e in re.findall(r"[\w,-]+(?=\])", a)]
        assert {e for some in extras for e in some.split(",")} <= {
            *project["optional-dependencies"]
        }
    elif program == "export":
        assert arguments[0].partition("=")[0] in PAGES["docs/reference/environment.md"]
    elif program == "mkdocs":
        assert arguments[0] in {"serve", "build"}
        assert (ROOT / "mkdocs.yml").exists()
    elif program == "python":
        assert (ROOT / arguments[0]).exists() or arguments[0] == "-m", command
    else:
        assert program in FOREIGN, command


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_commands_are_commands_of_the_program(page, capsys):
    for command in commands(README if page == "README.md" else PAGES[page]):
        _check(command)


def test_a_command_that_is_none_is_noticed(capsys):
    for wrong in ("cvm-notebook cloud --sped 3", 'pip install ".[dem]"', "docker run web"):
        (command,) = commands(f"```bash\n{wrong}\n```")
        with pytest.raises(AssertionError):
            _check(command)


def test_the_sidecar_quotes_a_nonce_and_never_the_hash_of_a_tls_key():
    (recipe,) = of("yaml", PAGES["docs/how-to/verify.md"])
    assert len(recipe.splitlines()) <= 16
    assert list(read_compose_file(recipe).images) == ["quote"]
    config = yaml.safe_load(recipe)["configs"]["quote"]["content"].replace("$$", "$")
    (limit,) = re.findall(r'if \(\$arg_nonce !~ "([^"]+)"\) \{ return 400; \}', config)
    assert "/GetQuote?report_data=$arg_nonce;" in config
    tried = {32: True, 31: False, 33: False, 64: False, 0: False}
    assert {count: bool(re.search(limit, "a7" * count)) for count in tried} == tried


# --- the README ----------------------------------------------------------------------------------


def test_the_quickstart_has_ten_lines():
    (quickstart,) = [block for block in of("python", README) if "provision_cvm" in block]
    assert len([line for line in quickstart.splitlines() if line.strip()]) <= 10


def test_the_clean_machine_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    asked = "\n".join(of("bash", README)) + "\n"
    assert 'pip install ".[demo]" && cvm-notebook demo\n' in asked
    assert 'pip install -e ".[test]" && pytest\n' in asked
    assert """'pip install -e ".[test]" && pytest'""" in script
    assert "\n  binder/postBuild\n  cvm-notebook demo --run" in script  # tests/test_binder.py


def test_the_clean_machine_builds_the_site_and_counts_warnings():
    (line,) = re.findall(r"^mkdocs .*", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert "build --strict" in line
    assert not re.search(r" (-q|--quiet)\b", line)  # what is not printed is not counted


def test_no_page_loads_anything_from_the_web():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert site["theme"]["font"] is False
    assert not [
        name for name in (*site["extra_css"], *site.get("extra_javascript", ())) if ":" in name
    ]
    loads = re.compile(
        r"!\[[^]]*\]\(\s*(?:https?:)?//|\bsrc=\W*(?:https?:)?//|@import|url\(|<script"
    )
    paths = [p for p in (ROOT / "docs").rglob("*") if p.suffix in {".css", ".md", ".py"}]
    for path in [*paths, *(ROOT / "notebooks").glob("*.ipynb")]:
        assert not loads.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_in_the_project_exists(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


def test_each_test_that_a_page_names_is_there():
    named = set(re.findall(r"`(tests/\S+\.py)::(\w+)`", "\n".join(PAGES.values())))
    assert len(named) > 10
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path, _ in named}
    assert not [name for path, name in named if f"def {name}(" not in texts[path]]


# --- the reference -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["generate"]


def test_every_public_name_has_its_place_in_the_reference():
    documented = set(re.findall(r"^::: (\S+)", "\n".join(PAGES.values()), re.MULTILINE))
    public = [getattr(cvm, name) for name in cvm.__all__ if name != "__version__"]
    objects = [one for one in public if not inspect.ismodule(one)]
    assert len(objects) > 30
    missing = [
        o for o in objects if not {o.__module__, f"{o.__module__}.{o.__qualname__}"} & documented
    ]
    assert not missing


def test_every_error_code_is_in_its_table_with_what_to_do(generate):
    page = generate.error_codes()
    for value, code in CODES.items():
        assert f"| `{value}` | `{code.name}` | {code.sentence} | {code.next_step} |" in page


def test_every_column_of_every_frame_is_in_the_schemas(generate):
    page = generate.schemas()
    for column in FRAMED.values():
        assert f"| `{column.name}` | " in page
        assert column.doc in page
    made = {frame.name for frame in generate.frames()}
    declared = [
        path.read_text().count("] = Table(")
        for path in (ROOT / "cvm_notebook" / "frames").rglob("*.py")
    ]
    assert len(made) == sum(declared) >= 14
    assert {"cost_frame", "diff", "drift_frame", "events_frame", "quotas_frame"} <= made


def test_the_command_line_has_every_command(generate):
    page = generate.command_line()
    names = generate.commands(cli._parser())
    assert {"demo", "cloud", "doctor"} <= set(names)
    for name in names:
        assert f"## cvm-notebook {name}\n" in page
    assert "--faults FILE" in page


def test_the_magics_have_every_verb(generate):
    page = generate.magics()
    for verb in (*magics_words.ACTIONS, "use", "ls", "logs", "deploy"):
        assert f"cvm {verb}\n" in page
    assert "--env-file" in page


def test_every_variable_of_the_environment_is_documented():
    read = set()
    for path in (ROOT / "cvm_notebook").rglob("*.py"):
        read |= set(re.findall(r'"((?:PHALA|CVM_NOTEBOOK)_[A-Z_]+)"', path.read_text()))
    assert "PHALA_CLOUD_API_KEY" in read
    inner = {name for name in read if name.startswith("CVM_NOTEBOOK_LOCAL_")}
    page = PAGES["docs/reference/environment.md"]
    assert not [name for name in read - inner if f"`{name}`" not in page]


def test_every_notebook_is_a_page_with_its_outputs(generate):
    paths = generate.notebooks()
    assert [p.stem for p in paths][:3] == [
        "00_start_here",
        "01_first_cvm",
        "02_live_fleet",
    ]
    assert {*paths} == {*(ROOT / "notebooks").glob("*.ipynb")}
    page = generate.notebook(paths[2])
    assert page.title == "The live fleet"
    assert page.text.count("```python\n") > 10
    assert page.text.count('<div class="frame"') > 5
    assert page.pictures
    for picture in page.pictures:
        assert f"]({picture})" in page.text
    assert all(f"({p.stem}.md)" in generate.tutorial() for p in paths)
