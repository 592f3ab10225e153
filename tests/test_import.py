"""The package is loaded at its first use: cheaply, and whole, whatever threads begin with."""

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cvm_notebook as cvm

PACKAGE = Path(cvm.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def while_loaded(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is loaded."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from while_loaded(statement.orelse)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody"):
                yield from while_loaded(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from while_loaded(handler.body)


def imported(statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return [f"{statement.module}.{a.name}" for a in statement.names] + [str(statement.module)]


def imports(name: str) -> Iterator[str]:
    for statement in while_loaded(ast.parse(MODULES[name].read_text()).body):
        yield from imported(statement)


def test_no_module_imports_while_it_is_loaded_what_leads_back_to_it():
    # A thread in a cycle may be given a module that is half made. A module waits for its package.
    leads_to = {
        name: {other for other in imports(name) if other in MODULES} | {name.rpartition(".")[0]}
        for name in MODULES
    }
    leads_to["cvm_notebook"] -= {"cvm_notebook._lazy"}  # with which nobody begins
    graphlib.TopologicalSorter(leads_to).prepare()  # a CycleError names the modules


def test_a_library_is_imported_whole_before_a_part_of_it():
    # A part that is imported first does not wait for its library, which another thread may be in.
    # IPython, which loads magics, is there; commands and LocalCloud's server load in one thread.
    for name, path in MODULES.items():
        if name.startswith(("cvm_notebook.local.", "cvm_notebook.magics.", "cvm_notebook.cli.")):
            continue
        whole: set[str] = set()
        for statement in while_loaded(ast.parse(path.read_text()).body):
            for one in imported(statement)[-1:]:
                library, _, part = one.partition(".")
                ours = library in {"cvm_notebook", *sys.stdlib_module_names}
                assert not part or ours or library in whole, f"{name}: import {library}, then {one}"
                whole.add(library)


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "MPLBACKEND": "agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_hardly_more_than_itself():
    # an allowance in modules is as good as one in milliseconds, and steady
    code = """
import importlib, sys
before = set(sys.modules)
import cvm_notebook
print(*sorted(set(sys.modules) - before - {"__future__", "warnings"}))
"""
    assert run(code) == "cvm_notebook cvm_notebook._lazy"


AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-5)
url, key, *names = sys.argv[1:]
import cvm_notebook as cvm

client = cvm.Client(api_key=key, base_url=url)
fleet = cvm.Fleet(client)
len(fleet)
gate = threading.Barrier(len(names))
failed = []


def use(name):
    gate.wait()
    try:
        eval(name)
    except BaseException as error:
        failed.append(f"{name}: {type(error).__name__}: {error}")


threads = [threading.Thread(target=use, args=[name]) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
fleet.close()
print(*failed or ["all well"], sep=chr(10))
"""
FRAMES = (
    "fleet.frame()",
    "fleet.events()",
    "fleet.cost()",
    "fleet.operations()",
    "fleet.where().plan('stop').frame()",
    "fleet.drift({})",
    "fleet.frame('wide').cvm.rate",
    "fleet.where().frame()",
    "next(iter(fleet)).events()",
    "fleet.search('status = running').frame()",
)
VIEWS = (
    "fleet.table()",
    "fleet.deploy()",
    "next(iter(fleet)).card()",
    "fleet._repr_mimebundle_()",
    "fleet.selection.names",
    "cvm.dashboard(fleet)",
    "fleet.where(status='running').wait(timeout=60)",
    "cvm.plot_fleet(fleet.frame())",
    "cvm.load_ipython_extension",
    "fleet.frame()",
)
NAMES = tuple(f"cvm.{name}" for name in cvm.__all__)
SAMPLES = {
    "frames": FRAMES[::-1],
    "events and plan": ("fleet.events()", "fleet.where().plan('stop').frame()"),
    "views and frames": VIEWS + FRAMES[::2],
    "public names": NAMES,
}


def test_frames_are_loaded_on_demand_by_one_thread_at_a_time():
    bare = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kept = {
            id(inner)
            for block in ast.walk(tree)
            if isinstance(block, ast.With) and ast.unparse(block.items[0]) == "LOADING"
            for inner in block.body
        }
        bare += [
            f"{name}:{one.lineno}"
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for one in ast.walk(function)
            if isinstance(one, ast.ImportFrom)
            and str(one.module).startswith("cvm_notebook.frames")
            and id(one) not in kept
        ]
    assert bare == []


@pytest.mark.parametrize("sample", SAMPLES)
def test_threads_that_use_different_names_first_all_get_them(sample, first_use_cloud):
    cloud = first_use_cloud
    assert run(AT_ONCE, cloud.url, cloud.api_key, *SAMPLES[sample]) == "all well"


@pytest.fixture(scope="module")
def first_use_cloud(new_cloud):
    with new_cloud(seed="demo") as cloud:
        yield cloud
