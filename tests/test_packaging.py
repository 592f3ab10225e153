"""What the package promises before it runs: a cheap import, a whole wheel, rooms in order."""

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cvm_notebook

ROOT = Path(__file__).parents[1]
HEAVY = {"IPython", "anywidget", "fastapi", "ipywidgets", "msgspec", "numpy", "pandas", "requests"}
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("files", "pythonhosted", "org"),
            ("registry", "npmjs", "org"),
            ("registry", "yarnpkg", "com"),
            ("conda", "anaconda", "org"),
            ("proxy", "golang", "org"),
            ("index", "crates", "io"),
        )
    )
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:work/(?:main|shared)|opt/v|home/(?!jovyan/)\w+|Users/\w+)/"
)  # jovyan is whom Jupyter's images have


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def _files_of_the_project() -> list[Path]:
    folders = ("cvm_notebook", "notebooks", "tests", "benchmarks", "binder", "docs", ".ci")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    texts = {"", ".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".ipynb", ".js", ".css"}
    return [
        path
        for path in [*found, *ROOT.glob("*"), ROOT / ".pre-commit-config.yaml"]
        if path.is_file() and path.suffix in texts
    ]


def test_importing_the_package_loads_nothing_heavy():
    loaded = json.loads(
        _python("import cvm_notebook, json, sys; print(json.dumps(sorted(sys.modules)))")
    )
    assert "cvm_notebook" in loaded
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


def test_completion_on_the_package_shows_every_public_name():
    shown = json.loads(_python("import cvm_notebook as c, json; print(json.dumps(dir(c)))"))
    assert sorted(cvm_notebook.__all__) == sorted(shown)
    assert {"Client", "LocalCloud", "connect", "fleet_frame"} <= set(shown)


@pytest.mark.parametrize("name", cvm_notebook.__all__)
def test_every_public_name_resolves(name):
    assert getattr(cvm_notebook, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cvm_notebook.no_such_name


def test_the_version_is_the_same_everywhere():
    assert metadata.version("cvm-notebook") == cvm_notebook.__version__
    done = subprocess.run(
        [sys.executable, "-m", "cvm_notebook.cli.main", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"cvm-notebook {cvm_notebook.__version__}\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_notebooks_and_the_types_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    notebooks = {f"cvm_notebook/_notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert "cvm_notebook/_notebooks/00_start_here.ipynb" in notebooks
    assert "cvm_notebook/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {
        "cvm_notebook",
        f"cvm_notebook-{cvm_notebook.__version__}.dist-info",
    }
    assert not [name for name in names if re.search(r"\btests?[/_]|\.pyc$|\.sqlite", name)]
    packed = {name for name in names if name.startswith("cvm_notebook/_notebooks/")}
    assert packed == notebooks


def test_the_wheel_holds_every_module_and_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"cvm_notebook-{cvm_notebook.__version__}.dist-info"
        points = archive.read(f"{info}/entry_points.txt").decode()
        about = archive.read(f"{info}/METADATA").decode()
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "cvm_notebook").rglob("*.py")}
    assert modules <= names
    assert "cvm-notebook = cvm_notebook.cli.main:main" in points
    assert "License-Expression: Apache-2.0" in about
    assert f"{info}/licenses/LICENSE" in names


def test_dependencies_are_ranges_without_exact_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pinned = [need for need in asked if re.search(r"==[\d.]+$", need)]
    assert not pinned
    assert {"local", "demo", "test", "dev"} <= set(project["optional-dependencies"])


def _declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = list(project["dependencies"])
    for extra in extras:
        needs += project["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(need).name) for need in needs}


def _imported(paths: Iterable[Path]) -> set[str]:
    """Return the top names that the modules import, other than Python's own and ours."""
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
    ours = {path.stem for path in (ROOT / "tests").rglob("*") if path.suffix in {"", ".py"}}
    return names - set(sys.stdlib_module_names) - ours - {"cvm_notebook"}


packages_distributions = functools.cache(metadata.packages_distributions)  # it takes a second


@pytest.mark.parametrize(
    ("room", "extras"),
    [
        ("cvm_notebook/api/**/*.py", ["keyring"]),
        ("cvm_notebook/connection.py", []),
        # the frame needs the core alone; plots need matplotlib
        ("cvm_notebook/frames/**/*.py", ["report"]),
        ("cvm_notebook/local/**/*.py", ["local"]),
        ("cvm_notebook/cli/main.py", []),
        ("cvm_notebook/cli/doctor.py", []),
        ("cvm_notebook/cli/*.py", ["local", "report", "demo"]),
        ("tests/**/*.py", ["attest", "local", "report", "demo", "postgres", "test"]),
    ],
)
def test_what_a_room_imports_is_declared(room, extras):
    modules = list(ROOT.glob(room))
    assert modules
    brought_by = packages_distributions()
    declared = _declared(*extras)
    undeclared = {
        name
        for name in _imported(modules)
        if not {canonicalize_name(dist) for dist in brought_by.get(name, [name])} & declared
        # the first three come with what is declared; the last is put beside the tests by a fixture
        and name not in {"IPython", "jupyter_core", "pydantic_core", "phala_cloud"}
    }
    assert not undeclared


def test_rooms_know_each_other_one_way():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    violations = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in _files_of_the_project()
        for pattern in (REGISTRY_HOSTS, MACHINE_PATHS)
        for found in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not violations


def test_the_project_is_licensed_in_full():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
